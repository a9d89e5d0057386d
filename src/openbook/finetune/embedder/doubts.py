"""Rows whose labels the base's own vectors doubt: what shuffled labels look like before anything is trained on them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from openbook.finetune.data.report import MANY
from openbook.finetune.data.rows import Example, Rows, Scored, placed
from openbook.finetune.embedder.vectors import Targets, of_rows

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray

LOOKED_AT = 1000
"""Rows: of more, so many are drawn. Over 100,000 passages they take two seconds."""

EMBEDDED = 300
"""Rows that are looked at where no vectors are at hand: to embed them takes seconds of a training of minutes."""

NEIGHBOURS = 3
"""Queries most like a query: what answers them has something to say of what answers it."""

ALIKE = 0.95
"""Passages are alike whose cosine stands above this share of those of any two rows."""

TOLD = 0.15
"""Share of doubtful rows that is told. Of scifact's train claims and of the examples' rows, 0 and 0.3 % are doubtful;
with three in ten of their labels shuffled 21 to 27 %, with all of them 71 to 82 % (measured once, by no command that is
kept)."""

RARER = 10
"""Pairs that must have another score than most."""

CHANCE = 0.01
"""Scores that would go so well with the cosines once in so many times by chance go with them by chance."""


def doubted(targets: Targets) -> tuple[list[int], int]:
    """The rows, of how many that were looked at, whose passage stands low among all for its query, and is unlike those
    of the queries that are most like it, too.

    Either alone is no reason to doubt. A word that the base has never met puts its passage low, and is what training is
    for; but queries with that word are alike, and have one passage. And a query may be like no other.
    """
    import numpy as np

    queries, passages = targets.queries, targets.passages
    rows = [row for row, right in enumerate(targets.right) if right]
    if len(rows) > LOOKED_AT:
        rows = sorted(random.Random(0).sample(rows, LOOKED_AT))
    if len(rows) <= NEIGHBOURS:
        return [], len(rows)
    first = passages[[targets.right[row][0] for row in rows]]
    like = first @ first.T
    apart = like[~np.eye(len(rows), dtype=bool)]
    alike = min(float(np.quantile(apart, ALIKE)), 1.0 - 1e-4)
    near = queries[rows] @ queries[rows].T
    np.fill_diagonal(near, -2.0)
    nearest = np.argpartition(near, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    agrees = np.take_along_axis(like, nearest, axis=1).max(axis=1) >= alike
    found = []
    for at, row in enumerate(rows):
        if agrees[at]:
            continue
        scores = passages @ queries[row]
        best = scores[list(targets.right[row])].max()
        above = int((scores > best).sum()) - int((scores[list(targets.left[row])] > best).sum())
        others = len(passages) - len(targets.right[row]) - len(targets.left[row])
        if above >= min(MANY, max(1, others // 4)):
            found.append(row)
    return found, len(rows)


def of_examples(examples: Sequence[Example], targets: Targets) -> list[str]:
    """What is to be told of the labels of queries with passages: a line, or none."""
    rows, of = doubted(targets)
    if len(rows) <= TOLD * of:
        return []
    first = examples[rows[0]]
    return [
        f"{len(rows)} of {of} rows look as if their labels were drawn by chance, such as"
        f" {placed(first.where, first.query)}: the base puts their passages low for their queries, and like queries"
        " have other passages; look at them"
    ]


def of_pairs(scored: Sequence[Scored], first: FloatArray, second: FloatArray) -> list[str]:
    """The same of scored pairs, by the vectors of their texts."""
    from scipy.stats import spearmanr

    commonest = max(Counter(one.score for one in scored).values(), default=0)
    if len(scored) - commonest < RARER:
        return []  # of so few that differ nothing can be told
    found = spearmanr((first * second).sum(axis=1), [one.score for one in scored], alternative="greater")
    if found.pvalue <= CHANCE:
        return []
    return [
        f"the scores of {len(scored)} pairs look as if they were drawn by chance: the base's cosines rise with them no"
        f" more than by chance (rank correlation {found.statistic:.2f}, p {found.pvalue:.2g}); look at them"
    ]


def embedded(data: Rows, base: Embedder) -> list[str]:
    """The same of rows whose vectors are not at hand: some are embedded for it."""
    draw = random.Random(0)
    if data.scored:
        pairs = draw.sample(data.scored, min(EMBEDDED, len(data.scored)))
        first = base.encode([one.first.text for one in pairs], "query")
        return of_pairs(pairs, first, base.encode([one.second.text for one in pairs]))
    some = draw.sample(data.examples, min(EMBEDDED, len(data.examples)))
    some = [replace(one, positives=one.positives[:1], negatives=()) for one in some]
    return of_examples(some, of_rows(some, base))
