"""What must hold in the database, asked in SQL: each function finds what breaks one rule, or mends it.

The rules are those that no constraint of the schema states, and those that it states and that a restored backup, a
disk or a hand in psql broke all the same. ``verification.py`` says what each means and in which order they are asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from openbook.store.database import Connection
from openbook.store.filter import attributes, filterable, tuples
from openbook.store.writing import feed, insert_attributes

EXAMPLES = 5

FETCHED = 50
"""Documents that a cursor brings at once: their texts are in memory together."""

_NO_TEXT_OF_DOCUMENTS = ("knowledge_base", "index", "release")  # what a reader may read without a rule


@dataclass(frozen=True, slots=True)
class Found:
    """How many rows break a rule, and some of them, each told in a line."""

    count: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(self.count + other.count, (*self.examples, *other.examples)[:EXAMPLES])


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """An index as its row says, with the releases that it answers for; ``recipe`` is the TOML of one of them."""

    id: int
    hash: str
    embedder: str
    dimension: int
    language: str
    complete: bool
    releases: tuple[str, ...]
    recipe: str
    live: bool

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("openbook", f"chunk_{self.id}")

    def __str__(self) -> str:
        return f"index {self.id} ({', '.join(self.releases) or 'of no release'})"


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A row of a chunk table, as it stands there."""

    id: int
    version: int
    start: int
    end: int
    headings: tuple[str, ...]
    page: int | None
    access: int
    has_vector: bool
    passage: tuple[int, int] | None = None
    context: str = ""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A document that is there, in its current version, with what an index holds of it: ``read`` is the version whose
    chunks these should be, ``None`` where the index is behind by the document."""

    id: str
    source: str
    version: int
    access: int
    local_only: bool
    title: str
    text: str
    headings: Sequence[tuple[int, int, int, str]]
    pages: Sequence[int]
    read: int | None
    chunks: tuple[StoredChunk, ...]


def _found(connection: Connection, query: LiteralString | sql.Composed, **params: Any) -> Found:
    """What a query finds that answers with one line of text for each row that breaks the rule."""
    text = query if isinstance(query, sql.Composed) else sql.SQL(query)
    row = connection.execute(
        sql.SQL("WITH broken (what) AS ({}) SELECT count(*), (array_agg(what ORDER BY what))[1:{}] FROM broken").format(
            text, sql.Literal(EXAMPLES)
        ),
        params,
    ).fetchone()
    assert row is not None
    return Found(row[0], tuple(str(what) for what in row[1] or ()))


# --- the knowledge base -----------------------------------------------------------------------------------------------


def number_of(connection: Connection, name: str) -> int | None:
    """The number of the knowledge base of that name, whether or not a release of it answers."""
    row = connection.execute("SELECT id FROM openbook.knowledge_base WHERE name = %s", [name]).fetchone()
    return None if row is None else int(row[0])


def position(connection: Connection, kb: int) -> int:
    """Where the change feed ends."""
    row = connection.execute("SELECT position FROM openbook.knowledge_base WHERE id = %s", [kb]).fetchone()
    return 0 if row is None else int(row[0])


def count(connection: Connection, kb: int) -> int:
    """How many documents there are, removed ones included."""
    row = connection.execute("SELECT count(*) FROM openbook.document WHERE kb = %s", [kb]).fetchone()
    return 0 if row is None else int(row[0])


def kept_indexes(connection: Connection, kb: int) -> list[KeptIndex]:
    """Every index of the knowledge base that has a chunk table, in order of its number."""
    rows = connection.execute(
        "SELECT i.id, i.hash, i.embedder, i.dimension, i.language, i.complete,"
        " coalesce(array_agg(r.name ORDER BY r.id) FILTER (WHERE r.id IS NOT NULL), '{}'),"
        " coalesce((array_agg(r.recipe ORDER BY r.id DESC))[1], ''), coalesce(bool_or(r.id = k.live), false)"
        " FROM openbook.index i JOIN openbook.knowledge_base k ON k.id = i.kb"
        " LEFT JOIN openbook.release r ON r.index = i.id AND r.kb = i.kb"
        " WHERE i.kb = %s AND to_regclass('openbook.chunk_' || i.id) IS NOT NULL GROUP BY i.id, k.live ORDER BY i.id",
        [kb],
    ).fetchall()
    return [
        KeptIndex(id, hash, embedder, dimension, language, complete, tuple(releases), recipe, live)
        for id, hash, embedder, dimension, language, complete, releases, recipe, live in rows
    ]


def pointers(connection: Connection, kb: int) -> Found:
    """The live release and the one to roll back to are there, of this knowledge base, and their indexes complete."""
    return _found(
        connection,
        "SELECT p.name || CASE WHEN p.id IS NULL THEN ' names no release'"
        "  WHEN r.id IS NULL THEN ' names release ' || p.id || ', which is not there'"
        "  WHEN r.kb <> k.id THEN ' names ' || r.name || ' of another knowledge base'"
        "  WHEN i.id IS NULL THEN ' names ' || r.name || ', whose index is not there'"
        "  WHEN p.name = 'previous' THEN ' is the live release itself'"
        "  ELSE ' names ' || r.name || ', whose index is not complete' END"
        " FROM openbook.knowledge_base k, LATERAL (VALUES ('live', k.live), ('previous', k.previous)) p (name, id)"
        " LEFT JOIN openbook.release r ON r.id = p.id"
        " LEFT JOIN openbook.index i ON i.id = r.index AND i.kb = r.kb"
        " AND to_regclass('openbook.chunk_' || i.id) IS NOT NULL"
        " WHERE k.id = %(kb)s AND (p.name = 'live' OR p.id IS NOT NULL)"
        " AND (r.id IS NULL OR r.kb <> k.id OR i.id IS NULL OR NOT i.complete"
        "  OR (p.name = 'previous' AND p.id = k.live))",
        kb=kb,
    )


def mend_pointers(connection: Connection, kb: int) -> None:
    """The release that last began to answer answers again; where there is none, nothing is done."""
    connection.execute(
        "WITH sound AS (SELECT r.id, r.promoted FROM openbook.release r JOIN openbook.index i ON i.id = r.index"
        "  WHERE r.kb = %(kb)s AND i.kb = r.kb AND i.complete AND r.promoted IS NOT NULL"
        "  AND to_regclass('openbook.chunk_' || i.id) IS NOT NULL),"
        " chosen AS (SELECT coalesce((SELECT s.id FROM sound s WHERE s.id = k.live),"
        "  (SELECT s.id FROM sound s ORDER BY s.promoted DESC, s.id DESC LIMIT 1), k.live) AS live"
        "  FROM openbook.knowledge_base k WHERE k.id = %(kb)s)"
        " UPDATE openbook.knowledge_base k SET live = chosen.live,"
        " previous = (SELECT s.id FROM sound s WHERE s.id = k.previous AND s.id <> chosen.live)"
        " FROM chosen WHERE k.id = %(kb)s",
        {"kb": kb},
    )


def releases(connection: Connection, kb: int) -> list[tuple[str, str, str | None, str | None]]:
    """(name, recipe as TOML, hash and keyword language of its index) of every release; ``None``: it has none."""
    rows = connection.execute(
        "SELECT r.name, r.recipe, i.hash, i.language FROM openbook.release r"
        " LEFT JOIN openbook.index i ON i.id = r.index AND i.kb = r.kb WHERE r.kb = %s ORDER BY r.id",
        [kb],
    ).fetchall()
    return [(name, recipe, hash, language) for name, recipe, hash, language in rows]


def erasures(connection: Connection, kb: int) -> Found:
    """An erasure that was begun is finished."""
    return _found(
        connection,
        "SELECT 'begun ' || to_char(begun AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'"
        " FROM openbook.erasure WHERE kb = %(kb)s",
        kb=kb,
    )


# --- documents and versions -------------------------------------------------------------------------------------------


_KEY: LiteralString = "sha256(convert_to(source, 'UTF8'))"


def unreachable(connection: Connection, kb: int) -> Found:
    """Every document is found by the SHA-256 of its source."""
    return _found(connection, f"SELECT source FROM openbook.document WHERE kb = %(kb)s AND key <> {_KEY}", kb=kb)


def mend_unreachable(connection: Connection, kb: int) -> None:
    connection.execute(f"UPDATE openbook.document SET key = {_KEY} WHERE kb = %s AND key <> {_KEY}", [kb])


def unversioned(connection: Connection, kb: int) -> Found:
    """Every document has the version that it says it is in."""
    return _found(
        connection,
        "SELECT d.source || ' is in version ' || d.version || ', which is not there' FROM openbook.document d"
        " WHERE d.kb = %(kb)s"
        " AND NOT EXISTS (SELECT FROM openbook.version v WHERE v.document = d.id AND v.version = d.version)",
        kb=kb,
    )


def mend_unversioned(connection: Connection, kb: int) -> None:
    """A document in version 0 was about to be written, and never had a text."""
    connection.execute("DELETE FROM openbook.document WHERE kb = %s AND version = 0", [kb])


def mistaken_access(connection: Connection, kb: int) -> Found:
    """A document's access is an access set of its own knowledge base, sorted and distinct."""
    return _found(
        connection,
        "SELECT d.source || CASE WHEN a.id IS NULL THEN ': no access set ' || d.access"
        "  WHEN a.kb <> d.kb THEN ': an access set of another knowledge base'"
        "  ELSE ': its principals are not in order' END"
        " FROM openbook.document d LEFT JOIN openbook.access_set a ON a.id = d.access WHERE d.kb = %(kb)s"
        " AND (a.id IS NULL OR a.kb <> d.kb"
        '  OR a.principals <> ARRAY(SELECT DISTINCT p COLLATE "C" FROM unnest(a.principals) p ORDER BY 1))',
        kb=kb,
    )


