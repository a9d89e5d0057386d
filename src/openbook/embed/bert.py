"""A BERT encoder as an OpenVINO graph, straight from its weights: no torch, no conversion, nothing to cache.

The graph is built in about 20 ms, since the weights are mapped from their file and not copied.

Inputs ``ids`` int32[b, t] and ``mask`` float32[b, t] (1 for a token, 0 for padding), for pairs of texts ``types``
int32[b, t], too (0 for the first, 1 for the second). After Devlin et al., BERT (NAACL 2019), and Reimers and Gurevych,
Sentence-BERT (EMNLP 2019).
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.embed.folder import ModelFolder
from openbook.embed.runtime import openvino
from openbook.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt


def is_bert(folder: ModelFolder) -> bool:
    """Whether :func:`graph` computes exactly what this folder means."""
    pooled = folder.modules in (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize"))
    return pooled and folder.pooling in ("mean", "cls", "max") and is_plain(folder)


def is_plain(folder: ModelFolder) -> bool:
    """Whether its transformer is a BERT as it was published."""
    config = folder.config
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
    )


def graph(folder: ModelFolder) -> Any:
    """The ``openvino.Model`` of a folder for which :func:`is_bert` holds: float32[b, d], pooled and not normalised.

    Raises:
        ModelError: the weights are damaged or do not fit the configuration.
    """
    bert = _Bert(folder)
    op = bert.op
    x = bert.hidden(first=folder.pooling == "cls")
    mask = bert.mask
    if folder.pooling == "cls":
        pooled = op.squeeze(x, bert.ints(1))
    elif folder.pooling == "max":
        pooled = op.reduce_max(op.add(x, op.unsqueeze(bert.away, bert.ints(2))), bert.ints(1))
    else:
        total = op.squeeze(op.matmul(op.unsqueeze(mask, bert.ints(1)), x, False, False), bert.ints(1))
        pooled = op.divide(total, op.reduce_sum(mask, bert.ints(1), True))
    return openvino().Model([pooled], [bert.ids, mask], "bert")


def token_graph(folder: ModelFolder) -> Any:
    """The same before pooling: float32[b, t, d], a vector a token. Raises: as :func:`graph`."""
    bert = _Bert(folder)
    return openvino().Model([bert.hidden()], [bert.ids, bert.mask], "bert-tokens")


def pair_graph(folder: ModelFolder, weights: Mapping[str, npt.NDArray[Any]] | None = None) -> Any:
    """A ``BertForSequenceClassification`` of one label that reads two texts as one: float32[b, 1], a logit a pair.

    ``weights`` stand in the place of the folder's own. Raises: as :func:`graph`.
    """
    bert = _Bert(folder, weights, types=True)
    op = bert.op
    first = op.squeeze(bert.hidden(first=True), bert.ints(1))
    pooled = op.tanh(bert.linear(first, "pooler.dense"))
    logit = bert.linear(pooled, "classifier", inside=False)
    return openvino().Model([logit], [bert.ids, bert.mask, bert.types], "bert-pairs")


class _Bert:
    """The layers of a folder's BERT, and the inputs that its graph has."""

    def __init__(
        self, folder: ModelFolder, weights: Mapping[str, npt.NDArray[Any]] | None = None, *, types: bool = False
    ) -> None:
        import numpy as np

        self._ov = openvino()
        from openvino import opset15 as op  # type: ignore[import-untyped]

        self.op = op
        self._folder = folder
        self._weights = read_safetensors(folder.weights) if weights is None else weights
        inside = next((name for name in self._weights if name.endswith("embeddings.word_embeddings.weight")), "")
        # "bert." where a head was saved with it
        self._prefix = inside.removesuffix("embeddings.word_embeddings.weight")
        self.ids = op.parameter([-1, -1], np.int32, "ids")
        self.mask = op.parameter([-1, -1], np.float32, "mask")
        self.types = op.parameter([-1, -1], np.int32, "types") if types else None
        one, far = op.constant(np.float32(1)), op.constant(np.float32(1e9))
        self.away = op.multiply(op.subtract(self.mask, one), far)  # 0 for a token, -1e9 for padding

    def ints(self, *values: int) -> Any:
        import numpy as np

        return self.op.constant(np.array(values, np.int32))

    def tensor(self, name: str, *, inside: bool = True) -> npt.NDArray[Any]:
        """``inside`` the encoder, or beside it."""
        try:
            return self._weights[self._prefix + name if inside else name]
        except KeyError:
            do = "save the model again with sentence-transformers"
            raise ModelError(f"lacks the tensor {name}", where=str(self._folder.weights), do=do) from None

    def weight(self, name: str, *, inside: bool = True) -> Any:
        return self._ov.op.Constant(self.tensor(name, inside=inside), shared_memory=True)

    def linear(self, x: Any, name: str, *, inside: bool = True) -> Any:
        product = self.op.matmul(x, self.weight(name + ".weight", inside=inside), False, True)
        return self.op.add(product, self.weight(name + ".bias", inside=inside))

    def normed(self, x: Any, name: str) -> Any:
        y = self.op.mvn(x, self.ints(-1), True, self._folder.config["layer_norm_eps"], "inside_sqrt")
        return self.op.add(self.op.multiply(y, self.weight(name + ".weight")), self.weight(name + ".bias"))

    def hidden(self, *, first: bool = False) -> Any:
        """What the last layer says of every token, float32[b, t, h]; of the ``first`` one alone, float32[b, 1, h]."""
        op, ints, linear, normed = self.op, self.ints, self.linear, self.normed
        heads, layers = self._folder.config["num_attention_heads"], self._folder.config["num_hidden_layers"]
        size = self.tensor("embeddings.word_embeddings.weight").shape[1] // heads

        def split(x: Any) -> Any:  # [b, t, h] -> [b, heads, t, h / heads]
            return op.transpose(op.reshape(x, ints(0, 0, heads, size), True), ints(0, 2, 1, 3))

        def joined(x: Any) -> Any:  # and back
            return op.reshape(op.transpose(x, ints(0, 2, 1, 3)), ints(0, 0, -1), True)

        x = normed(self._embedded(), "embeddings.LayerNorm")
        away = op.unsqueeze(self.away, ints(1, 2))
        for i in range(layers):
            layer = f"encoder.layer.{i}."
            # The last layer computes what is read, which may be the first token alone.
            asking = op.slice(x, ints(0), ints(1), ints(1), ints(1)) if first and i == layers - 1 else x
            query = split(linear(asking, layer + "attention.self.query"))
            key, value = (split(linear(x, f"{layer}attention.self.{part}")) for part in ("key", "value"))
            seen = joined(op.scaled_dot_product_attention(query, key, value, away))
            given = op.add(linear(seen, layer + "attention.output.dense"), asking)
            x = normed(given, layer + "attention.output.LayerNorm")
            inner = op.gelu(linear(x, layer + "intermediate.dense"), "erf")
            x = normed(op.add(linear(inner, layer + "output.dense"), x), layer + "output.LayerNorm")
        return x

    def _embedded(self) -> Any:
        import numpy as np

        op, ints = self.op, self.ints
        places, kinds = (self.tensor(f"embeddings.{name}_embeddings.weight") for name in ("position", "token_type"))
        length = op.gather(op.shape_of(self.ids, "i32"), ints(1), op.constant(np.int32(0)))
        word = op.gather(self.weight("embeddings.word_embeddings.weight"), self.ids, op.constant(np.int32(0)))
        # An encoder of one text has one token type: its row is added to the positions once and for all.
        table = op.constant(places + kinds[0] if self.types is None else places)
        placed = op.add(word, op.slice(table, ints(0), length, ints(1), ints(0)))
        if self.types is None:
            return placed
        return op.add(placed, op.gather(op.constant(kinds), self.types, op.constant(np.int32(0))))


def read_safetensors(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a safetensors file: float32 ones mapped from it, half-precision ones widened to float32.

    (The safetensors package itself cannot give bfloat16 to numpy.) Raises: ModelError.
    """
    import numpy as np

    kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F64": np.float64}
    tensors: dict[str, npt.NDArray[Any]] = {}
    try:
        with file.open("rb") as stream:
            # Copy-on-write, since OpenVINO shares writable arrays only; nothing is ever written.
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        for name, entry in header.items():
            if name == "__metadata__" or entry["dtype"] not in kinds:  # integers are position ids
                continue
            shape, (begin, end) = entry["shape"], entry["data_offsets"]
            kind = np.dtype(kinds[entry["dtype"]])
            count = math.prod(shape)
            if count * kind.itemsize != end - begin:
                raise ValueError(f"{name} has a wrong size")
            array = np.frombuffer(data, kind, count, start + begin).reshape(shape)
            if entry["dtype"] == "BF16":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = array if array.dtype == np.float32 else array.astype(np.float32)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        do = "fetch or save the model again"
        raise ModelError(f"no readable safetensors file ({error})", where=str(file), do=do) from None
    return tensors
