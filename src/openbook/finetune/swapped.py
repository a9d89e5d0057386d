"""What a ranking is worth to questions that it was not made for.

Training on labels that were shuffled still learns something: which documents are asked for at all. Whoever brings those
to the top for every question gains on a test of the same documents, and has learnt no answer. So each question's
ranking is judged by what answers other questions, too: what a model gains there, it gains for anything.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from openbook.errors import DatasetError
from openbook.evaluate.evaluation import KEPT_HITS
from openbook.evaluate.measures import ranking
from openbook.evaluate.report import Report

DRAWS = 8
"""Times that the answers are dealt out anew: the mean of so many is nearly the mean of all."""

Judgements = Mapping[str, Mapping[str, int]]


def swapped(report: Report, judgements: Judgements, measure: str, *, seed: int = 0) -> dict[str, float]:
    """By question the mean of ``measure`` over other questions' answers, those left out that share one with its own;
    of questions that share with all of them, nothing. Empty where the report keeps too little of what was found."""
    try:
        deep = ranking.cut(measure)
    except DatasetError:  # of chunks, spans or answers
        return {}
    if deep > KEPT_HITS:
        return {}
    found = {id: asked.found for id, asked in report.questions.items() if id in judgements}
    right = {id: {doc for doc, grade in judgements[id].items() if grade > 0} for id in found}
    ids = sorted(found)
    sums: dict[str, list[float]] = {}
    drawn = random.Random(seed)
    for _ in range(DRAWS):
        others = ids[:]
        drawn.shuffle(others)
        dealt = {id: judgements[other] for id, other in zip(ids, others, strict=True) if not right[id] & right[other]}
        for id, value in ranking.measured([measure], dealt, {id: found[id] for id in dealt})[measure].items():
            sums.setdefault(id, []).append(value)
    return {id: sum(values) / len(values) for id, values in sums.items()}
