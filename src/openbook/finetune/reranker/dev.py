"""How well questions are answered with a reranker in training: nDCG@10 of the knowledge base's own retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from openbook.finetune.embedder.dev import Asking, Dev
from openbook.recipe import CrossEncoder

if TYPE_CHECKING:
    from openbook.evaluate.datasets.dataset import Question
    from openbook.finetune.settings import RerankerSettings
    from openbook.retrieve import Retriever
    from openbook.retrieve.rerank import Reranker


def part_of(settings: RerankerSettings, model: str) -> CrossEncoder:
    """What a recipe says to rerank as it was trained: by the first stage's score and the model's, or by the model's."""
    assert settings.first is not None
    weight = round(1.0 / settings.first, 6) if settings.first else None
    return CrossEncoder(model=model, weight=weight, max_tokens=settings.max_tokens, candidates=settings.candidates)


class Rerankings:
    """The dev questions, asked with a reranker and as the recipe stands.

    Raises:
        DatasetError: nothing is known of what answers them.
    """

    def __init__(self, dev: Dev, questions: Sequence[Question], settings: RerankerSettings) -> None:
        self._asking = Asking(dev, questions)
        self._part = part_of(settings, "in training")

    @property
    def asked(self) -> int:
        return len(self._asking.questions)

    def before(self) -> float:
        """The mean nDCG@10 of the recipe as it stands."""
        return fmean(self._asking.answered(self._retriever(None)).values())

    def score(self, reranker: Reranker) -> float:
        """The same with this reranker in the place of the recipe's own, if it has one."""
        return fmean(self._asking.answered(self._retriever(reranker)).values())

    def _retriever(self, reranker: Reranker | None) -> Retriever:
        from openbook.chunk import sharing_passages
        from openbook.retrieve import Retriever

        kb = self._asking.dev.kb
        query = kb.recipe.query
        if reranker is not None:
            query = query.model_copy(update={"rerank": self._part})
        sharing = sharing_passages(kb.recipe.index.chunk)
        return Retriever(kb.index, kb.embedder, query, sharing=sharing, reranker=reranker)
