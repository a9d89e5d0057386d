"""A knowledge base of a small firm's pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.finetune.embedder import jargon

from openbook.finetune.embedder import Dev
from openbook.knowledge_base import KnowledgeBase
from openbook.store.database import Database


@pytest.fixture(scope="module")
def firm(database: Database) -> Iterator[KnowledgeBase]:
    kb = KnowledgeBase(database, "firm")
    kb.add(*jargon.documents(), access=["public"])
    yield kb
    kb.traces.close()


@pytest.fixture
def dev(firm: KnowledgeBase) -> Dev:
    return Dev(firm, tuple(jargon.questions().questions.values()))
