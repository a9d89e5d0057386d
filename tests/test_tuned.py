"""Models that were trained on documents: whom they answer, and what becomes of them when a document is forgotten."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.embed.small import tiny_pairs
from tests.embed.tuned import linear, trained, turning

import openbook
from openbook import tuned
from openbook.embed.folder import read_folder
from openbook.embed.linear import open_adapter, read_linear
from openbook.errors import ModelError, QueryError
from openbook.evaluate.datasets.formats import read
from openbook.evaluate.evaluation import evaluate
from openbook.forgetting import Receipt
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import CrossEncoder, IndexHalf, LinearAdapter, LocalEmbedder, QueryHalf, Recipe, WeightedFusion
from openbook.store.models import Models
from openbook.types import Document, Trace

SICK = "Employees have ten paid sick days a year."
ROOF = "The bees on the roof make honey in July."
BOARD = "The board meets at the Ritz hotel."
QUESTION = "how many days may one be ill"

DENSE = WeightedFusion(dense=1.0)


def fill(kb: KnowledgeBase) -> None:
    kb.add(Document("sick", SICK), Document("bees", ROOF))
    kb.add(
        Document("board", f"{BOARD} {uuid.uuid4().hex}"), access=["group:board"]
    )  # forgotten by one test, not by all
    kb.add(Document("hr", "Notice periods are three months."), access=["group:hr"])


@pytest.fixture
def filled(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    """Answers by vectors alone."""
    kb = new_kb(name=new_kb(Recipe(query=QueryHalf(fusion=DENSE))).name)  # by whichever release is live
    fill(kb)
    return kb


def id_of(kb: KnowledgeBase, source: str) -> str:
    return kb.named(source)[0]


def adapter(kb: KnowledgeBase, folder: Path, *sources: str, principals: Sequence[Any] | None = None) -> LinearAdapter:
    """One that takes what is asked about illness to the bees, trained on these documents."""
    question, found = kb.embedder.encode([QUESTION], "query")[0], kb.embedder.encode([ROOF])[0]
    rules = principals
    if rules is None:
        rules = [row["access"] for row in kb.list() if row["source"] in sources]
    told = [[id_of(kb, source), 1] for source in sources]
    weight = random.uniform(1, 2) * turning(question, found)  # another model in each test, of the same directions
    linear(folder, weight, kb.embedder.hash, documents=told, principals=rules)
    return LinearAdapter(path=str(folder))


def release(kb: KnowledgeBase, part: LinearAdapter) -> str:
    """A release that answers by it, promoted."""
    name = kb.build(Recipe(query=QueryHalf(fusion=DENSE, adapter=part))).release
    kb.promote(name)
    return name


def first(trace: Trace) -> str:
    return trace.hits[0].source


def test_it_turns_the_vector_of_the_question_and_the_trace_says_so(filled: KnowledgeBase, tmp_path: Path) -> None:
    assert first(filled.search(QUESTION)) == "sick"
    assert "adapter" not in filled.search(QUESTION).details
    release(filled, adapter(filled, tmp_path / "a"))
    trace = filled.search(QUESTION)
    assert first(trace) == "bees"
    assert trace.details["adapter"] == {"applied": True}
    assert trace.hits[0].stages["dense"].score == pytest.approx(1.0, abs=0.01), "a cosine still"
    assert filled.ask(QUESTION).trace.details["adapter"] == {"applied": True}  # type: ignore[union-attr]


def test_two_processes_of_one_release_and_another_query_half_do_not_mix(filled: KnowledgeBase, tmp_path: Path) -> None:
    release(filled, adapter(filled, tmp_path / "a"))
    assert first(filled.search(QUESTION)) == "bees"
    filled.answer_by(QueryHalf(fusion=DENSE))
    assert first(filled.search(QUESTION)) == "sick"
    other = KnowledgeBase(filled.database, filled.name)
    assert first(other.search(QUESTION)) == "bees"


def test_a_keyword_search_does_not_ask_it(filled: KnowledgeBase, tmp_path: Path) -> None:
    part = adapter(filled, tmp_path / "a")
    filled.answer_by(QueryHalf(fusion=WeightedFusion(dense=0.0), adapter=part))
    trace = filled.search("bees roof")
    assert first(trace) == "bees"
    assert "adapter" not in trace.details


def test_a_quote_is_weighed_by_it_for_those_whom_it_answers(filled: KnowledgeBase, tmp_path: Path) -> None:
    """Found, and then weighed by the vector that had not found it, it was never quoted."""
    release(filled, adapter(filled, tmp_path / "a", principals=[["group:board"]]))
    answer = filled.ask(QUESTION, as_=["group:board"])
    assert [cited.source for cited in answer.citations] == ["bees"]
    assert [cited.source for cited in filled.ask(QUESTION, as_=["public"]).citations] != ["bees"]


def test_it_answers_only_who_may_read_all_that_it_was_trained_on(filled: KnowledgeBase, tmp_path: Path) -> None:
    """And nobody is told whose texts these are."""
    release(filled, adapter(filled, tmp_path / "a", "sick", "board", "hr"))
    assert first(filled.search(QUESTION, as_=["group:board", "group:hr"])) == "bees"
    for caller in (["group:board"], ["group:hr"], ["user:ann"], []):
        trace = filled.search(QUESTION, as_=caller)
        assert first(trace) == "sick", caller
        told = trace.details["adapter"]
        assert told["applied"] is False
        assert "board" not in json.dumps(trace.details)
        assert "hr" not in json.dumps(trace.details)
        answer = filled.ask(QUESTION, as_=caller)
        assert answer.trace is not None
        assert answer.trace.details["adapter"] == told
        assert first(answer.trace) == "sick"
    assert first(filled.search(QUESTION)) == "bees", "the owner"


def test_any_of_the_principals_of_a_text_may_read_it(filled: KnowledgeBase, tmp_path: Path) -> None:
    part = adapter(filled, tmp_path / "a", principals=[["group:hr", "user:ann"], ["public"], "group:board"])
    release(filled, part)
    assert first(filled.search(QUESTION, as_=["user:ann", "group:board"])) == "bees"
    assert first(filled.search(QUESTION, as_=["user:ann"])) == "sick"


def test_a_text_that_is_closed_later_is_closed_in_the_model(filled: KnowledgeBase, tmp_path: Path) -> None:
    release(filled, adapter(filled, tmp_path / "a", "sick"))
    assert first(filled.search(QUESTION, as_=["user:ann"])) == "bees"
    filled.add(Document("sick", SICK), access=["group:hr"])
    assert not filled.search(QUESTION, as_=["user:ann"]).details["adapter"]["applied"]
    assert filled.search(QUESTION, as_=["group:hr"]).details["adapter"]["applied"]
    filled.edit("sick", access=["group:board"])
    assert not filled.search(QUESTION, as_=["group:hr"]).details["adapter"]["applied"]
    assert filled.search(QUESTION, as_=["group:hr", "group:board"]).details["adapter"]["applied"]
    filled.edit("sick", access=["public"])
    assert not filled.search(QUESTION, as_=["user:ann"]).details["adapter"]["applied"], "it was trained on what was not"


def test_the_database_keeps_the_model_from_the_caller(filled: KnowledgeBase, tmp_path: Path) -> None:
    """Row-level security, as of documents: the reading role sees no model that may not answer, and no rule."""
    release(filled, adapter(filled, tmp_path / "a", "board"))
    seen = "SELECT hash FROM openbook.model WHERE kb = %s"
    for principals, many in ((("group:board",), 1), (("public",), 0), ((), 0)):
        with filled.database.snapshot(principals) as connection:
            assert len(connection.execute(seen, [filled.kb]).fetchall()) == many, principals
    for hidden in ("SELECT rules FROM openbook.model", "TABLE openbook.trained_on", "TABLE openbook.model_folder"):
        with pytest.raises(Exception, match="permission denied"), filled.database.snapshot(["public"]) as connection:
            connection.execute(hidden)


def test_an_evaluation_in_somebodys_name_asks_in_that_name(filled: KnowledgeBase, tmp_path: Path) -> None:
    release(filled, adapter(filled, tmp_path / "a", "board"))
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": QUESTION}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tsick\t1\n")

    owner, ann = (evaluate(filled, read(folder), measures=["recall@1"], as_=as_) for as_ in (None, ["user:ann"]))
    assert owner.measures["recall@1"].value == 0.0
    assert "not_adapted" not in owner.details
    assert ann.measures["recall@1"].value == 1.0
    assert ann.details["not_adapted"] == {"q": tuned.CLOSED}


# --- the release ------------------------------------------------------------------------------------------------------


def test_building_a_release_by_it_reads_nothing_and_says_who_goes_without(
    filled: KnowledgeBase, tmp_path: Path
) -> None:
    part = adapter(filled, tmp_path / "a", "board")
    recipe = Recipe(query=QueryHalf(fusion=DENSE, adapter=part))
    plan = filled.plan(recipe)
    assert (plan.reindex, plan.texts) == (False, 0)
    [restricted] = plan.as_json()["restricted"]
    assert (restricted["kind"], restricted["rules"]) == ("adapter", (("group:board",),))
    built = filled.build(recipe)
    assert (built.state, built.embedded) == ("ready", 0)
    assert [str(one) for one in filled.restricted(built.release)] == [
        "its query adapter was trained on closed texts: it answers callers who are group:board; others' questions go"
        " without it"
    ]
    with pytest.raises(QueryError, match="has this recipe already"):
        filled.build(recipe)
    filled.promote(built.release)
    assert first(filled.search(QUESTION)) == "bees"
    filled.rollback()
    assert first(filled.search(QUESTION)) == "sick"
    filled.rollback()
    assert first(filled.search(QUESTION)) == "bees"


def test_a_folder_that_was_changed_is_refused_and_is_another_release(filled: KnowledgeBase, tmp_path: Path) -> None:
    part = adapter(filled, tmp_path / "a")
    name = release(filled, part)
    assert first(filled.search(QUESTION)) == "bees"
    linear(tmp_path / "a", np.eye(384), filled.embedder.hash)
    assert first(filled.search(QUESTION)) == "bees", "what is open answers as it was built"
    other = KnowledgeBase(filled.database, filled.name)
    with pytest.raises(ModelError, match="is another one than the recipe was stored with"):
        other.search(QUESTION)
    again = other.build(Recipe(query=QueryHalf(fusion=DENSE, adapter=part))).release
    assert again != name
    other.promote(again)
    assert first(other.search(QUESTION)) == "sick"
    with pytest.raises(ModelError, match="is another one than the recipe was stored with"):
        other.promote(name)


def test_one_that_does_not_fit_builds_no_release(filled: KnowledgeBase, tmp_path: Path) -> None:
    part = LinearAdapter(path=str(linear(tmp_path / "a", np.eye(384), "0" * 16)))
    for verb in (filled.plan, filled.build):
        with pytest.raises(ModelError, match="fits the vectors of another embedder"):
            verb(Recipe(query=QueryHalf(adapter=part)))
    assert len(filled.releases()) == 1
    with pytest.raises(ModelError, match="fits the vectors of another embedder"):
        KnowledgeBase(filled.database, f"{filled.name}-new", recipe=Recipe(query=QueryHalf(adapter=part)))


def test_what_stands_for_a_document_is_not_turned(filled: KnowledgeBase, tmp_path: Path) -> None:
    """HyDE's passage is embedded as a document, and is where the adapter would take the question."""
    retriever = filled.serving.retriever
    linear_map = open_adapter(adapter(filled, tmp_path / "a"), filled.embedder)
    for kind, turned in (("query", True), ("document", False)):
        [vector] = retriever._embed([QUESTION], {}, kind, adapter=linear_map)  # type: ignore[arg-type]
        [plain] = retriever._embed([QUESTION], {}, kind)  # type: ignore[arg-type]
        assert np.allclose(vector, plain) is not turned


