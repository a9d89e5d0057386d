"""Small pieces to be found, each with the section that it stands in, or a part of it, to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from openbook.chunk.budget import Budget
from openbook.chunk.structure import Structure
from openbook.types import Chunk, Document


class Parent:
    """Chunks of at most ``target`` tokens, cut as ``Structure`` cuts; neighbours of one section, together at most
    ``parent`` tokens, share a passage."""

    kind = "parent"

    def __init__(self, budget: Budget, *, target: int, parent: int) -> None:
        self.budget = budget
        self.max_tokens = budget.limit
        self.parent = parent
        self._children = Structure(budget, target=target, whole=False)

    def chunk(self, document: Document) -> Iterable[Chunk]:
        return next(self.chunk_all([document]))

    def chunk_all(self, documents: Iterable[Document]) -> Iterator[list[Chunk]]:
        for chunks in self._children.chunk_all(documents):
            sections = [list(section) for _, section in groupby(chunks, key=lambda chunk: chunk.headings)]
            sizes = iter(map(len, self.budget.tokens.tokens([chunk.text for chunk in chunks])))
            yield [child for section in sections for child in self._grouped(section, [next(sizes) for _ in section])]

    def _grouped(self, section: Sequence[Chunk], sizes: Sequence[int]) -> Iterator[Chunk]:
        """A section in as few parents of about equal size as hold it."""
        share = sum(sizes) / max(1, -(-sum(sizes) // self.parent)) or 1
        group: list[Chunk] = []
        held = done = number = 0
        for chunk, size in zip(section, sizes, strict=True):
            of = int((done + size / 2) / share)
            if group and (of != number or held + size > self.parent):
                yield from _shared(group)
                group, held = [], 0
            group.append(chunk)
            held, done, number = held + size, done + size, of
        yield from _shared(group)


def _shared(group: Sequence[Chunk]) -> Iterator[Chunk]:
    if len(group) == 1:
        yield from group
        return
    passage = group[0].start, group[-1].end
    for child in group:
        yield replace(child, passage=passage)
