"""A question in somebody's name, from what was typed to what is told: who may know what, and what is recorded.

Which release answers is the room of ``live``, how it does so that of ``serving``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from openbook.errors import OpenbookError, QueryError
from openbook.recipe import Extractive, LanguageModel, Off
from openbook.store.access import principals_of, without_statistics
from openbook.store.filter import Filter, parse
from openbook.types import Answer, Trace, Turn, storable

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase
    from openbook.serving import Serving
    from openbook.similar.written import WritingPlan

MOST_HITS = 10_000
"""Of one question: each comes with its text, and more is an export."""


def search(
    kb: KnowledgeBase,
    question: str,
    k: int,
    *,
    filter: str | Filter | None,
    history: Sequence[Turn | tuple[str, str]],
    as_: Sequence[str] | None,
    record: bool,
    raw: bool,
) -> Trace:
    """As ``KnowledgeBase.search``."""
    told = _overall(kb, question, filter, as_, k=k)
    trace = _search(kb, question, k, filter, as_, history)[1] if told is None else told[0]
    if record:
        kb.traces.record(trace)
    return trace if raw else _told(trace)


def ask(
    kb: KnowledgeBase,
    question: str,
    *,
    filter: str | Filter | None,
    history: Sequence[Turn | tuple[str, str]],
    clarify: bool,
    as_: Sequence[str] | None,
    llm: str | LanguageModel | None,
    on_text: Callable[[str], None] | None,
) -> Answer:
    """As ``KnowledgeBase.ask``."""
    start = time.perf_counter()
    if (told := _overall(kb, question, filter, as_, llm)) is not None:
        kb.traces.record(told[0], told[1])
        return replace(told[1], trace=_told(told[0]))
    serving, trace = _search(
        kb, question, None, filter, as_, history, since=start, writer=lambda serving: serving.writer(llm)
    )
    try:
        answer = None
        if clarify:
            trace, answer = serving.clarify(trace, serving.writer(llm), since=start)
        if answer is None:
            answer = serving.answer(trace, kb.documents, llm, on_text)
    except OpenbookError as error:
        kb.traces.record(replace(trace, details={**trace.details, "error": str(error)}))
        raise
    assert answer.trace is not None
    kb.traces.record(answer.trace, answer)
    shown = answer.passages if answer.trace.principals is None else without_statistics(answer.passages)
    return replace(answer, passages=tuple(shown), trace=_told(answer.trace))


def _search(
    kb: KnowledgeBase,
    question: str,
    k: int | None,
    filter: str | Filter | None,
    as_: Sequence[str] | None,
    history: Sequence[Turn | tuple[str, str]],
    *,
    since: float | None = None,
    writer: Callable[[Serving], Extractive | LanguageModel] | None = None,
) -> tuple[Serving, Trace]:
    if k is not None and not 1 <= k <= MOST_HITS:
        raise QueryError(f"k is {k}", do=f"ask for 1 to {MOST_HITS:,} hits")
    tree = parse(filter) if isinstance(filter, str) else filter
    turns: Sequence[Turn] = ()
    if history:
        from openbook.retrieve.transform.conversation import conversation

        turns = conversation(history)
    return kb.live.search(
        storable(question),
        k,
        principals_of(as_),
        tree,
        since=time.perf_counter() if since is None else since,
        history=turns,
        writer=writer,
    )


def _overall(
    kb: KnowledgeBase,
    question: str,
    filter: str | Filter | None,
    as_: Sequence[str] | None,
    llm: str | LanguageModel | None = None,
    *,
    k: int | None = None,
) -> tuple[Trace, Answer] | None:
    """The trace and the answer of a question that asks what all the documents are about, where the recipe has such
    questions answered from the themes; ``k``: only the trace is wanted, with so many hits."""
    query = kb.recipe.query
    if isinstance(query.themes, Off):
        return None
    from openbook.similar.overall import answer_of, asks_for_all, trace_of

    question = storable(question)
    if not asks_for_all(question) or (k is not None and not 1 <= k <= MOST_HITS):
        return None
    start = time.perf_counter()
    tree = parse(filter) if isinstance(filter, str) else filter
    writer = None if k is not None else llm or (query.generate if isinstance(query.generate, LanguageModel) else None)

    def is_allowed(plan: WritingPlan) -> bool:
        from openbook.generate.language_model import Allowance

        return not Allowance(query.budget.tokens, query.budget.dollars).lacks(plan.most)

    found = kb.themes(number=query.themes.number, depth=1, filter=tree, as_=as_, llm=writer, confirm=is_allowed)
    most = query.context if k is None else k
    told = None if tree is None else str(tree)
    trace = trace_of(found, question, max(most, len(found.themes)) if k is None else k, principals_of(as_), told, start)
    return trace, answer_of(found, trace)


def _told(trace: Trace) -> Trace:
    """A trace as who asked may know it: raw scores are the owner's."""
    return trace if trace.principals is None else replace(trace, hits=without_statistics(trace.hits))
