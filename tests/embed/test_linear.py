"""A query adapter's folder: what is read of it, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.embed.tuned import linear

from openbook.embed import Embedder
from openbook.embed.linear import open_adapter, read_linear
from openbook.errors import ModelError
from openbook.recipe import LinearAdapter, QueryHalf, Recipe
from openbook.tuned import taken


@pytest.fixture
def folder(tmp_path: Path, embedder: Embedder) -> Path:
    rng = np.random.default_rng(1)
    return linear(tmp_path / "adapter", rng.normal(size=(384, 384)), embedder.hash, bias=rng.normal(size=384))


def test_it_maps_as_sentence_transformers_does_and_renormalises(folder: Path, embedder: Embedder) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense

    vectors = embedder.encode(["sick leave", "the roof"], "query")
    mapped = open_adapter(LinearAdapter(path=str(folder)), embedder).apply(vectors)
    dense = Dense.load(str(folder))({"sentence_embedding": torch.from_numpy(vectors)})["sentence_embedding"]
    expected = torch.nn.functional.normalize(dense, dim=1).detach().numpy()
    assert np.abs(mapped - expected).max() < 1e-5
    assert mapped.dtype == np.float32
    assert np.allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-6)


def test_the_identity_changes_nothing(tmp_path: Path, embedder: Embedder) -> None:
    vectors = embedder.encode(["sick leave"], "query")
    adapter = read_linear(linear(tmp_path / "same", np.eye(384), embedder.hash))
    assert np.allclose(adapter.apply(vectors), vectors, atol=1e-6)


def test_its_hash_names_weights_and_what_they_fit(tmp_path: Path, folder: Path) -> None:
    one = read_linear(linear(tmp_path / "a", np.eye(3), "e1"))
    assert read_linear(linear(tmp_path / "b", np.eye(3), "e1")).hash == one.hash, "wherever it lies"
    assert read_linear(linear(tmp_path / "c", np.eye(3), "e2")).hash != one.hash
    assert read_linear(linear(tmp_path / "d", 2 * np.eye(3), "e1")).hash != one.hash


def test_an_open_adapter_does_not_follow_its_file(folder: Path, embedder: Embedder) -> None:
    adapter = read_linear(folder)
    before = adapter.weight.copy()
    file = folder / "model.safetensors"
    with file.open("r+b") as stream:
        stream.seek(-64, 2)
        stream.write(b"\0" * 64)
    assert np.array_equal(adapter.weight, before)


def change(folder: Path, file: str, **keys: object) -> None:
    told = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**told, **keys}))


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (lambda f: f.rename(f.with_name("away")), "no such folder"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "a pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "a pickle, which is not opened"),
    "cut": (lambda f: (f / "model.safetensors").write_bytes(b"cut"), "no readable safetensors file"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: is missing"),
    "config of a BERT": (lambda f: (f / "config.json").write_text('{"hidden_size": 384}'), "is of no Dense module"),
    "config no JSON": (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "is of no Dense module"),
    "not square": (lambda f: change(f, "config.json", out_features=128), "maps 384 dimensions to 128"),
    "another size": (lambda f: change(f, "config.json", in_features=9, out_features=9), r"\[384, 384\], not \[9, 9\]"),
    "no bias": (lambda f: change(f, "config.json", bias=False), "linear.bias is not as config.json has it"),
    "not linear": (lambda f: change(f, "config.json", activation_function="torch.nn.Tanh"), "is no linear map"),
    "no provenance": (lambda f: (f / "trained.json").unlink(), "trained.json is missing"),
    "provenance no JSON": (lambda f: (f / "trained.json").write_text("?"), "trained.json: cannot be read"),
    "fits nothing": (lambda f: change(f, "trained.json", fits=""), "does not say which embedder it fits"),
    "of a number": (lambda f: change(f, "trained.json", documents=[7]), "trained.json: cannot be read"),
    "of blank names": (lambda f: change(f, "trained.json", principals=[[" "]]), "trained.json: cannot be read"),
    "of nobody": (lambda f: change(f, "trained.json", principals=[[]]), "trained.json: cannot be read"),
    "of who knows": (
        lambda f: (f / "trained.json").write_text('{"fits": "x", "documents": ["a"]}'),
        "nobody knows whom it may answer",
    ),
    "of another model": (lambda f: change(f, "trained.json", fits="0" * 16), "fits the vectors of another embedder"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_does_not_fit_is_refused_in_a_line(folder: Path, embedder: Embedder, name: str) -> None:
    damage, message = BREAKS[name]
    damage(folder)
    with pytest.raises(ModelError, match=message) as error:
        open_adapter(LinearAdapter(path=str(folder)), embedder)
    assert "\n" not in str(error.value)
    assert error.value.do


@pytest.mark.parametrize("weight", [np.full((384, 384), np.nan), np.zeros((384, 384))], ids=["nan", "zero"])
def test_weights_of_which_no_vector_is_made_are_refused(tmp_path: Path, embedder: Embedder, weight: object) -> None:
    with pytest.raises(ModelError, match=r"no numbers|all zero"):
        read_linear(linear(tmp_path / "bad", np.asarray(weight), embedder.hash))


def test_one_of_fewer_dimensions_than_the_index_is_refused(tmp_path: Path, embedder: Embedder) -> None:
    small = linear(tmp_path / "small", np.eye(32), embedder.hash)
    with pytest.raises(ModelError, match="maps 32 dimensions, and the index has 384"):
        open_adapter(LinearAdapter(path=str(small)), embedder)


def test_a_recipe_that_names_its_content_refuses_another(folder: Path, embedder: Embedder) -> None:
    recipe = taken(Recipe(query=QueryHalf(adapter=LinearAdapter(path=str(folder)))))
    assert isinstance(recipe.query.adapter, LinearAdapter)
    assert recipe.query.adapter.content == read_linear(folder).hash
    assert open_adapter(recipe.query.adapter, embedder).hash == recipe.query.adapter.content
    linear(folder, np.eye(384), embedder.hash)
    with pytest.raises(ModelError, match="is another one than the recipe was stored with"):
        open_adapter(recipe.query.adapter, embedder)


def test_reading_it_imports_neither_torch_nor_safetensors(folder: Path) -> None:
    code = (
        "import sys; from openbook.embed.linear import read_linear; read_linear(sys.argv[1]);"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers', 'safetensors')"
        " if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
