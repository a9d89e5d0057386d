"""Sources become indexed documents: read, cut, embedded and written in batches, and only where something changed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from openbook.errors import OpenbookError, SourceError, StoreBusy
from openbook.load import MAX_BYTES, SourceFile, read, scan
from openbook.load.files import shown
from openbook.reading import Reader
from openbook.store.access import readers
from openbook.store.edits import Edit
from openbook.store.files import FileState
from openbook.store.index import Reading
from openbook.store.writing import Current, Write, Writer
from openbook.types import PUBLIC, Chunk, Document, Metadata, Scalar, Skipped, storable

BATCH_CHUNKS = 1024
"""Chunks of one transaction: enough for batches of equal length, few enough to lose little to a kill."""

VANISHED_SHARE = 0.30
"""More than this share of a root gone at once is more often an unmounted disk than a clean-up."""

READ_TOGETHER = 256
"""Documents that are looked up and cut into chunks together."""

LOADERS = 1
"""Raised when a loader reads a format differently: files are then read again though they have not changed."""

_WAITS = (0.05, 0.2, 0.8)
"""Seconds before each further try of a transaction that others were in the way of."""

_RACY_NS = 50_000_000  # a file changed this shortly before it was read may change again within one tick of its clock


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know about a document that was added all the same."""

    source: str
    note: str


@dataclass(frozen=True, slots=True)
class Unfamiliar:
    """Documents of one run in languages that the model does not know: how many, by script, and one of them."""

    documents: int
    scripts: Mapping[str, int]
    example: str

    def __str__(self) -> str:
        what = "1 document" if self.documents == 1 else f"{self.documents} documents"
        return (
            f"the embedding model does not know the language of {what} ({', '.join(self.scripts)} script; such as"
            f" {shown_uri(self.example)}): keyword search carries them"
        )


@dataclass(frozen=True, slots=True)
class Added:
    """What ``add`` did: numbers of documents, what was skipped and why, chunks written, texts embedded, seconds."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[Note, ...] = ()
    unfamiliar: Unfamiliar | None = None
    chunks: int = 0
    embedded: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far ``add`` is. ``documents`` are durable; ``chunks`` are embedded, of the ``of_chunks`` cut so far."""

    files: int = 0
    of_files: int = 0
    documents: int = 0
    chunks: int = 0
    of_chunks: int = 0


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


@dataclass(frozen=True, slots=True)
class _Cut:
    """A document to be written, with its chunks by the number of the index, the live one's first; ``None``: its content
    is the same."""

    write: Write
    chunks: Mapping[int, Sequence[Chunk]] | None = None


@dataclass(slots=True)
class _Passed:
    """A file with documents that another file holds already: how it is read again, and of each such document, by the
    name that it has in the file, its id and what was told of it."""

    file: SourceFile
    read: Callable[[SourceFile], Iterable[Document | Skipped]]
    access: _Access
    documents: dict[str, tuple[str, Skipped | None]] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    cuts: list[_Cut] = field(default_factory=list)
    finished: list[tuple[int, FileState]] = field(default_factory=list)
    chunks: int = 0


