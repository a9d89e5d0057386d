"""``finetune compare``: whether what was trained may replace what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.finetuning.documents import named
from openbook.cli.opening import As, Db, Json, Kb, opened, questions_of, require_replaceable, require_there
from openbook.cli.printing import bar, interruptible, one_line, print_json, print_lines, say
from openbook.errors import QueryError


def compare(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Data set to test with; its test questions are asked.")],
    models: Annotated[list[Path], typer.Argument(help="Folders of models, each of one or several seeds.")],
    general: Annotated[
        list[str] | None,
        typer.Option(help="What else it must not forget: data sets with documents, or default (repeatable)."),
    ] = None,
    trained_on: Annotated[
        list[Path] | None, typer.Option(help="Rows that were trained on, where the models do not tell (repeatable).")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML file: the base; else what answers now.")] = None,
    split: Annotated[str, typer.Option(help="dev, test or all.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Ask the first N judged questions only.", min=1)] = None,
    primary: Annotated[str | None, typer.Option(help="The measure that decides; ndcg@10 if not said.")] = None,
    worth: Annotated[float, typer.Option(help="The smallest gain worth having.", min=0)] = 0.0,
    allow: Annotated[
        float, typer.Option(help="What general sets, and questions not trained on, may lose.", min=0)
    ] = 0.01,
    trade: Annotated[
        bool, typer.Option("--trade", help="Measure what lies between base and model, too, on dev questions.")
    ] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Build a release by the winner, beside the one that answers.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page, too.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which resamples are drawn.", min=0)] = 0,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Compare models that were trained with their base: ship, don't ship, or insufficient evidence.

    The gain is told apart for questions whose evidence was trained on, and what was forgotten is always measured. With
    --release, what wins becomes a candidate: nothing answers otherwise before it is promoted.
    """
    from openbook.evaluate.datasets.dataset import SPLITS
    from openbook.evaluate.pages import html as pages
    from openbook.finetune import promotion, trial
    from openbook.finetune.data import formats
    from openbook.finetune.general import DEFAULT, general_sets
    from openbook.finetune.page import trial_page
    from openbook.finetune.replay import trade_lines
    from openbook.recipe import Recipe

    if split not in SPLITS:
        raise QueryError(f"unknown split {split!r}", do="choose dev, test or all")
    require_replaceable(html=html)
    sets = general or [DEFAULT]
    require_there(data, *models, recipe, *(trained_on or ()), *(one for one in sets if one != DEFAULT))
    dataset = questions_of(data)
    if release:
        promotion.require_own(dataset, str(data), recipe)
    found = trial.read_models(models)
    if release:
        promotion.require_test(dataset, found, split)
    rows = formats.joined([formats.read(path) for path in trained_on]) if trained_on else None
    where, name = named(context, db, kb)
    kept = "nothing is lost, and nothing answers otherwise: run it again, what was indexed is kept"
    with interruptible(lambda: kept), bar("comparing") as advance:
        tried = trial.try_models(
            dataset,
            found,
            general=general_sets(sets),
            recipe=Recipe.load(recipe) if recipe else None,
            rows=rows,
            asking=trial.Asking(
                db=where,
                kb=name or "default",
                as_=as_,
                split=split,
                limit=limit,
                say=lambda line: say(one_line(line)),
                progress=advance,
            ),
            primary=primary,
            worth=worth,
            allowed=allow,
            seed=seed,
            trade=trade,
        )
    if html is not None:
        pages.write(html, trial_page(tried.trial, tried.trainings, rows=tried.rows, seen=tried.seen, told=tried.told))
    done = None
    if release:
        with interruptible(lambda: kept), opened(context, db, kb) as base, bar("building") as advance:
            done = promotion.release(base, tried, progress=lambda at: advance(at.documents, at.of_documents))
    if json:
        between = {name: [one.as_json() for one in of.trade] for name, of in tried.trainings.items() if of.trade}
        plans = {name: plan.as_json() for name, plan in tried.plans.items()}
        model = tried.model and str(tried.model)
        told = {**tried.trial.as_json(), "model": model, "trade": between, "plans": plans}
        print_json({**told, **({"release": None} if done is None else done.as_json())})
        return
    print_lines(tried.trial.lines())
    for name, of in tried.trainings.items():
        for line in trade_lines(of.trade):
            print(f"{one_line(name)}, {line}")
    if tried.why:
        print(one_line(tried.why))
    if tried.model is not None:
        print(tried.model)
    if done is not None:
        print_lines(done.lines())
    elif release:
        print("no release is built: nothing that answers changes")
