"""Which of two answers do people prefer? Shown side by side without names; what they say is kept in a file.

Two reports become pairs of answers (``pairs``), a person judges them in the terminal (``judge_in_terminal``) or
wherever else a ``judgement`` is made, everybody's lie in JSON lines (``Judgements``), and ``summary`` counts: a win
rate with its interval, a sign test, and how far the judges agree with each other and with a judge model.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from openbook.errors import DatasetError
from openbook.evaluate.report import Asked, Measure, Outcome, Report, statistic
from openbook.evaluate.significance import mcnemar

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console, RenderableType

    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

Side = Literal["a", "b"]
Verdict = Literal["a", "b", "tie", "bad", "skip"]
"""Which answer is better; ``tie``: equally good, ``bad``: neither is any good, ``skip``: the judge would not say."""

VERDICTS: tuple[Verdict, ...] = ("a", "b", "tie", "bad", "skip")
NO_ANSWER = "(No answer: it says that the documents do not tell.)"

_VALUES: Mapping[Verdict, float] = {"a": 0.0, "b": 1.0, "tie": 0.5, "bad": 0.5}
_OTHER: Mapping[Verdict, Verdict] = {"a": "b", "b": "a", "tie": "tie", "bad": "bad", "skip": "skip"}


def said(outcome: Outcome | Asked | None) -> str | None:
    """The answer as a judge is shown it, an abstention in the same words whoever abstained; ``None``: it failed."""
    if outcome is None or outcome.error is not None:
        return None
    if isinstance(outcome, Asked):
        return NO_ANSWER if outcome.abstained else outcome.answer
    if outcome.answer is None:
        return None
    return NO_ANSWER if outcome.answer.abstained else outcome.answer.text


# --- two reports become pairs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """One question (``id``, ``text``) with the answers of two pipelines."""

    id: str
    text: str
    a: str
    b: str

    @property
    def digests(self) -> tuple[str, str]:
        """Names of the two answers to this question: a judgement holds for the answers that were seen, no others."""
        first, second = (
            hashlib.sha256("\0".join((self.text, text)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
            for text in (self.a, self.b)
        )
        return first, second

    def first(self, rater: str, seed: int = 0) -> Side:
        """Which answer ``rater`` is shown first: a toss that comes out the same again."""
        toss = hashlib.sha256(f"{seed}\0{rater}\0{self.id}".encode("utf-8", "surrogatepass")).digest()[0]
        return "a" if toss % 2 == 0 else "b"


@dataclass(frozen=True, slots=True)
class Pairs:
    """The questions to compare two pipelines on, in the order in which they are shown.

    ``shown`` have to be judged. The others are decided without a judge: ``identical`` answers tie, and of two
    pipelines one of which failed the other is better (``known``: 0 where a is, 1 where b is, 0.5 where both failed).
    """

    shown: Mapping[str, Pair]
    identical: tuple[str, ...] = ()
    known: Mapping[str, float] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        return (*self.shown, *self.identical, *self.known)

    def __len__(self) -> int:
        return len(self.ids)


def pairs(a: Report, b: Report, n: int | None = None, seed: int = 0) -> Pairs:
    """``n`` questions, drawn by ``seed``, of those that both reports asked; all of them if not said.

    Raises:
        DatasetError: a report holds no answers, or they share no question.
    """
    for report in (a, b):
        if all(said(asked) is None for asked in report.questions.values()):
            raise DatasetError(
                "holds no answers", where=f"report of {report.dataset}, release {report.release}", do="have them given"
            )
    common = [id for id in a.questions if id in b.questions]
    for id in common:
        if a.questions[id].text != b.questions[id].text:
            raise DatasetError(f"question {id!r} reads differently in the two reports", do="compare like with like")
    if not common:
        raise DatasetError("the two reports have no question in common", do="evaluate both on the same data set")
    shown: dict[str, Pair] = {}
    identical: list[str] = []
    known: dict[str, float] = {}
    for id in random.Random(seed).sample(sorted(common), k=len(common))[:n]:
        first, second = said(a.questions[id]), said(b.questions[id])
        if first is None or second is None:
            known[id] = 0.5 + 0.5 * (second is not None) - 0.5 * (first is not None)
        elif first.split() == second.split():
            identical.append(id)
        else:
            shown[id] = Pair(id, a.questions[id].text, first, second)
    return Pairs(shown, tuple(identical), known)


# --- judgements and their file ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one judge said of one pair. ``a`` and ``b`` are the pair's ``digests``, ``first`` the one shown first.

    ``model``: the judge is a language model. ``seconds``: how long it took to decide; ``at``: when, ISO 8601, UTC.
    """

    question: str
    a: str
    b: str
    verdict: Verdict
    rater: str
    first: Side = "a"
    model: bool = False
    seconds: float = 0.0
    at: str = ""


