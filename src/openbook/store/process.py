"""The embedded server's processes: which are ours, what they use, and when one has ended.

A process number is reused, so it says nothing. Ours is a process that carries the cluster's tag in its command line.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import time
from pathlib import Path

_started: list[subprocess.Popen[bytes]] = []  # servers this process started; kept only so that no zombie stays


def keep(server: subprocess.Popen[bytes]) -> None:
    _started.append(server)


def reap() -> None:
    _started[:] = [server for server in _started if server.poll() is None]


def disown() -> None:
    """At the end, and in a forked child: the servers live on for others, so no ResourceWarning."""
    for server in _started:
        server.returncode = 0
    _started.clear()


def command_line(pid: int) -> list[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return words if words != [""] else []  # empty for a zombie
    except OSError:
        if os.path.isdir("/proc/self"):
            return []
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.split()


def processes(tag: str) -> list[int]:
    """The processes of the cluster: the postmaster names the tag in its arguments, its children in their titles."""
    own = re.compile(rf"(?<![\w-]){re.escape(tag)}(?![\w-])")
    if not os.path.isdir("/proc/self"):
        shown = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False).stdout
        found = [line.split(None, 1) for line in shown.splitlines()]
        return [int(pid) for pid, *rest in found if rest and "postgres" in rest[0] and own.search(rest[0])]
    found_here = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            first, *rest = command_line(int(name)) or [""]
            program = first.split(":", 1)[0].rsplit("/", 1)[-1]
            if program in ("postgres", "setpriv") and own.search("\0".join([first, *rest])):
                found_here.append(int(name))
    return found_here


def ticks(pids: list[int]) -> int:
    """Processor time the processes used, in clock ticks."""
    used = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            used += int(fields[11]) + int(fields[12])
    return used


class Ending:
    """Waits for the end of a process that may be another's child, whose parent may never look: a zombie has ended.

    Raises ProcessLookupError when it has ended before. Within the `with` its number cannot pass to another unnoticed.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.handle = -1

    def __enter__(self) -> Ending:
        if hasattr(os, "pidfd_open"):
            try:
                self.handle = os.pidfd_open(self.pid)
            except ProcessLookupError:
                raise
            except OSError:
                pass  # an old kernel or a sandbox: `wait` looks instead
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
        while time.monotonic() < deadline and command_line(self.pid):
            reap()
            time.sleep(0.01)
