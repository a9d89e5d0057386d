"""Sentences as units: those of one section, the short ones joined with what follows."""

from __future__ import annotations

from bisect import bisect_left

from openbook.chunk.budget import Counted, trimmed
from openbook.chunk.outline import Outline
from openbook.sentences import sentences

Span = tuple[int, int]


def units(outline: Outline, counted: Counted, least: int) -> list[list[Span]]:
    """For each section its units, in order: sentences, so many together that they have ``least`` tokens.

    What is left at a section's end goes with the unit before it. Units that touch no section (blanks) are none.
    """
    found = sentences(outline.document.text)
    starts = [start for start, _ in found]
    sections: list[list[Span]] = []
    for section in outline.sections():
        # A sentence that runs across a heading is cut there.
        first, last = bisect_left(starts, section.start), bisect_left(starts, section.end)
        spans = [(start, min(end, section.end)) for start, end in found[first:last]]
        if first and found[first - 1][1] > section.start:
            spans.insert(0, (section.start, min(found[first - 1][1], section.end)))
        spans = [span for each in spans if (span := trimmed(outline.document.text, *each))[0] < span[1]]
        if joined := _joined(spans, counted, least):
            sections.append(joined)
    return sections


def _joined(spans: list[Span], counted: Counted, least: int) -> list[Span]:
    joined: list[Span] = []
    begin: int | None = None
    for start, end in spans:
        begin = start if begin is None else begin
        if counted.count(begin, end) >= least:
            joined.append((begin, end))
            begin = None
    if begin is not None:
        if joined:
            joined[-1] = (joined[-1][0], spans[-1][1])
        else:
            joined.append((begin, spans[-1][1]))
    return joined
