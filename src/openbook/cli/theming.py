"""Themes: what all the documents are about."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.asking import citation_json
from openbook.cli.opening import As, BaseUrl, Db, Json, Kb, Where, opened, refuse_idle
from openbook.cli.printing import file_name, one_line, print_json, say, shortened
from openbook.errors import QueryError

if TYPE_CHECKING:
    from openbook.similar.themes import Area, Theme, Themes
    from openbook.similar.written import WritingPlan

SHOWN_PARTS = 6
"""Themes below a theme that its line names; --json has them all."""


def themes(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Option("--number", "-n", help="So many; else as the documents suggest.")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", help="Levels: 1 themes, 2 and 3 what they consist of.")] = 2,
    llm: Annotated[
        str | None, typer.Option(help="openai:MODEL or anthropic:MODEL names and sums them up.", envvar="OPENBOOK_LLM")
    ] = None,
    base_url: BaseUrl = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what the model would take.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before passages are sent to a server.")] = False,
    filter: Where = None,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Show what the documents are about: their themes, with sources and quotes."""
    from openbook.generate import parse_llm

    if not llm:
        refuse_idle(context, "says something of a model, and no model", "give --llm, too", "base_url", "dry_run", "yes")
    model = parse_llm(llm, base_url=base_url) if llm else None
    plans: list[WritingPlan] = []

    def confirm(plan: WritingPlan) -> bool:
        plans.append(plan)
        if dry_run:
            return False
        say(_planned(plan))
        if plan.remote and plan.calls and not yes:
            if json or not sys.stdin.isatty():
                raise QueryError(
                    f"sends passages of {plan.calls} themes to {plan.model}", where="themes", do="say --yes"
                )
            return typer.confirm("Send them?", err=True)
        return True

    with opened(context, db, kb) as base:
        found = base.themes(number=number, depth=depth, filter=filter, as_=as_, llm=model, confirm=confirm)
    if dry_run:
        told = plans[0].as_json() if plans else {"calls": 0}
        print_json(told) if json else print(_planned(plans[0]) if plans else "no themes: nothing to ask")
    elif json:
        print_json(_json(found))
    else:
        _print(found)


def _planned(plan: WritingPlan) -> str:
    money = ", price unknown" if plan.cost is None else f", about {plan.cost:.4f} US dollars" if plan.remote else ""
    held = f"; {plan.withheld} more are local-only and stay as they are" if plan.withheld else ""
    return (
        f"{plan.calls} themes to be written by {one_line(plan.model)}: a call each, about {plan.input_tokens:,} tokens"
        f" in and {plan.output_tokens:,} out{money}{held}"
    )


def _json(found: Themes) -> dict[str, Any]:
    return {
        "release": found.release,
        "documents": found.documents,
        "apart": found.apart,
        "themes": [_theme(theme) for theme in found.themes],
        "areas": [_area(area) for area in found.areas],
        "ms": dict(found.ms),
        "cached": found.cached,
        "usage": asdict(found.usage),
        "notes": list(found.notes),
    }


def _theme(theme: Theme) -> dict[str, Any]:
    return {
        "id": theme.id,
        "label": theme.label,
        "terms": list(theme.terms),
        "documents": theme.documents,
        "share": theme.share,
        "sources": list(theme.sources),
        "summary": theme.summary,
        "citations": [citation_json(cited) for cited in theme.citations],
        "written": theme.written,
        "children": [_theme(child) for child in theme.children],
    }


def _area(area: Area) -> dict[str, Any]:
    return {**asdict(area), "terms": list(area.terms), "themes": list(area.themes)}


def _print(found: Themes) -> None:
    documents = "1 document" if found.documents == 1 else f"{found.documents} documents"
    print(f"{documents}, {len(found.themes)} theme{'s' * (len(found.themes) != 1)}")
    for area in found.areas:
        print(f"  {one_line(area.label)}: themes {', '.join(map(str, sorted(area.themes)))}")
    for number, theme in enumerate(found.themes, 1):
        names = [file_name(source).rsplit("/", 1)[-1] for source in theme.sources[:3]]
        more = f" and {theme.documents - 3} more" if theme.documents > 3 else ""
        print(
            f"\n{number:>2}. {one_line(theme.label)}   {theme.documents} ({theme.share:.0%}): {', '.join(names)}{more}"
        )
        if theme.written:
            print(f"    {shortened(theme.summary, 800)}")
        for at, cited in enumerate(theme.citations, 1):
            place = file_name(cited.source).rsplit("/", 1)[-1]
            print(f"    [{at}] “{shortened(cited.quote, 160)}” {place}, characters {cited.start}-{cited.end}")
        _print_parts(theme.children, "    ")
    for note in found.notes:
        say(f"note: {one_line(note)}")
    used = found.usage
    cost = "" if not used.input_tokens else f", {used.input_tokens:,} tokens in, {used.output_tokens:,} out"
    money = "" if not cost else ", price unknown" if used.cost is None else f", {used.cost:.4f} US dollars"
    say(f"{found.ms['total']:.0f} ms{cost}{money}")


def _print_parts(parts: tuple[Theme, ...], indent: str) -> None:
    for part in parts[:SHOWN_PARTS]:
        print(f"{indent}– {one_line(part.label)} ({part.documents})")
        _print_parts(part.children, f"{indent}  ")
    if len(parts) > SHOWN_PARTS:
        print(f"{indent}– and {len(parts) - SHOWN_PARTS} more")