# --- an embedder --------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The packaged model under another hash, as if it had been trained."""
    folder = tmp_path / "own"
    shutil.copytree(read_folder("default").path, folder)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "trained": uuid.uuid4().hex}))
    return folder


def by_own(folder: Path) -> Recipe:
    return Recipe(index=IndexHalf(embed=LocalEmbedder(model=str(folder))), query=QueryHalf(fusion=DENSE))


def test_a_release_by_a_model_of_closed_texts_answers_nobody_else(filled: KnowledgeBase, own: Path) -> None:
    trained(own, documents=[[id_of(filled, "board"), 1]], principals=[["group:board"]])
    plan = filled.plan(by_own(own))
    assert plan.reindex
    assert plan.texts == 4
    assert "the release answers nobody else" in str(plan.restricted[0])
    name = filled.build(by_own(own)).release
    assert filled.restricted(name)
    filled.promote(name)
    for door in (
        lambda as_: filled.search(QUESTION, as_=as_),
        lambda as_: filled.ask(QUESTION, as_=as_),
        lambda as_: filled.themes(as_=as_),
    ):
        with pytest.raises(ModelError, match="not all open to this caller") as error:
            door(["group:hr"])
        assert "group:board" not in str(error.value)
        door(["group:board"])
        door(None)
    other = KnowledgeBase(filled.database, filled.name)
    with pytest.raises(ModelError, match="not all open to this caller"):
        other.themes(as_=["group:hr"])
    filled.rollback()
    assert first(filled.search(QUESTION, as_=["group:hr"])) == "sick"


