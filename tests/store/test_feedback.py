"""What people say of answers is bound to the trace, seen under the trace's rule, and its last word counts."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import openbook
from openbook.errors import NotFound, QueryError
from openbook.knowledge_base import KnowledgeBase
from openbook.store import database as store
from openbook.store.feedback import Feedback
from openbook.types import Document

Run = Callable[..., "subprocess.CompletedProcess[str]"]

LEAVE = "Every employee gets 10 days of paid sick leave a year."
SECRET = "The merger with Nimbus closes on 4 May. Until then nobody outside the board may know of it."


@pytest.fixture
def filled(kb: KnowledgeBase) -> KnowledgeBase:
    kb.add(
        Document("leave.md", LEAVE, "Leave"),
        Document("merger.md", SECRET, "Merger", access=("group:board",)),
    )
    return kb


def said(kb: KnowledgeBase, trace: str, as_: list[str] | None = None) -> list[tuple[str, str | None, int | None]]:
    return [(f["verdict"], f["answer"], f["hit"]) for f in kb.trace(trace, as_=as_)["feedback"]]


class TestTheLastWord:
    def test_of_one_person_counts(self, filled: KnowledgeBase) -> None:
        trace = filled.search("sick leave").id
        for verdict in ("up", "ten days", "DOWN"):
            filled.feedback(trace, verdict)
        assert said(filled, trace) == [("down", None, None)]

    def test_of_each_of_several_people_counts(self, filled: KnowledgeBase) -> None:
        trace = filled.search("sick leave", as_=["group:hr"]).id
        filled.feedback(trace, "up", as_=["group:hr", "user:ann"])
        filled.feedback(trace, "down", as_=["group:hr", "user:bob"])
        filled.feedback(trace, "ten days", as_=["user:ann", "group:hr"])
        assert sorted(said(filled, trace)) == [("better", "ten days", None), ("down", None, None)]

    def test_on_the_answer_leaves_what_was_said_of_a_hit(self, filled: KnowledgeBase) -> None:
        trace = filled.search("sick leave").id
        filled.feedback(trace, "up", hit=1)
        filled.feedback(trace, "down")
        filled.feedback(trace, "down", hit=1)
        assert said(filled, trace) == [("down", None, None), ("down", None, 1)]

    def test_may_be_a_better_answer_that_stands_in_a_hit(self, filled: KnowledgeBase) -> None:
        trace = filled.search("sick leave").id
        filled.feedback(trace, "up")
        filled.feedback(trace, " ten days ", hit=1)
        assert said(filled, trace) == [("better", "ten days", 1)], "a better answer takes the thumbs up back"

    @settings(
        max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )  # the trace is a new one each time
    @given(
        words=st.lists(
            st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["up", "down", "x", "y"])), max_size=8
        )
    )
    def test_whatever_is_said_in_whatever_order(
        self, filled: KnowledgeBase, words: list[tuple[str | None, str]]
    ) -> None:
        trace = filled.search("sick leave", as_=[]).id
        last: dict[str | None, str] = {}
        for who, verdict in words:
            filled.feedback(trace, verdict, as_=None if who is None else [who])
            last[who] = verdict
        found = filled.trace(trace)["feedback"]
        by = {None if f["principals"] is None else f["principals"][0]: f["answer"] or f["verdict"] for f in found}
        assert by == last


class TestWhoMaySee:
    def test_nobody_speaks_of_a_trace_that_is_not_theirs(self, filled: KnowledgeBase) -> None:
        trace = filled.search("merger", as_=["group:board"]).id
        unknown = "00000000-0000-4000-8000-000000000000"
        told = []
        for id in (trace, unknown):
            with pytest.raises(NotFound) as error:
                filled.feedback(id, "up", as_=["group:hr"])
            told.append(str(error.value).replace(id, "ID"))
        assert told[0] == told[1], "what exists and what does not are told apart nowhere"
        assert said(filled, trace) == []

    def test_nobody_sees_what_others_said_under_principals_they_lack(self, filled: KnowledgeBase) -> None:
        trace = filled.search("sick leave", as_=[]).id
        filled.feedback(trace, "up", as_=["user:ann"])
        filled.feedback(trace, "for the board only", as_=["group:board"])
        filled.feedback(trace, "down")
        assert said(filled, trace, ["user:ann"]) == [("up", None, None)]
        assert said(filled, trace, ["user:bob"]) == []
        assert [f.verdict for f in filled.reviewed(as_=["group:board"])[0].feedback] == ["better"]
        assert len(said(filled, trace)) == 3, "the owner sees all"
        assert filled.reviewed(as_=["user:bob"]) == []

    def test_a_passage_that_became_secret_is_not_shown_with_the_feedback(self, filled: KnowledgeBase) -> None:
        trace = filled.search("sick leave", as_=["user:ann"])
        filled.feedback(trace.id, "up", hit=1, as_=["user:ann"])
        [before] = filled.reviewed(as_=["user:ann"])
        assert [hit.text for hit in before.hits if hit] == [LEAVE]
        filled.add(Document("leave.md", LEAVE, "Leave", access=("group:board",)))
        [after] = filled.reviewed(as_=["user:ann"])
        assert after.hits == [None]
        assert [hit.text for hit in filled.reviewed()[0].hits if hit] == [LEAVE]

    def test_another_knowledge_base_of_the_database_knows_nothing_of_it(
        self, filled: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]
    ) -> None:
        trace = filled.search("sick leave").id
        filled.feedback(trace, "up")
        other = new_kb()
        assert other.reviewed() == []
        with pytest.raises(NotFound):
            other.feedback(trace, "up")


class TestWhatMakesNoSense:
    @pytest.mark.parametrize("verdict", ["", "  ", "\n"])
    def test_nothing_said(self, filled: KnowledgeBase, verdict: str) -> None:
        with pytest.raises(QueryError, match="says nothing"):
            filled.feedback(filled.search("leave").id, verdict)

    @pytest.mark.parametrize("hit", [0, -1, 2])
    def test_a_hit_that_was_not_found(self, filled: KnowledgeBase, hit: int) -> None:
        trace = filled.search("leave", 1).id
        with pytest.raises(QueryError, match=rf"hit {hit} of 1"):
            filled.feedback(trace, "up", hit=hit)

    def test_text_that_no_database_holds_is_kept_as_well_as_it_can_be(self, filled: KnowledgeBase) -> None:
        trace = filled.search("leave").id
        assert filled.feedback(trace, "ten\0days \ud800").answer == "ten�days �"


def test_what_was_asked_found_and_said_is_read_together(filled: KnowledgeBase) -> None:
    answer = filled.ask("How many days of sick leave do I get?", filter='title = "Leave"')
    assert answer.trace is not None
    given = filled.feedback(answer.trace.id, "up")
    assert given == Feedback(answer.trace.id, "up", created=given.created)
    [reviewed] = filled.reviewed()
    assert (reviewed.question, reviewed.filter) == ("How many days of sick leave do I get?", 'title = "Leave"')
    assert (reviewed.answered, reviewed.abstained, reviewed.written) == (True, False, False)
    [quote] = [passage for passage in reviewed.cited if passage]
    assert (quote.source, quote.text) == ("leave.md", answer.citations[0].quote)
    assert LEAVE[quote.start : quote.end] == quote.text


def test_removed_documents_leave_the_feedback_and_take_their_text(filled: KnowledgeBase) -> None:
    trace = filled.search("sick leave", 1).id
    filled.feedback(trace, "up", hit=1)
    filled.remove("leave.md")
    [reviewed] = filled.reviewed()
    assert (reviewed.hits, reviewed.feedback[0].hit) == ([None], 1)


class TestApproved:
    """Answers that are shown as examples: read for every question."""

    def test_is_what_nobody_called_bad_the_newest_first(self, filled: KnowledgeBase, tmp_path: Path) -> None:
        asked = ["How many days of sick leave?", "How much paid sick leave a year?", "Sick leave of employees?"]
        traces = [filled.ask(question).trace for question in asked]
        ids = [trace.id for trace in traces if trace]
        filled.traces.close()
        filled.feedback(ids[0], "up")
        filled.feedback(ids[1], "up", hit=1)  # of a passage, not of the answer
        for word in ("ten", "10 days"):
            filled.feedback(ids[2], word, as_=None)
        found = filled.feedbacks.approved(None, local_only=True)
        assert [question for question, _ in found] == [asked[2], asked[0]]
        assert found[0][1] == "10 days"
        # Another process says something: the next question knows of it.
        script = (
            "import openbook, sys\nwith openbook.open(sys.argv[1], sys.argv[2]) as kb: kb.feedback(sys.argv[3], 'down')"
        )
        command = [sys.executable, "-c", script, str(filled.database.where), filled.name, ids[0]]
        subprocess.run(command, check=True, timeout=300)
        assert [question for question, _ in filled.feedbacks.approved(None, local_only=True)] == [asked[2]]

    def test_of_others_nothing_is_read(self, filled: KnowledgeBase) -> None:
        """The hits of every trace with feedback were read, and that before every answer."""
        trace = filled.ask("How many days of sick leave?").trace
        assert trace is not None
        filled.traces.close()
        filled.feedback(trace.id, "up")
        with filled.database.transaction() as connection:
            connection.execute(
                "WITH long AS (INSERT INTO openbook.trace (id, kb, created, question, body)"
                "  SELECT gen_random_uuid(), kb, created, question, body || jsonb_build_object('details', (SELECT"
                "   jsonb_agg(gen_random_uuid()) FROM generate_series(1, 1000) WHERE n > 0))"
                "  FROM openbook.trace, generate_series(1, 300) AS n WHERE id = %s RETURNING id)"
                " INSERT INTO openbook.feedback (trace, verdict) SELECT id, 'down' FROM long",
                [trace.id],
            )
        tracemalloc.start()
        try:
            found = filled.feedbacks.approved(None, local_only=True)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert [question for question, _ in found] == ["How many days of sick leave?"]
        assert peak < 2 << 20, f"{peak:,} bytes"


def test_a_database_from_before_there_was_feedback_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as former:
        former.setattr(store, "MIGRATIONS", ("0001_initial",))
        store.Database.open(tmp_path / "db").close()
    with openbook.open(tmp_path / "db") as kb:
        kb.add(Document("leave.md", LEAVE))
        trace = kb.search("sick leave").id
        kb.feedback(trace, "up")
        assert said(kb, trace) == [("up", None, None)]


def test_from_the_command_line(openbook: Run, tmp_path: Path) -> None:
    (tmp_path / "leave.md").write_text(f"# Leave\n\n{LEAVE}\n")
    assert openbook("add", "leave.md").returncode == 0
    trace = json.loads(openbook("ask", "How many sick days?", "--as", "user:ann", "--json").stdout)["trace"]
    done = openbook("feedback", trace, "10 days", "--hit", "1", "--as", "user:ann", "--json")
    assert done.returncode == 0, done.stderr
    noted = json.loads(done.stdout)
    assert noted.keys() == {"trace", "verdict", "answer", "hit", "principals", "created"}
    assert (noted["verdict"], noted["answer"], noted["hit"]) == ("better", "10 days", 1)
    assert noted["principals"] == ["public", "user:ann"]
    assert "feedback  10 days (hit 1)" in openbook("show", "--trace", trace).stdout
    assert openbook("feedback", trace, "up").stdout == "noted: up\n"
    other = openbook("feedback", trace, "up", "--as", "user:bob")
    assert (other.returncode, other.stderr.count("\n")) == (1, 1)
    assert "no such trace" in other.stderr
