"""Neighbouring chunks that were both found become one hit: the passage is whole, and another hit has room.

A chunk that lies in a passage that is shown already adds nothing, and is no hit of its own.
"""

from __future__ import annotations

import re
from dataclasses import replace

from openbook.types import Chunk, Hit

_WORD = re.compile(r"\w+")


class Passage:
    """A hit that one neighbour of its chunk may join; ``after`` is the text that follows it."""

    def __init__(self, hit: Hit, after: str) -> None:
        self.hit = hit
        self._after: str | None = after
        self._texts = [hit.chunk.text]
        self._runs: list[frozenset[tuple[str, ...]]] = []  # of each of the texts, when they are asked for

    def holds(self, other: Hit) -> bool:
        """Whether ``other`` was found inside this passage."""
        if (self.hit.document, self.hit.version) != (other.document, other.version):
            return False
        start, end = other.found or (other.chunk.start, other.chunk.end)
        return self.hit.chunk.start <= start and end <= self.hit.chunk.end

    def join(self, other: Hit, after: str) -> bool:
        """Take ``other`` in if it is the first to come, of the same section of the same document, and nothing but
        blanks lies between; whether it was. The hit keeps its own score and stages."""
        mine, its = self.hit.chunk, other.chunk
        if self._after is None or (self.hit.document, self.hit.version) != (other.document, other.version):
            return False
        if mine.headings != its.headings:
            return False
        joined = _joined(mine, self._after, its) if mine.start <= its.start else _joined(its, after, mine)
        if joined is None:
            return False
        self.hit = replace(self.hit, chunk=joined)
        self._after = None
        self._texts.append(its.text)
        return True

    def repeats(self, other: Hit, similarity: float) -> bool:
        """Take ``other`` in as one that says nearly what this passage, or a chunk of it, says; whether it does."""
        self._runs += map(runs, self._texts[len(self._runs) :])
        if not any(likeness(own, runs(other.chunk.text)) >= similarity for own in self._runs):
            return False
        self.hit = replace(self.hit, also=(*self.hit.also, other))
        return True


def runs(text: str) -> frozenset[tuple[str, ...]]:
    """Every three words in a row; of a shorter text all its words. Case, space and punctuation do not count."""
    words = _WORD.findall(text.casefold())
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset({tuple(words)})


def likeness(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    """The share of runs that both have, of all that either has (Broder, On the resemblance and containment of
    documents, 1997); exactly, since no more are compared than are fetched for one question."""
    if min(len(a), len(b)) == 0:
        return 0.0
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _joined(first: Chunk, after: str, second: Chunk) -> Chunk | None:
    """Both chunks as one; ``None`` where they do not follow one another."""
    gap = second.start - first.end
    if gap > len(after) or after[: max(0, gap)].strip():
        return None
    text = first.text + (after[:gap] + second.text if gap >= 0 else second.text[-gap:])
    return replace(first, end=max(first.end, second.end), text=text)
