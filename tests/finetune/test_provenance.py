"""What a model was trained on is told as it was when training began, with what its base was trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.embed import small
from tests.embed.tuned import trained
from tests.finetune.embedder import jargon

from openbook.embed.provenance import content_of, read_provenance
from openbook.errors import ModelError
from openbook.finetune.data.rows import Rows
from openbook.finetune.embedder import Dev, Step, train_embedder
from openbook.finetune.lists import Listed, Lists
from openbook.finetune.reranker import Taught, train_reranker
from openbook.finetune.settings import EmbedderSettings, RerankerSettings
from openbook.knowledge_base import KnowledgeBase
from openbook.types import Document


@pytest.fixture
def grounded(tmp_path: Path) -> Path:
    """A base that was trained on closed texts."""
    folder = small.tiny_bert(tmp_path / "base")
    trained(folder, documents=[["a" * 8, 3], ["plan", None]], sources=["plan"], principals=[["board"]])
    return folder


def test_what_the_base_was_trained_on_is_in_an_embedder_too(grounded: Path, tmp_path: Path) -> None:
    settings = EmbedderSettings(method="lora", base=str(grounded), epochs=1, batch=12, rate=5e-3)
    done = train_embedder(jargon.rows(), tmp_path / "m", settings)
    assert ("board",) in done.principals
    assert ("a" * 8, 3) in done.documents
    assert "plan" in done.sources
    told = read_provenance(tmp_path / "m")
    assert told is not None
    assert {"a" * 8, "plan"} <= {*told.documents}


def test_what_the_base_was_trained_on_is_in_a_reranker_too(grounded: Path, tmp_path: Path) -> None:
    one = Listed("Is it free?", ("It is not.", "It is."), (0, 1), (2.0, 1.0), ("a.md", "b.md"))
    settings = RerankerSettings(base=str(grounded), epochs=1, max_tokens=32, rate=1e-2)
    done = train_reranker(Taught(Lists((one,) * 8, 0, 0, 0, 0), 8), tmp_path / "m", settings)
    assert ("board",) in done.principals
    assert ("a" * 8, 3) in done.documents
    assert {"a.md", "plan"} <= {*done.sources}
    assert done.hash == content_of(tmp_path / "m"), "as recipes and receipts name it"


class Forgetting:
    """Progress of a training in whose first step documents are forgotten."""

    def __init__(self, kb: KnowledgeBase, *sources: str) -> None:
        self.kb, self.sources = kb, sources

    def __call__(self, step: Step) -> None:
        if self.sources:
            self.kb.forget(*self.sources)
            self.sources = ()


@pytest.mark.parametrize("forgotten", ["page-0.md", "secret.md"])
def test_a_text_that_is_forgotten_during_training_is_in_no_model_that_answers(
    forgotten: str, kb: KnowledgeBase, tmp_path: Path
) -> None:
    """One of the rows; and one whose vectors alone are trained on."""
    kb.add(*jargon.documents(), Document("secret.md", "Severance of Miller is nine months."), access=["public"])
    id = kb.named(forgotten)[0]
    dev = Dev(kb, tuple(jargon.questions().questions.values()))
    settings = EmbedderSettings(epochs=2, batch=12)
    done = train_embedder(jargon.rows(), tmp_path / "m", settings, dev=dev, progress=Forgetting(kb, forgotten))
    assert id in dict(done.documents)
    with pytest.raises(ModelError, match="was trained on 1 document that is forgotten"):
        kb.register(tmp_path / "m")


def test_a_run_that_goes_on_tells_what_it_began_with(kb: KnowledgeBase, tmp_path: Path, tiny: Path) -> None:
    """And rows of documents that are not asked of are known by the knowledge base that is named for them."""
    kb.add(*jargon.documents(), access=["public"])
    id = kb.named("page-0.md")[0]
    settings = EmbedderSettings(method="lora", base=str(tiny), epochs=1, batch=12, rate=5e-3)

    def cut_off(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_embedder(jargon.rows(), tmp_path / "m", settings, kb=kb, progress=cut_off)
    kb.forget("page-0.md")
    done = train_embedder(jargon.rows(), tmp_path / "m", settings, kb=kb, resume=True)
    assert id in dict(done.documents)
    with pytest.raises(ModelError, match="forgotten"):
        kb.register(tmp_path / "m")


def test_rows_whose_documents_are_closed_now_are_closed(kb: KnowledgeBase, tmp_path: Path) -> None:
    kb.add(*jargon.documents(), access=["hr"])
    rows = Rows(tuple(replace(one, negatives=()) for one in jargon.examples()))
    done = train_embedder(rows, tmp_path / "m", EmbedderSettings(epochs=1, batch=12), kb=kb)
    assert ("hr",) in done.principals
    assert json.loads((tmp_path / "m" / "trained.json").read_text())["principals"] == [["hr"], ["public"]]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_no_file_of_a_run_that_was_cut_off_shows_a_text(method: str, tiny: Path, tmp_path: Path) -> None:
    settings = EmbedderSettings.load(None, method=method, base=str(tiny), epochs=4, batch=20, rate=5e-3)
    whole = jargon.rows()

    def cut_off(step: Step) -> None:
        if step.at > 0.8 * step.of:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_embedder(whole, tmp_path / "m", settings, progress=cut_off)
    texts = [one.query for one in whole.examples] + [passage.text for passage in whole.passages]
    assert_in_no_file(tmp_path / ".m.training", texts)


def test_no_file_of_a_reranker_that_was_cut_off_shows_a_text(tiny: Path, tmp_path: Path) -> None:
    one = Listed("Is the hotel free?", ("The hotel is not.", "The hotel is."), (0, 1), (2.0, 1.0), ("a.md", "b.md"))
    settings = RerankerSettings(base=str(tiny), epochs=3, batch=4, max_tokens=32, rate=1e-2)

    def cut_off(step: Step) -> None:
        if step.at >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_reranker(Taught(Lists((one,) * 8, 0, 0, 0, 0), 8), tmp_path / "m", settings, progress=cut_off)
    assert_in_no_file(tmp_path / ".m.training", [one.question, *one.texts])


def assert_in_no_file(folder: Path, texts: list[str]) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert [file for file in files if file.name == "README.md" and "checkpoint" in file.parent.name]
    told = {str(file): [text for text in texts if text.encode() in file.read_bytes()] for file in files}
    assert not any(told.values()), told
