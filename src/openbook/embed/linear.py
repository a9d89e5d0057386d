"""A query adapter: one linear map that brings query vectors nearer to those of the documents that answer them.

The folder is a Dense module of sentence-transformers (``config.json``, ``model.safetensors``) with a ``trained.json``
that says which document vectors it fits. Nothing but numpy reads it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from openbook.embed.bert import read_safetensors
from openbook.embed.cache import sha256
from openbook.embed.folder import read_json
from openbook.embed.provenance import FILE, Provenance, read_provenance
from openbook.embed.vectors import unit
from openbook.errors import ModelError
from openbook.recipe import LinearAdapter

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray

WEIGHTS = "model.safetensors"

_AGAIN = "train it again: openbook finetune embedder --method adapter"


@dataclass(frozen=True, slots=True)
class LinearMap:
    """``x`` → ``weight @ x + bias``, brought to unit length. ``weight`` float32[d, d], ``bias`` float32[d].

    ``hash`` names what it does: weights, and the embedder that it fits.
    """

    path: Path
    hash: str
    provenance: Provenance
    weight: FloatArray = field(repr=False, compare=False)
    bias: FloatArray | None = field(repr=False, compare=False)

    @property
    def fits(self) -> str:
        """The hash of the embedder whose document vectors it was trained to meet."""
        return self.provenance.fits

    @property
    def dimension(self) -> int:
        return int(self.weight.shape[0])

    def apply(self, vectors: FloatArray) -> FloatArray:
        """float32[n, d] → float32[n, d], every row of unit length. Raises: ModelError: a row has no direction left."""
        mapped = vectors @ self.weight.T
        return unit(mapped if self.bias is None else mapped + self.bias, where=str(self.path))


def read_linear(path: str | Path) -> LinearMap:
    """The map in a folder.

    Raises:
        ModelError: nothing is there, it is damaged or no plain linear map, its weights are a pickle, or it does not say
            which embedder it fits.
    """
    folder = Path(path).expanduser()
    where = str(folder)
    if not folder.is_dir():
        raise ModelError("no such folder", where=where, do="check query.adapter.path")
    file = folder / WEIGHTS
    if not file.is_file():
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        what = "its weights are a pickle, which is not opened" if pickled else f"{WEIGHTS} is missing"
        raise ModelError(what, where=where, do=f"save them as {WEIGHTS}")
    size, has_bias = _shape(folder)
    tensors = read_safetensors(file)
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    wrong = ""
    if weight is None or weight.shape != (size, size):
        wrong = f"linear.weight is {'missing' if weight is None else list(weight.shape)}, not [{size}, {size}]"
    elif has_bias != (bias is not None) or (bias is not None and bias.shape != (size,)):
        wrong = "linear.bias is not as config.json has it"
    elif extra := sorted(tensors.keys() - {"linear.weight", "linear.bias"}):
        wrong = f"holds {extra[0]} besides"
    if wrong:
        raise ModelError(wrong, where=str(file), do=_AGAIN)
    assert weight is not None
    # Copied: what is mapped from a file would follow it, and a release answers by what it was built with.
    weight, bias = weight.copy(), None if bias is None else bias.copy()
    _refuse_unusable(weight, bias, file)
    provenance = read_provenance(folder)
    if provenance is None or not provenance.fits:
        what = "does not say which embedder it fits" if provenance else f"{FILE} is missing"
        raise ModelError(what, where=where, do=_AGAIN)
    content = json.dumps([size, has_bias, provenance.fits, sha256(file)])
    return LinearMap(folder, hashlib.sha256(content.encode()).hexdigest()[:16], provenance, weight, bias)


def open_adapter(part: LinearAdapter, embedder: Embedder) -> LinearMap:
    """The map of a recipe, over the vectors of its embedder.

    Raises:
        ModelError: as ``read_linear``; or it fits another embedder, or is not the one that the recipe was stored with.
    """
    found = read_linear(part.path)
    where = str(found.path)
    if part.content is not None and found.hash != part.content:
        what = f"is another one than the recipe was stored with (then {part.content}, now {found.hash})"
        raise ModelError(what, where=where, do="put the former one back, or build a release by it")
    if found.fits != embedder.hash:
        what = f"fits the vectors of another embedder ({found.fits}; the index has those of {embedder.hash})"
        raise ModelError(what, where=where, do="train it over this one")
    if found.dimension != embedder.dimension:
        what = f"maps {found.dimension} dimensions, and the index has {embedder.dimension}"
        raise ModelError(what, where=where, do=_AGAIN)
    return found


def _shape(folder: Path) -> tuple[int, bool]:
    """(dimensions, whether there is a bias) of a Dense module. Raises: ModelError."""
    config = read_json(folder / "config.json")
    where = str(folder / "config.json")
    try:
        rows, columns, bias = config["out_features"], config["in_features"], config["bias"]
        activation = config.get("activation_function", "")
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"is of no Dense module ({error} is missing)", where=where, do=_AGAIN) from None
    if not isinstance(rows, int) or rows < 1 or rows != columns:
        raise ModelError(f"maps {columns} dimensions to {rows}", where=where, do=_AGAIN)
    if str(activation).rpartition(".")[2] != "Identity":
        raise ModelError(f"is no linear map (activation {activation!r})", where=where, do="train it with Identity")
    return rows, bool(bias)


def _refuse_unusable(weight: FloatArray, bias: FloatArray | None, file: Path) -> None:
    import numpy as np

    if not np.isfinite(weight).all() or (bias is not None and not np.isfinite(bias).all()):
        raise ModelError("holds weights that are no numbers", where=str(file), do=_AGAIN)
    if not weight.any():
        raise ModelError("its weights are all zero", where=str(file), do=_AGAIN)
