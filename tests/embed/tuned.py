"""Folders of trained models, as a training writes them: real files, and nothing learnt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file


def linear(
    folder: Path,
    weight: npt.NDArray[Any],
    fits: str,
    *,
    bias: npt.NDArray[Any] | None = None,
    documents: Sequence[Any] = (),
    principals: Sequence[Any] = (),
    **config: Any,
) -> Path:
    """A Dense module as sentence-transformers saves it, with what says what it was trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = weight.shape
    told = {
        "in_features": columns,
        "out_features": rows,
        "bias": bias is not None,
        "activation_function": "torch.nn.modules.linear.Identity",
        **config,
    }
    (folder / "config.json").write_text(json.dumps(told))
    tensors = {"linear.weight": weight.astype(np.float32)}
    if bias is not None:
        tensors["linear.bias"] = bias.astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    trained(folder, fits=fits, documents=documents, principals=principals)
    return folder


def trained(folder: Path, *, documents: Sequence[Any] = (), principals: Sequence[Any] = (), **more: Any) -> None:
    told = {"kind": "embedder", "documents": list(documents), "principals": list(principals), **more}
    (folder / "trained.json").write_text(json.dumps(told))


def turning(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The reflection that takes the direction of ``a`` to that of ``b``, and back."""
    between = (a - b) / np.linalg.norm(a - b)
    return np.asarray(np.eye(len(a)) - 2 * np.outer(between, between))
