"""Labels that were shuffled are told before anything is trained on them, and words that are new to the base are not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from tests.finetune.embedder import jargon

from openbook.embed import Embedder
from openbook.finetune.data.rows import Example, Passage, Rows, Scored, grouped
from openbook.finetune.embedder import Dev, Step, train_embedder
from openbook.finetune.embedder.doubts import doubted, embedded, of_pairs
from openbook.finetune.embedder.vectors import of_rows
from openbook.finetune.settings import EmbedderSettings

DRAWN = "rows look as if their labels were drawn by chance, such as rows.jsonl:"


def shuffled(examples: Sequence[Example], share: float = 1.0) -> tuple[Example, ...]:
    """The same with the passages of some dealt out anew among these."""
    draw = random.Random(0)
    some = draw.sample(range(len(examples)), round(share * len(examples)))
    dealt = some.copy()
    draw.shuffle(dealt)
    made = [replace(one, group="") for one in examples]
    for at, of in zip(some, dealt, strict=True):
        made[at] = replace(made[at], positives=examples[of].positives)
    return grouped(made)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 1), (0.3, 9, 20), (1.0, 30, 60)])
def test_the_rows_that_are_doubted_are_about_those_that_were_shuffled(
    share: float, least: int, most: int, embedder: Embedder
) -> None:
    """Of invented names the base knows nothing: that they are found badly is no reason to doubt them."""
    rows, of = doubted(of_rows(shuffled(jargon.examples(), share), embedder))
    assert of == 60
    assert least <= len(rows) <= most


def test_they_are_told_before_the_first_step(dev: Dev, tmp_path: Path) -> None:
    told: list[str | Step] = []
    done = train_embedder(
        Rows(shuffled(jargon.examples())), tmp_path / "m", EmbedderSettings(epochs=1),
        dev=dev, progress=told.append, say=told.append,
    )  # fmt: skip
    [said] = [one for one in told if isinstance(one, str) and DRAWN in one]
    assert told.index(said) < next(at for at, one in enumerate(told) if isinstance(one, Step))
    assert said in done.notes


def test_where_no_vectors_are_at_hand_some_are_made(embedder: Embedder, tmp_path: Path) -> None:
    class Said(Exception):
        pass

    def stop(line: str) -> None:
        if DRAWN in line:
            raise Said

    with pytest.raises(Said):
        train_embedder(Rows(shuffled(jargon.examples())), tmp_path / "m", EmbedderSettings(method="lora"), say=stop)
    assert not list(tmp_path.iterdir())
    assert embedded(jargon.rows(), embedder) == []


def test_good_rows_are_not_doubted(dev: Dev, tmp_path: Path) -> None:
    done = train_embedder(jargon.rows(), tmp_path / "m", EmbedderSettings(epochs=1), dev=dev)
    assert done.notes == ()


def test_scores_that_were_shuffled_are_told(embedder: Embedder) -> None:
    texts = [text for _, text in jargon.THINGS.values()]
    pairs = [
        Scored(Passage(a), Passage(a if same else b), float(same)) for a, b in pairwise(texts) for same in (True, False)
    ]
    first, second = (embedder.encode([getattr(one, side).text for one in pairs]) for side in ("first", "second"))
    assert of_pairs(pairs, first, second) == []
    scores = [one.score for one in pairs]
    random.Random(1).shuffle(scores)
    [line] = of_pairs([replace(one, score=score) for one, score in zip(pairs, scores, strict=True)], first, second)
    assert line.startswith("the scores of 22 pairs look as if they were drawn by chance")
    few = [replace(one, score=1.0 if at > 1 else 0.0) for at, one in enumerate(pairs)]
    assert of_pairs(few, first, second) == [], "of two that differ nothing can be told"
