"""A server's ``POST …/rerank`` as Cohere, Jina, vLLM and others have it.

Sent: ``model``, ``query``, ``documents``, ``top_n``. Answered: ``{"results": [{"index", "relevance_score"}, …]}``.
"""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from openbook.addresses import host_of, is_loopback
from openbook.errors import ModelError, ModelUnavailable
from openbook.recipe import RerankAPI
from openbook.types import storable

if TYPE_CHECKING:
    import httpx2

    from openbook.embed import FloatArray

SECONDS = 10.0
"""For one question, trying again included, where the recipe has no ``budget_ms``."""

ATTEMPTS = 3
"""In all: what may pass (no connection, 429, 5xx) is tried again after 0.25 s and 0.5 s, or when the server says."""

MOST_BYTES = 8_000_000
"""Of an answer; 1,000 scores are about 60,000."""


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    retry_after: str
    body: bytes


class RerankServer:
    """Scores of a server. What it says instead of scores is no score: it is refused, never guessed at."""

    kind = "api"
    remote = True

    def __init__(self, part: RerankAPI) -> None:
        self._part = part
        self._seconds = SECONDS if part.budget_ms is None else part.budget_ms / 1000
        host, port = host_of(part.base_url, where="query.rerank"), urlsplit(part.base_url).port
        self._where = f"{part.model} at {host}{f':{port}' if port else ''}"
        self._loopback = is_loopback(host)
        self._key = os.environ.get(part.key_env, "").strip()
        if not self._key and not self._loopback:
            raise ModelError("no key", where=self._where, do=f"set {part.key_env}")

    def ready(self, texts: int) -> None:
        _ = self._client

    def score(self, question: str, texts: Sequence[str]) -> FloatArray:
        import numpy as np

        if not texts:
            return np.empty(0, np.float32)
        asked = {
            "model": self._part.model,
            "query": storable(question),
            "documents": [storable(text) for text in texts],  # JSON holds no lone surrogate
            "top_n": len(texts),
        }
        return self._read(self._ask(json.dumps(asked).encode()), len(texts))

    def _ask(self, body: bytes) -> bytes:
        """The body of the first good answer. Raises: ModelError, ModelUnavailable."""
        deadline = time.monotonic() + self._seconds
        for attempt in range(1, ATTEMPTS + 1):
            reply = self._post(body, deadline)
            if isinstance(reply, _Reply) and reply.status == 200:
                return reply.body
            last = isinstance(reply, _Reply) and reply.status != 429 and reply.status < 500
            wait = 0.25 * 2 ** (attempt - 1)
            if isinstance(reply, _Reply):
                wait = max(0.0, _number(reply.retry_after, wait))
            if last or attempt == ATTEMPTS or time.monotonic() + wait >= deadline:
                raise self._refusal(reply)
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _post(self, body: bytes, deadline: float) -> _Reply | str:
        """One request, in a thread of its own: a socket's timeouts bound the silence between two bytes, not the whole.

        What went wrong with the connection comes back as text. Raises: ModelUnavailable: the time is up.
        """
        import httpx2

        done: SimpleQueue[_Reply | str] = SimpleQueue()
        gone = threading.Event()
        left = max(0.001, deadline - time.monotonic())
        client = self._client

        def post() -> None:
            try:
                timeout = httpx2.Timeout(left)
                with client.stream("POST", self._url, content=body, headers=self._headers, timeout=timeout) as answer:
                    got = bytearray()
                    for piece in answer.iter_bytes():
                        got += piece
                        if gone.is_set() or len(got) > MOST_BYTES:
                            break
                    done.put(_Reply(answer.status_code, answer.headers.get("retry-after", ""), bytes(got)))
            except Exception as error:  # whatever a connection may raise is the caller's, in words
                done.put(type(error).__name__)

        threading.Thread(target=post, name="openbook-rerank", daemon=True).start()
        try:
            return done.get(timeout=left)
        except Empty:
            gone.set()
            do = "raise query.rerank.budget_ms, or take a faster server"
            raise ModelUnavailable(f"no answer within {self._seconds:g} s", where=self._where, do=do) from None

    def _refusal(self, reply: _Reply | str) -> ModelError:
        part, where = self._part, self._where
        if isinstance(reply, str):
            return ModelUnavailable(f"does not answer ({reply})", where=where, do="check base_url and the network")
        if reply.status in (401, 403):
            # What the server says may repeat the key.
            return ModelError("the key was refused", where=where, do=f"set {part.key_env} to one that may use it")
        if reply.status == 429 or reply.status >= 500:
            return ModelUnavailable(f"keeps refusing (status {reply.status})", where=where, do="try again later")
        # What the server says may repeat the documents, and a trace keeps no text.
        do = "check model and base_url, which ends before /rerank"
        return ModelError(f"refused (status {reply.status})", where=where, do=do)

    def _read(self, body: bytes, texts: int) -> FloatArray:
        """Raises: ModelError: anything but one finite number for every text."""
        import numpy as np

        scores = np.full(texts, np.nan, np.float32)
        try:
            results = json.loads(body)["results"]
            for result in results:
                index, score = result["index"], result["relevance_score"]
                if type(index) is not int or not 0 <= index < texts or type(score) not in (int, float):
                    raise ValueError("an index or a score is none")
                scores[index] = score
            if len(results) != texts or not np.isfinite(scores).all():
                raise ValueError(f"{len(results)} results for {texts} texts")
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            do = "check that base_url is a reranking server's"
            told = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ModelError(f"no rerank response ({told})", where=self._where, do=do) from None
        return scores

    @property
    def _url(self) -> str:
        return self._part.base_url.rstrip("/") + "/rerank"

    @property
    def _headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return {"Content-Type": "application/json", "Accept": "application/json", **key}

    @cached_property
    def _client(self) -> httpx2.Client:
        import httpx2

        # A proxy that the environment names for the world must not stand between this machine and itself.
        client = httpx2.Client(trust_env=not self._loopback)
        weakref.finalize(self, client.close)
        return client


def _number(text: str, otherwise: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return otherwise
    return value if value == value else otherwise  # NaN is no time
