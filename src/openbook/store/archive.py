"""The rows that an export holds, read out of one snapshot and written into one transaction.

A caller with principals reads through row-level security, and of tables that no caller may read nothing at all: roots,
files, tombstones and the vector cache are the owner's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from psycopg import sql

from openbook.store.access import normal
from openbook.store.database import Connection, Database
from openbook.store.filter import tuples
from openbook.store.index import Index
from openbook.store.models import interned
from openbook.store.tombstones import key_of
from openbook.store.writing import insert_attributes

FETCHED = 200
"""Rows that a cursor brings at once."""

Row = dict[str, Any]


# --- out --------------------------------------------------------------------------------------------------------------


def knowledge_base(connection: Connection, name: str) -> Row | None:
    row = connection.execute(
        "SELECT k.id, k.position, k.releases, k.trace_days, l.name, p.name FROM openbook.knowledge_base k"
        " LEFT JOIN openbook.release l ON l.id = k.live LEFT JOIN openbook.release p ON p.id = k.previous"
        " WHERE k.name = %s",
        [name],
    ).fetchone()
    return (
        None
        if row is None
        else dict(zip(("id", "position", "releases", "trace_days", "live", "previous"), row, strict=True))
    )


def count(connection: Connection, kb: int) -> int:
    """How many documents there are for this caller, removed ones included."""
    row = connection.execute("SELECT count(*) FROM openbook.document WHERE kb = %s", [kb]).fetchone()
    return 0 if row is None else int(row[0])


def indexes(connection: Connection, kb: int, live: bool) -> list[Row]:
    """The indexes that are kept, or the live one only."""
    return _all(
        connection,
        "SELECT i.id, i.hash, i.embedder, i.dimension, i.language, i.probe, i.complete FROM openbook.index i"
        " JOIN openbook.knowledge_base k ON k.id = i.kb WHERE i.kb = %s AND (NOT %s OR i.id ="
        " (SELECT r.index FROM openbook.release r WHERE r.id = k.live)) ORDER BY i.id",
        [kb, live],
    )


def releases(connection: Connection, kb: int, live: bool) -> list[Row]:
    """The releases, or the live one only and without its report, which measures what others may see."""
    return _all(
        connection,
        f"SELECT r.name, r.recipe, r.index, r.created::text, r.promoted::text, {'NULL' if live else 'r.report'} AS"
        " report FROM openbook.release r JOIN openbook.knowledge_base k ON k.id = r.kb"
        " WHERE r.kb = %s AND (NOT %s OR r.id = k.live) ORDER BY r.id",
        [kb, live],
    )


def roots(connection: Connection, kb: int) -> list[Row]:
    return _all(
        connection,
        "SELECT id, path, rules, access, local_only FROM openbook.root WHERE kb = %s ORDER BY id",
        [kb],
    )


def files(connection: Connection, kb: int) -> Iterator[Row]:
    return _stream(
        connection,
        "files",
        "SELECT f.id, f.root, f.path, f.size, f.mtime_ns, f.inode::text, f.options FROM openbook.file f"
        " JOIN openbook.root r ON r.id = f.root WHERE r.kb = %s ORDER BY f.id",
        [kb],
    )


def documents(connection: Connection, kb: int, principals: Sequence[str] | None) -> Iterator[Row]:
    """Documents in order of source; of whom each is open to, a caller with principals is told their own."""
    rows = _stream(
        connection,
        "documents",
        "SELECT d.id::text, d.source, d.version, a.principals AS access, d.metadata, d.local_only, d.file,"
        " d.added::text, d.changed::text, d.removed::text, d.edited,"
        " ARRAY(SELECT n.source FROM openbook.renamed n WHERE n.document = d.id ORDER BY n.source) AS former"
        " FROM openbook.document d JOIN openbook.access_set a ON a.id = d.access WHERE d.kb = %s ORDER BY d.source",
        [kb],
    )
    for row in rows:
        if principals is not None:
            row["access"] = [principal for principal in row["access"] if principal in principals]
            row["file"] = row["edited"] = None  # what its source says is not what they are shown
        yield row


def versions(connection: Connection, kb: int) -> Iterator[Row]:
    return _stream(
        connection,
        "versions",
        "SELECT v.document::text, v.version, v.title, v.text, v.headings, v.pages, v.hash, v.created::text"
        " FROM openbook.version v JOIN openbook.document d ON d.id = v.document WHERE d.kb = %s"
        " ORDER BY d.source, v.version",
        [kb],
    )


def forgotten(connection: Connection, kb: int) -> Iterator[Row]:
    return _stream(
        connection,
        "forgotten",
        "SELECT encode(hash, 'hex') AS hash, since::text FROM openbook.forgotten WHERE kb = %s ORDER BY hash",
        [kb],
    )


def models(connection: Connection, kb: int) -> list[Row]:
    """The models that were trained on documents: whom they may answer, on what, and where their files lie."""
    return _all(
        connection,
        "SELECT m.hash, m.kind, m.weights, m.withdrawn::text,"
        " (SELECT coalesce(jsonb_agg(a.principals), '[]') FROM openbook.access_set a"
        "  WHERE a.id = ANY(m.rules)) AS rules,"
        " ARRAY(SELECT t.document::text FROM openbook.trained_on t"
        "  WHERE t.model = m.id AND t.document IS NOT NULL ORDER BY t.document) AS documents,"
        " ARRAY(SELECT encode(t.source, 'hex') FROM openbook.trained_on t"
        "  WHERE t.model = m.id AND t.source IS NOT NULL ORDER BY t.source) AS sources,"
        " (SELECT coalesce(jsonb_agg(jsonb_build_array(f.host, f.path)), '[]') FROM openbook.model_folder f"
        "  WHERE f.model = m.id) AS places FROM openbook.model m WHERE m.kb = %s ORDER BY m.hash",
        [kb],
    )


def readings(connection: Connection, kb: int, index: int, everyone: bool) -> Iterator[Row]:
    """What an index holds of each document: {document, version, unfamiliar, chunks: [[start, end, page, headings,
    whether a vector follows, passage, context], …]}. ``everyone``: the caller sees what was read (the owner); else
    every document that the caller sees counts as read."""
    read = "openbook.indexed" if everyone else "(SELECT %s AS index, id AS document, version FROM openbook.document)"
    return _stream(
        connection,
        f"readings_{index}",
        sql.SQL(
            "SELECT n.document::text, n.version,"
            " (SELECT u.script FROM openbook.unfamiliar u WHERE u.index = %s AND u.document = n.document)"
            " AS unfamiliar,"
            " coalesce(c.chunks, '[]') AS chunks"
            f" FROM {read} n LEFT JOIN (SELECT document, min(id) AS first,"
            '  jsonb_agg(jsonb_build_array(start, "end", page, headings, vector IS NOT NULL, passage, context)'
            "   ORDER BY id) AS chunks"
            "  FROM {table} GROUP BY document) c ON c.document = n.document"
            " JOIN openbook.document d ON d.id = n.document WHERE n.index = %s AND d.kb = %s AND d.removed IS NULL"
            " ORDER BY c.first NULLS LAST, n.document"
        ).format(table=sql.Identifier("openbook", f"chunk_{index}")),
        [index, index, kb] if everyone else [index, index, index, kb],
    )


def vectors(connection: Connection, index: int) -> Iterator[Any]:
    """The vectors of an index, pgvector's HalfVector each, in the order in which ``readings`` tells them."""
    with connection.cursor(name=f"vectors_{index}") as cursor:
        cursor.itersize = 10 * FETCHED
        cursor.execute(
            sql.SQL(
                "SELECT c.vector FROM {table} c"
                " JOIN (SELECT document, min(id) AS first FROM {table} GROUP BY document) f ON f.document = c.document"
                " JOIN openbook.document d ON d.id = c.document"
                " WHERE d.removed IS NULL AND c.vector IS NOT NULL ORDER BY f.first, c.id"
            ).format(table=sql.Identifier("openbook", f"chunk_{index}")),
            binary=True,
        )
        for (vector,) in cursor:
            yield vector


