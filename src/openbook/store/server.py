"""The embedded PostgreSQL of one data folder: started by its first user, stopped by its last.

```
FOLDER/
  postgres/        the cluster (PGDATA); appears by rename, complete and on disk, or not at all
  postgres.log     what the server said; the previous megabyte in postgres.log.1
  lock             exclusive while somebody starts or stops the server
  users            shared by every user of the server; the one who gets it exclusively was the last
  run/             the socket, mode 0700; where FOLDER is too long a path for a socket, a private temporary folder
  socket           the path of the socket's folder
```

Two lock files, because `flock` cannot turn a shared lock into an exclusive one, or back, in one step: whoever starts or
stops holds `lock`, and only then touches `users`, so no other can slip between. Both fall with the process that held
them. They also let a dead server be started again while others still hold their shared locks.

Alive means that a connection answers and that the server which answers carries this cluster's tag (`cluster_name`, made
of the device and inode of PGDATA: it stays through a rename, and a copy has another). Process numbers are believed only
of processes that carry the tag on their command line.

This module has the uses and the two locks; `cluster` has the data and the server, `account` whom it runs as, `process`
its processes, `server_log` its log, `disk` the folders and files.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from openbook.errors import StoreError, StoreUnreachable
from openbook.store.cluster import DATABASE, SUPERUSER, Cluster, conninfo
from openbook.store.disk import open_or_create, prepare, remove_tree
from openbook.store.process import disown, reap
from openbook.store.server_log import Say

__all__ = ["DATABASE", "SUPERUSER", "Server"]


class Server:
    """One use of the embedded server of a data folder. Uses of one folder within a process share its locks.

    >>> import tempfile, psycopg
    >>> with tempfile.TemporaryDirectory() as folder, Server.open(Path(folder)) as server:
    ...     with psycopg.connect(server.conninfo(SUPERUSER)) as connection:
    ...         print(connection.execute("SELECT 1").fetchone())
    (1,)
    """

    def __init__(self, share: _Share, socket: Path) -> None:
        self._share: _Share | None = share
        self._pid = os.getpid()
        self._socket = socket
        self.folder = share.folder

    @classmethod
    def open(cls, folder: Path, *, say: Say | None = None) -> Server:
        """Join the folder's server, or set it up and start it when nobody has.

        Waits as long as a recovery makes progress, and tells of it through ``say``, a line at a time.

        Raises StoreUnreachable when the folder cannot hold a database or the server does not start, and StoreTooNew
        when another major version of PostgreSQL wrote the data.
        """
        path = Path(os.path.realpath(folder))
        try:
            share = _share(path)
            with share.guard:
                return cls(share, share.join(say or (lambda line: None)))
        except OSError as error:
            raise _unusable(error, path) from None

    @staticmethod
    def discard(folder: Path) -> bool:
        """Delete a data folder whose server nobody uses; whether it is gone. A server that was left behind ends by
        itself when its data are."""
        path = Path(os.path.realpath(folder))
        descriptors: list[int] = []
        try:
            if path.is_dir():
                for name in ("lock", "users"):
                    descriptors.append(_open_lock(path / name))
                    fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (path / "postgres").exists():  # complete, or not at all: what is half deleted is set up anew
                    (path / "postgres").rename(path / "postgres.new-gone")
                remove_tree(path)
        except BlockingIOError:
            return False
        except OSError as error:
            raise _unusable(error, path) from None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def conninfo(self, user: str, dbname: str = DATABASE) -> str:
        """The libpq connection string by which ``user`` reaches ``dbname``."""
        return conninfo(self._socket, user, dbname)

    def close(self) -> None:
        """Give up this use; the last one of all processes stops the server. Closing again does nothing."""
        share, self._share = self._share, None
        if share is not None and self._pid == os.getpid():
            with share.guard:
                share.leave()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# One process's share in a folder -------------------------------------------------------------------------------------


class _Share:
    """What the uses of one folder within this process have in common. Every method is called under ``guard``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.guard = threading.Lock()
        self.uses = 0
        self.lock = self.users = -1  # file descriptors, open while uses > 0
        self.cluster: Cluster | None = None  # there while uses > 0

    def join(self, say: Say) -> Path:
        """One use more; the folder of the socket by which it reaches the server."""
        reap()
        if self.cluster is not None and self.cluster.answers():
            self.uses += 1
            return self.cluster.socket
        prepare(self.folder)
        if self.uses == 0:
            self.lock = _open_lock(self.folder / "lock")
            self.users = _open_lock(self.folder / "users")
        try:
            with self._alone(say):
                cluster = Cluster(self.folder)
                cluster.run(say)
                # No one holds it exclusively without holding `lock`, so this does not wait.
                fcntl.flock(self.users, fcntl.LOCK_SH)
            self.cluster = cluster
            self.uses += 1
            return cluster.socket
        except BaseException:
            if self.uses == 0:
                self.release()
            raise

    def leave(self) -> None:
        self.uses -= 1
        if self.uses:
            return
        try:
            with self._alone(lambda line: None):
                try:
                    fcntl.flock(self.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return  # somebody else still uses it
                if self.cluster is not None:
                    self.cluster.stop()
        finally:
            self.release()
            reap()

    def release(self) -> None:
        """Close the locks. In a forked child this leaves its parent's in place, because it does not ask to unlock."""
        for descriptor in (self.users, self.lock):
            if descriptor >= 0:
                os.close(descriptor)
        self.lock = self.users = -1
        self.uses = 0
        self.cluster = None

    @contextlib.contextmanager
    def _alone(self, say: Say) -> Iterator[None]:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another openbook that is starting or stopping the database …")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.lock, fcntl.LOCK_UN)


_shares: dict[Path, _Share] = {}
_shares_guard = threading.Lock()


def _share(folder: Path) -> _Share:
    with _shares_guard:
        return _shares.setdefault(folder, _Share(folder))


@atexit.register
def _close_all() -> None:
    """What a script that forgot `close` left open."""
    for share in list(_shares.values()):
        if share.uses:
            share.uses = 1
            with contextlib.suppress(OSError, StoreError):
                share.leave()
    disown()


def _forget_after_fork() -> None:
    """The child of a fork has none of its parent's uses; what it opens, it opens anew."""
    global _shares_guard
    _shares_guard = threading.Lock()
    for share in _shares.values():
        share.release()
    _shares.clear()
    disown()


os.register_at_fork(after_in_child=_forget_after_fork)


def _unusable(error: OSError, folder: Path) -> StoreUnreachable:
    where = error.filename if isinstance(error.filename, str) else str(folder)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    do = "free some space" if full else "give a folder you may write to with --db"
    return StoreUnreachable(error.strerror or str(error), where=where, do=do)


def _open_lock(path: Path) -> int:
    def own(descriptor: int) -> None:
        if os.geteuid() == 0:  # the folder's owner, where that is not root, must be able to open it too
            about = path.parent.stat()
            os.fchown(descriptor, about.st_uid, about.st_gid)

    return open_or_create(path, os.O_RDWR, own)
