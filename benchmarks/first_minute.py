"""What a user waits for: the first add, the same add again, a cold question, and what was installed for it.

Each figure is a ratio to something measured in the same minute: the second add to the first, a cold ``openbook ask`` to
``import sentence_transformers`` in a process of its own (medians of several runs, in turn).

    python benchmarks/first_minute.py [--runs 5] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def run(*command: str, db: Path) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, "OPENBOOK_DB": str(db)}, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return seconds, done.stdout


def openbook(*arguments: str, db: Path) -> tuple[float, dict[str, object]]:
    seconds, out = run(sys.executable, "-m", "openbook", *arguments, "--json", db=db)
    return seconds, json.loads(out)


def aged_copy(folder: Path, to: Path) -> Path:
    """A copy with the times of an ordinary folder; copies of this instant count as still being written."""
    shutil.copytree(folder, to)
    past = time.time() - 3600
    for file in to.rglob("*"):
        os.utime(file, (past, past))
    return to


def again(name: str, folder: Path, scratch: Path) -> None:
    source = aged_copy(folder, scratch / name)
    first, added = openbook("add", str(source), db=scratch / f"{name}.db")
    seconds = statistics.median(openbook("add", str(source), db=scratch / f"{name}.db")[0] for _ in range(3))
    work = statistics.median(
        float(str(openbook("add", str(source), db=scratch / f"{name}.db")[1]["seconds"])) for _ in range(3)
    )
    print(f"add {name} ({added['added']} documents, {added['chunks']} chunks)")
    print(f"  the first time                 {first:8.2f} s")
    print(f"  again, unchanged               {seconds:8.2f} s   {first / seconds:5.0f} ×  (whole process)")
    print(f"  again, without start and stop  {work:8.2f} s   {float(str(added['seconds'])) / work:5.0f} ×")


def cold(db: Path, runs: int) -> None:
    question = "How many sick days do I get?"
    pairs = []
    for _ in range(runs + 1):
        ask, _ = openbook("ask", question, db=db)
        peer, _ = run(sys.executable, "-c", "import sentence_transformers", db=db)
        pairs.append((ask, peer))
    asks, peers = zip(*pairs[1:], strict=True)  # the first run fills the disk's cache
    ratio = statistics.median(ask / peer for ask, peer in pairs[1:])
    print(f"cold question ({runs} runs in turn)")
    print(f"  import sentence_transformers   {statistics.median(peers):8.2f} s")
    print(f"  openbook ask                   {statistics.median(asks):8.2f} s   {ratio:5.2f} of it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("OPENBOOK_DATA", HERE.parent.parent / "shared/data"))
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        again("handbook", HERE.parent / "examples" / "handbook", scratch)
        docs = options.data / "handbook-sourcegraph" / "docs"
        if docs.is_dir():
            again("handbook-sourcegraph", docs, scratch)
        cold(scratch / "handbook.db", options.runs)


if __name__ == "__main__":
    main()
