"""A knowledge base → one file (``archive.py``), out of one snapshot."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from openbook.archive import FORMAT, README, SEAL, VERSION, Members, Progress, sealed, taken, telling, written_whole
from openbook.errors import NotFound
from openbook.store import archive as rows
from openbook.store.archive import Row
from openbook.store.database import MIGRATIONS, Connection, Database
from openbook.store.traces import DAYS as TRACE_DAYS


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
            ``force`` the former one (the new one, where only its folder could not be brought to the disk).
    """
    start = time.perf_counter()
    path = Path(path)
    if not force and os.path.lexists(path):
        raise taken(path)
    with written_whole(path, force) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zip:
            writer = Members(zip)
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
    writer: Members,
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
    writer.text("README.txt", README)
    of = rows.count(connection, kb)
    documents = writer.rows("documents.jsonl", telling(rows.documents(connection, kb, principals), progress, of))
    versions = writer.rows("versions.jsonl", rows.versions(connection, kb))
    writer.rows("roots.jsonl", rows.roots(connection, kb) if owner else ())
    writer.rows("files.jsonl", rows.files(connection, kb) if owner else ())
    writer.rows("forgotten.jsonl", rows.forgotten(connection, kb) if owner else ())
    writer.rows("models.jsonl", rows.models(connection, kb) if owner else ())
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
