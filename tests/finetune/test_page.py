"""The verdict's page: all that was found stands in it, and nothing that others wrote runs in it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from selectolax.lexbor import LexborHTMLParser
from tests.finetune.test_verdict import BASE, BETTER, GENERAL, N, report

from openbook.finetune.data.rows import Example, Passage, Rows
from openbook.finetune.page import Training, trial_page
from openbook.finetune.rails import Told
from openbook.finetune.replay import Traded
from openbook.finetune.verdict import Candidate, judge

HOSTILE = "<script>alert(1)</script>"

SEEN = {f"q{n}": "document" for n in range(40)}
ROWS = Rows(tuple(
    Example(f"query {n}", (Passage(f"Text {n}.", f"{n}.md"),), (Passage("Other.", "x.md", by="dense"),), kind="split")
    for n in range(12)
))  # fmt: skip


def told(seed: int) -> dict[str, Any]:
    """As training writes it."""
    return {
        "method": "full",
        "base": "default",
        "base_hash": "ab12",
        "hash": "cd34",
        "seed": seed,
        "best": 20,
        "steps": 30,
        "rows": {"used": 800, "dropped": [{"line": "a, line 3", "reason": "said twice"}], "cut": {"texts": 0, "of": 9}},
        "loss": [{"step": at, "loss": 2.0 / (1 + at / 10) + seed / 50} for at in range(5, 35, 5)],
        "dev": [
            {"step": at, "ndcg@10": 0.6 + at * (0.004 - 0.00008 * at) + seed / 99 * (at > 0)} for at in (0, 10, 20, 30)
        ],
        "seconds": 61.5,
        "moved": 0.031,
        "parity": 2e-5,
    }


@pytest.fixture(scope="module")
def page() -> str:
    runs = [np.clip(BETTER + shift, 0, 1) for shift in (0.0, 0.02, -0.01)]
    memory = np.where(np.arange(N) < 40, np.clip(BASE + 0.4, 0, 1), np.clip(BASE - 0.04, 0, 1))
    sets = {"default": report(GENERAL), "faq": report(GENERAL[:50])}
    candidates = [
        Candidate("adapter", [report(memory)], {name: [one] for name, one in sets.items()}),
        Candidate(
            HOSTILE,
            [report(run) for run in runs],
            {"default": [report(GENERAL - 0.006)] * 3, "faq": [report(GENERAL[:50] + 0.01)] * 3},
        ),
    ]
    trial = judge(report(BASE, name=f"support {HOSTILE}"), candidates, general=sets, seen=SEEN, resamples=999)
    assert trial.winner == HOSTILE
    trade = (Traded(0.0, 0.6, 0.8), Traded(0.5, 0.67, 0.797), Traded(1.0, 0.69, 0.78))
    trainings = {HOSTILE: Training([told(seed) for seed in range(3)], f'method = "full" # {HOSTILE}', trade)}
    return trial_page(
        trial, trainings, rows=ROWS, seen=SEEN, told=[Told("baseline", f"nothing says how good it is {HOSTILE}")]
    )


def test_it_says_what_was_found(page: str) -> None:
    tree = LexborHTMLParser(page)
    text = " ".join(tree.body.text(separator=" ").split()) if tree.body else ""
    for said in (
        "ship",
        "Evidence was trained on",
        "Evidence was not trained on",
        "it is memory",
        "mean of 2 sets",
        "1 said twice",
        "nothing says how good it is",
        "Shared with 60 test questions document 40",
        "12 (dense 12)",
    ):
        assert said in text, said
    captions = [one.text().strip() for one in tree.css("figcaption")]
    assert sum("loss" in one for one in captions) == 1
    assert sum("dev questions while it was trained" in one for one in captions) == 1
    assert sum("what is gained and what is forgotten" in one for one in captions) == 1
    assert len(tree.css("svg")) == 4


def test_nothing_in_it_runs_or_is_loaded(page: str) -> None:
    tree = LexborHTMLParser(page)
    assert len(tree.css("script")) == 1
    assert not tree.css("[onerror], [onload], img, link, iframe")
    assert not re.search(r"(?:src|href)=\"(?!#)", page)


def test_without_what_training_wrote_it_is_a_page_all_the_same() -> None:
    trial = judge(report(BASE), [Candidate("adapter", [report(BETTER)])], general={}, resamples=499)
    assert "How it was trained" not in trial_page(trial)
