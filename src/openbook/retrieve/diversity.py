"""Hits that say something else, before hits that say the same again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from openbook.recipe import Diversity
from openbook.retrieve.stages import Candidate, placed, said

if TYPE_CHECKING:
    from openbook.embed import FloatArray


def by_diversity(
    candidates: Sequence[Candidate], part: Diversity, vectors: Mapping[int, FloatArray]
) -> list[Candidate]:
    """Of the first ``part.candidates``, one after another the one that is most relevant and least like those before.

    ``vectors``: float32[d], unit length, by chunk. One that has none (its text may not be sent to the model) is taken
    to be like no other.
    """
    import numpy as np

    head = candidates[: part.candidates]
    if len(head) < 2:
        return list(candidates)
    dimension = next((len(vector) for vector in vectors.values()), 1)
    nothing = np.zeros(dimension, np.float32)
    rows = np.array([vectors.get(candidate.chunk, nothing) for candidate in head])
    likeness = rows @ rows.T
    relevance = np.array([candidate.hit.score for candidate in head])
    spread = float(relevance.max() - relevance.min())
    relevance = (relevance - relevance.min()) / spread if spread else np.ones(len(head))
    nearest = np.zeros(len(head))  # to one of those taken; the opposite of one is as new as anything
    scores: dict[int, float] = {}
    left = np.ones(len(head), bool)
    for _ in head:
        worth = part.relevance * relevance - (1.0 - part.relevance) * nearest
        at = int(np.argmax(np.where(left, worth, -np.inf)))
        scores[at] = float(worth[at])
        left[at] = False
        nearest = np.maximum(nearest, likeness[at])
    return placed(said(candidates, "diversity", scores), scores)
