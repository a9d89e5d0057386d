"""Small matrices beside a model's own, and the files that peft writes of them.

Hu et al., LoRA (ICLR 2022): W + α/r · B A, of which A (r × in) and B (out × r) are trained and W is not. B begins at 0,
so that the model begins as it was. What is written here is opened by :mod:`openbook.embed.adapter`, and by peft.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

PARTS = (
    *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    *("intermediate.dense", "output.dense"),
)
"""Every matrix of a BERT layer."""


class LoRA(torch.nn.Module):
    """A linear layer with its matrices."""

    def __init__(self, layer: torch.nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.layer = layer
        self.scale = alpha / rank
        self.dropout = torch.nn.Dropout(dropout)
        self.lora_A = torch.nn.Parameter(torch.empty(rank, layer.in_features))
        self.lora_B = torch.nn.Parameter(torch.zeros(layer.out_features, rank))
        torch.nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = torch.nn.functional.linear(torch.nn.functional.linear(self.dropout(x), self.lora_A), self.lora_B)
        return torch.add(self.layer(x), change, alpha=self.scale)


def add_lora(encoder: torch.nn.Module, *, rank: int, alpha: float, dropout: float) -> None:
    """Freeze ``encoder`` (a transformers BertModel) and put matrices beside every one of its layers'."""
    encoder.requires_grad_(False)
    for name, module in list(encoder.named_modules()):
        if isinstance(module, torch.nn.Linear) and name.startswith("encoder.") and name.endswith(PARTS):
            parent, _, own = name.rpartition(".")
            setattr(encoder.get_submodule(parent), own, LoRA(module, rank, alpha, dropout))


def save_adapter(
    model: torch.nn.Module, folder: Path, *, base: str, rank: int, alpha: float, whole: Sequence[str]
) -> None:
    """What of ``model`` is trained, as peft writes it: ``adapter_config.json``, ``adapter_model.safetensors``.

    ``whole`` are the modules that have no matrices and are trained themselves.
    """
    from safetensors.torch import save_file

    tensors = {}
    for name, tensor in model.named_parameters():
        if tensor.requires_grad:
            told = name + ".weight" if name.endswith(("lora_A", "lora_B")) else name
            tensors[f"base_model.model.{told}"] = tensor.detach().float().contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "bias": "none",
        "target_modules": list(PARTS),
        "modules_to_save": list(whole),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
