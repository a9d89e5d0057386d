"""``verify``: every invariant looked at, and what is derived made anew where it is broken.

The truth is documents, versions, releases and rules. It is only looked at: what of it is broken is told with what to
do. Chunks, vectors, attributes, the feed and the keyword views are derived from it, and ``repair`` makes them anew.

The knowledge base is looked at in one snapshot, and each index in one of its own; texts are streamed, so that memory
holds ``FETCHED`` documents at a time, whatever there is.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from openbook.chunk.outline import Outline
from openbook.chunk.prefix import embedded_text
from openbook.embed import open_embedder
from openbook.embed.vectors import blended
from openbook.errors import ModelError, NotFound, OpenbookError, RecipeError, StoreError
from openbook.reading import Reader
from openbook.recipe import IndexHalf, Recipe
from openbook.store import soundness
from openbook.store.database import Connection, Database
from openbook.store.index import Index
from openbook.store.keyword import Held, document_number
from openbook.store.locks import own_indexes
from openbook.store.soundness import Found, Indexed, KeptIndex
from openbook.store.writing import Writer, feed
from openbook.types import Chunk, Document, Heading

COMPARED = 1_024
"""Chunks whose vectors are in memory together."""

COSINE = 0.999
"""Between a stored vector and what the cache gives: both are rounded to half precision, one of them twice."""

SAFE_PGVECTOR = (0, 8, 4)
"""From this version on, vacuum leaves HNSW indexes whole."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant: how often it is broken, up to five examples, and what that means and how it is mended. ``note``
    is what there is to say of one that holds."""

    name: str
    ok: bool
    count: int = 0
    examples: tuple[str, ...] = ()
    repair: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """All checks, as they stood at ``position`` of the change feed; after a repair, as it left them, with what was
    ``repaired`` in a line each."""

    ok: bool
    position: int
    checks: tuple[Check, ...]
    repaired: tuple[str, ...] = ()


_MEND = "run openbook verify --repair"
_RESTORE = "forget that document and add it with --again, or restore a backup"

CHECKS: dict[str, str] = {
    "access": "callers could be shown what is not open to them; take these rights from the reader role, and turn"
    " row-level security on and forced (ALTER TABLE openbook.… ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY)",
    "pointers": "no release answers, or none could be returned to; openbook verify --repair lets the release"
    " answer again that last did",
    "releases": "a release cannot be read back, or is not what its index was made by; build it anew from its recipe and"
    " prune this one",
    "sources": f"a document that its source does not lead to; {_MEND}",
    "versions": "a document without its text; openbook verify --repair takes out those that never had any, of others"
    " restore a backup",
    "texts": f"a text is not what was written; {_RESTORE}",
    "metadata": f"metadata that no document can have; {_RESTORE}",
    "principals": f"a document whose rule of access cannot be relied upon; {_RESTORE}",
    "models": f"a model could answer callers who may not see all that it was trained on; {_MEND}",
    "attributes": f"filters would find other documents than match; {_MEND}",
    "feed": f"keyword views would miss changes; {_MEND}",
    "orphans": f"rows that belong to nothing; {_MEND}",
    "erasures": "an erasure was interrupted and is not complete; run openbook forget, which goes on with it",
    "indexes": f"PostgreSQL would search an index that is not whole; {_MEND}, or REINDEX what is named",
    "indexed": f"the index that answers has not read these documents; {_MEND}",
    "chunks": f"searches would find what is not there, or show it to others; {_MEND}",
    "spans": f"a chunk would cite what does not stand there; {_MEND}",
    "coverage": f"some words of these documents would never be found; {_MEND}",
    "outline": f"a chunk names another page or section than it stands in; {_MEND}",
    "vectors": f"dense search would rank these documents wrongly; {_MEND}",
    "model": "the model at hand is not the one that the index was built with: put that one back, or migrate to another"
    " with openbook release build",
    "keyword": f"keyword search on this host would differ from the database; {_MEND}",
    "pgvector": "",
}
"""Every check, in the order in which they are made, with what its failure means and what mends it."""


@dataclass(slots=True)
class _Broken:
    """What a repair has to make anew."""

    attributes: list[str] = field(default_factory=list)  # documents
    documents: dict[int, set[str]] = field(default_factory=dict)  # index → documents that it is to read anew
    views: set[int] = field(default_factory=set)  # indexes


class _Tally:
    """Counts what breaks a rule, and remembers the first of it."""

    def __init__(self) -> None:
        self.found: dict[str, Found] = {}
        self.notes: dict[str, list[str]] = {}

    def add(self, name: str, found: Found, of: object = None) -> bool:
        """Whether anything was found."""
        if of is not None:
            found = replace(found, examples=tuple(f"{of}: {what}" for what in found.examples))
        self.found[name] = self.found.get(name, Found()) + found
        return found.count > 0

    def one(self, name: str, what: str) -> None:
        now = self.found.get(name, Found())
        self.found[name] = now + Found(1, (what,))

    def note(self, name: str, what: str) -> None:
        self.notes.setdefault(name, []).append(what)

    def checks(self) -> tuple[Check, ...]:
        made = []
        for name, repair in CHECKS.items():
            found = self.found.get(name, Found())
            told = repair if found.count else ""
            made.append(
                Check(name, not found.count, found.count, found.examples, told, "; ".join(self.notes.get(name, ())))
            )
        return tuple(made)


def verify(database: Database, name: str, *, repair: bool = False, progress: Progress | None = None) -> Verified:
    """Look at every invariant of a knowledge base; with ``repair`` make anew what is derived and broken; look again.

    It needs no live release, so that one that cannot be opened can be looked at. ``progress`` hears how many documents
    of how many were looked at, counted once for the base and once for each index.

    Raises:
        NotFound: there is no knowledge base of that name.
    """
    with database.snapshot(None) as connection:
        kb = soundness.number_of(connection, name)
    if kb is None:
        raise NotFound(f"no knowledge base named {name!r}", where=database.where, do="check its name")
    position, tally, broken = _look(database, kb, progress)
    repaired: list[str] = []
    if repair and any(found.count for found in tally.found.values()):
        before = tally.found
        refused = _mend(database, kb, tally, broken)
        position, tally, _ = _look(database, kb, progress)
        for index, why in refused:
            tally.note("model", f"{index}: could not be read anew ({why})")
        for check, found in before.items():
            mended = found.count - tally.found.get(check, Found()).count
            if mended > 0:
                repaired.append(f"{check}: {mended} of {found.count} mended")
    checks = tally.checks()
    return Verified(all(check.ok for check in checks), position, checks, tuple(repaired))


# --- looking ----------------------------------------------------------------------------------------------------------


def _look(database: Database, kb: int, progress: Progress | None) -> tuple[int, _Tally, _Broken]:
    tally, broken = _Tally(), _Broken()
    with database.snapshot(None) as connection:
        position = soundness.position(connection, kb)
        indexes = soundness.kept_indexes(connection, kb)
        documents = soundness.count(connection, kb)
        advance = _advancing(progress, documents * (1 + len(indexes)))
        _look_at_base(database, connection, kb, tally, broken, advance)
    for index in indexes:
        with database.snapshot(None) as connection:
            _look_at_index(database, connection, kb, index, tally, broken, advance)
    return position, tally, broken


def _look_at_base(
    database: Database, connection: Connection, kb: int, tally: _Tally, broken: _Broken, advance: Callable[[], None]
) -> None:
    tally.add("access", soundness.open_tables(connection, database.roles(connection)["reader"]))
    tally.add("pointers", soundness.pointers(connection, kb))
    _releases(soundness.releases(connection, kb), tally)
    tally.add("sources", soundness.unreachable(connection, kb))
    tally.add("versions", soundness.unversioned(connection, kb))
    for source, version, current, *stored in soundness.stored_versions(connection, kb):
        if problem := _wrong_text(*stored):
            tally.one("texts", f"{source}, version {version}: {problem}")
        if current:
            advance()
    for id, source, title, removed, metadata, rows in soundness.stored_metadata(connection, kb):
        if problem := soundness.wrong_metadata(metadata):
            tally.one("metadata", f"{source}: {problem}")
        elif rows != (set() if removed else soundness.expected_attributes(source, title, metadata)):
            tally.one("attributes", source)
            broken.attributes.append(id)
    tally.add("principals", soundness.mistaken_access(connection, kb))
    tally.add("models", soundness.unruled_models(connection, kb))
    tally.add("feed", soundness.out_of_feed(connection, kb))
    tally.add("orphans", soundness.orphans(connection))
    tally.add("erasures", soundness.erasures(connection, kb))
    tally.add("indexes", soundness.invalid_indexes(connection))
    pgvector = soundness.pgvector_version(connection)
    if tuple(int(part) for part in pgvector.split(".")) < SAFE_PGVECTOR:
        safe = ".".join(map(str, SAFE_PGVECTOR))
        tally.note("pgvector", f"{pgvector}: vacuum can damage an HNSW index before {safe}; upgrade the extension")


def _releases(found: Sequence[tuple[str, str, str | None, str | None]], tally: _Tally) -> None:
    for name, toml, hash, language in found:
        if hash is None:
            tally.one("releases", f"{name}: its index is not there")
            continue
        try:
            half = Recipe.from_toml(toml, where=name, stored=True).index
        except (RecipeError, KeyError, TypeError) as error:
            tally.one("releases", f"{name}: {error}")
            continue
        if _hash_then(half, toml) != hash:
            tally.one("releases", f"{name}: its index half is not the one that its index was made by")
        elif half.keyword.language != language:
            tally.one("releases", f"{name}: its index is read in {language}, not {half.keyword.language}")


def _hash_then(half: IndexHalf, toml: str) -> str:
    """The hash of an index half when it was stored: settings that came later were not in it."""
    told = tomllib.loads(toml)["index"]

    def kept(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
        return {
            key: kept(value, then[key]) if isinstance(value, dict) else value
            for key, value in now.items()
            if key in then or value is None
        }

    canonical = json.dumps(kept(half.model_dump(mode="json"), told), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _wrong_text(title: str, text: str, headings: Any, pages: Sequence[int], hash: str) -> str:
    try:
        document = _document("", title, text, headings, pages)
    except (TypeError, ValueError):
        return "its headings cannot be read"
    if document.hash != hash:
        return "its hash is another"
    starts = [heading.start for heading in document.headings]
    if any(not 0 <= h.start <= h.end <= len(text) for h in document.headings) or starts != sorted(starts):
        return "a heading lies outside it, or out of order"
    if pages and (pages[0] != 0 or list(pages) != sorted(pages) or pages[-1] > len(text)):
        return "a page lies outside it, or out of order"
    return ""


def _look_at_index(
    database: Database,
    connection: Connection,
    kb: int,
    index: KeptIndex,
    tally: _Tally,
    broken: _Broken,
    advance: Callable[[], None],
) -> None:
    anew = broken.documents.setdefault(index.id, set())
    behind = soundness.behind(connection, kb, index)
    if index.live and index.complete:
        tally.add("indexed", behind, index)
    elif behind.count:
        what = "behind by" if index.complete else "in building: to be read are"
        tally.note("indexed", f"{index} is {what} {behind.count} documents")
    tally.add("chunks", soundness.astray(connection, kb, index), index)
    if tally.add("vectors", soundness.misshapen(connection, index), index):
        anew.update(soundness.misshapen_documents(connection, index))
    model = _Model.of(index, tally)
    waiting: list[Indexed] = []
    for document in soundness.documents_of(connection, kb, index):
        advance()
        if document.read is None and not document.chunks:
            if index.live and index.complete:
                anew.add(document.id)
            continue
        problems = list(_problems(document, model.remote))
        for name, what in problems:
            tally.one(name, f"{index}: {document.source}{what}")
        if problems:
            anew.add(document.id)
        elif model.comparable and document.chunks and all(chunk.has_vector for chunk in document.chunks):
            waiting.append(document)
            if sum(len(one.chunks) for one in waiting) >= COMPARED:
                anew.update(_mistaken_vectors(connection, index, model, waiting, tally))
                waiting = []
    anew.update(_mistaken_vectors(connection, index, model, waiting, tally))
    _look_at_keyword(database, connection, kb, index, tally, broken)


def _problems(document: Indexed, remote: bool) -> Iterator[tuple[str, str]]:
    """(check, what is wrong) with the chunks of a document, each check once."""
    chunks, text = document.chunks, document.text
    if document.read != document.version or any(chunk.version != document.version for chunk in chunks):
        yield "chunks", f": chunks of another version than {document.version}, which it is in"
        return
    if any(chunk.access != document.access for chunk in chunks):
        yield "chunks", ": chunks that are open to others than the document is"
    for chunk in chunks:
        if not 0 <= chunk.start < chunk.end <= len(text) or not text[chunk.start : chunk.end].strip():
            yield "spans", f", {chunk.start}-{chunk.end} of {len(text)} characters"
            return
        if (shown := chunk.passage) and not 0 <= shown[0] <= chunk.start < chunk.end <= shown[1] <= len(text):
            yield "spans", f", {chunk.start}-{chunk.end} is not in its passage, {shown[0]}-{shown[1]}"
            return
    if (gap := _uncovered(text, chunks)) is not None:
        yield "coverage", f": no chunk holds {gap[0]}-{gap[1]}"
    outline = Outline(_document(document.source, document.title, text, document.headings, document.pages))
    for chunk in chunks:
        stands = outline.chunk(chunk.start, chunk.end)
        if (stands.headings, stands.page) != (chunk.headings, chunk.page):
            yield "outline", f", {chunk.start}-{chunk.end}: is in {' / '.join(stands.headings) or 'no section'}"
            break
    withheld = document.local_only and remote
    for chunk in chunks:
        if chunk.has_vector == withheld:
            what = "a remote model's vector of a local-only text" if withheld else "no vector"
            yield "vectors", f", {chunk.start}-{chunk.end}: {what}"
            break


def _uncovered(text: str, chunks: Sequence[Any]) -> tuple[int, int] | None:
    """The first stretch with words in it that lies in no chunk; these come in order of ``start``."""
    reached = 0
    for start, end in [*((chunk.start, chunk.end) for chunk in chunks), (len(text), len(text))]:
        if start > reached and text[reached:start].strip():
            return reached, start
        reached = max(reached, end)
    return None


# --- vectors ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Model:
    """What is known of an index's model on this machine: how much ``room`` it has for tokens, whether it is ``remote``
    to local-only texts, and whether what the cache holds can be compared with what is stored."""

    half: IndexHalf | None = None
    room: int = 0
    remote: bool = False
    comparable: bool = False

    @staticmethod
    def of(index: KeptIndex, tally: _Tally) -> _Model:
        try:
            half = Recipe.from_toml(index.recipe, stored=True).index
        except (RecipeError, KeyError, TypeError):
            return _Model()  # said of its release
        most = getattr(half.chunk, "max_tokens", None)
        if half.embed.kind == "openai":
            tally.note("model", f"{index}: its model is remote, and was not asked")
            room = min(most or half.embed.max_tokens, half.embed.max_tokens)
            return _Model(half, room, not half.embed.is_local, True)
        try:
            embedder = open_embedder(half.embed)
            hash, limit = embedder.hash, embedder.max_tokens
        except ModelError as error:
            tally.note("model", f"{index}: not at hand ({error.what}), so that vectors were not compared")
            return _Model(half)
        if hash != index.embedder:
            tally.one("model", f"{index}: built with {index.embedder}, at hand is {hash}")
            return _Model(half)
        return _Model(half, min(most or limit, limit), False, True)


def _mistaken_vectors(
    connection: Connection, index: KeptIndex, model: _Model, documents: Sequence[Indexed], tally: _Tally
) -> Iterator[str]:
    """The documents of which a vector is not what the cache, and the neighbours' share, make it."""
    import numpy as np

    if not documents or model.half is None:
        return
    rows = [(document, chunk, _cut(document, chunk)) for document in documents for chunk in document.chunks]
    keys = [
        hashlib.sha256(embedded_text(document.title, cut, model.room).encode()).digest() for document, _, cut in rows
    ]
    cached = soundness.cached_vectors(connection, index, list(dict.fromkeys(keys)))
    lacking = {document.id for (document, _, _), key in zip(rows, keys, strict=True) if key not in cached}
    kept = [(row, key) for row, key in zip(rows, keys, strict=True) if row[0].id not in lacking]
    if not kept:
        return
    made = np.stack([cached[key].to_numpy().astype(np.float32) for _, key in kept])
    sections = [(document.id, chunk.headings) for (document, chunk, _), _ in kept]
    ends = [at for at in range(1, len(sections) + 1) if at == len(sections) or sections[at] != sections[at - 1]]
    expected = blended(made, ends, model.half.neighbours)
    stored = soundness.chunk_vectors(connection, index, [chunk.id for (_, chunk, _), _ in kept])
    there = np.stack([stored[chunk.id].to_numpy().astype(np.float32) for (_, chunk, _), _ in kept])
    cosines = (there * expected).sum(axis=1)
    told: set[str] = set()
    for at in np.flatnonzero(~(cosines >= COSINE)).tolist():
        (document, chunk, _), _ = kept[at]
        if document.id not in told:
            told.add(document.id)
            tally.one("vectors", f"{index}: {document.source}, {chunk.start}-{chunk.end}: cosine {cosines[at]:.3f}")
            yield document.id


