"""CSV as a table, JSON as readable lines, and collections (BEIR's ``corpus.jsonl`` and its like) as many documents."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO, Any

from openbook.errors import SourceError
from openbook.load.draft import Draft, decode, flatten, normalise, one_line, pipe_table
from openbook.load.markdown import outline

# --- CSV --------------------------------------------------------------------------------------------------------------

_DELIMITERS = ",;\t|"


def read_csv(data: bytes) -> Draft:
    """One table; its first row is the header. Raises: SourceError."""
    text, encoding = decode(data)
    csv.field_size_limit(1 << 30)  # a cell may hold a whole document; the file's own limit is the caller's
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise SourceError(f"not a table: {error}", do="mend its quotes") from None
    return Draft(pipe_table(rows), metadata={"encoding": encoding} if encoding else {})


def _delimiter(text: str) -> str:
    """The delimiter that cuts the first rows into the most columns, and each row into as many.

    ``csv.Sniffer`` counts characters without reading quotes, and fails on short tables.
    """
    best, most = ",", 0.0
    for delimiter in _DELIMITERS:
        try:
            rows = islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 50)
            widths = [len(row) for row in rows if row]
        except csv.Error:
            continue
        if not widths:
            continue
        width = widths[0]
        agreement = widths.count(width) / len(widths)
        if width > 1 and agreement * agreement * width > most:
            best, most = delimiter, agreement * agreement * width
    return best


# --- JSON -------------------------------------------------------------------------------------------------------------

_TEXT = ("text", "content")
_TITLE = ("title", "name")


def read_json(data: bytes) -> Iterator[Draft | SourceError]:
    """A list of objects that have a text: a document each. Anything else: one document of readable lines.

    Raises:
        SourceError: not JSON.
    """
    text, encoding = decode(data)
    if not text.strip():
        return
    try:
        content = json.loads(text)
    except ValueError as error:  # a number of 5,000 digits is one, too
        raise SourceError(f"not JSON: {error}", do="mend that place") from None
    except RecursionError:
        raise SourceError("nested too deeply", do="flatten it") from None
    if _is_document(content):
        yield _record(content, None, set(), encoding)
    elif isinstance(content, list) and content and all(map(_is_document, content)):
        seen: set[str] = set()
        for number, row in enumerate(content, 1):
            yield _record(row, number, seen, encoding)
    else:
        yield _rendered(content, encoding)


def read_jsonl(stream: IO[bytes], most: int) -> Iterator[Draft | SourceError]:
    """A document for each line, read one line at a time, so that a file of any size fits; ``most`` bytes a line.

    A line that is an object with a ``text`` (or ``content``) is that document, BEIR's ``_id``, ``title`` and
    ``metadata`` included; any other is rendered as JSON is. A line that cannot be read is yielded as its error, whose
    ``where`` is the line's number.
    """
    start = stream.read(4)
    stream.seek(0)
    lines = _utf16_lines(stream, most) if start[:2] in (b"\xff\xfe", b"\xfe\xff") else _lines(stream, most)
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        where = str(number)
        if line is None:
            why = f"the line is over the limit of {most / (1 << 20):,.1f} MiB"
            yield SourceError(why, where=where, do="split it or add it with a larger --max-bytes")
            continue
        if not line.strip():
            continue
        try:
            text, encoding = decode(line)
            row = json.loads(text)
            draft = _record(row, number, seen, encoding) if _is_document(row) else _rendered(row, encoding, where)
        except SourceError as error:
            yield SourceError(error.what, where=where, do=error.do)
        except json.JSONDecodeError as error:
            yield SourceError(f"not JSON: {error.msg} at column {error.colno}", where=where, do="mend that line")
        except ValueError as error:
            yield SourceError(f"not JSON: {error}", where=where, do="mend that line")
        except RecursionError:
            yield SourceError("nested too deeply", where=where, do="flatten it")
        else:
            yield draft


def _lines(stream: IO[bytes], most: int) -> Iterator[bytes | None]:
    while line := stream.readline(most + 1):
        if len(line) > most and not line.endswith(b"\n"):
            while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line


def _utf16_lines(stream: IO[bytes], most: int) -> Iterator[bytes | None]:
    data = stream.read(most + 1)
    if len(data) > most:
        raise SourceError(f"UTF-16, and over the limit of {most / (1 << 20):,.1f} MiB", do="convert it to UTF-8")
    yield from (line.encode() for line in decode(data)[0].split("\n"))


def _is_document(row: object) -> bool:
    return isinstance(row, dict) and any(isinstance(row.get(key), str) for key in _TEXT)


def _record(row: Any, number: int | None, seen: set[str], encoding: str | None) -> Draft | SourceError:
    """The document that an object is. ``_id`` names it everywhere (BEIR), ``id`` or its ``number`` within its file."""
    key = next(key for key in _TEXT if isinstance(row.get(key), str))
    name = next((str(row[name]) for name in ("_id", "id") if isinstance(row.get(name), str | int)), None)
    where = "" if number is None else str(number)
    part = normalise(name) if name else where
    if name and part in seen:
        return SourceError(f"the id {part} stands further up already", where=where, do="give it an id of its own")
    seen.add(part)
    text = normalise(row[key])
    if not text.strip():
        return SourceError("empty", where=where, do="give it a text or remove it")
    own = row.get("metadata")
    fields = {k: v for k, v in row.items() if k not in (key, "_id", "id", "title", "metadata")}
    metadata = flatten({**fields, **(own if isinstance(own, Mapping) else {})})
    if encoding:
        metadata = {**metadata, "encoding": encoding}
    title = row.get("title")
    return Draft(
        text,
        title=one_line(title) if isinstance(title, str) else "",
        titled=True,  # an untitled record has no title; its file's name is not it
        metadata=metadata,
        headings=outline(text),
        source=part if "_id" in row and name == str(row["_id"]) else None,
        part=part or None,
    )


def _rendered(content: object, encoding: str | None, part: str | None = None) -> Draft:
    title = ""
    if isinstance(content, dict):
        title = next((one_line(v) for k in _TITLE if isinstance(v := content.get(k), str)), "")
    try:
        text = "\n".join(_readable(content, ""))
    except RecursionError:
        raise SourceError("nested too deeply", do="flatten it") from None
    metadata = {"encoding": encoding} if encoding else {}
    return Draft(text, title=title, titled=bool(title), metadata=metadata, part=part)


def _readable(value: object, indent: str) -> Iterator[str]:
    """``key: value`` lines; what is nested stands indented below its key, list items after a dash."""
    match value:
        case dict():
            for key, item in value.items():
                name = one_line(str(key))
                if isinstance(item, dict | list) and item:
                    yield f"{indent}{name}:"
                    yield from _readable(item, indent + "  ")
                else:
                    yield f"{indent}{name}: {_leaf(item, indent + '  ')}".rstrip(" ")
        case list():
            for item in value:
                if isinstance(item, dict | list) and item:
                    first, *rest = _readable(item, indent + "  ")
                    yield f"{indent}- {first.lstrip(' ')}"
                    yield from rest
                else:
                    yield f"{indent}- {_leaf(item, indent + '  ')}".rstrip(" ")
        case _:
            yield indent + _leaf(value, indent)


def _leaf(value: object, indent: str) -> str:
    match value:
        case None | [] | {}:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return normalise(value).replace("\n", "\n" + indent)
    return str(value)
