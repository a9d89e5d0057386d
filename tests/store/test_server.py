"""The embedded server, driven from real processes that open, close, crash and are killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from openbook.errors import StoreTooNew, StoreUnreachable
from openbook.store import disk
from openbook.store.process import processes
from openbook.store.server import SUPERUSER, Server

DEADLINE = 30.0
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
has_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")

CLIENT = """
import ctypes, json, os, signal, sys
from pathlib import Path
import psycopg
from openbook.errors import StoreError
from openbook.store import cluster, process, server_log
from openbook.store.server import SUPERUSER, Server

PR_SET_PDEATHSIG = 1  # die with pytest: a call that blocks does not see stdin end
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
folder = Path(sys.argv[1])
uses, said = [], []

def join():
    uses.append(Server.open(folder, say=said.append))
    return run("SELECT pg_postmaster_start_time()::text")

def leave():
    uses.pop().close()

def run(sql):
    # A busy backend notices neither the end of its client nor that of its postmaster.
    with psycopg.connect(uses[-1].conninfo(SUPERUSER), options="-c statement_timeout=60s") as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None

for line in sys.stdin:
    try:
        answer = {"value": eval(line)}
    except (StoreError, psycopg.Error) as error:
        answer = {"error": type(error).__name__, "line": str(error)}
    print(json.dumps(answer), flush=True)
"""

# Ends the servers below a folder, and the folder, when pytest has ended, also by SIGKILL.
REAPER = r"""
import os, shutil, signal, sys
from pathlib import Path

sys.stdin.read()
for process in Path("/proc").glob("[0-9]*"):
    try:
        program, *arguments = (process / "cmdline").read_text(errors="replace").split("\0")
        if program.endswith("/postgres") and any(each.startswith(sys.argv[1] + "/") for each in arguments):
            os.kill(int(process.name), signal.SIGQUIT)
            os.kill(int(process.name), signal.SIGCONT)
    except OSError:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class Failed(Exception):
    """A client's call ended in one of openbook's errors."""


