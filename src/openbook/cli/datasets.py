"""Data sets: made from feedback, by people, or from the documents; and checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.opening import (
    As,
    BaseUrl,
    Calls,
    Db,
    Dollars,
    Json,
    Kb,
    Seed,
    opened,
    questions_of,
    refuse_idle,
    require_folder,
    require_there,
)
from openbook.cli.printing import bar, one_line, print_json
from openbook.types import printable

if TYPE_CHECKING:
    from openbook.evaluate.datasets.making import Made

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

Out = Annotated[Path, typer.Argument(help="File to make; one that exists is not overwritten.", metavar="OUT.jsonl")]
Shares = Annotated[
    str, typer.Option("--split", help="Shares of the documents; they sum to 1: train=0.6,dev=0.2,test=0.2.")
]
By = Annotated[str | None, typer.Option(help="Sample by this metadata field; else by folder.")]


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Make data sets to evaluate with, and check them."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command("from-feedback")
def from_feedback(
    context: typer.Context,
    out: Out,
    split: Shares = "dev=0.5,test=0.5",
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Make questions of what people said of answers; those that need an answer go to a sheet beside it."""
    from openbook.evaluate.datasets import making

    shares = making.read_shares(split)
    sheet = making.new_file(out).with_name(f"{out.stem}.to-annotate.jsonl")
    making.new_file(sheet)
    with opened(context, db, kb) as base, bar("reading") as advance:
        made = making.from_feedback(base, as_=as_, shares=shares, progress=advance)
    _made(made, out, sheet if made.to_annotate else None, json)


@app.command("sample")
def sample(
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
    from openbook.evaluate.datasets import making
    from openbook.evaluate.datasets import sheet as sheets

    shares = making.read_shares(split)
    making.new_file(out)
    with opened(context, db, kb) as base, bar("reading") as advance:
        rows = sheets.sample(base, n, seed=seed, by=by, as_=as_, shares=shares, progress=advance)
    sheets.write_sheet(rows, out)
    sources = {passage.source for row in rows for passage in row.passages}
    if json:
        print_json({"file": str(out), "passages": len(rows), "documents": len(sources)})
        return
    print(f"{len(rows)} passages of {len(sources)} documents: {out}\nopenbook dataset annotate {out}")


@app.command("annotate")
def annotate(
    sheet: Annotated[Path, typer.Argument(help="Sheet that sample or from-feedback made.")],
    out: Annotated[Path | None, typer.Option(help="The data set; SHEET-questions.jsonl if not said.")] = None,
    json: Json = False,
) -> None:
    """Ask for questions and answers, passage by passage; what is filled becomes a data set. It goes on where it was."""
    from openbook.evaluate.datasets import formats
    from openbook.evaluate.datasets import sheet as sheets

    require_there(sheet)
    path = out or sheet.with_name(f"{sheet.stem}-questions.jsonl")
    require_folder(path)
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
        print_json(told)
        return
    where = f": {path}" if told["file"] else ""
    print(f"{told['questions']} questions, {told['skipped']} skipped, {told['left']} left{where}")


@app.command("write")
def write(
    context: typer.Context,
    out: Out,
    n: Annotated[int, typer.Option("-n", help="How many questions.", min=1)] = 100,
    llm: Annotated[
        str | None, typer.Option(help="openai:MODEL or anthropic:MODEL writes; else rules do.", envvar="OPENBOOK_LLM")
    ] = None,
    base_url: BaseUrl = None,
    budget: Dollars = None,
    calls: Calls = None,
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
    from openbook.evaluate.datasets import making, writing
    from openbook.evaluate.measures.judge import Budget
    from openbook.generate import parse_llm

    if not llm:
        refuse_idle(context, "rules write, and no model", "give --llm, too", "base_url", "budget", "calls")
    shares = making.read_shares(split)
    making.new_file(out)
    with opened(context, db, kb) as base, bar("writing") as advance:
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


@app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(help="Data sets.", metavar="FILE...")],
    against: Annotated[list[Path] | None, typer.Option(help="What something was trained on (repeatable).")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help='Kind of leak that may be: question, "near question", passage or document (repeatable).'),
    ] = None,
    json: Json = False,
) -> None:
    """Find what makes a data set lie: leaks between splits and files, duplicates, contradictions. Fails on leaks."""
    from openbook.evaluate.datasets import checking

    require_there(*files, *(against or ()))
    found = checking.check(
        [questions_of(f) for f in files], [questions_of(f) for f in against or ()], allow=allow or ()
    )
    if json:
        print_json(found.as_json())
    else:
        for line in found.lines():
            print(printable(line))
    if not found.ok:
        raise typer.Exit(1)


def _made(made: Made, out: Path, sheet: Path | None, json: bool) -> None:
    """Write a data set that was made, and say what is in it."""
    from openbook.evaluate.datasets import formats
    from openbook.evaluate.datasets import sheet as sheets

    if made.dataset.questions:
        formats.write_jsonl(made.dataset, out)
    if sheet is not None:
        sheets.write_sheet(made.to_annotate, sheet)
    file = str(out) if made.dataset.questions else None
    if json:
        print_json({"file": file, "sheet": None if sheet is None else str(sheet), **made.as_json()})
    else:
        for line in made.lines():
            print(one_line(line))
        print("\n".join([*([file] if file else []), *([f"openbook dataset annotate {sheet}"] if sheet else [])]))
    if not made.dataset.questions and sheet is None:
        raise typer.Exit(1)
