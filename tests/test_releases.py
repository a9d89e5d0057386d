"""Releases: built beside the live one, promoted in one step, rolled back without losing an edit."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.embed.loopback import Server
from tests.embed.small import tiny_bert

from openbook.errors import ModelError, NotFound, QueryError, StoreError
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    IndexHalf,
    LocalEmbedder,
    OpenAIEmbedder,
    QueryHalf,
    Recipe,
    RecursiveChunker,
    WeightedFusion,
)
from openbook.retrieve import Retriever
from openbook.store.database import Database
from openbook.types import Document

SMALLER = Recipe(index=IndexHalf(chunk=RecursiveChunker(size=60, overlap=0)))
QUERY = Recipe(query=QueryHalf(fusion=WeightedFusion()))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local model of 32 dimensions."""
    return tiny_bert(tmp_path_factory.mktemp("model") / "tiny")


def remote(server: Server, dimensions: int = 16) -> Recipe:
    part = OpenAIEmbedder(model="any", base_url=server.url, dimensions=dimensions)
    return Recipe(index=IndexHalf(embed=part), query=QueryHalf(fusion=WeightedFusion(dense=0.5)))


def filled(kb: KnowledgeBase, n: int = 12) -> KnowledgeBase:
    kb.add(*(note(i) for i in range(n)))
    return kb


def note(i: int, text: str = "", **more: Any) -> Document:
    text = text or f"Note {i} tells of subject{i}. It was written in year {2000 + i}, and says little else.\n"
    return Document(source=f"note-{i}", text=text, title=f"Note {i}", **more)


def found(kb: KnowledgeBase, question: str, **more: Any) -> list[str]:
    return [hit.source for hit in kb.search(question, 3, **more).hits]


def promoted(kb: KnowledgeBase, recipe: Recipe) -> str:
    built = kb.build(recipe)
    kb.promote(built.release)
    return built.release


def test_a_release_is_built_beside_the_live_one_and_promoted(kb: KnowledgeBase) -> None:
    filled(kb)
    built = kb.build(SMALLER)
    assert (built.release, built.state) == ("r2", "ready")
    assert kb.search("subject3").release == "r1", "nothing has changed yet"
    assert kb.promote("r2").live == "r2"
    trace = kb.search("subject3")
    assert trace.release == "r2"
    assert trace.hits[0].source == "note-3"
    assert max(len(chunk.text) for chunk in kb.chunks("note-3")) <= 60
    states = {release.name: release.state for release in kb.releases()}
    assert states == {"r1": "previous", "r2": "live"}


def test_another_query_half_needs_no_index(kb: KnowledgeBase) -> None:
    filled(kb)
    built = kb.build(QUERY)
    assert (built.index, built.embedded) == (kb.index.id, 0)
    kb.promote(built.release)
    assert kb.recipe.query.fusion.kind == "weighted"
    assert not kb.diff("r1", "r2").reindex
    assert next(path for path, _, _ in kb.diff("r1", "r2").changes).startswith("query.fusion")


def test_a_recipe_keeps_the_half_that_it_does_not_mention(kb: KnowledgeBase) -> None:
    filled(kb)
    promoted(kb, Recipe.from_toml("[index.chunk]\nkind = 'recursive'\nsize = 60\noverlap = 0"))
    promoted(kb, Recipe.from_toml("[query]\ncontext = 3"))
    assert kb.recipe.index.chunk.kind == "recursive"
    assert kb.recipe.query.context == 3


def test_rollback_keeps_edits_made_since_and_embeds_nothing(kb: KnowledgeBase, other_model: Path) -> None:
    filled(kb)
    promoted(kb, Recipe(index=IndexHalf(embed=LocalEmbedder(model=str(other_model)))))
    assert kb.index.dimension == 32
    kb.add(note(3, "Note 3 is about giraffes now."), note(99, "A new note about zebras."))
    kb.remove("note-5")
    kb.rollback()
    assert kb.search("giraffes").release == "r1"
    assert found(kb, "giraffes")[0] == "note-3"
    assert found(kb, "zebras")[0] == "note-99"
    assert "note-5" not in found(kb, "subject5")
    assert kb.index.dimension == 384
    again = kb.rollback()
    assert (again.live, again.previous) == ("r2", "r1")
    assert found(kb, "giraffes")[0] == "note-3"


