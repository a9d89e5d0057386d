"""What a model was trained on, as the ``trained.json`` in its folder says: documents, and who may read all of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.embed.cache import sha256
from openbook.embed.folder import read_json
from openbook.errors import ModelError

FILE = "trained.json"

OPENED = (
    *("adapter_config.json", "adapter_model.safetensors", "config.json", "config_sentence_transformers.json"),
    *("model.safetensors", "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json"),
)
"""The files of a model's folder that are opened to answer by it."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """``documents`` by id, by source, or by both. Of ``rules`` each names who may read some of the texts:
    a caller who is among each of them may read all. ``fits``: the hash of the embedder whose document vectors the model
    was trained to meet; empty where it makes those itself."""

    documents: tuple[str, ...] = ()
    rules: tuple[tuple[str, ...], ...] = ()
    fits: str = ""


def read_provenance(folder: Path) -> Provenance | None:
    """What the folder's model was trained on; ``None``: nobody says, as of models from elsewhere.

    Raises:
        ModelError: the file cannot be read, or says of documents and not who may read them.
    """
    file = folder / FILE
    told = read_json(file, None)
    if told is None:
        return None
    try:
        named = (*(told.get("documents") or ()), *(told.get("sources") or ()))
        documents = tuple(dict.fromkeys(map(_document, named)))
        rules = tuple(sorted({_rule(one) for one in told.get("principals") or ()}))
        fits = told.get("fits") or ""
        if not isinstance(fits, str):
            raise ValueError(f"fits is {fits!r}")
        if documents and "principals" not in told:
            raise ValueError("principals are missing: nobody knows whom it may answer")
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"cannot be read ({error})", where=str(file), do="train the model again") from None
    return Provenance(documents, rules, fits)


def content_of(folder: Path) -> str:
    """The hash of all that decides what a model's folder does: its weights, its tokenizer, its configuration.
    Whatever else lies there does not make it another model. Raises: ModelError: nothing of one is there."""
    files = [folder / name for name in OPENED if (folder / name).is_file()]
    if not files:
        raise ModelError("cannot be read: no model is there", where=str(folder), do="check the path")
    return hashlib.sha256(json.dumps([[file.name, sha256(file)] for file in files]).encode()).hexdigest()[:16]


def _document(told: Any) -> str:
    name = told if isinstance(told, str) else told[0]
    if not isinstance(name, str) or not name:
        raise ValueError(f"a document named {name!r}")
    return name


def _rule(told: Any) -> tuple[str, ...]:
    """One name stands for itself: whoever lists names means all of them."""
    names = (told,) if isinstance(told, str) else tuple(told)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"principals {told!r}")
    return tuple(sorted(set(names)))
