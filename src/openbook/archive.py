"""A knowledge base in one file: ``exporting.py`` writes it, ``importing.py`` makes a knowledge base of it, exactly.

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
import errno
import hashlib
import json
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from openbook.errors import ArchiveError
from openbook.store.archive import Row
from openbook.store.database import MIGRATIONS

if TYPE_CHECKING:
    from openbook.embed import FloatArray

FORMAT = "openbook export"
VERSION = 1
"""Raised when an older openbook could not read what is written."""

SEAL = 64
"""Characters of a SHA-256."""

PIECE = 1 << 20
"""Bytes that are read at once."""

_MEMBERS = ("README.txt", "documents.jsonl", "versions.jsonl", "roots.jsonl", "files.jsonl", "forgotten.jsonl",
            "indexes.jsonl", "releases.jsonl")  # fmt: skip

README = """An export of an openbook knowledge base: documents with all their versions, and how they are searched.

Every .jsonl member is a JSON object a line, in UTF-8. documents.jsonl names each document and its current version;
versions.jsonl holds the texts. Offsets count code points of a text; pages and headings are offsets, too. vectors.f16
holds float16 numbers, little endian, row by row: as many rows as chunks in readings.jsonl whose fifth value is true, as
many columns as indexes.jsonl says ("dimension"). manifest.json has the SHA-256 of every member.

To read it back: openbook import FILE
"""

Progress = Callable[[int, int], None]


# --- written ---------------------------------------------------------------------------------------------------------


class Members:
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
def written_whole(path: Path, force: bool) -> Iterator[IO[bytes]]:
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
            _name(fresh, path)
            linked = True
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise taken(path) from None
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


def _name(fresh: str, path: Path) -> None:
    """Unlike a rename, a link never replaces a file that came meanwhile; not every file system has links."""
    try:
        os.link(fresh, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS):
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.rename(fresh, path)


def taken(path: Path) -> ArchiveError:
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


def telling(found: Iterable[Row], progress: Progress | None, of: int) -> Iterator[Row]:
    for done, row in enumerate(found, 1):
        yield row
        if progress is not None and (done % 64 == 0 or done == of):
            progress(done, of)


# --- read ------------------------------------------------------------------------------------------------------------


class Archive:
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