def test_an_open_knowledge_base_follows_the_pointer(kb: KnowledgeBase, database: Database, other_model: Path) -> None:
    filled(kb)
    other = KnowledgeBase(database, kb.name)
    assert other.search("subject1").release == "r1"
    promoted(kb, Recipe(index=IndexHalf(embed=LocalEmbedder(model=str(other_model)))))
    assert other.search("subject1").release == "r2"
    assert other.ask("What does note 1 tell of?").trace is not None
    assert other.status()["embedder"]["dimension"] == 32
    kb.rollback()
    other.add(note(50, "All about okapis."))
    assert found(kb, "okapis")[0] == "note-50"
    other.traces.close()


def test_after_a_rollback_no_question_waits_for_a_model_that_was_open(
    kb: KnowledgeBase, database: Database, other_model: Path
) -> None:
    """It was opened anew by every process that only asks: questions took seconds on a busy machine."""
    filled(kb)
    asking = KnowledgeBase(database, kb.name)
    found(asking, "subject3")
    model = asking.embedder
    name = promoted(kb, Recipe(index=IndexHalf(embed=LocalEmbedder(model=str(other_model)))))
    assert asking.search("subject3").release == name
    kb.rollback()
    assert asking.search("subject3").release == "r1"
    assert asking.embedder is model


def test_a_pinned_release_answers_whether_or_not_it_is_live(kb: KnowledgeBase, database: Database) -> None:
    filled(kb)
    kb.build(SMALLER)
    pinned = KnowledgeBase(database, kb.name, release="r2")
    assert pinned.search("subject1", record=False).release == "r2"
    kb.add(note(70, "All about tapirs."))
    assert found(pinned, "tapirs", record=False)[0] == "note-70"
    pinned.add(note(71, "All about quaggas."))
    assert found(kb, "quaggas")[0] == "note-71"


def test_edits_while_a_candidate_is_built_are_in_it(kb: KnowledgeBase) -> None:
    filled(kb)
    edited: list[int] = []

    def edit(_: Any) -> None:
        if not edited:
            edited.append(1)
            kb.add(note(2, "Note 2 is about giraffes now.", access=("group:zoo",)), note(98, "A note about zebras."))
            kb.remove("note-4")

    kb.build(SMALLER, progress=edit)
    kb.promote("r2")
    assert edited
    assert found(kb, "giraffes")[0] == "note-2"
    assert found(kb, "zebras")[0] == "note-98"
    assert "note-4" not in found(kb, "subject4")
    assert "note-2" not in found(kb, "giraffes", as_=["group:hr"])


