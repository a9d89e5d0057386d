"""Releases: building one beside that which answers, promoting it, going back."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.opening import Db, Json, Kb, opened
from openbook.cli.printing import bar, one_line, print_json, say, shortened
from openbook.errors import QueryError

if TYPE_CHECKING:
    from openbook.releasing import Plan

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

Name = Annotated[str, typer.Argument(help="A release, such as r2.", metavar="RELEASE")]


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Build a release beside the one that answers, promote it, go back."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command()
def build(
    context: typer.Context,
    recipe: Annotated[Path, typer.Option(help="TOML file; a half that it does not mention is the live release's.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what it would take.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before texts are sent to a server.")] = False,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Build a release; the live one goes on answering and taking edits. Killed, it goes on where it was."""
    from openbook.recipe import Recipe

    wanted = Recipe.load(recipe)
    with opened(context, db, kb) as base:
        plan = base.plan(wanted)
        if dry_run:
            print_json(plan.as_json()) if json else print(_planned(plan))
            return
        say(_planned(plan))
        _ask(plan, yes, json)
        with bar("building") as advance:
            done = base.build(wanted, progress=lambda at: advance(at.documents, at.of_documents))
    if json:
        print_json(done.as_json())
        return
    print(f"{done.release} is {done.state}: {done.chunks} chunks, {done.embedded} embedded, in {done.seconds:.1f} s")
    print(f"openbook release promote {done.release} has it answer")


@app.command("list")
def list_(context: typer.Context, db: Db = None, kb: Kb = None, json: Json = False) -> None:
    """List the releases, which one answers, and by how many documents an index is behind."""
    with opened(context, db, kb) as base:
        releases, behind = base.releases(), base.behind()
    if json:
        names = {release.state: release.name for release in releases}
        rows = [
            {
                "release": release.name,
                "state": release.state,
                "recipe": release.recipe.hash,
                "report": release.report,
                "behind": behind.get(release.name, 0),
                "created": release.created.isoformat(timespec="seconds"),
            }
            for release in releases
        ]
        print_json({"live": names["live"], "previous": names.get("previous"), "releases": rows})
        return
    for release in releases:
        verdict = f"  {release.report['dataset']}: {release.report['verdict']}" if release.report else ""
        late = f"  {behind[release.name]} documents behind" if behind.get(release.name) else ""
        made = release.created.astimezone().strftime("%Y-%m-%d %H:%M")
        embed = release.recipe.index.embed.model
        print(f"{release.name:<5} {release.state:<9} {made}  {one_line(embed):<32}{late}{one_line(verdict)}")


@app.command()
def show(context: typer.Context, release: Name, db: Db = None, kb: Kb = None, json: Json = False) -> None:
    """Show a release: its state, its recipe, the comparison that speaks for it."""
    with opened(context, db, kb) as base:
        found = base.show_release(release)
        behind = base.behind().get(found.name, 0)
    if json:
        print_json(
            {
                "release": found.name,
                "state": found.state,
                "recipe": found.recipe.model_dump(mode="json"),
                "hash": found.recipe.hash,
                "report": found.report,
                "behind": behind,
                "created": found.created.isoformat(timespec="seconds"),
                "promoted": found.promoted and found.promoted.isoformat(timespec="seconds"),
            }
        )
        return
    print(f"release   {found.name} ({found.state}), recipe {found.recipe.hash}")
    print(f"created   {found.created:%Y-%m-%d %H:%M:%S} UTC")
    if found.promoted:
        print(f"promoted  {found.promoted:%Y-%m-%d %H:%M:%S} UTC")
    if behind:
        print(f"behind    {behind} documents")
    if found.report:
        said = found.report
        print(f"report    {one_line(str(said['a']))} against {one_line(str(said['b']))} on", end=" ")
        print(f"{one_line(str(said['dataset']))}: {said['verdict']}")
    print(f"\n{found.recipe.to_toml()}", end="")


@app.command()
def diff(
    context: typer.Context,
    a: Name,
    b: Name,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Show where the recipes of two releases differ."""
    with opened(context, db, kb) as base:
        found = base.diff(a, b)
    if json:
        changes = [{"path": path, "a": mine, "b": its} for path, mine, its in found.changes]
        print_json({"changes": changes, "reindex": found.reindex})
        return
    for path, mine, its in found.changes:
        print(f"{path}: {_value(mine)} → {_value(its)}")
    print("they have an index each" if found.reindex else "they share an index")


@app.command()
def promote(
    context: typer.Context,
    release: Name,
    require_report: Annotated[
        bool, typer.Option("--require-report", help='Only if "openbook compare live RELEASE DATA" said ship.')
    ] = False,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Have a release answer, from the next question of every process on."""
    with opened(context, db, kb) as base:
        for restricted in base.restricted(release):
            say(one_line(str(restricted)))
        start = time.perf_counter()
        now = base.promote(release, require_report=require_report)
        _turned(now, time.perf_counter() - start, json)


@app.command()
def rollback(context: typer.Context, db: Db = None, kb: Kb = None, json: Json = False) -> None:
    """Have the release answer that answered before. No edit made since is lost."""
    with opened(context, db, kb) as base:
        start = time.perf_counter()
        now = base.rollback()
        _turned(now, time.perf_counter() - start, json)


@app.command()
def prune(
    context: typer.Context,
    releases: Annotated[
        list[str] | None, typer.Argument(help="Else all that are of no use.", metavar="RELEASE...")
    ] = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Delete releases that neither answer, nor are what a rollback returns to, nor are being built; or those named."""
    with opened(context, db, kb) as base:
        removed = base.prune(*(releases or ()))
    print_json({"removed": list(removed)}) if json else print(f"{len(removed)} removed: {', '.join(removed) or 'none'}")


def _turned(now: Any, seconds: float, json: bool) -> None:
    if json:
        print_json({"live": now.live, "previous": now.previous, "seconds": round(seconds, 3)})
    else:
        print(f"{now.live} answers now, after {seconds:.2f} s; openbook release rollback returns to {now.previous}")


def _planned(plan: Plan) -> str:
    return "\n".join(map(one_line, plan.lines()))


def _ask(plan: Plan, yes: bool, json: bool) -> None:
    """Before texts leave the machine. Raises: QueryError: nobody is there to be asked."""
    if yes or plan.host is None or not plan.texts:
        return
    if json or not sys.stdin.isatty():
        raise QueryError(f"sends {plan.texts} texts to {plan.host}", where="release build", do="say --yes")
    typer.confirm("Build it?", abort=True, err=True)


def _value(value: Any) -> str:
    return "none" if value is None else shortened(str(value), 300)
