"""Adding files: only what changed is read, what vanished is dropped, and what failed is told."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from openbook.errors import QueryError, SourceError
from openbook.indexing import Added
from openbook.knowledge_base import KnowledgeBase
from openbook.store.database import Database
from openbook.store.files import FileState
from openbook.store.index import Reading
from openbook.store.writing import Current, Write, Writer, Written
from openbook.types import Document, Heading


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "handbook"
    for n in range(10):
        file = root / f"part-{n % 2}" / f"page-{n}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Page {n}\n\nThis page is about subject{n}.\n")
        age(file)
    return root


def age(file: Path) -> None:
    """As if written an hour ago: files changed within the clock's tick are never taken for unchanged."""
    past = file.stat().st_mtime_ns - 3_600_000_000_000
    os.utime(file, ns=(past, past))


def names(kb: KnowledgeBase) -> set[str]:
    return {row["source"].rsplit("/", 1)[-1] for row in kb.list()}


def counts(added: Added) -> tuple[int, int, int, int]:
    return added.added, added.updated, added.unchanged, added.removed


def test_a_folder_is_added_once(kb: KnowledgeBase, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(kb.add(folder)) == (10, 0, 0, 0)
    import openbook.ingest

    monkeypatch.setattr(openbook.ingest, "read", lambda *_, **__: pytest.fail("an unchanged file was read"))
    again = kb.add(folder)
    assert counts(again) == (0, 0, 10, 0)
    assert (again.chunks, again.embedded) == (0, 0)


def test_only_what_changed_is_embedded(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder)
    (folder / "part-0" / "page-4.md").write_text("# Page 4\n\nNow it is about zebras.\n")
    (folder / "new.txt").write_text("A file that was not there.")
    (folder / "part-1" / "page-5.md").touch()
    again = kb.add(folder)
    assert counts(again) == (1, 1, 9, 0)
    assert again.embedded == 2
    assert kb.search("zebras", 1).hits[0].source.endswith("page-4.md")


def test_what_vanished_is_dropped(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder)
    (folder / "part-0" / "page-4.md").unlink()
    assert counts(kb.add(folder)) == (0, 0, 9, 1)
    assert "page-4.md" not in names(kb)
    assert all("page-4" not in hit.source for hit in kb.search("subject4", 50).hits)


def test_a_lot_that_vanished_is_kept_and_told_until_confirmed(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder)
    shutil.rmtree(folder / "part-1")
    told = kb.add(folder)
    assert told.removed == 0
    assert "5 of its 10 documents are gone" in told.skipped[0].reason
    assert "--yes" in told.skipped[0].reason
    assert len(names(kb)) == 10
    assert kb.add(folder, keep_missing=True).skipped == ()
    assert kb.add(folder, yes=True).removed == 5
    assert len(names(kb)) == 5


def test_other_rules_drop_nothing(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder)
    narrower = kb.add(folder, include=["part-0/*"])
    assert counts(narrower) == (0, 0, 5, 0)
    assert len(names(kb)) == 10


def test_a_root_that_is_gone_is_an_error_and_drops_nothing(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder)
    shutil.rmtree(folder)
    with pytest.raises(SourceError, match="no such file or folder"):
        kb.add(folder)
    assert len(names(kb)) == 10


def test_one_bad_file_does_not_stop_the_rest(kb: KnowledgeBase, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\ngarbage")
    (folder / "empty.md").write_bytes(b"")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 20)
    done = kb.add(folder)
    assert done.added == 10
    assert sorted(Path(skipped.source).name for skipped in done.skipped) == ["binary.txt", "broken.pdf", "empty.md"]
    assert all("\n" not in skipped.reason for skipped in done.skipped)


def test_a_file_that_breaks_keeps_its_last_good_text(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder)
    (folder / "part-0" / "page-4.md").write_bytes(b"\x00\x01\x02" * 50)
    done = kb.add(folder)
    assert (len(done.skipped), done.removed) == (1, 0)
    assert "subject4" in kb.show("page-4.md").text


def test_lines_that_leave_a_collection_are_dropped(kb: KnowledgeBase, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    lines = [f'{{"_id": "d{n}", "title": "T{n}", "text": "about subject{n}"}}' for n in range(10)]
    corpus.write_text("\n".join(lines))
    assert kb.add(corpus).added == 10
    corpus.write_text("\n".join(lines[:-1]))
    assert counts(kb.add(corpus)) == (0, 0, 9, 1)
    corpus.write_text("\n".join([*lines[:5], "{broken", *lines[6:-1]]))
    done = kb.add(corpus)
    assert done.removed == 0, "what could not be read may be what seems to be gone"
    assert len(done.skipped) == 1


def test_metadata_and_access_reach_every_document(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder, metadata={"team": "hr"}, access=["group:hr"])
    assert len(kb.search("page", 50, filter='team = "hr" and type = "md"', as_=["group:hr"]).hits) == 10
    assert kb.search("page", as_=[]).hits == ()
    changed = kb.add(folder, metadata={"team": "law"}, access=["group:hr"])
    assert (changed.updated, changed.embedded) == (10, 0)


def test_a_removed_document_comes_back_with_the_next_add(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder)
    kb.remove("part-0/page-4.md")
    assert counts(kb.add(folder)) == (1, 0, 9, 0)


def test_what_had_to_be_guessed_is_told(kb: KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes(
        "Das Café in Köln öffnet täglich, außer an Feiertagen für Gäste.".encode("cp1252")
    )
    done = kb.add(tmp_path / "old.txt")
    assert done.added == 1
    assert [note.note.startswith("is not UTF-8; it was read as ") for note in done.notes] == [True]
    assert "Köln" in kb.show("old.txt").text


def test_a_file_over_the_limit_is_told_and_can_be_added_all_the_same(kb: KnowledgeBase, folder: Path) -> None:
    assert "--max-bytes" in kb.add(folder / "part-0" / "page-0.md", max_bytes=10).skipped[0].reason
    assert kb.add(folder / "part-0" / "page-0.md").added == 1


def test_what_left_a_collection_is_dropped_once_confirmed(kb: KnowledgeBase, tmp_path: Path) -> None:
    """The file was remembered as read though what left it was kept, and --yes then found nothing to drop."""
    corpus = tmp_path / "corpus.jsonl"
    lines = [f'{{"_id": "d{n}", "title": "T{n}", "text": "about subject{n}"}}' for n in range(10)]
    corpus.write_text("\n".join(lines))
    age(corpus)
    kb.add(corpus)
    corpus.write_text("\n".join(lines[:5]))
    age(corpus)
    assert len(kb.add(corpus).skipped) == 1
    assert counts(kb.add(corpus, yes=True)) == (0, 0, 5, 5)


def test_a_run_that_stops_before_it_drops_leaves_that_to_the_next(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was remembered as read with the commit before the one that drops what left it."""
    corpus = tmp_path / "corpus.jsonl"
    lines = [f'{{"_id": "d{n}", "title": "T{n}", "text": "about subject{n}"}}' for n in range(10)]
    corpus.write_text("\n".join(lines))
    age(corpus)
    kb.add(corpus)
    corpus.write_text("\n".join([*lines[:8], lines[8].replace("about", "on")]))
    age(corpus)

    def stop(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(kb.writer, "remove", stop)
    with pytest.raises(KeyboardInterrupt):
        kb.add(corpus)
    monkeypatch.undo()
    assert counts(kb.add(corpus)) == (0, 0, 9, 1)


class TestRootsThatOverlap:
    """A document belonged to the root that added it last: the other one no longer dropped it when its file was gone,
    and believed that its own access rules still held."""

    def test_a_file_that_is_gone_is_dropped_by_either(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        kb.add(folder / "part-0")
        (folder / "part-0" / "page-4.md").unlink()
        assert counts(kb.add(folder)) == (0, 0, 9, 1)

    def test_what_one_finds_unchanged_the_other_counts_as_well(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        assert counts(kb.add(folder / "part-0")) == (0, 0, 5, 0)
        assert counts(kb.add(folder)) == (0, 0, 10, 0)

    def test_the_access_that_is_asked_for_is_set(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder, access=["group:hr"])
        kb.add(folder / "part-0", access=["public"])
        assert len(kb.list(as_=[])) == 5
        assert counts(kb.add(folder, access=["group:hr"])) == (0, 5, 5, 0)
        assert kb.list(as_=[]) == []

    def test_what_was_removed_comes_back_with_either(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        kb.add(folder / "part-0")
        kb.remove("part-0/page-4.md")
        assert counts(kb.add(folder)) == (1, 0, 9, 0)


def test_a_folder_whose_name_is_not_utf8_is_added(kb: KnowledgeBase, tmp_path: Path) -> None:
    """It was a traceback."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "page.md").write_text("# Page\n\nText.\n")
    assert kb.add(folder).added == 1


def test_a_root_that_links_to_itself_is_one_line(kb: KnowledgeBase, tmp_path: Path) -> None:
    """It was a traceback."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SourceError, match="loop"):
        kb.add(tmp_path / "loop")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, {}, 1j], ids=repr)
def test_metadata_that_cannot_be_kept_are_one_line(kb: KnowledgeBase, folder: Path, value: object) -> None:
    """They were the database's error, or a traceback."""
    with pytest.raises(SourceError, match="metadata 'x'"):
        kb.add(Document("a", "text", metadata={"x": value}))  # type: ignore[dict-item]
    with pytest.raises(SourceError, match="metadata 'x'"):
        kb.add(folder, metadata={"x": value})  # type: ignore[dict-item]
    assert kb.status()["documents"] == 0


def test_a_half_character_in_any_name_is_replaced(kb: KnowledgeBase) -> None:
    """They were tracebacks, or the database's errors."""
    kb.add(Document("a\udcff", "text", headings=(Heading(0, 4, 1, "b\0"),), metadata={"k\0": "v\0"}))
    assert kb.show("a\udcff").source == "a\ufffd"
    assert kb.search("text").hits[0].chunk.headings == ("b\ufffd",)


def test_access_and_metadata_are_for_documents_as_they_are_for_files(kb: KnowledgeBase) -> None:
    """Documents of a program's own stayed public, whatever ``access`` said."""
    kb.add(Document("safe", "The code is 4711.", metadata={"team": "it", "year": 2026}))
    assert kb.search("the code", as_=["public"]).hits
    kb.add(
        Document("safe", "The code is 4711.", metadata={"team": "it", "year": 2026}),
        access=["office"],
        metadata={"team": "hr"},
    )
    assert not kb.search("the code", as_=["public"]).hits
    [hit] = kb.search("the code", as_=["office"]).hits
    assert hit.metadata == {"team": "hr", "year": 2026}


def test_a_document_that_another_process_changed_meanwhile_is_whole(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file was remembered as read one transaction before the document was written."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "d1", "text": "about zebras"}')
    age(corpus)
    kb.add(corpus)
    write, finished = kb.writer.write, []

    def meanwhile(writes: list[Write], done: list[tuple[int, FileState]]) -> Written:
        if not finished:
            nothing = Reading([], np.zeros((0, 384), np.float32), kb.index.embedder)
            write([Write(Document("d1", "giraffes"), None, {kb.index.id: nothing})])
        finished.append(done)
        written = write(writes, done)
        files = kb.writer.files
        states = {state for _, state in files.known(files.root(corpus.as_uri(), "[[], []]", None)).values()}
        assert not (written.again and {state for _, state in done} & states)
        return written

    monkeypatch.setattr(kb.writer, "write", meanwhile)
    kb.add(corpus, metadata={"team": "hr"})
    monkeypatch.undo()
    assert [len(done) for done in finished] == [1, 1]
    assert kb.show("d1").text == "about zebras"
    assert kb.search("zebras", filter='team = "hr"').hits
    assert counts(kb.add(corpus, metadata={"team": "hr"})) == (0, 0, 1, 0)


def test_one_id_in_two_files_is_told_and_stays_what_it_was(kb: KnowledgeBase, tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text('{"_id": "x", "text": "from the first file"}')
    second.write_text('{"_id": "x", "text": "from the second file"}\n{"_id": "y", "text": "another"}')
    kb.add(first)
    done = kb.add(second)
    assert (done.added, len(done.skipped)) == (1, 1)
    assert "a.jsonl already" in done.skipped[0].reason
    assert kb.show("x").text == "from the first file"
    first.unlink()
    second.write_text(second.read_text() + "\n")
    assert kb.add(second).updated == 1
    assert kb.show("x").text == "from the second file"


def collection(file: Path, *lines: str, hours: int = 1) -> None:
    """Each line: the id, and perhaps more text."""
    rows = [{"_id": line.split()[0], "text": f"words about the number {line}"} for line in lines]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    past = time.time_ns() - hours * 3_600_000_000_000
    os.utime(file, ns=(past, past))


@pytest.mark.parametrize("change", ["", " changed"])
@pytest.mark.parametrize("roots", [("",), ("f", "g"), ("g", "f")], ids=["one folder", "from before", "from behind"])
def test_a_document_that_moves_to_another_file_stays(
    kb: KnowledgeBase, tmp_path: Path, roots: tuple[str, ...], change: str
) -> None:
    paths = [tmp_path / root for root in roots]
    for name in "fg":
        (tmp_path / name).mkdir()
    f, g = tmp_path / "f" / "f.jsonl", tmp_path / "g" / "g.jsonl"
    collection(f, "1", "2", "3", "4", hours=2)
    collection(g, "5", "6", hours=2)
    kb.add(*paths)
    before = next(row["document"] for row in kb.list() if row["source"] == "4")
    collection(f, "1", "2", "3")
    collection(g, "5", "6", "4" + change)
    done = kb.add(*paths)
    if roots == ("f", "g"):  # the first one has dropped it when the other is read
        assert (done.added, done.updated, done.unchanged, done.removed, done.skipped) == (1, 0, 5, 1, ())
    else:
        assert (done.added, done.updated, done.unchanged, done.removed, done.skipped) == (0, 1, 5, 0, ())
    assert kb.show("4").text.endswith("4" + change)
    assert next(row["document"] for row in kb.list() if row["source"] == "4") == before
    assert counts(kb.add(*paths)) == (0, 0, 6, 0)
    collection(g, "5", "6", hours=3)
    assert kb.add(*paths, yes=True).removed == 1
    assert names(kb) == {"1", "2", "3", "5", "6"}


def test_an_add_that_another_is_in_the_way_of_tries_again(
    kb: KnowledgeBase, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Writer.write

    def locked_out(self: Writer, writes: Sequence[Write], finished: Iterable[tuple[int, FileState]] = ()) -> Written:
        monkeypatch.undo()
        with self.database.transaction("owner") as connection:
            connection.execute("LOCK TABLE openbook.document IN ACCESS EXCLUSIVE MODE")
            with self.database.transaction("owner") as other:
                other.execute("SET LOCAL lock_timeout = '10ms'")
                other.execute("SELECT FROM openbook.document")
        return write(self, writes, finished)

    monkeypatch.setattr(Writer, "write", locked_out)
    assert counts(kb.add(folder)) == (10, 0, 0, 0)


def test_a_document_that_is_renamed_while_its_file_is_added_stays(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "f.jsonl"
    collection(corpus, "0", "1", "2", "3", "4", hours=2)
    kb.add(corpus)
    collection(corpus, "0 new", "1", "2", "3", "4")
    look = Writer.current

    def current(self: Writer, sources: Sequence[str]) -> dict[str, Current]:
        monkeypatch.undo()
        kb.edit("2", source="two")
        return look(self, sources)

    monkeypatch.setattr(Writer, "current", current)
    assert counts(kb.add(corpus)) == (0, 1, 4, 0)
    assert names(kb) == {"0", "1", "two", "3", "4"}


def test_an_unchanged_folder_waits_for_no_model(
    kb: KnowledgeBase, folder: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.add(folder)
    import openbook.embed

    monkeypatch.setattr(openbook.embed, "open_embedder", lambda *_: pytest.fail("the model was opened"))
    assert KnowledgeBase(database, kb.name).add(folder).unchanged == 10


def test_a_rule_of_access_is_not_lost_by_not_repeating_it(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder / "part-0", access=["group:hr"])
    kb.add(folder)
    assert {row["source"].rsplit("/", 2)[-2] for row in kb.list(as_=[])} == {"part-1"}
    (folder / "part-0" / "page-0.md").write_text("# Page 0\n\nAn edit keeps its readers.\n")
    (folder / "part-0" / "new.md").write_text("# New\n\nWhat is new in a closed folder is closed.\n")
    (folder / "part-1" / "new.md").write_text("# New\n\nWhat is new elsewhere is open.\n")
    assert kb.add(folder).added == 2
    assert [hit.source.rsplit("/", 2)[-2] for hit in kb.search("edit new", 50, as_=[]).hits].count("part-0") == 0
    assert len(kb.list(as_=[])) == 6
    kb.add(folder, access=["public"])
    assert len(kb.list(as_=[])) == 12, "said explicitly, it holds for all"


def test_a_principal_has_a_name(kb: KnowledgeBase, folder: Path) -> None:
    with pytest.raises(QueryError, match="principal without a name"):
        kb.add(folder, access=[""])
    with pytest.raises(QueryError, match="principal without a name"):
        kb.search("x", as_=[" "])


def test_a_rule_that_is_said_again_of_a_folder_inside_holds(kb: KnowledgeBase, folder: Path) -> None:
    """Its files looked as they had when the rule was first said, and stayed open to whom the outer folder was."""
    inside = folder / "part-0"
    kb.add(inside, access=["group:board"])
    kb.add(folder)
    kb.add(folder, access=["public"])
    kb.add(inside, access=["group:board"])
    closed = {row["source"] for row in kb.list() if row["access"] == ["group:board"]}
    assert len(closed) == 5
    assert {row["source"] for row in kb.list(as_=["public"])}.isdisjoint(closed)
    assert kb.add(inside, access=["group:board"]).unchanged == 5


def test_a_document_added_again_without_a_rule_stays_closed(kb: KnowledgeBase) -> None:
    """It used to become public with the next edit, since that is what a Document is whose maker says nothing."""
    kb.add(Document("salaries", "What everybody earns."), access=["group:hr"])
    kb.add(Document("salaries", "What everybody earns, edited."))
    [row] = kb.list()
    assert list(row["access"]) == ["group:hr"]
    assert kb.search("who earns what", as_=["group:sales"]).hits == ()
    kb.add(Document("salaries", "What everybody earns.", access=("group:board",)))
    [row] = kb.list()
    assert list(row["access"]) == ["group:board"]
    kb.add(Document("salaries", "What everybody earns."), access=["public"])
    [row] = kb.list()
    assert list(row["access"]) == ["public"]
