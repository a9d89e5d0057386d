"""The embedding model is exchanged, and exchanged back, while others ask and edit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.reliability.documents import told_by
from tests.reliability.migration import EDITED, Asked, edited, mixed

import openbook
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import IndexHalf, LocalEmbedder, OpenAIEmbedder, QueryHalf, Recipe, StructureChunker

ROOT = Path(__file__).resolve().parents[2]
ASKING = 3
SETS = ("scifact", "handbook-sourcegraph", "docs-etcd")
SAME_DIMENSION = 384
"""As the packaged model: vectors of the two could be compared, if anything let them."""


@pytest.mark.parametrize("dimension", [96, SAME_DIMENSION])
def test_nobody_notices_the_exchange(dimension: int, data: Path, tmp_path: Path, url: str) -> None:
    documents = _documents(data, SETS[:1], 150)
    migrate(documents, data, dimension, tmp_path, url, 300, LocalEmbedder())


@pytest.mark.reliability
def test_nobody_notices_the_exchange_of_20_000_chunks(data: Path, tmp_path: Path, url: str) -> None:
    """Real texts; the vectors of both models are sums of their words', so that it takes minutes."""
    first = OpenAIEmbedder(model="words", base_url=url, dimensions=64)
    migrate(_documents(data, SETS, None), data, 96, tmp_path, url, 20_000, first)


def migrate(
    documents: list[openbook.Document],
    data: Path,
    dimension: int,
    folder: Path,
    url: str,
    least: int,
    first: LocalEmbedder | OpenAIEmbedder,
) -> None:
    questions = [json.loads(line)["text"] for line in (data / SETS[0] / "queries.jsonl").read_text().splitlines()[:40]]
    other = Recipe(
        index=IndexHalf(
            chunk=StructureChunker(target_tokens=96),
            embed=OpenAIEmbedder(model="words", base_url=url, dimensions=dimension),
        )
    )
    # Every chunk a hit of its own, so that a hit can be found again in its index.
    with openbook.open(folder / "db", recipe=Recipe(index=IndexHalf(embed=first), query=QueryHalf(merge=0))) as kb:
        kb.add(*documents, *(edited(n, 0) for n in range(EDITED)))
        chunks = kb.status()["chunks"]
        assert chunks >= least
        stop = folder / "stop"
        asking = [folder / f"asked-{n}" for n in range(ASKING)]
        orders = [{"role": "ask", "questions": questions[n:], "out": str(asking[n])} for n in range(ASKING)]
        orders.append({"role": "edit", "out": str(folder / "edits")})
        workers = [_start({**order, "db": str(folder / "db"), "stop": str(stop)}) for order in orders]
        seconds: dict[str, float] = {}
        phases = [("before", time.monotonic())]
        try:
            time.sleep(2)
            phases.append(("building", time.monotonic()))
            built = kb.build(other)
            seconds["build"] = time.monotonic() - phases[-1][1]
            for verb in ("promote", "rollback", "promote again"):
                phases.append((verb, time.monotonic()))
                pointers = kb.rollback() if verb == "rollback" else kb.promote(built.release)
                seconds[verb] = time.monotonic() - phases[-1][1]
                assert pointers.live == ("r1" if verb == "rollback" else built.release)
                time.sleep(2)
        finally:
            stop.touch()
            codes = [worker.wait(60) for worker in workers]
        assert codes == [0] * len(workers)
        failed, answers, edits = _seen([*asking, folder / "edits"])
        wrong, lost = [], []
        for name in ("r1", built.release):
            wrong += mixed(kb, name, [answer for answer in answers if answer.release == name])
            lost += _lost(KnowledgeBase(kb.database, kb.name, release=name), edits)
    print(
        f"{chunks} chunks -> {built.chunks}: {len(answers)} answers, {len(failed)} failed, {len(wrong)} mixed,"
        f" {len(edits)} documents edited, {len(lost)} edits lost; "
        + ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    )
    for (phase, start), (_, end) in zip(phases, [*phases[1:], ("", float("inf"))], strict=True):
        ms = sorted(answer.ms for answer in answers if start <= answer.at < end)
        if ms:
            p50, p95 = ms[len(ms) // 2], ms[len(ms) * 95 // 100]
            print(f"  {phase:14} {len(ms):5} answers, p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    assert not failed, failed[:5]
    assert not wrong, wrong[:5]
    assert not lost, lost[:5]
    assert {answer.release for answer in answers} == {"r1", built.release}
    assert seconds["rollback"] < 1.0


def _documents(data: Path, sets: tuple[str, ...], most: int | None) -> list[openbook.Document]:
    rows = [json.loads(line) for name in sets for line in (data / name / "corpus.jsonl").read_text().splitlines()]
    return [
        openbook.Document(source=f"{n}-{row['_id']}", text=row["text"], title=row.get("title", ""))
        for n, row in enumerate(rows[:most])
    ]


def _start(order: dict[str, Any]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.migration"],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(json.dumps(order), file=worker.stdin, flush=True)
    assert worker.stdout.readline() == "ready\n"
    return worker


def _seen(files: list[Path]) -> tuple[list[str], list[Asked], dict[int, int]]:
    """What failed, the answers, and the newest acknowledged revision of each edited document."""
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    failed = [line["failed"] for line in lines if "failed" in line]
    answers = [Asked.from_json(line) for line in lines if "hits" in line]
    return failed, answers, dict(line["acknowledged"] for line in lines if "acknowledged" in line)


def _lost(kb: KnowledgeBase, edits: dict[int, int]) -> list[str]:
    """Edits that this release does not show."""
    found = []
    for n, revision in edits.items():
        wanted = edited(n, revision)
        hits = [hit for hit in kb.search(wanted.title, 3).hits if hit.source == wanted.source]
        seen = {told_by(hit.title, hit.metadata).revision for hit in hits}
        if seen != {revision} or kb.show(wanted.source).text != wanted.text:
            found.append(f"{kb.release}: {wanted.source} is {seen}, not {revision}")
    return found
