"""Clicks retrain the query adapter: it goes live where it proved better than what answers, and nowhere else."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.finetune.embedder import jargon

from openbook.errors import DatasetError, ModelError, QueryError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Question, dataset
from openbook.finetune.data.rows import digest
from openbook.finetune.embedder import Dev, adapter, train_embedder
from openbook.finetune.feedback import Retrained, parted, retrain
from openbook.finetune.settings import EmbedderSettings, File
from openbook.knowledge_base import KnowledgeBase, open
from openbook.recipe import LinearAdapter, QueryHalf, Recipe
from openbook.types import Document

LONG = pytest.mark.training

TEMPLATES = (*jargon.ASKED[:4], jargon.HELD[0])


def clicked(
    kb: KnowledgeBase,
    templates: Sequence[str] = TEMPLATES,
    right: Callable[[str, Sequence[str]], str] = lambda name, found: jargon.SOURCES[name],
    names: Iterable[str] = jargon.THINGS,
    as_: Sequence[str] | None = None,
) -> int:
    """What people do: search by the firm's words, and open the page that they meant; how many searches."""
    asked = [(name, template.format(name)) for name in names for template in templates]
    for name, question in asked:
        trace = kb.search(question, 30, as_=as_)
        found = [hit.source for hit in trace.hits]
        kb.feedback(trace.id, "up", hit=found.index(right(name, found)) + 1, as_=as_)
    return len(asked)


@pytest.fixture
def firm(kb: KnowledgeBase) -> KnowledgeBase:
    kb.add(*jargon.documents(), access=["public"])
    return kb


def retrained(kb: KnowledgeBase, out: Path, **how: Any) -> Retrained:
    """Without general sets, which take longer than all the rest."""
    return retrain(kb, out, how.pop("settings", None), general={}, **how)


# --- going live -------------------------------------------------------------------------------------------------------


def test_clicks_teach_the_firms_words_and_the_adapter_goes_live(firm: KnowledgeBase, tmp_path: Path) -> None:
    queries = clicked(firm)
    done = retrained(firm, tmp_path / "turned")
    assert done.tried.trial.verdict == "ship"
    assert done.is_live
    assert (done.parts.live, firm.release, done.why) == ("r1", "r2", "")
    report = firm.show_release("r2").report
    assert report is not None
    assert (report["a"], report["b"], report["verdict"], report["dataset"]) == ("r1", "r2", "ship", "feedback")
    parts = done.parts
    held = [question.text for question in (*parts.dev, *parts.test.questions.values())]
    assert parts.queries == queries
    assert len(parts.rows.examples) + len(held) == queries
    assert not leakage.near([row.query for row in parts.rows.examples], held)
    right = [firm.search(f"a word on {name}", 1).hits[0].source == jargon.SOURCES[name] for name in jargon.THINGS]
    assert sum(right) >= 9, "in words that nobody had clicked after"
    assert done.as_json()["feedback"]["trained_on"] == len(parts.rows.examples)
    assert not any(
        "zorvel" in file.read_text() for file in (tmp_path / "turned").iterdir() if file.suffix != ".safetensors"
    )
    assert firm.rollback().live == "r1"
    before = [firm.search(f"a word on {name}", 1).hits[0].source == jargon.SOURCES[name] for name in jargon.THINGS]
    assert sum(before) <= 4


def test_random_clicks_do_not_go_live(firm: KnowledgeBase, tmp_path: Path) -> None:
    draw = random.Random(0)
    clicked(firm, right=lambda name, found: draw.choice(found))
    done = retrained(firm, tmp_path / "turned")
    assert not done.is_live
    assert done.released is None
    assert [one.name for one in firm.releases()] == ["r1"]
    assert done.why.startswith(f"r1 answers as before, and {tmp_path / 'turned'} stays: ")
    assert (tmp_path / "turned" / "model.safetensors").is_file()


def test_another_seed_is_tested_by_the_same_queries(firm: KnowledgeBase, tmp_path: Path) -> None:
    """Each seed drew a test of its own from the same feedback: who tried enough of them went live."""
    clicked(firm, names=list(jargon.THINGS)[:6])
    tests = [
        {*retrained(firm, tmp_path / f"{seed}", settings=EmbedderSettings(seed=seed, epochs=1), promote=False)
         .parts.test.questions}
        for seed in (0, 7)
    ]  # fmt: skip
    assert tests[0] == tests[1]


