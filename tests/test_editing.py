"""Edits: each of them whole, seen by every process's next search, undone by no ``add``, and never the end of a text."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from openbook.errors import NotFound, QueryError
from openbook.knowledge_base import KnowledgeBase
from openbook.knowledge_base import open as open_
from openbook.store.database import Database
from openbook.store.writing import Write
from openbook.types import Document

LEAVE = "# Sick leave\n\nEvery employee gets ten days of paid sick leave.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "handbook"
    root.mkdir()
    (root / "leave.md").write_text(LEAVE)
    (root / "vpn.md").write_text("---\nteam: it\n---\n# VPN\n\nRun renew-cert when the tunnel is refused.\n")
    (root / "desk.md").write_text("# Desks\n\nBook a desk before noon.\n")
    return root


def test_a_forgotten_text_does_not_come_back_as_an_edit(kb: KnowledgeBase) -> None:
    kb.add(Document("a", "The lynx is grey."), Document("b", "The owl is brown."))
    kb.forget("a", confirm=lambda _: True)
    with pytest.raises(QueryError, match="was forgotten"):
        kb.edit("b", text="The lynx is grey.")
    assert kb.show("b").text == "The owl is brown."


def row(kb: KnowledgeBase, name: str) -> dict[str, Any]:
    id = kb.named(name)[0]
    return next(one for one in kb.list() if one["document"] == id)


def sides(kb: KnowledgeBase, question: str, **more: Any) -> dict[str, set[str]]:
    """The sources that the dense and the keyword side find."""
    hits = kb.search(question, **more).hits
    return {side: {hit.source for hit in hits if side in hit.stages} for side in ("dense", "keyword")}


class TestEachEdit:
    def test_a_new_text_is_a_version_and_found_by_both_sides(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave"))
        done = kb.edit("leave", text="# Sick leave\n\nNobody may juggle walruses.\n")
        assert (done.version, done.before, done.changed) == (2, 1, ("text",))
        assert sides(kb, "walruses") == {"dense": {"leave"}, "keyword": {"leave"}}
        assert sides(kb, "paid employee")["keyword"] == set()
        assert [heading.title for heading in kb.show("leave").headings] == ["Sick leave"]

    def test_a_new_title_is_embedded_and_found(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", "Ten days.", "Sick leave"))
        done = kb.edit("leave", title="  Being\n ill ")
        assert (done.version, done.embedded, done.changed) == (2, 1, ("title",))
        assert sides(kb, "ill")["keyword"] == {"leave"}
        assert kb.search("ill", 1).hits[0].title == "Being ill"

    def test_metadata_are_merged_and_nothing_is_embedded(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave", {"team": "hr", "year": 2024}))
        before = kb.search("sick leave").hits[0].chunk
        done = kb.edit("leave", metadata={"year": 2025, "tag": ("a", "b"), "team": None})
        assert (done.version, done.embedded, done.changed) == (1, 0, ("metadata",))
        assert kb.show("leave").metadata == {"year": 2025, "tag": ("a", "b")}
        assert sides(kb, "sick leave", filter='year = 2025 and tag = "b"') == {"dense": {"leave"}, "keyword": {"leave"}}
        assert kb.search("sick leave", filter='team = "hr"').hits == ()
        assert kb.search("sick leave").hits[0].chunk == before

    def test_access_changes_at_once_and_nothing_is_embedded(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave"))
        done = kb.edit("leave", access=["group:hr"])
        assert (done.version, done.embedded, done.changed) == (1, 0, ("access",))
        assert kb.search("sick leave", as_=[]).hits == ()
        assert sides(kb, "sick leave", as_=["group:hr"]) == {"dense": {"leave"}, "keyword": {"leave"}}

    def test_all_that_is_said_is_one_change(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave"))
        index = kb.serving.index
        with kb.database.snapshot(None) as connection:
            before = index.position(connection).number
        done = kb.edit(
            "leave", source="policy", title="Illness", metadata={"a": 1}, access=["group:hr"], text="Stay at home."
        )
        assert done.changed == ("source", "title", "text", "metadata", "access")
        with kb.database.snapshot(None) as connection:
            assert index.position(connection).number == before + 1
        shown = kb.show("policy")
        assert (shown.title, shown.text, shown.metadata, shown.access) == (
            "Illness", "Stay at home.", {"a": 1}, ("group:hr",),
        )  # fmt: skip

    def test_nothing_changed_is_no_change(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave", {"a": 1}))
        done = kb.edit("leave", source="leave", title="Sick leave", metadata={"a": 1, "b": None}, text=LEAVE)
        assert (done.changed, done.version, done.embedded) == ((), 1, 0)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"title": "  "}, QueryError, "an empty title"),
            ({"text": "\n"}, QueryError, "an empty text"),
            ({"source": " "}, QueryError, "a source without a name"),
            ({"access": []}, QueryError, "a principal without a name"),
            ({"metadata": {"x": float("nan")}}, Exception, "metadata 'x'"),
            ({"source": "other"}, QueryError, "is taken"),
            ({"source": "gone"}, QueryError, "is taken by a removed document"),
        ],
    )
    def test_what_makes_no_sense_changes_nothing(
        self, kb: KnowledgeBase, change: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave"), Document("other", "x y z"), Document("gone", "w"))
        kb.remove("gone")
        before = kb.list()
        with pytest.raises(error, match=message):
            kb.edit("leave", **{"metadata": {"a": 1}, **change})
        assert kb.list() == before

    def test_a_document_that_is_not_there_is_not_edited(self, kb: KnowledgeBase) -> None:
        with pytest.raises(NotFound):
            kb.edit("leave", title="x")
        kb.add(Document("leave", LEAVE))
        kb.remove("leave")
        with pytest.raises(NotFound):
            kb.edit("leave", title="x")


class TestRenaming:
    def test_it_stays_the_same_document_with_its_history(self, kb: KnowledgeBase) -> None:
        kb.add(Document("old", LEAVE, "Sick leave"))
        kb.edit("old", text="Stay at home.")
        id = row(kb, "old")["document"]
        done = kb.edit("old", source="new")
        assert (done.document, done.version, done.embedded, done.changed) == (id, 2, 0, ("source",))
        assert sides(kb, "stay at home") == {"dense": {"new"}, "keyword": {"new"}}
        assert [version.version for version in kb.history("old").versions] == [1, 2]
        assert kb.history("new").former == ("old",)
        assert kb.show("old", version=1).text == LEAVE

    def test_the_former_name_goes_on_meaning_it(self, kb: KnowledgeBase) -> None:
        kb.add(Document("a", "one"), Document("x", "other"))
        kb.edit("a", source="b")
        kb.edit("b", source="c")
        assert {kb.show(name).source for name in "abc"} == {"c"}
        with pytest.raises(QueryError, match="was the source of c"):
            kb.edit("x", source="a")
        assert kb.add(Document("a", "two")).updated == 1
        assert [one["source"] for one in kb.list()] == ["c", "x"]
        assert kb.show("c").text == "two"
        assert kb.edit("c", source="a").changed == ("source",)
        assert kb.history("a").former == ("b", "c")

    def test_two_names_of_one_document_in_one_add(self, kb: KnowledgeBase) -> None:
        kb.add(Document("a", "one"))
        kb.edit("a", source="b")
        kb.add(Document("a", "two"), Document("b", "three"))
        assert [(one["source"], kb.show("b").text) for one in kb.list()] == [("b", "three")]

    def test_a_file_keeps_to_its_renamed_document(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        assert kb.edit("leave.md", source="policy/leave").changed == ("source",)
        again = kb.add(folder)
        assert "path" not in kb.show("policy/leave").metadata, "what readers are shown is its new name"
        assert kb.show("handbook/leave.md").source == "policy/leave"
        assert (again.added, again.updated, again.unchanged, again.removed) == (0, 0, 3, 0)
        (folder / "leave.md").write_text(LEAVE.replace("ten", "twelve"))
        changed = kb.add(folder)
        assert (changed.added, changed.updated, changed.unchanged, changed.removed) == (0, 1, 2, 0)
        assert "twelve" in kb.show("policy/leave").text
        (folder / "leave.md").unlink()
        assert kb.add(folder, yes=True).removed == 1
        assert len(kb.list()) == 2

    def test_the_files_own_name_brings_its_path_back(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        kb.edit("leave.md", source="policy/leave")
        kb.edit("policy/leave", source=(folder / "leave.md").as_uri())
        assert kb.show("leave.md").metadata["path"] == "handbook/leave.md"
        assert kb.history("leave.md").edited == ()


class TestAFileThatWasEditedHere:
    def test_add_undoes_nothing(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        kb.edit("vpn.md", title="Tunnels", metadata={"team": None, "owner": "ann"}, access=["group:it"])
        kb.edit("leave.md", text="Stay at home.")
        for file in folder.iterdir():
            file.touch()
        again = kb.add(folder)
        assert (again.updated, again.unchanged, again.embedded) == (0, 3, 0)
        vpn = kb.show("vpn.md")
        assert (vpn.title, vpn.metadata.get("team"), vpn.metadata["owner"]) == ("Tunnels", None, "ann")
        assert vpn.access == ("group:it",)
        assert kb.show("leave.md").text == "Stay at home."

    def test_what_the_file_changes_itself_counts_and_the_rest_of_the_edit_stays(
        self, kb: KnowledgeBase, folder: Path
    ) -> None:
        kb.add(folder)
        kb.edit("vpn.md", title="Tunnels", metadata={"team": "net", "owner": "ann"}, access=["group:it"])
        (folder / "vpn.md").write_text("---\nteam: it\n---\n# VPN\n\nRun mend-cert.\n")
        kb.add(folder)
        vpn = kb.show("vpn.md")
        assert vpn.text == "# VPN\n\nRun mend-cert.\n"
        assert (vpn.title, vpn.metadata["team"], vpn.access) == ("Tunnels", "net", ("group:it",))
        (folder / "vpn.md").write_text("---\nteam: ops\n---\n# Networks\n\nRun mend-cert.\n")
        kb.add(folder)
        vpn = kb.show("vpn.md")
        assert (vpn.title, vpn.metadata["team"], vpn.metadata["owner"]) == ("Networks", "ops", "ann")
        assert kb.history("vpn.md").edited == ("owner", "access")

    def test_a_rule_said_with_add_counts(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        kb.edit("vpn.md", access=["group:it"])
        kb.add(folder, access=["group:all"])
        assert kb.show("vpn.md").access == ("group:all",)

    def test_a_rule_that_add_only_repeats_undoes_no_edit(self, kb: KnowledgeBase, folder: Path) -> None:
        """It opened again, to everybody, what had been closed."""
        kb.add(folder, access=["public"])
        kb.edit("vpn.md", access=["group:it"], title="Tunnels")
        kb.edit("vpn.md", access=["group:net"])
        for said in (["public"], None, ["public"]):
            (folder / "vpn.md").touch()
            assert kb.add(folder, access=said).updated == 0
            assert (kb.show("vpn.md").access, kb.history("vpn.md").edited) == (("group:net",), ("title", "access"))
        (folder / "vpn.md").write_text("# VPN\n\nRun mend-cert.\n")
        assert kb.add(folder, access=["public"]).updated == 1
        assert kb.show("vpn.md").access == ("group:net",)
        assert all(not hit.source.endswith("vpn.md") for hit in kb.search("mend-cert", as_=[]).hits)
        kb.add(folder, access=["group:all"])
        assert (kb.show("vpn.md").access, kb.history("vpn.md").edited) == (("group:all",), ("title",))
        kb.add(folder, access=["public"])
        assert kb.show("vpn.md").access == ("public",), "the edit ended when another rule was said"

    def test_the_rule_that_was_said_ends_the_edit_of_it(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder, access=["group:hr"])
        kb.edit("vpn.md", access=["public"])
        kb.edit("vpn.md", access=["group:hr"])
        assert kb.history("vpn.md").edited == ()

    def test_an_edit_between_the_look_and_the_lock_is_not_lost(self, kb: KnowledgeBase, folder: Path) -> None:
        """An add that had looked before wrote the title and opened what had been closed meanwhile."""
        kb.add(folder)
        said = kb.show("vpn.md")
        kb.edit("vpn.md", title="Tunnels", metadata={"owner": "ann"}, access=["group:it"], source="tunnels")
        kb.writer.write([Write(said, keeps=frozenset({"access", "local_only"}), said=said)])
        vpn = kb.show("tunnels")
        assert (vpn.title, vpn.metadata["owner"], vpn.access) == ("Tunnels", "ann", ("group:it",))
        assert len(kb.list()) == 3


class TestRestoring:
    def test_remove_is_undone(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave", access=("group:hr",)))
        kb.remove("leave")
        assert kb.history("leave").removed is not None
        done = kb.restore("leave")
        assert (done.version, done.embedded, done.changed) == (1, 0, ("removed",))
        assert sides(kb, "sick leave") == {"dense": {"leave"}, "keyword": {"leave"}}
        assert kb.search("sick leave", as_=[]).hits == ()
        assert kb.history("leave").removed is None

    def test_an_earlier_text_comes_back_as_a_new_version(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave"))
        kb.edit("leave", text="Stay at home.", title="Illness")
        kb.edit("leave", access=["group:hr"])
        done = kb.restore("leave", 1)
        assert (done.version, done.before, done.embedded, done.changed) == (3, 2, 0, ("title", "text"))
        assert (kb.show("leave").text, kb.show("leave").title) == (LEAVE, "Sick leave")
        assert kb.show("leave").access == ("group:hr",), "restoring opens nothing that was closed"
        assert kb.show("leave", version=2).text == "Stay at home."
        versions = kb.history("leave").versions
        assert [(v.version, v.same_as, v.current) for v in versions] == [
            (1, None, False),
            (2, None, False),
            (3, 1, True),
        ]
        assert [(v.added, v.removed) for v in versions] == [(3, 0), (1, 3), (3, 1)]

    def test_a_removed_document_comes_back_in_an_earlier_version(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE, "Sick leave"))
        kb.edit("leave", text="Stay at home.")
        kb.remove("leave")
        assert kb.restore("leave", 1).version == 3
        assert kb.show("leave").text == LEAVE

    def test_add_does_not_undo_it(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        (folder / "leave.md").write_text("# Sick leave\n\nNone.\n")
        kb.add(folder)
        kb.restore("leave.md", 1)
        (folder / "leave.md").touch()
        assert kb.add(folder).updated == 0
        assert kb.show("leave.md").text == LEAVE
        (folder / "leave.md").write_text("# Sick leave\n\nTwelve.\n")
        kb.add(folder)
        assert "Twelve" in kb.show("leave.md").text

    def test_what_was_dropped_with_its_file_comes_back_and_stays(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder)
        (folder / "leave.md").unlink()
        kb.add(folder, yes=True)
        kb.restore("leave.md")
        assert kb.add(folder).removed == 0
        assert kb.show("leave.md").text == LEAVE

    def test_what_cannot_be_restored_is_told(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE))
        with pytest.raises(QueryError, match="is not removed"):
            kb.restore("leave")
        with pytest.raises(NotFound, match="no version 7"):
            kb.restore("leave", 7)
        with pytest.raises(NotFound, match="no such document"):
            kb.restore("nothing", 1)

    def test_only_the_owner_finds_what_is_removed(self, kb: KnowledgeBase) -> None:
        kb.add(Document("leave", LEAVE))
        kb.remove("leave")
        for ask in (lambda: kb.history("leave", as_=[]), lambda: kb.show("leave", version=1, as_=[])):
            with pytest.raises(NotFound, match="no such document"):
                ask()
        with pytest.raises(NotFound, match="no such document"):
            kb.show("leave")


def test_a_citation_made_under_an_old_version_still_resolves(kb: KnowledgeBase, folder: Path) -> None:
    kb.add(folder)
    answer = kb.ask("How many days of paid sick leave does every employee get?")
    [cited, *_] = answer.citations
    assert answer.trace is not None
    trace = answer.trace.id

    def resolves(name: str) -> None:
        then = kb.show(name, version=cited.version)
        assert then.text[cited.start : cited.end] == cited.quote
        assert kb.trace(trace)["answer"]["citations"][0]["text"] == cited.quote

    for change in (
        lambda: kb.edit(cited.source, text="# Sick leave\n\nNone at all.\n"),
        lambda: kb.edit(cited.source, title="Illness"),
        lambda: kb.edit(cited.source, source="policy"),
        lambda: kb.restore("policy", 1),
        lambda: kb.remove("policy"),
    ):
        change()
        resolves(cited.source)
        resolves(cited.document)
    with pytest.raises(NotFound):
        kb.show(cited.source, version=1, as_=[])


# --- several processes ------------------------------------------------------------------------------------------------

READER = """
import json, sys, openbook
kb = openbook.open(sys.argv[1], create=False)
kb.search("warm")
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    hits = kb.search(asked.pop("question"), **asked).hits
    print(json.dumps([[h.source, h.title, h.chunk.text, sorted(h.stages)] for h in hits]), flush=True)
