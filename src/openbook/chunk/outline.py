"""Where a span stands in its document: the heading path above it, and its page."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from openbook.types import Chunk, Document


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

    def chunk(self, start: int, end: int) -> Chunk:
        document = self.document
        return Chunk(start, end, document.text[start:end], self.path(start, end), document.page_at(start))
