"""Local models: they agree with sentence-transformers, and their hash names what decides their vectors."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbook.embed import open_embedder
from openbook.embed.bert import is_bert, read_safetensors
from openbook.embed.folder import read_folder
from openbook.embed.local import LocalModel
from openbook.embed.runtime import PADDING, batches
from openbook.errors import ModelError
from openbook.recipe import LocalEmbedder

WORDS = [
    "How many sick days do I get?",
    "Employees receive ten paid sick days each calendar year.",
    "Der Urlaubsanspruch beträgt 30 Tage im Jahr; übertragen wird nichts.",
    "東京都の有給休暇は年に二十日です。",
    "يحصل الموظفون على عشرة أيام مرضية",
    "Сколько дней отпуска?",
    "def pay(hours: float) -> float: return hours * 31.5",
    "| name | days |\n|---|---|\n| sick | 10 |",
    "👩‍👩‍👧 café naïve Żółw",
    "",
]
TEXTS = [f"{text} {'and more words ' * repeat}" for repeat in (0, 2, 9, 40, 120) for text in WORDS]


@pytest.fixture(scope="module")
def theirs() -> Callable[[Path], np.ndarray]:
    from sentence_transformers import SentenceTransformer

    return functools.cache(
        lambda folder: SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    )


@pytest.mark.parametrize("name", ["packaged", "bert-cls", "bert-max", "bert-mean", "mpnet"])
def test_agrees_with_sentence_transformers(
    name: str, theirs: Any, cache: Path, tiny_bert: Callable[[str], Path], tiny_mpnet: Path
) -> None:
    folder = {"packaged": read_folder("default").path, "mpnet": tiny_mpnet}.get(name)
    folder = folder or tiny_bert(name.removeprefix("bert-"))
    ours = LocalModel(LocalEmbedder(model=str(folder)), cache=cache, precision="f32").encode(TEXTS)
    assert (ours * theirs(folder)).sum(axis=1).min() > 0.99999


def test_half_precision_agrees_too(theirs: Any, cache: Path) -> None:
    ours = LocalModel(LocalEmbedder(), cache=cache, precision="bf16").encode(TEXTS)
    assert (ours * theirs(read_folder("default").path)).sum(axis=1).min() > 0.999


def test_max_tokens_leaves_room_for_special_tokens(cache: Path) -> None:
    """sentence-transformers' 256 include [CLS] and [SEP]."""
    assert LocalModel(LocalEmbedder(), cache=cache).max_tokens == 254
    assert LocalModel(LocalEmbedder(max_tokens=32), cache=cache).max_tokens == 32
    assert LocalModel(LocalEmbedder(max_tokens=5000), cache=cache).max_tokens == 510  # as many as it has positions


def test_hash_changes_with_what_decides_the_vectors(cache: Path, tiny_bert: Callable[[str], Path]) -> None:
    hashes = [
        LocalModel(part, cache=cache).hash
        for part in (
            LocalEmbedder(),
            LocalEmbedder(query_prefix="query: "),
            LocalEmbedder(document_prefix="query: "),
            LocalEmbedder(max_tokens=100),
            LocalEmbedder(model=str(tiny_bert("cls"))),
            LocalEmbedder(model=str(tiny_bert("max"))),  # the same weights
        )
    ]
    assert len(set(hashes)) == len(hashes)


def test_hash_does_not_change_with_precision_or_place(cache: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(read_folder("default").path, tmp_path / "moved"))
    (moved / "README.md").write_text("Another story.")
    hashes = {
        LocalModel(LocalEmbedder(), cache=cache, precision="f32").hash,
        LocalModel(LocalEmbedder(), cache=cache, precision="bf16").hash,
        LocalModel(LocalEmbedder(model=str(moved)), cache=cache).hash,
        LocalModel(LocalEmbedder(model=str(moved)), cache=tmp_path / "empty").hash,
    }
    assert len(hashes) == 1


def test_hash_sees_weights_written_over_in_place(cache: Path, tmp_path: Path, tiny_bert: Callable[[str], Path]) -> None:
    folder = Path(shutil.copytree(tiny_bert("cls"), tmp_path / "model"))
    before = LocalModel(LocalEmbedder(model=str(folder)), cache=cache).hash
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(1, 1))
    assert LocalModel(LocalEmbedder(model=str(folder)), cache=cache).hash != before


