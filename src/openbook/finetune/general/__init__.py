"""Questions about anything: what a model knew before it was trained on something, and so what it may forget.

Two sets come with openbook, in its authors' own words and under its licence, so that forgetting is measured where a
user has nothing for it: 216 questions on 108 passages of 27 subjects to measure with, and 81 pairs of other subjects to
be mixed into training. Four passages of each subject are near one another and the questions say it in other words, so
that the packaged model is not right already: its vectors alone reach nDCG@10 .80.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openbook.errors import QueryError
from openbook.evaluate.datasets import formats
from openbook.evaluate.datasets.dataset import Dataset

DEFAULT = "default"
"""The name under which a user asks for what comes with openbook."""

FOLDER = Path(__file__).parent
"""A BEIR folder: what is measured with."""

REPLAY = FOLDER / "replay.jsonl"
"""Pairs to train on, of subjects that are not measured."""


def general_sets(named: Sequence[str | Path] = (DEFAULT,)) -> dict[str, Dataset]:
    """General sets by name: ``default``, or data sets that bring their documents.

    Raises:
        DatasetError: one cannot be read.
        QueryError: one brings no documents (what a model knows of the user's own is no general knowledge), or two have
            one name.
    """
    found: dict[str, Dataset] = {}
    for name in named:
        dataset = formats.read(FOLDER if name == DEFAULT else name)
        if dataset.corpus is None:
            do = "name a folder with corpus.jsonl, queries.jsonl and qrels, or default"
            raise QueryError("a general set needs documents of its own", where=str(name), do=do)
        told = DEFAULT if name == DEFAULT else dataset.name
        if told in found:
            raise QueryError(f"two general sets are called {told!r}", where="--general", do="name each once")
        found[told] = dataset
    return found


def replay_file(named: str | Path) -> Path:
    """The file of general pairs: that of openbook for ``default``, else the one that is named."""
    return REPLAY if str(named) == DEFAULT else Path(named)
