"""Keeping a knowledge base sound: verify, export, import."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from openbook.cli.opening import Db, Json, Kb, opened_database
from openbook.cli.printing import bar, one_line, print_json


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
