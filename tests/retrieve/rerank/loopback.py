"""A server that speaks the rerank protocol of Cohere, Jina and vLLM, in the place of those that cost money."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RerankingServer(ThreadingHTTPServer):
    """``POST /v1/rerank``; ``plan`` holds the answers to the next requests: status, headers, body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.talks = threading.Event()  # cleared: it accepts a request and says nothing
        self.talks.set()
        self.drips = False  # a byte now and then, for ever

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @staticmethod
    def score(question: str, text: str) -> float:
        """The share of the question's words that the text has, from 0.01 to 0.99."""
        asked = set(re.findall(r"\w+", question.lower()))
        found = asked.intersection(re.findall(r"\w+", text.lower()))
        return 0.01 + 0.98 * len(found) / max(1, len(asked))


class Handler(BaseHTTPRequestHandler):
    server: RerankingServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({**body, "path": self.path, "authorization": self.headers.get("Authorization")})
        self.server.talks.wait(20)
        if self.server.drips:
            return self.drip()
        if self.server.plan:
            return self.reply(*self.server.plan.pop(0))
        if self.path != "/v1/rerank":
            return self.reply(404, {}, {"detail": "Not Found"})
        scores = [self.server.score(body["query"], text) for text in body["documents"]]
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[: body["top_n"]]
        results = [{"index": index, "relevance_score": scores[index]} for index in best]
        return self.reply(200, {}, {"id": "rerank-1", "results": results, "meta": {"api_version": {"version": "2"}}})

    def reply(self, status: int, headers: dict[str, str], answer: Any) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked may have gone
            self.wfile.write(content)

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        waiting = threading.Event()
        while self.server.drips and not waiting.wait(0.02):
            try:
                self.wfile.write(b" ")
            except OSError:
                return

    def log_message(self, format: str, *args: Any) -> None:
        pass
