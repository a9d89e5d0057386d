"""The folder of a keyword view: which generation is valid, who writes it, how it is caught up and read.

    folder/lock                      flock: one writer on a host
    folder/view.json                 which generation is valid, the position that it reflects, how much is deleted
    folder/<generation>/chunk        a tantivy index with an entry a chunk: what is found
    folder/<generation>/document     one with an entry a document: what a chunk's document says of the question

``view.json`` is replaced atomically, after both have committed. So whoever dies in between leaves a view that knows
more than it says, and replaying a change is harmless: a change carries all chunks that its document now has, and they
replace those it had. A rebuild writes a new generation beside the old one and then turns ``view.json`` over. A view
that is damaged, or was written by another format, language or tantivy, counts as empty and is rebuilt from nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from openbook.errors import StoreError
from openbook.store.filter import Filter
from openbook.store.keyword.asking import Asking, Question, Weigh, Weighed
from openbook.store.keyword.entries import (
    NOWHERE,
    Change,
    Changes,
    Damaged,
    Held,
    Indexes,
    Position,
    chunk_documents,
    counts,
    damage_told,
    whole_document,
)
from openbook.store.keyword.newest import MOST_CHUNKS, MOST_DOCUMENTS, Newest, Term
from openbook.store.keyword.words import Words

if TYPE_CHECKING:
    import tantivy

    from openbook.store.keyword.entries import IntArray

T = TypeVar("T")

FORMAT = 7
"""Of the fields, their contents and ``view.json``: another number rebuilds every view."""

MAX_DELETED = 0.1
"""Share of deleted chunks, or documents, above which a view wants a rebuild: BM25 still counts them."""

_Stamp = tuple[int, int, int]

_REBUILD_HEAP = 100_000_000  # bytes
_REPLAY_HEAP = 15_000_000


class KeywordView:
    """The keyword side of one index on this host; threads and processes may share a folder.

    Raises:
        RecipeError: a language that is not among ``LANGUAGES``.
    """

    def __init__(self, folder: Path, language: str) -> None:
        self.folder = folder
        self.words = Words(language)
        self._opened: _Opened | None = None
        self._opening = threading.Lock()
        self._following = threading.Lock()
        self._in_use = False

    def position(self) -> Position:
        """What the view reflects at least; ``NOWHERE`` where there is none, or none that can be read."""
        opened = self._current()
        return opened.position if opened else NOWHERE

    def needs_rebuild(self) -> bool:
        """Whether more than a tenth of its chunks, or of its documents, are deleted ones, which BM25 still counts."""
        opened = self._current()
        return opened is not None and opened.state.deleted > MAX_DELETED

    def size(self) -> int:
        """How many chunks it holds."""
        opened = self._current()
        return opened.state.chunks + len(opened.asking.newest.chunks) if opened else 0

    def bytes_on_disk(self) -> int:
        """The size of its folder; 0 where nothing was asked on this host yet."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # another process merges segments meanwhile
                total += path.stat().st_size if path.is_file() else 0
        return total

    # --- writing ------------------------------------------------------------------------------------------------------

    @property
    def in_use(self) -> bool:
        """Whether this process has asked before, and so may ask again."""
        return self._in_use

    def is_written(self) -> bool:
        """Whether somebody on this host is writing it, or making it anew, at this moment."""
        try:
            with self._locked(timeout=0):
                return False
        except StoreError:
            return True

    def follow(self, feed: Callable[[Position], Changes | None], *, times: int = 1) -> bool:
        """Bring this process's view to where ``feed`` ends without waiting for the disk: the changes stay in memory
        until somebody commits them. Whether it did; if not, ``catch_up``.

        ``feed`` is called, by one thread at a time, with the position from which the view goes on, and answers with
        what changed since; with ``None`` where that is too much. A process that has not asked yet is told no: it may
        ask once and end, and the next one would have to read the same changes again. While somebody else is writing
        the view, whoever would wait for that takes so many ``times`` as much, and is not told no.
        """
        with self._following:
            opened = self._current()
            if opened is None or not (self._in_use or times > 1):
                return False
            changes = feed(opened.position)
            if changes is None or changes.rebuild:
                return False
            newest = opened.asking.newest.taking(changes.documents, changes.position, self.words)
            if len(newest) > times * MOST_DOCUMENTS or len(newest.chunks) > times * MOST_CHUNKS:
                return False
            with self._opening:
                if self._opened is not opened:  # committed meanwhile
                    return False
                self._opened = replace(opened, position=changes.position, asking=replace(opened.asking, newest=newest))
            return True

    def catch_up(self, feed: Callable[[Position], Changes], *, timeout: float = 60.0) -> Position:
        """Bring the view to where ``feed`` ends, alone on this host; returns that position.

        ``feed`` is called under the lock with the position from which the view goes on. It answers with what changed
        since, or with everything (``rebuild``), which it must when the epoch is another or the feed was trimmed. From
        ``NOWHERE`` both are the same. It is called again, with ``NOWHERE``, when the view turns out to be damaged, or
        to reflect more than there is: an older backup of the database was restored. Else the feed, read under the lock,
        ends no earlier than what anybody took from it before.

        Raises:
            StoreError: another process has held the lock for ``timeout`` seconds; or the folder cannot be written.
        """
        with self._locked(timeout):
            opened = self._current()
            while True:
                changes = feed(opened.state.position if opened else NOWHERE)
                went_back = opened is not None and _is_later(opened.position, changes.position)
                if went_back and not changes.rebuild:
                    changes = feed(NOWHERE)
                try:
                    if opened is None or changes.rebuild or went_back:
                        self._rebuild(changes)
                    else:
                        self._replay(opened, changes)
                    if went_back:
                        with self._opening:
                            self._opened = None  # and with it what memory holds of what was taken back
                    return changes.position
                except Damaged as damage:
                    if opened is None:
                        raise self._unwritable(damage) from None
                    opened = None

    def reset(self, *, timeout: float = 60.0) -> None:
        """Delete everything the view holds from the disk; the next ``catch_up`` starts from nothing.

        Raises:
            StoreError: another process has held the lock for ``timeout`` seconds; or the folder cannot be written.
        """
        with self._locked(timeout):
            with self._opening:
                self._opened = None
            try:
                with damage_told():
                    self._state_path.unlink(missing_ok=True)
                    self._sweep(keep=None)
            except Damaged as damage:
                raise self._unwritable(damage) from None

    def _rebuild(self, changes: Changes) -> None:
        opened = self._current()
        self._sweep(keep=opened.state.generation if opened else None)
        generation = uuid.uuid4().hex
        try:
            with damage_told():
                indexes = Indexes.create(self.folder / generation, self.words.analyzer)
            self._write(indexes, changes.documents, heap=_REBUILD_HEAP)
            self._publish(generation, changes.position)
        except BaseException:
            shutil.rmtree(self.folder / generation, ignore_errors=True)
            raise
        self._sweep(keep=generation)

    def _replay(self, opened: _Opened, changes: Changes) -> None:
        written = self._write(opened.asking.indexes, changes.documents, heap=_REPLAY_HEAP)
        if written or changes.position != opened.state.position:
            self._publish(opened.state.generation, changes.position)

    def _write(self, indexes: Indexes, changes: Iterable[Change], *, heap: int) -> bool:
        """Replace what changed and commit, once; whether anything did. What does not arrive whole is not kept."""
        writers: list[tantivy.IndexWriter] = []  # documents, chunks
        try:
            for change in changes:
                with damage_told():
                    # One thread: the order of the segments, and with it nothing else, would depend on more.
                    writers = writers or [index.writer(heap, 1) for index in (indexes.documents, indexes.chunks)]
                    for at in range(2):
                        writers[at].delete_documents_by_term("document", change.document)
                    for chunk in chunk_documents(change, self.words):
                        writers[1].add_document(chunk)
                    if change.chunks:
                        writers[0].add_document(whole_document(change.document, change.chunks))
            with damage_told():
                for at in range(len(writers)):
                    writers[at].commit()
                    writers[at].wait_merging_threads()
            return bool(writers)
        finally:
            writers = []  # and with them tantivy's own locks, which a traceback would keep

    def _publish(self, generation: str, position: Position) -> None:
        """Turn ``view.json`` over to what tantivy has committed. Not synced: a state that is lost with the machine's
        power costs a replay or a rebuild, never a wrong answer."""
        with damage_told():
            kept = {index: counts(self.folder / generation / index) for index in ("chunk", "document")}
            state = {
                "format": self._format,
                "generation": generation,
                "epoch": position.epoch,
                "position": position.number,
                "chunks": kept["chunk"][0],
                "deleted": max(deleted / (count + deleted) if deleted else 0.0 for count, deleted in kept.values()),
            }
            new = self._state_path.with_suffix(".new")
            new.write_text(json.dumps(state), encoding="utf-8")
            new.replace(self._state_path)

    def _sweep(self, keep: str | None) -> None:
        """Delete all generations but ``keep``; whoever still reads one has its files open."""
        with damage_told():
            for path in self.folder.iterdir():
                if path.is_dir() and path.name != keep:
                    shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, timeout: float) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the keyword index cannot be written ({error.strerror})",
                where=str(self.folder),
                do="check the folder's rights",
            ) from None
        try:
            deadline, pause = time.monotonic() + timeout, 0.001
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StoreError(
                            f"another process has been writing the keyword index for {timeout:g} s",
                            where=str(self.folder),
                            do="wait for it to finish, then try again",
                        ) from None
                    time.sleep(pause)
                    pause = min(2 * pause, 0.05)
            yield
        finally:
            os.close(descriptor)  # and with it the lock, as when the process dies

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, question: str, *, filter: Filter | None = None, access: Sequence[int] | None = None) -> Question:
        """The question's words, and the titles and metadata values that it mentions: words in a row that are the whole
        of a value ("the Verge", "v3.5", the parties of a contract).

        A mention speaks for the documents that have the value, by the log of how few of the other chunks (add-one) that
        ``access`` lets through hold its words by chance; and its words are not looked for a second time: the question
        "Supply agreement (Acme; Bolt): who pays the freight?" asks for freight among the chunks of that contract. Where
        no document that ``filter`` and ``access`` let through has the value, nothing is mentioned.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.read(question, filter=filter, access=access))

    def search(
        self, query: str | Question, k: int, *, filter: Filter | None = None, access: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """The ``k`` best chunks for the words of ``query``, as (chunk id, score), best first, ties by id.

        ``query`` is free text and nothing in it is syntax: the score is BM25. Of one that was ``read`` it is BM25 with
        ``MENTION_WEIGHT`` · evidence for each mention. ``filter`` and ``access`` (the ``KeywordChunk.access`` that may
        be seen; ``None``: all) are applied before ranking and leave the scores as they are.

        Raises:
            StoreError: there is no view (any more), or it is damaged: ``catch_up``, then try again.
        """
        return self._ask(lambda asking: asking.search(query, k, filter=filter, access=access))

    def count(self, *, filter: Filter | None = None, access: Sequence[int] | None = None) -> int:
        """How many chunks ``filter`` and ``access`` let through, but for the newest changes.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.count(filter, access))

    def matching(self, filter: Filter | None, *, access: Sequence[int] | None = None) -> int:
        """How many chunks satisfy ``filter``, of those that ``access`` lets through; the newest changes included.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.matching(filter, access))

    def is_rare(self, text: str, of: Filter, *, one_in: int, access: Sequence[int] | None = None) -> bool:
        """Whether fewer than one in so many of the chunks that do not satisfy ``of`` have all words of ``text``, or
        none has; of those that ``access`` lets through, but for the newest changes.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.is_rare(text, of, one_in, access))

    def chunks_with(self, terms: Iterable[Term], *, access: Sequence[int] | None = None) -> dict[Term, int]:
        """Those of these (field, word) that some chunk has which ``access`` lets through, and how many such chunks
        have it; the newest changes included.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.chunks_with(terms, access))

    def most_held(self, terms: Iterable[Term], weigh: Weigh, *, access: Sequence[int] | None = None) -> Term | None:
        """That (field, word) of which its weight, times how many chunks have it that ``access`` lets through, is
        greatest; ``None`` where there is no such chunk. Equal ones by their letters; the newest changes included.

        ``weigh`` is asked of those that are held at all, by others, too: nothing of that is told.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.most_held(terms, weigh, access))

    def first_with(self, term: Term, k: int, *, access: Sequence[int] | None = None) -> list[int]:
        """The first ``k`` chunks, by their ids, that have a (field, word) and that ``access`` lets through; the newest
        changes included. Which these are depends on nothing that the caller may not see, as a ranking would.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.first_with(term, k, access))

    def chunks_with_all(self, words: Sequence[str], *, access: Sequence[int] | None = None) -> int:
        """How many chunks that ``access`` lets through have all of these words; the newest changes included.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.chunks_with_all(words, access))

    def beginning(
        self, start: str, keep: Callable[[str], bool], *, access: Sequence[int] | None = None
    ) -> dict[str, int]:
        """The words that begin so, that are to be kept, and that chunks have which ``access`` lets through: word → how
        many such chunks; the newest changes included.

        ``keep`` is asked of the words of others, too, and keeps nothing of them.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.beginning(start, keep, access))

    def weigh(self, question: Question, chunks: Sequence[int]) -> dict[int, Weighed]:
        """What the words say of these chunks, whoever found them; a chunk that the view does not hold is left out.

        Raises:
            StoreError: as ``search``.
        """
        return self._ask(lambda asking: asking.weigh(question, chunks))

    def held(self, access: Sequence[int]) -> Held | None:
        """Everything that its indexes hold on the disk, with which of the ``access`` sets each chunk has; ``None``
        where there is no view, or none that can be read."""
        import numpy as np
        from tantivy import Query

        opened = self._current()
        if opened is None:
            return None
        schema = opened.asking.indexes.chunks.schema

        def column(searcher: tantivy.Searcher, query: tantivy.Query, *fields: str) -> list[IntArray]:
            # Sorted by id: where a chunk lies says nothing.
            found = [address for _, address in searcher.search(query, max(1, searcher.num_docs), count=False).hits]
            values = [np.array(searcher.fast_field_values(field, found), dtype=np.int64) for field in fields]
            order = np.argsort(values[0], kind="stable")
            return [each[order] for each in values]

        try:
            with damage_told():
                ids, numbers = column(opened.asking.chunks, Query.all_query(), "id", "number")
                of = np.full(len(ids), -1, dtype=np.int64)
                for number in access:
                    (those,) = column(opened.asking.chunks, Query.term_query(schema, "access", number), "id")
                    of[np.isin(ids, those)] = number
                (documents,) = column(opened.asking.documents, Query.all_query(), "number")
        except Damaged:
            return None
        return Held(opened.state.position, ids, numbers, of, documents)

    def _ask(self, ask: Callable[[Asking], T]) -> T:
        opened = self._current()
        if opened is None:
            raise self._gone()
        try:
            with damage_told():
                answer = ask(opened.asking)
            self._in_use = True
            return answer
        except Damaged:
            self._discard(opened)
            raise self._gone() from None

    def _current(self) -> _Opened | None:
        """What ``view.json`` names now, opened; ``None``: nothing that can be read."""
        with self._opening:
            # Again, as long as a rebuild replaces the generation while it is being opened.
            for _ in range(100):
                stamp = _stamp(self._state_path)
                if self._opened and self._opened.stamp == stamp:
                    return self._opened
                try:
                    with damage_told():
                        self._opened = self._open(stamp)
                    return self._opened
                except Damaged:
                    if _stamp(self._state_path) == stamp:
                        break
            self._opened = None
            return None

    def _open(self, stamp: _Stamp | None) -> _Opened | None:
        if stamp is None:
            return None
        read = json.loads(self._state_path.read_bytes())
        if read["format"] != self._format:
            return None
        position = Position(read["epoch"], read["position"])
        state = _State(read["generation"], position, read["chunks"], read["deleted"])
        newest = Newest({})
        if self._opened and self._opened.position.epoch == position.epoch:
            # Another process may have committed less than is known here.
            newest = self._opened.asking.newest.after(position)
            position = max(position, self._opened.position)
        if self._opened and self._opened.state.generation == state.generation:
            indexes = self._opened.asking.indexes
        else:
            indexes = Indexes.open(self.folder / state.generation, self.words.analyzer)
        for index in indexes:
            index.reload()
        asking = Asking(
            self.words, indexes, indexes.chunks.searcher(), indexes.documents.searcher(), state.chunks, newest
        )
        return _Opened(state, position, stamp, asking)

    def _discard(self, opened: _Opened) -> None:
        """Have a damaged view rebuilt by the next ``catch_up``; where another process is writing, that one sees."""
        with contextlib.suppress(StoreError), self._locked(timeout=0):
            if _stamp(self._state_path) == opened.stamp:
                self._state_path.unlink(missing_ok=True)

    def _unwritable(self, damage: Damaged) -> StoreError:
        what, do = f"the keyword index cannot be written ({damage})", "check the disk's space and the folder's rights"
        return StoreError(what, where=str(self.folder), do=do)

    def _gone(self) -> StoreError:
        return StoreError("there is no keyword index", where=str(self.folder), do="ask again: it is rebuilt")

    @property
    def _state_path(self) -> Path:
        return self.folder / "view.json"

    @cached_property
    def _format(self) -> str:
        return f"{FORMAT} {self.words.language} tantivy {version('tantivy')}"


@dataclass(frozen=True, slots=True)
class _State:
    """What ``view.json`` says."""

    generation: str
    position: Position
    chunks: int
    deleted: float  # the share of chunks, or of documents where that is greater


@dataclass(frozen=True, slots=True)
class _Opened:
    """A generation, with what it held when ``view.json`` was last looked at."""

    state: _State
    position: Position  # what memory holds included
    stamp: _Stamp
    asking: Asking


def _is_later(one: Position, other: Position) -> bool:
    return one.epoch == other.epoch and one.number > other.number


def _stamp(path: Path) -> _Stamp | None:
    """What changes when a file is replaced; ``None``: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
