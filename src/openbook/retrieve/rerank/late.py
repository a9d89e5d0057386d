"""Late interaction over the embedding model's own token vectors: no further model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.embed.local import LocalModel


class TokenVectors:
    """The mean, over the question's tokens, of the cosine to the nearest token of the text: from -1 to 1.

    Khattab and Zaharia, ColBERT, SIGIR 2020, whose sum is a mean here, so that long questions weigh no more. The
    vectors are those that the model pools; it was not trained for this.
    """

    kind = "late"
    remote = False

    def __init__(self, model: LocalModel) -> None:
        self._model = model

    def ready(self, texts: int) -> None:
        self._model.load_tokenwise(1)  # the question alone
        self._model.load_tokenwise(texts)

    def score(self, question: str, texts: Sequence[str]) -> FloatArray:
        import numpy as np

        scores = np.empty(len(texts), np.float32)
        asked: list[FloatArray] = []

        def compare(row: int, vectors: FloatArray) -> None:
            scores[row] = (vectors @ asked[0].T).max(axis=0).mean()

        self._model.token_vectors([question], "query", lambda _, vectors: asked.append(vectors))
        self._model.token_vectors(texts, "document", compare)
        return scores