"""
WRITER = """
import sys, openbook
db, field = sys.argv[1:]
with openbook.open(db, create=False) as kb:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(1, 16):
        change = {"title": {"title": f"Title {n}"}, "text": {"text": f"Text {n} of the leave policy."},
                  "access": {"access": [f"group:{n}"]}, "a": {"metadata": {"a": n}}, "b": {"metadata": {"b": n}}}
        kb.edit("leave", **change[field])
"""


@contextmanager
def process(script: str, *arguments: str) -> Iterator[tuple[IO[str], IO[str]]]:
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running.stdin, running.stdout
        running.stdin.close()
        assert running.wait(timeout=60) == 0


def test_another_process_sees_each_edit_at_its_next_search(tmp_path: Path) -> None:
    db = str(tmp_path / "db")
    with open_(db) as kb:
        kb.add(Document("leave", LEAVE, "Sick leave"), Document("desk", "Book a desk before noon."))
        with process(READER, db) as (ask, told):

            def seen(question: str, **more: Any) -> list[Any]:
                ask.write(json.dumps({"question": question, **more}) + "\n")
                ask.flush()
                return [hit for hit in json.loads(told.readline()) if hit[0] != "desk"]

            both = ["dense", "fused", "keyword"]
            kb.edit("leave", text="Nobody may juggle walruses.")
            assert seen("juggle walruses") == [["leave", "Sick leave", "Nobody may juggle walruses.", both]]
            kb.edit("leave", title="Circus")
            assert seen("circus")[0][1::2] == ["Circus", both]
            kb.edit("leave", metadata={"year": 2031})
            assert seen("walruses", filter="year = 2031")[0][3] == both
            kb.edit("leave", access=["group:zoo"])
            assert seen("walruses", as_=[]) == []
            assert seen("walruses", as_=["group:zoo"])[0][3] == both
            kb.edit("leave", source="zoo")
            assert seen("walruses")[0][0] == "zoo"
            kb.remove("zoo")
            assert seen("walruses") == []
            kb.restore("zoo", 1)
            assert seen("paid sick leave")[0][2:] == [LEAVE.strip(), both]


def test_edits_of_different_fields_by_several_processes_all_survive(tmp_path: Path) -> None:
    """Five processes edit one document at once, a field each."""
    db = str(tmp_path / "db")
    with open_(db) as kb:
        kb.add(Document("leave", LEAVE, "Sick leave"))
        fields = ("title", "text", "access", "a", "b")
        with (
            process(WRITER, db, "title") as a,
            process(WRITER, db, "text") as b,
            process(WRITER, db, "access") as c,
            process(WRITER, db, "a") as d,
            process(WRITER, db, "b") as e,
        ):
            for start, _ in (a, b, c, d, e):
                start.write("go\n")
                start.flush()
        then = kb.show("leave")
        found = (then.title, then.text, then.access, then.metadata)
        assert found == ("Title 15", "Text 15 of the leave policy.", ("group:15",), {"a": 15, "b": 15}), fields
        versions = kb.history("leave").versions
        assert [version.version for version in versions] == list(range(1, 32)), "each title and text is a version"
        [hit] = kb.search("leave policy", 10).hits
        assert (hit.version, hit.chunk.text, hit.title) == (31, then.text, then.title)


def test_a_write_that_waited_for_a_change_of_access_is_written(kb: KnowledgeBase, database: Database) -> None:
    """The row was looked at as it is, its readers and version as they had been: the document was left out."""
    kb.add(Document("leave", LEAVE, "Sick leave"))
    kb.add(Document("other", "Something else."), access=["group:hr"])
    id = kb.named("leave")[0]
    writer = threading.Thread(target=lambda: kb.add(Document("leave", "Stay at home.", "Sick leave")))
    with database.transaction() as connection:
        connection.execute(
            "UPDATE openbook.document SET access = ("
            " SELECT access FROM openbook.document WHERE source = 'other' AND kb = %s) WHERE id = %s",
            [kb.kb, id],
        )
        writer.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with database.snapshot(None) as other:
                if other.execute(waits).fetchone() != (0,):
                    break
    writer.join()
    now = kb.show("leave")
    assert (now.text, now.access) == ("Stay at home.", ("group:hr",))
    assert [version.version for version in kb.history("leave").versions] == [1, 2]


def test_renaming_while_others_add_makes_no_second_document(kb: KnowledgeBase, database: Database) -> None:
    kb.add(Document("name-0", "Text 0."))
    failures: list[BaseException] = []
    done = threading.Event()

    def add() -> None:
        other = KnowledgeBase(database, kb.name)
        n = 0
        try:
            while not done.is_set():
                n += 1
                other.add(Document("name-0", f"Text {n}."))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(1, 20):
        kb.edit("name-0", source=f"name-{n}")
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [one["source"] for one in kb.list()] == ["name-19"]
    with database.snapshot(None) as connection:
        rows = connection.execute("SELECT count(*) FROM openbook.document WHERE kb = %s", [kb.kb]).fetchone()
    assert rows == (1,), "not even the beginning of one"


# --- any sequence -----------------------------------------------------------------------------------------------------

TEXTS = ("The walrus swims.", "The falcon flies.", "The badger digs.", "The gecko climbs.")
TITLES = ("Alpha", "Beta", "Gamma")


@pytest.fixture
def machine(new_kb: Callable[..., KnowledgeBase]) -> type[RuleBasedStateMachine]:
    """What is found, by filters and by callers, is what a dict would hold."""

    class Edits(RuleBasedStateMachine):
        names = Bundle("names")

        @initialize()
        def begin(self) -> None:
            self.kb = new_kb()
            self.made = 0
            self.model: dict[str, dict[str, Any]] = {}
            self.versions: dict[str, list[tuple[str, str]]] = {}

        def fresh(self) -> str:
            self.made += 1
            return f"doc-{self.made}"

        @rule(target=names, text=st.sampled_from(TEXTS), title=st.sampled_from(TITLES))
        def add(self, text: str, title: str) -> str:
            name = self.fresh()
            self.kb.add(Document(name, text, title))
            self.model[name] = {"text": text, "title": title, "n": None, "access": "public", "removed": False}
            self.versions[name] = [(text, title)]
            return name

        @rule(
            name=names,
            text=st.none() | st.sampled_from(TEXTS),
            title=st.none() | st.sampled_from(TITLES),
            n=st.none() | st.integers(0, 2),
            access=st.none() | st.sampled_from(["public", "group:a"]),
        )
        def edit(self, name: str, text: str | None, title: str | None, n: int | None, access: str | None) -> None:
            now = self.model[name]
            if now["removed"]:
                with pytest.raises(NotFound):
                    self.kb.edit(name, title="x")
                return
            self.kb.edit(name, text=text, title=title, metadata={"n": n}, access=None if access is None else [access])
            now["n"] = n
            now.update({k: v for k, v in {"text": text, "title": title, "access": access}.items() if v is not None})
            self.versioned(name)

        def versioned(self, name: str) -> None:
            now = (self.model[name]["text"], self.model[name]["title"])
            if self.versions[name][-1] != now:
                self.versions[name].append(now)

        @rule(target=names, name=consumes(names))
        def rename(self, name: str) -> str:
            if self.model[name]["removed"]:
                return name
            new = self.fresh()
            self.kb.edit(name, source=new)
            self.model[new], self.versions[new] = self.model.pop(name), self.versions.pop(name)
            return new

        @rule(name=names)
        def remove(self, name: str) -> None:
            if not self.model[name]["removed"]:
                self.kb.remove(name)
                self.model[name]["removed"] = True

        @rule(name=names, back=st.integers(0, 3))
        def restore(self, name: str, back: int) -> None:
            now, versions = self.model[name], self.versions[name]
            version = max(1, len(versions) - back)
            self.kb.restore(name, version)
            now["text"], now["title"] = versions[version - 1]
            now["removed"] = False
            self.versioned(name)

        @rule()
        def check(self) -> None:
            there = {name: one for name, one in self.model.items() if not one["removed"]}
            for principals, seen in ((None, there), ([], {k: v for k, v in there.items() if v["access"] == "public"})):
                hits = self.kb.search("walrus falcon badger gecko", 50, as_=principals).hits
                assert {h.source: (h.chunk.text, h.title, h.metadata.get("n")) for h in hits} == {
                    name: (one["text"], one["title"], one["n"]) for name, one in seen.items()
                }
                assert len(hits) == len(seen)
                for text in TEXTS:
                    word = text.split()[1]
                    assert sides(self.kb, word, as_=principals, k=50)["keyword"] == {
                        name for name, one in seen.items() if one["text"] == text
                    }
                n = {name for name, one in seen.items() if one["n"] == 1}
                assert {h.source for h in self.kb.search("animals", 50, filter="n = 1", as_=principals).hits} == n
            for name, versions in self.versions.items():
                history = self.kb.history(name)
                assert [(v.version, v.title) for v in history.versions] == [
                    (at, title) for at, (_, title) in enumerate(versions, 1)
                ]
                for at, (text, _) in enumerate(versions, 1):
                    assert self.kb.show(name, version=at).text == text

        def teardown(self) -> None:
            if hasattr(self, "kb"):
                self.check()

    return Edits


def test_any_sequence_of_edits_leaves_what_a_dict_would_hold(machine: type[RuleBasedStateMachine]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=8, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# --- the command line -------------------------------------------------------------------------------------------------


class TestCommands:
    def test_edit_history_and_restore(self, openbook: Callable[..., Any], folder: Path) -> None:
        openbook("add", "handbook")
        (folder.parent / "new.md").write_text("---\nteam: it\n---\n# VPN\n\nNo more tunnels.\n")
        done = openbook("edit", "vpn.md", "--text", "new.md", "--meta", "year=2025", "--no-meta", "team", "--json")
        assert done.returncode == 0, done.stderr
        edited = json.loads(done.stdout)
        assert edited.keys() >= {"document", "source", "version", "before", "changed", "embedded"}
        assert (edited["version"], edited["changed"]) == (2, ["text", "metadata"])
        shown = json.loads(openbook("show", "vpn.md", "--json").stdout)
        assert shown["text"] == "# VPN\n\nNo more tunnels.\n"
        assert (shown["metadata"]["year"], shown["metadata"].get("team")) == (2025, None)
        assert openbook("edit", "vpn.md", "--title", "Tunnels", "--text", "-", typed="Gone.").returncode == 0
        assert openbook("remove", "vpn.md").returncode == 0
        found = json.loads(openbook("history", "vpn.md", "--json").stdout)
        assert [version["version"] for version in found["versions"]] == [1, 2, 3]
        assert found["removed"] is not None
        assert "(removed " in openbook("history", "vpn.md").stdout
        restored = openbook("restore", "vpn.md", "--version", "1")
        assert "is back; title, text changed; version 4, before 3" in restored.stdout
        assert "as version 1" not in openbook("history", "vpn.md").stdout.splitlines()[0]
        assert "as version 1" in openbook("history", "vpn.md").stdout

    def test_what_makes_no_sense_is_one_line(self, openbook: Callable[..., Any], folder: Path) -> None:
        openbook("add", "handbook")
        for arguments, status, message in (
            (["edit", "vpn.md"], 2, "nothing to change"),
            (["edit", "nothing.md", "--title", "x"], 1, "no such document"),
            (["edit", "vpn.md", "--text", "none.md"], 2, "no such file"),
            (["edit", "vpn.md", "--meta", "x"], 2, "key=value"),
            (["restore", "vpn.md"], 2, "is not removed"),
            (["restore", "vpn.md", "--version", "9"], 1, "no version 9"),
            (["history", "nothing.md"], 1, "no such document"),
            (["add", "handbook", "--poll", "1"], 2, "without --watch"),
        ):
            done = openbook(*arguments)
            assert (done.returncode, done.stdout) == (status, ""), arguments
            assert len(done.stderr.strip().splitlines()) == 1
            assert message in done.stderr
