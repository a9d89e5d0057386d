"""Any OpenAI-compatible ``/embeddings`` endpoint: OpenAI itself, Ollama, vLLM, llama.cpp and many more."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from openbook.addresses import host_of, is_loopback
from openbook.embed.local import LocalModel
from openbook.embed.vectors import distinct, unit
from openbook.errors import ModelError, ModelUnavailable
from openbook.recipe import LocalEmbedder, OpenAIEmbedder
from openbook.types import storable

if TYPE_CHECKING:
    from openbook.embed import FloatArray, IntArray, TextKind

OPENAI = "https://api.openai.com/v1"

BATCH_TEXTS, BATCH_TOKENS = 128, 32_768
"""Of one request. OpenAI takes 2,048 texts and 300,000 tokens, a server of one's own a good deal less."""

AT_ONCE = 4
"""Requests under way at the same time."""


class APIModel:
    """Vectors from a server, by the official SDK.

    The SDK repeats what may pass (no answer within ``seconds``, 429, 5xx) up to ``attempts`` times in all, after
    0.5 s, 1 s, 2 s … 8 s with jitter, or as long as the server's ``Retry-After`` says.

    Tokens are estimated with the packaged model's tokenizer, since the server's own is unknown here: chunk budgets
    are approximate, and a text is cut after ``max_tokens`` estimated tokens before it is sent.

    ``hash`` names server, model, dimension, prefixes and length. Where the recipe does not name ``dimensions``, it
    asks the server once. It cannot see that a server has changed the model behind a name: only the vector of a
    probe text, compared with one stored earlier, shows that.
    """

    kind = "openai"
    remote = True

    def __init__(
        self, part: OpenAIEmbedder, *, cache: Path | None = None, seconds: float = 60.0, attempts: int = 6
    ) -> None:
        self._part = part
        self._url = (part.base_url or OPENAI).rstrip("/")
        self._prefix = {"query": part.query_prefix, "document": part.document_prefix}
        self._limits = {"timeout": seconds, "max_retries": attempts - 1}
        self._estimate = LocalModel(LocalEmbedder(), cache=cache)
        self.max_tokens = part.max_tokens
        host = host_of(self._url, where="index.embed")
        if not os.environ.get(part.key_env) and not is_loopback(host):
            raise ModelError(f"{part.model} needs a key", where=self._where, do=f"set {part.key_env}")

    @cached_property
    def dimension(self) -> int:
        return self._part.dimensions or int(self._ask(["dimension"]).shape[1])

    @cached_property
    def hash(self) -> str:
        content = [self._where, self._part.model, self.dimension, self.max_tokens, self._prefix]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def encode(
        self, texts: Sequence[str], kind: TextKind = "document", *, progress: Callable[[int], None] | None = None
    ) -> FloatArray:
        import numpy as np

        unique, of = distinct([storable(self._prefix[kind] + text) for text in texts])  # JSON holds no lone surrogate
        vectors = np.empty((len(unique), self.dimension), np.float32)
        copies = np.bincount(of, minlength=len(unique))
        done = start = 0
        batches = list(self._batches(unique))
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for found in pool.map(self._ask, batches):
                if found.shape[1] != self.dimension:
                    what = f"{self._part.model} gave {found.shape[1]} dimensions where {self.dimension} were expected"
                    raise ModelError(what, where=self._where, do="set dimensions to what the model makes")
                vectors[start : start + len(found)] = found
                done += int(copies[start : start + len(found)].sum())
                start += len(found)
                if progress is not None:
                    progress(done)
        finally:
            pool.shutdown(cancel_futures=True)
        return unit(vectors, where=self._where)[of]

    def tokens(self, texts: Sequence[str]) -> list[IntArray]:
        """Estimated: see the class."""
        return self._estimate.tokens(texts)

    def _batches(self, texts: list[str]) -> Iterator[list[str]]:
        # A token is a byte at least: a question needs no tokenizer, which takes longer to load than it is on its way.
        sizes = [len(text.encode()) for text in texts]
        if len(texts) <= BATCH_TEXTS and sum(sizes) <= BATCH_TOKENS and max(sizes, default=0) <= self.max_tokens:
            if texts:
                yield [text or " " for text in texts]
            return
        batch: list[str] = []
        held = 0
        for text, tokens in zip(texts, self.tokens(texts), strict=True):
            count = min(len(tokens), self.max_tokens)
            if batch and (len(batch) == BATCH_TEXTS or held + count > BATCH_TOKENS):
                yield batch
                batch, held = [], 0
            # OpenAI refuses the empty text.
            batch.append((text[: tokens[count - 1][1]] if len(tokens) > count else text) or " ")
            held += count
        if batch:
            yield batch

    @property
    def _where(self) -> str:
        """The server's address without user, password and query."""
        url = urlsplit(self._url)
        return f"{url.hostname}{f':{url.port}' if url.port else ''}{url.path}"

    @cached_property
    def _client(self) -> Any:
        import openai

        key = os.environ.get(self._part.key_env) or "none"  # a server on this machine wants none; the SDK wants one
        return openai.OpenAI(api_key=key, base_url=self._url, **self._limits)  # type: ignore[arg-type]

    def _ask(self, texts: list[str]) -> FloatArray:
        """``float32[n, d]`` as the server gives them. Raises: ModelError, ModelUnavailable."""
        import numpy as np
        import openai

        asked: dict[str, Any] = {"model": self._part.model, "input": texts}
        if self._part.dimensions is not None:
            asked["dimensions"] = self._part.dimensions
        try:
            data = sorted(self._client.embeddings.create(**asked).data, key=lambda item: item.index)
            if [item.index for item in data] != list(range(len(texts))):
                raise ValueError(f"{len(data)} vectors for {len(texts)} texts")
            vectors = np.array([item.embedding for item in data], np.float32)
            if vectors.ndim != 2 or vectors.shape[1] == 0 or not np.isfinite(vectors).all():
                raise ValueError("its vectors are not lists of numbers")
            return vectors
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            # What the server says may repeat the key.
            do = f"set {self._part.key_env} to a key that may use {self._part.model}"
            raise ModelError("the key was refused", where=self._where, do=do) from None
        except openai.APIConnectionError:  # a timeout is one
            do = "check base_url and the network, and try again later"
            raise ModelUnavailable("does not answer", where=self._where, do=do) from None
        except openai.APIStatusError as error:
            said = f"{error.status_code} {error.message[:200]}"
            if error.code == "insufficient_quota":
                raise ModelError(f"no credit left ({said})", where=self._where, do="add credit") from None
            if error.status_code == 429 or error.status_code >= 500:
                raise ModelUnavailable(f"keeps refusing ({said})", where=self._where, do="try again later") from None
            do = f"check model ({self._part.model}), base_url, dimensions and max_tokens"
            raise ModelError(f"refused ({said})", where=self._where, do=do) from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            do = "check that base_url is an OpenAI-compatible server's and model an embedding model"
            raise ModelError(f"no embeddings response ({error})", where=self._where, do=do) from None
