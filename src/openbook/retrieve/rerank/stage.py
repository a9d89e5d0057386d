"""Reranking as a stage of a question: which candidates are read again, what becomes of their scores, what it tells."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from openbook.chunk.prefix import embedded_text
from openbook.errors import ModelError, ModelUnavailable
from openbook.recipe import CrossEncoder, LateInteraction, RerankAPI
from openbook.retrieve.rerank import Reranker
from openbook.retrieve.stages import Candidate, placed, said

if TYPE_CHECKING:
    from openbook.embed import FloatArray

FIRST = 8
"""Candidates by which a reranker's speed is measured where nothing is known of it."""

LEAST = 4
"""So many are scored however little time there is: or a moment's slowness would be believed for ever."""

NEWER = 0.3
"""The weight of what was measured last in what a reranker's speed is taken for."""


class Reranking:
    """``part`` at work. It remembers how fast its reranker is, and may be asked from several threads."""

    def __init__(self, part: LateInteraction | CrossEncoder | RerankAPI, reranker: Reranker) -> None:
        self.part = part
        self.reranker = reranker
        self._pace: float | None = None  # milliseconds a character

    def apply(self, question: str, candidates: Sequence[Candidate]) -> tuple[list[Candidate], dict[str, Any]]:
        """The candidates in their new order, and what there is to tell.

        Local-only documents are not shown to a remote reranker and keep their places, between those that were scored.
        A remote one that fails changes nothing, and that is told.

        Raises:
            ModelError: a model of this machine is broken.
        """
        part = self.part
        reads_all = part.is_local
        head = candidates[: part.candidates]
        shown = [at for at, candidate in enumerate(head) if reads_all or not candidate.hit.local_only]
        told: dict[str, Any] = {"candidates": 0}
        if len(shown) < len(head):
            told["withheld"] = len(head) - len(shown)
        if part.budget_ms is not None:
            told["budget_ms"] = part.budget_ms
        texts = [embedded_text(head[at].hit.title, head[at].hit.chunk) for at in shown]
        try:
            scores = self._scores(question, texts)
        except ModelError as error:
            if not self.reranker.remote:
                raise
            return list(candidates), {**told, "skipped": str(error)}
        told["candidates"] = len(scores)
        own = {at: float(score) for at, score in zip(shown, scores, strict=False)}
        final = own
        if isinstance(part, LateInteraction):
            final = {at: candidates[at].hit.score + part.weight * score for at, score in own.items()}
        elif isinstance(part, CrossEncoder) and part.weight is not None:
            final = {at: candidates[at].hit.score + part.weight * log_odds(score) for at, score in own.items()}
        ordered = placed(said(candidates, "rerank", own), final)
        if isinstance(part, LateInteraction) or part.threshold is None:
            return ordered, told
        withheld = {head[at].chunk for at in range(len(head)) if at not in shown}
        kept = [
            candidate
            for candidate in ordered
            if candidate.chunk in withheld
            or ("rerank" in candidate.hit.stages and candidate.hit.stages["rerank"].score >= part.threshold)
        ]
        return kept, {**told, "below": len(own) - sum("rerank" in candidate.hit.stages for candidate in kept)}

    def _scores(self, question: str, texts: Sequence[str]) -> FloatArray:
        """Of as many of the texts as the budget allows, the first ones."""
        import numpy as np

        if not texts:
            return np.empty(0, np.float32)
        self.reranker.ready(len(texts))
        if self.part.budget_ms is None:
            return self.reranker.score(question, texts)
        left = float(self.part.budget_ms)
        done: list[FloatArray] = []
        if self._pace is None:
            self.reranker.ready(FIRST)
            scores, spent = self._timed(question, texts[:FIRST])
            done.append(scores)
            left -= spent
            texts = texts[FIRST:]
        count = self._fitting(texts, left)
        if not done:
            count = max(count, min(LEAST, len(texts)))
        if count:
            try:
                done.append(self._timed(question, texts[:count])[0])
            except ModelUnavailable:
                if not done:  # what it said in time counts
                    raise
        return np.concatenate(done)

    def _timed(self, question: str, texts: Sequence[str]) -> tuple[FloatArray, float]:
        start = time.perf_counter()
        scores = self.reranker.score(question, texts)
        spent = (time.perf_counter() - start) * 1000
        pace = spent / max(1, sum(map(len, texts)))
        self._pace = pace if self._pace is None else (1 - NEWER) * self._pace + NEWER * pace
        return scores, spent

    def _fitting(self, texts: Sequence[str], ms: float) -> int:
        assert self._pace is not None
        pace = self._pace
        return sum(spent * pace <= ms for spent in accumulate(map(len, texts)))


def log_odds(score: float) -> float:
    """Of a score in [0, 1]; between -16 and 16, which is as near to 0 and 1 as a float32 comes.

    >>> log_odds(0.5), round(log_odds(0.9), 3), round(log_odds(1.0))
    (0.0, 2.197, 16)
    """
    score = min(max(score, 1e-7), 1 - 1e-7)
    return math.log(score / (1 - score))