def unruled_models(connection: Connection, kb: int) -> Found:
    """A model has the access set of every document that it was trained on, and each of its rules is there."""
    return _found(
        connection,
        "SELECT m.kind || ' ' || m.hash || ' was trained on ' || d.source || ', and lacks its rule of access'"
        " FROM openbook.model m JOIN openbook.trained_on t ON t.model = m.id"
        " JOIN openbook.document d ON d.id = t.document OR (d.key = t.source AND d.kb = m.kb)"
        " WHERE m.kb = %(kb)s AND d.access <> ALL(m.rules)"
        " UNION ALL SELECT m.kind || ' ' || m.hash || ' has a rule that is not there: nobody but the owner is answered'"
        " FROM openbook.model m WHERE m.kb = %(kb)s AND EXISTS (SELECT FROM unnest(m.rules) AS rule"
        "  WHERE NOT EXISTS (SELECT FROM openbook.access_set a WHERE a.id = rule))",
        kb=kb,
    )


def mend_models(connection: Connection, kb: int) -> None:
    """Rules that are lacking are added. Which one it was that is not there, nobody knows: it goes on keeping out."""
    connection.execute(
        "UPDATE openbook.model m SET rules = (SELECT array_agg(DISTINCT rule) FROM unnest(m.rules || n.rules) AS rule)"
        " FROM (SELECT t.model, array_agg(DISTINCT d.access) AS rules FROM openbook.trained_on t"
        "  JOIN openbook.model o ON o.id = t.model"
        "  JOIN openbook.document d ON d.id = t.document OR (d.key = t.source AND d.kb = o.kb)"
        "  WHERE o.kb = %s GROUP BY t.model) n WHERE m.id = n.model",
        [kb],
    )


