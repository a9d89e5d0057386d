"""Every store call site fails, in every way: what was to be done is wholly done or wholly not, the error is one line
that tells what to do, and the same knowledge base goes on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import get_args

import psycopg
import pytest
from tests.reliability.checks import faults
from tests.reliability.documents import Ledger, recipe
from tests.reliability.injection import (
    FOLDER_FAULTS,
    DatabaseFault,
    Places,
    failing_database,
    failing_file,
    failing_folder,
)
from tests.reliability.operations import OPERATIONS, Client, Journal, checksum

from openbook.errors import ArchiveError, OpenbookError
from openbook.knowledge_base import KnowledgeBase
from openbook.store.database import Database
from openbook.store.server import SUPERUSER

MOST_CALLS = 400
MOST_FILE_CALLS = 2_000
QUIET = 3
"""Runs in a row that came by no new place end a test: by chance an operation goes now one way, now another."""
SEED = 5


@pytest.fixture
def client(database: Database, url: str, tmp_path: Path) -> Iterator[Client]:
    name = uuid.uuid4().hex
    client = Client(
        lambda: KnowledgeBase(database, name, recipe=recipe(url)),
        url,
        "c0",
        Ledger(),
        Journal(tmp_path / "journal"),
        Random(SEED),
    )
    yield client
    client.kb.traces.close()


@pytest.fixture
def terminate(database: Database) -> Iterator[Callable[[int], None]]:
    assert database.server is not None
    with psycopg.connect(database.server.conninfo(SUPERUSER), autocommit=True) as connection:
        # Waits until it has ended.
        yield lambda pid: connection.pgconn.exec_(f"SELECT pg_terminate_backend({pid}, 5000)".encode()) and None


def ready(client: Client, verb: str) -> None:
    """Every verb has something to do: documents are there, some were removed; a release can be built, or turned to."""
    while len(client.ledger.present()) < 4:
        OPERATIONS["add"][1](client)
    while len(client.ledger.absent()) < 2 or len(client.ledger.present()) > 16:
        OPERATIONS["remove"][1](client)
    states = {release.state for release in client.kb.releases()}
    if verb == "build" and not states <= {"live", "building"}:
        client.kb.prune(*(release.name for release in client.kb.releases() if release.state != "live"))
    if verb in ("promote", "rollback", "prune") and not states & {"ready", "previous"}:
        OPERATIONS["build"][1](client)
    if verb == "rollback" and "previous" not in states:
        OPERATIONS["promote"][1](client)


def attempted(client: Client, verb: str) -> OpenbookError | None:
    try:
        OPERATIONS[verb][1](client)
    except OpenbookError as error:
        return error
    return None


def settled(client: Client, chance: Random | None = None) -> None:
    client.kb.forget()  # finishes what a fault left of an erasure; else it does nothing
    found, truth = faults(client.kb, [client.ledger], chance)
    assert not found
    whole(client.exports)
    client.ledger.settle(truth, client.kb.release)
    assert "wrong" not in client.journal.path.read_text()


def whole(folder: Path) -> None:
    """What has the name of an export is whole, and nothing else is left of one."""
    for path in folder.glob("*"):
        assert checksum(path), path


def one_line(error: OpenbookError) -> None:
    """It tells what to do, and takes none of these for a bug."""
    assert "\n" not in str(error)
    assert error.do
    assert "bug" not in error.do, error


VERBS = [verb for verb in OPERATIONS if verb != "reopen"]


ADVICE: dict[DatabaseFault, str] = {
    "disk full": "free some",
    "I/O error": "check the disk",
    "out of memory": "free some",
    "connection lost": "run it again",
    "answer lost": "run it again",
}
"""What the error says about each."""


@pytest.mark.parametrize("verb", VERBS)
def test_a_failing_database_call_leaves_all_or_nothing(
    client: Client, terminate: Callable[[int], None], verb: str
) -> None:
    """With one fault after the other in turn; a call that is made again and again, for each table or release, once at
    first and once in the midst."""
    fail_everywhere(client, terminate, verb, get_args(DatabaseFault), Places(2), Random(SEED))


@pytest.mark.reliability
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", get_args(DatabaseFault))
def test_every_database_call_fails_in_every_way(
    client: Client, terminate: Callable[[int], None], verb: str, fault: DatabaseFault
) -> None:
    fail_everywhere(client, terminate, verb, [fault], Places())


def fail_everywhere(
    client: Client,
    terminate: Callable[[int], None],
    verb: str,
    faults: Sequence[DatabaseFault],
    places: Places,
    chance: Random | None = None,
) -> None:
    refused = quiet = 0
    for n in range(1, MOST_CALLS):
        ready(client, verb)
        fault = faults[n % len(faults)]
        with failing_database(places, fault, terminate) as run:
            error = attempted(client, verb)
        quiet = 0 if run.reached else quiet + 1
        if quiet == QUIET:
            break
        if error is not None:
            assert run.reached
            refused += 1
            one_line(error)
            # An erasure whose rows are gone tells in its receipt what could not be done, and another run finishes it.
            assert verb == "forget" or error.do.startswith(ADVICE[fault])
        settled(client, chance)
    print(f"{verb}, {', '.join(faults)}: {len(places.failed)} places, {places.failed.total()} times, {refused} refused")
    assert n < MOST_CALLS
    assert refused
    assert error is None


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_a_failing_keyword_folder_leaves_all_or_nothing(client: Client, verb: str, fault: str) -> None:
    for n in range(1, MOST_CALLS):
        ready(client, verb)
        OPERATIONS["rewrite"][1](client)  # something to catch up with
        with failing_folder(client.kb.database.cache / "keyword", n, FOLDER_FAULTS[fault]) as counter:
            error = attempted(client, verb)
        if error is not None:
            one_line(error)
        settled(client)
        if not counter.reached:
            break
    assert n < MOST_CALLS


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
@pytest.mark.parametrize("force", [False, True])
def test_a_failing_file_leaves_no_export_or_the_former_one(
    client: Client, tmp_path: Path, force: bool, fault: str
) -> None:
    """A name was kept that could not be synced; and the size of a file was asked for when it had its name already."""
    ready(client, "export")
    folder, refused = tmp_path / "exports", 0
    folder.mkdir()
    path = folder / "export"
    if force:
        client.kb.export(path)
    for n in range(1, MOST_FILE_CALLS):
        with failing_file(folder, n, FOLDER_FAULTS[fault]) as counter:
            try:
                done = client.kb.export(path, force=force)
                assert checksum(path) == done.checksum
            except ArchiveError as error:
                refused += 1
                one_line(error)
                assert [*folder.iterdir()] == ([path] if force else [])
        whole(folder)
        if not force:
            path.unlink(missing_ok=True)
        if not counter.reached:
            break
    assert n < MOST_FILE_CALLS
    assert refused > 20
    settled(client)
