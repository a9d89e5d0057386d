"""The best candidates are read again, more closely: ``open_reranker(part, embedder).score(question, texts)``.

Importing this package imports no library: each is loaded where it is first needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from openbook.errors import RecipeError
from openbook.recipe import CrossEncoder, LateInteraction, RerankAPI

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray

__all__ = ["Reranker", "open_reranker"]


class Reranker(Protocol):
    """What reads a question and a text together."""

    @property
    def kind(self) -> str: ...
    @property
    def remote(self) -> bool: ...

    def ready(self, texts: int) -> None:
        """Make now what scoring so many texts needs, and is slow to make. Raises: ModelError."""

    def score(self, question: str, texts: Sequence[str]) -> FloatArray:
        """``float32[n]``, in the order of ``texts``, finite: the higher, the better the text answers the question.

        A text's score does not depend on the others.

        Raises:
            ModelError: the model is broken; ModelUnavailable: a remote one did not answer.
        """


def open_reranker(
    part: LateInteraction | CrossEncoder | RerankAPI, embedder: Embedder, *, cache: Path | None = None
) -> Reranker:
    """The reranker that a recipe names; ``embedder`` is the model of the index, ``cache`` as ``open_embedder`` has it.

    Raises:
        ModelError: the model or its key is missing, or it cannot be run safely.
        RecipeError: late interaction is asked of a model that is not here.
    """
    if isinstance(part, LateInteraction):
        from openbook.embed.local import LocalModel
        from openbook.retrieve.rerank.late import TokenVectors

        if not isinstance(embedder, LocalModel):
            raise RecipeError(
                "late interaction reads the embedding model's token vectors, and a server gives none",
                where="query.rerank",
                do="take another kind of reranking, or a local model in index.embed",
            )
        return TokenVectors(embedder)
    if isinstance(part, CrossEncoder):
        from openbook.retrieve.rerank.cross_encoder import PairModel

        return PairModel(part, cache=cache)
    from openbook.retrieve.rerank.api import RerankServer

    return RerankServer(part)
