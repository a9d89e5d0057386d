"""How well questions are answered with a reranker in training: nDCG@10 of the knowledge base's own retrieval, at each
of a few weights of what the reranker says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from openbook.finetune.embedder.dev import Asking, Dev
from openbook.recipe import CrossEncoder
from openbook.retrieve.rerank import Reranker

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.evaluate.datasets.dataset import Question
    from openbook.finetune.settings import RerankerSettings
    from openbook.retrieve import Retriever

Weight = float | None
"""What a recipe's cross-encoder has: so much is added to the fused score; ``None``: it stands in its place."""

WEIGHTS = (0.3, 0.6, 1.2, 2.5)
"""What is tried of it. It is learnt beside ``first`` · fused score, so as much as 1 / ``first`` (2.5); that is too much
on questions that it has not seen."""

USUAL = 0.6
"""Where no question was asked: the best on sets that a reranker was not trained on (benchmarks/reranker.py)."""


def weights_of(settings: RerankerSettings) -> tuple[Weight, ...]:
    """What is tried, the smallest first; and what it is trained at, where that is another."""
    assert settings.first is not None
    return tuple(dict.fromkeys((*WEIGHTS, round(1.0 / settings.first, 6) if settings.first else None)))


def usual(settings: RerankerSettings) -> Weight:
    return USUAL if settings.first else None


def part_of(settings: RerankerSettings, model: str, weight: Weight) -> CrossEncoder:
    """What a recipe says to rerank by it."""
    return CrossEncoder(model=model, weight=weight, max_tokens=settings.max_tokens, candidates=settings.candidates)


class Rerankings:
    """The dev questions, asked with a reranker and as the recipe stands.

    Raises:
        DatasetError: nothing is known of what answers them.
    """

    def __init__(self, dev: Dev, questions: Sequence[Question], settings: RerankerSettings) -> None:
        self._asking = Asking(dev, questions)
        self._settings = settings
        self._asked = _Asked()
        self._by: dict[Weight, Retriever] = {}  # what one reads of the documents takes longer than a question

    @property
    def asked(self) -> int:
        return len(self._asking.questions)

    @property
    def left_out(self) -> int:
        return self._asking.left_out

    @property
    def digests(self) -> tuple[str, ...]:
        return self._asking.digests

    def before(self) -> float:
        """The mean nDCG@10 of the recipe as it stands."""
        from openbook.chunk import sharing_passages
        from openbook.retrieve import Retriever

        kb = self._asking.dev.kb
        sharing = sharing_passages(kb.recipe.index.chunk)
        return fmean(self._asking.answered(Retriever(kb.index, kb.embedder, kb.recipe.query, sharing=sharing)).values())

    def scores(self, reranker: Reranker) -> dict[Weight, dict[str, float]]:
        """The nDCG@10 of each question with this reranker in the place of the recipe's own, if it has one, by weight.
        It reads each text once."""
        self._asked.reranker = reranker
        self._asked.said.clear()
        by = {weight: self._retriever(weight) for weight in weights_of(self._settings)}
        return {weight: self._asking.answered(of) for weight, of in by.items()}

    def _retriever(self, weight: Weight) -> Retriever:
        from openbook.chunk import sharing_passages
        from openbook.retrieve import Retriever

        if (made := self._by.get(weight)) is None:
            kb = self._asking.dev.kb
            query = kb.recipe.query.model_copy(update={"rerank": part_of(self._settings, "in training", weight)})
            sharing = sharing_passages(kb.recipe.index.chunk)
            made = Retriever(kb.index, kb.embedder, query, sharing=sharing, reranker=self._asked)
            self._by[weight] = made
        return made


@dataclass(slots=True)
class _Asked:
    """A reranker that is asked the same again, and remembers."""

    reranker: Reranker | None = None
    said: dict[tuple[str, str], float] = field(default_factory=dict)
    kind: str = field(default="cross-encoder", init=False)
    remote: bool = field(default=False, init=False)

    def ready(self, texts: int) -> None:
        """It is."""

    def score(self, question: str, texts: Sequence[str]) -> FloatArray:
        import numpy as np

        assert self.reranker is not None
        new = [text for text in dict.fromkeys(texts) if (question, text) not in self.said]
        if new:
            scores = self.reranker.score(question, new)
            self.said.update({(question, text): float(score) for text, score in zip(new, scores, strict=True)})
        return np.array([self.said[question, text] for text in texts], np.float32)


def best_of(scores: Mapping[Weight, float]) -> Weight:
    """The weight at which most is found; of equals the first, which is the smallest."""
    return max(scores, key=lambda weight: scores[weight])
