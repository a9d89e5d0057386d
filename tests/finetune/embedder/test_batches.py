"""In a batch every other row's passages are negatives: nothing that answers a query is among them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.finetune.data.rows import Example, Passage, grouped, same_text
from openbook.finetune.embedder.batches import Apart, Line, lines_of, without_answers


def sampled(lines: list[Line], batch: int, *, epoch: int = 0, seed: int = 0, drop_last: bool = False) -> Any:
    how = {"batch_size": batch, "drop_last": drop_last, "seed": seed}
    sampler = Apart(tuple(lines))(range(len(lines)), **how)
    sampler.set_epoch(epoch)
    return sampler


@st.composite
def examples(draw: st.DrawFn) -> list[Example]:
    """Queries that share positives, and have others' positives as negatives."""
    texts = [f"passage number {n} about {'abcdefghij'[n]}" for n in range(10)]
    found = []
    for number in range(draw(st.integers(2, 12))):
        right = draw(st.lists(st.sampled_from(texts), min_size=1, max_size=3, unique=True))
        wrong = draw(st.lists(st.sampled_from(sorted({*texts} - {*right})), min_size=1, max_size=3, unique=True))
        query = f"question {number} of {draw(st.sampled_from('uvwxyz'))}"
        found.append(Example(query, tuple(map(Passage, right)), tuple(map(Passage, wrong)), group=f"g{number // 2}"))
    return found


@given(examples(), st.integers(1, 6), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_nothing_that_answers_a_query_is_its_negative(made: list[Example], batch: int, negatives: int) -> None:
    rows, lines = lines_of(without_answers(made), negatives)
    right: dict[str, set[str]] = {}
    for one in made:
        right.setdefault(one.group, set()).update(passage.text for passage in one.positives)
    group = {one.query: one.group for one in made}
    seen: list[int] = []
    for numbers in sampled(lines, batch):
        assert 1 <= len(numbers) <= batch
        seen += numbers
        for own in numbers:
            wrong = {same_text(text) for other in numbers if other != own for text in rows[other][1:]}
            wrong |= {same_text(text) for text in rows[own][2:]}
            assert not wrong & right[group[rows[own][0]]]
    assert sorted(seen) == list(range(len(rows))), "each row once"


def test_the_order_is_of_seed_and_epoch_alone() -> None:
    made = grouped([Example(f"{word}?", (Passage(f"all about {word}"),)) for word in "abcdefghijklmnop"])
    _, lines = lines_of(made, 0)
    first = list(sampled(lines, 4))
    assert first == list(sampled(lines, 4))
    assert first != list(sampled(lines, 4, epoch=1))
    assert first != list(sampled(lines, 4, seed=1))
    assert len(sampled(lines, 4)) == len(first) == 4


@pytest.mark.parametrize("drop_last", [True, False])
def test_rows_that_may_stand_with_no_other_are_a_batch_each(drop_last: bool) -> None:
    made = [Example(f"{n}?", (Passage(f"text {n}"),), group="one") for n in range(3)]
    _, lines = lines_of(made, 0)
    assert [len(batch) for batch in sampled(lines, 8, drop_last=drop_last)] == [1, 1, 1]


def test_the_steps_of_an_epoch_are_those_of_its_batches() -> None:
    made = [Example(f"{n}?", (Passage(f"text {n}"),), group=f"g{n % 2}") for n in range(10)]
    _, lines = lines_of(made, 0)
    assert Apart(tuple(lines)).steps(5, 0) == 5 == len(sampled(lines, 5))
