"""What a client of the harness does, at random, and how it tells of it: a verb is a function of ``Client``.

The journal is written before an operation begins and when it was acknowledged. Whoever reads it after the client was
killed knows what must be there, and what may be. It is written without a sync: what a process has handed to the kernel
outlives the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from tests.reliability.checks import MOST, census, looks
from tests.reliability.documents import READERS, Face, Ledger, Operation, Seen, canary, document, recipes, told_by

from openbook.errors import StoreError
from openbook.knowledge_base import KnowledgeBase

MOST_RELEASES = 4

MOST_SOURCES = 20
"""Of one client. Few, so that each is edited, removed and brought back often."""


class Journal:
    """An append-only file of JSON lines: what one client was about to do, and what became of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **entry: Any) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")


class Client:
    """One process at work on one knowledge base; the sources it writes are its own."""

    def __init__(
        self, open: Callable[[], KnowledgeBase], url: str, name: str, ledger: Ledger, journal: Journal, random: Random
    ) -> None:
        self.open, self.url, self.name = open, url, name
        self.ledger, self.journal, self.random = ledger, journal, random
        self.kb = open()

    @property
    def leads(self) -> bool:
        """Whether it has releases built and promoted: one client does."""
        return self.name.endswith("0")

    @property
    def exports(self) -> Path:
        """The folder of what this client exports."""
        return self.journal.path.with_name(f"{self.journal.path.name}-exports")

    @contextmanager
    def intends(self, verb: str, faces: Mapping[str, Seen], live: str | None = None) -> Iterator[None]:
        """An operation that is to leave these sources with these faces."""
        operation = Operation(verb, faces, live)
        self.journal.write(begin=operation.to_json())
        self.ledger.begin(operation)
        yield  # an error leaves it unsure
        self.journal.write(done=verb)
        self.ledger.acknowledge()

    def step(self) -> None:
        """One operation, by chance. What the store could not do is told in the journal, and the next one follows."""
        (verb,) = self.random.choices(list(OPERATIONS), [weight for weight, _ in OPERATIONS.values()])
        try:
            OPERATIONS[verb][1](self)
        except StoreError as error:
            self.journal.write(refused=verb, error=f"{type(error).__name__}: {error}")
        except Exception:
            self.journal.write(wrong=f"{verb}: {traceback.format_exc()}")

    def some(self, sources: Iterable[str], most: int = 3) -> list[str]:
        choice = list(sources)
        return self.random.sample(choice, min(len(choice), self.random.randint(1, most)))

    def new_source(self) -> str:
        self.ledger.next += 1
        return f"{self.name}-{self.ledger.next}-{canary(self.name, self.ledger.next)}"

    def new_faces(self, sources: Iterable[str]) -> dict[str, Face]:
        """For each source a text and metadata that it never had; open to the same readers, since ``add`` says so of
        all that it is given."""
        readers = self.random.randrange(len(READERS))
        faces = {}
        for source in sources:
            self.ledger.next += 1
            faces[source] = Face(self.ledger.next, len(READERS) * self.ledger.next + readers)
        return faces

    def put(self, verb: str, faces: Mapping[str, Face]) -> None:
        if faces:
            with self.intends(verb, faces):
                access = next(iter(faces.values())).access
                self.kb.add(*(document(source, face) for source, face in faces.items()), access=access)


def add(client: Client) -> None:
    if len(client.ledger.present()) < MOST_SOURCES:
        client.put("add", client.new_faces([client.new_source() for _ in range(client.random.randint(1, 3))]))


def put_back(client: Client) -> None:
    """Removed documents are added anew, with another text."""
    client.put("put back", client.new_faces(client.some(client.ledger.absent())))


def rewrite(client: Client) -> None:
    """Other texts; also where an earlier operation left it open what is there."""
    gone, retired = {None}, client.ledger.retired
    either = [source for source, faces in client.ledger.faces.items() if faces != gone and source not in retired]
    client.put("rewrite", client.new_faces(client.some(either)))


def annotate(client: Client) -> None:
    """Other metadata and access; the text stays."""
    certain = client.ledger.certain()
    new = client.new_faces(client.some(certain))
    client.put("annotate", {source: replace(face, revision=certain[source].revision) for source, face in new.items()})


def edit(client: Client) -> None:
    """All of a document changed where it lies, or its metadata only. Readers stay: an edit of them stands over what an
    ``add`` says again, so that what is there would depend on what was said before."""
    certain = client.ledger.certain()
    for source, new_face in client.new_faces(client.some(certain, 1)).items():
        whole = client.random.random() < 0.5
        face = new_face.readable_as(certain[source])
        face = face if whole else replace(face, revision=certain[source].revision)
        new = document(source, face)
        with client.intends("edit", {source: face}):
            if whole:
                client.kb.edit(source, title=new.title, text=new.text, metadata=new.metadata)
            else:
                client.kb.edit(source, metadata=new.metadata)


def rename(client: Client) -> None:
    """The former source goes on meaning the document, so it is not used again."""
    certain = client.ledger.certain()
    for source in client.some(certain, 1):
        new_source = client.new_source()
        (new_face,) = client.new_faces([new_source]).values()
        face = new_face.readable_as(certain[source])
        new = document(new_source, face)
        with client.intends("rename", {source: None, new_source: face}):
            client.kb.edit(source, source=new_source, title=new.title, text=new.text, metadata=new.metadata)


