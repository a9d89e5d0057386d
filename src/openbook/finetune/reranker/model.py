"""The training of a reranker, by sentence-transformers' CrossEncoderTrainer.

LoRA: matrices beside a BERT's own and a head of its own, by peft, written apart from the base. Full: all weights. A
head that is new begins at 0, so that training begins at the order of the first stage.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars  # type: ignore[import-untyped]
from sentence_transformers import CrossEncoder
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import (
    CrossEncoderModelCardData,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainerState

from openbook.embed.provenance import content_of
from openbook.embed.tokenizer import encodable, open_tokenizer
from openbook.errors import ModelError
from openbook.finetune import trainer as shared
from openbook.finetune.embedder.dev import MEASURE
from openbook.finetune.embedder.trained import Step, unwritten
from openbook.finetune.lists import Listed
from openbook.finetune.reranker.dev import Rerankings, Weight, best_of, part_of, usual, weights_of
from openbook.finetune.reranker.loss import ListLoss
from openbook.finetune.reranker.trained import Trained, write_told
from openbook.finetune.reranker.training import HEAD, Run, trained_on
from openbook.finetune.running import finish, is_first

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.finetune.settings import RerankerSettings

PARTS = (
    *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    *("intermediate.dense", "output.dense"),
)
"""Every matrix of a BERT's layer."""

WHOLE = ("pooler", "classifier")
"""What is trained whole beside the matrices: the head."""

COMPARED = 4
"""Lists of which what is served is compared with what was trained."""

AT_ONCE = 32
"""Pairs that a model in training scores at once."""


def train(run: Run) -> Trained:
    """Raises: as ``train_reranker``."""
    settings = run.settings
    disable_progress_bars()
    torch.manual_seed(settings.seed)
    quick = settings.bf16 if settings.bf16 is not None else shared.multiplies_bf16()
    model = _opened(run)
    if settings.method == "lora":
        _add_lora(model, settings)
    shared.read_by_length(model)
    started = {name: tensor.detach().clone() for name, tensor in model.named_parameters() if tensor.requires_grad}
    lists = [one for one in run.taught.lists.lists if one.teaches]
    trainee = _Trainee(model, quick)
    evaluator = first = None
    if run.asking is not None:
        evaluator, first = _Evaluator(trainee, run.asking, shared.Asked(run.place)), run.asking.before()
    epoch = math.ceil(len(lists) / (settings.batch or 1))
    how = shared.arguments(run.place, settings, epoch, quick=quick, asks=evaluator is not None)
    callbacks: list[TrainerCallback] = [shared.Watch(run.progress, settings.method)]
    if evaluator is not None:
        callbacks.append(EarlyStoppingCallback(settings.dev.patience))
    with shared.quiet():
        trainer = CrossEncoderTrainer(
            model=model, args=CrossEncoderTrainingArguments(**how), train_dataset=_dataset(lists),
            loss=ListLoss(model, settings), evaluator=evaluator, callbacks=callbacks,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)  # of standard output, which is the command's own
        model.model_card_data.train_datasets = []  # each with its first rows, which every checkpoint's card would show
        kept = shared.last_checkpoint(run.place) if run.resume else None
        if first is not None and kept is None:
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
    done = _kept(run, trainer, trainee, lists, started, epoch, first, seconds)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    return done


def _opened(run: Run) -> CrossEncoder:
    """The base with a head, on the card where there is one. Its files were looked at before: no pickle is opened."""
    settings, folder = run.settings, run.folder
    with shared.quiet():
        card = CrossEncoderModelCardData(generate_widget_examples=False)
        # One that is there already: the trainer would show rows, which are not everybody's, as examples.
        card.widget = [{}]
        model: CrossEncoder = CrossEncoder(
            str(folder.path),
            num_labels=1,
            max_length=min(settings.max_tokens, folder.positions),
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            model_card_data=card,
        )
    if not any(str(kind).endswith(HEAD) for kind in folder.config.get("architectures") or ()):
        # Of a head of several layers the last alone: below one that is 0, another that is would learn nothing.
        head = getattr(model.model, "classifier", None)
        last = [module for module in head.modules() if isinstance(module, torch.nn.Linear)][-1:] if head else []
        for tensor in (tensor for module in last for tensor in module.parameters()):
            torch.nn.init.zeros_(tensor)
    if settings.method == "lora":
        # Weights that stay as they are cannot overfit, and dropping out takes 40 % more time.
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    return model