def stored_versions(connection: Connection, kb: int) -> Iterator[tuple[str, int, bool, str, str, Any, Any, str]]:
    """(source, version, whether it is the current one, title, text, headings, pages, hash) of every version there is,
    streamed."""
    with connection.cursor(name="versions") as cursor:
        cursor.itersize = FETCHED
        cursor.execute(
            "SELECT d.source, v.version, v.version = d.version, v.title, v.text, v.headings, v.pages, v.hash"
            " FROM openbook.version v JOIN openbook.document d ON d.id = v.document WHERE d.kb = %s",
            [kb],
        )
        yield from cursor


def stored_metadata(connection: Connection, kb: int) -> Iterator[tuple[str, str, str, bool, Any, set[Any]]]:
    """(id, source, title, whether removed, metadata, the document's attribute rows with its access), streamed."""
    with connection.cursor(name="metadata") as cursor:
        cursor.itersize = 10 * FETCHED
        cursor.execute(
            "SELECT d.id::text, d.source, v.title, d.removed IS NOT NULL, d.metadata, d.access,"
            " (SELECT jsonb_agg(jsonb_build_array(a.access, a.field, a.text, a.number::text, a.flag))"
            "  FROM openbook.attribute a WHERE a.document = d.id)"
            " FROM openbook.document d JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
            " WHERE d.kb = %s",
            [kb],
        )
        for id, source, title, removed, metadata, access, rows in cursor:
            kept = {
                (of == access, field, text, None if number is None else float(number), flag)
                for of, field, text, number, flag in rows or ()
            }
            if len(kept) < len(rows or ()):
                kept.add((False, "", "said twice", None, None))
            yield id, source, title, removed, metadata, kept


