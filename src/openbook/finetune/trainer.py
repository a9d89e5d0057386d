"""What trainings by sentence-transformers' trainers share: arguments, curves, checkpoints, and how they fail.

Checkpoints are sentence-transformers' and transformers' own: weights as safetensors; of a run's own optimiser nothing
is opened but tensors.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterator, Mapping
from logging import ERROR, getLogger
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback
from transformers.utils import logging

from openbook.errors import ModelError
from openbook.finetune.embedder.dev import MEASURE, falls
from openbook.finetune.embedder.trained import Progress, Step, unwritten

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from openbook.finetune.settings import EmbedderSettings, RerankerSettings

WHOLE = "whole"
"""A file that a checkpoint has when all of it is written."""

KEPT = "kept"
"""What ranks checkpoints: the step, of one whose dev questions do not fall; else 0."""

TOGETHER = 8
"""Texts that an encoder in training reads at once on a processor, which a matrix of so many keeps busy."""


def arguments(
    place: Path, settings: EmbedderSettings | RerankerSettings, epoch: int, *, quick: bool, asks: bool
) -> dict[str, Any]:
    """A trainer's arguments. ``settings`` are resolved; an ``epoch`` has so many steps."""
    assert settings.epochs is not None
    steps = math.ceil(settings.epochs * epoch)
    warmup: float = settings.warmup or 0.0  # a share, below 1
    if math.ceil(warmup * steps) >= steps:  # it begins at a rate of 0: a run of one step would move nothing
        warmup = steps - 1
    strategy, every = "epoch", 0.0
    if settings.dev.per_epoch > 1:
        strategy, every = "steps", max(1, round(epoch / settings.dev.per_epoch))
    how: dict[str, Any] = {
        "output_dir": str(place),
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch,
        "learning_rate": settings.rate,
        "weight_decay": settings.decay,
        "warmup_steps": warmup,
        "lr_scheduler_type": "linear",
        "seed": settings.seed,
        "data_seed": settings.seed,
        "bf16": quick,
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": strategy,
        "save_steps": every,
        "save_total_limit": 1,
        "restore_callback_states_from_checkpoint": True,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "ddp_find_unused_parameters": True,  # a pooler that no pooling reads
    }
    if asks:
        how |= {
            "eval_strategy": strategy,
            "eval_steps": every,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{KEPT}",
            "greater_is_better": True,
        }
    return how


def read_by_length(model: SentenceTransformer | CrossEncoder) -> None:
    """Have a model's transformer read each batch in parts of texts that are about equally long, on a processor.

    A batch is as long as its longest text, and a processor multiplies what is filled up as well: of texts of 20 to 250
    tokens, more than half. What it returns is what it would have returned, but for zeros where nothing stood.
    """
    if torch.cuda.is_available() or model.transformers_model is None:
        return
    encoder = model.transformers_model.base_model
    whole = encoder.forward

    @functools.wraps(whole)
    def forward(*given: Any, **told: Any) -> Any:
        mask = told.get("attention_mask")
        if given or mask is None or mask.dim() != 2:
            return whole(*given, **told)
        if not bool((mask[:, 1:] <= mask[:, :-1]).all()):
            return whole(**told)  # filled up before the text
        lengths = mask.sum(1)
        split = {name for name, value in told.items() if torch.is_tensor(value) and value.shape == mask.shape}
        order = torch.argsort(lengths, descending=True, stable=True)
        parts = []
        for some in torch.split(order, TOGETHER):
            longest = int(lengths[some].max())
            own = {name: told[name][some, :longest] if name in split else value for name, value in told.items()}
            parts.append(whole(**own))
        back = torch.argsort(order)
        read = {}
        for name in ("last_hidden_state", "pooler_output"):
            if getattr(parts[0], name, None) is not None:
                tensors = [getattr(part, name) for part in parts]
                if name == "last_hidden_state":
                    tensors = [torch.nn.functional.pad(one, (0, 0, 0, mask.shape[1] - one.shape[1])) for one in tensors]
                read[name] = torch.cat(tensors)[back]
        return type(parts[0])(**read)

    encoder.forward = forward


