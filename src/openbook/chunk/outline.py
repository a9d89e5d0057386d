"""Where a span stands in its document: the heading path above it, and its page."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from openbook.types import Chunk, Document


@dataclass(frozen=True, slots=True)
class Section:
    """From one heading to the next; ``path`` is that above its text (``None``: it has none, but headings)."""

    start: int
    end: int
    level: int
    path: tuple[str, ...] | None


class Outline:
    """The heading paths of a document. A heading without words bounds a section but adds nothing to a path."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.starts: list[int] = []
        self.paths: list[tuple[str, ...]] = []
        stack: list[tuple[int, str]] = []
        for heading in document.headings:
            while stack and stack[-1][0] >= heading.level:
                stack.pop()
            stack.append((heading.level, heading.title))
            self.starts.append(heading.start)
            self.paths.append(tuple(title for _, title in stack if title))

    def path(self, start: int, end: int | None = None) -> tuple[str, ...]:
        """The headings above ``start`` (one that starts there included), as far as they stand above all of the span."""
        at = bisect_right(self.starts, start)
        path = self.paths[at - 1] if at else ()
        if end is not None:
            for other in self.paths[at : bisect_left(self.starts, end, at)]:
                common = 0
                for a, b in zip(path, other, strict=False):
                    if a != b:
                        break
                    common += 1
                path = path[:common]
        return path

    def sections(self) -> list[Section]:
        """From heading to heading; one of a heading alone goes with the section below it."""
        text, headings = self.document.text, self.document.headings
        starts = [0, *(min(heading.start, len(text)) for heading in headings), len(text)]
        sections: list[Section] = []
        waiting: tuple[int, int] | None = None
        for i in range(len(starts) - 1):
            start, end = starts[i], starts[i + 1]
            if start >= end:
                continue
            heading = headings[i - 1] if i else None
            level = heading.level if heading else 0
            begin, begin_level = waiting or (start, level)
            waiting = None
            if i == 0 and not text[:end].strip():
                continue
            below = headings[i].level if i < len(headings) else 0
            if heading and below > level and not text[min(heading.end, end) : end].strip():
                waiting = begin, begin_level
                continue
            sections.append(Section(begin, end, begin_level, self.paths[i - 1] if i else ()))
        if waiting:
            sections.append(Section(waiting[0], len(text), waiting[1], None))
        return sections

    def chunk(self, start: int, end: int) -> Chunk:
        document = self.document
        return Chunk(start, end, document.text[start:end], self.path(start, end), document.page_at(start))
