"""Tombstones: what was forgotten, and must not come back by an add, a build or an import that had read it before.

A text that only forgotten documents held is refused whoever brings it. One that another document holds as well, and a
blank one, is refused of the forgotten source alone, by every name that it had: the other document may go on being
edited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

from openbook.store.database import Connection
from openbook.types import Document


def key_of(source: str) -> bytes:
    """SHA-256 of a source, by which its row is found."""
    return hashlib.sha256(source.encode()).digest()


def forgotten(connection: Connection, kb: int, documents: Sequence[Document]) -> dict[str, datetime]:
    """source → when it was forgotten, of those documents whose text was."""
    asked = {hash for document in documents for hash in _hashes(document)}
    rows = connection.execute(
        "SELECT hash, since FROM openbook.forgotten WHERE kb = %s AND hash = ANY(%s)", [kb, list(asked)]
    ).fetchall()
    since = {bytes(hash): when for hash, when in rows}
    found = {document.source: [since[hash] for hash in _hashes(document) if hash in since] for document in documents}
    return {source: max(times) for source, times in found.items() if times}


def bury(connection: Connection, kb: int, documents: Sequence[str]) -> int:
    """A tombstone for every text that these documents (their ids) ever had; returns how many are new."""
    told = {"kb": kb, "ids": list(documents)}
    of_its_own = connection.execute(
        "INSERT INTO openbook.forgotten (kb, hash)"
        " SELECT DISTINCT d.kb, sha256(convert_to(v.text, 'UTF8'))"
        " FROM openbook.version v JOIN openbook.document d ON d.id = v.document"
        " WHERE d.kb = %(kb)s AND d.id = ANY(%(ids)s::uuid[]) AND v.text ~ '[^[:space:]]' AND NOT EXISTS ("
        "   SELECT FROM openbook.version o JOIN openbook.document od ON od.id = o.document"
        "   WHERE od.kb = %(kb)s AND od.id <> ALL(%(ids)s::uuid[]) AND md5(o.text) = md5(v.text))"
        " ON CONFLICT DO NOTHING",
        told,
    ).rowcount
    of_the_source = connection.execute(
        "INSERT INTO openbook.forgotten (kb, hash)"
        " SELECT DISTINCT named.kb, sha256(named.key || convert_to(v.text, 'UTF8')) FROM openbook.version v JOIN ("
        "   SELECT kb, key, id FROM openbook.document UNION ALL SELECT kb, key, document FROM openbook.renamed"
        " ) named ON named.id = v.document WHERE named.kb = %(kb)s AND v.document = ANY(%(ids)s::uuid[])"
        " ON CONFLICT DO NOTHING",
        told,
    ).rowcount
    return of_its_own + of_the_source


def dig_up(connection: Connection, kb: int, documents: Iterable[Document]) -> int:
    """Let these documents be added again, because somebody asked for it; returns how many tombstones went."""
    asked = [hash for document in documents for hash in _hashes(document)]
    return connection.execute("DELETE FROM openbook.forgotten WHERE kb = %s AND hash = ANY(%s)", [kb, asked]).rowcount


def refusal(since: datetime) -> str:
    """What whoever brings a forgotten text is told."""
    return f"was forgotten on {since:%Y-%m-%d}; to add it all the same: openbook add --again"


def hashes(names: Iterable[str], text: str) -> set[bytes]:
    """By which a text is known as forgotten: by itself, or as that of one source, which may have had other names."""
    alone = text.encode()
    return {hashlib.sha256(alone).digest(), *(hashlib.sha256(key_of(name) + alone).digest() for name in names)}


def _hashes(document: Document) -> set[bytes]:
    return hashes([document.source], document.text)
