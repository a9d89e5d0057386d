"""Whom the embedded server runs as: openbook's own user, or another where openbook runs as root."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.errors import StoreUnreachable

_SYSTEM_USERS = ("openbook", "pgserver")  # whom the server runs as when openbook runs as root; the first is created
_CAPABILITIES = ((2, "dac_read_search"), (1, "dac_override"))  # Docker grants root the second only
_NEEDED = (0, 5, 6, 7)  # chown, kill, setgid, setuid


@dataclass(frozen=True, slots=True)
class Account:
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


def account_of(folder: Path, data: Path) -> Account:
    uid = os.geteuid()
    owner = data.stat() if data.exists() else None
    if uid != 0:
        if owner is not None and owner.st_uid != uid:
            raise StoreUnreachable(
                f"belongs to {_user_name(owner.st_uid)}", where=str(data), do="run openbook as that user, or as root"
            )
        return Account(uid, os.getegid())
    if any(not _capabilities() >> bit & 1 for bit in _NEEDED):
        raise _no_other_user()
    for about in (owner, folder.stat()):
        if about is not None and about.st_uid != 0:
            trusted = _user_name(about.st_uid) in _SYSTEM_USERS
            return Account(about.st_uid, about.st_gid, switch=True, trusted=trusted)
    return _system_account()


def _system_account() -> Account:
    """The system user, created at the first need; where it cannot be, `nobody`, which other services share."""
    import pwd

    for attempt in range(2):
        for name in _SYSTEM_USERS:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return Account(entry.pw_uid, entry.pw_gid, switch=True, trusted=True)
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if attempt == 0 and useradd is not None:
            # Another openbook may create it at the same time: then this fails, and the second look finds it.
            subprocess.run(
                [useradd, "--system", "--user-group", "--no-create-home", "--home-dir=/nonexistent",
                 "--shell=/usr/sbin/nologin", _SYSTEM_USERS[0]],
                stdin=subprocess.DEVNULL, capture_output=True,
            )  # fmt: skip
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid, switch=True)


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