def test_prefixes_come_from_the_recipe_else_from_the_model(
    cache: Path, tmp_path: Path, tiny_bert: Callable[[str], Path]
) -> None:
    folder = Path(shutil.copytree(tiny_bert("cls"), tmp_path / "model"))
    plain = LocalModel(LocalEmbedder(model=str(folder)), cache=cache)
    prompts = {"prompts": {"query": "ask: ", "passage": "told: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    own = LocalModel(LocalEmbedder(model=str(folder)), cache=cache)
    asked = LocalModel(LocalEmbedder(model=str(folder), query_prefix="find: "), cache=cache)
    expected = plain.encode(["ask: x", "told: x", "find: x"])
    found = np.concatenate([own.encode(["x"], "query"), own.encode(["x"]), asked.encode(["x"], "query")])
    assert np.allclose(found, expected, atol=1e-5)
    assert len({plain.hash, own.hash, asked.hash}) == 3


def test_weights_in_half_precision_are_read(tmp_path: Path, cache: Path, tiny_bert: Callable[[str], Path]) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    full = tiny_bert("cls")
    tensors = load_file(full / "model.safetensors")
    expected = LocalModel(LocalEmbedder(model=str(full)), cache=cache, precision="f32").encode(WORDS)
    for dtype in (torch.float16, torch.bfloat16):
        folder = Path(shutil.copytree(full, tmp_path / str(dtype)))
        save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, folder / "model.safetensors")
        found = LocalModel(LocalEmbedder(model=str(folder)), cache=cache, precision="f32").encode(WORDS)
        assert (found * expected).sum(axis=1).min() > 0.99


def test_batches_hold_every_text_once_within_bounds() -> None:
    lengths = [int(n) for n in np.random.default_rng(0).integers(1, 256, 500)]
    found = list(batches(lengths, 512))
    assert sorted(i for batch in found for i in batch) == list(range(500))
    for batch in found:
        longest = max(lengths[i] for i in batch)
        assert longest == lengths[batch[0]]
        assert len(batch) == 1 or len(batch) * longest <= 512
        assert min(lengths[i] for i in batch) >= PADDING * longest


class TestRefusals:
    def refused(self, model: str, cache: Path) -> str:
        with pytest.raises(ModelError) as caught:
            open_embedder(LocalEmbedder(model=model), cache=cache).encode(["a"])
        message = str(caught.value)
        assert "\n" not in message
        assert caught.value.do
        return message

    def test_a_missing_folder(self, tmp_path: Path, cache: Path) -> None:
        assert "no such folder" in self.refused(str(tmp_path / "none"), cache)

    def test_a_folder_that_is_no_model(self, tmp_path: Path, cache: Path) -> None:
        assert "config.json is missing" in self.refused(str(tmp_path), cache)

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"])
    def test_a_file_cut_short(self, name: str, tmp_path: Path, cache: Path, tiny_bert: Callable[[str], Path]) -> None:
        folder = Path(shutil.copytree(tiny_bert("cls"), tmp_path / "model"))
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        assert str(folder) in self.refused(str(folder), cache)

    def test_weights_as_a_pickle(self, tmp_path: Path, cache: Path, tiny_bert: Callable[[str], Path]) -> None:
        folder = Path(shutil.copytree(tiny_bert("cls"), tmp_path / "model"))
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        assert "pickled weights are not opened" in self.refused(str(folder), cache)

    def test_weights_that_are_not_numbers(self, tmp_path: Path, cache: Path, tiny_bert: Callable[[str], Path]) -> None:
        folder = Path(shutil.copytree(tiny_bert("cls"), tmp_path / "model"))
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        tensors["encoder.layer.1.output.dense.bias"][:] = np.nan
        save_file(tensors, folder / "model.safetensors")
        assert "not a number" in self.refused(str(folder), cache)

    def test_a_missing_tensor(self, tmp_path: Path, cache: Path, tiny_bert: Callable[[str], Path]) -> None:
        folder = Path(shutil.copytree(tiny_bert("cls"), tmp_path / "model"))
        (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
        )
        assert "encoder.layer.2" in self.refused(str(folder), cache)

    def test_a_configuration_of_other_weights(
        self, tmp_path: Path, cache: Path, tiny_bert: Callable[[str], Path]
    ) -> None:
        folder = Path(shutil.copytree(tiny_bert("cls"), tmp_path / "model"))
        (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 5')
        )
        assert "do not fit together" in self.refused(str(folder), cache)

    def test_a_foreign_architecture_without_torch(self, tmp_path: Path, tiny_mpnet: Path) -> None:
        code = f"""
            import sys
            sys.modules["torch"] = None
            from openbook.embed import open_embedder
            from openbook.errors import ModelError
            from openbook.recipe import LocalEmbedder
            try:
                open_embedder(LocalEmbedder(model={str(tiny_mpnet)!r})).encode(["a"])
            except ModelError as error:
                print(error)
        """
        assert "pip install 'openbook[train]'" in run(code, tmp_path)


def damages(whole: bytes) -> Iterator[bytes]:
    """Emptied, cut short, one bit turned."""
    middle = len(whole) // 2
    yield b""
    yield whole[:middle]
    yield whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]


