"""A LoRA adapter on a BERT: small matrices beside the weights of a model that is there anyway, added when it is opened.

Hu et al., LoRA (ICLR 2022), in the files that peft writes: ``adapter_config.json``, ``adapter_model.safetensors``. What
was trained whole (a head) lies in the same file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.embed.bert import is_plain, read_safetensors
from openbook.embed.folder import ModelFolder, read_folder, read_json
from openbook.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

_PACKAGED = "sentence-transformers/all-MiniLM-L6-v2"
"""The packaged model as others call it: it is here, and not fetched."""

_BEFORE = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"


def has_adapter(model: str) -> bool:
    return (Path(model).expanduser() / "adapter_config.json").is_file()


def read_adapted(model: str) -> tuple[ModelFolder, dict[str, npt.NDArray[Any]]]:
    """The folder of the model that an adapter's folder names, and its weights with the adapter in them.

    Raises:
        ModelError: the files are damaged, do not fit each other, or hold what cannot be added exactly.
    """
    path = Path(model).expanduser()
    config = read_json(path / "adapter_config.json")
    do = "save the adapter again with peft, as plain LoRA"
    try:
        base, rank, alpha = str(config["base_model_name_or_path"]), int(config["r"]), float(config["lora_alpha"])
        odd = [key for key in ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern") if config.get(key)]
        if config.get("peft_type") != "LORA" or odd or config.get("bias", "none") != "none" or rank < 1:
            raise ValueError(f"not plain LoRA ({', '.join(odd) or config.get('peft_type')})")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"cannot be read ({error})", where=str(path / "adapter_config.json"), do=do) from None
    folder = read_folder("default" if base in ("default", _PACKAGED) else base)
    if not is_plain(folder):
        raise ModelError("an adapter on another model than a BERT", where=str(path), do="merge it into its model")
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    file = path / "adapter_model.safetensors"
    if not file.is_file():
        raise ModelError("adapter_model.safetensors is missing", where=str(path), do=do)
    trained = {name.removeprefix(_BEFORE): tensor for name, tensor in read_safetensors(file).items()}
    weights = read_safetensors(folder.weights)
    for name, tensor in trained.items():
        try:
            if name.endswith(_B):
                if name.removesuffix(_B) + _A not in trained:
                    raise ValueError(f"{name} has no other half")
            elif name.endswith(_A):
                if len(tensor) != rank:
                    raise ValueError(f"{name} is of rank {len(tensor)}, and not {rank}")
                target = _name_in(weights, name.removesuffix(_A) + ".weight")
                change = scale * (trained[name.removesuffix(_A) + _B] @ tensor)
                if change.shape != weights[target].shape:
                    raise ValueError(f"{target} has another shape")
                weights[target] = weights[target] + change
            elif (
                ".lora_" in name
            ):  # of embeddings, or of a kind that is not known here: left out, scores would be others
                raise ValueError(f"{name} is no matrix of plain LoRA")
            else:
                weights[_name_in(weights, name, new=True)] = tensor
        except (KeyError, ValueError) as error:
            raise ModelError(f"does not fit {base} ({error})", where=str(file), do=do) from None
    return folder, weights


def _name_in(weights: dict[str, Any], name: str, *, new: bool = False) -> str:
    """What a tensor is called there: a head knows the encoder as ``bert``, and the encoder alone has no name."""
    bare = name.removeprefix("bert.")
    found = next((each for each in (name, bare) if each in weights), None)
    if found is None and not new:
        raise KeyError(name)
    return found or name
