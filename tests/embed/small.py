"""Real models made small, as sentence-transformers writes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from openbook.embed.folder import read_folder


def save(folder: Path, model: Any, pooling: str, length: int, **extra: Any) -> Path:
    """A folder as sentence-transformers writes it, with the packaged model's tokenizer."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(read_folder("default").path / name, folder / name)
    kinds = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
    places = ["", "1_Pooling"]
    modules = [
        {"idx": i, "name": str(i), "path": place, "type": kind}
        for i, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(extra))
    (folder / "1_Pooling").mkdir()
    Pooling(model.config.hidden_size, pooling).save(str(folder / "1_Pooling"))
    return folder


def tiny_bert(folder: Path, pooling: str = "mean", seed: int = 1) -> Path:
    """A BERT of random weights: 32 dimensions, 48 tokens."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.3,
        max_position_embeddings=64,
    )
    return save(folder, BertModel(config), pooling, 48)


def tiny_pairs(folder: Path, kind: str, seed: int = 3) -> Path:
    """A CrossEncoder of random weights, 64 tokens: a ``bert``, or a ``distilbert``, which has no token types."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        DistilBertConfig,
        DistilBertForSequenceClassification,
    )

    torch.manual_seed(seed)
    model: Any
    if kind == "bert":
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        model = BertForSequenceClassification(
            BertConfig(vocab_size=30522, max_position_embeddings=64, initializer_range=0.3, num_labels=1, **shape)
        )
    else:
        shape = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
        model = DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=30522, max_position_embeddings=64, initializer_range=0.3, num_labels=1, **shape)
        )
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(read_folder("default").path / name, folder / name)
    return folder