def restore(client: Client) -> None:
    """A removed document comes back as it was; of one that is there, the text of an earlier version does."""
    there, certain = client.ledger.absent(), client.ledger.certain()
    removed = [source for source in there if len(client.ledger.former.get(source, ())) == 1]
    for source in client.some(removed, 1):
        (face,) = client.ledger.former[source]
        with client.intends("restore", {source: face}):
            client.kb.restore(source)
    for source in client.some(certain, 1):
        versions = {version: told_by(version.title, {"note": 0}) for version in client.kb.history(source).versions}
        # Those from before it was renamed tell of its former source.
        own = [version for version, face in versions.items() if version.title == document(source, face).title]
        earlier = client.random.choice(own)
        face = replace(certain[source], revision=versions[earlier].revision)
        with client.intends("restore", {source: face}):
            client.kb.restore(source, earlier.version)


def forget(client: Client) -> None:
    """Documents that are there, or were removed: nothing of any of their versions is to be left."""
    removed = [source for source in client.ledger.absent() if source in client.ledger.former]
    sources = client.some([*client.ledger.certain(), *removed], 2)
    if sources:
        with client.intends("forget", dict.fromkeys(sources)):
            receipt = client.kb.forget(*sources)
            if receipt is None or not receipt.complete:
                raise StoreError("the erasure is not complete", where=str(receipt), do="run it again")


def remove(client: Client) -> None:
    sources = client.some(client.ledger.present())
    if sources:
        with client.intends("remove", dict.fromkeys(sources)):
            client.kb.remove(*sources)


def search(client: Client) -> None:
    """What this client wrote it reads: the others' documents are in motion. Its questions are kept, and quote."""
    found = census(client.kb)
    for source, possible in client.ledger.faces.items():
        hits = found.get(source)
        seen, wrong = looks(source, hits) if hits else (None, [])
        if seen not in possible:
            wrong = [f"{source}: is {seen}, where it may be {possible}", *wrong]
        for line in wrong:
            client.journal.write(wrong=f"search: {line}")
    for source in client.some(client.ledger.certain(), 1):
        (face,) = client.ledger.faces[source]
        assert face is not None
        hits = client.kb.search(f"Where stands {canary(source, face.revision, 0)}?", MOST).hits
        if not any(hit.source == source and hit.stages["keyword"].rank == 1 for hit in hits if "keyword" in hit.stages):
            client.journal.write(wrong=f"search: {source} is not found by its own word")


def reopen(client: Client) -> None:
    client.kb.close()
    client.kb = client.open()


def build(client: Client) -> None:
    """A release beside the live one; one that an earlier build left half done is gone on with."""
    there = {release.recipe.hash: release.state for release in client.kb.releases()}
    wanted = [recipe for recipe in recipes(client.url) if there.get(recipe.hash, "building") == "building"]
    if client.leads and wanted and len(there) < MOST_RELEASES:
        with client.intends("build", {}):
            client.kb.build(client.random.choice(wanted))


def promote(client: Client) -> None:
    ready = [release.name for release in client.kb.releases() if release.state in ("ready", "previous")]
    if client.leads and ready:
        name = client.random.choice(ready)
        with client.intends("promote", {}, live=name):
            client.kb.promote(name)


def rollback(client: Client) -> None:
    previous = [release.name for release in client.kb.releases() if release.state == "previous"]
    if client.leads and previous:
        with client.intends("rollback", {}, live=previous[0]):
            client.kb.rollback()


def prune(client: Client) -> None:
    """What is not in use; now and then also what a rollback would return to."""
    previous = [release.name for release in client.kb.releases() if release.state == "previous"]
    if client.leads:
        with client.intends("prune", {}):
            client.kb.prune(*(previous if client.random.random() < 0.3 else ()))


def export(client: Client) -> None:
    """Into a new file, or now and then in the place of the former one."""
    client.exports.mkdir(exist_ok=True)
    force = client.random.random() < 0.3
    path = client.exports / ("again" if force else f"{client.random.getrandbits(32):x}")
    with client.intends("export", {}):
        done = client.kb.export(path, force=force)
        client.journal.write(exported=str(path), checksum=done.checksum)


OPERATIONS: dict[str, tuple[float, Callable[[Client], None]]] = {
    "add": (4, add),
    "put back": (2, put_back),
    "rewrite": (4, rewrite),
    "annotate": (2, annotate),
    "remove": (2, remove),
    "search": (2, search),
    "reopen": (0.3, reopen),
    "edit": (3, edit),
    "rename": (1, rename),
    "restore": (2, restore),
    "forget": (0.4, forget),
    "build": (2, build),
    "promote": (1, promote),
    "rollback": (0.7, rollback),
    "prune": (0.5, prune),
    "export": (0.5, export),
}
"""Verb → how often, and what it does."""


def checksum(export: Path) -> str:
    """The SHA-256 that an export ends with; "": it is none, or not whole."""
    content = export.read_bytes()
    told = hashlib.sha256(content[:-64]).hexdigest()
    return told if content[-64:] == told.encode() else ""


def read(journal: Path, ledger: Ledger) -> tuple[int, int, list[str], list[str]]:
    """Bring a ledger to where a journal ends: operations begun and acknowledged, what was refused, what went wrong."""
    begun = done = 0
    exported: dict[str, str] = {}  # file → its checksum
    refused, wrong = [], []
    for line in journal.read_text().splitlines():
        entry = json.loads(line)
        if "begin" in entry:
            ledger.begin(Operation.from_json(entry["begin"]))
            begun += 1
        elif "done" in entry:
            ledger.acknowledge()
            done += 1
        elif "exported" in entry:
            exported[entry["exported"]] = entry["checksum"]
        elif "refused" in entry:
            refused.append(f"{entry['refused']}: {entry['error']}")
        else:
            wrong.append(entry["wrong"])
    for path, told in exported.items():
        replaced = path.endswith("again")  # by one that was not acknowledged
        if not os.path.exists(path) or not (checksum(Path(path)) if replaced else checksum(Path(path)) == told):
            wrong.append(f"export: {path} is not what was acknowledged")
    return begun, done, refused, wrong
