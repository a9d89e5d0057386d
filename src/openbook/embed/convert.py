"""Any other sentence-transformers model: traced once by torch, kept as OpenVINO's own files.

This is the only place of ``openbook.embed`` that imports torch, and only where the cache does not hold the model yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal, TypeAlias

from openbook.embed.cache import sha256
from openbook.embed.folder import ModelFolder
from openbook.embed.runtime import core, openvino
from openbook.errors import ModelError

Form: TypeAlias = Literal["texts", "tokens", "pairs"]
"""What is asked of a model: a vector a text, a vector a token, or a logit a pair of texts."""

LAYOUT = 1
"""Counts up when the converted files change their form."""


def converted(folder: ModelFolder, cache: Path | None, form: Form = "texts") -> Any:
    """The ``openvino.Model`` of a folder: from ``cache``, else converted (10 s and more) and put there.

    Inputs and output are those of the graphs of :mod:`openbook.embed.bert`; of pairs, ``types`` are no input of a model
    that has no token types.

    Raises:
        ModelError: torch or sentence-transformers is missing, or the model cannot be converted.
    """
    ov = openvino()
    if cache is None:
        return _convert(folder, form)
    of = "" if form == "texts" else f"-{form}"
    place = cache / "models" / f"{folder.digest(cache)[:32]}-{LAYOUT}-{ov.__version__.partition('-')[0]}{of}"
    if _whole(place):
        with contextlib.suppress(RuntimeError):
            return core().read_model(place / "model.xml")
    model = _convert(folder, form)
    # Not being able to write the cache costs time at the next start and nothing else.
    with contextlib.suppress(OSError, RuntimeError):
        place.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=place.parent, prefix=".new-"))
        try:
            ov.save_model(model, new / "model.xml", compress_to_fp16=False)
            sums = {name: sha256(new / name) for name in ("model.xml", "model.bin")}
            (new / "sums.json").write_text(json.dumps(sums))
            if place.exists() and not _whole(place):
                shutil.rmtree(place, ignore_errors=True)
            os.rename(new, place)  # fails where another process was faster, whose files are as good
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return model


def _whole(place: Path) -> bool:
    """Whether every file is there as it was written: a flipped bit would make wrong vectors without a word."""
    try:
        sums = json.loads((place / "sums.json").read_text())
        return all(sha256(place / name) == sums[name] for name in ("model.xml", "model.bin"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _convert(folder: ModelFolder, form: Form) -> Any:
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers import AutoModelForSequenceClassification
    except ImportError:
        kind = folder.config.get("model_type", "unknown")
        do = "run: pip install 'openbook[train]'"
        what = f"a model of the kind {kind} is converted once by torch, which is not installed"
        raise ModelError(what, where=str(folder.path), do=do) from None
    from transformers.utils import logging

    how: dict[str, Any] = {"use_safetensors": True, "attn_implementation": "eager", "dtype": torch.float32}

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = SentenceTransformer(str(folder.path), device="cpu", local_files_only=True, model_kwargs=how)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            made = self.model({"input_ids": ids.long(), "attention_mask": mask.long()})
            vectors = made["token_embeddings" if form == "tokens" else "sentence_embedding"]
            assert isinstance(vectors, torch.Tensor)
            return vectors

    class Pairs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            load = AutoModelForSequenceClassification.from_pretrained
            self.model = load(str(folder.path), local_files_only=True, **how)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
            told = {} if types is None else {"token_type_ids": types.long()}
            logits = self.model(input_ids=ids.long(), attention_mask=mask.long(), **told).logits
            assert isinstance(logits, torch.Tensor)
            return logits

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    ov = openvino()
    ids = torch.full((2, 9), 5, dtype=torch.int32)
    mask = torch.ones((2, 9), dtype=torch.float32)
    mask[1, 6:] = 0
    example, inputs, names = [ids, mask], [([-1, -1], ov.Type.i32), ([-1, -1], ov.Type.f32)], ["ids", "mask"]
    if form == "pairs" and has_types(folder):
        example, inputs, names = [*example, torch.zeros_like(ids)], [*inputs, inputs[0]], [*names, "types"]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, about every `if` that it passes
            module = Pairs() if form == "pairs" else Encoder()
            model = ov.convert_model(module.eval(), example_input=tuple(example), input=inputs)
    except Exception as error:  # whatever a foreign model and its tracing may raise
        do = "choose another model"
        raise ModelError(f"cannot be converted ({error})", where=str(folder.path), do=do) from error
    for place, name in zip(model.inputs, names, strict=True):
        place.set_names({name})
    return model


def has_types(folder: ModelFolder) -> bool:
    """Whether the model is told which of two texts a token is of."""
    return int(folder.config.get("type_vocab_size") or 0) > 1
