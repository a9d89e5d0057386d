"""A linear map of queries, trained on vectors that are there already: seconds, and nothing is indexed anew.

x ↦ x (1 + D), brought to unit length. D begins at 0, so that training begins at the base; or where another adapter
stands (``start``), which it then goes on from and is held to. The loss of a query is
-log(Σ e^(s·cos) over what answers it / Σ over all), over all chunks of the index (``softmax``) or over the passages of
the queries in the same batch (``in-batch``); of scored pairs, the square of cosine - score. Added is ``pull`` · mean
‖z (D - start)‖² over documents' own vectors and the queries that are replayed, in whose directions nothing is to
change: without it, questions about other things lose what these gain.

Its files are those of sentence-transformers' ``Dense`` module, ``weight`` being (1 + D)ᵀ.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from openbook.embed.cache import sha256
from openbook.errors import ModelError
from openbook.finetune.embedder.dev import falls
from openbook.finetune.embedder.trained import Progress, Step, unwritten
from openbook.finetune.replay import pull

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.finetune.data.rows import Scored
    from openbook.finetune.embedder.vectors import Targets
    from openbook.finetune.settings import EmbedderSettings

PULLED = 256
"""Vectors of each kind that a step is held to the identity on."""

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's own (Kingma and Ba, ICLR 2015)."""

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of a map (D) and the numbers of the rows in a batch."""


@dataclass(slots=True)
class State:
    """A run at the end of a step: what it needs to go on as if it had never stopped."""

    change: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor
    best: torch.Tensor
    start: torch.Tensor
    at: int = 0
    steps: int = 0
    best_at: int = 0
    waited: int = 0
    sum: float = 0.0
    summed: int = 0
    loss: list[Step] = field(default_factory=list)
    dev: list[Step] = field(default_factory=list)
    highest: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    asking: float = 0.0

    @classmethod
    def new(cls, dimension: int, start: torch.Tensor | None = None) -> State:
        """At the identity, or where another adapter stands."""
        mean, square, nothing = torch.zeros(3, dimension, dimension)
        start = nothing if start is None else start
        return cls(start.clone(), mean, square, start.clone(), start)

    def save(self, file: Path) -> None:
        """Whole, or not at all. Raises: ModelError."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        told = {
            "at": self.at,
            "steps": self.steps,
            "best_at": self.best_at,
            "waited": self.waited,
            "sum": self.sum,
            "summed": self.summed,
            "seconds": self.seconds,
            "asking": self.asking,
            "highest": self.highest,
            "loss": [(step.at, step.of, step.loss) for step in self.loss],
            "dev": [(step.at, step.of, step.ndcg) for step in self.dev],
        }
        tensors = {name: getattr(self, name) for name in _TENSORS}
        new = file.with_suffix(".new")
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, new, {"told": json.dumps(told)})
            with new.open("rb+") as written:
                os.fsync(written.fileno())
            new.replace(file)
        except (OSError, SafetensorError) as error:
            new.unlink(missing_ok=True)
            raise unwritten("a checkpoint", file.parent, error) from None

    @classmethod
    def load(cls, file: Path) -> State:
        """Raises: ModelError."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "pt") as opened:
                told: dict[str, Any] = json.loads(opened.metadata()["told"])
                held = {name: opened.get_tensor(name) for name in _TENSORS}
                state = cls(**held)
            state.loss = [Step(at, of, loss=value) for at, of, value in told.pop("loss")]
            state.dev = [Step(at, of, ndcg=value) for at, of, value in told.pop("dev")]
            for name, value in told.items():
                setattr(state, name, value)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            do = "begin anew: leave out --resume"
            raise ModelError(f"no checkpoint that can be read ({error})", where=str(file), do=do) from None
        return state


_TENSORS = ("change", "mean", "square", "best", "start")


def fit(
    rows: int,
    loss: Loss,
    pulled: Sequence[torch.Tensor],
    settings: EmbedderSettings,
    *,
    score: Callable[[FloatArray], Mapping[str, float]] | None,
    checkpoint: Path,
    state: State,
    progress: Progress,
) -> State:
    """Train D on ``rows`` rows, from ``state`` on. ``score`` has the dev questions' scores by a matrix x ↦ x M: the
    latest map is kept that does not fall (``dev.falls``), and where all are 1 there is nothing left to learn by.

    The order of rows and what is drawn depend on seed and step alone, so that a run which goes on is the same run.

    Raises:
        ModelError: the loss is no number, or a checkpoint cannot be written.
    """
    assert settings.batch is not None and settings.epochs is not None  # noqa: PT018
    assert settings.rate is not None and settings.warmup is not None  # noqa: PT018
    epoch = math.ceil(rows / settings.batch)
    steps = max(1, round(epoch * settings.epochs))
    warm, told = steps * settings.warmup, max(1, epoch // 10)
    asks = max(1, round(epoch / settings.dev.per_epoch))
    state.steps = steps

    def asked() -> dict[str, float]:
        assert score is not None
        begun = time.perf_counter()
        found = dict(score(matrix(state.change, settings.interpolate, state.start)))
        state.asking += time.perf_counter() - begun
        state.dev.append(Step(state.at, steps, ndcg=fmean(found.values())))
        progress(state.dev[-1])
        return found

    if score is not None and not state.dev:
        asked()
    while state.at < steps and state.waited < settings.dev.patience and not _is_perfect(state.highest):
        begun = time.perf_counter()
        at = state.at
        order = torch.randperm(rows, generator=_drawn(settings.seed, at // epoch, 0))
        batch = order[(at % epoch) * settings.batch : (at % epoch + 1) * settings.batch]
        change = state.change.detach().requires_grad_()
        value = loss(change, batch)
        if not math.isfinite(float(value.detach())):
            do = "lower the rate, or look for texts whose vectors are no numbers"
            raise ModelError(f"the loss is no number at step {at + 1} of {steps}", where="adapter", do=do)
        held = value
        for number, vectors in enumerate(pulled, 1):
            some = vectors[torch.randint(len(vectors), (PULLED,), generator=_drawn(settings.seed, at, number))]
            held = held + settings.pull * pull(change - state.start, some)
        (gradient,) = torch.autograd.grad(held, change)
        rate = settings.rate * min(1.0, (at + 1) / warm if warm else 1.0)
        state.at += 1
        _adam(state, gradient, rate, settings.decay or 0.0)
        state.sum, state.summed = state.sum + float(value.detach()), state.summed + 1
        state.seconds += time.perf_counter() - begun
        if state.at % told == 0 or state.at == steps:
            state.loss.append(Step(state.at, steps, loss=state.sum / state.summed))
            state.sum, state.summed = 0.0, 0
            progress(state.loss[-1])
        if state.at % asks == 0 or state.at == steps:
            if score is not None:
                _judge(state, asked())
            state.save(checkpoint)
    if score is None:
        state.best, state.best_at = state.change, state.at
    return state


def _judge(state: State, asked: dict[str, float]) -> None:
    """Keep this map, if the dev questions do not fall by it. The base is no map that was trained."""
    if state.highest and falls(asked, state.highest):
        state.waited += 1
        return
    state.best, state.best_at, state.waited = state.change.clone(), state.at, 0
    if not state.highest or fmean(asked.values()) > fmean(state.highest.values()):
        state.highest = asked


def _is_perfect(asked: Mapping[str, float]) -> bool:
    return bool(asked) and min(asked.values()) >= 1.0 - 1e-9


def _adam(state: State, gradient: torch.Tensor, rate: float, decay: float) -> None:
    with torch.no_grad():
        state.mean = BETAS[0] * state.mean + (1 - BETAS[0]) * gradient
        state.square = BETAS[1] * state.square + (1 - BETAS[1]) * gradient**2
        mean = state.mean / (1 - BETAS[0] ** state.at)
        square = state.square / (1 - BETAS[1] ** state.at)
        kept = state.start + (state.change - state.start) * (1 - rate * decay)
        state.change = kept - rate * mean / (square.sqrt() + EPSILON)


def _drawn(seed: int, at: int, what: int) -> torch.Generator:
    # Hashed: torch looks at 32 bits of a seed, and none of these must look like another.
    told = hashlib.sha256(f"{seed} {what} {at}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(told[:4], "big"))


# --- losses -----------------------------------------------------------------------------------------------------------


def softmax_loss(targets: Targets, scale: float, *, in_batch: bool = False) -> Loss:
    """Over all passages, or over those of the rows in the batch; what may answer a query, too, is left out of its
    sum."""
    queries, passages = torch.from_numpy(targets.queries), torch.from_numpy(targets.passages)

    def loss(change: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        rows = batch.tolist()
        mapped = torch.nn.functional.normalize(queries[batch] + queries[batch] @ change, dim=1)
        columns: dict[int, int] | None = None
        chosen = passages
        if in_batch:
            columns = {row: at for at, row in enumerate(sorted({row for n in rows for row in targets.own[n]}))}
            chosen = passages[list(columns)]
        scores = scale * mapped @ chosen.T
        away = torch.zeros_like(scores, dtype=torch.bool)
        right = torch.zeros_like(away)
        for at, n in enumerate(rows):
            away[at, _columns(targets.left[n], columns)] = True
            right[at, _columns(targets.right[n], columns)] = True
        scores = scores.masked_fill(away, -math.inf)
        answered = scores.masked_fill(~right, -math.inf)
        return (scores.logsumexp(1) - answered.logsumexp(1)).mean()

    return loss


def _columns(rows: Sequence[int], columns: dict[int, int] | None) -> list[int]:
    return list(rows) if columns is None else [columns[row] for row in rows if row in columns]


def cosine_loss(first: FloatArray, second: FloatArray, scored: Sequence[Scored]) -> Loss:
    """The square of how far the cosine of the mapped first text and the second is from their score."""
    a, b = torch.from_numpy(first), torch.from_numpy(second)
    scores = torch.tensor([one.score for one in scored])

    def loss(change: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        mapped = torch.nn.functional.normalize(a[batch] + a[batch] @ change, dim=1)
        return (((mapped * b[batch]).sum(1) - scores[batch]) ** 2).mean()

    return loss


# --- files ------------------------------------------------------------------------------------------------------------


def matrix(change: torch.Tensor, share: float, start: torch.Tensor) -> FloatArray:
    """M = 1 + start + ``share`` · (D - start)."""
    return np.asarray((torch.eye(len(change)) + torch.lerp(start, change, share)).numpy(), np.float32)


def standing(folder: Path, fits: str) -> torch.Tensor:
    """D of an adapter that another one begins at.

    Raises:
        ModelError: it cannot be read, fits other vectors, or has a bias, which is not trained.
    """
    from openbook.embed.linear import read_linear

    found = read_linear(folder)
    if found.fits != fits:
        what = f"fits the vectors of another embedder ({found.fits}; these are of {fits})"
        raise ModelError(what, where=str(folder), do="begin anew: leave it out")
    if found.bias is not None:
        raise ModelError("has a bias, and none is trained", where=str(folder), do="begin anew: leave it out")
    return torch.from_numpy(np.ascontiguousarray(found.weight.T)) - torch.eye(found.dimension)


def turned(vectors: FloatArray, matrix: FloatArray) -> FloatArray:
    """float32[n, d] · matrix, every row of unit length."""
    product = vectors @ matrix
    return np.asarray(product / np.maximum(np.linalg.norm(product, axis=1, keepdims=True), 1e-12), np.float32)


def write(matrix: FloatArray, folder: Path) -> None:
    """A ``Dense`` module of x ↦ x M. Raises: OSError, SafetensorError."""
    import numpy as np
    from safetensors.numpy import save

    config = {
        "in_features": matrix.shape[0],
        "out_features": matrix.shape[1],
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = save({"linear.weight": np.ascontiguousarray(matrix.T, np.float32)})
    (folder / "model.safetensors").write_bytes(weights)  # who may read it is as of any other file


def read(folder: Path) -> FloatArray:
    """The matrix M of such a folder. Raises: ModelError."""
    from openbook.embed.bert import read_safetensors

    tensors = read_safetensors(folder / "model.safetensors")
    if set(tensors) != {"linear.weight"}:
        raise ModelError("no linear map of queries", where=str(folder), do="name a folder that finetune embedder wrote")
    return np.ascontiguousarray(tensors["linear.weight"].T)


def hash_of(folder: Path, fits: str) -> str:
    """Sixteen hex digits that name what it does: its weights, and the embedder that it fits."""
    content = json.dumps([len(read(folder)), False, fits, sha256(folder / "model.safetensors")])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
