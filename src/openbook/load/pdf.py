"""PDF: lines put together again from where each character stands, then columns, tables, paragraphs and headings.

A PDF knows characters and places, no words and no reading order. In steps: characters on one baseline become
segments; segments become lines, cut at the gutter where a page has text columns; lines become tables (rows of cells,
`` | `` between them) and paragraphs, whose hard line ends and hyphens are mended so that a sentence can be quoted. The
text is plain, not Markdown; headings are told by size and weight and kept in ``Draft.headings``.

Characters come from pdfium one call each, so the calls run in ``map`` with plain integers; the rest is numpy. 645
pages of financial reports take about ten seconds.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as raw  # type: ignore[import-untyped]

from openbook.errors import SourceError
from openbook.load.draft import Draft, normalise, one_line
from openbook.types import Heading

_ALONE = threading.Lock()  # pdfium is not thread-safe

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def read(data: bytes) -> Draft:
    """One PDF.

    Raises:
        SourceError: encrypted, damaged, or without a text layer.
    """
    with _ALONE:
        try:
            document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            raise _refusal(getattr(error, "err_code", None)) from None
        try:
            pages = [_page(document, index) for index in range(len(document))]
            properties = document.get_metadata_dict()
        finally:
            document.close()
    if not pages:
        raise _refusal(None)
    if not any(page.lines for page in pages):
        raise SourceError("no text layer", do="run OCR first (for example ocrmypdf)")
    metadata: dict[str, str | int] = {}
    if author := one_line(properties.get("Author", "")):
        metadata["author"] = author
    if scanned := sum(page.scanned for page in pages):
        metadata["pages_without_text"] = scanned
    text, offsets, headings, larger = _write(pages)
    title = one_line(properties.get("Title", ""))
    if _NO_TITLE.search(title) or " " not in title:
        # The largest words of the first page, if they are larger than the rest.
        after = next((offset for offset in offsets if offset), len(text))
        title = next((h.title for h in headings if h.level == 1 and h.start < after), "") if larger else ""
    return Draft(text, title=title, titled=True, metadata=metadata, headings=headings, pages=offsets)


_NO_TITLE = re.compile(
    r"^(?:microsoft \w+ - |untitled|\(?anonymous|document\d*$)|\.(?:docx?|pdf|pptx?|indd|tex|html?)$", re.IGNORECASE
)


def _refusal(code: int | None) -> SourceError:
    if code == raw.FPDF_ERR_PASSWORD:
        return SourceError("encrypted", do="save a copy without a password")
    if code == raw.FPDF_ERR_SECURITY:
        return SourceError("encrypted by a scheme that cannot be read", do="save a copy without protection")
    return SourceError("damaged or not a PDF", do="open it in a PDF viewer and save it again")


# --- characters become segments ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Segment:
    """Words on one baseline without a wide gap. ``bottom < top``, in points; ``order`` is its place in the file."""

    text: str
    left: float
    right: float
    bottom: float
    top: float
    bold: bool
    order: int

    @property
    def height(self) -> float:
        return self.top - self.bottom


@dataclass(slots=True)
class _Line:
    """Segments on one baseline: its cells, from the left (or, in a right-to-left script, from the right)."""

    cells: list[_Segment]
    region: int  # which column or band of the page it stands in
    left: float = field(init=False)
    right: float = field(init=False)
    bottom: float = field(init=False)
    top: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = min(cell.left for cell in self.cells)
        self.right = max(cell.right for cell in self.cells)
        widest = max(self.cells, key=lambda cell: len(cell.text))
        self.bottom, self.top = widest.bottom, widest.top

    @property
    def height(self) -> float:
        return self.top - self.bottom

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2

    @property
    def text(self) -> str:
        return " ".join(cell.text for cell in self.cells)

    @property
    def bold(self) -> bool:
        return all(cell.bold for cell in self.cells)


@dataclass(slots=True)
class _Page:
    lines: list[_Line]
    scanned: bool  # a picture and no text


# Calls with plain integers for handles and addresses: ctypes spends most of its time on converting arguments.
_unicode = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_int)(
    ctypes.cast(raw.FPDFText_GetUnicode, ctypes.c_void_p).value or 0
)
_box = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(
    ctypes.cast(raw.FPDFText_GetLooseCharBox, ctypes.c_void_p).value or 0
)
_BLANKS = np.array([0, 9, 10, 11, 12, 13, 32, 160, 0x2028, 0x2029, 0x3000, 0xFEFF, *range(0x2000, 0x200C)], np.uint32)
_LINE_END_HYPHENS = np.array([0x2, 0xFFFE], np.uint32)  # what pdfium writes for a hyphen at the end of a line
_WIDE = 0.95  # of a character's height, about one em: justified words stand closer, table cells farther apart


def _page(document: Any, index: int) -> _Page:
    try:
        page = document[index]
    except pdfium.PdfiumError:  # one page that cannot be parsed: the others count
        return _Page([], False)
    try:
        textpage = page.get_textpage()
        segments = _segments(textpage)
        lines = _lines(segments) if segments else []
        scanned = not lines and any(True for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=2))
        textpage.close()
    except pdfium.PdfiumError:
        return _Page([], False)
    finally:
        page.close()
    return _Page(lines, scanned)


def _segments(textpage: Any) -> list[_Segment]:
    count = textpage.count_chars()
    if count <= 0:
        return []
    handle = ctypes.cast(textpage.raw, ctypes.c_void_p).value
    codes = np.fromiter(map(_unicode, repeat(handle), range(count)), np.uint32, count)
    seen: Ints = np.flatnonzero(~np.isin(codes, _BLANKS))
    if not seen.size:
        return []
    boxes = np.zeros((seen.size, 4), np.float32)
    start = boxes.ctypes.data
    deque(map(_box, repeat(handle), seen.tolist(), range(start, start + 16 * seen.size, 16)), maxlen=0)
    codes = codes[seen]
    codes[np.isin(codes, _LINE_END_HYPHENS)] = 0xAD
    blank_before = np.diff(seen, prepend=seen[0] - 1) > 1
    left, right, bottom, top = _upright(boxes, blank_before, codes)

    height = top - bottom
    least = np.minimum(height[1:], height[:-1])
    overlap = np.minimum(top[1:], top[:-1]) - np.maximum(bottom[1:], bottom[:-1])
    gap = np.maximum(left[1:] - right[:-1], left[:-1] - right[1:])  # on whichever side the next one stands
    cut = (overlap < 0.4 * least) | (gap > _WIDE * np.maximum(least, 1.0))
    starts: Ints = np.concatenate(([0], np.flatnonzero(cut) + 1))
    # A blank that pdfium saw, or one that it should have: the gap of a quarter of an em.
    spaced = blank_before.copy()
    spaced[1:] |= (gap > 0.25 * height[1:]) & ~cut
    marks = np.where(np.isin(np.arange(seen.size), starts), 10, 32).astype(np.uint32)
    breaks = np.flatnonzero(spaced | (marks == 10))
    breaks = breaks[breaks > 0]
    joined = np.insert(codes, breaks, marks[breaks])
    text = joined.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    if ((codes >= 0xD800) & (codes < 0xE000)).any():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    texts = text.split("\n")

    reduce = [
        function.reduceat(values, starts).tolist()
        for function, values in ((np.minimum, left), (np.maximum, right), (np.minimum, bottom), (np.maximum, top))
    ]
    # The tallest character's box is not the line's: a superscript or a drop capital would stretch it.
    middle = (starts + np.append(starts[1:], seen.size) - 1) // 2
    bold = [_is_bold(textpage, at) for at in seen[middle].tolist()]
    return [
        _Segment(texts[i], reduce[0][i], reduce[1][i], float(bottom[at]), float(top[at]), bold[i], i)
        for i, at in enumerate(middle.tolist())
        if texts[i].strip()
    ]


_BOLD = re.compile(rb"bold|black|heavy|demi", re.IGNORECASE)


def _is_bold(textpage: Any, index: int) -> bool:
    """By the font's name; its weight is often a guess (Arial-BoldMT without figures counts as 380)."""
    name, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    raw.FPDFText_GetFontInfo(textpage.raw, index, name, 128, ctypes.byref(flags))
    return bool(_BOLD.search(name.value)) or raw.FPDFText_GetFontWeight(textpage.raw, index) >= 600


