"""Markdown: front matter cut off, headings found; the text itself stays as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from openbook.load.draft import Draft, decode, flatten, one_line
from openbook.types import Heading

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def read(data: bytes) -> Draft:
    """One Markdown file. Raises: SourceError."""
    text, encoding = decode(data)
    fields, text = split_front_matter(text)
    title = one_line(str(fields.get("title") or ""))
    metadata = flatten({key: value for key, value in fields.items() if key != "title"})
    if encoding:
        metadata = {**metadata, "encoding": encoding}
    return Draft(text, title=title, titled=bool(title), metadata=metadata, headings=headings(text))


# --- headings ---------------------------------------------------------------------------------------------------------

_MAY_HAVE = re.compile(r"^ {0,3}(?:#{1,6}(?:[ \t\n]|$)|=+[ \t]*$|-+[ \t]*$)", re.MULTILINE)


def headings(text: str) -> tuple[Heading, ...]:
    """The headings of a Markdown text, ATX and setext, in order; what looks like one in a fence or a quote is none."""
    if not _MAY_HAVE.search(text):
        return ()
    parser = _parser()
    lines = text.split("\n")
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    found = []
    tokens = parser.parse(text)
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            first, last = token.map
            title = _plain(content.content)
            if title:
                found.append(Heading(starts[first], starts[last] - 1, int(token.tag[1]), title))
    return tuple(found)


def outline(text: str) -> tuple[Heading, ...]:
    """The headings of a text that may or may not be Markdown: only ``#`` lines count, and only if one is there."""
    return headings(text) if re.search(r"^#{1,6} \S", text, re.MULTILINE) else ()


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Blocks tell where headings are; their words alone are parsed further. Tables keep a row of dashes from
    # making a heading of the row above it.
    return MarkdownIt("commonmark").enable("table").disable("inline")


@cache
def _inline() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("strikethrough")


_ANCHOR = re.compile(r"\s*\{#[\w:.-]+\}\s*$")  # `## Title {#id}`, as Hugo, Pandoc and Docusaurus write it


def _plain(content: str) -> str:
    """The words of a heading without mark-up."""
    (line,) = _inline().parseInline(_ANCHOR.sub("", content))
    words = [
        " " if token.type in ("softbreak", "hardbreak") else token.content
        for token in line.children or ()
        if token.type not in ("html_inline",)
    ]
    return one_line("".join(words))


# --- front matter -----------------------------------------------------------------------------------------------------

_FRONT = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_LONGEST_FRONT = 65_536


def split_front_matter(text: str) -> tuple[Mapping[Any, Any], str]:
    """The fields of YAML (``---``) or TOML (``+++``) front matter and the text below; bad front matter stays text."""
    match = _FRONT.match(text)
    if not match or len(match[2]) > _LONGEST_FRONT:
        return {}, text
    if not match[2].strip():
        return {}, text[match.end() :]
    fields = _toml(match[2]) if match[1] == "+++" else _yaml(match[2])
    return (fields, text[match.end() :]) if isinstance(fields, Mapping) else ({}, text)


def _yaml(source: str) -> object:
    import yaml

    try:
        return yaml.safe_load(source)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):  # a 13th month is a ValueError, a list as a key…
        return None


def _toml(source: str) -> object:
    try:
        return tomllib.loads(source)
    except (ValueError, RecursionError):
        return None
