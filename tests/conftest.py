"""Fixtures are real parts: the packaged model, an embedded PostgreSQL, real files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.embed.loopback import Server

from openbook.embed import Embedder, open_embedder
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import LocalEmbedder, Recipe
from openbook.store.database import Database

ROOT = Path(__file__).resolve().parent.parent
MEMORY = Path("/dev/shm")


def pytest_configure() -> None:
    """Temporary folders lie in memory where there is room. Most hold a database, which has a disk write down whatever
    it does: on a busy one tests waited longer for it than for all the rest. Those of tests that passed go at once
    (``tmp_path_retention_policy``); those of a worker lie in that of the process which started it."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30
    if roomy:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The packaged model."""
    return open_embedder(LocalEmbedder())


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One embedded PostgreSQL for the whole run."""
    with Database.open(tmp_path_factory.mktemp("database") / "db") as database:
        yield database


@pytest.fixture
def new_kb(database: Database) -> Iterator[Callable[..., KnowledgeBase]]:
    """Makes knowledge bases of their own in the shared database."""
    made: list[KnowledgeBase] = []

    def make(recipe: Recipe | None = None, name: str | None = None) -> KnowledgeBase:
        made.append(KnowledgeBase(database, name or uuid.uuid4().hex, recipe=recipe))
        return made[-1]

    yield make
    for kb in made:
        kb.traces.close()


@pytest.fixture
def kb(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    """An empty knowledge base."""
    return new_kb()


@pytest.fixture(scope="session")
def data() -> Path:
    """The public data sets; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("OPENBOOK_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"public data not at {folder} (set OPENBOOK_DATA)")
    return folder


@pytest.fixture
def openbook(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a folder of its own, as a user would."""

    def run(*arguments: str, env: dict[str, str] | None = None, typed: str = "") -> subprocess.CompletedProcess[str]:
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("OPENBOOK_") or key == "OPENBOOK_CACHE"
        }
        return subprocess.run(
            [sys.executable, "-m", "openbook", *arguments],
            cwd=tmp_path,
            env={**clean, **(env or {})},
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    """A server of embeddings (see embed/loopback.py)."""
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def embeddings(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    running.plan.clear()
    running.asked.clear()
    return running


@pytest.fixture
def server(embeddings: Server) -> Server:
    return embeddings
