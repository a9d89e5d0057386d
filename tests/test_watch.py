"""Following folders: what is saved is found, what is deleted is gone, and what merely is not there is kept."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from openbook.errors import SourceError, StoreBusy, StoreError, StoreUnreachable
from openbook.indexing import Added
from openbook.knowledge_base import KnowledgeBase
from openbook.knowledge_base import open as open_
from openbook.watch import Followed, Watch

PATIENCE = 60.0  # seconds; a loaded machine is slow, and a change that never comes is what fails


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "handbook"
    for n in range(10):
        file = root / f"part-{n % 2}" / f"page-{n}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Page {n}\n\nThis page is about subject{n}.\n")
    return root


class Following:
    """A watch in a thread, and what it has told."""

    def __init__(self, kb: KnowledgeBase, *sources: Path, **options: Any) -> None:
        self.kb = kb
        self.stop = threading.Event()
        self._told: queue.Queue[Followed | BaseException] = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(sources, options))
        self._thread.start()

    def _run(self, sources: tuple[Path, ...], options: dict[str, Any]) -> None:
        try:
            for change in self.kb.watch(*sources, stop=self.stop, **options):
                self._told.put(change)
        except BaseException as error:
            self._told.put(error)

    def next(self) -> Followed:
        change = self._told.get(timeout=PATIENCE)
        if isinstance(change, BaseException):
            raise change
        return change

    def until(self, what: Callable[[Followed], bool]) -> Followed:
        while not what(change := self.next()):
            pass
        return change

    def quiet(self, seconds: float = 1.0) -> None:
        """Nothing more is told for so long."""
        with pytest.raises(queue.Empty):
            pytest.fail(f"told {self._told.get(timeout=seconds)}")

    def close(self) -> None:
        self.stop.set()
        self._thread.join(timeout=PATIENCE)


@pytest.fixture(params=[None, 0.1], ids=["told", "polled"])
def poll(request: pytest.FixtureRequest) -> float | None:
    return request.param  # type: ignore[no-any-return]


@contextmanager
def following(kb: KnowledgeBase, *sources: Path, **options: Any) -> Iterator[Following]:
    it = Following(kb, *sources, **options)
    try:
        yield it
    finally:
        it.close()


def found(kb: KnowledgeBase, word: str) -> set[str]:
    """The names of the files in which keyword search finds a word."""
    return {hit.source.rsplit("/", 1)[-1] for hit in kb.search(word, 50).hits if "keyword" in hit.stages}


def test_what_is_saved_is_found(kb: KnowledgeBase, folder: Path, poll: float | None) -> None:
    with following(kb, folder, poll=poll) as it:
        assert it.next().done.added == 10
        (folder / "part-0" / "page-4.md").write_text("# Page 4\n\nNow it is about zebras.\n")
        change = it.next()
        assert (change.done.updated, change.places) == (1, ("part-0/page-4.md",))
        assert found(kb, "zebras") == {"page-4.md"}
        (folder / "new.txt").write_text("A file about walruses.")
        assert it.next().done.added == 1
        assert found(kb, "walruses") == {"new.txt"}
        (folder / "new.txt").unlink()
        assert it.next().done.removed == 1
        assert found(kb, "walruses") == set()
        it.quiet()


def test_an_editor_that_saves_by_renaming(kb: KnowledgeBase, folder: Path, poll: float | None) -> None:
    page = folder / "part-0" / "page-4.md"
    with following(kb, folder, poll=poll) as it:
        id = it.next() and next(one["document"] for one in kb.list() if one["source"].endswith("page-4.md"))
        (page.parent / "page-4.md.tmp").write_text("# Page 4\n\nNow it is about zebras.\n")
        os.replace(page.parent / "page-4.md.tmp", page)
        assert it.next().done.updated == 1
        page.rename(page.with_suffix(".md~"))
        page.write_text("# Page 4\n\nNow it is about lemurs.\n")
        it.until(lambda change: found(kb, "lemurs") == {"page-4.md"})
        assert next(one["document"] for one in kb.list() if one["source"].endswith("page-4.md")) == id
        assert len(kb.list()) == 10


def test_a_file_that_is_written_in_pieces_is_read_whole_at_the_end(kb: KnowledgeBase, folder: Path) -> None:
    with following(kb, folder) as it:
        it.next()
        with (folder / "long.md").open("w") as file:
            for n in range(20):
                file.write(f"## Section {n}\n\nIt is about piece{n}.\n\n")
                file.flush()
                time.sleep(0.03)  # what is tested is what a slow writer does
        it.until(lambda change: "piece19" in kb.show("long.md").text)
        assert kb.show("long.md").text == (folder / "long.md").read_text()
        assert found(kb, "piece0") == found(kb, "piece19") == {"long.md"}


def test_folders_that_are_moved_in_and_out(kb: KnowledgeBase, folder: Path, tmp_path: Path, poll: float | None) -> None:
    with following(kb, folder, poll=poll) as it:
        it.next()
        new = tmp_path / "new" / "deep"
        new.mkdir(parents=True)
        (new / "otter.md").write_text("# Otters\n\nOtters float.\n")
        (tmp_path / "new").rename(folder / "new")
        assert it.next().done.added == 1
        assert found(kb, "otters") == {"otter.md"}
        (folder / "new" / "deep" / "otter.md").write_text("# Otters\n\nOtters and beavers float.\n")
        assert it.next().done.updated == 1, "what is moved in is followed"
        (folder / "new").rename(tmp_path / "elsewhere")
        assert it.next().done.removed == 1
        assert len(kb.list()) == 10


def test_a_folder_that_is_deleted_goes_at_once_however_large_a_part_it_is(kb: KnowledgeBase, folder: Path) -> None:
    """What is seen to go needs no --yes."""
    with following(kb, folder) as it:
        it.next()
        shutil.rmtree(folder / "part-1")
        total = 0
        while total < 5:
            total += it.next().done.removed
        assert len(kb.list()) == 5
        assert kb.restore("part-1/page-1.md").changed == ("removed",)


def test_where_only_the_list_is_shorter_a_large_part_is_kept(kb: KnowledgeBase, folder: Path) -> None:
    with following(kb, folder, poll=0.1) as it:
        it.next()
        shutil.rmtree(folder / "part-1")
        change = it.until(lambda change: bool(change.done.skipped))
        assert "of its 10 documents are gone" in change.done.skipped[0].reason
        assert len(kb.list()) == 10


def test_a_root_that_is_gone_keeps_its_documents_until_it_is_back(
    kb: KnowledgeBase, folder: Path, tmp_path: Path, poll: float | None
) -> None:
    with following(kb, folder, poll=poll) as it:
        it.next()
        folder.rename(tmp_path / "away")
        assert "is gone; its documents are kept" in str(it.next().note)
        assert len(kb.list()) == 10
        (tmp_path / "away" / "part-0" / "page-4.md").write_text("# Page 4\n\nNow it is about zebras.\n")
        (tmp_path / "away").rename(folder)
        assert it.next().note == "is back"
        assert it.next().done.updated == 1
        (folder / "new.md").write_text("# New\n\nIt is about quokkas.\n")
        assert it.next().done.added == 1, "another folder in its place is followed, too"


def test_a_root_that_is_deleted_keeps_its_documents(kb: KnowledgeBase, folder: Path) -> None:
    for n in range(200):
        (folder / f"more-{n}.txt").write_text(f"More about number{n}.")
    with following(kb, folder) as it:
        assert it.next().done.added == 210
        shutil.rmtree(folder)
        it.until(lambda change: change.note is not None)
        assert len(kb.list()) == 210


def test_a_burst_of_a_thousand_files(kb: KnowledgeBase, folder: Path) -> None:
    with following(kb, folder) as it:
        it.next()
        for n in range(1000):
            (folder / f"burst-{n}.txt").write_text(f"Number {n} is called name{n}.")
        total = 0
        while total < 1000:
            total += it.next().done.added
        assert kb.status()["documents"] == 1010
        assert found(kb, "name999") == {"burst-999.txt"}


def test_the_rules_of_add_decide_what_counts(kb: KnowledgeBase, folder: Path, poll: float | None) -> None:
    (folder / ".gitignore").write_text("ignored.md\n")
    with following(kb, folder, include=["*.md"], exclude=["part-1"], metadata={"team": "hr"}, poll=poll) as it:
        assert it.next().done.added == 5
        for name in ("ignored.md", "part-1/page-1.md", "note.txt", ".hidden.md", "~$lock.md", "program.exe"):
            (folder / name).write_text("# Not this\n\nNot wanted.\n")
        (folder / ".git").mkdir()
        (folder / ".git" / "x.md").write_text("no")
        (folder / "this.md").write_text("# This\n\nIt is wanted.\n")
        change = it.next()
        assert (change.done.added, change.done.updated, change.done.skipped) == (1, 0, ())
        assert found(kb, "wanted") == {"this.md"}
        assert kb.show("this.md").metadata["team"] == "hr"
        it.quiet(0.5)


def test_a_gitignore_that_changes_is_minded(kb: KnowledgeBase, folder: Path) -> None:
    (folder / ".gitignore").write_text("page-0.md\n")
    with following(kb, folder) as it:
        assert it.next().done.added == 9
        (folder / ".gitignore").unlink()
        assert it.next().done.added == 1


def test_what_is_removed_by_hand_stays_removed_until_its_file_changes(
    kb: KnowledgeBase, folder: Path, poll: float | None
) -> None:
    page = folder / "part-0" / "page-4.md"
    with following(kb, folder, poll=poll) as it:
        it.next()
        kb.remove("page-4.md")
        page.touch()
        (folder / ".gitignore").write_text("nothing\n")  # all is looked at again
        (folder / "new.md").write_text("# New\n\nIt is about quokkas.\n")
        it.until(lambda change: change.done.added == 1)
        assert found(kb, "subject4") == set()
        page.write_text("# Page 4\n\nThis page is about subject4 again.\n")
        assert it.until(lambda change: bool(change.done.added)).done.added == 1
        assert found(kb, "subject4") == {"page-4.md"}


def test_a_file_that_went_and_came_back_the_same_is_there_again(
    kb: KnowledgeBase, folder: Path, tmp_path: Path
) -> None:
    page = folder / "part-0" / "page-4.md"
    with following(kb, folder) as it:
        it.next()
        page.rename(tmp_path / "page-4.md")
        assert it.next().done.removed == 1
        (tmp_path / "page-4.md").rename(page)
        assert it.next().done.added == 1
        assert found(kb, "subject4") == {"page-4.md"}


def test_a_single_file_is_followed(kb: KnowledgeBase, folder: Path) -> None:
    page = folder / "part-0" / "page-4.md"
    with following(kb, page, poll=0.1) as it:
        assert it.next().done.added == 1
        (folder / "part-0" / "page-2.md").write_text("not this one")
        (folder / "tmp").write_text("# Page 4\n\nNow it is about zebras.\n")
        os.replace(folder / "tmp", page)
        it.until(lambda change: change.done.updated == 1)
        assert found(kb, "zebras") == {"page-4.md"}
        assert len(kb.list()) == 1


def test_several_roots_one_in_the_other(kb: KnowledgeBase, folder: Path) -> None:
    with following(kb, folder, folder / "part-0") as it:
        assert {it.next().done.added, it.next().done.added} == {10, 0}
        (folder / "part-0" / "page-4.md").write_text("# Page 4\n\nNow it is about zebras.\n")
        it.until(lambda change: change.done.updated == 1)
        assert found(kb, "zebras") == {"page-4.md"}
        it.quiet()


def test_a_file_that_cannot_be_read_is_told_and_keeps_its_last_good_text(kb: KnowledgeBase, folder: Path) -> None:
    page = folder / "part-0" / "page-4.md"
    with following(kb, folder) as it:
        it.next()
        page.write_bytes(b"\x00\x01\x02" * 50)
        assert "binary" in it.next().done.skipped[0].reason
        assert found(kb, "subject4") == {"page-4.md"}


def test_what_was_edited_here_stands_through_a_save(kb: KnowledgeBase, folder: Path) -> None:
    page = folder / "part-0" / "page-4.md"
    with following(kb, folder) as it:
        it.next()
        kb.edit("page-4.md", metadata={"owner": "ann"}, access=["group:a"], source="four")
        page.write_text("# Page 4\n\nNow it is about zebras.\n")
        assert it.next().done.updated == 1
        now = kb.show("four")
        assert (now.metadata["owner"], now.access) == ("ann", ("group:a",))
        page.unlink()
        assert it.next().done.removed == 1


def test_where_the_system_refuses_to_tell_it_is_looked(
    kb: KnowledgeBase, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does when all watches that a user may have are taken."""
    import watchfiles

    def refuse(*_: Any, **__: Any) -> Iterator[Any]:
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    with following(kb, folder) as it:
        assert "the system does not tell" in str(it.next().note)
        assert it.next().done.added == 10
        (folder / "new.md").write_text("# New\n\nIt is about quokkas.\n")
        assert it.next().done.added == 1


