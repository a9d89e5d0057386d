"""Queries whose answers stand in the documents, and the chunks of the index that hold these.

What is trained on is what will be embedded: the text of a chunk below its title and headings, as the index reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from openbook.chunk import embedded_text
from openbook.finetune.data.rows import Passage
from openbook.types import Hit

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase


@dataclass(frozen=True, slots=True)
class Place:
    """A document (its id), and the ``spans`` of it that say something; without any, the whole."""

    document: str
    spans: tuple[tuple[int, int], ...] = ()

    def shared(self, start: int, end: int) -> int:
        """How many characters of the spans lie in ``start:end``."""
        return sum(max(0, min(end, last) - max(start, first)) for first, last in self.spans)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, the places that answer it (``right``) and those that do not, a document once in each.

    ``left_out`` is a sentence or title that is the query itself and is taken out of the passage, so that it is not
    found by its own words. The other fields are those of an example.
    """

    query: str
    right: tuple[Place, ...]
    wrong: tuple[Place, ...] = ()
    kind: str = ""
    asked_by: tuple[str, ...] = ()
    where: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Library:
    """The documents that the rows may be made of: as ``kb.list`` has them, by id; ``ids``: their ids, by source;
    ``versions``: which group of versions each belongs to, by id."""

    rows: Mapping[str, Mapping[str, Any]]
    ids: Mapping[str, str]
    versions: Mapping[str, str]
    room: int  # tokens of a chunk, with what stands above it

    @staticmethod
    def of(kb: KnowledgeBase, listing: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> Library:
        """``versions``: by source."""
        rows = {row["document"]: row for row in listing}
        groups = {id: versions.get(row["source"], row["source"]) for id, row in rows.items()}
        return Library(
            rows, {row["source"]: id for id, row in rows.items()}, groups, kb.serving.reader.chunker.max_tokens
        )

    def passage(self, hit: Hit, left_out: str = "") -> Passage:
        """What is trained on of a chunk that was fetched: its own text, not the longer one that is shown."""
        chunk = hit.chunk
        if hit.found is not None:
            start, end = hit.found
            own = chunk.text[start - chunk.start : end - chunk.start]
            chunk = replace(chunk, start=start, end=end, text=own)
        title = hit.title
        if left_out:
            left = " ".join(chunk.text.replace(left_out, " ", 1).split())
            headings = tuple(heading for heading in chunk.headings if heading != left_out)
            chunk = replace(chunk, text=left, headings=headings)
            title = "" if title == left_out else title
        row = self.rows[hit.document]
        return Passage(
            embedded_text(title, chunk, self.room), hit.source, tuple(row["access"]), bool(row["local_only"])
        )

    def same(self, a: str, b: str) -> bool:
        """Whether two documents are one, or versions of one."""
        return a == b or self.versions.get(a, a) == self.versions.get(b, b)


@dataclass(slots=True)
class Ranking:
    """What the live search found for a query, best first: (document, start, end) of each hit, with what is told with
    it."""

    hits: list[list[tuple[str, int, int]]] = field(default_factory=list)

    @staticmethod
    def of(kb: KnowledgeBase, query: str, k: int, as_: Sequence[str] | None) -> Ranking:
        found = kb.search(query, k, as_=as_, record=False).hits
        return Ranking([[(one.document, one.chunk.start, one.chunk.end) for one in (hit, *hit.also)] for hit in found])

    def rank(self, document: str, spans: Sequence[tuple[int, int]]) -> int | None:
        """The rank, from 1, of the first hit that holds something of these spans (none: of the document)."""
        for rank, hit in enumerate(self.hits, 1):
            for found, start, end in hit:
                if found == document and (not spans or any(a < end and start < b for a, b in spans)):
                    return rank
        return None
