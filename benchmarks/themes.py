"""How many of the categories that people gave documents the themes recover, which know nothing of them.

From each public set 500 documents are taken whose categories are known (banking77 by 10, 20 and all 77 of its intents),
added without them, and their themes asked for. A category is

    found   where it is the majority of some theme, that is of more than half of its documents;
    whole   where that theme also holds more than half of the category.

Both are counted among the themes shown first; "in tree" counts them among areas and the themes below as well. "chance"
is found in the tree when the categories are dealt out anew: what groups of these sizes find without knowing anything.
NMI and purity are over the themes shown first, "named" is the share of documents one of whose category's words stands
among the terms of their theme. The settings were chosen on the dev half of the documents: those where the first byte of
the SHA-256 of set and number is even. The test half is the default.

    python benchmarks/themes.py [--half dev] [--only snips]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sklearn.metrics import normalized_mutual_info_score

import openbook
from openbook.similar.themes import Theme
from openbook.types import Document

DATA = Path(os.environ.get("OPENBOOK_DATA", Path(__file__).parents[2] / "shared" / "data"))
DOCUMENTS = 500
Rows = list[tuple[str, str, str]]
"""Title, text, category."""


def lines(name: str) -> list[dict[str, object]]:
    with (DATA / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def sets() -> Iterator[tuple[str, Rows]]:
    banking = [("", str(row["text"]), str(row["label"])) for row in lines("banking77/test.jsonl")]
    for count in (10, 20, 77):
        labels = sorted({label for _, _, label in banking})
        kept = set(random.Random(count).sample(labels, count))
        yield f"banking77, {count} intents", [row for row in banking if row[2] in kept]
    yield "snips", [("", str(row["text"]), str(row["intent"])) for row in lines("snips-slots/test.jsonl")]
    yield (
        "multihoprag",
        [
            (str(row["title"]), str(row["text"]), str(row["metadata"]["category"]))  # type: ignore[index]
            for row in lines("multihoprag-evidence/corpus.jsonl")
        ],
    )
    yield "squad2, untitled", [("", str(row["text"]), str(row["title"])) for row in lines("squad2-a/corpus.jsonl")]
    questions = lines("spider-sql/train.jsonl") + lines("spider-sql/test.jsonl")
    yield "spider questions", [("", str(row["question"]), str(row["db_id"])) for row in questions]
    contracts = lines("cuad-contracts-a/corpus.jsonl")
    yield "cuad, untitled", [("", str(row["text"]), str(row["title"]).upper()) for row in contracts]
    yield (
        "handbook folders",
        [
            (str(row["title"]), str(row["text"]), "/".join(str(row["_id"]).split("/")[:2]))
            for row in lines("handbook-sourcegraph/corpus.jsonl")
        ],
    )
    yield (
        "chroma, untitled",
        [("", str(row["text"]), str(row["title"])) for row in lines("chroma-chunking/corpus.jsonl")],
    )


def sample(name: str, rows: Rows, half: str) -> Rows:
    """Without categories of fewer than 5 documents, which no theme is made of."""
    of_half = [
        row
        for number, row in enumerate(rows)
        if (hashlib.sha256(f"{name}{number}".encode()).digest()[0] % 2 == 0) == (half == "dev")
    ]
    random.Random(0).shuffle(of_half)
    taken = of_half[:DOCUMENTS]
    sizes = Counter(category for _, _, category in taken)
    return [row for row in taken if sizes[row[2]] >= 5]


def recovered(groups: Sequence[Sequence[str]], sizes: Mapping[str, int]) -> tuple[set[str], set[str]]:
    """The categories that are found, and whole, among groups of categories; of these ``sizes`` in all."""
    found, whole = set(), set()
    for group in groups:
        category, count = Counter(group).most_common(1)[0]
        if 2 * count > len(group):
            found.add(category)
            if 2 * count > sizes[category]:
                whole.add(category)
    return found, whole


def below(themes: Sequence[Theme]) -> Iterator[Theme]:
    for theme in themes:
        yield theme
        yield from below(theme.children)


def words(text: str) -> set[str]:
    parts = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())
    return {part.rstrip("s")[:6] for part in parts if len(part) > 2}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--half", choices=("dev", "test"), default="test")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    measures = ("found", "tree", "chance", "whole", "tree", "nmi", "purity", "named")
    heads = f"docs  cat  themes  groups  {'  '.join(f'{one:>6}' for one in measures)}  seconds  tokens  dollars"
    print(f"{asked.half + ' half':<22} {heads}")
    total: list[list[float]] = []
    for name, rows in sets():
        if asked.only not in name:
            continue
        taken = sample(name, rows, asked.half)
        category = {f"d{number}": row[2] for number, row in enumerate(taken)}
        documents = [Document(f"d{number}", text, title) for number, (title, text, _) in enumerate(taken)]
        with tempfile.TemporaryDirectory() as place, openbook.open(place) as kb:
            kb.add(*documents)
            start = time.perf_counter()
            themes = kb.themes()
            seconds = time.perf_counter() - start
        groups = [[category[source] for source in theme.sources] for theme in themes.themes]
        count = len(set(category.values()))
        found, whole = recovered(groups, Counter(category.values()))
        nodes = [list(theme.sources) for theme in below(themes.themes)]
        nodes += [[source for at in area.themes for source in themes.themes[at - 1].sources] for area in themes.areas]
        found_in_tree, whole_in_tree = recovered(
            [[category[source] for source in node] for node in nodes], Counter(category.values())
        )
        dealt = dict(zip(category, random.Random(0).sample(list(category.values()), len(category)), strict=True))
        chance, _ = recovered([[dealt[source] for source in node] for node in nodes], Counter(category.values()))
        given = [one for group in groups for one in group]
        made = [at for at, group in enumerate(groups) for _ in group]
        nmi = float(normalized_mutual_info_score(given, made))
        purity = sum(Counter(group).most_common(1)[0][1] for group in groups) / len(given)
        named = sum(
            bool(words(one) & words(" ".join(theme.terms)))
            for theme, group in zip(themes.themes, groups, strict=True)
            for one in group
        ) / len(given)
        shares = [len(those) / count for those in (found, found_in_tree, chance, whole, whole_in_tree)]
        figures = [*shares, nmi, purity, named]
        total.append(figures)
        told = "  ".join(f"{figure:6.3f}" for figure in figures)
        usage = themes.usage
        print(
            f"{name:<22} {len(given):>4}  {count:>3}  {len(groups):>6}  {len(nodes):>6}  {told}  {seconds:>7.2f}"
            f"  {usage.input_tokens + usage.output_tokens:>6}  {usage.cost:g}",
            flush=True,
        )
    means = "  ".join(f"{sum(column) / len(total):6.3f}" for column in zip(*total, strict=True))
    print(f"{'mean':<22} {'':>4}  {'':>3}  {'':>6}  {'':>6}  {means}")


if __name__ == "__main__":
    main()
