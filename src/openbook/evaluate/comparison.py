"""Two systems on the same questions: what differs, whether it could be chance, and one of three words.

A is what is live, B the candidate. The rule of the verdict is ``decide``; what counts as right, and which measures may
stop a candidate, stand beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from openbook.errors import QueryError
from openbook.evaluate.measures import ranking
from openbook.evaluate.report import Asked, Report, counted, direction, some
from openbook.evaluate.significance import ALPHA, RESAMPLES, Paired, fewest_questions, holm, mcnemar, paired

Verdict = Literal["ship", "don't ship", "insufficient evidence"]
Role = Literal["primary", "guard", "told"]

PRIMARY = ("ndcg@10", "f1", "answer_contained", "evidence_contained")
"""The measure that decides where nobody names one: the first of these in which anything differs. Where two recipes
find the same for every question, only how they answer can tell them apart."""

TOLD = ("chunk_", "span_", "coverage", "ms", "cost", "tokens")
"""Measures, by the start of their name, that stop nothing unless they are named as guards: those of chunks and spans
change with the size of the chunks; to answer less is worse or better, which the rates of false answers and false
abstentions tell; and what time and money are worth is the user's to say."""

SMALLEST_SLICE = fewest_questions()
"""Fewer questions than this cannot show a difference, whatever happens to them."""


# --- the rule ---------------------------------------------------------------------------------------------------------


def decide(
    gain: float,
    interval: tuple[float, float],
    p: float,
    guards: Iterable[tuple[float, float]] = (),
    *,
    worth: float = 0.0,
    allowed: Iterable[tuple[float, float, float]] = (),
    needed: Iterable[tuple[float, float]] = (),
) -> Verdict:
    """The verdict on a candidate.

    ``gain``, its 95 % ``interval`` and ``p`` are the primary measure's difference in the direction that is better, and
    its corrected p; ``guards`` the gain and corrected p of each guard; ``worth`` is the smallest gain worth having.
    ``allowed`` are guards that may lose something: their gain, p, and the loss that is allowed; ``needed`` the gain and
    p of what must be better, too.

    - *don't ship*: the primary measure or any guard is significantly worse (one that may lose something: worse by more
      than that, too), or the interval ends below ``worth``;
    - *ship*: else, where the primary measure is significantly better, its interval lies above 0, the gain is no less
      than ``worth``, no guard lost more than it may, for certain or not, and what is needed is significantly better;
    - *insufficient evidence*: else.

    >>> decide(0.04, (0.01, 0.07), 0.003)
    'ship'
    >>> decide(0.04, (0.01, 0.07), 0.003, [(-0.2, 0.01)])
    "don't ship"
    >>> decide(0.01, (-0.01, 0.03), 0.4)
    'insufficient evidence'
    >>> decide(0.01, (-0.01, 0.03), 0.4, worth=0.05)
    "don't ship"
    >>> [decide(0.04, (0.01, 0.07), 0.003, allowed=[(loss, p, 0.01)]) for loss, p in ((-0.02, 0.03), (-0.02, 0.3))]
    ["don't ship", 'insufficient evidence']
    >>> decide(0.04, (0.01, 0.07), 0.003, needed=[(0.001, 0.8)])
    'insufficient evidence'
    """
    low, high = interval
    # 0.5 - 0.49 is a little more than 0.01.
    beyond = [chance for change, chance, loss in allowed if -change > loss + 1e-9]
    worse = any(change < 0 and chance <= ALPHA for change, chance in [(gain, p), *guards])
    if worse or any(chance <= ALPHA for chance in beyond) or (worth > 0 and high < worth):
        return "don't ship"
    earned = all(change > 0 and chance <= ALPHA for change, chance in [(gain, p), *needed])
    return "ship" if earned and low > 0 and gain >= worth and not beyond else "insufficient evidence"


