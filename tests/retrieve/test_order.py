"""Recency and diversity: small stages that put the best candidates in another order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import Diversity, QueryHalf, Recency
from openbook.retrieve import Retriever
from openbook.retrieve.diversity import by_diversity
from openbook.retrieve.recency import by_recency, date_of
from openbook.retrieve.stages import Candidate, placed
from openbook.types import Chunk, Document, Hit


def candidates(*scores: float, dates: tuple[Any, ...] = ()) -> list[Candidate]:
    return [
        Candidate(
            n,
            Hit(f"d{n}", 1, f"s{n}", "", Chunk(0, 1, "a"), score, metadata={"modified": dates[n]} if dates else {}),
            "",
            n + 1,
        )
        for n, score in enumerate(scores)
    ]


def order(found: list[Candidate]) -> list[int]:
    return [candidate.chunk for candidate in found]


@given(
    st.lists(st.floats(-9, 9), min_size=1, max_size=12).map(lambda scores: sorted(scores, reverse=True)),
    st.dictionaries(st.integers(0, 11), st.floats(-9, 9)),
)
def test_scores_never_rise_and_nothing_is_lost(scores: list[float], given: dict[int, float]) -> None:
    given = {at: score for at, score in given.items() if at < len(scores)}
    found = placed(candidates(*scores), given)
    assert sorted(order(found)) == [*range(len(scores))]
    assert [candidate.place for candidate in found] == [*range(1, len(scores) + 1)]
    if given:
        assert [c.hit.score for c in found] == sorted((c.hit.score for c in found), reverse=True)
    for at in range(len(scores)):
        assert at in given or found[at].chunk == at


# --- recency ----------------------------------------------------------------------------------------------------------

YEAR = Recency(half_life_days=365.0)


def test_of_two_that_say_as_much_the_newer_comes_first() -> None:
    found = by_recency(candidates(9.0, 8.8, 1.0, dates=("2020-01-01", "2024-01-01", "2024-01-01")), YEAR)
    assert order(found) == [1, 0, 2]
    assert found[0].hit.score == 8.8
    assert found[0].hit.stages["recency"].score == 1.0
    assert found[1].hit.stages["recency"].score == pytest.approx(0.5 ** (1461 / 365))


def test_one_half_life_takes_half_of_the_weight() -> None:
    found = by_recency(candidates(9.0, 1.0, dates=("2023-01-01", "2024-01-01")), Recency(weight=0.4))
    assert found[0].hit.score == pytest.approx(1.0 + 8.0 * (1 - 0.4 * 0.5))


def test_much_better_stays_ahead_of_a_little_newer() -> None:
    assert order(by_recency(candidates(9.0, 2.0, 1.0, dates=("2024-01-01", "2024-03-01", "2024-03-01")), YEAR)) == [
        0,
        1,
        2,
    ]


def test_without_dates_nothing_changes() -> None:
    before = candidates(3.0, 2.0, dates=("soon", ()))
    assert by_recency(before, YEAR) == before


def test_what_has_no_date_counts_as_the_median() -> None:
    found = by_recency(candidates(5.0, 4.9, 4.8, 1.0, dates=("", "2024-01-01", "2010-01-01", "2024-01-01")), YEAR)
    assert order(found) == [0, 1, 2, 3]
    assert "recency" not in found[0].hit.stages


def test_a_date_in_the_future_makes_nothing_else_old() -> None:
    today = datetime.now(UTC).isoformat()
    found = by_recency(candidates(5.0, 4.0, 1.0, dates=(today, "9999-12-31", today)), YEAR)
    assert order(found) == [0, 1, 2]


def test_what_lies_beyond_the_candidates_stays() -> None:
    dates = ("2010-01-01", "2020-01-01", "2024-01-01")
    found = by_recency(candidates(9.0, 8.9, 8.8, dates=dates), Recency(candidates=2))
    assert order(found) == [0, 1, 2] or order(found) == [1, 0, 2]
    assert found[2].chunk == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2021-05-03", "2021-05-03"),
        ("2021-05-03T10:00:00Z", "2021-05-03"),
        (" 2021 ", "2021-01-01"),
        ("2021-05", "2021-05-01"),
        (2021, "2021-01-01"),
        (("2020-01-01", "soon", "2021-05-03"), "2021-05-03"),
        ("2021-13", None),
        ("0000", None),
        (True, None),
        (0, None),
        (float("inf"), None),
        (float("nan"), None),
        ("", None),
        (None, None),
    ],
)
def test_dates_are_read_as_people_write_them(value: object, expected: str | None) -> None:
    date = date_of(value)
    assert (None if date is None else date.date().isoformat()) == expected


# --- diversity --------------------------------------------------------------------------------------------------------

A, B = np.eye(2, dtype=np.float32)


def test_the_same_again_makes_way_for_something_else() -> None:
    found = by_diversity(candidates(9.0, 8.9, 8.0, 1.0), Diversity(relevance=0.5), {0: A, 1: A, 2: B, 3: B})
    assert order(found)[:2] == [0, 2]
    assert [c.hit.score for c in found] == sorted((c.hit.score for c in found), reverse=True)
    assert [c.hit.stages["diversity"].rank for c in found] == [1, 2, 3, 4]


def test_relevance_alone_is_the_order_that_was() -> None:
    vectors = dict.fromkeys(range(4), A)
    assert order(by_diversity(candidates(9.0, 8.9, 8.0, 1.0), Diversity(relevance=1.0), vectors)) == [0, 1, 2, 3]


def test_what_has_no_vector_is_like_no_other() -> None:
    found = by_diversity(candidates(9.0, 8.9, 8.8, 1.0), Diversity(relevance=0.5), {0: A, 1: A, 3: A})
    assert order(found)[:2] == [0, 2]
    assert order(by_diversity(candidates(9.0, 8.9), Diversity(), {})) == [0, 1]


# --- of a question ----------------------------------------------------------------------------------------------------


def test_both_are_stages_of_a_question(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    policy = "The hotel limit is {} euros a night, breakfast included."
    kb.add(
        *(
            Document(f"policy-{year}.md", policy.format(year - 1900), metadata={"valid": f"{year}-01-01"})
            for year in (2019, 2023, 2025)
        ),
        Document("hotels.md", "A hotel is booked by the travel office, within the limit of the policy."),
    )

    def asked(**stages: Any) -> Any:
        return Retriever(kb.index, kb.embedder, QueryHalf(merge=0, **stages)).retrieve("hotel limit a night", 4)

    plain = asked()
    newest = asked(recency=Recency(field="valid", weight=1.0))
    assert newest.hits[0].source == "policy-2025.md"
    assert newest.hits[0].stages["recency"].rank == 1
    assert newest.ms["recency"] >= 0
    varied = asked(diversity=Diversity(relevance=0.3))
    assert varied.hits[0].source == plain.hits[0].source
    assert varied.hits[1].source == "hotels.md"
    assert {hit.source for hit in varied.hits} == {hit.source for hit in plain.hits}
    assert plain.ms.keys() & {"recency", "diversity"} == set()
