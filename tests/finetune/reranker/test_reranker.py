"""A reranker that was trained is opened by a recipe, says what it learnt, and is not there where nothing was."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.embed import small

from openbook.errors import DatasetError, ModelError, OpenbookError, QueryError
from openbook.finetune.embedder.trained import Step
from openbook.finetune.lists import Listed, Lists
from openbook.finetune.reranker import PARITY, Taught, Trained, train_reranker
from openbook.finetune.settings import RerankerSettings
from openbook.recipe import CrossEncoder
from openbook.retrieve.rerank.cross_encoder import PairModel

ROOT = Path(__file__).parents[3]

SUBJECTS = ("hotel", "train", "canteen", "laptop", "badge", "parking", "holiday", "insurance")
LISTS = [
    Listed(
        f"Is the {subject} free?",
        (f"The {subject} is not, sadly.", f"The {subject} is, gladly.", f"The {subject} is green."),
        (0, 1, 0),
        (3.0, 2.0, 1.0),
        (f"{subject}-1.md", f"{subject}-2.md", f"{subject}-3.md"),
    )
    for subject in SUBJECTS * 5  # so that an epoch, which ends with a checkpoint, has several steps
]
"""The first stage has it wrong each time, and one word tells which is right."""


def taught(lists: list[Listed] = LISTS) -> Taught:
    return Taught(Lists(tuple(lists), 0, 0, 0, 0), len(lists))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights."""
    return small.tiny_bert(tmp_path_factory.mktemp("base") / "bert")


def tiny(base: Path, **said: Any) -> RerankerSettings:
    """How it learns within seconds."""
    usual: dict[str, Any] = {"rate": 1e-2, "epochs": 4, "batch": 4, "texts": 3, "max_tokens": 48}
    return RerankerSettings.load(None, base=str(base), lora={"rank": 4, "alpha": 8.0}, **usual | said)


LONG = pytest.mark.training


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, list[Step]]:
    """One that has learnt it, and how."""
    steps: list[Step] = []
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    return train_reranker(taught(), folder, tiny(base), progress=steps.append), steps


def test_what_was_trained_is_what_a_recipe_opens(trained: tuple[Trained, list[Step]]) -> None:
    """The loss ends near 0.1; that of the first stage, with which it begins, is 1.15."""
    done, steps = trained
    assert done.steps == 40
    assert steps[0].loss == pytest.approx(1.15, abs=0.02), "it begins as the first stage"
    assert done.loss[-1].loss is not None
    assert done.loss[-1].loss < 0.2
    assert (done.used, done.pairs) == (40, 120)
    assert done.parity < PARITY
    assert done.recipe == {"weight": 0.6, "max_tokens": 48, "candidates": 20}, "no question chose another weight"
    model = PairModel(CrossEncoder(model=str(done.folder), max_tokens=48), precision="f32")
    for one in LISTS[: len(SUBJECTS)]:
        assert np.argmax(model.score(one.question, one.texts)) == 1
    assert model.score("Is the garage free?", ["The garage is green.", "The garage is, gladly."]).argmax() == 1
    told = json.loads((done.folder / "trained.json").read_text())
    assert told["kind"] == "reranker"
    assert len(told["documents"]) == 24
    assert Trained.load(done.folder) == done


