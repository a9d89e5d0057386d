"""The real tokenizer, opened once."""

from __future__ import annotations

import pytest

from openbook.embed import Embedder, open_embedder
from openbook.recipe import LocalEmbedder


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return open_embedder(LocalEmbedder())
