"""How soon an edit of one process is in the searches of another: dense only, keyword only and hybrid.

One process adds, changes and removes documents of its own among some thousand chunks of a public set. Another searches
without a pause for what is edited: a whole search each time, the question's embedding included. Milliseconds are from
where the writer's commit was acknowledged to the end of the first search that shows the edit. They hold what is left of
a search that began before the commit; beside them stands a search where nothing has changed: the least that can be.

    python benchmarks/visibility.py [--data ../shared/data] [--db /tmp/openbook-freshness] [--edits 300]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import openbook
from embed import features
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import EvidenceFusion, QueryHalf, Recipe, WeightedFusion
from openbook.types import Document

DOCUMENTS = 1_500  # of scifact: some 4,000 chunks
FUSIONS = {"dense": WeightedFusion(dense=1.0), "keyword": WeightedFusion(dense=0.0), "hybrid": EvidenceFusion()}
EDITS = ("add", "change", "remove")
PATIENCE = 30.0  # seconds


def documents(data: Path) -> list[Document]:
    with (data / "scifact" / "corpus.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Document(source=row["_id"], text=row["text"], title=row["title"]) for row in rows[: DOCUMENTS + 100]]


def read(db: Path) -> None:
    """The process that searches: for each line that tells a question it says "searching" when a first search has not
    shown what is asked for, and goes on until one does, and then says when that was."""
    kinds = {
        name: openbook.open(db, "freshness", recipe=Recipe(query=QueryHalf(fusion=fusion)), create=False)
        for name, fusion in FUSIONS.items()
    }
    for kb in kinds.values():
        kb.search("warm", record=False)
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        kb, idle = kinds[asked["kind"]], []
        for n in range(100_000):
            begun = time.perf_counter()
            shown = [hit.chunk.text for hit in kb.search(asked["question"], 20, record=False).hits]
            done = time.perf_counter()
            if any(asked["text"] in text for text in shown) is asked["there"]:
                break
            if n == 3:
                print("searching", flush=True)
            if n:
                idle.append((done - begun) * 1000)
        print(json.dumps({"at": done, "idle": float(np.median(idle))}), flush=True)
    for kb in kinds.values():
        kb.close()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, default=Path(os.environ.get("OPENBOOK_DATA", "../shared/data")))
    asked.add_argument("--db", type=Path, default=Path("/tmp/openbook-freshness"))
    asked.add_argument("--edits", type=int, default=300)
    asked.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.read:
        read(options.db)
        return

    texts = documents(options.data)
    with openbook.open(options.db, "freshness") as kb:
        kb.add(*texts[:DOCUMENTS])
        left = [row["source"] for row in kb.list() if row["source"].startswith("edit:")]
        if left:
            kb.remove(*left)
        print(
            f"freshness in {kb.index.count(None):,} chunks ({options.edits} edits,"
            f" {len(os.sched_getaffinity(0))} cores, {features()}, load {os.getloadavg()[0]:.1f} at the start)"
        )
        command = [sys.executable, __file__, "--read", "--db", str(options.db)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            try:
                assert reader.stdout is not None
                assert reader.stdout.readline() == "ready\n"
                report(measure(kb, reader, texts[DOCUMENTS:], options.edits))
            finally:
                reader.stdin.close()  # type: ignore[union-attr]


def measure(
    kb: KnowledgeBase, reader: Any, texts: list[Document], edits: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(kind of search, kind of edit) → for each edit the milliseconds until it was seen, and those of a search that
    finds nothing new."""
    chance = random.Random(0)
    took: dict[tuple[str, str], list[tuple[float, float]]] = {}
    there: dict[str, Document] = {}
    for n in range(edits):
        kind = tuple(FUSIONS)[n // len(EDITS) % len(FUSIONS)]
        edit = EDITS[n % len(EDITS)]
        token = f"{chance.getrandbits(64):016x}"
        if edit == "add":
            text = chance.choice(texts).text
            document = Document(source=f"edit:{n}", text=f"Record {token}. {text}", title="")
            there = {token: document}
        elif edit == "change":
            ((former, document),) = there.items()
            document = Document(source=document.source, text=document.text.replace(former, token), title="")
            there = {token: document}
        else:
            ((token, document),) = there.items()
        reader.stdin.write(
            json.dumps(
                {"kind": kind, "question": document.text[:300], "text": f"Record {token}", "there": edit != "remove"}
            )
            + "\n"
        )
        reader.stdin.flush()
        assert reader.stdout.readline() == "searching\n"
        if edit == "remove":
            kb.remove(document.source)
        else:
            kb.add(document)
        acknowledged = time.perf_counter()  # one clock for all processes of a machine
        seen = json.loads(reader.stdout.readline())
        took.setdefault((kind, edit), []).append((max(0.0, (seen["at"] - acknowledged) * 1000), seen["idle"]))
    return took


def report(took: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    print(f"  {'search':8} {'edit':8}  edits      p50       p99    idle search     p99/idle")
    rows = [((kind, edit), took.get((kind, edit), [])) for kind in FUSIONS for edit in EDITS]
    rows += [((kind, "all"), [one for edit in EDITS for one in took.get((kind, edit), [])]) for kind in FUSIONS]
    for (kind, edit), found in rows:
        if found:
            p50, p99 = np.percentile([ms for ms, _ in found], (50, 99))
            idle = float(np.median([ms for _, ms in found]))
            print(
                f"  {kind:8} {edit:8} {len(found):6} {p50:6.1f} ms {p99:6.1f} ms   {idle:8.1f} ms   {p99 / idle:6.1f} ×"
            )


if __name__ == "__main__":
    main()
