"""Fine-tuning: what a model is trained on, and the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    require_replaceable,
    require_there,
    typed,
)
from openbook.cli.printing import bar, curves, one_line, print_json, say
from openbook.errors import NotFound, OpenbookError, QueryError

if TYPE_CHECKING:
    from openbook.evaluate import Dataset
    from openbook.finetune.settings import EmbedderSettings
    from openbook.finetune.trial import Measured
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import Recipe

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Fine-tune retrieval: make what a model is trained on, and train it."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command("data")
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
    from openbook.evaluate.datasets.making import new_file
    from openbook.evaluate.measures.judge import Budget
    from openbook.finetune.data import formats, making
    from openbook.generate import parse_llm

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
    needed = bool(from_feedback or from_documents or datasets or mines)
    with (
        bar("making") as advance,
        _library(context, db, kb, datasets, needed=needed, own=from_feedback) as base,
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
            embedder=_embedder(model) if model else None,
            seed=seed,
            as_=as_,
            progress=advance,
        )
    formats.write(made.rows, out, form)
    if json:
        print_json({"file": str(out), **made.as_json()})
        return
    for line in made.lines():
        print(one_line(line) if not line.startswith(" ") else f"  {one_line(line)}")
    print(out)


@app.command("embedder")
def embedder(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="Folder to make: the model.", metavar="OUT")],
    data: Annotated[list[Path] | None, typer.Argument(help="Training rows.", metavar="[DATA]...")] = None,
    method: Annotated[
        str | None, typer.Option(help="adapter (queries only, no re-index), lora or full.", metavar="METHOD")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="TOML file; options stand over it.", metavar="FILE")] = None,
    base: Annotated[str | None, typer.Option(help="Model to be trained; default: the packaged one.")] = None,
    loss: Annotated[
        str | None, typer.Option(help="softmax, in-batch, cached, triplet, cosine or cosent.", metavar="LOSS")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Times that the rows are read.", min=0)] = None,
    batch: Annotated[int | None, typer.Option(help="Rows of a step.", min=1)] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.", min=0)] = None,
    dev: Annotated[
        Path | None, typer.Option(help="Data set whose dev questions say when to stop; else a tenth of the rows does.")
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(help="General rows against forgetting; default: openbook's own.", metavar="FILE"),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Data set that it is measured on: rows that ask the same are refused.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Report (JSON) of what answers now, on that data set.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides what is drawn.", min=0)] = None,
    seeds: Annotated[int | None, typer.Option(help="Train so many, each by a seed of its own.", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")] = False,
    train_only: Annotated[
        bool, typer.Option("--train-only", help="Do not ask afterwards what it forgot, and what it gained on --test.")
    ] = False,
    from_feedback: Annotated[
        bool,
        typer.Option(
            "--from-feedback",
            help="Retrain the query adapter on what was clicked and said since the live release was promoted.",
        ),
    ] = False,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="On ship leave it a candidate; else it answers from then on.")
    ] = False,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Train an embedding model: its queries (adapter), small matrices in it (lora) or all of it (full).

    What it forgot is measured afterwards, and with --test what it gained, too.

    With --from-feedback the adapter goes on from the live one, is compared with what answers now, and answers in its
    place where the verdict is "ship".
    """
    from openbook.evaluate.kept import read_report
    from openbook.finetune import rails
    from openbook.finetune.data import formats
    from openbook.finetune.embedder import Dev, is_first, train_seeds
    from openbook.finetune.general import replay_file
    from openbook.finetune.settings import EmbedderSettings, read_now

    require_there(settings, test, baseline)
    _require_ready("embedder", out, resume=resume)
    changed = {
        "method": method,
        "base": base,
        "data": {str(path): "" for path in data or ()} or None,
        "loss": loss,
        "epochs": epochs,
        "batch": batch,
        "rate": rate,
        "seed": seed,
        "seeds": seeds,
        "dev": {"data": {"path": str(dev)} if dev else None},
        "replay": {"data": {"path": str(replay_file(replay))} if replay else None},
    }
    chosen = EmbedderSettings.load(settings, **changed)
    if from_feedback:
        why, do = "feedback is what is trained on", "leave it away"
        refuse_idle(context, why, do, "base", "dev", "baseline", "resume", "train_only")
        if chosen.data or chosen.dev.data is not None or chosen.start is not None:
            do = "name no rows and no dev questions, or train on them without --from-feedback"
            raise QueryError(why, where="--from-feedback", do=do)
        require_there(*([chosen.replay.data.path] if chosen.replay.data else []))
        _retrain(context, out, chosen, test, promote=not no_promote, as_=as_, db=db, kb=kb, json=json)
        return
    refuse_idle(context, "nothing is promoted", "give --from-feedback, too", "no_promote")
    named = [*chosen.data, *(part.data.path for part in (chosen.dev, chosen.replay) if part.data is not None)]
    require_there(*named)
    if not chosen.data:
        raise QueryError("nothing to train on", do="name files: openbook finetune embedder OUT ROWS.jsonl")
    chosen, notes = read_now(chosen)
    for note in notes:
        say(f"note: {one_line(note)}")
    rows = formats.joined([formats.read(path) for path in chosen.data])
    kept = formats.joined([formats.read(chosen.replay.data.path)]) if chosen.replay.data else None
    asked = questions_of(Path(chosen.dev.data.path)) if chosen.dev.data else None
    tested = questions_of(test) if test else None
    with (
        bar("indexing") as indexed,
        _asking(context, db, kb, asked, indexed) as library,
        curves("training") as curve,
    ):
        own = library if asked is None or asked.corpus is None else None
        known = rails.Known.of(
            own,
            chosen.method,
            rows,
            test=tested,
            baseline=read_report(baseline) if baseline else None,
        )
        for told in rails.look(known):
            say(f"note: {one_line(told.line)}")
        questions = tuple(asked.select("dev").questions.values()) if asked is not None else ()
        trained = train_seeds(
            rows,
            out,
            chosen,
            dev=None if library is None else Dev(library, questions, as_),
            replay=kept,
            resume=resume,
            progress=curve,
            say=lambda line: say(f"note: {one_line(line)}"),
        )
        if own is not None and is_first():
            for one in trained:
                own.register(one.folder)
        recipe = None if library is None else library.recipe
    if not is_first():
        return
    best = max(trained, key=lambda one: (one.after or 0.0, -one.seed))
    after = None if train_only else _measured(context, out, tested, recipe, as_=as_, db=db, kb=kb)
    if json:
        every = [one.summary() for one in trained]
        more = {} if after is None else after.as_json()
        print_json({"model": str(best.folder), "seeds": every, **best.report(), **more})
        return
    for one in trained:
        for line in one.lines():
            print(one_line(line))
    for line in () if after is None else after.lines():
        print(one_line(line) if not line.startswith(" ") else f"  {one_line(line)}")
    print(out / best.folder.name if len(trained) > 1 else out)


