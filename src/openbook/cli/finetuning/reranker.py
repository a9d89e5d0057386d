"""``finetune reranker``: a cross-encoder trained on what the live first stage finds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.finetuning.documents import library
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
    tell_place,
)
from openbook.cli.opening import As, Db, Json, Kb, questions_of, require_there
from openbook.cli.printing import bar, curves, interruptible


def reranker(
    context: typer.Context,
    out: Out,
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Training rows, or data sets with a train split.", metavar="[DATA]..."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="lora (an adapter and a head of a BERT) or full.", metavar="METHOD")
    ] = None,
    settings: SettingsFile = None,
    base: Base = None,
    loss: Annotated[str | None, typer.Option(help="listwise, lambda, pairwise or pointwise.", metavar="LOSS")] = None,
    epochs: Annotated[float | None, typer.Option(help="Times that the questions are read.", min=0)] = None,
    batch: Annotated[int | None, typer.Option(help="Questions of a step.", min=1)] = None,
    rate: Rate = None,
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
    baseline: Baseline = None,
    seed: SeedOf = None,
    seeds: Seeds = None,
    resume: Resume = False,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Train a cross-encoder on what the live first stage finds for each question."""
    from openbook.finetune import reranker
    from openbook.finetune.data import formats
    from openbook.finetune.embedder import Dev
    from openbook.finetune.running import is_first
    from openbook.finetune.settings import RerankerSettings

    require_there(settings, test, baseline)
    require_ready("reranker", out, resume=resume)
    changed = said(data, dev, method=method, base=base, loss=loss, epochs=epochs, batch=batch, rate=rate)
    changed |= {"candidates": candidates, "seed": seed, "seeds": seeds}
    chosen = read_files("reranker", RerankerSettings.load(settings, **changed))
    tell_place(out, chosen, resume=resume)
    paths = [Path(path) for path in chosen.data]
    rows = formats.joined([formats.read(path) for path in paths if formats.is_training_data(path)])
    datasets = [questions_of(path) for path in paths if not formats.is_training_data(path)]
    asked = questions_of(Path(chosen.dev.data.path)) if chosen.dev.data else None
    tested = questions_of(test) if test else None
    about = [*datasets, *([asked] if asked is not None else [])]
    with library(context, db, kb, about) as found:
        documents = Dev(found, dev_questions(asked), as_)
        judged, dropped = reranker.of_rows(rows), list(rows.dropped)
        for dataset in datasets:
            more, gone = reranker.of_dataset(found, dataset, as_=as_)
            judged, dropped = judged + more, dropped + gone
        # What a data set brings is all that is learnt of, whatever is said of the user's documents in rows.
        mine = found if all(dataset.corpus is None for dataset in about) else None
        look(mine, "reranker", reranker.as_rows(judged), test=tested, baseline=baseline)
        with bar("reading") as read:
            taught, questions = reranker.taught(documents, judged, chosen, dropped, progress=read)
        with interruptible(if_cut_off(out)), curves("training") as told:
            trained = reranker.train_seeds(
                taught, out, chosen, dev=documents, questions=questions, resume=resume, progress=told
            )
        register(mine, trained)
    if not is_first():
        return
    best = print_trained(trained, json=json)
    if json:
        return
    folder = str(out / best.folder.name if len(trained) > 1 else out)
    for line in [folder] if best.weight == 0 else best.recipe_lines(folder):
        print(line)