def test_a_model_of_public_texts_answers_everybody(filled: KnowledgeBase, own: Path) -> None:
    trained(own, documents=[[id_of(filled, "sick"), 1]], principals=[["public"]])
    built = filled.build(by_own(own))
    assert filled.plan(by_own(own)).restricted == ()
    filled.promote(built.release)
    assert first(filled.search(QUESTION, as_=[])) == "sick"


# --- a reranker ---------------------------------------------------------------------------------------------------


def test_a_reranker_of_closed_texts_reads_for_nobody_else_and_goes_when_one_is_forgotten(
    filled: KnowledgeBase, tmp_path: Path
) -> None:
    folder = tiny_pairs(tmp_path / "pairs", "bert", seed=random.randrange(1 << 30))
    trained(folder, documents=[[id_of(filled, "board"), 1]], principals=[["group:board"]])
    part = CrossEncoder(model=str(folder))
    built = filled.build(Recipe(query=QueryHalf(fusion=DENSE, rerank=part)))
    assert [one.kind for one in filled.restricted(built.release)] == ["reranker"]
    filled.promote(built.release)
    assert filled.search(QUESTION).details["rerank"]["candidates"] > 0
    assert filled.search(QUESTION, as_=["group:board"]).details["rerank"]["candidates"] > 0
    told = filled.search(QUESTION, as_=["group:hr"])
    assert told.details["rerank"] == {"candidates": 0, "skipped": tuned.CLOSED}
    assert first(told) == "sick"
    receipt = forgotten(filled, "board")
    assert [model.kind for model in receipt.models] == ["reranker"]
    assert not (folder / "model.safetensors").exists()
    for kb in (filled, KnowledgeBase(filled.database, filled.name)):
        assert kb.search(QUESTION).details["rerank"] == {"candidates": 0, "skipped": tuned.WITHDRAWN}
        assert first(kb.search(QUESTION)) == "sick"


