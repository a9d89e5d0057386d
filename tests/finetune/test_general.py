"""What comes with openbook to measure forgetting with, and to replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openbook.embed import open_embedder
from openbook.errors import QueryError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Evidence, Question
from openbook.evaluate.measures.ranking import measured
from openbook.finetune.data import formats, read
from openbook.finetune.general import DEFAULT, FOLDER, REPLAY, general_sets, replay_file
from openbook.recipe import LocalEmbedder


def passages() -> dict[str, str]:
    lines = (FOLDER / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["_id"]: row["text"] for row in map(json.loads, lines)}


def test_it_is_small_and_every_passage_is_asked_for() -> None:
    [(name, dataset)] = general_sets().items()
    texts = passages()
    asked = [source for question in dataset.questions.values() for source in question.judgements]
    assert name == DEFAULT
    assert len(dataset.questions) == 216
    assert {*asked} == texts.keys()
    assert len(texts) == 108
    assert len({question.metadata["subject"] for question in dataset.questions.values()}) == 27
    assert len({*texts.values()}) == len(texts)
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 150_000


def test_the_packaged_model_is_neither_right_already_nor_at_a_loss() -> None:
    """1.0 could only fall, and a low one would be noise."""
    dataset, texts = general_sets()[DEFAULT], passages()
    model = open_embedder(LocalEmbedder())
    vectors = model.encode(list(texts.values()), "document")
    questions = list(dataset.questions.values())
    scores = model.encode([question.text for question in questions], "query") @ vectors.T
    sources = list(texts)
    found = {
        question.id: [sources[at] for at in row.argsort()[::-1][:10]]
        for question, row in zip(questions, scores, strict=True)
    }
    judged = {question.id: question.judgements for question in questions}
    values = measured(["ndcg@10"], judged, found)["ndcg@10"]
    assert sum(values.values()) / len(values) == pytest.approx(0.798, abs=0.01)


def test_what_is_replayed_is_not_measured() -> None:
    dataset, texts = general_sets()[DEFAULT], passages()
    rows = read(REPLAY).examples
    assert len(rows) == 81
    trained = [
        Question(str(n), row.query, evidence=tuple(Evidence("", one.text) for one in row.positives))
        for n, row in enumerate(rows)
    ]
    test = [
        Question(one.id, one.text, evidence=tuple(Evidence(source, texts[source]) for source in one.judgements))
        for one in dataset.questions.values()
    ]
    assert leakage.find(trained, test) == []


def test_sets_of_ones_own_are_named_by_their_folder(tmp_path: Path) -> None:
    own = tmp_path / "company"
    (own / "qrels").mkdir(parents=True)
    (own / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "Clay is fired in a kiln."}\n')
    (own / "queries.jsonl").write_text('{"_id": "q", "text": "where is clay fired"}\n')
    (own / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    assert list(general_sets([DEFAULT, own])) == [DEFAULT, "company"]
    with pytest.raises(QueryError, match="two general sets are called 'company'"):
        general_sets([own, own])
    bare = tmp_path / "questions.jsonl"
    bare.write_text('{"question": "where is clay fired", "answers": ["in a kiln"]}\n')
    with pytest.raises(QueryError, match="needs documents of its own"):
        general_sets([bare])


def test_default_is_the_file_that_comes_with_openbook(tmp_path: Path) -> None:
    assert formats.is_training_data(replay_file(DEFAULT))
    assert replay_file(tmp_path / "pairs.jsonl") == tmp_path / "pairs.jsonl"
