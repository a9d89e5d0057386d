"""The default search beside four references with one document as one chunk, paired, on public data.

The references see title and text of a document: BM25 (tantivy, English stemming), dense (the packaged model, its first
256 tokens), their reciprocal rank fusion (k = 60), and CC = 0.7 · cosine + 0.3 · BM25 / the best BM25. For each set it
prints nDCG@10 over the first 400 judged questions (or a half of them), the difference to the best of the four with its
interval, and p by paired randomisation, Holm-corrected over the sets; at the end the means, and the difference pooled
over questions. Every corpus is embedded for the references, and indexed where it is not yet.

    python benchmarks/retrieval.py [--data ../shared/data] [--split dev|test|all] [--recipe FILE.toml] [SET ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import tantivy

from openbook.embed import open_embedder
from openbook.evaluate import Dataset, evaluate, open_corpus, read
from openbook.evaluate.measures.ranking import measured
from openbook.evaluate.significance import holm, paired
from openbook.recipe import LocalEmbedder, Recipe

SETS = (
    *("scifact", "cranfield", "covid-faq", "dbpedia-entity-mini", "arcd-arabic", "chroma-chunking", "squad2-a"),
    *("cuad-contracts-a", "hotpotqa-300", "multihoprag-evidence", "docs-etcd", "handbook-sourcegraph"),
)
MEASURE = "ndcg@10"
DEEP = 1000


def references(dataset: Dataset) -> dict[str, dict[str, float]]:
    """nDCG@10 of each of the four systems for each question."""
    assert dataset.corpus is not None
    rows = [json.loads(line) for line in dataset.corpus.open(encoding="utf-8")]
    texts = [f"{row.get('title') or ''}\n{row['text']}".strip() or " " for row in rows]
    questions = {id: question.text for id, question in dataset.questions.items()}
    embedder = open_embedder(LocalEmbedder())
    cosines = embedder.encode(list(questions.values()), "query") @ embedder.encode(texts, "document").T
    lexical = bm25(texts, list(questions.values()))
    ranks = [np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1) + 1 for scores in (cosines, lexical)]
    systems = {
        "BM25": lexical,
        "dense": cosines,
        "RRF": 1 / (60 + ranks[0]) + np.where(lexical > 0, 1 / (60 + ranks[1]), 0.0),
        "CC": 0.7 * cosines + 0.3 * lexical / np.maximum(lexical.max(axis=1, keepdims=True), 1e-9),
    }
    judgements = {id: question.judgements for id, question in dataset.questions.items()}
    found = {}
    for name, scores in systems.items():
        order = np.argsort(-scores, axis=1, kind="stable")[:, :100]
        rankings = {id: [str(rows[i]["_id"]) for i in best] for id, best in zip(questions, order, strict=True)}
        found[name] = measured([MEASURE], judgements, rankings)[MEASURE]
    return found


def bm25(texts: list[str], questions: list[str]) -> np.ndarray:
    """float64[questions, texts]: tantivy's BM25 over stemmed words; 0 beyond the best ``DEEP``."""
    schema = tantivy.SchemaBuilder().add_integer_field("at", fast=True)
    index = tantivy.Index(schema.add_text_field("body", tokenizer_name="en_stem").build())
    writer = index.writer(100_000_000, 1)
    for at, text in enumerate(texts):
        writer.add_document(tantivy.Document(at=at, body=text))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()
    scores = np.zeros((len(questions), len(texts)))
    for row, question in enumerate(questions):
        words = "".join(letter if letter.isalnum() else " " for letter in question)  # nothing in it is syntax
        query, _ = index.parse_query_lenient(words.lower(), ["body"])
        hits = searcher.search(query, min(DEEP, len(texts)), count=False).hits
        for (score, _), at in zip(hits, searcher.fast_field_values("at", [a for _, a in hits]), strict=True):
            scores[row, int(at)] = score
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=("dev", "test", "all"), default="all")
    parser.add_argument("--recipe", type=Path)
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe) if arguments.recipe else Recipe()
    rows, pooled = [], []
    for name in arguments.sets:
        # The first 400 judged ones of the set, and of these a half.
        whole = read(arguments.data / name)
        judged = {id: q for id, q in whole.select("all").questions.items() if q.judgements}
        dataset = Dataset(name, dict(list(judged.items())[:400]), whole.corpus).select(arguments.split)
        with open_corpus(dataset, recipe) as kb:
            kb.add(dataset.corpus)
            ours = evaluate(kb, dataset, measures=[MEASURE], answered=False).per_question[MEASURE]
        theirs = references(dataset)
        means = {system: float(np.mean(list(values.values()))) for system, values in theirs.items()}
        best = max(means, key=lambda system: means[system])
        found = paired(theirs[best], ours, name=name)
        rows.append((name, len(ours), means, best, found))
        pooled += [ours[question] - theirs[best][question] for question in ours]
        print(f"{name}: measured", flush=True)
    heads = " ".join(f"{system:>5}" for system in ("BM25", "dense", "RRF", "CC"))
    print(f"\n{'set':<22} {'n':>4}  {heads}  openbook  difference to the best    p Holm")
    for (name, n, means, best, found), corrected in zip(rows, holm([row[4].p for row in rows]), strict=True):
        others = " ".join(f"{means[system]:.3f}" for system in ("BM25", "dense", "RRF", "CC"))
        against = f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}] {best:<5}"
        print(f"{name:<22} {n:>4}  {others}  {found.b:.3f}     {against} {corrected:.3f}")
    for label, value in {
        "mean, openbook": np.mean([row[4].b for row in rows]),
        "mean, best of four per set": np.mean([row[4].a for row in rows]),
        "pooled difference": np.mean(pooled),
    }.items():
        print(f"{label:<28} {value:+.3f}")


if __name__ == "__main__":
    main()