class TestCache:
    def test_a_damaged_digest_is_made_again(self, tmp_path: Path, tiny_bert: Callable[[str], Path]) -> None:
        part = LocalEmbedder(model=str(tiny_bert("cls")))
        expected = LocalModel(part, cache=tmp_path).hash
        for file in (tmp_path / "digests").iterdir():
            whole = file.read_bytes()
            for damaged in damages(whole):
                file.write_bytes(damaged)
                assert LocalModel(part, cache=tmp_path).hash == expected
            assert file.read_bytes() == whole

    def test_a_damaged_conversion_is_made_again(self, tmp_path: Path, tiny_mpnet: Path) -> None:
        def vectors() -> np.ndarray:
            return LocalModel(LocalEmbedder(model=str(tiny_mpnet)), cache=tmp_path).encode(WORDS)

        expected = vectors()
        files = {path.name: path for path in (tmp_path / "models").rglob("model.*")}
        assert set(files) == {"model.xml", "model.bin"}
        for name, damage in (("model.bin", 2), ("model.xml", 1)):
            damaged = list(damages(files[name].read_bytes()))[damage]
            files[name].write_bytes(damaged)
            assert (vectors() * expected).sum(axis=1).min() > 0.99999
            assert files[name].read_bytes() != damaged

    def test_a_folder_that_cannot_be_made_means_no_cache(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        model = open_embedder(LocalEmbedder(), cache=tmp_path / "file" / "cache")
        assert model.encode(["a"]).shape == (1, 384)
        assert model.hash == open_embedder(LocalEmbedder(), cache=tmp_path / "cache").hash

    def test_the_environment_names_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENBOOK_CACHE", str(tmp_path / "here"))
        assert open_embedder(LocalEmbedder()).hash
        assert list((tmp_path / "here" / "digests").iterdir())

    def test_two_processes_may_fill_it_at_once(self, tmp_path: Path, tiny_mpnet: Path) -> None:
        code = f"""
            from openbook.embed import open_embedder
            from openbook.recipe import LocalEmbedder
            model = open_embedder(LocalEmbedder(model={str(tiny_mpnet)!r}))
            print(model.hash, model.encode(["a question"])[0, :3].round(4).tolist())
        """
        both = [start(code, tmp_path) for _ in range(2)]
        said = [process.communicate(timeout=120)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert said[0] == said[1]
        assert not list((tmp_path / "cache").rglob(".new-*"))
        assert said[0] == run("import sys; sys.modules['torch'] = None\n" + code.replace("            ", ""), tmp_path)


def test_a_cold_question_imports_neither_torch_nor_telemetry(tmp_path: Path) -> None:
    """openvino by itself reports every import to its makers, over the network."""
    code = """
        import sys
        import openbook.embed
        print(sorted({"numpy", "openvino", "tokenizers", "openai"} & set(sys.modules)))
        from openbook.recipe import LocalEmbedder
        openbook.embed.open_embedder(LocalEmbedder()).encode(["a question"], "query")
        loaded = [name for name, module in sys.modules.items() if module is not None]
        unwanted = {"torch", "transformers", "sentence_transformers", "openvino_telemetry", "huggingface_hub", "openai"}
        print(sorted(unwanted & set(loaded)))
    """
    assert run(code, tmp_path).split() == ["[]", "[]"]


def test_safetensors_are_mapped_not_copied() -> None:
    folder = read_folder("default")
    assert is_bert(folder)
    tensors = read_safetensors(folder.weights)
    assert not any(tensor.flags.owndata for tensor in tensors.values())


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    from textwrap import dedent

    environment = {**os.environ, "OPENBOOK_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-c", dedent(code)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def run(code: str, folder: Path) -> str:
    process = start(code, folder)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    return said


@pytest.mark.skipif(sys.platform != "linux", reason="the stack for signals is asked for as Linux has it")
def test_loading_the_model_leaves_python_its_own_stack_for_signals() -> None:
    """OpenVINO gave the main thread one that Python's handler overflowed: Ctrl-C was a segmentation fault."""
    script = (
        "import ctypes\n"
        "from openbook.embed import open_embedder\n"
        "from openbook.recipe import LocalEmbedder\n"
        "class Stack(ctypes.Structure):\n"
        "    _fields_ = [('at', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t)]\n"
        "def is_own():\n"
        "    stack = Stack()\n"
        "    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))\n"
        "    return stack.flags == 2  # SS_DISABLE\n"
        "before = is_own()\n"
        "open_embedder(LocalEmbedder()).encode(['a question'], 'query')\n"
        "open_embedder(LocalEmbedder()).encode(['a text'] * 64)\n"
        "print(before, is_own())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def test_a_process_compiles_a_model_once(cache: Path) -> None:
    """Every knowledge base, and every release beside another, had a copy of 150 MB, compiled in 0.15 s."""
    one, other = (LocalModel(LocalEmbedder(max_tokens=tokens), cache=cache) for tokens in (16, 32))
    assert one.hash != other.hash
    assert one._runtime is other._runtime
    assert (one.encode(["blue parrot"]) == other.encode(["blue parrot"])).all()
