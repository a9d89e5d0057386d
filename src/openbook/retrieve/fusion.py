"""Several rankings of one question become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openbook.store.keyword import Weighed

Ranking = Sequence[tuple[int, float]]
"""(chunk, score), best first."""


def evidence(
    dense: Mapping[int, float],
    keyword: Mapping[int, Weighed],
    *,
    weight: float,
    chunk: float,
    document: float,
    neighbours: float = 0.0,
) -> list[tuple[int, float]]:
    """``weight`` · cosine + ``chunk`` · BM25 of the chunk + ``document`` · BM25 of its document.

    The sum of what both sides say, each as log-odds that the chunk is the one asked for. A sentence-transformer is
    trained as a softmax over ``scale`` · cosine (Henderson et al., arXiv:1705.00652; its default scale is 20), so
    that is its log-odds up to a constant; BM25 is a sum of log-odds over words by its derivation (Robertson and
    Zaragoza, The probabilistic relevance framework, 2009), too large by a factor: words do not come independently.
    Nothing is divided by the best score of the question: a side that finds nothing good says little.

    Of a chunk without a cosine among others that have one (its text may not be sent to the model) the dense side says
    neither good nor bad: it counts as the median of theirs.

    ``neighbours`` · what the chunks before and after have above the lowest candidate is added, and then each document
    is brought back to the best score that it had: the order within a document changes, that of documents does not.

    >>> from openbook.store.keyword import Weighed
    >>> evidence({1: 0.5, 2: 0.25}, {2: Weighed(20.0, 10.0)}, weight=20, chunk=0.2, document=0.4)
    [(2, 13.0), (1, 10.0)]
    """
    unsaid = weight * max(0.0, _usual(dense))
    scores = {id: weight * max(0.0, cosine) for id, cosine in dense.items()}
    for id, (of_chunk, of_document, _) in keyword.items():
        scores[id] = scores.get(id, unsaid) + (chunk * of_chunk + document * of_document)
    return best_first(_lifted(scores, keyword, neighbours) if neighbours else scores)


def _lifted(scores: Mapping[int, float], keyword: Mapping[int, Weighed], share: float) -> dict[int, float]:
    import numpy as np

    if not keyword:
        return dict(scores)
    places = np.array([weighed.place for weighed in keyword.values()], np.int64)
    order = np.lexsort((places[:, 1], places[:, 0]))
    document, ordinal = places[order].T
    ids = [*keyword]
    lowest = min(scores.values())
    above = np.array([scores[id] for id in ids])[order] - lowest
    first = np.r_[True, document[1:] != document[:-1]]
    follows = np.r_[False, (ordinal[1:] == ordinal[:-1] + 1) & ~first[1:], False]  # the one before in the section
    padded = np.r_[0.0, above, 0.0]
    raised = above + share * (np.where(follows[:-1], padded[:-2], 0.0) + np.where(follows[1:], padded[2:], 0.0))
    starts = np.flatnonzero(first)
    back = np.maximum.reduceat(above, starts) - np.maximum.reduceat(raised, starts) + lowest
    chunks = np.diff(np.r_[starts, len(order)])
    lifted = raised + np.repeat(back, chunks)
    several = np.repeat(chunks, chunks) > 1
    return {
        **scores,
        **{ids[at]: score for at, score in zip(order[several].tolist(), lifted[several].tolist(), strict=True)},
    }


def weighted(dense: Mapping[int, float], keyword: Mapping[int, float], weight: float) -> list[tuple[int, float]]:
    """``weight`` · cosine + (1 - ``weight``) · BM25 / the best BM25 of this question.

    Keeps how sure each side is, which ranks alone forget. A cosine below 0 counts 0; a chunk without any of the
    question's words has BM25 0. Scores lie in [0, 1]. A chunk without a cosine counts as in ``evidence``.

    >>> weighted({1: 0.9, 2: 0.5}, {2: 8.0}, 0.7)
    [(2, 0.65), (1, 0.63)]
    """
    top = max(keyword.values(), default=0.0) or 1.0
    usual = _usual(dense)
    scores = {
        chunk: weight * max(0.0, dense.get(chunk, usual)) + (1.0 - weight) * keyword.get(chunk, 0.0) / top
        for chunk in {**dense, **keyword}
    }
    return best_first(scores)


def _usual(cosines: Mapping[int, float]) -> float:
    ordered = sorted(cosines.values())
    return ordered[len(ordered) // 2] if ordered else 0.0


def reciprocal_rank(
    rankings: Sequence[Ranking], k: int = 60, *, weights: Sequence[float] | None = None
) -> list[tuple[int, float]]:
    """Sum of weight / (``k`` + rank) over the rankings that hold a chunk; without ``weights`` each weighs 1.

    Cormack, Clarke and Büttcher, Reciprocal rank fusion outperforms Condorcet and individual rank learning methods,
    SIGIR 2009.
    """
    scores: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, (chunk, _) in enumerate(ranking, 1):
            scores[chunk] = scores.get(chunk, 0.0) + weight / (k + rank)
    return best_first(scores)


def best_first(scores: Mapping[int, float]) -> list[tuple[int, float]]:
    """By falling score; equal scores by chunk, so that a ranking never depends on chance."""
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