def wrong_metadata(metadata: Any) -> str:
    """Why no document can have this metadata; empty: one can."""
    if not isinstance(metadata, dict):
        return "not an object"
    for key, value in metadata.items():
        for one in value if isinstance(value, list) else (value,):
            if not isinstance(one, str | int | float):
                return f"{key} is {json.dumps(one)[:40]}"
    return ""


def expected_attributes(source: str, title: str, metadata: Any) -> set[Any]:
    """The rows that ``stored_metadata`` should have brought."""
    return {(True, *row) for row in attributes(filterable(source, title, tuples(metadata)))}


def mend_attributes(connection: Connection, documents: Sequence[str]) -> None:
    """The attribute rows of these documents, made anew of their metadata."""
    # First a lock, in the order in which every writer takes it: a statement that had to wait for one joins the document
    # to the version that was its newest before, and finds neither.
    connection.execute(
        "SELECT FROM openbook.document d WHERE d.id = ANY(%s::uuid[]) ORDER BY d.key FOR UPDATE OF d",
        [list(documents)],
    )
    rows = connection.execute(
        "SELECT d.id, d.access, d.source, v.title, d.metadata FROM openbook.document d"
        " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
        " WHERE d.id = ANY(%s::uuid[]) AND d.removed IS NULL",
        [list(documents)],
    ).fetchall()
    connection.execute("DELETE FROM openbook.attribute WHERE document = ANY(%s::uuid[])", [list(documents)])
    insert_attributes(connection, [(*row, tuples(metadata)) for *row, metadata in rows])


# --- the change feed --------------------------------------------------------------------------------------------------


def out_of_feed(connection: Connection, kb: int) -> Found:
    """Every document has its place in the change feed, and none lies beyond where the feed ends."""
    return _found(
        connection,
        "SELECT d.source || ' is not in the change feed' FROM openbook.document d WHERE d.kb = %(kb)s"
        " AND NOT EXISTS (SELECT FROM openbook.change c WHERE c.kb = d.kb AND c.document = d.id)"
        " UNION ALL SELECT coalesce(d.source, c.document::text) || ' is at position ' || c.position || ' of ' ||"
        "  k.position FROM openbook.change c JOIN openbook.knowledge_base k ON k.id = c.kb"
        "  LEFT JOIN openbook.document d ON d.id = c.document"
        "  WHERE c.kb = %(kb)s AND c.position NOT BETWEEN 1 AND k.position",
        kb=kb,
    )


def mend_feed(connection: Connection, kb: int) -> None:
    """Whatever is not in its place changes now: every view reads it once more."""
    connection.execute(
        "WITH next AS (UPDATE openbook.knowledge_base k SET position = 1 + greatest(k.position,"
        "  (SELECT max(c.position) FROM openbook.change c WHERE c.kb = k.id)) WHERE k.id = %(kb)s RETURNING position)"
        " INSERT INTO openbook.change (kb, document, position) SELECT d.kb, d.id, next.position"
        " FROM next, openbook.document d LEFT JOIN openbook.change c ON c.kb = d.kb AND c.document = d.id"
        " WHERE d.kb = %(kb)s AND (c.position IS NULL OR c.position < 1)"
        " ON CONFLICT (kb, document) DO UPDATE SET position = excluded.position",
        {"kb": kb},
    )


