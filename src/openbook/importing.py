"""One file (``archive.py``) → a knowledge base, in one transaction: until it commits nobody sees any of it."""

from __future__ import annotations

import time
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from openbook.archive import PIECE, Archive, Progress, telling
from openbook.embed import open_embedder
from openbook.errors import ArchiveError, StoreError
from openbook.forgetting import is_folder
from openbook.reading import Reader
from openbook.recipe import Recipe
from openbook.store import archive as rows
from openbook.store.archive import Row
from openbook.store.database import Connection, Database
from openbook.store.index import Index, Reading
from openbook.store.soundness import wrong_metadata
from openbook.store.tombstones import hashes
from openbook.store.traces import DAYS as TRACE_DAYS
from openbook.types import Chunk, Document, Heading, storable

BATCH = 256
"""Documents that are in memory together."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read in. ``ids``: whether documents kept their ids, by which earlier citations name them, or got new
    ones, because this database holds them already. ``embedded``: texts whose vectors the file did not bring."""

    kb: str
    documents: int
    versions: int
    releases: int
    chunks: int
    embedded: int
    ids: str
    left_out: tuple[LeftOut, ...]
    seconds: float


def import_from(
    path: str | Path,
    database: Callable[[], AbstractContextManager[Database]],
    name: str | None = None,
    *,
    progress: Progress | None = None,
) -> Imported:
    """Make a knowledge base of an export, under ``name`` or the one that it had: documents with all versions, releases,
    access, tombstones, and where the file brings vectors the very indexes, which answer as those that were exported.

    Texts that this database was told to forget are left out. Everything is checked before the ``database`` is opened,
    and then written in one transaction: a kill leaves nothing. Where the file has no vectors the model makes them
    meanwhile; what it has made is kept in the cache should that be interrupted.

    Raises:
        ArchiveError: the file is no export, truncated, altered or of a newer format; or the name is taken.
        ModelError: the file has no vectors, and the model that makes them is missing.
    """
    start = time.perf_counter()
    path = Path(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as zip:
            archive = Archive(zip, file, path)
            with database() as opened:
                done = _read_in(opened, archive, storable(name or archive.manifest["kb"]), progress)
    except OSError as error:
        raise ArchiveError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    except (zipfile.BadZipFile, EOFError):
        raise ArchiveError(
            "is not an openbook export, or was truncated", where=str(path), do="take another copy of it"
        ) from None
    return Imported(seconds=round(time.perf_counter() - start, 3), **done)


def _read_in(database: Database, archive: Archive, name: str, progress: Progress | None) -> Row:
    """Everything, in one transaction: until it commits nobody sees any of it."""
    told = archive.manifest
    with database.snapshot(None) as connection:
        if rows.taken(connection, name):
            raise _name_taken(name)
    try:
        with database.transaction("owner") as connection:
            rows.take_turns(connection)
            kb = rows.found(connection, name, told["releases"], told.get("trace_days", TRACE_DAYS))
            if kb is None:
                raise _name_taken(name)
            entering = _Entering(connection, database, archive, kb)
            entering.add_documents(progress)
            entering.add_versions()
            rows.add_attributes(connection, kb)
            rows.add_forgotten(connection, kb, archive.rows("forgotten.jsonl"))
            entering.add_models()
            releases = list(archive.rows("releases.jsonl"))
            recipes = {row["index"]: row["recipe"] for row in releases}
            live = next(row["index"] for row in releases if row["name"] == told["live"])
            numbers = {
                row["id"]: entering.add_index(row, recipes.get(row["id"], ""), row["id"] == live)
                for row in archive.rows("indexes.jsonl")
            }
            rows.add_releases(connection, kb, releases, numbers, told["live"], told["previous"])
            for number in numbers.values():  # last: from here on whoever writes a document waits for the commit
                Index.bind(connection, number)
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        archive.refuse(f"{type(error).__name__} {error}")
    except StoreError as error:
        if isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError):
            archive.refuse(error.what)
        raise
    return {
        "kb": name,
        "documents": len(entering.ids),
        "versions": entering.versions,
        "releases": len(releases),
        "chunks": entering.chunks,
        "embedded": entering.embedded,
        "ids": "kept" if entering.namespace is None else "new",
        "left_out": tuple(entering.left_out),
    }


def _name_taken(name: str) -> ArchiveError:
    return ArchiveError(
        "there is a knowledge base of that name", where=name, do="import it under another one: --kb NAME"
    )


