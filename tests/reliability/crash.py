"""Clients and servers killed at random points of random operations; after each kill the store is opened and checked.

    python -m tests.reliability.crash --kills 1000 --seed 7

A round: one or two clients, forked from a process that has everything imported, work on one data folder; after some
operations somebody sends SIGKILL to a client, to the postmaster, to one of its backends, to the whole server or to
clients and server together; or a client kills itself at its n-th exchange with the database. Clients that are left go
on for a while, and are killed, too. Then the folder is opened, and everything is compared with what the clients were
told (``checks``). Now and then a new folder is begun, so that setting one up is killed, too. The embedding model is a
server on loopback: a kill costs about a second. A seed repeats what is tried, not the moment at which a kill lands.

The last line is the tally; the exit status is 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO

from tests.reliability.checks import Fault, faults, left_behind
from tests.reliability.documents import Ledger, embeddings, opened
from tests.reliability.operations import checksum, read

import openbook
from openbook.errors import OpenbookError
from openbook.knowledge_base import KnowledgeBase
from openbook.store.process import processes

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 24
"""Lines that a client writes into its journal before it is killed, two an operation, at most."""
LONGEST = 1.0
"""Seconds that a client is given to open the store, and that others are given after a kill, at most."""
IMPORTED = 0.1
"""Of the exports: each takes the start of another server."""
_ENDS = 30.0  # seconds until a process that was sent SIGKILL is gone

HOW = {
    "client": 4.0,
    "exchange": 3.0,  # the client kills itself at its n-th exchange with the database
    "postmaster": 1.5,
    "backend": 1.5,
    "server": 1.0,
    "all": 1.5,
}
"""What is killed → how often."""


@dataclass(slots=True)
class Tally:
    kills: Counter[str] = field(default_factory=Counter)
    processes: int = 0
    begun: int = 0
    acknowledged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    found: list[Fault] = field(default_factory=list)
    slowest_open: float = 0.0
    exports: int = 0
    imported: int = 0

    def __str__(self) -> str:
        kinds = Counter(fault.kind for fault in self.found)
        how = ", ".join(f"{name} {n}" for name, n in sorted(self.kills.items()))
        return (
            f"{sum(self.kills.values())} kills ({how}; {self.processes} processes), {self.begun} writes begun,"
            f" {self.acknowledged} acknowledged: {kinds['lost']} lost, {kinds['half-visible']} half-visible,"
            f" {kinds['returned']} returned, {kinds['not opened']} stores not opened,"
            f" {kinds['invariant'] + kinds['pointer']} verify faults, {kinds['left behind']} left behind,"
            f" {kinds['client']} client faults; {self.exports} exports, {kinds['export']} not whole,"
            f" {self.imported} imported; slowest open {self.slowest_open:.1f} s"
        )


class Torture:
    """One harness at work below a folder of its own. It begins a new data folder every ``fresh`` rounds."""

    def __init__(self, folder: Path, seed: int, url: str, *, fresh: int = 60) -> None:
        self.folder, self.url, self.fresh = folder, url, fresh
        self.random = Random(seed)
        self.tally = Tally()
        self.ledgers: list[Ledger] = []
        self.rounds = 0
        self._begin()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.worker"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def close(self) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        self._zygote.wait(_ENDS)
        with contextlib.suppress(OpenbookError):
            openbook.open(self.db, create=False).close()  # the last user stops the server

    @property
    def db(self) -> Path:
        return self.folder / f"db-{self.rounds // self.fresh}"

    def _begin(self) -> None:
        self.ledgers = [Ledger(next=1000 * self.rounds) for _ in range(2)]
        self.sought = 0  # forgotten documents that were looked for in the files

    def round(self) -> list[Fault]:
        """One kill and its checks; what is wrong."""
        how = self.random.choices(list(HOW), list(HOW.values()))[0]
        count = self.random.choice((1, 2))
        # In the midst of its work; or, now and then, while it opens.
        lines, delay = self.random.randint(1, MOST_LINES), self.random.uniform(0, 0.05)
        if self.random.random() < 0.2:
            lines, delay = 0, self.random.uniform(0, LONGEST)
        journals = [self.folder / f"journal-{self.rounds}-{n}" for n in range(count)]
        die_at = self.random.randint(1, 200) if how == "exchange" else 0
        clients = [
            self._start(journals[n], n, die_at if n == 0 else 0, self.random.random() < 0.5) for n in range(count)
        ]
        kept = None
        if self.random.random() < 0.5:  # sometimes the clients are the only users of the server, sometimes not
            with contextlib.suppress(OpenbookError):
                kept = openbook.open(self.db, create=False)
        if how == "exchange":
            _wait(clients[:1], 10 * LONGEST)
        else:
            _until_written(journals[0], lines, 20 * LONGEST)
            time.sleep(delay)
        server = processes(_tag(self.db))
        postmaster = [pid for pid in server if _is_postmaster(pid)]
        doomed = {
            "client": clients[:1],
            "exchange": clients[:1],
            "postmaster": postmaster,
            "backend": self.random.sample(sorted(set(server) - set(postmaster)), min(1, len(server) - 1))
            if len(server) > 1
            else [],
            "server": server,
            "all": [*server, *clients],
        }[how]
        self._kill(doomed)
        if set(clients) - set(doomed):  # whoever is left meets what is left of the server
            if self.random.random() < 0.7:
                time.sleep(self.random.uniform(0, LONGEST))
            self._kill([client for client in clients if client not in doomed])
        _wait(clients, _ENDS)
        if kept is not None:
            kept.close()
        self.tally.kills[how] += 1
        found = self._check(journals, may_refuse=how not in ("client", "exchange"))
        self.tally.found += found
        self.rounds += 1
        if self.rounds % self.fresh == 0:
            self._finish_folder()
        return found

    def _start(self, journal: Path, n: int, die_at: int, after: bool) -> int:
        ledger = self.ledgers[n]
        journal.touch()
        order = {
            "folder": str(self.db),
            "url": self.url,
            "name": f"c{n}",
            "ledger": ledger.to_json(),
            "journal": str(journal),
            "seed": self.random.getrandbits(32),
            "die_at": die_at,
            "after": after,
        }
        stdin, stdout = _both(self._zygote)
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        return int(stdout.readline())

    def _kill(self, pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.tally.processes += 1

    def _check(self, journals: list[Path], may_refuse: bool) -> list[Fault]:
        found: list[Fault] = []
        for journal, ledger in zip(journals, self.ledgers, strict=False):
            begun, done, refused, wrong = read(journal, ledger)
            self.tally.begun += begun
            self.tally.acknowledged += done
            self.tally.refused.update(refused)
            found += [Fault("client", line) for line in wrong]
            if not may_refuse:
                found += [Fault("client", f"refused though its server was not touched: {line}") for line in refused]
        start = time.monotonic()
        try:
            kb = opened(self.db, self.url)
        except OpenbookError as error:
            return [*found, Fault("not opened", str(error))]
        self.tally.slowest_open = max(self.tally.slowest_open, time.monotonic() - start)
        with kb:
            self._finish_forgetting(kb)
            half = [release.recipe for release in kb.releases() if release.state == "building"]
            if self.random.random() < 0.5:  # what a kill left of a build is gone on with, here or by a client
                for one in half:
                    kb.build(one)
            wrong_now, truth = faults(kb, self.ledgers, self.random)
            found += wrong_now
            for ledger in self.ledgers:
                ledger.settle(truth, kb.release)
        forgotten = {s: ledger.history.get(s, set()) for ledger in self.ledgers for s in ledger.forgotten}
        if len(forgotten) > self.sought:
            found += left_behind(self.db, forgotten)
            self.sought = len(forgotten)
        for journal in journals:
            found += self._check_exports(journal.with_name(f"{journal.name}-exports"))
        if not found:
            for journal in journals:
                journal.unlink()
        return found

    def _check_exports(self, folder: Path) -> list[Fault]:
        """What has the name of an export is whole, acknowledged or not; and one in a few is imported."""
        found: list[Fault] = []
        for path in [path for path in folder.glob("*") if not path.name.endswith(".part")]:
            self.tally.exports += 1
            if not checksum(path):
                found.append(Fault("export", f"{path} is not whole"))
            elif self.random.random() < IMPORTED:
                try:
                    openbook.import_(path, self.folder / "imports", f"import-{self.tally.exports}")
                except OpenbookError as error:
                    found.append(Fault("export", str(error)))
                self.tally.imported += 1
        if not found:
            shutil.rmtree(folder, ignore_errors=True)
        return found

    def _finish_forgetting(self, kb: KnowledgeBase) -> None:
        """What a kill left of an erasure is finished by the next one, which needs no names."""
        begun = [source for ledger in self.ledgers for operation, _ in ledger.unsure for source in operation.faces
                 if operation.verb == "forget"]  # fmt: skip
        if begun:
            receipt = kb.forget()
            if receipt is not None and not receipt.complete:
                return  # it says what is left, and the next one goes on
            with kb.database.snapshot(None) as connection:
                rows = connection.execute("SELECT source FROM openbook.document WHERE kb = %s", [kb.kb]).fetchall()
            there = {source for (source,) in rows}
            for ledger in self.ledgers:
                ledger.forgotten |= {source for source in begun if source in ledger.faces and source not in there}

    def _finish_folder(self) -> None:
        shutil.rmtree(self.folder / f"db-{self.rounds // self.fresh - 1}", ignore_errors=True)
        self._begin()


def _both(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _tag(db: Path) -> str:
    """What the processes of a data folder's server carry on their command lines."""
    try:
        about = (db / "postgres").stat()
    except FileNotFoundError:
        return "openbook-none-yet"
    return f"openbook-{about.st_dev:x}-{about.st_ino:x}"