def cached(connection: Connection, kb: int, embedder: str) -> Iterator[Row]:
    """{document, texts}: the hashes of the texts of each document of which the cache holds a vector."""
    return _stream(
        connection,
        "cached",
        "SELECT u.document::text, json_agg(encode(u.text, 'hex') ORDER BY u.text) AS texts FROM openbook.vector_use u"
        " JOIN openbook.vector v ON v.embedder = u.embedder AND v.text = u.text"
        " JOIN openbook.document d ON d.id = u.document WHERE d.kb = %s AND u.embedder = %s"
        " GROUP BY u.document ORDER BY u.document",
        [kb, embedder],
    )


def cached_vectors(connection: Connection, kb: int, embedder: str) -> Iterator[Any]:
    """The cached vectors, in the order in which ``cached`` tells their texts."""
    with connection.cursor(name="cached_vectors") as cursor:
        cursor.itersize = 10 * FETCHED
        cursor.execute(
            "SELECT v.vector FROM openbook.vector_use u"
            " JOIN openbook.vector v ON v.embedder = u.embedder AND v.text = u.text"
            " JOIN openbook.document d ON d.id = u.document WHERE d.kb = %s AND u.embedder = %s"
            " ORDER BY u.document, u.text",
            [kb, embedder],
            binary=True,
        )
        for (vector,) in cursor:
            yield vector