@dataclass(frozen=True, slots=True)
class _Standing:
    """What an index has read of a document that is there: ``named`` so in the export, ``id`` here."""

    named: str
    id: str
    version: int
    access: int
    content: Document
    chunks: Sequence[Chunk]
    unfamiliar: str | None


class _Entering:
    """An export on its way into a knowledge base, inside one transaction."""

    def __init__(self, connection: Connection, database: Database, archive: Archive, kb: int) -> None:
        self._connection = connection
        self._database = database
        self._archive = archive
        self._kb = kb
        self._forgotten = self._forgotten_versions()
        self._without: set[str] = set()  # documents that are left out
        self.ids: set[str] = set()  # documents of the export that are not
        self.left_out: list[LeftOut] = []
        self.namespace = self._namespace()
        self.versions = self.chunks = self.embedded = 0

    def add_documents(self, progress: Progress | None) -> None:
        roots, read = self._named()
        files = rows.add_files(self._connection, rows.add_roots(self._connection, self._kb, roots), read)
        sets: dict[tuple[str, ...], int] = {}
        of = self._archive.manifest["counts"]["documents"]
        for batch in _batches(telling(self._archive.rows("documents.jsonl"), progress, of)):
            kept = []
            for row in batch:
                if self._is_left_out(row):
                    self._without.add(row["id"])
                    self.left_out.append(LeftOut(row["source"], "its text was forgotten in this database"))
                    continue
                if not row["source"] or not row["access"] or not all(map(str.strip, row["access"])):
                    self._archive.refuse(f"document {row['id']} has no source or is open to nobody")
                if wrong_metadata(row["metadata"]):
                    self._archive.refuse(f"document {row['id']} has metadata that no document can have")
                self.ids.add(row["id"])
                file = None if row["file"] is None else files[row["file"]]
                kept.append({**row, "id": self._id(row["id"]), "file": file})
            rows.add_documents(self._connection, self._kb, kept, sets)

    def _named(self) -> tuple[Iterable[Row], Iterable[Row]]:
        """The roots and the files; where documents are left out, those alone that a document comes from which is not.
        The others' paths name what was forgotten. A folder that is there keeps its access rule."""
        roots, files = self._archive.rows("roots.jsonl"), self._archive.rows("files.jsonl")
        documents = list(self._archive.rows("documents.jsonl")) if self._forgotten else []
        if not any(map(self._is_left_out, documents)):
            return roots, files
        used = {row["file"] for row in documents if not self._is_left_out(row)}
        paths = {row["path"] for row in self._archive.rows("files.jsonl") if row["id"] in used}
        kept = [row for row in files if row["path"] in paths]
        full = {row["root"] for row in kept}

        def is_ruled(root: Row) -> bool:
            return root["access"] is not None or root["local_only"] is not None

        return [row for row in roots if row["id"] in full or (is_ruled(row) and is_folder(row["path"]))], kept

    def _is_left_out(self, document: Row) -> bool:
        return (document["id"], document["version"]) in self._forgotten

    def add_versions(self) -> None:
        for batch in _batches(self._archive.rows("versions.jsonl")):
            kept = []
            for row in batch:
                id, version = row["document"], row["version"]
                if id in self._without or (id, version) in self._forgotten:
                    continue
                if id not in self.ids or _document(row).hash != row["hash"]:
                    self._archive.refuse(f"version {version} of document {id} is not what its hash says")
                kept.append({**row, "document": self._id(id)})
            rows.add_versions(self._connection, kept)
            self.versions += len(kept)

    def add_models(self) -> None:
        if self._archive.has("models.jsonl"):  # which archives lack that were written before there were any
            rows.add_models(self._connection, self._kb, self._archive.rows("models.jsonl"), self._id, self._without)

    def add_index(self, row: Row, recipe: str, live: bool) -> int:
        """The index with what it holds; its number here. Where the file has no vectors, the live index is read by its
        model, and what another has not read it catches up with before it next answers."""
        index, hnsw = rows.add_index(self._connection, self._database, self._kb, row)
        with_vectors = self._archive.manifest["vectors"]
        if with_vectors:
            self._add_read(index, row)
            self._add_cached(row)
        elif live:
            self._read(index, row, recipe)
        if hnsw:
            rows.build_hnsw(self._connection, hnsw)
        return index.id

    def _add_read(self, index: Index, row: Row) -> None:
        take = self._archive.vectors(f"index-{row['id']}/vectors.f16", row["dimension"])
        for batch in _batches(self._archive.rows(f"index-{row['id']}/readings.jsonl")):
            vectors = {read["document"]: take(sum(chunk[4] for chunk in read["chunks"])) for read in batch}
            self._upsert(
                index,
                [
                    (one, Reading(one.chunks, made, row["embedder"], one.unfamiliar, one.content.local_only))
                    for one in self._standing(batch)
                    # None: the document is local-only, and the model is not.
                    for made in [vectors[one.named] if len(vectors[one.named]) or not one.chunks else None]
                ],
            )

    def _read(self, index: Index, row: Row, recipe: str) -> None:
        half = Recipe.from_toml(recipe, where=row["hash"], stored=True).index
        reader = Reader(index, half, lambda: open_embedder(half.embed))
        for batch in _batches(self._archive.rows(f"index-{row['id']}/readings.jsonl")):
            read = list(self._standing(batch))
            readings, embedded = reader.read([(one.content, one.chunks) for one in read])
            self.embedded += embedded
            self._upsert(index, list(zip(read, readings, strict=True)))

    def _upsert(self, index: Index, read: Sequence[tuple[_Standing, Reading]]) -> None:
        index.upsert(self._connection, [(one.id, one.version, one.access, reading) for one, reading in read])
        self.chunks += sum(len(reading.chunks) for _, reading in read)

    def _standing(self, batch: Sequence[Row]) -> Iterator[_Standing]:
        """Those that an index has read in the version that is the current one."""
        ids = [self._id(read["document"]) for read in batch]
        current = rows.current(self._connection, self._kb, ids)
        for id, read in zip(ids, batch, strict=True):
            if id not in current or current[id][0] != read["version"]:
                continue
            version, access, local_only, told = current[id]
            content, chunks = replace(_document(told), local_only=local_only), []
            for start, end, page, headings, _, *younger in read["chunks"]:
                passage, context = younger or (None, "")  # which archives lack that were written before there were any
                first, last = passage or (start, end)
                if not 0 <= first <= start < end <= last <= len(content.text):
                    self._archive.refuse(f"a chunk of document {read['document']} lies outside its text")
                shown = None if passage is None else (first, last)
                chunks.append(Chunk(start, end, content.text[start:end], tuple(headings), page, shown, context))
            yield _Standing(read["document"], id, version, access, content, chunks, read["unfamiliar"])

    def _add_cached(self, row: Row) -> None:
        member = f"cache-{row['id']}/texts.jsonl"
        if not self._archive.has(member):
            return
        # Of a document's vectors nothing tells which were made of a text that was forgotten.
        whole = self.ids - {document for document, _ in self._forgotten}
        take = self._archive.vectors(f"cache-{row['id']}/vectors.f16", row["dimension"])
        for batch in _batches(self._archive.rows(member)):
            kept = []
            for read in batch:
                vectors = take(len(read["texts"]))
                if read["document"] in whole:
                    id = self._id(read["document"])
                    kept += [(id, bytes.fromhex(text), v) for text, v in zip(read["texts"], vectors, strict=True)]
            rows.add_cached(self._connection, row["embedder"], kept)

    def _id(self, document: str) -> str:
        """The id of a document here: its own, or another where this database has it already."""
        return document if self.namespace is None else str(uuid.uuid5(self.namespace, document))

    def _namespace(self) -> uuid.UUID | None:
        for batch in _batches(self._archive.rows("documents.jsonl")):
            if rows.any_known(self._connection, [row["id"] for row in batch]):
                return uuid.uuid4()
        return None

    def _forgotten_versions(self) -> set[tuple[str, int]]:
        """Versions whose text this database was told to forget: a backup does not bring it back."""
        if not rows.anything_forgotten(self._connection):
            return set()
        names = {row["id"]: (row["source"], *row["former"]) for row in self._archive.rows("documents.jsonl")}
        found: set[tuple[str, int]] = set()
        for batch in _batches(self._archive.rows("versions.jsonl")):
            known = {
                (row["document"], row["version"]): hashes(names.get(row["document"], ()), row["text"]) for row in batch
            }
            gone = rows.were_forgotten(self._connection, [hash for its in known.values() for hash in its])
            found |= {version for version, its in known.items() if not gone.isdisjoint(its)}
        return found


def _batches(found: Iterable[Row]) -> Iterator[list[Row]]:
    """``BATCH`` rows together, fewer where they are long."""
    batch: list[Row] = []
    characters = 0
    for row in found:
        batch.append(row)
        characters += len(row.get("text", ""))
        if len(batch) == BATCH or characters > PIECE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _document(row: Row) -> Document:
    return Document(
        source=row.get("source", ""),
        text=row["text"],
        title=row["title"],
        headings=tuple(Heading(*heading) for heading in row["headings"]),
        pages=tuple(row["pages"]),
    )
