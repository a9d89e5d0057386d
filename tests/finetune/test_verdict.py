"""Base and candidates become a verdict: over questions and seeds, told apart by what was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from openbook.errors import QueryError
from openbook.evaluate.datasets.dataset import Evidence, Question
from openbook.evaluate.report import Asked, Report
from openbook.finetune.data.rows import Example, Passage, Rows
from openbook.finetune.verdict import Candidate, Judged, Trial, judge, trained_on

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def report(values: Sequence[float] | Array, name: str = "support", **others: Sequence[float] | Array) -> Report:
    """Questions q0, q1, …, as many as there are values."""
    every = {"ndcg@10": values, **{measure.replace("_at_", "@"): of for measure, of in others.items()}}
    per_question = {measure: {f"q{n}": float(value) for n, value in enumerate(of)} for measure, of in every.items()}
    return Report(
        dataset=name,
        data="da7a",
        split="test",
        release="r1",
        recipe="2ec1be",
        measures={},
        per_question=per_question,
        questions={f"q{n}": Asked(f"What is number {n}?") for n in range(len(values))},
    )


N = 60
RNG = np.random.default_rng(7)
BASE = RNG.choice([0.0, 0.39, 0.63, 1.0], N)
BETTER = np.clip(BASE + RNG.choice([0.0, 0.3], N), 0, 1)
GENERAL = RNG.choice([0.39, 0.63, 1.0], 100)


def found(
    runs: Sequence[Array], general: Sequence[Array] = (GENERAL,), *, seen: Mapping[str, str] | None = None, **how: float
) -> Judged:
    """The only candidate, on one general set, which each of its seeds makes the same of."""
    general = [*general] * (len(runs) // len(general))
    candidate = Candidate("adapter", [report(run) for run in runs], {"default": [report(of) for of in general]})
    trial = judge(report(BASE), [candidate], general={"default": report(GENERAL)}, seen=seen, resamples=999, **how)
    return trial.candidates[0]


# --- the verdict ------------------------------------------------------------------------------------------------------


def test_a_gain_that_costs_nothing_ships() -> None:
    one = found([BETTER])
    assert one.verdict == "ship"
    assert one.reasons[0].startswith("ndcg@10 is better by 0.")
    assert one.forgotten is not None
    assert one.forgotten.gain == 0


def test_nothing_gained_is_no_evidence_and_tells_what_could_have_been_seen() -> None:
    one = found([BASE])
    assert one.verdict == "insufficient evidence"
    assert "60 questions show a difference of 0." in one.reasons[1]
    assert one.primary.paired.detectable is not None


def test_a_gain_for_whatever_is_asked_does_not_ship() -> None:
    """Shuffled labels teach which documents are asked for: .26 to .34 and more on the example of jargon."""
    answers = {f"q{n}": {f"d{n % 6}": 1} for n in range(N)}

    def made(found: Callable[[int], Sequence[str]]) -> Report:
        rankings = {f"q{n}": found(n) for n in range(N)}
        values = [1 / math.log2(2 + list(r).index(f"d{n % 6}")) if f"d{n % 6}" in r else 0.0
                  for n, r in enumerate(rankings.values())]  # fmt: skip
        asked = {id: Asked(id, found=ranking) for id, ranking in rankings.items()}
        return replace(report(values), questions=asked)

    base = made(lambda n: ["x"])
    popular = Candidate("popular", [made(lambda n: [f"d{m}" for m in range(6)])], {})
    exact = Candidate("exact", [made(lambda n: [f"d{n % 6}"])], {})
    trial = judge(base, [popular, exact], general={}, judgements=answers, resamples=999)
    verdicts = {one.name: one.verdict for one in trial.candidates}
    assert verdicts == {"popular": "insufficient evidence", "exact": "ship"}
    assert "it learnt which documents are asked for" in trial.candidates[0].reasons[-1]
    assert trial.candidates[0].primary.is_better
    assert any("own answers over those of other questions (60)" in line for line in trial.lines())


def test_worse_does_not_ship() -> None:
    worse = np.where(np.arange(N) % 3 == 0, 0.0, BASE)
    assert found([worse]).verdict == "don't ship"


def test_what_forgot_for_certain_does_not_ship_and_what_forgot_perhaps_is_no_evidence() -> None:
    certain = GENERAL - np.where(np.arange(100) % 4 == 0, 0.2, 0.0)
    one = found([BETTER], [certain])
    assert one.verdict == "don't ship"
    assert one.forgotten is not None
    assert one.reasons == [f"general sets lose 0.0500 (p {one.forgotten.p_holm:.4f}), more than the 0.01 that they may"]
    perhaps = GENERAL - np.where(np.arange(100) == 4, 1.3, 0.0)
    one = found([BETTER], [perhaps])
    assert one.verdict == "insufficient evidence"
    assert one.reasons[-1].startswith("but general sets lose 0.0130")
    assert found([BETTER], [perhaps], allowed=0.02).verdict == "ship"


def test_a_loss_of_general_sets_within_what_is_allowed_ships_though_it_is_certain() -> None:
    one = found([BETTER], [GENERAL - 0.008])
    assert one.forgotten is not None
    assert one.forgotten.is_worse
    assert one.verdict == "ship"


def test_each_general_set_counts_as_much_as_another() -> None:
    """In the mean of all questions the large set would hide what the small one lost."""
    small, large = np.full(20, 0.8), np.full(400, 0.8)
    candidate = Candidate("full", [report(BETTER)], {"small": [report(small - 0.1)], "large": [report(large)]})
    trial = judge(report(BASE), [candidate], general={"small": report(small), "large": report(large)}, resamples=999)
    one = trial.candidates[0]
    assert one.forgotten is not None
    assert one.forgotten.paired.difference == pytest.approx(-0.05)
    assert one.forgotten.paired.a == pytest.approx(0.8)
    assert one.verdict == "don't ship"
    assert one.as_json()["general"]["after"] == {"small": pytest.approx(0.7), "large": pytest.approx(0.8)}


def test_another_measure_that_is_worse_stops_it_as_in_every_comparison() -> None:
    half = np.full(N, 0.5)
    a, b = report(BASE, recall_at_100=half), report(BETTER, recall_at_100=half - 0.2)
    trial = judge(a, [Candidate("full", [b])], general={}, resamples=999)
    assert trial.verdict == "don't ship"
    assert trial.candidates[0].reasons[0].startswith("recall@100 is worse by 0.2")
    assert "no general set was measured: nobody knows what was forgotten" in trial.notes


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_seeds_that_disagree_are_no_evidence_where_one_of_them_alone_would_ship() -> None:
    good, none, bad = BETTER, BASE, np.clip(BASE - 0.03, 0, 1)
    assert found([good]).verdict == "ship"
    one = found([good, none, bad])
    assert one.verdict == "insufficient evidence"
    assert one.primary.paired.runs == 3
    assert found([good, good, np.clip(BASE + 0.1, 0, 1)]).verdict == "ship"


def test_one_seed_is_told() -> None:
    assert found([BETTER]).notes[0].startswith("one seed was trained")
    assert found([BETTER, BETTER]).notes == []


def test_questions_that_went_without_the_model_are_told() -> None:
    told = replace(report(BETTER), details={"not_adapted": {"q0": "it was trained on closed texts", "q1": "the same"}})
    one = judge(report(BASE), [Candidate("adapter", [told])], general={}, resamples=499).candidates[0]
    assert one.notes[0] == "2 questions went without it: it was trained on closed texts"


# --- what was trained on ----------------------------------------------------------------------------------------------


def test_a_gain_that_others_pay_for_is_memory_and_does_not_ship() -> None:
    """Scifact: 196 of 300 test questions share their document with a training question; the whole gained .144, and the
    104 others lost .018."""
    seen = {f"q{n}": "document" for n in range(40)}
    values = np.where(np.arange(N) < 40, np.clip(BASE + 0.4, 0, 1), np.clip(BASE - 0.04, 0, 1))
    one = found([values], seen=seen)
    assert one.seen is not None
    assert one.unseen is not None
    assert (one.seen.paired.n, one.unseen.paired.n) == (40, 20)
    assert one.seen.gain > 0.1
    assert one.verdict == "don't ship"
    assert one.reasons[0].startswith("questions whose evidence was not trained on lose 0.")
    assert "it is memory" in one.notes[-1]
    assert found([values]).verdict == "ship"


def test_questions_that_were_not_trained_on_and_gain_as_well_are_told_apart() -> None:
    one = found([BETTER], seen={f"q{n}": "passage" for n in range(30)})
    assert one.verdict == "ship"
    assert one.unseen is not None
    assert one.unseen.gain > 0
    assert not any("memory" in note for note in one.notes)


def test_where_everything_was_trained_on_it_is_told_that_nothing_else_is_known() -> None:
    one = found([BETTER], seen={f"q{n}": "document" for n in range(N)})
    assert one.verdict == "ship"
    assert one.unseen is None
    assert one.notes[-1].startswith("no question with evidence that was not trained on")


def test_a_passage_or_document_in_the_rows_makes_a_question_seen() -> None:
    text = "The kiln fires clay at 1,240 degrees for eleven hours and cools for a whole day before it is opened."
    other = "The loom weaves sails of flax and hemp, four metres wide, for the barges that leave in spring."
    rows = Rows((Example("how hot is the kiln", (Passage(text, "village.md"),)),))
    test = [
        Question("same", "How hot is the kiln?", {"other.md": 1}),
        Question("document", "When is bread baked?", {"village.md": 1}),
        Question("passage", "For how long does it cool?", evidence=(Evidence("village.md", text),)),
        Question("elsewhere", "What are the sails made of?", evidence=(Evidence("village.md", other),)),
        Question("none", "What are the sails made of?", {"loom.md": 1}),
    ]
    assert trained_on(rows, test) == {"same": "question", "document": "document", "passage": "passage"}


# --- several candidates -----------------------------------------------------------------------------------------------


def trial(**candidates: Array) -> Trial:
    return judge(
        report(BASE), [Candidate(name, [report(of)]) for name, of in candidates.items()], general={}, resamples=999
    )


def test_the_cheapest_wins_unless_a_later_one_is_better_for_certain() -> None:
    much = np.clip(BASE + 0.6, 0, 1)
    assert trial(adapter=BETTER, lora=BETTER, full=np.clip(BETTER + 0.001, 0, 1)).winner in ("adapter", "full")
    assert trial(adapter=BETTER, lora=BETTER[:]).winner == "adapter"
    assert trial(adapter=BETTER, lora=much).winner == "lora"
    assert trial(adapter=BASE, lora=BETTER).winner == "lora"


def test_p_is_corrected_over_candidates() -> None:
    some = BASE.copy()
    some[np.flatnonzero(BASE < 0.5)[:7]] += 0.3
    assert trial(adapter=some).verdict == "ship"
    found = trial(**{f"c{n}": some for n in range(6)})
    assert found.verdict == "insufficient evidence"
    assert found.candidates[0].primary.p_holm == pytest.approx(6 * found.candidates[0].primary.paired.p)


def test_the_trial_is_stopped_only_where_every_candidate_is() -> None:
    worse = np.where(np.arange(N) % 3 == 0, 0.0, BASE)
    assert trial(adapter=worse, lora=worse).verdict == "don't ship"
    assert trial(adapter=worse, lora=BASE).verdict == "insufficient evidence"
    found = trial(adapter=worse, lora=BETTER)
    assert (found.verdict, found.winner) == ("ship", "lora")
    assert list(found.lines())[-1] == "ship: lora"


# --- what cannot be judged --------------------------------------------------------------------------------------------


def test_what_is_missing_is_refused_in_one_line() -> None:
    base, general = report(BASE), {"default": report(GENERAL)}
    for candidates, said in (
        ([], "nothing to judge"),
        ([Candidate("a", [base]), Candidate("a", [base])], "two candidates are called 'a'"),
        ([Candidate("a", [])], "no report of it"),
        ([Candidate("a", [base])], "not measured on default as the base was"),
        ([Candidate("a", [base, base], {"default": [report(GENERAL)]})], "2 seeds, and on default 1"),
        ([Candidate("a", [report(BASE[:30])], {"default": [report(GENERAL)]})], "other questions than a"),
    ):
        with pytest.raises(QueryError, match=said):
            judge(base, candidates, general=general)


# --- when there is nothing to find ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [1, 3])
def test_shuffled_labels_ship_in_no_more_than_5_of_100_permutations(seeds: int) -> None:
    """Whose value is whose, the base's or the candidate's, is drawn anew for each question; all seeds together, as the
    candidate is one."""
    rng = np.random.default_rng(seeds)
    runs = [np.clip(BASE + rng.choice([0.0, 0.3, -0.05], N), 0, 1) for _ in range(seeds)]
    shipped = 0
    for _ in range(1000):
        flipped = rng.random(N) < 0.5
        mean_ = np.mean(runs, axis=0)
        a = np.where(flipped, mean_, BASE)
        b = [np.where(flipped, BASE, run) for run in runs]
        one = judge(report(a), [Candidate("full", [report(run) for run in b])], general={}, resamples=199)
        shipped += one.verdict == "ship"
    assert shipped <= 50
