"""Texts become vectors: ``open_embedder(part).encode(texts) -> float32[n, d]``, every row of unit length.

The default model, all-MiniLM-L6-v2, travels with openbook and runs in OpenVINO; asking imports neither torch nor
transformers. Importing this package imports no library at all: each is loaded where it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from openbook.recipe import LocalEmbedder, OpenAIEmbedder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray: TypeAlias = npt.NDArray[np.float32]
    IntArray: TypeAlias = npt.NDArray[np.int32]

TextKind = Literal["document", "query"]

__all__ = ["Embedder", "TextKind", "open_embedder"]


class Embedder(Protocol):
    """What every embedding model does.

    ``hash`` names the vectors: two embedders with equal hashes make vectors that may be compared. ``max_tokens`` is
    how many tokens of a text are read, special tokens excluded: what follows them is not embedded.
    """

    @property
    def kind(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def remote(self) -> bool: ...

    def encode(
        self, texts: Sequence[str], kind: TextKind = "document", *, progress: Callable[[int], None] | None = None
    ) -> FloatArray:
        """``float32[n, d]`` in the order of ``texts``, every row of unit length.

        ``progress`` is called, from this thread, with the number of texts handed to the model so far.

        Raises:
            ModelError: the model is broken; ModelUnavailable: a remote one did not answer.
        """

    def tokens(self, texts: Sequence[str]) -> list[IntArray]:
        """For each text ``int32[t, 2]``: start and end of every token in code points, none cut off, none special."""


def open_embedder(part: LocalEmbedder | OpenAIEmbedder, *, cache: Path | None = None, patient: bool = True) -> Embedder:
    """The model that a recipe names; what is slow to make is made when first needed.

    ``cache`` is the folder in which openbook keeps what it need not compute twice: by default ``$OPENBOOK_CACHE``,
    else ``~/.cache/openbook``. ``patient``: a server that does not answer is asked again, for half a minute and more;
    otherwise once.

    Raises:
        ModelError: the model or its key is missing, or it cannot be run safely.
    """
    if isinstance(part, OpenAIEmbedder):
        from openbook.embed.api import APIModel

        return APIModel(part, cache=cache) if patient else APIModel(part, cache=cache, seconds=10.0, attempts=1)
    from openbook.embed.local import LocalModel

    return LocalModel(part, cache=cache)