class Watch(TrainerCallback):
    """Tells how it goes, and ends what goes wrong."""

    def __init__(self, progress: Progress, method: str) -> None:
        self._progress = progress
        self._method = method
        self._loss: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        told = logs or {}
        of = state.max_steps
        if f"eval_{MEASURE}" in told:
            self._progress(Step(state.global_step, of, ndcg=told[f"eval_{MEASURE}"]))
        if "loss" not in told:
            return
        if not math.isfinite(told["loss"]) or not math.isfinite(told.get("grad_norm", 0.0)):
            what = f"the loss is no number at step {state.global_step} of {of}"
            raise ModelError(what, where=self._method, do="lower the rate (--rate)")
        self._loss.append(told["loss"])
        if state.global_step % max(1, of // 100) == 0:
            self._progress(Step(state.global_step, of, loss=sum(self._loss) / len(self._loss)))
            self._loss.clear()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).write_text("")


class Asked:
    """What the dev questions said at each step of a run, whose own files lie at ``place``: a run that goes on must
    know it, too."""

    def __init__(self, place: Path) -> None:
        self._file = place / "asked.json"

    def told(self, step: int, scores: Mapping[str, float]) -> dict[str, float]:
        """What a trainer reads of the ``scores`` by question: their mean, and whether this step is to be kept."""
        before = self._before(step)
        highest = max(before.values(), key=lambda one: fmean(one.values()), default=None)
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({**before, str(step): scores}), encoding="utf-8")
        new.replace(self._file)  # whole, or as it was: a full disk leaves what a run goes on from
        kept = highest is None or not falls(scores, highest)
        return {MEASURE: fmean(scores.values()), KEPT: float(step) if kept else 0.0}

    def _before(self, step: int) -> dict[str, dict[str, float]]:
        try:
            told = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        # It may have been asked at later ones, of which no checkpoint was written.
        return {at: scores for at, scores in told.items() if int(at) < step}


def loss_curve(state: Any, epoch: int) -> tuple[Step, ...]:
    """The mean over each tenth of an ``epoch`` (in steps)."""
    told = [(int(one["step"]), one["loss"]) for one in state.log_history if "loss" in one]
    tenth = max(1, epoch // 10)
    curve = []
    for at in range(0, len(told), tenth):
        some = told[at : at + tenth]
        curve.append(Step(some[-1][0], state.max_steps, loss=sum(value for _, value in some) / len(some)))
    return tuple(curve)


def dev_curve(state: Any, first: float | None) -> tuple[Step, ...]:
    """What the dev questions said, ``first`` of the base."""
    dev = [Step(0, state.max_steps, ndcg=first)] if first is not None else []
    asked = [(int(one["step"]), one[f"eval_{MEASURE}"]) for one in state.log_history if f"eval_{MEASURE}" in one]
    return (*dev, *(Step(at, state.max_steps, ndcg=ndcg) for at, ndcg in asked))


def last_checkpoint(place: Path) -> Path | None:
    """The last one that is whole."""
    found = [path for path in place.glob("checkpoint-*") if (path / WHOLE).is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def failed(error: BaseException, place: Path, method: str) -> ModelError:
    """What went wrong, in a line."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError):
        return ModelError(f"memory ran out ({said})", where=method, do="take a smaller --batch")
    # safetensors and torch have errors of their own for it.
    if isinstance(error, OSError) or any(part in said for part in ("I/O error", "writing", "write", "No space")):
        return unwritten("a checkpoint", place, error)
    return ModelError(f"training failed ({said})", where=method, do="look at the rows and the settings")


def multiplies_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What libraries tell about their work is no news to who asked for a model."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    theirs = getLogger("sentence_transformers")
    before = theirs.level
    theirs.setLevel(ERROR)
    try:
        yield
    finally:
        theirs.setLevel(before)
        logging.set_verbosity(level)
        if bars:  # within another such quiet there are none
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
