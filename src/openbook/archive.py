"""A whole knowledge base in one file: ``export`` writes it, ``import_from`` makes a knowledge base of it, exactly.

The file is a ZIP that any tool opens: JSON, a line a row, and vectors as bare numbers.

    README.txt             what is in here, for whoever finds the file in ten years
    documents.jsonl        a line a document: source, metadata, access, which version is the current one, …
    versions.jsonl         a line a version: title, text, headings [[start, end, level, title], …], pages, hash
    roots.jsonl, files.jsonl   what was added under which rules, and what each file looked like when it was read
    forgotten.jsonl        SHA-256 of texts that were erased
    indexes.jsonl, releases.jsonl   how the documents are read, and by which recipes they answer
    index-N/readings.jsonl what index N holds of each document: [[start, end, page, headings, has a vector], …]
    index-N/vectors.f16    the vectors of those chunks that have one, in that order: float16, little endian
    cache-N/texts.jsonl    documents with the SHA-256 of the texts that the model of index N has embedded of them
    cache-N/vectors.f16    what it made of these, in that order
    manifest.json          format, counts, bytes and SHA-256 of every member

The file's last 64 bytes, which ZIP calls its comment, are the SHA-256 of all before them in hexadecimal. A file is
whole when its name is there: it is written under another one beside it, synced, and renamed. Nothing is imported before
every checksum has been looked at, and then all of it in one transaction.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import psycopg

from openbook.embed import open_embedder
from openbook.errors import ArchiveError, NotFound, StoreError
from openbook.forgetting import is_folder
from openbook.reading import Reader
from openbook.recipe import Recipe
from openbook.store import archive as rows
from openbook.store.archive import Row
from openbook.store.database import MIGRATIONS, Connection, Database
from openbook.store.index import Index, Reading
from openbook.store.traces import DAYS as TRACE_DAYS
from openbook.types import Chunk, Document, Heading, storable

if TYPE_CHECKING:
    from openbook.embed import FloatArray

FORMAT = "openbook export"
VERSION = 1
"""Raised when an older openbook could not read what is written."""

BATCH = 256
"""Documents that are in memory together."""

SEAL = 64
"""Characters of a SHA-256."""

PIECE = 1 << 20
"""Bytes that are read at once."""

_MEMBERS = ("README.txt", "documents.jsonl", "versions.jsonl", "roots.jsonl", "files.jsonl", "forgotten.jsonl",
            "indexes.jsonl", "releases.jsonl")  # fmt: skip

_README = """An export of an openbook knowledge base: documents with all their versions, and how they are searched.

Every .jsonl member is a JSON object a line, in UTF-8. documents.jsonl names each document and its current version;
versions.jsonl holds the texts. Offsets count code points of a text; pages and headings are offsets, too. vectors.f16
holds float16 numbers, little endian, row by row: as many rows as chunks in readings.jsonl whose last value is true, and
as many columns as indexes.jsonl says ("dimension"). manifest.json has the SHA-256 of every member.

To read it back: openbook import FILE
"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written; ``checksum`` is the SHA-256 that the file ends with, of all before it."""

    file: str
    kb: str
    documents: int
    versions: int
    releases: int
    chunks: int
    vectors: int
    bytes: int
    checksum: str
    seconds: float


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


# --- out --------------------------------------------------------------------------------------------------------------