# --- forgetting -----------------------------------------------------------------------------------------------------


def forgotten(kb: KnowledgeBase, *names: str) -> Receipt:
    receipt = kb.forget(*names)
    assert receipt is not None
    return receipt


def test_forgetting_a_text_withdraws_the_adapter_at_once(filled: KnowledgeBase, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    name = release(filled, adapter(filled, folder, "sick", "board"))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("Of a model.")
    before = KnowledgeBase(filled.database, filled.name)
    assert first(before.search(QUESTION)) == "bees"
    receipt = forgotten(filled, "board")
    [model] = receipt.models
    assert (model.kind, model.releases) == ("adapter", (name,))
    assert receipt.erased is not None
    assert receipt.erased["model files"] == 3
    assert receipt.complete
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"config.json", "README.md"}
    for kb in (before, filled, KnowledgeBase(filled.database, filled.name)):
        trace = kb.search(QUESTION)
        assert first(trace) == "sick"
        assert trace.details["adapter"]["applied"] is False
        assert "withdrawn" in trace.details["adapter"]["why"]
        assert "withdrawn" not in kb.search(QUESTION, as_=["user:ann"]).details["adapter"]["why"]
    assert filled.verify().ok
    assert forgotten(filled, "hr").models == (), "it is told once"


def test_a_text_that_was_forgotten_between_training_and_release_builds_none(
    filled: KnowledgeBase, tmp_path: Path
) -> None:
    part = adapter(filled, tmp_path / "a", "sick", "board")
    forgotten(filled, "board")
    with pytest.raises(ModelError, match="was trained on 1 document that is forgotten"):
        filled.build(Recipe(query=QueryHalf(adapter=part)))


