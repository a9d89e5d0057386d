"""What a reranker learns from: a question's candidates as the first stage returned them, and which are relevant."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openbook.chunk.prefix import embedded_text
from openbook.recipe import Off

if TYPE_CHECKING:
    from openbook.evaluate.datasets.dataset import Question
    from openbook.knowledge_base import KnowledgeBase

MARGIN = 6.0
"""In log-odds, the unit of the default fusion: an unjudged candidate so far ahead of the best relevant one is more
likely relevant and not judged than wrong. It is one for every fourth question of cranfield, whose judgements are known
to have holes, and one for every hundredth of squad2-a."""

ALIKE = 0.6
"""The share of three-word runs, of all that either has, from which two texts say the same: versions of a page."""


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk that the first stage found: its document, the text that a reranker is shown, and its fused score."""

    source: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A question, its candidates, best first, and the grades of documents by source."""

    id: str
    question: str
    candidates: tuple[Found, ...]
    judgements: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Listed:
    """A question with texts to put in order: ``grades[i]`` is that of text i (0: a negative), ``scores[i]`` what the
    first stage said of it, ``sources[i]`` the document that it is from (none: not known)."""

    question: str
    texts: tuple[str, ...]
    grades: tuple[int, ...]
    scores: tuple[float, ...]
    sources: tuple[str, ...] = ()

    @property
    def teaches(self) -> bool:
        """Whether there is anything to put above anything else."""
        return any(grade > 0 for grade in self.grades) and not all(grade > 0 for grade in self.grades)


@dataclass(frozen=True, slots=True)
class Lists:
    """``lists`` to learn from, and what was left out, counted: candidates that say the same as a relevant one
    (``alike``) or are far ahead of all of them (``ahead``), further chunks of relevant documents (``further``), and
    questions that are left without a relevant candidate or without another (``idle``)."""

    lists: tuple[Listed, ...]
    alike: int
    ahead: int
    further: int
    idle: int


def ranked(
    kb: KnowledgeBase, questions: Iterable[Question], *, depth: int = 50, as_: Sequence[str] | None = None
) -> Iterator[Ranked]:
    """The ``depth`` best chunks of each judged question by the recipe of ``kb``, as ``as_`` sees it, before any stage
    puts them in another order. Raises: as ``KnowledgeBase.search``."""
    from openbook.retrieve import Retriever
    from openbook.store.access import principals_of

    off = {"rerank": Off(), "recency": Off(), "diversity": Off(), "merge": 0, "duplicates": Off(), "within": None}
    retriever = Retriever(kb.index, kb.embedder, kb.recipe.query.model_copy(update=off))
    for question in questions:
        if question.judgements:
            hits = retriever.retrieve(question.text, depth, principals=principals_of(as_)).hits
            found = [Found(hit.source, embedded_text(hit.title, hit.chunk), hit.score) for hit in hits]
            yield Ranked(question.id, question.text, tuple(found), question.judgements)


def lists_of(found: Iterable[Ranked], *, candidates: int = 20) -> Lists:
    """The first ``candidates`` of each question as positives and hard negatives.

    Of a relevant document the best chunk is the positive; whether its others answer the question is not known, and they
    are left out. So is what is likely relevant and not judged. What is judged not relevant stays.
    """
    lists: list[Listed] = []
    alike = ahead = further = idle = 0
    for one in found:
        head = one.candidates[:candidates]
        positives: dict[str, Found] = {}
        for candidate in head:
            if one.judgements.get(candidate.source, 0) > 0:
                further += candidate.source in positives
                positives.setdefault(candidate.source, candidate)
        best = max((candidate.score for candidate in positives.values()), default=0.0)
        runs = [_runs(candidate.text) for candidate in positives.values()]
        negatives = []
        for candidate in head if positives else ():
            judged = candidate.source in one.judgements
            if candidate.source in positives:
                continue
            if not judged and candidate.score > best + MARGIN:
                ahead += 1
            elif not judged and any(_are_alike(_runs(candidate.text), run) for run in runs):
                alike += 1
            else:
                negatives.append(candidate)
        chosen = [*positives.values(), *negatives]
        listed = Listed(
            one.question,
            tuple(candidate.text for candidate in chosen),
            tuple(one.judgements.get(candidate.source, 0) for candidate in chosen),
            tuple(candidate.score for candidate in chosen),
            tuple(candidate.source for candidate in chosen),
        )
        if listed.teaches:
            lists.append(listed)
        else:
            idle += 1
    return Lists(tuple(lists), alike, ahead, further, idle)


def drawn(one: Listed, size: int, draw: random.Random) -> Listed:
    """At most ``size`` of its texts: positives, as many as half of them, and negatives from anywhere in the list."""
    positives = [at for at, grade in enumerate(one.grades) if grade > 0]
    negatives = [at for at, grade in enumerate(one.grades) if grade <= 0]
    some = draw.sample(positives, min(len(positives), max(1, size // 2)))
    some += draw.sample(negatives, min(len(negatives), size - len(some)))
    return Listed(
        one.question,
        tuple(one.texts[at] for at in some),
        tuple(one.grades[at] for at in some),
        tuple(one.scores[at] for at in some),
    )


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = text.casefold().split()
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def _are_alike(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> bool:
    return bool(a and b) and len(a & b) >= ALIKE * len(a | b)
