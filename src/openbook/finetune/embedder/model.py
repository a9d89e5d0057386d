"""LoRA and full training of an embedding model, by sentence-transformers' own trainer and losses.

What is trained is measured by the dev questions, the checkpoint that is kept is merged into the base, and the folder
that is served is opened as a recipe opens it.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

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

from openbook.embed.local import LocalModel
from openbook.errors import ModelError
from openbook.finetune import trainer as shared
from openbook.finetune.data.negatives import filled
from openbook.finetune.embedder.batches import Apart, lines_of, without_answers
from openbook.finetune.embedder.dev import MEASURE
from openbook.finetune.embedder.pool import Pool, pool_of
from openbook.finetune.embedder.trained import Step, Trained, unwritten
from openbook.finetune.embedder.training import Run, finish, provenance
from openbook.finetune.replay import drawn
from openbook.finetune.running import is_first
from openbook.recipe import LocalEmbedder

if TYPE_CHECKING:
    from openbook.embed import FloatArray, IntArray, TextKind
    from openbook.finetune.settings import EmbedderSettings

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
    shared.read_by_length(model)
    quick = settings.bf16 if settings.bf16 is not None else shared.multiplies_bf16()
    trainee = _Trainee(model, settings, run.base.hash, quick, started)
    evaluator = first = None
    if run.asking is not None:
        pool = pool_of(run.asking, run.asking.dev.kb.embedder, settings.dev.pool)
        evaluator = _Evaluator(trainee, pool, shared.Asked(run.place))
        first = fmean(evaluator.scores().values())
    assert settings.batch is not None
    epoch = math.ceil(rows / settings.batch) if sampler is None else sampler.steps(settings.batch, settings.seed)
    args = _arguments(run, epoch, sampler, quick, asks=evaluator is not None)
    callbacks: list[TrainerCallback] = [shared.Watch(run.progress, settings.method)]
    if evaluator is not None:
        callbacks.append(EarlyStoppingCallback(settings.dev.patience))
    with shared.quiet():
        trainer = SentenceTransformerTrainer(
            model=model, args=args, train_dataset=dataset, loss=_loss(model, settings), evaluator=evaluator,
            callbacks=callbacks,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)  # of standard output, which is the command's own
        model.model_card_data.train_datasets = []  # each with its first rows, which every checkpoint's card would show
        kept = shared.last_checkpoint(run.place) if run.resume else None
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
            raise shared.failed(error, run.place, settings.method) from error
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
    with shared.quiet():
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


def _dataset(run: Run) -> tuple[int, Dataset, Apart | None]:
    """How many lines are read in an epoch, the lines, and what says which of them share a batch."""
    settings, prepared = run.settings, run.prepared
    if prepared.scored:
        pairs = [*prepared.scored]
        if run.replay is not None:
            pairs += drawn(run.replay.scored, len(pairs), ratio=settings.replay.ratio, seed=settings.seed)
        columns: dict[str, list[Any]] = {
            "sentence1": [one.first.text for one in pairs],
            "sentence2": [one.second.text for one in pairs],
            "score": [one.score for one in pairs],
        }
        return len(pairs), Dataset.from_dict(columns), None
    examples = [*prepared.examples]
    if run.replay is not None:
        examples += drawn(run.replay.examples, len(examples), ratio=settings.replay.ratio, seed=settings.seed)
    examples = without_answers(examples)
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
    run: Run, epoch: int, sampler: Apart | None, quick: bool, *, asks: bool
) -> SentenceTransformerTrainingArguments:
    settings, folder = run.settings, run.folder
    assert folder is not None
    how = shared.arguments(run.place, settings, epoch, quick=quick, asks=asks)
    if sampler is not None:
        how["batch_sampler"] = sampler
    prompts = {
        name: folder.prompts["query" if name == "anchor" else "document"]
        for name in ("anchor", "positive", *(f"negative_{n}" for n in range(1, settings.negatives + 2)))
    }
    prompts |= {"sentence1": prompts["anchor"], "sentence2": prompts["positive"]}
    if any(prompts.values()):
        how["prompts"] = prompts
    return SentenceTransformerTrainingArguments(**how)


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
        with shared.quiet(), torch.autocast(device, torch.bfloat16, enabled=self.quick):
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

    def __init__(self, trainee: _Trainee, pool: Pool, asked: shared.Asked) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trainee = trainee
        self.pool = pool
        self.asked = asked
        self.primary_metric = MEASURE

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        return self.asked.told(steps, self.scores())

    def scores(self) -> dict[str, float]:
        with self.trainee.as_kept():
            return self.pool.asking.scores(self.trainee, self.pool.index(self.trainee.encode))


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
        with shared.quiet():
            merged.save_pretrained(str(new), create_model_card=False)
    except Exception as error:  # as above
        raise unwritten("the model", new, error) from None
    served = LocalModel(LocalEmbedder(model=str(new), max_tokens=settings.max_tokens), precision="f32")
    parity = float(np.abs(np.concatenate([served.encode(queries, "query"), served.encode(passages)]) - expected).max())
    own = LocalModel(LocalEmbedder(model=str(new)))
    asked = sum(one.get("eval_runtime", 0.0) for one in state.log_history)
    documents, sources, principals = provenance(run, run.told)
    trained = Trained(
        folder=run.out, method=settings.method, base=settings.base, base_hash=run.base.hash, fits=own.hash,
        hash=own.hash, seed=settings.seed, used=run.prepared.used, dropped=run.prepared.dropped, cut=run.prepared.cut,
        tokens=run.prepared.tokens,
        documents=documents, sources=sources, principals=principals,
        loss=shared.loss_curve(state, epoch), dev=shared.dev_curve(state, first),
        asked=len(run.asking.questions) if run.asking else 0, dev_questions=run.asking.digests if run.asking else (),
        best=state.best_global_step or state.global_step,
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
