"""Documents that are to be written become indexed ones: cut, embedded and committed in batches, by every index kept."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from openbook.errors import OpenbookError, StoreBusy
from openbook.load.files import shown_uri
from openbook.reading import Reader
from openbook.store.edits import Edit
from openbook.store.files import FileState
from openbook.store.index import Reading
from openbook.store.writing import Write, Writer
from openbook.types import Chunk, Document, Skipped

BATCH_CHUNKS = 1024
"""Chunks of one transaction: enough for batches of equal length, few enough to lose little to a kill."""

_WAITS = (0.05, 0.2, 0.8)
"""Seconds before each further try of a transaction that others were in the way of."""


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


class Run:
    """What one run has come to so far; whoever listens is told of it."""

    def __init__(self, progress: Callable[[Progress], None] | None = None) -> None:
        self._listener = progress or (lambda _: None)
        self._start = time.perf_counter()
        self.added = self.updated = self.unchanged = self.removed = self.chunks = self.embedded = 0
        self.files = self.of_files = 0
        self.cut = 0  # chunks, written or not
        self._in_hand = 0  # chunks that are embedded, besides those that are written
        self.skipped: list[Skipped] = []
        self.notes: list[Note] = []
        self.unfamiliar: list[tuple[str, str]] = []  # (source, script)
        self.unnamed: set[int] = set()  # files of what was refused because it was forgotten

    def tell(self, in_hand: int | None = None) -> None:
        """Tell how far it is; ``in_hand`` chunks of the batch are embedded."""
        self._in_hand = self._in_hand if in_hand is None else in_hand
        documents = self.added + self.updated + self.unchanged
        self._listener(Progress(self.files, self.of_files, documents, self.chunks + self._in_hand, self.cut))

    def result(self) -> Added:
        return Added(
            added=self.added,
            updated=self.updated,
            unchanged=self.unchanged,
            removed=self.removed,
            skipped=tuple(self.skipped),
            notes=tuple(self.notes),
            unfamiliar=_told(self.unfamiliar),
            chunks=self.chunks,
            embedded=self.embedded,
            seconds=round(time.perf_counter() - self._start, 3),
        )


@dataclass(frozen=True, slots=True)
class _Cut:
    """A document to be written, with its chunks by the number of the index, the live one's first; ``None``: its content
    is the same."""

    write: Write
    chunks: Mapping[int, Sequence[Chunk]] | None = None


@dataclass(slots=True)
class _Batch:
    cuts: list[_Cut] = field(default_factory=list)
    finished: list[tuple[int, FileState]] = field(default_factory=list)
    chunks: int = 0


class Indexing:
    """Takes what one run writes, and commits it a batch at a time. ``readers`` tells who reads for the indexes that are
    kept, the live one's first."""

    def __init__(self, writer: Writer, readers: Callable[[], Sequence[Reader]], run: Run) -> None:
        self.writer = writer
        self.run = run
        self._find_readers = readers
        self._readers: list[Reader] = []
        self._batch = _Batch()

    def edit(self, edit: Edit, before: Document) -> Added:
        """Write an edit of a document, which was ``before`` when it was looked at.

        Raises:
            NotFound: it was removed meanwhile.
            QueryError: its new source is taken, or its new text was forgotten.
        """
        write = Write(edit.applied(before), edit=edit)
        if write.document.hash == before.hash and not edit.restores:
            self.put(write)
        else:
            self.cut([write])
        self.flush()
        return self.run.result()

    def put(self, write: Write) -> None:
        """Write a document whose content is the same."""
        self._put(_Cut(write))

    def finish(self, files: Sequence[tuple[int, FileState]]) -> None:
        """These files are whole with what was put before."""
        self._batch.finished += files

    def cut(self, writes: Sequence[Write]) -> None:
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
            cuts = [chunks for _, chunks in reader.cut(documents)]
            if reader is self._readers[0]:
                self.run.notes += [Note(source, note) for source, note in reader.take_notes()]
            return cuts
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
        self.run.cut += chunks
        if self._batch.chunks >= BATCH_CHUNKS or len(self._batch.cuts) >= 4 * BATCH_CHUNKS:
            self.flush()

    def flush(self) -> None:
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
        written = patiently(lambda: self.writer.write(writes, batch.finished))
        self.run.added += written.added
        self.run.updated += written.updated
        self.run.unchanged += written.unchanged
        self.run.skipped += written.refused
        refused = {skipped.source for skipped in written.refused}
        self.run.unnamed |= {
            cut.write.file for cut in batch.cuts if cut.write.file is not None and cut.write.document.source in refused
        }
        self.run.chunks += batch.chunks
        self.run.tell(0)
        # Another process changed these, or the release, between our look and our lock: now they are to be read anew.
        if written.again:
            self._readers = []
            halves = {write.file for write in written.again}
            self.cut(written.again)
            self._batch.finished += [(number, state) for number, state in batch.finished if number in halves]
            self.flush()

    def _read(self, reader: Reader, batch: _Batch, readings: Sequence[dict[int, Reading]]) -> None:
        """Fill in what one index will hold of the batch."""
        index, live = reader.index.id, reader is self._readers[0]
        chunks = [(cut.chunks or {}).get(index) for cut in batch.cuts]
        cuts = [(cut.write.document, its) for cut, its in zip(batch.cuts, chunks, strict=True) if its is not None]
        if not cuts:
            return
        with self._may_fail(reader):
            read, embedded = reader.read(cuts, self.run.tell if live else None)
            self.run.embedded += embedded
            places = [place for place, its in zip(readings, chunks, strict=True) if its is not None]
            for place, (document, _), reading in zip(places, cuts, read, strict=True):
                place[index] = reading
                if live and reading.unfamiliar:
                    self.run.unfamiliar.append((document.source, reading.unfamiliar))


_Done = TypeVar("_Done")


def patiently(do: Callable[[], _Done]) -> _Done:
    """What a transaction comes to that is tried again, a few times, where others were in its way."""
    for wait in _WAITS:
        try:
            return do()
        except StoreBusy:
            time.sleep(wait * random.uniform(0.5, 1.5))  # not in step with the other
    return do()


def _told(unfamiliar: Sequence[tuple[str, str]]) -> Unfamiliar | None:
    by_source = dict(unfamiliar)
    if not by_source:
        return None
    scripts = dict(Counter(by_source.values()).most_common())
    return Unfamiliar(len(by_source), scripts, next(iter(by_source)))