def _cut(document: Indexed, chunk: Any) -> Chunk:
    text = document.text[chunk.start : chunk.end]
    return Chunk(chunk.start, chunk.end, text, chunk.headings, chunk.page, chunk.passage, chunk.context)


# --- the keyword view -------------------------------------------------------------------------------------------------


def _look_at_keyword(
    database: Database, connection: Connection, kb: int, index: KeptIndex, tally: _Tally, broken: _Broken
) -> None:
    """This host's view against the snapshot. What changed after the view's position is not compared: it is read before
    the view next answers."""
    import numpy as np

    if not index.complete:
        return
    held = _opened(database, kb, index).keyword_held(soundness.access_sets(connection, kb))
    if held is None or held.position.epoch != database.epoch:
        tally.note("keyword", f"{index}: no view on this host yet; the next search makes it")
        return
    # A view can know more than it says: whoever writes it commits first, and says so after. Asked now, the feed tells.
    with database.snapshot(None) as now:
        later = soundness.changed_since(now, kb, min(held.position.number, soundness.position(connection, kb)))
    newer = np.array([document_number(document) for document in later], dtype=np.int64)
    wrong = _differences(held, np.fromiter(_places(connection, index), dtype=_PLACE), newer)
    if tally.add("keyword", wrong, index):
        broken.views.add(index.id)


