"""Neighbouring chunks that were both found become one hit."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from openbook.retrieve.passage import Passage, Said, runs
from openbook.types import Chunk, Hit

TEXT = "one two\n\n three four. five"


def hit(start: int, end: int, score: float = 0.0, **other: object) -> Hit:
    return replace(Hit("d", 1, "s", "t", Chunk(start, end, TEXT[start:end], ("A",), 1), score), **other)  # type: ignore[arg-type]


def after(end: int) -> str:
    return TEXT[end : end + 16]


@pytest.mark.parametrize(
    ("mine", "its", "span"),
    [
        ((0, 7), (10, 21), (0, 21)),  # blanks between
        ((10, 21), (0, 7), (0, 21)),  # the other came first
        ((0, 14), (10, 21), (0, 21)),  # they overlap
        ((10, 21), (0, 14), (0, 21)),
        ((0, 7), (22, 26), None),  # a chunk lies between
        ((22, 26), (0, 7), None),
        ((0, 3), (4, 7), (0, 7)),
    ],
)
def test_only_what_follows_is_joined(mine: tuple[int, int], its: tuple[int, int], span: tuple[int, int] | None) -> None:
    passage = Passage(hit(*mine, score=3.0), after(mine[1]))
    assert passage.join(hit(*its, score=1.0), after(its[1])) == (span is not None)
    chunk = passage.hit.chunk
    assert (chunk.start, chunk.end) == (span or mine)
    assert chunk.text == TEXT[chunk.start : chunk.end]
    assert passage.hit.score == 3.0


def test_a_third_does_not_join() -> None:
    passage = Passage(hit(10, 21), after(21))
    assert passage.join(hit(0, 7), after(7))
    assert not passage.join(hit(22, 26), after(26))


@pytest.mark.parametrize("other", [{"document": "e"}, {"version": 2}])
def test_another_text_does_not_join(other: dict[str, object]) -> None:
    assert not Passage(hit(0, 7), after(7)).join(hit(10, 21, **other), after(21))


def test_another_section_does_not_join() -> None:
    its = hit(10, 21)
    other = replace(its, chunk=replace(its.chunk, headings=("B",)))
    assert not Passage(hit(0, 7), after(7)).join(other, after(21))


def test_what_was_found_inside_a_passage_is_no_hit_of_its_own() -> None:
    passage = Passage(hit(0, 21, found=(10, 14)), after(21))
    assert passage.holds(hit(0, 26, found=(0, 7)))
    assert passage.holds(hit(10, 21))
    assert not passage.holds(hit(0, 26, found=(22, 26)))
    assert not passage.holds(hit(10, 21, document="e"))
    assert passage.join(hit(10, 26, found=(22, 26)), after(26)), "its own passage overlaps"
    assert passage.hit.chunk.text == TEXT[0:26]


def written(draw: random.Random, words: int, of: int) -> Hit:
    text = " ".join(f"w{draw.randrange(of)}" for _ in range(words))
    return hit(0, 0, chunk=Chunk(0, len(text), text))


@pytest.mark.parametrize("similarity", [0.1, 0.5, 1.0])
def test_what_repeats_a_passage_shares_so_many_of_its_runs(similarity: float) -> None:
    draw, said, passages = random.Random(1), Said(similarity), list[Passage]()
    for _ in range(300):
        one = written(draw, draw.randrange(7), 2)
        own = runs(one.chunk.text)
        before = [len(passage.hit.also) for passage in passages]
        those = [runs(passage.hit.chunk.text) for passage in passages]
        alike = [at for at, its in enumerate(those) if len(own & its) / len(own | its) >= similarity]
        assert said.repeats(one) == bool(alike)
        after = [len(passage.hit.also) for passage in passages]
        assert [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == alike[:1]
        if not alike:
            passages.append(Passage(one, ""))
            said.add(passages[-1], one)


def test_a_thousand_hits_are_looked_through_at_once() -> None:
    """Each was compared with all before it: 9 s, and 100 times as long for the most hits that can be asked for."""
    draw, said = random.Random(0), Said(0.8)
    begun = time.process_time()
    for _ in range(1000):
        one = written(draw, 90, 3000)
        assert not said.repeats(one)
        said.add(Passage(one, ""), one)
    assert time.process_time() - begun < 2