class Client:
    """A process that uses the server of one folder, one call at a time."""

    def __init__(self, folder: Path, prefix: tuple[str, ...] = (), **options: Any) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", CLIENT, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **options,
        )  # fmt: skip

    def begin(self, call: str) -> Client:
        assert self.process.stdin is not None
        self.process.stdin.write(call + "\n")
        self.process.stdin.flush()
        return self

    def end(self) -> Any:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise Failed(f"{answer['error']}: {answer['line']}")
        return answer["value"]

    def do(self, call: str) -> Any:
        return self.begin(call).end()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(DEADLINE)

    def quit(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(DEADLINE) == 0


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE
    while not (value := true()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)
    return value


def postmasters(folder: Path) -> list[int]:
    """The servers that were started on the folder, found by their arguments."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"/postgres") and os.fsencode(folder / "postgres") in words:
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
    # A backend has its postmaster's arguments, too, until it sets its title.
    return [pid for pid, parent in parents.items() if parent not in parents]


def starts(folder: Path) -> int:
    return (folder / "postgres.log").read_text().count("starting PostgreSQL")


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """In memory where there is room: fifty clusters of 46 MB and 1,300 files took a disk half of the tests' time."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    path = Path(tempfile.mkdtemp(prefix="openbook-tests-", dir=memory if roomy else None))
    with subprocess.Popen(
        [sys.executable, "-c", REAPER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
    ):  # fmt: skip
        yield path


@pytest.fixture
def tmp_path(place: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=place))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def prepared(place: Path) -> Path:
    Server.open(place / "prepared").close()
    return place / "prepared"


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """A data folder that was set up and stopped before: a copy, which takes a tenth of the time."""
    path = tmp_path / "book"
    subprocess.run(["cp", "-a", str(prepared), str(path)], check=True)
    (path / "postgres.log").unlink()
    yield path
    if postmasters(path):  # what the test left running
        Server.open(path).close()
    assert not postmasters(path)


@pytest.fixture
def client(folder: Path) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(where: Path = folder, prefix: tuple[str, ...] = (), **options: Any) -> Client:
        made.append(Client(where, prefix, **options))
        return made[-1]

    yield make
    for each in made:
        if each.process.poll() is None:
            each.kill()
        for stream in (each.process.stdin, each.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


class TestSettingUp:
    def test_a_new_folder_holds_a_database_that_only_its_user_reaches(self, tmp_path: Path) -> None:
        said: list[str] = []
        with Server.open(tmp_path / "a" / "b", say=said.append) as server:
            with psycopg.connect(server.conninfo(SUPERUSER), autocommit=True) as connection:
                assert connection.execute(
                    "SELECT current_database(), pg_encoding_to_char(encoding), datlocprovider, datlocale"
                    " FROM pg_database WHERE datname = current_database()"
                ).fetchone() == ("openbook", "UTF8", "b", "C.UTF-8")
                shown = {
                    name: connection.execute(f"SHOW {name}").fetchone()
                    for name in ("data_checksums", "listen_addresses", "fsync", "wal_recycle", "timezone")
                }
                assert shown == {
                    "data_checksums": ("on",),
                    "listen_addresses": ("",),
                    "fsync": ("on",),
                    "wal_recycle": ("off",),
                    "timezone": ("UTC",),
                }
                connection.execute("CREATE EXTENSION vector")
            socket = Path((server.folder / "socket").read_text().strip())
            assert stat.S_IMODE(socket.stat().st_mode) == 0o700
            assert stat.S_IMODE((server.folder / "postgres").stat().st_mode) == 0o700
        assert said == ["setting up the database …"]
        assert not postmasters(tmp_path / "a" / "b")

    @pytest.mark.parametrize("whole", [False, True], ids=["openbook killed", "initdb killed too"])
    def test_an_interrupted_set_up_opens_again(
        self, client: Callable[..., Client], tmp_path: Path, whole: bool
    ) -> None:
        """The wheel's launcher took the half-made folder for a good one and never opened it again."""
        new = tmp_path / "new"
        first = client(new).begin("join()")
        until(lambda: list(new.glob("postgres.new-*/global/*")))
        first.process.kill() if not whole else os.killpg(first.process.pid, signal.SIGKILL)
        first.process.wait(DEADLINE)
        assert not (new / "postgres").exists()
        with Server.open(new) as server, psycopg.connect(server.conninfo(SUPERUSER)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not list(new.glob("postgres.new-*"))

    def test_a_database_that_was_dropped_is_made_again(self, folder: Path) -> None:
        with Server.open(folder) as server:
            with psycopg.connect(server.conninfo(SUPERUSER, "postgres"), autocommit=True) as connection:
                connection.execute("DROP DATABASE openbook")
            with Server.open(folder) as again, psycopg.connect(again.conninfo(SUPERUSER)) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


class TestSharing:
    def test_the_last_user_stops_the_server(self, client: Callable[..., Client], folder: Path) -> None:
        one, two = client(), client()
        assert one.do("join()") == two.do("join()")
        one.do("leave()")
        assert two.do("run('SELECT 1')") == 1
        two.do("leave()")
        assert not postmasters(folder)
        assert not (folder / "postgres" / "postmaster.pid").exists()

    @pytest.mark.parametrize("fresh", [False, True], ids=["set up", "new"])
    def test_eight_processes_at_once_share_one_server(
        self, client: Callable[..., Client], folder: Path, tmp_path: Path, fresh: bool
    ) -> None:
        where = tmp_path / "new" if fresh else folder
        clients = [client(where) for _ in range(8)]
        for each in clients:
            each.do("1")  # they have imported everything: now at once
        for each in clients:
            each.begin("join()")
        assert len({each.end() for each in clients}) == 1
        assert starts(where) == 1
        for each in clients[::2] + clients[1::2]:
            assert clients[-1].do("run('SELECT 1')") == 1
            each.do("leave()")
        assert not postmasters(where)

    def test_processes_that_open_and_close_at_once_never_fail(
        self, client: Callable[..., Client], folder: Path
    ) -> None:
        clients = [client() for _ in range(4)]
        for each in clients:
            each.begin("[(join(), leave()) for _ in range(10)] and None")
        for each in clients:
            each.end()
        assert not postmasters(folder)

    def test_threads_share_one_server(self, folder: Path) -> None:
        failures: list[BaseException] = []

        def use() -> None:
            try:
                for _ in range(5):
                    with Server.open(folder) as server, psycopg.connect(server.conninfo(SUPERUSER)) as connection:
                        connection.execute("SELECT 1")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert not postmasters(folder)

    def test_closing_twice_closes_once(self, folder: Path) -> None:
        one, two = Server.open(folder), Server.open(folder)
        one.close()
        one.close()
        with psycopg.connect(two.conninfo(SUPERUSER)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        two.close()
        assert not postmasters(folder)

    def test_a_script_that_forgets_to_close_leaves_no_server(self, client: Callable[..., Client], folder: Path) -> None:
        one = client()
        one.do("join()")
        one.quit()
        assert not postmasters(folder)

    def test_a_forked_child_does_not_stop_its_parents_server(self, client: Callable[..., Client], folder: Path) -> None:
        one = client()
        started = one.do("join()")
        # The child ends as a script does, through atexit, after closing what it inherited and using its own.
        child = "(uses[0].close(), join() == run('SELECT pg_postmaster_start_time()::text'), leave(), sys.exit(7))"
        script = f"(lambda pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else {child})(os.fork())"
        assert one.do(script) == 7
        assert one.do("run('SELECT pg_postmaster_start_time()::text')") == started
        one.do("leave()")
        assert not postmasters(folder)

    def test_a_child_that_outlives_its_killed_parent_holds_no_lock(
        self, client: Callable[..., Client], folder: Path
    ) -> None:
        one = client()
        one.do("join()")
        child = one.do("(lambda pid: pid or signal.alarm(60) or signal.pause())(os.fork())")
        try:
            one.kill()
            Server.open(folder).close()
            assert not postmasters(folder)
        finally:
            os.kill(child, signal.SIGKILL)

    def test_control_c_at_the_terminal_does_not_reach_the_server(
        self, client: Callable[..., Client], folder: Path
    ) -> None:
        one = client()
        one.do("join()")
        with Server.open(folder) as two:
            os.killpg(one.process.pid, signal.SIGINT)
            one.process.wait(DEADLINE)
            with psycopg.connect(two.conninfo(SUPERUSER)) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert starts(folder) == 1


class TestKilled:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_a_killed_clients_lock_falls_by_itself(
        self, client: Callable[..., Client], folder: Path, number: int
    ) -> None:
        one = client()
        one.do("join()")
        with Server.open(folder):
            one.kill(number)
        assert not postmasters(folder)

    def test_an_orphaned_server_is_joined_and_then_stopped(self, client: Callable[..., Client], folder: Path) -> None:
        one, two = client(), client()
        started = one.do("join()")
        one.kill()
        assert postmasters(folder)
        assert two.do("join()") == started
        two.do("leave()")
        assert not postmasters(folder)

    def test_a_client_killed_while_it_starts_the_server_leaves_no_wedge(
        self, client: Callable[..., Client], folder: Path
    ) -> None:
        for moment in ("begin", "wait", "lines"):
            one = client()
            one.do(f"setattr(server_log.Watch, {moment!r}, lambda *_: os.kill(os.getpid(), signal.SIGKILL))")
            one.do("setattr(server_log, '_LOOK_EVERY', 0)")
            one.begin("join()").process.wait(DEADLINE)
            Server.open(folder).close()
            assert not postmasters(folder), moment

    def test_a_client_killed_while_it_stops_the_server_leaves_no_wedge(
        self, client: Callable[..., Client], folder: Path
    ) -> None:
        one, two = client(), client()
        started = one.do("join()")
        one.do("setattr(process.Ending, 'wait', lambda *_: os.kill(os.getpid(), signal.SIGKILL))")
        one.begin("leave()").process.wait(DEADLINE)
        assert two.do("join()") != started
        two.do("leave()")
        assert not postmasters(folder)

    def test_an_interrupted_start_leaves_no_server(self, client: Callable[..., Client], folder: Path) -> None:
        one = client()
        one.do("setattr(server_log.Watch, 'wait', lambda *_: signal.raise_signal(signal.SIGINT))")
        one.begin("join()").process.wait(DEADLINE)
        until(lambda: not postmasters(folder))
        Server.open(folder).close()

    def test_a_killed_server_is_started_again_though_others_still_use_it(
        self, client: Callable[..., Client], folder: Path
    ) -> None:
        one, two = client(), client()
        started = one.do("join()")
        one.do("run('CREATE TABLE kept AS SELECT 42 AS it')")
        os.kill(postmasters(folder)[0], signal.SIGKILL)
        two.do("(setattr(server_log, '_TELL_AFTER', 0), setattr(server_log, '_LOOK_EVERY', 0))")
        assert two.do("join()") != started
        assert any("recovering after a crash" in line for line in two.do("said"))
        assert two.do("run('SELECT it FROM kept')") == 42
        assert one.do("run('SELECT it FROM kept')") == 42
        two.do("leave()")
        assert one.do("run('SELECT 1')") == 1
        one.do("leave()")
        assert not postmasters(folder)

    def test_a_process_joins_again_after_its_server_was_killed(self, folder: Path) -> None:
        with Server.open(folder):
            os.kill(postmasters(folder)[0], signal.SIGKILL)
            with Server.open(folder) as again, psycopg.connect(again.conninfo(SUPERUSER)) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not postmasters(folder)

    def test_backends_that_outlive_their_postmaster_are_waited_for_and_then_ended(
        self, client: Callable[..., Client], folder: Path
    ) -> None:
        one, two = client(), client()
        one.do("join()")
        # In the select list the numbers are counted as they come; in FROM they would fill the disk first.
        one.begin("run('SELECT count(*) FROM (SELECT generate_series(1, 1000000000000)) AS numbers')")
        backends = until(lambda: [pid for pid in processes(tag(folder)) if busy(pid)])
        os.kill(postmasters(folder)[0], signal.SIGKILL)
        two.do("(setattr(cluster, '_ORPHANS_ASKED', 0.2), setattr(cluster, '_ORPHANS_KILLED', 5))")
        two.do("join()")
        assert not any(busy(backend) for backend in backends)
        two.do("leave()")

    def test_a_server_that_stands_still_is_told_of_not_waited_for(
        self, client: Callable[..., Client], folder: Path
    ) -> None:
        one, two = client(), client()
        one.do("join()")
        (postmaster,) = postmasters(folder)
        os.kill(postmaster, signal.SIGSTOP)
        try:
            two.do("(setattr(server_log, '_STALL', 0.2), setattr(server_log, '_LOOK_EVERY', 0.1))")
            two.do("setattr(cluster, '_ANSWER_LIMIT', 2)")
            with pytest.raises(Failed, match=r"StoreUnreachable: .*stood still.*the log is .*postgres\.log$"):
                two.do("join()")
        finally:
            os.kill(postmaster, signal.SIGCONT)
        one.do("leave()")
        assert not postmasters(folder)


def tag(folder: Path) -> str:
    about = (folder / "postgres").stat()
    return f"openbook-{about.st_dev:x}-{about.st_ino:x}"


def busy(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b" SELECT" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


class TestLeftBehind:
    def test_a_stale_postmaster_pid_whose_number_was_reused_is_not_believed(
        self, client: Callable[..., Client], folder: Path, tmp_path: Path
    ) -> None:
        """By a server of another folder: the wheel's launcher would have joined it."""
        other = tmp_path / "other"
        subprocess.run(["cp", "-a", str(folder), str(other)], check=True)
        one = client(other)
        one.do("join()")
        shutil.copy2(other / "postgres" / "postmaster.pid", folder / "postgres" / "postmaster.pid")
        shutil.copytree(other / "run", folder / "run", dirs_exist_ok=True, ignore=lambda *_: [".s.PGSQL.5432"])
        with Server.open(folder) as server, psycopg.connect(server.conninfo(SUPERUSER)) as connection:
            shown = connection.execute("SHOW data_directory").fetchone()
        assert shown == (str(folder / "postgres"),)
        assert one.do("run('SELECT 1')") == 1
        one.do("leave()")
        assert not postmasters(other)

    @pytest.mark.parametrize("name", ["near", "a-very-long-name-" * 6])
    def test_a_copy_of_a_served_folder_is_a_folder_of_its_own(
        self, client: Callable[..., Client], folder: Path, tmp_path: Path, name: str
    ) -> None:
        """Also where the copy records the socket of the first: it lies outside when the path is long."""
        first, copy = tmp_path / name, tmp_path / f"{name}-copy"
        folder.rename(first)
        one = client(first)
        one.do("join()")
        one.do("run('CHECKPOINT')")
        subprocess.run(["cp", "-a", str(first), str(copy)], check=True)
        one.do("run('CREATE TABLE later AS SELECT 1 AS it')")
        with Server.open(copy) as server, psycopg.connect(server.conninfo(SUPERUSER)) as connection:
            assert connection.execute("SELECT to_regclass('later')").fetchone() == (None,)
        assert not postmasters(copy)
        assert one.do("run('SELECT it FROM later')") == 1
        one.do("leave()")
        assert not postmasters(first)

    def test_a_moved_folder_opens_where_it_is_now(self, folder: Path, tmp_path: Path) -> None:
        with Server.open(folder) as server, psycopg.connect(server.conninfo(SUPERUSER)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS it")
        moved = tmp_path / 'moved, and "renamed" it\'s'
        folder.rename(moved)
        with Server.open(moved) as server, psycopg.connect(server.conninfo(SUPERUSER)) as connection:
            assert connection.execute("SELECT it FROM kept").fetchone() == (42,)
        assert not postmasters(moved)
        moved.rename(folder)
        with Server.open(folder) as server, psycopg.connect(server.conninfo(SUPERUSER)) as connection:
            assert connection.execute("SELECT it FROM kept").fetchone() == (42,)

    def test_a_path_too_long_for_a_socket_gets_a_private_folder_that_goes_with_the_server(
        self, client: Callable[..., Client], folder: Path, tmp_path: Path
    ) -> None:
        long = tmp_path / ("a-very-long-name-" * 6) / "book"
        long.parent.mkdir()
        folder.rename(long)
        one = client(long)
        one.do("join()")
        socket = Path((long / "socket").read_text().strip())
        assert long not in socket.parents
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        with Server.open(long):
            one.do("leave()")
        assert not socket.exists()
        assert not postmasters(long)

    @pytest.mark.parametrize("trap", ["open to all", "a link", "another's"])
    def test_a_recorded_socket_folder_that_others_can_enter_is_not_used(
        self, folder: Path, tmp_path: Path, request: pytest.FixtureRequest, trap: str
    ) -> None:
        long = tmp_path / ("a-very-long-name-" * 6) / "book"
        long.parent.mkdir()
        folder.rename(long)
        # A short path, as else it would be turned down for its length; the link's end stays below tmp_path.
        squat = Path("/tmp", f"{tag(long)}-squat")
        squat.mkdir(mode=0o700)
        request.addfinalizer(lambda: squat.unlink() if squat.is_symlink() else squat.rmdir())
        if trap == "open to all":
            squat.chmod(0o777)
            if os.geteuid() == 0:
                os.chown(squat, (long / "postgres").stat().st_uid, 0)
        elif trap == "a link":
            squat.rmdir()
            (tmp_path / "target").mkdir(mode=0o700)
            squat.symlink_to(tmp_path / "target")
        elif os.geteuid() != 0:
            pytest.skip("needs root")
        (long / "socket").write_text(f"{squat}\n")
        with Server.open(long) as server:
            assert str(squat) not in server.conninfo(SUPERUSER)
        assert not postmasters(long)


class TestRefusing:
    def test_data_of_another_major_version_is_told_how_to_move(self, folder: Path) -> None:
        (folder / "postgres" / "PG_VERSION").write_text("17\n")
        with pytest.raises(StoreTooNew, match=r"PostgreSQL 17, .* 18; export them .* import them") as told:
            Server.open(folder)
        assert "openbook export FILE" in str(told.value)
        assert "openbook --db FOLDER import FILE" in str(told.value)
        assert not (folder / "postgres.log").exists()

    def test_a_folder_that_is_no_cluster_is_left_alone(self, folder: Path) -> None:
        (folder / "postgres" / "PG_VERSION").unlink()
        with pytest.raises(StoreUnreachable, match=r"lacks PG_VERSION; restore"):
            Server.open(folder)

    def test_a_server_that_cannot_start_is_told_with_its_last_words(self, folder: Path) -> None:
        (folder / "postgres" / "global" / "pg_control").write_bytes(b"")
        with pytest.raises(StoreUnreachable, match=r"does not start: .*pg_control.*; the log is .*postgres\.log$"):
            Server.open(folder)
        assert not postmasters(folder)

    @pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
    def test_a_network_file_system_is_refused(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        (tmp_path / "with space").mkdir()
        mounts = tmp_path / "mounts"
        mounts.write_text(
            f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path}/with\\040space {kind} rw 0 0\ntmpfs {folder} tmpfs rw 0 0\n"
        )
        monkeypatch.setattr(disk, "_MOUNTS", mounts)
        with pytest.raises(StoreUnreachable, match=rf"network file system \({kind}\)"):
            Server.open(tmp_path / "with space" / "book")
        assert not (tmp_path / "with space" / "book").exists()
        Server.open(folder).close()

    def test_missing_binaries_are_told(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(StoreUnreachable, match=r"embedded PostgreSQL 18 is missing; pip install"):
            Server.open(folder)

    def test_a_file_in_the_folders_place_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(StoreUnreachable) as caught:
                Server.open(path)
            assert "\n" not in str(caught.value)
            assert str(path) in str(caught.value)

    @as_root
    def test_a_full_disk_is_told_and_leaves_nothing(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(disk)], capture_output=True
        ).returncode:
            pytest.skip("may not mount")
        try:
            with pytest.raises(StoreUnreachable, match=r"No space left on device"):
                Server.open(disk / "book")
            assert not list((disk / "book").glob("postgres*"))
        finally:
            subprocess.run(["umount", str(disk)], check=True)


class TestUsers:
    @as_root
    @has_setpriv
    @pytest.mark.parametrize("docker", [False, True], ids=["all capabilities", "those of a container"])
    def test_root_serves_a_folder_below_one_that_only_root_enters(
        self, client: Callable[..., Client], tmp_path: Path, docker: bool
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        before = [(parent, parent.stat().st_mode) for parent in (closed, *closed.parents)]
        few = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw"
        few += ",+sys_chroot,+mknod,+audit_write,+setfcap"
        one = client(closed / "book", ("setpriv", f"--bounding-set={few}", "--") if docker else ())
        one.do("join()")
        (pid,) = postmasters(closed / "book")
        assert os.stat(f"/proc/{pid}").st_uid != 0
        one.do("run('CREATE TABLE kept AS SELECT 42 AS it')")
        one.do("leave()")
        assert not postmasters(closed / "book")
        assert [(parent, parent.stat().st_mode) for parent, _ in before] == before

    @as_root
    @has_setpriv
    def test_root_without_the_right_to_change_user_is_told(self, client: Callable[..., Client], folder: Path) -> None:
        one = client(folder, ("setpriv", "--bounding-set=-setuid", "--"))
        with pytest.raises(Failed, match=r"StoreUnreachable: .*may not become another user here; run openbook as"):
            one.do("join()")

    @as_root
    def test_a_copy_that_belongs_to_root_is_given_back(self, folder: Path) -> None:
        owner = (folder / "postgres").stat().st_uid
        for path in [folder / "postgres", *(folder / "postgres").rglob("*")]:
            os.chown(path, 0, 0)
        Server.open(folder).close()
        assert (folder / "postgres" / "base").stat().st_uid == owner

    @as_root
    @has_setpriv
    def test_an_ordinary_user_needs_no_root_and_shares_with_it(
        self, client: Callable[..., Client], tmp_path: Path
    ) -> None:
        home = tmp_path / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        # The capability only lets this user walk to the tests' Python, which may lie below /root.
        switch = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_read_search"
        ordinary = (*switch.split(), "--ambient-caps=+dac_read_search", "--")
        one = client(home / "book", ordinary)
        started = one.do("join()")
        (pid,) = postmasters(home / "book")
        assert os.stat(f"/proc/{pid}").st_uid == 65534
        two = client(home / "book")
        assert two.do("join()") == started
        one.do("leave()")
        two.do("leave()")
        assert not postmasters(home / "book")

    @as_root
    @has_setpriv
    def test_a_folder_without_the_right_to_write_is_told(
        self, client: Callable[..., Client], folder: Path, tmp_path: Path
    ) -> None:
        switch = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_read_search"
        ordinary = (*switch.split(), "--ambient-caps=+dac_read_search", "--")
        with pytest.raises(Failed, match=r"StoreUnreachable: .*Permission denied; give a folder you may write to"):
            client(tmp_path / "new", ordinary).do("join()")
        with pytest.raises(Failed, match=r"StoreUnreachable: .*(belongs to|Permission denied)"):
            client(folder, ordinary).do("join()")


def test_no_text_of_a_user_reaches_the_log(folder: Path) -> None:
    with Server.open(folder) as server:
        with psycopg.connect(server.conninfo(SUPERUSER), autocommit=True) as connection:
            connection.execute("CREATE TABLE secret (it text UNIQUE)")
            for statement in (
                "INSERT INTO secret VALUES ('zqxjkvbp'), ('zqxjkvbp')",
                "SELECT 'zqxjkvbp'::jsonb",
                "SELECT zqxjkvbp",
                "DO $$ BEGIN RAISE WARNING 'zqxjkvbp'; END $$",
                "SELECT pg_terminate_backend(pg_backend_pid()), 'zqxjkvbp'",
            ):
                with contextlib.suppress(psycopg.Error):
                    connection.execute(statement)
        with psycopg.connect(server.conninfo(SUPERUSER), autocommit=True) as connection:
            pid = connection.info.backend_pid

            def kill() -> None:
                until(lambda: b" SELECT" in Path(f"/proc/{pid}/cmdline").read_bytes())
                os.kill(pid, signal.SIGABRT)

            killer = threading.Thread(target=kill)
            killer.start()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 'zqxjkvbp', pg_sleep(60)")
            killer.join()
    log = (folder / "postgres.log").read_text()
    assert "was terminated by signal" in log
    assert "zqxjkvbp" not in log


def test_variables_of_the_caller_lead_no_connection_astray_and_no_key_reaches_the_server(
    client: Callable[..., Client], folder: Path
) -> None:
    astray = {
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": "1",
        "PGOPTIONS": "-c no_such_setting=1",
        "PGREQUIREAUTH": "scram-sha-256",
        "PGCHANNELBINDING": "require",
        "PGTARGETSESSIONATTRS": "standby",
        "PGSSLMODE": "verify-full",
        "PGDATA": "/nowhere",
        "LC_ALL": "xx_YY",
        "OPENAI_API_KEY": "zqxjkvbp",
    }
    one = client(folder, env={**os.environ, **astray})
    assert one.do("join()")
    (postmaster,) = postmasters(folder)
    assert b"zqxjkvbp" not in Path(f"/proc/{postmaster}/environ").read_bytes()
    one.do("leave()")
    assert not postmasters(folder)


def test_the_log_stays_small(folder: Path) -> None:
    (folder / "postgres.log").write_bytes(b"x" * (2 << 20))
    Server.open(folder).close()
    assert (folder / "postgres.log").stat().st_size < 10_000
    assert (folder / "postgres.log.1").stat().st_size == 2 << 20
