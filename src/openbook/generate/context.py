"""Hits become the passages that a generator is handed: chunks that stand together are one passage, of one document are
so many taken, and of all as many as there is room for.

A passage is a hit like any other, whose chunk is a span of its document: what is cited of it is cited exactly, however
it was put together or cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from openbook.generate.prompt import Passage, cost, cut
from openbook.recipe import Assembly
from openbook.types import Chunk, Hit

Place = tuple[str, int, int, int]
"""A document, its version, and a span of it."""

_BLANKS = 64
"""Two chunks are looked at as neighbours though so many blanks stand between them."""


def assemble(
    hits: Sequence[Hit],
    part: Assembly,
    most: int,
    read: Callable[[Sequence[Place]], Mapping[Place, str]],
    room: Callable[[Sequence[Hit]], bool] = lambda passages: True,
) -> list[Hit]:
    """The passages made of ``hits`` (best first), best first: at most ``most``, and no more than there is ``room`` for.

    A hit is taken after every better one; it joins the passages that it touches, or is one itself. One for which there
    is no room is cut to whole sentences, and is the last, or left out where not one has room; the very first is taken
    whole, for the generator to cut as it must. Before a hit is left out, what only stands between hits is. ``read``
    tells what stands at some places, of those that the caller may see.
    """
    hits = [hit for hit in hits[: part.pool] if hit.chunk.text.strip()]
    gap = part.stitch
    between = {} if gap is None else read(_gaps(hits, gap))
    taken: list[Hit] = []
    passages: list[Hit] = []

    def with_(hit: Hit, gap: int | None) -> list[Hit]:
        """The passages with one more hit; none where it would be one passage too many."""
        joined = [*taken, hit] if gap is None else stitched([*taken, hit], between, gap)
        of_document = sum(passage.document == hit.document for passage in joined)
        return joined if len(joined) <= most and of_document <= (part.per_document or most) else []

    def fit_with(hit: Hit, gap: int | None) -> bool:
        joined = with_(hit, gap)
        return bool(joined) and room(joined)

    for hit in hits:
        if not with_(hit, gap):
            continue
        if gap and not fit_with(hit, gap) and fit_with(hit, 0):
            gap = 0
        if not fit_with(hit, gap):

            def fits(passage: Passage, gap: int | None = gap) -> bool:
                return fit_with(shown_of(passage), gap)

            if shown := cut(hit, fits, anywhere=False):
                return with_(shown_of(shown), gap)
            if not taken:
                return [hit]
            continue
        passages = with_(hit, gap)
        taken.append(hit)
    return passages


def room_for(tokens: int, count: Callable[[str], int]) -> Callable[[Sequence[Hit]], bool]:
    """Whether passages take no more than so many ``tokens``, each counted once."""
    known: dict[Place, int] = {}

    def taken(hit: Hit) -> int:
        place = hit.document, hit.version, hit.chunk.start, hit.chunk.end
        if place not in known:
            known[place] = cost(hit, count)
        return known[place]

    return lambda passages: sum(map(taken, passages)) <= tokens


def stitched(hits: Sequence[Hit], between: Mapping[Place, str], gap: int) -> list[Hit]:
    """Hits of one document version that overlap, touch, or have at most ``gap`` characters between them, as one: in
    the place of its best, whose score and stages it keeps.

    ``between`` tells what stands there; what it does not tell is not bridged.
    """
    of_version: defaultdict[tuple[str, int], list[tuple[int, Hit]]] = defaultdict(list)
    for rank, hit in enumerate(hits):
        of_version[hit.document, hit.version].append((rank, hit))
    passages: list[tuple[int, Hit]] = []
    for members in of_version.values():
        members.sort(key=lambda member: (member[1].chunk.start, member[1].chunk.end))
        rank, passage = members[0]
        for other_rank, other in members[1:]:
            joined = _joined(passage, other, between, gap)
            if joined is None:
                passages.append((rank, passage))
                rank, passage = other_rank, other
                continue
            best = passage if rank < other_rank else other
            also = tuple(
                {(one.document, one.version, one.chunk.start): one for one in (*passage.also, *other.also)}.values()
            )
            found = best.found or (best.chunk.start, best.chunk.end)
            passage = replace(best, chunk=joined, found=found, also=also)
            rank = min(rank, other_rank)
        passages.append((rank, passage))
    return [passage for _, passage in sorted(passages, key=lambda one: one[0])]


def _joined(first: Hit, second: Hit, between: Mapping[Place, str], gap: int) -> Chunk | None:
    a, b = first.chunk, second.chunk
    if b.start <= a.end:
        text = a.text + b.text[a.end - b.start :]
    else:
        bridge = between.get((first.document, first.version, a.end, b.start))
        if bridge is None or len(bridge.strip()) > gap:
            return None
        text = a.text + bridge + b.text
    return Chunk(
        start=a.start,
        end=max(a.end, b.end),
        text=text,
        headings=_shared(a.headings, b.headings),
        page=a.page,
        context="\n".join(dict.fromkeys(line for chunk in (a, b) for line in chunk.context.split("\n") if line)),
    )


def _shared(a: Sequence[str], b: Sequence[str]) -> tuple[str, ...]:
    """The headings that stand above both."""
    path: list[str] = []
    for mine, its in zip(a, b, strict=False):
        if mine != its:
            break
        path.append(mine)
    return tuple(path)


def _gaps(hits: Sequence[Hit], gap: int) -> list[Place]:
    """What lies between two hits of a document, where it may be bridged."""
    of_version: defaultdict[tuple[str, int], list[Chunk]] = defaultdict(list)
    for hit in hits:
        of_version[hit.document, hit.version].append(hit.chunk)
    return [
        (document, version, a.end, b.start)
        for (document, version), chunks in of_version.items()
        for a in chunks
        for b in chunks
        if 0 < b.start - a.end <= gap + _BLANKS
    ]


def shown_of(passage: Passage) -> Hit:
    """A hit of which only what the passage shows is left."""
    hit = passage.hit
    chunk = hit.chunk
    start = chunk.start + passage.start
    end = start + len(passage.text)
    page = (bisect_right(hit.pages, start) or None) if hit.pages else None
    found = hit.found and (max(start, hit.found[0]), min(end, hit.found[1]))
    if found and found[0] >= found[1]:
        found = None
    return replace(hit, chunk=replace(chunk, start=start, end=end, text=passage.text, page=page), found=found)