def is_right(measure: str, value: float) -> bool:
    """Whether a question with this value counts as answered rightly: where a measure of a ranking is above 0, which
    means a relevant document (chunk, span) within its k; for others, from 0.5 towards what is better.

    >>> is_right("ndcg@10", 0.3), is_right("f1", 0.3), is_right("false_answer_rate", 0.0)
    (True, False, True)
    """
    if direction(measure) < 0:
        return value < 0.5
    return value > 0 if is_ranking(measure) else value >= 0.5


def is_ranking(measure: str) -> bool:
    """Whether it measures a ranking of documents, chunks or spans."""
    kind, at, _ = measure.removeprefix("chunk_").partition("@")
    return bool(at) and (kind in ranking.KINDS or kind.startswith("span_"))


# --- what is found ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One measure, compared. ``p_holm`` is p, corrected over the measures of the same role; the primary measure, which
    is named beforehand and is the only one to earn anything, over the candidates."""

    measure: str
    role: Role
    paired: Paired
    p_holm: float

    @property
    def gain(self) -> float:
        """The difference, positive where b is better."""
        return direction(self.measure) * self.paired.difference

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the gain."""
        ends = (self.paired.low, self.paired.high)
        return ends if direction(self.measure) > 0 else (-ends[1], -ends[0])

    @property
    def is_worse(self) -> bool:
        return self.gain < 0 and self.p_holm <= ALPHA

    @property
    def is_better(self) -> bool:
        return self.gain > 0 and self.p_holm <= ALPHA

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self.paired), "p_holm": self.p_holm, "role": self.role}


