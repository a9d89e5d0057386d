"""Measuring: reports, comparisons, the gate, people's preferences, and the prices that costs are counted by."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.opening import (
    As,
    BaseUrl,
    Db,
    Json,
    Kb,
    opened,
    questions_of,
    refuse_idle,
    require_replaceable,
    require_there,
    typed,
)
from openbook.cli.printing import bar, one_line, print_json, say
from openbook.errors import QueryError
from openbook.types import printable

if TYPE_CHECKING:
    from openbook.evaluate import Judge, StyleClassifier


def evaluate(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="BEIR folder, JSONL, CSV, SQuAD, ragas or TREC file of questions.")],
    release: Annotated[str | None, typer.Option(help="The release that answers; your live one where not said.")] = None,
    split: Annotated[str, typer.Option(help="dev, test or all.")] = "all",
    limit: Annotated[int | None, typer.Option(help="Ask the first N judged questions only.", min=1)] = None,
    k: Annotated[list[int] | None, typer.Option("-k", "--k", help="Measure at this rank (repeatable).", min=1)] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements beside DATA, or the name of a folder's own.")] = None,
    run: Annotated[Path | None, typer.Option(help="Measure this TREC run; nothing is asked.")] = None,
    answers: Annotated[
        bool | None,
        typer.Option(help="Have the questions answered; if not said, where answers are known or --llm is given."),
    ] = None,
    llm: Annotated[
        str | None, typer.Option(help="openai:MODEL or anthropic:MODEL writes the answers.", envvar="OPENBOOK_LLM")
    ] = None,
    base_url: BaseUrl = None,
    judge: Annotated[str | None, typer.Option(help="openai:MODEL or anthropic:MODEL judges faithfulness.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Server that speaks the judge's protocol.")] = None,
    style: Annotated[Path | None, typer.Option(help="JSONL of text and in_style: examples of the style.")] = None,
    attacks: Annotated[int | None, typer.Option(help="How many orders are planted; 0: none.", min=0)] = None,
    operations: Annotated[bool, typer.Option("--operations", help="Cold start and freshness, too.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page, too.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the report: for compare, prefer and check.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="TOML file: this recipe answers; on a copy where it indexes otherwise.")
    ] = None,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Measure retrieval and answers on a data set; a corpus of its own is indexed apart from your documents."""
    from openbook import evaluate as room
    from openbook.evaluate import sides
    from openbook.evaluate.datasets.dataset import SPLITS
    from openbook.evaluate.measures import ranking
    from openbook.evaluate.pages import html as pages
    from openbook.generate import parse_llm

    if split not in SPLITS:
        raise QueryError(f"unknown split {split!r}", do="choose dev, test or all")
    if release is not None and recipe is not None:
        raise QueryError("a release and a recipe", do="name one of them")
    if run is not None and (release or recipe or judge or style or operations or as_):
        raise QueryError("a run is measured as it is, nothing is asked", do="leave out --run, or what says how to ask")
    if run is not None:
        why, do = "a run is measured as it is, nothing is answered", "leave it away"
        refuse_idle(context, why, do, "answers", "llm", "base_url", "judge_url", "attacks")
    if answers is False:
        refuse_idle(context, "nothing is answered", "leave --no-answers away", "llm", "judge", "style", "attacks")
    if llm is None:
        refuse_idle(context, "an address, and no model", "give --llm, too", "base_url")
    if judge is None:
        refuse_idle(context, "an address, and no model", "give --judge, too", "judge_url")
    require_replaceable(html=html, out=out)
    require_there(data, run, style)
    if run is not None:
        refuse_idle(context, "a run is measured as it is, nothing is asked", "leave it away", "db", "kb")
    model = parse_llm(llm, base_url=base_url) if llm else None
    judged_by = _judge(judge, judge_url)
    if answers is None and (typed(context, "llm") or attacks):
        answers = True  # who names a model, or has orders planted, means that there are answers
    dataset = questions_of(data, qrels)
    examples = _style(style)
    measures = ranking.names_at(k) if k else ranking.MEASURES
    if run is not None:
        asked = measures if k else ()
        report = sides.of_run(run, dataset.select(split, limit), measures, asked=asked, split=split, limit=limit)
    else:
        apart = dataset.corpus is not None and release is None
        side = str(recipe) if recipe else sides.DEFAULT if apart else release or sides.LIVE
        asks = release if release not in (None, sides.LIVE) else sides.read(side)
        where = {"db": db or context.obj["db"], "kb": kb or context.obj["kb"] or "default"}
        with (
            bar("indexing") as indexed,
            sides.opened(side, asks, dataset, **where, say=say, progress=indexed) as base,
            bar("asking") as advance,
        ):
            report = room.evaluate(
                base,
                dataset,
                split=split,
                limit=limit,
                measures=measures,
                answered=answers,
                llm=model,
                judge=judged_by,
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
    print_json(report.as_json()) if json else print(printable(report.text()))
    if skipped := report.details.get("not_reranked"):
        say(f"note: {len(skipped)} questions were not reranked: {one_line(next(iter(skipped.values())))}")
    if plain := report.details.get("not_adapted"):
        say(f"note: {len(plain)} questions went without the query adapter: {one_line(next(iter(plain.values())))}")
    if report.failed:
        raise typer.Exit(1)


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
    """Compare two pipelines on the same questions: ship, don't ship, or insufficient evidence.

    What "live" and a release come to is kept with the release: release promote --require-report asks for it.
    """
    from openbook.evaluate import comparison, sides

    require_replaceable(html=html)
    require_there(data)
    if data is None:
        refuse_idle(context, "judgements, and no data set that they judge", "name it after A and B", "qrels")
    dataset = None if data is None else questions_of(data, qrels)
    with bar("comparing") as advance:
        reports = sides.measured(
            (a, b),
            dataset,
            split=split,  # type: ignore[arg-type]
            limit=limit,
            cuts=k or (),
            measures=measure or (),
            named=[*([primary] if primary else ()), *(guard or ())],
            as_=as_,
            db=db or context.obj["db"],
            kb=kb or context.obj["kb"] or "default",
            say=say,
            progress=advance,
        )
    found = comparison.compare(
        *reports, names=(a, b), measures=measure, primary=primary, guards=guard, worth=worth, seed=seed
    )
    if html is not None:
        from openbook.evaluate.pages import html as pages

        pages.write(html, pages.comparison_page(found))
    if a == sides.LIVE and isinstance(sides.read(b), str):
        with opened(context, db, kb) as base:
            own = dataset is None or dataset.corpus is None  # else the release of a corpus, indexed apart
            base.keep_report(b, found.kept(found.a.report.release if own else base.release))
    print_json(found.as_json()) if json else print(printable(found.text()))
    if any(report.failed for report in reports):
        raise typer.Exit(1)


def check(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="The data set that the baseline was measured on.")],
    baseline: Annotated[Path, typer.Option(help="What must not get worse: a report of evaluate DATA --out FILE.")],
    measure: Annotated[list[str] | None, typer.Option(help="Watch this measure only (repeatable).")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="measure=drop that may be (repeatable).")] = None,
    slower: Annotated[float | None, typer.Option(help="Fail where p95 is more than so many times the former.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements beside DATA, or the name of a folder's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep this run's report; it can be the next baseline.")] = None,
    judge: Annotated[str | None, typer.Option(help="Judges again, where the baseline does not tell how.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Server that speaks the judge's protocol.")] = None,
    style: Annotated[Path | None, typer.Option(help="The baseline's examples of the style, if they moved.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML file: check this recipe in the place of yours.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which resamples are drawn.", min=0)] = 0,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Fail, with what became worse, where a pipeline answers worse than its baseline did."""
    from openbook import evaluate as room
    from openbook.evaluate import gate, sides

    require_replaceable(out=out)
    require_there(data, baseline, style)
    if judge is None:
        refuse_idle(context, "an address, and no model", "give --judge, too", "judge_url")
    former, dataset = room.read_report(baseline), questions_of(data, qrels)
    watched: dict[str, Any] = {"measures": measure, "allow": gate.allowed(allow or []), "slower": slower, "seed": seed}
    gate.check(former, former, **watched)  # what makes no sense is refused before anything is asked
    with bar("checking") as advance:
        now = sides.again(
            former,
            dataset,
            None if recipe is None else str(recipe),
            watched=[*measure, *watched["allow"]] if measure else (),
            judge=_judge(judge, judge_url),
            style=_style(style),
            db=db or context.obj["db"],
            kb=kb or context.obj["kb"] or "default",
            say=say,
            progress=advance,
        )
    if out is not None:
        now.write(out)
    found = gate.check(now, former, **watched)
    print_json(found.as_json()) if json else print(printable(found.text()))
    if not found.ok:
        raise typer.Exit(1)


def prefer(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(help="Report that openbook evaluate DATA --out FILE kept.", metavar="REPORT_A")],
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
    from openbook.evaluate import Judge, read_report
    from openbook.evaluate.measures import prefer as by_model
    from openbook.evaluate.measures import preference

    require_there(a, b, *(others or ()))
    if judge is None:
        refuse_idle(context, "an address, and no model", "give --judge, too", "judge_url")
    else:
        refuse_idle(context, "a model judges, by its own name", "leave it or --judge away", "judge_name")
    first, second = read_report(a), read_report(b)
    pairs, file = preference.pairs(first, second, n, seed), preference.Judgements(out)
    measured = None
    if judge is not None:
        from openbook.generate import parse_llm

        model = Judge(parse_llm(judge, judge_url))
        model.ready()
        with bar("judging") as advance:
            measured = by_model.prefer_reports(pairs, first, second, model, file, advance)
    elif left := preference.judge_in_terminal(pairs, file, judge_name or _account(), lines=sys.stdin, seed=seed):
        say(f"{left} left; the same command goes on there")
    read = [judgement for other in others or () for judgement in preference.Judgements(other).read(new=False)]
    done = preference.summary(pairs, [*file.read(), *read], seed=seed)
    if json:
        model_said = None if measured is None else measured.details["preference"]
        print_json({"a": str(a), "b": str(b), "file": str(out), **done.as_json(), "judge": model_said})
        return
    print(f"A  {a}\nB  {b}")
    for line in (*done.lines(), *(() if measured is None else by_model.lines(measured))):
        print(one_line(line))


def prices(json: Json = False) -> None:
    """Print the prices that costs are counted by, with the day and the file of each."""
    from openbook.prices import prices as read
    from openbook.prices import usual_file

    known = read()
    if json:
        print_json(known.as_json())
        return
    print("US dollars per million tokens          read   written   as of        said by")
    for model in known.models.values():
        print(f"{model.model:<34} {model.input:>8.2f}  {model.output:>8.2f}   {model.as_of}   {one_line(model.source)}")
    print("\nUS dollars per unit")
    for rate in known.rates.values():
        span = f"{rate.low:,.2f}" if rate.low == rate.high else f"{rate.low:,.2f} to {rate.high:,.2f}"
        print(f"{rate.name:<16} {span:>20}   {rate.as_of}   {one_line(rate.unit)}")
    own = known.files[1] if len(known.files) > 1 else f"none; write {usual_file()}"
    print(f"\npackaged  {known.files[0]}\nyour own  {own}")
    for note in known.notes():
        say(f"note: {note}")


def _judge(model: str | None, base_url: str | None) -> Judge | None:
    from openbook.evaluate import Judge
    from openbook.generate import parse_llm

    return Judge(parse_llm(model, base_url=base_url)) if model else None


def _style(examples: Path | None) -> StyleClassifier | None:
    """What tells a style from all others, learned from the examples in a file."""
    from openbook.evaluate.measures.adherence import StyleClassifier, read_examples

    return StyleClassifier.train(read_examples(examples), where=str(examples)) if examples else None


def _account() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "somebody"
