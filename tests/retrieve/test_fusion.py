"""Fusion: what the formulas say, and that equal input gives equal order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.retrieve.fusion import evidence, reciprocal_rank, weighted
from openbook.store.keyword import Weighed

scores = st.dictionaries(st.integers(0, 30), st.floats(0, 1), max_size=20)


def test_weighted_sum_by_hand() -> None:
    fused = weighted({1: 0.9, 2: 0.5, 3: -0.2}, {2: 8.0, 4: 4.0}, 0.7)
    assert fused == [(2, pytest.approx(0.65)), (1, pytest.approx(0.63)), (4, pytest.approx(0.5)), (3, 0.0)]


def test_of_a_chunk_without_a_cosine_the_dense_side_says_neither_good_nor_bad() -> None:
    """A passage whose text may not be sent to the model stood behind everything that may."""
    keyword = {1: Weighed(1.0, 0.0), 2: Weighed(2.0, 0.0), 3: Weighed(2.0, 0.0), 4: Weighed(30.0, 0.0)}
    fused = evidence({1: 0.1, 2: 0.3, 3: 0.6}, keyword, weight=20, chunk=0.2, document=0.4)
    assert fused == [
        (3, pytest.approx(12.4)),
        (4, pytest.approx(12.0)),
        (2, pytest.approx(6.4)),
        (1, pytest.approx(2.2)),
    ]
    assert evidence({}, {1: Weighed(1.0, 0.0)}, weight=20, chunk=0.2, document=0.4) == [(1, pytest.approx(0.2))]


def test_reciprocal_rank_by_hand() -> None:
    fused = reciprocal_rank([[(1, 0.9), (2, 0.8)], [(2, 7.0), (3, 1.0)]], k=60)
    assert fused == [(2, 1 / 62 + 1 / 61), (1, 1 / 61), (3, 1 / 62)]


@given(scores, scores, st.floats(0, 1))
def test_weighted_keeps_every_candidate_in_falling_order(dense: dict, keyword: dict, weight: float) -> None:
    fused = weighted(dense, keyword, weight)
    assert {chunk for chunk, _ in fused} == dense.keys() | keyword.keys()
    assert fused == sorted(fused, key=lambda pair: (-pair[1], pair[0]))
    assert all(0 <= score <= 1 + 1e-9 for _, score in fused)


@given(scores)
def test_one_side_alone_keeps_its_order(dense: dict) -> None:
    alone = [chunk for chunk, _ in weighted(dense, {}, 1.0)]
    assert alone == sorted(dense, key=lambda chunk: (-dense[chunk], chunk))


def test_evidence_by_hand() -> None:
    keyword = {2: Weighed(20.0, 10.0), 3: Weighed(0.0, 10.0)}
    fused = evidence({1: 0.5, 2: 0.25, 3: -0.5}, keyword, weight=20, chunk=0.2, document=0.4)
    assert fused == [(2, pytest.approx(13.0)), (1, pytest.approx(10.0)), (3, pytest.approx(4.0))]


weighed = st.dictionaries(st.integers(0, 30), st.builds(Weighed, st.floats(0, 50), st.floats(0, 50)), max_size=20)


@given(scores, weighed, st.floats(0, 40))
def test_evidence_keeps_every_candidate_and_more_of_it_never_hurts(dense: dict, keyword: dict, weight: float) -> None:
    def fuse() -> list[tuple[int, float]]:
        return evidence(dense, keyword, weight=weight, chunk=0.2, document=0.4)

    before = fuse()
    assert {chunk for chunk, _ in before} == dense.keys() | keyword.keys()
    assert before == sorted(before, key=lambda pair: (-pair[1], pair[0]))
    assert all(score >= 0 for _, score in before)
    for chunk in keyword:
        place = [id for id, _ in before].index(chunk)
        more = keyword | {chunk: Weighed(keyword[chunk].chunk + 1.0, keyword[chunk].document)}
        after = evidence(dense, more, weight=weight, chunk=0.2, document=0.4)
        assert [id for id, _ in after].index(chunk) <= place


@given(scores, weighed)
def test_a_side_that_is_not_trusted_has_no_say(dense: dict, keyword: dict) -> None:
    words = evidence(dense, keyword, weight=0.0, chunk=0.2, document=0.4)
    assert dict(words) == pytest.approx(
        {
            id: 0.2 * keyword[id].chunk + 0.4 * keyword[id].document if id in keyword else 0.0
            for id in {**dense, **keyword}
        }
    )


def place(*places: tuple[int, int, float]) -> dict[int, Weighed]:
    return {id: Weighed(score, 0.0, (document, id)) for id, document, score in places}


def test_a_neighbour_lifts_by_hand() -> None:
    keyword = place((1, 7, 10.0), (2, 7, 6.0), (4, 7, 6.5), (9, 8, 0.0))
    fused = evidence({}, keyword, weight=0, chunk=1, document=0, neighbours=0.5)
    # 1: 10 + 3, 2: 6 + 5, 4: 6.5; and 3 off, so that the best stays 10.
    assert fused == [(1, 10.0), (2, 8.0), (4, 3.5), (9, 0.0)]


placed = st.dictionaries(
    st.integers(0, 30),
    st.builds(Weighed, st.floats(0, 50), st.floats(0, 50), st.tuples(st.integers(0, 4), st.integers(0, 9))),
    max_size=20,
)


@given(scores, placed, st.floats(0, 1))
def test_neighbours_change_the_order_within_documents_alone(dense: dict, keyword: dict, share: float) -> None:
    def best(neighbours: float) -> dict[int, float]:
        found: dict[int, float] = {}
        fused = evidence(dense, keyword, weight=20, chunk=0.2, document=0.4, neighbours=neighbours)
        assert {chunk for chunk, _ in fused} == dense.keys() | keyword.keys()
        for chunk, score in fused:
            found.setdefault(keyword[chunk].place[0] if chunk in keyword else -1 - chunk, score)
        return found

    assert best(share) == pytest.approx(best(0.0))
