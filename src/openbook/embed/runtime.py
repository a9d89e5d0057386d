"""A graph at work on this machine's processor: one text at once on all cores, or many texts on a core each."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from openbook.embed import FloatArray

    Take = Callable[[list[int], FloatArray], None]

Precision = Literal["f32", "bf16"]

FEW = 32
"""Up to so many texts are encoded one batch after another on all cores; above, the graph is compiled for throughput."""

BATCH_TOKENS = {"f32": 512, "bf16": 2048}
"""Tokens of a batch. In f32, 512 tokens keep a layer's activations in a core's cache: on two cores with AVX-512
batches of 4,096 tokens reach 0.6 of the speed. In bf16 with AMX the larger ones were measured as the faster."""

PADDING = 0.9
"""A batch takes no text shorter than this share of its longest: beyond it, padding costs more than a further call."""


def openvino() -> Any:
    """The openvino module, which unlike ``import openvino`` reports nothing to its makers over the network.

    Without ``openvino_telemetry`` openvino takes its own stub (and starts 60 ms earlier).
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: "there is no such module"
    import openvino as ov  # type: ignore[import-untyped]

    return ov


def best_precision() -> Precision:
    """bf16 with AMX, else f32.

    OpenVINO names BF16 a capability of any processor with avx512_bf16, where it takes twice as long as f32 (measured:
    0.6 of the speed; f16 on avx512_fp16 0.65).
    """
    try:
        return "bf16" if "amx_bf16" in Path("/proc/cpuinfo").read_text() else "f32"
    except OSError:
        return "f32"


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of texts, longest first, in batches of up to ``tokens`` tokens with little padding."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and ((len(batch) + 1) * lengths[batch[0]] > tokens or lengths[i] < PADDING * lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


class Runtime:
    """``graph`` compiled when first needed.

    Its inputs are ids int32[b, t] and mask float32[b, t], and for pairs of texts types int32[b, t]; its output is
    float32[b, …], a row a text.
    """

    def __init__(self, graph: Callable[[], Any], *, precision: Precision) -> None:
        self._build = graph
        self.precision = precision
        self._turn = threading.Lock()

    @cached_property
    def _graph(self) -> Any:
        return self._build()

    def _compiled(self, **hints: Any) -> Any:
        return core().compile_model(self._graph, "CPU", {"INFERENCE_PRECISION_HINT": self.precision, **hints})

    @cached_property
    def _quick(self) -> Any:
        return self._compiled(PERFORMANCE_HINT="LATENCY", NUM_STREAMS=1).create_infer_request()

    @cached_property
    def _many(self) -> Any:
        # One stream for each core: a core needs to wait for no other, and works from its own cache.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self._compiled(PERFORMANCE_HINT="THROUGHPUT", NUM_STREAMS=cores)

    @property
    def dimension(self) -> int:
        return int(self._graph.output(0).partial_shape[1].get_length())

    def load(self, texts: int) -> None:
        """Compile now what :meth:`run` will need for so many texts."""
        with self._turn:
            _ = self._quick if texts <= FEW else self._many

    def run(
        self, rows: Sequence[Sequence[int]], take: Take, types: Sequence[Sequence[int]] | None = None
    ) -> Iterator[list[int]]:
        """Encode token ids (and, where the graph reads pairs, token types); yields the rows handed in so far.

        ``take`` is given the rows of each batch and their output, which is no longer there when it returns; for many
        rows it is called from other threads.
        """
        parts = batches([len(row) for row in rows], BATCH_TOKENS[self.precision])
        inputs = (([*_padded(rows, part), *_beside(rows, types, part)], part) for part in parts)
        return self._run_few(inputs, take) if len(rows) <= FEW else self._run_many(inputs, take)

    def _run_few(self, inputs: Iterable[tuple[list[Any], list[int]]], take: Take) -> Iterator[list[int]]:
        for given, part in inputs:
            with self._turn:
                take(part, self._quick.infer(given)[0])
            yield part

    def _run_many(self, inputs: Iterable[tuple[list[Any], list[int]]], take: Take) -> Iterator[list[int]]:
        with self._turn:
            compiled = self._many
        queue = openvino().AsyncInferQueue(compiled)
        queue.set_callback(lambda request, part: take(part, request.get_output_tensor(0).data))
        try:
            for given, part in inputs:
                queue.start_async(given, part)
                yield part
        finally:
            queue.wait_all()


_shared: WeakValueDictionary[tuple[Hashable, ...], Runtime] = WeakValueDictionary()


def shared(made_of: Hashable, graph: Callable[[], Any], *, precision: Precision) -> Runtime:
    """This process's one runtime of the graph that is made of this, for as long as anybody uses it. A compiled model
    takes 0.15 s and 150 MB, and every knowledge base, index and release opens its own.

    A fork inherits no thread, and a compiled model waits for its own: so a child has another.
    """
    key = (os.getpid(), made_of, precision)
    runtime = _shared.get(key)
    if runtime is None:  # two threads may make two: nothing is lost but time
        runtime = _shared[key] = Runtime(graph, precision=precision)
    return runtime


@cache
def core() -> Any:
    """OpenVINO, its CPU plugin loaded."""
    core = openvino().Core()
    # OpenVINO gives the thread that loads its CPU plugin a stack for signals, of the least size there is. Python's
    # handlers run on it, and Ctrl-C overflowed it: so that thread is one that ends here.
    loader = threading.Thread(target=core.get_property, args=("CPU", "FULL_DEVICE_NAME"))
    loader.start()
    loader.join()
    return core


def _padded(rows: Sequence[Sequence[int]], part: list[int]) -> list[Any]:
    import numpy as np

    length = len(rows[part[0]])  # the longest comes first
    ids = np.zeros((len(part), length), np.int32)
    mask = np.zeros((len(part), length), np.float32)
    for at, row in enumerate(part):
        ids[at, : len(rows[row])] = rows[row]
        mask[at, : len(rows[row])] = 1
    return [ids, mask]


def _beside(rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None, part: list[int]) -> list[Any]:
    import numpy as np

    if types is None:
        return []
    padded = np.zeros((len(part), len(rows[part[0]])), np.int32)
    for at, row in enumerate(part):
        padded[at, : len(types[row])] = types[row]
    return [padded]
