"""Who waits for whom: writers of documents share the indexes, whoever makes, drops or promotes one has them alone."""

from __future__ import annotations

from openbook.store.database import Connection

_INDEXES_LOCK = 0x696E6478  # "indx"; of two numbers, so that it is none of the migrations' lock


def share_indexes(connection: Connection, kb: int) -> None:
    """Until this transaction ends no release is promoted, no index made and none dropped. Taken before any row is
    locked, so that nobody waits in a circle."""
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", [_INDEXES_LOCK, kb])


def own_indexes(connection: Connection, kb: int) -> None:
    """Until this transaction ends nobody else writes a document: those who do have finished, or wait."""
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_INDEXES_LOCK, kb])
