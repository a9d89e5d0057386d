"""What is printed, and how: text that no terminal obeys, one JSON object, progress, and failures in a line."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from openbook.errors import OpenbookError
from openbook.types import printable

if TYPE_CHECKING:
    from openbook.finetune.embedder import Step


def print_json(value: dict[str, Any]) -> None:
    line = json_.dumps(value, ensure_ascii=False, default=str)
    try:
        line.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # half a surrogate pair out of a file name, or an output that is not UTF-8
        line = json_.dumps(value, default=str)
    print(line)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Interrupted(OpenbookError):
    """Somebody pressed Ctrl-C."""


@contextmanager
def interruptible(do: Callable[[], str]) -> Iterator[None]:
    """Says, where somebody presses Ctrl-C, what is lost by it and what to ``do`` next. Raises: Interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", do=do()) from None


def fail(what: str, where: str, do: str, json: bool) -> None:
    error = OpenbookError(what, where=where, do=do)
    if json:
        print_json({"error": {"what": error.what, "where": error.where, "do": error.do}})
    say(f"openbook: {error}")


def shortened(text: str, length: int) -> str:
    line = one_line(text)
    return line if len(line) <= length else line[: length - 1].rsplit(" ", 1)[0] + "…"


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def one_line(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def print_lines(lines: Iterable[str]) -> None:
    """A report's lines; what stands below another is set in by two."""
    for line in lines:
        print(one_line(line) if not line.startswith(" ") else f"  {one_line(line)}")


TRANSFORMS = ("spelling", "glossary", "expansion")


def transforming(details: Mapping[str, Any]) -> list[str]:
    """What a question was looked for by, besides as it was typed, a line each, from its trace."""
    spelling, glossary, expansion = (details.get(name, {}) for name in TRANSFORMS)
    lines = [f"“{one['from']}” read as “{one['to']}”: {one['why']}" for one in spelling.get("changed", ())]
    if "skipped" in spelling:
        lines.append(f"spelling left as it is: {spelling['skipped']}")
    if "also" in spelling:
        lines.append(f"looked for as well: {', '.join(spelling['also'])}")
    lines += [f"“{word}” means as well: {', '.join(means)}" for word, means in glossary.get("added", {}).items()]
    if terms := expansion.get("terms"):
        lines.append(f"searched again with words of the first {expansion['chunks']} passages: {', '.join(terms)}")
    return [one_line(line) for line in lines]


def narrowing(filters: dict[str, Any], *, whole: bool = True) -> list[str]:
    """What a question was narrowed to, and not, a line each, from its trace. Not ``whole``: without what was only
    mentioned in it."""
    lines = [f"narrowed to {one['filter']} (“{one['words']}”: {one['why']})" for one in filters["applied"]]
    for one in filters["dropped"]:
        if not (whole or one.get("meant", True)):
            continue
        to = f" to {one['filter']}" if one["filter"] else ""
        lines.append(f"narrowed not{to} (“{one['words']}”: {one['why']})")
    if "skipped" in filters:
        lines.append(f"narrowed not: {filters['skipped']}")
    return [one_line(line) for line in lines]


def missing(details: Mapping[str, Any]) -> list[str]:
    """The fields of the caller's filter that no document has, a line each, from a trace."""
    if not (unknown := details.get("unknown_fields")):
        return []
    from openbook.store.vocabulary import unknown_field  # not needed for an answer

    return [one_line(unknown_field(name, near)) for name, near in unknown.items()]


def hopping(hops: dict[str, Any]) -> list[str]:
    """What was looked for besides the question, and what led there, a line each, from its trace."""
    lines = [f"looked for: {query}" for query in (*hops.get("parts", ()), *hops.get("queries", ()))]
    if hops.get("named"):
        lines.append(f"named: {', '.join(hops['named'])}")
    for hop in hops.get("hops", ()):
        by = f"by {', '.join(hop['bridges'])}" if hop["bridges"] else "nothing led on"
        lines.append(f"hop {hop['hop']}: read {', '.join(hop['read'])}; {by}")
    return [one_line(line) for line in [*lines, f"stopped: {hops['stopped']}"]]


def making(question: str, details: Mapping[str, Any]) -> list[str]:
    """What a question was made into before it was looked for, and what was asked of models for it in vain, a line
    each."""
    lines = []
    if (told := details.get("standalone")) and told["question"] != question:
        lines.append(f"asked as: {told['question']} (by {told['by']}, after what was said before)")
    for query in details.get("queries", ())[1:]:
        lines.append(f"{query['stage']}: {query['text']}")
    for call in details.get("calls", ()):
        if "skipped" in call and call["stage"] != "filters":  # of which the filters tell
            lines.append(f"{call['stage']} skipped: {call['skipped']}")
    return [shortened(line, 300) for line in lines]


def stream(text: str) -> None:
    print(printable(text), end="", file=sys.stderr, flush=True)


def file_name(source: str) -> str:
    """A source as its owner would type it."""
    return one_line(unquote(source.removeprefix("file://")) if source.startswith("file://") else source)


@contextmanager
def bar(what: str, *, told: Callable[[], str] | None = None) -> Iterator[Any]:
    """A progress bar on standard error where a person is looking, nothing elsewhere. ``told`` says anew, each time,
    what is at work."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of, description=told() if told else what)


@contextmanager
def curves(what: str) -> Iterator[Any]:
    """A bar with the loss and the dev score of a training, on standard error where a person is looking; elsewhere a
    line for each time that the dev questions were asked, and as soon as it is known how long it will take."""
    from openbook.finetune.embedder.trained import sparks

    terminal = sys.stderr.isatty()
    loss: list[float] = []
    dev: list[float] = []
    seed, begun, foretold = "", (0, monotonic()), False

    def told() -> str:
        parts = [f"{what} {seed}".strip(), *([f"loss {loss[-1]:.3f} {sparks(loss)}"] if loss else [])]
        return "  ".join([*parts, *([f"dev {dev[-1]:.4f} {sparks(dev)}"] if dev else [])])

    def left(step: Step) -> str:
        """How long it takes yet, where that is minutes: by the steps since the first that was told."""
        steps, seconds = step.at - begun[0], monotonic() - begun[1]
        minutes = round((step.of - step.at) * seconds / steps / 60) if steps > 0 else 0
        return f"about {counted(minutes, 'minute')} left" if minutes else ""

    with bar(what, told=told) as advance:

        def take(step: Step) -> None:
            nonlocal seed, begun, foretold
            if step.at == 0 or step.seed != seed or not (loss or dev):
                seed, begun, foretold = step.seed, (step.at, monotonic()), False
                loss.clear()
                dev.clear()
            if step.loss is not None:
                loss.append(step.loss)
            if step.ndcg is not None:
                dev.append(step.ndcg)
            advance(step.at, step.of)
            if not terminal and (step.ndcg is not None or not foretold):
                of = f"{step.at} of {step.of} steps" if step.at else "before training"
                score = f"dev nDCG@10 {step.ndcg:.4f}" if step.ndcg is not None else ""
                news = ", ".join(part for part in (score, left(step)) if part)
                foretold = foretold or "left" in news
                if news:
                    say(", ".join(part for part in (seed, f"{of}: {news}") if part))

        yield take


@contextmanager
def progress_of_adding() -> Iterator[Any]:
    with bar("adding") as advance:
        yield lambda p: advance(p.chunks, p.of_chunks) if p.of_chunks else advance(p.files, p.of_files)
