"""A verdict becomes a release: priced before anybody has won, built beside what answers, its report kept with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.finetune.embedder import jargon
from tests.finetune.test_trial import beir, model

from openbook.errors import ModelError, QueryError
from openbook.evaluate import read
from openbook.evaluate.datasets.dataset import Dataset, Question, Split, dataset
from openbook.finetune import promotion
from openbook.finetune.embedder import Dev, train_embedder
from openbook.finetune.settings import EmbedderSettings, File
from openbook.finetune.trial import Asking, Tried, read_models, trade_of, try_models
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import Extractive, LinearAdapter, QueryHalf, Recipe

TEST = dataset(
    "firm",
    [
        Question(f"{number}-{name}", template.format(name), judgements={jargon.SOURCES[name]: 1}, split="test")
        for name in jargon.THINGS
        for number, template in enumerate(jargon.HELD)
    ],
)


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learnt a firm's words."""
    folder = tmp_path_factory.mktemp("models") / "turned"
    train_embedder(jargon.rows(), folder, EmbedderSettings(epochs=10, batch=12, pull=1.0))
    return folder


@pytest.fixture
def firm(kb: KnowledgeBase) -> KnowledgeBase:
    kb.add(*jargon.documents())
    return kb


def compared(kb: KnowledgeBase, *models: Path, data: Dataset = TEST, said: list[str] | None = None) -> Tried:
    asking = Asking(db=kb.database.address, kb=kb.name, say=([] if said is None else said).append)
    return try_models(data, read_models(models), general={}, rows=jargon.rows(), asking=asking)


# --- in Python --------------------------------------------------------------------------------------------------------


def test_the_winner_is_built_with_its_report_and_answers_when_it_is_promoted(firm: KnowledgeBase, turned: Path) -> None:
    said: list[str] = []
    verdict = compared(firm, turned, said=said)
    assert verdict.trial.verdict == "ship"
    assert said[:2] == ["1 of 2: firm, the base", "turned: nothing to read: an index for this recipe is there"]
    assert "its release: nothing to read: an index for this recipe is there" in verdict.trial.candidates[0].notes
    done = promotion.release(firm, verdict)
    assert done is not None
    assert (done.release, done.live, firm.release) == ("r2", "r1", "r1")
    assert done.built is not None
    assert done.built.embedded == 0
    report = firm.show_release("r2").report
    assert report is not None
    assert (report["a"], report["b"], report["verdict"]) == ("r1", "r2", "ship")
    assert report["general"] == {"before": {}, "after": {}, "mean": None}
    assert "zorvel" not in json.dumps(report)
    part = firm.show_release("r2").recipe.query.adapter
    assert isinstance(part, LinearAdapter)
    assert part.path == str(turned)
    again = promotion.release(firm, verdict)
    assert again is not None
    assert (again.release, again.built) == ("r2", None)
    now = promotion.promoted(firm, done)
    assert now.pointers is not None
    assert (now.pointers.live, firm.release) == ("r2", "r2")
    assert firm.search("Anything to heed with our zorvel?", 1).hits[0].source == jargon.SOURCES["zorvel"]
    assert list(now.lines())[-1] == "r2 answers now; openbook release rollback returns to r1"
    itself = "what it is compared with has turned in it already: it is compared with itself"
    assert itself in compared(firm, turned).trial.notes
    assert itself not in verdict.trial.notes
    firm.rollback()
    assert firm.release == "r1"


def test_questions_that_chose_what_was_kept_speak_for_no_release(firm: KnowledgeBase, tmp_path: Path) -> None:
    """A model shipped by the dev questions that it was stopped by."""
    folder = tmp_path / "chosen"
    dev = Dev(firm, tuple(TEST.questions.values()))
    train_embedder(jargon.rows(), folder, EmbedderSettings(epochs=2, batch=12, pull=1.0), dev=dev)
    [model] = read_models([folder])
    assert model.chosen_by(TEST.questions.values()) == len(TEST.questions)
    assert not any(name in (folder / "trained.json").read_text() for name in ("zorvel", "heed"))
    tried = compared(firm, folder, data=few(TEST))
    assert "4 of the 4 questions chose what was kept of chosen: it stands too high by them" in tried.trial.notes
    with pytest.raises(QueryError, match="chosen: 4 of the questions chose what was kept of it"):
        promotion.release(firm, replace(tried, trial=replace(tried.trial, winner="chosen"), model=folder))
    with pytest.raises(QueryError, match=f"chosen: {len(TEST.questions)} of the questions chose"):
        promotion.require_test(TEST, [model], "test")


def test_another_model_in_the_folder_since_is_not_released(firm: KnowledgeBase, turned: Path, tmp_path: Path) -> None:
    """It got the verdict of the one before."""
    folder = tmp_path / "turned"
    shutil.copytree(turned, folder)
    tried = compared(firm, folder)
    assert tried.trial.winner == "turned"
    shutil.rmtree(folder)
    train_embedder(jargon.rows(), folder, EmbedderSettings(epochs=1, batch=60, rate=1e-6, seed=5))
    with pytest.raises(ModelError, match="was changed since it was compared; compare it again"):
        promotion.release(firm, tried)
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="cannot be read"):
        promotion.release(firm, tried)