def changed_since(connection: Connection, kb: int, position: int) -> list[str]:
    """The documents that changed after a position."""
    rows = connection.execute(
        "SELECT document::text FROM openbook.change WHERE kb = %s AND position > %s", [kb, position]
    ).fetchall()
    return [row[0] for row in rows]


# --- rows that belong to nothing --------------------------------------------------------------------------------------

_BELONGS: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("version", "EXISTS (SELECT FROM openbook.document d WHERE d.id = o.document)"),
    ("attribute", "EXISTS (SELECT FROM openbook.document d WHERE d.id = o.document)"),
    ("unfamiliar", "EXISTS (SELECT FROM openbook.document d JOIN openbook.index i ON i.kb = d.kb"
                   " WHERE d.id = o.document AND i.id = o.index)"),
    ("indexed", "EXISTS (SELECT FROM openbook.document d JOIN openbook.index i ON i.kb = d.kb"
                " WHERE d.id = o.document AND i.id = o.index)"),
    ("renamed", "EXISTS (SELECT FROM openbook.document d WHERE d.id = o.document)"),
    ("vector_use", "EXISTS (SELECT FROM openbook.document d WHERE d.id = o.document)"),
    ("feedback", "EXISTS (SELECT FROM openbook.trace t WHERE t.id = o.trace)"),
    ("file", "EXISTS (SELECT FROM openbook.root r WHERE r.id = o.root)"),
    ("model_folder", "EXISTS (SELECT FROM openbook.model m WHERE m.id = o.model)"),
    ("trained_on", "EXISTS (SELECT FROM openbook.model m WHERE m.id = o.model)"),
    *(
        (table, "EXISTS (SELECT FROM openbook.knowledge_base k WHERE k.id = o.kb)")
        for table in ("document", "access_set", "root", "change", "trace", "forgotten", "erasure", "model")
    ),
)  # fmt: skip
"""Table → what a row of it belongs to. Foreign keys say so too; a restore with ``--disable-triggers`` does not ask."""

_OF_NO_INDEX: LiteralString = (
    "FROM pg_class c WHERE c.relnamespace = 'openbook'::regnamespace AND c.relkind = 'r'"
    " AND c.relname ~ '^chunk_[0-9]+$'"
    " AND NOT EXISTS (SELECT FROM openbook.index i WHERE 'chunk_' || i.id = c.relname)"
)


def orphans(connection: Connection) -> Found:
    """Every row belongs to something. Of all knowledge bases: what belongs to nothing belongs to none of them."""
    found = Found()
    for table, belongs in _BELONGS:
        query = sql.SQL("SELECT {} || ' ' || o::text FROM {} o WHERE NOT {}" if table in ("file", "root") else
                        "SELECT {} || ' row' FROM {} o WHERE NOT {}")  # fmt: skip
        found += _found(
            connection,
            query.format(sql.Literal(table), sql.Identifier("openbook", table), sql.SQL(belongs)),
        )
    return found + _found(
        connection,
        f"SELECT c.relname || ' is a table of no index' {_OF_NO_INDEX}"
        " UNION ALL SELECT 'index ' || i.id || ' has no table' FROM openbook.index i"
        " WHERE to_regclass('openbook.chunk_' || i.id) IS NULL",
    )


def mend_orphans(connection: Connection, _: int) -> None:
    """Of all knowledge bases."""
    for table, belongs in _BELONGS:
        connection.execute(
            sql.SQL("DELETE FROM {} o WHERE NOT {}").format(sql.Identifier("openbook", table), sql.SQL(belongs))
        )
    for (table,) in connection.execute(f"SELECT c.relname {_OF_NO_INDEX}").fetchall():
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("openbook", table)))


