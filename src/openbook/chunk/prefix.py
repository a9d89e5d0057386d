"""What is embedded of a chunk: where it stands (title, heading path), then its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from openbook.types import Chunk

_RUN = re.compile(r"[A-Za-z]+|[0-9]+|\S")
_MARKUP = "#*_>|=- \t\n"
_SEPARATOR = " / "


def embedded_text(title: str, chunk: Chunk, max_tokens: int = 254) -> str:
    """The chunk's text below its context, and that below a line with the title and the heading path, outermost first.

    A title or heading that the text itself begins with, or that repeats the one before it, is not said twice. The line
    is bounded to about a quarter of ``max_tokens`` (the chunker's own; the default is the packaged model's) whatever
    the tokenizer: the outermost headings make way first, and a title longer than that is cut.
    """
    line = prefix(title, chunk.headings, max_tokens, chunk.text)
    return "\n".join(part for part in (line, chunk.context, chunk.text) if part)


def prefix(title: str, headings: Sequence[str], max_tokens: int, text: str = "") -> str:
    """The line above the text; ``text`` is looked at only to leave out what it begins with."""
    parts: list[str] = []
    for part in (title, *headings):
        part = " ".join(part.split())
        if part and not (parts and _same(parts[-1], part)):
            parts.append(part)
    kept = _bounded(tuple(parts), max_tokens // 4)
    if text and kept:
        opening = text[:400].lstrip(_MARKUP)
        first_line = _plain(opening.partition("\n")[0])
        kept = tuple(
            part
            for i, part in enumerate(kept)
            if _plain(part) != first_line and not (i == 0 and part == parts[0] and _begins(opening, part))
        )
    return _SEPARATOR.join(kept)


@lru_cache(maxsize=4096)
def _bounded(parts: tuple[str, ...], room: int) -> tuple[str, ...]:
    sizes = [_size(part) + 1 for part in parts]
    kept = list(parts)
    while len(kept) > 1 and sum(sizes) > room:
        del kept[1], sizes[1]
    if kept and sizes[0] > room:
        kept = [cut] if (cut := _cut(kept[0], room)) else []
    return tuple(kept)


def _size(text: str) -> int:
    """An estimate of tokens that a real tokenizer rarely passes, and never by more than about three times."""
    return sum((len(run) + 2) // 3 if run.isascii() else 1 + (run > "\uffff") for run in _RUN.findall(text))


def _cut(line: str, room: int) -> str:
    end = 0
    for match in _RUN.finditer(line):
        run = match[0]
        room -= (len(run) + 2) // 3 if run.isascii() else 1 + (run > "\uffff")
        if room < 0:
            break
        end = match.end()
    return line[:end]


def _plain(text: str) -> str:
    return " ".join(text.strip(_MARKUP).split()).casefold()


def _same(a: str, b: str) -> bool:
    return _plain(a) == _plain(b)


def _begins(text: str, title: str) -> bool:
    """Whether the text begins with the title, as whole words."""
    start = " ".join(text.split())[: len(title) + 1].casefold()
    title = title.casefold()
    return start.startswith(title) and not (start[len(title) :] or " ").isalnum()
