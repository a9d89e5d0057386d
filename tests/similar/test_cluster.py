"""Vectors become groups: those that were made, as many as there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.similar.cluster import MOST_COMPARED, MOST_GROUPS, areas, groups

if TYPE_CHECKING:
    from openbook.embed import FloatArray


def unit(vectors: FloatArray) -> FloatArray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clouds(sizes: list[int], *, apart: float = 4.0, seed: int = 0) -> tuple[FloatArray, list[int]]:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(sizes), 32))
    own = [at for at, size in enumerate(sizes) for _ in range(size)]
    return unit(apart * centres[own] + random.normal(size=(len(own), 32))), own


@pytest.mark.parametrize("count", [2, 3, 5, 12, 20])
def test_as_many_groups_as_there_are_clouds(count: int) -> None:
    vectors, own = clouds([25] * count)
    found = groups(vectors)
    assert len(found) == count
    assert all(len({own[row] for row in rows}) == 1 for rows in found)


def test_clouds_of_different_sizes_come_largest_first() -> None:
    vectors, own = clouds([60, 30, 12, 8])
    assert [own[rows[0]] for rows in groups(vectors)] == [0, 1, 2, 3]


def test_equal_vectors_are_one_group() -> None:
    vectors = np.repeat(unit(np.ones((1, 8), np.float32)), 30, axis=0)
    assert groups(vectors) == [list(range(30))]
    assert groups(vectors, 5) == [list(range(30))]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 40), st.integers(1, 60), st.integers(0, 3), st.booleans())
def test_every_row_is_in_one_group(count: int, number: int, seed: int, asked: bool) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(count, 6)) + 0.01) if count else np.zeros((0, 6), np.float32)
    found = groups(vectors, number if asked else None)
    assert sorted(row for rows in found for row in rows) == list(range(count))
    assert len(found) == min(number, count) if asked else len(found) <= MOST_GROUPS
    assert found == groups(vectors, number if asked else None)


def test_more_than_are_compared_are_put_beside_them() -> None:
    vectors, own = clouds([800] * 4)
    assert len(vectors) > MOST_COMPARED
    found = groups(vectors)
    assert sorted(len(rows) for rows in found) == [800] * 4
    assert all(len({own[row] for row in rows}) == 1 for rows in found)


def test_many_groups_have_areas_and_few_have_none() -> None:
    random = np.random.default_rng(1)
    far, near = random.normal(size=(4, 32)), random.normal(size=(16, 32))
    own = [at for at in range(16) for _ in range(12)]
    vectors = unit(np.stack([5 * far[at // 4] + 2 * near[at] for at in own]) + random.normal(size=(len(own), 32)) * 0.5)
    found = groups(vectors, 16)
    parts = areas(vectors, found)
    assert sorted(at for part in parts for at in part) == list(range(16))
    assert sorted({own[found[at][0]] // 4 for at in part} for part in parts) == [{0}, {1}, {2}, {3}]
    assert areas(vectors, groups(vectors, 5)) == []
