"""The command line: the verbs of ``KnowledgeBase``, their output, and nothing else.

documents.py   add, list, show, remove, status
looking.py     chunks
theming.py     themes
keeping.py     verify, export, import
asking.py      search, ask, feedback
measuring.py   evaluate, compare, check, prefer, prices
editing.py     edit, history, restore
following.py   add --watch
releases.py    release build, list, show, diff, promote, rollback, prune
forgetting.py  forget
finetuning/    finetune data, embedder, reranker, compare
datasets.py    dataset from-feedback, sample, annotate, write, check
opening.py     the options that verbs share, and the knowledge base that they name
printing.py    text, JSON, progress and failures
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from openbook.cli import (
    asking,
    datasets,
    documents,
    editing,
    finetuning,
    forgetting,
    keeping,
    looking,
    measuring,
    releases,
    theming,
)
from openbook.cli.opening import Db, Json, Kb
from openbook.cli.printing import Interrupted, fail, print_json
from openbook.errors import OpenbookError, QueryError, RecipeError

app = typer.Typer(
    name="openbook",
    help="Answers from your own documents, with citations a reader can check.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(context: typer.Context, db: Db = None, kb: Kb = None) -> None:
    context.obj = {"db": db, "kb": kb}
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def version(json: Json = False) -> None:
    """Print the version."""
    from openbook import __version__

    print_json({"version": __version__}) if json else print(__version__)


VERBS: dict[str, Callable[..., None]] = {
    "add": documents.add,
    "search": asking.search,
    "ask": asking.ask,
    "themes": theming.themes,
    "list": documents.list_,
    "show": documents.show,
    "chunks": looking.chunks,
    "remove": documents.remove,
    "edit": editing.edit,
    "history": editing.history,
    "restore": editing.restore,
    "forget": forgetting.forget,
    "status": documents.status,
    "verify": keeping.verify,
    "export": keeping.export,
    "import": keeping.import_,
    "evaluate": measuring.evaluate,
    "prices": measuring.prices,
    "prefer": measuring.prefer,
    "compare": measuring.compare,
    "check": measuring.check,
    "feedback": asking.feedback,
    "traces": asking.traces,
    "version": version,
}
"""In the order in which help lists them."""

for _name, _verb in VERBS.items():
    app.command(_name)(_verb)
app.add_typer(datasets.app, name="dataset")
app.add_typer(finetuning.app, name="finetune")
app.add_typer(releases.app, name="release")


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
        if isinstance(error, Interrupted):
            code = _INTERRUPTED
        fail(error.what, error.where, error.do, json)
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
        fail("interrupted", "", "run it again; what was acknowledged is kept", json)
    except BrokenPipeError:
        code = 1
        sys.stderr.close()
    except _ClickError as error:
        code = 2
        fail(error.format_message().rstrip(".?"), "", "openbook --help shows the verbs and their options", json)  # type: ignore[attr-defined]
    sys.exit(code)
