"""Questions: passages found, answers with citations, and what people say of them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from openbook.cli.opening import As, BaseUrl, Db, Json, Kb, Query, Where, opened, refuse_idle
from openbook.cli.printing import (
    TRANSFORMS,
    counted,
    file_name,
    making,
    missing,
    narrowing,
    one_line,
    print_json,
    say,
    shortened,
    stream,
    transforming,
)
from openbook.errors import QueryError
from openbook.types import Answer, Citation, Clarification, Hit, Trace, printable

Said = Annotated[
    Path | None, typer.Option("--history", help="What was said before: a JSON line with role and content a turn.")
]


def search(
    context: typer.Context,
    question: str,
    k: Annotated[int, typer.Option("-k", help="How many hits.", min=1)] = 10,
    filter: Where = None,
    history: Said = None,
    as_: As = None,
    recipe: Query = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Find the passages that are nearest to a question."""
    turns = _turns(history)
    with opened(context, db, kb, query=recipe) as base:
        trace = base.search(question, k, filter=filter, history=turns, as_=as_)
    if json:
        hits = [_hit(hit) for hit in trace.hits]
        found = {"release": trace.release, "trace": trace.id, "ms": dict(trace.ms), "hits": hits}
        print_json({**found, **_transformed(trace), **_adapted(trace), **_narrowed(trace), **_made(trace)})
        return
    for rank, hit in enumerate(trace.hits, 1):
        stages = ", ".join(f"{name} {s.rank}" for name, s in hit.stages.items() if name != "fused")
        print(f"{rank:>2}. {_place(hit)}   {hit.score:.3f} ({stages})")
        print(f"    {shortened(hit.chunk.text, 240)}")
        for other in hit.also:
            print(f"    also in {_place(other)}")
        print()
    if not trace.hits:
        print("nothing found")
    _say_transformed(trace)
    _say_of_models(trace)
    _say_narrowed(trace)
    _say_made(trace)
    say(f"trace {trace.id}, {trace.ms['total']:.0f} ms")


