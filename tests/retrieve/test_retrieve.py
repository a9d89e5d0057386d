"""A question's way to its hits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbook.errors import QueryError
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import QueryHalf, Recipe, ReciprocalRankFusion
from openbook.types import Document

TEXTS = {
    "leave": "Paid time off: everyone receives 28 days of holiday a year.",
    "sick": "When you are ill, call your manager before nine. Ten days are paid in full.",
    "vpn": "Error HB-4012 means that the VPN certificate has expired. Run renew-cert.",
    "travel": "Trains are booked in second class. Flights need approval by a director.",
    "arabic": "يحصل كل موظف على عشرين يوما من الإجازة السنوية.",
}


@pytest.fixture
def filled(kb: KnowledgeBase) -> KnowledgeBase:
    kb.add(
        *(
            Document(source=name, text=text, title=name, metadata={"n": i})
            for i, (name, text) in enumerate(TEXTS.items())
        )
    )
    return kb


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("How much vacation do I get?", "leave"),
        ("HB-4012", "vpn"),
        ("hb-4012?", "vpn"),
        ("Can I take a plane to meet a client?", "travel"),
        ("الإجازة السنوية", "arabic"),
    ],
)
def test_the_right_document_comes_first(filled: KnowledgeBase, question: str, source: str) -> None:
    assert filled.search(question, 1).hits[0].source == source


def test_a_hit_tells_what_every_stage_said(filled: KnowledgeBase) -> None:
    hit = filled.search("expired VPN certificate", 3).hits[0]
    assert hit.stages.keys() == {"dense", "keyword", "fused"}
    assert all(stage.rank == 1 for stage in hit.stages.values())
    assert hit.score == hit.stages["fused"].score
    assert 0.7 * hit.stages["dense"].score + 0.3 == pytest.approx(hit.score, abs=1e-3)


def test_k_hits_come_when_k_match(filled: KnowledgeBase) -> None:
    for k in (1, 3, 5, 50):
        assert len(filled.search("days", k).hits) == min(k, 5)
    assert {hit.source for hit in filled.search("days", 5, filter="n > 2").hits} == {"travel", "arabic"}


def test_rank_fusion_is_a_recipe_away(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(Recipe(query=QueryHalf(fusion=ReciprocalRankFusion(k=10))))
    kb.add(Document(source="a", text="alpha beta"), Document(source="b", text="gamma delta"))
    best = kb.search("alpha", 1).hits[0]
    assert best.source == "a"
    assert best.score == pytest.approx(1 / 11 + 1 / 11)


@pytest.mark.parametrize("question", ["", "  \n\t ", "\u3000"])
def test_an_empty_question_is_told_so(filled: KnowledgeBase, question: str) -> None:
    with pytest.raises(QueryError, match="empty"):
        filled.search(question)


@pytest.mark.parametrize(
    "question",
    ["🦜", "?", "AND OR NOT", '"', "a" * 100_000, "day " * 50_000, "title:x^2 [1 TO 5]", "\x00\ud800", "%s {x}"],
)
def test_odd_questions_are_answered(filled: KnowledgeBase, question: str) -> None:
    assert len(filled.search(question, 5).hits) == 5


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60).filter(lambda text: text.strip()))
def test_any_question_gives_hits_that_are_spans_of_documents(filled: KnowledgeBase, question: str) -> None:
    for hit in filled.search(question, 3).hits:
        assert TEXTS[hit.source][hit.chunk.start : hit.chunk.end] == hit.chunk.text


def test_a_bad_filter_is_one_line(filled: KnowledgeBase) -> None:
    with pytest.raises(QueryError, match="column"):
        filled.search("days", filter="n >=")
