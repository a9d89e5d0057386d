"""Tests of differences, against scipy, closed forms and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from openbook.errors import QueryError
from openbook.evaluate.report import mean, statistic
from openbook.evaluate.significance import (
    detectable,
    fewest_questions,
    holm,
    interval,
    mcnemar,
    paired,
    randomisation,
)

tenths = st.integers(-10, 10).map(lambda tenth: tenth / 10)
values = st.dictionaries(st.text(min_size=1, max_size=4), st.tuples(tenths, tenths), min_size=1, max_size=40)


def sides(pairs: dict[str, tuple[float, float]]) -> tuple[dict[str, float], dict[str, float]]:
    return {q: a for q, (a, _) in pairs.items()}, {q: b for q, (_, b) in pairs.items()}


# --- randomisation ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-8, 8), min_size=2, max_size=9))
def test_few_differences_give_scipys_exact_p(eighths: list[int]) -> None:
    """Eighths, which add up without rounding: of 0.1, 0.3 and -0.4 scipy takes the mean for other than 0."""
    d = np.array(eighths) / 8
    exact = stats.permutation_test(
        (d,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert randomisation(d[None])[0] == pytest.approx(exact.pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [20, 60, 200])
def test_many_differences_give_scipys_p_but_for_the_draw(n: int) -> None:
    rng = np.random.default_rng(n)
    d = rng.normal(2 / math.sqrt(n) * 0.4, 0.4, size=n) * (rng.random(n) < 0.7)
    drawn = stats.permutation_test(
        (d,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=9999, vectorized=True, rng=rng
    )
    ours = float(randomisation(d[None])[0])
    # Two independent samples of 9,999 arrangements: four standard errors of their difference.
    assert abs(ours - drawn.pvalue) <= 4 * math.sqrt(2 * ours * (1 - ours) / 9999) + 2e-4


def test_arrangements_that_only_rounding_tells_apart_are_the_same() -> None:
    """0.1 + 0.2 is not 0.3: a p of 0.25 came out for a mean that every second arrangement reaches."""
    d = np.array([0.1, 0.2, -0.3])
    assert d.sum() != 0
    assert randomisation(d[None])[0] == 1.0


@given(st.lists(st.lists(tenths, min_size=8, max_size=8), min_size=1, max_size=6))
def test_rows_are_tested_apart(rows: list[list[float]]) -> None:
    together = randomisation(np.array(rows))
    assert together == pytest.approx([randomisation(np.array([row]))[0] for row in rows])


def test_a_p_is_never_0() -> None:
    assert randomisation(np.full((1, 200), 0.5))[0] == 1 / 10_000


# --- yes and no -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_twice_the_smaller_binomial_tail(higher: int, lower: int) -> None:
    n = higher + lower
    tail = sum(math.comb(n, k) for k in range(min(higher, lower) + 1)) / 2**n
    assert mcnemar(higher, lower) == pytest.approx(min(1.0, 2 * tail), abs=1e-12)


@given(st.integers(0, 6), st.integers(0, 6))
def test_mcnemar_is_the_randomisation_test_of_yes_and_no(higher: int, lower: int) -> None:
    d = np.array([1.0] * higher + [-1.0] * lower + [0.0])
    assert mcnemar(higher, lower) == pytest.approx(randomisation(d[None])[0], abs=1e-12)


def test_yes_and_no_are_tested_by_mcnemar() -> None:
    a, b = sides({f"q{n}": (0.0, 1.0) if n < 9 else (1.0, 0.0) if n < 10 else (1.0, 1.0) for n in range(40)})
    found = paired(a, b)
    assert (found.test, found.higher, found.lower) == ("mcnemar", 9, 1)
    assert found.p == pytest.approx(2 * (1 + 10) / 2**10)


# --- Holm -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p: list[float]) -> None:
    """A test is significant when Bonferroni's is in every set of tests that holds it: Marcus, Peritz, Gabriel, 1976."""
    every = range(len(p))
    sets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(every, size)]
    closed = [min(1.0, max(len(s) * min(p[j] for j in s) for s in sets if i in s)) for i in every]
    assert holm(p) == pytest.approx(closed)


def test_holm_of_none() -> None:
    assert holm([]) == []


# --- intervals --------------------------------------------------------------------------------------------------------


