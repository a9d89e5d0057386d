"""Keeping a knowledge base sound: verify, export, import."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.opening import As, Db, Json, Kb, opened, opened_database
from openbook.cli.printing import bar, counted, one_line, print_json, say

if TYPE_CHECKING:
    from openbook.exporting import Exported
    from openbook.importing import Imported


def verify(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Make anew what is derived and broken.")] = False,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Check that everything is as it must be, and with --repair mend what can be."""
    from openbook.verification import verify as verify_

    with opened_database(context, db, kb) as (database, name), bar("verifying") as advance:
        done = verify_(database, name, repair=repair, progress=advance)
    if json:
        print_json(asdict(done))
    else:
        for what in done.repaired:
            print(f"repaired    {one_line(what)}")
        for check in done.checks:
            told = "ok" if check.ok else f"{check.count} broken: {check.repair}"
            print(f"{check.name:<11} {told}" + (f" ({one_line(check.note)})" if check.note else ""))
            for example in check.examples:
                print(f"            {one_line(example)}")
    if not done.ok:
        raise typer.Exit(1)


def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    no_vectors: Annotated[
        bool, typer.Option("--no-vectors", help="Leave vectors out; importing then takes the model.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it is there already.")] = False,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Write a whole knowledge base into one file, but for traces and feedback."""
    with opened(context, db, kb) as base, bar("exporting") as advance:
        done = base.export(file, vectors=not no_vectors, force=force, as_=as_, progress=advance)
    if json:
        print_json(asdict(done))
    else:
        print(f"{_holding(done)}, {counted(done.vectors, 'vector')}: {done.bytes:,} bytes in {done.seconds:.1f} s")


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What openbook export wrote.")],
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Make a knowledge base of an export, under its own name or the one that --kb gives."""
    from openbook.knowledge_base import import_ as import_from

    with bar("importing") as advance:
        done = import_from(file, db or context.obj["db"], kb or context.obj["kb"], progress=advance, say=say)
    if json:
        print_json(asdict(done))
    else:
        for left in done.left_out:
            say(f"left out {one_line(left.source)}: {left.reason}")
        print(
            f"{_holding(done)}, {done.embedded} embedded, as knowledge base {one_line(done.kb)} in {done.seconds:.1f} s"
        )


def _holding(done: Exported | Imported) -> str:
    documents, versions = counted(done.documents, "document"), counted(done.versions, "version")
    return f"{documents} in {versions}, {counted(done.releases, 'release')}, {counted(done.chunks, 'chunk')}"
