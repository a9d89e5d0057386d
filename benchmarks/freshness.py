"""How soon a saved file is found: ``add --watch`` in one process, a search in another, 100 saves of one file.

    python benchmarks/freshness.py [SAVES] [FILES]

FILES is how many files the followed folder holds besides. Each save writes a word that was nowhere before; the clock
runs from the end of the write until a search of the other process finds it by its words and by its meaning. Prints what
passed until it was found, the median and the 99th of a hundred, and of that what the watch waits for quiet.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import openbook
from openbook.watch import QUIET_MS

HANDBOOK = Path(__file__).resolve().parent.parent / "examples" / "handbook"


def main(saves: int = 100, files: int = 0) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, db = Path(place) / "handbook", Path(place) / "db"
        folder.mkdir()
        for n in range(files):
            (folder / f"page-{n}.md").write_text(f"# Page {n}\n\nThis is page {n}, about subject{n}.\n")
        text = (HANDBOOK / "people" / "time-off.md").read_text()
        (folder / "time-off.md").write_text(text)
        command = [sys.executable, "-m", "openbook", "--db", str(db), "add", str(folder), "--watch", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            assert json.loads(watch.stdout.readline())["added"] == files + 1
            with openbook.open(db, create=False) as kb:
                kb.search("warm")
                took = sorted(save(kb, folder / "time-off.md", text, n) for n in range(saves))
            watch.send_signal(signal.SIGINT)
            watch.stdout.read()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"saved until found, {saves} saves of one file of {len(text):,} characters among {files:,} more ({cores} cores)"
    )
    p99 = took[min(len(took) - 1, round(0.99 * len(took)))]
    print(f"  p50 {took[len(took) // 2]:.0f} ms   p99 {p99:.0f} ms   worst {took[-1]:.0f} ms   quiet {QUIET_MS} ms")


def save(kb: openbook.KnowledgeBase, file: Path, text: str, n: int) -> float:
    """Milliseconds from a save until it is found."""
    word = f"zq{n:x}{os.getpid():x}{'kvwxz'[n % 5]}"
    saved = file.with_suffix(".tmp")
    saved.write_text(f"{text}\nThe code word of today is {word}.\n")
    saved.replace(file)
    start = time.perf_counter()
    while True:
        hits = kb.search(f"code word of today {word}", 5, record=False).hits
        if any(word in hit.chunk.text and {"dense", "keyword"} <= hit.stages.keys() for hit in hits):
            return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