def test_weights_are_safetensors_and_what_was_not_trained_is_not_among_them(
    trained: tuple[Trained, list[Step]],
) -> None:
    from safetensors.numpy import load_file

    folder = trained[0].folder
    files = {file.name for file in folder.iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors", "README.md", "settings.toml", "trained.json"}
    tensors = load_file(folder / "adapter_model.safetensors")
    # Six matrices a layer with two each, pooler and classifier with weight and bias.
    assert len(tensors) == 2 * 6 * 2 + 4
    assert not [name for name in tensors if "embeddings" in name]
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"


@LONG
@pytest.mark.parametrize("loss", ["lambda", "pairwise", "pointwise"])
def test_every_loss_puts_what_is_right_first(loss: str, base: Path, tmp_path: Path) -> None:
    done = train_reranker(taught(), tmp_path / "adapter", tiny(base, loss=loss, epochs=6))
    assert done.loss[-1].loss < done.loss[0].loss  # type: ignore[operator]
    model = PairModel(CrossEncoder(model=str(tmp_path / "adapter"), max_tokens=48), precision="f32")
    assert all(np.argmax(model.score(one.question, one.texts)) == 1 for one in LISTS[: len(SUBJECTS)])
    # Scores of one text at a time say by themselves whether it answers.
    assert ("weight" in done.recipe) == (loss != "pointwise")


@pytest.mark.parametrize("kind", ["bert", pytest.param("distilbert", marks=LONG)])
def test_a_whole_model_is_a_cross_encoder_of_sentence_transformers(kind: str, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder as Theirs

    base = small.tiny_pairs(tmp_path / "base", kind)
    done = train_reranker(taught(), tmp_path / "m", tiny(base, method="full", rate=1e-3, epochs=1))
    assert done.parity < PARITY
    theirs = Theirs(str(tmp_path / "m"), device="cpu", max_length=48).predict([(LISTS[0].question, LISTS[0].texts[0])])
    ours = PairModel(CrossEncoder(model=str(tmp_path / "m"), max_tokens=48), precision="f32")
    assert ours.score(LISTS[0].question, LISTS[0].texts[:1]) == pytest.approx(theirs, abs=PARITY)
    assert not [file for file in (tmp_path / "m").iterdir() if file.suffix in (".bin", ".pt", ".pth", ".pkl")]


@LONG
def test_the_same_seed_gives_the_same_weights(base: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_reranker(taught(), tmp_path / name, tiny(base, epochs=1, seed=seed))
    first, again, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "abc")
    assert first == again != other


RUN = """
import os, signal, sys
from pathlib import Path
from tests.finetune.reranker.test_reranker import taught, tiny
from openbook.finetune.reranker import train_reranker

base, out, last, resume = sys.argv[1:]

def told(step):
    if step.at == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

train_reranker(taught(), Path(out), tiny(Path(base), epochs=3), resume=bool(resume), progress=told)
"""


@LONG
def test_a_run_that_was_killed_gives_the_weights_of_one_that_was_not(base: Path, tmp_path: Path) -> None:
    def run(out: str, last: int, resume: bool = False) -> int:
        command = [sys.executable, "-c", RUN, str(base), str(tmp_path / out), str(last), "yes" if resume else ""]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        return subprocess.run(command, timeout=300, env=env, cwd=ROOT).returncode

    assert run("whole", 0) == 0
    assert run("parts", 17) == -signal.SIGKILL
    assert run("parts", 0, resume=True) == 0
    whole, parts = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_texts_longer_than_the_model_reads_are_cut_and_counted(base: Path, tmp_path: Path) -> None:
    long = [replace(one, texts=(one.texts[0] + " and more" * 100, *one.texts[1:])) for one in LISTS[:8]]
    done = train_reranker(taught(long), tmp_path / "adapter", tiny(base, epochs=1))
    assert done.cut == 8
    assert done.tokens <= done.pairs * 48
    assert done.parity < PARITY


def test_questions_and_texts_may_be_anything(base: Path, tmp_path: Path) -> None:
    odd = [Listed("\ud800 👩‍👩‍👧", ("", "\x00", "東京都 " * 99), (0, 1, 0), (0.0, 0.0, 0.0))]
    assert train_reranker(taught(odd), tmp_path / "adapter", tiny(base, epochs=1)).parity < PARITY


def refused(lists: list[Listed], out: Path, settings: RerankerSettings, error: type[OpenbookError]) -> str:
    """What is told; no folder is there, and none of the run's own."""
    with pytest.raises(error) as told:
        train_reranker(taught(lists), out, settings)
    assert not out.exists()
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("grades", [(0, 0, 0), (1, 2, 1)], ids=["nothing relevant", "all relevant"])
def test_what_teaches_nothing_is_refused(base: Path, tmp_path: Path, grades: tuple[int, ...]) -> None:
    for lists in ([], [replace(one, grades=grades) for one in LISTS]):
        assert "nothing to learn" in refused(lists, tmp_path / "m", tiny(base), DatasetError)
    assert not list(tmp_path.iterdir())


def test_one_step_moves_what_is_trained(base: Path, tmp_path: Path) -> None:
    """A warm-up, which begins at a rate of 0, once took the only step that there was."""
    done = train_reranker(taught(LISTS[:4]), tmp_path / "m", tiny(base, epochs=1, warmup=1.0))
    assert done.steps == 1
    assert done.moved > 0


def test_weights_that_do_not_move_are_no_model(base: Path, tmp_path: Path) -> None:
    for lists in (LISTS[:4], LISTS[:8]):
        assert "training moved no weight" in refused(lists, tmp_path / "m", tiny(base, rate=0.0, epochs=1), ModelError)
        assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_is_no_model(base: Path, tmp_path: Path) -> None:
    broken = [replace(one, scores=(math.nan, 0.0, 0.0)) for one in LISTS]
    assert "the loss is no number at step 1 of 10" in refused(broken, tmp_path / "m", tiny(base, epochs=1), ModelError)


def test_a_folder_that_is_there_is_left_as_it_is(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is there already"):
        train_reranker(taught(), tmp_path, tiny(base))
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_line(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused(LISTS, tmp_path / "file" / "adapter", tiny(base, epochs=1), ModelError)
    assert "cannot be written" in said


def test_there_must_be_a_run_to_go_on_with(base: Path, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no run that was cut off"):
        train_reranker(taught(), tmp_path / "m", tiny(base), resume=True)


class TestABaseThatCannotBeUsed:
    @pytest.fixture
    def copy(self, base: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(base, tmp_path / "base"))

    def test_of_which_no_adapter_could_be_opened(self, tmp_path: Path) -> None:
        base = small.tiny_pairs(tmp_path / "distilbert", "distilbert")
        said = refused(LISTS, tmp_path / "m", tiny(base), ModelError)
        assert "no BERT but distilbert" in said
        assert "--method full" in said

    def test_with_pickles_alone(self, copy: Path, tmp_path: Path) -> None:
        (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
        assert "pickled weights are not opened" in refused(LISTS, tmp_path / "m", tiny(copy), ModelError)

    def test_whose_licence_allows_no_change(self, copy: Path, tmp_path: Path) -> None:
        (copy / "README.md").write_text("---\nlicense: cc-by-nc-nd-4.0\n---\n# A model\n")
        said = refused(LISTS, tmp_path / "m", tiny(copy), ModelError)
        assert "its licence (cc-by-nc-nd-4.0) allows no changed copy" in said

    def test_that_gives_several_numbers(self, tmp_path: Path) -> None:
        base = small.tiny_pairs(tmp_path / "base", "bert")
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | {"id2label": {"0": "no", "1": "yes"}}))
        assert "gives 2 numbers where one score is wanted" in refused(LISTS, tmp_path / "m", tiny(base), ModelError)
