"""Cross-encoders made small: a BERT that openbook builds itself, a DistilBERT that torch converts; and a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.embed import small
from tests.retrieve.rerank.loopback import RerankingServer

from openbook.embed import Embedder
from openbook.recipe import CrossEncoder, LateInteraction, RerankAPI
from openbook.retrieve.rerank import Reranker, open_reranker


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny_pairs("bert" | "distilbert")``: a CrossEncoder's folder of random weights, 64 tokens."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = small.tiny_pairs(tmp_path_factory.mktemp("pairs") / kind, kind)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def scoring() -> Iterator[RerankingServer]:
    server = RerankingServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def reranking(scoring: RerankingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RerankingServer]:
    """A server of rerank scores (see loopback.py)."""
    monkeypatch.delenv("RERANK_API_KEY", raising=False)
    scoring.plan.clear()
    scoring.asked.clear()
    yield scoring
    scoring.drips = False
    scoring.talks.set()


@pytest.fixture(scope="session")
def rerankers(
    cache: Path, embedder: Embedder, tiny_pairs: Callable[[str], Path], scoring: RerankingServer
) -> Callable[[str], Reranker]:
    """Each implementation by name, opened once."""
    parts = {
        "late": lambda: LateInteraction(),
        "bert": lambda: CrossEncoder(model=str(tiny_pairs("bert"))),
        "distilbert": lambda: CrossEncoder(model=str(tiny_pairs("distilbert"))),
        "api": lambda: RerankAPI(model="any", base_url=scoring.url),
    }
    made: dict[str, Reranker] = {}

    def get(name: str) -> Reranker:
        if name not in made:
            made[name] = open_reranker(parts[name](), embedder, cache=cache)
        return made[name]

    return get
