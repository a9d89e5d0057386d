"""Queries that somebody asked: a data set's train split, and what people clicked and said.

A positive is a place in a document. One that is not there any more, or that this caller may not see, is dropped with
its line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Dataset, Question
from openbook.evaluate.datasets.evidence import Located, locate
from openbook.finetune.data.formats import MOST_MISSING
from openbook.finetune.data.places import Asked, Place
from openbook.finetune.data.rows import Dropped

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase


def of_dataset(
    kb: KnowledgeBase, dataset: Dataset, listing: Sequence[Mapping[str, Any]], *, as_: Sequence[str] | None = None
) -> tuple[list[Asked], list[Dropped]]:
    """The questions of a data set's train split, which is all that is trained on; and the labels that are dropped.

    Raises:
        DatasetError: it has no train split, or most of its labels name documents that are not there.
    """
    questions = [question for question in dataset.questions.values() if question.split == "train"]
    if not questions:
        do = 'say which questions are: "split": "train" in their rows, or qrels/train.tsv'
        raise DatasetError("none of its questions is to train on", where=dataset.name, do=do)
    ids = {row["source"]: row["document"] for row in listing}
    located = locate(kb, questions, as_=as_)
    found, dropped = [], []
    labels = missing = 0
    for question in questions:
        asked, gone = _asked(question, located, ids, f"{dataset.name}: {question.id}")
        labels += sum(grade > 0 for grade in located.judgements.get(question.id, {}).values())
        missing += len(gone)
        dropped += gone
        if asked.right:
            found.append(asked)
        elif not gone:
            dropped.append(Dropped(asked.where, "no document answers it"))
    if missing > MOST_MISSING * labels:
        what = f"{missing} of {labels} labels refer to documents that are not there, such as {dropped[0].reason}"
        do = "name the knowledge base that holds them (--db, --kb)"
        raise DatasetError(what, where=dataset.name, do=do)
    return found, dropped


def _asked(
    question: Question, located: Located, ids: Mapping[str, str], where: str, kind: str = "dataset"
) -> tuple[Asked, list[Dropped]]:
    """The query with its places, and what of it names no document."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for span in located.spans.get(question.id, ()):
        spans.setdefault(span.source, []).append((span.start, span.end))
    places: tuple[list[Place], list[Place]] = [], []
    dropped = []
    for source, grade in located.judgements.get(question.id, {}).items():
        if source in ids:
            of = tuple(spans.get(source, ())) if grade > 0 else ()
            places[0 if grade > 0 else 1].append(Place(ids[source], of))
        elif grade > 0:
            dropped.append(Dropped(where, f"no document {source!r}"))
    right, wrong = places
    return Asked(" ".join(question.text.split()), tuple(right), tuple(wrong), kind, where=where), dropped


def of_feedback(
    kb: KnowledgeBase,
    listing: Sequence[Mapping[str, Any]],
    *,
    since: datetime | None = None,
    as_: Sequence[str] | None = None,
) -> tuple[list[Asked], list[Dropped]]:
    """What people liked or clicked (``right``) and disliked of what was found, ``since`` then, as far as ``as_`` may
    see it.

    Positives are those of ``openbook dataset from-feedback``; a passage with a thumb down, and none up, is a negative.

    Raises:
        DatasetError: nobody has said anything that this caller may see.
    """
    from openbook.evaluate.datasets.making import from_feedback

    made = from_feedback(kb, as_=as_, shares={"train": 1.0}, since=since)
    ids = {row["source"]: row["document"] for row in listing}
    questions = [question for question in made.dataset.questions.values() if question.answerable]
    located = locate(kb, questions, as_=as_)
    wrong, asked_by = _disliked(kb, ids, since, as_)
    found, dropped = [], [Dropped(row.question, row.note) for row in made.to_annotate]
    others = [question for question in made.dataset.questions.values() if not question.answerable]
    dropped += [Dropped(question.text, "the documents do not answer it") for question in others]
    for question in questions:
        same = leakage.normalised(question.text)
        one, gone = _asked(question, located, ids, question.text, "feedback")
        dropped += gone
        right = {place.document for place in one.right}
        disliked = tuple(place for place in wrong.get(same, ()) if place.document not in right)
        if one.right:
            found.append(Asked(one.query, one.right, disliked, "feedback", asked_by.get(same, ()), one.where))
        elif not gone:
            dropped.append(Dropped(one.where, "nothing that was found answers it"))
    return found, dropped


def _disliked(
    kb: KnowledgeBase, ids: Mapping[str, str], since: datetime | None, as_: Sequence[str] | None
) -> tuple[dict[str, list[Place]], dict[str, tuple[str, ...]]]:
    """By question: the passages that somebody disliked and nobody liked, as they still stand; and whose it was."""
    from openbook.evaluate.datasets.making import reviewed_since

    wrong: dict[str, list[Place]] = {}
    asked_by: dict[str, tuple[str, ...]] = {}
    for trace in reviewed_since(kb, since, as_):
        same = leakage.normalised(trace.question)
        by = kb.trace(trace.trace, as_=as_)["principals"]
        asked_by[same] = tuple(sorted({*asked_by.get(same, ()), *(by or ())} - {"public"}))
        said: dict[int, list[str]] = {}
        for one in trace.feedback:
            if one.hit is not None:
                said.setdefault(one.hit, []).append(one.verdict)
        for rank, verdicts in said.items():
            passage = trace.hits[rank - 1]
            if passage is None or passage.source not in ids or {*verdicts} != {"down"}:
                continue
            id = ids[passage.source]
            if kb.texts([id], as_=as_).get(id, "")[passage.start : passage.end] == passage.text:
                wrong.setdefault(same, []).append(Place(id, ((passage.start, passage.end),)))
    return wrong, asked_by
