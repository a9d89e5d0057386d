"""What a model gains whichever answers are looked for is no answer that it has learnt."""

from __future__ import annotations

import math

from openbook.evaluate.report import Asked, Report
from openbook.finetune.swapped import swapped

ANSWERS = {f"q{n}": {f"d{n % 10}": 1} for n in range(40)}
"""Forty questions about ten documents."""


def report(found: dict[str, list[str]]) -> Report:
    asked = {id: Asked(text=id, slices={}, found=tuple(ranking)) for id, ranking in found.items()}
    return Report("set", "h", "test", "r1", "r", {}, questions=asked)


def mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


def test_a_ranking_that_finds_its_own_answer_is_worth_nothing_to_others() -> None:
    exact = report({id: [*answers, *(f"x{n}" for n in range(9))] for id, answers in ANSWERS.items()})
    assert mean(swapped(exact, ANSWERS, "ndcg@10")) == 0.0


def test_one_that_finds_whatever_is_asked_for_is_worth_as_much_to_all() -> None:
    everything = [f"d{n}" for n in range(10)]
    popular = report(dict.fromkeys(ANSWERS, everything))
    own = sum(1 / math.log2(2 + n) for n in range(10)) / 10
    assert abs(mean(swapped(popular, ANSWERS, "ndcg@10")) - own) < 0.03
    assert swapped(popular, ANSWERS, "ndcg@10") == swapped(popular, ANSWERS, "ndcg@10")


def test_what_cannot_be_dealt_out_is_left_out() -> None:
    one = report({id: ["d0"] for id in ANSWERS})
    assert swapped(one, {id: {"d0": 1} for id in ANSWERS}, "ndcg@10") == {}, "all have one answer"
    assert swapped(one, ANSWERS, "chunk_ndcg@10") == {}
    assert swapped(one, ANSWERS, "recall@100") == {}, "deeper than what is kept"
