"""What was measured: totals with intervals, and every question's own figures, so that reports can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from openbook.errors import DatasetError
from openbook.evaluate.significance import interval
from openbook.types import Hit

if TYPE_CHECKING:
    from openbook.evaluate.significance import FloatArray
    from openbook.recipe import LanguageModel
    from openbook.types import Answer

NAMED = 5
"""Of many questions, those that a line names; the JSON has all."""

LOWER_IS_BETTER = (
    *("false_answer_rate", "false_abstention_rate", "risk", "injection_", "access_leak", "unsupported", "flip_rate"),
    *("ms", "cost", "tokens"),
)
"""Measures, by the start of their name, of which less is better."""


JUDGED, STYLED = frozenset({"faithfulness", "unsupported_rate"}), frozenset({"style_adherence"})
"""Measures taken by a judge model, and by a classifier of style."""


def direction(measure: str) -> int:
    """1 where more of a measure is better, -1 where less is."""
    return -1 if measure.startswith(LOWER_IS_BETTER) else 1


@dataclass(frozen=True, slots=True)
class Measure:
    """A mean over ``n`` questions with its 95 % bootstrap interval; a failure counts 0, never as missing."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the pipeline did with one question: the hits, and the answer where one was asked for.

    ``error`` tells why there is neither; such a question counts as failed. ``ms`` holds milliseconds for each stage
    and ``total``; ``not_reranked`` why reranking was left out where the recipe has it, ``not_adapted`` why
    the query adapter was.
    """

    question: str  # its id
    hits: Sequence[Hit] = ()
    answer: Answer | None = None
    ms: Mapping[str, float] = field(default_factory=dict)
    trace: str | None = None
    error: str | None = None
    not_reranked: str | None = None
    not_adapted: str | None = None

    @property
    def local_only(self) -> bool:
        """Whether a passage is: then what was said of it is sent to no remote model."""
        return any(hit.local_only for hit in self.hits)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one family of measures makes of the outcomes.

    ``per_question[measure][question]`` holds every question that the measure applies to; ``totals`` those measures
    that are no mean over questions; ``details`` what else a reader wants to see (curves, counts, failures).
    """

    per_question: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    totals: Mapping[str, Measure] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report remembers of one question. ``found``: the sources of its best documents, best first.
    ``local_only``: of its passages one is, so that the answer is sent to no remote model."""

    text: str
    slices: Mapping[str, str] = field(default_factory=dict)
    found: Sequence[str] = ()
    answer: str | None = None
    abstained: bool = False
    trace: str | None = None
    error: str | None = None
    local_only: bool = False  # a report that an older openbook wrote does not tell


@dataclass(frozen=True, slots=True)
class Report:
    """Measures of one pipeline on one data set.

    ``data`` is the hash of the questions asked, ``recipe`` that of what answered them, ``db`` where its traces lie.
    ``failed`` questions raised an error and ``unanswered`` ones found nothing: both count 0 in every mean.
    ``settings`` tell how to ask the same again: ``limit``, ``measures`` of documents, ``answered``, ``attacks``,
    ``llm`` (what answered in the place of the recipe's generator), ``judge`` (with its ``budget``, if it had one),
    ``style`` (the file of its examples, and a hash of them), ``as``, and ``kb``. No password is among them.
    """

    dataset: str
    data: str
    split: str
    release: str
    recipe: str
    measures: Mapping[str, Measure]
    per_question: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    questions: Mapping[str, Asked] = field(default_factory=dict)
    failed: Sequence[str] = ()
    unanswered: Sequence[str] = ()
    ms: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    db: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def taken_by(self, measure: str) -> str | None:
        """What took a measure that another judge, or other examples of the style, would take otherwise; ``None``: any
        would take it alike, or it is not told."""
        if measure in STYLED:
            return (self.settings.get("style") or {}).get("examples")
        told = self.details.get("faithfulness") if measure in JUDGED else None
        judge = told.get("judge") if isinstance(told, Mapping) else None
        if not isinstance(judge, Mapping):
            return None
        return f"{judge.get('model')}, prompts of version {judge.get('prompts')}"

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it and ``read_report`` reads it back."""
        return {
            "dataset": self.dataset,
            "data": self.data,
            "split": self.split,
            "release": self.release,
            "recipe": self.recipe,
            "created": self.created,
            "questions": len(self.questions),
            "failed": list(self.failed),
            "unanswered": list(self.unanswered),
            "measures": {name: asdict(measure) for name, measure in self.measures.items()},
            "ms": dict(self.ms),
            "details": dict(self.details),
            "db": self.db,
            "settings": dict(self.settings),
            "asked": {id: asdict(asked) for id, asked in self.questions.items()},
            "per_question": {name: dict(values) for name, values in self.per_question.items()},
        }

    def text(self) -> str:
        """For a terminal: the measures with their intervals, what failed, and what took how long."""
        from openbook.evaluate.pages import terminal

        return terminal.report(self)

    def doubts(self) -> list[str]:
        """A line for each way in which the judgements do not fit the documents: such questions measure the data set."""
        evidence = self.details.get("evidence") or {}
        why = "; ".join(f"{reason}: {found['count']}" for reason, found in evidence.get("reasons", {}).items())
        told = (
            ("evidence not found in the documents", evidence.get("not_found"), f" ({why})" if why else ""),
            ("judged documents that are not there", evidence.get("unknown_documents"), ""),
            ("documents that are there twice, but not judged alike,", self.details.get("copies"), ""),
        )
        return [f"{what} for {counted(ids)}: {some(ids)}{reasons}" for what, ids, reasons in told if ids]

    def errors(self) -> list[tuple[str, list[str]]]:
        """Why questions failed, and which; the most frequent reason first. Numbers (seconds to wait, tokens) make no
        other reason."""
        failed: dict[str, list[str]] = {}
        for id in self.failed:
            failed.setdefault(re.sub(r"\d+", "0", self._error(id)), []).append(id)
        return [(self._error(ids[0]), ids) for ids in sorted(failed.values(), key=len, reverse=True)]

    def _error(self, id: str) -> str:
        asked = self.questions.get(id)
        return (asked and asked.error) or "it is not told why"

    def write(self, path: Path) -> None:
        """Keep it for ``read_report``. Raises: DatasetError: it cannot be written."""
        try:
            path.write_text(json.dumps(self.as_json(), ensure_ascii=False) + "\n", encoding="utf-8", errors="replace")
        except OSError as error:
            raise DatasetError(f"cannot be written ({error.strerror})", where=str(path), do="name another") from None


def counted(questions: Collection[str]) -> str:
    """How many: ``1 question``, ``2 questions``."""
    return f"{len(questions)} question{'s' * (len(questions) != 1)}"


def some(questions: Iterable[str]) -> str:
    """The ids of the first few."""
    ids = list(questions)
    return ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")


def settings_of(part: LanguageModel) -> dict[str, Any]:
    """A language model as a report tells it: whole, but for the user and password that its address may hold.

    >>> from openbook.recipe import LanguageModel
    >>> settings_of(LanguageModel(kind="openai", model="m", base_url="http://ann:secret@localhost:8000/v1"))["base_url"]
    'http://localhost:8000/v1'
    """
    return {**part.model_dump(), "base_url": None if part.base_url is None else without_login(part.base_url)}


def without_login(url: str) -> str:
    """An address without the user and password that it may hold; of what is no address, nothing before the last ``@``.

    >>> without_login("https://ann:secret@models.example:8443/v1"), without_login("ann:secret@models.example")
    ('https://models.example:8443/v1', 'models.example')
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # none can be read where a password was not encoded
    except ValueError:
        parts = urlsplit("")
    if parts.hostname is None:
        return url.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def mean(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Measure:
    """The mean with its 95 % bootstrap interval over questions (``significance.interval``)."""
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    return Measure(float(array.mean()), *interval(array, resamples=resamples, seed=seed), len(array))


def statistic(
    function: Callable[[FloatArray], float], rows: FloatArray, *, resamples: int = 1000, seed: int = 0
) -> Measure:
    """``function(rows)`` for what is no mean (an area under a curve), resampled over the ``rows``, one a question."""
    return Measure(float(function(rows)), *interval(rows, function, resamples=resamples, seed=seed), len(rows))