def _upright(boxes: Floats, blank_before: npt.NDArray[np.bool_], codes: npt.NDArray[np.uint32]) -> tuple[Floats, ...]:
    """left, right, bottom, top as a reader sees them: a page on its side is turned by its text's direction."""
    left, top, right, bottom = boxes.T  # FS_RECTF's order
    inside = ~blank_before[1:]
    dx = (np.diff((left + right) / 2)[inside]).clip(-30, 30)  # a jump to the next line is no direction
    dy = (np.diff((top + bottom) / 2)[inside]).clip(-30, 30)
    if np.abs(dy).sum() > 2 * np.abs(dx).sum():
        return (bottom, top, -right, -left) if dy.sum() > 0 else (-top, -bottom, left, right)
    right_to_left = ((codes >= 0x590) & (codes < 0x900)).mean() > 0.3
    if np.median(dx) < 0 and not right_to_left if dx.size else False:
        return -right, -left, -top, -bottom
    return left, right, bottom, top


# --- segments become lines, in reading order --------------------------------------------------------------------------


def _lines(segments: list[_Segment]) -> list[_Line]:
    lines = []
    for number, region in enumerate(_regions(segments, 0)):
        lines += [_Line(cells, number) for cells in map(_cells, _rows(region)) if cells]
    return lines


