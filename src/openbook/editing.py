"""Edits, histories and restoring: what happens to a document after it was added.

Nothing that was is overwritten: a new text or title is a new version, a restored one too, and a citation made under an
old version goes on finding its text. What was edited stands until the source itself says something else of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from openbook.errors import NotFound, QueryError
from openbook.store.edits import Content, Edit, Value
from openbook.types import storable

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase


@dataclass(frozen=True, slots=True)
class Edited:
    """What came of an edit: the document's id and source, its version now and before; what of it changed (``source``,
    ``title``, ``text``, ``metadata``, ``access``, ``removed``); how many texts had to be embedded."""

    document: str
    source: str
    version: int
    before: int
    changed: tuple[str, ...]
    embedded: int


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a document. ``added`` and ``removed`` count lines against the version before; ``same_as`` is the
    first version with the same text and title, where there is an earlier one."""

    version: int
    created: datetime
    title: str
    characters: int
    added: int
    removed: int
    same_as: int | None
    current: bool


@dataclass(frozen=True, slots=True)
class History:
    """The versions of a document, oldest first. ``removed``: since when it is hidden. ``edited`` names what was edited
    and still stands over what its source says; ``former`` are the sources that it had before."""

    document: str
    source: str
    versions: tuple[Version, ...]
    removed: datetime | None
    edited: tuple[str, ...]
    former: tuple[str, ...]


def edit(
    kb: KnowledgeBase,
    name: str,
    *,
    source: str | None = None,
    title: str | None = None,
    metadata: Mapping[str, Value | None] | None = None,
    access: Sequence[str] | None = None,
    text: str | None = None,
) -> Edited:
    """As ``KnowledgeBase.edit``."""
    from openbook.ingest import storable_metadata
    from openbook.store.access import readers

    id, former = kb.named(name)
    if source is not None:
        source = storable(source)
        if not source.strip():
            raise QueryError("a source without a name", where=former, do="give it one")
        source = None if source == former else source
    if title is not None:
        title = " ".join(storable(title).split())
        if not title:
            raise QueryError("an empty title", where=former, do="give it one")
    dropped: dict[str, Value | None] = {storable(key): None for key, value in (metadata or {}).items() if value is None}
    kept = storable_metadata({key: value for key, value in (metadata or {}).items() if value is not None}, former)
    content = None
    if text is not None:
        text = storable(text).replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
        if not text.strip():
            raise QueryError("an empty text", where=former, do="to hide the document: openbook remove")
        content = _content(kb, id, text)
    return _apply(
        kb,
        Edit(
            document=id,
            source=source,
            title=title,
            metadata={**_path(kb, id, source), **kept, **dropped},
            access=None if access is None else readers(access),
            content=content,
        ),
    )


def restore(kb: KnowledgeBase, name: str, version: int | None = None) -> Edited:
    """As ``KnowledgeBase.restore``."""
    id, source = kb.named(name, removed=True)
    about = kb.documents.about(id, None)
    if about is None:
        raise NotFound("no such document", where=name, do="openbook list shows the sources")
    if version is None and about.removed is None:
        raise QueryError("is not removed", where=source, do="name a version to bring back: openbook history shows them")
    title, content = None, None
    if version is not None and version != about.version:
        then = kb.documents.get(id, None, version)
        if then is None:
            raise NotFound(f"no version {version} of it", where=source, do="openbook history shows those there are")
        title, content = then.title, Content.of(then)
    return _apply(kb, Edit(document=id, title=title, content=content, restores=True))


def history(kb: KnowledgeBase, name: str, principals: Sequence[str] | None) -> History:
    """As ``KnowledgeBase.history``."""
    id, _ = kb.named(name, principals, removed=True)
    about = kb.documents.about(id, principals)
    versions: list[Version] = []
    seen: dict[str, int] = {}
    lines: Counter[str] = Counter()
    for number, created, title, text, hash in kb.documents.versions(id, principals):
        before, lines = lines, Counter(text.splitlines())
        # Lines that only one of two versions has: counted in one pass, where an edit script takes the square of it.
        more, less = (lines - before).total(), (before - lines).total()
        first = seen.setdefault(hash, number)
        current = about is not None and number == about.version
        same_as = None if first == number else first
        versions.append(Version(number, created, title, len(text), more, less, same_as, current))
    if about is None or not versions:
        raise NotFound("no such document", where=name, do="openbook list shows the sources")
    held = about.held
    edited = [*(["title"] if held.title is not None else []), *(["text"] if held.text is not None else [])]
    edited += sorted(held.metadata.keys() - ({"path"} if about.former else set()))  # which goes with its name
    edited += ["access"] if held.access is not None else []
    return History(id, about.source, tuple(versions), about.removed, tuple(edited), about.former)


def _apply(kb: KnowledgeBase, edit: Edit) -> Edited:
    from openbook.indexing import Indexing, Run

    before, now = kb.documents.get(edit.document, None), kb.documents.about(edit.document, None)
    if before is None or now is None:
        raise NotFound("no such document", where=edit.document, do="openbook list shows the sources")
    done = Indexing(kb.writer, kb.live.readers, Run()).edit(edit, before)
    after, then = kb.documents.get(edit.document, None), kb.documents.about(edit.document, None)
    if after is None or then is None:
        raise NotFound("was forgotten meanwhile", where=before.source, do="openbook list shows the sources")
    parts = ("source", "title", "text", "metadata", "access")
    if after.source != before.source:  # the path that is shown follows it
        before, after = (replace(one, metadata={**one.metadata, "path": ""}) for one in (before, after))
    changed = [part for part in parts if getattr(before, part) != getattr(after, part)]
    changed += ["removed"] if now.removed is not None and then.removed is None else []
    return Edited(edit.document, after.source, then.version, now.version, tuple(changed), done.embedded)


def _path(kb: KnowledgeBase, id: str, source: str | None) -> dict[str, Value | None]:
    """What a reader is shown of a renamed document is its new source: the path of its file goes, and comes back with
    the file's own name."""
    about = kb.documents.about(id, None)
    if source is None or about is None:
        return {}
    return {"path": about.held.metadata.get("path") if source in about.former else None}


def _content(kb: KnowledgeBase, id: str, text: str) -> Content | None:
    """A text that takes the place of a document's, with the headings of its format; ``None``: it is the same."""
    from openbook.load.markdown import headings, outline

    before = kb.documents.get(id, None)
    if before is not None and before.text == text:
        return None
    is_markdown = before is not None and before.metadata.get("type") in ("md", "markdown")
    return Content(text, headings(text) if is_markdown else outline(text))
