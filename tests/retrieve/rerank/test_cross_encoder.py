"""Cross-encoders: the same scores as sentence-transformers, from safetensors alone, ready again from the cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.embed import small

from openbook.embed.runtime import best_precision
from openbook.errors import ModelError
from openbook.recipe import CrossEncoder, LocalEmbedder
from openbook.retrieve.rerank.cross_encoder import PairModel

QUESTION = "How many sick days do I get?"
TEXTS = [
    "Ten days are paid in full.",
    "",
    "The canteen opens at nine. " * 9,
    "word " * 300,
    "Żółw 東京都 👩‍👩‍👧",
    "sick " * 12,
]


def theirs(folder: Path, question: str, texts: list[str]) -> Any:
    from sentence_transformers import CrossEncoder as SentenceTransformersCrossEncoder

    model = SentenceTransformersCrossEncoder(str(folder), device="cpu", local_files_only=True)
    return model.predict([(question, text) for text in texts])


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize(
    "question", [QUESTION, "a question much longer than the model reads " * 20], ids=["one", "long"]
)
@pytest.mark.parametrize("copies", [1, 8], ids=["few", "many"])
def test_scores_are_those_of_sentence_transformers(
    tiny_pairs: Callable[[str], Path], cache: Path, kind: str, question: str, copies: int
) -> None:
    folder, texts = tiny_pairs(kind), TEXTS * copies
    ours = PairModel(CrossEncoder(model=str(folder)), cache=cache, precision="f32").score(question, texts)
    assert np.abs(ours - theirs(folder, question, texts)).max() < 1e-3
    assert ours.std() > 0.01, "scores that are all the same agree with anything"


def test_a_score_is_the_logistic_function_of_the_logit_whatever_the_folder_says(
    tiny_pairs: Callable[[str], Path], tmp_path: Path
) -> None:
    """Folders of ms-marco models say "Identity": their scores are logits, of which no threshold means anything."""
    expected = theirs(tiny_pairs("bert"), QUESTION, TEXTS)
    folder = tmp_path / "identity"
    shutil.copytree(tiny_pairs("bert"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config.json").write_text(json.dumps(config))
    assert np.abs(theirs(folder, QUESTION, TEXTS) - expected).max() > 0.05
    ours = PairModel(CrossEncoder(model=str(folder)), precision="f32").score(QUESTION, TEXTS)
    assert np.abs(ours - expected).max() < 1e-3


def test_max_tokens_bounds_question_and_text_together(tiny_pairs: Callable[[str], Path]) -> None:
    model = PairModel(CrossEncoder(model=str(tiny_pairs("bert")), max_tokens=32), precision="f32")
    text = " ".join(f"item{i}" for i in range(60))
    assert model.score(QUESTION, [text]) == pytest.approx(model.score(QUESTION, [text + " and more"]), abs=1e-6)
    short = PairModel(CrossEncoder(model=str(tiny_pairs("bert")), max_tokens=16), precision="f32")
    assert abs(model.score(QUESTION, [text]) - short.score(QUESTION, [text])) > 1e-4


def test_what_torch_converted_is_there_without_torch(tiny_pairs: Callable[[str], Path], cache: Path) -> None:
    folder = tiny_pairs("distilbert")
    expected = PairModel(CrossEncoder(model=str(folder)), cache=cache).score(QUESTION, TEXTS)
    code = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["sentence_transformers"] = None
from pathlib import Path
from openbook.recipe import CrossEncoder
from openbook.retrieve.rerank.cross_encoder import PairModel
model = PairModel(CrossEncoder(model={str(folder)!r}), cache=Path({str(cache)!r}))
print(*model.score({QUESTION!r}, {TEXTS!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert np.allclose([float(x) for x in done.stdout.split()], expected, atol=1e-5)


def test_a_bert_needs_no_torch_at_all(tiny_pairs: Callable[[str], Path]) -> None:
    code = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["sentence_transformers"] = None
from openbook.recipe import CrossEncoder
from openbook.retrieve.rerank.cross_encoder import PairModel
print(len(PairModel(CrossEncoder(model={str(tiny_pairs("bert"))!r})).score("a", ["b", "c"])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "2", done.stderr


def test_pickled_weights_are_not_opened(tiny_pairs: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_pairs("bert"), folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not opened"):
        PairModel(CrossEncoder(model=str(folder)))


def test_what_is_no_cross_encoder_is_told_so(tmp_path: Path, tiny_pairs: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match="no cross-encoder but BertModel"):
        PairModel(CrossEncoder(model=str(small.tiny_bert(tmp_path / "embedder"))))
    with pytest.raises(ModelError, match="no such folder"):
        PairModel(CrossEncoder(model=str(tmp_path / "nowhere")))
    folder = tmp_path / "two"
    shutil.copytree(tiny_pairs("bert"), folder)
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="gives 2 numbers where one score is wanted"):
        PairModel(CrossEncoder(model=str(folder)))


@pytest.mark.parametrize("tensor", ["classifier.weight", "bert.pooler.dense.bias"])
def test_a_damaged_folder_is_one_line(tiny_pairs: Callable[[str], Path], tmp_path: Path, tensor: str) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(tiny_pairs("bert"), folder)
    weights = load_file(folder / "model.safetensors")
    del weights[tensor]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match="lacks the tensor") as told:
        PairModel(CrossEncoder(model=str(folder))).score("a", ["b"])
    assert "\n" not in str(told.value)


def test_late_interaction_and_embedding_read_the_same_model() -> None:
    """The mean of a text's token vectors, special ones included, is what the packaged model gives for it."""
    from openbook.embed.local import LocalModel

    model = LocalModel(LocalEmbedder(), precision=best_precision())
    found: dict[int, Any] = {}
    model.token_vectors(["Ten days are paid in full.", ""], "document", found.__setitem__)
    assert found[0].shape == (7, 384)  # the full stop is one
    assert found[1].shape == (2, 384), "of an empty text the special ones"
    assert np.allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-3)


