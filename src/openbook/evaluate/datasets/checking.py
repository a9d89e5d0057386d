"""Can a data set be trusted? What is wrong with it before anything is measured or trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from openbook.errors import QueryError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Dataset, Question
from openbook.evaluate.datasets.leakage import KINDS, Kind, Leak

LABELS = ("label", "intent", "class", "category")
"""Metadata fields that hold a question's class, the first that nearly all questions have."""

REASONS = ("reason", "why", "kind")
"""Metadata fields that say why a question cannot be answered."""

FEW = 5
"""A class of fewer questions is told: what is measured on it says little."""

SHOWN = 10
"""Of each finding, what a person is shown; ``--json`` has all."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with the questions of one or more files.

    ``leaks``: test questions given away by training or dev, and dev questions given away by training. ``duplicates``:
    groups of ids that ask nearly the same within one split. ``contradictions``: the same question with answers (or
    labels) that exclude each other. ``unexplained``: unanswerable, and nothing says why; ``unknown``: nothing is known
    of their answer; ``inconsistent``: called unanswerable, but with answers. ``classes``: how many of each label.
    """

    questions: int
    splits: Mapping[str, int]
    leaks: tuple[Leak, ...]
    duplicates: tuple[tuple[str, ...], ...]
    contradictions: tuple[Mapping[str, Any], ...]
    unanswerable: int
    unexplained: tuple[str, ...]
    unknown: tuple[str, ...]
    inconsistent: tuple[str, ...]
    classes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing leaks."""
        return not self.leaks

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "ok": self.ok,
            "questions": self.questions,
            "splits": dict(self.splits),
            "leaks": [leak.as_json() for leak in self.leaks],
            "leaked": {kind: sum(leak.kind == kind for leak in self.leaks) for kind in KINDS},
            "duplicates": [list(group) for group in self.duplicates],
            "contradictions": [dict(one) for one in self.contradictions],
            "unanswerable": self.unanswerable,
            "unexplained": list(self.unexplained),
            "unknown": list(self.unknown),
            "inconsistent": list(self.inconsistent),
            "classes": dict(self.classes),
        }

    def lines(self) -> list[str]:
        """As a person reads it."""
        counts = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        lines = [f"{self.questions} questions" + (f": {counts}" if counts else "")]
        lines += _told(
            "leaked", [f"{leak.kind} {leak.score:.2f}  {leak.b} ← {leak.a}: {leak.what[:100]}" for leak in self.leaks]
        )
        lines += _told("asked more than once", [" = ".join(group) for group in self.duplicates])
        lines += _told(
            "contradictory", [f"{one['a']} ({one['said_a']}) and {one['b']} ({one['said_b']}): {one['question'][:80]}"
                              for one in self.contradictions]
        )  # fmt: skip
        lines += _named_ids("unanswerable, with answers", self.inconsistent)
        lines += _named_ids("unanswerable, without a reason", self.unexplained)
        lines += _named_ids("without answer, evidence, judgement or label", self.unknown)
        if self.unanswerable:
            lines.append(f"{self.unanswerable} unanswerable ({self.unanswerable / self.questions:.0%})")
        if self.classes:
            c = self.classes
            lines.append(
                f"{c['count']} classes by {c['field']}: from {c['smallest']['n']} ({c['smallest']['name']}) to"
                f" {c['largest']['n']} ({c['largest']['name']}) questions"
            )
            lines += _named_ids(f"classes with fewer than {FEW} questions", c["few"])
            for split, names in c["missing"].items():
                lines += _named_ids(f"classes that {split} lacks", names)
        lines.append("nothing leaks" if self.ok else "what leaks measures memory, not ability; take it out of one side")
        return lines


def _told(what: str, found: Sequence[str]) -> list[str]:
    if not found:
        return []
    more = [f"  … and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return [f"{len(found)} {what}", *(f"  {one}" for one in found[:SHOWN]), *more]


def _named_ids(what: str, ids: Sequence[str]) -> list[str]:
    return [f"{len(ids)} {what}: {', '.join(ids[:5])}{' …' * (len(ids) > 5)}"] if ids else []


def check(files: Sequence[Dataset], against: Sequence[Dataset] = (), *, allow: Sequence[str] = ()) -> Checked:
    """What is wrong with the questions of ``files``; ``against`` are those that something was trained on.

    Splits count where a file says them. ``allow`` names kinds of leaks that may be (``document``: of sets whose splits
    share their documents on purpose). Ids are told with the file's name where there are several files.

    Raises:
        QueryError: ``allow`` names no kind.
    """
    for kind in allow:
        if kind not in KINDS:
            raise QueryError(f"no kind of leak {kind!r}", where="--allow", do=f"choose of {', '.join(KINDS)}")
    kinds: list[Kind] = [kind for kind in KINDS if kind not in allow]
    several = len(files) + len(against) > 1
    questions = _named(files, several)
    trained = _named(against, several)
    by_split = {name: [q for q in questions if q.split == name] for name in ("train", "dev", "test")}
    untrained = [q for q in questions if q.split != "train"]
    leaks = leakage.find(trained, untrained, kinds) if trained else []
    for first, second in (("train", "dev"), ("train", "test"), ("dev", "test")):
        if by_split[first] and by_split[second]:
            leaks += leakage.find(by_split[first], by_split[second], kinds)
    pairs = leakage.near([question.text for question in questions])
    unanswerable = [q for q in questions if q.answerable is False]
    return Checked(
        questions=len(questions),
        splits={name: len(of) for name, of in by_split.items() if of},
        leaks=tuple(leaks),
        duplicates=_duplicates(questions, pairs),
        contradictions=_contradictions(questions, pairs),
        unanswerable=len(unanswerable),
        unexplained=tuple(q.id for q in unanswerable if not any(q.metadata.get(name) for name in REASONS)),
        unknown=tuple(
            q.id
            for q in questions
            if q.answerable is not False and not (q.answers or q.evidence or q.judgements or _label(q))
        ),
        inconsistent=tuple(q.id for q in unanswerable if q.answers),
        classes=_classes(questions, by_split),
    )


def _named(files: Iterable[Dataset], several: bool) -> list[Question]:
    return [
        replace(question, id=f"{file.name}:{question.id}") if several else question
        for file in files
        for question in file.questions.values()
    ]


def _duplicates(questions: Sequence[Question], pairs: Sequence[tuple[int, int, float]]) -> tuple[tuple[str, ...], ...]:
    groups: leakage.Groups[int] = leakage.Groups()
    for i, j, _ in pairs:
        if questions[i].split == questions[j].split:
            groups.join(i, j)
    found: dict[int, list[str]] = {}
    for number, question in enumerate(questions):
        found.setdefault(groups.of(number), []).append(question.id)
    return tuple(tuple(ids) for ids in found.values() if len(ids) > 1)


# --- what is said of a question ---------------------------------------------------------------------------------------


def _label(question: Question) -> str:
    return next((str(question.metadata[name]) for name in LABELS if question.metadata.get(name) is not None), "")


def _contradictions(
    questions: Sequence[Question], pairs: Sequence[tuple[int, int, float]]
) -> tuple[Mapping[str, Any], ...]:
    """Pairs that ask the same. Of pairs that ask nearly the same, only those with labels: a question that differs by a
    word may well have another answer, but seldom another class."""
    found = []
    for i, j, score in pairs:
        a, b = questions[i], questions[j]
        same = leakage.normalised(a.text) == leakage.normalised(b.text)
        if not same and (a.answers or b.answers or not (_label(a) and _label(b))):
            continue
        said_a, said_b = _said(a), _said(b)
        if said_a and said_b and said_a.isdisjoint(said_b):
            found.append(
                {
                    "a": a.id,
                    "b": b.id,
                    "question": a.text,
                    "said_a": " | ".join(sorted(said_a)),
                    "said_b": " | ".join(sorted(said_b)),
                    "score": round(score, 3),
                }
            )
    return tuple(found)


def _said(question: Question) -> frozenset[str]:
    if question.answerable is False:
        return frozenset({"(unanswerable)"})
    if question.answers:
        return frozenset(map(leakage.normalised, question.answers))
    return frozenset({label} if (label := _label(question)) else ())


def _classes(questions: Sequence[Question], by_split: Mapping[str, Sequence[Question]]) -> dict[str, Any]:
    """How the questions spread over their labels; nothing where they have none."""
    for name in LABELS:
        counted = Counter(str(q.metadata[name]) for q in questions if q.metadata.get(name) is not None)
        if counted.total() >= 0.9 * len(questions) and len(counted) > 1:
            break
    else:
        name = "answer"
        counted = Counter(q.answers[0] for q in questions if len(q.answers) == 1)
        # The same few answers again and again are classes; an answer to each question is none.
        if counted.total() < 0.9 * len(questions) or not 1 < len(counted) <= len(questions) / 5:
            return {}
    of = {split: {_class(q, name) for q in part} for split, part in by_split.items() if part}
    (largest, most), (smallest, least) = counted.most_common()[0], counted.most_common()[-1]
    return {
        "field": name,
        "count": len(counted),
        "largest": {"name": largest, "n": most},
        "smallest": {"name": smallest, "n": least},
        "few": sorted(label for label, count in counted.items() if count < FEW),
        "missing": {split: sorted(missing) for split, seen in of.items() if (missing := counted.keys() - seen)},
        "counts": dict(counted.most_common()),
    }


def _class(question: Question, name: str) -> str:
    return (question.answers[0] if question.answers else "") if name == "answer" else str(question.metadata.get(name))
