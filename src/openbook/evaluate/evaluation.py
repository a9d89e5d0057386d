"""A data set's questions are asked of a knowledge base, and every family of measures reads what happened."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from openbook.errors import OpenbookError
from openbook.evaluate import ranking
from openbook.evaluate.dataset import Dataset, Question, Split
from openbook.evaluate.report import Asked, Measured, Outcome, Report, mean

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import Recipe

KEPT_HITS = 10
"""Hits of each question that its trace and the report remember."""


def evaluate(
    kb: KnowledgeBase,
    dataset: Dataset,
    *,
    split: Split = "all",
    limit: int | None = None,
    measures: Sequence[str] = ranking.MEASURES,
    answers: bool | None = None,
    as_: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Ask the data set's questions (the first ``limit`` of the split) and measure what is found and said.

    ``measures`` are those of documents. ``answers``: have the questions answered, too; by default where the data set
    knows answers or unanswerable questions.

    Raises:
        DatasetError: no question is left, or a measure is unknown.
    """
    _ = kb.embedder  # a model that is missing or another one is told, not counted as questions that failed
    chosen = dataset.select(split, limit)
    questions = chosen.questions
    if answers is None:
        answers = any(question.answers or question.answerable is False for question in questions.values())
    depth = max((ranking.cut(name) for name in measures), default=1)
    outcomes: dict[str, Outcome] = {}
    for number, question in enumerate(questions.values(), 1):
        outcomes[question.id] = _ask(kb, question, chosen.name, depth, answers, as_)
        if progress is not None:
            progress(number, len(questions))
    families = [_retrieval(questions, outcomes, measures)]
    per_question = {name: values for family in families for name, values in family.per_question.items() if values}
    totals = {name: measure for family in families for name, measure in family.totals.items()}
    return Report(
        dataset=chosen.name,
        data=chosen.hash,
        split=split,
        release=kb.release,
        recipe=kb.recipe.hash,
        measures={**{name: mean(list(values.values())) for name, values in per_question.items()}, **totals},
        per_question=per_question,
        questions={id: _asked(questions[id], outcome) for id, outcome in outcomes.items()},
        failed=tuple(id for id, outcome in outcomes.items() if outcome.error is not None),
        unanswered=tuple(id for id, outcome in outcomes.items() if outcome.error is None and not outcome.hits),
        ms=_percentiles([outcome.ms["total"] for outcome in outcomes.values()]),
        details={name: detail for family in families for name, detail in family.details.items()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        db=kb.database.where,
    )


def _ask(
    kb: KnowledgeBase, question: Question, dataset: str, depth: int, answers: bool, as_: Sequence[str] | None
) -> Outcome:
    """One question through the whole pipeline; what fails becomes an outcome, too."""
    start = time.perf_counter()
    try:
        k = kb.recipe.query.candidates
        trace = kb.search(question.text, k, as_=as_, record=False)
        # Long documents crowd a list of chunks: look on, until as many documents are known as are measured.
        while len(trace.hits) == k < ranking_limit() and len(ranking.documents(trace.hits)) < depth:
            k = min(4 * k, ranking_limit())
            trace = replace(kb.search(question.text, k, as_=as_, record=False), ms=trace.ms)
        answer = kb.answer(trace) if answers else None
    except OpenbookError as error:
        ms = {"total": round((time.perf_counter() - start) * 1000, 3)}
        return Outcome(question.id, ms=ms, error=str(error))
    if answer is not None and answer.trace is not None:
        trace = answer.trace
    kept = {"dataset": dataset, "question": question.id}
    kb.traces.record(replace(trace, hits=trace.hits[:KEPT_HITS], details={**trace.details, **kept}), answer)
    return Outcome(question.id, trace.hits, answer, trace.ms, trace.id)


def ranking_limit() -> int:
    from openbook.knowledge_base import MOST_HITS

    return MOST_HITS


def _retrieval(questions: Mapping[str, Question], outcomes: Mapping[str, Outcome], measures: Sequence[str]) -> Measured:
    judged = {id: question.judgements for id, question in questions.items() if question.judgements}
    rankings = {id: ranking.documents(outcomes[id].hits) for id in judged}
    return Measured(ranking.measured(measures, judged, rankings))


def _asked(question: Question, outcome: Outcome) -> Asked:
    return Asked(
        text=question.text,
        slices={field: str(value) for field, value in question.metadata.items()},
        found=ranking.documents(outcome.hits)[:KEPT_HITS],
        answer=None if outcome.answer is None else outcome.answer.text,
        abstained=outcome.answer is not None and outcome.answer.abstained,
        trace=outcome.trace,
        error=outcome.error,
    )


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    return dict(
        zip(("p50", "p95", "p99"), (round(float(v), 3) for v in np.percentile(values, [50, 95, 99])), strict=True)
    )


def open_corpus(dataset: Dataset, recipe: Recipe, *, say: Callable[[str], None] | None = None) -> KnowledgeBase:
    """A knowledge base of the data set's own corpus, apart from the user's; ``add(dataset.corpus)`` fills it.

    It is kept in the cache under a name made of the corpus, the recipe's index half and the model, so that it is
    indexed once. Close it.
    """
    from openbook import __version__
    from openbook.embed import open_embedder
    from openbook.knowledge_base import open as open_
    from openbook.store.database import user_cache

    assert dataset.corpus is not None
    digest = hashlib.sha256(f"{__version__} {recipe.index.hash} {open_embedder(recipe.index.embed).hash}".encode())
    with dataset.corpus.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return open_(user_cache() / "evaluate" / digest.hexdigest()[:16], recipe=recipe, say=say)