@given(st.lists(tenths, min_size=2, max_size=40))
def test_an_interval_holds_the_mean_and_stays_within_the_data(differences: list[float]) -> None:
    d = np.array(differences)
    low, high = interval(d, resamples=499)
    assert d.min() - 1e-9 <= low <= d.mean() + 1e-9
    assert d.mean() - 1e-9 <= high <= d.max() + 1e-9


@pytest.mark.parametrize("n", [2, 3, 10, 40, 300])
def test_the_interval_is_scipys_at_wider_percentiles(n: int) -> None:
    d = np.random.default_rng(n).random(n)
    level = 1 - 2 * stats.norm.sf(math.sqrt(n / (n - 1)) * stats.t.isf(0.025, n - 1))
    theirs = stats.bootstrap(
        (d,), np.mean, method="percentile", confidence_level=level, n_resamples=999, rng=np.random.default_rng(3)
    ).confidence_interval
    assert interval(d, resamples=999, seed=3) == pytest.approx((theirs.low, theirs.high))


def test_what_is_no_mean_has_the_interval_of_a_mean() -> None:
    """Means of reports had plain percentiles, which are too narrow; differences had these."""
    values = np.random.default_rng(0).random(25)
    assert interval(values, lambda rows: float(rows.mean()), resamples=199) == interval(values, resamples=199)
    found, other = mean(list(values)), statistic(lambda rows: float(rows.mean()), values, resamples=2000)
    assert found == other
    assert (found.low, found.high) == interval(values, resamples=2000)
    plain = np.percentile(values[np.random.default_rng(0).integers(0, 25, (2000, 25))].mean(axis=1), [2.5, 97.5])
    assert found.low < plain[0] < plain[1] < found.high


def test_resamples_without_a_value_do_not_count() -> None:
    rows = np.array([[0.0, 1.0], [0.2, 1.0], [0.9, 0.0]])

    def gap(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        """Between the means of two classes; nothing where there is one."""
        of = [rows[rows[:, 1] == label, 0] for label in (0.0, 1.0)]
        return float(of[0].mean() - of[1].mean()) if all(map(len, of)) else math.nan

    low, high = interval(rows, gap, resamples=199)
    assert 0.7 - 1e-9 <= low <= high <= 0.9 + 1e-9
    assert all(map(math.isnan, interval(rows[:2], gap, resamples=19)))


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0])
def test_differences_that_are_all_equal_have_an_interval(value: float) -> None:
    assert interval(np.full(7, value)) == pytest.approx((value, value))
    assert interval(np.array([value])) == (value, value)


def test_the_interval_of_25_questions_covers_where_the_plain_bootstrap_is_too_narrow() -> None:
    rng = np.random.default_rng(0)
    covered, plain = [], []
    for trial in range(800):
        d = rng.beta(0.4, 0.6, 25) - rng.beta(0.4, 0.6, 25)  # much of it near -1, 0 and 1
        low, high = interval(d, resamples=999, seed=trial)
        covered.append(low <= 0 <= high)
        draws = np.random.default_rng(trial).integers(0, 25, (999, 25))
        low, high = np.percentile(d[draws].mean(axis=1), [2.5, 97.5])
        plain.append(low <= 0 <= high)
    assert 0.93 <= np.mean(covered) <= 0.975
    assert np.mean(plain) < np.mean(covered)


# --- what could have been seen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [25, 100, 400])
def test_the_detectable_difference_is_found_in_four_of_five_trials(n: int) -> None:
    rng = np.random.default_rng(n)
    noise = rng.normal(0, 0.3, (1000, n))
    seen = np.mean([detectable(row) for row in noise])
    assert seen == pytest.approx(2.8 * 0.3 / math.sqrt(n), rel=0.06)
    power = np.mean(randomisation(noise + seen, resamples=999) <= 0.05)
    assert 0.76 <= power <= 0.84


def test_more_tests_need_a_larger_difference_and_four_times_the_questions_half_of_it() -> None:
    d = np.random.default_rng(0).normal(0, 0.3, 400)
    one, ten = detectable(d), detectable(d, tests=10)
    assert one is not None
    assert ten is not None
    assert 1.25 * one < ten < 1.4 * one
    quarter = detectable(np.tile(d, 4))
    assert quarter == pytest.approx(one / 2, rel=0.01)


