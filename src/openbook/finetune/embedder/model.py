"""LoRA and full training of an embedding model, by sentence-transformers' own trainer and losses.

What is trained is measured by the dev questions, its best checkpoint is merged into the base, and the folder that is
served is opened as a recipe opens it. Checkpoints are sentence-transformers' and transformers' own: weights as
safetensors; of a run's own optimiser nothing is opened but tensors.
"""

from __future__ import annotations

import contextlib
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars  # type: ignore[import-untyped]
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerModelCardData,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer import losses
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback
from transformers.utils import logging

from openbook.embed.local import LocalModel
from openbook.errors import ModelError
from openbook.finetune.data.negatives import filled
from openbook.finetune.embedder.batches import Apart, lines_of
from openbook.finetune.embedder.dev import MEASURE
from openbook.finetune.embedder.pool import Pool, pool_of
from openbook.finetune.embedder.trained import Step, Trained, unwritten
from openbook.finetune.embedder.training import Run, finish, is_first, provenance
from openbook.recipe import LocalEmbedder

if TYPE_CHECKING:
    from openbook.embed import FloatArray, IntArray, TextKind
    from openbook.finetune.settings import EmbedderSettings

T = TypeVar("T")

WHOLE = "whole"
"""A file that a checkpoint has when all of it is written."""

COMPARED = 16
"""Queries and passages on which what is served is compared with what was trained."""

AT_ONCE = 32
"""Texts that a model in training embeds at once, and of a large batch those whose activations are held."""

MARGIN = 0.2
"""By which a triplet's positive is to be nearer than its negative, in cosine distance."""


def train(run: Run) -> Trained:
    """Raises: as ``train_embedder``."""
    settings = run.settings
    disable_progress_bars()
    torch.manual_seed(settings.seed)
    model = _opened(settings, run.base.max_tokens)
    if settings.method == "lora":
        _add_lora(model, settings)
    started = {name: tensor.detach().clone() for name, tensor in model.named_parameters() if tensor.requires_grad}
    rows, dataset, sampler = _dataset(run)
    quick = settings.bf16 if settings.bf16 is not None else _multiplies_bf16()
    trainee = _Trainee(model, settings, run.base.hash, quick, started)
    evaluator = first = None
    if run.asking is not None:
        evaluator = _Evaluator(trainee, pool_of(run.asking, run.asking.dev.kb.embedder, settings.dev.pool))
        first = evaluator.measured()
    args, epoch = _arguments(run, rows, sampler, quick, asks=evaluator is not None)
    watch = _Watch(run)
    callbacks: list[TrainerCallback] = [watch]
    if evaluator is not None:
        callbacks.append(EarlyStoppingCallback(settings.dev.patience))
    with _quiet():
        trainer = SentenceTransformerTrainer(
            model=model, args=args, train_dataset=dataset, loss=_loss(model, settings), evaluator=evaluator,
            callbacks=callbacks,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)  # of standard output, which is the command's own
        kept = _last(run.place) if run.resume else None
        if evaluator is not None and kept is None:
            run.progress(Step(0, 1, ndcg=first))
        begun = time.perf_counter()
        try:
            trainer.train(resume_from_checkpoint=str(kept) if kept else None)
            if trainer.state.best_model_checkpoint:
                # The trainer has done so, and would have said nothing had it failed.
                trainer._load_from_checkpoint(trainer.state.best_model_checkpoint)
        except ModelError:
            raise
        except Exception as error:  # whatever a full disk or a full card makes of torch, safetensors and transformers
            raise _told(error, run) from error
        seconds = time.perf_counter() - begun
    if not is_first():
        torch.distributed.barrier()  # until the first process has written it
        return Trained.load(run.out)
    done = _kept(run, trainer, trainee, epoch, first, seconds)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    return done


def _opened(settings: EmbedderSettings, most: int) -> SentenceTransformer:
    """The base, on the card where there is one. Its files were looked at before: there is no pickle among them."""
    from openbook.embed.folder import read_folder

    path = str(read_folder(settings.base).path)
    how = {"use_safetensors": True, "dtype": torch.float32}
    with _quiet():
        card = SentenceTransformerModelCardData(generate_widget_examples=False)
        # One that is there already: the trainer would show rows, which are not everybody's, as examples.
        card.widget = [{}]
        model = SentenceTransformer(path, local_files_only=True, model_kwargs=how, model_card_data=card)
    if settings.max_tokens is not None:
        special = model.tokenizer.num_special_tokens_to_add(False)
        model.max_seq_length = min(settings.max_tokens, most) + special
    return model