def _add_lora(model: CrossEncoder, settings: RerankerSettings) -> None:
    from peft import LoraConfig

    part = settings.lora
    model.add_adapter(
        LoraConfig(
            r=part.rank,
            lora_alpha=part.alpha,  # type: ignore[arg-type]  # a fraction will do
            lora_dropout=part.dropout,
            target_modules=list(PARTS),
            modules_to_save=list(WHOLE),
            task_type="SEQ_CLS",
        )
    )


def _dataset(lists: Sequence[Listed]) -> Dataset:
    return Dataset.from_dict(
        {
            "question": encodable([one.question for one in lists]),
            "texts": [encodable(one.texts) for one in lists],
            "first": [list(one.scores) for one in lists],
            "label": [list(one.grades) for one in lists],
        }
    )


@dataclass(slots=True)
class _Trainee:
    """A model in training as a reranker."""

    model: CrossEncoder
    quick: bool
    kind: str = field(default="cross-encoder", init=False)
    remote: bool = field(default=False, init=False)

    def ready(self, texts: int) -> None:
        """It is."""

    def score(self, question: str, texts: Sequence[str]) -> FloatArray:
        (asked,) = encodable([question])
        pairs = [(asked, text) for text in encodable(texts)]
        if not pairs:
            return np.empty(0, np.float32)
        with shared.quiet(), torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.quick):
            said = self.model.predict(
                pairs, batch_size=AT_ONCE, show_progress_bar=False, activation_fn=torch.nn.Sigmoid()
            )
        return np.asarray(said, np.float32)


class _Evaluator(BaseEvaluator):
    """The dev questions, as the trainer asks them."""

    def __init__(self, trainee: _Trainee, asking: Rerankings, asked: shared.Asked) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trainee = trainee
        self.asking = asking
        self.asked = asked
        self.primary_metric = MEASURE

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        by = self.asking.scores(self.trainee)
        means = {weight: fmean(scores.values()) for weight, scores in by.items()}
        told = self.asked.told(steps, by[best_of(means)])
        return told | {_named(weight): mean for weight, mean in means.items()}


def _named(weight: Weight) -> str:
    """What the trainer calls the measure at a weight."""
    return f"{MEASURE} at {weight}"


def _weighed(state: TrainerState, best: int, settings: RerankerSettings) -> dict[Weight, float]:
    """What the dev questions said of the step that was kept, by weight."""
    told = [one for one in state.log_history if one["step"] == best and f"eval_{MEASURE}" in one]
    return {weight: told[-1][f"eval_{_named(weight)}"] for weight in weights_of(settings)} if told else {}


