"""A base of random weights, and a knowledge base of a small firm's pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.embed import small
from tests.finetune.embedder import jargon

from openbook.finetune.embedder import Dev
from openbook.knowledge_base import KnowledgeBase
from openbook.store.database import Database


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights: 32 dimensions, 46 tokens."""
    return small.tiny_bert(tmp_path_factory.mktemp("base") / "bert")


@pytest.fixture(scope="module")
def firm(database: Database) -> Iterator[KnowledgeBase]:
    kb = KnowledgeBase(database, "firm")
    kb.add(*jargon.documents(), access=["public"])
    yield kb
    kb.traces.close()


@pytest.fixture
def dev(firm: KnowledgeBase) -> Dev:
    return Dev(firm, tuple(jargon.questions().questions.values()))
