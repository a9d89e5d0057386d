"""Search in 100,000 chunks: recall and milliseconds, unfiltered, under filters and under access rules.

The texts are documents of the public sets, cut into windows of 400 characters that overlap by half. Of each ten
windows one is embedded; the others take the vector of the nearest one that is, with noise (cosine 0.8, as neighbours
have). They are written through the store's own API into a knowledge base that is kept in ``--db`` and used again.

Recall is that of the dense side, asked for 10 and for as many candidates as the default recipe asks for, against an
exact search in numpy over what the same filter lets through. Milliseconds are of the whole hybrid search by the default
recipe, without the embedding of the question. Beside them stands what the machine's memory allows: one exact scan of
the same vectors (float32) by numpy, between the same questions, so that whatever else the machine does slows both.
"CPU" is what this process and the server's together computed for a search: no wait is in it, so that it can be read on
a machine that does other work, though its caches are then shared.

    python benchmarks/filtered.py [--data ../shared/data] [--db /tmp/openbook-scale] [--questions 200]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import openbook
from embed import features
from openbook.embed import Embedder
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import QueryHalf
from openbook.store.filter import matches, parse
from openbook.store.index import Reading
from openbook.store.writing import Write
from openbook.types import Chunk, Document

CHUNKS = 100_000
WINDOW, STEP = 400, 200
EMBEDDED = 10  # one window of so many
COSINE = 0.8
GROUPS = 200  # each document is open to one of them
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
K = 10


# --- the knowledge base -----------------------------------------------------------------------------------------------


def documents(data: Path) -> Iterator[Document]:
    """Every document of every set, shuffled; ``at`` counts chunks, so that ``at < 1000`` is one chunk of a hundred."""
    rows = [
        (path.parent.name, json.loads(line)) for path in sorted(data.glob("*/corpus.jsonl")) for line in path.open()
    ]
    rows = [(name, row) for name, row in rows if row["text"].strip()]
    chance = random.Random(0)
    chance.shuffle(rows)
    # Small ones first: the smallest share is ten chunks.
    rows.sort(key=lambda row: len(row[1]["text"]) > 4 * STEP or chance.random() < 0.9)
    at = 0
    for name, row in rows:
        yield Document(
            source=f"{name}/{row['_id']}",
            text=row["text"],
            title=row.get("title") or "",
            metadata={"set": name, "at": at},
            access=(f"group:{chance.randrange(GROUPS)}",),
        )
        at += len(windows(row["text"]))
        if at >= CHUNKS:
            return


def windows(text: str) -> list[Chunk]:
    starts = range(0, max(1, len(text) - (WINDOW - STEP)), STEP)
    return [Chunk(start, min(start + WINDOW, len(text)), text[start : start + WINDOW]) for start in starts]


def vectors(chunks: Sequence[Chunk], embedder: Embedder, chance: np.random.Generator) -> np.ndarray:
    """float32[n, d], unit length."""
    known = embedder.encode([chunk.text for chunk in chunks[EMBEDDED // 2 :: EMBEDDED] or chunks[:1]], "document")
    near = known[np.minimum(np.arange(len(chunks)) // EMBEDDED, len(known) - 1)]
    noise = chance.standard_normal(near.shape, dtype=np.float32) / np.sqrt(near.shape[1])
    mixed = near * COSINE + noise * np.sqrt(1 - COSINE**2)
    mixed[EMBEDDED // 2 :: EMBEDDED] = near[EMBEDDED // 2 :: EMBEDDED]
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def build(kb: KnowledgeBase, data: Path) -> None:
    """Fill the knowledge base, from where it was left."""
    there = {row["source"] for row in kb.list()}
    chance = np.random.default_rng(len(there))
    batch: list[Document] = []
    for document in (*documents(data), None):
        if document is not None and document.source not in there:
            batch.append(document)
        cut = [windows(one.text) for one in batch]
        if batch and (document is None or sum(map(len, cut)) >= 4_000):
            made = vectors([chunk for chunks in cut for chunk in chunks], kb.embedder, chance)
            split = np.split(made, np.cumsum([len(chunks) for chunks in cut])[:-1])
            kb.writer.write(
                [
                    Write(one, readings={kb.index.id: Reading(chunks, rows, kb.embedder.hash)})
                    for one, chunks, rows in zip(batch, cut, split, strict=True)
                ]
            )
            there |= {one.source for one in batch}
            batch = []
            print(f"\r{kb.index.count(None):,} chunks written", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


# --- the measurement --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Held:
    """What the index holds, for the exact search: ids int64[n], vectors float32[n, d], and each chunk's document."""

    ids: np.ndarray
    vectors: np.ndarray
    metadata: list[dict[str, object]]

    @classmethod
    def of(cls, kb: KnowledgeBase) -> Held:
        from psycopg import sql

        with kb.database.snapshot(None) as connection:
            rows = connection.execute(
                sql.SQL(
                    "SELECT c.id, c.vector, d.metadata || jsonb_build_object('group', a.principals)"
                    " FROM {} c JOIN openbook.document d ON d.id = c.document"
                    " JOIN openbook.access_set a ON a.id = c.access ORDER BY c.id"
                ).format(kb.index.table)
            ).fetchall()
        return cls(
            np.array([row[0] for row in rows]),
            np.stack([row[1].to_numpy().astype(np.float32) for row in rows]),
            [row[2] for row in rows],
        )

    def nearest(self, vector: np.ndarray, allowed: np.ndarray | None) -> list[int]:
        scores = self.vectors @ vector
        if allowed is not None:
            scores = np.where(allowed, scores, -2.0)
        best = np.argpartition(-scores, K)[:K]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [int(self.ids[i]) for i in best if scores[i] > -2.0]


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    filter: str | None = None
    as_: tuple[str, ...] | None = None