def _kept(
    run: Run,
    trainer: CrossEncoderTrainer,
    trainee: _Trainee,
    lists: Sequence[Listed],
    started: dict[str, torch.Tensor],
    epoch: int,
    first: float | None,
    seconds: float,
) -> Trained:
    """The folder, of what the trainer holds."""
    from openbook.retrieve.rerank.cross_encoder import PairModel

    settings, state, model = run.settings, trainer.state, trainee.model
    # The trainer's own autocast is taken off with it: what is compared is the weights, not the precision.
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    trainee.quick = False
    compared = lists[:COMPARED]
    expected = np.concatenate([trainee.score(one.question, one.texts) for one in compared])
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
    moved = max(float((weights[name] - start.to(weights[name].device)).abs().max()) for name, start in started.items())
    new = run.place / "model"
    try:
        shutil.rmtree(new, ignore_errors=True)
        if settings.method == "lora":
            _write_adapter(model, new, run)
        else:
            with shared.quiet():
                model.save_pretrained(str(new), create_model_card=False)
    except Exception as error:  # as above
        raise unwritten("the model", new, error) from None
    best = state.best_global_step or state.global_step
    weighed = _weighed(state, best, settings)
    weight = best_of(weighed) if weighed else usual(settings)
    part = part_of(settings, str(new), weight)
    served = PairModel(part, precision="f32")
    scores = np.concatenate([served.score(one.question, one.texts) for one in compared])
    base_hash = run.folder.digest(None)[:16]
    pairs, cut, tokens = _counted(run, lists)
    asked = sum(one.get("eval_runtime", 0.0) for one in state.log_history)
    read = sum(min(len(one.texts), settings.texts) for one in lists) * (state.epoch or 0.0)
    left = run.taught.lists
    on = run.told | trained_on(run.taught, run.folder.path, run.dev)
    notes = list(run.notes)
    if cut:
        notes.append(f"{cut} of {pairs} candidates are longer than the model reads with their question, and were cut")
    told = part.model_dump(mode="json", exclude_defaults=True, exclude={"kind", "model"})
    trained = Trained(
        folder=run.out, method=settings.method, loss_kind=settings.loss, base=settings.base, base_hash=base_hash,
        hash=content_of(new),
        seed=settings.seed, used=len(lists), dropped=run.taught.dropped, pairs=pairs, cut=cut,
        left={"alike": left.alike, "ahead": left.ahead, "further": left.further}, tokens=tokens,
        documents=tuple(sorted(on.documents.items())), sources=tuple(sorted(on.sources)),
        principals=tuple(sorted(on.principals)),
        loss=shared.loss_curve(state, epoch), dev=shared.dev_curve(state, first),
        asked=run.asking.asked if run.asking else 0, dev_questions=run.asking.digests if run.asking else (), best=best,
        steps=state.max_steps, moved=moved, parity=float(np.abs(scores - expected).max()), seconds=round(seconds, 2),
        pairs_per_second=round(read / max(seconds - asked, 1e-6), 1),
        weights=(*([(0.0, first)] if first is not None and weighed else []), *weighed.items()),
        recipe=told, notes=tuple(notes),
    )  # fmt: skip
    finish(
        new,
        run.out,
        moved=trained.moved,
        parity=trained.parity,
        tell=lambda folder: write_told(trained, folder, settings),
    )
    return trained


def _write_adapter(model: CrossEncoder, folder: Path, run: Run) -> None:
    """As peft writes it, with the base by the name that it was given. Raises: OSError, SafetensorError."""
    from safetensors.torch import save_file

    settings = run.settings
    tensors = {}
    for name, tensor in model.named_parameters():
        if tensor.requires_grad:
            told = name.removeprefix("0.model.").replace(".modules_to_save.default", "").replace(".default.", ".")
            tensors[f"base_model.model.{told}"] = tensor.detach().float().cpu().contiguous()
    base = Path(settings.base).expanduser()
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": str(base.absolute())
        if settings.base != "default" and base.is_dir()
        else settings.base,
        "r": settings.lora.rank,
        "lora_alpha": settings.lora.alpha,
        "bias": "none",
        "target_modules": list(PARTS),
        "modules_to_save": list(WHOLE),
    }
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _counted(run: Run, lists: Sequence[Listed]) -> tuple[int, int, int]:
    """Pairs of question and candidate, how many of them are cut, and the tokens that are read of all."""
    tokenizer = open_tokenizer(run.folder)
    tokenizer.enable_truncation(min(run.settings.max_tokens, run.folder.positions), strategy="longest_first")
    pairs = cut = tokens = 0
    for one in lists:
        (asked,) = encodable([one.question])
        for read in tokenizer.encode_batch_fast([(asked, text) for text in encodable(one.texts)]):
            pairs, cut, tokens = pairs + 1, cut + bool(read.overflowing), tokens + len(read.ids)
    return pairs, cut, tokens
