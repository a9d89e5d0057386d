"""verify finds what is broken, that and nothing else; --repair makes derived data anew and touches no text."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openbook.errors import NotFound
from openbook.knowledge_base import KnowledgeBase
from openbook.knowledge_base import open as open_
from openbook.recipe import IndexHalf, Recipe, RecursiveChunker
from openbook.store.database import Connection, Database
from openbook.store.keyword import Changes
from openbook.store.writing import Writer
from openbook.types import Document, Heading
from openbook.verification import CHECKS, Verified, verify

Run = Callable[..., "subprocess.CompletedProcess[str]"]

TEXT = "# Parrots\n\n" + "The parrot is blue. " * 60 + "\n\n# Owls\n\n" + "The owl is grey. " * 60
HEADINGS = (Heading(0, 9, 1, "Parrots"), Heading(TEXT.index("# Owls"), TEXT.index("# Owls") + 6, 1, "Owls"))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database of our own: what is damaged here is nobody else's."""
    with Database.open(tmp_path_factory.mktemp("verification") / "db") as database:
        yield database


@pytest.fixture
def sound(database: Database) -> Iterator[KnowledgeBase]:
    """A knowledge base after adds, edits, removes and a search."""
    kb = KnowledgeBase(database, uuid.uuid4().hex)
    kb.add(
        Document("birds", TEXT, "Birds", {"year": 2020, "tag": ("a", "b"), "draft": False}, headings=HEADINGS),
        Document("paged", "One page.\n\nTwo pages.", pages=(0, 11), access=("group:hr",)),
        Document("blank", "  \n ", "Blank"),
        Document("edited", "It was so."),
        Document("removed", "It is gone."),
    )
    kb.add(Document("edited", "It is otherwise.", access=("user:ann",), metadata={"year": 2021}))
    kb.remove("removed")
    kb.search("parrot", record=False)
    yield kb
    kb.traces.close()


def broken(found: Verified) -> set[str]:
    assert [check.name for check in found.checks] == list(CHECKS)
    assert found.ok == all(check.ok for check in found.checks)
    for check in found.checks:
        assert check.ok == (check.count == 0) == (not check.examples) == (not check.repair)
        assert len(check.examples) <= 5
    return {check.name for check in found.checks if not check.ok}


def do(kb: KnowledgeBase, *statements: str) -> None:
    """Damage done by hand: as the superuser, past every foreign key."""
    names = {"kb": kb.kb, "chunk": f"openbook.chunk_{kb.index.id}", "index": kb.index.id}
    with kb.database.transaction("owner") as connection:
        names |= kb.database.roles(connection)
        connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.format(**names))


def truth(kb: KnowledgeBase) -> list[Any]:
    with kb.database.snapshot(None) as connection:
        return connection.execute(
            "SELECT d.source, d.version, d.metadata, d.removed, v.version, v.title, v.text, v.hash"
            " FROM openbook.document d JOIN openbook.version v ON v.document = d.id WHERE d.kb = %s ORDER BY 1, 5",
            [kb.kb],
        ).fetchall()


def test_a_sound_knowledge_base_is_found_sound(sound: KnowledgeBase) -> None:
    found = sound.verify()
    assert broken(found) == set(), found
    assert found.position == 3
    assert found.repaired == ()


