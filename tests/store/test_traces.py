"""Traces are written beside the answers, and none is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import openbook
from openbook.errors import QueryError
from openbook.knowledge_base import KnowledgeBase
from openbook.store import traces as store
from openbook.types import Trace


def trace(age: float = 0) -> Trace:
    """Of a question asked so many days ago."""
    created = (datetime.now(UTC) - timedelta(days=age)).isoformat()
    return Trace(id=str(uuid.uuid4()), question="Why?", release="r1", ms={"total": 1.0}, hits=(), created=created)


def test_recording_and_reading_from_many_threads_loses_none(kb: KnowledgeBase) -> None:
    """A thread that was started while another one was being stopped took its stop: close then waited for ever."""
    traces = [trace() for _ in range(600)]
    done = threading.Event()

    def record(part: list[Trace]) -> None:
        for one in part:
            kb.traces.record(one)

    def close() -> None:
        while not done.is_set():
            kb.traces.close()

    writers = [threading.Thread(target=record, args=(traces[n::3],)) for n in range(3)]
    closers = [threading.Thread(target=close, daemon=True) for _ in range(2)]
    for thread in writers + closers:
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    for thread in closers:
        thread.join(60)
        assert not thread.is_alive()
    kb.traces.close()
    assert all(kb.traces.get(one.id, None) for one in traces)


def test_a_script_that_never_closes_keeps_its_traces(tmp_path: Path) -> None:
    """The last ones were lost with the thread that was to write them."""
    script = "import openbook; kb = openbook.open('db'); print([kb.search('x').id for _ in range(20)][-1])"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    with openbook.open(tmp_path / "db") as kb:
        assert kb.trace(done.stdout.strip())["question"] == "x"


def there(kb: KnowledgeBase, traces: list[Trace]) -> list[bool]:
    kb.traces.close()
    return [kb.traces.get(one.id, None) is not None for one in traces]


def test_old_traces_go_as_new_ones_are_written(new_kb: Callable[..., KnowledgeBase]) -> None:
    """They were kept for ever."""
    kb, other = new_kb(), new_kb()
    assert kb.status()["trace_days"] == store.DAYS
    other.keep_traces(None)
    for base in (kb, other):
        for age in (91, 91, 89):
            base.traces.record(trace(age))
    old, praised, young = [trace(91), trace(91), trace(89)]
    kb.keep_traces(None)
    for one in (old, praised, young):
        kb.traces.record(one)
    kb.feedback(praised.id, "up")
    kb.keep_traces(90)
    other.traces.close()
    assert there(kb, [old, praised, young]) == [False, True, True]
    with kb.database.snapshot(None) as connection:
        count = "SELECT count(*) FROM openbook.trace WHERE kb = %s AND created < now() - interval '90 days'"
        assert connection.execute(count, [kb.kb]).fetchone() == (1,), "the one that was praised"
        assert connection.execute(count, [other.kb]).fetchone() == (2,), "another knowledge base has its own rule"


def test_old_traces_go_in_batches_while_questions_are_asked(kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "EXPIRED", 2)
    kb.keep_traces(None)
    old = [trace(10) for _ in range(5)]
    for one in old:
        kb.traces.record(one)
    assert there(kb, old) == [True] * 5
    with kb.database.transaction("owner") as connection:
        connection.execute("UPDATE openbook.knowledge_base SET trace_days = 9 WHERE id = %s", [kb.kb])
    kb.traces._look = 0.0
    left = []
    for _ in range(3):
        kb.search("Why?")
        left.append(there(kb, old).count(True))
    assert left == [3, 1, 0]


def test_how_long_they_are_kept_goes_with_an_export(kb: KnowledgeBase, tmp_path: Path) -> None:
    kb.keep_traces(7)
    kb.export(tmp_path / "file")
    kb.export(tmp_path / "theirs", as_=[])
    with openbook.open(tmp_path / "db"):
        pass
    openbook.import_(tmp_path / "file", tmp_path / "db", "ours")
    openbook.import_(tmp_path / "theirs", tmp_path / "db", "theirs")
    for name, days in (("ours", 7), ("theirs", store.DAYS)):
        with openbook.open(tmp_path / "db", name, create=False) as back:
            assert back.status()["trace_days"] == days
    assert "trace_days" not in kb.status(as_=[])


def test_the_command_line_says_and_sets_it(
    openbook: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("The parrot is blue.")
    openbook("add", "a.md")
    assert openbook("traces").stdout == "traces are kept for 90 days\n"
    assert openbook("traces", "--forever").stdout == "traces are kept for ever\n"
    assert openbook("traces", "--days", "0").returncode
    assert openbook("traces", "--days", "30", "--forever").stderr.startswith("openbook: both --days and --forever")
    assert openbook("traces", "--days", "30", "--json").stdout == '{"trace_days": 30, "deleted": 0}\n'
    assert "traces          kept for 30 days\n" in openbook("status").stdout


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_a_number_of_days_that_makes_no_sense(kb: KnowledgeBase, days: int) -> None:
    with pytest.raises(QueryError, match="keep them for 1 to 36,500 days, or for ever"):
        kb.keep_traces(days)
    assert kb.status()["trace_days"] == store.DAYS
