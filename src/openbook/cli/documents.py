"""Documents: adding them, looking at them, removing them."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.opening import As, Db, Json, Kb, Recipe, opened, require_there
from openbook.cli.printing import (
    file_name,
    hopping,
    making,
    missing,
    narrowing,
    one_line,
    print_json,
    progress_of_adding,
    say,
    shortened,
)
from openbook.errors import QueryError
from openbook.types import Scalar, printable

if TYPE_CHECKING:
    from openbook.indexing import Added


def add(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(help="Files and folders.", metavar="SOURCE...")],
    include: Annotated[list[str] | None, typer.Option(help="Only paths that match this pattern.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No paths that match this pattern.")] = None,
    meta: Annotated[list[str] | None, typer.Option(help="key=value for every document (repeatable).")] = None,
    access: Annotated[list[str] | None, typer.Option(help="Principal that may read them; else as before.")] = None,
    local_only: Annotated[
        bool | None,
        typer.Option("--local-only/--not-local-only", help="Send their text to no remote model; else as before."),
    ] = None,
    keep_missing: Annotated[bool, typer.Option("--keep-missing", help="Keep documents whose file is gone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Drop even more than 30 % that is gone.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Add also what was forgotten.")] = False,
    max_bytes: Annotated[int | None, typer.Option(help="Skip larger files; 50 MiB if not said.", min=1)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Then follow them: what is saved is found.")] = False,
    poll: Annotated[float | None, typer.Option(help="With --watch: look every N seconds.", min=0.05)] = None,
    recipe: Recipe = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Add files and folders, or bring them up to date."""
    require_there(*sources)
    if poll is not None and not watch:
        raise QueryError("nothing is looked at again without --watch", where="--poll", do="say --watch, too")
    options: dict[str, Any] = {
        "include": include or (),
        "exclude": exclude or (),
        "metadata": metadata_of(meta or []),
        "access": access or None,
        "local_only": local_only,
        "keep_missing": keep_missing,
        "yes": yes,
        "again": again,
        "max_bytes": max_bytes,
    }
    with opened(context, db, kb, create=True, recipe=recipe) as base:
        if watch:
            from openbook.cli.following import follow

            with progress_of_adding() as progress:
                changes = base.watch(*sources, **options, poll=poll, progress=progress)
                first = next(changes)
            follow(chain([first], changes), json)
            return
        with progress_of_adding() as progress:
            done = base.add(*sources, **options, progress=progress)
    print_json(asdict(done)) if json else print_added(done)
    if done.skipped:
        raise typer.Exit(1)


def print_added(done: Added) -> None:
    for skipped in done.skipped:
        say(f"skipped {skipped.source}: {skipped.reason}")
    for note in done.notes:
        say(f"note: {file_name(note.source)} {note.note}")
    if done.unfamiliar is not None:
        say(f"note: {done.unfamiliar}")
    print(
        f"{done.added} added, {done.updated} updated, {done.unchanged} unchanged, {done.removed} removed,"
        f" {len(done.skipped)} skipped: {done.chunks} chunks, {done.embedded} embedded, in {done.seconds:.1f} s"
    )


def list_(context: typer.Context, as_: As = None, db: Db = None, kb: Kb = None, json: Json = False) -> None:
    """List the documents."""
    with opened(context, db, kb) as base:
        documents = base.list(as_=as_)
    if json:
        print_json({"documents": [{**d, "changed": d["changed"].isoformat()} for d in documents]})
        return
    for d in documents:
        path = d["metadata"].get("path", d["source"])
        access = one_line(" ".join(d["access"])) + (", local-only" if d["local_only"] else "")
        print(f"{one_line(str(path)):<48} {one_line(d['title']):<40.40} v{d['version']:<3} {access}")


