"""Erasing documents: their rows in one transaction, then what of them is left in PostgreSQL's files.

Deleted rows stay in the holes of their pages, in column statistics and in the write-ahead log. So the rows go first,
and with them a row comes into ``erasure``, which says that the rest is not done yet: rewriting the tables (VACUUM FULL,
which writes what is left into new files and the indexes with it), new statistics, and a write-ahead log without the
former segments. Whoever is killed in between leaves that row, and the next one finishes.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from openbook.store import tombstones
from openbook.store.database import Connection, Database
from openbook.store.files import Files
from openbook.store.index import Index
from openbook.store.locks import own_indexes
from openbook.store.models import Withdrawn, lost, withdraw, withdrawn
from openbook.store.writing import feed

OLD_SNAPSHOT = 60.0
"""Seconds to wait for a transaction that began before the erasure: what it may still see, no VACUUM drops."""

LOCK_TIMEOUT = 60
"""Seconds to wait for a table that another one is at work on."""

_READ_TOGETHER = 200

_CLEARS_STATISTICS = 180000
"""The first version of PostgreSQL whose users can drop statistics of their own tables."""

_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

_FILE = re.compile(r"(\d+)(?:_(?:fsm|vm|init))?(?:\.\d+)?")
"""A file of a table or an index; the number is its filenode."""

_KEPT_AS_THEY_ARE = ("setting", "knowledge_base", "index", "change", "forgotten", "erasure")
"""Tables without a word of a document in them."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """A document that is about to be erased. ``file`` is the URI of the file it came from, ``former`` the
    sources that it had before."""

    document: str
    source: str
    title: str
    versions: int
    characters: int
    removed: bool
    file: str | None
    former: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a trace says in words: its question with the filter, and the better answers that people gave it."""

    trace: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An erasure whose rows are gone and whose bytes may not be. ``documents`` and ``erased`` as the receipt has them,
    ``answered``: how many answers a language model wrote from what was erased; ``models``: hashes of those that it
    withdrew."""

    id: int
    receipt: str
    documents: tuple[Mapping[str, Any], ...]
    erased: Mapping[str, int]
    answered: int
    transaction: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """What could not be cleaned: where, why, and whether another run may."""

    place: str
    why: str
    again: bool = False


class Erasures:
    """What was and is being erased of one knowledge base."""

    def __init__(self, database: Database, kb: int) -> None:
        self.database = database
        self.kb = kb
        self.files = Files(database, kb)

    # --- what is there ------------------------------------------------------------------------------------------------

    def doomed(self, ids: Sequence[str]) -> list[Doomed]:
        with self.database.snapshot(None) as connection:
            rows = connection.execute(
                "SELECT d.id::text, d.source, coalesce(n.title, ''), s.versions, s.characters, d.removed IS NOT NULL,"
                " f.path, ARRAY(SELECT r.source FROM openbook.renamed r WHERE r.document = d.id ORDER BY r.source)"
                " FROM openbook.document d"
                " LEFT JOIN openbook.version n ON n.document = d.id AND n.version = d.version"
                " LEFT JOIN openbook.file f ON f.id = d.file"
                " CROSS JOIN LATERAL (SELECT count(*) AS versions, coalesce(sum(length(v.text)), 0) AS characters"
                "   FROM openbook.version v WHERE v.document = d.id) s"
                " WHERE d.kb = %s AND d.id = ANY(%s::uuid[]) ORDER BY d.source",
                [self.kb, list(ids)],
            ).fetchall()
        return [
            Doomed(id, source, title, n, int(long), gone, file, tuple(former))
            for id, source, title, n, long, gone, file, former in rows
        ]

    def said(self, ids: Sequence[str], *, others: bool = False) -> Iterator[str]:
        """Every text, title, heading, metadata value and name of these documents, with what was edited over and the
        names they had; of all ``others`` instead."""
        which = "<> ALL" if others else "= ANY"
        with self.database.snapshot(None) as connection, connection.cursor("said") as cursor:
            cursor.itersize = _READ_TOGETHER
            cursor.execute(
                "SELECT concat_ws(E'\\n', v.title, v.text, v.headings, d.metadata, d.source, f.path, d.edited,"
                " (SELECT string_agg(r.source, E'\\n') FROM openbook.renamed r WHERE r.document = d.id))"
                " FROM openbook.version v JOIN openbook.document d ON d.id = v.document"
                " LEFT JOIN openbook.file f ON f.id = d.file"
                f" WHERE d.kb = %s AND d.id {which}(%s::uuid[])",
                [self.kb, list(ids)],
            )
            for (text,) in cursor:
                yield text

    def asked(self) -> Iterator[Asked]:
        """Every recorded question of the knowledge base, with what people answered."""
        with self.database.snapshot(None) as connection, connection.cursor("asked") as cursor:
            cursor.itersize = _READ_TOGETHER
            cursor.execute(
                "SELECT t.id::text, ARRAY[t.question, t.body ->> 'filter', t.body ->> 'details'],"
                " ARRAY(SELECT f.answer FROM openbook.feedback f WHERE f.trace = t.id AND f.answer IS NOT NULL)"
                " FROM openbook.trace t WHERE t.kb = %s",
                [self.kb],
            )
            for id, question, answers in cursor:
                yield Asked(id, tuple(text for text in (*question, *answers) if text))

    def reports(self) -> dict[int, Any]:
        """Release → the report that justified it."""
        with self.database.snapshot(None) as connection:
            rows = connection.execute(
                "SELECT id, report FROM openbook.release WHERE kb = %s AND report IS NOT NULL", [self.kb]
            ).fetchall()
        return dict(rows)

    def recipes(self) -> dict[str, str]:
        """Release → its recipe, as TOML."""
        with self.database.snapshot(None) as connection:
            rows = connection.execute(
                "SELECT name, recipe FROM openbook.release WHERE kb = %s ORDER BY id", [self.kb]
            ).fetchall()
        return dict(rows)

    def indexes(self) -> list[Index]:
        """Every kept index."""
        with self.database.snapshot(None) as connection:
            return Index.kept(connection, self.database, self.kb)

    def withdrawn(self) -> list[Withdrawn]:
        """The models that were trained on what is forgotten."""
        with self.database.snapshot(None) as connection:
            return withdrawn(connection, self.kb)

    def lost(self, model: Withdrawn, host: str, path: str) -> None:
        """The files of a model do not lie there any more."""
        with self.database.transaction("owner") as connection:
            lost(connection, model.id, host, path)

    # --- the rows -----------------------------------------------------------------------------------------------------

    def erase(
        self,
        ids: Sequence[str],
        receipt: str,
        *,
        traces: Sequence[str],
        reports: Mapping[int, Any],
        keep_file: Callable[[str], bool],
        keep_root: Callable[[str], bool],
    ) -> None:
        """Delete the rows of these documents and all that speaks of them, in one transaction that nobody writes beside.

        ``traces`` quote the documents without having found them; ``reports`` are those of releases, without the quotes.
        A file that nothing came from goes, too, and a root that nothing is in; one that was not read yet only if not
        ``keep_file(path)``, and where it has access rules, which would be lost, only if not ``keep_root(path)``.
        """
        with self.database.transaction("owner") as connection:
            own_indexes(connection, self.kb)
            rows = connection.execute(
                "SELECT id::text FROM openbook.document WHERE kb = %s AND id = ANY(%s::uuid[]) ORDER BY key FOR UPDATE",
                [self.kb, list(ids)],
            ).fetchall()
            ids = [id for (id,) in rows]  # another one may have forgotten some of them
            if not ids:
                return
            documents = self._certificates(connection, ids, receipt)
            tombstones.bury(connection, self.kb, ids)
            answered, erased = self._traces(connection, ids, traces)
            files = self._files(connection, ids)
            models = withdraw(connection, self.kb, ids)
            erased |= self._rows(connection, ids)
            erased |= self._names(connection, files, keep_file, keep_root)
            for release, report in reports.items():
                connection.execute(
                    "UPDATE openbook.release SET report = %s WHERE kb = %s AND id = %s",
                    [json.dumps(report), self.kb, release],
                )
            erased["reports"] = len(reports)
            counts = {
                "receipt": receipt, "documents": documents, "erased": erased, "answered": answered, "models": models,
                "transaction": _one(connection, "SELECT pg_current_xact_id()::text"),
            }  # fmt: skip
            connection.execute(
                "INSERT INTO openbook.erasure (kb, counts) VALUES (%s, %s)", [self.kb, json.dumps(counts)]
            )
            feed(connection, self.kb, ids)

    def _certificates(self, connection: Connection, ids: Sequence[str], salt: str) -> list[dict[str, Any]]:
        """What tells which text was forgotten to whoever has that text, and to nobody else."""
        rows = connection.execute(
            "SELECT d.id::text, count(v.*), (array_agg(encode(sha256(convert_to(%s || v.text, 'UTF8')), 'hex')"
            " ORDER BY v.version DESC))[1] FROM openbook.document d"
            " LEFT JOIN openbook.version v ON v.document = d.id WHERE d.id = ANY(%s::uuid[])"
            " GROUP BY d.id ORDER BY d.id",
            [salt, list(ids)],
        ).fetchall()
        return [{"document": id, "versions": versions, "salt": salt, "hash": hash} for id, versions, hash in rows]

    def _traces(self, connection: Connection, ids: Sequence[str], named: Sequence[str]) -> tuple[int, dict[str, int]]:
        """Deletes the traces that found, cite or quote what is erased, with what was said of them; (how many of their
        answers, or questions back, a language model wrote from passages, what went)."""
        condition = (
            "t.kb = %s AND (t.id = ANY(%s::uuid[]) OR EXISTS ("
            " SELECT FROM jsonb_path_query(t.body, '$.**.document') AS one WHERE one #>> '{}' = ANY(%s)))"
        )
        found = connection.execute(
            "SELECT t.id, coalesce((t.body #>> '{answer,written}')::boolean,"
            "   (t.body #>> '{answer,usage,output_tokens}')::numeric > 0, false)"
            "  OR jsonb_path_exists(t.body, '$.details.calls[*] ? (@.stage == \"clarify\").usage'),"
            " (SELECT count(*) FROM openbook.feedback f WHERE f.trace = t.id)"
            f" FROM openbook.trace t WHERE {condition}",
            [self.kb, list(named), list(ids)],
        ).fetchall()
        connection.execute("DELETE FROM openbook.trace WHERE id = ANY(%s)", [[id for id, _, _ in found]])
        erased = {"traces": len(found), "feedback": sum(count for _, _, count in found)}
        return sum(by_model for _, by_model, _ in found), erased

    def _rows(self, connection: Connection, ids: Sequence[str]) -> dict[str, int]:
        erased: dict[str, int] = {}
        erased["chunks"] = erased["vectors"] = 0
        for (index,) in connection.execute("SELECT id FROM openbook.index WHERE kb = %s", [self.kb]).fetchall():
            (chunks, vectors) = _row(
                connection,
                sql.SQL(
                    "WITH gone AS (DELETE FROM {} WHERE document = ANY(%s::uuid[]) RETURNING vector)"
                    " SELECT count(*), count(vector) FROM gone"
                ).format(sql.Identifier("openbook", f"chunk_{index}")),
                [list(ids)],
            )
            erased["chunks"] += chunks
            erased["vectors"] += vectors
        for name, table in (("attributes", "attribute"), ("versions", "version")):
            erased[name] = connection.execute(
                sql.SQL("DELETE FROM {} WHERE document = ANY(%s::uuid[])").format(sql.Identifier("openbook", table)),
                [list(ids)],
            ).rowcount
        erased["documents"] = connection.execute(
            "DELETE FROM openbook.document WHERE id = ANY(%s::uuid[])", [list(ids)]
        ).rowcount
        # Those of unknown origin go, too: made before it was recorded what for, or for an add that came to nothing.
        erased["cached vectors"] = connection.execute(
            "DELETE FROM openbook.vector v WHERE NOT EXISTS ("
            " SELECT FROM openbook.vector_use u WHERE u.embedder = v.embedder AND u.text = v.text)"
        ).rowcount
        # Nobody writes now, so nobody is about to use one.
        connection.execute(
            "DELETE FROM openbook.access_set a WHERE a.kb = %s"
            " AND NOT EXISTS (SELECT FROM openbook.document d WHERE d.access = a.id)"
            " AND NOT EXISTS (SELECT FROM openbook.model m WHERE a.id = ANY(m.rules))",
            [self.kb],
        )
        return erased

    def _files(self, connection: Connection, ids: Sequence[str]) -> list[int]:
        """Every number of the files that these documents came from."""
        rows = connection.execute(
            "SELECT DISTINCT file FROM openbook.document WHERE id = ANY(%s::uuid[]) AND file IS NOT NULL", [list(ids)]
        ).fetchall()
        return self.files.same(connection, [file for (file,) in rows])

    def _names(
        self,
        connection: Connection,
        files: Sequence[int],
        keep_file: Callable[[str], bool],
        keep_root: Callable[[str], bool],
    ) -> dict[str, int]:
        """The rows of files that no document comes from, and of roots that nothing is in.

        Documents move away from a file that is renamed: its former path may name what is forgotten as well as its
        present one does, and a file whose row is gone is merely read again. One that was never read, and is none of
        the ``files`` of what is forgotten, may be on its way in: it stays if ``keep_file(path)``.
        """
        # Roots may overlap, and each numbers what it holds: a path that names a document stays under all of them.
        rows = connection.execute(
            "SELECT f.id, f.root, f.path, f.options = '' AND f.id <> ALL(%s) FROM openbook.file f"
            " JOIN openbook.root r ON r.id = f.root WHERE r.kb = %s AND NOT EXISTS ("
            "  SELECT FROM openbook.document d JOIN openbook.file used ON used.id = d.file"
            "  WHERE d.kb = %s AND used.path = f.path)",
            [list(files), self.kb, self.kb],
        ).fetchall()
        gone = {id: root for id, root, path, unread in rows if not (unread and keep_file(path))}
        connection.execute("DELETE FROM openbook.file WHERE id = ANY(%s)", [list(gone)])
        return {"files": len(gone), "roots": self._roots(connection, keep_root)}

    def _roots(self, connection: Connection, keep_root: Callable[[str], bool], *, ruled: bool = False) -> int:
        """Delete the rows of roots that nothing is in, whenever it left them; of those that are ``ruled`` alone."""
        rows = connection.execute(
            "SELECT id, path, ruled FROM ("
            "  SELECT r.id, r.path, r.access IS NOT NULL OR r.local_only IS NOT NULL AS ruled FROM openbook.root r"
            "  WHERE r.kb = %s AND NOT EXISTS (SELECT FROM openbook.file f WHERE f.root = r.id)"
            " ) empty WHERE ruled OR NOT %s",
            [self.kb, ruled],
        ).fetchall()
        gone = [id for id, path, has_rule in rows if not (has_rule and keep_root(path))]
        return connection.execute("DELETE FROM openbook.root WHERE id = ANY(%s)", [gone]).rowcount

    def empty_roots(self, keep_root: Callable[[str], bool]) -> list[str]:
        """The roots that nothing is in and that are kept for their access rules; the others are deleted."""
        with self.database.transaction("owner") as connection:
            own_indexes(connection, self.kb)  # nobody puts a file into one meanwhile
            self._roots(connection, keep_root, ruled=True)
            rows = connection.execute(
                "SELECT r.path FROM openbook.root r WHERE r.kb = %s"
                " AND (r.access IS NOT NULL OR r.local_only IS NOT NULL)"
                " AND NOT EXISTS (SELECT FROM openbook.file f WHERE f.root = r.id) ORDER BY r.path",
                [self.kb],
            ).fetchall()
        return [path for (path,) in rows]

    # --- what is not finished -----------------------------------------------------------------------------------------

    def unfinished(self) -> list[Unfinished]:
        """Erasures that somebody began, oldest first."""
        with self.database.snapshot(None) as connection:
            rows = connection.execute(
                "SELECT id, counts FROM openbook.erasure WHERE kb = %s ORDER BY id", [self.kb]
            ).fetchall()
        return [
            Unfinished(
                id,
                told["receipt"],
                tuple(told["documents"]),
                told["erased"],
                told["answered"],
                told["transaction"],
                tuple(told.get("models", ())),
            )
            for id, told in rows
        ]

    def finish(self, ids: Sequence[int]) -> None:
        """These are done."""
        with self.database.transaction("owner") as connection:
            connection.execute("DELETE FROM openbook.erasure WHERE kb = %s AND id = ANY(%s)", [self.kb, list(ids)])

    # --- the bytes ----------------------------------------------------------------------------------------------------

    def rewrite(self, transaction: str, say: Callable[[str], None]) -> list[Left]:
        """Write every table that has held a word of a document into new files, with its indexes and statistics.

        Each table is locked while it is written, and whoever asks meanwhile waits. ``transaction`` is the youngest one
        that erased: what a transaction that began before it may still see is waited for.
        """
        left: list[Left] = []
        with self.database.alone() as connection:
            if reason := _old_snapshot(connection, transaction):
                return [Left("PostgreSQL's tables", reason, again=True)]
            if not _one(connection, "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"):
                why = "this user may not see whether older transactions still read them: grant it pg_read_all_stats"
                left.append(Left("PostgreSQL's tables", why))
            tables = self._tables(connection)
            say(f"rewriting {len(tables)} tables; each is locked while it is written …")
            connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}s'")
            try:
                for table in tables:
                    before = _filenode(connection, table)
                    if before is None:
                        continue  # an index that was dropped meanwhile
                    try:
                        self._clear_statistics(connection, table)
                        connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(table))
                    except psycopg.errors.UndefinedTable:
                        continue
                    except _BUSY:
                        why = f"another one has been at work on it for {LOCK_TIMEOUT} s: run openbook forget again"
                        left.append(Left(f"table {table.as_string(connection)}", why, again=True))
                        continue
                    if before == _filenode(connection, table):  # PostgreSQL passes over what is not the user's
                        why = "this user may not rewrite it: run openbook forget again as its owner"
                        left.append(Left(f"table {table.as_string(connection)}", why, again=True))
                    elif kept := self._kept_statistics(connection, table):
                        left.append(kept)
                left += self._statistics(connection)
            finally:
                connection.execute("RESET lock_timeout")
        return left

    @staticmethod
    def _clear_statistics(connection: Connection, table: sql.Identifier) -> None:
        """ANALYZE finds nothing in an empty table, and leaves the statistics of what was in it as they are."""
        if connection.info.server_version < _CLEARS_STATISTICS:
            return
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):  # who may not, may not rewrite it either
            connection.execute(
                "SELECT pg_clear_attribute_stats('openbook', c.relname, a.attname, false) FROM pg_class c"
                " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
                " WHERE c.oid = to_regclass(%s)",
                [table.as_string(connection)],
            )

    @staticmethod
    def _kept_statistics(connection: Connection, table: sql.Identifier) -> Left | None:
        """What an older server may keep of a table that is empty now."""
        if connection.info.server_version >= _CLEARS_STATISTICS:
            return None
        if _one(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)):
            return None
        name = table.as_string(connection)
        gone = f"DELETE FROM pg_statistic WHERE starelid = '{name}'::regclass"
        return Left(
            f"statistics of table {name}", f"it is empty, and its former ones stay: have a superuser run {gone}"
        )

    def _statistics(self, connection: Connection) -> list[Left]:
        """The catalogue of column statistics, whose former rows hold values of columns."""
        table = sql.Identifier("pg_catalog", "pg_statistic")
        before = _filenode(connection, table)
        # Rows that the new statistics took the place of are written anew as well, while a question that began before
        # may still see them.
        if reason := _old_snapshot(connection, _one(connection, "SELECT pg_current_xact_id()::text")):
            return [Left("PostgreSQL's statistics", reason, again=True)]
        try:
            connection.execute("VACUUM FULL pg_catalog.pg_statistic")
        except _BUSY:
            return [Left("PostgreSQL's statistics", "they are in use: run openbook forget again", again=True)]
        if before == _filenode(connection, table):
            why = "this user may not rewrite them: have a superuser run VACUUM FULL pg_catalog.pg_statistic"
            return [Left("PostgreSQL's statistics", why)]
        return []

    def _tables(self, connection: Connection) -> list[sql.Identifier]:
        rows = connection.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'openbook'::regnamespace AND c.relkind = 'r'"
            " AND c.relname <> ALL(%s) AND (c.relname NOT LIKE 'chunk\\_%%' OR EXISTS ("
            "   SELECT FROM openbook.index i WHERE i.kb = %s AND c.relname = 'chunk_' || i.id)) ORDER BY c.relname",
            [list(_KEPT_AS_THEY_ARE), self.kb],
        ).fetchall()
        return [sql.Identifier("openbook", name) for (name,) in rows]

    def sweep(self) -> tuple[int, list[Left]]:
        """Delete files of the embedded server's database that belong to no table: of what was being written when it was
        killed, copies stay behind that PostgreSQL never looks at again. Returns how many, and what is left."""
        if self.database.server is None:
            return 0, []
        with self.database.alone() as connection:
            base = (
                self.database.server.folder
                / "postgres"
                / _one(connection, "SELECT pg_relation_filepath('pg_catalog.pg_class')")
            )
            before = self._strays(connection, base.parent)
            if not before:
                return 0, []
            if not _ended(connection):  # what is being made is nobody's until it is committed
                why = (
                    f"a transaction has been running for {OLD_SNAPSHOT:g} s: run openbook forget again when it is done"
                )
                return 0, [Left("files that a killed server left", why, again=True)]
            strays = before & self._strays(connection, base.parent)
            for path in strays:
                path.unlink(missing_ok=True)
        return len(strays), []

    @staticmethod
    def _strays(connection: Connection, folder: Path) -> set[Path]:
        files: dict[int, list[Path]] = {}
        for path in folder.iterdir():
            if found := _FILE.fullmatch(path.name):
                files.setdefault(int(found[1]), []).append(path)
        rows = connection.execute(
            "SELECT node FROM unnest(%s::bigint[]) AS node WHERE pg_filenode_relation(0, node::oid) IS NULL",
            [list(files)],
        ).fetchall()
        # An empty one holds nothing; PostgreSQL leaves it in the place of a dropped table until the next checkpoint.
        return {path for (node,) in rows for path in files[node] if _is_filled(path)}

    def renew_log(self) -> list[Left]:
        """Have the write-ahead log begin a new segment, and the former ones deleted."""
        with self.database.alone() as connection:
            try:
                # The first writes what is in memory; after the switch, the second leaves the new segment alone.
                connection.execute("CHECKPOINT")
                connection.execute("SELECT pg_switch_wal()")
                connection.execute("CHECKPOINT")
            except psycopg.errors.InsufficientPrivilege:
                why = (
                    "this user may not renew it: have a superuser run CHECKPOINT, SELECT pg_switch_wal() and CHECKPOINT"
                )
                return [Left("PostgreSQL's write-ahead log", why)]
            settings = dict(
                connection.execute(
                    "SELECT name, setting FROM pg_settings"
                    " WHERE name IN ('wal_recycle', 'archive_mode', 'wal_keep_size')"
                ).fetchall()
            )
            replicas = _one(connection, "SELECT count(*) FROM pg_replication_slots")
        left = []
        if settings.get("wal_recycle") == "on" or settings.get("wal_keep_size", "0") != "0":
            why = "the server keeps former segments until they are written over (wal_recycle, wal_keep_size)"
            left.append(Left("PostgreSQL's write-ahead log", why))
        if settings.get("archive_mode") not in (None, "off"):
            left.append(Left("the archive of the write-ahead log", "it has what was written before: expire it"))
        if replicas:
            left.append(
                Left("replicas", "they are of the server's making: see that they have caught up, with their logs")
            )
        return left


def _old_snapshot(connection: Connection, transaction: str) -> str | None:
    """Why rows deleted by ``transaction`` would outlive a VACUUM; ``None``: nobody can see them any more."""
    deadline = time.monotonic() + OLD_SNAPSHOT
    while True:
        # One that writes and is between two statements has no snapshot, and yet those that begin now see by it.
        row = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
            " AND greatest(age(backend_xmin), age(backend_xid)) >= age(%s::xid8::xid)"
            " ORDER BY xact_start LIMIT 1",
            [transaction],
        ).fetchone()
        if row is None:
            break
        if time.monotonic() >= deadline:
            return (
                f"a transaction of server process {row[0]} that began before still sees what was erased: end it, then"
                " run openbook forget again"
            )
        time.sleep(0.05)
    prepared = connection.execute(
        "SELECT gid FROM pg_prepared_xacts"
        " WHERE database = current_database() AND age(transaction) >= age(%s::xid8::xid)",
        [transaction],
    ).fetchone()
    if prepared is not None:
        return f"the prepared transaction {prepared[0]} began before: end it, then run openbook forget again"
    return None


def _ended(connection: Connection) -> bool:
    """Whether every transaction that runs now came to its end within ``OLD_SNAPSHOT``."""
    now, deadline = _one(connection, "SELECT clock_timestamp()"), time.monotonic() + OLD_SNAPSHOT
    running = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND xact_start <= %s)"
        " OR EXISTS (SELECT FROM pg_prepared_xacts)"
    )
    while _one(connection, running, [now]):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # whoever dropped it has deleted it by now
        return False


def _filenode(connection: Connection, table: sql.Identifier) -> Any:
    return _one(connection, "SELECT pg_relation_filenode(to_regclass(%s))", [table.as_string(connection)])


def _row(connection: Connection, statement: Any, params: Sequence[Any] = ()) -> tuple[Any, ...]:
    row = connection.execute(statement, params).fetchone()
    assert row is not None
    return row


def _one(connection: Connection, statement: Any, params: Sequence[Any] = ()) -> Any:
    return _row(connection, statement, params)[0]
