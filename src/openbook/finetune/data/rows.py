"""What a retriever learns from, as it is held: a query with the passages that answer it and those that do not.

A file has a row for each (query, positive), or each (query, positive, negative); held is each query once, with all its
positives, so that none of them is taken for a negative of its own query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from openbook.evaluate.datasets import leakage

MOST_NAMED = 100
"""Characters of a text by which a row is named to a person."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that is to be found, or not.

    ``document`` is the source that it is from ("": not known), ``principals`` who may read that (any of them; empty:
    not known), ``local_only`` whether it may be sent to no remote model. ``score`` is its cosine with the query by the
    model that mined; ``by`` tells who found a negative: ``judged``, ``dense``, ``keyword`` or ``random``.
    """

    text: str
    document: str = ""
    principals: tuple[str, ...] = ()
    local_only: bool = False
    score: float | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its positives and negatives, each text once.

    ``kind`` tells where it comes from; queries of one ``group`` must not share a batch, for a positive of one answers
    another. ``asked_by`` are principals all of which one needs to see the query (a trace is seen so). ``where`` names
    its place in a file.
    """

    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()
    kind: str = ""
    group: str = ""
    asked_by: tuple[str, ...] = ()
    where: str = field(default="", compare=False)

    @property
    def passages(self) -> tuple[Passage, ...]:
        return (*self.positives, *self.negatives)


@dataclass(frozen=True, slots=True)
class Scored:
    """Two texts and how alike they are; ``is_label`` where the file says a class (1: the same, or relevant)."""

    first: Passage
    second: Passage
    score: float
    is_label: bool = False
    kind: str = ""
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that is not trained on: its place, and why."""

    line: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Training data: examples, or scored pairs. ``dropped``: rows of the file that are none."""

    examples: tuple[Example, ...] = ()
    scored: tuple[Scored, ...] = ()
    dropped: tuple[Dropped, ...] = field(default=(), compare=False)

    @property
    def documents(self) -> tuple[str, ...]:
        """The documents that they are made of."""
        found = {passage.document for passage in self.passages if passage.document}
        return tuple(sorted(found))

    @property
    def passages(self) -> tuple[Passage, ...]:
        pairs = [passage for one in self.scored for passage in (one.first, one.second)]
        return (*(passage for example in self.examples for passage in example.passages), *pairs)

    @property
    def access(self) -> tuple[tuple[str, ...], ...]:
        """Who may be answered by what is trained on them: who is among each of these, and so may see every text."""
        asked = {(name,) for example in self.examples for name in example.asked_by}
        return tuple(sorted({passage.principals for passage in self.passages if passage.principals} | asked))


def merged(examples: Iterable[Example]) -> tuple[tuple[Example, ...], tuple[Dropped, ...]]:
    """Each query once, whatever its case and punctuation, with all that is known of it; and what was said twice.

    A passage that is a positive in one row and a negative in another of the same query is a positive: somebody found
    the answer in it.
    """
    rows: dict[str, list[Example]] = {}
    seen: set[tuple[str, tuple[str, ...], tuple[str, ...]]] = set()
    dropped = []
    for example in examples:
        same = leakage.normalised(example.query)
        row = (same, _texts(example.positives), _texts(example.negatives))
        if row in seen:
            dropped.append(Dropped(placed(example.where, example.query), "said twice"))
            continue
        seen.add(row)
        rows.setdefault(same, []).append(example)
    found = []
    for of in rows.values():
        positives = distinct(passage for example in of for passage in example.positives)
        negatives = distinct(passage for example in of for passage in example.negatives)
        right = {same_text(passage.text) for passage in positives}
        wrong = tuple(passage for passage in negatives if same_text(passage.text) not in right)
        if len(wrong) < len(negatives):
            reason = "a passage that is a positive and a negative of the same query: taken for a positive"
            dropped.append(Dropped(placed(of[0].where, of[0].query), reason))
        asked_by = tuple(sorted({name for example in of for name in example.asked_by}))
        found.append(replace(of[0], positives=positives, negatives=wrong, asked_by=asked_by))
    return tuple(found), tuple(dropped)


def _texts(passages: Sequence[Passage]) -> tuple[str, ...]:
    return tuple(same_text(passage.text) for passage in passages)


def distinct(passages: Iterable[Passage]) -> tuple[Passage, ...]:
    """Each text once, the first of its passages."""
    found: dict[str, Passage] = {}
    for passage in passages:
        found.setdefault(same_text(passage.text), passage)
    return tuple(found.values())


def same_text(text: str) -> str:
    return " ".join(text.split())


def named(text: str) -> str:
    """A text as a place is named by it."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_NAMED else f"{line[: MOST_NAMED - 1]}…"


def placed(where: str, text: str) -> str:
    """By what a row is told in what is kept of a training: its place, else a digest. Its text is not everybody's."""
    return where or f"row {digest(text)}"


def grouped(examples: Sequence[Example]) -> tuple[Example, ...]:
    """The same, each with its group: queries that are nearly the same, or whose positives are (nearly) one passage,
    have one. In a batch every other query's positive counts as a negative, and theirs would be right answers.

    A group is named by what is in it: the same rows get the same names.
    """
    groups: leakage.Groups[int] = leakage.Groups()
    for i, j, _ in leakage.near([example.query for example in examples]):
        groups.join(i, j)
    sketches: leakage.Sketches[int] = leakage.Sketches()
    for number, example in enumerate(examples):
        for passage in example.positives:
            sketches.add(number, passage.text)
    for i, j, _ in sketches.alike(leakage.NEAR_PASSAGE, leakage.HELD_PASSAGE):
        groups.join(i, j)
    members: dict[int, list[str]] = {}
    for number, example in enumerate(examples):
        members.setdefault(groups.of(number), []).append(leakage.normalised(example.query))
    names = {group: "g-" + digest(min(queries)) for group, queries in members.items()}
    return tuple(replace(example, group=names[groups.of(number)]) for number, example in enumerate(examples))


def digests(queries: Iterable[str]) -> tuple[str, ...]:
    """Queries by what they ask, whatever their case and spaces: without what somebody asked."""
    return tuple(sorted({digest(leakage.normalised(query)) for query in queries}))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
