"""Two reports become a verdict; a baseline becomes a gate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.errors import QueryError
from openbook.evaluate.comparison import SMALLEST_SLICE, compare, compare_all, decide, is_right, slices_of
from openbook.evaluate.gate import allowed, check
from openbook.evaluate.kept import read_report
from openbook.evaluate.measures.ranking import measured
from openbook.evaluate.report import Asked, Report, mean
from openbook.evaluate.significance import holm

Values = Mapping[str, list[float]]


def report(values: Values, **fields: Any) -> Report:
    """Questions q0, q1, …: as many as the longest list of values."""
    per_question = {name: {f"q{n}": value for n, value in enumerate(of)} for name, of in values.items()}
    questions = {f"q{n}": Asked(f"What is number {n}?") for n in range(max(map(len, values.values())))}
    known: dict[str, Any] = {
        "data": "da7a",
        "measures": {name: mean(of) for name, of in values.items() if all(map(math.isfinite, of))},
        "questions": questions,
        "settings": {"limit": None, "measures": list(values), "as": None, "kb": "default"},
    }
    return Report(
        dataset="support", split="all", release="r1", recipe="2ec1be", per_question=per_question, **{**known, **fields}
    )


HALF = [0.0, 1.0] * 15
MUCH_BETTER = [0.9, 1.0] * 15
SAME = [0.5, 0.25, 1.0] * 10
FASTER = [10.0, 12.0] * 15
SLOWER = [20.0, 24.0] * 15


# --- the verdict ------------------------------------------------------------------------------------------------------


def test_a_better_candidate_ships() -> None:
    found = compare(report({"ndcg@10": HALF, "recall@10": SAME}), report({"ndcg@10": MUCH_BETTER, "recall@10": SAME}))
    assert found.verdict == "ship"
    row = found.as_json()["measures"]["ndcg@10"]
    assert (row["a"], row["b"], row["difference"]) == pytest.approx((0.5, 0.95, 0.45))
    assert row["low"] > 0
    assert row["p"] == row["p_holm"] < 0.001


def test_a_worse_one_does_not_nor_one_that_breaks_a_guard() -> None:
    better, worse = [1.0] * 30, [0.1] * 30
    assert compare(report({"ndcg@10": better}), report({"ndcg@10": HALF})).verdict == "don't ship"
    found = compare(report({"ndcg@10": HALF, "recall@10": better}), report({"ndcg@10": better, "recall@10": worse}))
    assert found.verdict == "don't ship"
    assert found.reasons == ["recall@10 is worse by 0.9000 (p 0.0001)"]


@pytest.mark.parametrize("measure", ["false_answer_rate", "injection_rate"])
def test_of_some_guards_less_is_better(measure: str) -> None:
    zeros, ones = [0.0] * 30, [1.0] * 30
    a, b = report({"ndcg@10": HALF, measure: zeros}), report({"ndcg@10": MUCH_BETTER, measure: ones})
    assert compare(a, b).verdict == "don't ship"
    a, b = report({"ndcg@10": HALF, measure: ones}), report({"ndcg@10": MUCH_BETTER, measure: zeros})
    assert compare(a, b).verdict == "ship"


def test_time_stops_nothing_unless_it_is_named_as_a_guard() -> None:
    a, b = report({"ndcg@10": HALF, "ms_total": FASTER}), report({"ndcg@10": MUCH_BETTER, "ms_total": SLOWER})
    found = compare(a, b)
    assert (found.verdict, found.rows["ms_total"].role, found.rows["ms_total"].gain) == ("ship", "told", -11.0)
    assert compare(a, b, guards=["ms_total"]).verdict == "don't ship"


def test_a_gain_that_is_not_worth_having_does_not_ship() -> None:
    a, b = report({"ndcg@10": [0.50, 0.40] * 15}), report({"ndcg@10": [0.51, 0.41] * 15})
    assert compare(a, b).verdict == "ship"
    found = compare(a, b, worth=0.05)
    assert found.verdict == "don't ship"
    assert found.reasons == ["ndcg@10 gains at most 0.0100, less than the 0.05 that is worth having"]
    with pytest.raises(QueryError, match="worth having is -1"):
        compare(a, b, worth=-1)


def test_the_same_twice_is_no_evidence() -> None:
    found = compare(report({"ndcg@10": SAME}), report({"ndcg@10": SAME}))
    assert found.verdict == "insufficient evidence"
    assert found.reasons[0] == "ndcg@10 is the same for every question"
    assert not found.losses
    assert not found.wins


def test_five_questions_show_nothing() -> None:
    found = compare(report({"ndcg@10": [0.0] * 5}), report({"ndcg@10": [1.0] * 5}))
    assert found.verdict == "insufficient evidence"
    assert found.reasons == ["5 questions cannot show a difference in ndcg@10: ask 6 or more"]
    assert found.as_json()["measures"]["ndcg@10"]["detectable"] is None


ends = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda pair: (min(pair), max(pair)))
votes = st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), max_size=4)


@given(st.floats(-1, 1), ends, st.floats(0, 1), votes, st.floats(0, 0.5))
def test_a_guard_or_a_demand_never_turns_another_verdict_into_ship(
    gain: float, interval: tuple[float, float], p: float, guards: list[tuple[float, float]], worth: float
) -> None:
    plain = decide(gain, interval, p)
    strict = decide(gain, interval, p, guards, worth=worth)
    assert strict != "ship" or plain == "ship"
    assert (decide(gain, interval, p, guards) == "don't ship") >= (plain == "don't ship")
    if plain == "ship":
        assert gain > 0 or interval[0] > 0
        assert p <= 0.05


# --- corrections ------------------------------------------------------------------------------------------------------


def test_the_primary_measure_stands_alone_and_the_guards_are_corrected_together() -> None:
    drifts = {name: [*[0.5] * (30 - n), *[0.6] * n] for n, name in enumerate(("recall@10", "mrr@10", "map@100"), 4)}
    base = {name: [0.5] * 30 for name in drifts}
    a, b = report({"ndcg@10": HALF, **base, "ms_total": FASTER}), report(
        {"ndcg@10": MUCH_BETTER, **drifts, "ms_total": SLOWER}
    )  # fmt: skip
    rows = compare(a, b).as_json()["measures"]
    assert rows["ndcg@10"]["p_holm"] == rows["ndcg@10"]["p"]
    assert rows["ms_total"]["p_holm"] == rows["ms_total"]["p"], "it has no vote, and takes none from those that do"
    assert [rows[name]["p_holm"] for name in drifts] == holm([rows[name]["p"] for name in drifts])
    assert all(row["p_holm"] >= row["p"] for row in rows.values())


def test_the_best_of_many_candidates_is_corrected_for_their_number() -> None:
    live = report({"ndcg@10": [0.5] * 30})
    by_luck = report({"ndcg@10": [*[0.5] * 24, *[0.7] * 6]})
    candidates = {f"c{n}": live for n in range(9)} | {"lucky": by_luck}
    assert compare(live, by_luck).verdict == "ship"
    found = compare_all(live, candidates)["lucky"]
    assert found.primary.p_holm == pytest.approx(10 * found.primary.paired.p)
    assert found.verdict == "insufficient evidence"
    assert found.primary.paired.detectable > compare(live, by_luck).primary.paired.detectable  # type: ignore[operator]


def test_where_both_find_the_same_the_answers_decide() -> None:
    a = report({"ndcg@10": SAME, "f1": HALF})
    b = report({"ndcg@10": SAME, "f1": MUCH_BETTER})
    assert compare(a, b).primary.measure == "f1"
    assert compare(a, b, primary="ndcg@10").verdict == "insufficient evidence"
    assert compare(a, a).primary.measure == "ndcg@10"


# --- what flipped -----------------------------------------------------------------------------------------------------


def test_flips_losses_and_wins_are_listed_worst_and_best_first() -> None:
    a = report({"ndcg@10": [1.0, 0.5, 0.0, 0.0, 0.4, 1.0]})
    b = report({"ndcg@10": [0.0, 0.0, 1.0, 0.3, 0.6, 1.0]})
    read = compare(a, b).as_json()
    flips = read["flips"]
    assert (flips["negative"], flips["positive"]) == (["q0", "q1"], ["q2", "q3"])
    assert (flips["a"], flips["b"], flips["p"]) == (4, 4, 1.0)
    assert flips["right"] == "a relevant document within 10"
    assert [change["question"] for change in read["losses"]] == ["q0", "q1"]
    assert [change["question"] for change in read["wins"]] == ["q2", "q3", "q4"]


def test_what_is_right_depends_on_the_measure() -> None:
    assert is_right("mrr@10", 0.1)
    assert is_right("chunk_recall@10", 0.1)
    assert is_right("span_iou@5", 0.1)
    assert not is_right("ndcg@10", 0.0)
    assert not is_right("f1", 0.49)
    assert is_right("f1", 0.5)
    assert is_right("false_abstention_rate", 0.0)
    assert not is_right("false_abstention_rate", 1.0)


def test_a_change_shows_both_sides_and_how_to_open_their_traces() -> None:
    before = {"q0": Asked("Who signs?", found=("a.md",), answer="Ann", trace="t-a"), "q1": Asked("Where?")}
    after = {
        "q0": Asked("Who signs?", found=("b.md",), error="the model did not answer", trace="t-b"),
        "q1": Asked("Where?"),
    }
    a = report({"ndcg@10": [1.0, 0.0]}, questions=before, db="my folder")
    b = report({"ndcg@10": [0.0, 0.0]}, questions=after, db="/elsewhere", settings={"kb": "second"}, failed=("q0",))
    [lost] = compare(a, b).as_json()["losses"]
    assert (lost["text"], lost["difference"]) == ("Who signs?", -1.0)
    assert lost["a"] == {
        "value": 1.0, "found": ["a.md"], "answer": "Ann", "abstained": False, "error": None, "trace": "t-a",
        "show": "openbook show --trace t-a --db 'my folder'",
    }  # fmt: skip
    assert lost["b"]["show"] == "openbook show --trace t-b --db /elsewhere --kb second"
    assert lost["b"]["error"] == "the model did not answer"
    text = compare(a, b).text()
    assert "openbook show --trace t-b --db /elsewhere --kb second" in text
    assert "note: B: 1 question failed and counts 0: q0" in text
    assert "note: B fails on 1 question more than A: mend that before shipping it" in text


def sliced(teams: list[str], values: list[float]) -> Report:
    questions = {f"q{n}": Asked("Which form is it?", {"team": team}) for n, team in enumerate(teams)}
    return report({"ndcg@10": values}, questions=questions)


def test_slices_come_worst_first_corrected_over_the_slices() -> None:
    teams = ["hr"] * 12 + ["it"] * 12 + ["law"] * 6 + ["few"] * (SMALLEST_SLICE - 1)
    before = [0.5] * 35
    after = [0.9] * 12 + [0.0] * 12 + [0.5] * 11
    found = compare(sliced(teams, before), sliced(teams, after))
    assert [(one.field, one.value) for one in found.slices] == [("team", "it"), ("team", "law"), ("team", "hr")]
    worst = found.slices[0]
    assert (worst.lost, worst.won, worst.row.paired.n) == (12, 0, 12)
    assert [one.row.p_holm for one in found.slices] == holm([one.row.paired.p for one in found.slices])
    assert "1 slice of fewer than 6 questions is not listed" in found.notes
    assert "team: it" in found.text()


def test_a_slice_of_everything_is_none() -> None:
    found = compare(sliced(["it"] * 12, [0.5] * 12), sliced(["it"] * 12, [0.9] * 12))
    assert not found.slices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vpn error", {"length": "1-5 words"}),
        ("How do I reset the password of my laptop?", {"length": "6-12 words"}),
        ("Wo ist das?", {"length": "1-5 words"}),
        ("كيف أطلب إجازة", {"language": "ar", "length": "1-5 words"}),
        ("有給休暇はどのように申請すればよいですか", {"language": "ja", "length": "6-12 words"}),
        ("Wie kann ich die Karte sperren, wenn ich sie auf dem Weg zu einer Kundin verloren habe und es Abend ist?",
         {"language": "de", "length": "13 or more words"}),
        ("", {"length": "1-5 words"}),
    ],
)  # fmt: skip
def test_questions_are_cut_by_length_and_by_language_where_it_is_clear(text: str, expected: dict[str, str]) -> None:
    assert slices_of(Asked(text)) == expected


def test_what_the_data_set_says_of_a_question_goes_first() -> None:
    assert slices_of(Asked("vpn", {"language": "de", "length": "brief"})) == {"language": "de", "length": "brief"}


# --- what cannot be compared ------------------------------------------------------------------------------------------


def refused(a: Report, b: Report, **options: Any) -> str:
    with pytest.raises(QueryError) as caught:
        compare(a, b, names=("old.json", "new.json"), **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_reports_over_other_data_are_refused() -> None:
    a, b = report({"ndcg@10": SAME}), report({"ndcg@10": SAME}, data="07e4")
    assert refused(a, b).startswith("old.json was measured on other questions than new.json (support, split all, 30")
    fewer = report({"ndcg@10": SAME[:29]})
    assert "other questions" in refused(a, fewer)


def test_a_run_that_lacks_questions_is_refused_not_cut_to_what_both_have() -> None:
    a, b = report({"ndcg@10": SAME}), report({"ndcg@10": SAME})
    lacking = {question: value for question, value in b.per_question["ndcg@10"].items() if question != "q7"}
    b = replace(b, per_question={"ndcg@10": lacking})
    assert "the same" in refused(a, b, primary="ndcg@10")
    assert "share no measure" in refused(a, b)


def test_a_missing_ranking_counts_0_and_a_document_twice_is_refused() -> None:
    judged = {"q0": {"d": 1}, "q1": {"d": 1}}
    assert measured(["ndcg@10"], judged, {"q0": ["d"]})["ndcg@10"] == {"q0": 1.0, "q1": 0.0}
    with pytest.raises(Exception, match="q0: a ranking holds a document twice"):
        measured(["ndcg@10"], judged, {"q0": ["d", "e", "d"]})


def test_another_k_is_another_measure() -> None:
    a, b = report({"ndcg@5": SAME}), report({"ndcg@10": SAME})
    assert refused(a, b).startswith("the reports share no measure: ndcg@5 / ndcg@10")
    assert refused(a, b, measures=["ndcg@10"]) == (
        "ndcg@10 is not in every report; evaluate both with the same measures"
    )
    assert "ndcg@10 is not in every report" in refused(a, b, primary="ndcg@10")
    assert "ndcg@5 is not in every report" in refused(a, b, guards=["ndcg@5"])


def test_of_an_unknown_measure_the_known_ones_are_told_once() -> None:
    """They were told once for each report."""
    both = report({"ndcg@10": SAME, "f1": SAME, "mrr@10": SAME})
    assert refused(both, both, primary="foo") == "foo is in no report; choose one of ndcg@10, f1, mrr@10"


def test_a_measure_that_only_one_has_is_left_out_and_told() -> None:
    a, b = report({"ndcg@10": SAME, "f1": SAME}), report({"ndcg@10": SAME, "mrr@10": SAME})
    found = compare(a, b)
    assert list(found.rows) == ["ndcg@10"]
    assert found.notes == ["not compared, because it is not in every report: f1, mrr@10"]


def test_a_guard_that_counts_other_questions_is_left_out_and_told() -> None:
    a, b = report({"ndcg@10": SAME, "f1": SAME}), report({"ndcg@10": SAME, "f1": SAME[:20]})
    assert compare(a, b).notes == ["not compared, because it counts 30 and 20 questions, not the same ones: f1"]
    assert "f1 counts 30 and 20 questions" in refused(a, b, guards=["f1"])


def test_what_two_judges_or_two_sets_of_examples_took_is_not_compared() -> None:
    def judged(model: str, prompts: int, examples: str) -> Report:
        return report(
            {"ndcg@10": SAME, "faithfulness": SAME, "style_adherence": SAME},
            details={"faithfulness": {"judge": {"model": model, "prompts": prompts}}},
            settings={"style": {"file": "style.jsonl", "examples": examples}},
        )

    first = judged("openai:one", 1, "aa")
    assert list(compare(first, judged("openai:one", 1, "aa")).rows) == ["ndcg@10", "faithfulness", "style_adherence"]
    found = compare(first, judged("openai:one", 2, "bb"))
    assert list(found.rows) == ["ndcg@10"]
    assert found.notes == [
        "not compared, because it was not taken alike (openai:one, prompts of version 1 / openai:one, prompts of"
        " version 2): faithfulness",
        "not compared, because it was not taken alike (aa / bb): style_adherence",
    ]
    assert "faithfulness was not taken alike (openai:one" in refused(
        first, judged("openai:two", 1, "aa"), guards=["faithfulness"]
    )


def test_what_is_no_number_is_refused() -> None:
    line = refused(report({"ndcg@10": SAME}), report({"ndcg@10": [math.nan, *SAME[1:]]}))
    assert line == "ndcg@10: question 'q0' has no finite value; count a failure as 0"


def test_reports_for_other_callers_are_refused() -> None:
    a, b = (report({"ndcg@10": SAME}, settings={"as": caller}) for caller in (None, ["group:hr"]))
    assert "old.json was asked as the owner, new.json as group:hr" in refused(a, b)


# --- as others read it ------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.3, 1.0])), min_size=1, max_size=20))
def test_the_json_is_whole_and_the_same_every_time(pairs: list[tuple[float, float]]) -> None:
    a, b = (report({"ndcg@10": list(side), "false_answer_rate": list(side)}) for side in zip(*pairs, strict=True))
    one, two = (json.dumps(compare(a, b, resamples=99).as_json(), allow_nan=False) for _ in range(2))
    assert one == two
    read = json.loads(one)
    assert read.keys() >= {"dataset", "measures", "flips", "verdict"}
    for row in read["measures"].values():
        assert row.keys() >= {"a", "b", "difference", "low", "high", "p", "p_holm", "detectable", "effect", "n", "test"}
    changed = len(read["losses"]) + len(read["wins"])
    assert changed == sum(x != y for x, y in pairs)
    assert compare(a, b, resamples=99).text().splitlines()[-1].startswith(read["verdict"])


def test_totals_that_are_no_mean_are_told_without_a_test() -> None:
    a, b = (report({"ndcg@10": SAME}) for _ in range(2))
    a = replace(a, measures={**a.measures, "abstention_auroc": mean([0.7])})
    b = replace(b, measures={**b.measures, "abstention_auroc": mean([0.9])})
    found = compare(a, b)
    assert found.as_json()["totals"]["abstention_auroc"] == pytest.approx({"a": 0.7, "b": 0.9, "difference": 0.2})
    assert "abstention_auroc" in found.text()


def test_times_that_were_not_taken_in_turns_are_said_to_be_so() -> None:
    ms = {"p50": 10.0, "p95": 20.0, "p99": 30.0}
    a = report({"ndcg@10": SAME}, ms=ms)
    assert "not asked in turns" in compare(a, a).notes[0]
    a = replace(a, settings={**a.settings, "in_turns": True})
    assert not compare(a, a).notes
    assert "A p50 10.0, p95 20.0" in compare(a, a).text()


# --- the gate ---------------------------------------------------------------------------------------------------------


def test_what_stayed_the_same_passes_and_says_what_could_have_been_missed() -> None:
    found = check(report({"ndcg@10": SAME}), report({"ndcg@10": SAME}))
    assert found.ok
    assert found.text().splitlines()[-1] == (
        "nothing became worse; a smaller change than this could have been missed: ndcg@10 0.2000"
    )
    few = check(report({"ndcg@10": [1.0] * 3}), report({"ndcg@10": [1.0] * 3}))
    assert few.text().endswith("nor could it have been seen on so few questions")


def test_what_became_significantly_worse_fails() -> None:
    found = check(now=report({"ndcg@10": HALF}), baseline=report({"ndcg@10": MUCH_BETTER}))
    assert not found.ok
    [worse] = found.as_json()["worse"]
    assert (worse["what"], worse["baseline"], worse["now"]) == ("ndcg@10", pytest.approx(0.95), 0.5)
    assert check(now=report({"ndcg@10": MUCH_BETTER}), baseline=report({"ndcg@10": HALF})).ok
    rates = {"baseline": report({"false_answer_rate": [0.0] * 30}), "now": report({"false_answer_rate": [1.0] * 30})}
    assert not check(**rates).ok


def test_the_gate_corrects_over_all_that_it_watches() -> None:
    """One of twenty measures falls by chance in two of five runs."""
    fell = [*[0.5] * 24, *[0.3] * 6]
    names = [f"recall@{k}" for k in range(1, 11)]
    baseline = report({name: [0.5] * 30 for name in names})
    now = report({**{name: [0.5] * 30 for name in names}, names[0]: fell})
    assert check(now, baseline).ok
    assert not check(now, baseline, measures=names[:1]).ok


def test_an_allowed_drop_decides_alone() -> None:
    baseline, now = report({"ndcg@10": [0.50] * 30}), report({"ndcg@10": [0.48] * 30})
    assert not check(now, baseline).ok, "significant, small as it is"
    assert check(now, baseline, allow={"ndcg@10": 0.03}).ok
    assert check(now, baseline, allow={"ndcg@10": 0.02}).ok, "no more than was allowed, whatever binary fractions say"
    now = report({"ndcg@10": [0.0, *[0.5] * 29]})
    assert check(now, baseline).ok, "one question of thirty"
    found = check(now, baseline, allow={"ndcg@10": 0.01})
    assert found.worse[0].why == "ndcg@10 fell from 0.5000 to 0.4833; 0.01 was allowed"
    rates = report({"risk_rate": [0.2] * 30}), report({"risk_rate": [0.1] * 30})
    assert not check(*rates, allow={"risk_rate": 0.05}).ok, "of this one more is worse"


def test_a_question_that_fails_now_fails_the_gate() -> None:
    baseline = report({"ndcg@10": SAME}, failed=("q1",), unanswered=("q2",))
    assert check(report({"ndcg@10": SAME}, failed=("q1",)), baseline).ok
    found = check(report({"ndcg@10": SAME}, failed=("q1", "q5"), unanswered=("q2", "q9")), baseline)
    assert found.failed == ["q5"]
    assert found.worse[0].why == "1 question fails that did not: q5"
    assert found.notes == ["1 question finds nothing that found something: q9"]


def test_evidence_that_is_gone_fails_the_gate() -> None:
    """A measure of evidence leaves out what is not in the documents any more: removing them used to pass."""

    def located(**missing: dict[str, list[str]]) -> Report:
        return report({"ndcg@10": SAME}, details={"evidence": missing})

    then = located(not_found={"q1": ["no such passage"]}, unknown_documents={})
    assert check(located(not_found={"q1": ["no such passage"]}), then).ok
    found = check(located(not_found={"q1": [""]}, unknown_documents={"q4": ["no such document"]}), then)
    assert [one.why for one in found.worse] == ["1 question lost evidence that was in the documents: q4"]


def test_evidence_that_is_gone_of_a_question_that_lacked_some_fails_the_gate() -> None:
    """Who had missed one passage could lose all the others."""

    def located(**missing: dict[str, list[str]]) -> Report:
        return report({"ndcg@10": SAME}, details={"evidence": missing})

    then = located(not_found={"q1": ["one"], "q2": ["one", "two"]})
    found = check(located(not_found={"q1": ["one", "two"], "q2": ["two"]}), then)
    assert [one.why for one in found.worse] == ["1 question lost evidence that was in the documents: q1"]
    found = check(located(not_found={"q1": ["one"]}, unknown_documents={"q1": ["gone.md"]}), then)
    assert [one.what for one in found.worse] == ["evidence"], "a passage and a document are two things"


def test_time_fails_the_gate_only_where_it_is_asked_to() -> None:
    quick = report({"ndcg@10": SAME}, ms={"p50": 5.0, "p95": 10.0, "p99": 20.0})
    slow = report({"ndcg@10": SAME, "ms_total": SLOWER}, ms={"p50": 5.0, "p95": 16.0, "p99": 20.0})
    assert check(slow, quick).ok
    assert check(slow, quick, slower=1.7).ok
    assert check(slow, quick, slower=1.5).worse[0].why == "p95 rose from 10.0 to 16.0 ms, 1.60 times; 1.5 was allowed"
    with pytest.raises(QueryError, match="has no times"):
        check(slow, report({"ndcg@10": SAME}), slower=1.5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"allow": {"ndcg@10": -0.1}}, "the drop allowed for ndcg@10 is -0.1; allow 0 or more"),
        ({"allow": {"ndcg@5": 0.1}}, "ndcg@5 is in no report; choose one of ndcg@10"),
        ({"measures": ["f1"]}, "f1 is in no report; choose one of ndcg@10"),
        ({"slower": 0.0}, "name a ratio above 0"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(QueryError, match=line):
        check(report({"ndcg@10": SAME}), report({"ndcg@10": SAME}), **options)


def test_a_baseline_of_other_questions_is_refused() -> None:
    with pytest.raises(QueryError, match="the baseline was measured on other questions than this"):
        check(report({"ndcg@10": SAME}), report({"ndcg@10": SAME}, data="07e4"))


def test_drops_are_read_as_they_are_written() -> None:
    assert allowed(["ndcg@10=0.02", "f1=0"]) == {"ndcg@10": 0.02, "f1": 0.0}
    for pair in ("ndcg@10", "ndcg@10=", "ndcg@10=much"):
        with pytest.raises(QueryError, match="not measure=drop"):
            allowed([pair])


def test_a_report_that_was_kept_compares_as_before(tmp_path: Any) -> None:
    a = report({"ndcg@10": HALF}, ms={"p50": 1.0, "p95": 2.0, "p99": 3.0})
    b = report({"ndcg@10": MUCH_BETTER})
    a.write(tmp_path / "a.json")
    b.write(tmp_path / "b.json")
    kept = compare(read_report(tmp_path / "a.json"), read_report(tmp_path / "b.json"))
    assert kept.as_json() == compare(a, b).as_json()
