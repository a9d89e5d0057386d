"""The transaction that changes documents.

Every change of a batch of documents - rows, versions, attributes, chunks, vectors, change feed - commits in one
transaction, with the knowledge base's position taken as its last statement, so that positions commit in order.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openbook.errors import NotFound, QueryError, StoreError
from openbook.store import tombstones, vectors
from openbook.store.access import normal
from openbook.store.database import Connection, Database
from openbook.store.documents import document_of, headings_of
from openbook.store.edits import NOTHING_HELD, Content, Edit, Held
from openbook.store.files import Files, FileState
from openbook.store.filter import attributes, filterable, tuples
from openbook.store.index import Index, Reading
from openbook.store.locks import own_indexes, share_indexes
from openbook.store.models import follow_access
from openbook.store.tombstones import key_of
from openbook.types import Document, Metadata, Skipped

FIRST = str(uuid.UUID(int=0))
"""An id before all others: they are random, of version 4."""

TOGETHER = 500_000
"""Bytes of text that an index reads at once when it catches up: about a thousand chunks."""

_MOST_TOGETHER = 256  # documents


@dataclass(frozen=True, slots=True)
class Current:
    """What the database holds of a source."""

    id: str
    version: int
    hash: str
    source: str  # what it goes by now: the source that was asked for may be a former one
    title: str
    metadata: Metadata
    access: tuple[str, ...]
    removed: bool
    file: int | None
    local_only: bool = False
    held: Held = NOTHING_HELD
    content: Content | None = None  # where the text was edited, or is to be

    @property
    def by_hand(self) -> bool:
        """Whether ``remove`` hid it; what was dropped with its file belongs to none."""
        return self.removed and self.file is not None

    def over(self, said: Document, unsaid: Collection[str] = ()) -> tuple[Document, Held]:
        """The document of what its source says: by its present name, and with the edits that still stand; and those. Of
        the rules that are ``unsaid`` (``access``) the source says nothing."""
        document, held = said, NOTHING_HELD
        if self.held:
            document, held = self.held.over(said, self.metadata, self.title, self.content, self.access, unsaid)
        return (document if document.source == self.source else replace(document, source=self.source)), held

    def document(self) -> Document:
        """What the database has, where ``content`` was asked for."""
        assert self.content is not None
        text = self.content
        return Document(
            source=self.source,
            text=text.text,
            title=self.title,
            metadata=self.metadata,
            access=self.access,
            headings=text.headings,
            pages=text.pages,
            local_only=self.local_only,
        )

    def same_content(self, document: Document) -> bool:
        """Whether nothing is to be read anew: what a remote model may read is a part of that."""
        return not self.removed and (self.hash, self.local_only) == (document.hash, document.local_only)

    def same(self, document: Document) -> bool:
        """Whether nothing would change. A file that was only touched still says when its content was modified, and one
        that another root holds as well keeps the path that it was first shown by."""
        mine, its = dict(self.metadata), dict(_plain(document.metadata))
        if _end_alike(str(mine.get("path", "")), str(its.get("path", ""))):
            mine["path"] = its["path"] = ""
        mine["modified"] = its["modified"] = ""
        alike = self.source == document.source and self.access == normal(document.access) and mine == its
        return alike and self.same_content(document)


@dataclass(frozen=True, slots=True)
class Write:
    """A document to be written. ``readings`` tells, by the number of the index, what each index will hold of it; an
    index that is not the live one may lack, and is then behind. Without any (``None``) the content is believed
    unchanged, and only metadata and access are written. ``keeps`` names the rules (``access``, ``local_only``) of which
    nothing was said: what counts is what is there when the row is locked, so that no rule made meanwhile is lost."""

    document: Document
    file: int | None = None
    readings: Mapping[int, Reading] | None = None
    keeps: frozenset[str] = frozenset({"local_only"})
    said: Document | None = None  # what the source says, where edits stand over it
    edit: Edit | None = None  # what was asked for, where ``document`` is what should come of it

    def over(self, current: Current) -> Write:
        """With the rules that it keeps as they are now; of two that would send a text away or not, not."""
        document = self.document
        if current.version > 0 and "access" in self.keeps:
            document = replace(document, access=current.access)
        if current.version > 0 and "local_only" in self.keeps:
            document = replace(document, local_only=document.local_only or current.local_only)
        return replace(self, document=document)

    def is_read(self, live: int) -> bool:
        """Whether the live index has its reading, made under the rule that holds."""
        reading = (self.readings or {}).get(live)
        return reading is not None and reading.local_only == self.document.local_only


@dataclass(frozen=True, slots=True)
class Written:
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    again: tuple[Write, ...] = ()  # another process changed them, or the release, meanwhile: they need readings
    refused: tuple[Skipped, ...] = ()  # forgotten, and nobody asked to have them again


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a write comes to, decided under the lock of the document's row."""

    write: Write
    id: str
    version: int
    new: bool  # to a reader: never there, or removed
    rechunk: bool
    changed: bool
    moved: bool  # only to another file
    closed: bool  # to remote models, from now on
    held: Held
    former: str | None  # its source before, where it is another now

    @property
    def principals(self) -> tuple[str, ...]:
        return normal(self.write.document.access)

    @staticmethod
    def of(write: Write, current: Current) -> _Plan:
        exists = current.version > 0
        held = current.held
        if write.edit is None:
            document, held = current.over(write.said or write.document, write.keeps)
            write = replace(write, document=document, said=write.said or write.document).over(current)
            document = write.document
        else:
            document = write.edit.applied(current.document())
            held = held.after(write.edit, current.document(), document)
            write = replace(write, document=document, file=current.file)
        return _Plan(
            write=write,
            id=current.id,
            version=current.version + (not exists or current.hash != document.hash),
            new=not exists or current.removed,
            rechunk=not exists or not current.same_content(document),
            changed=not exists or not current.same(document) or held != current.held,
            moved=write.file != current.file,
            closed=exists and document.local_only and not current.local_only,
            held=held,
            former=current.source if current.source != document.source else None,
        )


