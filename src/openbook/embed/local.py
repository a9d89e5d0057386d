"""A sentence-transformers folder run in OpenVINO on the processor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.embed.bert import graph, is_bert, token_graph
from openbook.embed.cache import cache_folder
from openbook.embed.convert import Form, converted
from openbook.embed.folder import ModelFolder, read_folder
from openbook.embed.runtime import Precision, Runtime, best_precision, shared
from openbook.embed.tokenizer import encodable, open_tokenizer
from openbook.embed.vectors import distinct, unit
from openbook.errors import ModelError
from openbook.recipe import LocalEmbedder

if TYPE_CHECKING:
    from openbook.embed import FloatArray, IntArray, TextKind

WINDOW = 2048
"""Texts tokenised at once, while the ones before are computed; enough for batches of nearly equal length."""


class LocalModel:
    """A BERT straight from its weights; any other architecture converted once by torch and kept in ``cache``.

    ``precision`` is the machine's best by default. It is no part of ``hash``: the bf16 and f32 vectors of a text
    agree to a cosine of 0.9999.
    """

    kind = "local"
    remote = False

    def __init__(self, part: LocalEmbedder, *, cache: Path | None = None, precision: Precision | None = None) -> None:
        self._folder = read_folder(part.model)
        self._cache = cache_folder(cache)
        self._asked_tokens = part.max_tokens
        self._prefix = {
            "query": part.query_prefix or self._folder.prompts["query"],
            "document": part.document_prefix or self._folder.prompts["document"],
        }
        self._precision = precision or best_precision()

    @cached_property
    def hash(self) -> str:
        content = [self._folder.digest(self._cache), self.max_tokens, self._prefix["query"], self._prefix["document"]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @cached_property
    def dimension(self) -> int:
        return int(self._folder.config["hidden_size"]) if is_bert(self._folder) else self._runtime.dimension

    @cached_property
    def max_tokens(self) -> int:
        """As the model says, or as the recipe asks, and never more than the model has positions for."""
        special = self._tokenizer.num_special_tokens_to_add(False)
        return int(max(1, min(self._asked_tokens or self._folder.length - special, self._folder.positions - special)))

    def encode(
        self, texts: Sequence[str], kind: TextKind = "document", *, progress: Callable[[int], None] | None = None
    ) -> FloatArray:
        import numpy as np

        unique, of = distinct([self._prefix[kind] + text for text in texts])
        copies = np.bincount(of, minlength=len(unique))
        vectors = np.empty((len(unique), self.dimension), np.float32)
        done = 0
        # Tokenising runs beside, overlapped with compiling the graph at first and with computing later on.
        with ThreadPoolExecutor(1) as beside:
            coming = beside.submit(self._ids, unique[:WINDOW])
            if unique:
                self._runtime.load(len(unique))
            for start in range(0, len(unique), WINDOW):
                ids = coming.result()
                coming = beside.submit(self._ids, unique[start + WINDOW : start + 2 * WINDOW])
                for batch in self._runtime.run(ids, vectors[start : start + WINDOW].__setitem__):
                    done += int(copies[start : start + WINDOW][batch].sum())
                    if progress is not None:
                        progress(done)
        return unit(vectors, where=str(self._folder.path))[of]

    def tokens(self, texts: Sequence[str]) -> list[IntArray]:
        import numpy as np

        found = self._tokenizer.encode_batch(encodable(texts), add_special_tokens=False)
        return [np.array(encoding.offsets, np.int32).reshape(-1, 2) for encoding in found]

    def token_vectors(self, texts: Sequence[str], kind: TextKind, take: Callable[[int, FloatArray], None]) -> None:
        """``take(row, float32[t, d])`` for each text, in any order and from several threads: a vector of unit length
        for every token that is read, special ones excluded (of a text that has no other, these).

        These are the vectors that ``encode`` pools. Raises: ModelError.
        """
        import numpy as np

        rows, own = [], []
        for encoding in self._encodings([self._prefix[kind] + text for text in texts]):
            rows.append(encoding.ids or [self._padding])
            special = np.array(encoding.special_tokens_mask or [1], bool)
            own.append(np.flatnonzero(~special) if not special.all() else np.arange(len(special)))

        def given(batch: list[int], vectors: FloatArray) -> None:
            for at, row in enumerate(batch):
                found = vectors[at, own[row]]
                take(row, found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9))

        for _ in self._tokenwise.run(rows, given):
            pass

    def load_tokenwise(self, texts: int) -> None:
        """Make now what :meth:`token_vectors` will need for so many texts."""
        self._tokenwise.load(texts)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids or [self._padding] for encoding in self._encodings(texts)]

    def _encodings(self, texts: Sequence[str]) -> Iterator[Any]:
        """Cut after ``max_tokens``, with special tokens."""
        for encoding in self._tokenizer.encode_batch_fast(encodable(texts), add_special_tokens=False):
            encoding.truncate(self.max_tokens)
            yield self._tokenizer.post_process(encoding)

    @property
    def _padding(self) -> int:
        """What stands for an empty text where the tokenizer adds no special tokens."""
        return int(self._folder.config.get("pad_token_id") or 0)

    @cached_property
    def _tokenizer(self) -> Any:
        return open_tokenizer(self._folder)

    @cached_property
    def _runtime(self) -> Runtime:
        return self._running("texts")

    @cached_property
    def _tokenwise(self) -> Runtime:
        return self._running("tokens")

    def _running(self, form: Form) -> Runtime:
        made_of = (self._folder.digest(self._cache), self._cache, form)
        return shared(made_of, partial(_graph, self._folder, self._cache, form), precision=self._precision)


def _graph(folder: ModelFolder, cache: Path | None, form: Form) -> Any:
    try:
        if is_bert(folder):
            return token_graph(folder) if form == "tokens" else graph(folder)
        return converted(folder, cache, form)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        do = "save the model again with sentence-transformers"
        raise ModelError(f"its files do not fit together ({error})", where=str(folder.path), do=do) from None
