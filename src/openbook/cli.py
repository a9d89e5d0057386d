"""The command line: the verbs of ``KnowledgeBase``, their output, and nothing else."""

from __future__ import annotations

import io
import json as json_
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import unquote

import typer

from openbook.errors import OpenbookError, QueryError, RecipeError
from openbook.knowledge_base import KnowledgeBase
from openbook.knowledge_base import open as open_
from openbook.types import Answer, Citation, Hit, Scalar

if TYPE_CHECKING:
    from openbook.evaluate import Report

app = typer.Typer(
    name="openbook",
    help="Answers from your own documents, with citations a reader can check.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Db = Annotated[str | None, typer.Option("--db", help="Folder or postgresql:// URL.", envvar="OPENBOOK_DB")]
Kb = Annotated[str | None, typer.Option("--kb", help="Name of the knowledge base.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
As = Annotated[list[str] | None, typer.Option("--as", help="Ask as this principal (repeatable); else as the owner.")]
Where = Annotated[str | None, typer.Option("--filter", "-f", help='Such as: lang = "en" and year >= 2020')]
Recipe = Annotated[Path | None, typer.Option("--recipe", help="TOML file; decides how a new knowledge base reads.")]
Query = Annotated[Path | None, typer.Option("--recipe", help="TOML file; its query half answers this question.")]


@app.callback(invoke_without_command=True)
def root(context: typer.Context, db: Db = None, kb: Kb = None) -> None:
    context.obj = {"db": db, "kb": kb}
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command()
def add(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(help="Files and folders.", metavar="SOURCE...")],
    include: Annotated[list[str] | None, typer.Option(help="Only paths that match this pattern.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No paths that match this pattern.")] = None,
    meta: Annotated[list[str] | None, typer.Option(help="key=value for every document (repeatable).")] = None,
    access: Annotated[list[str] | None, typer.Option(help="Principal that may read them; else as before.")] = None,
    keep_missing: Annotated[bool, typer.Option("--keep-missing", help="Keep documents whose file is gone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Drop even more than 30 % that is gone.")] = False,
    max_bytes: Annotated[int | None, typer.Option(help="Skip larger files; 50 MiB if not said.", min=1)] = None,
    recipe: Recipe = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Add files and folders, or bring them up to date."""
    from openbook.ingest import require

    require(sources)  # before a database is set up for nothing
    metadata = _metadata(meta or [])
    with _opened(context, db, kb, create=True, recipe=recipe) as base, _progress() as progress:
        done = base.add(
            *sources,
            include=include or (),
            exclude=exclude or (),
            metadata=metadata,
            access=access or None,
            keep_missing=keep_missing,
            yes=yes,
            max_bytes=max_bytes,
            progress=progress,
        )
    if json:
        _print_json(asdict(done))
    else:
        for skipped in done.skipped:
            _say(f"skipped {skipped.source}: {skipped.reason}")
        for note in done.notes:
            _say(f"note: {_file(note.source)} {note.note}")
        print(
            f"{done.added} added, {done.updated} updated, {done.unchanged} unchanged, {done.removed} removed,"
            f" {len(done.skipped)} skipped: {done.chunks} chunks, {done.embedded} embedded, in {done.seconds:.1f} s"
        )
    if done.skipped:
        raise typer.Exit(1)


@app.command()
def search(
    context: typer.Context,
    question: str,
    k: Annotated[int, typer.Option("-k", help="How many hits.", min=1)] = 10,
    filter: Where = None,
    as_: As = None,
    recipe: Query = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Find the passages that are nearest to a question."""
    with _opened(context, db, kb, query=recipe) as base:
        trace = base.search(question, k, filter=filter, as_=as_)
    if json:
        hits = [_hit(hit) for hit in trace.hits]
        _print_json({"release": trace.release, "trace": trace.id, "ms": dict(trace.ms), "hits": hits})
        return
    for rank, hit in enumerate(trace.hits, 1):
        stages = ", ".join(f"{name} {s.rank}" for name, s in hit.stages.items() if name != "fused")
        print(f"{rank:>2}. {_place(hit)}   {hit.score:.3f} ({stages})")
        print(f"    {_shortened(hit.chunk.text, 240)}\n")
    if not trace.hits:
        print("nothing found")
    _say(f"trace {trace.id}, {trace.ms['total']:.0f} ms")


@app.command()
def ask(
    context: typer.Context,
    question: str,
    llm: Annotated[
        str | None, typer.Option(help="openai:MODEL or anthropic:MODEL writes the answer.", envvar="OPENBOOK_LLM")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Server that speaks the model's protocol.", envvar="OPENBOOK_LLM_BASE_URL")
    ] = None,
    filter: Where = None,
    as_: As = None,
    recipe: Query = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Answer a question from the documents, with citations; or say that they do not hold the answer."""
    from openbook.generate import parse_llm

    model = parse_llm(llm, base_url=base_url) if llm else None
    with _opened(context, db, kb, query=recipe) as base:
        streamed = model is not None and not json and sys.stderr.isatty()
        answer = base.ask(question, filter=filter, as_=as_, llm=model, on_text=_stream if streamed else None)
        if streamed:
            _say("")
    assert answer.trace is not None
    if json:
        _print_json(_answer(answer))
        return
    if answer.abstained:
        print(f"I don't know: {_line(str(answer.reason))}.")
    elif model is None and base.recipe.query.generate.kind == "extractive":
        for number, citation in enumerate(answer.citations, 1):
            print(f"{_shortened(citation.quote, 2000)} [{number}]")
    else:
        print(_lines(answer.text))
    if answer.citations:
        print()
    for number, citation in enumerate(answer.citations, 1):
        print(f"[{number}] {_place(citation)}, characters {citation.start}-{citation.end}")
        if model is not None:
            print(f"    “{_shortened(citation.quote, 300)}”")
    _say(f"trace {answer.trace.id}, {answer.trace.ms['total']:.0f} ms")


@app.command("list")
def list_(context: typer.Context, as_: As = None, db: Db = None, kb: Kb = None, json: Json = False) -> None:
    """List the documents."""
    with _opened(context, db, kb) as base:
        documents = base.list(as_=as_)
    if json:
        _print_json({"documents": [{**d, "changed": d["changed"].isoformat()} for d in documents]})
        return
    for d in documents:
        path = d["metadata"].get("path", d["source"])
        print(f"{_line(str(path)):<48} {_line(d['title']):<40.40} v{d['version']:<3} {_line(' '.join(d['access']))}")


@app.command()
def show(
    context: typer.Context,
    source: Annotated[str | None, typer.Argument(help="Source, id or path of a document.")] = None,
    trace: Annotated[str | None, typer.Option(help="Show a trace instead.")] = None,
    version: Annotated[int | None, typer.Option(help="An earlier version of the document.", min=1)] = None,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Show a document, or with --trace everything that happened to a question."""
    if (source is None) == (trace is None):
        raise QueryError("name a document or a trace", do="openbook show SOURCE, or openbook show --trace ID")
    with _opened(context, db, kb) as base:
        if trace is not None:
            found = base.trace(trace, as_=as_)
            _print_json(found) if json else _print_trace(found)
            return
        document = base.show(str(source), version=version, as_=as_)
    if json:
        _print_json({**asdict(document), "hash": document.hash})
        return
    facts = {"source": document.source, "title": document.title, "access": " ".join(document.access)}
    for key, value in [*facts.items(), *document.metadata.items()]:
        print(f"{_line(key):<9} {_line(str(value))}")
    print(f"\n{_lines(document.text)}")


@app.command()
def remove(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(help="Sources, ids or paths of documents.", metavar="SOURCE...")],
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Hide documents from every search, at once."""
    with _opened(context, db, kb) as base:
        removed = base.remove(*sources)
    _print_json({"removed": removed}) if json else print(f"{removed} removed")


@app.command()
def status(context: typer.Context, as_: As = None, db: Db = None, kb: Kb = None, json: Json = False) -> None:
    """Say what the knowledge base holds and how it answers."""
    with _opened(context, db, kb) as base:
        found = base.status(as_=as_)
    if json:
        _print_json(found)
        return
    model = found["embedder"]
    print(f"knowledge base  {found['kb']} in {found['db']}")
    print(f"documents       {found['documents']} ({found['public']} of them public), {found['characters']} characters")
    print(f"chunks          {found['chunks']}")
    print(f"release         {found['release']} (recipe {found['recipe']})")
    print(f"embedder        {model['hash']}, {model['dimension']} dimensions")
    print(f"generator       {found['generator']}")


@app.command()
def evaluate(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="BEIR folder: queries.jsonl, qrels/test.tsv, corpus.jsonl.")],
    limit: Annotated[int | None, typer.Option(help="Ask the first N judged questions only.", min=1)] = None,
    split: Annotated[str, typer.Option(help="dev, test or all.")] = "all",
    recipe: Recipe = None,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Measure retrieval on a data set; a corpus of its own is indexed apart from your documents."""
    from openbook import evaluate as room

    if split not in ("dev", "test", "all"):
        raise QueryError(f"unknown split {split!r}", do="choose dev, test or all")
    dataset = room.read(folder)
    with _evaluated(context, dataset, db, kb, recipe) as base, _bar("asking") as advance:
        report = room.evaluate(base, dataset, split=split, limit=limit, as_=as_, progress=advance)  # type: ignore[arg-type]
    if json:
        _print_json(report.as_json())
    else:
        _print_report(report)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    from openbook import __version__

    _print_json({"version": __version__}) if json else print(__version__)


# --- opening ----------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(
    context: typer.Context,
    db: str | None,
    kb: str | None,
    *,
    create: bool = False,
    recipe: Path | None = None,
    query: Path | None = None,
) -> Iterator[KnowledgeBase]:
    from openbook.recipe import Recipe as Recipe_

    chosen = Recipe_.load(query) if query else None
    base = open_(
        db or context.obj["db"],
        kb or context.obj["kb"] or "default",
        recipe=Recipe_.load(recipe) if recipe else None,
        create=create,
        say=_say,
    )
    with base:
        if chosen is not None:
            base.recipe = base.recipe.model_copy(update={"query": chosen.query})
        yield base


@contextmanager
def _evaluated(
    context: typer.Context, dataset: Any, db: str | None, kb: str | None, recipe: Path | None
) -> Iterator[KnowledgeBase]:
    """The user's documents, or a knowledge base of the data set's own corpus, kept for the next time."""
    from openbook.evaluate import open_corpus
    from openbook.recipe import Recipe as Recipe_

    if dataset.corpus is None:
        with _opened(context, db, kb, recipe=recipe) as base:
            yield base
        return
    with open_corpus(dataset, Recipe_.load(recipe) if recipe else Recipe_(), say=_say) as base:
        with _progress() as progress:
            done = base.add(dataset.corpus, progress=progress)
        for skipped in done.skipped:
            _say(f"skipped {skipped.source}: {skipped.reason}")
        yield base


# --- printing ---------------------------------------------------------------------------------------------------------


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
        "citations": [
            {
                "document": c.document,
                "version": c.version,
                "source": c.source,
                "title": c.title,
                "heading": list(c.headings),
                "page": c.page,
                "start": c.start,
                "end": c.end,
                "quote": c.quote,
            }
            for c in answer.citations
        ],
        "invented": answer.invented,
        "usage": asdict(answer.usage),
    }


def _place(of: Hit | Citation) -> str:
    """Where something stands, as a person would say it: path, headings, page."""
    headings = of.chunk.headings if isinstance(of, Hit) else of.headings
    page = of.chunk.page if isinstance(of, Hit) else of.page
    parts = [_file(of.source).rsplit("/", 1)[-1], *headings]
    return _line(" › ".join(parts) + (f", page {page}" if page is not None else ""))


def _file(source: str) -> str:
    """A source as its owner would type it."""
    return _line(unquote(source.removeprefix("file://")) if source.startswith("file://") else source)


def _print_trace(trace: dict[str, Any]) -> None:
    print(f"question  {_line(trace['question'])}\nasked     {trace['created']}, release {trace['release']}")
    print("ms        " + ", ".join(f"{stage} {ms:.1f}" for stage, ms in trace["ms"].items()))
    if trace["filter"]:
        print(f"filter    {_line(trace['filter'])}")
    if "answer" in trace:
        answer = trace["answer"]
        print(f"answer    {'abstained: ' + _line(answer['reason']) if answer['abstained'] else 'given'}")
        for span in answer["citations"]:
            text = _shortened(span["text"] or "(gone)", 160)
            print(f"  cited   {_line(str(span['source']))} {span['start']}-{span['end']}: {text}")
    for rank, span in enumerate(trace["hits"], 1):
        stages = ", ".join(f"{name} {s['rank']} ({s['score']:.3f})" for name, s in span["stages"].items())
        print(f"{rank:>2}. {span['score']:.3f}  {_line(str(span['source']))} {span['start']}-{span['end']}  {stages}")
        print(f"    {_shortened(span['text'] or '(gone)', 160)}")


def _print_report(report: Report) -> None:
    print(f"{report.dataset}, split {report.split}, release {report.release}")
    for name, measure in report.measures.items():
        print(f"  {name:<12} {measure.value:.4f}   [{measure.low:.4f}, {measure.high:.4f}]   n = {measure.n}")
    print(f"  ms           p50 {report.ms['p50']:.1f}, p95 {report.ms['p95']:.1f}, p99 {report.ms['p99']:.1f}")
    if report.failed:
        _say(f"{len(report.failed)} questions failed and count 0: {', '.join(report.failed[:5])}")


def _print_json(value: dict[str, Any]) -> None:
    line = json_.dumps(value, ensure_ascii=False, default=str)
    try:
        line.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # half a surrogate pair out of a file name, or an output that is not UTF-8
        line = json_.dumps(value, default=str)
    print(line)


def _shortened(text: str, length: int) -> str:
    line = _line(text)
    return line if len(line) <= length else line[: length - 1].rsplit(" ", 1)[0] + "…"


def _line(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def _lines(text: str) -> str:
    """As it stands, but for the control characters that a terminal would obey; ``--json`` has them all."""
    return text.translate(_CONTROLS)


_CONTROLS = {c: "\ufffd" for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\n\t"}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _stream(text: str) -> None:
    print(_lines(text), end="", file=sys.stderr, flush=True)


def _metadata(pairs: list[str]) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """``key=value`` pairs; numbers and true/false are read as such, a key given twice has both values."""
    found: dict[str, tuple[Scalar, ...]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise QueryError("not key=value", where=f"--meta {pair}", do="write it as --meta team=hr")
        value: Scalar = text
        if text in ("true", "false"):
            value = text == "true"
        else:
            for number in (int, float):
                try:
                    if math.isfinite(read := number(text)):  # "nan" and "inf" are words
                        value = read
                    break
                except (ValueError, OverflowError):
                    continue
        found[key.strip()] = (*found.get(key.strip(), ()), value)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


@contextmanager
def _bar(what: str) -> Iterator[Any]:
    """A progress bar on standard error where a person is looking, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def _progress() -> Iterator[Any]:
    with _bar("adding") as advance:
        yield lambda p: advance(p.chunks, p.of_chunks) if p.of_chunks else advance(p.files, p.of_files)


# --- the program ------------------------------------------------------------------------------------------------------

_INTERRUPTED = 130
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]


def main() -> NoReturn:
    """Run the command line; every failure is one line and an exit status."""
    json = "--json" in sys.argv
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # what fails is told once, by us
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does
    try:
        code = app(standalone_mode=False) or 0  # the status of a typer.Exit is returned, and 130 for Ctrl-C
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
    except OpenbookError as error:
        code = 2 if isinstance(error, (QueryError, RecipeError)) else 1
        _fail(error.what, error.where, error.do, json)
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
        _fail("interrupted", "", "run it again; what was acknowledged is kept", json)
    except BrokenPipeError:
        code = 1
        sys.stderr.close()
    except _ClickError as error:
        code = 2
        _fail(error.format_message().rstrip(".?"), "", "openbook --help shows the verbs and their options", json)  # type: ignore[attr-defined]
    sys.exit(code)


def _fail(what: str, where: str, do: str, json: bool) -> None:
    error = OpenbookError(what, where=where, do=do)
    if json:
        _print_json({"error": {"what": error.what, "where": error.where, "do": error.do}})
    _say(f"openbook: {error}")


if __name__ == "__main__":
    main()