def test_a_writer_that_does_not_know_the_candidate_leaves_it_behind_not_wrong(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(kb)
    known = kb.live.readers()
    kb.build(SMALLER)
    monkeypatch.setattr(kb.live, "readers", lambda: known)
    kb.add(note(2, "Note 2 is about giraffes now."))
    monkeypatch.undo()
    assert kb.behind() == {"r1": 0, "r2": 1}
    kb.promote("r2")
    assert found(kb, "giraffes")[0] == "note-2"
    assert kb.behind() == {"r1": 0, "r2": 0}


def test_a_release_promoted_while_something_is_added_gets_it(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read for the former live index alone is read again for the new one."""
    filled(kb)
    known = kb.live.readers()
    kb.build(SMALLER)
    kb.promote("r2")
    first = [known]
    readers = kb.live.readers
    monkeypatch.setattr(kb.live, "readers", lambda: first.pop() if first else readers())
    kb.add(note(2, "Note 2 is about giraffes now."))
    assert found(kb, "giraffes")[0] == "note-2"
    assert kb.behind() == {"r1": 0, "r2": 0}


def test_a_build_that_was_stopped_goes_on_where_it_was(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    from openbook.store import writing as room

    monkeypatch.setattr(room, "TOGETHER", 200)
    filled(kb)

    def stop(at: Any) -> None:
        if at.documents >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kb.build(remote(server), progress=stop)
    assert kb.show_release("r2").state == "building"
    with pytest.raises(QueryError, match="is not whole yet"):
        kb.promote("r2")
    with pytest.raises(QueryError, match="is not whole yet"):
        KnowledgeBase(kb.database, kb.name, release="r2")
    seen = []
    built = kb.build(remote(server), progress=seen.append)
    assert built.release == "r2"
    assert seen[0].of_documents < 12
    assert built.embedded < 12
    kb.promote("r2")
    assert found(kb, "subject7")[0] == "note-7"


def test_edits_go_on_while_the_previous_index_cannot_be_reached(kb: KnowledgeBase, server: Server) -> None:
    filled(kb)
    promoted(kb, remote(server))
    kb.rollback()
    server.plan[:] = [(401, {}, {"error": {"message": "no"}})] * 9
    kb.add(note(2, "Note 2 is about giraffes now."))
    assert found(kb, "giraffes")[0] == "note-2"
    assert kb.status()["rollback"] == {"release": "r2", "behind": 1}
    with pytest.raises(ModelError, match="1 documents are not in the index of r2"):
        kb.rollback()
    assert kb.search("giraffes").release == "r1"
    server.plan.clear()
    kb.rollback()
    assert kb.search("giraffes").release == "r2"
    assert found(kb, "giraffes")[0] == "note-2"


def test_what_it_takes_is_told_before(kb: KnowledgeBase, server: Server) -> None:
    filled(kb)
    plan = kb.plan(remote(server, dimensions=17))
    assert (plan.documents, plan.texts, plan.host) == (12, 12, "127.0.0.1")
    assert plan.tokens > 12 * 10
    assert plan.cost is None, "nobody knows this model's price"
    assert all(len(asked["input"]) == 1 for asked in server.asked), "no document was sent"
    assert kb.releases()[-1].name == "r1"
    unseen = Recipe(index=IndexHalf(chunk=RecursiveChunker(size=47, overlap=0)))
    local = kb.plan(unseen)
    assert (local.cost, local.host) == (0.0, None)
    assert local.seconds > 0
    assert 0 < kb.build(unseen).embedded <= local.texts
    assert not kb.plan(unseen).reindex


def test_the_live_release_is_not_built_promoted_or_pruned(kb: KnowledgeBase) -> None:
    filled(kb)
    with pytest.raises(QueryError, match="answers by this recipe already"):
        kb.build(Recipe())
    with pytest.raises(QueryError, match="is the live release already"):
        kb.promote("r1")
    with pytest.raises(QueryError, match="is the live release"):
        kb.prune("r1")
    with pytest.raises(QueryError, match="no release answered before"):
        kb.rollback()
    with pytest.raises(NotFound):
        kb.promote("r7")
    with pytest.raises(NotFound):
        kb.prune("r7")
    assert [release.state for release in kb.releases()] == ["live"]


def test_a_release_that_is_ready_is_not_built_twice(kb: KnowledgeBase) -> None:
    filled(kb)
    kb.build(SMALLER)
    with pytest.raises(QueryError, match="openbook release promote r2") as error:
        kb.build(SMALLER)
    assert "has this recipe already" in str(error.value)


def test_prune_deletes_what_is_of_no_use_and_its_index(kb: KnowledgeBase, server: Server) -> None:
    filled(kb)
    kb.build(SMALLER)
    index = kb.show_release("r2").index
    promoted(kb, QUERY)
    assert kb.prune() == ["r2"]
    with kb.database.snapshot(None) as connection:
        gone = connection.execute("SELECT to_regclass(%s)", [f"openbook.chunk_{index}"]).fetchone()
    assert gone == (None,)
    assert {release.name: release.state for release in kb.releases()} == {"r1": "previous", "r3": "live"}
    assert kb.prune("r1") == ["r1"], "it shares the live one's index"
    assert found(kb, "subject3")[0] == "note-3"
    with pytest.raises(QueryError, match="no release answered before"):
        kb.rollback()
    assert kb.build(SMALLER).release == "r4", "a number is never used twice"


def test_a_pinned_release_that_was_pruned_is_told_in_one_line(kb: KnowledgeBase, database: Database) -> None:
    filled(kb)
    kb.build(SMALLER)
    pinned = KnowledgeBase(database, kb.name, release="r2")
    assert pinned.search("subject1", record=False).release == "r2"
    kb.prune("r2")
    for ask in (lambda: pinned.search("subject1"), lambda: pinned.search("subject1", as_=["g:x"])):
        with pytest.raises(NotFound, match=r"^r2: the release was pruned; openbook release list"):
            ask()
    for look in (pinned.status, lambda: pinned.chunks("note-1")):
        with pytest.raises(StoreError, match="the release was pruned; openbook release list"):
            look()


def test_a_question_whose_release_is_pruned_under_it_is_asked_of_the_live_one(
    kb: KnowledgeBase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(kb)
    asking = KnowledgeBase(database, kb.name)
    kb.build(SMALLER)
    rank, pruned = Retriever._rank, []

    def late(self: Retriever, *args: Any) -> Any:
        """The snapshot has seen that its release is live; then another one is promoted, and it goes."""
        if not pruned:
            kb.promote("r2")
            pruned.extend(kb.prune("r1"))
        return rank(self, *args)

    monkeypatch.setattr(Retriever, "_rank", late)
    assert asking.search("subject3", record=False).release == "r2"
    assert pruned == ["r1"]
    assert found(asking, "subject3")[0] == "note-3"


def test_a_promotion_can_ask_for_a_report_that_says_ship(kb: KnowledgeBase) -> None:
    filled(kb)
    kb.build(SMALLER)
    with pytest.raises(QueryError, match="no comparison speaks for it"):
        kb.promote("r2", require_report=True)
    for verdict in ("don't ship", "insufficient evidence"):
        kb.keep_report("r2", {"a": "r1", "b": "r2", "dataset": "d", "verdict": verdict})
        with pytest.raises(QueryError, match=verdict):
            kb.promote("r2", require_report=True)
    kb.keep_report("r2", {"a": "r0", "b": "r2", "dataset": "d", "verdict": "ship"})
    with pytest.raises(QueryError, match="was compared with r0, and r1 is live"):
        kb.promote("r2", require_report=True)
    kb.keep_report("r2", {"a": "r1", "b": "r2", "dataset": "d", "verdict": "ship"})
    assert kb.promote("r2", require_report=True).live == "r2"


def test_a_model_that_was_replaced_is_not_promoted(kb: KnowledgeBase, tmp_path: Path) -> None:
    filled(kb)
    folder = tiny_bert(tmp_path / "model", seed=1)
    recipe = Recipe(index=IndexHalf(embed=LocalEmbedder(model=str(folder))))
    kb.build(recipe)
    shutil.rmtree(folder)
    tiny_bert(folder, seed=2)
    with pytest.raises(StoreError, match="built with another model"):
        kb.promote("r2")
    assert kb.build(recipe).release == "r3", "of the same recipe, with the model that is there now"
    kb.promote("r3")
    assert kb.search("subject3").release == "r3"


def test_vectors_of_two_models_are_never_mixed(kb: KnowledgeBase, other_model: Path) -> None:
    from openbook.embed import open_embedder
    from openbook.retrieve import Retriever
    from openbook.store.index import Reading
    from openbook.store.writing import Write

    filled(kb)
    stranger = open_embedder(LocalEmbedder(model=str(other_model)))
    with pytest.raises(StoreError, match="do not belong to an index of model"):
        Retriever(kb.index, stranger, kb.recipe.query)
    read = Reading([], np.zeros((0, 384), np.float32), stranger.hash)
    with pytest.raises(StoreError, match="do not belong to an index of model"):
        kb.writer.write([Write(Document("d", ""), None, {kb.index.id: read})])


def test_questions_are_answered_while_releases_change(kb: KnowledgeBase, other_model: Path) -> None:
    filled(kb)
    kb.build(Recipe(index=IndexHalf(embed=LocalEmbedder(model=str(other_model)))))
    stop, failed, asked = threading.Event(), [], {"r1": 0, "r2": 0}

    def ask() -> None:
        while not stop.is_set():
            try:
                trace = kb.search("subject3", 3, record=False)
                asked[trace.release] += 1
                assert trace.hits[0].source == "note-3"
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    kb.promote("r2")
    for _ in range(10):
        kb.rollback()
        while not stop.is_set() and not failed and sum(asked.values()) % 7:
            pass
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert all(asked.values()), asked


def test_the_command_line(openbook: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for i in range(5):
        (tmp_path / "notes" / f"{i}.md").write_text(note(i).text)
    (tmp_path / "new.toml").write_text("[index.chunk]\nkind = 'recursive'\nsize = 60\noverlap = 0\n")
    openbook("add", "notes")
    plan = openbook("release", "build", "--recipe", "new.toml", "--dry-run", "--json")
    assert json.loads(plan.stdout)["documents"] == 5
    built = json.loads(openbook("release", "build", "--recipe", "new.toml", "--json").stdout)
    assert built.keys() >= {"release", "state", "index", "chunks", "embedded", "cost", "seconds"}
    assert built["chunks"]["done"] == built["chunks"]["total"] > 5
    promoted = json.loads(openbook("release", "promote", "r2", "--json").stdout)
    assert (promoted["live"], promoted["previous"]) == ("r2", "r1")
    listed = json.loads(openbook("release", "list", "--json").stdout)
    assert listed["live"] == "r2"
    assert [row["state"] for row in listed["releases"]] == ["previous", "live"]
    back = json.loads(openbook("release", "rollback", "--json").stdout)
    assert (back["live"], back["previous"]) == ("r1", "r2")
    assert back["seconds"] < 1
    diff = json.loads(openbook("release", "diff", "r1", "r2", "--json").stdout)
    assert diff["reindex"] is True
    assert {"path": "index.chunk.kind", "a": "structure", "b": "recursive"} in diff["changes"]
    assert json.loads(openbook("release", "prune", "r2", "--json").stdout) == {"removed": ["r2"]}
    bad = openbook("release", "prune", "r1")
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)
    (tmp_path / "bad.toml").write_text("[index.chunk]\nsise = 60\n")
    bad = openbook("release", "build", "--recipe", "bad.toml")
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)
    assert "sise" in bad.stderr


def test_texts_are_not_sent_to_a_server_unasked(openbook: Callable[..., Any], tmp_path: Path, server: Server) -> None:
    (tmp_path / "note.md").write_text(note(1).text)
    (tmp_path / "new.toml").write_text(
        f"[index.embed]\nkind = 'openai'\nmodel = 'any'\nbase_url = '{server.url}'\ndimensions = 16\n"
    )
    openbook("add", "note.md")
    refused = openbook("release", "build", "--recipe", "new.toml")
    assert refused.returncode == 2
    assert "say --yes" in refused.stderr
    assert all("subject1" not in text for asked in server.asked for text in asked["input"])
    assert openbook("release", "build", "--recipe", "new.toml", "--yes").returncode == 0
    assert any("subject1" in text for asked in server.asked for text in asked["input"])


def test_a_comparison_with_the_live_release_is_kept(openbook: Callable[..., Any], tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.md").write_text(note(i).text)
    (tmp_path / "new.toml").write_text("[query.fusion]\nkind = 'rrf'\n")
    questions = [{"_id": f"q{i}", "text": f"subject{i}", "evidence": f"subject{i}"} for i in range(5)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    assert openbook("add", *(f"{i}.md" for i in range(5))).returncode == 0
    assert openbook("release", "build", "--recipe", "new.toml").returncode == 0
    done = openbook("compare", "live", "r2", "data.jsonl", "--json")
    verdict = json.loads(done.stdout)["verdict"]
    report = json.loads(openbook("release", "show", "r2", "--json").stdout)["report"]
    assert (report["a"], report["b"], report["verdict"]) == ("r1", "r2", verdict)
    assert "subject1" not in json.dumps(report), "figures, and no text of a question"
    refused = openbook("release", "promote", "r2", "--require-report")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert verdict in refused.stderr
    assert json.loads(openbook("evaluate", "data.jsonl", "--release", "r2", "--json").stdout)["release"] == "r2"
    missing = openbook("evaluate", "data.jsonl", "--release", "r9")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)


def test_what_has_to_be_read_again_leaves_no_half_of_a_row(kb: KnowledgeBase) -> None:
    """A kill before the second reading left a document without a version."""
    from openbook.store.writing import Write

    written = kb.writer.write([Write(note(1), None, None)])
    assert [write.document.source for write in written.again] == ["note-1"]
    with kb.database.snapshot(None) as connection:
        left = connection.execute("SELECT count(*) FROM openbook.document WHERE kb = %s", [kb.kb]).fetchone()
    assert left == (0,)


def test_two_builders_of_one_release_do_no_harm(kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one replaced chunks of the index that answered by then, and no keyword view was told."""
    from openbook.store.writing import Writer

    filled(kb)
    catch_up, slower = Writer.catch_up, threading.Event()
    late: list[Any] = []

    def wait(self: Writer, *arguments: Any, **more: Any) -> int:
        if threading.current_thread().name == "slower":
            late.append(1)
            assert slower.wait(60)
        return catch_up(self, *arguments, **more)

    monkeypatch.setattr(Writer, "catch_up", wait)
    second = KnowledgeBase(kb.database, kb.name)
    thread = threading.Thread(target=lambda: second.build(SMALLER), name="slower")
    thread.start()
    while not late:
        thread.join(0.01)
    kb.build(SMALLER)
    kb.promote("r2")
    before = {hit.source: set(hit.stages) for hit in kb.search("subject3 note", 5).hits}
    slower.set()
    thread.join()
    assert {hit.source: set(hit.stages) for hit in kb.search("subject3 note", 5).hits} == before
    assert kb.verify().ok


def test_what_was_renamed_while_its_file_was_read_is_not_dropped(kb: KnowledgeBase) -> None:
    kb.add(note(1))
    kb.edit("note-1", source="one")
    assert kb.writer.remove(["note-1"], dropped=True) == 0
    assert kb.show("one").text


def test_a_recipe_that_says_nothing_of_questions_changes_no_answer(kb: KnowledgeBase, database: Database) -> None:
    filled(kb)
    promoted(kb, QUERY)
    again = KnowledgeBase(database, kb.name, recipe=Recipe.from_toml("[index]\nneighbours = 0.5"))
    assert again.recipe.query.fusion.kind == "weighted"


def test_a_name_that_no_database_holds_is_told_in_a_line(kb: KnowledgeBase) -> None:
    for name in ("r\0", "\udcff"):
        with pytest.raises(NotFound):
            kb.promote(name)


def test_prune_does_not_hold_up_questions_behind_a_long_reader(kb: KnowledgeBase) -> None:
    filled(kb)
    kb.build(SMALLER)
    with kb.database.snapshot(None) as connection:
        connection.execute("SELECT count(*) FROM openbook.document")
        pruning = threading.Thread(target=lambda: kb.prune("r2"))
        pruning.start()
        slowest = 0.0
        for _ in range(10):
            start = time.perf_counter()
            kb.search("subject3", record=False)
            slowest = max(slowest, time.perf_counter() - start)
    pruning.join()
    assert slowest < 2, "seconds; it was the five of the lock's timeout"
    assert [release.name for release in kb.releases()] == ["r1"]
