"""What every implementation does to texts before, and to vectors after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from openbook.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from openbook.embed import FloatArray


def distinct(texts: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The different texts in order of appearance, and for each text its place among them."""
    import numpy as np

    places: dict[str, int] = {}
    of = np.array([places.setdefault(text, len(places)) for text in texts], np.int64)
    return list(places), of


def unit(vectors: Any, *, where: str) -> FloatArray:
    """Rows brought to unit length. Raises ModelError for a row that is not finite or has no direction."""
    import numpy as np

    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        do = "check the model's weights, or the server's log"
        raise ModelError("made a vector that is zero or not a number", where=where, do=do)
    return np.asarray(vectors / norms, np.float32)
