"""An export is the whole knowledge base, an import answers as it did, and a bad file changes nothing."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import openbook
from openbook.archive import SEAL, VERSION, sealed
from openbook.errors import ArchiveError, NotFound
from openbook.importing import Imported, import_from
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import IndexHalf, Recipe, RecursiveChunker
from openbook.store import archive as rows
from openbook.store.database import Database
from openbook.store.index import Index
from openbook.types import Document, Heading

Run = Callable[..., "subprocess.CompletedProcess[str]"]

QUESTIONS = ("sick leave", "How many unused days carry over?", "certificate HB-4012", "parrot")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KnowledgeBase, Path, Path]]:
    """A knowledge base with a history, its export, and the folder that was added to it."""
    folder = tmp_path_factory.mktemp("archive")
    handbook = folder / "handbook"
    shutil.copytree(Path(__file__).parent.parent / "examples" / "handbook", handbook)
    with openbook.open(folder / "db", "handbook") as kb:
        kb.add(handbook, access=["group:staff", "public"])
        kb.add(handbook / "people", access=["group:hr"])
        kb.add(
            Document("edited", "It was so."),
            Document("removed", "It is gone."),
            Document("blank", " \n"),
            Document("a b%ü", "The parrot is blue 🦜.", "Küche", {"n": 1.5, "tag": ("x", "y"), "f": True},
                     ("user:ann",), (Heading(0, 3, 1, "The"),), (0, 4)),
        )  # fmt: skip
        kb.add(Document("edited", "It is otherwise."))
        kb.remove("removed")
        kb.add(Document("local", "The heron is local.", local_only=True))
        kb.edit("a b%ü", metadata={"n": 2.5}, source="renamed")
        built = kb.build(Recipe(index=IndexHalf(chunk=RecursiveChunker(size=300, overlap=30))))
        kb.promote(built.release)
        kb.export(folder / "export.zip")
        yield kb, folder / "export.zip", handbook


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Another database, to import into."""
    with Database.open(tmp_path_factory.mktemp("elsewhere") / "db") as database:
        yield database


@pytest.fixture
def take_in(elsewhere: Database) -> Callable[..., tuple[Imported, KnowledgeBase]]:
    """Imports a file under a name of its own."""

    def take_in(path: Path, name: str | None = None) -> tuple[Imported, KnowledgeBase]:
        done = read_into(elsewhere, path, name or uuid.uuid4().hex)
        return done, KnowledgeBase(elsewhere, done.kb, create=False)

    return take_in


