"""A verdict becomes a release: priced before anybody has won, built beside what answers, its report kept with it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.finetune.embedder import jargon
from tests.finetune.test_trial import beir, model

from openbook.errors import QueryError
from openbook.evaluate.datasets.dataset import Dataset, Question, dataset
from openbook.finetune import promotion
from openbook.finetune.data import write
from openbook.finetune.embedder import Dev, train_embedder
from openbook.finetune.settings import EmbedderSettings
from openbook.finetune.trial import Asking, Tried, read_models, try_models
from openbook.knowledge_base import KnowledgeBase, open
from openbook.recipe import LinearAdapter, LocalEmbedder, OpenAIEmbedder, IndexHalf, Recipe

TEST = dataset(
    "firm",
    [
        Question(f"{number}-{name}", template.format(name), judgements={jargon.SOURCES[name]: 1}, split="test")
        for name in jargon.THINGS
        for number, template in enumerate(jargon.HELD)
    ],
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of a firm, and ``turned``, an adapter that has learnt its words."""
    place = tmp_path_factory.mktemp("firm")
    with open(place / "db") as kb:
        kb.add(*jargon.documents(), access=["public"])
        settings = EmbedderSettings(epochs=6, batch=12, pull=3.0, data={})
        train_embedder(jargon.rows(), place / "turned", settings, dev=Dev(kb, ()))
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """The same for one test alone; the model lies where it lay."""
    shutil.copytree(trained / "db", tmp_path / "db", symlinks=True)
    return tmp_path


def tried(place: Path, *models: Path, data: Dataset = TEST, said: list[str] | None = None) -> Tried:
    asking = Asking(db=str(place / "db"), say=(said if said is not None else []).append)
    return try_models(data, read_models(models), general={}, rows=jargon.rows(), asking=asking)


def test_the_winner_is_built_with_its_report_and_answers_when_it_is_promoted(place: Path, trained: Path) -> None:
    said: list[str] = []
    verdict = tried(place, trained / "turned", said=said)
    assert verdict.trial.verdict == "ship"
    assert said[0] == "turned: nothing to read: an index for this recipe is there"
    assert f"its release: {said[0].partition(': ')[2]}" in verdict.trial.candidates[0].notes
    with open(place / "db") as kb:
        done = promotion.release(kb, verdict)
        assert done is not None
        assert (done.release, done.live, kb.release) == ("r2", "r1", "r1")
        assert done.built is not None
        assert done.built.embedded == 0
        report = kb.show_release("r2").report
        assert report is not None
        assert (report["a"], report["b"], report["verdict"]) == ("r1", "r2", "ship")
        assert report["general"] == {"before": {}, "after": {}, "mean": None}
        assert "zorvel" not in json.dumps(report)
        part = kb.show_release("r2").recipe.query.adapter
        assert isinstance(part, LinearAdapter)
        assert part.path == str(trained / "turned")
        now = promotion.promoted(kb, done)
        assert now.pointers is not None
        assert (now.pointers.live, kb.release) == ("r2", "r2")
        assert kb.search("Anything to heed with our zorvel?", 1).hits[0].source == jargon.SOURCES["zorvel"]
        assert list(now.lines())[-1] == "r2 answers now; openbook release rollback returns to r1"
        kb.rollback()
        assert kb.release == "r1"