class Ingest:
    """One run of ``add``. ``readers`` tells who reads for the indexes that are kept, the live one's first."""

    def __init__(
        self,
        writer: Writer,
        readers: Callable[[], Sequence[Reader]],
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.writer = writer
        self.files = writer.files
        self._find_readers = readers
        self._readers: list[Reader] = []
        self._tell = progress or (lambda _: None)
        self._batch = _Batch()
        self._again = False  # take also what was forgotten
        self._unnamed: set[int] = set()  # files of what was refused because it was forgotten
        self._held: list[tuple[int, FileState]] = []  # read whole, but what left them is not dropped yet
        self._passed: dict[int, _Passed] = {}  # by the number of the file
        self._left: frozenset[str] = frozenset()  # documents that are no more in the file that held them
        self._skipped: list[Skipped] = []
        self._notes: list[Note] = []
        self._unfamiliar: list[tuple[str, str]] = []  # (source, script)
        self._added = self._updated = self._unchanged = self._removed = self._chunks = self._embedded = 0
        self._revive = True
        self._files = self._of_files = self._in_hand = self._cut_chunks = 0

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
        start = time.perf_counter()
        self._again = again
        require([source for source in sources if not isinstance(source, Document)])
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
        self._flush()
        self.files.unname(self._unnamed)
        return self._report(start)

    def _report(self, start: float) -> Added:
        return Added(
            added=self._added,
            updated=self._updated,
            unchanged=self._unchanged,
            removed=self._removed,
            skipped=tuple(self._skipped),
            notes=tuple(self._notes),
            unfamiliar=_told(self._unfamiliar),
            chunks=self._chunks,
            embedded=self._embedded,
            seconds=round(time.perf_counter() - start, 3),
        )

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
                self._skipped.append(file)
            else:
                found.append(file)
        self._of_files += len(found)
        states = {file.uri: _state(file, options) for file in found}
        stale = {uri for uri in states if self._again or uri not in known or known[uri][1] != states[uri]}
        fresh = [number for uri, (number, _) in known.items() if uri in states and uri not in stale]
        self._unchanged += len(self.files.held(fresh))
        self._held = []
        vanished: dict[str, str] = {}
        for file in found:
            state = states[file.uri]
            if file.uri in stale:
                ruled = _Access(access, _ruled(file.uri, opened, (PUBLIC,)), local_only, _ruled(file.uri, local, False))
                vanished |= self._file(root, file, state, read_file, ruled, known.get(file.uri))
            self._files += 1
            self._progress()
        self._flush()
        gone = [number for uri, (number, _) in known.items() if uri not in states and _is_gone(uri)]
        vanished |= self.files.held(gone)
        vanished = self._take_over(vanished)
        if vanished and not keep_missing:
            whole = known if only is None or yes else self.files.known(root)
            self._drop(path, vanished, gone, yes, [number for number, _ in whole.values()])
        elif not vanished:
            self._batch.finished += self._held

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
                    self._unchanged -= 1
                else:
                    self._skipped.remove(told)
            for first in range(0, len(again), READ_TOGETHER):
                self._take(again[first : first + READ_TOGETHER], number, passed.access)
        self._left = frozenset()
        self._flush()
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
                self._skipped.append(document)
                clean = False
                continue
            batch.append(document)
            self._notes += _notes(document)
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
            (self._held if vanished or passed.documents else self._batch.finished).append((number, state))
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
                    self._unchanged += 1
                else:
                    do = "give it an id of its own, or take it out there"
                    told = Skipped(document.source, f"stands in {shown_uri(owner)} already; {do}")
                    self._skipped.append(told)
                if passed is not None:
                    passed.documents[name] = now.id, told
            elif now is not None and now.by_hand and not self._revive and now.hash == document.hash:
                pass  # it was removed, and its file has not changed since
            elif now is None or not now.same_content(document):
                rechunk.append(write)
            elif not now.same(document) or now.file != file or held != now.held:
                self._put(_Cut(write))
            else:
                self._unchanged += 1
        self._cut(rechunk)
        return there

    def _allowed(self, documents: Sequence[Document], file: int | None) -> Sequence[Document]:
        """Without those that were forgotten: they are not sent to a model, either."""
        if not documents:
            return documents
        if self._again:
            self.writer.take_again(documents)
            return documents
        refused = self.writer.forgotten(documents)
        self._skipped += [Skipped(source, reason) for source, reason in refused.items()]
        self._unnamed |= {file} if refused and file is not None else set()
        return [document for document in documents if document.source not in refused]

    def edit(self, edit: Edit, before: Document) -> Added:
        """Write an edit of a document, which was ``before`` when it was looked at.

        Raises:
            NotFound: it was removed meanwhile.
            QueryError: its new source is taken, or its new text was forgotten.
        """
        start = time.perf_counter()
        write = Write(edit.applied(before), edit=edit)
        if write.document.hash == before.hash and not edit.restores:
            self._put(_Cut(write))
        else:
            self._cut([write])
        self._flush()
        return self._report(start)

    def _cut(self, writes: Sequence[Write]) -> None:
        """Cut documents into chunks, by every index's own recipe, and put them into the batch."""
        if not writes:
            return
        documents = [write.document for write in writes]
        if not self._readers:
            self._readers = list(self._find_readers())
        cuts = {reader.index.id: its for reader in [*self._readers] if (its := self._tried(reader, documents))}
        for at, write in enumerate(writes):
            self._put(_Cut(write, {index: its[at] for index, its in cuts.items()}))

    def _tried(self, reader: Reader, documents: Sequence[Document]) -> list[Sequence[Chunk]] | None:
        with self._may_fail(reader):
            return [chunks for _, chunks in reader.cut(documents)]
        return None

    @contextmanager
    def _may_fail(self, reader: Reader) -> Iterator[None]:
        """An index that does not answer falls behind when its model fails; edits go on."""
        try:
            yield
        except OpenbookError:
            if reader is self._readers[0]:
                raise
            reader.rest()
            self._readers.remove(reader)

    def _put(self, cut: _Cut) -> None:
        chunks = len(next(iter(cut.chunks.values()))) if cut.chunks else 0
        self._batch.cuts.append(cut)
        self._batch.chunks += chunks
        self._cut_chunks += chunks
        if self._batch.chunks >= BATCH_CHUNKS or len(self._batch.cuts) >= 4 * BATCH_CHUNKS:
            self._flush()

    def _flush(self) -> None:
        """Embed and commit the batch. What it held is durable and found by every process when this returns."""
        batch, self._batch = self._batch, _Batch()
        if not batch.cuts and not batch.finished:
            return
        readings: list[dict[int, Reading]] = [{} for _ in batch.cuts]
        for reader in [*self._readers]:
            self._read(reader, batch, readings)
        writes = [
            replace(cut.write, readings=None if cut.chunks is None else read)
            for cut, read in zip(batch.cuts, readings, strict=True)
        ]
        written = _patiently(lambda: self.writer.write(writes, batch.finished))
        self._added += written.added
        self._updated += written.updated
        self._unchanged += written.unchanged
        self._skipped += written.refused
        refused = {skipped.source for skipped in written.refused}
        self._unnamed |= {
            cut.write.file for cut in batch.cuts if cut.write.file is not None and cut.write.document.source in refused
        }
        self._chunks += batch.chunks
        self._embedding(0)
        # Another process changed these, or the release, between our look and our lock: now they are to be read anew.
        if written.again:
            self._readers = []
            halves = {write.file for write in written.again}
            self._cut(written.again)
            self._batch.finished += [(number, state) for number, state in batch.finished if number in halves]
            self._flush()

    def _read(self, reader: Reader, batch: _Batch, readings: Sequence[dict[int, Reading]]) -> None:
        """Fill in what one index will hold of the batch."""
        index, live = reader.index.id, reader is self._readers[0]
        chunks = [(cut.chunks or {}).get(index) for cut in batch.cuts]
        cuts = [(cut.write.document, its) for cut, its in zip(batch.cuts, chunks, strict=True) if its is not None]
        if not cuts:
            return
        with self._may_fail(reader):
            read, embedded = reader.read(cuts, self._embedding if live else None)
            self._embedded += embedded
            places = [place for place, its in zip(readings, chunks, strict=True) if its is not None]
            for place, (document, _), reading in zip(places, cuts, read, strict=True):
                place[index] = reading
                if live and reading.unfamiliar:
                    self._unfamiliar.append((document.source, reading.unfamiliar))

    def _drop(
        self, root: Path, vanished: Mapping[str, str], gone: Sequence[int], yes: bool, files: Sequence[int]
    ) -> None:
        all = len(self.files.held(files)) or 1
        if len(vanished) > VANISHED_SHARE * all and not yes:
            self._skipped.append(
                Skipped(
                    shown(root),
                    f"{len(vanished)} of its {all} documents are gone; they were kept: run again with --yes to drop"
                    " them, or with --keep-missing to keep them without this line",
                )
            )
            return
        finished = self._held
        sources = sorted(vanished.values())
        self._removed += _patiently(lambda: self.writer.remove(sources, gone=gone, finished=finished, dropped=True))

    def _embedding(self, done: int) -> None:
        """``done`` chunks of the batch in hand are embedded, besides those that are written."""
        self._in_hand = done
        self._progress()

    def _progress(self) -> None:
        documents = self._added + self._updated + self._unchanged
        self._tell(Progress(self._files, self._of_files, documents, self._chunks + self._in_hand, self._cut_chunks))


_Done = TypeVar("_Done")


def _patiently(do: Callable[[], _Done]) -> _Done:
    """What a transaction comes to that is tried again, a few times, where others were in its way."""
    for wait in _WAITS:
        try:
            return do()
        except StoreBusy:
            time.sleep(wait * random.uniform(0.5, 1.5))  # not in step with the other
    return do()


def require(paths: Sequence[str | Path]) -> None:
    """Raise SourceError where one of the paths is not there."""
    for path in paths:
        if not os.path.lexists(path):
            raise SourceError("no such file or folder", where=str(path), do="check the path")


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


def _told(unfamiliar: Sequence[tuple[str, str]]) -> Unfamiliar | None:
    by_source = dict(unfamiliar)
    if not by_source:
        return None
    scripts = dict(Counter(by_source.values()).most_common())
    return Unfamiliar(len(by_source), scripts, next(iter(by_source)))


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


def shown_uri(uri: str) -> str:
    """The path of a ``file://`` URI, on one line."""
    return shown(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))


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
