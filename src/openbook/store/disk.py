"""Folders and files of the embedded server: where they may lie, who may open them, and when they are on disk."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from openbook.errors import StoreUnreachable

_MOUNTS = Path("/proc/self/mounts")
_NETWORK = {
    "nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs",
    "beegfs", "orangefs", "pvfs2", "davfs", "ncpfs", "vboxsf", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph",
    "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.davfs2", "fuse.vmhgfs-fuse", "fuse.juicefs", "fuse.mount-s3",
    "fuse.blobfuse2", "fuse.cifs",
}  # fmt: skip


def prepare(folder: Path) -> None:
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


def is_remote(path: Path) -> bool:
    """Whether it lies on a network file system, as far as that can be told."""
    return _file_system(path.resolve()) in _NETWORK


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


def open_or_create(path: Path, flags: int, own: Callable[[int], None]) -> int:
    """Open without following a link; hand to its owner only what was created: the folder may be a stranger's."""
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            own(descriptor)
            return descriptor


def is_private(folder: Path, uid: int) -> bool:
    """A real folder of that user which no other may enter: a stranger may have put one in its place below /tmp."""
    try:
        about = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == uid and not about.st_mode & 0o077


def whole_sync() -> Callable[[Path], None] | None:
    """What writes out the whole file system of a folder; None where the platform cannot."""
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


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Also while an initdb whose parent was killed still writes there: it fails when its folder goes."""
    for _ in range(200):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
    shutil.rmtree(folder)