# --- one index --------------------------------------------------------------------------------------------------------


def behind(connection: Connection, kb: int, index: KeptIndex) -> Found:
    """The documents that are there and that the index has not read in their current version."""
    return _found(
        connection,
        "SELECT d.source || coalesce(': read in version ' || n.version || ', and is in ' || d.version, ': not read')"
        " FROM openbook.document d LEFT JOIN openbook.indexed n ON n.index = %(index)s AND n.document = d.id"
        " WHERE d.kb = %(kb)s AND d.removed IS NULL AND n.version IS DISTINCT FROM d.version",
        kb=kb,
        index=index.id,
    )


def astray(connection: Connection, kb: int, index: KeptIndex) -> Found:
    """Chunks of documents that are removed, of another knowledge base, or not there."""
    return _found(
        connection,
        sql.SQL(
            "SELECT coalesce(d.source, c.document::text) || CASE WHEN d.id IS NULL THEN ': no such document'"
            "  WHEN d.kb <> %(kb)s THEN ': of another knowledge base' ELSE ': is removed' END"
            " FROM {} c LEFT JOIN openbook.document d ON d.id = c.document"
            " WHERE d.id IS NULL OR d.kb <> %(kb)s OR d.removed IS NOT NULL"
        ).format(index.table),
        kb=kb,
    )


def mend_astray(connection: Connection, kb: int, index: KeptIndex) -> None:
    rows = connection.execute(
        sql.SQL(
            "DELETE FROM {} c WHERE NOT EXISTS (SELECT FROM openbook.document d"
            " WHERE d.id = c.document AND d.kb = %s AND d.removed IS NULL) RETURNING c.document::text"
        ).format(index.table),
        [kb],
    ).fetchall()
    feed(connection, kb, sorted({row[0] for row in rows}))  # keyword views hold them, too


_OF_ANOTHER_LENGTH: LiteralString = "c.vector IS NOT NULL AND abs(l2_norm(c.vector) - 1) > 0.01"


def misshapen(connection: Connection, index: KeptIndex) -> Found:
    """The index's vectors are of its dimension and of unit length, to what half precision rounds."""
    found = _found(
        connection,
        "SELECT 'its table holds ' || format_type(a.atttypid, a.atttypmod) || ', not halfvec(' || %(dimension)s || ')'"
        " FROM pg_attribute a WHERE a.attrelid = to_regclass(%(table)s) AND a.attname = 'vector'"
        " AND format_type(a.atttypid, a.atttypmod) !~ ('halfvec\\(' || %(dimension)s || '\\)$')",
        table=f"openbook.chunk_{index.id}",
        dimension=str(index.dimension),
    )
    return found + _found(
        connection,
        sql.SQL(
            "SELECT coalesce(d.source, c.document::text) || ', chunk at ' || c.start || ': length '"
            "  || round(l2_norm(c.vector)::numeric, 3)"
            f" FROM {{}} c LEFT JOIN openbook.document d ON d.id = c.document WHERE {_OF_ANOTHER_LENGTH}"
        ).format(index.table),
    )


def misshapen_documents(connection: Connection, index: KeptIndex) -> list[str]:
    rows = connection.execute(
        sql.SQL(f"SELECT DISTINCT c.document::text FROM {{}} c WHERE {_OF_ANOTHER_LENGTH}").format(index.table)
    ).fetchall()
    return [row[0] for row in rows]