def questions(data: Path, n: int) -> list[str]:
    found = [json.loads(line)["text"] for path in sorted(data.glob("*/queries.jsonl")) for line in path.open()]
    random.Random(1).shuffle(found)
    return found[:n]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, default=Path(os.environ.get("OPENBOOK_DATA", "../shared/data")))
    asked.add_argument("--db", type=Path, default=Path("/tmp/openbook-scale"))
    asked.add_argument("--questions", type=int, default=200)
    asked.add_argument("--stages", action="store_true", help="the milliseconds of each stage, too")
    options = asked.parse_args()

    with openbook.open(options.db, "scale") as kb:
        if kb.index.count(None) < CHUNKS:
            build(kb, options.data)
        kb.answer_by(QueryHalf())  # the default of today, not of the day when it was built
        held = Held.of(kb)
        cases = [Case("unfiltered")]
        cases += [Case(f"filter {share:.2%}", f"at < {share * CHUNKS:g}") for share in SHARES]
        cases += [Case("filter, one set", 'set = "cranfield"')]
        cases += [
            Case(f"access {share:.0%}", as_=tuple(f"group:{n}" for n in range(int(GROUPS * share))))
            for share in (1.0, 0.5, 0.1, 0.01)
        ]
        texts = questions(options.data, options.questions)
        print(
            f"hybrid search in {len(held.ids):,} chunks ({held.vectors.shape[1]} dimensions, {len(texts)} questions,"
            f" {len(os.sched_getaffinity(0))} cores, {features()}, load {os.getloadavg()[0]:.1f} at the start)"
        )
        measure(kb, held, cases, texts, options.stages)


