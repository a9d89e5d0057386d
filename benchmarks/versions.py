"""Whether the version of a page that a question names comes first among that page's versions, on docs-etcd.

Each of its questions names one of three versions of the documentation, which have nearly the same pages. Of all pages
that are judged right and of their other versions, which comes first among the hits? Asked are all questions that name
a version, those without an answer too: of them the configuration page is looked at, which all the others are about.
Printed for the default and for filters by rules: how many questions, with Wilson's 95 % interval, nDCG@10 over the
judged ones, and milliseconds; then the questions that fail.

    python benchmarks/versions.py [--data ../shared/data] [--split dev|test|all] [--limit N]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from openbook.evaluate import Dataset, open_corpus, read
from openbook.evaluate.measures.ranking import measured
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import QueryHalf, Recipe, RuleFilters
from openbook.types import Hit

PAGE = "op-guide/configuration.md"
DEEP = 100
"""Hits that are looked at: a page that is not among them does not come first."""


def first_version(hits: Sequence[Hit], page: str) -> str | None:
    """The version of ``page`` that is found first."""
    for hit in hits:
        version, _, path = hit.source.partition("/")
        if path == page:
            return version
    return None


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    z, share = 1.96, right / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * float(np.sqrt(share * (1 - share) / of + z * z / (4 * of * of)))
    return middle - half, middle + half


def ask(kb: KnowledgeBase, dataset: Dataset, label: str) -> None:
    rankings: dict[str, list[str]] = {}
    failed, ms, narrowed = [], [], 0
    for id, question in dataset.questions.items():
        trace = kb.search(question.text, DEEP, record=False)
        ms.append(trace.ms["total"])
        rankings[id] = list(dict.fromkeys(hit.source for hit in trace.hits))
        wanted = str(question.metadata["version"])  # what is measured by, and not told to search
        page = next(iter(question.judgements), f"{wanted}/{PAGE}").partition("/")[2]
        if (found := first_version(trace.hits, page)) != wanted:
            failed.append(f"  {id}: {found} for {question.text!r}")
        narrowed += bool(trace.details.get("filters", {}).get("applied"))
    right, of = len(dataset.questions) - len(failed), len(dataset.questions)
    low, high = wilson(right, of)
    judgements = {id: question.judgements for id, question in dataset.questions.items() if question.judgements}
    ndcg = measured(["ndcg@10"], judgements, {id: rankings[id] for id in judgements})["ndcg@10"]
    print(
        f"{label:<8} version first {right}/{of} = {right / of:.3f} [{low:.3f}, {high:.3f}]"
        f"  nDCG@10 {np.mean(list(ndcg.values())):.3f} (n = {len(ndcg)})"
        f"  p50 {np.percentile(ms, 50):.0f} ms  narrowed {narrowed}"
    )
    print("\n".join(failed[:10]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=("dev", "test", "all"), default="all")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    whole = read(arguments.data / "docs-etcd").select(arguments.split)
    naming = {id: one for id, one in whole.questions.items() if str(one.metadata["version"]) in one.text}
    dataset = Dataset(whole.name, dict(list(naming.items())[: arguments.limit]), whole.corpus)
    with open_corpus(dataset, Recipe()) as kb:
        kb.add(dataset.corpus)
        kb.search("warm", 1, record=False)
        for label, query in (("default", QueryHalf()), ("rules", QueryHalf(filters=RuleFilters()))):
            kb.answer_by(query)
            ask(kb, dataset, label)


if __name__ == "__main__":
    main()
