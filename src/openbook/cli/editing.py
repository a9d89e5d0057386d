"""What happens to documents after they were added: edits, histories, restoring."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.documents import metadata_of
from openbook.cli.opening import As, Db, Json, Kb, opened, require_there
from openbook.cli.printing import file_name, one_line, print_json
from openbook.errors import QueryError, SourceError
from openbook.types import Document, Skipped

if TYPE_CHECKING:
    from openbook.editing import Edited

Name = Annotated[str, typer.Argument(help="Source, id or path of a document.", metavar="NAME")]


def edit(
    context: typer.Context,
    name: Name,
    title: Annotated[str | None, typer.Option(help="Its new title.")] = None,
    source: Annotated[str | None, typer.Option(help="Its new source; the former one goes on meaning it.")] = None,
    meta: Annotated[list[str] | None, typer.Option(help="key=value to add or replace (repeatable).")] = None,
    no_meta: Annotated[list[str] | None, typer.Option(help="Key to drop (repeatable).")] = None,
    access: Annotated[list[str] | None, typer.Option(help="Principal that may read it, of all (repeatable).")] = None,
    text: Annotated[str | None, typer.Option(help="File with its new text; - reads standard input.")] = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Change a document: its title, source, metadata, readers or text. All that is said at once, or nothing."""
    if not (title is not None or source is not None or meta or no_meta or access or text is not None):
        raise QueryError("nothing to change", where=name, do="openbook edit --help shows what can be")
    metadata = {**dict.fromkeys(no_meta or ()), **metadata_of(meta or [])}
    content = None if text is None else _text(text)
    with opened(context, db, kb) as base:
        done = base.edit(name, source=source, title=title, metadata=metadata, access=access or None, text=content)
    _print_edited(done, json)


def restore(
    context: typer.Context,
    name: Name,
    version: Annotated[int | None, typer.Option(help="Bring back the text and title of this one.", min=1)] = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Bring back a removed document, or an earlier version of one, as a new version."""
    with opened(context, db, kb) as base:
        done = base.restore(name, version)
    _print_edited(done, json)


def history(
    context: typer.Context, name: Name, as_: As = None, db: Db = None, kb: Kb = None, json: Json = False
) -> None:
    """List the versions of a document: when, how long, what changed, which one counts."""
    with opened(context, db, kb) as base:
        found = base.history(name, as_=as_)
    if json:
        versions = [{**asdict(one), "created": one.created.isoformat()} for one in found.versions]
        removed = None if found.removed is None else found.removed.isoformat()
        print_json({**asdict(found), "versions": versions, "removed": removed})
        return
    print(file_name(found.source))
    if found.former:
        print(f"before: {', '.join(map(file_name, found.former))}")
    if found.edited:
        print(f"edited here, over what its source says: {', '.join(map(one_line, found.edited))}")
    for one in found.versions:
        if one.same_as is not None:
            what = f"as version {one.same_as}"
        else:
            what = f"+{one.added} -{one.removed} lines" if one.version > 1 else f"{one.added} lines"
        state = "current" if found.removed is None else f"removed {_when(found.removed)}"
        mark = f"  ({state})" if one.current else ""
        facts = f"{_when(one.created)}  {one.characters:>9,} characters  {what:<18}"
        print(f"v{one.version:<4} {facts}  {one_line(one.title)}{mark}")


def _text(path: str) -> str:
    """What a file says, as ``add`` would read it. Raises: QueryError: it is not there. SourceError: it is not text."""
    from openbook.load import SUFFIXES, read
    from openbook.load.draft import decode

    if path == "-":
        return decode(sys.stdin.buffer.read())[0]
    require_there(path)
    if Path(path).suffix.lower() in SUFFIXES:
        found = [*read(path)]
        if len(found) == 1 and isinstance(found[0], Document):
            return found[0].text
        why = found[0].reason if found and isinstance(found[0], Skipped) else "holds several documents"
        raise SourceError(why, where=path)
    try:
        return decode(Path(path).read_bytes())[0]
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror or error})", where=path, do="check the file") from None


def _print_edited(done: Edited, json: bool) -> None:
    if json:
        print_json(asdict(done))
        return
    parts = ", ".join(part for part in done.changed if part != "removed")
    what = (
        "; ".join(["is back"] * ("removed" in done.changed) + [f"{parts} changed"] * bool(parts)) or "nothing changed"
    )
    version = f"version {done.version}" + f", before {done.before}" * (done.version != done.before)
    print(f"{file_name(done.source)}: {what}; {version}, {done.embedded} embedded")


def _when(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"