DAMAGE = {
    "a chunk that ends beyond its text": (
        'UPDATE {chunk} SET "end" = 99999 WHERE id = (SELECT max(id) FROM {chunk})', {"spans"},
    ),
    "a chunk without a character": ('UPDATE {chunk} SET "end" = start', {"spans"}),
    "a chunk of blanks": (
        "UPDATE {chunk} SET start = 9, \"end\" = 11 WHERE id = (SELECT min(id) FROM {chunk})", {"spans"},
    ),
    "a chunk that is gone": (
        "DELETE FROM {chunk} WHERE id = (SELECT min(id) FROM {chunk})", {"coverage", "keyword"},
    ),
    "another heading": ("UPDATE {chunk} SET headings = '{{Elsewhere}}'", {"outline"}),
    "another page": ("UPDATE {chunk} SET page = 7 WHERE page IS NOT NULL", {"outline"}),
    "another version": ("UPDATE {chunk} SET version = 7", {"chunks"}),
    "another access": (
        "UPDATE {chunk} SET access = (SELECT max(id) FROM openbook.access_set WHERE kb = {kb})", {"chunks", "keyword"},
    ),
    "chunks of what is removed": (
        "UPDATE openbook.document SET removed = now() WHERE kb = {kb} AND source = 'birds'", {"chunks", "attributes"},
    ),
    "chunks of what is not there": (
        "INSERT INTO {chunk} (document, version, start, \"end\", headings, access, vector)"
        " SELECT gen_random_uuid(), 1, 0, 1, headings, access, vector FROM {chunk} LIMIT 1", {"chunks", "keyword"},
    ),
    "a source that does not lead to its document": (
        "UPDATE openbook.document SET key = 'lost' WHERE kb = {kb} AND source = 'birds'", {"sources"},
    ),
    "vectors that are gone": ("UPDATE {chunk} SET vector = NULL", {"vectors"}),
    "vectors that are too long": ("UPDATE {chunk} SET vector = vector + vector", {"vectors"}),
    "vectors of other chunks": (
        "UPDATE {chunk} SET vector = (SELECT vector FROM {chunk} ORDER BY id LIMIT 1)", {"vectors"},
    ),
    "what was not read": (
        "DELETE FROM openbook.indexed WHERE index = {index}; DELETE FROM {chunk}", {"indexed", "keyword"},
    ),
    "what was read and is not said so": ("DELETE FROM openbook.indexed WHERE index = {index}", {"indexed", "chunks"}),
    "what was read in another version": (
        "UPDATE openbook.indexed SET version = 9 WHERE index = {index}", {"indexed", "chunks"},
    ),
    "attributes that are gone": (
        "DELETE FROM openbook.attribute a USING openbook.document d WHERE d.id = a.document AND d.kb = {kb}"
        " AND a.field = 'year'", {"attributes"},
    ),
    "attributes of another value": (
        "UPDATE openbook.attribute a SET number = 1 FROM openbook.document d WHERE d.id = a.document"
        " AND d.kb = {kb} AND a.field = 'year'", {"attributes"},
    ),
    "attributes said twice": (
        "INSERT INTO openbook.attribute SELECT a.* FROM openbook.attribute a JOIN openbook.document d"
        " ON d.id = a.document WHERE d.kb = {kb}", {"attributes"},
    ),
    "attributes open to others": (
        "UPDATE openbook.attribute a SET access = a.access + 1 FROM openbook.document d WHERE d.id = a.document"
        " AND d.kb = {kb}", {"attributes"},
    ),
    "a change that is not in the feed": ("DELETE FROM openbook.change WHERE kb = {kb}", {"feed"}),
    "a change beyond the end of the feed": (
        "UPDATE openbook.change SET position = 99 WHERE kb = {kb} AND document ="
        " (SELECT id FROM openbook.document WHERE kb = {kb} AND source = 'birds')", {"feed"},
    ),
    "a document that was never written": (
        "WITH d AS (INSERT INTO openbook.document (id, kb, source, key, version, access, metadata)"
        " SELECT gen_random_uuid(), {kb}, 'half', sha256('half'), 0, min(id), '{{}}'"
        " FROM openbook.access_set WHERE kb = {kb}"
        " RETURNING id, kb) INSERT INTO openbook.change SELECT kb, id, 1 FROM d", {"versions", "indexed"},
    ),
    "rows that belong to nothing": (
        "INSERT INTO openbook.attribute (document, access, field) VALUES (gen_random_uuid(), 1, 'x');"
        "INSERT INTO openbook.indexed VALUES ({index}, gen_random_uuid(), 1);"
        "INSERT INTO openbook.file (root, path, size, mtime_ns, inode, options) VALUES (0, 'x', 0, 0, 0, '')",
        {"orphans"},
    ),
    "a table of no index": ("CREATE TABLE openbook.chunk_999999 (id int)", {"orphans"}),
    "a live release that is not there": ("UPDATE openbook.knowledge_base SET live = 0 WHERE id = {kb}", {"pointers"}),
    "a previous release that is not there": (
        "UPDATE openbook.knowledge_base SET previous = 0 WHERE id = {kb}", {"pointers"},
    ),
    "an HNSW index whose building was interrupted": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT i.indexrelid FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE i.indrelid = '{chunk}'::regclass AND a.amname = 'hnsw')", {"indexes"},
    ),
    "an HNSW index that is gone": (
        "DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX ' || i.indexrelid::regclass FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE i.indrelid = '{chunk}'::regclass AND a.amname = 'hnsw'); END $$", {"indexes"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_derived_is_found_broken_and_made_anew(sound: KnowledgeBase, what: str) -> None:
    statements, expected = DAMAGE[what]
    before = truth(sound)
    answers = [(hit.source, hit.chunk.text) for hit in sound.search("parrot owl", record=False).hits]
    do(sound, statements)
    assert broken(sound.verify()) == expected
    found = sound.verify(repair=True)
    assert broken(found) == set(), found
    assert {line.split(":")[0] for line in found.repaired} >= expected - {"keyword"}
    assert sound.verify().repaired == ()
    if what == "chunks of what is removed":
        return
    assert truth(sound) == before
    assert [(hit.source, hit.chunk.text) for hit in sound.search("parrot owl", record=False).hits] == answers
    assert broken(sound.verify()) == set(), "and the view that has now been caught up is right, too"


TRUTH = {
    "another text": (
        "UPDATE openbook.version v SET text = replace(text, 'parrot', 'carrot') FROM openbook.document d"
        " WHERE d.id = v.document AND d.kb = {kb} AND d.source = 'birds'", {"texts"},
    ),
    "another hash": (
        "UPDATE openbook.version v SET hash = '0' FROM openbook.document d WHERE d.id = v.document AND d.kb = {kb}",
        {"texts"},
    ),
    "a text that is gone": (
        "DELETE FROM openbook.version v USING openbook.document d"
        " WHERE d.id = v.document AND d.kb = {kb} AND d.source = 'edited'", {"versions"},
    ),
    "metadata within metadata": (
        "UPDATE openbook.document SET metadata = '{{\"a\": {{\"b\": 1}}}}' WHERE kb = {kb} AND source = 'birds'",
        {"metadata"},
    ),
    "a list for metadata": (
        "UPDATE openbook.document SET metadata = '[1]' WHERE kb = {kb} AND source = 'birds'", {"metadata"},
    ),
    "principals out of order": (
        "UPDATE openbook.access_set SET principals = '{{user:b,user:a}}' WHERE kb = {kb}"
        " AND principals = '{{user:ann}}'", {"principals"},
    ),
    "a recipe that is none": ("UPDATE openbook.release SET recipe = 'what?' WHERE kb = {kb}", {"releases"}),
    "a recipe of another index": (
        "UPDATE openbook.release SET recipe = replace(recipe, 'neighbours = 0.5', 'neighbours = 0.4') WHERE kb = {kb}",
        {"releases"},
    ),
    "an index of another recipe": ("UPDATE openbook.index SET hash = '0' WHERE id = {index}", {"releases"}),
    "another model": ("UPDATE openbook.index SET embedder = 'other' WHERE id = {index}", {"model"}),
    "an erasure that was interrupted": ("INSERT INTO openbook.erasure (kb) VALUES ({kb})", {"erasures"}),
}  # fmt: skip


@pytest.mark.parametrize("what", TRUTH)
def test_what_is_no_derived_data_is_found_broken_and_left_alone(sound: KnowledgeBase, what: str) -> None:
    statement, expected = TRUTH[what]
    do(sound, statement)
    before = truth(sound)
    assert broken(sound.verify()) == expected
    found = sound.verify(repair=True)
    assert broken(found) == expected
    assert truth(sound) == before
    assert all(check.repair for check in found.checks if not check.ok), "each says what to do"


RIGHTS = {
    "row-level security is off": (
        "ALTER TABLE openbook.version DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE openbook.version ENABLE ROW LEVEL SECURITY",
    ),
    "row-level security is not forced": (
        "ALTER TABLE {chunk} NO FORCE ROW LEVEL SECURITY", "ALTER TABLE {chunk} FORCE ROW LEVEL SECURITY",
    ),
    "the reader bypasses the rules": ("ALTER ROLE {reader} BYPASSRLS", "ALTER ROLE {reader} NOBYPASSRLS"),
    "a rule lets everything through": (
        "CREATE POLICY more ON openbook.trace FOR SELECT TO PUBLIC USING (true)", "DROP POLICY more ON openbook.trace",
    ),
    "a rule is gone": (
        "ALTER POLICY permitted ON openbook.feedback TO {writer}",
        "ALTER POLICY permitted ON openbook.feedback TO {reader}",
    ),
    "the reader owns a table": ("ALTER TABLE openbook.feedback OWNER TO {reader}",
                                "ALTER TABLE openbook.feedback OWNER TO postgres"),
    "the reader may write": ("GRANT INSERT ON openbook.document TO {reader}",
                             "REVOKE INSERT ON openbook.document FROM {reader}"),
    "the reader reads the cache": ("GRANT SELECT ON openbook.vector TO {reader}",
                                   "REVOKE SELECT ON openbook.vector FROM {reader}"),
    "the reader is somebody else as well": ("GRANT {writer} TO {reader}", "REVOKE {writer} FROM {reader}"),
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHTS)
def test_rights_that_the_reader_must_not_have_are_told(sound: KnowledgeBase, what: str) -> None:
    damage, undo = RIGHTS[what]
    do(sound, damage)
    try:
        assert broken(sound.verify(repair=True)) == {"access"}
    finally:
        do(sound, undo)
    assert broken(sound.verify()) == set()


def test_a_keyword_view_that_lost_what_it_held_is_made_anew(sound: KnowledgeBase) -> None:
    index = sound.index
    with sound.database.snapshot(None) as connection:
        now = index.position(connection)
    index._view.catch_up(lambda _: Changes(now, [], rebuild=True))  # says that it holds all, and holds nothing
    found = sound.verify()
    assert broken(found) == {"keyword"}
    assert "lacks chunk" in str(found.checks)
    assert broken(sound.verify(repair=True)) == set()
    assert "keyword" in sound.search("parrot", 1, record=False).hits[0].stages


def test_a_keyword_view_that_is_not_there_yet_is_no_fault(sound: KnowledgeBase) -> None:
    sound.index._view.reset()
    found = sound.verify()
    assert broken(found) == set()
    assert "no view on this host yet" in str(found.checks)


def test_a_keyword_view_that_is_behind_is_no_fault(sound: KnowledgeBase) -> None:
    """It is caught up before it next answers."""
    sound.add(Document("edited", "It is new."), Document("another", "It is more."))
    sound.remove("paged")
    assert broken(sound.verify()) == set()


def test_every_index_that_is_kept_is_looked_at(sound: KnowledgeBase) -> None:
    built = sound.build(Recipe(index=IndexHalf(chunk=RecursiveChunker(size=200, overlap=20))))
    assert broken(sound.verify()) == set()
    sound.promote(built.release)
    sound.add(Document("edited", "It is new."))
    assert broken(sound.verify()) == set()
    do(sound, f"UPDATE openbook.chunk_{built.index} SET page = 9", "UPDATE {chunk} SET page = 9")
    assert broken(sound.verify()) == {"outline"}
    assert broken(sound.verify(repair=True)) == set()
    sound.rollback()
    assert broken(sound.verify()) == set()


def test_others_write_and_ask_meanwhile(sound: KnowledgeBase) -> None:
    """A view is written before it says so, and a snapshot is older than what follows it: neither is a fault."""
    over = threading.Event()
    failures: list[BaseException] = []

    def write(worker: int) -> None:
        try:
            mine, n = KnowledgeBase(sound.database, sound.name), 0
            while not over.is_set():
                n += 1
                mine.add(Document(f"{worker}-{n % 7}", f"Text {n} of {worker}.", access=(f"user:{n % 3}",)))
                mine.remove(f"{worker}-{n % 7}") if n % 5 == 0 else mine.search("text", 3, record=False)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            assert broken(found := sound.verify()) == set(), found
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_repair_of_attributes_waits_for_an_edit_and_takes_none_away(
    sound: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(sound, "DELETE FROM openbook.attribute WHERE document = (SELECT id FROM openbook.document WHERE kb = {kb}"
              " AND source = 'birds')")  # fmt: skip
    written, write_rows = threading.Event(), Writer._write_rows

    def slowly(connection: Connection, *rest: Any) -> None:
        write_rows(connection, *rest)
        written.set()
        waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE OF d%'"
        until, waiting = time.monotonic() + 30, False
        while not waiting and time.monotonic() < until:
            with sound.database.transaction("owner") as other:
                waiting = bool(other.execute(waits).fetchall())

    monkeypatch.setattr(Writer, "_write_rows", staticmethod(slowly))
    editing = threading.Thread(target=lambda: sound.edit("birds", title="Birds anew"))
    editing.start()
    assert written.wait(30)
    sound.verify(repair=True)
    editing.join()
    monkeypatch.undo()
    assert broken(sound.verify()) == set()


def test_an_index_whose_recipe_cannot_be_read_keeps_no_other_from_being_mended(sound: KnowledgeBase) -> None:
    built = sound.build(Recipe(index=IndexHalf(chunk=RecursiveChunker(size=200, overlap=20))))
    do(
        sound,
        "UPDATE openbook.release SET recipe = 'nothing' WHERE kb = {kb} AND index = {index}",
        f"UPDATE openbook.chunk_{built.index} SET version = 7",
        "UPDATE {chunk} SET version = 7",
    )
    found = {check.name: check for check in sound.verify(repair=True).checks}
    assert {name for name, check in found.items() if not check.ok} == {"releases", "chunks"}
    assert "could not be read anew" in found["model"].note
    assert all("r1" in example for example in found["chunks"].examples)


def test_progress_counts_documents_once_for_the_base_and_once_for_each_index(sound: KnowledgeBase) -> None:
    sound.add(*(Document(f"more-{n}", f"Text {n}.") for n in range(100)))
    told: list[tuple[int, int]] = []
    sound.verify(progress=lambda done, of: told.append((done, of)))
    assert told == sorted(told)
    assert told[-1][1] == 2 * 105


def test_a_base_that_cannot_be_opened_can_be_looked_at(sound: KnowledgeBase) -> None:
    do(sound, "UPDATE openbook.knowledge_base SET live = NULL WHERE id = {kb}")
    assert broken(verify(sound.database, sound.name)) == {"pointers"}
    assert broken(verify(sound.database, sound.name, repair=True)) == set()
    assert KnowledgeBase(sound.database, sound.name).release == "r1"


def test_there_is_none_of_that_name(database: Database) -> None:
    with pytest.raises(NotFound, match="no knowledge base named"):
        verify(database, "none")


def test_on_the_command_line(openbook: Run, tmp_path: Path) -> None:
    with open_(tmp_path / ".openbook") as kb:
        kb.add(Document("a", "The parrot is blue."))
    done = openbook("verify", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["repaired"]) == (0, True, [])
    assert told["checks"][0].keys() >= {"name", "ok", "count", "examples", "repair"}
    with open_(tmp_path / ".openbook") as kb:
        do(kb, "UPDATE {chunk} SET page = 9")
    done = openbook("verify")
    assert done.returncode == 1
    assert "outline     1 broken: " in done.stdout
    done = openbook("verify", "--repair")
    assert done.returncode == 0
    assert done.stdout.startswith("repaired    outline: 1 of 1 mended\n")
    assert openbook("verify", "--kb", "none").returncode == 1
