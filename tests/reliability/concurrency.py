"""One of several processes that write, remove and search the same documents at the same time, and write a history."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from tests.reliability.checks import census, looks
from tests.reliability.documents import READERS, Face, document, opened
from tests.reliability.history import Event

from openbook.errors import NotFound
from openbook.knowledge_base import KnowledgeBase

SOURCES = [f"shared-{n:02}" for n in range(16)]
"""Few, so that the processes meet at each of them all the time."""
FOREVER = float("inf")


class Writer:
    """A process's part in the history. ``n`` tells it apart from the others; no two write the same face."""

    def __init__(self, kb: KnowledgeBase, n: int, random: Random, history: Path) -> None:
        self.kb, self.n, self.random = kb, n, random
        self.own: dict[str, Face] = {}
        """What it wrote last, by source."""
        self._revision = n * 1_000_000
        self._file = history.open("w", buffering=1)

    def note(self, start: float, end: float, kind: Any, faces: dict[str, Face | None], as_: str | None = None) -> None:
        print(json.dumps(Event(self.n, start, end, kind, faces, as_).to_json()), file=self._file)

    def complain(self, what: str) -> None:
        print(json.dumps({"wrong": f"process {self.n}: {what}"}), file=self._file)

    @contextmanager
    def writing(self, faces: dict[str, Face | None]) -> Iterator[None]:
        """A write of which nobody knows how it ended, unless it ends well."""
        start, end = time.monotonic(), FOREVER
        try:
            yield
            end = time.monotonic()
        finally:
            self.note(start, end, "put", faces)

    def new_face(self, readers: int) -> Face:
        self._revision += 1
        return Face(self._revision, len(READERS) * self._revision + readers)

    def put(self, faces: dict[str, Face]) -> None:
        access = next(iter(faces.values())).access
        with self.writing(dict(faces)):
            self.kb.add(*(document(source, face) for source, face in faces.items()), access=access)
        self.own.update(faces)


def put(writer: Writer) -> None:
    """New texts, of one to three documents at once."""
    readers = writer.random.randrange(len(READERS))
    sources = writer.random.sample(SOURCES, writer.random.randint(1, 3))
    writer.put({source: writer.new_face(readers) for source in sources})


def annotate(writer: Writer) -> None:
    """The text that this process wrote last, with new metadata; whatever the others wrote meanwhile is replaced."""
    if writer.own:
        source = writer.random.choice(list(writer.own))
        face = writer.new_face(writer.random.randrange(len(READERS)))
        writer.put({source: Face(writer.own[source].revision, face.note)})


def remove(writer: Writer) -> None:
    source = writer.random.choice(SOURCES)
    start = time.monotonic()
    try:
        removed = writer.kb.remove(source)
    except NotFound:
        removed = 0
    writer.note(start, time.monotonic(), "remove" if removed else "missed", {source: None})


def search(writer: Writer) -> None:
    as_ = writer.random.choice([None, None, "group:hr", "public"])
    start = time.monotonic()
    found = census(writer.kb, None if as_ is None else [as_])
    end = time.monotonic()
    faces: dict[str, Face | None] = {}
    for source, hits in found.items():
        faces[source], wrong = looks(source, hits)
        for line in wrong:
            writer.complain(f"search from {start:.4f} to {end:.4f}: {line}")
    writer.note(start, end, "seen", faces, as_)


OPERATIONS: dict[Callable[[Writer], None], float] = {put: 4, annotate: 2, remove: 1.5, search: 4}
"""What it does → how often."""


def main(order: dict[str, Any]) -> None:
    with opened(Path(order["db"]), order["url"]) as kb:
        writer = Writer(kb, order["n"], Random(order["seed"]), Path(order["history"]))
        print("ready", flush=True)
        sys.stdin.readline()  # all begin together
        for _ in range(order["operations"]):
            (operation,) = writer.random.choices(list(OPERATIONS), list(OPERATIONS.values()))
            try:
                operation(writer)
            except Exception:
                writer.complain(traceback.format_exc())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