class Writer:
    """Who changes the documents of one knowledge base, and what their files are remembered by."""

    def __init__(self, database: Database, kb: int) -> None:
        self.database = database
        self.kb = kb
        self.files = Files(database, kb)

    def current(self, sources: Sequence[str]) -> dict[str, Current]:
        """What the database holds of these sources (removed ones included), as the owner sees it."""
        with self.database.transaction() as connection:
            return dict(self._rows(connection, sources))

    def _rows(
        self, connection: Connection, sources: Sequence[str], *, edited: Sequence[str] = (), lock: bool = False
    ) -> list[tuple[str, Current]]:
        """What the database holds of these sources, by the name that was asked for, present or former; and, by their
        id and with their text, of documents that are to be ``edited``."""
        names = {key_of(source): source for source in sources}
        if lock:
            # Locks are taken in the order of the key by every process, so that none waits for another in a circle. And
            # they are taken first: a statement that had to wait for one sees the row as it is now, and what it joins to
            # it (version, access) as it was before.
            connection.execute(
                "SELECT FROM openbook.document d WHERE d.id IN ("
                "  SELECT id FROM openbook.document WHERE kb = %s AND key = ANY(%s)"
                "  UNION ALL SELECT document FROM openbook.renamed WHERE kb = %s AND key = ANY(%s)"
                "  UNION ALL SELECT unnest(%s::uuid[])) ORDER BY d.key FOR UPDATE OF d",
                [self.kb, list(names), self.kb, list(names), list(edited)],
            )
        rows = connection.execute(
            "SELECT asked.key, d.id::text, d.version, v.hash, d.source, v.title, d.metadata, a.principals,"
            " d.removed IS NOT NULL, d.file, d.local_only, d.edited, CASE WHEN d.edited ? 'text' OR asked.key IS NULL"
            " THEN jsonb_build_array(v.text, v.headings, v.pages) END"
            " FROM (SELECT key, id FROM openbook.document WHERE kb = %s AND key = ANY(%s)"
            "  UNION ALL SELECT key, document FROM openbook.renamed WHERE kb = %s AND key = ANY(%s)"
            "  UNION ALL SELECT NULL, unnest(%s::uuid[])) asked"
            " JOIN openbook.document d ON d.id = asked.id JOIN openbook.access_set a ON a.id = d.access"
            " LEFT JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
            " WHERE d.kb = %s ORDER BY d.key",
            [self.kb, list(names), self.kb, list(names), list(edited), self.kb],
        ).fetchall()
        return [
            (
                id if key is None else names[bytes(key)],
                Current(
                    id=id,
                    version=version,
                    hash=hash or "",
                    source=source,
                    title=title or "",
                    metadata=tuples(metadata),
                    access=tuple(access),
                    removed=removed,
                    file=file,
                    local_only=local,
                    held=Held.read(held),
                    content=content and Content(content[0], headings_of(content[1]), tuple(content[2])),
                ),
            )
            for key, id, version, hash, source, title, metadata, access, removed, file, local, held, content in rows
        ]

    def write(self, writes: Sequence[Write], finished: Iterable[tuple[int, FileState]] = ()) -> Written:
        """Write a batch in one transaction, into every index that is kept; ``finished`` files are whole with it and are
        remembered as read, but for those of which something is to be written ``again``."""
        by_name = {w.document.source if w.edit is None else w.edit.document: w for w in writes}  # the last one wins
        sources = {name: write for name, write in by_name.items() if write.edit is None}
        edits = {name: write.edit for name, write in by_name.items() if write.edit is not None}
        again: list[Write] = []
        planned: dict[str, _Plan] = {}
        with self.database.transaction() as connection:
            if any(edit.source is not None for edit in edits.values()):
                own_indexes(connection, self.kb)  # nobody may look for the former name meanwhile
            live, kept = self._kept(connection)
            # Before any document is locked: two writers of one new rule would else wait for each other.
            self._intern(connection, {normal(write.document.access) for write in writes})
            self._refuse_edits(connection, edits, by_name)
            refused = self._refuse(connection, sources)
            gone = self.files.gone(connection, [write.file for write in sources.values()])
            by_name |= {name: replace(write, file=None) for name, write in sources.items() if write.file in gone}
            self._found(connection, sources)
            for name, current in self._rows(connection, list(sources), edited=list(edits), lock=True):
                plan = _Plan.of(by_name[name], current)
                if current.removed and name in edits and not edits[name].restores:
                    raise NotFound("was removed meanwhile", where=current.source, do="bring it back: openbook restore")
                cut, document = by_name[name].document, plan.write.document
                as_cut = plan.write.is_read(live) and (cut is document or cut.hash == document.hash)
                if plan.rechunk and not as_cut:
                    again.append(plan.write)
                else:
                    planned[plan.id] = plan
            # What is not written yet leaves no row of version 0: its next try may never come.
            connection.execute(
                "DELETE FROM openbook.document WHERE kb = %s AND version = 0 AND key = ANY(%s)",
                [self.kb, [key_of(write.document.source) for write in again]],
            )
            if missing := edits.keys() - planned.keys() - {write.edit.document for write in again if write.edit}:
                raise NotFound("no such document", where=min(missing), do="openbook list shows the sources")
            plans = list(planned.values())
            self._rename(connection, [plan for plan in plans if plan.former is not None])
            access = self._intern(connection, {plan.principals for plan in plans})
            self._write_rows(connection, plans, access)
            changed = [plan for plan in plans if plan.changed]
            self._write_attributes(connection, changed, access)
            follow_access(connection, [(plan.id, access[plan.principals]) for plan in changed])
            rechunked = [plan for plan in changed if plan.rechunk]
            for index in kept:
                index.delete(connection, [plan.id for plan in rechunked])
                read = [(plan, (plan.write.readings or {}).get(index.id)) for plan in rechunked]
                index.upsert(
                    connection, [(p.id, p.version, access[p.principals], reading) for p, reading in read if reading]
                )
                index.set_access(
                    connection, [(plan.id, access[plan.principals]) for plan in changed if not plan.rechunk]
                )
            self._drop_vectors(connection, [plan for plan in changed if plan.closed])
            # What another root read from the same file is not what is there now.
            files = {plan.write.file for plan in changed if plan.write.edit is None and plan.write.file is not None}
            self.files.unread(connection, [id for id in self.files.same(connection, [*files]) if id not in files])
            halves = {write.file for write in again}
            self.files.finish(connection, [(id, state) for id, state in finished if id not in halves])
            feed(connection, self.kb, [plan.id for plan in changed])
        added = sum(plan.new for plan in changed)
        return Written(added, len(changed) - added, len(plans) - len(changed), tuple(again), refused)

    def forgotten(self, documents: Sequence[Document]) -> dict[str, str]:
        """source → why it is refused, of those documents whose text was forgotten."""
        with self.database.transaction() as connection:
            since = tombstones.forgotten(connection, self.kb, documents)
        return {source: tombstones.refusal(when) for source, when in since.items()}

    def take_again(self, documents: Sequence[Document]) -> None:
        """Let these be written though they were forgotten."""
        with self.database.transaction("owner") as connection:
            tombstones.dig_up(connection, self.kb, documents)

    def _refuse(self, connection: Connection, writes: dict[str, Write]) -> tuple[Skipped, ...]:
        """Takes out of the writes what was forgotten while it was read and embedded; its vectors leave the cache."""
        since = tombstones.forgotten(connection, self.kb, [write.document for write in writes.values()])
        refused = [reading for source in since for reading in (writes.pop(source).readings or {}).values()]
        if refused:
            vectors.drop_unused(connection, [(reading.embedder, reading.keys) for reading in refused])
        return tuple(Skipped(source, tombstones.refusal(when)) for source, when in since.items())

    def _refuse_edits(self, connection: Connection, edits: Mapping[str, Edit], writes: Mapping[str, Write]) -> None:
        """Raises: QueryError: a text that was forgotten would come back."""
        texts = [writes[name].document for name, edit in edits.items() if edit.content is not None]
        for source, since in tombstones.forgotten(connection, self.kb, texts).items():
            raise QueryError(f"its new text {tombstones.refusal(since)}", where=source)

    def _kept(self, connection: Connection) -> tuple[int, list[Index]]:
        """The number of the live release's index, and every index there is; until this transaction ends, neither
        changes."""
        share_indexes(connection, self.kb)
        row = connection.execute(
            "SELECT r.index FROM openbook.knowledge_base k JOIN openbook.release r ON r.id = k.live WHERE k.id = %s",
            [self.kb],
        ).fetchone()
        if row is None:
            raise StoreError("the knowledge base is gone", where=self.database.where, do="openbook status")
        return row[0], Index.kept(connection, self.database, self.kb)

    def _found(self, connection: Connection, writes: Mapping[str, Write]) -> None:
        """A row of version 0 for each source that has none: something to lock. A former source has one."""
        keys = {key_of(source): source for source in writes}
        former = connection.execute(
            "SELECT key FROM openbook.renamed WHERE kb = %s AND key = ANY(%s)", [self.kb, list(keys)]
        ).fetchall()
        for (key,) in former:
            del keys[bytes(key)]
        access = self._intern(connection, {normal(writes[source].document.access) for source in keys.values()})
        rows = [
            (uuid.uuid4(), self.kb, source, key, access[normal(writes[source].document.access)])
            for key, source in sorted(keys.items())
        ]
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO openbook.document (id, kb, source, key, version, access, metadata)"
                " VALUES (%s, %s, %s, %s, 0, %s, '{}') ON CONFLICT (kb, key) DO NOTHING",
                rows,
            )

    def _rename(self, connection: Connection, plans: Sequence[_Plan]) -> None:
        """Give documents another source; the former one goes on meaning them. Raises: QueryError: it is taken."""
        for plan in plans:
            source, key = plan.write.document.source, key_of(plan.write.document.source)
            taken = connection.execute(
                "SELECT source, removed IS NOT NULL FROM openbook.document WHERE kb = %s AND key = %s"
                " UNION ALL SELECT d.source, d.removed IS NOT NULL FROM openbook.renamed r"
                " JOIN openbook.document d ON d.id = r.document WHERE r.kb = %s AND r.key = %s AND d.id <> %s::uuid",
                [self.kb, key, self.kb, key, plan.id],
            ).fetchone()
            if taken is not None:
                what = "is taken" if taken[0] == source else f"was the source of {taken[0]}, and still means it"
                do = "forget that one, or give" if taken[1] else "give"
                raise QueryError(what + " by a removed document" * taken[1], where=source, do=f"{do} another name")
            connection.execute("DELETE FROM openbook.renamed WHERE kb = %s AND key = %s", [self.kb, key])
            connection.execute(
                "INSERT INTO openbook.renamed (kb, key, source, document) SELECT kb, key, source, id"
                " FROM openbook.document WHERE id = %s",
                [plan.id],
            )
            connection.execute(
                "UPDATE openbook.document SET source = %s, key = %s WHERE id = %s", [source, key, plan.id]
            )

    @staticmethod
    def _write_rows(connection: Connection, plans: Sequence[_Plan], access: Mapping[tuple[str, ...], int]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO openbook.version (document, version, title, text, headings, pages, hash)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    (plan.id, plan.version, d.title, d.text, headings, list(d.pages), d.hash)
                    for plan in plans
                    if plan.rechunk
                    for d in [plan.write.document]
                    for headings in [json.dumps([(h.start, h.end, h.level, h.title) for h in d.headings])]
                ],
            )
            cursor.executemany(
                "UPDATE openbook.document SET version = %s, access = %s, metadata = %s, file = %s, edited = %s,"
                " local_only = %s, removed = NULL, changed = now() WHERE id = %s",
                [
                    (plan.version, access[plan.principals], metadata, plan.write.file, held, local_only, plan.id)
                    for plan in plans
                    if plan.changed
                    for metadata in [json.dumps(_lists(plan.write.document.metadata))]
                    for held in [json.dumps(plan.held.row()) if plan.held else None]
                    for local_only in [plan.write.document.local_only]
                ],
            )
            cursor.executemany(
                "UPDATE openbook.document SET file = %s WHERE id = %s",
                [(plan.write.file, plan.id) for plan in plans if plan.moved and not plan.changed],
            )

    @staticmethod
    def _drop_vectors(connection: Connection, plans: Sequence[_Plan]) -> None:
        """Out of the cache, what models made of these documents that may not read them any more."""
        if not plans:
            return
        readings = [reading for plan in plans for reading in (plan.write.readings or {}).values()]
        may = {reading.embedder for reading in readings if reading.vectors is not None}
        rows = connection.execute(
            "DELETE FROM openbook.vector_use WHERE document = ANY(%s::uuid[]) AND embedder <> ALL(%s)"
            " RETURNING embedder, text",
            [[plan.id for plan in plans], list(may)],
        ).fetchall()
        vectors.drop_unused(connection, [(embedder, [text]) for embedder, text in rows])

    @staticmethod
    def _write_attributes(
        connection: Connection, plans: Sequence[_Plan], access: Mapping[tuple[str, ...], int]
    ) -> None:
        connection.execute(
            "DELETE FROM openbook.attribute WHERE document = ANY(%s::uuid[])", [[plan.id for plan in plans]]
        )
        insert_attributes(
            connection,
            [
                (plan.id, access[plan.principals], d.source, d.title, d.metadata)
                for plan in plans
                for d in [plan.write.document]
            ],
        )

    def remove(
        self,
        sources: Sequence[str],
        *,
        gone: Sequence[int] = (),
        finished: Iterable[tuple[int, FileState]] = (),
        dropped: bool = False,
    ) -> int:
        """Hide documents: out of every search with the commit. Files that are ``gone`` are forgotten, ``finished`` ones
        are whole without the documents, and the rest of their files are read again by the next add. ``dropped``: their
        files hold them no more. Returns how many.
        """
        with self.database.transaction() as connection:
            _, kept = self._kept(connection)
            forgotten = self.files.same(connection, gone)
            # Files before documents, as those who write lock them.
            connection.execute("SELECT FROM openbook.file WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [forgotten])
            ids = [
                current.id
                for name, current in self._rows(connection, sources, lock=True)
                # One that was renamed meanwhile is not what its file held by the former name.
                if not current.removed and (not dropped or name == current.source)
            ]
            connection.execute(
                "UPDATE openbook.document SET removed = now(), changed = now() WHERE id = ANY(%s::uuid[])", [ids]
            )
            connection.execute("DELETE FROM openbook.attribute WHERE document = ANY(%s::uuid[])", [ids])
            files = connection.execute(
                "SELECT DISTINCT file FROM openbook.document WHERE id = ANY(%s::uuid[]) AND file IS NOT NULL", [ids]
            ).fetchall()
            self.files.unread(connection, self.files.same(connection, [row[0] for row in files]))
            if dropped:
                connection.execute("UPDATE openbook.document SET file = NULL WHERE id = ANY(%s::uuid[])", [ids])
            self.files.finish(connection, finished)
            connection.execute("DELETE FROM openbook.file WHERE id = ANY(%s)", [forgotten])
            for index in kept:
                index.delete(connection, ids)
            feed(connection, self.kb, ids)
        return len(ids)

    # --- what an index has not read -----------------------------------------------------------------------------------

    def behind(self, index: int, after: str = FIRST) -> list[tuple[str, int, Document]]:
        """(id, version, document) of those that the index has not read in their newest version, in order of id, from
        the one that follows ``after``: at least one where there is one, and not much more than ``TOGETHER`` bytes. Of
        an index that does not exist, such as 0, that is every document."""
        with self.database.transaction() as connection:
            rows = connection.execute(
                "SELECT id, version, source, text, title, metadata, principals, headings, pages, local_only FROM ("
                "  SELECT d.id::text, d.version, d.source, v.text, v.title, d.metadata, a.principals, v.headings,"
                "   v.pages, d.local_only,"
                "   sum(octet_length(v.text)) OVER (ORDER BY d.id) - octet_length(v.text) AS before"
                "  FROM openbook.document d JOIN openbook.access_set a ON a.id = d.access"
                "  JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
                "  WHERE d.kb = %s AND d.removed IS NULL AND d.id > %s::uuid AND NOT EXISTS ("
                "   SELECT FROM openbook.indexed i WHERE i.index = %s AND i.document = d.id AND i.version = d.version)"
                "  ORDER BY d.id LIMIT %s) batch WHERE before < %s ORDER BY id",
                [self.kb, after, index, _MOST_TOGETHER, TOGETHER],
            ).fetchall()
        return [(id, version, document_of(*rest)) for id, version, *rest in rows]

    def catch_up(self, index: Index, readings: Sequence[tuple[str, int, Reading]], *, anew: bool = False) -> int:
        """Give an index what was read of (document, version). Left out is what has changed meanwhile, which stays what
        the index is behind by, and what another builder gave it, unless it is read ``anew``. Returns how many were
        given."""
        read = {id: (version, reading) for id, version, reading in readings}
        with self.database.transaction() as connection:
            _, kept = self._kept(connection)
            if index.id not in {one.id for one in kept}:
                raise StoreError(f"index {index.id} was dropped meanwhile", where=self.database.where, do="build anew")
            rows = connection.execute(
                "SELECT d.id::text, d.version, d.access, d.local_only FROM openbook.document d"
                " WHERE d.id = ANY(%s::uuid[]) AND d.removed IS NULL ORDER BY d.key FOR UPDATE OF d",
                [list(read)],
            ).fetchall()
            held = connection.execute(
                "SELECT document::text, version FROM openbook.indexed WHERE index = %s AND document = ANY(%s::uuid[])",
                [index.id, list(read)],
            ).fetchall()
            given = set() if anew else {*held}
            # What became local-only meanwhile was read as if it might be sent away.
            now = [
                (id, version, access)
                for id, version, access, local_only in rows
                if read[id][0] == version and read[id][1].local_only == local_only and (id, version) not in given
            ]
            index.delete(connection, [id for id, _, _ in now])
            index.upsert(connection, [(id, version, access, read[id][1]) for id, version, access in now])
            if gone := read.keys() - {id for id, *_ in rows}:  # one that was forgotten leaves no vector
                vectors.drop_unused(connection, [(read[id][1].embedder, read[id][1].keys) for id in sorted(gone)])
            if index.is_complete(connection):  # else nobody asks it yet, and its keyword view is made when it is
                feed(connection, self.kb, [id for id, _, _ in now])
        return len(now)

    def _intern(self, connection: Connection, sets: set[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
        for principals in sorted(sets):
            connection.execute(
                "INSERT INTO openbook.access_set (kb, principals) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [self.kb, list(principals)],
            )
        rows = connection.execute("SELECT principals, id FROM openbook.access_set WHERE kb = %s", [self.kb]).fetchall()
        return {tuple(principals): id for principals, id in rows}


def feed(connection: Connection, kb: int, documents: Sequence[str]) -> None:
    """Say in the change feed that these documents changed. Last in its transaction: the row lock on the counter makes
    positions commit in their order."""
    if documents:
        connection.execute(
            "WITH next AS ("
            "  UPDATE openbook.knowledge_base SET position = position + 1 WHERE id = %s RETURNING position)"
            " INSERT INTO openbook.change (kb, document, position)"
            " SELECT %s, id, next.position FROM next, unnest(%s::uuid[]) AS id"
            " ON CONFLICT (kb, document) DO UPDATE SET position = excluded.position",
            [kb, kb, list(documents)],
        )


def insert_attributes(connection: Connection, rows: Iterable[tuple[Any, int, str, str, Metadata]]) -> None:
    """What filters read of (document, access, source, title, metadata); what was there of them was deleted before."""
    # COPY is not to be had under row-level security; executemany sends its rows in one pipeline.
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO openbook.attribute (document, access, field, text, number, flag)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [
                (id, access, *row)
                for id, access, source, title, metadata in rows
                for row in attributes(filterable(source, title, metadata))
            ],
        )


def _end_alike(a: str, b: str) -> bool:
    return f"/{a}".endswith(f"/{b}") or f"/{b}".endswith(f"/{a}")


def _plain(metadata: Metadata) -> Metadata:
    return tuples(json.loads(json.dumps(_lists(metadata))))


def _lists(metadata: Metadata) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in metadata.items()}
