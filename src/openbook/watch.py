"""Following folders: what is saved is found by the next question.

The system tells what changed (inotify and its kin, through watchfiles); what it names is looked at again, and nothing
else: ``scan`` decides by the rules of ``add`` whether it counts, ``Ingest`` reads it. Where the system tells nothing (a
root that is a single file, a network file system, no inotify or too little of it), the root is listed every half second
and compared with what it was.

What is gone is hidden at once, since its end was seen. What merely is not there is kept: a root that is gone may be an
unmounted disk, and of a list that comes out shorter more than 30 % is left as ``add`` leaves it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from openbook.errors import ModelUnavailable, SourceError, StoreBusy, StoreUnreachable
from openbook.indexing import Added
from openbook.load import SUFFIXES, scan
from openbook.load.files import shown
from openbook.store.disk import is_remote
from openbook.types import Skipped

QUIET_MS = 50
"""Changes are taken when nothing has changed for so long: an editor's save is several, and a file that is written in
pieces is read once."""

LONGEST_MS = 400
"""A folder that does not become quiet is looked at so often all the same."""

LOOK_MS = 200
"""So often it is looked whether the roots are still there."""

POLL = 0.5
"""Seconds between two listings of a root that the system tells nothing about; a listing that takes longer than a tenth
of that is made less often."""

SUDDEN = 10
"""So many that are gone at once may be the beginning of the end of their root: it is looked again after ``GRACE``."""

GRACE = 0.5

MOST_NAMED = 4_000
"""More changes at once than these, and the system may have lost some: the whole root is listed."""

LONGEST_WAIT = 5.0
"""Seconds between two tries while the database or a model does not answer."""


NOTHING = Added()


class Take(Protocol):
    def __call__(self, root: Path, places: Collection[str] | None, *, first: bool, seen_gone: bool) -> Added:
        """Bring a root up to date: all of it, or what stands at these places in it. ``first``: as ``add`` does it;
        later what was removed by hand stays removed. ``seen_gone``: what is not there was seen to go."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of changes that were seen together: the places at which they were, what was done, and a line where
    something is to be known. ``time`` is ISO 8601, local, when it was done."""

    time: str
    root: str
    places: tuple[str, ...] = ()
    done: Added = NOTHING
    note: str | None = None


@dataclass(slots=True)
class _Root:
    """A root that is followed, and what was last seen of it."""

    path: Path
    real: Path  # without links, as the system names it
    polled: bool
    identity: tuple[int, int] | None = None  # device and inode: another folder in its place is another folder
    changed: set[str] = field(default_factory=set)  # places that wait to be looked at
    whole: bool = True  # all of it waits
    first: bool = True  # for the first time
    gone: bool = False
    listing: dict[str, tuple[int, int, int]] | None = None  # of a polled root: place → size, mtime, inode
    next_poll: float = 0.0

    @property
    def waits(self) -> bool:
        return not self.gone and (self.whole or bool(self.changed))


class Watch:
    """Follows roots until it is told to stop. ``include`` and ``exclude`` are those of the ``add`` that it follows."""

    def __init__(
        self,
        sources: Sequence[str | Path],
        take: Take,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        poll: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._take = take
        self._include = include
        self._exclude = exclude
        self._poll = poll or POLL
        self._stop = stop or threading.Event()
        self._tries = 0
        self._next_try = 0.0
        self._roots = []
        for source in dict.fromkeys(Path(source).absolute() for source in sources):
            told = poll is None and source.is_dir() and not is_remote(source)
            self._roots.append(_Root(source, source.resolve(), polled=not told, identity=_identity(source)))

    def run(self) -> Iterator[Followed]:
        """What ``add`` did with each root as it was found; from then on what became of each change.

        Raises:
            SourceError: a root is not there at the beginning.
            OpenbookError: what trying again does not mend; what was acknowledged is kept.
        """
        for root in self._roots:
            if root.identity is None:
                raise SourceError("no such file or folder", where=shown(root.path), do="check the path")
        while not self._stop.is_set():
            told = [root for root in self._roots if not root.polled and not root.gone]
            for named in self._told(told):
                for name in named:
                    self._note(name)
                yield from self._look(told)
                if self._stop.is_set() or told != [r for r in self._roots if not r.polled and not r.gone]:
                    break  # a root went or came back: the system is to be asked anew
            else:
                lost = [note for root in told for note in self._attend(root)]
                yield from lost
                if told and not lost and not self._stop.is_set():
                    # It refuses, as it does when it has no watches left.
                    for root in told:
                        root.polled = True
                    what = f"the system does not tell what changes here; it is looked every {self._poll:g} s"
                    yield Followed(_now(), shown(told[0].path), note=what)

    # --- what changed -------------------------------------------------------------------------------------------------

    def _told(self, roots: Sequence[_Root]) -> Iterator[set[str]]:
        """Absolute paths that the system names, at least every ``LOOK_MS``, if with none; ends where it refuses."""
        if not roots:
            while not self._stop.wait(min(self._poll, LOOK_MS / 1000)):
                yield set()
            return
        from watchfiles import watch

        try:
            changes = watch(
                *[root.real for root in roots],
                watch_filter=None,
                debounce=LONGEST_MS,
                step=QUIET_MS,
                rust_timeout=LOOK_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                force_polling=False,
                ignore_permission_denied=True,
            )
            for named in changes:
                yield {path for _, path in named}
        except (OSError, RuntimeError):  # no inotify here, or no watches left of those that a user may have
            return

    def _note(self, name: str) -> None:
        """Remember a change of each root that holds it, if it can matter to it."""
        for root in self._roots:
            if root.polled or not name.startswith(f"{root.real}{os.sep}"):
                continue
            parts = name[len(str(root.real)) + 1 :].split(os.sep)
            if parts[-1] == ".gitignore":
                root.whole = True  # what is wanted has changed
            elif not any(part.startswith((".", "~$")) for part in parts):
                root.changed.add("/".join(parts))

    def _look(self, told: Sequence[_Root]) -> Iterator[Followed]:
        """Look after the roots, and bring up to date what waits; a root of which the system is not yet asked for
        changes waits until it is, so that none is lost in between."""
        for root in self._roots:
            yield from self._attend(root)
            if root.polled and not root.gone and time.monotonic() >= root.next_poll:
                self._list(root)
        if time.monotonic() < self._next_try:
            return
        for root in self._roots:
            if root.waits and (root.polled or root in told):
                try:
                    yield from self._bring_up_to_date(root)
                    self._tries, self._next_try = 0, 0.0
                except (StoreUnreachable, StoreBusy, ModelUnavailable) as error:
                    wait = min(LONGEST_WAIT, 0.2 * 2**self._tries)
                    self._tries, self._next_try = self._tries + 1, time.monotonic() + wait
                    if self._tries == 1:
                        yield Followed(_now(), shown(root.path), note=f"waiting: {error}")
                    return
                except SourceError:
                    if _identity(root.path) == root.identity:
                        raise  # not that it went meanwhile

    def _attend(self, root: _Root) -> Iterator[Followed]:
        """See whether a root went, came back, or gave its place to another."""
        identity = _identity(root.path)
        if identity == root.identity:
            return
        came_back, root.gone, root.identity = identity is not None and root.gone, identity is None, identity
        root.changed.clear()
        root.listing = None
        root.whole = True
        root.real = root.path.resolve()
        if root.gone:
            yield Followed(_now(), shown(root.path), note="is gone; its documents are kept until it is back")
        elif came_back:
            yield Followed(_now(), shown(root.path), note="is back")

    def _list(self, root: _Root) -> None:
        """Compare a polled root with what it was."""
        start = time.monotonic()
        try:
            found = list(scan(root.path, include=self._include, exclude=self._exclude))
        except SourceError:
            return  # it went meanwhile
        base = root.path.resolve()
        listing = {}
        for file in found:
            if not isinstance(file, Skipped):
                place = os.path.relpath(file.path, base) if file.path != base else ""
                listing[place] = (file.size, file.mtime_ns, file.inode)
        if root.listing is not None:
            both = {*listing, *root.listing}
            changed = {place for place in both if listing.get(place) != root.listing.get(place)}
            if any(place.startswith("..") or not place for place in changed):
                root.whole = True  # a file, or one that a link leads to
            root.changed |= changed
        root.listing = listing
        took = time.monotonic() - start
        root.next_poll = time.monotonic() + max(self._poll, 10 * took)

    # --- what becomes of it -------------------------------------------------------------------------------------------

    def _bring_up_to_date(self, root: _Root) -> Iterator[Followed]:
        places = root.changed
        if root.whole or len(places) > MOST_NAMED:
            root.whole, root.changed = False, set()
            try:
                done = self._take(root.path, None, first=root.first, seen_gone=False)
            except BaseException:
                root.whole = True
                raise
            root.first = False
            yield Followed(_now(), shown(root.path), (), done)
            return
        gone = set() if root.polled else {place for place in places if not os.path.lexists(root.path / place)}
        if len(gone) > SUDDEN and self._stop.wait(GRACE):
            return
        if _identity(root.path) != root.identity:
            return  # they went with it: see _attend
        total = NOTHING
        root.changed = set()
        for some, seen_gone in ((gone, True), (places - gone, False)):
            if some:
                try:
                    total = _sum(total, self._take(root.path, some, first=False, seen_gone=seen_gone))
                except BaseException:
                    root.changed |= places
                    raise
        if total.skipped or _did(total):
            yield Followed(_now(), shown(root.path), _named(root.path, places), total)


def _named(root: Path, places: Collection[str]) -> tuple[str, ...]:
    """Those places that can have been read: not the other files that an editor makes beside the one that it saves."""
    files = [place for place in places if os.path.splitext(place)[1].lower() in SUFFIXES or (root / place).is_dir()]
    return tuple(sorted(files or places))


def _did(done: Added) -> bool:
    return bool(done.added or done.updated or done.removed)


def _sum(a: Added, b: Added) -> Added:
    return replace(
        b,
        added=a.added + b.added,
        updated=a.updated + b.updated,
        unchanged=a.unchanged + b.unchanged,
        removed=a.removed + b.removed,
        skipped=(*a.skipped, *b.skipped),
        notes=(*a.notes, *b.notes),
        unfamiliar=b.unfamiliar or a.unfamiliar,
        chunks=a.chunks + b.chunks,
        embedded=a.embedded + b.embedded,
        seconds=round(a.seconds + b.seconds, 3),
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file or folder it is; a file may be replaced, and is still the file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if os.path.isdir(path) else (0, 0)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
