"""How the keyword view of this host follows the database's change feed: in memory, on the disk, or made anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from psycopg import sql

from openbook.errors import OpenbookError, StoreError
from openbook.store.database import Connection, Database
from openbook.store.filter import filterable, tuples
from openbook.store.keyword import NOWHERE, Change, Changes, KeywordChunk, KeywordView, Position

LITTLE = 20
"""So many changed documents are taken into memory by the question that finds them: their text is read and cut into
words in the time that a commit of the keyword index waits for the disk."""

WAITING = 10
"""So many times as much is taken into memory, and held there, while the keyword index is being written."""


class ChangeFeed:
    """What changed in the documents of a knowledge base, as the keyword view of one index takes it: the chunks in its
    ``table``."""

    def __init__(self, database: Database, kb: int, table: sql.Identifier, view: KeywordView) -> None:
        self.database = database
        self.kb = kb
        self.table = table
        self._view = view
        self._renewing = threading.Lock()  # held while a thread makes the view anew

    def now(self, connection: Connection) -> tuple[Position, int]:
        """The position of the change feed, and the release that answers."""
        row = connection.execute(
            "SELECT position, live FROM openbook.knowledge_base WHERE id = %s", [self.kb]
        ).fetchone()
        if row is None:
            raise StoreError("the knowledge base is gone", where=self.database.where, do="openbook status")
        return Position(self.database.epoch, row[0]), row[1]

    def follow(self) -> None:
        """In memory, where little has changed since this process last asked; else on the disk.

        No question of a process that goes on asking makes the view anew, or waits for who does as long as memory holds
        what changes meanwhile: it takes 6.5 s for 20,000 chunks.
        """
        if self._taken() or (self._view.is_written() and self._taken(times=WAITING)):
            return
        asks_again = self._view.in_use
        self.catch_up(renew=not asks_again)
        if asks_again and self._view.needs_rebuild():
            self._renew_beside()

    def _taken(self, times: int = 1) -> bool:
        """Whether what changed was little enough, or so many ``times`` that, to be taken into memory."""
        with self.database.snapshot(None, role="writer") as connection:
            return self._view.follow(lambda seen: self._little(connection, seen, times * LITTLE), times=times)

    def _little(self, connection: Connection, seen: Position, most: int) -> Changes | None:
        """What changed after ``seen``; ``None``: more than a question should wait for."""
        if seen.epoch != self.database.epoch:
            return None
        now = self.now(connection)[0]
        changed = connection.execute(
            "SELECT document FROM openbook.change WHERE kb = %s AND position > %s LIMIT %s",
            [self.kb, seen.number, most + 1],
        ).fetchall()
        if len(changed) > most:
            return None
        return Changes(now, self._changes(connection, [row[0] for row in changed]))

    def catch_up(self, *, renew: bool = True) -> None:
        """On the disk; with ``renew`` from nothing, where that is wanted."""
        # Not from the pool of those who ask: each of them holds a connection while it waits for this one.
        with self.database.snapshot(None, role="writer") as connection:
            self._view.catch_up(lambda seen: self._since(connection, seen, renew=renew))

    def _renew_beside(self) -> None:
        """Have a thread make the view anew, one at a time."""
        if self._renewing.acquire(blocking=False):
            try:
                threading.Thread(target=self._renewed, name="openbook-keyword").start()
            except BaseException:
                self._renewing.release()
                raise

    def _renewed(self) -> None:
        try:
            self.catch_up()  # which sees, once it has the lock, whether another process was first
        except OpenbookError:
            pass  # the database was closed, or the disk is full: who commits next tries again
        finally:
            self._renewing.release()

    def renew(self) -> bool:
        """Make this host's keyword view anew, where there is one: tantivy only marks as deleted what it has dropped.

        Who asks meanwhile is answered from the former one. Raises: StoreError.
        """
        if not self._view.folder.is_dir():
            return False
        with self.database.snapshot(None, role="writer") as connection:
            self._view.catch_up(lambda _: self._since(connection, NOWHERE))
        return True

    def _since(self, connection: Connection, seen: Position, *, renew: bool = True) -> Changes:
        """Everything that changed after ``seen``, read as it is taken; all there is, where that is of another epoch.

        The snapshot begins here, with its first query: after the view was locked, so that it never goes back."""
        rebuild = seen.epoch != self.database.epoch or (renew and self._view.needs_rebuild())
        now = self.now(connection)[0]
        changed = connection.execute(
            "SELECT document FROM openbook.change WHERE kb = %s AND position > %s ORDER BY position, document",
            [self.kb, 0 if rebuild else seen.number],
        ).fetchall()
        return Changes(now, self._changes(connection, [row[0] for row in changed]), rebuild)

    def _changes(self, connection: Connection, documents: Sequence[Any]) -> Iterator[Change]:
        for first in range(0, len(documents), 500):
            batch = documents[first : first + 500]
            found: dict[Any, list[KeywordChunk]] = {}
            rows = connection.execute(
                sql.SQL(
                    'SELECT c.document, c.id, c.headings, c.access, substr(v.text, c.start + 1, c."end" - c.start),'
                    " c.context, v.title, d.source, d.metadata"
                    " FROM {} c JOIN openbook.document d ON d.id = c.document"
                    " JOIN openbook.version v ON v.document = c.document AND v.version = c.version"
                    " WHERE c.document = ANY(%s) ORDER BY c.document, c.start, c.id"
                ).format(self.table),
                [batch],
            ).fetchall()
            for document, id, headings, access, text, context, title, source, metadata in rows:
                if document not in found:  # what its chunks share is made once
                    fields = filterable(source, title, tuples(metadata))
                    names = _strings(metadata)
                found.setdefault(document, []).append(
                    KeywordChunk(id, text, title, "\n".join(headings), access, fields, names, context)
                )
            for document in batch:
                yield Change(str(document), found.get(document))


def _strings(metadata: Mapping[str, Any]) -> list[str]:
    """The values that are text: what is called a version, a product, an author; not what counts or dates in numbers."""
    values = (one for value in metadata.values() for one in (value if isinstance(value, list) else (value,)))
    return [value for value in values if isinstance(value, str)]
