"""Nothing of what a caller may not see leaves by any way of asking; what they may see is found.

The long form, ``make reliability``, asks 100,000 questions and more and prints how many went which way.
"""

from __future__ import annotations

import gc
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.reliability.isolation import Outside, Plan, World, outside, worlds

from openbook.embed.api import APIModel
from openbook.embed.local import LocalModel
from openbook.knowledge_base import KnowledgeBase
from openbook.serving import Serving
from openbook.store.database import Database

SUITE, LONG = 3_000, 100_000
"""Questions asked in the suite, and by ``make reliability``."""
A_WORLD = 500
"""Questions of one world: making one takes about as long as asking so many."""


@pytest.fixture(scope="module")
def remembered() -> Iterator[None]:
    """Each distinct text is embedded once: 100,000 questions are asked for who may see what, not for the model."""
    known: dict[tuple[str, str], Any] = {}
    asked: dict[tuple[str, str], Any] = {}
    plain, remote = LocalModel.encode, APIModel.encode

    def encode(self: LocalModel, texts: Sequence[str], kind: Any = "document", *, progress: Any = None) -> Any:
        missing = [text for text in dict.fromkeys(texts) if (kind, text) not in known]
        if missing:
            known.update(zip([(kind, text) for text in missing], plain(self, missing, kind), strict=True))
        return np.stack([known[kind, text] for text in texts]) if len(texts) else plain(self, texts, kind)

    def ask(self: APIModel, texts: Sequence[str], kind: Any = "document", *, progress: Any = None) -> Any:
        if kind == "document" or len(texts) > 1:
            return remote(self, texts, kind)
        if (self.hash, texts[0]) not in asked:
            asked[self.hash, texts[0]] = remote(self, texts, kind)
        return asked[self.hash, texts[0]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalModel, "encode", encode)
        patch.setattr(APIModel, "encode", ask)
        yield


@pytest.fixture(scope="module")
def beyond(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("exports")) as beyond:
        yield beyond


def ask(database: Database, beyond: Outside, total: int, a_world: int = A_WORLD) -> Counter[str]:
    """Ask ``total`` questions of as many worlds as that takes; returns how many went which way."""
    asked: Counter[str] = Counter()
    made = iter(range(10**9))

    # A failure names the world and the seed of its questions; a smaller world would be asked other ones.
    @settings(
        max_examples=-(-total // a_world),
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
    )
    @given(worlds, st.integers(0, 2**32))
    def one_world(plans: list[Plan], seed: int) -> None:
        if asked.total() >= total:
            return
        with pytest.MonkeyPatch.context() as patch:
            number = next(made)
            if number % 2:  # every other world is asked as a large one: by HNSW
                patch.setattr("openbook.store.dense.EXACT_BYTES", 2 * 32 * 10)
            recipe = beyond.embedder.recipe if number % 4 >= 2 else None
            world = World(
                *(KnowledgeBase(database, uuid.uuid4().hex, recipe=recipe) for _ in range(2)), plans, seed, beyond
            )
            try:
                asked.update(world.check(a_world))
            finally:
                for kb in world.opened:
                    kb.traces.close()
        del world, kb
        gc.collect()  # each opened its model

    one_world()
    return asked


@pytest.mark.usefixtures("remembered")
def test_no_id_text_or_count_leaks_and_nothing_open_is_missing(database: Database, beyond: Outside) -> None:
    asked = ask(database, beyond, SUITE)
    assert asked.total() >= 0.9 * SUITE
    assert len(asked) >= 24, asked
    assert {"again", "ask", "ask a remote model", "evaluate", "export", "history"} <= asked.keys()


@pytest.mark.reliability
@pytest.mark.usefixtures("remembered")
def test_a_hundred_thousand_questions_leak_nothing(
    database: Database, beyond: Outside, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ask(database, beyond, LONG + LONG // 20, a_world=2 * A_WORLD)
    with capsys.disabled():
        ways = ", ".join(f"{way} {n:,}" for way, n in sorted(asked.items(), key=lambda pair: -pair[1]))
        print(f"\nisolation: {asked.total():,} questions, 0 leaks ({ways})")
    assert asked.total() >= LONG


def test_the_model_would_see_a_leak(database: Database, beyond: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that shows everything to everybody fails at once, and so does one that shows nothing, or that sends
    away what is local-only."""
    closed = Plan(20, ("group:hr",), None, 2021, (), False, "a")
    local = replace(closed, access=("public",), local_only=True)
    world = World(*(KnowledgeBase(database, uuid.uuid4().hex) for _ in range(2)), [closed, local] * 4, 1, beyond)
    world.check(40)
    plain: Callable[..., Any] = Database.snapshot
    with monkeypatch.context() as patch:
        patch.setattr(Database, "snapshot", lambda self, principals, **how: plain(self, None, **how))
        with pytest.raises(AssertionError):
            world.check(100)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "snapshot", lambda self, principals, **how: plain(self, principals and [], **how))
        with pytest.raises(AssertionError):
            world.check(100)
    with monkeypatch.context() as patch:
        patch.setattr(Serving, "reads_local_only", lambda self, llm: True)
        with pytest.raises(AssertionError, match="leaked"):
            [world.answer(beyond.writer) for _ in range(50)]
    for kb in world.opened:
        kb.traces.close()
