"""What a terminal shows of reports, comparisons and checks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openbook.evaluate.comparison import compare
from openbook.evaluate.gate import check
from openbook.evaluate.pages.terminal import SHOWN
from openbook.evaluate.report import Asked, Measure, Report, mean

N = 20


def a_report(values: dict[str, list[float]], **more: object) -> Report:
    per_question = {name: {f"q{n}": value for n, value in enumerate(of)} for name, of in values.items()}
    questions = {f"q{n}": Asked(f"What is number {n}?", {"team": f"team {n % 10}"}) for n in range(N)}
    measures = {name: mean(of) for name, of in values.items()}
    ms = {"p50": 10.0, "p95": 20.0, "p99": 30.0}
    return replace(Report("support", "da7a", "all", "r1", "2ec1be", measures, per_question, questions, ms=ms), **more)  # type: ignore[arg-type]


GOOD, BAD = [1.0] * N, [0.0] * N


def line(text: str, start: str) -> str:
    [found] = [line for line in text.splitlines() if line.strip().startswith(start)]
    return found


def test_the_measures_of_a_report_stand_in_groups() -> None:
    values = {"ms_total": [10.0] * N, "f1": GOOD, "ndcg@10": GOOD, "false_answer_rate": BAD, "span_iou@5": GOOD}
    lines = a_report(values).text().splitlines()
    heads = [line for line in lines[3:] if line and not line.startswith((" ", "ms "))]
    assert heads == ["Documents", "Chunks and spans", "Answers", "Abstention", "Time and money"]
    assert lines[lines.index("Answers") + 1].split()[:2] == ["f1", "1.0000"]
    assert lines[0] == "support, split all, 20 questions, release r1 (recipe 2ec1be)"


@pytest.mark.parametrize("measure", ["false_answer_rate", "injection_rate", "unsupported_rate", "ms_total", "cost"])
def test_where_less_is_better_it_says_so(measure: str) -> None:
    """Among figures of which more is better, a rate of 0.9 read as a good one."""
    report = a_report({"ndcg@10": GOOD, measure: GOOD})
    assert line(report.text(), measure).endswith("less is better")
    assert not line(report.text(), "ndcg@10").endswith("better")
    assert line(report.text(), "ms (less is better)").endswith("p50 10.0, p95 20.0, p99 30.0")
    found = compare(report, report)
    assert line(found.text(), measure).endswith("less is better")
    assert line(found.text(), "ndcg@10").endswith("decides")
    assert line(found.text(), "ms (less is better): A p50 10.0, p95 20.0")
    assert line(check(report, report).text(), "ms p95").endswith("(less is better)")


def test_totals_of_which_less_is_better_say_so() -> None:
    report = a_report({"ndcg@10": GOOD})
    report = replace(report, measures={**report.measures, "risk": Measure(0.2, 0.1, 0.3, N)})
    assert "(not tested; less is better)" in line(compare(report, report).text(), "risk")


def test_of_many_losses_some_are_shown_and_the_rest_is_told() -> None:
    """Five were listed, as if these were all."""
    found = compare(a_report({"ndcg@10": GOOD}), a_report({"ndcg@10": [*BAD[:12], *GOOD[12:]]})).text()
    assert line(found, "Losses") == f"Losses, worst first: {SHOWN} of 12; --html and --json list more"
    assert found.count("What is number") == SHOWN
    assert line(found, "12 were right and are wrong")
    few = compare(a_report({"ndcg@10": [*BAD[:2], *GOOD[2:]]}), a_report({"ndcg@10": GOOD})).text()
    assert line(few, "Wins") == "Wins, best first: 2"
    assert "--html" not in few


def test_of_many_slices_some_are_shown_and_the_rest_is_told() -> None:
    ids = [f"q{n}" for n in range(48)]
    asked = {id: Asked("What?", {"team": f"team {n % 8}"}) for n, id in enumerate(ids)}
    a, b = (
        Report("s", "d", "all", "r1", "", {}, {"ndcg@10": dict.fromkeys(ids, value)}, asked) for value in (0.5, 0.7)
    )
    found = compare(a, b).text()
    assert line(found, "Slices") == f"Slices, worst first (ndcg@10): {SHOWN} of 8; --html and --json list more"
    assert found.count("team: team") == SHOWN
