"""Retrieval measures are trec_eval's, whatever documents are called; those of spans keep their bounds."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Span
from openbook.evaluate.measures import ranking
from openbook.types import Chunk, Hit

CUTS = (1, 2, 5, 10, 100, 1000)
NAMES = [f"{kind}@{k}" for k in CUTS for kind in ranking.KINDS]
TREC = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "map": "map_cut", "success": "success"}

Scores = dict[str, dict[str, float]]
Grades = dict[str, dict[str, int]]

# --- trec_eval --------------------------------------------------------------------------------------------------------

ODD = [
    *("", " ", "a b", " lead", "trail ", "a\nb", "a\tb", "#", "'\"", "\u200b", "é", "e\u0301", "ÿ", "文書", "🙂"),
    *("0", "00", "1e3", "-1", "NaN", "None", "A", "a", "zz", "x" * 3000),
]
SCORES = (
    lambda rng: rng.random(),
    lambda rng: float(rng.randint(0, 3)),  # ties
    lambda _: 0.0,
    lambda rng: 0.1 + rng.randint(0, 9) * 1e-10,  # ties in single precision only
    lambda rng: -rng.random() * 1e30,
    lambda rng: rng.choice([-0.0, 0.0, 1e-50]),
)


def judged_and_run(rng: random.Random) -> tuple[Grades, Scores]:
    """Up to five questions, some without a relevant document, some without a run, and a run without judgements."""
    grades, run = {}, {}
    for number in range(rng.randint(1, 5)):
        question = f"{rng.choice(ODD)}{number}"
        pool = {f"{rng.choice(ODD)}{rng.choice(['', rng.randint(0, 40)])}" for _ in range(rng.randint(1, 60))}
        documents = sorted(pool)
        judged = {document: rng.choice([0, 0, 0, 1, 1, 2, 3, 17]) for document in documents if rng.random() < 0.4}
        if rng.random() < 0.1:
            judged = dict.fromkeys(judged, 0)
        if judged:
            grades[question] = judged
        if rng.random() < 0.85:
            score = rng.choice(SCORES)
            run[question] = {document: score(rng) for document in documents if rng.random() < 0.7}
    return grades, run


def as_trec_eval_ranks(scores: dict[str, float]) -> list[str]:
    """Falling single-precision score; equal ones by falling id, byte by byte."""
    return sorted(scores, key=lambda id: (np.float32(scores[id]), id.encode()), reverse=True)


def trec_eval(grades: Grades, run: Scores) -> dict[str, dict[str, float]]:
    """``NAMES`` by trec_eval; reciprocal rank, which it does not cut, on runs cut here."""
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(grades, 0.0) for name in NAMES}
    cuts = ",".join(map(str, CUTS))
    for question, found in (
        pytrec_eval.RelevanceEvaluator(grades, {f"{m}.{cuts}" for m in TREC.values()}).evaluate(run).items()
    ):
        for kind, name in TREC.items():
            for k in CUTS:
                values[f"{kind}@{k}"][question] = found[f"{name}_{k}"]
    evaluator = pytrec_eval.RelevanceEvaluator(grades, {"recip_rank"})
    for k in CUTS:
        cut = {question: {id: scores[id] for id in as_trec_eval_ranks(scores)[:k]} for question, scores in run.items()}
        for question, found in evaluator.evaluate(cut).items():
            values[f"mrr@{k}"][question] = found["recip_rank"]
    return values


def test_every_measure_is_trec_evals_on_a_thousand_random_runs() -> None:
    rng = random.Random(20240501)
    compared = different = 0
    while compared < 1000:
        grades, run = judged_and_run(rng)
        if not grades:
            continue
        compared += 1
        rankings = {question: as_trec_eval_ranks(scores) for question, scores in run.items()}
        ours, theirs = ranking.measured(NAMES, grades, rankings), trec_eval(grades, run)
        for name in NAMES:
            assert ours[name].keys() == theirs[name].keys() == grades.keys()
            for question, value in theirs[name].items():
                assert ours[name][question] == pytest.approx(value, abs=1e-9), (name, question, grades, run)
                different += 0 < value < 1
    assert different > 10_000  # the runs do tell the measures apart


def test_measures_by_hand() -> None:
    """Worked out on paper: relevant at ranks 2 (grade 2) and 4 (grade 1), and one (grade 3) not found."""
    values = ranking.measured(
        ["ndcg@4", "recall@4", "precision@5", "mrr@4", "map@4", "success@1", "success@2"],
        {"q": {"b": 2, "d": 1, "missing": 3, "a": 0}},
        {"q": ["a", "b", "unjudged", "d"]},
    )
    gain = 2 / math.log2(3) + 1 / math.log2(5)
    ideal = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert {name: value["q"] for name, value in values.items()} == pytest.approx(
        {
            "ndcg@4": gain / ideal,
            "recall@4": 2 / 3,
            "precision@5": 2 / 5,
            "mrr@4": 1 / 2,
            "map@4": (1 / 2 + 2 / 4) / 3,
            "success@1": 0,
            "success@2": 1,
        }
    )


@pytest.mark.parametrize("kind", ranking.KINDS)
def test_the_k_of_the_name_is_the_k_that_is_measured(kind: str) -> None:
    """A relevant document at rank 7 is seen by @10 and not by @5."""
    found = {"q": [f"d{n}" for n in range(20)]}
    values = ranking.measured([f"{kind}@5", f"{kind}@10"], {"q": {"d6": 1}}, found)
    assert values[f"{kind}@5"]["q"] == 0
    assert values[f"{kind}@10"]["q"] > 0


def test_a_negative_grade_is_not_relevant() -> None:
    """pytrec_eval writes outside its memory for these, and the process dies of it some runs later."""
    rng = random.Random(7)
    for _ in range(100):
        grades, run = judged_and_run(rng)
        rankings = {question: as_trec_eval_ranks(scores) for question, scores in run.items()}
        negative = {q: {d: g or rng.choice([-2, -1, 0]) for d, g in judged.items()} for q, judged in grades.items()}
        assert ranking.measured(NAMES, negative, rankings) == ranking.measured(NAMES, grades, rankings)


def test_a_grade_that_trec_eval_cannot_count_is_refused() -> None:
    """2 ** 31 used to score 0 without a word."""
    with pytest.raises(DatasetError, match="has the grade 2147483648"):
        ranking.measured(["ndcg@10"], {"q": {"a": 2**31, "b": 1}}, {"q": ["b", "a"]})


@pytest.mark.parametrize("rankings", [{}, {"q": []}, {"q": ["unjudged"]}, {"other": ["a"]}])
def test_a_question_that_found_nothing_counts_zero(rankings: dict[str, list[str]]) -> None:
    values = ranking.measured(NAMES, {"q": {"a": 1}}, rankings)
    assert all(value == {"q": 0.0} for value in values.values())


def test_a_question_without_relevant_documents_counts_zero() -> None:
    values = ranking.measured(NAMES, {"none": {}, "judged": {"a": 0}}, {"none": ["a"], "judged": ["a"]})
    assert all(value == {"none": 0.0, "judged": 0.0} for value in values.values())


ids = st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=12)  # NUL and lone surrogates, too


@settings(max_examples=50, deadline=None)
@given(ids, st.data())
def test_names_of_documents_and_questions_do_not_matter(documents: list[str], data: st.DataObject) -> None:
    grades = data.draw(st.lists(st.integers(-1, 3), min_size=len(documents), max_size=len(documents)))
    order = data.draw(st.permutations(range(len(documents))))[: data.draw(st.integers(0, len(documents)))]
    renamed = data.draw(st.permutations(documents))
    question, other = data.draw(st.text()), data.draw(st.text())
    ours = ranking.measured(
        NAMES, {question: dict(zip(documents, grades, strict=True))}, {question: [documents[n] for n in order]}
    )
    theirs = ranking.measured(
        NAMES, {other: dict(zip(renamed, grades, strict=True))}, {other: [renamed[n] for n in order]}
    )
    assert {name: value[question] for name, value in ours.items()} == {n: value[other] for n, value in theirs.items()}


@pytest.mark.parametrize(
    "name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@1.5", "ndcg@ten", "ndcg@٣", "ndcg@10 ", "nDCG@10", "bpref@10"]
)
def test_an_unknown_measure_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match="unknown measure"):
        ranking.measured([name], {"q": {"a": 1}}, {"q": ["a"]})


def test_a_document_ranked_twice_is_refused() -> None:
    with pytest.raises(DatasetError, match="twice"):
        ranking.measured(["ndcg@10"], {"q": {"a": 1}}, {"q": ["a", "b", "a"]})


# --- chunks and spans -------------------------------------------------------------------------------------------------

TEXT = "Lamps are lit at dusk. 灯は夕方に点く。 The keeper writes the hour in the log, and signs it."


def hit(start: int, end: int, text: str = TEXT, source: str = "lamps.md") -> Hit:
    return Hit(source, 1, source, "", Chunk(start, end, text[start:end]), 1.0)


def span(start: int, end: int, text: str = TEXT, source: str = "lamps.md") -> Span:
    return Span(source, start, end, text[start:end])


def test_a_document_stands_where_its_best_chunk_stands() -> None:
    hits = [hit(0, 5, source="a"), hit(0, 5, source="b"), hit(5, 9, source="a"), hit(0, 5, source="c")]
    assert ranking.documents(hits) == ["a", "b", "c"]


def test_chunks_that_hold_the_evidence_are_relevant_found_or_not() -> None:
    at = TEXT.index("keeper")
    evidence = span(at, at + 30)
    chunks = [(0, 23), (23, at + 3), (at + 3, at + 20), (at + 20, len(TEXT))]  # of these only (at + 3, at + 20) is half
    values = ranking.chunk_measures(
        ("chunk_recall@1", "chunk_ndcg@10"), {"q": [evidence], "unfound": []}, {"q": [hit(0, 23)]}, lambda _: chunks
    )
    assert values == {"chunk_recall@1": {"q": 0.0}, "chunk_ndcg@10": {"q": 0.0}}
    found = {"q": [hit(*chunk) for chunk in chunks[::-1]]}
    values = ranking.chunk_measures(
        ("chunk_recall@1", "chunk_recall@10", "chunk_precision@5"), {"q": [evidence]}, found, lambda _: chunks
    )
    assert values == {"chunk_recall@1": {"q": 0.0}, "chunk_recall@10": {"q": 1.0}, "chunk_precision@5": {"q": 0.2}}


def test_a_hit_of_merged_chunks_counts_as_those_chunks() -> None:
    """Its span is that of no chunk: whoever merged neighbours found nothing."""
    at = TEXT.index("keeper")
    chunks = [(0, 23), (23, at), (at, at + 30), (at + 30, len(TEXT))]
    names = ("chunk_recall@2", "chunk_recall@1", "chunk_precision@5")
    values = ranking.chunk_measures(names, {"q": [span(at, at + 30)]}, {"q": [hit(23, at + 30)]}, lambda _: chunks)
    assert values == {
        "chunk_recall@2": {"q": 1.0},
        "chunk_recall@1": {"q": 0.0},  # its other half stands first in the document
        "chunk_precision@5": {"q": 0.2},
    }
    twice = {"q": [hit(23, at + 30), hit(at, at + 30), hit(0, 23)]}
    assert ranking.chunk_measures(names, {"q": [span(0, 23)]}, twice, lambda _: chunks)["chunk_precision@5"]["q"] == 0.2
    nested = [(0, 23), (0, 10), (10, 23)]
    values = ranking.chunk_measures(names, {"q": [span(10, 23)]}, {"q": [hit(0, 23)]}, lambda _: nested)
    assert values["chunk_precision@5"]["q"] == 0.2, "a chunk that holds others is itself, and no more"


def test_evidence_split_over_chunks_is_found_when_all_of_them_are() -> None:
    at = TEXT.index("keeper writes")
    evidence = [span(at, at + 13)]  # 12 characters and a blank; the border falls inside a word
    left, right = hit(at - 4, at + 9), hit(at + 9, at + 13)
    values = ranking.span_measures((1, 2), {"q": evidence}, {"q": [left, right]})
    assert {name: value["q"] for name, value in values.items()} == pytest.approx(
        {
            "span_recall@1": 8 / 12,
            "span_precision@1": 8 / 11,  # "The" is retrieved as well
            "span_iou@1": 8 / 15,
            "span_recall@2": 1.0,
            "span_precision@2": 12 / 15,
            "span_iou@2": 12 / 15,
        }
    )


def test_what_two_chunks_hold_twice_is_paid_twice() -> None:
    values = ranking.span_measures((2,), {"q": [span(0, 5)]}, {"q": [hit(0, 5), hit(0, 5)]})
    assert {name: value["q"] for name, value in values.items()} == {
        "span_recall@2": 1.0,
        "span_precision@2": 0.5,
        "span_iou@2": 0.5,
    }


def test_a_passage_that_stands_twice_is_found_at_either_place() -> None:
    twice = "Lamps are lit at dusk. The lamps are **lit** at dusk."
    at = twice.index("lamps are **lit** at dusk")
    evidence = [span(0, 21, twice), span(at, at + 25, twice)]
    for one in (hit(0, 22, twice), hit(at, len(twice), twice)):
        assert ranking.span_measures((1,), {"q": evidence}, {"q": [one]})["span_recall@1"] == {"q": 1.0}
    different = [span(0, 9, twice), evidence[1]]
    values = ranking.span_measures((1,), {"q": different}, {"q": [hit(0, 22, twice)]})
    assert values["span_recall@1"]["q"] == pytest.approx(8 / 29)


def test_the_same_place_in_another_document_is_not_the_evidence() -> None:
    values = ranking.span_measures((1,), {"q": [span(0, 5)]}, {"q": [hit(0, 5, source="other.md")]})
    assert [value["q"] for value in values.values()] == [0.0, 0.0, 0.0]


@st.composite
def pieces(draw: st.DrawFn, of: str, name: str) -> list[tuple[int, int]]:
    at = st.tuples(st.integers(0, len(of)), st.integers(0, len(of))).map(sorted).filter(lambda ab: ab[0] < ab[1])
    return [(a, b) for a, b in draw(st.lists(at, max_size=5), label=name)]


words = st.text(alphabet="ab ,\n灯ก\u0e34", min_size=1, max_size=40)


@given(st.data(), words)
def test_span_measures_keep_their_bounds(data: st.DataObject, text: str) -> None:
    evidence = [span(a, b, text) for a, b in data.draw(pieces(text, "evidence"))]
    hits = [hit(a, b, text) for a, b in data.draw(pieces(text, "chunks"))]
    values = ranking.span_measures((1, 3, 10), {"q": evidence}, {"q": hits})
    if not any(piece.text.strip() for piece in evidence):
        assert not any(values.values())
        return
    for k in (1, 3, 10):
        recall, precision, iou = (values[f"span_{kind}@{k}"]["q"] for kind in ("recall", "precision", "iou"))
        assert 0 <= iou <= min(recall, precision) <= max(recall, precision) <= 1
    if all(len(places) == 1 for places in ranking.passages(evidence)):
        assert values["span_recall@1"]["q"] <= values["span_recall@3"]["q"] <= values["span_recall@10"]["q"]
    whole = ranking.span_measures((1,), {"q": evidence}, {"q": [hit(0, len(text), text)]})
    assert whole["span_recall@1"]["q"] == 1.0
    cut = data.draw(st.integers(0, len(text)))
    halves = ranking.span_measures((2,), {"q": evidence}, {"q": [hit(0, cut, text), hit(cut, len(text), text)]})
    assert halves["span_recall@2"]["q"] == 1.0
    assert halves["span_precision@2"]["q"] == pytest.approx(whole["span_precision@1"]["q"])
