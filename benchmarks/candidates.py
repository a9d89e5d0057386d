"""What reranking gains and what it costs, by how many candidates it reads: nDCG@10 against milliseconds.

For each set it asks the first judged questions of the dev half without reranking and with it at 10, 20, 50 and 100
candidates. It prints nDCG@10, its difference to none with the interval, the median milliseconds of the stage, and the
median processor milliseconds that it adds to a question (all cores together: on a busy machine these say more). A
corpus is indexed where it is not yet.

    python benchmarks/candidates.py [--data ../shared/data] [--limit 100] [--recipe FILE.toml] [SET ...]
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
from openbook.recipe import LateInteraction, Off, Recipe
from openbook.retrieve import Retriever

SETS = ("covid-faq", "cranfield", "squad2-a", "docs-etcd")
DEPTHS = (10, 20, 50, 100)
MEASURE = "ndcg@10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=int, default=100, help="questions of each set")
    parser.add_argument("--recipe", type=Path, help="one with a [query.rerank]; by default late interaction")
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe) if options.recipe else Recipe()
    rerank = LateInteraction() if isinstance(recipe.query.rerank, Off) else recipe.query.rerank
    print(f"rerank: {rerank.kind}, {len(os.sched_getaffinity(0))} cores, {best_precision()}")
    for name in options.sets:
        whole = read(options.data / name)
        dev = whole.select("dev").questions.items()
        judged = dict([(id, question) for id, question in dev if question.judgements][: options.limit])
        dataset = Dataset(name, judged, whole.corpus)
        assert dataset.corpus is not None
        with open_corpus(dataset, recipe) as kb:
            kb.add(dataset.corpus)
            parts = [Off(), *(rerank.model_copy(update={"candidates": depth}) for depth in DEPTHS)]
            found = [
                asked(Retriever(kb.index, kb.embedder, recipe.query.model_copy(update={"rerank": part})), dataset)
                for part in parts
            ]
        print(f"{name} ({len(judged)} questions): {np.mean(list(found[0][0].values())):.3f} without")
        for depth, (values, ms, busy) in zip(DEPTHS, found[1:], strict=True):
            against = paired(found[0][0], values, name=name)
            told = f"{against.b:.3f}  {against.difference:+.3f} [{against.low:+.3f}, {against.high:+.3f}]"
            print(f"  {depth:>3} candidates  {told}  {ms:6.0f} ms, {busy - found[0][2]:6.0f} of processors", flush=True)


def asked(retriever: Retriever, dataset: Dataset) -> tuple[dict[str, float], float, float]:
    """nDCG@10 of each question, the median milliseconds of reranking, and of all processors for the whole question."""
    rankings, spent, busy = {}, [], []
    retriever.retrieve("warm", 100)
    for id, question in dataset.questions.items():
        begun = time.process_time()
        found = retriever.retrieve(question.text, 100)
        busy.append(1000 * (time.process_time() - begun))
        rankings[id] = list(dict.fromkeys(hit.source for hit in found.hits))
        spent.append(found.ms.get("rerank", 0.0))
    judgements = {id: question.judgements for id, question in dataset.questions.items()}
    return measured([MEASURE], judgements, rankings)[MEASURE], float(np.median(spent)), float(np.median(busy))


if __name__ == "__main__":
    main()
