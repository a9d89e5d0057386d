"""Questions with what is known of their answers: the types that every measure reads, in the order data meets them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from openbook.errors import DatasetError
from openbook.types import Metadata

Split = Literal["dev", "test", "all"]
SPLITS: tuple[Split, ...] = ("dev", "test", "all")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage that bears the answer, as the data set says it.

    ``source`` names the document ("": it is not said which), ``text`` the passage. Where the data set knows offsets,
    ``start:end`` counts code points of that document's text; else the passage is looked for (``evidence.locate``).
    """

    source: str
    text: str = ""
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Evidence that was found: ``text`` is ``start:end`` of the document's text.

    ``score`` is the share of the evidence that stands there in order: 1 for an exact match.
    """

    source: str
    start: int
    end: int
    text: str
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """One question and what is known of its answer.

    ``judgements[document]`` is the grade of a document, by source (0: judged, not relevant). ``answers`` are accepted
    ones, any of which will do; ``answerable`` is ``None`` where the data set does not say. ``schema`` is the JSON
    schema that an answer must satisfy. ``metadata`` cuts the report into slices and is never shown to the pipeline.
    """

    id: str
    text: str
    judgements: Mapping[str, int] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    answerable: bool | None = None
    evidence: tuple[Evidence, ...] = ()
    schema: Mapping[str, object] | None = None
    split: str | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def is_dev(self) -> bool:
        """As the data set says; else dev when the first byte of SHA-256 of the id is even."""
        if self.split is not None:
            return self.split == "dev"
        return hashlib.sha256(self.id.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0

    def is_in(self, split: Split) -> bool:
        """Whether the question belongs to ``split``; ``all`` is both. Questions to train on belong to none: measured
        on them, what was tuned looks better than it is."""
        return self.split != "train" and (split == "all" or self.is_dev == (split == "dev"))


@dataclass(frozen=True, slots=True)
class Dataset:
    """Questions by id, in the order of the file. ``corpus``: documents that come with it (a BEIR ``corpus.jsonl``).

    ``unread``: columns of the file that mean nothing here (they cut the report where they are short), each with the
    known one whose name it resembles, if there is one.
    """

    name: str
    questions: Mapping[str, Question]
    corpus: Path | None = None
    unread: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Twelve hex digits that name the questions and judgements, whatever their order and their file's name."""
        rows = sorted(json.dumps(asdict(question), sort_keys=True, default=str) for question in self.questions.values())
        return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @property
    def notes(self) -> list[str]:
        """A line for each column that seems to be misspelt."""
        return [
            f"{self.name}: the column {name!r} is none that is read; was {like!r} meant?"
            for name, like in self.unread.items()
            if like is not None
        ]

    def select(self, split: Split = "all", limit: int | None = None) -> Dataset:
        """The first ``limit`` questions of a split.

        Raises:
            DatasetError: none is left.
        """
        if split not in SPLITS:
            raise DatasetError(f"unknown split {split!r}", where=self.name, do="choose dev, test or all")
        kept = [question for question in self.questions.values() if question.is_in(split)][:limit]
        if not kept:
            raise DatasetError("no question is left to ask", where=self.name, do="widen the split or the limit")
        return replace(self, questions={question.id: question for question in kept})


def dataset(
    name: str,
    questions: Iterable[Question],
    corpus: Path | None = None,
    unread: Mapping[str, str | None] | None = None,
) -> Dataset:
    """A data set of these questions.

    Raises:
        DatasetError: two questions share an id.
    """
    by_id: dict[str, Question] = {}
    for question in questions:
        if question.id in by_id:
            raise DatasetError(f"two questions have the id {question.id!r}", where=name, do="give each its own")
        by_id[question.id] = question
    return Dataset(name, by_id, corpus, unread or {})
