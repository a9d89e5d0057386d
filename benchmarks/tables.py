"""Rows of a table with and without the header that they are read with, on the handbook's longest table.

Its questions are made of its cells ("What is the hotel ceiling per night in Oslo?"): every city with every column of
numbers. Counted is at which rank the chunk stands that holds the city's row, among the chunks of the whole handbook.
The handbook is invented, and so are the questions: they tell what a header is worth where a question names a column.

    python benchmarks/tables.py
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import openbook
from openbook.recipe import Context, IndexHalf, QueryHalf, Recipe

HANDBOOK = Path(__file__).parent.parent / "examples" / "handbook"
DEPTH = 10


def main() -> None:
    with (HANDBOOK / "travel" / "per-diem-rates.csv").open(encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    print(f"{'':<14} {'first':>6} {'mrr@10':>7} {'in ten':>7}")
    for name, context in (("rows alone", Context()), ("with header", Context(tables=True))):
        recipe = Recipe(index=IndexHalf(context=context), query=QueryHalf(merge=0))
        ranks: list[int] = []  # 0: not among the first ten
        with tempfile.TemporaryDirectory() as place, openbook.open(place, recipe=recipe) as kb:
            kb.add(HANDBOOK)
            for row in rows:
                for column in head[3:7]:
                    hits = kb.search(f"What is the {column} in {row[0]}?", DEPTH, record=False).hits
                    wanted = f"| {row[0]} | {row[1]} |"
                    ranks.append(next((rank for rank, hit in enumerate(hits, 1) if wanted in hit.chunk.text), 0))
        count = len(ranks)
        first, found = ranks.count(1) / count, 1 - ranks.count(0) / count
        mrr = sum(1 / rank for rank in ranks if rank) / count
        print(f"{name:<14} {first:>6.3f} {mrr:>7.3f} {found:>7.3f}   ({count} questions)")


if __name__ == "__main__":
    main()
