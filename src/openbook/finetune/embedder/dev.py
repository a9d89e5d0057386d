"""How well questions are answered by a model in training: nDCG@10 of the knowledge base's own retrieval."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Question
from openbook.evaluate.datasets.evidence import locate
from openbook.evaluate.measures import ranking
from openbook.finetune.data.formats import MOST_MISSING
from openbook.finetune.data.rows import Example, digest, digests
from openbook.recipe import QueryHalf

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray, IntArray, TextKind
    from openbook.knowledge_base import KnowledgeBase
    from openbook.retrieve import Retriever
    from openbook.store.index import Index

MEASURE = "ndcg@10"

DEPTH = 50
"""Chunks that are looked at for the ten documents that are judged."""

LEAST = 10
"""Questions: with fewer the score is chance, and stopping by it would be, too."""


@dataclass(frozen=True, slots=True)
class Dev:
    """What a model in training is asked: ``questions`` with judgements, answered from ``kb`` as ``as_`` sees it.

    Without questions a part of the rows is held out and asked.
    """

    kb: KnowledgeBase
    questions: tuple[Question, ...] = ()
    as_: Sequence[str] | None = None


def falls(asked: Mapping[str, float], highest: Mapping[str, float]) -> bool:
    """Whether the same questions fare worse than at the step where they fared best by more than chance moves them: by
    two standard errors of the paired differences. (A run that goes on may lack some: their documents were removed.)

    What stood highest is no better guide: of steps that differ by chance it is the luckiest, a different one with each
    seed, and often one at which little was learnt.

    >>> falls({"a": 0.4, "b": 1.0}, {"a": 0.5, "b": 0.9}), falls({"a": 0.4, "b": 0.8}, {"a": 0.5, "b": 0.9})
    (False, True)
    """
    differences = [asked[question] - best for question, best in highest.items() if question in asked]
    if not differences:
        return False
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return fmean(differences) < -max(2 * error, 1e-9)


def held_out(examples: Sequence[Example], share: float, sources: Mapping[str, str]) -> tuple[set[str], list[Question]]:
    """The groups of rows that are not trained on, and their queries as questions.

    A group is chosen by its name, so that every seed and method leaves out the same. ``sources`` are the documents that
    are there: only what one of them answers can be asked.
    """
    chosen = {
        example.group
        for example in examples
        if int.from_bytes(hashlib.sha256(example.group.encode()).digest()[:8], "big") < share * 2**64
    }
    questions = []
    for example in examples:
        right = {passage.document: 1 for passage in example.positives if passage.document in sources}
        if example.group in chosen and right:
            questions.append(Question(digest(example.query), example.query, judgements=right))
    return chosen, questions


class Asking:
    """The dev questions, and how they fare. Those that no document answers which is there are ``left_out``.

    Raises:
        DatasetError: nothing is known of what answers them, or most name documents that are not there.
    """

    def __init__(self, dev: Dev, questions: Sequence[Question]) -> None:
        self.dev = dev
        self._kept: Retriever | None = None
        located = locate(dev.kb, questions, as_=dev.as_)
        named = {id: [source for source, g in grades.items() if g > 0] for id, grades in located.judgements.items()}
        named = {id: sources for id, sources in named.items() if sources}
        there = {row["source"] for row in dev.kb.list(as_=dev.as_)}
        judged = {id: located.judgements[id] for id, sources in named.items() if not there.isdisjoint(sources)}
        self.judgements: Mapping[str, Mapping[str, int]] = judged
        self.questions = tuple(question for question in questions if question.id in judged)
        do = "name a data set about these documents, or the knowledge base that holds its own (--db, --kb)"
        if not self.questions:
            raise DatasetError("no dev question is answered by a document that is there", do=do)
        self.left_out = len(named) - len(judged)
        if self.left_out > MOST_MISSING * len(named):
            first = next(sources[0] for id, sources in named.items() if id not in judged)
            what = (
                f"{self.left_out} of {len(named)} dev questions refer to documents that are not there, such as {first}"
            )
            raise DatasetError(what, do=do)

    @property
    def digests(self) -> tuple[str, ...]:
        """Which questions these are."""
        return digests(question.text for question in self.questions)

    @cached_property
    def query(self) -> QueryHalf:
        """The recipe's query half; a turn of queries that is in use already is not taken twice."""
        part = self.dev.kb.recipe.query
        off = {"adapter": type(part).model_fields["adapter"].default} if hasattr(part, "adapter") else {}
        return part.model_copy(update=off)

    def _retriever(self, embedder: Embedder, index: Index | None) -> Retriever:
        """Of the live index one is kept: what it reads of the documents takes longer than a question."""
        from openbook.chunk import sharing_passages
        from openbook.retrieve import Retriever

        kb = self.dev.kb
        if index is None and self._kept is not None and self._kept.embedder is embedder:
            return self._kept
        sharing = sharing_passages(kb.recipe.index.chunk)
        made = Retriever(index or kb.index, embedder, self.query, sharing=sharing)
        if index is None:
            self._kept = made
        return made

    def scores(self, embedder: Embedder, index: Index | None = None) -> dict[str, float]:
        """Question → nDCG@10 where this model embeds it, and ``index`` finds (the live one by default)."""
        return self.answered(self._retriever(embedder, index))

    def answered(self, retriever: Retriever) -> dict[str, float]:
        """The nDCG@10 of each question where this retrieval answers it."""
        from openbook.store.access import principals_of

        who = principals_of(self.dev.as_)
        found = {
            question.id: ranking.documents(retriever.retrieve(question.text, DEPTH, principals=who).hits)
            for question in self.questions
        }
        return ranking.measured([MEASURE], self.judgements, found)[MEASURE]


@dataclass(slots=True)
class Turned:
    """A base model whose query vectors are ``turn``-ed; what it made of a text once is kept."""

    base: Embedder
    turn: Callable[[FloatArray], FloatArray]
    _kept: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.base.kind

    @property
    def hash(self) -> str:
        return self.base.hash

    @property
    def dimension(self) -> int:
        return self.base.dimension

    @property
    def max_tokens(self) -> int:
        return self.base.max_tokens

    @property
    def remote(self) -> bool:
        return self.base.remote

    def encode(
        self, texts: Sequence[str], kind: TextKind = "document", *, progress: Callable[[int], None] | None = None
    ) -> FloatArray:
        import numpy as np

        if kind == "document":
            return self.base.encode(texts, kind, progress=progress)
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if new:
            self._kept.update(zip(new, self.base.encode(new, "query"), strict=True))
        if not texts:
            return self.base.encode([], "query")
        return self.turn(np.stack([self._kept[text] for text in texts]))

    def tokens(self, texts: Sequence[str]) -> list[IntArray]:
        return self.base.tokens(texts)