def documents_of(connection: Connection, kb: int, index: KeptIndex) -> Iterator[Indexed]:
    """Every document that is there with its chunks in an index, in order of its id, streamed."""
    with connection.cursor(name=f"documents_{index.id}") as cursor:
        cursor.itersize = FETCHED
        cursor.execute(
            sql.SQL(
                "SELECT d.id::text, d.source, d.version, d.access, d.local_only, v.title, v.text, v.headings, v.pages,"
                " n.version, (SELECT jsonb_agg(jsonb_build_array("
                '  c.id, c.version, c.start, c."end", c.headings, c.page, c.access, c.vector IS NOT NULL,'
                "  c.passage, c.context)"
                "  ORDER BY c.start, c.id) FROM {} c WHERE c.document = d.id)"
                " FROM openbook.document d"
                " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
                " LEFT JOIN openbook.indexed n ON n.index = %s AND n.document = d.id"
                " WHERE d.kb = %s AND d.removed IS NULL ORDER BY d.id"
            ).format(index.table),
            [index.id, kb],
        )
        for id, source, version, access, local_only, title, text, headings, pages, read, chunks in cursor:
            rows = tuple(
                StoredChunk(
                    number, of, start, end, tuple(path), page, open_to, has_vector, passage and tuple(passage), context
                )
                for number, of, start, end, path, page, open_to, has_vector, passage, context in chunks or ()
            )
            yield Indexed(id, source, version, access, local_only, title, text, headings, pages, read, rows)


def newest(connection: Connection, documents: Sequence[str]) -> list[tuple[str, int, bool, str, str, str, Any, Any]]:
    """(id, version, whether local-only, source, title, text, headings, pages) of those that are there."""
    rows = connection.execute(
        "SELECT d.id::text, d.version, d.local_only, d.source, v.title, v.text, v.headings, v.pages"
        " FROM openbook.document d JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
        " WHERE d.id = ANY(%s::uuid[]) AND d.removed IS NULL ORDER BY d.id",
        [list(documents)],
    ).fetchall()
    return [(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7]) for row in rows]


def chunk_vectors(connection: Connection, index: KeptIndex, chunks: Sequence[int]) -> dict[int, Any]:
    """Chunk → its stored vector, as pgvector's HalfVector."""
    rows = connection.execute(
        sql.SQL("SELECT id, vector FROM {} WHERE id = ANY(%s) AND vector IS NOT NULL").format(index.table),
        [list(chunks)],
        binary=True,
    ).fetchall()
    return dict(rows)


def cached_vectors(connection: Connection, index: KeptIndex, keys: Sequence[bytes]) -> dict[bytes, Any]:
    """SHA-256 of an embedded text → what the index's model once made of it, where that is still kept."""
    rows = connection.execute(
        "SELECT text, vector FROM openbook.vector WHERE embedder = %s AND text = ANY(%s)",
        [index.embedder, list(keys)],
        binary=True,
    ).fetchall()
    return {bytes(key): vector for key, vector in rows}


def places(connection: Connection, index: KeptIndex) -> Iterator[tuple[int, int, str]]:
    """(chunk, access set, document) of every row of an index, streamed."""
    with connection.cursor(name=f"places_{index.id}") as cursor:
        cursor.itersize = 5_000
        cursor.execute(sql.SQL("SELECT id, access, document::text FROM {}").format(index.table))
        yield from cursor


def access_sets(connection: Connection, kb: int) -> list[int]:
    rows = connection.execute("SELECT id FROM openbook.access_set WHERE kb = %s", [kb]).fetchall()
    return [row[0] for row in rows]


_NOT_BUILT: LiteralString = (
    "FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = 'openbook'::regnamespace"
    " AND NOT (i.indisvalid AND i.indisready)"
)
_WITHOUT_HNSW: LiteralString = (
    "FROM openbook.index i"
    " WHERE i.dimension <= 4000 AND to_regclass('openbook.chunk_' || i.id) IS NOT NULL"  # as ``Index.create`` has it
    " AND NOT EXISTS (SELECT FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam"
    "  WHERE x.indrelid = to_regclass('openbook.chunk_' || i.id) AND a.amname = 'hnsw')"
)


