"""Edits of documents: what was said of one over what its source says.

A document that came from a file is edited here, not in the file. So that the next ``add`` neither undoes the edit nor
goes on fighting it, the row remembers of each thing that was edited what the source had said of it (``Held``). As long
as the source says that same thing, the edit stands; when it says another, the source had the last word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from openbook.types import Document, Heading, Metadata, Scalar

Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """A text with the headings and pages that count in it."""

    text: str
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()

    @classmethod
    def of(cls, document: Document) -> Content:
        return cls(document.text, document.headings, document.pages)

    @property
    def hash(self) -> str:
        """Hex SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Edit:
    """What changes in the document of this id; what is ``None`` stays. Metadata are merged, and a key whose value is
    ``None`` is dropped. ``restores``: a removed document is there again."""

    document: str
    source: str | None = None
    title: str | None = None
    metadata: Mapping[str, Value | None] = field(default_factory=dict)
    access: tuple[str, ...] | None = None
    content: Content | None = None
    restores: bool = False

    def applied(self, document: Document) -> Document:
        """The document as it is after the edit."""
        content = self.content or Content.of(document)
        merged = {**document.metadata, **self.metadata}
        return replace(
            document,
            source=document.source if self.source is None else self.source,
            title=document.title if self.title is None else self.title,
            metadata={key: value for key, value in merged.items() if value is not None},
            access=document.access if self.access is None else self.access,
            text=content.text,
            headings=content.headings,
            pages=content.pages,
        )


@dataclass(frozen=True, slots=True)
class Held:
    """Of what was edited: what the source had said of it. ``None``: it was not edited; as a value of metadata: the
    source said nothing. ``text`` is a hash, and ``access`` who was to read it by what was last said with an ``add``."""

    title: str | None = None
    text: str | None = None
    metadata: Mapping[str, Value | None] = field(default_factory=dict)
    access: tuple[str, ...] | None = None

    def __bool__(self) -> bool:
        return self != NOTHING_HELD

    @classmethod
    def read(cls, row: dict[str, Any] | None) -> Held:
        if row is None:
            return cls()
        metadata = {k: tuple(v) if isinstance(v, list) else v for k, v in row.get("metadata", {}).items()}
        access = row.get("access")
        return cls(row.get("title"), row.get("text"), metadata, None if access is None else tuple(access))

    def row(self) -> dict[str, Any] | None:
        """As the database keeps it; ``None``: nothing is held."""
        found: dict[str, Any] = {}
        if self.title is not None:
            found["title"] = self.title
        if self.text is not None:
            found["text"] = self.text
        if self.metadata:
            found["metadata"] = {k: list(v) if isinstance(v, tuple) else v for k, v in self.metadata.items()}
        if self.access is not None:
            found["access"] = list(self.access)
        return found or None

    def after(self, edit: Edit, before: Document, now: Document) -> Held:
        """What is held when ``edit`` has made ``now`` of ``before``."""
        title, text, metadata, access = self.title, self.text, dict(self.metadata), self.access
        if edit.title is not None:
            title = before.title if title is None else title
            title = None if title == now.title else title
        if edit.content is not None:
            text = Content.of(before).hash if text is None else text
            text = None if text == edit.content.hash else text
        for key in edit.metadata:
            metadata.setdefault(key, before.metadata.get(key))
            if metadata[key] == now.metadata.get(key):
                del metadata[key]
        if edit.access is not None:
            access = _readers(before) if access is None else access
            access = None if access == _readers(now) else access
        return Held(title, text, metadata, access)

    def over(
        self,
        said: Document,
        now: Metadata,
        title: str,
        content: Content | None,
        access: tuple[str, ...],
        unsaid: Collection[str] = (),
    ) -> tuple[Document, Held]:
        """What the source says now, with the edits that still stand over it; and those. ``now``, ``title``, ``content``
        and ``access`` are what the database has; of the rules that are ``unsaid`` the source says nothing."""
        kept = Held(
            self.title if self.title == said.title else None,
            self.text if content is not None and self.text == Content.of(said).hash else None,
            {key: was for key, was in self.metadata.items() if said.metadata.get(key) == was},
            self.access if "access" in unsaid or self.access == _readers(said) else None,
        )
        edit = Edit(
            "",
            title=title if kept.title is not None else None,
            content=content if kept.text is not None else None,
            metadata={key: now.get(key) for key in kept.metadata},
            access=access if kept.access is not None else None,
        )
        return edit.applied(said), kept


def _readers(document: Document) -> tuple[str, ...]:
    return tuple(sorted(set(document.access)))


NOTHING_HELD = Held()
