"""Keyword search: BM25 over the chunks of one index, from a local tantivy index that can be thrown away.

The truth is in PostgreSQL. A ``KeywordView`` is a folder beside the host's cache that reflects the database as it was
at one ``Position`` and is caught up from the change feed before it answers:

    folder/lock             flock: one writer on a host
    folder/view.json        which generation is valid, the position that it reflects, how much of it is deleted
    folder/<generation>/    a tantivy index

``view.json`` is replaced atomically, after tantivy has committed. So whoever dies in between leaves a view that knows
more than it says, and replaying a change is harmless: a change carries all chunks that its document now has, and they
replace those it had. A rebuild writes a new generation beside the old one and then turns ``view.json`` over. A view
that is damaged, or was written by another format, language or tantivy, counts as empty and is rebuilt from nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import threading
import time
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from openbook.errors import RecipeError, StoreError
from openbook.store.filter import Filter, terms, to_tantivy
from openbook.types import Metadata

if TYPE_CHECKING:
    import tantivy

LANGUAGES = (
    *("arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian"),
    *("norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish"),
)
"""The languages whose words are stemmed; ``"none"`` stems nothing."""

FORMAT = 1
"""Of the fields and their contents: another number rebuilds every view."""

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

MAX_DELETED = 0.1
"""Share of deleted chunks above which a view wants a rebuild: BM25 still counts them."""


class Position(NamedTuple):
    """A point in the change feed: ``number`` counts on within one ``epoch`` of the database."""

    epoch: str
    number: int


NOWHERE = Position("", 0)
"""The position of a view that holds nothing."""


@dataclass(frozen=True, slots=True)
class KeywordChunk:
    """A chunk as keyword search sees it: ``headings`` is its heading path, a heading a line."""

    id: int
    text: str
    title: str
    headings: str
    access: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Change:
    """All chunks that ``document`` (its uuid) now has; ``None``: it is deleted."""

    document: str
    chunks: Sequence[KeywordChunk] | None


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
        """Whether more than a tenth of its chunks are deleted ones, which still count in the BM25 statistics."""
        opened = self._current()
        return opened is not None and opened.state.deleted > MAX_DELETED * (opened.state.deleted + opened.state.chunks)

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
                        raise StoreError(
                            f"the keyword index cannot be written ({damage})",
                            where=str(self.folder),
                            do="check the disk's space and the folder's rights",
                        ) from None
                    opened = None

    def reset(self, *, timeout: float = 60.0) -> None:
        """Delete everything the view holds from the disk; the next ``catch_up`` starts from nothing.

        Raises:
            StoreError: another process has held the lock for ``timeout`` seconds.
        """
        with self._locked(timeout):
            with self._opening:
                self._opened = None
            self._state_path.unlink(missing_ok=True)
            self._sweep(keep=None)

    def _rebuild(self, changes: Changes) -> None:
        opened = self._current()
        self._sweep(keep=opened.state.generation if opened else None)
        generation = uuid.uuid4().hex
        try:
            with _damage_told():
                (self.folder / generation).mkdir()
                index = _new_index(self.folder / generation, self._analyzer)
            _write(index, changes.documents, heap=_REBUILD_HEAP)
            self._publish(generation, changes.position)
        except BaseException:
            shutil.rmtree(self.folder / generation, ignore_errors=True)
            raise
        self._sweep(keep=generation)

    def _replay(self, opened: _Opened, changes: Changes) -> None:
        written = _write(opened.index, changes.documents, heap=_REPLAY_HEAP)
        if written or changes.position != opened.state.position:
            self._publish(opened.state.generation, changes.position)

    def _publish(self, generation: str, position: Position) -> None:
        """Turn ``view.json`` over to what tantivy has committed. Not synced: a state that is lost with the machine's
        power costs a replay or a rebuild, never a wrong answer."""
        with _damage_told():
            chunks, deleted = _counts(self.folder / generation)
            state = {
                "format": self._format,
                "generation": generation,
                "epoch": position.epoch,
                "position": position.number,
                "chunks": chunks,
                "deleted": deleted,
            }
            new = self._state_path.with_suffix(".new")
            new.write_text(json.dumps(state), encoding="utf-8")
            new.replace(self._state_path)

    def _sweep(self, keep: str | None) -> None:
        """Delete all generations but ``keep``; whoever still reads one has its files open."""
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

    def search(
        self, query: str, k: int, *, filter: Filter | None = None, access: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """The ``k`` best chunks for the words of ``query``, as (chunk id, BM25 score), best first, ties by id.

        ``query`` is free text and nothing in it is syntax. ``filter`` and ``access`` (the ``KeywordChunk.access`` that
        may be seen; ``None``: all) are applied before ranking and leave the scores as they are.

        Raises:
            StoreError: there is no view (any more), or it is damaged: ``catch_up``, then try again.
        """
        from tantivy import Query

        opened = self._current()
        if opened is None:
            raise self._gone()
        clauses = self._clauses(opened.index.schema, _folded(query[:MAX_QUESTION]))
        k = min(k, opened.state.chunks)
        if not clauses or k < 1 or (access is not None and not access):
            return []
        ranking = _limited(Query.boolean_query(clauses), opened.index, filter, access)
        try:
            with _damage_told():
                return _best(opened.searcher, ranking, k)
        except _Damaged:
            self._discard(opened)
            raise self._gone() from None

    def _clauses(self, schema: tantivy.Schema, question: str) -> list[tuple[tantivy.Occur, tantivy.Query]]:
        """BM25 of the question's words, each as often as it stands there, and of its identifiers."""
        from tantivy import Occur, Query

        words = [word for word in self._analyzer.analyze(question) if word not in self._stopwords]
        words = words or self._analyzer.analyze(question)  # of "Who is who?" nothing would be left
        weights = {("body", word): float(count) for word, count in Counter(words).items()}
        weights |= {("identifier", identifier): IDENTIFIER_WEIGHT for identifier in _identifiers(question)}
        terms = list(weights.items())[:MAX_TERMS]
        return [
            (Occur.Should, Query.boost_query(Query.term_query(schema, field, term, "freq"), weight))
            for (field, term), weight in terms
        ]

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
            index = self._opened.index
        else:
            index = _open_index(self.folder / state.generation, self._analyzer)
        index.reload()
        return _Opened(state, stamp, index, index.searcher())

    def _discard(self, opened: _Opened) -> None:
        """Have a damaged view rebuilt by the next ``catch_up``; where another process is writing, that one sees."""
        with contextlib.suppress(StoreError), self._locked(timeout=0):
            if _stamp(self._state_path) == opened.stamp:
                self._state_path.unlink(missing_ok=True)

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
            analyzer = analyzer.filter(Filter.stemmer(self.language))
        return analyzer.filter(Filter.ascii_fold()).build()


