"""A BERT encoder as an OpenVINO graph, straight from its weights: no torch, no conversion, nothing to cache.

The graph is built in about 20 ms, since the weights are mapped from their file and not copied.

Inputs ``ids`` int32[b, t] and ``mask`` float32[b, t] (1 for a token, 0 for padding); output float32[b, d], pooled and
not normalised. After Devlin et al., BERT (NAACL 2019), and Reimers and Gurevych, Sentence-BERT (EMNLP 2019).
"""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.embed.folder import ModelFolder
from openbook.embed.runtime import openvino
from openbook.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt


def is_bert(folder: ModelFolder) -> bool:
    """Whether :func:`graph` computes exactly what this folder means."""
    config = folder.config
    return (
        folder.modules in (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize"))
        and config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and folder.pooling in ("mean", "cls", "max")
    )


def graph(folder: ModelFolder) -> Any:
    """The ``openvino.Model`` of a folder for which :func:`is_bert` holds.

    Raises:
        ModelError: the weights are damaged or do not fit the configuration.
    """
    import numpy as np

    ov = openvino()
    from openvino import opset15 as op  # type: ignore[import-untyped]

    config = folder.config
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    weights = read_safetensors(folder.weights)
    inside = next((name for name in weights if name.endswith("embeddings.word_embeddings.weight")), "")
    prefix = inside.removesuffix("embeddings.word_embeddings.weight")  # "bert." where a head was saved with it

    def tensor(name: str) -> npt.NDArray[Any]:
        try:
            return weights[prefix + name]
        except KeyError:
            do = "save the model again with sentence-transformers"
            raise ModelError(f"lacks the tensor {name}", where=str(folder.weights), do=do) from None

    def weight(name: str) -> Any:
        return ov.op.Constant(tensor(name), shared_memory=True)

    def ints(*values: int) -> Any:
        return op.constant(np.array(values, np.int32))

    def normed(x: Any, name: str) -> Any:
        y = op.mvn(x, ints(-1), True, epsilon, "inside_sqrt")
        return op.add(op.multiply(y, weight(name + ".weight")), weight(name + ".bias"))

    def linear(x: Any, name: str) -> Any:
        return op.add(op.matmul(x, weight(name + ".weight"), False, True), weight(name + ".bias"))

    def split(x: Any) -> Any:  # [b, t, h] -> [b, heads, t, h / heads]
        size = tensor("embeddings.word_embeddings.weight").shape[1] // heads
        return op.transpose(op.reshape(x, ints(0, 0, heads, size), True), ints(0, 2, 1, 3))

    def joined(x: Any) -> Any:  # and back
        return op.reshape(op.transpose(x, ints(0, 2, 1, 3)), ints(0, 0, -1), True)

    ids = op.parameter([-1, -1], np.int32, "ids")
    mask = op.parameter([-1, -1], np.float32, "mask")
    # An encoder of one text has one token type: its row is added to the positions once and for all.
    places = tensor("embeddings.position_embeddings.weight") + tensor("embeddings.token_type_embeddings.weight")[0]
    length = op.gather(op.shape_of(ids, "i32"), ints(1), op.constant(np.int32(0)))
    place = op.slice(op.constant(places), ints(0), length, ints(1), ints(0))
    word = op.gather(weight("embeddings.word_embeddings.weight"), ids, op.constant(np.int32(0)))
    x = normed(op.add(word, place), "embeddings.LayerNorm")
    one, far = op.constant(np.float32(1)), op.constant(np.float32(1e9))
    hidden = op.multiply(op.subtract(op.unsqueeze(mask, ints(1, 2)), one), far)

    layers = config["num_hidden_layers"]
    for i in range(layers):
        layer = f"encoder.layer.{i}."
        # The last layer computes what the pooling reads, which for "cls" is the first token alone.
        last = i == layers - 1 and folder.pooling == "cls"
        asking = op.slice(x, ints(0), ints(1), ints(1), ints(1)) if last else x
        query = split(linear(asking, layer + "attention.self.query"))
        key, value = (split(linear(x, f"{layer}attention.self.{part}")) for part in ("key", "value"))
        seen = joined(op.scaled_dot_product_attention(query, key, value, hidden))
        x = normed(op.add(linear(seen, layer + "attention.output.dense"), asking), layer + "attention.output.LayerNorm")
        inner = op.gelu(linear(x, layer + "intermediate.dense"), "erf")
        x = normed(op.add(linear(inner, layer + "output.dense"), x), layer + "output.LayerNorm")

    if folder.pooling == "cls":
        pooled = op.squeeze(x, ints(1))
    elif folder.pooling == "max":
        pooled = op.reduce_max(op.add(x, op.multiply(op.subtract(op.unsqueeze(mask, ints(2)), one), far)), ints(1))
    else:
        total = op.squeeze(op.matmul(op.unsqueeze(mask, ints(1)), x, False, False), ints(1))
        pooled = op.divide(total, op.reduce_sum(mask, ints(1), True))
    return ov.Model([pooled], [ids, mask], "bert")


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
