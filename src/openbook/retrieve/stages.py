"""What the stages after fusion put in order: candidates, each with its hit, its score and its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from openbook.types import Hit, StageScore


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that was found, ``after`` is the text that follows it in its document, ``place`` its place from 1. The
    hit's score is that of the last stage that put it in order."""

    chunk: int
    hit: Hit
    after: str
    place: int


def said(candidates: Sequence[Candidate], stage: str, scores: Mapping[int, float]) -> list[Candidate]:
    """The same with what a stage says of some of them (``scores``: by their index), in its own unit and order."""
    ranks = {at: rank for rank, at in enumerate(_best_first(scores), 1)}
    return [
        replace(
            candidate,
            hit=replace(
                candidate.hit, stages={**candidate.hit.stages, stage: StageScore(ranks[at], float(scores[at]))}
            ),
        )
        if at in scores
        else candidate
        for at, candidate in enumerate(candidates)
    ]


def placed(candidates: Sequence[Candidate], scores: Mapping[int, float]) -> list[Candidate]:
    """Those that have a score (by their index) share, by falling score, the places that they had; others keep theirs.

    A candidate without a score takes the one above it, so that scores never rise.

    >>> from openbook.types import Chunk
    >>> found = [Candidate(n, Hit("d", 1, "s", "", Chunk(0, 1, "a"), 9.0 - n), "", n) for n in range(4)]
    >>> [(each.chunk, each.hit.score) for each in placed(found, {0: 0.2, 2: 0.7})]
    [(2, 0.7), (1, 0.7), (0, 0.2), (3, 0.2)]
    """
    if not scores:
        return list(candidates)
    order = _best_first(scores)
    moved = dict(zip(sorted(scores), order, strict=True))
    score = float(scores[order[0]])
    result = []
    for slot, candidate in enumerate(candidates):
        place = candidate.place
        if (at := moved.get(slot)) is not None:
            candidate, score = candidates[at], float(scores[at])
        result.append(replace(candidate, hit=replace(candidate.hit, score=score), place=place))
    return result


def _best_first(scores: Mapping[int, float]) -> list[int]:
    return sorted(scores, key=lambda at: (-scores[at], at))
