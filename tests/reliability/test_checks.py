"""The harness finds what it is there to find: each kind of damage, done by hand to a knowledge base that was right."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from tests.reliability.checks import Kind, faults, left_behind
from tests.reliability.documents import Face, Ledger, Operation, canary, recipe
from tests.reliability.operations import OPERATIONS, Client, Journal, read

from openbook.knowledge_base import KnowledgeBase
from openbook.store.database import Database
from openbook.store.index import keyword_folder


@pytest.fixture
def client(database: Database, url: str, tmp_path: Path) -> Iterator[Client]:
    """Some documents, one of them with several versions, some removed; a release beside the live one."""
    name = uuid.uuid4().hex
    client = Client(
        lambda: KnowledgeBase(database, name, recipe=recipe(url)),
        url,
        "c0",
        Ledger(),
        Journal(tmp_path / "journal"),
        Random(5),
    )
    for verb in ("add", "add", "add", "rewrite", "annotate", "build", "remove", "add"):
        OPERATIONS[verb][1](client)
    assert client.ledger.absent()
    yield client
    client.kb.traces.close()


def kinds(client: Client) -> set[Kind]:
    return {fault.kind for fault in faults(client.kb, [client.ledger])[0]}


def test_nothing_is_found_where_nothing_is_wrong(client: Client) -> None:
    assert kinds(client) == set()


def test_the_journal_tells_what_the_client_knows(client: Client) -> None:
    ledger = Ledger()
    begun, done, refused, wrong = read(client.journal.path, ledger)
    assert begun == done
    assert (refused, wrong) == ([], [])
    assert (ledger.faces, ledger.live) == (client.ledger.faces, client.ledger.live)


def test_an_export_that_is_not_what_was_acknowledged_is_found(client: Client) -> None:
    for _ in range(3):
        OPERATIONS["export"][1](client)
    assert read(client.journal.path, Ledger())[3] == []
    for path in client.exports.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert "is not what was acknowledged" in read(client.journal.path, Ledger())[3][0]


DAMAGE: dict[str, tuple[str, set[Kind]]] = {
    "an acknowledged document is gone": (
        "DELETE FROM openbook.document WHERE id = {there}",
        {"lost"},
    ),
    "an acknowledged metadata is gone": (
        "UPDATE openbook.document SET metadata = metadata || '{{\"note\": 1}}' WHERE id = {there}",
        {"lost", "half-visible"},
    ),
    "a removed document is back": (
        "UPDATE openbook.document SET removed = NULL WHERE id = {removed}",
        {"returned", "half-visible", "invariant"},
    ),
    "a chunk is missing": (
        "DELETE FROM {chunks} WHERE id = (SELECT max(id) FROM {chunks} WHERE document = {there})",
        {"half-visible"},
    ),
    "a chunk is there twice": (  # a search shows a passage once, however often it is there
        'INSERT INTO {chunks} (document, version, start, "end", headings, page, access, vector)'
        ' SELECT document, version, start, "end", headings, page, access, vector FROM {chunks}'
        " WHERE document = {there} LIMIT 1",
        {"invariant"},
    ),
    "a chunk has another access": (
        "UPDATE {chunks} SET access = (SELECT max(id) + 1 FROM openbook.access_set) WHERE document = {there}",
        {"invariant"},
    ),
    "a chunk is of an earlier version": (
        "UPDATE {chunks} SET version = version + 1 WHERE document = {there}",
        {"half-visible", "invariant"},
    ),
    "a reading is forgotten": (
        "DELETE FROM openbook.indexed WHERE document = {there}",
        {"invariant"},
    ),
    "an attribute is of a removed document": (
        "INSERT INTO openbook.attribute (document, access, field, text) SELECT id, access, 'a', 'b'"
        " FROM openbook.document WHERE id = {removed}",
        {"invariant"},
    ),
    "a change is not in the feed": ("DELETE FROM openbook.change WHERE document = {there}", {"invariant"}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(client: Client, name: str) -> None:
    statement, expected = DAMAGE[name]
    with client.kb.database.transaction("owner") as connection:
        table = client.kb.index.table.as_string(connection)
        ids = {
            which: "'{}'".format(
                connection.execute(
                    "SELECT id::text FROM openbook.document WHERE kb = %s AND (removed IS NOT NULL) = %s"
                    " ORDER BY source LIMIT 1",
                    [client.kb.kb, which == "removed"],
                ).fetchone()[0]  # type: ignore[index]
            )
            for which in ("there", "removed")
        }
        connection.execute(statement.format(chunks=table, **ids).encode())
        if "{chunks}" in statement or "removed = NULL" in statement:  # the keyword view is to see it, too
            connection.execute(
                "UPDATE openbook.knowledge_base SET position = position + 1 WHERE id = %s", [client.kb.kb]
            )
            connection.execute("UPDATE openbook.change SET position = position + 1 WHERE kb = %s", [client.kb.kb])
    found = kinds(client)
    assert found & expected == expected, found


def test_a_keyword_view_that_missed_an_edit_is_found(client: Client) -> None:
    OPERATIONS["search"][1](client)
    OPERATIONS["rewrite"][1](client)
    state = keyword_folder(client.kb.database, client.kb.kb, client.kb.index.id) / "view.json"
    with client.kb.database.snapshot(None) as connection:
        now = client.kb.index.position(connection).number
    state.write_text(json.dumps({**json.loads(state.read_text()), "position": now}))
    assert "half-visible" in kinds(client)


def test_a_pointer_that_nobody_set_is_found(client: Client) -> None:
    client.kb.promote(client.kb.releases()[-1].name)
    assert kinds(client) == {"pointer"}


def test_half_an_operation_is_found(client: Client) -> None:
    """Of two documents that one operation was to replace, one is new and one is old."""
    new = client.new_faces(client.ledger.present()[:2])
    client.ledger.begin(Operation("rewrite", dict(new)))
    first = dict([next(iter(new.items()))])
    other = Client(lambda: client.kb, client.url, "c0", Ledger(), client.journal, client.random)
    other.put("rewrite", first)
    assert kinds(client) == {"half-visible"}


def test_a_token_that_was_left_behind_is_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\0\1" + canary("source", 3).encode() + b"\2")
    (fault,) = left_behind(tmp_path, {"source": {Face(3, 4)}})
    assert fault.kind == "left behind"
    assert left_behind(tmp_path, {"source": {Face(4, 5)}}) == []