def invalid_indexes(connection: Connection) -> Found:
    """PostgreSQL's own indexes are whole: one whose building was interrupted is not asked, and one may be damaged."""
    found = _found(
        connection,
        f"SELECT i.indexrelid::regclass::text || ' was not built to its end' {_NOT_BUILT}"
        f" UNION ALL SELECT 'index ' || i.id || ' has no HNSW index' {_WITHOUT_HNSW}",
    )
    if connection.execute("SELECT FROM pg_extension WHERE extname = 'amcheck'").fetchone() is None:
        return found
    btrees = connection.execute(
        "SELECT c.oid, c.relname FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
        " JOIN pg_index i ON i.indexrelid = c.oid AND i.indisvalid"
        " WHERE c.relnamespace = 'openbook'::regnamespace AND a.amname = 'btree' AND c.relkind = 'i'"
    ).fetchall()
    for oid, name in btrees:
        try:
            with connection.transaction():
                connection.execute("SELECT bt_index_check(%s::oid::regclass)", [oid])
        except psycopg.errors.InsufficientPrivilege:
            break  # the owner of a managed server may not ask
        except (psycopg.errors.IndexCorrupted, psycopg.errors.DataCorrupted) as error:
            found += Found(1, (f"{name}: {error.diag.message_primary}",))
    return found


def mend_invalid_indexes(connection: Connection, _: int) -> None:
    """Build anew what is not whole, of all knowledge bases; writers wait meanwhile."""
    for (name,) in connection.execute(f"SELECT i.indexrelid::regclass::text {_NOT_BUILT}").fetchall():
        connection.execute(sql.SQL("REINDEX INDEX {}").format(sql.SQL(name)))
    for (number,) in connection.execute(f"SELECT i.id {_WITHOUT_HNSW}").fetchall():
        connection.execute(
            sql.SQL("CREATE INDEX ON {} USING hnsw (vector halfvec_ip_ops)").format(
                sql.Identifier("openbook", f"chunk_{number}")
            )
        )


# --- who may see what -------------------------------------------------------------------------------------------------


def open_tables(connection: Connection, reader: str) -> Found:
    """The reader is held by row-level security: on every table that it may read, by a rule that asks for principals;
    it owns nothing, is no superuser, and is a member of nobody."""
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [reader]).fetchone() is None:
        return Found(1, (f"{reader} is not there",))
    return _found(
        connection,
        "SELECT c.relname || CASE WHEN NOT (c.relrowsecurity AND c.relforcerowsecurity)"
        "  THEN ': row-level security is off' ELSE ': a rule lets the reader see everything, or none is there' END"
        " FROM pg_class c WHERE c.relnamespace = 'openbook'::regnamespace AND c.relkind = 'r'"
        " AND has_table_privilege(%(reader)s, c.oid, 'SELECT') AND c.relname <> ALL(%(open)s)"
        " AND (NOT (c.relrowsecurity AND c.relforcerowsecurity) OR NOT coalesce(("
        "  SELECT bool_and(p.polcmd = 'r' AND pg_get_expr(p.polqual, p.polrelid) <> 'true')"
        "  FROM pg_policy p JOIN pg_roles r ON r.rolname = %(reader)s"
        "  WHERE p.polrelid = c.oid AND p.polroles && ARRAY[0::oid, r.oid]), false))"
        " UNION ALL SELECT c.relname || ': the reader may write it' FROM pg_class c"
        "  WHERE c.relnamespace = 'openbook'::regnamespace AND c.relkind = 'r'"
        "  AND has_table_privilege(%(reader)s, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"
        " UNION ALL SELECT c.relname || ': the reader may read it' FROM pg_class c"
        "  WHERE c.relnamespace = 'openbook'::regnamespace AND c.relname IN ('setting', 'vector', 'vector_use')"
        "  AND has_table_privilege(%(reader)s, c.oid, 'SELECT')"
        " UNION ALL SELECT r.rolname || ' bypasses row-level security' FROM pg_roles r"
        "  WHERE r.rolname = %(reader)s AND (r.rolsuper OR r.rolbypassrls)"
        " UNION ALL SELECT r.rolname || ' owns ' || c.relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
        "  WHERE r.rolname = %(reader)s"
        " UNION ALL SELECT r.rolname || ' is a member of ' || other.rolname FROM pg_auth_members m"
        "  JOIN pg_roles r ON r.oid = m.member JOIN pg_roles other ON other.oid = m.roleid"
        "  WHERE r.rolname = %(reader)s",
        reader=reader,
        open=list(_NO_TEXT_OF_DOCUMENTS),
    )


def pgvector_version(connection: Connection) -> str:
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    return "" if row is None else str(row[0])
