"""Sentences to be found, each with the window of sentences around it to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from openbook.chunk.batches import batches
from openbook.chunk.budget import Budget
from openbook.chunk.units import units
from openbook.types import Chunk, Document


class Window:
    """Each sentence is a chunk; its passage begins ``window`` sentences before it and ends as many after it, in its
    section."""

    kind = "window"

    def __init__(self, budget: Budget, *, window: int, least: int) -> None:
        self.budget = budget
        self.max_tokens = budget.limit
        self.window = window
        self.least = least

    def chunk(self, document: Document) -> Iterable[Chunk]:
        return next(self.chunk_all([document]))

    def chunk_all(self, documents: Iterable[Document]) -> Iterator[list[Chunk]]:
        for batch in batches(documents):
            for outline, counted, prefixes in self.budget.read(batch):
                found: list[Chunk] = []
                for section in units(outline, counted, self.least):
                    found += self._shown(self.budget.fit(outline, counted, prefixes, section))
                yield found

    def _shown(self, section: Sequence[Chunk]) -> Iterator[Chunk]:
        for at, chunk in enumerate(section):
            first, last = section[max(0, at - self.window)], section[min(len(section) - 1, at + self.window)]
            passage = first.start, last.end
            yield chunk if passage == (chunk.start, chunk.end) else replace(chunk, passage=passage)
