"""What was measured: totals with intervals, and every question's own figures, so that reports can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError
from openbook.types import Hit

if TYPE_CHECKING:
    import numpy as np

    from openbook.types import Answer

    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

LOWER_IS_BETTER = (
    *("false_answer_rate", "false_abstention_rate", "risk", "injection_", "access_leak", "unsupported", "flip_rate"),
    *("ms", "cost", "tokens"),
)
"""Measures, by the start of their name, of which less is better."""


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
    and ``total``.
    """

    question: str  # its id
    hits: Sequence[Hit] = ()
    answer: Answer | None = None
    ms: Mapping[str, float] = field(default_factory=dict)
    trace: str | None = None
    error: str | None = None


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
    """What a report remembers of one question. ``found``: the sources of its best documents, best first."""

    text: str
    slices: Mapping[str, str] = field(default_factory=dict)
    found: Sequence[str] = ()
    answer: str | None = None
    abstained: bool = False
    trace: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Measures of one pipeline on one data set.

    ``data`` is the hash of the questions asked, ``recipe`` that of what answered them, ``db`` where its traces lie.
    ``failed`` questions raised an error and ``unanswered`` ones found nothing: both count 0 in every mean.
    ``settings`` tell how to ask the same again: ``limit``, ``measures`` of documents, ``answered``, ``attacks``,
    ``llm`` (what answered in the place of the recipe's generator), ``as``, and ``kb``.
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
        lines = [
            f"{self.dataset}, split {self.split}, {len(self.questions)} questions"
            + (f", release {self.release} (recipe {self.recipe})" if self.release else ""),
            "",
            f"{'measure':<28} {'value':>8}   95 % interval          n",
        ]
        for name, m in self.measures.items():
            digits = 1 if abs(m.high) >= 100 else 4
            interval = f"{m.low:.{digits}f} to {m.high:.{digits}f}"
            lines.append(f"{name:<28} {m.value:>8.{digits}f}   {interval:<20} {m.n:>4}")
        if self.ms:
            lines += ["", "ms  " + ", ".join(f"{name} {value:.1f}" for name, value in self.ms.items())]
        threshold = self.details.get("threshold") or {}
        if threshold.get("value") is not None:
            lines.append(f"abstention threshold chosen on dev: {threshold['value']:.3f}")
        lines += self.doubts()
        if self.failed:
            lines.append(f"failed, and count 0: {_some(self.failed)}")
        if self.unanswered:
            lines.append(f"found nothing, and count 0: {_some(self.unanswered)}")
        return "\n".join(lines)

    def doubts(self) -> list[str]:
        """A line for each way in which the judgements do not fit the documents: such questions measure the data set."""
        evidence = self.details.get("evidence") or {}
        told = {
            "evidence not found in the documents": evidence.get("not_found"),
            "judged documents that are not there": evidence.get("unknown_documents"),
            "documents that are there twice, but not judged alike,": self.details.get("copies"),
        }
        return [f"{what} for {_some(list(questions))}" for what, questions in told.items() if questions]

    def write(self, path: Path) -> None:
        """Keep it for ``read_report``. Raises: DatasetError: it cannot be written."""
        try:
            path.write_text(json.dumps(self.as_json(), ensure_ascii=False) + "\n", encoding="utf-8", errors="replace")
        except OSError as error:
            raise DatasetError(f"cannot be written ({error.strerror})", where=str(path), do="name another") from None


def _some(questions: Sequence[str]) -> str:
    named = ", ".join(questions[:5])
    return f"{len(questions)} question{'s' * (len(questions) > 1)}: {named}{' …' * (len(questions) > 5)}"


def read_report(path: Path) -> Report:
    """A report that ``openbook evaluate --json`` printed.

    Raises:
        DatasetError: the file is no such report.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return Report(
            dataset=read["dataset"],
            data=read["data"],
            split=read["split"],
            release=read["release"],
            recipe=read["recipe"],
            measures={name: Measure(**measure) for name, measure in read["measures"].items()},
            per_question=read["per_question"],
            questions={id: Asked(**asked) for id, asked in read["asked"].items()},
            failed=tuple(read["failed"]),
            unanswered=tuple(read["unanswered"]),
            ms=read["ms"],
            details=read["details"],
            created=read["created"],
            db=read["db"],
            settings=read.get("settings", {}),
        )
    except OSError as error:
        raise DatasetError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"not a report ({type(error).__name__}: {error})", where=str(path), do="make one: openbook evaluate --json"
        ) from None


def mean(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Measure:
    """The mean with its 95 % percentile bootstrap interval over questions (Efron and Tibshirani, 1993)."""
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(array), size=(resamples, len(array)))
    low, high = np.percentile(array[draws].mean(axis=1), [2.5, 97.5])
    return Measure(float(array.mean()), float(low), float(high), len(array))


def statistic(
    function: Callable[[FloatArray], float], rows: FloatArray, *, resamples: int = 1000, seed: int = 0
) -> Measure:
    """``function(rows)`` for what is no mean (an area under a curve), resampled over the ``rows``, one a question."""
    import numpy as np

    draws = np.random.default_rng(seed).integers(0, len(rows), size=(resamples, len(rows)))
    values = [function(rows[draw]) for draw in draws]
    known = [value for value in values if value == value]  # a resample may lack one of two classes
    value = float(function(rows))
    low, high = (float(v) for v in np.percentile(known, [2.5, 97.5])) if known else (value, value)
    return Measure(value, low, high, len(rows))
