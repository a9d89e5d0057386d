"""A reranker that was trained is opened by a recipe, says what it learnt, and is not there where nothing was."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.embed import small

from openbook.errors import DatasetError, ModelError
from openbook.finetune.lists import Listed
from openbook.finetune.reranker import PARITY, Settings, Step, train_reranker
from openbook.recipe import CrossEncoder
from openbook.retrieve.rerank.cross_encoder import PairModel

SUBJECTS = ("hotel", "train", "canteen", "laptop", "badge", "parking", "holiday", "insurance")
LISTS = [
    Listed(
        f"Is the {subject} free?",
        (f"The {subject} is not, sadly.", f"The {subject} is, gladly.", f"The {subject} is green."),
        (0, 1, 0),
        (3.0, 2.0, 1.0),
    )
    for subject in SUBJECTS
]
"""The first stage has it wrong each time, and one word tells which is right."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A base of random weights, and how it learns within seconds."""
    base = small.tiny_bert(tmp_path_factory.mktemp("base") / "bert")
    return Settings(base=str(base), rank=4, alpha=8.0, rate=1e-2, epochs=20, questions=4, texts=3, max_tokens=48)


def test_what_was_trained_is_what_a_recipe_opens(tiny: Settings, tmp_path: Path) -> None:
    """The loss ends at 0.1; that of the first stage is 1.15."""
    steps: list[Step] = []
    done = train_reranker(LISTS, tmp_path / "adapter", tiny, progress=steps.append)
    assert tuple(steps) == done.steps
    assert len(steps) == 40
    assert done.steps[0].loss == pytest.approx(done.steps[0].first, abs=1e-5), "it begins as the first stage"
    loss, first = done.last
    assert loss < 0.2 < 1.1 < first
    assert done.pairs == 40 * 4 * 3
    assert done.tokens > done.pairs
    assert done.apart < PARITY
    model = PairModel(CrossEncoder(model=str(tmp_path / "adapter"), max_tokens=48), precision="f32")
    for one in LISTS:
        assert np.argmax(model.score(one.question, one.texts)) == 1
    assert model.score("Is the garage free?", ["The garage is green.", "The garage is, gladly."]).argmax() == 1


def test_weights_are_safetensors_and_what_was_not_trained_is_not_among_them(tiny: Settings, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    done = train_reranker(LISTS, tmp_path / "adapter", replace(tiny, epochs=1))
    files = {file.name for file in (tmp_path / "adapter").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sum(tensor.size for tensor in tensors.values()) == done.weights
    # Six matrices a layer with two each, pooler and classifier with weight and bias.
    assert len(tensors) == 2 * 6 * 2 + 4
    assert not [name for name in tensors if "embeddings" in name]
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_the_same_seed_gives_the_same_weights(tiny: Settings, tmp_path: Path) -> None:
    settings = replace(tiny, epochs=2)
    made = [(tmp_path / name, replace(settings, seed=seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for folder, one in made:
        train_reranker(LISTS, folder, one)
    first, again, other = ((folder / "adapter_model.safetensors").read_bytes() for folder, _ in made)
    assert first == again != other


@pytest.mark.parametrize("grades", [(0, 0, 0), (1, 2, 1)], ids=["nothing relevant", "all relevant"])
def test_what_teaches_nothing_is_refused(tiny: Settings, tmp_path: Path, grades: tuple[int, ...]) -> None:
    for lists in ([], [replace(one, grades=grades) for one in LISTS]):
        with pytest.raises(DatasetError, match="nothing to learn"):
            train_reranker(lists, tmp_path / "adapter", tiny)
    assert not (tmp_path / "adapter").exists()


def test_weights_that_do_not_move_are_no_model(tiny: Settings, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="training moved no weight"):
        train_reranker(LISTS, tmp_path / "adapter", replace(tiny, rate=0.0, epochs=1))
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_is_no_model(tiny: Settings, tmp_path: Path) -> None:
    broken = [replace(one, scores=(math.nan, 0.0, 0.0)) for one in LISTS]
    with pytest.raises(ModelError, match="the loss is no number at step 1 of 2"):
        train_reranker(broken, tmp_path / "adapter", replace(tiny, epochs=1))
    assert not (tmp_path / "adapter").exists()


def test_texts_longer_than_the_model_reads_are_cut_and_counted(tiny: Settings, tmp_path: Path) -> None:
    long = [replace(one, texts=(one.texts[0] + " and more" * 100, *one.texts[1:])) for one in LISTS]
    done = train_reranker(long, tmp_path / "adapter", replace(tiny, epochs=1))
    assert done.cut == len(LISTS)
    assert done.tokens <= done.pairs * 48


def test_questions_and_texts_may_be_anything(tiny: Settings, tmp_path: Path) -> None:
    odd = [Listed("\ud800 👩‍👩‍👧", ("", "\x00", "東京都 " * 99), (0, 1, 0), (0.0, 0.0, 0.0))]
    assert train_reranker(odd, tmp_path / "adapter", replace(tiny, epochs=1)).apart < PARITY


def test_a_folder_that_is_there_is_left_as_it_is(tiny: Settings, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is there already"):
        train_reranker(LISTS, tmp_path, tiny)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_line(tiny: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written") as told:
        train_reranker(LISTS, tmp_path / "file" / "adapter", replace(tiny, epochs=1))
    assert "\n" not in str(told.value)


def test_only_a_bert_can_be_the_base(tmp_path: Path) -> None:
    base = small.tiny_pairs(tmp_path / "distilbert", "distilbert")
    with pytest.raises(ModelError, match="no BERT"):
        train_reranker(LISTS, tmp_path / "adapter", Settings(base=str(base)))
