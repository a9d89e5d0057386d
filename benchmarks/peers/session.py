"""The runner's end: an adapter's process, its answers, the memory of it and all its children, and its violent end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

SAMPLE = 0.25
"""Seconds between two looks at the memory: a look takes some ms of one core."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONUNBUFFERED": "1",
}


class PeerFailed(Exception):
    """What the adapter answered instead, or how it ended."""


class Session:
    """One adapter at work. In a ``with``; its standard error goes to ``log``."""

    def __init__(self, python: Path, script: Path, log: Path) -> None:
        self.command = [str(python), str(script)]
        self.log = log
        self.acknowledged = 0
        self.peak = 0  # bytes, while sampled
        self._ended = threading.Event()

    def __enter__(self) -> Session:
        self._log = self.log.open("ab")
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **ENVIRONMENT},
            text=True,
        )
        self._sampler: threading.Thread | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._sampler is not None:
            self._sampler.join()
        if self._process.poll() is None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()

    def send(self, op: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer. Raises: PeerFailed: an error, or the end."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            found = json.loads(line)
            if "acknowledged" in found:
                self.acknowledged = found["acknowledged"]
            elif "error" in found:
                raise PeerFailed(found["error"])
            else:
                return dict(found)
        raise PeerFailed(f"ended with {self._process.wait()}; see {self.log}")

    def ask(self, op: str, **arguments: Any) -> Any:
        self.send(op, **arguments)
        return self.answer()["result"]

    def timed(self, op: str, **arguments: Any) -> float:
        """Seconds that the adapter itself measured."""
        self.send(op, **arguments)
        return float(self.answer()["seconds"])

    def processor(self) -> float:
        """Seconds of processor time that the process and all that it started have used."""
        return processor(self._process.pid)

    def sample_memory(self) -> None:
        """From now on ``peak`` follows the memory of the process and its children."""

        def sample() -> None:
            ended = False
            while not ended:
                ended = self._ended.wait(SAMPLE)  # then once more: a quick one is over by now
                self.peak = max(self.peak, sum(map(_pss, tree(self._process.pid))))

        self._sampler = threading.Thread(target=sample, daemon=True)
        self._sampler.start()

    def kill(self) -> None:
        """SIGKILL to the process and everything that it started, at once; nothing is asked or told."""
        for pid in tree(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        # What it had acknowledged stands in the pipe still.
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self.acknowledged = json.loads(line).get("acknowledged", self.acknowledged)


def tree(root: int) -> list[int]:
    """The process and its descendants, parents first. A server that it started counts as long as it lives."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def processor(root: int) -> float:
    """Seconds of processor time of a process and its descendants, ended ones that were waited for included."""
    ticks = 0
    for pid in tree(root):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss(pid: int) -> int:
    """Proportional set size in bytes: memory that n processes share counts 1/n in each, so that a sum is honest."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def cold(python: Path, script: Path, folder: Path, question: str, mode: str, log: Path) -> float:
    """Seconds from starting a process to its end: it opens the index and answers one question."""
    begun = time.perf_counter()
    with log.open("ab") as errors:
        done = subprocess.run(
            [str(python), str(script), "--ask", str(folder), question, mode],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **ENVIRONMENT},
            check=False,
        )
    seconds = time.perf_counter() - begun
    if done.returncode or not json.loads(done.stdout.splitlines()[-1])["result"]:
        raise PeerFailed(f"a cold question ended with {done.returncode}; see {log}")
    return seconds
