"""What must hold of a knowledge base after every kill: the ledger is kept, and nothing is half there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from psycopg import sql
from tests.reliability.documents import WORD, Face, Ledger, Seen, canaries, document, told_by

from openbook.knowledge_base import KnowledgeBase
from openbook.store.index import Index
from openbook.types import Hit

MOST = 5_000
"""Chunks at most; the harness keeps fewer."""

AUDIENCES = ("public", "group:hr", "group:it")

Kind = Literal["lost", "half-visible", "returned", "not opened", "invariant", "pointer", "left behind", "client"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must never be. ``kind``: an acknowledged write lost, a document half there, one back that was
    removed or forgotten, a store that does not open, an invariant of the tables, a pointer nobody set, a forgotten
    token that is still in a file, or what a client itself saw go wrong."""

    kind: Kind
    what: str


def census(kb: KnowledgeBase, as_: Sequence[str] | None = None) -> dict[str, list[Hit]]:
    """Every chunk that a search finds, by source."""
    found: dict[str, list[Hit]] = {}
    hits = kb.search(WORD, MOST, as_=as_, record=False).hits
    assert len(hits) < MOST, "more chunks than a census sees"
    for hit in hits:
        found.setdefault(hit.source, []).append(hit)
    return found


def looks(source: str, hits: Sequence[Hit]) -> tuple[Face, list[str]]:
    """The face that a document's hits have, and what is wrong with them."""
    face = told_by(hits[0].title, hits[0].metadata)
    meant = document(source, face)
    wrong = []
    if any(hit.title != meant.title or dict(hit.metadata) != dict(meant.metadata) for hit in hits):
        wrong.append(f"{source}: a hit has a title or metadata that are not of {face}")
    if len({(hit.document, hit.version) for hit in hits}) > 1:
        wrong.append(f"{source}: its hits are of several versions, or documents")
    if len({(hit.chunk.start, hit.chunk.end) for hit in hits}) < len(hits):
        wrong.append(f"{source}: a chunk is there twice")
    if any(meant.text[hit.chunk.start : hit.chunk.end] != hit.chunk.text for hit in hits):
        wrong.append(f"{source}: a chunk is not of the text of {face}")
    covered = {at for hit in hits for at in range(hit.chunk.start, hit.chunk.end)}
    if any(not character.isspace() and at not in covered for at, character in enumerate(meant.text)):
        wrong.append(f"{source}: a chunk is missing")
    for side in ("dense", "keyword"):
        if any(side not in hit.stages for hit in hits):
            wrong.append(f"{source}: not all of it is in {side} search")
    return face, wrong


def faults(
    kb: KnowledgeBase, ledgers: Sequence[Ledger], chance: Random | None = None
) -> tuple[list[Fault], dict[str, Seen]]:
    """What is wrong with a knowledge base of which these ledgers tell, while nobody changes it; and what is there.
    ``chance`` takes one of the audiences, and one of the releases besides the live one, instead of all."""
    found: list[Fault] = []
    faces = {source: seen for ledger in ledgers for source, seen in ledger.faces.items()}
    truth: dict[str, Seen] = {}
    rows = kb.list()
    texts = kb.texts([row["document"] for row in rows])
    for row in rows:
        source, face = row["source"], told_by(row["title"], row["metadata"])
        meant = document(source, face)
        found += [
            Fault("half-visible", f"{source}: its {part} is not of {face}")
            for part, is_, of_it in (
                ("text", texts[row["document"]], meant.text),
                ("title", row["title"], meant.title),
                ("metadata", row["metadata"], dict(meant.metadata)),
                ("access", tuple(row["access"]), meant.access),
            )
            if is_ != of_it
        ]
        if source not in faces:
            found.append(Fault("returned", f"{source}: nobody wrote it"))
        truth[source] = face
    found += _against_ledger(faces, truth)
    for ledger in ledgers:
        found += [Fault("half-visible", line) for line in _halves(ledger, truth)]

    found += _in_search(kb, truth)
    behind = kb.behind()
    # Whatever is whole can answer at once, and finds the same.
    whole = [one.name for one in kb.releases() if one.state in ("previous", "ready") and not behind[one.name]]
    for name in [chance.choice(whole)] if chance and whole else whole:
        other = KnowledgeBase(kb.database, kb.name, release=name)
        found += [Fault(one.kind, f"{name}: {one.what}") for one in _in_search(other, truth)]
    for audience in [chance.choice(AUDIENCES)] if chance else AUDIENCES:
        may = {source for source, face in truth.items() if face and {audience, "public"} & set(face.access)}
        does = set(census(kb, [audience]))
        if may != does:
            found.append(Fault("half-visible", f"{audience} finds {sorted(does ^ may)} wrongly, or not"))
    found += [Fault("invariant", line) for line in invariants(kb)]
    found += [
        Fault("invariant", f"verify: {check.name}: {check.count}, such as {check.examples[:1]}")
        for check in kb.verify().checks
        if not check.ok
    ]
    if kb.release not in ledgers[0].live:  # only the first client turns the pointer
        found.append(Fault("pointer", f"{kb.release} is live, where it may be {sorted(ledgers[0].live)}"))
    return found, truth


def _in_search(kb: KnowledgeBase, truth: Mapping[str, Seen]) -> list[Fault]:
    """Where search does not find what is there: whole, once, and by both its sides."""
    lines = []
    visible = census(kb)
    for source, hits in visible.items():
        face, wrong = looks(source, hits)
        lines += wrong
        if face != truth.get(source) and not wrong:
            lines.append(f"{source}: search finds {face}, the list says {truth.get(source)}")
    lines += [f"{source}: in no search" for source in truth if source not in visible]
    return [Fault("half-visible", line) for line in lines]


