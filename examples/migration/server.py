"""A stand-in for a paid embeddings API: OpenAI's protocol on this machine, vectors of 128 dimensions.

    python server.py RECIPE

It answers with the packaged model's vectors, turned and cut to 128 dimensions; writes a RECIPE that names it, returns
when it is ready, and ends by itself when nobody has asked for a minute. Run again, it answers at the same address.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np

from openbook.embed import open_embedder
from openbook.recipe import LocalEmbedder

DIMENSIONS, IDLE = 128, 60.0
RECIPE = """\
[index.embed]
kind = "openai"
model = "example-128"
base_url = "{url}"
dimensions = 128
"""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        vectors = MODEL.encode(asked["input"]) @ TURN
        data = [{"object": "embedding", "index": at, "embedding": packed(row)} for at, row in enumerate(vectors)]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        content = json.dumps({"object": "list", "data": data, "model": asked["model"], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def packed(vector: np.ndarray) -> str:
    """As the official SDK asks for them: little-endian floats in base64."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def port(recipe: Path) -> int:
    """Of the address that the recipe names already; else any."""
    known = re.search(r'base_url = "http://127\.0\.0\.1:(\d+)', recipe.read_text()) if recipe.exists() else None
    return int(known[1]) if known else 0


def main(recipe: Path) -> None:
    try:
        server = HTTPServer(("127.0.0.1", port(recipe)), Handler)
    except OSError:  # it has not ended yet
        print(f"{recipe}: example-128, 128 dimensions")
        return
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    recipe.write_text(RECIPE.format(url=url))
    if os.fork():  # the parent tells that it is ready, the child answers
        print(f"{recipe}: example-128, 128 dimensions")
        os._exit(sys.stdout.flush() or 0)
    os.setsid()
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    server.timeout = IDLE
    server.handle_timeout = lambda: os._exit(0)  # type: ignore[method-assign]
    while True:
        server.handle_request()


MODEL = open_embedder(LocalEmbedder())
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(MODEL.dimension, DIMENSIONS)))[0].astype(np.float32)

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python server.py RECIPE")
    main(Path(sys.argv[1]))
