"""Fusion: what the formulas say, and that equal input gives equal order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.retrieve.fusion import reciprocal_rank, weighted

scores = st.dictionaries(st.integers(0, 30), st.floats(0, 1), max_size=20)


def test_weighted_sum_by_hand() -> None:
    fused = weighted({1: 0.9, 2: 0.5, 3: -0.2}, {2: 8.0, 4: 4.0}, 0.7)
    assert fused == [(2, pytest.approx(0.65)), (1, pytest.approx(0.63)), (4, pytest.approx(0.15)), (3, 0.0)]


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