def show(
    context: typer.Context,
    source: Annotated[str | None, typer.Argument(help="Source, id or path of a document.")] = None,
    trace: Annotated[str | None, typer.Option(help="Show a trace instead.")] = None,
    version: Annotated[int | None, typer.Option(help="An earlier version of the document.", min=1)] = None,
    as_: As = None,
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Show a document, or with --trace everything that happened to a question."""
    if (source is None) == (trace is None):
        raise QueryError("name a document or a trace", do="openbook show SOURCE, or openbook show --trace ID")
    with opened(context, db, kb) as base:
        if trace is not None:
            found = base.trace(trace, as_=as_)
            print_json(found) if json else _print_trace(found)
            return
        document = base.show(str(source), version=version, as_=as_)
    if json:
        print_json({**asdict(document), "hash": document.hash})
        return
    facts = {"source": document.source, "title": document.title, "access": " ".join(document.access)}
    if document.local_only:
        facts["local"] = "only: its text is sent to no remote model"
    for key, value in [*facts.items(), *document.metadata.items()]:
        print(f"{one_line(key):<9} {one_line(str(value))}")
    print(f"\n{printable(document.text)}")


def remove(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(help="Sources, ids or paths of documents.", metavar="SOURCE...")],
    db: Db = None,
    kb: Kb = None,
    json: Json = False,
) -> None:
    """Hide documents from every search, at once."""
    with opened(context, db, kb) as base:
        removed = base.remove(*sources)
    print_json({"removed": removed}) if json else print(f"{removed} removed")


def status(context: typer.Context, as_: As = None, db: Db = None, kb: Kb = None, json: Json = False) -> None:
    """Say what the knowledge base holds and how it answers."""
    with opened(context, db, kb) as base:
        found = base.status(as_=as_)
    if json:
        print_json(found)
        return
    model = found["embedder"]
    print(f"knowledge base  {found['kb']}{' in ' + found['db'] if 'db' in found else ''}")
    print(f"documents       {found['documents']} ({found['public']} of them public), {found['characters']} characters")
    if found["local_only"]:
        print(f"local-only      {found['local_only']} documents: their text is sent to no remote model")
    print(f"chunks          {found['chunks']}")
    print(f"release         {found['release']} (recipe {found['recipe']})")
    if back := found.get("rollback"):
        late = f", {back['behind']} documents behind" if back["behind"] else ""
        print(f"rollback        to {back['release']}{late}")
    print(f"embedder        {model['hash']}, {model['dimension']} dimensions")
    for script, count in found["unfamiliar"].items():
        print(f"                does not know the language of {count} in {script} script: keyword search carries them")
    print(f"generator       {found['generator']}")
    if "trace_days" in found:
        days = found["trace_days"]
        print(f"traces          kept {'for ever' if days is None else f'for {days} days'}")
    if found.get("unfinished_erasures"):
        print("unfinished      an erasure was stopped: openbook forget goes on")


def metadata_of(pairs: list[str]) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """``key=value`` pairs; numbers and true/false are read as such, a key given twice has both values."""
    found: dict[str, tuple[Scalar, ...]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise QueryError("not key=value", where=f"--meta {pair}", do="write it as --meta team=hr")
        value: Scalar = text
        if text in ("true", "false"):
            value = text == "true"
        else:
            for number in (int, float):
                try:
                    if math.isfinite(read := number(text)):  # "nan" and "inf" are words
                        value = read
                    break
                except (ValueError, OverflowError):
                    continue
        found[key.strip()] = (*found.get(key.strip(), ()), value)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def _print_trace(trace: dict[str, Any]) -> None:
    print(f"question  {one_line(trace['question'])}\nasked     {trace['created']}, release {trace['release']}")
    print("ms        " + ", ".join(f"{stage} {ms:.1f}" for stage, ms in trace["ms"].items()))
    if trace["filter"]:
        print(f"filter    {one_line(trace['filter'])}")
    for line in missing(trace["details"]):
        print(line)
    for line in making(trace["question"], trace["details"]):
        print(f"made      {line}")
    for call in trace["details"].get("calls", ()):
        used = call.get("usage")
        cost = "" if not used or used["cost"] is None else f", ${used['cost']:.6f}"
        tokens = f", {used['input_tokens']} + {used['output_tokens']} tokens{cost}" if used else ""
        print(f"asked     {one_line(call['model'])}: {call['stage']}, {call['ms']:.1f} ms{tokens}")
    for line in narrowing(trace["details"]["filters"]) if "filters" in trace["details"] else ():
        print(line)
    for line in hopping(trace["details"]["hops"]) if "hops" in trace["details"] else ():
        print(line)
    if told := trace["details"].get("rerank"):
        budget = f" in {told['budget_ms']} ms" if "budget_ms" in told else ""
        skipped = f"; not reranked: {one_line(told['skipped'])}" if "skipped" in told else ""
        print(f"rerank    {told['candidates']} candidates{budget}{skipped}")
    for of, whom in (("generate", "model"), ("rerank", "reranker")):
        if ranks := trace["details"].get("withheld", {}).get(of):
            print(f"withheld  hits {', '.join(map(str, ranks))}: local-only, not sent to the {whom}")
    for said in trace["feedback"]:
        about = "" if said["hit"] is None else f" (hit {said['hit']})"
        print(f"feedback  {one_line(said['answer'] or said['verdict'])}{about}")
    if "answer" in trace:
        answer = trace["answer"]
        given = "asked back" if "clarification" in trace["details"] else "given"
        abstained = f"abstained: {one_line(answer['reason'] or '(closed)')}"
        print(f"answer    {abstained if answer['abstained'] else given}")
        for span in answer["citations"]:
            if span["document"] is None:
                print("  cited   (closed)")
                continue
            text = shortened(span["text"] or "(gone)", 160)
            print(f"  cited   {one_line(str(span['source']))} {span['start']}-{span['end']}: {text}")
    for rank, span in enumerate(trace["hits"], 1):
        if span["document"] is None:  # closed to this caller since
            print(f"{rank:>2}. (closed)")
            continue
        stages = ", ".join(f"{name} {s['rank']} ({s['score']:.3f})" for name, s in span["stages"].items())
        print(
            f"{rank:>2}. {span['score']:.3f}  {one_line(str(span['source']))} {span['start']}-{span['end']}  {stages}"
        )
        print(f"    {shortened(span['text'] or '(gone)', 160)}")
