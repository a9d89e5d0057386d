"""What is kept, in PostgreSQL and beside it.

documents.py   documents and their versions, as a caller may see them; files.py: where they came from
writing.py     the transaction that changes documents; edits.py, tombstones.py, access.py, locks.py: its rules
index.py       an index: its chunks; dense.py: the nearest by vector; vectors.py: the cache of vectors
keyword/       its words, on this host; change_feed.py: how they follow what is written
releases.py    recipes, and the pointer to the one that answers
erasure.py     what is forgotten, to the byte; soundness.py: what verify looks at; archive.py: rows in and out of a file
traces.py, feedback.py, filter.py, migrations/
database.py    connections, roles, transactions
server.py      the embedded server; cluster.py, account.py, process.py, server_log.py, disk.py: its parts
"""
