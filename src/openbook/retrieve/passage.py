"""Neighbouring chunks that were both found become one hit: the passage is whole, and another hit has room.

A chunk that lies in a passage that is shown already adds nothing, and is no hit of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from openbook.types import Chunk, Hit

_WORD = re.compile(r"\w+")


class Passage:
    """A hit that one neighbour of its chunk may join; ``after`` is the text that follows it."""

    def __init__(self, hit: Hit, after: str) -> None:
        self.hit = hit
        self._after: str | None = after

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
        return True


class Said:
    """What the passages so far say, chunk by chunk, to be asked whether something says nearly the same. Chunks are
    found by the runs of words that they share: of thousands few share any."""

    def __init__(self, similarity: float) -> None:
        self._similarity = similarity
        self._texts: list[tuple[Passage, int]] = []  # whose it is, and how many runs it has
        self._having: dict[tuple[str, ...], list[int]] = {}  # texts, by a run

    def add(self, passage: Passage, hit: Hit) -> None:
        """``hit`` is, or is part of, ``passage``."""
        own = runs(hit.chunk.text)
        for run in own:
            self._having.setdefault(run, []).append(len(self._texts))
        self._texts.append((passage, len(own)))

    def repeats(self, other: Hit) -> bool:
        """Have the first passage that says nearly what ``other`` says tell it; whether there is one."""
        own = runs(other.chunk.text)
        shared = Counter(text for run in own for text in self._having.get(run, ()))
        alike = [text for text, count in shared.items() if self._are_alike(count, len(own), self._texts[text][1])]
        if not alike:
            return False
        passage = self._texts[min(alike)][0]
        passage.hit = replace(passage.hit, also=(*passage.hit.also, other))
        return True

    def _are_alike(self, shared: int, a: int, b: int) -> bool:
        """The share of runs that both have, of all that either has (Broder, On the resemblance and containment of
        documents, 1997); exactly, since no more are compared than are fetched for one question."""
        return shared / (a + b - shared) >= self._similarity


def runs(text: str) -> frozenset[tuple[str, ...]]:
    """Every three words in a row; of a shorter text all its words. Case, space and punctuation do not count."""
    words = _WORD.findall(text.casefold())
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset({tuple(words)})


def _joined(first: Chunk, after: str, second: Chunk) -> Chunk | None:
    """Both chunks as one; ``None`` where they do not follow one another."""
    gap = second.start - first.end
    if gap > len(after) or after[: max(0, gap)].strip():
        return None
    text = first.text + (after[:gap] + second.text if gap >= 0 else second.text[-gap:])
    return replace(first, end=max(first.end, second.end), text=text)
