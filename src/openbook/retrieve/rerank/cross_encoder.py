"""A cross-encoder run in OpenVINO on the processor: question and text are read as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.embed.adapter import has_adapter, read_adapted
from openbook.embed.bert import is_plain, pair_graph
from openbook.embed.cache import cache_folder
from openbook.embed.convert import converted, has_types
from openbook.embed.folder import ModelFolder, read_folder
from openbook.embed.runtime import Precision, Runtime, best_precision, shared
from openbook.embed.tokenizer import encodable, open_tokenizer
from openbook.errors import ModelError
from openbook.recipe import CrossEncoder

if TYPE_CHECKING:
    import numpy.typing as npt

    from openbook.embed import FloatArray


class PairModel:
    """A BERT straight from its weights, with or without a LoRA adapter; any other architecture converted once by torch
    and kept in ``cache``.

    A score is the logistic function of the model's one output, whatever its own files would make of it: it was trained
    as the log-odds that the text answers the question, so 0.5 is where the model wavers.
    """

    kind = "cross-encoder"
    remote = False

    def __init__(self, part: CrossEncoder, *, cache: Path | None = None, precision: Precision | None = None) -> None:
        self._weights: Mapping[str, npt.NDArray[Any]] | None = None
        if has_adapter(part.model):
            folder, self._weights = read_adapted(part.model)
            head = self._weights.get("classifier.weight")
            if head is not None and len(head) != 1:
                raise _of_several(len(head), part.model)
        else:
            folder = read_folder(part.model)
            _require_score(folder)
        self._folder = folder
        self._cache = cache_folder(cache)
        self._types = has_types(folder)
        self._length = min(part.max_tokens or folder.length, folder.positions)
        build = partial(_graph, folder, self._cache, self._weights)
        made_of = (folder.digest(self._cache), self._cache, "pairs")
        precision = precision or best_precision()
        self._runtime = (
            shared(made_of, build, precision=precision)
            if self._weights is None
            else Runtime(build, precision=precision)
        )

    def ready(self, texts: int) -> None:
        self._runtime.load(texts)

    def score(self, question: str, texts: Sequence[str]) -> FloatArray:
        import numpy as np

        logits = np.empty(len(texts), np.float32)
        (asked,) = encodable([question])
        pairs = self._tokenizer.encode_batch_fast([(asked, text) for text in encodable(texts)])
        types = [pair.type_ids for pair in pairs] if self._types else None

        def take(batch: list[int], output: FloatArray) -> None:
            logits[batch] = output[:, 0]

        for _ in self._runtime.run([pair.ids for pair in pairs], take, types):
            pass
        if not np.isfinite(logits).all():
            do = "check the model's weights"
            raise ModelError("made a score that is not a number", where=str(self._folder.path), do=do)
        return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = open_tokenizer(self._folder)
        try:
            tokenizer.enable_truncation(self._length, strategy="longest_first")
        except Exception as error:  # the library raises nothing narrower
            do = "raise query.rerank.max_tokens"
            raise ModelError(
                f"cannot cut to {self._length} tokens ({error})", where=str(self._folder.path), do=do
            ) from None
        return tokenizer


def _graph(folder: ModelFolder, cache: Path | None, weights: Mapping[str, npt.NDArray[Any]] | None) -> Any:
    try:
        return (
            pair_graph(folder, weights) if is_plain(folder) and has_types(folder) else converted(folder, cache, "pairs")
        )
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        do = "save the model again with sentence-transformers"
        raise ModelError(f"its files do not fit together ({error})", where=str(folder.path), do=do) from None


def _require_score(folder: ModelFolder) -> None:
    """Raises ModelError where the model does not give a pair of texts one number."""
    kinds = folder.config.get("architectures") or []
    if not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        what = f"no cross-encoder but {', '.join(map(str, kinds)) or 'a model without a head'}"
        raise ModelError(what, where=str(folder.path), do="name a sentence-transformers CrossEncoder")
    labels = len(folder.config.get("id2label") or (0, 1))
    if labels != 1:
        raise _of_several(labels, str(folder.path))


def _of_several(labels: int, where: str) -> ModelError:
    do = "name one that was trained with num_labels=1"
    return ModelError(f"gives {labels} numbers where one score is wanted", where=where, do=do)
