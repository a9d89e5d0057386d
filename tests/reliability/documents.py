"""The documents that the harness writes, and what it knows of them: every one is made of its source and a ``Face``."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.embed.loopback import Server

import openbook
from openbook.errors import NotFound
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import IndexHalf, OpenAIEmbedder, QueryHalf, Recipe, StructureChunker
from openbook.types import Document

WORD = "register"
"""In every title, and so in the words of every chunk: one question finds them all."""

_VOCABULARY = (
    *("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbour"),
    *("inlet", "jetty", "knoll", "lagoon", "meadow", "notch", "orchard"),
)
READERS = (("public",), ("group:hr",), ("group:it", "user:ann"))
"""Who may read a document: one of these."""


@dataclass(frozen=True, slots=True)
class Face:
    """What a document looks like: ``revision`` tells its title and text, ``note`` its metadata and access."""

    revision: int
    note: int

    @property
    def access(self) -> tuple[str, ...]:
        return READERS[self.note % len(READERS)]

    def readable_as(self, other: Face) -> Face:
        """The same, but for who may read it: those who may read ``other``."""
        readers = len(READERS)
        return replace(self, note=self.note - self.note % readers + other.note % readers)


Seen = Face | None
"""``None``: it is in no search."""


def canary(*what: object) -> str:
    """A token that stands nowhere else."""
    return "z" + hashlib.sha256(repr(what).encode()).hexdigest()[:20]


def document(source: str, face: Face) -> Document:
    """One to four sections of a heading and a sentence, each with a canary of its own."""
    digest = hashlib.sha256(f"{source} {face.revision}".encode()).digest()
    sections = []
    for part in range(1 + digest[0] % 4):
        words = " ".join(_VOCABULARY[byte % len(_VOCABULARY)] for byte in digest[part * 6 + 1 : part * 6 + 7])
        sections.append(f"## Part {part + 1}\n\n{words} {canary(source, face.revision, part)}.")
    return Document(
        source=source,
        text="\n\n".join(sections) + "\n",
        title=f"{WORD} {face.revision} {canary(source, face.revision)}",
        metadata={"note": face.note, "stamp": canary(source, "note", face.note)},
        access=face.access,
    )


def told_by(title: str, metadata: Mapping[str, Any]) -> Face:
    """The face that a document says it has; whether it has it is to be looked at."""
    return Face(int(title.split()[1]), metadata["note"])


def canaries(source: str, faces: Iterable[Face]) -> list[str]:
    """Everything that tells of these faces, in text, title, metadata and source."""
    found = {source}
    for face in faces:
        found |= {canary(source, face.revision), canary(source, "note", face.note)}
        found |= {canary(source, face.revision, part) for part in range(4)}
    return sorted(found)


class Embeddings(Server):
    """Vectors that are the sum of their words': texts with words in common lie near each other."""

    def vector(self, text: str, dimension: int) -> list[float]:
        self.asked.clear()  # nobody reads it here, and a long run asks much
        words = text.lower().split() or [""]
        return [float(x) for x in np.sum([_vector_of(word, dimension) for word in words], axis=0)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed while it asked."""


@cache
def _vector_of(word: str, dimension: int) -> Any:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, dimension]).normal(size=dimension)


@contextmanager
def embeddings() -> Iterator[str]:
    """The address of a model's server that runs as long as the block."""
    server = Embeddings()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()


def recipe(url: str, dimension: int = 32, *, target_tokens: int = 40) -> Recipe:
    """How the harness reads: chunks of a section, a cheap model, every chunk a hit of its own."""
    return Recipe(
        index=IndexHalf(
            chunk=StructureChunker(target_tokens=target_tokens, max_tokens=64),
            embed=OpenAIEmbedder(model="words", base_url=url, dimensions=dimension),
            neighbours=0.0,
        ),
        query=QueryHalf(merge=0),
    )


def recipes(url: str) -> list[Recipe]:
    """Of releases: other models, other chunks, and one that only answers otherwise."""
    first = recipe(url)
    asked_otherwise = first.model_copy(update={"query": first.query.model_copy(update={"candidates": 400})})
    return [recipe(url, 24), recipe(url, 48, target_tokens=56), asked_otherwise, recipe(url, target_tokens=64)]


def opened(db: Path, url: str) -> KnowledgeBase:
    """A knowledge base whose first release is by ``recipe``, whichever one answers by now."""
    try:
        return openbook.open(db, create=False)
    except NotFound:
        return openbook.open(db, recipe=recipe(url))


# --- what may be there ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Operation:
    """What a client said it would do: the face that each source is to have after it."""

    verb: str
    faces: Mapping[str, Seen]
    live: str | None = None  # the release that is to answer

    def to_json(self) -> dict[str, Any]:
        faces = {source: _plain(face) for source, face in self.faces.items()}
        return {"verb": self.verb, "faces": faces, "live": self.live}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Operation:
        return cls(told["verb"], {source: _face(face) for source, face in told["faces"].items()}, told["live"])


@dataclass(slots=True)
class Ledger:
    """What may be found of each source. An acknowledged operation leaves one possibility; one of which the client never
    heard, the former ones and its own."""

    faces: dict[str, set[Seen]] = field(default_factory=dict)
    history: dict[str, set[Face]] = field(default_factory=dict)
    """Every face that a source was ever to have."""
    former: dict[str, set[Face]] = field(default_factory=dict)
    """What a removed source was before: what restoring it brings back."""
    forgotten: set[str] = field(default_factory=set)
    """Sources whose every trace is to be gone."""
    retired: set[str] = field(default_factory=set)
    """Sources that are never used again: forgotten ones, and former names of others."""
    live: set[str] = field(default_factory=lambda: {"r1"})
    unsure: list[tuple[Operation, dict[str, set[Seen]]]] = field(default_factory=list)
    """Operations without an acknowledgement, each with what was possible before it."""
    next: int = 0
    """No revision, note or source is used twice."""

    def begin(self, operation: Operation) -> None:
        before = {source: set(self.faces.get(source, {None})) for source in operation.faces}
        self.unsure.append((operation, before))
        for source, face in operation.faces.items():
            was = {one for one in before[source] if one is not None}
            if face is None and was:
                self.former[source] = was
            self.faces.setdefault(source, {None}).add(face)
            if operation.verb in ("forget", "rename") and face is None:
                self.retired.add(source)
            if face is not None:
                self.history.setdefault(source, set()).add(face)
                self.next = max(self.next, face.revision + 1, face.note // len(READERS) + 1)
        if operation.live:
            self.live.add(operation.live)

    def acknowledge(self) -> None:
        """The operation that was begun last is done."""
        operation, _ = self.unsure.pop()
        for source, face in operation.faces.items():
            self.faces[source] = {face}
            # What an earlier one may have left of it is superseded.
            self.unsure = [(other, before) for other, before in self.unsure if source not in other.faces]
        if operation.live:
            self.live = {operation.live}
        if operation.verb == "forget":
            self.forgotten |= set(operation.faces)

    def settle(self, found: Mapping[str, Seen], live: str) -> None:
        """What was looked at and found right is what there is."""
        self.faces = {source: {found.get(source)} for source in self.faces}
        self.live = {live}
        self.unsure.clear()

    def present(self) -> list[str]:
        """Sources that are surely there, in the order in which they came."""
        return [s for s, faces in self.faces.items() if None not in faces and s not in self.retired]

    def certain(self) -> dict[str, Face]:
        """Those of which it is known what they look like."""
        return {s: face for s in self.present() if len(self.faces[s]) == 1 for face in self.faces[s] if face}

    def absent(self) -> list[str]:
        """Sources that were there, are surely not, and may come again."""
        return [s for s, faces in self.faces.items() if faces == {None} and s not in self.retired]

    def to_json(self) -> dict[str, Any]:
        return {
            "faces": {source: [_plain(face) for face in faces] for source, faces in self.faces.items()},
            "history": {source: [_plain(face) for face in faces] for source, faces in self.history.items()},
            "former": {source: [_plain(face) for face in faces] for source, faces in self.former.items()},
            "forgotten": sorted(self.forgotten),
            "retired": sorted(self.retired),
            "live": sorted(self.live),
            "next": self.next,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Ledger:
        """What was unsure is not carried over: a ledger is handed on when it is settled."""
        return cls(
            faces={source: {_face(face) for face in faces} for source, faces in told["faces"].items()},
            history={s: {f for f in map(_face, faces) if f} for s, faces in told["history"].items()},
            former={s: {f for f in map(_face, faces) if f} for s, faces in told["former"].items()},
            forgotten=set(told["forgotten"]),
            retired=set(told["retired"]),
            live=set(told["live"]),
            next=told["next"],
        )


def _plain(face: Seen) -> list[int] | None:
    return None if face is None else [face.revision, face.note]


def _face(told: list[int] | None) -> Seen:
    return None if told is None else Face(*told)