class _Open:
    """A database that stays open."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def __enter__(self) -> Database:
        return self.database

    def __exit__(self, *_: object) -> None: ...


def read_into(database: Database, path: Path, name: str | None = None) -> Imported:
    return import_from(path, lambda: _Open(database), name)


def answers(kb: KnowledgeBase, **more: Any) -> list[Any]:
    """What it finds, with every score of every stage."""
    return [
        [(hit.source, hit.title, hit.chunk, hit.score, hit.stages, hit.metadata) for hit in found.hits]
        for question in QUESTIONS
        for found in [kb.search(question, 20, record=False, **more)]
    ]


def told(kb: KnowledgeBase) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "document"} for row in kb.list()]


def edits(kb: KnowledgeBase) -> list[tuple[Any, ...]]:
    with kb.database.snapshot(None) as connection:
        return connection.execute(
            "SELECT d.source, d.edited, r.source FROM openbook.document d JOIN openbook.renamed r ON r.document = d.id"
            " WHERE d.kb = %s",
            [kb.kb],
        ).fetchall()


def counts(database: Database) -> list[tuple[Any, ...]]:
    with database.snapshot(None) as connection:
        return connection.execute(
            "SELECT (SELECT count(*) FROM openbook.knowledge_base), (SELECT count(*) FROM openbook.document),"
            " (SELECT count(*) FROM openbook.index), (SELECT count(*) FROM openbook.vector),"
            " (SELECT count(*) FROM pg_class WHERE relnamespace = 'openbook'::regnamespace)"
        ).fetchall()


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zip:
        return {name: zip.read(name) for name in zip.namelist()}


def made(path: Path, held: dict[str, bytes]) -> Path:
    """An export of these members, with every checksum right: only what it says can be wrong."""
    import hashlib

    manifest = json.loads(held["manifest.json"])
    for name in manifest["members"]:
        if name in held:
            manifest["members"][name] = {
                "bytes": len(held[name]), "sha256": hashlib.sha256(held[name]).hexdigest(),
            }  # fmt: skip
    with path.open("w+b") as file:
        with zipfile.ZipFile(file, "w") as zip:
            for name, content in held.items():
                zip.writestr(name, json.dumps(manifest) if name == "manifest.json" else content)
            zip.comment = b"0" * SEAL
        sealed(file)
    return path


class TestExact:
    def test_an_import_answers_as_the_exporter_does(
        self, exported: tuple[KnowledgeBase, Path, Path], take_in: Callable[..., tuple[Imported, KnowledgeBase]]
    ) -> None:
        kb, path, _ = exported
        done, other = take_in(path)
        assert (done.embedded, done.left_out) == (0, ())
        assert answers(other) == answers(kb)
        for principals in ([], ["group:hr"], ["user:ann"]):
            assert answers(other, as_=principals) == answers(kb, as_=principals)
        assert answers(other, filter='tag = "x" and n > 1') == answers(kb, filter='tag = "x" and n > 1')
        assert told(other) == told(kb)
        assert other.show("edited", version=1).text == "It was so."
        assert other.show("local").local_only
        assert edits(other) == edits(kb) != []
        assert not other.show("edited").local_only
        assert other.verify().ok

    def test_releases_come_with_it_and_can_be_rolled_back(
        self, exported: tuple[KnowledgeBase, Path, Path], take_in: Callable[..., tuple[Imported, KnowledgeBase]]
    ) -> None:
        kb, path, _ = exported
        _, other = take_in(path)
        assert [(one.name, one.state, one.recipe, one.promoted) for one in other.releases()] == [
            (one.name, one.state, one.recipe, one.promoted) for one in kb.releases()
        ]
        assert other.rollback().live == "r1"
        kb.rollback()
        assert answers(other) == answers(kb)
        kb.promote("r2")
        built = other.build(Recipe(index=IndexHalf(chunk=RecursiveChunker(size=200, overlap=0))))
        assert built.release == "r3", "numbers of releases go on"

    def test_what_was_added_is_known_and_its_rules_of_access_hold(
        self, exported: tuple[KnowledgeBase, Path, Path], take_in: Callable[..., tuple[Imported, KnowledgeBase]]
    ) -> None:
        _, path, handbook = exported
        _, other = take_in(path)
        again = other.add(handbook)
        assert (again.added, again.updated, again.removed, again.embedded) == (0, 0, 0, 0)
        new = handbook / "people" / "new.md"
        new.write_text("The okapi is striped.")
        try:
            assert other.add(handbook).added == 1
            assert other.show("new.md").access == ("group:hr",)
        finally:
            new.unlink()

    def test_what_was_embedded_is_not_embedded_again(
        self, exported: tuple[KnowledgeBase, Path, Path], tmp_path: Path
    ) -> None:
        openbook.import_(exported[1], tmp_path / "db")
        with openbook.open(tmp_path / "db", "handbook") as other:
            assert other.add(Document("twin", "It is otherwise.")).embedded == 0

    def test_ids_are_kept_where_they_are_free(self, exported: tuple[KnowledgeBase, Path, Path], tmp_path: Path) -> None:
        """Citations and traces name documents by them."""
        kb, path, _ = exported
        done = openbook.import_(path, tmp_path / "db")
        assert (done.kb, done.ids) == ("handbook", "kept")
        with openbook.open(tmp_path / "db", "handbook", create=False) as other:
            assert [row["document"] for row in other.list()] == [row["document"] for row in kb.list()]
        done = openbook.import_(path, tmp_path / "db", "second")
        assert done.ids == "new"
        with openbook.open(tmp_path / "db", "second", create=False) as other:
            assert answers(other) == answers(kb)

    def test_without_vectors_the_model_makes_them_anew(
        self, exported: tuple[KnowledgeBase, Path, Path], tmp_path: Path
    ) -> None:
        kb, whole, _ = exported
        small = kb.export(tmp_path / "small.zip", vectors=False)
        assert small.vectors == 0
        assert small.bytes < whole.stat().st_size / 2
        done = openbook.import_(tmp_path / "small.zip", tmp_path / "db")
        assert done.embedded > 100
        with openbook.open(tmp_path / "db", "handbook") as other:
            for mine, its in zip(answers(other), answers(kb), strict=True):
                assert {hit[:3] for hit in mine[:5]} == {hit[:3] for hit in its[:5]}
                assert [hit[3] for hit in mine] == pytest.approx([hit[3] for hit in its], abs=0.05)
            assert other.verify().ok
            other.rollback()  # what the file did not bring is read now
            assert other.verify().ok

    def test_a_second_export_of_what_was_imported_holds_the_same(
        self,
        exported: tuple[KnowledgeBase, Path, Path],
        take_in: Callable[..., tuple[Imported, KnowledgeBase]],
        tmp_path: Path,
    ) -> None:
        _, path, _ = exported
        done = openbook.import_(path, tmp_path / "db")
        with openbook.open(tmp_path / "db", done.kb) as other:
            other.export(tmp_path / "again.zip")
        first, second = members(path), members(tmp_path / "again.zip")
        assert {name: len(held) for name, held in first.items() if name.endswith("f16")} == {
            name: len(held) for name, held in second.items() if name.endswith("f16")
        }
        for name in ("documents.jsonl", "versions.jsonl"):
            rows = [[json.loads(line) for line in held[name].splitlines()] for held in (first, second)]
            assert [{**row, "file": None} for row in rows[0]] == [{**row, "file": None} for row in rows[1]]

    def test_from_the_embedded_server_to_one_by_url_and_back(
        self, exported: tuple[KnowledgeBase, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kb, path, _ = exported
        monkeypatch.setenv("OPENBOOK_CACHE", str(tmp_path / "cache"))
        assert kb.database.server is not None
        parts = conninfo_to_dict(kb.database.server.conninfo("postgres"))
        user = name = f"company_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(kb.database.server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {user} LOGIN CREATEROLE")
            connection.execute(f"CREATE DATABASE {name} OWNER {user}")
        with psycopg.connect(kb.database.server.conninfo("postgres"), dbname=name, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        url = f"postgresql://{user}@/{name}?host={parts['host']}&port={parts.get('port', 5432)}"
        openbook.import_(path, url)  # as one who is no superuser
        with openbook.open(url, "handbook", create=False) as other:
            assert answers(other) == answers(kb)
            assert other.verify().ok
            other.export(tmp_path / "back.zip")
        openbook.import_(tmp_path / "back.zip", tmp_path / "db")
        with openbook.open(tmp_path / "db", "handbook", create=False) as back:
            assert answers(back) == answers(kb)


class TestInSomebodysName:
    def test_an_export_holds_what_they_may_see_and_nothing_of_others(
        self, kb: KnowledgeBase, tmp_path: Path, take_in: Callable[..., tuple[Imported, KnowledgeBase]]
    ) -> None:
        KnowledgeBase(kb.database, uuid.uuid4().hex).add(Document("elsewhere", "Public, and of another."))
        folder = tmp_path / "qfolderq"
        folder.mkdir()
        (folder / "qfileq.md").write_text("qsecretq of the folder")
        kb.add(folder, access=["group:qownersq"])
        kb.add(
            Document("open", "The parrot is blue."),
            Document("mine", "The owl is grey.", access=("group:mine", "user:qotherq")),
            Document("qtheirsq", "qsecretq", "qtitleq", {"qfieldq": "qvalueq"}, ("user:qotherq",)),
            Document("qgoneq", "qsecretq too"),
        )
        kb.remove("qgoneq")
        kb.export(tmp_path / "mine.zip", as_=["group:mine"])
        held = members(tmp_path / "mine.zip")
        for name, content in held.items():
            for canary in (b"qsecretq", b"qtitleq", b"qvalueq", b"qfieldq", b"qotherq", b"qownersq", b"qtheirsq",
                           b"qfolderq", b"qfileq", b"qgoneq"):  # fmt: skip
                assert canary not in content, f"{canary!r} in {name}"
        assert json.loads(held["manifest.json"])["counts"]["documents"] == 2
        for name in ("roots.jsonl", "files.jsonl", "forgotten.jsonl"):
            assert held[name] == b""
        assert not any(name.startswith("cache") for name in held)
        [read] = [content for name, content in held.items() if name.endswith("readings.jsonl")]
        assert len(read.splitlines()) == 2, "and none of another knowledge base, which has public ones, too"
        _, other = take_in(tmp_path / "mine.zip")
        assert [row["source"] for row in other.list()] == ["mine", "open"]
        assert other.show("mine").access == ("group:mine",)
        assert other.verify().ok


class TestForgotten:
    def test_a_backup_does_not_bring_back_what_the_database_was_told_to_forget(
        self, elsewhere: Database, tmp_path: Path
    ) -> None:
        kb = KnowledgeBase(elsewhere, uuid.uuid4().hex)
        kb.add(Document("kept", "The parrot is blue."), Document("edited", "qoldq"), Document("gone", "qtextq"))
        kb.add(Document("edited", "The owl is grey."))
        kb.export(tmp_path / "before.zip")
        with elsewhere.transaction("owner") as connection:
            connection.execute(
                "INSERT INTO openbook.forgotten (kb, hash)"
                " SELECT %s, sha256(convert_to(text, 'UTF8')) FROM unnest(ARRAY['qoldq', 'qtextq']) text",
                [kb.kb],
            )
        done = read_into(elsewhere, tmp_path / "before.zip", uuid.uuid4().hex)
        assert [left.source for left in done.left_out] == ["gone"]
        other = KnowledgeBase(elsewhere, done.kb)
        assert [row["source"] for row in other.list()] == ["edited", "kept"]
        assert other.show("edited").text == "The owl is grey."
        with pytest.raises(NotFound):
            other.show("edited", version=1)
        assert other.verify().ok

    def test_tombstones_go_with_the_knowledge_base(self, elsewhere: Database, tmp_path: Path) -> None:
        kb = KnowledgeBase(elsewhere, uuid.uuid4().hex)
        kb.add(Document("kept", "The parrot is blue."))
        with elsewhere.transaction("owner") as connection:
            connection.execute("INSERT INTO openbook.forgotten (kb, hash) VALUES (%s, sha256('x'))", [kb.kb])
        kb.export(tmp_path / "export.zip")
        openbook.import_(tmp_path / "export.zip", tmp_path / "db", "new")
        with openbook.open(tmp_path / "db", "new") as other, other.database.snapshot(None) as connection:
            assert connection.execute(
                "SELECT count(*) FROM openbook.forgotten WHERE hash = sha256('x')"
            ).fetchone() == (1,)


class TestBadFiles:
    def refused(self, database: Database, path: Path, match: str, name: str | None = None) -> None:
        before = counts(database)
        with pytest.raises(ArchiveError, match=match) as error:
            read_into(database, path, name or uuid.uuid4().hex)
        assert "\n" not in str(error.value)
        assert str(error.value).count("; ") >= 1, "it says what to do"
        assert counts(database) == before

    def test_a_file_that_is_no_export(self, elsewhere: Database, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("hello")
        (tmp_path / "empty").write_bytes(b"")
        with zipfile.ZipFile(tmp_path / "zip", "w") as zip:
            zip.writestr("a.txt", "hello")
        with zipfile.ZipFile(tmp_path / "other", "w") as zip:
            zip.writestr("manifest.json", "[]")
        for name in ("text", "empty", "zip", "other"):
            self.refused(elsewhere, tmp_path / name, "is not an openbook export")
        for name in ("none", "."):
            self.refused(elsewhere, tmp_path / name, "cannot be read")

    def test_a_truncated_one(
        self, exported: tuple[KnowledgeBase, Path, Path], elsewhere: Database, tmp_path: Path
    ) -> None:
        whole = exported[1].read_bytes()
        for length in (1, 22, 100, len(whole) // 2, len(whole) - SEAL - 1, len(whole) - 1):
            (tmp_path / "cut").write_bytes(whole[:length])
            self.refused(elsewhere, tmp_path / "cut", "truncated")

    def test_an_altered_one(
        self, exported: tuple[KnowledgeBase, Path, Path], elsewhere: Database, tmp_path: Path
    ) -> None:
        """Any byte of it."""
        whole = exported[1].read_bytes()
        chance = random.Random(7)
        for _ in range(60):
            altered = bytearray(whole)
            altered[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            (tmp_path / "altered").write_bytes(altered)
            self.refused(elsewhere, tmp_path / "altered", "altered|truncated|is not an openbook export")

    def test_a_newer_one(self, exported: tuple[KnowledgeBase, Path, Path], elsewhere: Database, tmp_path: Path) -> None:
        for key, value in (("version", VERSION + 1), ("schema", 999)):
            held = members(exported[1])
            held["manifest.json"] = json.dumps({**json.loads(held["manifest.json"]), key: value}).encode()
            self.refused(elsewhere, made(tmp_path / "newer", held), "newer openbook.*; upgrade openbook")

    def test_a_name_that_is_taken(self, exported: tuple[KnowledgeBase, Path, Path], elsewhere: Database) -> None:
        name = read_into(elsewhere, exported[1], uuid.uuid4().hex).kb
        self.refused(elsewhere, exported[1], "there is a knowledge base of that name; .*--kb NAME", name)

    @pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
    def test_a_member_that_would_lead_out_of_a_folder(
        self, exported: tuple[KnowledgeBase, Path, Path], elsewhere: Database, tmp_path: Path, name: str
    ) -> None:
        self.refused(elsewhere, made(tmp_path / "evil", {**members(exported[1]), name: b"x"}), "a member is named")

    def test_members_that_are_not_those_that_were_written(
        self, exported: tuple[KnowledgeBase, Path, Path], elsewhere: Database, tmp_path: Path
    ) -> None:
        held = members(exported[1])
        self.refused(elsewhere, made(tmp_path / "more", {**held, "more.txt": b"x"}), "its list of members")
        del held["versions.jsonl"]
        self.refused(elsewhere, made(tmp_path / "fewer", held), "its list of members")

    @pytest.mark.parametrize(
        ("member", "was", "is_"),
        [
            ("versions.jsonl", b"It was so.", b"It was not so."),
            ("versions.jsonl", b'"title"', b'"titel"'),
            ("documents.jsonl", b"{", b"["),
            ("documents.jsonl", b'"access": ["user:ann"]', b'"access": []'),
            ("documents.jsonl", b'"metadata": {', b'"metadata": {"deep": {"er": 1}, '),
            ("documents.jsonl", b'"version": 2', b'"version": "two"'),
            ("releases.jsonl", b'"name": "r2"', b'"name": "r9"'),
            ("indexes.jsonl", b'"dimension": 384', b'"dimension": 385'),
        ],
    )
    def test_rows_that_openbook_never_wrote(
        self,
        exported: tuple[KnowledgeBase, Path, Path],
        elsewhere: Database,
        tmp_path: Path,
        member: str,
        was: bytes,
        is_: bytes,
    ) -> None:
        held = members(exported[1])
        assert was in held[member]
        held[member] = held[member].replace(was, is_, 1)
        self.refused(elsewhere, made(tmp_path / "wrong", held), "was not made by openbook")

    def test_a_folder_is_not_made_a_database_by_a_bad_file(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("hello")
        with pytest.raises(ArchiveError):
            openbook.import_(tmp_path / "text", tmp_path / "db")
        assert not (tmp_path / "db").exists()


class TestWriting:
    def test_a_file_that_is_there_is_replaced_only_when_that_is_said(self, kb: KnowledgeBase, tmp_path: Path) -> None:
        kb.add(Document("a", "text"))
        path = tmp_path / "export.zip"
        path.write_text("precious")
        with pytest.raises(ArchiveError, match=r"exists already; .*--force"):
            kb.export(path)
        assert path.read_text() == "precious"
        kb.export(path, force=True)
        assert path.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["export.zip"]

    def test_a_folder_that_is_not_there(self, kb: KnowledgeBase, tmp_path: Path) -> None:
        with pytest.raises(ArchiveError, match="cannot be written"):
            kb.export(tmp_path / "none" / "export.zip")

    def test_a_disk_that_is_full_leaves_no_half_file(self, kb: KnowledgeBase, tmp_path: Path) -> None:
        kb.add(Document("a", os.urandom(20_000).hex()))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with pytest.raises(ArchiveError, match="cannot be written"):
                kb.export(tmp_path / "export.zip")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [*tmp_path.iterdir()] == []

    def test_it_can_be_read_without_openbook(self, exported: tuple[KnowledgeBase, Path, Path]) -> None:
        import numpy as np

        held = members(exported[1])
        assert b"openbook import FILE" in held["README.txt"]
        indexes = [json.loads(line) for line in held["indexes.jsonl"].splitlines()]
        for index in indexes:
            read = [json.loads(line) for line in held[f"index-{index['id']}/readings.jsonl"].splitlines()]
            vectors = np.frombuffer(held[f"index-{index['id']}/vectors.f16"], "<f2").reshape(-1, index["dimension"])
            assert len(vectors) == sum(chunk[4] for row in read for chunk in row["chunks"])
            assert np.linalg.norm(vectors.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)
        assert "traces" not in str(list(held))


KILLED = """
import openbook, sys
openbook.import_(sys.argv[1], sys.argv[2], "imported")
"""


def test_a_file_system_without_links_takes_an_export_and_keeps_what_is_there(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    kb.add(Document("memo:1", "The vault opens with two keys."))
    kb.export(tmp_path / "kb.openbook")
    assert zipfile.is_zipfile(tmp_path / "kb.openbook")
    with pytest.raises(ArchiveError, match="exists already"):
        kb.export(tmp_path / "kb.openbook")
    assert [path.name for path in tmp_path.iterdir()] == ["kb.openbook"]


def test_what_was_edited_stands_through_an_import(take_in: Any, new_kb: Any, tmp_path: Path) -> None:
    """A title given by hand was undone by the first add after an import, and a renamed document came twice."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "leave.md").write_text("# Leave\n\nTen days of leave.\n")
    (tmp_path / "notes" / "desk.md").write_text("# Desks\n\nBook a desk.\n")
    kb = new_kb()
    kb.add(tmp_path / "notes")
    kb.edit("leave.md", title="Time off")
    kb.edit("desk.md", source="memo:desks")
    kb.export(tmp_path / "edited.zip")
    _, copy = take_in(tmp_path / "edited.zip")
    for path in (tmp_path / "notes").iterdir():
        path.write_text(path.read_text() + "\nMore.\n")
    again = copy.add(tmp_path / "notes")
    assert (again.added, again.updated) == (0, 2)
    assert copy.show("leave.md").title == "Time off"
    assert sorted(one["source"] for one in copy.list())[-1] == "memo:desks"


