"""A data set's questions are asked of a knowledge base, and every family of measures reads what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError, OpenbookError
from openbook.evaluate.datasets.dataset import Dataset, Question, Split
from openbook.evaluate.datasets.evidence import Located, locate
from openbook.evaluate.measures import abstention, adherence, answers, operations, ranking, safety
from openbook.evaluate.report import Asked, Measured, Outcome, Report, mean, settings_of
from openbook.generate import parse_llm, require_key

if TYPE_CHECKING:
    from openbook.evaluate.measures.adherence import StyleClassifier
    from openbook.evaluate.measures.judge import Judge
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import LanguageModel

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
    answers or unanswerable questions, or a ``judge`` or a ``style`` is given. Answers bring their own measures,
    ``attacks`` planted orders (0: none), and those of the ``judge`` and the ``style``; without answers, ``llm`` and
    ``attacks`` change nothing, and no ``llm`` is recorded. ``cold`` and ``freshness`` measure what takes a second or
    two.

    Raises:
        DatasetError: no question is left, nothing is known of any, a measure is unknown, or what the data set asks for
            makes no sense.
        ModelError: the embedding model, the judge or the language model's key is not there; a question that fails is
            counted instead.
        PriceError: a language model answers, and the price file cannot be read.
    """
    _ = kb.serving.retriever  # a model that is missing or another one is told, not counted as questions that failed
    chosen = dataset.select(split, limit)
    questions = chosen.questions
    depth = max((ranking.cut(name) for name in measures), default=1)
    if answered is None:
        asks = judge is not None or style is not None
        answered = asks or any(has_answer(question) for question in questions.values())
    if not answered and not any(question.judgements or question.evidence for question in questions.values()):
        raise _nothing_known(chosen)
    adherence.check(questions, style)
    llm = llm if answered else None  # who is not asked changes nothing
    if answered:
        operations.require_prices(kb.recipe, llm)
        require_key(operations.answering(kb.recipe, llm).query.generate)
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
        # What the generator was given: put together from the hits, and as much as there was room for.
        given = {
            id: replace(one, hits=one.answer.passages if one.answer is not None else one.hits)
            for id, one in outcomes.items()
        }
        # Documents by the names they have here, which are what citations name.
        named = {id: replace(q, judgements=located.judgements.get(id, {})) for id, q in questions.items()}
        families += [
            answers.measure(named, given, located.spans),
            abstention.measure(named, outcomes),
            adherence.measure(questions, outcomes, style),
            safety.measure(kb, questions, outcomes, n=attacks, llm=llm, as_=as_),
        ]
        if judge is not None:
            from openbook.evaluate.measures import faithfulness

            families.append(faithfulness.measure(questions, given, judge, context=kb.recipe.query.context))
    families.append(operations.measure(kb, questions, outcomes, llm=llm, cold=cold, freshness=freshness))
    per_question = {name: values for family in families for name, values in family.per_question.items() if values}
    totals = {name: measure for family in families for name, measure in family.totals.items()}
    details = {name: detail for family in families for name, detail in family.details.items()}
    if skipped := {id: outcome.not_reranked for id, outcome in outcomes.items() if outcome.not_reranked}:
        details["not_reranked"] = skipped  # measured as they were answered, which is not what the recipe says
    if plain := {id: outcome.not_adapted for id, outcome in outcomes.items() if outcome.not_adapted}:
        details["not_adapted"] = plain
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
        ms=_percentiles(details, outcomes),
        details=details,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        db=kb.database.where,
        settings={
            "limit": limit,
            "measures": list(measures),
            "answered": answered,
            "attacks": attacks,
            "llm": None if llm is None else settings_of(parse_llm(llm) if isinstance(llm, str) else llm),
            "judge": None if judge is None else settings_of(judge.part),
            "budget": None if judge is None else asdict(judge.budget),
            "style": None if style is None else {"file": style.where, "examples": style.hash},
            "as": None if as_ is None else sorted({as_} if isinstance(as_, str) else {*as_}),
            "kb": kb.name,
        },
    )


def has_answer(question: Question) -> bool:
    """Whether the data set tells how it is answered, or that it is not."""
    return bool(question.answers) or question.answerable is False or question.schema is not None


def _nothing_known(dataset: Dataset) -> DatasetError:
    what = "nothing is known of any question that could be measured: no answers, evidence or judgements"
    meant = "; ".join(f"was {name!r} meant to be {like!r}?" for name, like in dataset.unread.items() if like)
    others = ", ".join(name for name, like in dataset.unread.items() if not like)
    do = meant or "name a column answers, evidence or judgements" + (f" (not read: {others})" if others else "")
    return DatasetError(what, where=dataset.name, do=do)


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
    from openbook.asking import MOST_HITS

    start = time.perf_counter()
    try:
        # Timed as it is asked in earnest: as many hits as a generator reads.
        trace = kb.search(question.text, kb.serving.looked_at, as_=as_, record=False, raw=True)
        answer = kb.answer(trace, llm=llm) if answered else None
        trace = answer.trace if answer is not None and answer.trace is not None else trace
        hits, k = list(trace.hits), kb.serving.looked_at
        # Looked on, until as many documents are known as are measured: long ones crowd a list of chunks. What stood
        # first stays first, as whoever asks in earnest sees it: more candidates can change the order.
        while len(hits) >= k and k < MOST_HITS and len(ranking.documents(hits)) < depth:
            k = min(max(4 * k, kb.recipe.query.candidates), MOST_HITS)
            seen = {(hit.document, hit.chunk.start, hit.chunk.end) for hit in hits}
            more = kb.search(question.text, k, as_=as_, record=False, raw=True).hits
            hits += [hit for hit in more if (hit.document, hit.chunk.start, hit.chunk.end) not in seen]
    except OpenbookError as error:
        ms = {"total": round((time.perf_counter() - start) * 1000, 3)}
        return Outcome(question.id, ms=ms, error=str(error))
    kept = {"dataset": dataset, "question": question.id}
    kb.traces.record(replace(trace, hits=trace.hits[:KEPT_HITS], details={**trace.details, **kept}), answer)
    skipped, plain = trace.details.get("rerank", {}).get("skipped"), trace.details.get("adapter", {}).get("why")
    return Outcome(question.id, hits, answer, trace.ms, trace.id, not_reranked=skipped, not_adapted=plain)


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
        local_only=outcome.local_only,
    )


def _percentiles(details: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    """The warm ones of the whole pipeline, as the details tell them; where all questions failed, those of failing."""
    total = details["operations"]["latency"]["stages"].get("total")
    if total is None:
        total = operations.percentiles([outcome.ms["total"] for outcome in outcomes.values()])
    return {name: total[name]["value"] for name in operations.QUANTILES}
