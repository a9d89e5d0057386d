"""Which files a root holds, found without opening them: a walk that minds ``.gitignore``, links and rights."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from pathspec import GitIgnoreSpec

from openbook.errors import SourceError
from openbook.types import Skipped

_TEXTS = (".md", ".markdown", ".txt", ".rst", ".html", ".htm", ".csv", ".tsv", ".json", ".jsonl")
SUFFIXES = frozenset((*_TEXTS, ".pdf", ".docx", ".pptx", ".xlsx"))
"""What can be read, in lower case; a file's own may be in any case."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that can be read, and what tells cheaply whether it has changed.

    ``path`` is absolute and free of links; ``name`` is what a reader is shown: relative to the folder that holds the
    root, with ``/`` between its parts, on one line.
    """

    path: Path
    size: int  # bytes
    mtime_ns: int
    inode: int
    name: str

    @property
    def uri(self) -> str:
        """``file:///…``, percent-encoded: the ``source`` of the document that the file holds."""
        return self.path.as_uri()


GONE = "no longer there; add again if it was moved"


def shown(path: str | os.PathLike[str]) -> str:
    """A path on one line: control characters, line breaks and undecodable bytes are escaped."""
    text = os.fspath(path)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown_uri(uri: str) -> str:
    """The path of a ``file://`` URI, on one line."""
    return shown(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))


def file_at(path: Path) -> SourceFile:
    """The file at ``path``.

    Raises:
        OSError: it is not there, or may not be looked at.
    """
    resolved = path.resolve(strict=True)
    return _file(resolved, os.stat(resolved), shown(resolved.name))


def _file(path: Path, found: os.stat_result, name: str) -> SourceFile:
    return SourceFile(path, found.st_size, found.st_mtime_ns, found.st_ino, name)


def scan(
    root: str | Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    only: Collection[str] | None = None,
) -> Iterator[SourceFile | Skipped]:
    """The files below ``root`` that can be read, in sorted order, each once, without opening them.

    A root that is a file is yielded whatever its name, if its type is known. In a folder, hidden files, files of
    unknown types and what a ``.gitignore`` in it or below it names are passed over in silence (a ``.gitignore`` above
    the root is not asked: corpora often live in ignored folders). ``include`` and ``exclude`` are patterns as in
    ``.gitignore``, relative to the root: with ``include``, only matching files count. ``only`` names places in the root
    (``"a/b.md"``, or a folder with all that is below it): nothing else is looked at.

    Links are followed. What they lead to is yielded once; a link to a folder above itself, a broken link, a special
    file and an unreadable folder are reported as ``Skipped``.

    Raises:
        SourceError: the root does not exist or cannot be looked at, or a pattern makes no sense.
    """
    root = Path(root)
    wanted, unwanted = _patterns(include, "include"), _patterns(exclude, "exclude")
    try:
        resolved = root.resolve(strict=True)
        found = os.stat(resolved)
    except FileNotFoundError:
        raise SourceError("does not exist", where=shown(root), do="check the path") from None
    except (OSError, RuntimeError, ValueError) as error:  # a loop, a NUL in the name
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SourceError(f"cannot be read ({why})", where=shown(root), do="check the path and its rights") from None
    return _scan(resolved, found, wanted, unwanted, None if only is None else frozenset(only))


def _patterns(lines: Sequence[str], name: str) -> GitIgnoreSpec | None:
    lines = [lines] if isinstance(lines, str) else lines
    try:
        return GitIgnoreSpec.from_lines(lines) if lines else None
    except ValueError as error:
        raise SourceError(f"a pattern makes no sense ({error})", where=name, do="write it as in .gitignore") from None


def _scan(
    root: Path,
    found: os.stat_result,
    wanted: GitIgnoreSpec | None,
    unwanted: GitIgnoreSpec | None,
    only: frozenset[str] | None,
) -> Iterator[SourceFile | Skipped]:
    if stat.S_ISDIR(found.st_mode):
        yield from _Walk(root, wanted, unwanted, only).folder(root, "", (), frozenset(), only is None)
    elif not stat.S_ISREG(found.st_mode):
        yield Skipped(shown(root), "not a regular file; name a file or a folder")
    elif root.suffix.lower() not in SUFFIXES:
        kind = shown(root.suffix) or "(no suffix)"
        yield Skipped(shown(root), f"unknown type {kind}; convert it to one of: {_known()}")
    else:
        yield _file(root, found, shown(root.name))


