"""What both trainings do with a model: texts of one length are read together, and nothing is read otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from tests.embed import small

from openbook.finetune.trainer import KEPT, TOGETHER, Asked, read_by_length

TEXTS = [" ".join(["the kiln fires clay"] * (1 + number * 5 % 9)) for number in range(2 * TOGETHER + 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.tiny_bert(tmp_path_factory.mktemp("base") / "bert")


def vectors(model: SentenceTransformer) -> torch.Tensor:
    features = model.preprocess(TEXTS)
    found: torch.Tensor = model(features)["sentence_embedding"]
    return found


def test_vectors_and_gradients_are_those_of_the_whole_batch(folder: Path) -> None:
    model = SentenceTransformer(str(folder), device="cpu").eval()
    lengths: list[int] = []
    weight = next(model.parameters())

    def learnt() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        found = vectors(model)
        found.square().matmul(torch.arange(found.shape[1], dtype=found.dtype)).sum().backward()
        assert weight.grad is not None
        return found.detach(), weight.grad.clone()

    whole, gradient = learnt()
    read_by_length(model)
    model.transformers_model.base_model.embeddings.register_forward_hook(
        lambda module, given, out: lengths.append(out.shape[1])
    )
    parts, same = learnt()
    assert torch.allclose(parts, whole, atol=1e-6)
    assert torch.allclose(same, gradient, rtol=1e-4, atol=1e-5)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < lengths[0] / 2


def test_scores_of_a_cross_encoder_are_those_of_the_whole_batch(folder: Path) -> None:
    model = CrossEncoder(str(folder), num_labels=1, device="cpu")
    pairs = [("who fires clay?", text) for text in TEXTS]
    whole = model.predict(pairs, batch_size=len(pairs))
    read_by_length(model)
    assert torch.allclose(torch.tensor(model.predict(pairs, batch_size=len(pairs))), torch.tensor(whole), atol=1e-6)


def test_a_checkpoint_is_ranked_by_whether_its_dev_questions_fall(tmp_path: Path) -> None:
    high, near, low = ({"a": a, "b": b, "c": c} for a, b, c in [(0.5, 0.9, 0.7), (0.9, 0.5, 0.6), (0.4, 0.8, 0.6)])
    asked = Asked(tmp_path)
    assert [asked.told(step, scores)[KEPT] for step, scores in ((4, low), (8, high), (12, low), (16, near))] == [
        *(4.0, 8.0, 0.0, 16.0)
    ]
    # One that goes on from step 8 knows of the steps before alone.
    assert Asked(tmp_path).told(12, low) == {"ndcg@10": pytest.approx(0.6), KEPT: 0.0}
    assert Asked(tmp_path).told(4, low)[KEPT] == 4.0


def test_a_disk_that_is_full_leaves_what_was_asked_before(tmp_path: Path) -> None:
    """It was cut in the middle, and --resume could not read it."""
    import resource

    asked = Asked(tmp_path)
    asked.told(4, {str(number): 0.5 for number in range(50)})
    before = (tmp_path / "asked.json").read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            asked.told(8, {str(number): 0.5 for number in range(50)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "asked.json").read_text() == before
    assert asked.told(8, {str(number): 0.5 for number in range(49)})[KEPT] == 8.0, "one whose document was removed"
