"""The embedded server's log: kept small, and read to tell a recovery from a hang."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from openbook.errors import StoreUnreachable
from openbook.store.disk import open_or_create
from openbook.store.process import processes, ticks

Say = Callable[[str], None]

_LOG_LIMIT = 1 << 20
_STALL = 120.0  # seconds without a line in the log and without processor time: the server hangs
_TELL_AFTER, _LOOK_EVERY = 0.5, 0.25  # seconds: an ordinary start takes a tenth and is not told
_RECOVERY = re.compile(r"was interrupted|not properly shut down|automatic recovery|redo in progress|syncing data")
_PROGRESS = re.compile(r"LOG: +((?:redo in progress|syncing data directory|resetting unlogged).*)")


class Log:
    """The file the server writes to; the previous megabyte lies beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, own: Callable[[int], None]) -> BinaryIO:
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size > _LOG_LIMIT:
                self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        return os.fdopen(open_or_create(self.path, os.O_WRONLY | os.O_APPEND, own), "ab")

    def trim(self) -> None:
        """A server that runs for months: its log is emptied, which appending writers follow."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.lstat().st_size > 8 * _LOG_LIMIT:
                os.truncate(self.path, 0)

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def since(self, offset: int) -> str:
        """What was written after that many bytes."""
        try:
            with open(self.path, "rb") as file:
                file.seek(offset)
                return file.read(_LOG_LIMIT).decode(errors="replace")
        except OSError:
            return ""


class Watch:
    """Waits a moment at a time while the server makes progress, tells of it, and gives up when it does not."""

    def __init__(self, log: Log, tag: str, say: Say) -> None:
        self.log, self.tag, self.say = log, tag, say
        self.began = self.moved = self.looked = time.monotonic()
        self.offset = self.log.size()
        self.state: tuple[int, int] = (-1, -1)
        self.told = ""
        self.pause = 0.002

    @property
    def waited(self) -> float:
        return time.monotonic() - self.began

    @property
    def stalled(self) -> float:
        """Seconds since anything was seen to move."""
        return self.looked - self.moved

    def begin(self) -> None:
        """Another server starts: read the log from here."""
        self.offset, self.pause, self.moved = self.log.size(), 0.002, time.monotonic()

    def wait(self, running: list[int], refusal: str) -> None:
        """A moment; ``running`` is what serves the cluster where nothing carries its tag yet."""
        time.sleep(self.pause)
        self.pause = min(self.pause * 1.2, 0.05)
        now = time.monotonic()
        if now - self.looked < _LOOK_EVERY:
            return
        self.looked = now
        state = (self.log.size(), ticks(processes(self.tag) or running))
        if state != self.state:
            self.state, self.moved = state, now
        elif now - self.moved > _STALL:
            raise StoreUnreachable(
                f"the database has stood still for {_STALL:.0f} s: {refusal or reason(self.lines())}",
                where=str(self.log.path.parent),
                do=f"the log is {self.log.path}",
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
        return self.log.since(self.offset)


def reason(text: str) -> str:
    """The line that tells why, without its prefix: a full disk, else the last error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it says nothing"]
    full = [line for line in lines if re.search(r"No space left|quota exceeded", line)]
    errors = [line for line in lines if re.search(r"FATAL|PANIC|ERROR|error:", line)]
    return re.sub(r"^.*?(?:FATAL|PANIC|ERROR|error): *", "", (full or errors or lines)[-1])
