"""Releases as they are kept: which recipe, which index, which one answers; and the pointer that is turned over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

import psycopg

from openbook.errors import NotFound, QueryError, StoreBusy, StoreError
from openbook.recipe import Recipe
from openbook.store.database import Connection, Database
from openbook.store.index import Index
from openbook.store.locks import own_indexes
from openbook.types import storable

T = TypeVar("T")

_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # seconds between two tries
_READING = 10.0
"""Seconds that a release waits to be dropped: questions are short."""
_WRITING = 1800.0
"""Seconds that an index waits to be made: an import writes its documents in one transaction."""

State = Literal["live", "previous", "ready", "building"]


@dataclass(frozen=True, slots=True)
class Release:
    """A recipe, its index, and the report that justified it.

    ``state``: the ``live`` one answers, the ``previous`` one is what a rollback returns to, a ``ready`` one can be
    promoted, one in ``building`` cannot yet. ``report`` is the comparison with the release that was live then.
    """

    id: int
    name: str
    recipe: Recipe
    index: int
    state: State
    created: datetime
    promoted: datetime | None = None
    report: Mapping[str, Any] | None = None

    def require_whole(self) -> None:
        """Raises: QueryError: it is live already, or still being built."""
        if self.state == "live":
            raise QueryError("is the live release already", where=self.name, do="openbook release list shows them")
        if self.state == "building":
            raise QueryError("is not whole yet", where=self.name, do="openbook release build goes on with it")

    def require_droppable(self) -> None:
        """Raises: QueryError: it is the live one."""
        if self.state == "live":
            raise QueryError("is the live release", where=self.name, do="promote another one first")


@dataclass(frozen=True, slots=True)
class Pointers:
    """The names of the release that answers, and of the one that a rollback returns to."""

    live: str
    previous: str | None


_RELEASE = (
    "SELECT r.id, r.name, r.recipe, r.index, CASE WHEN r.id = k.live THEN 'live' WHEN r.id = k.previous THEN 'previous'"
    " WHEN i.complete THEN 'ready' ELSE 'building' END, r.created, r.promoted, r.report,"
    " i.hash, i.embedder, i.dimension, i.language, i.probe"
    " FROM openbook.release r JOIN openbook.knowledge_base k ON k.id = r.kb JOIN openbook.index i ON i.id = r.index"
)


class Releases:
    """The releases of one knowledge base. Every change of a pointer or of an index has the indexes to itself."""

    def __init__(self, database: Database, kb: int) -> None:
        self.database = database
        self.kb = kb

    def all(self) -> list[Release]:
        """Every release, the oldest first."""
        with self.database.snapshot(None) as connection:
            rows = connection.execute(f"{_RELEASE} WHERE r.kb = %s ORDER BY r.id", [self.kb]).fetchall()
        return [_release(row) for row in rows]

    def opened(self, name: str | None = None) -> tuple[Release, Index, list[float]]:
        """A release (``None``: the live one) with its index, and what the index's model made of the probe.

        Raises:
            NotFound: there is none of that name.
        """
        with self.database.snapshot(None) as connection:
            return self._opened(connection, name)

    def _opened(self, connection: Connection, name: str | None) -> tuple[Release, Index, list[float]]:
        name = None if name is None else storable(name)
        row = connection.execute(
            f"{_RELEASE} WHERE r.kb = %s AND CASE WHEN %s::text IS NULL THEN r.id = k.live ELSE r.name = %s END",
            [self.kb, name, name],
        ).fetchone()
        if row is None:
            raise NotFound("no such release", where=str(name or "live"), do="openbook release list shows them")
        release = _release(row)
        hash, embedder, dimension, language, probe = row[8:]
        index = Index(
            self.database,
            self.kb,
            release.index,
            hash=hash,
            embedder=embedder,
            dimension=dimension,
            language=language,
        )
        return release, index, probe

    def live(self) -> int:
        """The number of the release that answers."""
        with self.database.snapshot(None) as connection:
            row = connection.execute("SELECT live FROM openbook.knowledge_base WHERE id = %s", [self.kb]).fetchone()
        if row is None:
            raise StoreError("the knowledge base is gone", where=self.database.where, do="openbook status")
        return int(row[0])

    def pointers(self) -> Pointers:
        with self.database.snapshot(None) as connection:
            return self._pointers(connection)

    def _pointers(self, connection: Connection) -> Pointers:
        row = connection.execute(
            "SELECT l.name, p.name FROM openbook.knowledge_base k JOIN openbook.release l ON l.id = k.live"
            " LEFT JOIN openbook.release p ON p.id = k.previous WHERE k.id = %s",
            [self.kb],
        ).fetchone()
        assert row is not None
        return Pointers(*row)

    # --- changes ------------------------------------------------------------------------------------------------------

    def begin(self, recipe: Recipe, embedder: str, dimension: int, probe: list[float]) -> Release:
        """A candidate for this recipe; its index is the one that is there for the same index half and model, or a new
        one, which is not complete before all is read into it. The one that a killed build left is taken up again.

        Raises:
            QueryError: a release with this recipe and this model is there, whole.
            StoreBusy: somebody has been importing for long.
        """
        return making(lambda: self._begin(recipe, embedder, dimension, probe), self.database)

    def _begin(self, recipe: Recipe, embedder: str, dimension: int, probe: list[float]) -> Release:
        with self.database.transaction("owner") as connection:
            own_indexes(connection, self.kb)
            index = self._index_of(connection, recipe, embedder) or create_index(
                self.database, connection, self.kb, recipe, embedder, dimension, probe, complete=False
            )
            same = connection.execute(
                f"{_RELEASE} WHERE r.kb = %s AND r.index = %s ORDER BY r.id", [self.kb, index]
            ).fetchall()
            for release in map(_release, same):
                if release.recipe != recipe:
                    continue
                if release.state == "building":
                    return release
                do = {"live": "change something in it", "previous": "openbook release rollback returns to it"}.get(
                    release.state, f"openbook release promote {release.name}"
                )
                what = "answers by this recipe already" if release.state == "live" else "has this recipe already"
                raise QueryError(what, where=release.name, do=do)
            row = connection.execute(
                "UPDATE openbook.knowledge_base SET releases = releases + 1 WHERE id = %s RETURNING releases", [self.kb]
            ).fetchone()
            assert row is not None
            name = f"r{row[0]}"
            connection.execute(
                "INSERT INTO openbook.release (kb, name, recipe, index) VALUES (%s, %s, %s, %s)",
                [self.kb, name, recipe.to_toml(), index],
            )
            return self._opened(connection, name)[0]

    def complete(self, index: int) -> bool:
        """Declare an index whole, if no document is missing in it any more; whether it is."""
        with self.database.transaction("owner") as connection:
            own_indexes(connection, self.kb)
            if _behind(connection, self.kb, index):
                return False
            connection.execute("UPDATE openbook.index SET complete = true WHERE id = %s", [index])
        return True

    def index_of(self, recipe: Recipe, embedder: str) -> int:
        """The number of the index that is there for this index half and this model; 0: none is."""
        with self.database.snapshot(None) as connection:
            return self._index_of(connection, recipe, embedder)

    def _index_of(self, connection: Connection, recipe: Recipe, embedder: str) -> int:
        found = connection.execute(
            "SELECT id FROM openbook.index WHERE kb = %s AND hash = %s AND embedder = %s",
            [self.kb, recipe.index.hash, embedder],
        ).fetchone()
        return int(found[0]) if found else 0

    def promote(self, name: str, expected: str | None = None) -> Pointers | None:
        """Turn the pointer over to a release, and remember the one that answered until now. ``None``: nothing was
        changed, because its index lacks a document: catch it up, and try again.

        ``expected`` is the name of the release that has to be the live one.

        Raises:
            NotFound: there is no such release.
            QueryError: it is live already, it is still being built, or another one is live than expected.
        """
        with self.database.transaction("owner") as connection:
            own_indexes(connection, self.kb)
            release, index, _ = self._opened(connection, name)
            now = self._pointers(connection)
            release.require_whole()
            if expected is not None and now.live != expected:
                raise QueryError(
                    f"{now.live} was promoted meanwhile", where=name, do="look again: openbook release list"
                )
            if _behind(connection, self.kb, index.id):
                return None
            connection.execute(
                "UPDATE openbook.knowledge_base SET previous = live, live = %s WHERE id = %s", [release.id, self.kb]
            )
            connection.execute("UPDATE openbook.release SET promoted = now() WHERE id = %s", [release.id])
            return self._pointers(connection)

    def drop(self, name: str) -> int | None:
        """Delete a release, and its index where no other release shares it; the number of the index that went.

        Raises:
            NotFound: there is no such release.
            QueryError: it is the live one.
            StoreBusy: somebody has been reading for long.
        """
        busy = StoreBusy(
            "others have been reading documents for long", where=name, do="run it again when they are done"
        )
        return _persistent(lambda: self._drop(name), _READING, busy)

    def _drop(self, name: str) -> int | None:
        with self.database.transaction("owner") as connection:
            own_indexes(connection, self.kb)
            release, _, _ = self._opened(connection, name)
            release.require_droppable()
            connection.execute(
                "UPDATE openbook.knowledge_base SET previous = NULL WHERE id = %s AND previous = %s",
                [self.kb, release.id],
            )
            connection.execute("DELETE FROM openbook.release WHERE id = %s", [release.id])
            shared = connection.execute(
                "SELECT FROM openbook.release WHERE index = %s LIMIT 1", [release.index]
            ).fetchone()
            if shared is not None:
                return None
            _wait_briefly(connection)
            Index.drop(connection, release.index)
            connection.execute("DELETE FROM openbook.index WHERE id = %s", [release.index])
        return release.index

    def keep_report(self, name: str, report: Mapping[str, Any]) -> None:
        """Keep the comparison that speaks for or against a release. Raises: NotFound."""
        with self.database.transaction("owner") as connection:
            kept = connection.execute(
                "UPDATE openbook.release SET report = %s WHERE kb = %s AND name = %s",
                [json.dumps(report), self.kb, storable(name)],
            ).rowcount
        if not kept:
            raise NotFound("no such release", where=name, do="openbook release list shows them")

    def behind(self) -> dict[int, int]:
        """Index → how many documents it has not read in their newest version, of every index."""
        with self.database.snapshot(None) as connection:
            rows = connection.execute(
                "SELECT i.id, count(d.id) FILTER (WHERE x.version IS DISTINCT FROM d.version) FROM openbook.index i"
                " LEFT JOIN (openbook.document d"
                "  JOIN openbook.version v ON v.document = d.id AND v.version = d.version)"
                "  ON d.kb = i.kb AND d.removed IS NULL"
                " LEFT JOIN openbook.indexed x ON x.index = i.id AND x.document = d.id"
                " WHERE i.kb = %s GROUP BY i.id",
                [self.kb],
            ).fetchall()
        return dict(rows)


def number_of(database: Database, name: str) -> int | None:
    """The number of the knowledge base of that name, where there is one that answers."""
    with database.snapshot(None) as connection:
        row = connection.execute(
            "SELECT id FROM openbook.knowledge_base WHERE name = %s AND live IS NOT NULL", [name]
        ).fetchone()
    return None if row is None else int(row[0])


def create_knowledge_base(
    database: Database, name: str, recipe: Recipe, embedder: str, dimension: int, probe: list[float]
) -> int:
    """The number of a knowledge base, made with its index and its first release in one transaction of ``making``."""
    with database.transaction("owner") as connection:
        connection.execute("INSERT INTO openbook.knowledge_base (name) VALUES (%s) ON CONFLICT DO NOTHING", [name])
        found = connection.execute(
            "SELECT id, live FROM openbook.knowledge_base WHERE name = %s FOR UPDATE", [name]
        ).fetchone()
        assert found is not None
        kb = int(found[0])
        if found[1] is None:  # else another process was first
            index = create_index(database, connection, kb, recipe, embedder, dimension, probe, complete=True)
            connection.execute(
                "WITH first AS (INSERT INTO openbook.release (kb, name, recipe, index, promoted)"
                "  VALUES (%s, 'r1', %s, %s, now()) RETURNING id)"
                " UPDATE openbook.knowledge_base SET live = first.id FROM first WHERE knowledge_base.id = %s",
                [kb, recipe.to_toml(), index, kb],
            )
    return kb


def create_index(
    database: Database,
    connection: Connection,
    kb: int,
    recipe: Recipe,
    embedder: str,
    dimension: int,
    probe: list[float],
    *,
    complete: bool,
) -> int:
    """The row and the empty table of a new index; ``complete`` where there is nothing to read yet. In a transaction of
    ``making``."""
    row = connection.execute(
        "INSERT INTO openbook.index (kb, hash, embedder, dimension, language, probe, complete)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
        [kb, recipe.index.hash, embedder, dimension, recipe.index.keyword.language, probe, complete],
    ).fetchone()
    assert row is not None
    roles = database.roles(connection)
    _wait_briefly(connection)
    Index.create(connection, row[0], dimension, roles["reader"], roles["writer"])
    connection.execute("SET LOCAL lock_timeout TO DEFAULT")
    return int(row[0])


def making(once: Callable[[], T], database: Database) -> T:
    """What ``once`` returns, a transaction that makes an index; tried again as long as an import writes documents.

    Raises:
        StoreBusy: it went on for too long.
    """
    busy = StoreBusy(
        "others have been writing documents for long", where=database.where, do="run it again when they are done"
    )
    return _persistent(once, _WRITING, busy)


def _persistent(once: Callable[[], T], seconds: float, busy: StoreBusy) -> T:
    """What a transaction returns that waits briefly; tried again for so many seconds, then ``busy`` is raised."""
    end, pause = time.monotonic() + seconds, _PAUSE
    while True:
        try:
            return once()
        except StoreBusy as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise
            if time.monotonic() > end:
                raise busy from error
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _wait_briefly(connection: Connection) -> None:
    """What follows wants the documents' table alone for a moment: who waits for that long has all who write one wait
    behind it, and where a table is dropped all questions, too."""
    connection.execute("SET LOCAL lock_timeout = '200ms'")


def _behind(connection: Connection, kb: int, index: int) -> int:
    """How many documents of a knowledge base an index has not read in their newest version."""
    row = connection.execute(
        "SELECT count(*) FROM openbook.document d"
        " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
        " WHERE d.kb = %s AND d.removed IS NULL AND NOT EXISTS ("
        " SELECT FROM openbook.indexed i WHERE i.index = %s AND i.document = d.id AND i.version = d.version)",
        [kb, index],
    ).fetchone()
    assert row is not None
    return int(row[0])


def _release(row: tuple[Any, ...]) -> Release:
    id, name, toml, index, state, created, promoted, report = row[:8]
    recipe = Recipe.from_toml(toml, where=f"release {name}", stored=True)
    return Release(id, name, recipe, index, state, created, promoted, report)
