"""The default's passages beside recursive splitting, on the spans of chroma-chunking (five long texts, 472 questions).

After Smith and Troynikov (Evaluating Chunking Strategies for Retrieval, 2024): how much of the characters that answer
are among those retrieved (recall), and shared characters over all (IoU). Two budgets, since longer passages raise
recall and lower IoU whoever cuts them: five hits, as the study has it; and as many characters as the other's five hits
had. A recipe that says how far below the best a hit may lie (``query.within``) has as many as it finds, up to its
``context``. Recursive pieces of 400 and 200 tokens are 1,600 and 800 characters here; of what the packaged model does
not read at once (256 tokens) openbook makes two. p by paired randomisation, one question a pair, not corrected.

    python benchmarks/chunking.py [--data ../shared/data] [--split dev|test|all] [--recipe FILE.toml]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

import openbook
from openbook.evaluate import Question
from openbook.evaluate.significance import paired
from openbook.recipe import EvidenceFusion, IndexHalf, QueryHalf, Recipe, RecursiveChunker
from openbook.types import Hit

HITS = 5
DEEP = 40
Span = tuple[str, int, int]


def recursive(size: int) -> Recipe:
    """Pieces of ``size`` characters as other tools have them: each found for itself, none joined to another."""
    index = IndexHalf(chunk=RecursiveChunker(size=size, overlap=0), neighbours=0.0)
    return Recipe(index=index, query=QueryHalf(fusion=EvidenceFusion(neighbours=0.0), merge=0))


SYSTEMS = {"openbook": Recipe(), "recursive 400": recursive(1600), "recursive 200": recursive(800)}


def passages(hits: Sequence[Hit], *, count: int | None = None, characters: float | None = None) -> list[Span]:
    """The first ``count`` hits, or the first ``characters`` of them all, the last one cut."""
    found: list[Span] = []
    left = characters or float("inf")
    for hit in hits[:count]:
        length = min(hit.chunk.end - hit.chunk.start, round(left) if characters else 1 << 60)
        if length > 0:
            found.append((Path(hit.source).stem, hit.chunk.start, hit.chunk.start + length))
            left -= length
    return found


def recall_and_iou(found: Sequence[Span], wanted: Sequence[Span]) -> tuple[float, float]:
    def places(spans: Sequence[Span]) -> set[tuple[str, int]]:
        return {(text, at) for text, start, end in spans for at in range(start, end)}

    shared, retrieved = places(wanted) & places(found), sum(end - start for _, start, end in found)
    return len(shared) / len(places(wanted)), len(shared) / (len(places(wanted)) + retrieved - len(shared))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=("dev", "test", "all"), default="all")
    parser.add_argument("--recipe", type=Path, help="in place of the default")
    arguments = parser.parse_args()
    systems = {**SYSTEMS, "openbook": Recipe.load(arguments.recipe)} if arguments.recipe else SYSTEMS
    folder = arguments.data / "chroma-chunking"
    rows = [json.loads(line) for line in (folder / "questions_spans.jsonl").open(encoding="utf-8")]
    rows = [r for r in rows if arguments.split in ("all", "dev" if Question(r["_id"], "").is_dev else "test")]
    wanted = {
        row["_id"]: [(row["corpus_id"], r["start_index"], r["end_index"]) for r in row["references"]] for row in rows
    }
    hits: dict[str, dict[str, Sequence[Hit]]] = {}
    for name, recipe in systems.items():
        with tempfile.TemporaryDirectory() as place, openbook.open(place, recipe=recipe) as kb:
            print(f"{name}: {kb.add(folder / 'corpora').chunks} chunks", flush=True)
            hits[name] = {row["_id"]: kb.search(row["question"], DEEP, record=False).hits for row in rows}

    def scored(name: str, cut: Callable[[Sequence[Hit]], list[Span]]) -> tuple[dict[str, float], dict[str, float]]:
        found = {id: recall_and_iou(cut(hits[name][id]), wanted[id]) for id in wanted}
        return {id: both[0] for id, both in found.items()}, {id: both[1] for id, both in found.items()}

    ours_at_most = HITS if systems["openbook"].query.within is None else systems["openbook"].query.context
    found_within = partial(passages, count=ours_at_most)

    def size(name: str) -> float:
        most = ours_at_most if name == "openbook" else HITS
        return float(np.mean([sum(e - s for _, s, e in passages(h, count=most)) for h in hits[name].values()]))

    print(f"\n{arguments.split}, {len(wanted)} questions, recall and IoU")
    for other in SYSTEMS:
        if other == "openbook":
            continue
        most = size(other)
        budgets = {
            f"{HITS} hits": partial(passages, count=HITS),
            f"{most:.0f} characters": partial(passages, characters=most),
        }
        for budget, cut in budgets.items():
            own = found_within if budget == f"{HITS} hits" and systems["openbook"].query.within is not None else cut
            ours, theirs = scored("openbook", own), scored(other, cut)
            note = f" ({size('openbook'):.0f} characters against {most:.0f})" if budget == f"{HITS} hits" else ""
            for measure, a, b in zip(("recall", "IoU"), theirs, ours, strict=True):
                found = paired(a, b, name=f"{other} {budget} {measure}")
                difference = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}] p {found.p:.4f}"
                print(f"{other:<14} {budget:<16} {measure:<6} {found.a:.4f} → {found.b:.4f}  {difference}{note}")


if __name__ == "__main__":
    main()
