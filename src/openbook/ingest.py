"""One run of ``add``: what sources hold is read where something changed, and what is gone from them is dropped."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from openbook.errors import SourceError
from openbook.indexing import Added, Indexing, Note, Progress, Run, patiently
from openbook.load import MAX_BYTES, SourceFile, read, scan
from openbook.load.files import shown, shown_uri
from openbook.reading import Reader
from openbook.store.access import readers
from openbook.store.files import FileState
from openbook.store.writing import Current, Write, Writer
from openbook.types import PUBLIC, Document, Metadata, Scalar, Skipped, storable

VANISHED_SHARE = 0.30
"""More than this share of a root gone at once is more often an unmounted disk than a clean-up."""

READ_TOGETHER = 256
"""Documents that are looked up and cut into chunks together."""

LOADERS = 1
"""Raised when a loader reads a format differently: files are then read again though they have not changed."""

_RACY_NS = 50_000_000  # a file changed this shortly before it was read may change again within one tick of its clock


@dataclass(frozen=True, slots=True)
class _Access:
    """Who may read what a file holds: as said now; else as before, so that a rule is never lost by not repeating it;
    else, for what is new, as it was last said for the nearest folder. Likewise whether remote models may read it."""

    said: tuple[str, ...] | None
    ruled: tuple[str, ...]  # (): no folder rules it, it brings its own
    local_said: bool | None = None
    local_ruled: bool = False

    def on(self, document: Document, now: Current | None) -> Document:
        return replace(document, access=self._of(document, now), local_only=self._local(document, now))

    def keeps(self, document: Document) -> frozenset[str]:
        """The rules of which nothing is said for a document that is there."""
        own = not self.ruled and document.access != (PUBLIC,)
        access = () if self.said is not None or own else ("access",)
        return frozenset((*access, *(() if self.local_said is not None or document.local_only else ("local_only",))))

    def _local(self, document: Document, now: Current | None) -> bool:
        if self.local_said is not None:
            return self.local_said
        return document.local_only or (self.local_ruled if now is None else now.local_only)

    def _of(self, document: Document, now: Current | None) -> tuple[str, ...]:
        if self.said is not None:
            return self.said
        if not self.ruled and document.access != (PUBLIC,):
            return document.access
        # Public is what a Document is whose maker said nothing: it opens none that was closed.
        return now.access if now is not None else self.ruled or document.access


@dataclass(slots=True)
class _Passed:
    """A file with documents that another file holds already: how it is read again, and of each such document, by the
    name that it has in the file, its id and what was told of it."""

    file: SourceFile
    read: Callable[[SourceFile], Iterable[Document | Skipped]]
    access: _Access
    documents: dict[str, tuple[str, Skipped | None]] = field(default_factory=dict)


class Ingest:
    """One run of ``add``. ``readers``: as of ``Indexing``."""

    def __init__(
        self,
        writer: Writer,
        readers: Callable[[], Sequence[Reader]],
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.writer = writer
        self.files = writer.files
        self.run = Run(progress)
        self._indexing = Indexing(writer, readers, self.run)
        self._again = False  # take also what was forgotten
        self._revive = True  # and what was removed by hand, though its file has not changed
        self._held: list[tuple[int, FileState]] = []  # read whole, but what left them is not dropped yet
        self._passed: dict[int, _Passed] = {}  # by the number of the file
        self._left: frozenset[str] = frozenset()  # documents that are no more in the file that held them

    def add(
        self,
        sources: Sequence[str | Path | Document],
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        metadata: Metadata,
        access: Sequence[str] | None = None,
        local_only: bool | None = None,
        keep_missing: bool = False,
        yes: bool = False,
        again: bool = False,
        max_bytes: int | None = None,
        only: Collection[str] | None = None,
        revive: bool = True,
    ) -> Added:
        """As ``KnowledgeBase.add``. ``only``: what stands at these places of the one source, which is a folder. Without
        ``revive`` what was removed by hand stays removed until its text changes."""
        self._revive = revive
        self._again = again
        for source in sources:
            if not isinstance(source, Document) and not os.path.lexists(source):
                raise SourceError("no such file or folder", where=str(source), do="check the path")
        metadata = storable_metadata(metadata, "metadata")
        access = None if access is None else readers(access)
        documents = [_storable(source) for source in sources if isinstance(source, Document)]
        documents = [replace(one, metadata={**one.metadata, **metadata}) for one in documents]
        for first in range(0, len(documents), READ_TOGETHER):
            self._take(documents[first : first + READ_TOGETHER], None, _Access(access, (), local_only))
        options = _options(metadata, access, local_only)
        for source in sources:
            if not isinstance(source, Document):
                self._root(
                    Path(source),
                    include=include,
                    exclude=exclude,
                    read_file=lambda file: read(file, metadata=metadata, max_bytes=max_bytes or MAX_BYTES),
                    access=access,
                    local_only=local_only,
                    options=options,
                    keep_missing=keep_missing,
                    yes=yes,
                    only=only,
                )
        self._indexing.flush()
        self.files.unname(self.run.unnamed)
        return self.run.result()

    def _root(
        self,
        path: Path,
        *,
        include: Sequence[str],
        exclude: Sequence[str],
        read_file: Callable[[SourceFile], Iterable[Document | Skipped]],
        access: tuple[str, ...] | None,
        local_only: bool | None,
        options: str,
        keep_missing: bool,
        yes: bool,
        only: Collection[str] | None,
    ) -> None:
        listing = scan(path, include=include, exclude=exclude, only=only)
        rules = json.dumps([list(include), list(exclude)])
        root = self.files.root(path.resolve().as_uri(), rules, access, local_only)
        opened, local = self.files.access_rules(), self.files.local_rules()
        known = self.files.known(root, None if only is None else _uris(path, only))
        found: list[SourceFile] = []
        for file in listing:
            if isinstance(file, Skipped):
                self.run.skipped.append(file)
            else:
                found.append(file)
        self.run.of_files += len(found)
        states = {file.uri: _state(file, options) for file in found}
        stale = {uri for uri in states if self._again or uri not in known or known[uri][1] != states[uri]}
        fresh = [number for uri, (number, _) in known.items() if uri in states and uri not in stale]
        self.run.unchanged += len(self.files.held(fresh))
        self._held = []
        vanished: dict[str, str] = {}
        for file in found:
            state = states[file.uri]
            if file.uri in stale:
                ruled = _Access(access, _ruled(file.uri, opened, (PUBLIC,)), local_only, _ruled(file.uri, local, False))
                vanished |= self._file(root, file, state, read_file, ruled, known.get(file.uri))
            self.run.files += 1
            self.run.tell()
        self._indexing.flush()
        gone = [number for uri, (number, _) in known.items() if uri not in states and _is_gone(uri)]
        vanished |= self.files.held(gone)
        vanished = self._take_over(vanished)
        if vanished and not keep_missing:
            whole = known if only is None or yes else self.files.known(root)
            self._drop(path, vanished, gone, yes, [number for number, _ in whole.values()])
        elif not vanished:
            self._indexing.finish(self._held)

    def _take_over(self, vanished: dict[str, str]) -> dict[str, str]:
        """A document that left its file may have come to another one of this run, which passed it over as long as it
        stood there. That file has it now; returns what no file has."""
        self._left = frozenset(vanished)
        moved: set[str] = set()
        for number, passed in self._passed.items():
            taken = {name for name, (id, _) in passed.documents.items() if id in self._left - moved}
            if not taken:
                continue
            again = [one for one in passed.read(passed.file) if isinstance(one, Document) and one.source in taken]
            for name in {document.source for document in again}:
                id, told = passed.documents.pop(name)
                moved.add(id)
                if told is None:
                    self.run.unchanged -= 1
                else:
                    self.run.skipped.remove(told)
            for first in range(0, len(again), READ_TOGETHER):
                self._take(again[first : first + READ_TOGETHER], number, passed.access)
        self._left = frozenset()
        self._indexing.flush()
        return {id: source for id, source in vanished.items() if id not in moved}

    def _file(
        self,
        root: int,
        file: SourceFile,
        state: FileState,
        read_file: Callable[[SourceFile], Iterable[Document | Skipped]],
        access: _Access,
        known: tuple[int, FileState] | None,
    ) -> dict[str, str]:
        """Take what a file holds; returns id → source of the documents that it held before and holds no more."""
        started = time.time_ns()
        number = known[0] if known else self.files.number(root, file.uri)
        before = self.files.held([number]) if known else {}
        passed = _Passed(file, read_file, access)
        kept: set[str] = set()
        batch: list[Document] = []
        clean = True
        for document in read_file(file):
            if isinstance(document, Skipped):
                self.run.skipped.append(document)
                clean = False
                continue
            batch.append(document)
            self.run.notes += _notes(document)
            if len(batch) >= READ_TOGETHER:
                kept |= self._take(batch, number, access, passed)
                batch = []
        kept |= self._take(batch, number, access, passed)
        if passed.documents:
            self._passed[number] = passed
        if not clean:
            return {}  # what could not be read may be what seems to be gone
        vanished = {id: source for id, source in before.items() if id not in kept}
        if state.mtime_ns < started - _RACY_NS:
            # Whoever is stopped, or not allowed to drop what left a file, must meet it again in the next run; and the
            # file to which it may have gone.
            if vanished or passed.documents:
                self._held.append((number, state))
            else:
                self._indexing.finish([(number, state)])
        return vanished

    def _take(
        self, documents: Sequence[Document], file: int | None, access: _Access, passed: _Passed | None = None
    ) -> set[str]:
        """Cut what changed into chunks and put it into the batch. Returns the ids of those that are there already: by
        their names a document would seem to be gone that is renamed meanwhile."""
        documents = self._allowed(documents, file)
        current = self.writer.current([document.source for document in documents]) if documents else {}
        rechunk: list[Write] = []
        there: set[str] = set()
        owners = self.files.paths({now.file for now in current.values() if not now.removed} - {None, file})
        mine = self.files.paths({file} - {None}).get(file)
        for document in documents:
            name, now = document.source, current.get(document.source)
            keeps, document = access.keeps(document), access.on(document, now)
            said, held = document, None
            if now is not None:
                document, held = now.over(said, keeps)
                there.add(now.id)
            write = Write(document, file, keeps=keeps, said=said)
            owner = owners.get(now.file) if now is not None and not now.removed else None
            elsewhere = owner is not None and owner != mine and not _is_gone(owner)
            if now is not None and owner is not None and elsewhere and now.id not in self._left:
                # Two files that hold one id would else overwrite each other with every add.
                told = None
                if now.same_content(document):
                    self.run.unchanged += 1
                else:
                    do = "give it an id of its own, or take it out there"
                    told = Skipped(document.source, f"stands in {shown_uri(owner)} already; {do}")
                    self.run.skipped.append(told)
                if passed is not None:
                    passed.documents[name] = now.id, told
            elif now is not None and now.by_hand and not self._revive and now.hash == document.hash:
                pass  # it was removed, and its file has not changed since
            elif now is None or not now.same_content(document):
                rechunk.append(write)
            elif not now.same(document) or now.file != file or held != now.held:
                self._indexing.put(write)
            else:
                self.run.unchanged += 1
        self._indexing.cut(rechunk)
        return there

    def _allowed(self, documents: Sequence[Document], file: int | None) -> Sequence[Document]:
        """Without those that were forgotten: they are not sent to a model, either."""
        if not documents:
            return documents
        if self._again:
            self.writer.take_again(documents)
            return documents
        refused = self.writer.forgotten(documents)
        self.run.skipped += [Skipped(source, reason) for source, reason in refused.items()]
        self.run.unnamed |= {file} if refused and file is not None else set()
        return [document for document in documents if document.source not in refused]

    def _drop(
        self, root: Path, vanished: Mapping[str, str], gone: Sequence[int], yes: bool, files: Sequence[int]
    ) -> None:
        all = len(self.files.held(files)) or 1
        if len(vanished) > VANISHED_SHARE * all and not yes:
            self.run.skipped.append(
                Skipped(
                    shown(root),
                    f"{len(vanished)} of its {all} documents are gone; they were kept: run again with --yes to drop"
                    " them, or with --keep-missing to keep them without this line",
                )
            )
            return
        finished = self._held
        sources = sorted(vanished.values())
        self.run.removed += patiently(lambda: self.writer.remove(sources, gone=gone, finished=finished, dropped=True))


def _storable(document: Document) -> Document:
    """A document of a user's own making, with nothing in it that cannot be kept.

    Raises:
        SourceError: its text has carriage returns, and offsets that count them; or its metadata cannot be kept.
    """
    text = storable(document.text)
    if "\r" in text:
        if document.headings or document.pages:
            raise SourceError(
                "the text has carriage returns", where=document.source, do="make them \\n before counting offsets"
            )
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return replace(
        document,
        source=storable(document.source),
        text=text,
        title=storable(document.title),
        metadata=storable_metadata(document.metadata, document.source),
        access=readers(document.access),
        headings=tuple(replace(heading, title=storable(heading.title)) for heading in document.headings),
    )


def storable_metadata(metadata: Metadata, where: str) -> dict[str, Scalar | tuple[Scalar, ...]]:
    def kept(key: str, value: Scalar) -> Scalar:
        if isinstance(value, str):
            return storable(value)
        if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
            what = f"metadata {key!r} is {str(value)[:40]!r}, a {type(value).__name__}"
            do = "give text, finite numbers, true and false, or a tuple of them"
            raise SourceError(what, where=where, do=do)
        return value

    return {
        storable(key): tuple(kept(key, one) for one in value) if isinstance(value, tuple | list) else kept(key, value)
        for key, value in metadata.items()
    }


def _notes(document: Document) -> Iterator[Note]:
    encoding, blank = document.metadata.get("encoding"), document.metadata.get("pages_without_text")
    if encoding is not None:
        yield Note(document.source, f"is not UTF-8; it was read as {encoding}, which is a guess")
    if blank is not None:
        pages = ", ".join(map(str, blank)) if isinstance(blank, tuple) else str(blank)
        yield Note(document.source, f"has no text layer on page {pages}; run OCR to have it found")


def _state(file: SourceFile, options: str) -> FileState:
    return FileState(file.uri, file.size, file.mtime_ns, file.inode, options)


_Rule = TypeVar("_Rule")


def _ruled(uri: str, rules: Mapping[str, _Rule], otherwise: _Rule) -> _Rule:
    """What was last said for the nearest root that holds the file."""
    holding = [root for root in rules if uri == root or uri.startswith(root.rstrip("/") + "/")]
    return rules[max(holding, key=len)] if holding else otherwise


def _options(metadata: Metadata, access: Sequence[str] | None, local_only: bool | None) -> str:
    rules = [
        LOADERS,
        sorted((k, list(v) if isinstance(v, tuple) else v) for k, v in metadata.items()),
        sorted(access or ()),
        *([] if local_only is None else [local_only]),
    ]
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()[:16]


def _uris(root: Path, places: Iterable[str]) -> set[str]:
    """The URIs that files and folders at these places of a root may have: what a link leads to has another."""
    base = root.resolve()
    return {uri for place in places for uri in ((base / place).as_uri(), (base / place).resolve().as_uri())}


def _is_gone(uri: str) -> bool:
    """Whether a file is known not to be there; one that merely cannot be looked at is not gone."""
    try:
        os.lstat(unquote_to_bytes(uri.removeprefix("file://")))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