def export(
    database: Database,
    name: str,
    path: str | Path,
    *,
    vectors: bool = True,
    force: bool = False,
    principals: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a knowledge base into one file, from one snapshot; questions and edits go on meanwhile.

    Without ``vectors`` the file is smaller, and importing it needs the models. With ``principals`` it holds what they
    may see and nothing that tells of more: no rules of access of others, no files, no tombstones, no reports, no cache.
    Traces and feedback are not exported. ``progress`` hears how many documents of how many are written.

    Raises:
        NotFound: there is no knowledge base of that name.
        ArchiveError: the file is there already and not ``force``, or cannot be written; there is then none, or with
            ``force`` the former one.
    """
    start = time.perf_counter()
    path = Path(path)
    if not force and os.path.lexists(path):
        raise _taken(path)
    with _written_whole(path, force) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zip:
            writer = _Writer(zip)
            with database.snapshot(principals) as connection:
                manifest = _write(connection, name, writer, vectors, principals, progress, database.where)
            zip.writestr("manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
            zip.comment = b"0" * SEAL
        checksum = sealed(file)
        size = file.tell()
    counts = manifest["counts"]
    return Exported(
        file=str(path),
        kb=name,
        documents=counts["documents"],
        versions=counts["versions"],
        releases=counts["releases"],
        chunks=counts["chunks"],
        vectors=counts["vectors"],
        bytes=size,
        checksum=checksum,
        seconds=round(time.perf_counter() - start, 3),
    )


def _write(
    connection: Connection,
    name: str,
    writer: _Writer,
    with_vectors: bool,
    principals: Sequence[str] | None,
    progress: Progress | None,
    where: str,
) -> Row:
    owner = principals is None
    base = rows.knowledge_base(connection, name)
    if base is None or base["live"] is None:
        raise NotFound(f"no knowledge base named {name!r}", where=where, do="check its name")
    kb = base["id"]
    indexes = rows.indexes(connection, kb, live=not owner)
    releases = rows.releases(connection, kb, live=not owner)
    writer.text("README.txt", _README)
    of = rows.count(connection, kb)
    documents = writer.rows("documents.jsonl", _told(rows.documents(connection, kb, principals), progress, of))
    versions = writer.rows("versions.jsonl", rows.versions(connection, kb))
    writer.rows("roots.jsonl", rows.roots(connection, kb) if owner else ())
    writer.rows("files.jsonl", rows.files(connection, kb) if owner else ())
    writer.rows("forgotten.jsonl", rows.forgotten(connection, kb) if owner else ())
    writer.rows("indexes.jsonl", indexes)
    writer.rows("releases.jsonl", releases)
    chunks = vectors = 0
    live = next(release["index"] for release in releases if release["name"] == base["live"])
    for index in indexes:
        if not with_vectors and index["id"] != live:
            continue  # who imports it reads them anew before they next answer
        read = rows.readings(connection, kb, index["id"], everyone=owner)
        seen = _Sum()
        writer.rows(f"index-{index['id']}/readings.jsonl", (seen.of(row) for row in read))
        chunks += seen.chunks
        if with_vectors:
            stored = rows.vectors(connection, index["id"])
            vectors += writer.vectors(f"index-{index['id']}/vectors.f16", stored, index["dimension"])
            if owner:
                cached = rows.cached(connection, kb, index["embedder"])
                writer.rows(f"cache-{index['id']}/texts.jsonl", cached)
                kept = rows.cached_vectors(connection, kb, index["embedder"])
                writer.vectors(f"cache-{index['id']}/vectors.f16", kept, index["dimension"])
    from openbook import __version__

    return {
        "format": FORMAT,
        "version": VERSION,
        "openbook": __version__,
        "schema": len(MIGRATIONS),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kb": name,
        "releases": base["releases"] if owner else 1,
        "trace_days": base["trace_days"] if owner else TRACE_DAYS,
        "live": base["live"],
        "previous": base["previous"] if owner else None,
        "principals": None if owner else list(principals or ()),
        "vectors": with_vectors,
        "counts": {
            "documents": documents,
            "versions": versions,
            "releases": len(releases),
            "chunks": chunks,
            "vectors": vectors,
        },
        "members": writer.members,
    }


class _Sum:
    """Counts chunks in passing."""

    def __init__(self) -> None:
        self.chunks = 0

    def of(self, row: Row) -> Row:
        self.chunks += len(row["chunks"])
        return row


class _Writer:
    """Members of the ZIP, each with its bytes and SHA-256."""

    def __init__(self, zip: zipfile.ZipFile) -> None:
        self._zip = zip
        self.members: dict[str, Row] = {}

    def text(self, member: str, text: str) -> None:
        self._write(member, [text.encode()])

    def rows(self, member: str, found: Iterable[Row]) -> int:
        count = 0

        def lines() -> Iterator[bytes]:
            nonlocal count
            for row in found:
                count += 1
                yield json.dumps(row, ensure_ascii=False).encode() + b"\n"

        self._write(member, lines())
        return count

    def vectors(self, member: str, found: Iterable[Any], dimension: int) -> int:
        count = 0

        def numbers() -> Iterator[bytes]:
            nonlocal count
            for vector in found:
                count += 1
                yield vector.to_numpy().astype("<f2").reshape(dimension).tobytes()

        self._write(member, numbers(), level=1)
        return count

    def _write(self, member: str, pieces: Iterable[bytes], level: int = 6) -> None:
        about = zipfile.ZipInfo(member, time.gmtime()[:6])
        about.compress_type, about._compresslevel = zipfile.ZIP_DEFLATED, level  # type: ignore[attr-defined]
        about.external_attr = 0o600 << 16
        digest, size = hashlib.sha256(), 0
        with self._zip.open(about, "w", force_zip64=True) as file:
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        self.members[member] = {"bytes": size, "sha256": digest.hexdigest()}


@contextlib.contextmanager
def _written_whole(path: Path, force: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole and on the disk; readable by its owner alone."""
    try:
        descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)  # mode 0600
    except OSError as error:
        raise ArchiveError(
            f"cannot be written ({error.strerror})", where=str(path), do="check the folder, or name another file"
        ) from None
    linked = False
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(fresh, path)
        else:
            os.link(fresh, path)  # unlike a rename it never replaces one that came meanwhile
            linked = True
            os.unlink(fresh)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        if linked:  # whole, and perhaps not on the disk
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise ArchiveError(
            f"cannot be written ({error.strerror})", where=str(path), do="free some space, or name another file"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(fresh)


def _taken(path: Path) -> ArchiveError:
    return ArchiveError("exists already", where=str(path), do="name another file, or replace it with --force")


def sealed(file: IO[bytes]) -> str:
    """Write at the end of a ZIP with a comment of that length the SHA-256 of all before it; returns it."""
    digest = _digest_before_seal(file)
    file.seek(-SEAL, os.SEEK_END)
    file.write(digest.encode())
    return digest


def _digest_before_seal(file: IO[bytes]) -> str:
    left = file.seek(0, os.SEEK_END) - SEAL
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (piece := file.read(min(PIECE, left))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


def _told(found: Iterable[Row], progress: Progress | None, of: int) -> Iterator[Row]:
    for done, row in enumerate(found, 1):
        yield row
        if progress is not None and (done % 64 == 0 or done == of):
            progress(done, of)


# --- in ---------------------------------------------------------------------------------------------------------------


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
            archive = _Archive(zip, file, path)
            with database() as opened:
                done = _read_in(opened, archive, storable(name or archive.manifest["kb"]), progress)
    except OSError as error:
        raise ArchiveError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    except (zipfile.BadZipFile, EOFError):
        raise ArchiveError(
            "is not an openbook export, or was truncated", where=str(path), do="take another copy of it"
        ) from None
    return Imported(seconds=round(time.perf_counter() - start, 3), **done)


class _Archive:
    """An export whose every byte has been looked at: what it says it holds is what it holds."""

    def __init__(self, zip: zipfile.ZipFile, file: IO[bytes], path: Path) -> None:
        self._zip = zip
        self._path = path
        self.manifest = self._manifest()
        if _digest_before_seal(file).encode() != zip.comment:
            raise self._altered("what it ends with")
        if self.manifest["version"] > VERSION or self.manifest.get("schema", 0) > len(MIGRATIONS):
            raise ArchiveError(
                f"was made by a newer openbook ({self.manifest.get('openbook')})",
                where=str(self._path),
                do="upgrade openbook",
            )
        self._check_members()

    def rows(self, member: str) -> Iterator[Row]:
        with self._zip.open(member) as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    self.refuse(f"{member} holds a line that is not JSON")
                if not isinstance(row, dict):
                    self.refuse(f"{member} holds a line that is no object")
                yield row

    def has(self, member: str) -> bool:
        return member in self.manifest["members"]

    def vectors(self, member: str, dimension: int) -> Callable[[int], FloatArray]:
        """Takes the next so many rows of a member, float32[n, d]."""
        import numpy as np

        file = self._zip.open(member)

        def take(count: int) -> FloatArray:
            wanted = count * dimension * 2
            read = file.read(wanted)
            if len(read) != wanted:
                self.refuse(f"{member} ends too early")
            return np.frombuffer(read, dtype="<f2").reshape(count, dimension).astype(np.float32)

        return take

    def refuse(self, what: str) -> NoReturn:
        raise ArchiveError(f"was not made by openbook: {what}", where=str(self._path), do="take another copy of it")

    def _manifest(self) -> Row:
        no_export = ArchiveError("is not an openbook export", where=str(self._path), do="check the path")
        try:
            read = json.loads(self._zip.read("manifest.json"))
        except (KeyError, ValueError, zlib.error, NotImplementedError, RuntimeError):
            raise no_export from None
        if not isinstance(read, dict) or read.get("format") != FORMAT or not isinstance(read.get("version"), int):
            raise no_export
        return read

    def _check_members(self) -> None:
        """Every member is there once, as long as it was and with the SHA-256 that it had; and there is no other."""
        told = self.manifest["members"]
        names = [about.filename for about in self._zip.infolist() if about.filename != "manifest.json"]
        for name in names:
            # Nothing is ever unpacked; a name that would lead out of a folder is a trap for other tools.
            if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
                self.refuse(f"a member is named {name[:80]!r}")
        if sorted(names) != sorted(told) or not told.keys() >= set(_MEMBERS):
            raise self._altered("its list of members")
        for name, about in told.items():
            digest, size = hashlib.sha256(), 0
            try:
                with self._zip.open(name) as file:
                    while piece := file.read(PIECE):
                        digest.update(piece)
                        size += len(piece)
                        if size > about["bytes"]:
                            break
            except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error):
                raise self._altered(name) from None
            if size != about["bytes"] or digest.hexdigest() != about["sha256"]:
                raise self._altered(name)

    def _altered(self, what: str) -> ArchiveError:
        return ArchiveError(
            f"was altered or truncated ({what} is not what was written)",
            where=str(self._path),
            do="take another copy of it; nothing was imported",
        )


def _read_in(database: Database, archive: _Archive, name: str, progress: Progress | None) -> Row:
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

    def __init__(self, connection: Connection, database: Database, archive: _Archive, kb: int) -> None:
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
        for batch in _batches(_told(self._archive.rows("documents.jsonl"), progress, of)):
            kept = []
            for row in batch:
                if self._is_left_out(row):
                    self._without.add(row["id"])
                    self.left_out.append(LeftOut(row["source"], "its text was forgotten in this database"))
                    continue
                if not row["source"] or not row["access"] or not all(map(str.strip, row["access"])):
                    self._archive.refuse(f"document {row['id']} has no source or is open to nobody")
                if not _is_metadata(row["metadata"]):
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
            for start, end, page, headings, _ in read["chunks"]:
                if not 0 <= start < end <= len(content.text):
                    self._archive.refuse(f"a chunk of document {read['document']} lies outside its text")
                chunks.append(Chunk(start, end, content.text[start:end], tuple(headings), page))
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
            hashes = {
                (row["document"], row["version"]): _tombstones(names.get(row["document"], ()), row["text"])
                for row in batch
            }
            gone = rows.were_forgotten(self._connection, [hash for its in hashes.values() for hash in its])
            found |= {version for version, its in hashes.items() if not gone.isdisjoint(its)}
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


def _tombstones(names: Iterable[str], text: str) -> set[bytes]:
    """By which a text is known as forgotten: by itself, or as that of one source, which may have had other names."""
    alone = text.encode()
    of_names = {hashlib.sha256(hashlib.sha256(name.encode()).digest() + alone).digest() for name in names}
    return {hashlib.sha256(alone).digest(), *of_names}


def _is_metadata(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(
        isinstance(one, str | int | float)
        for value in metadata.values()
        for one in (value if isinstance(value, list) else (value,))
    )
