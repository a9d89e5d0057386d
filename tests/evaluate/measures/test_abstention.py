"""What is answered and what is refused: rates, the confidence behind them, and thresholds chosen on dev only."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook import recipe
from openbook.embed import Embedder
from openbook.errors import DatasetError, QueryError
from openbook.evaluate.datasets.dataset import Question
from openbook.evaluate.measures import abstention
from openbook.evaluate.report import Measured, Outcome
from openbook.generate.extractive import Extractive
from openbook.types import Answer, Chunk, Hit

Case = tuple[Question, Outcome]


def case(
    number: int,
    *,
    answerable: bool | None = True,
    answered: bool = True,
    confidence: float | None = 0.5,
    right: bool = True,
    failed: bool = False,
    split: str = "dev",
) -> Case:
    id = f"q{number}"
    question = Question(id, "When?", answers=("dusk",) if answerable else (), answerable=answerable, split=split)
    text = "At dusk." if right else "At dawn."
    answer = Answer(text, confidence=confidence)
    if not answered:
        answer = Answer("", abstained=True, reason="weak", confidence=confidence, withheld=text)
    return question, Outcome(id, error="it broke") if failed else Outcome(id, answer=answer)


def measured(cases: Sequence[Case]) -> Measured:
    return abstention.measure({q.id: q for q, _ in cases}, {o.question: o for _, o in cases})


def chosen(cases: Sequence[Case], **limit: float) -> dict[str, object]:
    return abstention.choose_threshold({q.id: q for q, _ in cases}, {o.question: o for _, o in cases}, **limit)


def means(cases: Sequence[Case]) -> dict[str, float]:
    return {name: sum(values.values()) / len(values) for name, values in measured(cases).per_question.items()}


# --- rates ------------------------------------------------------------------------------------------------------------


def test_what_is_answered_and_what_is_refused() -> None:
    cases = [
        *(case(n, answered=n > 0, right=n > 2) for n in range(5)),  # one refused, two wrong, two right
        *(case(n, answerable=False, answered=n > 5) for n in range(5, 8)),  # one refused, two answered
        case(8, answerable=None),
    ]
    assert means(cases) == {
        "coverage": pytest.approx(7 / 9),
        "false_answer_rate": pytest.approx(2 / 3),
        "false_abstention_rate": pytest.approx(1 / 5),
    }
    risk = measured(cases).totals["risk"]
    assert (risk.value, risk.n) == (pytest.approx(4 / 6), 8)
    assert 0 <= risk.low < risk.value < risk.high <= 1


def test_a_failure_is_the_worst_that_could_have_happened() -> None:
    """Counted as silence, a pipeline that fails on every question would have no false answer."""
    cases = [case(0, failed=True), case(1, answerable=False, failed=True)]
    assert means(cases) == {"coverage": 0, "false_answer_rate": 1, "false_abstention_rate": 1}
    assert measured(cases).totals["risk"].value == 1
    sound = [case(n, answerable=n % 2 == 0, confidence=0.9 - 0.8 * (n % 2)) for n in range(2, 10)]
    before, after = measured(sound).totals, measured([*sound, *cases]).totals
    assert before["abstention_auroc"].value == 1 > after["abstention_auroc"].value
    assert before["risk_coverage_area"].value < after["risk_coverage_area"].value


def test_a_question_that_was_never_asked_counts_as_failed() -> None:
    question, _ = case(0)
    values = abstention.measure({"q0": question}, {}).per_question
    assert values == {"coverage": {"q0": 0.0}, "false_abstention_rate": {"q0": 1.0}}


def test_only_what_the_data_support_is_measured() -> None:
    assert set(measured([case(0, answerable=None)]).per_question) == {"coverage"}
    nothing_accepted = [case(n, answerable=False) for n in range(3)]
    assert set(measured(nothing_accepted).totals) == set()  # where nothing could be right, a risk would tell nothing
    language_model = measured([case(n, answerable=n > 2, confidence=None) for n in range(6)])
    assert set(language_model.totals) == {"risk"}
    assert language_model.details == {}


# --- confidence -------------------------------------------------------------------------------------------------------


def test_auroc_counts_the_pairs_that_the_confidence_puts_right() -> None:
    """Two answerable questions, two others: of four pairs three are in order, and a tie counts half."""
    cases = [
        case(0, confidence=0.9),
        case(1, confidence=0.4),
        case(2, answerable=False, confidence=0.4),
        case(3, answerable=False, confidence=0.2, answered=False),
    ]
    found = measured(cases).totals["abstention_auroc"]
    assert (found.value, found.n) == (3.5 / 4, 4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.booleans()), min_size=2, max_size=25), st.randoms())
def test_areas_do_not_depend_on_the_order_of_equal_confidences(
    rows: list[tuple[bool, int, bool]], rng: random.Random
) -> None:
    cases = [case(n, answerable=a, confidence=c / 6, right=r) for n, (a, c, r) in enumerate(rows)]
    totals = measured(cases).totals
    shuffled = measured(rng.sample(cases, len(cases))).totals
    assert shuffled.keys() == totals.keys()
    for name, found in totals.items():
        assert shuffled[name].value == pytest.approx(found.value)
        assert 0 <= found.value <= 1
    pairs = [(c, d) for a, c, _ in rows for b, d, _ in rows if a and not b]
    if pairs:
        right = sum(1.0 if c > d else 0.5 if c == d else 0.0 for c, d in pairs)
        assert totals["abstention_auroc"].value == pytest.approx(right / len(pairs))


def test_the_area_under_risk_and_coverage_by_hand() -> None:
    """In order of confidence: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 2/4."""
    cases = [case(n, confidence=0.9 - n / 10, right=n % 2 == 0) for n in range(4)]
    assert measured(cases).totals["risk_coverage_area"].value == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    tied = [case(n, confidence=0.5, right=n % 2 == 0) for n in range(4)]
    assert measured(tied).totals["risk_coverage_area"].value == pytest.approx(1 / 2)


def test_the_curve_goes_on_below_the_generators_own_threshold() -> None:
    """An abstention's withheld text tells whether it would have been right."""
    cases = [
        case(0, confidence=0.9),
        case(1, confidence=0.7, right=False),
        case(2, confidence=0.3, answered=False),
        case(3, answerable=False, confidence=0.1, answered=False),
    ]
    assert measured(cases).details["coverage_risk"] == [
        {"threshold": 0.9, "coverage": 1 / 4, "risk": 0.0},
        {"threshold": 0.7, "coverage": 2 / 4, "risk": 1 / 2},
        {"threshold": 0.3, "coverage": 3 / 4, "risk": 1 / 3},
        {"threshold": 0.1, "coverage": 4 / 4, "risk": 2 / 4},
    ]


