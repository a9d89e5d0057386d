"""Connections: which server, as which role, in which kind of transaction.

Three roles. The owner migrates and erases, and is who the command line acts as. The writer adds. The reader sees, under
row-level security, only what overlaps the principals set in its transaction. The reader logs in by itself and owns
nothing. This defends against a bug in openbook and a careless caller, not against whoever holds the data folder.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from openbook.errors import StoreBusy, StoreError, StoreRefused, StoreTooNew, StoreUnreachable

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from openbook.store.server import Server

Connection = psycopg.Connection[tuple[Any, ...]]
Role = Literal["owner", "writer", "reader"]

MIGRATIONS = (
    *("0001_initial", "0002_feedback", "0003_unfamiliar", "0004_live", "0005_edits", "0006_scale"),
    *("0007_reports", "0008_traces", "0009_permitted", "0010_passages", "0011_models"),
)
_AS_PRINCIPALS = "SELECT openbook.act_as(%s::text[])"
_WAIT = 30.0  # seconds for a connection
_BUSY = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
_MIGRATION_LOCK = 0x6F70656E  # "open"; advisory locks are per database


class Pruned(StoreError):
    """The chunks that were asked for went with their release."""


class Database:
    """One database and the pools of its three roles. Made by ``open``; close it, or use it in a ``with``."""

    def __init__(
        self, owner: str, *, where: str, cache: Path, server: Server | None = None, address: str | Path = ""
    ) -> None:
        self.where = where
        self.address = str(address)  # for ``open`` in another process; a URL's password is in it, so never print it
        self.cache = cache
        self.server = server
        self._conninfo: dict[Role, str] = {"owner": owner}
        self._pools: dict[Role, ConnectionPool[Connection]] = {}
        self._opening = threading.RLock()
        self._pid: int | None = os.getpid()  # None: closed
        self.epoch = ""  # of the data; another one (restored, imported) makes derived files worthless

    @classmethod
    def open(cls, db: str | Path = ".openbook", *, say: Callable[[str], None] | None = None) -> Database:
        """Open a folder (embedded server, started if need be) or a ``postgresql://`` URL, and migrate.

        Raises:
            StoreUnreachable, StoreTooNew, StoreRefused: one line each, with what to do.
        """
        if isinstance(db, str) and db.startswith(("postgresql://", "postgres://")):
            try:
                split = urlsplit(db)
                where = f"{split.scheme}://{split.hostname or ''}{split.path}"
                owner = make_conninfo(db, connect_timeout=10)
            except (psycopg.Error, ValueError):  # their messages quote the URL, and with it the password
                do = "write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, other characters as %XX"
                raise StoreUnreachable("the URL cannot be read", where="--db", do=do) from None
            database = cls(owner, where=where, cache=user_cache(), address=db)
        else:
            from openbook.store.server import SUPERUSER, Server

            folder = Path(db)
            server = Server.open(folder, say=say)
            database = cls(
                server.conninfo(SUPERUSER), where=str(db), cache=folder, server=server, address=folder.absolute()
            )
        try:
            database._prepare()
        except BaseException:
            database.close()
            raise
        return database

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give every connection back; the last user of an embedded server stops it."""
        mine, self._pid = self._pid == os.getpid(), None
        if mine:  # a forked child would hang up its parent's connections
            with self._opening:
                for pool in self._pools.values():
                    pool.close()
                self._pools.clear()
        if self.server is not None:
            self.server.close()
            self.server = None

    @contextmanager
    def transaction(self, role: Role = "writer") -> Iterator[Connection]:
        """A read-write transaction: all of it or nothing of it."""
        with self._connection(role) as connection, connection.transaction():
            yield connection

    @contextmanager
    def snapshot(self, principals: Sequence[str] | None, *, role: Role = "owner") -> Iterator[Connection]:
        """One unchanging view of the data, as the principals may see it (``None``: as ``role`` does, all of it)."""
        with self._connection(role if principals is None else "reader") as connection, _unchanging(connection):
            if principals is not None:
                connection.execute(_AS_PRINCIPALS, [sorted(set(principals))])
            yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """The owner's connection without a transaction: VACUUM and CHECKPOINT run in none."""
        with self._connection("owner") as connection:
            connection.autocommit = True
            try:
                yield connection
            finally:
                if connection.info.transaction_status is TransactionStatus.IDLE:
                    connection.autocommit = False
                else:
                    connection.close()

    # --- inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _connection(self, role: Role) -> Iterator[Connection]:
        from psycopg_pool import PoolTimeout

        with self._told(), ExitStack() as stack:
            pool = self._pool(role)
            try:
                connection = stack.enter_context(pool.connection(timeout=_WAIT if self.server is None else _WAIT / 10))
            except PoolTimeout:
                if self.server is None:
                    raise
                self._rejoin()
                connection = stack.enter_context(pool.connection(timeout=_WAIT))
            yield connection

    def _rejoin(self) -> None:
        """The embedded server may have been killed: whoever needs it next starts it again."""
        from openbook.store.server import Server

        with self._opening:
            if self.server is not None:
                former, self.server = self.server, Server.open(self.server.folder)
                former.close()

    def _pool(self, role: Role) -> ConnectionPool[Connection]:
        if self._pid != os.getpid():
            what = "it was closed" if self._pid is None else "it was opened before this process was forked"
            raise StoreError(what, where=self.where, do="open it again, here")
        if role not in self._pools:
            with self._opening:
                if role not in self._pools:
                    self._pools[role] = self._open_pool(role)
        return self._pools[role]

    def _open_pool(self, role: Role) -> ConnectionPool[Connection]:
        from pgvector.psycopg import register_vector
        from psycopg_pool import ConnectionPool

        if role not in self._conninfo:
            self._conninfo[role] = self._login(role)
        pool: ConnectionPool[Connection] = ConnectionPool(
            self._conninfo[role],
            min_size=0,
            max_size=16,
            max_idle=60,
            configure=register_vector,
            check=ConnectionPool.check_connection,  # 0.1 ms; after a crash every connection in a pool is dead
            name=role,
            open=True,
        )
        if role == "reader":
            try:
                self._refuse_leaks(pool)
            except BaseException:
                pool.close()
                raise
        return pool

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Every failure of the server leaves as one of ours, one line, told what to do."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreRefused(_line(error), where=self.where, do="grant the user that right") from error
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as error:
            raise StoreError(
                _line(error), where=self.where, do="free some and run it again; nothing was half-written"
            ) from error
        except psycopg.errors.IoError as error:
            do = "check the disk, then run it again; what was acknowledged is kept"
            raise StoreError(_line(error), where=self.where, do=do) from error
        except _BUSY as error:
            raise StoreBusy(_line(error), where=self.where, do="run it again; nothing was half-written") from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            do = (
                "run it again; what was acknowledged is kept"
                if self.server
                else "check the URL and that the server runs"
            )
            raise StoreUnreachable(_line(error), where=self.where, do=do) from error
        except psycopg.errors.UndefinedTable as error:
            if "openbook.chunk_" not in _line(error):
                raise StoreError(_line(error), where=self.where, do="report this as a bug") from error
            raise Pruned("the release was pruned", where=self.where, do="openbook release list") from error
        except psycopg.Error as error:
            raise StoreError(_line(error), where=self.where, do="report this as a bug") from error

    def _prepare(self) -> None:
        with self._told(), psycopg.connect(self._conninfo["owner"]) as connection:
            if self._schema(connection) < len(MIGRATIONS):
                self._migrate(connection)
            self.epoch = self._setting(connection, "epoch")
        if self.server is None:
            self.cache = self.cache / self.epoch

    def _schema(self, connection: Connection) -> int:
        row = connection.execute("SELECT to_regclass('openbook.setting')").fetchone()
        if row is None or row[0] is None:
            return 0
        schema = int(self._setting(connection, "schema"))
        if schema > len(MIGRATIONS):
            raise StoreTooNew(
                f"written by a newer openbook (schema {schema}, this one knows {len(MIGRATIONS)})",
                where=self.where,
                do="upgrade openbook",
            )
        return schema

    @staticmethod
    def _setting(connection: Connection, key: str) -> str:
        row = connection.execute("SELECT value FROM openbook.setting WHERE key = %s", [key]).fetchone()
        assert row is not None, f"setting {key} is missing"
        return str(row[0])

    def _migrate(self, connection: Connection) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        schema = self._schema(connection)  # another process may have been first
        if schema == 0:
            self._found(connection)
        names = {role: sql.Identifier(name) for role, name in self.roles(connection).items()}
        for name in MIGRATIONS[schema:]:
            script = resources.files("openbook.store.migrations").joinpath(f"{name}.sql").read_text("utf-8")
            connection.execute(sql.SQL(script).format(**names))  # ours, not a user's
        connection.execute("UPDATE openbook.setting SET value = %s WHERE key = 'schema'", [str(len(MIGRATIONS))])

    def _found(self, connection: Connection) -> None:
        """The ground that migrations stand on: pgvector, the schema, the roles."""
        found = connection.execute(
            "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
        ).fetchone()
        if found is None:
            raise StoreRefused("the server has no pgvector", where=self.where, do="install pgvector 0.8 or later on it")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        version = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        assert version is not None
        if tuple(int(part) for part in version[0].split(".")[:2]) < (0, 8):
            raise StoreRefused(
                f"pgvector {version[0]} is too old",
                where=self.where,
                do="run ALTER EXTENSION vector UPDATE (0.8 or later)",
            )
        connection.execute("CREATE SCHEMA openbook")
        connection.execute("CREATE TABLE openbook.setting (key text PRIMARY KEY, value text NOT NULL)")
        settings = {"schema": "0", "epoch": secrets.token_hex(8)}
        for role, name in self.roles(connection).items():
            password = secrets.token_urlsafe(24)
            exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
            statement = "ALTER ROLE {} LOGIN PASSWORD {}" if exists else "CREATE ROLE {} LOGIN PASSWORD {}"
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Literal(password)))
            settings[f"{role}_password"] = password
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO openbook.setting VALUES (%s, %s)", list(settings.items()))

    @staticmethod
    def roles(connection: Connection) -> dict[str, str]:
        """Names of the roles. Roles belong to a whole server, so their names carry the database's number."""
        row = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
        assert row is not None
        return {role: f"openbook_{role}_{row[0]}" for role in ("reader", "writer")}

    def _login(self, role: Role) -> str:
        with self.transaction("owner") as connection:
            name, password = self.roles(connection)[role], self._setting(connection, f"{role}_password")
        return make_conninfo(self._conninfo["owner"], user=name, password=password)

    def _refuse_leaks(self, pool: ConnectionPool[Connection]) -> None:
        """The self-test: a principal that does not exist sees nothing, or this process does not serve."""
        with pool.connection(timeout=30) as connection, connection.transaction():
            connection.execute(_AS_PRINCIPALS, [[f"nobody:{secrets.token_hex(8)}"]])
            # Of an empty database only the second half tells anything.
            row = connection.execute(
                "SELECT EXISTS (SELECT FROM openbook.document) OR EXISTS (SELECT FROM openbook.version)"
                " OR EXISTS (SELECT FROM openbook.attribute) OR EXISTS (SELECT FROM openbook.access_set)"
                " OR EXISTS (SELECT FROM pg_class WHERE relnamespace = 'openbook'::regnamespace AND relkind = 'r'"
                " AND has_table_privilege(oid, 'SELECT') AND NOT row_security_active(oid)"
                " AND relname NOT IN ('knowledge_base', 'index'))"
            ).fetchone()
        if row != (False,):
            raise StoreRefused(
                "row-level security does not hold: a caller without rights sees rows",
                where=self.where,
                do="take BYPASSRLS and ownership away from the reader role",
            )


@contextmanager
def _unchanging(connection: Connection) -> Iterator[None]:
    """A transaction that reads one snapshot, said with its BEGIN: one way to the server less."""
    try:
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        with connection.transaction():
            yield
    finally:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            connection.isolation_level = connection.read_only = None
        else:  # interrupted in the midst of its end: nobody is to go on with it
            connection.close()


def _line(error: psycopg.Error) -> str:
    text = (error.diag.message_primary if error.diag else None) or str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def user_cache() -> Path:
    """Where this user's derived files lie: ``$OPENBOOK_CACHE``, else a folder of the system's cache."""
    base = os.environ.get("OPENBOOK_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "openbook"
