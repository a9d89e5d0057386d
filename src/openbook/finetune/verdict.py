"""Whether what was trained may replace what was there: one paired comparison of all candidates, and one of three words.

The rule is ``evaluate.comparison.decide``. What decides is the gain over all test questions, which stand for what will
be asked. Four things may stop it: another measure that is significantly worse; general sets, which tell what was
forgotten; a gain that is as great where answers are swapped between questions (``swapped``), as training on shuffled
labels brings it; and the test questions whose evidence was not trained on. The same documents are searched before and
after, and a question about a document that training has shown gains for that alone: a gain which others pay for is
memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openbook.errors import QueryError
from openbook.evaluate.comparison import (
    SMALLEST_SLICE,
    TOLD,
    Role,
    Row,
    Verdict,
    comparable,
    compared,
    decide,
    primary_of,
    reasons,
    require_same_questions,
    shown_p,
)
from openbook.evaluate.datasets.dataset import Question
from openbook.evaluate.report import Report, counted
from openbook.evaluate.significance import ALPHA, RESAMPLES, Paired, holm, paired
from openbook.finetune.data import report as data_report
from openbook.finetune.data.rows import Rows
from openbook.finetune.swapped import Judgements, swapped

MEASURE = "ndcg@10"
"""By which a question's own answers are compared with those of others, whatever decides."""

LOSS = 0.01
"""What the mean over general sets, and the questions whose evidence was not trained on, may lose: more is seen by those
who ask."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was trained, once for each seed: ``reports`` of the test questions, and of each general set, a seed each in
    the same order."""

    name: str
    reports: Sequence[Report]
    general: Mapping[str, Sequence[Report]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of one candidate beside the base, and the verdict with its reasons.

    ``rows`` has the primary measure first. ``seen`` and ``unseen`` are the primary measure on the test questions whose
    evidence was trained on, and on the others; ``None`` where there are none, or too few to tell anything.
    ``general`` has each general set, ``forgotten`` their mean. ``own`` is nDCG@10 of each question's own answers over
    that of other questions'; ``None`` where no two differ.
    """

    name: str
    rows: Mapping[str, Row]
    seen: Row | None
    unseen: Row | None
    general: Mapping[str, Row]
    forgotten: Row | None
    own: Row | None
    verdict: Verdict
    reasons: Sequence[str]
    notes: Sequence[str]

    @property
    def primary(self) -> Row:
        return next(iter(self.rows.values()))

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "seeds": self.primary.paired.runs,
            "measures": {name: row.as_json() for name, row in self.rows.items()},
            "seen": self.seen and self.seen.as_json(),
            "unseen": self.unseen and self.unseen.as_json(),
            "own": self.own and self.own.as_json(),
            "general": {
                "before": {name: row.paired.a for name, row in self.general.items()},
                "after": {name: row.paired.b for name, row in self.general.items()},
                "mean": self.forgotten and self.forgotten.as_json(),
            },
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """All candidates beside the base. ``winner``: which of those that may be shipped, by name; ``None``: none may."""

    base: Report
    candidates: Sequence[Judged]
    winner: str | None
    notes: Sequence[str]
    settings: Mapping[str, Any]

    @property
    def verdict(self) -> Verdict:
        """Ship where there is a winner; don't ship where that is the verdict on every candidate."""
        if self.winner is not None:
            return "ship"
        stopped = all(one.verdict == "don't ship" for one in self.candidates)
        return "don't ship" if stopped else "insufficient evidence"

    @property
    def primary(self) -> str:
        return self.candidates[0].primary.measure

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "dataset": self.base.dataset,
            "data": self.base.data,
            "split": self.base.split,
            "questions": len(self.base.questions),
            "primary": self.primary,
            "verdict": self.verdict,
            "winner": self.winner,
            "candidates": [one.as_json() for one in self.candidates],
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }

    def lines(self) -> Iterator[str]:
        """As a person reads it: a candidate, what it gained where, what it forgot, and why; last the verdict."""
        measure = self.primary
        yield f"{self.base.dataset}, split {self.base.split}: {counted(self.base.questions)}, {measure}"
        for one in self.candidates:
            yield f"{one.name} ({one.primary.paired.runs} seeds)" if one.primary.paired.runs > 1 else one.name
            yield f"  all questions: {_moved(one.primary)}"
            for what, row in (("trained on", one.seen), ("not trained on", one.unseen)):
                if row is not None:
                    yield f"  evidence {what} ({row.paired.n}): {_moved(row)}"
            if one.own is not None:
                yield f"  own answers over those of other questions ({one.own.paired.n}): {_moved(one.own)}"
            for name, row in one.general.items():
                yield f"  general, {name} ({row.paired.n}): {_moved(row)}"
            if one.forgotten is not None and len(one.general) > 1:
                yield f"  general, mean of {len(one.general)} sets: {_moved(one.forgotten)}"
            yield f"  {one.verdict}: {'; '.join(one.reasons)}"
            yield from (f"  note: {note}" for note in one.notes)
        yield from (f"note: {note}" for note in self.notes)
        yield f"{self.verdict}: {self.winner}" if self.winner else self.verdict


