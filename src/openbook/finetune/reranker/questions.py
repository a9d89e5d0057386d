"""The questions that a reranker learns from, and the lists that the live first stage makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from openbook.errors import DatasetError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Question
from openbook.evaluate.datasets.evidence import locate
from openbook.finetune.data.formats import examples_of
from openbook.finetune.data.report import LEAST
from openbook.finetune.data.rows import Dropped, Example, Passage, Rows, digest, merged, placed, same_text
from openbook.finetune.embedder.dev import LEAST as LEAST_ASKED
from openbook.finetune.lists import Lists, Ranked, lists_of, ranked
from openbook.finetune.provenance import TrainedOn

if TYPE_CHECKING:
    from openbook.evaluate import Dataset
    from openbook.finetune.embedder import Dev
    from openbook.finetune.settings import RerankerSettings
    from openbook.knowledge_base import KnowledgeBase

WORDS = 5
"""A text of fewer words stands in many a passage that it was not taken from."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A question, the documents that are known to answer it or not, and the ``texts`` that do; its ``group``, if its
    file tells one; ``access``: who may be answered by what is trained on it, who is among each; ``where`` from."""

    question: Question
    texts: frozenset[str] = frozenset()
    group: str = ""
    access: tuple[tuple[str, ...], ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True)
class Taught:
    """What is trained on: ``lists`` of ``questions``, those left out with the reason, who may be answered, and
    what documents they are of (``told``), as those were when they were read."""

    lists: Lists
    questions: int
    dropped: tuple[Dropped, ...] = ()
    access: tuple[tuple[str, ...], ...] = field(default=())
    told: TrainedOn = field(default_factory=TrainedOn)


def of_rows(rows: Rows) -> list[Judged]:
    """The queries of training rows. Raises: DatasetError: scores that say neither yes nor no."""
    return [_of_example(example) for example in merged(examples_of(rows))[0]]


def _of_example(example: Example) -> Judged:
    judgements = {passage.document: 0 for passage in example.negatives if passage.document and passage.by == "judged"}
    judgements |= {passage.document: 1 for passage in example.positives if passage.document}
    texts = frozenset(same_text(passage.text) for passage in example.positives)
    access = {passage.principals for passage in example.positives if passage.principals}
    return Judged(
        Question(digest(example.query), example.query, judgements=judgements),
        frozenset(text for text in texts if len(text.split()) >= WORDS),
        example.group,
        tuple(sorted(access | {(name,) for name in example.asked_by})),
        example.where,
    )


def of_dataset(
    kb: KnowledgeBase, dataset: Dataset, *, as_: Sequence[str] | None = None
) -> tuple[list[Judged], list[Dropped]]:
    """The questions of a data set's train split, and those that nothing answers.

    Raises:
        DatasetError: it has no train split.
    """
    questions = [question for question in dataset.questions.values() if question.split == "train"]
    if not questions:
        do = 'say which questions are: "split": "train" in their rows, or qrels/train.tsv'
        raise DatasetError("none of its questions is to train on", where=dataset.name, do=do)
    judgements = locate(kb, questions, as_=as_).judgements
    found, dropped = [], []
    for question in questions:
        grades = judgements.get(question.id, {})
        if any(grade > 0 for grade in grades.values()):
            found.append(Judged(replace(question, judgements=grades), where=f"{dataset.name}: {question.id}"))
        else:
            dropped.append(Dropped(f"{dataset.name}: {question.id}", "no document answers it"))
    return found, dropped


def once(judged: Sequence[Judged]) -> list[Judged]:
    """Each question once, whatever its case and punctuation, with all that is known of it."""
    found: dict[str, Judged] = {}
    for one in judged:
        same = leakage.normalised(one.question.text)
        if (before := found.get(same)) is not None:
            grades = dict(before.question.judgements)
            for source, grade in one.question.judgements.items():
                grades[source] = max(grade, grades.get(source, grade))
            one = Judged(
                replace(before.question, judgements=grades),
                before.texts | one.texts,
                before.group or one.group,
                tuple(sorted({*before.access, *one.access})),
                before.where or one.where,
            )
        found[same] = one
    return list(found.values())


def as_rows(judged: Sequence[Judged]) -> Rows:
    """Questions and what answers them, as rails look at what is trained on."""
    return Rows(
        tuple(
            Example(
                one.question.text,
                tuple(Passage("", source) for source, grade in one.question.judgements.items() if grade > 0),
            )
            for one in judged
        )
    )


def apart(judged: Sequence[Judged], share: float, there: Mapping[str, str]) -> tuple[list[Judged], list[Question]]:
    """Those that are trained on, and a ``share`` that is held out to be asked: whole groups, so that no question that
    is asked shares an answer with one that is trained on. ``there``: the documents that there are, by source.

    Groups are chosen by their names, so that every seed leaves out the same; where fewer could be asked than say
    anything, none is held out.
    """
    groups: leakage.Groups[str] = leakage.Groups()
    for one in judged:
        groups.join(f"q {one.question.id}", f"q {one.question.id}")
        told = [f"d {source}" for source, grade in one.question.judgements.items() if grade > 0]
        for other in [*told, *([f"g {one.group}"] if one.group else [])]:
            groups.join(f"q {one.question.id}", other)
    for i, j, _ in leakage.near([one.question.text for one in judged]):
        groups.join(f"q {judged[i].question.id}", f"q {judged[j].question.id}")
    kept, asked = [], []
    for one in judged:
        name = groups.of(f"q {one.question.id}")
        if int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big") >= share * 2**64:
            kept.append(one)
        elif any(grade > 0 and source in there for source, grade in one.question.judgements.items()):
            asked.append(one.question)
    return (kept, asked) if len(asked) >= LEAST_ASKED else (list(judged), [])


def taught(
    dev: Dev,
    judged: Sequence[Judged],
    settings: RerankerSettings,
    dropped: Sequence[Dropped] = (),
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Taught, tuple[Question, ...]]:
    """The lists of the live first stage of ``dev.kb``, and the dev questions: those of ``dev``, else some that are held
    out.

    Raises:
        DatasetError: fewer than ten questions.
    """
    judged, listing = once(judged), dev.kb.list()
    if len(judged) < LEAST:
        do = "training needs 500 and more: ask people, write more (--from-documents), or do not train"
        raise DatasetError(f"{len(judged)} distinct questions", do=do)
    questions = list(dev.questions)
    if not questions:
        there = {row["source"]: row["document"] for row in dev.kb.list(as_=dev.as_)}
        judged, questions = apart(judged, settings.dev.share, there)
    found = lists_of(_found(dev, judged, settings.candidates, progress), candidates=settings.candidates)
    by_text = {one.question for one in found.lists}
    idle = [one for one in judged if one.question.text not in by_text]
    why = f"no relevant text and another among its first {settings.candidates}"
    gone = (*dropped, *(Dropped(placed(one.where, one.question.text), why) for one in idle))
    access = {principals for one in judged if one.question.text in by_text for principals in one.access}
    told = TrainedOn.of({source for one in found.lists if one.teaches for source in one.sources}, access, [listing])
    return Taught(found, len(judged), gone, tuple(sorted(access)), told), tuple(questions[: settings.dev.questions])


def _found(dev: Dev, judged: Sequence[Judged], depth: int, progress: Callable[[int, int], None]) -> Iterator[Ranked]:
    """The candidates of each question; whichever holds a text that is known to answer it is relevant."""
    texts = {one.question.id: one.texts for one in judged}
    asked = [replace(one.question, judgements=one.question.judgements or {"": 0}) for one in judged]
    for number, one in enumerate(ranked(dev.kb, asked, depth=depth, as_=dev.as_), 1):
        progress(number, len(asked))
        right = texts[one.id]
        if right:
            held = {each.source: 1 for each in one.candidates if _holds(same_text(each.text), right)}
            one = replace(one, judgements={**held, **one.judgements})
        yield one


def _holds(text: str, right: frozenset[str]) -> bool:
    return any(each in text or (len(text.split()) >= WORDS and text in each) for each in right)