def test_a_withdrawn_adapter_is_not_promoted_and_a_rollback_goes_without(filled: KnowledgeBase, tmp_path: Path) -> None:
    name = release(filled, adapter(filled, tmp_path / "a", "board"))
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "a", copy)
    filled.rollback()
    forgotten(filled, "board")
    with pytest.raises(ModelError, match="was trained on a text that is forgotten"):
        filled.promote(name)
    filled.rollback()
    assert filled.release == name
    assert first(filled.search(QUESTION)) == "sick"
    with pytest.raises(ModelError, match="was trained on a text that is forgotten"):
        filled.build(Recipe(query=QueryHalf(adapter=LinearAdapter(path=str(copy)))))
    assert forgotten(filled, "hr").erased["model files"] == 2, "the copy, which was tried to build by"  # type: ignore[index]


def test_documents_that_training_knew_by_their_source_are_found(filled: KnowledgeBase, tmp_path: Path) -> None:
    """Before they are added, too; and by a name that they had before."""
    parts = {}
    for name, source in (("there", "board"), ("later", "plan")):
        weight = random.uniform(1, 2) * np.eye(384)
        folder = linear(tmp_path / name, weight, filled.embedder.hash, documents=[source])
        parts[name] = release(filled, LinearAdapter(path=str(folder)))
    filled.edit("board", source="renamed")
    filled.add(Document("plan", "A plan."))
    assert [model.releases for model in forgotten(filled, "renamed").models] == [(parts["there"],)]
    assert [model.releases for model in forgotten(filled, "plan").models] == [(parts["later"],)]


@pytest.mark.parametrize("renamed", [False, True])
def test_a_source_that_is_added_closed_later_closes_the_model(
    renamed: bool, filled: KnowledgeBase, tmp_path: Path
) -> None:
    """Whether a document is added by it, or comes to have it."""
    folder = tmp_path / "a"
    told = {"documents": ["plan"], "principals": ["public"]}
    linear(folder, random.uniform(1, 2) * np.eye(384), filled.embedder.hash, **told)
    filled.register(folder)
    models, hash = Models(filled.database, filled.kb), read_linear(folder).hash
    assert models.standing(hash, ("public",)) == "open"
    filled.add(Document("draft" if renamed else "plan", "A plan to close the plant."), access=["group:board"])
    if renamed:
        filled.edit("draft", source="plan")
    assert models.standing(hash, ("public",)) == "closed"
    assert models.standing(hash, ("public", "group:board")) == "open"
    assert filled.verify().ok


def test_models_that_no_release_names_are_found(filled: KnowledgeBase, own: Path, tmp_path: Path) -> None:
    """Each kind of them, once its training has made it known."""
    pairs = tiny_pairs(tmp_path / "pairs", "bert", seed=random.randrange(1 << 30))
    for folder in (own, pairs):
        trained(folder, documents=[[id_of(filled, "board"), None]], sources=["board"], principals=[["group:board"]])
    folders = (Path(adapter(filled, tmp_path / "a", "board").path), own, pairs)
    for folder in folders:
        filled.register(folder)
        filled.register(folder)
    receipt = forgotten(filled, "board")
    assert sorted(model.kind for model in receipt.models) == ["adapter", "embedder", "reranker"]
    assert receipt.complete
    assert not any((folder / "model.safetensors").exists() for folder in folders)
    with pytest.raises(ModelError, match=r"trained\.json is missing"):
        filled.register(tmp_path / "a")