def test_what_is_stopped_before_it_is_promoted_changes_nothing_and_neither_does_what_comes_late(
    firm: KnowledgeBase, tmp_path: Path
) -> None:
    clicked(firm)

    def stop(line: str) -> None:
        if line == "r2 is built":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrained(firm, tmp_path / "stopped", say=stop)
    assert [(one.name, one.state) for one in firm.releases()] == [("r1", "live"), ("r2", "ready")]

    def meanwhile(line: str) -> None:
        if line == "r3 is built":
            firm.promote("r2", require_report=True)  # the one that was stopped is whole, with its report

    done = retrained(firm, tmp_path / "late", settings=EmbedderSettings(seed=1), say=meanwhile)
    assert done.failed
    assert not done.is_live
    assert firm.release == "r2"
    assert done.why.startswith("r3 does not answer: r3: was compared with r1, and r2 is live")


# --- going on from the live adapter -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learnt the firm's words."""
    folder = tmp_path_factory.mktemp("models") / "turned"
    train_embedder(jargon.rows(), folder, EmbedderSettings(epochs=10, batch=12, pull=1.0))
    return folder


@pytest.fixture
def tuned(firm: KnowledgeBase, turned: Path) -> KnowledgeBase:
    """The firm, answered by that."""
    firm.promote(firm.build(Recipe(query=QueryHalf(adapter=LinearAdapter(path=str(turned))))).release)
    return firm


@LONG
def test_the_next_one_goes_on_from_the_live_adapter_and_hears_only_what_was_said_since(
    firm: KnowledgeBase, turned: Path, tmp_path: Path
) -> None:
    clicked(firm, jargon.ASKED)  # of the release before
    firm.promote(firm.build(Recipe(query=QueryHalf(adapter=LinearAdapter(path=str(turned))))).release)
    with pytest.raises(DatasetError, match="nobody has said anything of what was found since r2 was promoted"):
        parted(firm)
    queries = clicked(firm, ("a word on {}", "my boss sent me for {}"))
    said: list[str] = []
    done = retrained(firm, tmp_path / "again", say=said.append)
    assert done.parts.queries == queries == 24
    settings = EmbedderSettings.load(tmp_path / "again" / "settings.toml")
    assert settings.start is not None
    assert settings.start.path == str(turned)
    assert settings.start.hash
    assert done.tried.trial.verdict == "insufficient evidence"  # it knew these words
    assert "questions show a difference of" in done.why or "is the same for every question" in done.why
    before, after = (adapter.read(folder) for folder in (turned, tmp_path / "again"))
    assert 0 < np.linalg.norm(after - before) < np.linalg.norm(before - np.eye(len(before)))
    told = [json.loads((folder / "trained.json").read_text()) for folder in (turned, tmp_path / "again")]
    assert {*told[0]["sources"]} <= {*told[1]["sources"]}


@LONG
def test_an_adapter_that_would_answer_fewer_callers_than_the_live_one_stays_a_candidate(
    tuned: KnowledgeBase, tmp_path: Path
) -> None:
    # The live adapter has never heard of these, and one person alone asks for them.
    words = ("skarn", "ulvet", "prando", "griel", "WQ7", "hobbin", "tarrow", "JJN", "ploov", "quenda", "sibbet", "ORRA")
    clicked(tuned, right=lambda name, _: f"other-{words.index(name) % 6}.md", names=words, as_=["ana"])
    done = retrained(tuned, tmp_path / "hers")
    assert done.tried.trial.verdict == "ship"
    assert not done.is_live
    assert tuned.release == "r2"
    assert "the new adapter answers only who is ana, and others would lose that of r2" in done.why


def test_an_adapter_starts_where_another_one_stands(firm: KnowledgeBase, turned: Path, tmp_path: Path) -> None:
    still = EmbedderSettings(start=File(path=str(turned)), epochs=1, batch=64, rate=1e-9)
    done = train_embedder(jargon.rows(), tmp_path / "still", still, dev=Dev(firm, ()))
    assert np.allclose(adapter.read(tmp_path / "still"), adapter.read(turned), atol=1e-7)
    assert 0 < done.moved < 1e-7
    with pytest.raises(QueryError, match="only an adapter starts at another one"):
        EmbedderSettings.from_toml('method = "lora"\n[start]\npath = "x"\n')
    told = json.loads((turned / "trained.json").read_text())
    strange = tmp_path / "strange"
    strange.mkdir()
    for file in turned.iterdir():
        (strange / file.name).write_bytes(file.read_bytes())
    (strange / "trained.json").write_text(json.dumps({**told, "fits": "another"}))
    with pytest.raises(ModelError, match="fits the vectors of another embedder"):
        train_embedder(jargon.rows(), tmp_path / "new", EmbedderSettings(start=File(path=str(strange))))


