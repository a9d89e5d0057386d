"""``finetune embedder``: an embedding model trained on rows, or its query adapter on what was clicked and said."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.finetuning.documents import brought, named, own
from openbook.cli.finetuning.training import (
    Base,
    Baseline,
    Out,
    Rate,
    Resume,
    SeedOf,
    Seeds,
    SettingsFile,
    dev_questions,
    if_cut_off,
    look,
    print_trained,
    read_files,
    register,
    require_ready,
    said,
    tell_note,
    tell_place,
)
from openbook.cli.opening import As, Db, Json, Kb, opened, questions_of, refuse_idle, require_there
from openbook.cli.printing import bar, curves, interruptible, one_line, print_json, print_lines, say
from openbook.errors import OpenbookError, QueryError

if TYPE_CHECKING:
    from openbook.evaluate import Dataset
    from openbook.finetune.settings import EmbedderSettings
    from openbook.finetune.trial import Measured
    from openbook.recipe import Recipe


def embedder(
    context: typer.Context,
    out: Out,
    data: Annotated[list[Path] | None, typer.Argument(help="Training rows.", metavar="[DATA]...")] = None,
    method: Annotated[
        str | None, typer.Option(help="adapter (queries only, no re-index), lora or full.", metavar="METHOD")
    ] = None,
    settings: SettingsFile = None,
    base: Base = None,
    loss: Annotated[
        str | None, typer.Option(help="softmax, in-batch, cached, triplet, cosine or cosent.", metavar="LOSS")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Times that the rows are read.", min=0)] = None,
    batch: Annotated[int | None, typer.Option(help="Rows of a step.", min=1)] = None,
    rate: Rate = None,
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
    baseline: Baseline = None,
    seed: SeedOf = None,
    seeds: Seeds = None,
    resume: Resume = False,
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
    from openbook.finetune.data import formats
    from openbook.finetune.embedder import Dev, is_first, train_seeds
    from openbook.finetune.general import replay_file
    from openbook.finetune.settings import EmbedderSettings

    require_there(settings, test, baseline)
    require_ready("embedder", out, resume=resume)
    changed = said(data, dev, method=method, base=base, loss=loss, epochs=epochs, batch=batch, rate=rate)
    changed |= {"seed": seed, "seeds": seeds}
    changed |= {"replay": {"data": {"path": str(replay_file(replay))} if replay else None}}
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
    chosen = read_files("embedder", chosen)
    tell_place(out, chosen, resume=resume)
    rows = formats.joined([formats.read(path) for path in chosen.data])
    kept = formats.joined([formats.read(chosen.replay.data.path)]) if chosen.replay.data else None
    asked = questions_of(Path(chosen.dev.data.path)) if chosen.dev.data else None
    tested = questions_of(test) if test else None
    bring = asked if asked is not None and asked.corpus is not None else None
    with (
        interruptible(if_cut_off(out)),
        own(context, db, kb, wanted=asked is not None and not bring) as mine,
        brought(context, db, kb, bring) if bring else nullcontext(mine) as library,
        curves("training") as curve,
    ):
        if bring and mine is not None and {*rows.documents}.isdisjoint(row["source"] for row in mine.list()):
            mine = None  # the rows are none of its business, nor it of theirs
        look(mine, chosen.method, rows, test=tested, baseline=baseline)
        trained = train_seeds(
            rows,
            out,
            chosen,
            dev=None if library is None else Dev(library, dev_questions(asked), as_),
            replay=kept,
            kb=mine,
            resume=resume,
            progress=curve,
            say=tell_note,
        )
        register(mine, trained)
        recipe = None if library is None else library.recipe
    if not is_first():
        return
    after = None if train_only else _measured(context, out, tested, recipe, as_=as_, db=db, kb=kb)
    more, lines = (after.as_json(), after.lines()) if after is not None else ({}, ())
    best = print_trained(trained, json=json, more=more, lines=lines)
    if not json:
        print(out / best.folder.name if len(trained) > 1 else out)


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

    db, kb = named(context, db, kb)
    do = "the model is there: the same command with --resume measures it, or openbook finetune compare"
    with interruptible(lambda: do), bar("comparing") as advance:
        asking = trial.Asking(
            db=db, kb=kb or "default", as_=as_, say=lambda line: say(one_line(line)), progress=advance
        )
        try:
            return trial.measured(out, tested, recipe, asking)
        except OpenbookError as error:
            say(f"note: it was not measured: {one_line(str(error))}")
            return None


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
    do = "what answers is as it was: run it again, with another folder where this one is there"
    with (
        interruptible(lambda: do),
        opened(context, db, kb) as base,
        bar("asking") as advance,
        curves("training") as curve,
    ):
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
        print_lines(done.lines())
    if done.failed:
        raise typer.Exit(1)
