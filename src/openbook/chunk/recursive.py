"""Recursive character splitting, as other tools have it, with exact offsets."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator

from openbook.chunk.batches import batches
from openbook.chunk.budget import Budget, trimmed
from openbook.types import Chunk, Document

# Coarsest first. A separator stays at the head of the piece that follows it.
_SEPARATORS = ("\n\n", "\n", " ")
# What a reader sees as one character; bounded, so that a heap of accents can still be cut.
_SIGN = re.compile(r".[\u0300-\u036f\u0483-\u0489\u064b-\u065f\u200d\ufe00-\ufe0f]{0,8}", re.DOTALL)


class Recursive:
    """Pieces of at most ``size`` characters, cut at paragraphs, else lines, else words, else anywhere.

    Consecutive pieces share up to ``overlap`` characters, in whole pieces. A piece whose embedded text is longer than
    the embedder reads is halved until it is not, so ``size`` is an upper bound.
    """

    kind = "recursive"

    def __init__(self, budget: Budget, *, size: int, overlap: int) -> None:
        self.budget = budget
        self.max_tokens = budget.limit
        self.size = size
        self.overlap = overlap

    def chunk(self, document: Document) -> Iterable[Chunk]:
        return next(self.chunk_all([document]))

    def chunk_all(self, documents: Iterable[Document]) -> Iterator[list[Chunk]]:
        for batch in batches(documents):
            for outline, counted, prefixes in self.budget.read(batch):
                text = outline.document.text
                spans = dict.fromkeys(trimmed(text, *span) for span in self._split(text, 0, len(text), 0))
                yield self.budget.fit(outline, counted, prefixes, [span for span in spans if span[0] < span[1]])

    def _split(self, text: str, start: int, end: int, level: int) -> Iterator[tuple[int, int]]:
        while level < len(_SEPARATORS) and text.find(_SEPARATORS[level], start, end) < 0:
            level += 1
        small: list[tuple[int, int]] = []
        for piece in _pieces(text, start, end, level):
            if piece[1] - piece[0] < self.size:
                small.append(piece)
                continue
            yield from self._merge(small)
            small = []
            if level == len(_SEPARATORS):
                yield piece
            else:
                yield from self._split(text, *piece, level + 1)
        yield from self._merge(small)

    def _merge(self, pieces: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Neighbours together as long as they fit; the next one starts with the last ones that fit the overlap."""
        window: deque[tuple[int, int]] = deque()
        for start, end in pieces:
            if window and end - window[0][0] > self.size:
                yield window[0][0], window[-1][1]
                while window and (start - window[0][0] > self.overlap or end - window[0][0] > self.size):
                    window.popleft()
            window.append((start, end))
        if window:
            yield window[0][0], window[-1][1]


def _pieces(text: str, start: int, end: int, level: int) -> Iterator[tuple[int, int]]:
    if level == len(_SEPARATORS):
        for match in _SIGN.finditer(text, start, end):
            yield match.span()
        return
    separator = _SEPARATORS[level]
    while start < end:
        stop = text.find(separator, start + len(separator) if text.startswith(separator, start) else start, end)
        stop = end if stop < 0 else stop
        yield start, stop
        start = stop
