"""Faults of the store at a chosen place: an exchange with the database, or the n-th touch of a folder."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import threading
from collections import Counter as Multiset
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from psycopg import Connection, Cursor, OperationalError, ServerCursor
from psycopg.sql import Composed

import openbook

DatabaseFault = Literal["disk full", "I/O error", "out of memory", "connection lost", "answer lost"]

_RAISED = {
    "disk full": ("53100", "could not extend file: No space left on device"),
    "I/O error": ("58030", "could not read blocks 7..7 in file: Input/output error"),
    "out of memory": ("53200", "out of memory"),
}


class Counter:
    """Counts to ``n`` in the thread that made it."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.count = 0
        self._thread = threading.get_ident()

    @property
    def reached(self) -> bool:
        return self.count >= self.n

    def is_it(self) -> bool:
        self.count += threading.get_ident() == self._thread
        return self.count == self.n and threading.get_ident() == self._thread


Place = tuple[tuple[str, int], ...]
"""The way through openbook's code to an exchange with the database: file and line of each call, the innermost first."""

_OURS = str(Path(openbook.__file__).parent)


def _here() -> Place:
    frame, way = sys._getframe(1), []
    while frame.f_back is not None:
        if frame.f_code.co_filename.startswith(_OURS):
            way.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(way)


class Places:
    """Where an operation's exchanges with the database have failed. A place fails the first time that a run comes by;
    in the next run, where a loop comes by it again, the second time; and so on, ``most`` times."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.failed: Multiset[Place] = Multiset()


class Run:
    """One run of an operation: the first exchange that did not fail before, in the thread that made this, fails."""

    def __init__(self, places: Places) -> None:
        self.reached = False
        self._places = places
        self._passed: Multiset[Place] = Multiset()
        self._thread = threading.get_ident()

    def is_it(self) -> bool:
        if self.reached or threading.get_ident() != self._thread:
            return False
        place, places = _here(), self._places
        self._passed[place] += 1
        self.reached = self._passed[place] > places.failed[place] and places.failed[place] != places.most
        places.failed[place] += self.reached
        return self.reached


@contextlib.contextmanager
def failing_database(places: Places, fault: DatabaseFault, terminate: Callable[[int], None]) -> Iterator[Run]:
    """The next of ``places`` fails. What the server itself reports it is made to report, so that the error is the
    driver's own and the transaction is in the state in which such an error leaves it; ``terminate`` ends a session, by
    its process number, for a connection that is lost before the statement. An answer is lost after the server did what
    it was told."""
    run = Run(places)
    execute, executemany, command = Cursor.execute, Cursor.executemany, Connection._exec_command
    declare = ServerCursor._declare_gen

    def fail(connection: Connection[Any]) -> str | None:
        """A statement in place of the one that is to fail; or ``None``, where that one meets a lost connection."""
        if fault in _RAISED:
            state, message = _RAISED[fault]
            return f"DO $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{state}'; END $$"
        if fault == "connection lost":
            terminate(connection.info.backend_pid)
        return None

    def lose(connection: Connection[Any]) -> None:
        if fault == "answer lost":
            connection.pgconn.finish()
            raise OperationalError("server closed the connection unexpectedly")

    def one(self: Any, query: Any, *rest: Any, **options: Any) -> Any:
        if not run.is_it():
            return execute(self, query, *rest, **options)
        instead = fail(self.connection)
        answer = execute(self, instead) if instead else execute(self, query, *rest, **options)
        lose(self.connection)
        return answer

    def many(self: Any, query: Any, rows: Any, **options: Any) -> Any:
        if not run.is_it():
            return executemany(self, query, rows, **options)
        instead = fail(self.connection)
        if instead:
            execute(self, instead)
        executemany(self, query, rows, **options)
        return lose(self.connection)

    def control(self: Any, what: Any, *rest: Any, **options: Any) -> Any:
        """BEGIN and COMMIT; FETCH and CLOSE of a cursor of the server."""
        counts = isinstance(what, Composed) or what == b"COMMIT" or what.startswith(b"BEGIN")
        if not counts:
            return (yield from command(self, what, *rest, **options))
        if not run.is_it():
            return (yield from command(self, what, *rest, **options))
        instead = fail(self)
        answer = yield from command(self, instead.encode() if instead else what, *rest, **options)
        lose(self)
        return answer

    def declared(self: Any, *rest: Any, **options: Any) -> Any:
        if not run.is_it():
            return (yield from declare(self, *rest, **options))
        instead = fail(self.connection)
        if instead:
            yield from command(self.connection, instead.encode())
        yield from declare(self, *rest, **options)
        return lose(self.connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cursor, "execute", one)
        patch.setattr(ServerCursor, "_declare_gen", declared)
        patch.setattr(Cursor, "executemany", many)
        patch.setattr(psycopg.Connection, "_exec_command", control)
        yield run


@contextlib.contextmanager
def failing_folder(folder: Path, n: int, number: int) -> Iterator[Counter]:
    """The n-th call of the system that writes below ``folder`` fails with this ``errno``: ENOSPC, EIO."""
    counter = Counter(n)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "mkdir", "unlink", "open", "listdir", "scandir", "rmdir"):
            patch.setattr(os, name, _checked(getattr(os, name), folder, counter, number))
        patch.setattr(io, "open", _checked(io.open, folder, counter, number))
        yield counter


@contextlib.contextmanager
def failing_file(folder: Path, n: int, number: int) -> Iterator[Counter]:
    """The n-th call fails of all that make a file below ``folder``, name it, write, read and sync it."""
    counter = Counter(n)
    fsync = os.fsync

    class Failing(io.BufferedRandom):
        def write(self, *what: Any) -> int:
            return self._unless(super().write, *what)

        def read(self, *what: Any) -> bytes:
            return self._unless(super().read, *what)

        def seek(self, *what: Any) -> int:
            return self._unless(super().seek, *what)

        def flush(self) -> None:
            return self._unless(super().flush)

        def _unless(self, call: Callable[..., Any], *what: Any) -> Any:
            if counter.is_it():
                raise OSError(number, os.strerror(number))
            return call(*what)

    def synced(descriptor: int) -> None:
        if counter.is_it():
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "link", "replace", "unlink", "stat", "lstat"):
            patch.setattr(os, name, _checked(getattr(os, name), folder, counter, number))
        patch.setattr(os, "fdopen", lambda descriptor, mode: Failing(io.FileIO(descriptor, "r+")))
        patch.setattr(os, "fsync", synced)
        yield counter


def _checked(call: Callable[..., Any], folder: Path, counter: Counter, number: int) -> Callable[..., Any]:
    def checked(path: Any, *rest: Any, **options: Any) -> Any:
        inside = not isinstance(path, int) and os.fspath(path).startswith(str(folder))
        if inside and counter.is_it():
            raise OSError(number, os.strerror(number), os.fspath(path))
        return call(path, *rest, **options)

    return checked


FOLDER_FAULTS = {"disk full": errno.ENOSPC, "I/O error": errno.EIO}