_PLACE = [("id", "i8"), ("access", "i8"), ("number", "i8")]


def _places(connection: Connection, index: KeptIndex) -> Iterator[tuple[int, int, int]]:
    numbers: dict[str, int] = {}
    for id, access, document in soundness.places(connection, index):
        if document not in numbers:
            if len(numbers) > COMPARED:
                numbers.clear()
            numbers[document] = document_number(document)
        yield id, access, numbers[document]


def _differences(held: Held, there: Any, newer: Any) -> Found:
    import numpy as np

    there = np.sort(there[~np.isin(there["number"], newer)], order="id")
    seen = ~np.isin(held.numbers, newer)
    ids, numbers, access = held.ids[seen], held.numbers[seen], held.access[seen]
    documents = held.documents[~np.isin(held.documents, newer)]
    lacks = np.setdiff1d(there["id"], ids)
    extra = np.concatenate([np.setdiff1d(ids, there["id"]), ids[1:][ids[1:] == ids[:-1]]])
    _, mine, its = np.intersect1d(ids, there["id"], return_indices=True)
    differ = there["id"][its][(access[mine] != there["access"][its]) | (numbers[mine] != there["number"][its])]
    whole = np.setxor1d(documents, there["number"])
    twice = len(documents) - len(np.unique(documents))
    examples = [
        f"{what} {', '.join(map(str, some[:3].tolist()))}"
        for what, some in (
            ("the view lacks chunk", lacks),
            ("the view holds more: chunk", extra),
            ("other access or another document: chunk", differ),
            ("other documents as a whole: number", whole),
        )
        if len(some)
    ]
    return Found(len(lacks) + len(extra) + len(differ) + len(whole) + twice, tuple(examples))