def _rows(segments: Iterable[_Segment]) -> list[list[_Segment]]:
    """Segments that share a baseline, from top to bottom."""
    rows: list[list[_Segment]] = []
    for segment in sorted(segments, key=lambda s: (-(s.top + s.bottom), s.order)):
        for row in rows[-3:][::-1]:
            first = row[0]
            overlap = min(first.top, segment.top) - max(first.bottom, segment.bottom)
            if overlap > 0.5 * min(first.height, segment.height):
                row.append(segment)
                break
        else:
            rows.append([segment])
    return rows


_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")


def _cells(row: list[_Segment]) -> list[_Segment]:
    """A row's segments from left to right; what stands closer than a cell's distance is one cell."""
    row = sorted(row, key=lambda s: s.left)
    cells = row[:1]
    for segment in row[1:]:
        last = cells[-1]
        gap = segment.left - last.right
        if gap < _WIDE * min(last.height, segment.height):
            text = last.text + " " * (gap > 0.15 * segment.height or _overlapping(last, segment)) + segment.text
            right, bold = max(last.right, segment.right), last.bold and segment.bold
            cells[-1] = _Segment(text, last.left, right, last.bottom, last.top, bold, last.order)
        else:
            cells.append(segment)
    letters = "".join(cell.text for cell in cells)
    if 2 * len(_RIGHT_TO_LEFT.findall(letters)) > len(letters):
        cells.reverse()
    return cells


def _overlapping(a: _Segment, b: _Segment) -> bool:
    return b.left < a.right - 0.5 * b.height


_LEAST_LINES = 4  # of a text column
_LEAST_WORDS = 2.5  # in the median line of a text column; a table's cells have fewer
_LEAST_FILLED = 0.55  # of a text column's area in x; a table is mostly blank


def _regions(segments: list[_Segment], depth: int) -> Iterator[list[_Segment]]:
    """Bands and columns of segments in reading order."""
    gutter = _gutter(segments) if depth < 3 else None
    if gutter is None:
        yield segments
        return
    plain: list[_Segment] = []
    for crosses, band in _bands(_rows(segments), gutter):
        if not crosses:
            above, core, below = _without_running_lines(band)
            flat = [s for row in core for s in row]
            sides = [s for s in flat if s.right <= gutter + 1], [s for s in flat if s.right > gutter + 1]
            if all(map(_is_prose, sides)):
                plain += [s for row in above for s in row]
                if plain:
                    yield plain
                plain = [s for row in below for s in row]
                right_first = 2 * sum(bool(_RIGHT_TO_LEFT.search(s.text)) for s in flat) > len(flat)
                for side in reversed(sides) if right_first else sides:
                    yield from _regions(side, depth + 1)
                continue
        plain += [s for row in band for s in row]
    if plain:
        yield plain


