"""A sentence-transformers folder run in OpenVINO on the processor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.embed.bert import graph, is_bert
from openbook.embed.cache import cache_folder
from openbook.embed.convert import converted
from openbook.embed.folder import ModelFolder, read_folder
from openbook.embed.runtime import Precision, Runtime, best_precision, shared
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
                for batch in self._runtime.run(ids, vectors[start : start + WINDOW]):
                    done += int(copies[start : start + WINDOW][batch].sum())
                    if progress is not None:
                        progress(done)
        return unit(vectors, where=str(self._folder.path))[of]

    def tokens(self, texts: Sequence[str]) -> list[IntArray]:
        import numpy as np

        found = self._tokenizer.encode_batch(_encodable(texts), add_special_tokens=False)
        return [np.array(encoding.offsets, np.int32).reshape(-1, 2) for encoding in found]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        tokenizer = self._tokenizer
        rows = []
        for encoding in tokenizer.encode_batch_fast(_encodable(texts), add_special_tokens=False):
            encoding.truncate(self.max_tokens)
            rows.append(tokenizer.post_process(encoding).ids or [self._padding])
        return rows

    @property
    def _padding(self) -> int:
        """What stands for an empty text where the tokenizer adds no special tokens."""
        return int(self._folder.config.get("pad_token_id") or 0)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer, normalizers

        try:
            tokenizer = Tokenizer.from_file(str(self._folder.tokenizer))
        except Exception as error:  # the library raises nothing narrower
            do = "save the model again"
            raise ModelError(f"no readable tokenizer ({error})", where=str(self._folder.tokenizer), do=do) from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if self._folder.lower_case:
            before = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
            tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
        return tokenizer

    @cached_property
    def _runtime(self) -> Runtime:
        made_of = (self._folder.digest(self._cache), self._cache)
        return shared(made_of, partial(_graph, self._folder, self._cache), precision=self._precision)


def _graph(folder: ModelFolder, cache: Path | None) -> Any:
    try:
        return graph(folder) if is_bert(folder) else converted(folder, cache)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        do = "save the model again with sentence-transformers"
        raise ModelError(f"its files do not fit together ({error})", where=str(folder.path), do=do) from None


def _encodable(texts: Sequence[str]) -> list[str]:
    """Lone surrogates, which no UTF-8 can hold, become ``?``: one code point for one, so that offsets stay."""
    return [text if text.isascii() else text.encode("utf-8", "replace").decode() for text in texts]
