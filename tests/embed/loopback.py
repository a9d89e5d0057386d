"""A server that speaks OpenAI's embeddings protocol over loopback, in the place of those that cost money."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


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