def test_a_root_that_is_not_there_is_refused(kb: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        next(kb.watch(tmp_path / "nowhere"))


@pytest.mark.parametrize("trouble", [StoreUnreachable, StoreBusy])
def test_a_database_that_does_not_answer_is_waited_for(folder: Path, trouble: type[StoreError]) -> None:
    """It is told once, and nothing that changed meanwhile is lost."""
    stop, taken, down = threading.Event(), [], [True, True]

    def take(root: Path, places: Any, *, first: bool, seen_gone: bool) -> Added:
        if places and down and down.pop():
            raise trouble("it is being restarted")
        taken.append(places)
        return Added(added=1)

    told = iter(Watch([folder], take, stop=stop).run())
    assert next(told).done.added == 1
    (folder / "new.md").write_text("# New\n")
    assert "waiting: it is being restarted" in str(next(told).note)
    assert next(told).places == ("new.md",)
    assert taken == [None, {"new.md"}]
    stop.set()


def test_an_embedded_server_that_is_killed_comes_back(tmp_path: Path, folder: Path) -> None:
    with open_(tmp_path / "db") as kb, following(kb, folder) as it:
        it.next()
        pid = int((tmp_path / "db" / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        (folder / "new.md").write_text("# New\n\nIt is about quokkas.\n")
        it.until(lambda change: change.done.added == 1)
        assert found(kb, "quokkas") == {"new.md"}


# --- the command line -------------------------------------------------------------------------------------------------


@contextmanager
def command(tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OPENBOOK_DB": str(tmp_path / "db")}
    line = [sys.executable, "-m", "openbook", "add", "handbook", "--watch", *arguments]
    with subprocess.Popen(
        line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_a_line_a_change_and_a_clean_end(tmp_path: Path, folder: Path, number: signal.Signals) -> None:
    with command(tmp_path, "--json") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        first = json.loads(running.stdout.readline())
        assert first.keys() >= {"time", "root", "added", "updated", "unchanged", "removed", "skipped", "seconds"}
        assert first["added"] == 10
        (folder / "new.md").write_text("# New\n\nIt is about quokkas.\n")
        second = json.loads(running.stdout.readline())
        assert (second["added"], second["places"]) == (1, ["new.md"])
        running.send_signal(number)
        out, error = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, error
    last = json.loads(out)
    assert (last["stopped"], last["added"], last["updated"], last["removed"]) == (True, 11, 0, 0)
    assert "Traceback" not in error


def test_what_people_read(tmp_path: Path, folder: Path) -> None:
    with command(tmp_path) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("10 added, 0 updated")
        (folder / "part-0" / "page-4.md").write_text("# Page 4\n\nNow it is about zebras.\n")
        assert running.stdout.readline().split(maxsplit=1)[1] == "part-0/page-4.md: 1 updated\n"
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0
    assert out.startswith("stopped after ")
    assert "10 added, 1 updated, 0 removed" in out