def _add_lora(model: SentenceTransformer, settings: EmbedderSettings) -> None:
    from peft import LoraConfig

    part = settings.lora
    model.add_adapter(
        LoraConfig(
            r=part.rank,
            lora_alpha=part.alpha,  # type: ignore[arg-type]  # a fraction will do
            lora_dropout=part.dropout,
            target_modules="all-linear",
        )
    )


def _dataset(run: Run) -> tuple[int, Dataset, Any]:
    """How many lines are read in an epoch, the lines, and what says which of them share a batch."""
    settings, prepared = run.settings, run.prepared
    if prepared.scored:
        pairs = [*prepared.scored]
        if run.replay is not None:
            pairs += _some(run.replay.scored, settings, len(pairs))
        columns: dict[str, list[Any]] = {
            "sentence1": [one.first.text for one in pairs],
            "sentence2": [one.second.text for one in pairs],
            "score": [one.score for one in pairs],
        }
        return len(pairs), Dataset.from_dict(columns), None
    examples = [*prepared.examples]
    if run.replay is not None:
        examples += _some(run.replay.examples, settings, len(examples))
    negatives = settings.negatives
    if settings.loss == "triplet":
        examples = [replace(one, negatives=(of,)) for one in examples for of in one.negatives[: max(1, negatives)]]
        negatives = 1
    if negatives and any(example.negatives for example in examples):
        examples, _ = filled(examples, negatives, settings.seed)
    else:
        negatives = 0
    rows, lines = lines_of(examples, negatives)
    names = ["anchor", "positive", *(f"negative_{n}" for n in range(1, negatives + 1))]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return len(rows), Dataset.from_dict(columns), Apart(tuple(lines))


def _some(replayed: Sequence[T], settings: EmbedderSettings, beside: int) -> list[T]:
    """Of the replayed rows so many as go with the others."""
    wanted = min(len(replayed), round(settings.replay.ratio * beside))
    return random.Random(settings.seed).sample(list(replayed), wanted)


def _loss(model: SentenceTransformer, settings: EmbedderSettings) -> torch.nn.Module:
    if settings.loss == "cached":
        loss: torch.nn.Module = losses.CachedMultipleNegativesRankingLoss(
            model, scale=settings.scale, mini_batch_size=AT_ONCE
        )
    elif settings.loss == "triplet":
        cosine = losses.TripletDistanceMetric.COSINE
        loss = losses.TripletLoss(model, distance_metric=cosine, triplet_margin=MARGIN)
    elif settings.loss == "cosine":
        loss = losses.CosineSimilarityLoss(model)
    elif settings.loss == "cosent":
        loss = losses.CoSENTLoss(model, scale=settings.scale)
    else:
        loss = losses.MultipleNegativesRankingLoss(model, scale=settings.scale)
    if settings.matryoshka:
        whole = model.get_embedding_dimension() or 0
        wanted = [*settings.matryoshka, *([whole] if whole not in settings.matryoshka else [])]
        loss = losses.MatryoshkaLoss(model, loss, matryoshka_dims=sorted(wanted, reverse=True))
    return loss


def _arguments(
    run: Run, rows: int, sampler: Any, quick: bool, *, asks: bool
) -> tuple[SentenceTransformerTrainingArguments, int]:
    """The trainer's arguments, and the steps of an epoch."""
    settings, folder = run.settings, run.folder
    assert settings.batch is not None and folder is not None  # noqa: PT018
    assert settings.epochs is not None and settings.rate is not None and settings.decay is not None  # noqa: PT018
    epoch = math.ceil(rows / settings.batch)
    strategy, every = "epoch", 0.0
    if settings.dev.per_epoch > 1:
        strategy, every = "steps", max(1, round(epoch / settings.dev.per_epoch))
    how: dict[str, Any] = {"batch_sampler": sampler} if sampler is not None else {}
    if asks:
        how |= {
            "eval_strategy": strategy,
            "eval_steps": every,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{MEASURE}",
            "greater_is_better": True,
        }
    prompts = {
        name: folder.prompts["query" if name == "anchor" else "document"]
        for name in ("anchor", "positive", *(f"negative_{n}" for n in range(1, settings.negatives + 2)))
    }
    prompts |= {"sentence1": prompts["anchor"], "sentence2": prompts["positive"]}
    if any(prompts.values()):
        how["prompts"] = prompts
    args = SentenceTransformerTrainingArguments(
        output_dir=str(run.place),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        learning_rate=settings.rate,
        weight_decay=settings.decay,
        warmup_steps=settings.warmup or 0.0,  # a share, below 1
        lr_scheduler_type="linear",
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=quick,
        use_cpu=not torch.cuda.is_available(),
        save_strategy=strategy,
        save_steps=every,
        save_total_limit=1,
        restore_callback_states_from_checkpoint=True,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        ddp_find_unused_parameters=True,  # a pooler that no pooling reads
        **how,
    )
    return args, epoch


