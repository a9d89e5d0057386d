"""A base of random weights; and a language model's server, as evaluation's tests have it."""

from pathlib import Path

import pytest
from tests.embed import small
from tests.evaluate.conftest import server

__all__ = ["server"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights: 32 dimensions, 46 tokens."""
    return small.tiny_bert(tmp_path_factory.mktemp("base") / "bert")