def measure(kb: KnowledgeBase, held: Held, cases: Sequence[Case], texts: Sequence[str], stages: bool) -> None:
    asked = kb.embedder.encode(texts, "query")
    retriever = kb.serving.retriever
    retriever.embedder = Embedded(kb.embedder, dict(zip(texts, asked, strict=True)))  # type: ignore[assignment]
    candidates = kb.recipe.query.candidates
    for text in texts[:10]:
        for case in cases:
            kb.search(text, K, filter=case.filter, as_=case.as_, record=False)
    backends = server_processes(kb)
    took: dict[str, list[tuple[float, float, dict[str, float]]]] = {case.name: [] for case in cases}
    scans: list[float] = []
    recalls: dict[tuple[str, int], list[float]] = {}
    allowed = {case.name: permitted(held, case.filter, case.as_) for case in cases}
    short = 0
    for text, vector in zip(texts, asked, strict=True):
        # All cases of one question in turn: a slow minute of the machine is everybody's.
        for case in cases:
            before = cpu(backends)
            found = kb.search(text, K, filter=case.filter, as_=case.as_, record=False)
            took[case.name].append((found.ms["total"] - found.ms["embed"], cpu(backends) - before, found.ms))
        for case in cases:
            exact = held.nearest(vector, allowed[case.name])
            matching = len(held.ids) if allowed[case.name] is None else int(np.sum(allowed[case.name]))
            for k in (K, candidates):
                near = dense(kb, vector, k, case)
                short += len(near) < min(k, matching)
                recalls.setdefault((case.name, k), []).append(len({*near[:K]} & {*exact}) / max(1, len(exact)))
        begun = time.perf_counter()
        held.nearest(vector, None)
        scans.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.2)  # numpy's threads go on turning for a while

    limit = float(np.median(scans))
    speed = held.vectors.nbytes / 1e6 / limit
    print(f"  limit: an exact scan of the vectors by numpy {limit:.1f} ms ({speed:.0f} GB/s)")
    print(f"  {'':16} matching  recall@10  of {candidates}      p50      p95      CPU  p50/limit  p95/unfiltered")
    whole = float(np.percentile([ms for ms, _, _ in took["unfiltered"]], 95))
    for name, found_ in took.items():
        matching = len(held.ids) if allowed[name] is None else int(np.sum(allowed[name]))
        p50, p95 = np.percentile([ms for ms, _, _ in found_], (50, 95))
        recall = [float(np.mean(recalls[name, k])) for k in (K, candidates)]
        used = float(np.median([used for _, used, _ in found_]))
        print(
            f"  {name:16} {matching:8,}     {recall[0]:.4f}  {recall[1]:.4f}  {p50:5.1f} ms {p95:5.1f} ms"
            f" {used:5.1f} ms    {p50 / limit:5.2f} ×         {p95 / whole:5.2f} ×"
        )
        if stages:
            names = [stage for stage in found_[0][2] if stage not in ("embed", "total")]
            medians = (f"{stage} {np.median([ms[stage] for _, _, ms in found_]):.1f}" for stage in names)
            print(f"  {'':16} {', '.join(medians)}")
    print(f"  dense searches with fewer hits than match: {short}")


class Embedded:
    """The model, with the questions embedded before."""

    def __init__(self, embedder: Embedder, known: dict[str, np.ndarray]) -> None:
        self._embedder, self._known = embedder, known

    def __getattr__(self, name: str) -> object:
        return getattr(self._embedder, name)

    def encode(self, texts: Sequence[str], kind: str) -> np.ndarray:
        return np.stack([self._known[text] for text in texts])


def server_processes(kb: KnowledgeBase) -> list[int]:
    with kb.database.snapshot(None) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchall()
    return [row[0] for row in rows]


def cpu(backends: Sequence[int]) -> float:
    """Milliseconds that this process and these have computed; of the others only where Linux tells."""
    told = [Path(f"/proc/{pid}/schedstat") for pid in backends]
    return time.process_time() * 1e3 + sum(int(path.read_text().split()[0]) for path in told if path.exists()) / 1e6


def permitted(held: Held, filter: str | None, as_: Sequence[str] | None) -> np.ndarray | None:
    """bool[n]; ``None``: all."""
    if filter is None and as_ is None:
        return None
    tree = parse(filter) if filter else None
    groups = {*as_} if as_ is not None else None
    return np.array(
        [
            (tree is None or matches(tree, {k: v for k, v in row.items() if k != "group"}))  # type: ignore[misc]
            and (groups is None or not groups.isdisjoint(row["group"]))  # type: ignore[arg-type]
            for row in held.metadata
        ]
    )


def dense(kb: KnowledgeBase, vector: np.ndarray, k: int, case: Case) -> list[int]:
    with kb.database.snapshot(case.as_) as connection:
        view = kb.index.view(connection, case.as_, parse(case.filter) if case.filter else None)
        found, _ = kb.index.dense(view, vector, k)
    return [id for id, _ in found]


if __name__ == "__main__":
    main()