# --- mending ----------------------------------------------------------------------------------------------------------


def _mend(database: Database, kb: int, tally: _Tally, broken: _Broken) -> list[tuple[KeptIndex, OpenbookError]]:
    """Make anew what is derived, each kind in transactions of its own; returns the indexes whose model refused, and
    why. What came of it is told by another look."""

    def is_broken(name: str) -> bool:
        return tally.found.get(name, Found()).count > 0

    mends: dict[str, Callable[[Connection, int], None]] = {
        "orphans": soundness.mend_orphans,
        "pointers": soundness.mend_pointers,
        "sources": soundness.mend_unreachable,
        "versions": soundness.mend_unversioned,
        "indexes": soundness.mend_invalid_indexes,
        "feed": soundness.mend_feed,
        "models": soundness.mend_models,
    }
    for name, mend in mends.items():
        if is_broken(name):
            with database.transaction("owner") as connection:
                own_indexes(connection, kb)
                mend(connection, kb)
    for some in _batches(broken.attributes):
        with database.transaction("owner") as connection:
            soundness.mend_attributes(connection, some)
            feed(connection, kb, some)
    with database.snapshot(None) as connection:
        indexes = soundness.kept_indexes(connection, kb)
    refused: list[tuple[KeptIndex, OpenbookError]] = []
    for index in indexes:
        if is_broken("chunks"):
            with database.transaction("owner") as connection:
                soundness.mend_astray(connection, kb, index)
        try:
            for some in _batches(sorted(broken.documents.get(index.id, ()))):
                _read_anew(database, kb, index, some)
        except (ModelError, StoreError, RecipeError) as error:
            refused.append((index, error))
        if index.id in broken.views:
            _opened(database, kb, index).rebuild_keyword()
    return refused


