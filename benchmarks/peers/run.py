"""openbook beside its peers: the same corpora, the same embedding model, one peer at a time.

Every peer is used as its documentation shows, with its defaults and with persistence where it has it; a document is
given whole, as one text. Each is measured beside ``SentenceTransformer.encode`` in the same minute, since other work on
the machine slows both. What is measured:

    added      documents a second, model loaded, saving included where its user must save; and as a ratio to encode
    query      p50 and p95 in ms of asking for 10 hits, in a new process, after 20 questions to warm up; and the ratio
               of p50 to encoding the question alone
    processor  the same two in processor time, PostgreSQL's included: other work on the machine blurs it less
    nDCG@10, Recall@100
               of the best 100 documents, by ir_measures, the same code for all; a document counts by its best chunk
    memory     peak of the process and all that it started (openbook's PostgreSQL), as the sum of their proportional
               set sizes, in which memory that several share counts once; every 0.25 s, while adding and while asking
    cold       a new process opens the index, answers one question and ends; median of 3, from start to end
    behaviour  who sees an edit, and what is there after a kill: see behaviour.py

    python benchmarks/peers/run.py [--peers openbook …] [--sets cranfield …] [--limit N] [--skip behaviour]

Results go to results.json and results.md here; a run renews the rows that it measured and keeps the others. With
``--limit`` (the first N documents of a set) they are printed only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import behaviour
import ir_measures
import numpy as np
import report
import setup
from session import ENVIRONMENT, PeerFailed, Session, cold, processor

HERE = Path(__file__).resolve().parent
SETS = ("cranfield", "scifact")
REFERENCE_TEXTS, REFERENCE_BATCH = 256, 32
"""Documents encoded by the reference, half of them before and half after a peer adds; and encode's own batch size."""
REFERENCE_QUESTIONS = 50
WARM = 20
COLD_RUNS = 3


class Corpus:
    """A BEIR folder, or its first ``limit`` documents with the questions that they can answer."""

    def __init__(self, folder: Path, scratch: Path, limit: int | None) -> None:
        self.name = folder.name
        self.lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[:limit]
        # A copy: openbook remembers files, and the shared ones are not ours to leave traces of.
        self.path = scratch / f"{folder.name}.jsonl"
        self.path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        rows = [json.loads(line) for line in self.lines]
        self.texts = [f"{row.get('title') or ''}\n{row['text']}".strip() for row in rows]
        known = {row["_id"] for row in rows}
        self.judgements: dict[str, dict[str, int]] = {}
        with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as lines:
            for question, document, grade in list(csv.reader(lines, delimiter="\t"))[1:]:
                if document in known:
                    self.judgements.setdefault(question, {})[document] = int(grade)
        with (folder / "queries.jsonl").open(encoding="utf-8") as lines:
            asked = {row["_id"]: row["text"] for row in map(json.loads, lines)}
        self.questions = {id: text for id, text in asked.items() if id in self.judgements}

    def judged(self, found: Sequence[Sequence[str]]) -> dict[str, float]:
        """Means over all questions; one that found nothing counts 0. Scores fall strictly, so no tie is broken."""
        run = [
            ir_measures.ScoredDoc(question, document, float(-rank))
            for question, ids in zip(self.questions, found, strict=True)
            for rank, document in enumerate(list(dict.fromkeys(ids))[:100])
        ]
        qrels = [ir_measures.Qrel(q, d, grade) for q, of in self.judgements.items() for d, grade in of.items()]
        measures = {"ndcg@10": ir_measures.nDCG @ 10, "recall@100": ir_measures.R @ 100}
        sums = dict.fromkeys(measures, 0.0)
        for metric in ir_measures.iter_calc(list(measures.values()), qrels, run):
            sums[next(name for name, measure in measures.items() if measure == metric.measure)] += metric.value
        return {name: total / len(self.questions) for name, total in sums.items()}


