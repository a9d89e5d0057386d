"""What is told on standard error while something takes long."""

from __future__ import annotations

import pytest

from openbook.cli.printing import curves
from openbook.finetune.embedder.trained import Step, of_seed


def test_where_no_terminal_is_every_asking_of_dev_questions_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with curves("training") as told:
        told(Step(0, 60, ndcg=0.25))
        told(Step(10, 60, loss=3.0))
        told(Step(20, 60, ndcg=0.5))
    assert capsys.readouterr().err.splitlines() == [
        "before training: dev nDCG@10 0.2500",
        "20 of 60 steps: dev nDCG@10 0.5000",
    ]


def test_how_long_it_takes_is_told_as_soon_as_it_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By steps of two seconds, and 20 more for each time that the dev questions are asked."""
    now = 0.0
    monkeypatch.setattr("openbook.cli.printing.monotonic", lambda: now)
    with curves("training") as told:
        told(Step(0, 1, ndcg=0.25))
        for at in range(6, 606, 6):
            now += 12
            told(Step(at, 600, loss=3.0))
            if at % 300 == 0:
                now += 20
                told(Step(at, 600, ndcg=0.5))
    assert capsys.readouterr().err.splitlines() == [
        "before training: dev nDCG@10 0.2500",
        "6 of 600 steps: about 20 minutes left",
        "300 of 600 steps: dev nDCG@10 0.5000, about 10 minutes left",
        "600 of 600 steps: dev nDCG@10 0.5000",
    ]


def test_of_several_seeds_each_line_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Three trainings ran, and the lines of one looked as the lines of the next."""
    with curves("training") as told:
        for seed in (4, 5):
            of_seed(told, seed, 4, 2)(Step(20, 60, ndcg=0.5))
        of_seed(told, 4, 4, 1)(Step(20, 60, ndcg=0.5))
    assert capsys.readouterr().err.splitlines() == [
        "seed 4 (1 of 2), 20 of 60 steps: dev nDCG@10 0.5000",
        "seed 5 (2 of 2), 20 of 60 steps: dev nDCG@10 0.5000",
        "20 of 60 steps: dev nDCG@10 0.5000",
    ]
