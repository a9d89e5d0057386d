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

from openbook.errors import NotFound, OpenbookError, QueryError, RecipeError
from openbook.knowledge_base import KnowledgeBase
from openbook.knowledge_base import open as open_
from openbook.types import Answer, Citation, Hit, Scalar

if TYPE_CHECKING:
    from openbook.evaluate.making import Made

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
        if done.unfamiliar is not None:
            _say(f"note: {done.unfamiliar}")
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
    for script, count in found["unfamiliar"].items():
        print(f"                does not know the language of {count} in {script} script: keyword search carries them")
    print(f"generator       {found['generator']}")


@app.command()
def evaluate(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="BEIR folder, JSONL, CSV, SQuAD, ragas or TREC file of questions.")],
    release: Annotated[str | None, typer.Option(help="The release that answers; your live one where not said.")] = None,
    split: Annotated[str, typer.Option(help="dev, test or all.")] = "all",
    limit: Annotated[int | None, typer.Option(help="Ask the first N judged questions only.", min=1)] = None,
    k: Annotated[list[int] | None, typer.Option("-k", "--k", help="Measure at this rank (repeatable).", min=1)] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements beside DATA, or the name of a folder's own.")] = None,
    run: Annotated[Path | None, typer.Option(help="Measure this TREC run; nothing is asked.")] = None,
    answers: Annotated[bool | None, typer.Option(help="Have the questions answered; where answers are known.")] = None,
    llm: Annotated[
        str | None, typer.Option(help="openai:MODEL or anthropic:MODEL writes the answers.", envvar="OPENBOOK_LLM")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Server that speaks the model's protocol.", envvar="OPENBOOK_LLM_BASE_URL")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="openai:MODEL or anthropic:MODEL judges faithfulness.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Server that speaks the judge's protocol.")] = None,
    style: Annotated[Path | None, typer.Option(help="JSONL of text and in_style: examples of the style.")] = None,
    attacks: Annotated[int | None, typer.Option(help="How many orders are planted; 0: none.", min=0)] = None,
    operations: Annotated[bool, typer.Option("--operations", help="Cold start and freshness, too.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page, too.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the report: for compare, prefer and check.")] = None,
    recipe: Recipe = None,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Measure retrieval and answers on a data set; a corpus of its own is indexed apart from your documents."""
    from openbook import evaluate as room
    from openbook.evaluate import adherence, ranking, sides
    from openbook.evaluate import html as pages
    from openbook.evaluate.dataset import SPLITS
    from openbook.generate import parse_llm

    if split not in SPLITS:
        raise QueryError(f"unknown split {split!r}", do="choose dev, test or all")
    if release is not None and recipe is not None:
        raise QueryError("a release and a recipe", do="name one of them")
    if run is not None and (release or recipe or judge or style or operations or as_):
        raise QueryError("a run is measured as it is, nothing is asked", do="leave out --run, or what says how to ask")
    _require_replaceable(html=html, out=out)
    dataset = room.read(data, qrels=qrels)
    examples = adherence.StyleClassifier.train(adherence.read_examples(style), where=str(style)) if style else None
    measures = ranking.names_at(k) if k else ranking.MEASURES
    if run is not None:
        asked = measures if k else ()
        report = sides.of_run(run, dataset.select(split, limit), measures, asked=asked, split=split, limit=limit)
    else:
        if release not in (None, sides.LIVE):
            with _opened(context, db, kb) as base:
                if base.release != release:
                    raise NotFound("no such release", where=str(release), do="openbook status tells the live one")
        apart = dataset.corpus is not None and release is None
        side = str(recipe) if recipe else sides.DEFAULT if apart else sides.LIVE
        where = {"db": db or context.obj["db"], "kb": kb or context.obj["kb"] or "default"}
        with (
            _bar("indexing") as indexed,
            sides.opened(side, sides.read(side), dataset, **where, say=_say, progress=indexed) as base,
            _bar("asking") as advance,
        ):
            report = room.evaluate(
                base,
                dataset,
                split=split,
                limit=limit,
                measures=measures,
                answered=answers,
                llm=parse_llm(llm, base_url=base_url) if llm else None,
                judge=room.Judge(parse_llm(judge, base_url=judge_url)) if judge else None,
                style=examples,
                cold=operations,
                freshness=operations,
                as_=as_,
                progress=advance,
                **({} if attacks is None else {"attacks": attacks}),
            )
    if out is not None:
        report.write(out)
    if html is not None:
        pages.write(html, pages.report_page(report))
    _print_json(report.as_json()) if json else print(_lines(report.text()))
    if report.failed:
        raise typer.Exit(1)


@app.command()
def prices(json: Json = False) -> None:
    """Print the prices that costs are counted by, with the day and the file of each."""
    from openbook.prices import prices as read
    from openbook.prices import usual_file

    known = read()
    if json:
        _print_json(known.as_json())
        return
    print("US dollars per million tokens          read   written   as of        said by")
    for model in known.models.values():
        print(f"{model.model:<34} {model.input:>8.2f}  {model.output:>8.2f}   {model.as_of}   {_line(model.source)}")
    print("\nUS dollars per unit")
    for rate in known.rates.values():
        span = f"{rate.low:,.2f}" if rate.low == rate.high else f"{rate.low:,.2f} to {rate.high:,.2f}"
        print(f"{rate.name:<16} {span:>20}   {rate.as_of}   {_line(rate.unit)}")
    own = known.files[1] if len(known.files) > 1 else f"none; write {usual_file()}"
    print(f"\npackaged  {known.files[0]}\nyour own  {own}")
    for note in known.notes():
        _say(f"note: {note}")


@app.command()
def prefer(
    a: Annotated[Path, typer.Argument(help="Report that openbook evaluate --json printed.", metavar="REPORT_A")],
    b: Annotated[Path, typer.Argument(help="Another one, of the same questions.", metavar="REPORT_B")],
    judge_name: Annotated[str | None, typer.Option(help="Who judges; else the name of this account.")] = None,
    out: Annotated[Path, typer.Option(help="Judgements are appended to this file.")] = Path("preferences.jsonl"),
    others: Annotated[list[Path] | None, typer.Option("--with", help="Count this file, too (repeatable).")] = None,
    n: Annotated[int | None, typer.Option("-n", help="Judge N questions, drawn by the seed.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Decides which questions, and which answer is shown first.")] = 0,
    judge: Annotated[str | None, typer.Option(help="openai:MODEL or anthropic:MODEL judges instead.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Server that speaks the judge's protocol.")] = None,
    json: Json = False,
) -> None:
    """Judge the answers of two reports side by side, without knowing whose they are."""
    from openbook.evaluate import judge as judging
    from openbook.evaluate import preference, read_report

    first, second = read_report(a), read_report(b)
    pairs, file = preference.pairs(first, second, n, seed), preference.Judgements(out)
    measured = None
    if judge is not None:
        from openbook.generate import parse_llm

        model = judging.Judge(parse_llm(judge, judge_url))
        model.ready()
        with _bar("judging") as advance:
            measured = judging.prefer_reports(pairs, first, second, model, file, advance)
    elif left := preference.judge_in_terminal(pairs, file, judge_name or _account(), lines=sys.stdin, seed=seed):
        _say(f"{left} left; the same command goes on there")
    read = [judgement for other in others or () for judgement in preference.Judgements(other).read(new=False)]
    done = preference.summary(pairs, [*file.read(), *read], seed=seed)
    if json:
        model_said = None if measured is None else measured.details["preference"]
        _print_json({"a": str(a), "b": str(b), "file": str(out), **done.as_json(), "judge": model_said})
        return
    print(f"A  {a}\nB  {b}")
    for line in (*done.lines(), *(() if measured is None else judging.lines(measured))):
        print(_line(line))


@app.command()
def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="live, default, a recipe (.toml), a report (JSON) or a TREC run.")],
    b: Annotated[str, typer.Argument(help="The candidate: any of these, too.")],
    data: Annotated[Path | None, typer.Argument(help="Data set; not needed for two reports.")] = None,
    split: Annotated[str | None, typer.Option(help="dev, test or all.")] = None,
    limit: Annotated[int | None, typer.Option(help="Ask the first N questions only.", min=1)] = None,
    k: Annotated[list[int] | None, typer.Option("-k", "--k", help="Measure at this rank (repeatable).", min=1)] = None,
    measure: Annotated[list[str] | None, typer.Option(help="Compare this measure only (repeatable).")] = None,
    primary: Annotated[str | None, typer.Option(help="The measure that decides; ndcg@10 if not said.")] = None,
    guard: Annotated[list[str] | None, typer.Option(help="Only this measure may stop a ship (repeatable).")] = None,
    worth: Annotated[float, typer.Option(help="The smallest gain of the primary measure worth having.", min=0)] = 0.0,
    qrels: Annotated[Path | None, typer.Option(help="Judgements beside DATA, or the name of a folder's own.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the comparison as a page, too.")] = None,
    as_: As = None,
    seed: Annotated[int, typer.Option(help="Decides which resamples are drawn.", min=0)] = 0,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Compare two pipelines on the same questions: ship, don't ship, or insufficient evidence."""
    from openbook import evaluate as room
    from openbook.evaluate import comparison, sides

    _require_replaceable(html=html)
    dataset = None if data is None else room.read(data, qrels=qrels)
    with _bar("comparing") as advance:
        reports = sides.measured(
            (a, b),
            dataset,
            split=split,  # type: ignore[arg-type]
            limit=limit,
            cuts=k or (),
            measures=[*(measure or ()), *([primary] if primary else ()), *(guard or ())],
            as_=as_,
            db=db or context.obj["db"],
            kb=kb or context.obj["kb"] or "default",
            say=_say,
            progress=advance,
        )
    found = comparison.compare(
        *reports, names=(a, b), measures=measure, primary=primary, guards=guard, worth=worth, seed=seed
    )
    if html is not None:
        from openbook.evaluate import html as pages

        pages.write(html, pages.comparison_page(found))
    _print_json(found.as_json()) if json else print(_lines(found.text()))
    if any(report.failed for report in reports):
        raise typer.Exit(1)


@app.command()
def check(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="The data set that the baseline was measured on.")],
    baseline: Annotated[Path, typer.Option(help="Report that openbook evaluate --json printed.")],
    measure: Annotated[list[str] | None, typer.Option(help="Watch this measure only (repeatable).")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="measure=drop that may be (repeatable).")] = None,
    slower: Annotated[float | None, typer.Option(help="Fail where p95 is more than so many times the former.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements beside DATA, or the name of a folder's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep this run's report; it can be the next baseline.")] = None,
    recipe: Recipe = None,
    seed: Annotated[int, typer.Option(help="Decides which resamples are drawn.", min=0)] = 0,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Fail, with what became worse, where a pipeline answers worse than its baseline did."""
    from openbook import evaluate as room
    from openbook.evaluate import gate, sides

    _require_replaceable(out=out)
    former, dataset = room.read_report(baseline), room.read(data, qrels=qrels)
    watched: dict[str, Any] = {"measures": measure, "allow": gate.allowed(allow or []), "slower": slower, "seed": seed}
    gate.check(former, former, **watched)  # what makes no sense is refused before anything is asked
    with _bar("checking") as advance:
        now = sides.again(
            former,
            dataset,
            None if recipe is None else str(recipe),
            db=db or context.obj["db"],
            kb=kb or context.obj["kb"] or "default",
            say=_say,
            progress=advance,
        )
    if out is not None:
        now.write(out)
    found = gate.check(now, former, **watched)
    _print_json(found.as_json()) if json else print(_lines(found.text()))
    if not found.ok:
        raise typer.Exit(1)


@app.command()
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
    with _opened(context, db, kb) as base:
        said = base.feedback(trace, verdict, hit=hit, as_=as_)
    about = "" if said.hit is None else f", hit {said.hit}"
    _print_json(asdict(said)) if json else print(f"noted: {_line(said.answer or said.verdict)}{about}")


dataset = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
app.add_typer(dataset, name="dataset")

Out = Annotated[Path, typer.Argument(help="File to make; one that exists is not overwritten.", metavar="OUT.jsonl")]
Shares = Annotated[str, typer.Option("--split", help="Shares of the documents, such as train=0.6,dev=0.2,test=0.2.")]
By = Annotated[str | None, typer.Option(help="Sample by this metadata field; else by folder.")]
Seed = Annotated[int, typer.Option(help="Decides what is drawn.", min=0)]


@dataset.callback(invoke_without_command=True)
def dataset_root(context: typer.Context) -> None:
    """Make data sets to evaluate with, and check them."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@dataset.command("from-feedback")
