"""Traces are written beside the answers, and none is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from pathlib import Path

import openbook
from openbook.knowledge_base import KnowledgeBase
from openbook.types import Trace


def trace() -> Trace:
    created = "2026-01-01T00:00:00+00:00"
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