def _read_anew(database: Database, kb: int, index: KeptIndex, ids: Sequence[str]) -> None:
    """Cut and embed these documents anew, as the index's recipe has it, and put them in the place of what is there.
    One that changes meanwhile is left to its writer."""
    try:
        half = Recipe.from_toml(index.recipe, where=str(index), stored=True).index
    except (KeyError, TypeError) as error:
        raise RecipeError(f"cannot be read ({error})", where=str(index), do="build it anew from its recipe") from None
    opened = _opened(database, kb, index)
    reader = Reader(opened, half, lambda: open_embedder(half.embed))
    with database.snapshot(None) as connection:
        there = soundness.newest(connection, ids)
    documents = [
        replace(_document(source, title, text, headings, pages), local_only=local_only)
        for _, _, local_only, source, title, text, headings, pages in there
    ]
    readings, _ = reader.read(reader.cut(documents))
    read = [(id, version, reading) for (id, version, *_), reading in zip(there, readings, strict=True)]
    Writer(database, kb).catch_up(opened, read, anew=True)


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), 256):
        yield ids[first : first + 256]


# --- small things -----------------------------------------------------------------------------------------------------


def _document(source: str, title: str, text: str, headings: Any, pages: Sequence[int]) -> Document:
    return Document(source, text, title, headings=tuple(Heading(*each) for each in headings), pages=tuple(pages))


def _opened(database: Database, kb: int, index: KeptIndex) -> Index:
    return Index(
        database,
        kb,
        index.id,
        hash=index.hash,
        embedder=index.embedder,
        dimension=index.dimension,
        language=index.language,
    )


def _advancing(progress: Progress | None, of: int) -> Callable[[], None]:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None and (done % 64 == 0 or done >= of):
            progress(min(done, of), of)

    return advance
