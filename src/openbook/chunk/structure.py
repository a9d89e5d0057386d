"""Chunks along the structure of a document: sections, blocks, items, rows, lines, sentences.

A document becomes a row of pieces with a price for a cut between each two; a shortest path over the cuts then chooses
chunks that are full, even, and cut where it costs least (Knuth and Plass, Breaking Paragraphs into Lines, 1981). Only
what does not fit is looked into: a section that fits is one piece, and so is a block, an item or a row.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from openbook.chunk.batches import batches
from openbook.chunk.blocks import CODE, Block, blocks
from openbook.chunk.budget import Budget, Counted, halved, trimmed
from openbook.chunk.outline import Outline
from openbook.sentences import sentences
from openbook.types import Chunk, Document

# Prices, in units of a chunk: an empty chunk costs 1, one filled to the share s costs (1 - s)².
_BLOCK = 0.02
_ITEM = 0.05  # and once more for every level of nesting
_LINE = 0.15
_DEEPER_LINE = 0.4
_SENTENCE = 0.2
_WITHIN_SENTENCE = 0.6
_TORN = 1.0  # a heading from what it heads, a list from the line that announces it, a row from its table's head
# Whole sections in one chunk, for each boundary in it: pays only where two fill a sixth of the budget each, or less.
# Merging buys fewer chunks and loses hits. nDCG@10 (weighted fusion) at 0, 0.4, 0.8, 0.95, never: 28 questions on a
# handbook .766 .800 .807 .841 .841; 48 on the etcd pages .327 .328, not measured, .337 .337.
_SECTION = 0.95

# Neighbours that together stay below this share of the budget go together: finer choice costs time and gains nothing.
_GRAIN = 1 / 24
_SECTIONS_AT_MOST = 32  # in one chunk


@dataclass(slots=True)
class _Pieces:
    """Where chunks may start: offsets in order, the price of a cut there, and what a cut there tears apart."""

    starts: list[int] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)  # where the block starts that is cut there; -1: between blocks
    fine: list[int] = field(default_factory=list)  # where sentences and lines start in blocks that are cut

    def add(self, start: int, price: float, block: int = -1) -> None:
        if not self.starts or start > self.starts[-1]:
            self.starts.append(start)
            self.prices.append(price)
            self.blocks.append(block)


@dataclass(frozen=True, slots=True)
class _Room:
    """A section, and how many tokens of their own its chunks may have."""

    start: int
    end: int
    level: int
    room: int


class Structure:
    """Sections, blocks, items, rows and sentences kept whole where they fit."""

    kind = "structure"

    def __init__(self, budget: Budget, *, target: int, overlap: int = 0, whole: bool = True) -> None:
        """``whole``: a document that is read whole is one chunk, whatever the ``target``."""
        self.budget = budget
        self.max_tokens = budget.limit
        self.target = min(target, budget.limit)
        self.overlap = min(overlap, self.target // 4)
        self.whole = whole

    def chunk(self, document: Document) -> Iterable[Chunk]:
        return next(self.chunk_all([document]))

    def chunk_all(self, documents: Iterable[Document]) -> Iterator[list[Chunk]]:
        for batch in batches(documents):
            for outline, counted, prefixes in self.budget.read(batch):
                whole = self.budget.whole(outline, counted, prefixes) if self.whole else None
                if whole is not None:
                    yield [whole]
                else:
                    spans = self._spans(outline, counted, prefixes)
                    yield self.budget.fit(outline, counted, prefixes, spans)

    def _spans(self, outline: Outline, counted: Counted, prefixes: dict[tuple[str, ...], int]) -> list[tuple[int, int]]:
        text = outline.document.text
        sections = self._sections(outline, prefixes)
        pieces = _Pieces()
        ends: list[int] = []  # for each section, the index of the piece after its last
        for section in sections:
            pieces.add(section.start, 0.0)
            if counted.count(section.start, section.end) > section.room:
                self._cut(blocks(text, section.start, section.end), section, counted, pieces, 0, -1)
            ends.append(len(pieces.starts))
        cuts = self._choose(sections, ends, pieces, counted.cumulated([*pieces.starts, len(text)]))
        spans: list[tuple[int, int]] = []
        for first, last in cuts:
            start = pieces.starts[first]
            if self.overlap and pieces.blocks[first] >= 0 and spans:
                start = self._reach_back(counted, pieces, start, max(pieces.blocks[first], spans[-1][0] + 1))
            end = pieces.starts[last] if last < len(pieces.starts) else len(text)
            span = trimmed(text, start, end)
            if span[0] < span[1]:
                spans.append(span)
        return spans

    def _sections(self, outline: Outline, prefixes: dict[tuple[str, ...], int]) -> list[_Room]:
        return [
            _Room(
                section.start,
                section.end,
                section.level,
                self._room(self.budget.limit * 3 // 4 if section.path is None else prefixes[section.path]),
            )
            for section in outline.sections()
        ]

    def _room(self, prefix: int) -> int:
        return max(1, min(self.target, self.budget.limit - prefix))

    # --- where a section could be cut ---------------------------------------------------------------------------

    def _cut(self, row: list[Block], section: _Room, counted: Counted, pieces: _Pieces, depth: int, outer: int) -> None:
        text = counted.text
        for i, block in enumerate(row):
            before = row[i - 1] if i else None
            price = _BLOCK if depth == 0 else _ITEM * depth
            if before and (
                before.kind == "heading_open"
                or (before.kind == "tr_open" and i == 1)
                or (block.kind.endswith("list_open") and text[before.start : before.end].rstrip()[-1:] in ":：")
            ):
                price = _TORN
            last, grain = pieces.starts[-1], section.room * _GRAIN
            if price < pieces.prices[-1] or counted.count(last, block.end) > grain:
                pieces.add(block.start, price, outer)
            if counted.count(block.start, block.end) <= section.room:
                continue
            inner = block.start if outer < 0 else outer
            if block.children:
                self._cut(block.children, section, counted, pieces, depth + 1, inner)
            else:
                self._cut_leaf(block, section.room, counted, pieces, inner)

    def _cut_leaf(self, block: Block, room: int, counted: Counted, pieces: _Pieces, outer: int) -> None:
        """Code at its lines, text at its sentences; a sentence too long at whatever is near its middle."""
        text = counted.text
        if block.kind in CODE:
            lines = text[block.start : block.end].split("\n")
            starts = list(accumulate((len(line) + 1 for line in lines[:-1]), initial=block.start))
            prices = _line_prices(lines)
        else:
            starts = [block.start + start for start, _ in sentences(text[block.start : block.end])]
            prices = [_SENTENCE] * len(starts)
        if not starts:
            return
        starts[0] = block.start
        pieces.fine += starts
        sizes = counted.cumulated([*starts, block.end])
        since = sizes[0]
        for i, start in enumerate(starts):
            long = sizes[i + 1] - sizes[i] > room
            grain = room * _GRAIN * prices[i] / _SENTENCE
            if i == 0 or sizes[i + 1] - since > grain or long:
                pieces.add(start, prices[i], outer)
                since = sizes[i]
            if long:
                end = starts[i + 1] if i + 1 < len(starts) else block.end
                self._cut_sentence(start, end, room, counted, pieces, outer)
                since = sizes[i] - room  # what follows starts a piece of its own

    def _cut_sentence(self, start: int, end: int, room: int, counted: Counted, pieces: _Pieces, outer: int) -> None:
        waiting = [trimmed(counted.text, start, end)]
        while waiting:
            start, end = waiting.pop()
            halves = halved(counted, start, end) if counted.count(start, end) > room else []
            if len(halves) == 2:
                waiting += reversed(halves)
            else:
                pieces.add(start, _WITHIN_SENTENCE, outer)

    # --- where it is cut ----------------------------------------------------------------------------------------

    def _choose(
        self, sections: list[_Room], ends: list[int], pieces: _Pieces, sizes: list[int]
    ) -> list[tuple[int, int]]:
        """The cheapest chunks, as pairs of piece indexes. Within a section any run of pieces; beyond it whole ones."""
        count = len(pieces.starts)
        best = [0.0] + [float("inf")] * count
        came = [0] * (count + 1)
        first = 0
        for at, section in enumerate(sections):
            end = ends[at]
            for i in range(first, end):
                room = section.room
                if self.overlap and pieces.blocks[i] >= 0:
                    room = max(1, room - self.overlap)
                base, size = best[i], sizes[i]
                for j in range(i + 1, end + 1):
                    used = (sizes[j] - size) / room
                    if used > 1.0:
                        if j > i + 1:
                            break
                        used = 1.0
                    price = base + (1.0 - used) ** 2 + (pieces.prices[j] if j < end else 0.0)
                    if price < best[j]:
                        best[j], came[j] = price, i
            base, size = best[first], sizes[first]
            for further in range(at + 1, min(at + _SECTIONS_AT_MOST, len(sections))):
                climbed = max(0, sections[further - 1].level - sections[further].level)
                base += _SECTION * (1 + climbed)
                j = ends[further]
                used = (sizes[j] - size) / section.room
                if used > 1.0:
                    break
                price = base + (1.0 - used) ** 2
                if price < best[j]:
                    best[j], came[j] = price, first
            first = end
        cuts: list[tuple[int, int]] = []
        while count:
            cuts.append((came[count], count))
            count = came[count]
        return cuts[::-1]

    def _reach_back(self, counted: Counted, pieces: _Pieces, start: int, least: int) -> int:
        """Where a piece starts that repeats whole sentences or lines, at most ``overlap`` tokens of them."""
        low = bisect_left(pieces.fine, least)
        for at in pieces.fine[low : bisect_right(pieces.fine, start)]:
            if counted.count(at, start) <= self.overlap:
                return at
        return start


def _line_prices(lines: list[str]) -> list[float]:
    """Code is best cut after an empty line, and not before a line that stands deeper than the one above it."""
    prices: list[float] = []
    above, empty = 0, False
    for line in lines:
        bare = line.lstrip()
        if not bare:
            prices.append(_DEEPER_LINE)
            empty = True
            continue
        indent = len(line) - len(bare)
        prices.append(_ITEM if empty and indent <= above else _DEEPER_LINE if indent > above else _LINE)
        above, empty = indent, False
    return prices
