"""The benchmark of the verdict: deals keep every question's values, and what is dealt by chance does not ship."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.finetune.test_verdict import BASE, BETTER, report

HERE = Path(__file__).resolve().parent.parent.parent / "benchmarks"


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(HERE))
    found = __import__("verdict")
    monkeypatch.delitem(sys.modules, "verdict")
    return found


def test_a_deal_gives_each_questions_values_to_somebody(verdict: Any) -> None:
    reports = [report(BASE), report(BETTER), report(BETTER / 2)]
    dealt = verdict.dealt(reports, "ndcg@10", np.random.default_rng(0))
    for question in reports[0].questions:
        values = [sorted(one.per_question["ndcg@10"][question] for one in of) for of in (reports, dealt)]
        assert values[0] == values[1]
    assert dealt[0].per_question != reports[0].per_question


def test_it_prints_the_share_that_ships(
    verdict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / name for name in ("base.json", "tuned.json")]
    for file, values in zip(files, (BASE, BETTER), strict=True):
        report(values).write(file)
    monkeypatch.setattr(sys, "argv", ["verdict.py", *map(str, files), "--deals", "40"])
    verdict.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("support, 60 questions, 1 seeds: ndcg@10 ")
    assert said[0].endswith(", ship")
    assert said[-1].endswith("of 40 deals (within 5%)")
