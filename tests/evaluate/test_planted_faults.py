"""Six faults that make an evaluation worthless, planted: each is caught. Here is what no other test covers.

================================================= ===================================================================
fault                                             is caught in
================================================= ===================================================================
shuffled labels                                   here, on real documents; ``test_calibration.py``, simulated
test questions in training data                   ``test_leakage.py``; ``test_adherence.py`` (examples of a style)
a judge that fails on 10 %                        ``test_judge.py``: bounds, for faithfulness and for preference
a duplicate document                              ``test_evaluation.py``: the same text under two ids is told;
                                                  ``test_formats.py``: the same id twice in a corpus or in a run;
                                                  ``test_ranking.py``, ``test_sides.py``: twice in a ranking;
                                                  here: the same text as evidence
a run with missing queries                        ``test_sides.py``: they count 0 and are listed;
                                                  ``test_comparison.py``: two reports of different questions;
                                                  here: leaving out what one is bad at does not pay
a metric read with the wrong k                    ``test_ranking.py``: the k of the name is what is measured;
                                                  ``test_sides.py``: a measure deeper than the run;
                                                  ``test_comparison.py``: another k is another measure;
                                                  here: a run cut at 5 has no measure at 10
================================================= ===================================================================
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from openbook.errors import QueryError
from openbook.evaluate import evaluate
from openbook.evaluate.comparison import compare
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.datasets.trec import write_run
from openbook.evaluate.measures import ranking
from openbook.evaluate.report import Report, mean
from openbook.evaluate.sides import of_run
from openbook.knowledge_base import KnowledgeBase
from openbook.store.database import Database
from openbook.types import Document

ISLES = [
    *("Ardal", "Brenna", "Corvo", "Dunmor", "Eldey", "Farrow", "Grimsa", "Holmen", "Inver", "Jarvik", "Kelda", "Lunna"),
    *(
        "Mornay",
        "Norvik",
        "Ostra",
        "Pellan",
        "Quend",
        "Rathlo",
        "Sunder",
        "Tarvo",
        "Ulva",
        "Vallay",
        "Westra",
        "Yarrow",
    ),
]
PERMUTATIONS = 60


@pytest.fixture(scope="module")
def isles(database: Database) -> Iterator[KnowledgeBase]:
    kb = KnowledgeBase(database, "planted faults: isles")
    kb.add(
        *(
            Document(isle, f"# {isle}\n\nThe lighthouse of {isle} is {n + 20} metres high.\n")
            for n, isle in enumerate(ISLES)
        )
    )
    yield kb
    kb.traces.close()


def asked(judgements: Mapping[str, str]) -> Dataset:
    """One question about each isle; its relevant document is that of ``judgements``."""
    return dataset(
        "isles", (Question(isle, f"How high is the lighthouse of {isle}?", {at: 1}) for isle, at in judgements.items())
    )


TRUE = {isle: isle for isle in ISLES}


def shuffled(seed: int) -> dict[str, str]:
    """Labels dealt out anew, none to its own question."""
    order = random.Random(seed).sample(ISLES, len(ISLES))
    return dict(zip(order, order[1:] + order[:1], strict=True))


# --- shuffled labels --------------------------------------------------------------------------------------------------


def test_measures_collapse_where_labels_are_shuffled_and_the_interval_says_so(isles: KnowledgeBase) -> None:
    true = evaluate(isles, asked(TRUE)).measures
    false = evaluate(isles, asked(shuffled(0))).measures
    for name in ("ndcg@10", "mrr@10", "map@100"):
        assert true[name].value > 0.95, name
        assert false[name].high < 0.5 < true[name].low, name
    assert false["recall@100"].value == 1.0, "nor is a measure that finds everything fooled into looking worse"


def test_a_comparison_with_shuffled_labels_does_not_ship(isles: KnowledgeBase) -> None:
    """The candidate is far better by the true labels: the other one shows its worst document first."""
    found = {isle: asked.found for isle, asked in evaluate(isles, asked(TRUE), measures=["ndcg@10"]).questions.items()}
    assert {len(rows) for rows in found.values()} == {10}

    def verdict(judgements: Mapping[str, str]) -> str:
        return compare(report(judgements, backwards), report(judgements, found), resamples=499).verdict

    def report(judgements: Mapping[str, str], rankings: Mapping[str, ranking.Ranking]) -> Report:
        data = asked(judgements)
        graded = {id: question.judgements for id, question in data.questions.items()}
        per_question = ranking.measured(["ndcg@10"], graded, rankings)
        totals = {name: mean(list(values.values())) for name, values in per_question.items()}
        return Report("isles", data.hash, "all", "r1", "", totals, per_question)

    backwards = {isle: rows[::-1] for isle, rows in found.items()}
    assert verdict(TRUE) == "ship"
    verdicts = [verdict(shuffled(seed)) for seed in range(PERMUTATIONS)]
    assert verdicts.count("ship") <= 0.05 * PERMUTATIONS


def test_evidence_of_shuffled_sources_is_told_as_not_found(isles: KnowledgeBase) -> None:
    rows = [
        Question(
            isle, f"How high is the lighthouse of {isle}?", evidence=(Evidence(at, f"The lighthouse of {isle} is"),)
        )
        for isle, at in shuffled(1).items()
    ]
    report = evaluate(isles, dataset("isles", rows))
    assert report.details["evidence"]["missing"] == len(ISLES)
    assert report.details["evidence"]["not_found"].keys() == set(ISLES)
    assert not [name for name in report.measures if name.startswith(("span_", "chunk_"))], "nothing to measure against"
    assert f"evidence not found in the documents for {len(ISLES)} questions" in report.text()


# --- a duplicate document ---------------------------------------------------------------------------------------------


def test_a_copy_of_the_evidence_is_as_good_as_the_evidence(kb: KnowledgeBase) -> None:
    """Which of two copies stands first is chance: neither the measure of spans nor that of documents depends on it."""
    text = "# Ulva\n\nThe lighthouse of Ulva is 40 metres high.\n"
    kb.add(Document("b", text), Document("a", text), Document("c", "# Tarvo\n\nTarvo has none.\n"))
    question = Question("q", "How high is the lighthouse of Ulva?", evidence=(Evidence("", "40 metres high"),))
    report = evaluate(kb, dataset("copies", [question]), measures=["recall@1", "recall@2", "mrr@10"])
    assert report.measures["span_recall@5"].value == 1.0
    assert report.measures["mrr@10"].value == report.measures["recall@2"].value == 1.0
    assert "copies" not in report.details, "they are judged alike"


# --- runs -------------------------------------------------------------------------------------------------------------


def test_leaving_out_what_one_is_bad_at_does_not_pay(tmp_path: Path) -> None:
    """A mean over the questions that a run happens to answer is the mean of what it is good at."""
    right = dict.fromkeys(ISLES[:6], True) | dict.fromkeys(ISLES[6:12], False)
    whole = {isle: [isle if good else "nowhere", "elsewhere"] for isle, good in right.items()}
    write_run(whole, tmp_path / "whole.run")
    write_run({isle: rows for isle, rows in whole.items() if right[isle]}, tmp_path / "picked.run")
    data = asked({isle: isle for isle in right})
    a, b = (of_run(tmp_path / name, data, ["mrr@1"], asked=["mrr@1"]) for name in ("whole.run", "picked.run"))
    assert a.measures["mrr@1"] == b.measures["mrr@1"]
    assert (b.measures["mrr@1"].value, b.measures["mrr@1"].n) == (0.5, 12)
    assert b.unanswered == tuple(ISLES[6:12])
    assert compare(a, b, primary="mrr@1").verdict == "insufficient evidence"
    narrow = replace(b, data=asked({isle: isle for isle in ISLES[:6]}).hash)
    with pytest.raises(QueryError, match="other questions"):
        compare(a, narrow, primary="mrr@1")


def test_a_run_cut_at_5_has_no_measure_at_10(tmp_path: Path) -> None:
    write_run({isle: [*ISLES[:4], isle] for isle in ISLES[6:]}, tmp_path / "five.run")
    data = asked({isle: isle for isle in ISLES[6:]})
    with pytest.raises(QueryError, match="at most 5 documents"):
        of_run(tmp_path / "five.run", data, ["recall@10"], asked=["recall@10"])
    kept = of_run(tmp_path / "five.run", data, ["mrr@5", "recall@5", "recall@100"], asked=["recall@5"])
    assert kept.measures.keys() == {"mrr@5", "recall@5"}
    assert kept.measures["mrr@5"].value == pytest.approx(0.2)