def _is_postmaster(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\0-D\0" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return False


def _until_written(journal: Path, lines: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while journal.read_bytes().count(b"\n") < lines and time.monotonic() < deadline:
        time.sleep(0.005)


def _wait(pids: list[int], seconds: float) -> None:
    """Until these processes have ended; they are not our children."""
    deadline = time.monotonic() + seconds
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(handle)


def in_memory() -> Path | None:
    """Where a folder is in memory, if anywhere: what a killed process has written is the kernel's, and no disk has to
    hold it. On a busy disk a kill takes ten times as long."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2 << 30 else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills openbook at random points and looks at what is left.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to work; kept when something was wrong")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="openbook-torture-", dir=in_memory()))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with embeddings() as url:
        torture = Torture(folder, options.seed, url)
        try:
            for n in range(1, options.kills + 1):
                for fault in torture.round():
                    print(f"round {n}: {fault.kind}: {fault.what}", flush=True)
                if n % 20 == 0:
                    print(f"{time.monotonic() - start:6.0f} s  {torture.tally}", flush=True)
        finally:
            torture.close()
    for error, times in torture.tally.refused.most_common(10):
        print(f"refused {times} times: {error}")
    print(torture.tally)
    if torture.tally.found:
        sys.exit(f"something was wrong; the last folder is {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
