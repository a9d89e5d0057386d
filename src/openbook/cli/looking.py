"""Chunks, to be read before anything is measured: where documents are cut, and what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.opening import As, Db, Json, Kb, opened
from openbook.cli.printing import counted, file_name, one_line, print_json, say
from openbook.errors import NotFound
from openbook.recipe import Recipe
from openbook.types import Skipped, printable

if TYPE_CHECKING:
    from openbook.chunk.look import Looked
    from openbook.looking import Boundaries


def chunks(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A document's source, id or path; or a file or folder.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="TOML file: cut the file or folder by it; nothing is added.")
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only chunks that something is wrong with.")] = False,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Show where a document is cut into chunks, and which of the cuts look wrong."""
    found: list[Boundaries] = []
    skipped: list[Skipped] = []
    for item in _cut_by(source, recipe) if recipe else _cut_in(context, source, as_, db, kb):
        found.append(item) if not isinstance(item, Skipped) else skipped.append(item)
    flags = Counter(flag for document in found for looked in document.chunks for flag in looked.flags)
    count = sum(len(document.chunks) for document in found)
    for each in skipped:
        say(f"skipped {each.source}: {each.reason}")
    if json:
        print_json(
            {
                "documents": [_document(document, flagged) for document in found],
                "chunks": count,
                "flags": dict(flags.most_common()),
                "skipped": [{"source": each.source, "reason": each.reason} for each in skipped],
            }
        )
    else:
        for document in found:
            _print(document, flagged)
        told = ", ".join(f"{times} {flag}" for flag, times in flags.most_common()) or "nothing flagged"
        print(f"{counted(len(found), 'document')}, {counted(count, 'chunk')}: {told}")
    if skipped:
        raise typer.Exit(1)


def _cut_by(source: str, recipe: Path) -> Iterator[Boundaries | Skipped]:
    from openbook.looking import boundaries_of

    yield from boundaries_of(source, Recipe.load(recipe).index)


def _cut_in(
    context: typer.Context, source: str, as_: list[str] | None, db: str | None, kb: str | None
) -> Iterator[Boundaries | Skipped]:
    """A document as the knowledge base holds it; a file or folder that it does not hold, as it would be cut there; and
    by the default recipe where there is no knowledge base."""
    from openbook.looking import boundaries_of

    is_there = os.path.lexists(source)
    try:
        with opened(context, db, kb) as base:
            try:
                yield base.boundaries(source, as_=as_)
            except NotFound:
                if not is_there:
                    raise
                yield from boundaries_of(source, base.recipe.index, embedder=base.embedder)
    except NotFound as error:
        if not is_there:
            if error.where == source:
                raise
            what = "neither a file nor a document of a knowledge base"
            raise NotFound(what, where=source, do=f"check the path ({error.where}: {error.what})") from None
        yield from boundaries_of(source, Recipe().index)


def _document(found: Boundaries, flagged: bool) -> dict[str, Any]:
    return {
        "source": found.document.source,
        "title": found.document.title,
        "characters": len(found.document.text),
        "chunks": [_chunk(number, looked) for number, looked in _shown(found, flagged)],
    }


def _chunk(number: int, looked: Looked) -> dict[str, Any]:
    chunk = looked.chunk
    return {
        "number": number,
        "start": chunk.start,
        "end": chunk.end,
        "heading": list(chunk.headings),
        "page": chunk.page,
        "tokens": looked.tokens,
        "flags": list(looked.flags),
        "passage": None if chunk.passage is None else list(chunk.passage),
        "context": chunk.context,
        "text": chunk.text,
    }


def _shown(found: Boundaries, flagged: bool) -> list[tuple[int, Looked]]:
    return [(number, looked) for number, looked in enumerate(found.chunks, 1) if looked.flags or not flagged]


def _print(found: Boundaries, flagged: bool) -> None:
    shown = _shown(found, flagged)
    if not shown and flagged:
        return
    length = f"{counted(len(found.chunks), 'chunk')}, {counted(len(found.document.text), 'character')}"
    print(f"{file_name(found.document.source)}: {length}\n")
    for number, looked in shown:
        chunk = looked.chunk
        facts = [f"{chunk.start}-{chunk.end}", counted(looked.tokens, "token")]
        facts += [f"shown as {chunk.passage[0]}-{chunk.passage[1]}"] if chunk.passage is not None else []
        facts += [f"page {chunk.page}"] if chunk.page is not None else []
        facts += [one_line(" › ".join(chunk.headings))] if chunk.headings else []
        flags = f"  [{', '.join(looked.flags)}]" if looked.flags else ""
        print(f"── {number}  {', '.join(facts)}{flags}")
        if chunk.context:
            print(f"   read with: {one_line(chunk.context)}")
        print(f"{printable(chunk.text)}\n")