class _Watch(TrainerCallback):
    """Tells how it goes, and ends what goes wrong."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._loss: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        told = logs or {}
        of = state.max_steps
        if f"eval_{MEASURE}" in told:
            self.run.progress(Step(state.global_step, of, ndcg=told[f"eval_{MEASURE}"]))
        if "loss" not in told:
            return
        if not math.isfinite(told["loss"]) or not math.isfinite(told.get("grad_norm", 0.0)):
            what = f"the loss is no number at step {state.global_step} of {of}"
            raise ModelError(what, where=self.run.settings.method, do="lower the rate (--rate)")
        self._loss.append(told["loss"])
        if state.global_step % max(1, of // 100) == 0:
            self.run.progress(Step(state.global_step, of, loss=sum(self._loss) / len(self._loss)))
            self._loss.clear()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).write_text("")


@dataclass(slots=True)
class _Trainee:
    """A model in training as an embedder. Where only a share of what it learnt is to be kept, it answers as that."""

    model: SentenceTransformer
    settings: EmbedderSettings
    hash: str
    quick: bool
    started: dict[str, torch.Tensor]
    kind: str = field(default="local", init=False)
    remote: bool = field(default=False, init=False)

    @property
    def dimension(self) -> int:
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def max_tokens(self) -> int:
        return int(self.model.max_seq_length or 0) - int(self.model.tokenizer.num_special_tokens_to_add(False))

    def encode(
        self, texts: Sequence[str], kind: TextKind = "document", *, progress: Callable[[int], None] | None = None
    ) -> FloatArray:
        prompt = self.model.prompts.get(kind) or ""
        device = self.model.device.type
        with _quiet(), torch.autocast(device, torch.bfloat16, enabled=self.quick):
            made = self.model.encode(
                list(texts),
                prompt=prompt or None,
                batch_size=AT_ONCE,
                show_progress_bar=False,
                normalize_embeddings=True,
            )
        return np.asarray(made, np.float32)

    def tokens(self, texts: Sequence[str]) -> list[IntArray]:
        read = self.model.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        return [np.array(offsets, np.int32).reshape(-1, 2) for offsets in read["offset_mapping"]]

    @contextlib.contextmanager
    def as_kept(self) -> Iterator[None]:
        """The weights as ``interpolate`` leaves them, for as long as this lasts."""
        share = self.settings.interpolate
        if share == 1.0:
            yield
            return
        trained = {name: tensor.detach().clone() for name, tensor in self._trained()}
        with torch.no_grad():
            for name, tensor in self._trained():
                if ".lora_A." in name:
                    continue  # of a product one half is enough
                start = torch.zeros_like(tensor) if ".lora_B." in name else self.started[name].to(tensor.device)
                tensor.copy_(start + share * (tensor - start))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._trained():
                    tensor.copy_(trained[name])

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, tensor) for name, tensor in self.model.named_parameters() if name in self.started]


class _Evaluator(BaseEvaluator):
    """The dev questions, as the trainer asks them."""

    def __init__(self, trainee: _Trainee, pool: Pool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trainee = trainee
        self.pool = pool
        self.primary_metric = MEASURE

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        return {MEASURE: self.measured()}

    def measured(self) -> float:
        with self.trainee.as_kept():
            return self.pool.asking.score(self.trainee, self.pool.index(self.trainee.encode))


def _kept(
    run: Run,
    trainer: SentenceTransformerTrainer,
    trainee: _Trainee,
    epoch: int,
    first: float | None,
    seconds: float,
) -> Trained:
    """The folder, of what the trainer holds."""
    settings, state = run.settings, trainer.state
    examples = run.prepared.examples
    queries = [one.query for one in examples[:COMPARED]] or [one.first.text for one in run.prepared.scored[:COMPARED]]
    passages = [one.positives[0].text for one in examples[:COMPARED]]
    passages = passages or [one.second.text for one in run.prepared.scored[:COMPARED]]
    # The trainer's own autocast is taken off with it: what is compared is the weights, not the precision.
    trainer.accelerator.unwrap_model(trainee.model, keep_fp32_wrapper=False)
    trainee.quick = False
    with trainee.as_kept():
        expected = np.concatenate([trainee.encode(queries, "query"), trainee.encode(passages)])
    merged = _opened(settings.model_copy(update={"max_tokens": None}), 0)
    moved = _merge(merged, trainee)
    new = run.place / "model"
    try:
        shutil.rmtree(new, ignore_errors=True)
        with _quiet():
            merged.save_pretrained(str(new), create_model_card=False)
    except Exception as error:  # as above
        raise unwritten("the model", new, error) from None
    served = LocalModel(LocalEmbedder(model=str(new), max_tokens=settings.max_tokens), precision="f32")
    parity = float(np.abs(np.concatenate([served.encode(queries, "query"), served.encode(passages)]) - expected).max())
    own = LocalModel(LocalEmbedder(model=str(new)))
    losses_told = [(int(one["step"]), one["loss"]) for one in state.log_history if "loss" in one]
    tenth = max(1, epoch // 10)
    loss = []
    for at in range(0, len(losses_told), tenth):
        some = losses_told[at : at + tenth]
        loss.append(Step(some[-1][0], state.max_steps, loss=sum(value for _, value in some) / len(some)))
    dev = [Step(0, state.max_steps, ndcg=first)] if first is not None else []
    dev += [
        Step(int(one["step"]), state.max_steps, ndcg=one[f"eval_{MEASURE}"])
        for one in state.log_history
        if f"eval_{MEASURE}" in one
    ]
    asked = sum(one.get("eval_runtime", 0.0) for one in state.log_history)
    documents, sources, principals = provenance(run)
    trained = Trained(
        folder=run.out, method=settings.method, base=settings.base, base_hash=run.base.hash, fits=own.hash,
        hash=own.hash, seed=settings.seed, used=run.prepared.used, dropped=run.prepared.dropped, cut=run.prepared.cut,
        tokens=run.prepared.tokens,
        documents=documents, sources=sources, principals=principals, loss=tuple(loss), dev=tuple(dev),
        asked=len(run.asking.questions) if run.asking else 0, best=state.best_global_step or state.global_step,
        steps=state.max_steps, moved=moved, parity=parity, seconds=round(seconds, 2),
        pairs_per_second=round((state.epoch or 0.0) * run.prepared.used / max(seconds - asked, 1e-6), 1),
        notes=run.notes,
    )  # fmt: skip
    return finish(run, trained, new)


def _merge(merged: SentenceTransformer, trainee: _Trainee) -> float:
    """Add what was learnt to a base that is as it was; the largest change of a weight."""
    share = trainee.settings.interpolate
    moved = 0.0
    weights = dict(merged.named_parameters())
    with torch.no_grad():
        if trainee.settings.method == "lora":
            from peft.tuners.lora import LoraLayer

            changes = {
                f"{name}.weight": module.get_delta_weight(module.active_adapters[0])  # type: ignore[attr-defined]
                for name, module in trainee.model.named_modules()
                if isinstance(module, LoraLayer)
            }
        else:
            trained = dict(trainee.model.named_parameters())
            changes = {name: trained[name] - start.to(trained[name].device) for name, start in trainee.started.items()}
        for name, change in changes.items():
            weight = weights[name]
            weight.add_((share * change).to(weight.device, weight.dtype))
            moved = max(moved, float((share * change).abs().max()))
    return moved


def _last(place: Path) -> Path | None:
    """The last checkpoint that is whole."""
    found = [path for path in place.glob("checkpoint-*") if (path / WHOLE).is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _told(error: BaseException, run: Run) -> ModelError:
    """What went wrong, in a line."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError):
        return ModelError(f"memory ran out ({said})", where=run.settings.method, do="take a smaller --batch")
    # safetensors and torch have errors of their own for it.
    if isinstance(error, OSError) or any(part in said for part in ("I/O error", "writing", "write", "No space")):
        return unwritten("a checkpoint", run.place, error)
    return ModelError(f"training failed ({said})", where=run.settings.method, do="look at the rows and the settings")


def _multiplies_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What libraries tell about their work is no news to who asked for a model."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]
