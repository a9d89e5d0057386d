"""What the trainings of an embedder and of a reranker share: what is read and told before, and what is told after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from openbook.cli.opening import require_there
from openbook.cli.printing import one_line, print_json, print_lines, say
from openbook.errors import QueryError

if TYPE_CHECKING:
    from openbook.evaluate import Dataset
    from openbook.evaluate.datasets.dataset import Question
    from openbook.finetune import embedder, reranker
    from openbook.finetune.data.rows import Rows
    from openbook.finetune.settings import EmbedderSettings, RerankerSettings
    from openbook.knowledge_base import KnowledgeBase

    S = TypeVar("S", EmbedderSettings, RerankerSettings)
    T = TypeVar("T", embedder.Trained, reranker.Trained)

Out = Annotated[Path, typer.Argument(help="Folder to make: the model.", metavar="OUT")]
SettingsFile = Annotated[Path | None, typer.Option(help="TOML file; options stand over it.", metavar="FILE")]
Base = Annotated[str | None, typer.Option(help="Model to be trained; default: the packaged one.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate.", min=0)]
Baseline = Annotated[Path | None, typer.Option(help="Report (JSON) of what answers now, on that data set.")]
SeedOf = Annotated[int | None, typer.Option(help="Decides what is drawn.", min=0)]
Seeds = Annotated[int | None, typer.Option(help="Train so many, each by a seed of its own.", min=1)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")]

# --- before -----------------------------------------------------------------------------------------------------------


def require_ready(what: str, out: Path, *, resume: bool) -> None:
    """What can be told before anything is read. Raises: ModelError."""
    from openbook.finetune import running

    running.require_torch(f"finetune {what}")
    if not resume:
        running.require_new(out)


def said(data: Sequence[Path] | None, dev: Path | None, **options: object) -> dict[str, Any]:
    """Options as the settings that stand over those of a file."""
    of_dev = {"data": {"path": str(dev)} if dev else None}
    return {"data": {str(path): "" for path in data or ()} or None, "dev": of_dev, **options}


def read_files(what: str, settings: S) -> S:
    """The settings with every file that they name as it is now; what has changed is told.

    Raises:
        QueryError: a file is not there, or no rows are named.
    """
    from openbook.finetune.settings import read_now

    parts = (settings.dev, getattr(settings, "replay", None))
    files = [part.data.path for part in parts if part is not None and part.data is not None]
    require_there(*settings.data, *files)
    if not settings.data:
        raise QueryError("nothing to train on", do=f"name files: openbook finetune {what} OUT ROWS.jsonl")
    settings, notes = read_now(settings)
    tell_notes(notes)
    return settings


def dev_questions(asked: Dataset | None) -> tuple[Question, ...]:
    return () if asked is None else tuple(asked.select("dev").questions.values())


def tell_place(out: Path, settings: EmbedderSettings | RerankerSettings, *, resume: bool) -> None:
    """What lies there of a run before, where that decides what this one does."""
    from openbook.finetune.running import is_finished, is_first, place_of

    if not is_first():
        return  # what it finds there may be the first one's
    if resume and is_finished(out, settings):
        tell_note(f"{out} is finished: nothing is left to train, and what training did is told again")
    elif not resume and place_of(out.absolute()).exists():
        tell_note(f"a run to {out} was cut off and is begun anew (--resume would have gone on with it)")


def if_cut_off(out: Path) -> Callable[[], str]:
    """What to do where a training is interrupted."""
    from openbook.finetune.running import place_of

    def do() -> str:
        if out.exists() or place_of(out.absolute()).exists():
            return "nothing that was saved is lost: the same command with --resume goes on from there"
        return "nothing was trained yet: run it again"

    return do


def look(
    own: KnowledgeBase | None,
    method: Literal["adapter", "lora", "full", "reranker"],
    rows: Rows,
    *,
    test: Dataset | None,
    baseline: Path | None,
) -> None:
    """Tell what is usually done wrong, where it is. Raises: DatasetError: rows ask what the test set asks."""
    from openbook.evaluate.kept import read_report
    from openbook.finetune import rails

    report = read_report(baseline) if baseline else None
    known = rails.Known.of(own, method, rows, test=test, baseline=report)
    tell_notes(told.line for told in rails.look(known))


def tell_notes(notes: Iterable[str]) -> None:
    for note in notes:
        tell_note(note)


def tell_note(note: str) -> None:
    """Once, however many processes train."""
    from openbook.finetune.running import is_first

    if is_first():
        say(f"note: {one_line(note)}")


# --- after ------------------------------------------------------------------------------------------------------------


def register(own: KnowledgeBase | None, trained: Sequence[T]) -> None:
    """Have the user's knowledge base know the models, so that forgetting a text finds them."""
    from openbook.finetune.running import is_first

    if own is not None and is_first():
        for one in trained:
            own.register(one.folder)


def print_trained(
    trained: Sequence[T], *, json: bool, more: Mapping[str, Any] | None = None, lines: Iterable[str] = ()
) -> T:
    """What training did: as JSON of the seed to serve, with ``more``; else of every seed, then ``lines``, and why one
    is the one to serve, which is returned."""
    from openbook.finetune.running import served

    chosen = served([one.after for one in trained])
    best = trained[chosen.at]
    if json:
        every = [one.summary() for one in trained]
        print_json({"model": str(best.folder), "seeds": every, **best.report(), **(more or {})})
        return best
    for one in trained:
        print_lines(one.lines())
    print_lines(lines)
    if line := chosen.line(best.folder.name):
        print(one_line(line))
    return best
