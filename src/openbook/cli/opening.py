"""What every verb takes, and how the knowledge base that it names is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.printing import one_line, say
from openbook.errors import QueryError
from openbook.knowledge_base import KnowledgeBase
from openbook.knowledge_base import open as open_

if TYPE_CHECKING:
    from openbook.evaluate import Dataset
    from openbook.store.database import Database

Db = Annotated[str | None, typer.Option("--db", help="Folder or postgresql:// URL.", envvar="OPENBOOK_DB")]
Kb = Annotated[str | None, typer.Option("--kb", help="Name of the knowledge base.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
As = Annotated[list[str] | None, typer.Option("--as", help="Ask as this principal (repeatable); else as the owner.")]
Where = Annotated[str | None, typer.Option("--filter", "-f", help='Such as: lang = "en" and year >= 2020')]
Recipe = Annotated[Path | None, typer.Option("--recipe", help="TOML file; decides how a new knowledge base reads.")]
Query = Annotated[Path | None, typer.Option("--recipe", help="TOML file; its query half answers this question.")]
BaseUrl = Annotated[
    str | None, typer.Option(help="Server that speaks the model's protocol.", envvar="OPENBOOK_LLM_BASE_URL")
]
Dollars = Annotated[float | None, typer.Option("--budget", help="US dollars that the model may use.", min=0)]
Calls = Annotated[int | None, typer.Option(help="Calls that the model may be asked.", min=1)]
Seed = Annotated[int, typer.Option(help="Decides what is drawn.", min=0)]


@contextmanager
def opened(
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
        say=say,
    )
    with base:
        if chosen is not None and "query" in chosen.model_fields_set:
            base.answer_by(chosen.query)
        yield base


@contextmanager
def opened_database(
    context: typer.Context, db: str | None, kb: str | None, *, create: bool = False
) -> Iterator[tuple[Database, str]]:
    """The database, and the name of the knowledge base in it, which need not be one that can be opened."""
    from openbook.opening import open_database

    with open_database(db or context.obj["db"], create=create, say=say) as database:
        yield database, kb or context.obj["kb"] or "default"


def questions_of(data: Path, qrels: Path | None = None) -> Dataset:
    """A data set, and on standard error what of it is not read. ``qrels`` may be the name of a folder's own.

    Raises: QueryError, DatasetError.
    """
    from openbook.evaluate import read

    require_there(data, qrels if data.is_file() else None)
    dataset = read(data, qrels=qrels)
    for note in dataset.notes:
        say(f"note: {one_line(note)}")
    return dataset


def require_there(*paths: str | Path | None) -> None:
    """Before anything is opened for nothing. Raises: QueryError: what was named is not there."""
    for path in paths:
        if path is not None and not os.path.lexists(path):
            raise QueryError("no such file or folder", where=str(path), do="check the path")


def refuse_idle(context: typer.Context, why: str, do: str, *names: str) -> None:
    """Options that were typed and would change nothing; what the environment says is for every command.

    Raises: QueryError.
    """
    if idle := typed(context, *names):
        raise QueryError(why, where=" ".join(f"--{name.replace('_', '-')}" for name in idle), do=do)


def typed(context: typer.Context, *names: str) -> list[str]:
    """Those of the options that stand in the command, before the verb or after it, and not in the environment."""

    def is_typed(name: str) -> bool:
        sources = [each.get_parameter_source(name) for each in (context, context.parent) if each is not None]
        return any(getattr(source, "name", "") == "COMMANDLINE" for source in sources)

    return [*filter(is_typed, names)]


def require_folder(*paths: Path | None) -> None:
    """Before the work is done for nothing. Raises: QueryError: there is no folder for one of these files."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise QueryError("no such folder", where=str(path.absolute().parent), do="make it, or name another")


def require_replaceable(html: Path | None = None, out: Path | None = None) -> None:
    """A page replaces a page and a report a report, nothing else: a data set named by mistake is not lost.

    Raises: QueryError.
    """
    require_folder(html, out)
    if html is not None and out is not None and html.resolve() == out.resolve():
        raise QueryError("a page and a report in one file", where=f"--html {html} --out {out}", do="name two files")
    for path, start, what in ((html, b"<!doctype html>", "page"), (out, b'{"dataset"', "report")):
        if path is not None and path.exists():
            try:
                with path.open("rb") as file:
                    own = file.read(len(start)) in (start, b"")
            except OSError:
                own = False
            if not own:
                raise QueryError(f"exists already and is no {what}", where=str(path), do="name another file")
