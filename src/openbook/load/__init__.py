"""A source becomes Documents.

``load(root)`` reads a file or a folder and yields a ``Document`` for each document in it and a ``Skipped``, with one
line that says why, for each that could not be read; one bad file never ends the rest. It is ``scan`` (which files are
there, by name, size and time, without opening them) and ``read`` (one file) in one: a caller that remembers what
``scan`` said passes over unchanged files.

Every text is normalised and, where its format carries structure, Markdown. What each format becomes stands at the
top of its module: ``markdown``, ``html``, ``rst``, ``office`` (docx, pptx, xlsx), ``data`` (csv, tsv, json, jsonl),
``pdf``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from openbook.errors import SourceError
from openbook.load import data, html, markdown, office, rst
from openbook.load.draft import Draft, decode, language_of, one_line
from openbook.load.files import GONE, SUFFIXES, SourceFile, file_at, scan, shown
from openbook.types import PUBLIC, Document, Metadata, Skipped

__all__ = ["MAX_BYTES", "SUFFIXES", "SourceFile", "load", "read", "scan"]

MAX_BYTES = 50 * 1024 * 1024
"""A larger file is skipped by default: parsing one takes up to some twenty times its size in memory."""

_NOTHING: Metadata = {}


def load(
    root: str | Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    metadata: Metadata = _NOTHING,
    access: Sequence[str] = (PUBLIC,),
    max_bytes: int = MAX_BYTES,
) -> Iterator[Document | Skipped]:
    """The documents of a file or folder: ``scan`` and ``read`` of everything found.

    >>> from pathlib import Path; from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "leave.md").write_text("# Sick leave\\n\\nTen days a year.")
    ...     [document] = load(folder)
    >>> document.title, document.headings[0].title, document.metadata["type"]
    ('Sick leave', 'Sick leave', 'md')

    Raises:
        SourceError: the root does not exist, or a pattern makes no sense.
    """
    found = scan(root, include=include, exclude=exclude)  # here, so that a wrong root is known before the first item
    return _load(found, metadata, access, max_bytes)


def _load(
    found: Iterable[SourceFile | Skipped], metadata: Metadata, access: Sequence[str], max_bytes: int
) -> Iterator[Document | Skipped]:
    for item in found:
        if isinstance(item, Skipped):
            yield item
        else:
            yield from read(item, metadata=metadata, access=access, max_bytes=max_bytes)


def read(
    file: SourceFile | str | Path,
    *,
    metadata: Metadata = _NOTHING,
    access: Sequence[str] = (PUBLIC,),
    max_bytes: int = MAX_BYTES,
) -> Iterator[Document | Skipped]:
    """The documents of one file; most hold one, a collection (``.jsonl``, a list in ``.json``) many.

    ``source`` is the file's URI; of a document in a collection its ``_id``, or else the URI with ``#`` and its ``id``
    or number. ``metadata`` holds ``path`` (to show), ``type`` (``md``, ``pdf``, …), ``modified`` (ISO 8601, UTC),
    ``lang`` where it is clear, ``encoding`` where it is not UTF-8; over these goes what the document says of itself
    (front matter, a record's fields), over that what the caller says. ``title`` is the author's own, else the first
    heading of level 1, the file's title property, the first heading, or the file's name. ``max_bytes`` bounds a file;
    for ``.jsonl``, which is read in a stream, a line.
    """
    try:
        if not isinstance(file, SourceFile):
            file = file_at(Path(file))
        with open(file.path, "rb") as stream:
            found = os.fstat(stream.fileno())  # what is read now, not what was listed
            file = SourceFile(file.path, found.st_size, found.st_mtime_ns, found.st_ino, file.name)
            for item in _guarded(_drafts(stream, file, max_bytes), file):
                if isinstance(item, SourceError):
                    where = shown(file.path) + (f":{item.where}" if item.where else "")
                    yield Skipped(where, one_line(item.what + (f"; {item.do}" if item.do else "")))
                else:
                    yield _document(item, file, metadata, tuple(access))
    except FileNotFoundError:
        yield Skipped(_path_of(file), GONE)
    except PermissionError:
        yield Skipped(_path_of(file), "permission denied; check its rights")
    except OSError as error:
        yield Skipped(_path_of(file), f"cannot be read ({error.strerror or error}); check the file")


def _path_of(file: SourceFile | str | Path) -> str:
    return shown(file.path if isinstance(file, SourceFile) else file)


# --- formats ----------------------------------------------------------------------------------------------------------


def _read_txt(content: bytes) -> Draft:
    text, encoding = decode(content)
    return Draft(text, metadata={"encoding": encoding} if encoding else {})


def _read_pdf(content: bytes) -> Draft:
    from openbook.load import pdf  # imports numpy and pdfium

    return pdf.read(content)


_READERS: dict[str, Callable[[bytes], Draft]] = {
    ".md": markdown.read,
    ".markdown": markdown.read,
    ".txt": _read_txt,
    ".rst": rst.read,
    ".html": html.read,
    ".htm": html.read,
    ".pdf": _read_pdf,
    ".docx": office.read_docx,
    ".pptx": office.read_pptx,
    ".xlsx": office.read_xlsx,
    ".csv": data.read_csv,
    ".tsv": data.read_csv,
}
_EMPTY = SourceError("empty", do="write something into it, or remove it")


def _drafts(stream: IO[bytes], file: SourceFile, max_bytes: int) -> Iterator[Draft | SourceError]:
    """What one open file holds; a reader refuses a file by raising, a record by yielding its error."""
    suffix = file.path.suffix.lower()
    if file.size == 0:
        raise _EMPTY
    if suffix not in SUFFIXES:
        raise SourceError(f"unknown type {shown(suffix) or '(no suffix)'}", do="convert it to text, HTML or PDF")
    if suffix == ".jsonl":
        drafts: Iterator[Draft | SourceError] = data.read_jsonl(stream, max_bytes)
    else:
        content = stream.read(max_bytes + 1) if file.size <= max_bytes else b""
        if file.size > max_bytes or len(content) > max_bytes:
            size, most = (f"{n / (1 << 20):,.1f} MiB" for n in (max(file.size, len(content)), max_bytes))
            raise SourceError(f"{size} is over the limit of {most}", do="split it or add it with a larger --max-bytes")
        drafts = data.read_json(content) if suffix == ".json" else iter([_READERS[suffix](content)])
    any_yet = False
    for draft in drafts:
        any_yet = True
        if isinstance(draft, Draft) and not draft.text.strip():
            yield SourceError(_EMPTY.what, where=draft.part or "", do=_EMPTY.do)
        else:
            yield draft
    if not any_yet:
        raise _EMPTY


def _guarded(drafts: Iterator[Draft | SourceError], file: SourceFile) -> Iterator[Draft | SourceError]:
    """``drafts``, with whatever goes wrong in a parser as its last item.

    Seven third-party parsers meet bytes that anyone may have written; what they raise for damaged files is without
    limit (KeyError, AttributeError, struct.error, …), and one bad file must not end an ``add`` of ten thousand.
    """
    try:
        yield from drafts
    except SourceError as error:
        yield error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        kind = file.path.suffix[1:]
        why = one_line(f"{type(error).__name__}: {error}")[:200]
        yield SourceError(f"cannot be read as {kind} ({why})", do="open it in its own program and save it again")


# --- a draft becomes a document ---------------------------------------------------------------------------------------


def _document(draft: Draft, file: SourceFile, metadata: Metadata, access: tuple[str, ...]) -> Document:
    source = draft.source or file.uri + (f"#{_fragment(draft.part)}" if draft.part else "")
    seconds = min(max(file.mtime_ns // 1_000_000_000, 0), 253_402_300_799)  # a clock gone wrong: up to the year 9999
    modified = datetime.fromtimestamp(seconds, UTC)
    facts: dict[str, str] = {
        "path": file.name,
        "type": file.path.suffix[1:].lower(),
        "modified": modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    language = language_of(draft.text)
    if language:
        facts["lang"] = language
    return Document(
        source=source,
        text=draft.text,
        title=_title(draft, file.path),
        metadata={**facts, **draft.metadata, **metadata},
        access=access,
        headings=draft.headings,
        pages=draft.pages,
    )


def _fragment(part: str) -> str:
    from urllib.parse import quote

    return quote(part, safe="/:@!$&'()*+,;=-._~")


def _title(draft: Draft, path: Path) -> str:
    if draft.titled:
        return draft.title or ("" if draft.part else _readable(path))
    first = next((heading.title for heading in draft.headings if heading.level == 1), "")
    return first or draft.title or (draft.headings[0].title if draft.headings else "") or _readable(path)


def _readable(path: Path) -> str:
    """A title out of a file's name; an index page is named after its folder."""
    stem = path.stem
    if stem.lower().strip("_") in ("index", "readme") and path.parent.name:
        stem = path.parent.name
    return one_line(shown(stem).replace("_", " ").replace("-", " ")) or shown(path.name)