def _gutter(segments: list[_Segment]) -> float | None:
    """The x of the emptiest upright strip near the page's middle; ``None`` where no strip is rather empty."""
    left = min(s.left for s in segments)
    width = max(s.right for s in segments) - left
    if width < 100 or len(segments) < 2 * _LEAST_LINES:
        return None
    cover = np.zeros(int(width) + 2, np.int32)
    for s in segments:
        cover[int(s.left - left)] += 1
        cover[int(s.right - left) + 1] -= 1
    cover = np.cumsum(cover)
    begin, end = int(0.2 * width), int(0.8 * width)
    inner = cover[begin:end]
    lowest = inner.min()
    if lowest > 0.35 * cover.max():
        return None
    # Of the strips with the least cover, the widest.
    empty = np.flatnonzero(np.diff(np.concatenate(([0], (inner == lowest).astype(np.int8), [0]))))
    spans = [(b - a, a) for a, b in zip(empty[::2].tolist(), empty[1::2].tolist(), strict=True)]
    length, at = max(spans)
    if length < 5:
        return None
    return float(left + begin + at + length / 2)


def _bands(rows: list[list[_Segment]], gutter: float) -> Iterator[tuple[bool, list[list[_Segment]]]]:
    """Runs of rows that cross the gutter, and of rows that do not."""
    band: list[list[_Segment]] = []
    crossing = False
    for row in rows:
        crosses = any(s.left < gutter - 1 and s.right > gutter + 1 for s in row)
        if band and crosses != crossing:
            yield crossing, band
            band = []
        crossing = crosses
        band.append(row)
    if band:
        yield crossing, band


def _without_running_lines(
    rows: list[list[_Segment]],
) -> tuple[list[list[_Segment]], list[list[_Segment]], list[list[_Segment]]]:
    """A band's first and last row, where a gap parts them from the rest: a running title, a page number."""
    if len(rows) < 2 * _LEAST_LINES:
        return [], rows, []
    tops = [max(s.top for s in row) for row in rows]
    bottoms = [min(s.bottom for s in row) for row in rows]
    gaps = [bottom - top for bottom, top in zip(bottoms, tops[1:], strict=False)]
    usual = max(float(np.median(gaps)), 0.0)
    line = float(np.median([top - bottom for top, bottom in zip(tops, bottoms, strict=True)]))
    above = 1 if gaps[0] > usual + 0.6 * line else 0
    below = 1 if gaps[-1] > usual + 0.6 * line else 0
    return rows[:above], rows[above : len(rows) - below], rows[len(rows) - below :]


def _is_prose(segments: list[_Segment]) -> bool:
    """Whether segments make the lines of a text column, and not a table's cells: full lines of several real words."""
    rows = _rows(segments)
    if len(rows) < _LEAST_LINES:
        return False
    width = max(s.right for s in segments) - min(s.left for s in segments)
    words = [[word for s in row for word in s.text.split()] for row in rows]
    counts = list(map(len, words))
    real = sum(word[0].isalpha() or word[-1].isalpha() for line in words for word in line)
    filled = sum(s.right - s.left for s in segments) / (width * len(rows) or 1)
    return (
        float(np.median(counts)) >= _LEAST_WORDS
        and float(np.mean(counts)) >= 3
        and real >= 0.6 * sum(counts)
        and filled >= _LEAST_FILLED
    )


# --- lines become blocks ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Block:
    """A paragraph (its lines to be joined) or a table (its lines to be kept)."""

    lines: list[_Line]
    table: bool = False


_MARKER = re.compile(r"(?:[•●○▪■◦‣⁃∙·–—*-]|o|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]|\d+(?:\.\d+)+\.?)")
_NEARBY = 3.2  # line heights from one table row to the next
_ALIGNED = 4.0  # points
_FLUSH = 2.5  # points, between the edges of justified lines: a full stop may hang over


def _blocks(lines: list[_Line]) -> list[_Block]:
    blocks: list[_Block] = []
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or lines[end].region != lines[start].region:
            blocks += _region_blocks(lines[start:end])
            start = end
    return blocks