# --- an adapter on the packaged model ---------------------------------------------------------------------------------


def adapter(folder: Path, **config: Any) -> dict[str, Any]:
    """What peft writes of a LoRA on the packaged model's queries and values with a head of one label; its tensors."""
    from safetensors.numpy import save_file

    draw = np.random.default_rng(0)

    def matrix(*shape: int) -> Any:
        return draw.normal(0, 0.2, shape).astype(np.float32)

    tensors = {"classifier.weight": matrix(1, 384), "classifier.bias": matrix(1), "bert.pooler.dense.bias": matrix(384)}
    for layer in range(6):
        for part in ("query", "value"):
            name = f"bert.encoder.layer.{layer}.attention.self.{part}"
            tensors |= {f"{name}.lora_A.weight": matrix(4, 384), f"{name}.lora_B.weight": matrix(384, 4)}
    folder.mkdir()
    save_file(
        {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    said = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "default", "r": 4, "lora_alpha": 8}
    (folder / "adapter_config.json").write_text(json.dumps(said | config))
    return tensors


def test_an_adapter_is_added_to_the_packaged_model(tmp_path: Path) -> None:
    """Checked against transformers with the same matrices added to its weights."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from openbook.embed.folder import read_folder

    tensors = adapter(tmp_path / "adapter")
    base = read_folder("default").path
    reference = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1).eval()
    state = reference.state_dict()
    for name, tensor in tensors.items():
        if name.endswith("lora_A.weight"):
            change = 2.0 * (tensors[name.replace("lora_A", "lora_B")] @ tensor)
            state[name.replace(".lora_A", "")] += torch.tensor(change)
        elif "lora" not in name:
            state[name] = torch.tensor(tensor)
    reference.load_state_dict(state)
    read = AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        pairs = read([QUESTION] * len(TEXTS), TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
        expected = torch.sigmoid(reference(**pairs).logits[:, 0]).numpy()
    model = PairModel(CrossEncoder(model=str(tmp_path / "adapter")), precision="f32")
    ours = model.score(QUESTION, TEXTS)
    assert np.abs(ours - expected).max() < 1e-3
    assert ours.std() > 0.01
    plain = PairModel(CrossEncoder(model=str(tmp_path / "adapter")), precision="f32")
    assert np.allclose(plain.score(QUESTION, TEXTS), ours, atol=1e-5), "the weights that both map are as they were"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, "not plain LoRA"),
        ({"r": "four"}, "cannot be read"),
        ({"peft_type": "IA3"}, "not plain LoRA"),
        ({"base_model_name_or_path": "./nowhere"}, "no such folder"),
    ],
)
def test_an_adapter_that_cannot_be_added_is_one_line(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    adapter(tmp_path / "adapter", **config)
    with pytest.raises(ModelError, match=message) as told:
        PairModel(CrossEncoder(model=str(tmp_path / "adapter")))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("bert.embeddings.word_embeddings.lora_embedding_A", (4, 30522), "no matrix of plain LoRA"),
        ("bert.encoder.layer.0.output.dense.lora_B.weight", (384, 4), "has no other half"),
        ("bert.encoder.layer.0.attention.self.query.lora_A.weight", (2, 384), "is of rank 2, and not 4"),
        ("classifier.weight", (3, 384), "gives 3 numbers where one score is wanted"),
    ],
)
def test_nothing_of_an_adapter_is_left_out_in_silence(
    tmp_path: Path, name: str, shape: tuple[int, int], message: str
) -> None:
    """It was opened, and its scores were those of another model."""
    from safetensors.numpy import load_file, save_file

    adapter(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file) | {f"base_model.model.{name}": np.zeros(shape, np.float32)}
    if shape[0] == 2:
        tensors["base_model.model." + name.replace("_A", "_B")] = np.zeros((384, 2), np.float32)
    save_file(tensors, file)
    with pytest.raises(ModelError, match=message) as told:
        PairModel(CrossEncoder(model=str(tmp_path / "adapter")))
    assert "\n" not in str(told.value)


def test_an_adapter_without_a_head_is_told(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    adapter(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "classifier" not in name}, file)
    with pytest.raises(ModelError, match="lacks the tensor classifier"):
        PairModel(CrossEncoder(model=str(tmp_path / "adapter"))).score("a", ["b"])
