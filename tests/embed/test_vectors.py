"""Vectors that take their neighbours in."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.embed.vectors import blended


def rows(n: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def test_by_hand() -> None:
    x, y, z = np.eye(3, dtype=np.float32)
    found = blended(np.stack([x, y, z]), [3], 0.5)
    assert found[0] == pytest.approx((x + 0.5 * y) / np.sqrt(1.25))
    assert found[1] == pytest.approx((0.5 * x + y + 0.5 * z) / np.sqrt(1.5))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.floats(0, 1))
def test_runs_do_not_hear_one_another(sizes: list[int], share: float) -> None:
    vectors = rows(sum(sizes))
    ends = list(accumulate(sizes))
    together = blended(vectors, ends, share)
    apart = [blended(vectors[end - size : end], [size], share) for size, end in zip(sizes, ends, strict=True)]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    assert together.dtype == np.float32


def test_a_chunk_alone_and_a_share_of_nothing_leave_vectors_as_they_are() -> None:
    vectors = rows(4)
    assert blended(vectors, [4], 0.0) is vectors
    np.testing.assert_allclose(blended(vectors, [1, 2, 3, 4], 0.5), vectors, atol=1e-6)


def test_opposite_neighbours_leave_a_direction() -> None:
    """Two halves of two neighbours can undo a vector; it is then kept as it is."""
    x = np.eye(3, dtype=np.float32)[:1]
    found = blended(np.concatenate([-x, x, -x]), [3], 0.5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0)