def _region_blocks(lines: list[_Line]) -> Iterator[_Block]:
    width = max(line.right for line in lines) - min(line.left for line in lines)
    for line in lines:
        if len(line.cells) == 2 and _MARKER.fullmatch(line.cells[0].text):
            line.cells = [_one(line.cells)]
        line.cells = _with_signs(line.cells)
    _close_up(lines)
    row = [len(line.cells) >= 3 for line in lines]
    for i, (a, b) in enumerate(pairwise(lines)):
        if len(a.cells) > 1 and len(b.cells) > 1 and _near(a, b) and _aligned(a, b):
            row[i] = row[i + 1] = True
    # A row whose label fills more lines, or has no figures, parts a table for one line or two.
    for i in range(len(lines)):
        if row[i] and any(row[i + 1 : i + 4]):
            j = next(j for j in range(i + 1, i + 4) if row[j])
            between = lines[i : j + 1]
            if all(map(_near, between, between[1:])) and all(b.right - b.left < 0.6 * width for b in between[1:-1]):
                row[i:j] = [True] * (j - i)
    # So do the lines of a header that stands over several columns.
    for i in range(len(lines) - 2, -1, -1):
        a, b = lines[i], lines[i + 1]
        if row[i + 1] and not row[i] and _near(a, b, 1.8):
            end = next((j for j in range(i + 1, len(lines)) if not row[j]), len(lines))
            row[i] = a.left > min(line.left for line in lines[i + 1 : end]) + 0.25 * width
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or row[end] != row[start] or (row[end] and not _near(lines[end - 1], lines[end])):
            if row[start] and (end - start > 1 or len(lines[start].cells) > 2):
                yield _Block(lines[start:end], table=True)
            else:
                yield from _paragraphs(lines[start:end])
            start = end


def _close_up(lines: list[_Line]) -> None:
    """Justified lines whose words stand so far apart that they look like cells: one cell again.

    Such a line reaches from edge to edge of the lines of its paragraph, which a table's row does not.
    """
    for order in (pairwise(lines), pairwise(reversed(lines))):
        for known, line in order:
            if len(known.cells) == 1 < len(line.cells) and _near(known, line, 1.7):
                same = abs(known.left - line.left) < _FLUSH and abs(known.right - line.right) < _FLUSH
                gaps = [abs(b.left - a.right) for a, b in pairwise(line.cells)]
                if same and max(gaps) < 4 * line.height and max(gaps) < 1.4 * min(gaps):
                    line.cells = [_one(line.cells)]


def _one(cells: list[_Segment]) -> _Segment:
    first, last = cells[0], cells[-1]
    body = max(cells, key=lambda cell: len(cell.text))
    left, right = min(c.left for c in cells), max(c.right for c in cells)
    text = " ".join(cell.text for cell in cells)
    return _Segment(text, left, right, body.bottom, body.top, first.bold and last.bold, first.order)


_SIGN_BEFORE = re.compile(r"[$€£¥(+-]|\(\$|US\$")
_SIGN_AFTER = re.compile(r"[%)]+|pts?\.?")
_STRAY_SIGN = re.compile(r"(.*[\d%)—-])\s+([$€£¥])")


def _with_signs(row: list[_Segment]) -> list[_Segment]:
    """Currency and per cent signs that stand apart from their figure, brought to it."""
    cells: list[_Segment] = []
    for cell in row:
        if cells and (stray := _STRAY_SIGN.fullmatch(cells[-1].text)):
            cells[-1].text = stray[1]
            cell.text = f"{stray[2]} {cell.text}"
        if cells and (_SIGN_BEFORE.fullmatch(cells[-1].text) or _SIGN_AFTER.fullmatch(cell.text)):
            cells[-1] = _one([cells[-1], cell])
        else:
            cells.append(cell)
    return cells


def _near(a: _Line, b: _Line, times: float = _NEARBY) -> bool:
    return abs(a.middle - b.middle) < times * max(a.height, b.height)


def _aligned(a: _Line, b: _Line) -> bool:
    """Whether cells but the first stand under each other: left, right or centred."""
    return any(
        min(abs(x.left - y.left), abs(x.right - y.right), abs(x.left + x.right - y.left - y.right) / 2) < _ALIGNED
        for x in a.cells[1:]
        for y in b.cells[1:]
    )


def _paragraphs(lines: list[_Line]) -> Iterator[_Block]:
    """Lines joined where the text runs on: same size and weight, usual distance, no item mark, the line before full."""
    start = 0
    for run_end in range(1, len(lines) + 1):
        if run_end < len(lines) and _same_run(lines[run_end - 1], lines[run_end]):
            continue
        run = lines[start:run_end]
        start = run_end
        edge = max(line.right for line in run)
        pitches = [a.middle - b.middle for a, b in pairwise(run)]
        usual = float(np.percentile(pitches, 40)) if pitches else 0.0
        block = [run[0]]
        for pitch, (a, b) in zip(pitches, pairwise(run), strict=True):
            if pitch > 1.3 * usual or _starts_anew(a, b, len(block), edge, block[0]):
                yield _Block(block)
                block = []
            block.append(b)
        yield _Block(block)