def test_a_long_curve_is_thinned_and_keeps_both_ends() -> None:
    cases = [case(n, confidence=n / 1000, right=n % 3 == 0) for n in range(1000)]
    points = measured(cases).details["coverage_risk"]
    assert len(points) == abstention.MOST_POINTS
    assert (points[0]["threshold"], points[-1]["threshold"]) == (0.999, 0.0)
    assert points[-1]["coverage"] == 1
    assert all(a["coverage"] < b["coverage"] for a, b in pairwise(points))


# --- thresholds -------------------------------------------------------------------------------------------------------


def both_splits() -> list[Case]:
    """Dev: answerable at .1, .2, … 1.0; unanswerable at .05, .15, … .95. Test: one answerable at .35, one not at .5."""
    return [
        *(case(n, confidence=(n + 1) / 10) for n in range(10)),
        *(case(10 + n, answerable=False, confidence=(n + 0.5) / 10) for n in range(10)),
        case(20, confidence=0.35, split="test"),
        case(21, answerable=False, confidence=0.5, split="test"),
    ]


def test_the_highest_threshold_that_refuses_no_more_than_is_allowed() -> None:
    found = chosen(both_splits(), max_false_abstention=0.3)
    assert found == {
        "value": 0.4,
        "chosen_on": "dev",
        "rule": {"max_false_abstention": 0.3},
        "dev": {
            "questions": 20,
            "coverage": 13 / 20,
            "false_answer_rate": 6 / 10,
            "false_abstention_rate": 3 / 10,
            "risk": 6 / 13,
        },
        "test": {
            "questions": 2,
            "coverage": 1 / 2,
            "false_answer_rate": 1.0,
            "false_abstention_rate": 1.0,
            "risk": 1.0,
        },
    }