# --- the tantivy index ------------------------------------------------------------------------------------------------

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
    deleted: int


@dataclass(frozen=True, slots=True)
class _Opened:
    state: _State
    stamp: _Stamp
    index: tantivy.Index
    searcher: tantivy.Searcher


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


def _new_index(path: Path, analyzer: tantivy.TextAnalyzer) -> tantivy.Index:
    from tantivy import Index, SchemaBuilder

    schema = SchemaBuilder()
    schema.add_integer_field("id", fast=True)
    schema.add_text_field("document", tokenizer_name="raw", index_option="basic")
    schema.add_text_field("body", tokenizer_name="openbook", index_option="freq")
    schema.add_text_field("identifier", tokenizer_name="raw", index_option="freq")
    schema.add_integer_field("access", indexed=True)
    schema.add_bytes_field("attribute", indexed=True)
    Index(schema.build(), path=str(path))
    return _open_index(path, analyzer)


def _open_index(path: Path, analyzer: tantivy.TextAnalyzer) -> tantivy.Index:
    from tantivy import Index

    index = Index.open(str(path))
    index.register_tokenizer("openbook", analyzer)
    index.config_reader("manual")  # the default polls the folder from a thread of its own
    return index


def _counts(path: Path) -> tuple[int, int]:
    """How many documents a committed index holds, and how many deleted ones it still counts."""
    segments = json.loads((path / "meta.json").read_bytes())["segments"]
    deleted = sum(segment["deletes"]["num_deleted_docs"] for segment in segments if segment["deletes"])
    return sum(segment["max_doc"] for segment in segments) - deleted, deleted


def _write(index: tantivy.Index, changes: Iterable[Change], *, heap: int) -> bool:
    """Replace what changed and commit, once; whether anything did. Nothing is kept of what does not arrive whole."""
    writer: tantivy.IndexWriter | None = None
    try:
        for change in changes:
            with _damage_told():
                # One thread: the order of the segments, and with it nothing else, would depend on more.
                writer = writer or index.writer(heap, 1)
                writer.delete_documents_by_term("document", change.document)
                for entry in _entries(change):
                    writer.add_document(entry)
        if writer is None:
            return False
        with _damage_told():
            writer.commit()
            writer.wait_merging_threads()
        return True
    finally:
        del writer  # and with it tantivy's own lock, which a traceback would keep


def _entries(change: Change) -> Iterator[tantivy.Document]:
    from tantivy import Document

    metadata: Metadata | None = None
    attributes: list[bytes] = []
    for chunk in change.chunks or ():
        if chunk.metadata is not metadata:
            metadata = chunk.metadata
            attributes = terms(metadata)
        entry = Document()
        entry.add_integer("id", chunk.id)
        entry.add_text("document", change.document)
        body = _folded(_body(chunk))
        entry.add_text("body", body)
        for identifier in _identifiers(body):
            entry.add_text("identifier", identifier)
        entry.add_integer("access", chunk.access)
        for attribute in attributes:
            entry.add_bytes("attribute", attribute)
        yield entry


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
