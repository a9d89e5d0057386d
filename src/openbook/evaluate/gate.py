"""The regression gate: has a pipeline become worse than its baseline? For a pipeline of continuous integration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openbook.errors import QueryError
from openbook.evaluate.comparison import (
    TOLD,
    Role,
    Row,
    Side,
    comparable,
    compared,
    require_same_questions,
)
from openbook.evaluate.report import Report, counted, some
from openbook.evaluate.significance import RESAMPLES


@dataclass(frozen=True, slots=True)
class Worse:
    """One thing that fails the gate: ``what`` (a measure, ``failed`` or ``ms``) with what it was and is, and why."""

    what: str
    baseline: float
    now: float
    why: str


@dataclass(frozen=True, slots=True)
class Check:
    """What became of a baseline. ``failed`` are the questions that failed now and not then."""

    baseline: Side
    now: Side
    rows: Mapping[str, Row]
    worse: Sequence[Worse]
    failed: Sequence[str]
    notes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        return not self.worse

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it; ``detectable`` of a measure is the change that could have been missed."""
        report = self.baseline.report
        return {
            "ok": self.ok,
            "worse": [asdict(one) for one in self.worse],
            "dataset": report.dataset,
            "data": report.data,
            "split": report.split,
            "questions": len(report.questions),
            "a": self.baseline.as_json(),
            "b": self.now.as_json(),
            "measures": {name: row.as_json() for name, row in self.rows.items()},
            "failed": list(self.failed),
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """For people to read: A is the baseline, B what is now; the last line says whether it holds."""
        from openbook.evaluate.pages import terminal

        return terminal.check(self)


def check(
    now: Report,
    baseline: Report,
    *,
    measures: Sequence[str] | None = None,
    allow: Mapping[str, float] | None = None,
    slower: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Check:
    """Whether ``now`` is worse than ``baseline``, a report of the same questions.

    What fails the gate:

    - a measure that is significantly worse, two-sided at 5 %, Holm-corrected over the ``measures`` (else all but
      ``TOLD``);
    - one with an allowed drop (``allow``) whose mean is worse by more than that, significant or not; a smaller drop of
      it passes, significant or not;
    - a question that fails now and did not then;
    - one of whose evidence, or judged documents, more is missing from the documents than was then: the measures of
      evidence leave out what is missing, and would look better for it;
    - with ``slower``, a p95 of the milliseconds of more than so many times the baseline's.

    Raises:
        QueryError: the reports are over different questions, a measure that was named is not in both, an allowed drop
            is below 0, or ``slower`` is not above 0.
    """
    allow = allow or {}
    for measure, drop in allow.items():
        if not drop >= 0:
            raise QueryError(f"the drop allowed for {measure} is {drop:g}", do="allow 0 or more")
    if slower is not None and not slower > 0:
        raise QueryError(f"the times may be {slower:g} of the baseline's", do="name a ratio above 0, such as 1.5")
    require_same_questions(baseline, now, "the baseline", "this")
    notes: list[str] = []
    named = [*(measures or ()), *allow]
    shared = comparable([baseline, now], named if measures else None, named, notes)
    watched = [measure for measure in shared if measure in named or not (measures or measure.startswith(TOLD))]
    roles: dict[str, Role] = dict.fromkeys(watched, "guard")
    rows = compared(baseline, now, roles, resamples=resamples, seed=seed)
    worse: list[Worse] = []
    for measure, row in rows.items():
        a, b = row.paired.a, row.paired.b
        if measure in allow:
            if -row.gain > allow[measure] + 1e-9:  # 0.5 - 0.48 is a little more than 0.02
                why = f"{measure} {_moved(a, b)}; {allow[measure]:g} was allowed"
                worse.append(Worse(measure, a, b, why))
        elif row.is_worse:
            worse.append(Worse(measure, a, b, f"{measure} {_moved(a, b)} (p {row.p_holm:.4f} after Holm)"))
    failed = [question for question in now.failed if question not in set(baseline.failed)]
    if failed:
        why = f"{counted(failed)} fail{'s' * (len(failed) == 1)} that did not: {some(failed)}"
        worse.append(Worse("failed", len(baseline.failed), len(now.failed), why))
    before, after = _unlocated(baseline), _unlocated(now)
    lost = sorted({question for (question, kind), n in after.items() if n > before.get((question, kind), 0)})
    if lost:
        why = f"{counted(lost)} lost evidence that was in the documents: {some(lost)}"
        worse.append(Worse("evidence", sum(before.values()), sum(after.values()), why))
    if slower is not None:
        worse += _slower(baseline, now, slower)
    silent = [question for question in now.unanswered if question not in set(baseline.unanswered)]
    if silent:
        finds = "finds" if len(silent) == 1 else "find"
        notes.append(f"{counted(silent)} {finds} nothing that found something: {some(silent)}")
    return Check(Side("baseline", baseline), Side("now", now), rows, worse, failed, notes)


def _unlocated(report: Report) -> dict[tuple[str, str], int]:
    """How many passages of evidence and how many judged documents of each question are not in the documents."""
    evidence = report.details.get("evidence") or {}
    return {
        (question, kind): len(missing)
        for kind in ("not_found", "unknown_documents")
        for question, missing in (evidence.get(kind) or {}).items()
    }


def allowed(pairs: Sequence[str]) -> dict[str, float]:
    """Measure → drop, from ``ndcg@10=0.02``. Raises: QueryError: one is no such pair."""
    drops: dict[str, float] = {}
    for pair in pairs:
        measure, _, drop = pair.partition("=")
        try:
            drops[measure] = float(drop)
        except ValueError:
            raise QueryError(
                "not measure=drop", where=f"--allow {pair}", do="write it as --allow ndcg@10=0.02"
            ) from None
    return drops


def _slower(baseline: Report, now: Report, ratio: float) -> list[Worse]:
    if not baseline.ms or not now.ms:
        raise QueryError("the baseline has no times", do="leave --slower away, or make a new baseline")
    a, b = baseline.ms["p95"], now.ms["p95"]
    if b <= ratio * a:
        return []
    return [Worse("ms", a, b, f"p95 rose from {a:.1f} to {b:.1f} ms, {b / a:.2f} times; {ratio:g} was allowed")]


def _moved(a: float, b: float) -> str:
    return f"{'rose' if b > a else 'fell'} from {a:.4f} to {b:.4f}"