def test_too_few_questions_detect_nothing_and_too_few_changes_no_less_than_six() -> None:
    assert fewest_questions() == 6
    assert mcnemar(6, 0) <= 0.05 < mcnemar(5, 0)
    assert detectable(np.full(5, 0.5)) is None
    assert detectable(np.zeros(60)) == pytest.approx(6 / 60)
    assert detectable(np.zeros(60), full=0.2) == pytest.approx(0.2 * 6 / 60)
    assert detectable(np.full(60, 0.01)) == pytest.approx(0.01 * 6 / 60)


# --- pairs ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(values, st.randoms())
def test_neither_order_nor_a_second_run_changes_a_figure(pairs: dict[str, tuple[float, float]], random: object) -> None:
    a, b = sides(pairs)
    found = paired(a, b, resamples=199)
    shuffled = list(a)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert paired({q: a[q] for q in shuffled}, b, resamples=199) == found


@settings(max_examples=40)
@given(values)
def test_changing_sides_changes_signs_only(pairs: dict[str, tuple[float, float]]) -> None:
    a, b = sides(pairs)
    there, back = paired(a, b, resamples=199), paired(b, a, resamples=199)
    assert back.difference == -there.difference
    assert back.p == there.p
    assert (back.higher, back.lower) == (there.lower, there.higher)
    assert back.detectable == pytest.approx(there.detectable) if there.detectable else back.detectable is None
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=0.05)


def test_the_seed_decides_the_draws() -> None:
    rng = np.random.default_rng(0)
    a, b = ({f"q{n}": float(v) for n, v in enumerate(rng.random(50))} for _ in range(2))
    assert paired(a, b, seed=1) == paired(a, b, seed=1)
    assert paired(a, b, seed=1).p != paired(a, b, seed=2).p


def test_the_effect_is_in_standard_deviations() -> None:
    a, b = sides({"x": (0.0, 0.2), "y": (0.0, 0.4), "z": (0.5, 1.1)})
    found = paired(a, b)
    assert found.effect == pytest.approx(0.4 / 0.2)
    assert paired(a, a).effect is None
    a, b = sides({"x": (0.0, 0.1), "y": (0.2, 0.3), "z": (0.7, 0.8)})
    assert paired(a, b).difference == pytest.approx(0.1)


def test_unpaired_questions_are_refused() -> None:
    with pytest.raises(QueryError, match="ndcg@10: unpaired: 2 of 3 questions have a value on one side only"):
        paired({"x": 0.0, "y": 0.0}, {"x": 0.0, "z": 0.0}, name="ndcg@10")
    with pytest.raises(QueryError, match="no question"):
        paired({}, {})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(QueryError, match="question 'y' has no finite value; count a failure as 0"):
        paired({"x": 0.0, "y": 0.5}, {"x": 0.0, "y": value})


# --- several runs -----------------------------------------------------------------------------------------------------


def test_of_several_runs_the_mean_is_tested_and_what_they_differ_by_widens_the_interval() -> None:
    a = {f"q{n}": (n % 5) / 10 for n in range(40)}
    alike = [{question: value + 0.1 for question, value in a.items()}] * 3
    apart = [{question: value + gain for question, value in a.items()} for gain in (0.0, 0.1, 0.2)]
    same, other = paired(a, alike, resamples=999), paired(a, apart, resamples=999)
    assert same.runs == other.runs == 3
    assert same.difference == pytest.approx(other.difference)
    assert same.p == other.p
    assert (same.low, same.high) == pytest.approx((0.1, 0.1))
    assert other.low <= 0.0 < 0.2 <= other.high
    assert same.detectable is not None
    assert other.detectable is not None
    assert other.detectable > same.detectable


def test_one_run_is_as_if_nothing_had_been_said_of_runs() -> None:
    rng = np.random.default_rng(1)
    a, b = ({f"q{n}": float(value) for n, value in enumerate(rng.random(30))} for _ in range(2))
    assert paired(a, b, resamples=499) == paired(a, [b], resamples=499)
    zeros, ones = dict.fromkeys(a, 0.0), dict.fromkeys(a, 1.0)
    assert paired(zeros, [ones]).test == "mcnemar"
    with pytest.raises(QueryError, match="unpaired"):
        paired(a, [b, {"q0": 1.0}])