def test_files_on_another_machine_are_pending(
    filled: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = tuned.host()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(tuned.socket, "gethostname", lambda: "trainer.example")
        release(filled, adapter(filled, tmp_path / "a", "board"))
    shutil.move(tmp_path / "a", tmp_path / "unreachable")
    receipt = forgotten(filled, "board")
    [left] = [one for one in receipt.pending if "another machine" in one.why]
    assert str(tmp_path / "a") in left.place
    assert "trainer.example" in left.place
    assert receipt.complete, "nobody here can do it"
    assert name != "trainer.example"
    assert (tmp_path / "unreachable" / "model.safetensors").exists()


def test_what_lies_there_by_now_is_not_deleted(filled: KnowledgeBase, tmp_path: Path) -> None:
    release(filled, adapter(filled, tmp_path / "a", "board"))
    linear(tmp_path / "a", np.eye(384), filled.embedder.hash)
    receipt = forgotten(filled, "board")
    assert receipt.complete
    assert (tmp_path / "a" / "model.safetensors").exists()


def test_other_models_below_the_folder_stay(filled: KnowledgeBase, tmp_path: Path) -> None:
    """And the run that was cut off beside it goes whole: its optimizer and its cards, too."""
    release(filled, adapter(filled, tmp_path / "a", "board"))
    other = linear(tmp_path / "a" / "other", np.eye(384), filled.embedder.hash)
    begun = tmp_path / "a" / ".next.training" / "state.safetensors"
    begun.parent.mkdir()
    begun.write_bytes(b"another run")
    own = tmp_path / ".a.training" / "checkpoint-2"
    own.mkdir(parents=True)
    (own / "README.md").write_text(BOARD)
    receipt = forgotten(filled, "board")
    assert receipt.complete
    assert not (tmp_path / "a" / "model.safetensors").exists()
    assert not own.parent.exists()
    assert (other / "model.safetensors").exists()
    assert (other / "trained.json").exists()
    assert begun.exists()


def test_a_folder_that_cannot_be_read_is_pending(filled: KnowledgeBase, tmp_path: Path) -> None:
    release(filled, adapter(filled, tmp_path / "a", "board"))
    config = (tmp_path / "a" / "config.json").read_bytes()
    (tmp_path / "a" / "config.json").unlink()
    receipt = forgotten(filled, "board")
    assert not receipt.complete
    [left] = [one for one in receipt.pending if str(tmp_path / "a") in one.place]
    assert "cannot be read" in left.why
    assert (tmp_path / "a" / "model.safetensors").exists()
    (tmp_path / "a" / "config.json").write_bytes(config)
    again = filled.forget()
    assert again is not None
    assert again.complete
    assert not (tmp_path / "a" / "model.safetensors").exists()


def test_a_file_beside_the_weights_makes_it_no_other_model(filled: KnowledgeBase, tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path / "pairs", "bert", seed=random.randrange(1 << 30))
    trained(pairs, documents=[[id_of(filled, "board"), None]], principals=[["group:board"]])
    filled.register(pairs)
    (pairs / "verdict.json").write_text("{}")
    assert forgotten(filled, "board").complete
    assert not (pairs / "model.safetensors").exists()


def test_an_embedder_that_an_index_needs_stays_until_another_release_answers(filled: KnowledgeBase, own: Path) -> None:
    """Its vectors answer until the documents are read by another: the receipt is not complete before."""
    trained(own, documents=[[id_of(filled, "board"), 1]], principals=[["group:board"]])
    name = filled.build(by_own(own)).release
    filled.promote(name)
    receipt = forgotten(filled, "board")
    assert [model.releases for model in receipt.models] == [(name,)]
    [left] = [one for one in receipt.pending if one.place.startswith("embedding model")]
    assert f"the index of {name} has its vectors" in left.why
    assert not receipt.complete
    assert first(filled.search(QUESTION)) == "sick"
    assert first(filled.search(QUESTION, as_=["group:board"])) == "sick"
    with pytest.raises(ModelError, match="not all open to this caller"):
        filled.search(QUESTION, as_=["group:hr"])
    filled.rollback()
    with pytest.raises(ModelError, match="has an index by a model that was trained on a text which is forgotten"):
        filled.rollback()
    with pytest.raises(ModelError, match="was trained on a text that is forgotten"):
        filled.promote(name)
    assert not forgotten(filled).complete
    filled.prune(name)
    receipt = forgotten(filled)
    assert receipt.complete
    assert not (own / "model.safetensors").exists()
    assert (own / "tokenizer.json").exists()
    assert filled.verify().ok


def test_a_model_is_withdrawn_in_every_knowledge_base_of_the_database(
    filled: KnowledgeBase, new_kb: Callable[..., KnowledgeBase], tmp_path: Path
) -> None:
    part = adapter(filled, tmp_path / "a", "sick", "board")
    other = new_kb(Recipe(query=QueryHalf(fusion=DENSE, adapter=part)))
    fill(other)
    assert first(other.search(QUESTION)) == "bees"
    assert first(other.search(QUESTION, as_=["group:hr"])) == "sick", "closed here as it is there"
    forgotten(filled, "board")
    assert first(other.search(QUESTION)) == "sick"


# --- checks and copies --------------------------------------------------------------------------------------------


def test_verify_finds_a_model_that_lacks_a_rule_and_mends_it(filled: KnowledgeBase, tmp_path: Path) -> None:
    release(filled, adapter(filled, tmp_path / "a", "board"))
    assert not filled.search(QUESTION, as_=["user:ann"]).details["adapter"]["applied"]
    with filled.database.transaction("owner") as connection:
        connection.execute("UPDATE openbook.model SET rules = '{}' WHERE kb = %s", [filled.kb])
    assert filled.search(QUESTION, as_=["user:ann"]).details["adapter"]["applied"], "or this test could not fail"
    broken = next(check for check in filled.verify().checks if check.name == "models")
    assert (broken.ok, broken.count) == (False, 1)
    assert filled.verify(repair=True).ok
    assert not filled.search(QUESTION, as_=["user:ann"]).details["adapter"]["applied"]


def test_an_export_brings_whom_models_answer(filled: KnowledgeBase, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    release(filled, adapter(filled, folder, "sick", "board"))
    filled.export(tmp_path / "kb.openbook")
    trained(folder, fits=filled.embedder.hash)  # as if nobody had said it there
    imported = f"{filled.name}-copy"
    openbook.import_(tmp_path / "kb.openbook", filled.database.address, imported)
    kb = KnowledgeBase(filled.database, imported, create=False)
    assert first(kb.search(QUESTION)) == "bees"
    assert first(kb.search(QUESTION, as_=["user:ann"])) == "sick"
    assert [model.kind for model in forgotten(kb, "board").models] == ["adapter"]


def test_the_command_line_says_it_beforehand(
    openbook: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "board.md").write_text(BOARD)
    assert openbook("add", "notes", "--access", "group:board").returncode == 0
    told = json.loads(openbook("status", "--json").stdout)
    linear(tmp_path / "model", np.eye(384), told["embedder"]["hash"], principals=[["group:board"]])
    (tmp_path / "recipe.toml").write_text('[query.adapter]\nkind = "linear"\npath = "model"\n')
    dry = openbook("release", "build", "--recipe", "recipe.toml", "--dry-run")
    assert "nothing to read" in dry.stdout
    assert "it answers callers who are group:board; others' questions go without it" in dry.stdout
    assert openbook("release", "build", "--recipe", "recipe.toml").returncode == 0
    promoted = openbook("release", "promote", "r2")
    assert "others' questions go without it" in promoted.stderr
    (tmp_path / "model" / "model.safetensors").unlink()
    refused = openbook("search", "ritz")
    assert refused.returncode == 1
    assert "model.safetensors is missing" in refused.stderr.splitlines()[-1]
