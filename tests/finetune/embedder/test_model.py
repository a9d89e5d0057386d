"""LoRA and full training by sentence-transformers' trainer: served as trained, and repeated to the bit."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.embed import small
from tests.finetune.embedder import jargon
from tests.finetune.embedder.test_adapter import killed_and_resumed

from openbook.embed import open_embedder
from openbook.finetune.data.rows import Example, Passage, Rows, Scored
from openbook.finetune.embedder import PARITY, Dev, Trained, train_embedder
from openbook.finetune.settings import EmbedderSettings
from openbook.recipe import LocalEmbedder


def tiny_settings(base: Path, **said: Any) -> EmbedderSettings:
    return EmbedderSettings.load(
        None, base=str(base), **{"method": "lora", "epochs": 2, "batch": 12, "rate": 5e-3} | said
    )


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


LONG = pytest.mark.training


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=LONG)])
def test_what_is_served_is_what_was_trained(method: str, tiny: Path, tmp_path: Path) -> None:
    done = train_embedder(jargon.rows(), tmp_path / "model", tiny_settings(tiny, method=method, epochs=4))
    assert done.parity < PARITY
    assert done.moved > 1e-4
    assert done.loss[-1].loss < done.loss[0].loss  # type: ignore[operator]
    model = open_embedder(LocalEmbedder(model=str(tmp_path / "model")))
    assert model.hash == done.hash == done.fits != done.base_hash
    base = open_embedder(LocalEmbedder(model=str(tiny)))
    assert not np.allclose(model.encode(["QBX?"]), base.encode(["QBX?"]), atol=1e-3)
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "trained.json", "settings.toml", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl")) or "adapter" in name]
    assert Trained.load(tmp_path / "model") == done


def test_sentence_transformers_opens_it_without_more(tiny: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    train_embedder(jargon.rows(), tmp_path / "model", tiny_settings(tiny))
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(["QBX?"], normalize_embeddings=True)
    ours = open_embedder(LocalEmbedder(model=str(tmp_path / "model"))).encode(["QBX?"])
    assert np.allclose(theirs, ours, atol=2e-2), "as far as the processor's own precision goes"


@pytest.mark.parametrize(
    "loss", ["in-batch", *(pytest.param(one, marks=LONG) for one in ("cached", "triplet", "cosine", "cosent"))]
)
def test_every_loss_falls(loss: str, tiny: Path, tmp_path: Path) -> None:
    done = train_embedder(jargon.rows(), tmp_path / "model", tiny_settings(tiny, loss=loss, epochs=5, bf16=False))
    first, last = done.loss[0].loss, done.loss[-1].loss
    assert first is not None
    assert last is not None
    assert math.isfinite(last)
    assert last < first


@LONG
def test_scores_between_are_learnt_by_cosent(tiny: Path, tmp_path: Path) -> None:
    pairs = tuple(
        Scored(Passage(one.query), passage, score)
        for one in jargon.examples()
        for passage, score in ((one.positives[0], 0.9), (one.negatives[0], 0.2))
    )
    done = train_embedder(Rows(scored=pairs), tmp_path / "model", tiny_settings(tiny))
    assert 'loss = "cosent"' in (tmp_path / "model" / "settings.toml").read_text()
    assert done.used == len(pairs)


@LONG
def test_matryoshka_takes_the_loss_at_fewer_dimensions_too(tiny: Path, tmp_path: Path) -> None:
    one = train_embedder(jargon.rows(), tmp_path / "a", tiny_settings(tiny))
    other = train_embedder(jargon.rows(), tmp_path / "b", tiny_settings(tiny, matryoshka=[8, 16]))
    assert other.loss[0].loss > 1.5 * one.loss[0].loss  # type: ignore[operator]
    assert weights(tmp_path / "a") != weights(tmp_path / "b")


def test_a_part_of_what_was_learnt_can_be_kept(tiny: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    for method in ("lora", "full"):
        said = {"method": method, "bf16": False}
        train_embedder(jargon.rows(), tmp_path / f"{method}-whole", tiny_settings(tiny, **said))
        half = train_embedder(jargon.rows(), tmp_path / f"{method}-half", tiny_settings(tiny, interpolate=0.5, **said))
        assert half.parity < PARITY
        base, whole, part = (
            load_file(folder / "model.safetensors")
            for folder in (tiny, tmp_path / f"{method}-whole", tmp_path / f"{method}-half")
        )
        for name, start in base.items():
            assert np.allclose((start + whole[name]) / 2, part[name], atol=1e-5), name


def test_dev_questions_choose_the_checkpoint(dev: Dev, tmp_path: Path) -> None:
    """The real pipeline of the packaged model, its vectors made anew; what had not fallen is what is served."""
    said = {"method": "lora", "epochs": 3, "batch": 12, "rate": 1e-3, "max_tokens": 32, "dev": {"per_epoch": 1}}
    done = train_embedder(jargon.rows(), tmp_path / "model", EmbedderSettings.load(None, **said), dev=dev)
    assert done.before is not None
    scores = {step.at: step.ndcg for step in done.dev if step.at}
    assert len(scores) == 3
    assert done.best in scores
    assert done.after > done.before
    assert done.documents
    assert done.principals == (("public",),)


@LONG
def test_a_run_that_was_killed_gives_the_weights_of_one_that_was_not(tiny: Path, tmp_path: Path) -> None:
    whole, parts = killed_and_resumed(tmp_path, "lora", str(tiny), 14)
    assert weights(whole) == weights(parts)
    one, other = (json.loads((folder / "trained.json").read_text()) for folder in (whole, parts))
    assert one["loss"] == other["loss"]
    assert one["dev"] == other["dev"]
    assert len(one["dev"]) > 2
    assert one["hash"] == other["hash"]


def test_prompts_of_the_base_are_trained_with(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    base = small.save(tmp_path / "base", BertModel(config), "mean", 48, prompts={"query": "ask: ", "document": "say: "})
    done = train_embedder(jargon.rows(), tmp_path / "model", tiny_settings(base, epochs=1))
    assert done.parity < PARITY
    told = json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_text())
    assert told["prompts"]["query"] == "ask: "


def test_replayed_rows_are_trained_on_too(tiny: Path, tmp_path: Path) -> None:
    general = Rows(
        tuple(Example(f"what is {n} and one", (Passage(f"it is {n + 1}"),), group=f"r{n}") for n in range(40))
    )
    settings = tiny_settings(tiny, replay={"ratio": 0.5})
    done = train_embedder(jargon.rows(), tmp_path / "a", settings, replay=general)
    alone = train_embedder(jargon.rows(), tmp_path / "b", settings)
    assert weights(tmp_path / "a") != weights(tmp_path / "b")
    assert done.used == alone.used


@LONG
def test_two_processes_train_one_model(tiny: Path, tmp_path: Path) -> None:
    """As ``accelerate launch`` starts one for each card; here on processors, with torch's own gloo between them."""
    (tmp_path / "train.py").write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.finetune.embedder import jargon\n"
        "from openbook.finetune.embedder import train_embedder\n"
        "from openbook.finetune.settings import EmbedderSettings\n"
        "settings = EmbedderSettings(method='lora', base=sys.argv[1], epochs=1, batch=6, rate=1e-2)\n"
        "train_embedder(jargon.rows(), Path(sys.argv[2]), settings)\n"
    )
    root = Path(__file__).parents[3]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, str(tmp_path / "train.py"), str(tiny), str(tmp_path / "model")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Trained.load(tmp_path / "model").parity < PARITY
