"""What hops gain and what they cost: all evidence of a question among its first ten documents, with them and without.

For each set it asks the judged questions of a half of it by the default recipe and by the same with ``[query.hops]``,
in turn. It prints the share of questions with all evidence in the first ten documents, and nDCG@10, each with its
difference, the interval and p by paired randomisation; the median milliseconds of a question, as a ratio as well; and
of how many questions the order changed. ``--limits`` prints what could be reached instead: all evidence among the first
10, 20, 50 and 100, and how often the title of a document that is missed stands in one that is found. A corpus is
indexed where it is not yet.

    python benchmarks/hops.py [--data ../shared/data] [--split dev|test|all] [--limit N] [--recipe FILE.toml] [SET ...]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from openbook.embed.runtime import best_precision
from openbook.evaluate import Dataset, open_corpus, read
from openbook.evaluate.measures.ranking import measured
from openbook.evaluate.significance import paired
from openbook.recipe import BridgeHops, Off, Recipe
from openbook.retrieve import Retriever
from openbook.titles import bare

SETS = ("hotpotqa-300", "multihoprag-evidence")
DEEP = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=("dev", "test", "all"), default="dev")
    parser.add_argument("--limit", type=int, help="questions of each set")
    parser.add_argument("--recipe", type=Path, help="one with a [query.hops]; by default bridge")
    parser.add_argument("--limits", action="store_true")
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe) if options.recipe else Recipe()
    hops = BridgeHops() if isinstance(recipe.query.hops, Off) else recipe.query.hops
    print(f"hops: {hops.kind}, {options.split}, {len(os.sched_getaffinity(0))} cores, {best_precision()}")
    for name in options.sets:
        whole = read(options.data / name)
        asked = whole.select(options.split).questions.items()
        judged = dict([(id, question) for id, question in asked if question.judgements][: options.limit])
        dataset = Dataset(name, judged, whole.corpus)
        assert dataset.corpus is not None
        with open_corpus(dataset, recipe) as kb:
            kb.add(dataset.corpus)
            once, more = (
                Retriever(kb.index, kb.embedder, recipe.query.model_copy(update={"hops": part}), sharing=1)
                for part in (Off(), hops)
            )
            if options.limits:
                limits(once, dataset)
            else:
                compared(once, more, dataset)


def compared(once: Retriever, more: Retriever, dataset: Dataset) -> None:
    rankings: list[dict[str, list[str]]] = [{}, {}]
    ms: list[list[float]] = [[], []]
    for retriever in (once, more):
        retriever.retrieve("warm", 10)
    for id, question in dataset.questions.items():
        for side, retriever in enumerate((once, more)):
            begun = time.perf_counter()
            retriever.retrieve(question.text, 10)
            ms[side].append(1000 * (time.perf_counter() - begun))
            rankings[side][id] = documents(retriever, question.text, 10)
    judgements = {id: question.judgements for id, question in dataset.questions.items()}
    values = [measured(["recall@10", "ndcg@10"], judgements, ranking) for ranking in rankings]
    whole = [{id: float(recall == 1) for id, recall in of["recall@10"].items()} for of in values]
    moved = sum(rankings[0][id] != rankings[1][id] for id in judgements)
    print(f"{dataset.name} ({len(judgements)} questions, {moved} in another order)")
    for label, a, b in (("all@10", *whole), ("ndcg@10", *(of["ndcg@10"] for of in values))):
        found = paired(a, b, name=dataset.name)
        print(
            f"  {label:<8} {found.a:.3f}  {found.b:.3f}  {found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
            f" p {found.p:.4f}"
        )
    a, b = (float(np.median(of)) for of in ms)
    print(f"  p50 ms   {a:5.0f}  {b:5.0f}  {b / a:.2f} ×", flush=True)


def documents(retriever: Retriever, question: str, n: int) -> list[str]:
    """The first ``n``; of long documents several chunks may be found."""
    k = 2 * n
    while True:
        hits = retriever.retrieve(question, k).hits
        found = list(dict.fromkeys(hit.source for hit in hits))
        if len(found) >= n or len(hits) < k:
            return found[:n]
        k *= 4


def limits(retriever: Retriever, dataset: Dataset) -> None:
    held = dict.fromkeys((10, 20, 50, DEEP), 0)
    missed = named = 0
    for question in dataset.questions.values():
        hits = retriever.retrieve(question.text, 3 * DEEP).hits
        found = list(dict.fromkeys(hit.source for hit in hits))
        gold = {source for source, grade in question.judgements.items() if grade > 0}
        for depth in held:
            held[depth] += gold <= set(found[:depth])
        texts = {hit.source: f" {bare(hit.chunk.text)} " for hit in reversed(hits)}
        titles = {hit.source: bare(hit.title) for hit in hits}
        if not gold <= set(found[:10]):
            missed += 1
            named += any(
                f" {titles[one]} " in texts[other] or f" {titles[other]} " in texts[one]
                for one in gold.difference(found[:10]).intersection(titles)
                for other in gold.intersection(found[:10])
            )
    n = len(dataset.questions)
    print(f"{dataset.name} ({n} questions): " + ", ".join(f"all@{k} {of / n:.3f}" for k, of in held.items()))
    print(f"  missed by the first ten: {missed}; the title of one stands in the other: {named}", flush=True)


if __name__ == "__main__":
    main()
