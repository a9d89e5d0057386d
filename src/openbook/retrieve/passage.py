"""Neighbouring chunks that were both found become one hit: the passage is whole, and another hit has room."""

from __future__ import annotations

from dataclasses import replace

from openbook.types import Chunk, Hit


class Passage:
    """A hit that one neighbour of its chunk may join; ``after`` is the text that follows it."""

    def __init__(self, hit: Hit, after: str) -> None:
        self.hit = hit
        self._after: str | None = after

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


def _joined(first: Chunk, after: str, second: Chunk) -> Chunk | None:
    """Both chunks as one; ``None`` where they do not follow one another."""
    gap = second.start - first.end
    if gap > len(after) or after[: max(0, gap)].strip():
        return None
    text = first.text + (after[:gap] + second.text if gap >= 0 else second.text[-gap:])
    return replace(first, end=max(first.end, second.end), text=text)
