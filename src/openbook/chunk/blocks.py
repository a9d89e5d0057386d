"""The blocks of a Markdown text, as a tree with exact offsets: paragraphs, lists, tables with their rows, code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

CODE = ("fence", "code_block", "html_block")


@dataclass(slots=True)
class Block:
    """``text[start:end]`` is its lines; ``kind`` is the parser's word for it (``paragraph_open``, ``tr_open``, …)."""

    start: int
    end: int
    kind: str
    children: list[Block] = field(default_factory=list)


def blocks(text: str, start: int = 0, end: int | None = None) -> list[Block]:
    """The blocks of ``text[start:end]``; whatever the parser gives no block to belongs to the one before."""
    end = len(text) if end is None else end
    part = text[start:end]
    lines = [start, *accumulate((len(line) + 1 for line in part.split("\n")), initial=start)][1:]
    roots: list[Block] = []
    stack: list[Block | None] = []
    for token in _parser().parse(part):
        if token.nesting < 0:
            stack.pop()
            continue
        block = None
        if token.map and token.type not in ("inline", "thead_open", "tbody_open"):
            first, last = token.map
            block = Block(lines[first], min(lines[min(last, len(lines) - 1)], end), token.type)
            parent = next((above for above in reversed(stack) if above), None)
            (parent.children if parent else roots).append(block)
        if token.nesting > 0:
            stack.append(block)
    return roots


def within(roots: list[Block], kinds: tuple[str, ...]) -> Iterator[Block]:
    """The outermost blocks of these kinds, in order."""
    for block in roots:
        if block.kind in kinds:
            yield block
        else:
            yield from within(block.children, kinds)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    """Block structure alone: what stands inside a paragraph is of no matter here."""
    from markdown_it import MarkdownIt

    # Link definitions are text here, and a long run of them takes markdown-it quadratic time.
    parser = MarkdownIt("commonmark").enable("table").disable("reference")
    parser.core.ruler.enableOnly(["block"])
    return parser
