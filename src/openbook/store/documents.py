"""Documents as a caller may see them: which there are, what they say, what versions they had.

Each question is asked under the caller's principals, in a snapshot of its own. ``writing.py`` is what changes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from openbook.store.access import theirs
from openbook.store.database import Database
from openbook.store.edits import Held
from openbook.store.filter import tuples
from openbook.store.tombstones import key_of
from openbook.types import Document, Heading


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a document besides its text: when it last changed, and since when it is hidden; what was edited
    over its source; by what sources it went before."""

    source: str
    version: int
    changed: datetime
    removed: datetime | None
    held: Held
    former: tuple[str, ...]


class Documents:
    """The documents of one knowledge base."""

    def __init__(self, database: Database, kb: int) -> None:
        self.database = database
        self.kb = kb

    def all(self, principals: Sequence[str] | None) -> list[dict[str, Any]]:
        """Every document that the principals may see, in order of source; of those whom it is open to, their own."""
        with self.database.snapshot(principals) as connection:
            rows = connection.execute(
                "SELECT d.id::text, d.source, v.title, d.version, d.metadata, a.principals, d.local_only, d.changed,"
                " length(v.text)"
                " FROM openbook.document d JOIN openbook.access_set a ON a.id = d.access"
                " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
                " WHERE d.kb = %s AND d.removed IS NULL ORDER BY d.source",
                [self.kb],
            ).fetchall()
        names = ("document", "source", "title", "version", "metadata", "access", "local_only", "changed", "characters")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [{**row, "access": list(theirs(row["access"], principals))} for row in found]

    def copies(self, principals: Sequence[str] | None) -> list[tuple[str, ...]]:
        """The sources of documents whose text is the same to the letter, in groups of two and more."""
        with self.database.snapshot(principals) as connection:
            rows = connection.execute(
                "SELECT array_agg(d.source ORDER BY d.source) FROM openbook.document d"
                " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
                " WHERE d.kb = %s AND d.removed IS NULL AND v.text <> '' GROUP BY md5(v.text) HAVING count(*) > 1"
                " ORDER BY 1",
                [self.kb],
            ).fetchall()
        return [tuple(sources) for (sources,) in rows]

    def find(self, name: str, principals: Sequence[str] | None, *, removed: bool = False) -> list[tuple[str, str]]:
        """(id, source) of the documents that ``name`` means: a source that it has or had, an id, or the end of a path.
        ``removed``: among all, those included that were."""
        with self.database.snapshot(principals) as connection:
            for condition, value in (
                ("d.key = %s", key_of(name)),
                ("d.id = (SELECT document FROM openbook.renamed WHERE kb = d.kb AND key = %s)", key_of(name)),
                ("d.id::text = %s", name),
                ("right(d.source, length(%s) + 1) = '/' || %s", name),
                ("right('/' || (d.metadata ->> 'path'), length(%s) + 1) = '/' || %s", name),  # not percent-encoded
                (
                    "EXISTS (SELECT FROM openbook.renamed r WHERE r.document = d.id"
                    " AND right(r.source, length(%s) + 1) = '/' || %s)",
                    name,
                ),
            ):
                rows = connection.execute(
                    "SELECT d.id::text, d.source FROM openbook.document d"
                    f" WHERE d.kb = %s AND (d.version > 0 AND d.removed IS NULL OR %s) AND ({condition})"
                    " ORDER BY d.source",
                    [self.kb, removed, *[value] * condition.count("%s")],
                ).fetchall()
                if rows:
                    return [(id, source) for id, source in rows]
        return []

    def versions(self, id: str, principals: Sequence[str] | None) -> Iterator[tuple[int, datetime, str, str, str]]:
        """Of every version of a document, oldest first: its number, when it was made, its title, text and hash."""
        with self.database.snapshot(principals) as connection, connection.cursor() as cursor:
            yield from cursor.stream(
                "SELECT v.version, v.created, v.title, v.text, v.hash FROM openbook.version v"
                " JOIN openbook.document d ON d.id = v.document WHERE d.kb = %s AND d.id = %s ORDER BY v.version",
                [self.kb, id],
            )

    def about(self, id: str, principals: Sequence[str] | None) -> About | None:
        """What is known of a document besides its text; ``None`` where the principals may not see it."""
        with self.database.snapshot(principals) as connection:
            row = connection.execute(
                "SELECT d.source, d.version, d.changed, d.removed, d.edited, ARRAY("
                "  SELECT r.source FROM openbook.renamed r WHERE r.document = d.id ORDER BY r.source)"
                " FROM openbook.document d WHERE d.kb = %s AND d.id = %s",
                [self.kb, id],
            ).fetchone()
        if row is None:
            return None
        source, version, changed, removed, edited, former = row
        return About(source, version, changed, removed, Held.read(edited), tuple(former))

    def get(self, id: str, principals: Sequence[str] | None, version: int | None = None) -> Document | None:
        """A document's text in its current or an earlier version; ``None`` where the principals may not see it."""
        with self.database.snapshot(principals) as connection:
            row = connection.execute(
                "SELECT d.source, v.text, v.title, d.metadata, a.principals, v.headings, v.pages, d.local_only"
                " FROM openbook.document d JOIN openbook.access_set a ON a.id = d.access"
                " JOIN openbook.version v ON v.document = d.id AND v.version = coalesce(%s, d.version)"
                " WHERE d.kb = %s AND d.id = %s",
                [version, self.kb, id],
            ).fetchone()
        if row is None:
            return None
        document = document_of(*row)
        return replace(document, access=theirs(document.access, principals))

    def texts(self, ids: Sequence[str], principals: Sequence[str] | None) -> dict[str, str]:
        """id → its current text, of those documents that are there and that the principals may see."""
        with self.database.snapshot(principals) as connection:
            rows = connection.execute(
                "SELECT d.id::text, v.text FROM openbook.document d"
                " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
                " WHERE d.kb = %s AND d.removed IS NULL AND d.id = ANY(%s::uuid[])",
                [self.kb, [id for id in ids if _is_id(id)]],
            ).fetchall()
        return dict(rows)

    def spans(
        self, places: Iterable[tuple[str, int, int, int]], principals: Sequence[str] | None
    ) -> dict[tuple[str, int, int, int], str]:
        """(document, version, start, end) → what stands there, of those that the principals may see."""
        wanted = sorted(set(places))
        if not wanted:
            return {}
        with self.database.snapshot(principals) as connection:
            rows = connection.execute(
                'SELECT p.document::text, p.version, p.start, p."end", substr(v.text, p.start + 1, p."end" - p.start)'
                ' FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::int[]) AS p (document, version, start, "end")'
                " JOIN openbook.version v ON v.document = p.document AND v.version = p.version",
                [[*column] for column in zip(*wanted, strict=True)],
            ).fetchall()
        return {(document, version, start, end): text for document, version, start, end, text in rows}

    def headings(
        self, versions: Iterable[tuple[str, int]], principals: Sequence[str] | None
    ) -> dict[tuple[str, int], tuple[Heading, ...]]:
        """(document, version) → its headings, of those that the principals may see."""
        wanted = sorted(versions)
        if not wanted:
            return {}
        with self.database.snapshot(principals) as connection:
            rows = connection.execute(
                "SELECT document::text, version, headings FROM openbook.version"
                " WHERE (document, version) IN (SELECT * FROM unnest(%s::uuid[], %s::int[]))",
                [[document for document, _ in wanted], [version for _, version in wanted]],
            ).fetchall()
        return {(id, version): headings_of(headings) for id, version, headings in rows}

    def status(self, principals: Sequence[str] | None) -> dict[str, Any]:
        """Counts that the principals may know."""
        with self.database.snapshot(principals) as connection:
            row = connection.execute(
                "SELECT count(*), count(*) FILTER (WHERE a.principals @> '{public}'), coalesce(sum(length(v.text)), 0),"
                " count(*) FILTER (WHERE d.local_only)"
                " FROM openbook.document d JOIN openbook.access_set a ON a.id = d.access"
                " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
                " WHERE d.kb = %s AND d.removed IS NULL",
                [self.kb],
            ).fetchone()
        assert row is not None
        return {"documents": row[0], "public": row[1], "characters": int(row[2]), "local_only": row[3]}


def document_of(
    source: str,
    text: str,
    title: str,
    metadata: Any,
    access: Sequence[str],
    headings: Any,
    pages: Sequence[int],
    local_only: bool,
) -> Document:
    return Document(
        source=source,
        text=text,
        title=title,
        metadata=tuples(metadata),
        access=tuple(access),
        headings=headings_of(headings),
        pages=tuple(pages),
        local_only=local_only,
    )


def headings_of(rows: Iterable[Sequence[Any]]) -> tuple[Heading, ...]:
    return tuple(Heading(*row) for row in rows)


def _is_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False