def test_what_lies_between_is_measured_from_where_an_adapter_began(
    firm: KnowledgeBase, turned: Path, tmp_path: Path
) -> None:
    """Its steps were from the identity: what the one before had taught was told as its own."""
    folder = tmp_path / "again"
    start = File(path=str(turned))
    train_embedder(jargon.rows(), folder, EmbedderSettings(epochs=1, batch=60, rate=1e-6, start=start))
    [again] = read_models([folder])
    assert again.start == turned
    data = replace(TEST, questions={id: replace(one, split="dev") for id, one in TEST.questions.items()})
    asking = Asking(db=firm.database.address, kb=firm.name, limit=12)
    found = trade_of(data, again, general={}, recipe=firm.recipe, asking=asking)
    assert [step.dev for step in found] == pytest.approx([found[-1].dev] * len(found))


def test_a_split_with_dev_questions_speaks_for_no_release() -> None:
    dev = {id: replace(one, split="dev") for id, one in TEST.questions.items()}
    splits: tuple[Split, ...] = ("dev", "all")
    promotion.require_test(TEST, [], "all")
    for split in splits:
        with pytest.raises(QueryError, match=f"firm: has dev questions, and split {split} asks them"):
            promotion.require_test(replace(TEST, questions=dev), [], split)


def test_it_is_not_promoted_over_another_release_than_it_was_compared_with(firm: KnowledgeBase, turned: Path) -> None:
    done = promotion.release(firm, compared(firm, turned))
    assert done is not None
    other = firm.build(Recipe(query=QueryHalf(generate=Extractive(sentences=3)))).release
    firm.promote(other)
    with pytest.raises(QueryError, match=f"was compared with r1, and {other} is live"):
        promotion.promoted(firm, done)
    assert firm.release == other


def test_documents_that_are_added_while_it_is_compared_are_no_gain(kb: KnowledgeBase, turned: Path) -> None:
    """The base was asked before they were there, the candidate after: the identity shipped."""
    first, *others = jargon.documents()
    kb.add(first)

    def late(done: int, of: int) -> None:
        if done == of and others:
            kb.add(*others)
            others.clear()

    asking = Asking(db=kb.database.address, kb=kb.name, progress=late)
    with pytest.raises(QueryError, match="documents were changed while it was compared"):
        try_models(TEST, read_models([turned]), general={}, rows=jargon.rows(), asking=asking)


def test_what_a_document_model_takes_and_whom_it_does_not_answer_is_told_before(
    firm: KnowledgeBase, tmp_path: Path
) -> None:
    told = compared(firm, model(tmp_path / "full", principals=[["hr"]]), data=few(TEST))
    assert told.trial.winner is None
    notes = told.trial.candidates[0].notes
    reading = r"its release: 18 documents, 18 chunks: 18 texts of \d+ tokens to be embedded on this machine by"
    assert any(re.match(reading, one) for one in notes)
    assert any("answers callers who are hr; the release answers nobody else" in one for one in notes)
    assert promotion.release(firm, told) is None
    assert [one.name for one in firm.releases()] == ["r1"]


def test_what_a_corpus_of_its_own_says_is_of_no_release(firm: KnowledgeBase, turned: Path, tmp_path: Path) -> None:
    apart = try_models(read(beir(tmp_path / "crafts")), read_models([turned]), general={}, asking=Asking(split="all"))
    assert apart.plans == {}
    with pytest.raises(QueryError, match="brings documents of its own"):
        promotion.require_own(read(tmp_path / "crafts"), "crafts")


def few(data: Dataset) -> Dataset:
    return data.select("test", 4)


# --- on the command line ----------------------------------------------------------------------------------------------


def test_the_command_builds_the_winner_and_nothing_else(
    tmp_path: Path, turned: Path, openbook: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    jargon.written(tmp_path)
    assert openbook("add", "firm").returncode == 0
    questions = (tmp_path / "dev.jsonl").read_text().replace('"split": "dev"', '"split": "test"')
    (tmp_path / "test.jsonl").write_text(questions)
    beir(tmp_path / "crafts")
    refused = openbook("finetune", "compare", "crafts", str(turned), "--release")
    assert refused.returncode == 2
    assert refused.stderr == (
        "openbook: crafts: brings documents of its own, and a release is of yours; leave --release away, or name"
        " questions about your own documents\n"
    )
    asked = ["finetune", "compare", "test.jsonl", "--trained-on", "rows.jsonl", "--general", "crafts", "--release"]
    done = openbook(*asked, str(turned), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["verdict"], said["winner"], said["release"], said["live"]) == ("ship", "turned", "r2", "r1")
    assert said["plan"]["reindex"] is said["plans"]["turned"]["reindex"] is False
    listed = json.loads(openbook("release", "list", "--json").stdout)
    assert [(one["release"], one["state"]) for one in listed["releases"]] == [("r1", "live"), ("r2", "ready")]
    assert openbook("release", "promote", "r2", "--require-report").returncode == 0