def _known() -> str:
    return " ".join(sorted(suffix[1:] for suffix in SUFFIXES))


class _Walk:
    """One walk through a folder: what was seen, and what is wanted."""

    def __init__(
        self, root: Path, wanted: GitIgnoreSpec | None, unwanted: GitIgnoreSpec | None, only: frozenset[str] | None
    ) -> None:
        self.root = root
        self.wanted = wanted
        self.unwanted = unwanted
        self.only = only or frozenset()
        self.towards = {place[:at] for place in self.only for at, letter in enumerate(place) if letter == "/"}
        self.seen: set[str] = set()

    def folder(
        self, path: Path, inside: str, specs: tuple[tuple[str, GitIgnoreSpec], ...], above: frozenset[str], whole: bool
    ) -> Iterator[SourceFile | Skipped]:
        """``inside`` is the folder's place in the root (``""`` or ``"a/b/"``), ``above`` the folders it stands in;
        unless it is looked at ``whole``, only what was named in it is."""
        above |= {str(path)}
        if str(path) in self.seen:
            return
        self.seen.add(str(path))
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Skipped(shown(path), f"the folder cannot be read ({error.strerror}); check its rights")
            return
        if any(entry.name == ".gitignore" for entry in entries):
            spec = _gitignore(path / ".gitignore")
            specs = ((inside, spec), *specs) if spec else specs
        for entry in entries:
            if entry.name.startswith((".", "~$")):  # hidden, or the lock of an Office program
                continue
            place = inside + entry.name
            if not (whole or place in self.only or place in self.towards):
                continue
            try:
                folder = entry.is_dir()
                if self._ignored(place + "/" * folder, specs):
                    continue
                if folder:
                    target = Path(entry.path).resolve() if entry.is_symlink() else path / entry.name
                    if str(target) in above:
                        reason = f"a link to {shown(target)}, which holds it: a loop; remove the link or exclude it"
                        yield Skipped(shown(entry.path), reason)
                    else:
                        yield from self.folder(target, place + "/", specs, above, whole or place in self.only)
                elif self._is_wanted(entry.name, place):
                    yield from self._entry(entry, path, place)
            except FileNotFoundError:
                what = "the link leads nowhere; mend or remove it" if entry.is_symlink() else GONE
                yield Skipped(shown(entry.path), what)
            except (OSError, RuntimeError) as error:  # a link to itself
                why = getattr(error, "strerror", None) or error
                yield Skipped(shown(entry.path), f"cannot be read ({shown(str(why))}); check the link or its rights")

    def _entry(self, entry: os.DirEntry[str], path: Path, place: str) -> Iterator[SourceFile | Skipped]:
        link = entry.is_symlink()
        found = entry.stat()
        if not stat.S_ISREG(found.st_mode):
            yield Skipped(shown(entry.path), "not a regular file; exclude it")
            return
        target = Path(entry.path).resolve(strict=True) if link else path / entry.name
        if str(target) not in self.seen:
            self.seen.add(str(target))
            if link and target.is_relative_to(self.root):
                place = target.relative_to(self.root).as_posix()
            yield _file(target, found, shown(f"{self.root.name}/{place}" if self.root.name else place))

    def _is_wanted(self, name: str, place: str) -> bool:
        known = os.path.splitext(name)[1].lower() in SUFFIXES
        return known and (self.wanted is None or self.wanted.match_file(place))

    def _ignored(self, place: str, specs: tuple[tuple[str, GitIgnoreSpec], ...]) -> bool:
        """Whether the patterns leave it out; the deepest ``.gitignore`` that says anything about it decides."""
        if self.unwanted is not None and self.unwanted.match_file(place):
            return True
        for inside, spec in specs:
            include = spec.check_file(place[len(inside) :]).include
            if include is not None:
                return include
        return False


def _gitignore(path: Path) -> GitIgnoreSpec | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # unreadable: as if it were not there, as git has it
        return None
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError:
        kept = []
        for line in lines:  # git passes over a line that it cannot read
            try:
                GitIgnoreSpec.from_lines([line])
            except ValueError:
                continue
            kept.append(line)
        return GitIgnoreSpec.from_lines(kept)