def _same_run(a: _Line, b: _Line) -> bool:
    tall = max(a.height, b.height)
    return abs(a.height - b.height) < 0.12 * tall and 0 <= a.middle - b.middle < 2.2 * tall and a.bold == b.bold


def _starts_anew(a: _Line, b: _Line, length: int, edge: float, first: _Line) -> bool:
    text, before = b.text, a.text
    head = text.split(" ", 1)[0]
    em = 0.8 * b.height
    if _MARKER.fullmatch(head) and head != text:
        # "(i)" and "7." may also stand in a sentence: then the line before is full and ends in mid-phrase.
        in_sentence = a.right > edge - 4 * em and before[-1:].isalnum() and not re.search(r"\b(?:and|or)$", before)
        if head in "–—-":
            return not before[-1:].isalnum()
        return not (in_sentence and head[-1] in ".)")
    runs_on = text[:1].islower() and before[-1:] not in ".!?:;"
    if _RIGHT_TO_LEFT.search(text):
        return False
    step = b.left - a.left
    marked = _MARKER.fullmatch(first.text.split(" ", 1)[0]) is not None
    if step > em and not (length == 1 and (marked or b.bold)) and not runs_on:
        return True
    if step < -em and length > 1 and not runs_on:
        return True
    word = (b.right - b.left) * (len(head) + 1) / max(len(text), 1)
    return a.right + word < edge - 0.3 * em and not runs_on


# --- blocks become text -----------------------------------------------------------------------------------------------

_LONGEST_HEADING = 140


def _write(pages: Sequence[_Page]) -> tuple[str, tuple[int, ...], tuple[Heading, ...], bool]:
    """The text, where each page starts in it, its headings, and whether any of them is larger than the body."""
    blocks = [_blocks(page.lines) for page in pages]
    mend = _Hyphens(line.text for page in pages for line in page.lines)
    levels = _Levels(blocks)
    parts: list[str] = []
    offset = 0
    starts, headings = [], []
    for page in blocks:
        starts.append(offset)
        for number, block in enumerate(page):
            text = normalise(_table(block.lines) if block.table else mend.join([line.text for line in block.lines]))
            if not text.strip():
                continue
            level = levels.of(block, text, edge=number in (0, 1, len(page) - 1))
            if level:
                headings.append(Heading(offset, offset + len(text), level, one_line(text)))
            parts.append(text)
            offset += len(text) + 2
    text = "\n\n".join(parts)
    return text, tuple(min(start, len(text)) for start in starts), tuple(headings), levels.any_larger


