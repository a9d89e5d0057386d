"""``finetune data``: rows to train on, of every source, in one file."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.finetuning.documents import library
from openbook.cli.opening import (
    As,
    BaseUrl,
    Calls,
    Db,
    Dollars,
    Json,
    Kb,
    Seed,
    questions_of,
    refuse_idle,
    require_there,
    typed,
)
from openbook.cli.printing import bar, print_json, print_lines
from openbook.errors import QueryError


def data(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="File (.jsonl, .csv, .tsv) or BEIR folder to make.", metavar="OUT")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Training rows, or data sets with a train split.", metavar="[DATA]..."),
    ] = None,
    to: Annotated[
        str, typer.Option(help="pairs, triplets, tuples, scored, labelled, beir or tevatron.", metavar="FORMAT")
    ] = "tuples",
    from_feedback: Annotated[bool, typer.Option("--from-feedback", help="What people clicked and said.")] = False,
    from_documents: Annotated[
        int, typer.Option("--from-documents", help="So many queries made of the documents.", min=0, metavar="N")
    ] = 0,
    llm: Annotated[
        str | None, typer.Option(help="openai:MODEL or anthropic:MODEL writes them.", envvar="OPENBOOK_LLM")
    ] = None,
    base_url: BaseUrl = None,
    budget: Dollars = None,
    calls: Calls = None,
    within: Annotated[
        int, typer.Option(help="Hits among which a query that was made must find its passage.", min=1, max=50)
    ] = 10,
    negatives: Annotated[int, typer.Option(help="Hard negatives of each query; 0: mine none.", min=0, max=50)] = 4,
    margin: Annotated[
        float, typer.Option(help="Share of its positive's score that a negative must lie below.", min=0, max=1)
    ] = 0.95,
    gap: Annotated[float, typer.Option(help="Cosine by which it must lie below it, too.", min=0, max=2)] = 0.0,
    test: Annotated[list[Path] | None, typer.Option(help="What will be measured on (repeatable).")] = None,
    drop_leaks: Annotated[
        bool, typer.Option("--drop-leaks", help="Drop rows that ask what the test set asks; else they are refused.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Model to be trained, which counts tokens; else your own.")] = None,
    seed: Seed = 0,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Make training data: rows in any format, a train split, feedback and documents, with negatives mined, in one file.

    Rows alone are written as they stand, unless --negatives is given.
    """
    from openbook.embed import open_embedder
    from openbook.evaluate.datasets.making import new_file
    from openbook.evaluate.measures.judge import Budget
    from openbook.finetune.data import formats, making
    from openbook.generate import parse_llm
    from openbook.recipe import LocalEmbedder

    form = formats.require_format(new_file(out), to)
    if not (files or from_feedback or from_documents):
        do = "name files or data sets, or give --from-feedback or --from-documents N"
        raise QueryError("nothing to train on", do=do)
    if not from_documents:
        why = "no query is made of the documents"
        refuse_idle(context, why, "give --from-documents N", "llm", "base_url", "budget", "calls", "within")
    elif not llm:
        refuse_idle(context, "rules make them, and no model", "give --llm, too", "base_url", "budget", "calls")
    require_there(*(files or ()), *(test or ()))
    stands = negatives == 0 and not (from_feedback or from_documents)
    rows = [path for path in files or () if (path.is_dir() and stands) or formats.is_training_data(path)]
    read = [formats.read(path) for path in rows]
    datasets = [questions_of(path) for path in files or () if path not in rows]
    tests = [questions_of(path) for path in test or ()]
    mines = negatives > 0 and bool(typed(context, "negatives"))
    needed = from_feedback or from_documents or datasets or mines
    with (
        library(context, db, kb, datasets, feedback=from_feedback) if needed else nullcontext() as base,
        bar("making") as advance,
    ):
        made = making.make(
            base,
            read,
            datasets,
            feedback=from_feedback,
            documents=from_documents,
            llm=parse_llm(llm, base_url=base_url) if llm and from_documents else None,
            budget=Budget(calls=calls, dollars=budget),
            form=form,
            negatives=negatives,
            margin=margin,
            gap=gap,
            within=within,
            test=tests,
            drop_leaks=drop_leaks,
            embedder=open_embedder(LocalEmbedder(model=model)) if model else None,
            seed=seed,
            as_=as_,
            progress=advance,
        )
    formats.write(made.rows, out, form)
    if json:
        print_json({"file": str(out), **made.as_json()})
        return
    print_lines(made.lines())
    print(out)
