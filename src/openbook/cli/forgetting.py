"""Erasing documents, and the receipt of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.opening import Db, Json, Kb, opened
from openbook.cli.printing import file_name, one_line, print_json, say
from openbook.errors import QueryError

if TYPE_CHECKING:
    from openbook.forgetting import Receipt
    from openbook.store.erasure import Doomed


def forget(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Sources, ids or paths; none: finish.", metavar="[SOURCE...]")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Erase documents: text, versions, vectors, words, traces. Cannot be undone; locks tables while it rewrites them.

    Without a name it finishes an erasure that was stopped.
    """
    if names and json and not yes:
        raise QueryError("nobody can be asked", where="--json", do="give --yes, too; nothing was forgotten")
    with opened(context, db, kb) as base:
        receipt = base.forget(*names or (), confirm=None if yes else _asked, say=say)
    if receipt is None:
        say("nothing was forgotten")
        raise typer.Exit(1)
    print_json(asdict(receipt)) if json else _print(receipt)
    if not receipt.complete:
        raise typer.Exit(1)


def _asked(doomed: Sequence[Doomed]) -> bool:
    for one in doomed:
        versions = f"{one.versions} version{'s' * (one.versions != 1)}"
        removed = ", removed" if one.removed else ""
        say(f"{file_name(one.source)}  {one_line(one.title)}  ({versions}, {one.characters:,} characters{removed})")
    what = "1 document" if len(doomed) == 1 else f"{len(doomed)} documents"
    print(f"Erase {what}, with every trace that found them? It cannot be undone. [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        say("")
    return answer.strip().lower() in ("y", "yes")


def _print(receipt: Receipt) -> None:
    if not receipt.receipt:
        print("nothing to finish")
    for one in receipt.documents:
        name = file_name(one.source) if one.source is not None else "a document"
        print(f"forgotten  {name}\n           {one.document}, SHA-256 with {one.salt}: {one.hash}")
    if receipt.erased:
        print("erased     " + ", ".join(f"{place}: {count:,}" for place, count in receipt.erased.items()))
    for model in receipt.models:
        kind = "query adapter" if model.kind == "adapter" else "embedding model"
        of = f", of {', '.join(map(one_line, model.releases))}" if model.releases else ""
        print(f"withdrawn  {kind} {model.model}{of}: it was trained on it")
    for left in receipt.pending:
        print(f"pending    {one_line(left.place)}: {one_line(left.why)}")
    if receipt.receipt:
        print(f"receipt    {receipt.receipt}{'' if receipt.complete else ', not complete: openbook forget goes on'}")
