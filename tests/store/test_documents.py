"""Documents, versions, vectors and the change feed commit together, and readers see only what is open to them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from openbook.errors import OpenbookError
from openbook.knowledge_base import KnowledgeBase
from openbook.store import writing
from openbook.store.database import Database
from openbook.types import PUBLIC, Document, Heading


def note(n: int, text: str = "", **more: object) -> Document:
    return Document(source=f"note-{n}", text=text or f"Note number {n} is about topic{n}.", title=f"Note {n}", **more)  # type: ignore[arg-type]


def sources(kb: KnowledgeBase, question: str, **more: object) -> list[str]:
    return [hit.source for hit in kb.search(question, **more).hits]  # type: ignore[arg-type]


def test_a_document_comes_back_as_it_was_added(kb: KnowledgeBase) -> None:
    document = Document(
        source="file:///a%0Ab.md",
        text="# Küche\n\n厨房 🍳 rules.\n",
        title="Küche",
        metadata={"year": 2024, "tag": ("a", "b"), "draft": False, "ratio": 0.5},
        access=("group:hr", "user:ann"),
        headings=(Heading(0, 7, 1, "Küche"),),
        pages=(0, 9),
    )
    kb.add(document)
    assert kb.show("file:///a%0Ab.md") == document


def test_an_unchanged_document_is_not_written_again(kb: KnowledgeBase) -> None:
    kb.add(note(1))
    again = kb.add(note(1))
    assert (again.added, again.updated, again.unchanged, again.embedded) == (0, 0, 1, 0)
    assert kb.list()[0]["version"] == 1


def test_an_edit_makes_a_version_and_the_former_one_stays_readable(kb: KnowledgeBase) -> None:
    kb.add(note(1, "The fee is 10 euros."))
    kb.add(note(1, "The fee is 20 euros."))
    assert kb.show("note-1").text == "The fee is 20 euros."
    assert kb.show("note-1", version=1).text == "The fee is 10 euros."
    assert [hit.chunk.text for hit in kb.search("fee").hits] == ["The fee is 20 euros."]


def test_metadata_and_access_change_without_embedding(kb: KnowledgeBase) -> None:
    kb.add(note(1, metadata={"year": 2020}))
    changed = kb.add(note(1, metadata={"year": 2021}, access=("group:hr",)))
    assert (changed.updated, changed.embedded, changed.chunks) == (1, 0, 0)
    assert kb.list()[0]["version"] == 1
    assert sources(kb, "topic1", filter="year = 2021") == ["note-1"]
    assert sources(kb, "topic1", filter="year = 2020") == []
    assert sources(kb, "topic1", as_=[]) == []
    assert sources(kb, "topic1", as_=["group:hr"]) == ["note-1"]


def test_text_that_was_embedded_once_is_not_embedded_again(
    kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]
) -> None:
    kb.add(note(77))
    assert new_kb().add(note(77)).embedded == 0


def test_a_removed_document_is_found_by_neither_side_and_can_be_added_again(kb: KnowledgeBase) -> None:
    kb.add(note(1), note(2))
    assert kb.remove("note-1") == 1
    assert sources(kb, "topic1 note number") == ["note-2"]
    assert kb.status()["documents"] == 1
    assert kb.add(note(1)).added == 1
    assert sources(kb, "topic1")[0] == "note-1"


def test_a_failed_write_leaves_nothing_behind(kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    kb.add(note(1))
    before = kb.index.count(None)

    def fail(*_: object) -> None:
        raise psycopg.errors.DiskFull("no space")

    monkeypatch.setattr(writing, "feed", fail)
    with pytest.raises(OpenbookError, match="nothing was half-written"):
        kb.add(note(1, "changed"), note(2))
    monkeypatch.undo()
    assert kb.show("note-1").text == note(1).text
    assert kb.index.count(None) == before
    assert sources(kb, "changed topic2") == ["note-1"]


def test_another_handle_sees_an_edit_at_its_next_search(kb: KnowledgeBase, database: Database) -> None:
    other = KnowledgeBase(database, kb.name)
    kb.add(note(1, "the zebra protocol"))
    assert sources(other, "zebra protocol") == ["note-1"]
    kb.add(note(1, "the giraffe protocol"))
    hit = other.search("giraffe protocol").hits[0]
    assert hit.chunk.text == "the giraffe protocol"
    assert {"dense", "keyword"} <= hit.stages.keys()
    assert "keyword" not in other.search("zebra").hits[0].stages


def test_writers_of_the_same_documents_neither_fail_nor_lose(kb: KnowledgeBase, database: Database) -> None:
    """Eight threads write the same ten documents in opposite orders, each its own text."""
    failures: list[BaseException] = []

    def write(worker: int) -> None:
        try:
            mine = KnowledgeBase(database, kb.name)
            documents = [note(n, f"Text {n} by worker {worker}.") for n in range(10)]
            mine.add(*(documents if worker % 2 else reversed(documents)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert kb.status()["documents"] == 10
    for row in kb.list():
        assert row["version"] == 8, "every write is a version: none was lost"
    hits = kb.search("Text by worker", 100).hits
    assert len(hits) == 10, "no document has chunks of two versions"
    for hit in hits:
        assert kb.show(hit.source).text == hit.chunk.text


class TestAccess:
    @pytest.fixture
    def closed(self, kb: KnowledgeBase) -> KnowledgeBase:
        kb.add(note(1), note(2, access=("group:hr",)), note(3, access=("user:ann", "user:bob")))
        return kb

    @pytest.mark.parametrize(
        ("principals", "seen"),
        [
            (None, {"note-1", "note-2", "note-3"}),
            ([], {"note-1"}),
            (["group:hr"], {"note-1", "note-2"}),
            (["user:bob"], {"note-1", "note-3"}),
            (["user:carl"], {"note-1"}),
            (["group:hr,user:ann"], {"note-1"}),
            (['{"group:hr"}'], {"note-1"}),
        ],
    )
    def test_everything_that_reads_shows_the_same(
        self, closed: KnowledgeBase, principals: list[str] | None, seen: set[str]
    ) -> None:
        assert set(sources(closed, "note number topic2 topic3", as_=principals)) == seen
        assert {row["source"] for row in closed.list(as_=principals)} == seen
        assert closed.status(as_=principals)["documents"] == closed.status(as_=principals)["chunks"] == len(seen)
        for n in (1, 2, 3):
            if f"note-{n}" in seen:
                assert closed.show(f"note-{n}", as_=principals).title == f"Note {n}"
            else:
                with pytest.raises(OpenbookError, match="no such document"):
                    closed.show(f"note-{n}", as_=principals)

    def test_a_trace_shows_no_text_that_its_reader_may_not_see(self, closed: KnowledgeBase) -> None:
        asked = closed.search("topic2", as_=["group:hr"])
        assert "topic2" in str(closed.trace(asked.id, as_=["group:hr"])["hits"])
        with pytest.raises(OpenbookError, match="no such trace"):
            closed.trace(asked.id, as_=[])
        with pytest.raises(OpenbookError, match="no such trace"):
            closed.trace(closed.search("topic2").id, as_=["group:hr"])

    def test_the_reader_sees_nothing_when_nobody_is_set(self, closed: KnowledgeBase, database: Database) -> None:
        with database.transaction("reader") as connection:
            for table in ("document", "version", "attribute", "access_set", f"chunk_{closed.index.id}", "trace"):
                assert connection.execute(f"SELECT count(*) FROM openbook.{table}").fetchone() == (0,), table

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE openbook.document SET removed = NULL",
            "INSERT INTO openbook.access_set (kb, principals) VALUES (1, '{public}')",
            "SELECT * FROM openbook.setting",
            "SELECT * FROM openbook.vector",
            "SET ROLE postgres",
            "ALTER TABLE openbook.document DISABLE ROW LEVEL SECURITY",
        ],
    )
    def test_the_reader_can_do_nothing_else(self, closed: KnowledgeBase, database: Database, statement: str) -> None:
        with pytest.raises(OpenbookError), database.transaction("reader") as connection:
            connection.execute(statement)

    def test_public_is_what_everybody_has(self, closed: KnowledgeBase) -> None:
        assert sources(closed, "topic1", as_=[]) == sources(closed, "topic1", as_=[PUBLIC])

    def test_an_attribute_of_a_removed_document_is_nobodys(self, closed: KnowledgeBase, database: Database) -> None:
        """They stayed, open to whoever had been allowed to see the document."""
        id = closed.list()[0]["document"]
        with database.snapshot([PUBLIC]) as connection:
            count = "SELECT count(*) FROM openbook.attribute WHERE document = %s"
            assert connection.execute(count, [id]).fetchone() != (0,)
        closed.remove("note-1")
        with database.snapshot([PUBLIC]) as connection:
            assert connection.execute(count, [id]).fetchone() == (0,)


def test_metadata_change_without_writing_vectors(kb: KnowledgeBase, database: Database) -> None:
    """Every chunk was written and indexed anew."""
    kb.add(note(1))

    def rows() -> list[tuple[object, ...]]:
        with database.snapshot(None) as connection:
            return connection.execute(f"SELECT ctid::text, access FROM openbook.chunk_{kb.index.id}").fetchall()

    before = rows()
    assert kb.add(note(1, metadata={"year": 2021})).updated == 1
    assert rows() == before
    kb.add(note(1, access=("group:hr",)))
    assert rows() != before