@dataclass(frozen=True, slots=True)
class Slice:
    """The primary measure on the questions that share a value of a field; ``lost`` and ``won`` count flips."""

    field: str
    value: str
    row: Row
    lost: int
    won: int

    def as_json(self) -> dict[str, Any]:
        flips = {"lost": self.lost, "won": self.won}
        return {"field": self.field, "value": self.value, **self.row.as_json(), **flips}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, and how it is shown: ``show`` is the command that opens a trace of it."""

    name: str
    report: Report

    def as_json(self) -> dict[str, Any]:
        report = self.report
        return {
            "name": self.name,
            "release": report.release,
            "recipe": report.recipe,
            "created": report.created,
            "failed": list(report.failed),
            "unanswered": list(report.unanswered),
            "ms": dict(report.ms),
            "db": report.db,
            "kb": report.settings.get("kb"),
        }

    def show(self, question: str) -> str | None:
        """The command that shows what happened to a question; ``None`` where no trace was kept."""
        trace = self.asked(question).trace
        if trace is None or self.report.db is None:
            return None
        name = self.report.settings.get("kb", "default")
        kb = "" if name == "default" else f" --kb {_quoted(str(name))}"
        return f"openbook show --trace {trace} --db {_quoted(self.report.db)}{kb}"

    def of(self, question: str, value: float) -> dict[str, Any]:
        """What this side made of a question."""
        asked = self.asked(question)
        return {
            "value": value,
            "found": list(asked.found),
            "answer": asked.answer,
            "abstained": asked.abstained,
            "error": asked.error,
            "trace": asked.trace,
            "show": self.show(question),
        }

    def asked(self, question: str) -> Asked:
        """What its report remembers of a question."""
        return self.report.questions.get(question) or Asked(question)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is known of B beside A, and the verdict with its reasons.

    ``rows`` has the primary measure first. ``negative`` and ``positive`` are the questions that were right and are
    wrong, and the other way round; ``slices`` come worst first, and so do ``losses``; ``wins`` best first.
    """

    a: Side
    b: Side
    rows: Mapping[str, Row]
    totals: Mapping[str, tuple[float, float]]
    negative: Sequence[str]
    positive: Sequence[str]
    slices: Sequence[Slice]
    losses: Sequence[str]
    wins: Sequence[str]
    verdict: Verdict
    reasons: Sequence[str]
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def primary(self) -> Row:
        return next(iter(self.rows.values()))

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        report, primary = self.a.report, self.primary.measure
        right = [sum(is_right(primary, value) for value in side.report.per_question[primary].values())
                 for side in (self.a, self.b)]  # fmt: skip
        return {
            "dataset": report.dataset,
            "data": report.data,
            "split": report.split,
            "questions": len(report.questions),
            "a": self.a.as_json(),
            "b": self.b.as_json(),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "primary": primary,
            "measures": {name: row.as_json() for name, row in self.rows.items()},
            "totals": {name: {"a": a, "b": b, "difference": b - a} for name, (a, b) in self.totals.items()},
            "flips": {
                "measure": primary,
                "right": meaning(primary),
                "a": right[0],
                "b": right[1],
                "negative": list(self.negative),
                "positive": list(self.positive),
                "p": mcnemar(len(self.positive), len(self.negative)),
            },
            "slices": [one.as_json() for one in self.slices],
            "losses": [self._change(question) for question in self.losses],
            "wins": [self._change(question) for question in self.wins],
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }

    def kept(self, live: str) -> dict[str, Any]:
        """What a release keeps of its comparison with the ``live`` one: figures, and no text of a question."""
        whole = self.as_json()
        names = ("dataset", "data", "split", "questions", "verdict", "reasons", "primary", "measures", "settings")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return {"a": live, "b": self.b.name, "created": created, **{name: whole[name] for name in names}}

    def _change(self, question: str) -> dict[str, Any]:
        measure = self.primary.measure
        a, b = (side.report.per_question[measure][question] for side in (self.a, self.b))
        return {
            "question": question,
            "text": self.a.asked(question).text,
            "difference": b - a,
            "a": self.a.of(question, a),
            "b": self.b.of(question, b),
        }

    def text(self) -> str:
        """For people to read: the measures, what flipped, where it is worst, examples, and last the verdict."""
        from openbook.evaluate.pages import terminal

        return terminal.comparison(self)


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(
    a: Report,
    b: Report,
    *,
    names: tuple[str, str] = ("A", "B"),
    measures: Sequence[str] | None = None,
    primary: str | None = None,
    guards: Sequence[str] | None = None,
    worth: float = 0.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Whether B should replace A, by their reports over the same questions.

    ``measures`` are those compared (else all that both have), ``primary`` the one that decides (else the first of
    ``PRIMARY`` that differs), ``guards`` those that may stop a ship (else all but ``TOLD``).

    Raises:
        QueryError: the reports are over different questions, were asked in other callers' names, share no measure, lack
            one that was named, or hold a value that is no number.
    """
    return compare_all(
        a,
        {names[1]: b},
        name=names[0],
        measures=measures,
        primary=primary,
        guards=guards,
        worth=worth,
        resamples=resamples,
        seed=seed,
    )[names[1]]


def compare_all(
    live: Report,
    candidates: Mapping[str, Report],
    *,
    name: str = "A",
    measures: Sequence[str] | None = None,
    primary: str | None = None,
    guards: Sequence[str] | None = None,
    worth: float = 0.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Comparison]:
    """As ``compare``, for every candidate beside what is live: the p of the primary measure is Holm-corrected over the
    candidates, because the best of twenty looks good by chance.

    Raises:
        QueryError: as ``compare``.
    """
    if worth < 0:
        raise QueryError(f"the smallest gain worth having is {worth}", do="name one from 0")
    for candidate, report in candidates.items():
        require_same_questions(live, report, name, candidate)
    notes: list[str] = []
    named = [*(measures or ()), *([primary] if primary else ()), *(guards or ())]
    shared = comparable([live, *candidates.values()], named or None if measures else None, named, notes)
    first = primary or primary_of(shared, live, list(candidates.values()))
    if guards is None:
        guards = [measure for measure in shared if measure != first and not measure.startswith(TOLD)]
    others = [measure for measure in shared if measure != first]
    roles: dict[str, Role] = {first: "primary"}
    roles |= {measure: "guard" for measure in others if measure in guards}
    roles |= {measure: "told" for measure in others if measure not in guards}
    rows = {
        candidate: compared(live, report, roles, candidates=len(candidates), resamples=resamples, seed=seed)
        for candidate, report in candidates.items()
    }
    corrected = dict(zip(rows, holm([found[first].p_holm for found in rows.values()]), strict=True))
    settings = {"worth": worth, "resamples": resamples, "seed": seed, "candidates": len(candidates)}
    return {
        candidate: _comparison(
            Side(name, live),
            Side(candidate, report),
            {**rows[candidate], first: Row(first, "primary", rows[candidate][first].paired, corrected[candidate])},
            notes,
            settings,
        )
        for candidate, report in candidates.items()
    }


def require_same_questions(a: Report, b: Report, name_a: str, name_b: str) -> None:
    """Raises: QueryError: the reports are not over the same questions, judged alike, asked for the same callers."""
    if a.data != b.data or a.questions.keys() != b.questions.keys():
        raise QueryError(
            f"{name_a} was measured on other questions than {name_b} ({_questions(a)}; {_questions(b)})",
            do="evaluate both on the same data set, split and limit",
        )
    callers = [report.settings["as"] for report in (a, b) if "as" in report.settings]
    if len(callers) == 2 and callers[0] != callers[1]:
        said = [" and ".join(one) if one else "the owner" for one in callers]
        what = f"{name_a} was asked as {said[0]}, {name_b} as {said[1]}"
        raise QueryError(what, do="evaluate both with the same --as")


def comparable(
    reports: Sequence[Report], measures: Sequence[str] | None, named: Sequence[str], notes: list[str]
) -> list[str]:
    """The measures that all reports have on the same questions: those of ``measures``, else all, in their order.

    One that was not ``named`` and cannot be compared is left out, and ``notes`` say so.

    Raises:
        QueryError: a named one cannot be compared, or nothing is left.
    """
    every = list(dict.fromkeys(measure for report in reports for measure in report.per_question))
    wanted = list(dict.fromkeys(measures)) if measures else [*every, *(m for m in named if m not in every)]
    kept: list[str] = []
    lacking: dict[str, list[str]] = {}
    for measure in wanted:
        held = [report.per_question.get(measure) for report in reports]
        if None in held:
            why = "is not in every report" if any(held) else "is in no report"
        elif any(one.keys() != held[0].keys() for one in held if one and held[0]):
            why = f"counts {' and '.join(str(len(one or ())) for one in held)} questions, not the same ones"
        elif len(takers := {report.taken_by(measure) for report in reports} - {None}) > 1:
            why = f"was not taken alike ({' / '.join(sorted(map(str, takers)))})"
        else:
            kept.append(measure)
            continue
        if measure in named:
            do = "measure both alike" if None not in held else _choice(reports)
            raise QueryError(f"{measure} {why}", do=do)
        lacking.setdefault(why, []).append(measure)
    if not kept:
        has = [", ".join(report.per_question) or "no measure" for report in reports]
        raise QueryError(f"the reports share no measure: {' / '.join(has)}", do="evaluate both with the same measures")
    notes += [f"not compared, because it {why}: {', '.join(names)}" for why, names in lacking.items()]
    return kept


def _choice(reports: Sequence[Report]) -> str:
    shared = [name for name in reports[0].per_question if all(name in report.per_question for report in reports)]
    return f"choose one of {', '.join(shared)}" if shared else "evaluate both with the same measures"


def compared(
    a: Report,
    b: Report | Sequence[Report],
    roles: Mapping[str, Role],
    *,
    candidates: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Row]:
    """Each measure of ``roles`` with its p Holm-corrected over those of its role; the primary one not yet. ``b`` are
    several reports where it was made several times (``significance.paired``)."""
    runs = [b] if isinstance(b, Report) else b
    tests = Counter(roles.values())
    tests["primary"] = candidates
    found = {
        measure: paired(
            a.per_question[measure],
            [run.per_question[measure] for run in runs],
            name=measure,
            tests=tests[role],
            resamples=resamples,
            seed=seed,
        )
        for measure, role in roles.items()
    }
    rows: dict[str, Row] = {}
    for role in ("primary", "guard", "told"):
        of = [measure for measure in roles if roles[measure] == role]
        p = [found[measure].p for measure in of]
        for measure, corrected in zip(of, p if role == "primary" else holm(p), strict=True):
            rows[measure] = Row(measure, role, found[measure], corrected)
    return {measure: rows[measure] for measure in roles}


def primary_of(shared: Sequence[str], live: Report, candidates: Sequence[Report]) -> str:
    """The measure that decides where nobody names one."""
    usual = [measure for measure in PRIMARY if measure in shared]
    usual += [measure for measure in shared if measure.startswith("ndcg@") and "ndcg@10" not in shared]
    for measure in usual:
        if any(candidate.per_question[measure] != live.per_question[measure] for candidate in candidates):
            return measure
    votes = [measure for measure in shared if not measure.startswith(TOLD)]
    return next(iter([*usual, *votes, *shared]))


def _comparison(
    a: Side, b: Side, rows: Mapping[str, Row], notes: Sequence[str], settings: Mapping[str, Any]
) -> Comparison:
    primary = next(row for row in rows.values() if row.role == "primary")
    measure, sign = primary.measure, direction(primary.measure)
    before, after = a.report.per_question[measure], b.report.per_question[measure]
    flips = {
        question: is_right(measure, after[question]) - is_right(measure, before[question])
        for question in before
    }  # fmt: skip
    gains = {question: sign * (after[question] - before[question]) for question in before}
    order = sorted(gains, key=lambda question: gains[question])
    slices, small = _slices(a.report, b.report, primary, flips, settings)
    totals = {
        name: (total.value, b.report.measures[name].value)
        for name, total in a.report.measures.items()
        if name not in a.report.per_question and name in b.report.measures
    }
    guards = [row for row in rows.values() if row.role == "guard"]
    worth = float(settings["worth"])
    votes = [(row.gain, row.p_holm) for row in guards]
    verdict = decide(primary.gain, primary.interval, primary.p_holm, votes, worth=worth)
    return Comparison(
        a=a,
        b=b,
        rows={measure: primary, **rows},
        totals=totals,
        negative=[question for question in order if flips[question] < 0],
        positive=[question for question in order[::-1] if flips[question] > 0],
        slices=slices,
        losses=[question for question in order if gains[question] < 0],
        wins=[question for question in order[::-1] if gains[question] > 0],
        verdict=verdict,
        reasons=reasons(primary, guards, worth),
        notes=[*_failures(a, b), *notes, *small],
        settings=settings,
    )


def reasons(primary: Row, guards: Sequence[Row], worth: float) -> list[str]:
    """Why ``decide`` said what it said."""
    found, (low, high), measure = primary.paired, primary.interval, primary.measure
    worse = [row for row in (primary, *guards) if row.is_worse]
    if worse:
        return [f"{row.measure} is worse by {abs(row.gain):.4f} (p {shown_p(row.p_holm)})" for row in worse]
    if worth > 0 and high < worth:
        return [f"{measure} gains at most {high:.4f}, less than the {worth:g} that is worth having"]
    if primary.p_holm <= ALPHA:
        better = f"{measure} is better by {primary.gain:.4f} (p {shown_p(primary.p_holm)})"
        if low <= 0:
            return [better, "but its interval holds 0"]
        if primary.gain < worth:
            return [better, f"less than the {worth:g} that is worth having"]
        return [better, f"none of {len(guards)} guards is worse for certain" if guards else "there was no guard"]
    if found.detectable is None:
        return [f"{found.n} questions cannot show a difference in {measure}: ask {SMALLEST_SLICE} or more"]
    seen = f"{found.n} questions show a difference of {found.detectable:.4f} or more, in four of five trials"
    if found.higher + found.lower == 0:
        return [f"{measure} is the same for every question", seen]
    return [f"{measure} differs by {found.difference:+.4f} (p {shown_p(primary.p_holm)})", seen]


def _failures(a: Side, b: Side) -> list[str]:
    """What did not come: it counts 0, and is told."""
    notes = []
    for letter, side in (("A", a), ("B", b)):
        for questions, what in ((side.report.failed, "failed"), (side.report.unanswered, "found nothing")):
            if questions:
                notes.append(f"{letter}: {counted(questions)} {what} and count{_s(questions)} 0: {some(questions)}")
    more = len(b.report.failed) - len(a.report.failed)
    if more > 0:
        notes.append(f"B fails on {more} question{'s' * (more > 1)} more than A: mend that before shipping it")
    if a.report.ms and b.report.ms and not (a.report.settings.get("in_turns") and b.report.settings.get("in_turns")):
        notes.append("the two were not asked in turns: what else the machines did is in their times")
    return notes


# --- slices -----------------------------------------------------------------------------------------------------------


def _slices(
    a: Report, b: Report, primary: Row, flips: Mapping[str, int], settings: Mapping[str, Any]
) -> tuple[list[Slice], list[str]]:
    """The primary measure slice by slice, worst first, Holm-corrected over the slices; and what was too small."""
    measure = primary.measure
    members: dict[tuple[str, str], list[str]] = {}
    for question in a.per_question[measure]:
        for pair in slices_of(a.questions.get(question) or Asked(question)).items():
            members.setdefault(pair, []).append(question)
    members = {pair: of for pair, of in members.items() if len(of) < primary.paired.n}
    large = {pair: of for pair, of in members.items() if len(of) >= SMALLEST_SLICE}
    found = {
        pair: paired(
            {question: a.per_question[measure][question] for question in of},
            {question: b.per_question[measure][question] for question in of},
            name=measure,
            tests=len(large),
            resamples=settings["resamples"],
            seed=settings["seed"],
        )
        for pair, of in large.items()
    }
    corrected = holm([one.p for one in found.values()])
    slices = [
        Slice(
            *pair,
            row=Row(measure, primary.role, found[pair], p),
            lost=sum(flips[question] < 0 for question in large[pair]),
            won=sum(flips[question] > 0 for question in large[pair]),
        )
        for pair, p in zip(found, corrected, strict=True)
    ]
    small = len(members) - len(large)
    few = f"{small} slice{' ' if small == 1 else 's '}of fewer than {SMALLEST_SLICE} questions"
    note = [f"{few} {'is' if small == 1 else 'are'} not listed"] if small else []
    return sorted(slices, key=lambda one: (one.row.gain, one.field, one.value)), note


def slices_of(asked: Asked) -> dict[str, str]:
    """Field → value of a question: its metadata, its language where that is clear, and its length in words.

    >>> slices_of(Asked("wlan passwort", {"team": "it"}))
    {'team': 'it', 'length': '1-5 words'}
    """
    found = dict(asked.slices)
    language = _language(asked.text)
    if language is not None:
        found.setdefault("language", language)
    words = len(asked.text.split())
    if language in ("ja", "th", "zh"):  # without blanks: two characters make a word, roughly
        words = len("".join(asked.text.split())) // 2
    # Key words, a plain question, a description.
    found.setdefault("length", "1-5 words" if words <= 5 else "6-12 words" if words <= 12 else "13 or more words")
    return found


def _language(text: str) -> str | None:
    from openbook.load.draft import language_of

    # A script tells at once what Latin letters tell only by their words: it needs no forty letters.
    if text and not re.search("[A-Za-z]", text):
        text *= 1 + 80 // len(text)
    return language_of(text)


# --- in words ---------------------------------------------------------------------------------------------------------


def meaning(measure: str) -> str:
    """What ``is_right`` asks of a question, in words."""
    if is_ranking(measure):
        kind, _, k = measure.partition("@")
        thing = "chunk" if kind.startswith("chunk_") else "part of the evidence" if "span_" in kind else "document"
        return f"a relevant {thing} within {k}" if thing != "part of the evidence" else f"a {thing} within {k}"
    return f"{measure} below 0.5" if direction(measure) < 0 else f"{measure} of 0.5 or more"


def _questions(report: Report) -> str:
    return f"{report.dataset}, split {report.split}, {counted(report.questions)}, {report.data}"


def _s(questions: Sequence[str]) -> str:
    return "s" * (len(questions) == 1)


def shown_p(p: float) -> str:
    """A p as people read it."""
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
