"""A language model's server that answers each stage by its rules, and a small knowledge base to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.generate.loopback import ModelServer

from openbook.knowledge_base import KnowledgeBase
from openbook.types import Document

KINDS = ("openai", "anthropic")


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    for kind in KINDS:
        for variable in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(f"{kind.upper()}_{variable}", raising=False)
    with ModelServer(request.param) as server:
        yield server


@pytest.fixture
def filled(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    kb = new_kb()
    kb.add(
        Document("sick", "Employees have ten paid sick days a year.", "Sick leave", {"team": "people"}),
        Document("contractors", "Contractors get no paid sick days.", "Contractors", {"team": "legal"}),
        Document("hotel", "A hotel may cost 120 euros a night.", "Travel policy", {"team": "finance"}),
        Document("bees", "The bees on the roof make honey in July.", "Roof", {"team": "garden"}),
    )
    kb.add(
        Document("board", "The secret hotel of the board is the Ritz.", "Board", {"team": "board"}), access=["board"]
    )
    kb.add(Document("home", "The cellar code is 4711.", "Cellar", {"team": "home"}), local_only=True)
    return kb