def judgement(
    pair: Pair, verdict: Verdict, rater: str, *, first: Side = "a", model: bool = False, seconds: float = 0.0
) -> Judgement:
    """A judgement of ``pair``, made now."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Judgement(pair.id, *pair.digests, verdict, rater, first, model, round(seconds, 1), at)


class Judgements:
    """A file of judgements, one JSON object a line, to which any number of judges append.

    Of two judgements of one judge on the same pair the later one holds. A last line that a crash cut short is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, judgement: Judgement) -> None:
        """Write a judgement; it is on the disk when this returns.

        Raises:
            DatasetError: the file cannot be written.
        """
        line = json.dumps(asdict(judgement), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            # One write to the end of the file, so that judges who share it do not cut into each other's lines.
            with self.path.open("ab", buffering=0) as file:
                file.write(line if self._is_whole() else b"\n" + line)
                os.fsync(file.fileno())
        except OSError as error:
            raise DatasetError(
                f"cannot be written ({error.strerror})", where=str(self.path), do="name another file with --out"
            ) from None

    def _is_whole(self) -> bool:
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def read(self, *, new: bool = True) -> list[Judgement]:
        """What the file holds; nothing where there is none yet, if it may be ``new``.

        Raises:
            DatasetError: it cannot be read, or a line of it is no judgement.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            if new and isinstance(error, FileNotFoundError):
                return []
            raise DatasetError(
                f"cannot be read ({error.strerror})", where=str(self.path), do="check the path"
            ) from None
        found: list[Judgement] = []
        for number, line in enumerate(data.split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                # A line that a crash cut stays where it is; the next judgement began one of its own.
                if line.startswith(_OPENING) or _OPENING.startswith(line):
                    continue
                row = None
            try:
                found.append(_judgement(row))
            except (ValueError, TypeError):
                raise DatasetError(
                    "not a judgement", where=f"{self.path}:{number}", do="mend or remove that line"
                ) from None
        return found


_OPENING = b'{"question": '


def _judgement(row: Any) -> Judgement:
    read = Judgement(**row)
    texts = (read.question, read.a, read.b, read.rater)
    if read.verdict not in VERDICTS or read.first not in ("a", "b") or not all(isinstance(t, str) for t in texts):
        raise ValueError("unknown verdict")
    return read


def of(pairs: Pairs, judgements: Iterable[Judgement]) -> list[Judgement]:
    """The judgements that hold for these pairs, the last of each judge on each; turned round where a was b then."""
    held: dict[tuple[str, str, bool], Judgement] = {}
    for judgement in judgements:
        pair = pairs.shown.get(judgement.question)
        if pair is None or {judgement.a, judgement.b} != set(pair.digests):
            continue
        if (judgement.a, judgement.b) != pair.digests:
            judgement = replace(
                judgement,
                a=judgement.b,
                b=judgement.a,
                verdict=_OTHER[judgement.verdict],
                first="b" if judgement.first == "a" else "a",
            )
        held[judgement.question, judgement.rater, judgement.model] = judgement
    return list(held.values())


# --- how far judges agree ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far judges agree on the ``questions`` that at least two of them judged.

    ``raw`` is the share of pairs of judgements that are equal, ``alpha`` Krippendorff's for nominal data, ``kappa``
    Cohen's (of exactly two judges). Both are 1 for perfect agreement, 0 for what chance would bring, and ``None``
    where nothing varies. Intervals: bootstrap over questions.
    """

    raters: tuple[str, ...]
    questions: int
    raw: Measure
    alpha: Measure | None
    kappa: Measure | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(ratings: Mapping[str, Mapping[str, str]], *, seed: int = 0) -> Agreement | None:
    """The agreement of ``ratings[judge][question]``, whatever the categories; ``None`` where no two judged the same."""
    import numpy as np

    raters = [rater for rater, rated in ratings.items() if rated]
    times = Counter(question for rated in ratings.values() for question in rated)
    units = sorted(question for question, judged in times.items() if judged > 1)
    if len(raters) < 2 or not units:
        return None
    categories = sorted({ratings[rater][q] for rater in raters for q in units if q in ratings[rater]})
    counts = np.zeros((len(units), len(categories)))
    for row, question in enumerate(units):
        for rater in raters:
            if question in ratings[rater]:
                counts[row, categories.index(ratings[rater][question])] += 1
    kappa = None
    if len(raters) == 2:
        codes = [[categories.index(ratings[rater][q]) for rater in raters] for q in units]
        kappa = _defined(statistic(cohen_kappa, np.array(codes, dtype=np.float64), seed=seed))
    return Agreement(
        raters=tuple(raters),
        questions=len(units),
        raw=statistic(_raw_agreement, counts, seed=seed),
        alpha=_defined(statistic(krippendorff_alpha, counts, seed=seed)),
        kappa=kappa,
    )


def _defined(measure: Measure) -> Measure | None:
    return None if math.isnan(measure.value) else measure


def krippendorff_alpha(counts: FloatArray) -> float:
    """Krippendorff's alpha of nominal data; NaN where there is one category only.

    ``counts[unit, category]`` is how many judges put a unit there; units judged once say nothing. (Krippendorff,
    Computing Krippendorff's Alpha-Reliability, 2011: 1 - observed disagreement / disagreement expected by chance.)
    """
    paired = counts[counts.sum(axis=1) >= 2]
    judged = paired.sum(axis=1)
    totals = paired.sum(axis=0)
    n = totals.sum()
    expected = 1 - (totals * (totals - 1)).sum() / (n * (n - 1)) if n > 1 else 0.0
    if expected <= 0:
        return math.nan
    observed = 1 - ((paired * (paired - 1)).sum(axis=1) / (judged - 1)).sum() / n
    return float(1 - observed / expected)


def cohen_kappa(codes: FloatArray) -> float:
    """Cohen's kappa of two judges (Educational and Psychological Measurement 20, 1960); NaN where nothing varies.

    ``codes[unit]`` are the numbers of the categories that the first and the second judge chose.
    """
    import numpy as np

    categories = np.unique(codes)
    chosen = (codes[:, :, None] == categories).mean(axis=0)  # judge x category
    chance = float((chosen[0] * chosen[1]).sum())
    if chance >= 1:
        return math.nan
    return float(((codes[:, 0] == codes[:, 1]).mean() - chance) / (1 - chance))


def _raw_agreement(counts: FloatArray) -> float:
    judged = counts.sum(axis=1)
    return float((counts * (counts - 1)).sum() / (judged * (judged - 1)).sum())


# --- what it comes to -------------------------------------------------------------------------------------------------


def wilson(value: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, 1927), which stays honest where all or none of few wins.

    Halves for ties may be in ``value``: then the variance is below a share's, and the interval errs to the wide side.

    >>> tuple(round(bound, 3) for bound in wilson(1.0, 10))
    (0.722, 1.0)
    """
    if n <= 0:
        return 0.0, 1.0
    centre = value + z * z / (2 * n)
    spread = z * math.sqrt(max(0.0, value * (1 - value)) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def sign_test(wins: Mapping[Side, int]) -> float:
    """The exact two-sided p of so many wins if both were equally likely to win; ties take no part.

    It is the same binomial as McNemar's test.
    """
    return mcnemar(wins["b"], wins["a"])


SHOWN = 5
"""Questions on which judges differ that are printed, those where one says a and another b first."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two pipelines is preferred. ``win_rate`` is b's, from 0 to 1: above 0.5 b is preferred.

    A question on which several people judged counts once, with their mean (a win 1, a tie or two bad answers 0.5).
    Questions decided without a judge count by their share of all ``questions``, however many of the others were judged.
    ``wins``, ``ties``: questions; ``p``: sign test over them. ``raters[name]``: how often each verdict was given.
    ``agreement`` is that among people, ``models[name]`` that of a judge model with what most people said (where both
    judged; "bad" counts as a tie). ``disagreements[question]``: judge → verdict, where they differ.
    """

    questions: int
    judged: int
    identical: int
    failed: int
    win_rate: Measure | None
    wins: Mapping[Side, int]
    ties: int
    p: float | None
    raters: Mapping[str, Mapping[str, int]]
    agreement: Agreement | None
    models: Mapping[str, Agreement]
    disagreements: Mapping[str, Mapping[str, Verdict]]
    elsewhere: int = 0  # judgements in the files that are of other answers

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """As a person reads it."""
        rate, wins = self.win_rate, self.wins
        said = [f"{self.judged} of {self.questions} questions judged by people"]
        said[0] += f"; {self.identical} have the same answer twice" if self.identical else ""
        said[0] += f"; on {self.failed} one side failed" if self.failed else ""
        if rate is not None:
            p = "" if self.p is None else f", sign test p = {self.p:.3g}"
            said.append(f"B preferred: {rate.value:.1%}, ties half   [{rate.low:.1%}, {rate.high:.1%}]   n = {rate.n}")
            said.append(f"B better on {wins['b']}, A better on {wins['a']}, ties {self.ties}{p}")
        for name, counted in self.raters.items():
            said.append(f"{name}: " + ", ".join(f"{verdict} {count}" for verdict, count in counted.items() if count))
        told = {"people": self.agreement, **self.models}
        for name, agreed in ((name, agreed) for name, agreed in told.items() if agreed is not None):
            coefficients = [("raw", agreed.raw), ("alpha", agreed.alpha), ("kappa", agreed.kappa)]
            said.append(
                f"agreement {'among' if name == 'people' else f'of {name} with'} people on {agreed.questions}: "
                + ", ".join(f"{what} {m.value:.2f} [{m.low:.2f}, {m.high:.2f}]" for what, m in coefficients if m)
            )
        opposed = sorted(self.disagreements.items(), key=lambda item: not {"a", "b"} <= set(item[1].values()))
        for question, verdicts in opposed[:SHOWN]:
            said.append(f"they differ on {question}: " + ", ".join(f"{who} {what}" for who, what in verdicts.items()))
        if len(opposed) > SHOWN:
            said.append(f"… and on {len(opposed) - SHOWN} more, which --json lists")
        if self.elsewhere:
            said.append(f"{self.elsewhere} judgements in the files are of other answers")
        return said


def summary(pairs: Pairs, judgements: Sequence[Judgement], *, seed: int = 0) -> Preference:
    """What the judgements of these pairs come to."""
    held = of(pairs, judgements)
    raters: dict[str, dict[str, int]] = {}
    people: dict[str, dict[str, Verdict]] = {}
    models: dict[str, dict[str, Verdict]] = {}
    for judgement in held:
        name = f"{judgement.rater} (model)" if judgement.model else judgement.rater
        counted = raters.setdefault(name, dict.fromkeys(VERDICTS, 0))
        counted[judgement.verdict] += 1
        if judgement.verdict != "skip":
            group = models if judgement.model else people
            group.setdefault(judgement.rater, {})[judgement.question] = judgement.verdict
    by_question: dict[str, dict[str, Verdict]] = {}
    for rater, rated in people.items():
        for question, verdict in rated.items():
            by_question.setdefault(question, {})[rater] = verdict
    values = {
        question: math.fsum(_VALUES[verdict] for verdict in verdicts.values()) / len(verdicts)
        for question, verdicts in by_question.items()
    }
    decided = [*values.values(), *pairs.known.values()]
    wins: dict[Side, int] = {"a": sum(v < 0.5 for v in decided), "b": sum(v > 0.5 for v in decided)}
    majority = {question: "a" if v < 0.5 else "b" if v > 0.5 else "tie" for question, v in values.items()}
    return Preference(
        questions=len(pairs),
        judged=len(values),
        identical=len(pairs.identical),
        failed=len(pairs.known),
        win_rate=_win_rate(pairs, list(values.values())),
        wins=wins,
        ties=len(decided) + len(pairs.identical) - wins["a"] - wins["b"],
        p=sign_test(wins) if decided else None,
        raters=raters,
        agreement=agreement(people, seed=seed),
        models={
            name: found
            for name, rated in models.items()
            if (found := agreement_with_people(name, rated, majority, seed=seed)) is not None
        },
        disagreements={
            question: verdicts for question, verdicts in by_question.items() if len(set(verdicts.values())) > 1
        },
        elsewhere=len(judgements) - _superseded(judgements) - len(held),
    )


def agreement_with_people(
    name: str, verdicts: Mapping[str, str], people: Mapping[str, str], *, seed: int = 0
) -> Agreement | None:
    """How far a judge model's verdicts (a, b, tie) agree with what most people said of the same questions."""

    def three(rated: Mapping[str, str]) -> dict[str, str]:
        return {q: "tie" if verdict == "bad" else verdict for q, verdict in rated.items() if verdict != "skip"}

    return agreement({name: three(verdicts), "people": three(people)}, seed=seed)


def _win_rate(pairs: Pairs, values: Sequence[float]) -> Measure | None:
    """The judged questions stand for all that are to be judged; what is known without a judge is no estimate."""
    known = 0.5 * len(pairs.identical) + math.fsum(pairs.known.values())
    if not pairs.shown:
        return Measure(known / len(pairs), known / len(pairs), known / len(pairs), len(pairs)) if len(pairs) else None
    if not values:
        return None
    value = math.fsum(values) / len(values)
    low, high = wilson(value, len(values))
    rate, low, high = ((known + len(pairs.shown) * share) / len(pairs) for share in (value, low, high))
    return Measure(rate, low, high, len(values) + len(pairs) - len(pairs.shown))


def _superseded(judgements: Sequence[Judgement]) -> int:
    keys = Counter((j.question, frozenset((j.a, j.b)), j.rater, j.model) for j in judgements)
    return sum(count - 1 for count in keys.values())


# --- in the terminal --------------------------------------------------------------------------------------------------

SIDE_BY_SIDE = 90
"""Columns of a terminal from which two answers stand beside each other; in a narrower one, one above the other."""

_KEYS = "1 the first is better · 2 the second · t equally good · b both bad · s skip · u back · q stop"
_MEANT: Mapping[str, Verdict] = {
    "t": "tie", "tie": "tie", "=": "tie", "b": "bad", "bad": "bad", "both bad": "bad", "s": "skip", "skip": "skip"
}  # fmt: skip


def judge_in_terminal(
    pairs: Pairs,
    file: Judgements,
    rater: str,
    *,
    lines: Iterable[str],
    seed: int = 0,
    console: Console | None = None,
) -> int:
    """Show ``rater`` what they have not judged yet, pair by pair, and append what they say; returns how many are left.

    ``lines`` are what is typed (``sys.stdin``); their end is a stop. The screen is standard error, if no other
    ``console`` is given, and nothing on it tells which pipeline is which.
    """
    from rich.console import Console as Console_

    from openbook.types import printable

    console = console or Console_(stderr=True, highlight=False)
    typing = iter(lines)
    done = {j.question for j in of(pairs, file.read()) if j.rater == rater and not j.model}
    left = [pair for id, pair in pairs.shown.items() if id not in done]
    at = 0
    while at < len(left):
        pair = left[at]
        first = pair.first(rater, seed)
        console.print(_page(pair, first, f"{at + 1} of {len(left)}", console.width))
        start = time.monotonic()
        verdict: Verdict | None = None
        while verdict is None:
            console.print(_KEYS, style="dim", markup=False)
            typed = next(typing, "q").strip().casefold()
            if typed in ("q", "quit"):
                return len(left) - at
            if typed in ("u", "back"):
                break
            if typed in ("1", "2"):
                verdict = first if typed == "1" else _side(_OTHER[first])
            else:
                verdict = _MEANT.get(typed)
                if verdict is None:
                    console.print(f"{printable(typed)[:20]!r} is none of the keys:", markup=False)
        if verdict is None:
            at = max(0, at - 1)
            continue
        file.append(judgement(pair, verdict, rater, first=first, seconds=time.monotonic() - start))
        at += 1
    return 0


def _side(verdict: Verdict) -> Side:
    return "a" if verdict == "a" else "b"


def _page(pair: Pair, first: Side, place: str, width: int) -> RenderableType:
    from rich.console import Group
    from rich.panel import Panel
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    from openbook.types import printable

    def plain(text: str) -> Text:
        return Text(printable(text).strip())

    texts = (pair.a, pair.b) if first == "a" else (pair.b, pair.a)
    panels = [Panel(plain(text), title=str(number), title_align="left") for number, text in enumerate(texts, 1)]
    answers: RenderableType
    if width >= SIDE_BY_SIDE:
        answers = Table.grid(expand=True, padding=(0, 1))
        for _ in panels:
            answers.add_column(ratio=1)
        answers.add_row(*panels)
    else:
        answers = Group(*panels)
    return Group(Rule(place), plain(pair.text), answers)