def test_a_text_that_was_forgotten_of_a_former_name_does_not_come_back(kb: KnowledgeBase, tmp_path: Path) -> None:
    """Another document holds the text as well: it alone is imported."""
    kb.add(Document("memo:1", "The same words."), Document("memo:2", "The same words."))
    kb.edit("memo:1", source="memo:renamed")
    kb.export(tmp_path / "renamed.zip")
    kb.edit("memo:renamed", source="memo:1")
    kb.forget("memo:1")
    with kb.database.transaction("owner") as connection:  # as of a database that never knew the other name
        connection.execute(
            "DELETE FROM openbook.forgotten WHERE kb = %s"
            " AND hash = sha256(sha256('memo:renamed') || 'The same words.')",
            [kb.kb],
        )
    done = read_into(kb.database, tmp_path / "renamed.zip", uuid.uuid4().hex)
    assert [one.source for one in done.left_out] == ["memo:renamed"]
    assert done.documents == 1


def test_writers_do_not_wait_for_an_import_nor_imports_for_each_other_for_ever(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference of its chunks to documents locked these of all knowledge bases until it committed."""
    kb.add(Document("memo:1", "The parrot is blue."))
    kb.export(tmp_path / "export.zip")
    held, go = threading.Event(), threading.Event()
    add_index = rows.add_index

    def slow(*args: Any) -> Any:
        made = add_index(*args)
        held.set()
        assert go.wait(60)
        return made

    monkeypatch.setattr(rows, "add_index", slow)
    done: list[Any] = []
    imports = [
        threading.Thread(target=lambda: done.append(read_into(kb.database, tmp_path / "export.zip", uuid.uuid4().hex)))
        for _ in range(2)
    ]
    for thread in imports:
        thread.start()
    assert held.wait(60)
    writer = threading.Thread(target=lambda: kb.add(Document("memo:2", "The heron is grey.")))
    writer.start()
    writer.join(15)
    waited = writer.is_alive()
    go.set()
    for thread in (writer, *imports):
        thread.join(60)
    assert not waited
    assert [one.documents for one in done] == [1, 1]
    back = KnowledgeBase(kb.database, done[0].kb, create=False)
    assert back.search("parrot").hits
    with kb.database.transaction("owner") as connection:
        connection.execute("DELETE FROM openbook.document WHERE kb = %s", [back.kb])
    assert back.index.count(None) == 0, "chunks go with their documents"


def test_nobody_waits_for_who_makes_an_index_during_an_import(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new knowledge base, and a release with an index of its own, waited for the import to commit, and whoever wrote
    a document in any knowledge base waited behind them."""
    kb.add(Document("memo:1", "The parrot is blue."))
    kb.export(tmp_path / "export.zip")
    held, go = threading.Event(), threading.Event()
    add_index = rows.add_index

    def slow(*args: Any) -> Any:
        made = add_index(*args)
        held.set()
        assert go.wait(60)
        return made

    monkeypatch.setattr(rows, "add_index", slow)
    at_it: set[int] = set()
    both = threading.Event()
    create = Index.create

    def watched(connection: Any, *args: Any, **options: Any) -> None:
        at_it.add(threading.get_ident())
        if at_it >= {thread.ident for thread in makers}:
            both.set()
        create(connection, *args, **options)

    name, path, done = uuid.uuid4().hex, tmp_path / "export.zip", []
    recipe = Recipe(index=IndexHalf(chunk=RecursiveChunker(size=300, overlap=30)))
    importer = threading.Thread(target=lambda: done.append(read_into(kb.database, path, uuid.uuid4().hex)))
    makers = [
        threading.Thread(target=lambda: done.append(KnowledgeBase(kb.database, name))),
        threading.Thread(target=lambda: done.append(kb.build(recipe))),
    ]
    importer.start()
    assert held.wait(60)
    monkeypatch.setattr(Index, "create", watched)
    for thread in makers:
        thread.start()
    assert both.wait(60)
    other = KnowledgeBase(kb.database, kb.name)
    writer = threading.Thread(target=lambda: [other.add(Document(f"memo:{n}", "The heron is grey.")) for n in (2, 3)])
    writer.start()
    writer.join(15)
    waited, made = writer.is_alive(), len(done)
    go.set()
    for thread in (writer, importer, *makers):
        thread.join(60)
    assert not waited
    assert (made, len(done)) == (0, 3)
    assert kb.behind() == {"r1": 0, "r2": 0}


def test_no_name_of_what_is_left_out_comes_back(kb: KnowledgeBase, tmp_path: Path) -> None:
    gone, half = tmp_path / "half" / "anns-dismissal.md", tmp_path / "half"
    whole, ruled, nowhere = (tmp_path / name for name in ("anns-folder", "anns-ruled", "anns-ruled-and-gone"))
    for folder in (half, whole, ruled, nowhere):
        folder.mkdir()
        (folder / gone.name).write_text(f"{folder.name}: the vault opens with two keys.\n")
    (half / "other.md").write_text("The canteen opens at eight.\n")
    for folder in (half, whole):
        kb.add(folder)
    for folder in (ruled, nowhere):
        kb.add(folder, access=["group:hr"])
    kb.add(Document("edited", "It was so: parrots."))
    kb.add(Document("edited", "It is otherwise."))
    kb.export(tmp_path / "export.zip")
    shutil.rmtree(nowhere)
    for folder in (half, whole, ruled, nowhere):
        kb.forget(f"{folder.name}/{gone.name}")
    kb.forget("edited")
    kb.add(Document("edited", "It is otherwise."), again=True)
    done = read_into(kb.database, tmp_path / "export.zip", uuid.uuid4().hex)
    assert {one.source for one in done.left_out} == {
        (folder / gone.name).as_uri() for folder in (half, whole, ruled, nowhere)
    }
    with kb.database.transaction("owner") as connection:
        roots = connection.execute(
            "SELECT r.id, r.path FROM openbook.root r JOIN openbook.knowledge_base k ON k.id = r.kb WHERE k.name = %s",
            [done.kb],
        ).fetchall()
        files = connection.execute("SELECT path FROM openbook.file WHERE root = ANY(%s)", [[id for id, _ in roots]])
        assert files.fetchall() == [((half / "other.md").as_uri(),)]
        used = connection.execute(
            "SELECT d.source FROM openbook.vector_use u JOIN openbook.document d"
            " ON d.id = u.document JOIN openbook.knowledge_base k ON k.id = d.kb"
            " WHERE k.name = %s",
            [done.kb],
        ).fetchall()
    assert {path for _, path in roots} == {half.as_uri(), ruled.as_uri()}
    assert {source for (source,) in used} == {(half / "other.md").as_uri()}
    back = KnowledgeBase(kb.database, done.kb, create=False)
    again = back.add(half)
    assert (again.unchanged, again.removed) == (1, 0)


def test_a_killed_import_leaves_nothing(exported: tuple[KnowledgeBase, Path, Path], tmp_path: Path) -> None:
    with openbook.open(tmp_path / "db", "other") as kb:
        kb.add(Document("a", "text"))
        before = counts(kb.database)
        chance = random.Random(3)
        finished = 0
        for _ in range(6):
            process = subprocess.Popen([sys.executable, "-c", KILLED, exported[1], tmp_path / "db"])
            time.sleep(chance.uniform(0.2, 1.5))
            process.send_signal(signal.SIGKILL)
            finished += process.wait() == 0
            if counts(kb.database) != before:
                break
        if counts(kb.database) != before:
            assert KnowledgeBase(kb.database, "imported").verify().ok, "it had committed, whole"
        assert kb.verify().ok


def test_on_the_command_line(openbook: Run, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Birds\n\nThe parrot is blue.\n")
    assert openbook("add", "a.md").returncode == 0
    done = json.loads(openbook("export", "backup.zip", "--json").stdout)
    assert done.keys() >= {"file", "kb", "documents", "versions", "releases", "chunks", "vectors", "bytes", "checksum"}
    again = openbook("export", "backup.zip", "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["error"]["what"] == "exists already"
    assert "Traceback" not in again.stderr
    taken = openbook("import", "backup.zip")
    assert (taken.returncode, taken.stdout) == (1, "")
    done = json.loads(openbook("import", "backup.zip", "--kb", "copy", "--json").stdout)
    assert done.keys() >= {"kb", "documents", "versions", "releases", "chunks", "embedded", "ids", "left_out"}
    assert "parrot" in openbook("search", "parrot", "--kb", "copy").stdout
    assert "1 document in 1 version" in openbook("--db", "new", "import", "backup.zip").stdout