def batches_of(texts: Sequence[str]) -> list[list[str]]:
    """Some of the batches that ``encode`` would make of all the texts: of equal length, evenly spaced. As many texts
    drawn at random would be padded more, and everybody would seem to be quicker than encode."""
    ordered = sorted(texts, key=len, reverse=True)
    batches = [ordered[i : i + REFERENCE_BATCH] for i in range(0, len(ordered), REFERENCE_BATCH)]
    wanted = min(len(batches), REFERENCE_TEXTS // REFERENCE_BATCH)
    return [batches[int((i + 0.5) * len(batches) / wanted)] for i in range(wanted)]


class Reference:
    """sentence-transformers in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(setup.python_of("base")), str(HERE / "reference.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **ENVIRONMENT},
            text=True,
        )

    def __enter__(self) -> Reference:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def processor(self) -> float:
        return processor(self._process.pid)

    def seconds(self, **texts: list[Any]) -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(texts) + "\n")
        self._process.stdin.flush()
        return list(json.loads(self._process.stdout.readline())["result"])


def measure(peer: str, corpus: Corpus, scratch: Path, log: Path) -> dict[str, Any]:
    """One peer on one set."""
    new_session = partial(Session, setup.python_of(peer), HERE / f"peer_{peer}.py", log)
    folder = scratch / f"{peer}-{corpus.name}"
    sample = batches_of(corpus.texts)
    questions = list(corpus.questions.values())
    row: dict[str, Any] = {"conditions": conditions()}
    with Reference() as reference:
        used = reference.processor()
        encode = reference.seconds(documents=sample[::2])
        with new_session() as session:
            about = session.ask("about")
            session.ask("open", folder=str(folder))
            session.sample_memory()
            before = session.processor()
            adding = session.timed("add", corpus=str(corpus.path))
            saving = session.timed("save")
            add_used = session.processor() - before
            session.ask("close")
            row["memory_add"] = session.peak
        encode += reference.seconds(documents=sample[1::2])
        used = reference.processor() - used
        row |= {"versions": about["versions"], "saves": about["saves"], "documents": len(corpus.texts)}
        row["add"] = {
            "seconds": adding,
            "save_seconds": saving,
            "rate": len(corpus.texts) / (adding + saving),
            "encode_rate": sum(map(len, sample)) / sum(encode),
            "processor": add_used / len(corpus.texts),
            "encode_processor": used / sum(map(len, sample)),
        }

        with new_session() as session:
            session.ask("open", folder=str(folder))
            session.sample_memory()
            modes = [mode for mode in ("hybrid", "dense") if mode in about["modes"]]
            for mode in modes:
                used = reference.processor()
                one = reference.seconds(questions=questions[:REFERENCE_QUESTIONS])
                used = (reference.processor() - used) / len(one)
                session.ask("search_all", questions=questions[:WARM], k=10, mode=mode)
                before = session.processor()
                seconds = session.ask("search_all", questions=questions, k=10, mode=mode)["seconds"]
                p50, p95 = (float(value) * 1000 for value in np.percentile(seconds, [50, 95]))
                row[mode] = {
                    "p50": p50,
                    "p95": p95,
                    "encode_p50": statistics.median(one) * 1000,
                    "processor": (session.processor() - before) / len(questions),
                    "encode_processor": used,
                }
            row["memory_ask"] = session.peak  # before the deeper search, which only this benchmark asks for
            for mode in modes:
                found = session.ask("search_all", questions=questions, k=about["depth"], mode=mode)["found"]
                row[mode] |= corpus.judged(found)
            session.ask("close")
    mode = "hybrid" if "hybrid" in about["modes"] else "dense"
    runs = [
        cold(setup.python_of(peer), HERE / f"peer_{peer}.py", folder, questions[0], mode, log)
        for _ in range(COLD_RUNS)  # the disk's cache is full of it by now
    ]
    row["cold"] = {"seconds": statistics.median(runs), "mode": mode}
    row["load_after"] = os.getloadavg()[0]
    shutil.rmtree(folder, ignore_errors=True)
    return row


def behave(peer: str, scratch: Path, log: Path) -> dict[str, Any]:
    new_session = partial(Session, setup.python_of(peer), HERE / f"peer_{peer}.py", log)
    return {
        "conditions": conditions(),
        "visible": behaviour.visibility(new_session, scratch),
        "killed": behaviour.survival(new_session, scratch),
    }


def conditions() -> dict[str, Any]:
    cpu = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        cpu.setdefault(name.strip(), value.strip())
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    names = {"amx_bf16": "AMX", "avx512f": "AVX-512", "avx2": "AVX2"}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": cpu.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": next((name for flag, name in names.items() if flag in flags), "neither AVX2 nor AVX-512"),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def renewed(old: Mapping[str, Any], kind: str, where: str, peer: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The results with one row put in place of the one it had."""
    part = {**old.get(kind, {})}
    if where:
        part[where] = {**part.get(where, {}), peer: row}
    else:
        part[peer] = row
    return {**old, kind: part}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=setup.PEERS, default=setup.PEERS)
    parser.add_argument("--sets", nargs="*", default=SETS, help="BEIR folders of --data")
    parser.add_argument("--limit", type=int, help="the first N documents of each set; prints, and keeps no results")
    parser.add_argument("--skip", choices=("behaviour",), help="measure the sets only")
    data = os.environ.get("OPENBOOK_DATA", HERE.parent.parent.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json and results.md are")
    options = parser.parse_args()
    file = options.out / "results.json"
    results: dict[str, Any] = {}
    if file.exists() and options.limit is None:
        results = json.loads(file.read_text(encoding="utf-8"))
    setup.ensure("base")
    failed = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        log = Path(tempfile.gettempdir()) / "openbook-peers.log"
        log.write_bytes(b"")
        corpora = [Corpus(options.data / name, scratch, options.limit) for name in options.sets]
        for peer in options.peers:
            setup.ensure(peer)
            for corpus in corpora:
                begun = time.perf_counter()
                try:
                    row = measure(peer, corpus, scratch, log)
                except PeerFailed as failure:
                    failed.append(f"{peer} on {corpus.name}: {failure}")
                    continue
                results = renewed(results, "sets", corpus.name, peer, row)
                _keep(results, options)
                print(f"{peer} on {corpus.name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
            if options.skip != "behaviour":
                begun = time.perf_counter()
                place = scratch / f"{peer}-behaviour"
                place.mkdir()
                try:
                    results = renewed(results, "behaviour", "", peer, behave(peer, place, log))
                except PeerFailed as failure:
                    failed.append(f"{peer}, behaviour: {failure}")
                    continue
                _keep(results, options)
                print(f"{peer}, behaviour: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    print(report.markdown(results))
    for line in failed:
        print(f"failed: {line} (see {log})", file=sys.stderr)
    sys.exit(bool(failed))


def _keep(results: Mapping[str, Any], options: argparse.Namespace) -> None:
    if options.limit is None:
        (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (options.out / "results.md").write_text(report.markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