# --- whom it answers --------------------------------------------------------------------------------------------------


def test_what_one_group_clicked_answers_that_group_and_others_go_without(kb: KnowledgeBase, tmp_path: Path) -> None:
    kb.add(*jargon.documents(), access=["hr"])
    kb.add(Document("menu.md", "Soup at noon, rolls at night."), access=["public"])
    clicked(kb, as_=["hr"])
    done = retrained(kb, tmp_path / "turned")
    assert done.is_live
    assert [one.rules for one in kb.restricted("r2")] == [(("hr",),)]
    assert kb.search("a word on zorvel", 1, as_=["hr"]).hits[0].source == jargon.SOURCES["zorvel"]
    theirs = kb.search("a word on zorvel", as_=["sales"])
    assert [hit.source for hit in theirs.hits] == ["menu.md"]
    assert "was trained on texts that are not all open to this caller" in str(theirs.details["adapter"])
    with pytest.raises(DatasetError, match="nobody has said anything"):
        parted(kb, as_=["sales"])


# --- too little -------------------------------------------------------------------------------------------------------


def test_too_little_is_refused_in_terms_of_feedback(firm: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nobody has said anything of what was found since r1 was promoted \("):
        retrained(firm, tmp_path / "turned")
    names = [*jargon.THINGS][:9]
    for count, name in enumerate([*names, "FREM"], 1):
        trace = firm.search(f"{name} instructions", 30)
        found = [hit.source for hit in trace.hits]
        firm.feedback(trace.id, "up", hit=found.index(jargon.SOURCES[name]) + 1)
        if count == 9:
            with pytest.raises(DatasetError, match=r"9 distinct queries with feedback that can be used since r1"):
                retrained(firm, tmp_path / "turned")
    with pytest.raises(DatasetError, match=r"all 10 queries with feedback since r1 .* are needed to train on"):
        retrained(firm, tmp_path / "turned")
    assert not (tmp_path / "turned").exists()
    test = dataset("own", [Question("1", "FREM instructions", {jargon.SOURCES["FREM"]: 1}, split="test")])
    with pytest.raises(DatasetError, match="9 distinct queries"):
        retrained(firm, tmp_path / "turned", test=test)
    with pytest.raises(QueryError, match="feedback retrains the query adapter, and not lora"):
        retrained(firm, tmp_path / "turned", settings=EmbedderSettings(method="lora"))


def test_a_query_that_the_test_set_asks_is_left_out_without_naming_its_question(firm: KnowledgeBase) -> None:
    """Its id stood in what is told of the training, which others may read than that test set."""
    clicked(firm, TEMPLATES[:1])
    asked = TEMPLATES[0].format("FREM")
    test = dataset("own", [Question("redundancy-2027", asked, {jargon.SOURCES["FREM"]: 1}, split="test")])
    [gone] = parted(firm, test=test).dropped
    assert (gone.line, gone.reason) == (asked, f"asked in the test set: {digest(asked)}")


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_refuses_what_would_change_nothing(
    openbook: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    for arguments, what in (
        (["rows.jsonl", "--from-feedback"], "feedback is what is trained on"),
        (["--from-feedback", "--base", "x"], "feedback is what is trained on"),
        (["rows.jsonl", "--no-promote"], "nothing is promoted"),
    ):
        done = openbook("finetune", "embedder", "out", *arguments)
        assert done.returncode == 2
        assert what in done.stderr


@LONG
def test_the_command_retrains_and_leaves_a_candidate_where_it_is_told_to(tmp_path: Path) -> None:
    """On openbook's own general set, too, which is most of what it takes."""
    with open(tmp_path / ".openbook") as kb:
        kb.add(*jargon.documents(), access=["public"])
        clicked(kb)
    command = [sys.executable, "-m", "openbook", "finetune", "embedder", "kept", "--from-feedback", "--no-promote"]
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["verdict"], said["release"], said["live"], said["promoted"]) == ("ship", "r2", "r1", False)
    assert said["model"] == str(tmp_path / "kept")
    assert said["general"]["before"]["default"] - said["general"]["after"]["default"] < 0.01
    with open(tmp_path / ".openbook") as kb:
        assert kb.release == "r1"
        assert kb.promote("r2", require_report=True).live == "r2"
