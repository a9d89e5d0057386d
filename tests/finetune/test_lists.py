"""What a reranker learns from: hard negatives, and none that are likely relevant and not judged."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from openbook.evaluate import Question
from openbook.finetune.lists import MARGIN, Found, Listed, Ranked, drawn, lists_of, ranked
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import LateInteraction, QueryHalf, Recipe
from openbook.types import Document

RELEVANT = "The hotel costs two hundred euro a night at most."
FOUND = Ranked(
    "q",
    "How much may a hotel cost?",
    (
        Found("travel.md", RELEVANT, 9.0),
        Found("travel.md", "Keep the receipt.", 8.0),
        Found("train.md", "A train costs what it costs.", 7.0),
    ),
    {"travel.md": 1},
)


def test_of_a_relevant_document_only_the_best_chunk_is_a_positive() -> None:
    made = lists_of([FOUND])
    assert [(one.texts, one.grades) for one in made.lists] == [((RELEVANT, "A train costs what it costs."), (1, 0))]
    assert made.further == 1


@pytest.mark.parametrize("judged", [False, True])
def test_another_version_of_a_relevant_page_is_no_negative_unless_it_was_judged(judged: bool) -> None:
    older = Found("travel-2023.md", RELEVANT + " Really.", 8.5)
    found = replace(
        FOUND,
        candidates=(older, *FOUND.candidates),
        judgements={"travel.md": 1, **({"travel-2023.md": 0} if judged else {})},
    )
    made = lists_of([found])
    assert (older.text in made.lists[0].texts) == judged
    assert made.alike == (not judged)


@pytest.mark.parametrize("judged", [False, True])
def test_what_is_far_ahead_of_all_that_is_relevant_is_no_negative_unless_it_was_judged(judged: bool) -> None:
    ahead = Found("hotels.md", "Hotels are booked by the office.", 9.1 + MARGIN)
    found = replace(
        FOUND,
        candidates=(ahead, *FOUND.candidates),
        judgements={"travel.md": 1, **({"hotels.md": 0} if judged else {})},
    )
    made = lists_of([found])
    assert (ahead.text in made.lists[0].texts) == judged
    assert made.ahead == (not judged)


def test_questions_that_teach_nothing_are_counted() -> None:
    nothing_relevant = replace(FOUND, judgements={"elsewhere.md": 1})
    all_relevant = replace(FOUND, candidates=FOUND.candidates[:1])
    assert lists_of([nothing_relevant, all_relevant, replace(FOUND, candidates=())]).idle == 3


def test_only_the_first_candidates_are_learnt_from() -> None:
    assert lists_of([FOUND], candidates=2).idle == 1


def test_a_draw_holds_positives_and_negatives() -> None:
    one = Listed("q", tuple("abcdefgh"), (2, 1, 1, 1, 0, 0, 0, -1), tuple(range(8)))
    for seed in range(20):
        some = drawn(one, 4, random.Random(seed))
        assert len(some.texts) == 4
        assert sum(grade > 0 for grade in some.grades) == 2
        assert all(
            one.grades["abcdefgh".index(text)] == grade for text, grade in zip(some.texts, some.grades, strict=True)
        )
    assert sorted(drawn(one, 99, random.Random(0)).texts) == sorted(one.texts)


def test_candidates_are_those_of_the_first_stage_alone(new_kb: Callable[..., KnowledgeBase]) -> None:
    """Whatever else the recipe does: what a reranker is trained on is what it will be given."""
    kb = new_kb(Recipe(query=QueryHalf(rerank=LateInteraction(weight=1000.0))))
    for n, text in enumerate((RELEVANT, "A train costs what it costs.", "The canteen opens at nine.")):
        kb.add(Document(f"{n}.md", text, title=f"Page {n}"))
    asked = [Question("a", "How much may a hotel cost?", {"0.md": 1}), Question("b", "Who knows?")]
    (found,) = ranked(kb, asked, depth=2)
    assert found.candidates[0].source == "0.md"
    assert len(found.candidates) == 2
    assert found.candidates[0].text.endswith(RELEVANT)
    assert found.candidates[0].text.startswith("Page 0")
    assert found.candidates[0].score > found.candidates[1].score
