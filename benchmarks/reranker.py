"""Is a reranker that was trained on some data sets any good on others? A LoRA adapter and a head on the packaged model.

The sets stand in two halves. For each an adapter is trained on the questions of the other one (of a set its dev half,
and scifact's train split) with the first stage's own candidates, so that each set is measured by an adapter that never
saw it: the first 20 candidates are put in a new order by fused score + weight · the adapter's log-odds. The weight is
the one of a few that is best on the dev halves together; then the test halves are read. It prints for each set nDCG@10
of the first stage, what the adapter changes in it with interval and p (paired randomisation, Holm over the sets), and
the ceiling, the best order of the first 50 candidates; then the same of late interaction by the model as it is.

    python benchmarks/reranker.py [--data ../shared/data] [--work FOLDER] [--steps 155] [--dev 40] [--test 80] [SET ...]

Candidates, adapters and scores are kept in the work folder; what is there is not made again. A set whose corpus is not
indexed yet is indexed. Training runs in one thread, 48 pairs a step, at 12 pairs a second and core (avx512_bf16).
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openbook.embed.local import LocalModel
from openbook.evaluate import open_corpus, read
from openbook.evaluate.measures.ranking import measured
from openbook.evaluate.significance import Paired, holm, paired
from openbook.finetune.embedder.trained import Step
from openbook.finetune.lists import Found, Lists, Ranked, lists_of, ranked
from openbook.finetune.reranker import Taught, train_reranker
from openbook.finetune.settings import RerankerSettings
from openbook.recipe import CrossEncoder, LocalEmbedder, Recipe
from openbook.retrieve.rerank.cross_encoder import PairModel
from openbook.retrieve.rerank.late import TokenVectors
from openbook.retrieve.rerank.stage import log_odds

HALVES = {
    "one": ("covid-faq", "cranfield", "multihoprag-evidence", "arcd-arabic"),
    "other": (
        *("squad2-a", "scifact", "hotpotqa-300", "chroma-chunking", "docs-etcd", "handbook-sourcegraph"),
        *("dbpedia-entity-mini", "cuad-contracts-a"),
    ),
}
MOST = 500  # lists that one set gives to training: two of them would be most of all
DEPTH, CEILING = 20, 50
WEIGHTS = {"adapter": (0.6, 1.25, 1.9, 2.5, 3.75), "late": (5.0, 10.0, 20.0)}  # the adapter is trained at 2.5
MEASURE = "ndcg@10"

Split = Mapping[str, list[Ranked]]
Scores = Mapping[str, Sequence[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help="to be measured; by default all")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("build/reranker"))
    parser.add_argument("--steps", type=int, default=155, help="of an adapter")
    parser.add_argument("--dev", type=int, default=40, help="questions of each set that choose the weight")
    parser.add_argument("--test", type=int, default=80, help="questions of each set that are then read")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the same number of threads, the same weights
    half_of = {name: half for half, names in HALVES.items() for name in names}
    names = options.sets or list(half_of)
    scores: dict[tuple[str, str, str], Scores] = {}
    asked: dict[tuple[str, str], list[Ranked]] = {}
    late = TokenVectors(LocalModel(LocalEmbedder()))
    for name in names:
        folder = options.work / half_of[name]
        if not (folder / "adapter_config.json").is_file():
            train([set for set, half in half_of.items() if half != half_of[name]], folder, options)
        adapter = PairModel(CrossEncoder(model=str(folder), max_tokens=RerankerSettings().max_tokens))
        found = candidates(options.data / name, options.work)
        for split, most in (("dev", options.dev), ("test", options.test)):
            asked[name, split] = found[split][:most]
            for kind, score in (("adapter", adapter.score), ("late", late.score)):
                place = options.work / f"{kind}-{name}-{split}.json"
                scores[kind, name, split] = scored(score, asked[name, split], place)
        print(f"{name}: scored", flush=True)
    for kind, weights in WEIGHTS.items():
        gains = {}
        for weight in weights:
            of_sets = [gain(asked[name, "dev"], scores[kind, name, "dev"], kind, weight) for name in names]
            gains[weight] = float(np.mean([found.difference for found in of_sets]))
        told = ", ".join(f"{value:+.3f} at {weight:g}" for weight, value in gains.items())
        print(f"\n{kind}: on the dev halves {told}")
        rows = [(name, asked[name, "test"], scores[kind, name, "test"]) for name in names]
        table(rows, kind, max(gains, key=lambda weight: gains[weight]))


def candidates(folder: Path, work: Path) -> Split:
    """The first stage's candidates of each judged question, by split."""
    dataset, place = read(folder), work / f"{folder.name}.jsonl"
    if not place.is_file():
        with open_corpus(dataset, Recipe()) as kb:
            kb.add(dataset.corpus)
            rows = [asdict(row) for row in ranked(kb, dataset.questions.values(), depth=CEILING)]
        part = place.with_suffix(".part")
        part.write_text("".join(json.dumps(row) + "\n" for row in rows))
        part.rename(place)
    splits: dict[str, list[Ranked]] = {"train": [], "dev": [], "test": []}
    for line in place.open():
        row = json.loads(line)
        question = dataset.questions[row["id"]]
        found = tuple(Found(each["source"], each["text"], each["score"]) for each in row["candidates"])
        split = "train" if question.split == "train" else "dev" if question.is_dev else "test"
        splits[split].append(Ranked(question.id, question.text, found, question.judgements))
    return splits