# --- what was trained on ----------------------------------------------------------------------------------------------


def trained_on(rows: Rows, test: Sequence[Question]) -> dict[str, str]:
    """Test question → what of it was trained on: the question itself, one nearly the same, its passage; its document
    where no passage of it is known. (That a question asks for another passage of a long document makes it none.)"""
    texts = {question.id for question in test if any(one.text.strip() for one in question.evidence)}
    return {
        leak.b: leak.kind for leak in data_report.shared(rows, test) if leak.kind != "document" or leak.b not in texts
    }


# --- judging ----------------------------------------------------------------------------------------------------------


def judge(
    base: Report,
    candidates: Sequence[Candidate],
    *,
    general: Mapping[str, Report],
    seen: Mapping[str, str] | None = None,
    judgements: Judgements | None = None,
    primary: str | None = None,
    worth: float = 0.0,
    allowed: float = LOSS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Trial:
    """The verdict on each candidate beside ``base``, whose reports of the ``general`` sets are given too.

    Candidates come in order of what they cost to serve, the cheapest first (an adapter needs no new index): of those
    that may be shipped a later one wins only where it is significantly better than the one before. ``seen`` are the
    test questions whose evidence was trained on (``trained_on``; ``None``: it is not known); ``judgements`` what
    answers them, by the documents' names in the reports. ``allowed`` is what the mean over general sets, and the
    questions not seen, may lose.

    Raises:
        QueryError: there is no candidate, two have one name, one has no report, or seeds or general sets are missing
            from one; or the reports cannot be compared (``comparison.compare``).
    """
    _require_whole(candidates, general)
    for one in candidates:
        for report in one.reports:
            require_same_questions(base, report, "the base", one.name)
        for name, reports in one.general.items():
            for report in reports:
                require_same_questions(general[name], report, "the base", f"{one.name} on {name}")
    every = [report for one in candidates for report in one.reports]
    notes: list[str] = []
    shared = comparable([base, *every], None, [primary] if primary else [], notes)
    first = primary or primary_of(shared, base, every)
    if shared_by_general := [name for name, report in general.items() if first not in report.per_question]:
        do = "measure it there, or name another as primary"
        raise QueryError(f"no {first} on {', '.join(shared_by_general)}", where="general sets", do=do)
    roles: dict[str, Role] = {first: "primary"}
    roles |= {name: "told" if name.startswith(TOLD) else "guard" for name in shared if name != first}
    how = {"resamples": resamples, "seed": seed}
    rows = {one.name: compared(base, one.reports, roles, candidates=len(candidates), **how) for one in candidates}
    corrected = holm([found[first].p_holm for found in rows.values()])
    judged = []
    for one, p in zip(candidates, corrected, strict=True):
        found = {first: Row(first, "primary", rows[one.name][first].paired, p)}
        found |= {name: row for name, row in rows[one.name].items() if name != first}
        judged.append(_judged(base, one, found, general, seen, judgements or {}, worth, allowed, how))
    if seen is None:
        notes.append("the rows that were trained on are not known: the gain may be memory (name them)")
    if not general:
        notes.append("no general set was measured: nobody knows what was forgotten")
    settings = {"worth": worth, "allowed": allowed, "candidates": len(candidates), **how}
    return Trial(base, judged, _winner(candidates, judged, how), tuple(notes), settings)


def _require_whole(candidates: Sequence[Candidate], general: Mapping[str, Report]) -> None:
    """Raises: QueryError: something is missing, or there twice."""
    if not candidates:
        raise QueryError("nothing to judge", do="name what was trained")
    names = [one.name for one in candidates]
    if len({*names}) < len(names):
        raise QueryError(f"two candidates are called {max(names, key=names.count)!r}", do="give each a name of its own")
    for one in candidates:
        if not one.reports:
            raise QueryError("no report of it", where=one.name, do="evaluate it on the test questions")
        if one.general.keys() != general.keys():
            odd = sorted(one.general.keys() ^ general.keys())
            raise QueryError(
                f"not measured on {', '.join(odd)} as the base was", where=one.name, do="measure both alike"
            )
        short = [name for name, reports in one.general.items() if len(reports) != len(one.reports)]
        if short:
            what = f"{len(one.reports)} seeds, and on {short[0]} {len(one.general[short[0]])}"
            raise QueryError(what, where=one.name, do="measure every seed on every set")


def _judged(
    base: Report,
    one: Candidate,
    rows: Mapping[str, Row],
    general: Mapping[str, Report],
    seen: Mapping[str, str] | None,
    judgements: Judgements,
    worth: float,
    allowed: float,
    how: Mapping[str, int],
) -> Judged:
    primary = next(iter(rows.values()))
    measure = primary.measure
    parts = _parts(base, one, measure, seen, how)
    sets = {
        name: Row(measure, "told", found, found.p)
        for name, report in general.items()
        for found in [
            paired(
                report.per_question[measure],
                [run.per_question[measure] for run in one.general[name]],
                name=f"{measure} on {name}",
                tests=len(general),
                **how,
            )
        ]
    }
    forgotten = _forgotten(measure, one, general, how)
    # The two are a family of their own: each may stop a ship, and neither earns one.
    limits = [found for found in (parts["unseen"], forgotten) if found is not None]
    chances = iter(holm([found.p for found in limits]))
    unseen, lost = (
        None if found is None else Row(measure, "guard", found, next(chances)) for found in (parts["unseen"], forgotten)
    )
    guards = [row for row in rows.values() if row.role == "guard"]
    own = _own(base, one, judgements, how)
    told = [row for row in (unseen, lost) if row is not None]
    verdict = decide(
        primary.gain,
        primary.interval,
        primary.p_holm,
        [(row.gain, row.p_holm) for row in guards],
        worth=worth,
        allowed=[(row.gain, row.p_holm, allowed) for row in told],
        needed=[] if own is None else [(own.gain, own.p_holm)],
    )
    seen_row = None if parts["seen"] is None else Row(measure, "told", parts["seen"], parts["seen"].p)
    notes = [*_without_it(one), *_doubts(primary, seen_row, unseen, seen, base)]
    why = _reasons(verdict, primary, guards, unseen, lost, own, worth, allowed)
    return Judged(one.name, rows, seen_row, unseen, sets, lost, own, verdict, why, notes)


def _own(base: Report, one: Candidate, judgements: Judgements, how: Mapping[str, int]) -> Row | None:
    """What is gained for each question's own answers, over what is gained for those of others."""
    if MEASURE not in base.per_question:
        return None

    def over(report: Report) -> dict[str, float]:
        others = swapped(report, judgements, MEASURE)
        return {id: report.per_question[MEASURE][id] - value for id, value in others.items()}

    before, runs = over(base), [over(report) for report in one.reports]
    if len(before) < SMALLEST_SLICE:
        return None
    found = paired(before, runs, name=MEASURE, **how)
    return Row(MEASURE, "guard", found, found.p)


def _parts(
    base: Report, one: Candidate, measure: str, seen: Mapping[str, str] | None, how: Mapping[str, int]
) -> dict[str, Paired | None]:
    """The primary measure on the questions whose evidence was trained on, and on the others."""
    values = base.per_question[measure]
    members = {
        "seen": [] if seen is None else [question for question in values if question in seen],
        "unseen": [] if seen is None else [question for question in values if question not in seen],
    }
    return {
        part: paired(
            {question: values[question] for question in of},
            [{question: run.per_question[measure][question] for question in of} for run in one.reports],
            name=measure,
            **how,
        )
        if len(of) >= SMALLEST_SLICE
        else None
        for part, of in members.items()
    }


def _forgotten(measure: str, one: Candidate, general: Mapping[str, Report], how: Mapping[str, int]) -> Paired | None:
    """The mean over the general sets, each counting as much as another however many questions it has: every question's
    values are multiplied by what its set's mean counts in the mean of all, and then paired as any others."""
    if not general:
        return None
    total = sum(len(report.per_question[measure]) for report in general.values())
    weight = {name: total / (len(general) * len(report.per_question[measure])) for name, report in general.items()}

    def joined(reports: Mapping[str, Report]) -> dict[str, float]:
        return {
            f"{name}: {question}": weight[name] * value
            for name, report in reports.items()
            for question, value in report.per_question[measure].items()
        }

    runs = [{name: reports[number] for name, reports in one.general.items()} for number in range(len(one.reports))]
    return paired(joined(general), [joined(run) for run in runs], name=f"{measure} on general sets", **how)


def _winner(candidates: Sequence[Candidate], judged: Sequence[Judged], how: Mapping[str, int]) -> str | None:
    """Of those that ship, the first; a later one where it is significantly better than the best before it."""
    best: Candidate | None = None
    for candidate, one in zip(candidates, judged, strict=True):
        if one.verdict != "ship":
            continue
        measure = one.primary.measure
        if best is not None:
            runs = [report.per_question[measure] for report in best.reports]
            before = {question: sum(run[question] for run in runs) / len(runs) for question in runs[0]}
            found = paired(before, [report.per_question[measure] for report in candidate.reports], name=measure, **how)
            row = Row(measure, "primary", found, found.p)
            if row.gain <= 0 or row.p_holm > ALPHA or row.interval[0] <= 0:
                continue
        best = candidate
    return best.name if best is not None else None


# --- in words ---------------------------------------------------------------------------------------------------------


def _moved(row: Row) -> str:
    """``.6761 to .8203, +0.1442 [+0.1011, +0.1894], p <0.0001``."""
    found, (low, high) = row.paired, row.interval
    return f"{found.a:.4f} to {found.b:.4f}, {row.gain:+.4f} [{low:+.4f}, {high:+.4f}], p {shown_p(row.p_holm)}"


def _reasons(
    verdict: Verdict,
    primary: Row,
    guards: Sequence[Row],
    unseen: Row | None,
    lost: Row | None,
    own: Row | None,
    worth: float,
    allowed: float,
) -> list[str]:
    """Why ``decide`` said what it said."""
    said = reasons(primary, guards, worth)
    beyond = [
        (row, f"{what} {-row.gain:.4f} (p {shown_p(row.p_holm)}), more than the {allowed:g} that they may")
        for what, row in (("questions whose evidence was not trained on lose", unseen), ("general sets lose", lost))
        if row is not None and -row.gain > allowed + 1e-9
    ]
    if verdict == "don't ship":
        certain = [why for row, why in beyond if row.p_holm <= ALPHA]
        stopped = any(row.is_worse for row in (primary, *guards)) or (worth > 0 and primary.interval[1] < worth)
        return [*(said if stopped else ()), *certain]
    if verdict == "ship":
        parts = (("questions whose evidence was not trained on", unseen), ("general sets", lost))
        held = [f"{what} {row.gain:+.4f}" for what, row in parts if row is not None]
        return [*said, *held]
    if own is not None and primary.is_better and not own.is_better:
        what = f"its gain over what it gains for other questions' answers is {own.gain:+.4f} (p {shown_p(own.p_holm)})"
        said.append(f"but {what}: it learnt which documents are asked for, and not which of them answers what")
    return [*said, *(f"but {why}" for _, why in beyond)]


def _without_it(one: Candidate) -> Iterator[str]:
    """Questions that were not asked of what was trained, and measure the base."""
    for report in one.reports:
        without = report.details.get("not_adapted") or {}
        if without:
            yield f"{counted(without)} went without it: {next(iter(without.values()))}"
            return


def _doubts(
    primary: Row, seen: Row | None, unseen: Row | None, known: Mapping[str, str] | None, base: Report
) -> Iterator[str]:
    """What a reader of the verdict must know of it."""
    if primary.paired.runs == 1:
        yield "one seed was trained: how much another would differ is not known"
    if known is None:
        return
    questions = base.per_question[primary.measure]
    others = [question for question in questions if question not in known]
    if unseen is None and seen is not None:
        what = counted(others) if others else "no question"
        yield f"{what} with evidence that was not trained on: whether it helps with anything else is not known"
    if seen is not None and unseen is not None and unseen.gain <= 0 < seen.gain and seen.p_holm <= ALPHA:
        yield (
            f"the gain is on the {seen.paired.n} questions whose evidence was trained on ({seen.gain:+.4f}); the other"
            f" {unseen.paired.n} have none ({unseen.gain:+.4f}): it is memory"
        )