def dataset_from_feedback(
    context: typer.Context,
    out: Out,
    split: Shares = "dev=0.5,test=0.5",
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Make questions of what people said of answers; those that need an answer go to a sheet beside it."""
    from openbook.evaluate import making

    shares = making.read_shares(split)
    sheet = making.new_file(out).with_name(f"{out.stem}.to-annotate.jsonl")
    making.new_file(sheet)
    with _opened(context, db, kb) as base, _bar("reading") as advance:
        made = making.from_feedback(base, as_=as_, shares=shares, progress=advance)
    _made(made, out, sheet if made.to_annotate else None, json)


@dataset.command("sample")
def dataset_sample(
    context: typer.Context,
    out: Out,
    n: Annotated[int, typer.Option("-n", help="How many passages.", min=1)] = 50,
    seed: Seed = 0,
    by: By = None,
    split: Shares = "dev=0.5,test=0.5",
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Draw passages for people to write questions to: a sheet for openbook dataset annotate, or any editor."""
    from openbook.evaluate import making
    from openbook.evaluate import sheet as sheets

    shares = making.read_shares(split)
    making.new_file(out)
    with _opened(context, db, kb) as base, _bar("reading") as advance:
        rows = sheets.sample(base, n, seed=seed, by=by, as_=as_, shares=shares, progress=advance)
    sheets.write_sheet(rows, out)
    sources = {passage.source for row in rows for passage in row.passages}
    if json:
        _print_json({"file": str(out), "passages": len(rows), "documents": len(sources)})
        return
    print(f"{len(rows)} passages of {len(sources)} documents: {out}\nopenbook dataset annotate {out}")


@dataset.command("annotate")
def dataset_annotate(
    sheet: Annotated[Path, typer.Argument(help="Sheet that sample or from-feedback made.")],
    out: Annotated[Path | None, typer.Option(help="The data set; SHEET-questions.jsonl if not said.")] = None,
    json: Json = False,
) -> None:
    """Ask for questions and answers, passage by passage; what is filled becomes a data set. It goes on where it was."""
    from openbook.evaluate import formats
    from openbook.evaluate import sheet as sheets

    path = out or sheet.with_name(f"{sheet.stem}-questions.jsonl")
    _require_folder(path)
    rows = sheets.annotate(sheet, lines=sys.stdin)
    made = sheets.questions_of(rows, path.stem)
    if made.questions:
        formats.write_jsonl(made, path)
    told = {
        "sheet": str(sheet),
        "file": str(path) if made.questions else None,
        "questions": len(made.questions),
        "skipped": sum(row.skipped for row in rows),
        "left": sum(not row.is_done for row in rows),
    }
    if json:
        _print_json(told)
        return
    where = f": {path}" if told["file"] else ""
    print(f"{told['questions']} questions, {told['skipped']} skipped, {told['left']} left{where}")


@dataset.command("write")
def dataset_write(
    context: typer.Context,
    out: Out,
    n: Annotated[int, typer.Option("-n", help="How many questions.", min=1)] = 100,
    llm: Annotated[
        str | None, typer.Option(help="openai:MODEL or anthropic:MODEL writes; else rules do.", envvar="OPENBOOK_LLM")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Server that speaks the model's protocol.", envvar="OPENBOOK_LLM_BASE_URL")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="US dollars that the model may use.", min=0)] = None,
    calls: Annotated[int | None, typer.Option(help="Calls that the model may be asked.", min=1)] = None,
    unanswerable: Annotated[float, typer.Option(help="Share of questions without an answer.", min=0, max=1)] = 0.1,
    seed: Seed = 0,
    by: By = None,
    split: Shares = "dev=0.5,test=0.5",
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Write questions from the documents, by rules or with a language model, each with the passage that answers it."""
    from openbook.evaluate import making, writing
    from openbook.evaluate.judge import Budget
    from openbook.generate import parse_llm

    shares = making.read_shares(split)
    making.new_file(out)
    with _opened(context, db, kb) as base, _bar("writing") as advance:
        made = writing.write(
            base,
            n,
            llm=parse_llm(llm, base_url=base_url) if llm else None,
            budget=Budget(calls=calls, dollars=budget),
            unanswerable=unanswerable,
            seed=seed,
            by=by,
            as_=as_,
            shares=shares,
            progress=advance,
        )
    _made(made, out, None, json)


@dataset.command("check")
def dataset_check(
    files: Annotated[list[Path], typer.Argument(help="Data sets.", metavar="FILE...")],
    against: Annotated[list[Path] | None, typer.Option(help="What something was trained on (repeatable).")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help='Kind of leak that may be: question, "near question", passage or document (repeatable).'),
    ] = None,
    json: Json = False,
) -> None:
    """Find what makes a data set lie: leaks between splits and files, duplicates, contradictions. Fails on leaks."""
    from openbook import evaluate as room
    from openbook.evaluate import checking

    found = checking.check([room.read(f) for f in files], [room.read(f) for f in against or ()], allow=allow or ())
    if json:
        _print_json(found.as_json())
    else:
        for line in found.lines():
            print(_lines(line))
    if not found.ok:
        raise typer.Exit(1)


def _made(made: Made, out: Path, sheet: Path | None, json: bool) -> None:
    """Write a data set that was made, and say what is in it."""
    from openbook.evaluate import formats
    from openbook.evaluate import sheet as sheets

    if made.dataset.questions:
        formats.write_jsonl(made.dataset, out)
    if sheet is not None:
        sheets.write_sheet(made.to_annotate, sheet)
    file = str(out) if made.dataset.questions else None
    if json:
        _print_json({"file": file, "sheet": None if sheet is None else str(sheet), **made.as_json()})
    else:
        for line in made.lines():
            print(_line(line))
        print("\n".join([*([file] if file else []), *([f"openbook dataset annotate {sheet}"] if sheet else [])]))
    if not made.dataset.questions and sheet is None:
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


def _require_folder(*paths: Path | None) -> None:
    """Before the work is done for nothing. Raises: QueryError: there is no folder for one of these files."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise QueryError("no such folder", where=str(path.absolute().parent), do="make it, or name another")


def _require_replaceable(html: Path | None = None, out: Path | None = None) -> None:
    """A page replaces a page and a report a report, nothing else: a data set named by mistake is not lost.

    Raises: QueryError.
    """
    _require_folder(html, out)
    for path, start, what in ((html, b"<!doctype html>", "page"), (out, b'{"dataset"', "report")):
        if path is not None and path.exists():
            try:
                with path.open("rb") as file:
                    own = file.read(len(start)) in (start, b"")
            except OSError:
                own = False
            if not own:
                raise QueryError(f"exists already and is no {what}", where=str(path), do="name another file")


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
    for said in trace["feedback"]:
        about = "" if said["hit"] is None else f" (hit {said['hit']})"
        print(f"feedback  {_line(said['answer'] or said['verdict'])}{about}")
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


def _account() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "somebody"


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