def ask(
    context: typer.Context,
    question: str,
    llm: Annotated[
        str | None, typer.Option(help="openai:MODEL or anthropic:MODEL writes the answer.", envvar="OPENBOOK_LLM")
    ] = None,
    base_url: BaseUrl = None,
    filter: Where = None,
    history: Said = None,
    clarify: Annotated[
        bool, typer.Option("--clarify", help="Ask back where the hits answer several readings of the question.")
    ] = False,
    as_: As = None,
    recipe: Query = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Answer a question from the documents, with citations; or say that they do not hold the answer."""
    from openbook.generate import parse_llm

    if not llm:
        refuse_idle(context, "an address, and no model", "give --llm, too", "base_url")
    model = parse_llm(llm, base_url=base_url) if llm else None
    turns = _turns(history)
    with opened(context, db, kb, query=recipe) as base:
        streamed = model is not None and not json and sys.stderr.isatty()
        heard = stream if streamed else None
        answer = base.ask(question, filter=filter, history=turns, clarify=clarify, as_=as_, llm=model, on_text=heard)
        if streamed:
            say("")
    assert answer.trace is not None
    if json:
        print_json(_answer(answer))
        return
    if answer.clarification is not None:
        print(one_line(answer.clarification.question))
        for number, choice in enumerate(answer.clarification.choices, 1):
            print(f"  {number}. {one_line(choice.text)}   ({_place(choice.citation)})")
    elif answer.abstained:
        print(f"I don't know: {one_line(str(answer.reason))}.")
    elif "themes" not in answer.trace.details and model is None and base.recipe.query.generate.kind == "extractive":
        for number, citation in enumerate(answer.citations, 1):
            print(f"{shortened(citation.quote, 2000)} [{number}]")
    else:
        print(printable(answer.text))
    if answer.citations:
        print()
    for number, citation in enumerate(answer.citations, 1):
        print(f"[{number}] {_place(citation)}, characters {citation.start}-{citation.end}")
        for other in citation.also:
            print(f"    also in {_place(other)}, characters {other.start}-{other.end}")
        if model is not None:
            print(f"    “{shortened(citation.quote, 300)}”")
    for one in answer.disagreements:
        print("\nthese disagree:")
        for place, date in zip((one.older, one.newer), one.dates, strict=True):
            print(f"    {one_line(date) or 'current'}: “{shortened(place.quote, 300)}” ({_place(place)})")
    _say_transformed(answer.trace)
    _say_of_models(answer.trace)
    if withheld := answer.trace.details.get("withheld", {}).get("generate"):
        say(f"not sent to the model, which is remote: {counted(len(withheld), 'local-only passage')}")
    _say_narrowed(answer.trace)
    _say_made(answer.trace)
    if "themes" in answer.trace.details:
        say("answered from the themes of all documents (openbook themes)")
    elif answer.abstained:
        from openbook.similar.overall import asks_for_all  # not needed for an answer

        if asks_for_all(question):
            say("this asks for all documents: see openbook themes")
    say(f"trace {answer.trace.id}, {answer.trace.ms['total']:.0f} ms")


def feedback(
    context: typer.Context,
    trace: Annotated[str, typer.Argument(help="Trace that ask or search printed.")],
    verdict: Annotated[str, typer.Argument(help='up, down, or a "better answer".', metavar='up|down|"BETTER ANSWER"')],
    hit: Annotated[int | None, typer.Option(help="The passage that is meant, by its rank.", min=1)] = None,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Say how good an answer was; openbook dataset from-feedback makes questions of it."""
    with opened(context, db, kb) as base:
        said = base.feedback(trace, verdict, hit=hit, as_=as_)
    about = "" if said.hit is None else f", hit {said.hit}"
    print_json(asdict(said)) if json else print(f"noted: {one_line(said.answer or said.verdict)}{about}")


def traces(
    context: typer.Context,
    days: Annotated[int | None, typer.Option("--days", metavar="N", help="Keep them for N days from now on.")] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Keep them for ever.")] = False,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Say for how long traces are kept, or change it; those with feedback always are."""
    if days is not None and forever:
        raise QueryError("both --days and --forever", do="choose one")
    with opened(context, db, kb) as base:
        gone = base.keep_traces(days) if days is not None or forever else 0
        kept = base.traces.days()
    if json:
        print_json({"trace_days": kept, "deleted": gone})
    else:
        deleted = f"; {gone} were older and are deleted" if gone else ""
        print(f"traces are kept {'for ever' if kept is None else f'for {kept} days'}{deleted}")


def _say_of_models(trace: Trace) -> None:
    """What a reader would not expect of the order of the hits."""
    if why := trace.details.get("adapter", {}).get("why"):
        say(f"note: without the query adapter: {one_line(why)}")
    told = trace.details.get("rerank", {})
    if skipped := told.get("skipped"):
        say(f"note: not reranked: {one_line(skipped)}")
    elif withheld := told.get("withheld"):
        say(f"not sent to the reranker, which is remote: {counted(withheld, 'local-only passage')}")


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "document": hit.document,
        "version": hit.version,
        "source": hit.source,
        "title": hit.title,
        "heading": list(hit.chunk.headings),
        "page": hit.chunk.page,
        "start": hit.chunk.start,
        "end": hit.chunk.end,
        "text": hit.chunk.text,
        "score": hit.score,
        "stages": {name: {"rank": stage.rank, "score": stage.score} for name, stage in hit.stages.items()},
        "metadata": dict(hit.metadata),
        "local_only": hit.local_only,
        "context": hit.chunk.context,
        "found": None if hit.found is None else list(hit.found),
        "also": [_hit(one) for one in hit.also],
    }


def _answer(answer: Answer) -> dict[str, Any]:
    trace = answer.trace
    assert trace is not None
    return {
        "release": trace.release,
        "trace": trace.id,
        "ms": dict(trace.ms),
        "answer": answer.text,
        "abstained": answer.abstained,
        "reason": answer.reason,
        "confidence": answer.confidence,
        "citations": [citation_json(c) for c in answer.citations],
        "disagreements": [
            {"older": citation_json(one.older), "newer": citation_json(one.newer), "dates": list(one.dates)}
            for one in answer.disagreements
        ],
        "invented": answer.invented,
        "withheld": trace.details.get("withheld", {}),
        "usage": asdict(answer.usage),
        "clarification": _asked_back(answer.clarification),
        **_transformed(trace),
        **_made(trace),
        **_narrowed(trace),
        **_adapted(trace),
        **({"themes": trace.details["themes"]} if "themes" in trace.details else {}),
    }


def _adapted(trace: Trace) -> dict[str, Any]:
    """Whether the question went through the query adapter, where there is one."""
    return {"adapter": trace.details["adapter"]} if "adapter" in trace.details else {}


def _asked_back(clarification: Clarification | None) -> dict[str, Any] | None:
    if clarification is None:
        return None
    choices = [{"text": choice.text, "citation": citation_json(choice.citation)} for choice in clarification.choices]
    return {"question": clarification.question, "choices": choices}


def citation_json(c: Citation) -> dict[str, Any]:
    return {
        "document": c.document,
        "version": c.version,
        "source": c.source,
        "title": c.title,
        "heading": list(c.headings),
        "page": c.page,
        "start": c.start,
        "end": c.end,
        "quote": c.quote,
        "also": [citation_json(other) for other in c.also],
    }


def _transformed(trace: Trace) -> dict[str, Any]:
    """What was made of the question before it was looked for, where its recipe has that done."""
    return {name: trace.details[name] for name in TRANSFORMS if name in trace.details}


def _say_transformed(trace: Trace) -> None:
    for line in transforming(trace.details):
        say(line)


def _narrowed(trace: Trace) -> dict[str, Any]:
    """What the question was narrowed by, where its recipe has it read for filters; and what a filter names that no
    document has."""
    told = {name: trace.details[name] for name in ("filters", "unknown_fields") if name in trace.details}
    return {"filter": trace.filter, **told} if told else {}


def _made(trace: Trace) -> dict[str, Any]:
    """What the question was made into, where there was something to make of it, and what models were asked for it."""
    return {key: trace.details[key] for key in ("standalone", "queries", "calls") if key in trace.details}


def _say_made(trace: Trace) -> None:
    for line in making(trace.question, trace.details):
        say(line)


def _turns(history: Path | None) -> list[tuple[str, str]]:
    if history is None:
        return []
    from openbook.retrieve.transform.conversation import read_conversation

    return read_conversation(history)


def _say_narrowed(trace: Trace) -> None:
    for line in missing(trace.details):
        say(line)
    for line in narrowing(trace.details["filters"], whole=False) if "filters" in trace.details else ():
        say(line)


def _place(of: Hit | Citation) -> str:
    """Where something stands, as a person would say it: path, headings, page."""
    headings = of.chunk.headings if isinstance(of, Hit) else of.headings
    page = of.chunk.page if isinstance(of, Hit) else of.page
    parts = [file_name(of.source).rsplit("/", 1)[-1], *headings]
    return one_line(" › ".join(parts) + (f", page {page}" if page is not None else ""))
