"""A data set's questions are asked of a knowledge base, and every family of measures reads what happened."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from openbook.errors import OpenbookError
from openbook.evaluate import abstention, adherence, answers, operations, ranking, safety
from openbook.evaluate.dataset import Dataset, Question, Split
from openbook.evaluate.evidence import Located, locate
from openbook.evaluate.report import Asked, Measured, Outcome, Report, mean
from openbook.generate import parse_llm

if TYPE_CHECKING:
    from openbook.evaluate.adherence import StyleClassifier
    from openbook.evaluate.judge import Judge
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import LanguageModel, Recipe

KEPT_HITS = 10
"""Hits of each question that its trace and the report remember."""

MOST_ATTACKS = 2 * len(safety.ATTACKS)
"""Planted orders where nothing else is said: each of the suite twice."""


def evaluate(
    kb: KnowledgeBase,
    dataset: Dataset,
    *,
    split: Split = "all",
    limit: int | None = None,
    measures: Sequence[str] = ranking.MEASURES,
    answered: bool | None = None,
    llm: str | LanguageModel | None = None,
    attacks: int = MOST_ATTACKS,
    judge: Judge | None = None,
    style: StyleClassifier | None = None,
    cold: bool = False,
    freshness: bool = False,
    as_: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Ask the data set's questions (the first ``limit`` of the split) and measure what is found and said.

    ``measures`` are those of documents; chunks and spans are measured wherever the evidence is found. ``answered``:
    have the questions answered, too (by ``llm``, else by the recipe's generator); by default where the data set knows
    answers or unanswerable questions. Answers bring their own measures, ``attacks`` planted orders (0: none), and,
    where given, those of a ``judge`` and a ``style``. ``cold`` and ``freshness`` measure what takes a second or two.

    Raises:
        DatasetError: no question is left, a measure is unknown, or what the data set asks for makes no sense.
        ModelError: the embedding model or the judge is not there; a question that fails is counted instead.
        PriceError: a language model answers, and the price file cannot be read.
    """
    _ = kb.embedder  # a model that is missing or another one is told, not counted as questions that failed
    chosen = dataset.select(split, limit)
    questions = chosen.questions
    depth = max((ranking.cut(name) for name in measures), default=1)
    if answered is None:
        answered = any(_has_answer(question) for question in questions.values())
    adherence.check(questions, style)
    if answered:
        operations.require_prices(kb.recipe, llm)
    if judge is not None:
        judge.ready()
    located = locate(kb, questions.values(), as_=as_)
    outcomes: dict[str, Outcome] = {}
    for number, question in enumerate(questions.values(), 1):
        outcomes[question.id] = _ask(kb, question, chosen.name, depth, answered, llm, as_)
        if progress is not None:
            progress(number, len(questions))
    families = [_retrieval(kb, located, outcomes, measures, as_)]
    if answered:
        context = kb.recipe.query.context
        # Documents by the names they have here, which are what citations name.
        named = {id: replace(q, judgements=located.judgements.get(id, {})) for id, q in questions.items()}
        families += [
            answers.measure(named, outcomes, located.spans, context=context),
            abstention.measure(named, outcomes),
            adherence.measure(questions, outcomes, style),
            safety.measure(kb, questions, outcomes, n=attacks, llm=llm, as_=as_),
        ]
        if judge is not None:
            from openbook.evaluate.judge import measure as judged

            families.append(judged(questions, outcomes, judge, context=context))
    families.append(operations.measure(kb, questions, outcomes, llm=llm, cold=cold, freshness=freshness))
    per_question = {name: values for family in families for name, values in family.per_question.items() if values}
    totals = {name: measure for family in families for name, measure in family.totals.items()}
    return Report(
        dataset=chosen.name,
        data=chosen.hash,
        split=split,
        release=kb.release,
        recipe=operations.answering(kb.recipe, llm).hash,
        measures={**{name: mean(list(values.values())) for name, values in per_question.items()}, **totals},
        per_question=per_question,
        questions={id: _asked(questions[id], outcome) for id, outcome in outcomes.items()},
        failed=tuple(id for id, outcome in outcomes.items() if outcome.error is not None),
        unanswered=tuple(id for id, outcome in outcomes.items() if outcome.error is None and not outcome.hits),
        ms=_percentiles([outcome.ms["total"] for outcome in outcomes.values()]),
        details={name: detail for family in families for name, detail in family.details.items()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        db=kb.database.where,
        settings={
            "limit": limit,
            "measures": list(measures),
            "answered": answered,
            "attacks": attacks,
            "llm": None if llm is None else parse_llm(llm).model_dump() if isinstance(llm, str) else llm.model_dump(),
            "as": None if as_ is None else sorted({as_} if isinstance(as_, str) else as_),
            "kb": kb.name,
        },
    )


def _has_answer(question: Question) -> bool:
    return bool(question.answers) or question.answerable is False or question.schema is not None


def _ask(
    kb: KnowledgeBase,
    question: Question,
    dataset: str,
    depth: int,
    answered: bool,
    llm: str | LanguageModel | None,
    as_: Sequence[str] | None,
) -> Outcome:
    """One question through the whole pipeline; what fails becomes an outcome, too."""
    from openbook.knowledge_base import MOST_HITS

    start = time.perf_counter()
    try:
        # Timed as it is asked in earnest: as many hits as a generator reads.
        trace = kb.search(question.text, kb.recipe.query.context, as_=as_, record=False)
        answer = kb.answer(trace, llm=llm) if answered else None
        trace = answer.trace if answer is not None and answer.trace is not None else trace
        hits, k = list(trace.hits), kb.recipe.query.context
        # Looked on, until as many documents are known as are measured: long ones crowd a list of chunks. What stood
        # first stays first, as whoever asks in earnest sees it: more candidates can change the order.
        while len(hits) >= k and k < MOST_HITS and len(ranking.documents(hits)) < depth:
            k = min(max(4 * k, kb.recipe.query.candidates), MOST_HITS)
            seen = {(hit.document, hit.chunk.start, hit.chunk.end) for hit in hits}
            more = kb.search(question.text, k, as_=as_, record=False).hits
            hits += [hit for hit in more if (hit.document, hit.chunk.start, hit.chunk.end) not in seen]
    except OpenbookError as error:
        ms = {"total": round((time.perf_counter() - start) * 1000, 3)}
        return Outcome(question.id, ms=ms, error=str(error))
    kept = {"dataset": dataset, "question": question.id}
    kb.traces.record(replace(trace, hits=trace.hits[:KEPT_HITS], details={**trace.details, **kept}), answer)
    return Outcome(question.id, hits, answer, trace.ms, trace.id)


def _retrieval(
    kb: KnowledgeBase,
    located: Located,
    outcomes: Mapping[str, Outcome],
    measures: Sequence[str],
    as_: Sequence[str] | None,
) -> Measured:
    """Documents against judgements; chunks and spans against the evidence, wherever it was found."""
    hits = {id: outcome.hits for id, outcome in outcomes.items()}
    rankings = {id: ranking.documents(hits[id]) for id in located.judgements}
    values = ranking.measured(measures, located.judgements, rankings)
    if located.spans:

        @cache
        def chunks(source: str) -> list[tuple[int, int]]:
            return [(chunk.start, chunk.end) for chunk in kb.chunks(source, as_=as_)]

        values |= ranking.chunk_measures(ranking.CHUNK_MEASURES, located.spans, hits, chunks)
        values |= ranking.span_measures(ranking.SPAN_CUTS, located.spans, hits)
    details = {"evidence": located.as_json()}
    if copies := _copies(located.judgements, kb.copies(as_=as_)):
        details["copies"] = copies
    return Measured(values, details=details)


def _copies(
    judgements: Mapping[str, Mapping[str, int]], copies: Sequence[tuple[str, ...]]
) -> dict[str, list[tuple[str, ...]]]:
    """Documents that stand there twice, of which a question's judgements find one relevant and another not."""
    group = {source: sources for sources in copies for source in sources}
    found = {}
    for id, judged in judgements.items():
        held = dict.fromkeys(group[source] for source, grade in judged.items() if grade > 0 and source in group)
        if apart := [sources for sources in held if any(judged.get(source, 0) <= 0 for source in sources)]:
            found[id] = apart
    return found


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