def test_the_lowest_threshold_whose_answers_are_wrong_seldom_enough() -> None:
    cases = [
        *(case(n, confidence=0.9 - n / 100, right=n % 4 != 3) for n in range(8)),  # wrong: the 4th and the 8th
        *(case(10 + n, answerable=False, confidence=0.1 + n / 100) for n in range(4)),
    ]
    found = chosen(cases, max_risk=0.25)
    assert found["value"] == 0.9 - 7 / 100
    assert found["dev"] == {
        "questions": 12,
        "coverage": 8 / 12,
        "false_answer_rate": 0.0,
        "false_abstention_rate": 0.0,
        "risk": 0.25,
    }
    assert found["test"] is None


def test_test_questions_do_not_move_the_threshold() -> None:
    moved = [
        (question, Outcome(question.id, answer=Answer("At dawn.", confidence=0.99)) if question.split == "test" else o)
        for question, o in both_splits()
    ]
    for limit in ({"max_false_abstention": 0.2}, {"max_risk": 0.4}):
        before, after = chosen(both_splits(), **limit), chosen(moved, **limit)
        assert before["value"] == after["value"]
        assert before["dev"] == after["dev"]
        assert before["test"] != after["test"]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
)
def test_a_chosen_threshold_keeps_its_limit_and_a_better_one_would_not(
    rows: list[tuple[bool, int, bool]], limit: float
) -> None:
    cases = [case(n, answerable=a, confidence=c / 10, right=r) for n, (a, c, r) in enumerate(rows)]
    answerable = [c / 10 for a, c, _ in rows if a]
    if not answerable:
        with pytest.raises(DatasetError, match="no dev question"):
            chosen(cases, max_false_abstention=limit)
        return
    value = chosen(cases, max_false_abstention=limit)["value"]
    assert isinstance(value, float)
    assert sum(c < value for c in answerable) / len(answerable) <= limit
    assert value == 1.0 or sum(c < math.nextafter(value, 2) for c in answerable) / len(answerable) > limit

    def risk(threshold: float) -> float:
        wrong = [not (a and r) for a, c, r in rows if c / 10 >= threshold]
        return sum(wrong) / len(wrong)

    kept = [c / 10 for _, c, _ in rows if risk(c / 10) <= limit]
    if kept:
        assert chosen(cases, max_risk=limit)["value"] == min(kept)
    else:
        with pytest.raises(DatasetError, match="no threshold"):
            chosen(cases, max_risk=limit)


def test_a_report_names_the_threshold_that_refuses_one_in_ten() -> None:
    assert measured(both_splits()).details["threshold"] == chosen(both_splits(), max_false_abstention=0.1)
    only_test = [(q, o) for q, o in both_splits() if q.split == "test"]
    assert "threshold" not in measured(only_test).details
    nothing_to_refuse = [(q, o) for q, o in both_splits() if q.answerable]
    assert "threshold" not in measured(nothing_to_refuse).details


def test_where_no_threshold_can_be_chosen_the_other_measures_stand() -> None:
    cases = [case(0), case(1, failed=True), case(2, failed=True), case(3, answerable=False)]
    found = measured(cases)
    assert found.details["threshold"] == {"value": None, "reason": "more than 10% of the dev questions failed"}
    assert "coverage" in found.per_question


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_false_abstention": 0.1, "max_risk": 0.1}, "two limits"),
        ({"max_risk": 1.5}, "max_risk is 1.5"),
        ({"max_false_abstention": -0.1}, "max_false_abstention is -0.1"),
        ({"max_risk": math.nan}, "max_risk is nan"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        chosen(both_splits(), **limits)


def test_a_generator_without_confidence_has_no_threshold() -> None:
    with pytest.raises(DatasetError, match="tells no confidence"):
        chosen([case(0, confidence=None)])


# --- the extractive generator -----------------------------------------------------------------------------------------


def test_an_abstention_withholds_what_a_lower_threshold_would_have_said(embedder: Embedder) -> None:
    text = "The keeper lights the lamp at dusk. The log is kept for ten years. Coal is ordered in autumn."
    hits = [Hit("d", 1, "lamps.md", "Lamps", Chunk(0, len(text), text), 1.0)]
    question = "How long is the log kept?"
    refused = Extractive(recipe.Extractive(threshold=1.0), embedder).generate(question, hits)
    given = Extractive(recipe.Extractive(threshold=0.0), embedder).generate(question, hits)
    assert refused.abstained
    assert (refused.text, refused.citations) == ("", ())
    assert refused.withheld == given.text
    assert "ten years" in given.text
    assert refused.confidence == given.confidence
    assert given.withheld == ""
