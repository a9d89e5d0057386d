"""Real models made small: a BERT that pools its first token, an MPNet that only torch can read; and a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.embed import small
from tests.embed.loopback import Server

from openbook.embed import Embedder, open_embedder
from openbook.recipe import LocalEmbedder, OpenAIEmbedder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny_bert(pooling)``: random weights, 32 dimensions, 48 tokens."""
    made: dict[str, Path] = {}

    def make(pooling: str) -> Path:
        if pooling not in made:
            made[pooling] = small.tiny_bert(tmp_path_factory.mktemp("bert") / pooling, pooling)
        return made[pooling]

    return make


@pytest.fixture(scope="session")
def tiny_mpnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An architecture that openbook does not build itself."""
    import torch
    from transformers import MPNetConfig, MPNetModel

    torch.manual_seed(2)
    config = MPNetConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.3,
        max_position_embeddings=66,
    )
    return small.save(tmp_path_factory.mktemp("mpnet") / "mpnet", MPNetModel(config), "mean", 48)


@pytest.fixture(scope="session")
def opened(
    cache: Path, tiny_bert: Callable[[str], Path], tiny_mpnet: Path, running: Server
) -> Callable[[str], Embedder]:
    """Each implementation by name, opened once."""
    parts = {
        "packaged": lambda: LocalEmbedder(),
        "bert-cls": lambda: LocalEmbedder(model=str(tiny_bert("cls"))),
        "bert-max": lambda: LocalEmbedder(model=str(tiny_bert("max"))),
        "mpnet": lambda: LocalEmbedder(model=str(tiny_mpnet)),
        "api": lambda: OpenAIEmbedder(model="any", base_url=running.url, max_tokens=100),
    }
    made: dict[str, Embedder] = {}

    def get(name: str) -> Embedder:
        if name not in made:
            made[name] = open_embedder(parts[name](), cache=cache)
        return made[name]

    return get