class _Hyphens:
    """Joins lines; a hyphen at a line's end goes where the word without it is the one the document uses."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = list(lines)
        self._words: Counter[str] | None = None

    def join(self, lines: Sequence[str]) -> str:
        text = lines[0]
        for line in lines[1:]:
            if text[-1:] in "-\xad‐" and text[-2:-1].isalpha() and line[:1].isalpha():
                head = re.split(r"[\s\-\xad]", text[:-1])[-1]
                tail = re.match(r"\w+", line)
                text = text[:-1] + ("-" if self._compound(head, tail[0] if tail else "") else "") + line
            elif text[-1:] in "-\xad‐–—/" and text[-2:-1].strip():
                text += line  # a range or a path: no blank belongs there
            else:
                text += " " + line
        return text.replace("\xad", "-")

    def _compound(self, head: str, tail: str) -> bool:
        if not tail[:1].islower() or not head[-1:].islower():
            return True
        if self._words is None:
            words = re.findall(r"\w+(?:-\w+)*", "\n".join(self._lines).replace("\xad\n", "-\n").lower())
            self._words = Counter(words)
        whole, parts = self._words[f"{head}{tail}".lower()], self._words[f"{head}-{tail}".lower()]
        if whole or parts:
            return parts > whole
        # Neither stands elsewhere. Where few lines end in a hyphen nothing was hyphenated, but compounds were cut.
        if len(self._lines) > 100 and sum(line[-1:] in "-\xad" for line in self._lines) < 0.015 * len(self._lines):
            return True
        # Else two words that both stand alone are a compound, a fragment is not.
        return bool(self._words[head.lower()] > 1 and self._words[tail.lower()] > 1)


def _table(lines: list[_Line]) -> str:
    columns = _columns(lines)
    return "\n".join(_row(line, columns) for line in lines)


def _row(line: _Line, columns: list[tuple[float, float]]) -> str:
    cells = line.cells
    texts = [cell.text.replace("\xad", "-") for cell in cells]
    if not columns or len(cells) < 2:
        return " | ".join(texts)
    placed = [""] * len(columns)
    last = -1
    for cell, text in zip(cells, texts, strict=True):
        best = max(range(len(columns)), key=lambda c: _shared(cell, columns[c]))
        if best < last:
            return " | ".join(texts)
        placed[best] = f"{placed[best]} {text}".strip()
        last = best
    return " | ".join(placed[: last + 1])


def _shared(cell: _Segment, column: tuple[float, float]) -> float:
    """Points that a cell and a column have in common; negative is the distance between them."""
    return min(cell.right, column[1]) - max(cell.left, column[0])


def _columns(lines: list[_Line]) -> list[tuple[float, float]]:
    """The columns that the rows of the most usual width agree on; empty where no such rows do."""
    widths = Counter(len(line.cells) for line in lines if len(line.cells) > 1)
    for width in sorted(widths, key=lambda width: (widths[width] * width, width), reverse=True):
        rows = [line.cells for line in lines if len(line.cells) == width]
        spans = [_column([row[i] for row in rows]) for i in range(width)]
        columns = [span for span in spans if span is not None]
        if len(columns) == width and all(a[1] < b[0] + _ALIGNED for a, b in pairwise(columns)):
            return columns
    return []


def _column(cells: list[_Segment]) -> tuple[float, float] | None:
    """From where to where a column's cells reach; ``None`` when they do not stand under each other."""
    left = sorted(cell.left for cell in cells)[len(cells) // 2]
    right = sorted(cell.right for cell in cells)[len(cells) // 2]
    under = [cell for cell in cells if cell.left < right and cell.right > left]
    if len(under) < 0.9 * len(cells):
        return None
    return min(cell.left for cell in under), max(cell.right for cell in under)


class _Levels:
    """Which blocks are headings, and of which level: by size first, then by weight."""

    def __init__(self, pages: Sequence[Sequence[_Block]]) -> None:
        sizes: Counter[float] = Counter()
        bold: Counter[bool] = Counter()
        starts: Counter[str] = Counter()
        for page in pages:
            for number, block in enumerate(page):
                for line in block.lines:
                    sizes[round(line.height * 2) / 2] += len(line.text)
                    bold[line.bold] += len(line.text)
                if number in (0, 1, len(page) - 1):
                    starts[_without_digits(block.lines[0].text)] += 1
        self._body = _median(sizes)
        self._bold = bold[True] < 0.3 * (bold[True] + bold[False])
        self._running = {text for text, count in starts.items() if count >= 3}
        larger = Counter(
            round(block.lines[0].height * 2) / 2
            for page in pages
            for block in page
            if not block.table and block.lines[0].height > 1.15 * self._body and self._may_be(block)
        )
        self._larger = sorted(larger, reverse=True)[:5]

    @property
    def any_larger(self) -> bool:
        return bool(self._larger)

    def of(self, block: _Block, text: str, *, edge: bool) -> int | None:
        """1 to 6, or ``None``. ``edge``: it stands first or last on its page, where running titles are."""
        if block.table or not self._may_be(block) or len(text) > _LONGEST_HEADING:
            return None
        if edge and _without_digits(block.lines[0].text) in self._running:
            return None
        height = round(block.lines[0].height * 2) / 2
        if block.lines[0].height > 1.15 * self._body:
            larger = [size for size in self._larger if size >= height]
            return max(1, len(larger))
        ends = text[-1] in ".,;"
        if self._bold and all(line.bold for line in block.lines) and height >= 0.95 * self._body and not ends:
            return min(6, len(self._larger) + 1)
        return None

    @staticmethod
    def _may_be(block: _Block) -> bool:
        text = block.lines[0].text
        if not (text[0].isalnum() or text[0] in '“"‘«¿¡§'):
            return False
        return len(block.lines) <= 2 and sum(map(str.isalpha, text)) >= max(2, 0.4 * len(text)) and len(text) < 140


def _without_digits(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def _median(counts: Counter[float]) -> float:
    half = sum(counts.values()) / 2
    for value in sorted(counts):
        half -= counts[value]
        if half <= 0:
            return value
    return 0.0
