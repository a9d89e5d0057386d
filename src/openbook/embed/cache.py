"""The cache folder: what can be computed again, shared by processes, and never needed.

Every file is written beside its place and renamed into it, so that a reader sees a whole file or none. A folder that
cannot be written means no cache; a file that cannot be read is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cache_folder(chosen: Path | None) -> Path | None:
    """``chosen``, ``$OPENBOOK_CACHE`` or ``~/.cache/openbook``; ``None`` where it cannot be written."""
    named = os.environ.get("OPENBOOK_CACHE")
    try:
        folder = chosen or (Path(named) if named else Path.home() / ".cache" / "openbook")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    return folder if os.access(folder, os.W_OK) else None


def kept(cache: Path | None, name: str, stamp: Any, compute: Callable[[], str]) -> str:
    """``compute()``, remembered in ``cache / name`` for as long as ``stamp`` stays the same."""
    if cache is None:
        return compute()
    file = cache / name
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(file.read_text())
        if found["stamp"] == stamp and found["seal"] == _seal(stamp, found["value"]):
            return str(found["value"])
    value = compute()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".new-", delete=False) as new:
            json.dump({"stamp": stamp, "value": value, "seal": _seal(stamp, value)}, new)
        os.replace(new.name, file)
    return value


def _seal(stamp: Any, value: str) -> str:
    """A damaged file must not pass for a whole one."""
    return hashlib.sha256(json.dumps([stamp, value]).encode()).hexdigest()[:16]


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