def _require_ready(what: str, out: Path, *, resume: bool) -> None:
    """What can be told before anything is read. Raises: ModelError."""
    from openbook.finetune import running

    running.require_torch(f"finetune {what}")
    if not resume:
        running.require_new(out)


def _measured(
    context: typer.Context,
    out: Path,
    tested: Dataset | None,
    recipe: Recipe | None,
    *,
    as_: list[str] | None,
    db: str | None,
    kb: str | None,
) -> Measured | None:
    """What was gained and forgotten. The model is there, whatever becomes of this."""
    from openbook.finetune import trial

    with bar("comparing") as advance:
        asking = trial.Asking(
            db=db or context.obj["db"], kb=kb or context.obj["kb"] or "default", as_=as_, say=say, progress=advance
        )
        try:
            return trial.measured(out, tested, recipe, asking)
        except OpenbookError as error:
            say(f"note: it was not measured: {one_line(str(error))}")
            return None


@app.command("reranker")
def reranker(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="Folder to make: the model.", metavar="OUT")],
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Training rows, or data sets with a train split.", metavar="[DATA]..."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="lora (an adapter and a head of a BERT) or full.", metavar="METHOD")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="TOML file; options stand over it.", metavar="FILE")] = None,
    base: Annotated[str | None, typer.Option(help="Model to be trained; default: the packaged one.")] = None,
    loss: Annotated[str | None, typer.Option(help="listwise, lambda, pairwise or pointwise.", metavar="LOSS")] = None,
    epochs: Annotated[float | None, typer.Option(help="Times that the questions are read.", min=0)] = None,
    batch: Annotated[int | None, typer.Option(help="Questions of a step.", min=1)] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.", min=0)] = None,
    candidates: Annotated[
        int | None, typer.Option(help="So many of the first stage are learnt from, and reranked.", min=2)
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option(help="Data set whose dev questions say when to stop; else a tenth of the questions does."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Data set that it will be measured on: questions that it asks are refused.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Report (JSON) of what answers now, on that data set.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides what is drawn.", min=0)] = None,
    seeds: Annotated[int | None, typer.Option(help="Train so many, each by a seed of its own.", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")] = False,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Train a cross-encoder on what the live first stage finds for each question."""
    from openbook.evaluate.kept import read_report
    from openbook.finetune import rails, reranker
    from openbook.finetune.data import formats
    from openbook.finetune.embedder import Dev
    from openbook.finetune.running import is_first
    from openbook.finetune.settings import RerankerSettings, read_now

    require_there(settings, test, baseline)
    _require_ready("reranker", out, resume=resume)
    changed = {
        "method": method,
        "base": base,
        "data": {str(path): "" for path in data or ()} or None,
        "loss": loss,
        "epochs": epochs,
        "batch": batch,
        "rate": rate,
        "candidates": candidates,
        "seed": seed,
        "seeds": seeds,
        "dev": {"data": {"path": str(dev)} if dev else None},
    }
    chosen = RerankerSettings.load(settings, **changed)
    require_there(*chosen.data, *([chosen.dev.data.path] if chosen.dev.data is not None else []))
    if not chosen.data:
        raise QueryError("nothing to train on", do="name files: openbook finetune reranker OUT ROWS.jsonl")
    chosen, notes = read_now(chosen)
    for note in notes:
        say(f"note: {one_line(note)}")
    paths = [Path(path) for path in chosen.data]
    rows = formats.joined([formats.read(path) for path in paths if formats.is_training_data(path)])
    datasets = [questions_of(path) for path in paths if not formats.is_training_data(path)]
    asked = questions_of(Path(chosen.dev.data.path)) if chosen.dev.data else None
    brought = [*datasets, *([asked] if asked is not None else [])]
    with _library(context, db, kb, brought, needed=True, own=False) as library, bar("reading") as read:
        assert library is not None
        questions = tuple(asked.select("dev").questions.values()) if asked is not None else ()
        documents = Dev(library, questions, as_)
        judged, dropped = reranker.of_rows(rows), list(rows.dropped)
        for dataset in datasets:
            more, gone = reranker.of_dataset(library, dataset, as_=as_)
            judged, dropped = judged + more, dropped + gone
        own = library if all(dataset.corpus is None for dataset in brought) else None
        known = rails.Known.of(
            own,
            "reranker",
            reranker.as_rows(judged),
            test=questions_of(test) if test else None,
            baseline=read_report(baseline) if baseline else None,
        )
        for rail in rails.look(known):
            say(f"note: {one_line(rail.line)}")
        taught, questions = reranker.taught(documents, judged, chosen, dropped, progress=read)
        with curves("training") as told:
            trained = reranker.train_seeds(
                taught, out, chosen, dev=documents, questions=questions, resume=resume, progress=told
            )
        if own is not None and is_first():
            for one in trained:
                own.register(one.folder)
    if not is_first():
        return
    best = max(trained, key=lambda one: (one.after or 0.0, -one.seed))
    if json:
        print_json({"model": str(best.folder), "seeds": [one.summary() for one in trained], **best.report()})
        return
    for one in trained:
        for line in one.lines():
            print(one_line(line))
    folder = str(out / best.folder.name if len(trained) > 1 else out)
    for line in [folder] if best.weight == 0 else best.recipe_lines(folder):
        print(line)


def _retrain(
    context: typer.Context,
    out: Path,
    settings: EmbedderSettings,
    test: Path | None,
    *,
    promote: bool,
    as_: list[str] | None,
    db: str | None,
    kb: str | None,
    json: bool,
) -> None:
    from openbook.finetune.data import formats
    from openbook.finetune.feedback import retrain

    asked = questions_of(test) if test else None
    kept = formats.read(settings.replay.data.path) if settings.replay.data else None
    with opened(context, db, kb) as base, bar("asking") as advance, curves("training") as curve:
        done = retrain(
            base,
            out,
            settings,
            test=asked,
            replay=kept,
            as_=as_,
            promote=promote,
            say=lambda line: say(one_line(line)),
            progress=advance,
            curve=curve,
        )
    if json:
        print_json(done.as_json())
    else:
        for line in done.lines():
            print(one_line(line) if not line.startswith(" ") else f"  {one_line(line)}")
    if done.failed:
        raise typer.Exit(1)


@app.command("compare")
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
    named = general or [DEFAULT]
    require_there(data, *models, recipe, *(trained_on or ()), *(one for one in named if one != DEFAULT))
    dataset = questions_of(data)
    if release:
        promotion.require_own(dataset, str(data), recipe)
    found = trial.read_models(models)
    if release:
        promotion.require_test(dataset, found, split)
    rows = formats.joined([formats.read(path) for path in trained_on]) if trained_on else None
    with bar("comparing") as advance:
        tried = trial.try_models(
            dataset,
            found,
            general=general_sets(named),
            recipe=Recipe.load(recipe) if recipe else None,
            rows=rows,
            asking=trial.Asking(
                db=db or context.obj["db"],
                kb=kb or context.obj["kb"] or "default",
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
        pages.write(html, trial_page(tried.trial, tried.trainings, rows=tried.rows, seen=tried.seen))
    done = None
    if release:
        with opened(context, db, kb) as base, bar("building") as advance:
            done = promotion.release(base, tried, progress=lambda at: advance(at.documents, at.of_documents))
    if json:
        between = {name: [one.as_json() for one in of.trade] for name, of in tried.trainings.items() if of.trade}
        plans = {name: plan.as_json() for name, plan in tried.plans.items()}
        model = tried.model and str(tried.model)
        told = {**tried.trial.as_json(), "model": model, "trade": between, "plans": plans}
        print_json({**told, **({"release": None} if done is None else done.as_json())})
        return
    for line in tried.trial.lines():
        print(one_line(line) if not line.startswith(" ") else f"  {one_line(line)}")
    for name, of in tried.trainings.items():
        for line in trade_lines(of.trade):
            print(f"{one_line(name)}, {line}")
    if tried.model is not None:
        print(tried.model)
    if done is not None:
        for line in done.lines():
            print(one_line(line))
    elif release:
        print("no release is built: nothing that answers changes")


@contextmanager
def _asking(
    context: typer.Context, db: str | None, kb: str | None, asked: Dataset | None, indexed: Any
) -> Iterator[KnowledgeBase | None]:
    """The documents that dev questions are asked of: those that their data set brings, else the user's; ``None`` where
    there are none and nobody named any."""
    from openbook.evaluate import sides

    if asked is not None and asked.corpus is not None:
        where = {"db": db or context.obj["db"], "kb": kb or context.obj["kb"] or "default"}
        side = sides.DEFAULT
        with sides.opened(side, sides.read(side), asked, **where, say=say, progress=indexed) as base:
            yield base
        return
    wanted = asked is not None or db or kb or context.obj["db"] or context.obj["kb"]
    with ExitStack() as stack:
        try:
            library: KnowledgeBase | None = stack.enter_context(opened(context, db, kb))
        except NotFound:
            if wanted:
                raise
            library = None
        yield library


def _embedder(model: str) -> Any:
    from openbook.embed import open_embedder
    from openbook.recipe import LocalEmbedder

    return open_embedder(LocalEmbedder(model=model))


@contextmanager
def _library(
    context: typer.Context,
    db: str | None,
    kb: str | None,
    datasets: list[Dataset],
    *,
    needed: bool,
    own: bool,
) -> Iterator[KnowledgeBase | None]:
    """The documents that rows are made of: the user's, or those that a data set brings; ``None`` where none are needed.

    Raises:
        QueryError: several data sets bring documents, or one does and feedback on one's ``own`` is asked for.
    """
    from openbook.evaluate import sides

    brought = [dataset for dataset in datasets if dataset.corpus is not None]
    if len({dataset.corpus for dataset in brought}) > 1 or (brought and (own or len(datasets) > len(brought))):
        do = "make them apart, and then one of both: openbook finetune data OUT A.jsonl B.jsonl"
        raise QueryError("rows of several sets of documents", where=brought[0].name, do=do)
    if not needed:
        yield None
    elif brought:
        where = {"db": db or context.obj["db"], "kb": kb or context.obj["kb"] or "default"}
        side = sides.DEFAULT
        with (
            bar("indexing") as indexed,
            sides.opened(side, sides.read(side), brought[0], **where, say=say, progress=indexed) as base,
        ):
            yield base
    else:
        with opened(context, db, kb) as base:
            yield base