def train(names: Sequence[str], folder: Path, options: argparse.Namespace) -> None:
    """An adapter on what these sets have to teach."""
    lists = []
    for name in names:
        found = candidates(options.data / name, options.work)
        made = lists_of(found["train"] + found["dev"], candidates=DEPTH)
        dropped = f"alike {made.alike}, far ahead {made.ahead}, further chunks {made.further}, idle {made.idle}"
        print(f"{name}: {len(made.lists)} lists; left out: {dropped}", flush=True)
        lists += random.Random(0).sample(made.lists, min(MOST, len(made.lists)))

    def tell(step: Step) -> None:
        if step.at % 20 == 0:
            print(f"  step {step.at} of {step.of}: loss {step.loss:.3f}", flush=True)

    settings = RerankerSettings(epochs=options.steps * RerankerSettings().batch / len(lists))
    taught = Taught(Lists(tuple(lists), 0, 0, 0, 0), len(lists))
    done = train_reranker(taught, folder, settings, progress=tell)
    print(f"trained on {', '.join(names)}")
    print("\n".join(done.lines()), flush=True)


def scored(score: Callable[[str, Sequence[str]], Any], asked: Sequence[Ranked], place: Path) -> Scores:
    """What a reranker says of the first candidates of each question."""
    if not place.is_file():
        said = {one.id: score(one.question, [each.text for each in one.candidates[:DEPTH]]) for one in asked}
        place.write_text(json.dumps({id: [float(value) for value in values] for id, values in said.items()}))
    kept: Scores = json.loads(place.read_text())
    return kept


def gain(asked: Sequence[Ranked], scores: Scores, kind: str, weight: float) -> Paired:
    """The first stage against itself with ``weight`` of what the reranker says added."""
    after = {}
    for one in asked:
        said = [log_odds(score) for score in scores[one.id]] if kind == "adapter" else scores[one.id]
        head = [each.score + weight * value for each, value in zip(one.candidates, said, strict=False)]
        after[one.id] = head + [-np.inf] * (len(one.candidates) - len(head))
    return paired(ndcg(asked, {one.id: [each.score for each in one.candidates] for one in asked}), ndcg(asked, after))


def ndcg(asked: Sequence[Ranked], scores: Scores) -> dict[str, float]:
    rankings = {}
    for one in asked:
        order = np.argsort(-np.array(scores[one.id]), kind="stable")
        rankings[one.id] = list(dict.fromkeys(one.candidates[at].source for at in order))
    return measured([MEASURE], {one.id: one.judgements for one in asked}, rankings)[MEASURE]


def table(rows: Sequence[tuple[str, Sequence[Ranked], Scores]], kind: str, weight: float) -> None:
    gains = [gain(asked, scores, kind, weight) for _, asked, scores in rows]
    ceilings = [ceiling(asked) for _, asked, _ in rows]
    print(f"{kind} at weight {weight:g}, test halves")
    print(f"{'set':<22} {'n':>4}  first   then  difference                p Holm  ceiling")
    for (name, _, _), found, p, best in zip(rows, gains, holm([found.p for found in gains]), ceilings, strict=True):
        print(f"{name:<22} {line(found)}  {p:.3f}   {best:.3f}")
    before, after = (float(np.mean([getattr(found, side) for found in gains])) for side in ("a", "b"))
    mean = f"{before:.3f}  {after:.3f}  {after - before:+.3f}"
    print(f"{'mean of the sets':<22} {'':>4}  {mean:<46} {np.mean(ceilings):.3f}")
    every = gain_of_all(rows, kind, weight)
    print(f"{'all questions':<22} {line(every)}  {every.p:.3f}", flush=True)


def line(found: Paired) -> str:
    difference = f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.n:>4}  {found.a:.3f}  {found.b:.3f}  {difference}"


def ceiling(asked: Sequence[Ranked]) -> float:
    """nDCG@10 where the judged candidates come first."""
    best = {one.id: [one.judgements.get(each.source, 0) for each in one.candidates] for one in asked}
    return float(np.mean(list(ndcg(asked, best).values())))


def gain_of_all(rows: Sequence[tuple[str, Sequence[Ranked], Scores]], kind: str, weight: float) -> Paired:
    """The questions of all sets as those of one."""
    every = [
        (Ranked(f"{name} {one.id}", one.question, one.candidates, one.judgements), scores[one.id])
        for name, asked, scores in rows
        for one in asked
    ]
    return gain([one for one, _ in every], {one.id: said for one, said in every}, kind, weight)


if __name__ == "__main__":
    main()