def _against_ledger(faces: Mapping[str, set[Seen]], truth: Mapping[str, Seen]) -> list[Fault]:
    found = []
    for source, possible in faces.items():
        seen = truth.get(source)
        if seen in possible:
            continue
        kind: Kind = "returned" if possible == {None} else "lost"
        found.append(Fault(kind, f"{source}: is {seen}, where it may be {possible}"))
    return found


def _halves(ledger: Ledger, truth: Mapping[str, Seen]) -> list[str]:
    """Operations of which a part was done: all documents of one are old, or all are new."""
    halves = []
    later: set[str] = set()
    for operation, before in reversed(ledger.unsure):
        mine = {source: face for source, face in operation.faces.items() if source not in later}
        later |= set(operation.faces)
        new = {source for source, face in mine.items() if truth.get(source) == face and face not in before[source]}
        old = {source for source, face in mine.items() if truth.get(source) != face}
        if new and old:
            halves.append(f"{operation.verb} is done for {sorted(new)} and not for {sorted(old)}")
    return halves


# What the tables hold at every moment, whoever died when; each statement finds the rows that break it. The first ones
# are asked of every index that is kept.
_INDEX_RULES = {
    "a chunk of a document that is removed, or of another version": (
        "SELECT d.source FROM {chunks} c JOIN openbook.document d ON d.id = c.document"
        " WHERE d.removed IS NOT NULL OR d.version <> c.version"
    ),
    "a chunk with another access than its document": (
        "SELECT d.source FROM {chunks} c JOIN openbook.document d ON d.id = c.document WHERE d.access <> c.access"
    ),
    "a chunk without a vector": "SELECT c.document::text FROM {chunks} c WHERE c.vector IS NULL",
    "two chunks in one place": (
        'SELECT c.document::text FROM {chunks} c GROUP BY c.document, c.start, c."end" HAVING count(*) > 1'
    ),
    "a document that was read, and has no chunks": (
        "SELECT i.document::text FROM openbook.indexed i WHERE i.index = {index}"
        " AND NOT EXISTS (SELECT FROM {chunks} c WHERE c.document = i.document)"
    ),
    "chunks of a document that was not read": (
        "SELECT c.document::text FROM {chunks} c LEFT JOIN openbook.indexed i"
        " ON i.index = {index} AND i.document = c.document AND i.version = c.version WHERE i.document IS NULL"
    ),
}
_RULES = {
    "a document that the live index has not read": (
        "SELECT d.source FROM openbook.document d LEFT JOIN openbook.indexed i"
        " ON i.document = d.id AND i.version = d.version AND i.index = {index}"
        " WHERE d.removed IS NULL AND d.kb = {kb} AND i.document IS NULL"
    ),
    "a reading of a removed document, or of another version": (
        "SELECT d.source FROM openbook.indexed i JOIN openbook.document d ON d.id = i.document"
        " WHERE d.kb = {kb} AND (d.removed IS NOT NULL OR d.version <> i.version)"
    ),
    "a document without its version": (
        "SELECT d.source FROM openbook.document d LEFT JOIN openbook.version v"
        " ON v.document = d.id AND v.version = d.version WHERE d.kb = {kb} AND v.document IS NULL"
    ),
    "an attribute of a removed document, or with another access": (
        "SELECT d.source FROM openbook.attribute a JOIN openbook.document d ON d.id = a.document"
        " WHERE d.kb = {kb} AND (d.removed IS NOT NULL OR d.access <> a.access)"
    ),
    "a change that is ahead of the position": (
        "SELECT c.document::text FROM openbook.change c JOIN openbook.knowledge_base k ON k.id = c.kb"
        " WHERE k.id = {kb} AND c.position > k.position"
    ),
    "a document without a change": (
        "SELECT d.source FROM openbook.document d LEFT JOIN openbook.change c ON c.document = d.id AND c.kb = d.kb"
        " WHERE d.kb = {kb} AND c.document IS NULL"
    ),
    "a table of chunks without an index": (
        "SELECT relname FROM pg_class WHERE relnamespace = 'openbook'::regnamespace AND relkind = 'r'"
        " AND relname ~ '^chunk_[0-9]+$'"
        " AND NOT EXISTS (SELECT FROM openbook.index i WHERE relname = 'chunk_' || i.id)"
    ),
}


def invariants(kb: KnowledgeBase) -> list[str]:
    """The rules that the tables break, one line each."""
    broken = []
    with kb.database.snapshot(None) as connection:
        kept = Index.kept(connection, kb.database, kb.kb)
        asked = [(rule, statement, index) for rule, statement in _INDEX_RULES.items() for index in kept]
        asked += [(rule, statement, kb.index) for rule, statement in _RULES.items()]
        for rule, statement, index in asked:
            named = sql.SQL(statement).format(chunks=index.table, index=index.id, kb=kb.kb)
            rows = connection.execute(named).fetchall()
            if rows:
                broken.append(f"index {index.id}: {rule}: {len(rows)}, such as {rows[0][0]}")
    return broken


def left_behind(folder: Path, sources: Mapping[str, Iterable[Face]]) -> list[Fault]:
    """Tokens of forgotten documents that stand in a file of the data folder, in whatever form it keeps text."""
    wanted = {token.encode(): source for source, faces in sources.items() for token in canaries(source, faces)}
    found = []
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink() or not wanted:
            continue
        content = path.read_bytes()
        for token, source in wanted.items():
            if token in content:
                found.append(Fault("left behind", f"{source}: {token.decode()} stands in {path.relative_to(folder)}"))
    return found
