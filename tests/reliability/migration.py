"""Those who ask, and who edit, while the embedding model of their knowledge base is exchanged; each writes down what it
saw. What they saw is judged afterwards, by the vectors that the two indexes hold."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgvector import HalfVector
from psycopg import sql
from tests.reliability.documents import Face, document

import openbook
from openbook.errors import OpenbookError
from openbook.knowledge_base import KnowledgeBase

PAUSE = 0.1
"""Seconds between two questions of one process, and between two edits: a steady load, not the most there can be."""
HITS = 10
EDITED = 20
"""Documents that are edited in turn; the others stay as they are."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A hit: where its chunk lies, and what the dense stage said of it (``None``: it did not find it)."""

    source: str
    start: int
    end: int
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer: when it came, how long it took, the release that its trace names."""

    at: float
    ms: float
    question: str
    release: str
    hits: tuple[Seen, ...]

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Asked:
        return cls(**{**told, "hits": tuple(Seen(*hit) for hit in told["hits"])})


def edited(n: int, revision: int) -> openbook.Document:
    return document(f"edited-{n}", Face(revision, 3 * revision))  # public


def ask(kb: KnowledgeBase, questions: Sequence[str], stop: Path, out: Path) -> None:
    with out.open("w", buffering=1) as file:
        for at in range(1_000_000):
            if stop.exists():
                return
            question = questions[at % len(questions)]
            start = time.monotonic()
            try:
                trace = kb.search(question, HITS)
            except Exception as error:
                print(json.dumps({"failed": f"{question}: {error!r}"}), file=file)
                continue
            end = time.monotonic()
            hits = [
                (
                    hit.source,
                    hit.chunk.start,
                    hit.chunk.end,
                    dense.score if (dense := hit.stages.get("dense")) else None,
                )
                for hit in trace.hits
            ]
            seen = {"at": end, "ms": (end - start) * 1000, "question": question, "release": trace.release, "hits": hits}
            print(json.dumps(seen), file=file)
            time.sleep(PAUSE)


def edit(kb: KnowledgeBase, stop: Path, out: Path) -> None:
    """Edits one document after the other, and looks for each by its new text. (By a word of it alone it may come after
    300 others: these vectors know nothing of what words mean, and many lie near by chance.)"""
    with out.open("w", buffering=1) as file:
        for revision in range(1, 1_000_000):
            if stop.exists():
                return
            now = edited(revision % EDITED, revision)
            try:
                kb.add(now)
                print(json.dumps({"acknowledged": [revision % EDITED, revision]}), file=file)
                hits = kb.search(now.text, HITS).hits
                if not any(hit.source == now.source and hit.title == now.title for hit in hits):
                    print(json.dumps({"failed": f"revision {revision} of {now.source} is not found"}), file=file)
            except OpenbookError as error:
                print(json.dumps({"failed": f"revision {revision}: {error!r}"}), file=file)
            time.sleep(PAUSE)


def mixed(kb: KnowledgeBase, release: str, answers: Sequence[Asked]) -> list[str]:
    """Hits that do not come from this release's index: no chunk of it lies there, or it has another cosine to what the
    release's model makes of the question. Of documents that stayed as they are."""
    pinned = KnowledgeBase(kb.database, kb.name, release=release)
    found = []
    for question in {answer.question for answer in answers}:
        (vector,) = pinned.embedder.encode([question], "query")
        seen = {hit for answer in answers if answer.question == question for hit in answer.hits}
        seen = {hit for hit in seen if not hit.source.startswith("edited-")}
        with kb.database.snapshot(None) as connection:
            rows = connection.execute(
                sql.SQL(
                    'SELECT d.source, c.start, c."end", -(c.vector <#> %s::halfvec) FROM {} c'
                    " JOIN openbook.document d ON d.id = c.document WHERE d.source = ANY(%s)"
                ).format(pinned.index.table),
                [HalfVector(vector), [hit.source for hit in seen]],
            ).fetchall()
        held = {(source, start, end): cosine for source, start, end, cosine in rows}
        for hit in seen:
            cosine = held.get((hit.source, hit.start, hit.end))
            if cosine is None:
                found.append(f"{release}: {question!r}: no chunk {hit.start}:{hit.end} of {hit.source}")
            elif hit.cosine is not None and abs(cosine - hit.cosine) > 0.005:  # half precision, and another batch
                found.append(f"{release}: {question!r}: {hit.source} has {cosine:.4f}, {hit.cosine:.4f} was seen")
    return found


def main(order: dict[str, Any]) -> None:
    with openbook.open(order["db"], create=False) as kb:
        kb.search("Is it open?", 1)
        print("ready", flush=True)
        if order["role"] == "ask":
            ask(kb, order["questions"], Path(order["stop"]), Path(order["out"]))
        else:
            edit(kb, Path(order["stop"]), Path(order["out"]))


if __name__ == "__main__":
    main(json.loads(sys.stdin.readline()))
