"""Keyword search: BM25 over the chunks and the documents of one index, from local tantivy indexes, disposable ones.

The truth is in PostgreSQL. A ``KeywordView`` is a folder beside the host's cache that reflects the database as it was
at one ``Position`` and is caught up from the change feed before it answers:

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
import hashlib
import json
import math
import os
import re
import shutil
import threading
import time
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from openbook.errors import RecipeError, StoreError
from openbook.store.filter import Filter, terms, to_tantivy
from openbook.types import Metadata

if TYPE_CHECKING:
    import numpy as np
    import tantivy
    from numpy.typing import NDArray

    IntArray: TypeAlias = NDArray[np.int64]

LANGUAGES = (
    *("arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian"),
    *("norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish"),
)
"""The languages whose words are stemmed; ``"none"`` stems nothing."""

FORMAT = 6
"""Of the fields, their contents and ``view.json``: another number rebuilds every view."""

_ENGLISH = """
a about am an and any are as at be been being but by can could did do does doing for from had has have he her here him
his how i if in into is it its me might must my no not of on or our s shall she should so some such t than that the
their them then there these they this to was we were what when where which who whom whose why will with would you your
"""
STOPWORDS = {"english": frozenset(_ENGLISH.split())}
"""Words that a question is made with and that are not looked for. Rare in documents, "what" and "how" weigh much:
without them mean nDCG@10 over the dev halves of twelve sets rises from 0.643 to 0.662."""

IDENTIFIER_WEIGHT = 0.5

MAX_TERMS = 1_000
"""Distinct words of a question that are looked for, the first ones."""

MAX_QUESTION = 10_000
"""Characters of a question that are looked at."""

MENTIONED_IN = 8
"""A title or metadata value counts as mentioned where fewer than one in so many of the other chunks hold its words:
else it is a word like others ("version", "policy"). Mean nDCG@10 over the dev halves of twelve sets is within 0.002
from one in three to one in eight and falls by 0.004 at one in twelve, where versions are no longer told apart."""

MENTION_WEIGHT = 5.0
"""BM25 points for a nat of a mention: one of log-odds where a BM25 point counts 0.2, as in the default fusion."""

LONGEST_VALUE = 40
"""Words of a title or metadata value that can be mentioned; longer ones are texts."""

MAX_DELETED = 0.1
"""Share of deleted chunks, or documents, above which a view wants a rebuild: BM25 still counts them."""


class Position(NamedTuple):
    """A point in the change feed: ``number`` counts on within one ``epoch`` of the database."""

    epoch: str
    number: int


NOWHERE = Position("", 0)
"""The position of a view that holds nothing."""


@dataclass(frozen=True, slots=True)
class KeywordChunk:
    """A chunk as keyword search sees it: ``headings`` is its heading path, a heading a line; ``names`` are what a
    question may call its document by, besides the title."""

    id: int
    text: str
    title: str
    headings: str
    access: int
    metadata: Metadata
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Mention:
    """A title or metadata value that stands in a question; ``evidence`` in nats: see ``KeywordView.read``."""

    value: str
    evidence: float


@dataclass(frozen=True, slots=True)
class Question:
    """A question as keyword search reads it: how much each (field, term) weighs, and what it mentions."""

    terms: tuple[tuple[tuple[str, str], float], ...]
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True, slots=True)
class Weighed:
    """BM25 of a chunk, mentions included, and BM25 of the whole document that it belongs to; ``place``: which document
    that is, and a number that neighbours in a section have in a row."""

    chunk: float
    document: float
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Change:
    """All chunks that ``document`` (its uuid) now has, in their order; ``None``: it is deleted."""

    document: str
    chunks: Sequence[KeywordChunk] | None


@dataclass(frozen=True, slots=True)
class Held:
    """All that a view holds, to be compared with the database: of each chunk its ``ids``, the ``numbers`` of its
    document (``document_number``) and its ``access``, int64[n] each; ``documents``, int64[m], those it knows whole."""

    position: Position
    ids: IntArray
    numbers: IntArray
    access: IntArray  # -1: none of those asked for
    documents: IntArray


@dataclass(frozen=True, slots=True)
class Changes:
    """What brings a view to ``position``: what changed since the one asked for, or with ``rebuild`` everything."""

    position: Position
    documents: Iterable[Change]
    rebuild: bool = False


class KeywordView:
    """The keyword side of one index on this host; threads and processes may share a folder.

    Raises:
        RecipeError: a language that is not among ``LANGUAGES``.
    """

    def __init__(self, folder: Path, language: str) -> None:
        if language not in (*LANGUAGES, "none"):
            known = ", ".join((*LANGUAGES, "none"))
            raise RecipeError(f"unknown keyword language {language!r}", where="recipe", do=f"choose one of {known}")
        self.folder = folder
        self.language = language
        self._opened: _Opened | None = None
        self._opening = threading.Lock()

    def position(self) -> Position:
        """What the view reflects at least; ``NOWHERE`` where there is none, or none that can be read."""
        opened = self._current()
        return opened.state.position if opened else NOWHERE

    def needs_rebuild(self) -> bool:
        """Whether more than a tenth of its chunks, or of its documents, are deleted ones, which BM25 still counts."""
        opened = self._current()
        return opened is not None and opened.state.deleted > MAX_DELETED

    def size(self) -> int:
        """How many chunks it holds."""
        opened = self._current()
        return opened.state.chunks if opened else 0

    def bytes_on_disk(self) -> int:
        """The size of its folder; 0 where nothing was asked on this host yet."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # another process merges segments meanwhile
                total += path.stat().st_size if path.is_file() else 0
        return total

    # --- writing ------------------------------------------------------------------------------------------------------

    def catch_up(self, feed: Callable[[Position], Changes], *, timeout: float = 60.0) -> Position:
        """Bring the view to where ``feed`` ends, alone on this host; returns that position.

        ``feed`` is called under the lock with the position from which the view goes on. It answers with what changed
        since, or with everything (``rebuild``), which it must when the epoch is another or the feed was trimmed. From
        ``NOWHERE`` both are the same. It is called again, with ``NOWHERE``, when the view turns out to be damaged.

        Raises:
            StoreError: another process has held the lock for ``timeout`` seconds; or the folder cannot be written.
        """
        with self._locked(timeout):
            opened = self._current()
            while True:
                changes = feed(opened.state.position if opened else NOWHERE)
                try:
                    if opened is None or changes.rebuild:
                        self._rebuild(changes)
                    else:
                        self._replay(opened, changes)
                    return changes.position
                except _Damaged as damage:
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
                with _damage_told():
                    self._state_path.unlink(missing_ok=True)
                    self._sweep(keep=None)
            except _Damaged as damage:
                raise self._unwritable(damage) from None

    def _rebuild(self, changes: Changes) -> None:
        opened = self._current()
        self._sweep(keep=opened.state.generation if opened else None)
        generation = uuid.uuid4().hex
        try:
            with _damage_told():
                indexes = _Indexes.create(self.folder / generation, self._analyzer)
            self._write(indexes, changes.documents, heap=_REBUILD_HEAP)
            self._publish(generation, changes.position)
        except BaseException:
            shutil.rmtree(self.folder / generation, ignore_errors=True)
            raise
        self._sweep(keep=generation)

    def _replay(self, opened: _Opened, changes: Changes) -> None:
        written = self._write(opened.indexes, changes.documents, heap=_REPLAY_HEAP)
        if written or changes.position != opened.state.position:
            self._publish(opened.state.generation, changes.position)

    def _publish(self, generation: str, position: Position) -> None:
        """Turn ``view.json`` over to what tantivy has committed. Not synced: a state that is lost with the machine's
        power costs a replay or a rebuild, never a wrong answer."""
        with _damage_told():
            kept = {index: _counts(self.folder / generation / index) for index in ("chunk", "document")}
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
        with _damage_told():
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
        opened = self._current()
        if opened is None:
            raise self._gone()
        folded = _folded(question[:MAX_QUESTION])
        words = self._analyzer.analyze(folded)[:MAX_TERMS]
        mentions: dict[str, Mention] = {}
        told = [False] * len(words)
        try:
            with _damage_told():
                for start, end in self._values(opened, words):
                    value = " ".join(words[start:end])
                    if value not in mentions:
                        evidence = self._evidence(opened, value, words[start:end], filter, access)
                        mentions[value] = Mention(value, evidence)
                    if mentions[value].evidence >= math.log(MENTIONED_IN):
                        told[start:end] = [True] * (end - start)
        except _Damaged:
            self._discard(opened)
            raise self._gone() from None
        left = [word for word, said in zip(words, told, strict=True) if not said]
        found = tuple(mention for mention in mentions.values() if mention.evidence >= math.log(MENTIONED_IN))
        return Question(self._terms(left, words, folded), found)

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
        from tantivy import Query

        opened = self._current()
        if opened is None:
            raise self._gone()
        if isinstance(query, str):
            folded = _folded(query[:MAX_QUESTION])
            words = self._analyzer.analyze(folded)
            query = Question(self._terms(words, words, folded))
        clauses = _clauses(opened.indexes.chunks.schema, query)
        k = min(k, opened.state.chunks)
        if not clauses or k < 1 or (access is not None and not access):
            return []
        ranking = _limited(Query.boolean_query(clauses), opened.indexes.chunks, filter, access)
        try:
            with _damage_told():
                return _best(opened.chunks, ranking, k)
        except _Damaged:
            self._discard(opened)
            raise self._gone() from None

    def weigh(self, question: Question, chunks: Sequence[int]) -> dict[int, Weighed]:
        """What the words say of these chunks, whoever found them; a chunk that the view does not hold is left out.

        Raises:
            StoreError: as ``search``.
        """
        opened = self._current()
        if opened is None:
            raise self._gone()
        if not chunks:
            return {}
        try:
            with _damage_told():
                found = _scored(opened.chunks, opened.indexes.chunks.schema, question, "id", chunks)
                addresses = [address for address, _ in found.values()]
                numbers, ordinals = (
                    [int(value or 0) for value in opened.chunks.fast_field_values(field, addresses)]
                    for field in ("number", "ordinal")
                )
                places = dict(zip(found, zip(numbers, ordinals, strict=True), strict=True))
                words = replace(question, mentions=())
                whole = _scored(opened.documents, opened.indexes.documents.schema, words, "number", [*set(numbers)])
        except _Damaged:
            self._discard(opened)
            raise self._gone() from None
        nowhere = (None, 0.0)
        return {
            id: Weighed(score, whole.get(places[id][0], nowhere)[1], places[id]) for id, (_, score) in found.items()
        }

    def held(self, access: Sequence[int]) -> Held | None:
        """Everything in it, with which of the ``access`` sets each chunk has; ``None`` where there is no view, or none
        that can be read."""
        import numpy as np
        from tantivy import Query

        opened = self._current()
        if opened is None:
            return None
        schema = opened.indexes.chunks.schema

        def column(searcher: tantivy.Searcher, query: tantivy.Query, *fields: str) -> list[IntArray]:
            # Sorted by id: where a chunk lies says nothing.
            found = [address for _, address in searcher.search(query, max(1, searcher.num_docs), count=False).hits]
            values = [np.array(searcher.fast_field_values(field, found), dtype=np.int64) for field in fields]
            order = np.argsort(values[0], kind="stable")
            return [each[order] for each in values]

        try:
            with _damage_told():
                ids, numbers = column(opened.chunks, Query.all_query(), "id", "number")
                of = np.full(len(ids), -1, dtype=np.int64)
                for number in access:
                    (those,) = column(opened.chunks, Query.term_query(schema, "access", number), "id")
                    of[np.isin(ids, those)] = number
                (documents,) = column(opened.documents, Query.all_query(), "number")
        except _Damaged:
            return None
        return Held(opened.state.position, ids, numbers, of, documents)

    def _terms(
        self, words: Sequence[str], all_words: Sequence[str], question: str
    ) -> tuple[tuple[tuple[str, str], float], ...]:
        """Each word as often as it stands there, and the identifiers; where nothing but stop words ("Who is who?") or
        mentions are left, all that there is."""
        asked = (
            [word for word in words if word not in self._stopwords]
            or [word for word in all_words if word not in self._stopwords]
            or all_words
        )
        weights = {("body", word): float(count) for word, count in Counter(asked).items()}
        weights |= {("identifier", identifier): IDENTIFIER_WEIGHT for identifier in _identifiers(question)}
        return tuple(weights.items())[:MAX_TERMS]

    def _values(self, opened: _Opened, words: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Where a whole title or metadata value stands among the words. Longer ones are tried where two words open
        one, so that a question costs about two look-ups a word."""
        known = opened.chunks.doc_freq
        for start, word in enumerate(words):
            if word not in self._stopwords and known("value", word):
                yield start, start + 1
            if start + 1 < len(words) and known("opening", f"{word} {words[start + 1]}"):
                for end in range(start + 2, min(start + LONGEST_VALUE, len(words)) + 1):
                    if known("value", " ".join(words[start:end])) and not self._stopwords.issuperset(words[start:end]):
                        yield start, end

    def _evidence(
        self, opened: _Opened, value: str, words: Sequence[str], filter: Filter | None, access: Sequence[int] | None
    ) -> float:
        from tantivy import Occur, Query

        index = opened.indexes.chunks

        def count(query: tantivy.Query, filter: Filter | None = None) -> int:
            # What the caller may not see says nothing here, not even how common these words are in it.
            seen = _limited(query, index, filter, access)
            return int(opened.chunks.search(seen, 1, count=True).count or 0)  # type: ignore[attr-defined]

        has = Query.term_query(index.schema, "value", value, "basic")
        if (access is not None and not access) or not count(has, filter):
            return 0.0
        holds = [(Occur.Must, Query.term_query(index.schema, "body", word, "basic")) for word in dict.fromkeys(words)]
        everything = opened.chunks.num_docs if access is None else count(Query.all_query())
        others = everything - count(has)
        return math.log((others + 1) / (count(Query.boolean_query([*holds, (Occur.MustNot, has)])) + 1))

    def _write(self, indexes: _Indexes, changes: Iterable[Change], *, heap: int) -> bool:
        """Replace what changed and commit, once; whether anything did. What does not arrive whole is not kept."""
        writers: list[tantivy.IndexWriter] = []  # documents, chunks
        try:
            for change in changes:
                with _damage_told():
                    # One thread: the order of the segments, and with it nothing else, would depend on more.
                    writers = writers or [index.writer(heap, 1) for index in (indexes.documents, indexes.chunks)]
                    for at in range(2):
                        writers[at].delete_documents_by_term("document", change.document)
                    for entry in self._entries(change):
                        writers[1].add_document(entry)
                    if change.chunks:
                        writers[0].add_document(_whole(change.document, change.chunks))
            with _damage_told():
                for at in range(len(writers)):
                    writers[at].commit()
                    writers[at].wait_merging_threads()
            return bool(writers)
        finally:
            writers = []  # and with them tantivy's own locks, which a traceback would keep

    def _entries(self, change: Change) -> Iterator[tantivy.Document]:
        from tantivy import Document

        metadata: Metadata | None = None
        attributes: list[bytes] = []
        values: list[list[str]] = []
        ordinal, section = 0, None
        for chunk in change.chunks or ():
            ordinal += 1 if chunk.headings == section else 2  # chunks of two sections are no neighbours
            section = chunk.headings
            if chunk.metadata is not metadata:
                metadata = chunk.metadata
                attributes = terms(metadata)
                read = (self._analyzer.analyze(_folded(name)) for name in (chunk.title, *chunk.names))
                values = [words for words in read if 0 < len(words) <= LONGEST_VALUE]
            entry = Document()
            entry.add_integer("id", chunk.id)
            entry.add_integer("number", document_number(change.document))
            entry.add_integer("ordinal", ordinal)
            entry.add_text("document", change.document)
            _add_words(entry, _body(chunk))
            for words in values:
                entry.add_text("value", " ".join(words))
                if len(words) > 1:
                    entry.add_text("opening", " ".join(words[:2]))
            entry.add_integer("access", chunk.access)
            for attribute in attributes:
                entry.add_bytes("attribute", attribute)
            yield entry

    def _current(self) -> _Opened | None:
        """What ``view.json`` names now, opened; ``None``: nothing that can be read."""
        with self._opening:
            # Again, as long as a rebuild replaces the generation while it is being opened.
            for _ in range(100):
                stamp = _stamp(self._state_path)
                if self._opened and self._opened.stamp == stamp:
                    return self._opened
                try:
                    with _damage_told():
                        self._opened = self._open(stamp)
                    return self._opened
                except _Damaged:
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
        if self._opened and self._opened.state.generation == state.generation:
            indexes = self._opened.indexes
        else:
            indexes = _Indexes.open(self.folder / state.generation, self._analyzer)
        for index in indexes:
            index.reload()
        return _Opened(state, stamp, indexes, indexes.chunks.searcher(), indexes.documents.searcher())

    def _discard(self, opened: _Opened) -> None:
        """Have a damaged view rebuilt by the next ``catch_up``; where another process is writing, that one sees."""
        with contextlib.suppress(StoreError), self._locked(timeout=0):
            if _stamp(self._state_path) == opened.stamp:
                self._state_path.unlink(missing_ok=True)

    def _unwritable(self, damage: _Damaged) -> StoreError:
        what, do = f"the keyword index cannot be written ({damage})", "check the disk's space and the folder's rights"
        return StoreError(what, where=str(self.folder), do=do)

    def _gone(self) -> StoreError:
        return StoreError("there is no keyword index", where=str(self.folder), do="ask again: it is rebuilt")

    @property
    def _state_path(self) -> Path:
        return self.folder / "view.json"

    @cached_property
    def _format(self) -> str:
        return f"{FORMAT} {self.language} tantivy {version('tantivy')}"

    @cached_property
    def _stopwords(self) -> frozenset[str]:
        words = STOPWORDS.get(self.language, frozenset())
        return frozenset(stem for word in words for stem in self._analyzer.analyze(word))

    @cached_property
    def _analyzer(self) -> tantivy.TextAnalyzer:
        from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

        analyzer = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(_LONGEST_WORD))
        analyzer = analyzer.filter(Filter.lowercase())
        if self.language != "none":
            for language in dict.fromkeys((self.language, *_BY_SCRIPT)):
                analyzer = analyzer.filter(Filter.stemmer(language))
        return analyzer.filter(Filter.ascii_fold()).build()


_BY_SCRIPT = ("arabic", "greek", "russian", "tamil")
"""Languages with a script of their own: their stemmers leave other words as they are, so they run behind the recipe's.
Arabic's, which also makes letter forms and vowel signs one, raises nDCG@10 on the dev half of arcd-arabic from 0.753 to
0.803. Languages that share a script must be told by the recipe."""


# --- the tantivy indexes ----------------------------------------------------------------------------------------------

_Stamp = tuple[int, int, int]

_REBUILD_HEAP = 100_000_000  # bytes
_REPLAY_HEAP = 15_000_000
_LONGEST_WORD = 80  # bytes; longer ones are encoded data
_MOST_TIES = 20_000


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
    stamp: _Stamp
    indexes: _Indexes
    chunks: tantivy.Searcher
    documents: tantivy.Searcher


class _Damaged(Exception):
    """tantivy, or the disk, refused."""


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # tantivy raises ValueError for whatever it finds, and a Rust panic arrives as a BaseException without a home.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise _Damaged(str(error)) from None
        raise


def _stamp(path: Path) -> _Stamp | None:
    """What changes when a file is replaced; ``None``: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class _Indexes(NamedTuple):
    chunks: tantivy.Index
    documents: tantivy.Index

    @classmethod
    def create(cls, folder: Path, analyzer: tantivy.TextAnalyzer) -> _Indexes:
        from tantivy import Index, SchemaBuilder

        chunk = SchemaBuilder()
        chunk.add_integer_field("id", fast=True, indexed=True)
        chunk.add_integer_field("number", fast=True)
        chunk.add_integer_field("ordinal", fast=True)
        chunk.add_text_field("value", tokenizer_name="raw", index_option="basic")
        chunk.add_text_field("opening", tokenizer_name="raw", index_option="basic")
        chunk.add_integer_field("access", indexed=True)
        chunk.add_bytes_field("attribute", indexed=True)
        document = SchemaBuilder()
        document.add_integer_field("number", fast=True, indexed=True)
        for name, schema in (("chunk", chunk), ("document", document)):
            schema.add_text_field("document", tokenizer_name="raw", index_option="basic")
            schema.add_text_field("body", tokenizer_name="openbook", index_option="freq")
            schema.add_text_field("identifier", tokenizer_name="raw", index_option="freq")
            (folder / name).mkdir(parents=True)
            Index(schema.build(), path=str(folder / name))
        return cls.open(folder, analyzer)

    @classmethod
    def open(cls, folder: Path, analyzer: tantivy.TextAnalyzer) -> _Indexes:
        from tantivy import Index

        indexes = cls(Index.open(str(folder / "chunk")), Index.open(str(folder / "document")))
        for index in indexes:
            index.register_tokenizer("openbook", analyzer)
            index.config_reader("manual")  # the default polls the folder from a thread of its own
        return indexes


def _counts(path: Path) -> tuple[int, int]:
    """How many documents a committed index holds, and how many deleted ones it still counts."""
    segments = json.loads((path / "meta.json").read_bytes())["segments"]
    deleted = sum(segment["deletes"]["num_deleted_docs"] for segment in segments if segment["deletes"])
    return sum(segment["max_doc"] for segment in segments) - deleted, deleted


def _whole(document: str, chunks: Sequence[KeywordChunk]) -> tantivy.Document:
    """A document's entry: its title, and its text as its chunks hold it."""
    from tantivy import Document

    entry = Document()
    entry.add_integer("number", document_number(document))
    entry.add_text("document", document)
    _add_words(entry, "\n".join((chunks[0].title, *(chunk.text for chunk in chunks))))
    return entry


def _add_words(entry: tantivy.Document, text: str) -> None:
    body = _folded(text)
    entry.add_text("body", body)
    for identifier in _identifiers(body):
        entry.add_text("identifier", identifier)


def document_number(document: str) -> int:
    """A document as 63 bits, which tantivy keeps in a column; two of a million meet once in 18 million times."""
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big") >> 1


def _body(chunk: KeywordChunk) -> str:
    """The chunk's text under its title and headings, without those that it opens with itself.

    Measured on texts cut to 1,000 characters, mean nDCG@10 over the dev halves of nine sets: text alone 0.598, with
    title 0.622, with title and headings 0.637, without repeating those in the text 0.641. A higher weight for the
    title wins where titles are telling (covid-faq + 0.04) and loses in product documentation (docs-etcd - 0.03).
    """
    opening = {line.strip(_MARKUP).lower() for line in chunk.text.split("\n", 8)[:8]}
    above = dict.fromkeys((chunk.title, *chunk.headings.split("\n")))
    return "\n".join([*(line for line in above if line.strip(_MARKUP).lower() not in opening), chunk.text])


_MARKUP = "#*=- \t"


def _identifiers(text: str) -> list[str]:
    """Flags, versions, names and paths as they stand there: ``snapshot-count``, ``v3.5``, ``err_42``.

    Their parts are words as well; whole they count half a word. nDCG@10 on the dev half of docs-etcd (flags and
    versions) 0.726 -> 0.743, on the other sets within 0.004.
    """
    pieces = (piece for piece in text.split() if _JOINT.search(piece))
    found = (identifier.lower() for piece in pieces for identifier in _IDENTIFIER.findall(piece))
    return list(dict.fromkeys(identifier for identifier in found if len(identifier) <= _LONGEST_WORD))


_JOINT = re.compile(r"[-_.:/]\w")
_IDENTIFIER = re.compile(r"[^\W_]+(?:[-_.:/]+[^\W_]+)+")


def _folded(text: str) -> str:
    """Text as it is cut into words: compatibility forms made one (full width, ligatures, composed accents), and
    pairs of characters where a script writes no spaces."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode("utf-8")
    return _UNSPACED.sub(_pairs, text)


# Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)


def _pairs(run: re.Match[str]) -> str:
    characters = run[0]
    return f" {' '.join(first + second for first, second in pairwise(characters)) or characters} "


def _clauses(schema: tantivy.Schema, question: Question) -> list[tuple[tantivy.Occur, tantivy.Query]]:
    from tantivy import Occur, Query

    words = [
        Query.boost_query(Query.term_query(schema, field, term, "freq"), weight)
        for (field, term), weight in question.terms
    ]
    mentions = [
        Query.const_score_query(
            Query.term_query(schema, "value", mention.value, "basic"), MENTION_WEIGHT * mention.evidence
        )
        for mention in question.mentions
    ]
    return [(Occur.Should, clause) for clause in (*words, *mentions)]


def _scored(
    searcher: tantivy.Searcher, schema: tantivy.Schema, question: Question, field: str, values: Sequence[int]
) -> dict[int, tuple[tantivy.DocAddress, float]]:
    """Where the entries with these values of an integer field lie, and their scores; 0 without a word asked for."""
    from tantivy import Occur, Query

    if not values:
        return {}
    these = Query.const_score_query(Query.term_set_query(schema, field, list(values)), 0.0)
    query = Query.boolean_query([(Occur.Must, these), *_clauses(schema, question)])
    hits = searcher.search(query, len(values), count=False).hits
    found = searcher.fast_field_values(field, [address for _, address in hits])
    return {int(value or 0): (address, score) for (score, address), value in zip(hits, found, strict=True)}


def _limited(
    ranking: tantivy.Query, index: tantivy.Index, filter: Filter | None, access: Sequence[int] | None
) -> tantivy.Query:
    """``ranking`` over what may be found; what limits it scores 0."""
    from tantivy import Occur, Query

    limits = []
    if filter is not None:
        limits.append(to_tantivy(filter, index, "attribute"))
    if access is not None:
        limits.append(Query.term_set_query(index.schema, "access", list(access)))
    if not limits:
        return ranking
    unscored = [(Occur.Must, Query.const_score_query(limit, 0.0)) for limit in limits]
    return Query.boolean_query([(Occur.Must, ranking), *unscored])


def _best(searcher: tantivy.Searcher, query: tantivy.Query, k: int) -> list[tuple[int, float]]:
    """The ``k`` best. tantivy breaks ties by where a chunk happens to lie, so fetch until the last one fetched is
    worse than the k-th, and break them by id."""
    more = 10
    while True:
        hits = searcher.search(query, k + more, count=False).hits
        if len(hits) < k + more or hits[-1][0] < hits[k - 1][0] or more >= _MOST_TIES:
            break
        more *= 8
    ids = searcher.fast_field_values("id", [address for _, address in hits])
    ranked = sorted((-score, int(id or 0)) for (score, _), id in zip(hits, ids, strict=True))
    return [(id, -score) for score, id in ranked[:k]]
