"""Four processes write, remove and search the same documents while a release is built, promoted and rolled back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.reliability.checks import census, invariants, looks
from tests.reliability.documents import opened, recipes
from tests.reliability.history import Event, impossible

from openbook.errors import QueryError
from openbook.knowledge_base import KnowledgeBase

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4


@pytest.mark.parametrize("operations", [pytest.param(50), pytest.param(1000, marks=pytest.mark.reliability)])
def test_a_history_of_four_processes_has_an_order(operations: int, tmp_path: Path, url: str) -> None:
    db = tmp_path / "db"
    begun = time.monotonic()
    with opened(db, url) as kb:
        files = [tmp_path / f"history-{n}" for n in range(PROCESSES)]
        workers = [_start(db, url, n, operations, file) for n, file in enumerate(files)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            print("go", file=worker.stdin, flush=True)
        turns = _release(kb, url, workers)
        assert [worker.wait(600) for worker in workers] == [0] * PROCESSES
        start = time.monotonic()
        last = {source: looks(source, hits) for source, hits in census(kb).items()}
        faces = {source: face for source, (face, _) in last.items()}
        broken = invariants(kb)
    history, wrong = _read(files)
    history.append(Event(PROCESSES, start, time.monotonic(), "seen", faces))
    wrong += [line for _, lines in last.values() for line in lines] + broken
    kinds = Counter(event.kind for event in history)
    waits = sorted(event.end - event.start for event in history)
    print(
        f"{PROCESSES} processes x {operations}: {dict(kinds)}, {turns} while releases were built and turned,"
        f" p99 {waits[len(waits) * 99 // 100] * 1000:.0f} ms, {time.monotonic() - begun:.0f} s; {len(wrong)} wrong"
    )
    assert not wrong, wrong[:5]
    assert impossible(history) is None


def _start(db: Path, url: str, n: int, operations: int, history: Path) -> subprocess.Popen[str]:
    order = {"db": str(db), "url": url, "n": n, "seed": n, "operations": operations, "history": str(history)}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.concurrency", json.dumps(order)],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _release(kb: KnowledgeBase, url: str, workers: list[subprocess.Popen[str]]) -> int:
    """Build, promote, roll back and promote again, one recipe after the other, as long as they work."""
    turns = 0
    while any(worker.poll() is None for worker in workers):
        for recipe in recipes(url):
            try:
                built = kb.build(recipe)
            except QueryError:  # it is there: the one that is live, or was before
                continue
            kb.promote(built.release)
            kb.rollback()
            kb.promote(built.release)
            turns += 3
            kb.prune()
            if all(worker.poll() is not None for worker in workers):
                break
    return turns


def _read(files: list[Path]) -> tuple[list[Event], list[str]]:
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    wrong = [line["wrong"] for line in lines if isinstance(line, dict)]
    return [Event.from_json(line) for line in lines if isinstance(line, list)], wrong