def _all(connection: Connection, query: Any, params: Sequence[Any]) -> list[Row]:
    cursor = connection.execute(query, params)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _stream(connection: Connection, name: str, query: Any, params: Sequence[Any]) -> Iterator[Row]:
    with connection.cursor(name=name) as cursor:
        cursor.itersize = FETCHED
        cursor.execute(query, params)
        names = [column.name for column in cursor.description or ()]
        for row in cursor:
            yield dict(zip(names, row, strict=True))


# --- in, inside the caller's transaction ------------------------------------------------------------------------------


_IMPORT_LOCK = 0x696D706F7274  # "import"; advisory locks are per database


def take_turns(connection: Connection) -> None:
    """Until this transaction ends nobody else imports: at their ends each would wait for the other."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_IMPORT_LOCK])


def found(connection: Connection, name: str, releases: int, trace_days: int | None) -> int | None:
    """The number of a new knowledge base, without a live release yet; ``None``: the name is taken."""
    row = connection.execute(
        "INSERT INTO openbook.knowledge_base (name, releases, trace_days) VALUES (%s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING id",
        [name, releases, trace_days],
    ).fetchone()
    return None if row is None else int(row[0])


def taken(connection: Connection, name: str) -> bool:
    return bool(
        connection.execute("SELECT FROM openbook.knowledge_base WHERE name = %s", [name]).fetchone() is not None
    )


def any_known(connection: Connection, documents: Sequence[str]) -> bool:
    """Whether any of these documents is in this database, in whichever knowledge base."""
    row = connection.execute("SELECT FROM openbook.document WHERE id = ANY(%s::uuid[]) LIMIT 1", [list(documents)])
    return row.fetchone() is not None


def anything_forgotten(connection: Connection) -> bool:
    return connection.execute("SELECT FROM openbook.forgotten LIMIT 1").fetchone() is not None


def were_forgotten(connection: Connection, hashes: Sequence[bytes]) -> set[bytes]:
    """Those of these SHA-256 of texts that a knowledge base of this database was told to forget."""
    rows = connection.execute("SELECT hash FROM openbook.forgotten WHERE hash = ANY(%s)", [list(hashes)]).fetchall()
    return {bytes(row[0]) for row in rows}


def add_roots(connection: Connection, kb: int, rows: Iterable[Row]) -> dict[int, int]:
    """Number of each root in the export → its number here."""
    numbers = {}
    for row in rows:
        made = connection.execute(
            "INSERT INTO openbook.root (kb, path, rules, access, local_only) VALUES (%s, %s, %s, %s, %s) RETURNING id",
            [kb, row["path"], row["rules"], row["access"], row["local_only"]],
        ).fetchone()
        assert made is not None
        numbers[row["id"]] = int(made[0])
    return numbers


def add_files(connection: Connection, roots: Mapping[int, int], rows: Iterable[Row]) -> dict[int, int]:
    """Number of each file in the export → its number here."""
    numbers = {}
    for row in rows:
        made = connection.execute(
            "INSERT INTO openbook.file (root, path, size, mtime_ns, inode, options) VALUES (%s, %s, %s, %s, %s, %s)"
            " RETURNING id",
            [roots[row["root"]], row["path"], row["size"], row["mtime_ns"], row["inode"], row["options"]],
        ).fetchone()
        assert made is not None
        numbers[row["id"]] = int(made[0])
    return numbers


def add_documents(connection: Connection, kb: int, rows: Sequence[Row], sets: dict[tuple[str, ...], int]) -> None:
    """Document rows; ``sets`` remembers access sets that are interned already. Each is in the change feed at 1."""
    for row in rows:
        access = normal(row["access"])
        if access not in sets:
            made = connection.execute(
                "INSERT INTO openbook.access_set (kb, principals) VALUES (%s, %s) RETURNING id", [kb, list(access)]
            ).fetchone()
            assert made is not None
            sets[access] = int(made[0])
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO openbook.document (id, kb, source, key, version, access, metadata, file, local_only, added,"
            " changed, removed, edited) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    row["id"], kb, row["source"], key_of(row["source"]), row["version"],
                    sets[normal(row["access"])], json.dumps(row["metadata"]), row["file"], row["local_only"],
                    row["added"], row["changed"], row["removed"],
                    None if row["edited"] is None else json.dumps(row["edited"]),
                )
                for row in rows
            ],
        )  # fmt: skip
        cursor.executemany(
            "INSERT INTO openbook.renamed (kb, key, source, document) VALUES (%s, %s, %s, %s)",
            [(kb, key_of(source), source, row["id"]) for row in rows for source in row["former"]],
        )
        cursor.executemany(
            "INSERT INTO openbook.change (kb, document, position) VALUES (%s, %s, 1)", [(kb, row["id"]) for row in rows]
        )


def add_models(
    connection: Connection, kb: int, rows: Iterable[Row], id: Callable[[str], str], left_out: Collection[str]
) -> None:
    """Model rows; ``id``: what a document of the export is called here. One that was trained on a document which is
    ``left_out``, because it is forgotten here, is withdrawn."""
    for row in rows:
        rules = [interned(connection, kb, normal(rule)) for rule in row["rules"]]
        made = connection.execute(
            "INSERT INTO openbook.model (kb, hash, kind, weights, rules, withdrawn) VALUES (%s, %s, %s, %s, %s,"
            " coalesce(%s::timestamptz, CASE WHEN %s THEN now() END)) RETURNING id",
            [
                kb, row["hash"], row["kind"], row["weights"], rules, row["withdrawn"],
                not set(left_out).isdisjoint(row["documents"]),
            ],
        ).fetchone()  # fmt: skip
        assert made is not None
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO openbook.trained_on (model, document, source) VALUES (%s, %s, %s)",
                [(made[0], id(document), None) for document in row["documents"]]
                + [(made[0], None, bytes.fromhex(source)) for source in row["sources"]],
            )
            cursor.executemany(
                "INSERT INTO openbook.model_folder (model, host, path) VALUES (%s, %s, %s)",
                [(made[0], host, path) for host, path in row["places"]],
            )


def add_versions(connection: Connection, rows: Sequence[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO openbook.version (document, version, title, text, headings, pages, hash, created)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    row["document"], row["version"], row["title"], row["text"], json.dumps(row["headings"]),
                    row["pages"], row["hash"], row["created"],
                )
                for row in rows
            ],
        )  # fmt: skip


def add_attributes(connection: Connection, kb: int) -> None:
    """What filters read, of every document that is there."""
    rows = connection.execute(
        "SELECT d.id, d.access, d.source, v.title, d.metadata FROM openbook.document d"
        " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
        " WHERE d.kb = %s AND d.removed IS NULL",
        [kb],
    ).fetchall()
    insert_attributes(connection, [(*row, tuples(metadata)) for *row, metadata in rows])


def add_forgotten(connection: Connection, kb: int, rows: Iterable[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO openbook.forgotten (kb, hash, since) VALUES (%s, decode(%s, 'hex'), %s)",
            [(kb, row["hash"], row["since"]) for row in rows],
        )


def add_index(connection: Connection, database: Database, kb: int, row: Row) -> tuple[Index, str]:
    """An index, empty, and how its HNSW index is made when it is full: building it then takes a fraction of the time,
    and nobody writes to a table that this transaction has made. ``Index.bind`` is left to be done."""
    made = connection.execute(
        "INSERT INTO openbook.index (kb, hash, embedder, dimension, language, probe, complete)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
        [kb, row["hash"], row["embedder"], row["dimension"], row["language"], row["probe"], row["complete"]],
    ).fetchone()
    assert made is not None
    number = int(made[0])
    roles = database.roles(connection)
    Index.create(connection, number, row["dimension"], roles["reader"], roles["writer"], bound=False)
    hnsw = connection.execute(
        "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE i.indrelid = to_regclass('openbook.chunk_' || %s::int) AND a.amname = 'hnsw'",
        [number],
    ).fetchone()
    if hnsw is not None:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.SQL(hnsw[0])))
    index = Index(
        database,
        kb,
        number,
        hash=row["hash"],
        embedder=row["embedder"],
        dimension=row["dimension"],
        language=row["language"],
    )
    return index, hnsw[1] if hnsw is not None else ""


def build_hnsw(connection: Connection, definition: str) -> None:
    """``definition`` as ``add_index`` gave it."""
    connection.execute(sql.SQL(definition))  # PostgreSQL's own words  # type: ignore[arg-type]


def current(connection: Connection, kb: int, documents: Sequence[str]) -> dict[str, tuple[int, int, bool, Row]]:
    """Document → (version, access set, local only, its text), of those that are there."""
    rows = connection.execute(
        "SELECT d.id::text, d.version, d.access, d.local_only, d.source, v.title, v.text, v.headings, v.pages"
        " FROM openbook.document d JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
        " WHERE d.kb = %s AND d.id = ANY(%s::uuid[]) AND d.removed IS NULL",
        [kb, list(documents)],
    ).fetchall()
    names = ("source", "title", "text", "headings", "pages")
    return {row[0]: (row[1], row[2], row[3], dict(zip(names, row[4:], strict=True))) for row in rows}


def add_cached(connection: Connection, embedder: str, rows: Sequence[tuple[str, bytes, Any]]) -> None:
    """(document, SHA-256 of a text, its vector) of the cache."""
    from pgvector import HalfVector

    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO openbook.vector (embedder, text, vector) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [(embedder, key, HalfVector(vector)) for key, vector in sorted({key: v for _, key, v in rows}.items())],
        )
        cursor.executemany(
            "INSERT INTO openbook.vector_use (document, embedder, text) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [(document, embedder, key) for document, key, _ in rows],
        )


def add_releases(
    connection: Connection, kb: int, rows: Iterable[Row], indexes: Mapping[int, int], live: str, previous: str | None
) -> None:
    """The releases, and which of them answers: with this the knowledge base is one."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO openbook.release (kb, name, recipe, index, created, promoted, report)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    kb, row["name"], row["recipe"], indexes[row["index"]], row["created"], row["promoted"],
                    None if row["report"] is None else json.dumps(row["report"]),
                )
                for row in rows
            ],
        )  # fmt: skip
    connection.execute(
        "UPDATE openbook.knowledge_base SET position = 1,"
        " live = (SELECT id FROM openbook.release WHERE kb = %s AND name = %s),"
        " previous = (SELECT id FROM openbook.release WHERE kb = %s AND name = %s) WHERE id = %s",
        [kb, live, kb, previous, kb],
    )
