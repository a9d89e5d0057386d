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


def blended(vectors: FloatArray, ends: Sequence[int], share: float) -> FloatArray:
    """Each row plus ``share`` · those before and after it in its run, brought to unit length again.

    Rows are chunks in order, a run those of one section. What a chunk is about often stands in the one before: a
    vector that takes it in is found by it, and no text is read a second time.

    Args:
        vectors: float32[n, d], unit length.
        ends: rising; the row after the last of each run.
        share: 0 leaves the rows as they are.
    """
    import numpy as np

    if not share or len(vectors) < 2:
        return vectors
    sums = vectors.copy()
    before = np.arange(1, len(vectors))
    before = before[~np.isin(before, list(ends))]  # rows whose run began above them
    sums[before] += share * vectors[before - 1]
    sums[before - 1] += share * vectors[before]
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    # Neighbours that point the other way can undo a vector: it then stays its own.
    return np.asarray(np.where(norms > 1e-3, sums / np.maximum(norms, 1e-3), vectors), np.float32)
