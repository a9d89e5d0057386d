"""Real models made small: a BERT that pools its first token, an MPNet that only torch can read; and a server.

The server is a fake, since the real ones cost money: it speaks OpenAI's protocol over loopback, to the official SDK.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbook.embed import Embedder, open_embedder
from openbook.embed.folder import read_folder
from openbook.recipe import LocalEmbedder, OpenAIEmbedder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def save(folder: Path, model: Any, pooling: str, length: int, **extra: Any) -> Path:
    """A folder as sentence-transformers writes it, with the packaged model's tokenizer."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(read_folder("default").path / name, folder / name)
    kinds = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
    places = ["", "1_Pooling"]
    modules = [
        {"idx": i, "name": str(i), "path": place, "type": kind}
        for i, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(extra))
    (folder / "1_Pooling").mkdir()
    Pooling(model.config.hidden_size, pooling).save(str(folder / "1_Pooling"))
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny_bert(pooling)``: random weights, 32 dimensions, 48 tokens."""
    import torch
    from transformers import BertConfig, BertModel

    made: dict[str, Path] = {}

    def make(pooling: str) -> Path:
        if pooling not in made:
            torch.manual_seed(1)
            config = BertConfig(
                vocab_size=30522,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                initializer_range=0.3,
                max_position_embeddings=64,
            )
            made[pooling] = save(tmp_path_factory.mktemp("bert") / pooling, BertModel(config), pooling, 48)
        return made[pooling]

    return make


@pytest.fixture(scope="session")
def tiny_mpnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An architecture that openbook does not build itself."""
    import torch
    from transformers import MPNetConfig, MPNetModel

    torch.manual_seed(2)
    config = MPNetConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.3,
        max_position_embeddings=66,
    )
    return save(tmp_path_factory.mktemp("mpnet") / "mpnet", MPNetModel(config), "mean", 48)


class Server(ThreadingHTTPServer):
    """``POST /v1/embeddings``; ``plan`` holds the answers to the next requests: status, headers, body."""

    daemon_threads = True
    dimension = 24

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.silence = threading.Event()
        self.silence.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def vector(self, text: str, dimension: int) -> list[float]:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return [float(x) for x in 3 * np.random.default_rng(seed).normal(size=dimension)]  # of no unit length


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({**body, "authorization": self.headers.get("Authorization")})
        self.server.silence.wait(10)
        if self.server.plan:
            status, headers, answer = self.server.plan.pop(0)
            return self.reply(status, headers, answer)
        if any(text == "" for text in body["input"]):
            return self.reply(400, {}, {"error": {"message": "'$.input' is invalid", "type": "invalid_request_error"}})
        dimension = body.get("dimensions", self.server.dimension)
        data = []
        for index, text in enumerate(body["input"]):
            vector: Any = self.server.vector(text, dimension)
            if body.get("encoding_format") == "base64":
                vector = base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        data.reverse()  # the protocol promises an index, not an order
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return self.reply(200, {}, {"object": "list", "data": data, "model": body["model"], "usage": usage})

    def reply(self, status: int, headers: dict[str, str], answer: Any) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    running.plan.clear()
    running.asked.clear()
    return running


@pytest.fixture(scope="session")
def opened(
    cache: Path, tiny_bert: Callable[[str], Path], tiny_mpnet: Path, running: Server
) -> Callable[[str], Embedder]:
    """Each implementation by name, opened once."""
    parts = {
        "packaged": lambda: LocalEmbedder(),
        "bert-cls": lambda: LocalEmbedder(model=str(tiny_bert("cls"))),
        "bert-max": lambda: LocalEmbedder(model=str(tiny_bert("max"))),
        "mpnet": lambda: LocalEmbedder(model=str(tiny_mpnet)),
        "api": lambda: OpenAIEmbedder(model="any", base_url=running.url, max_tokens=100),
    }
    made: dict[str, Embedder] = {}

    def get(name: str) -> Embedder:
        if name not in made:
            made[name] = open_embedder(parts[name](), cache=cache)
        return made[name]

    return get
