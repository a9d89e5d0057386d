"""A cross-encoder trained on what the first stage returns: a LoRA adapter and a head on a BERT.

What is learnt is a correction. A list's scores are ``first`` · fused score + the model's logit, and the head begins at
0, so that training begins at the order of the first stage. The loss is the cross-entropy between the softmax of these
scores and the grades (ListNet: Cao et al., ICML 2007). A recipe says it with ``weight = 1 / first``.
"""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.embed.bert import is_plain
from openbook.embed.folder import read_folder
from openbook.embed.tokenizer import encodable, open_tokenizer
from openbook.errors import DatasetError, ModelError
from openbook.finetune.lists import Listed, drawn

if TYPE_CHECKING:
    import torch

    Row = tuple[list[int], list[int]]  # the token ids of a pair, and of which of the two each is

PARITY = 1e-3
"""How far a score of the model that is opened again may be from that of the model that was trained."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a reranker is trained.

    ``first``: what a unit of the fused score counts beside a unit of the logit. A step takes ``questions`` and of each
    ``texts``, drawn anew in each of the ``epochs``. The rate rises over ``warmup`` of the steps, and falls to 0.
    ``dropout`` is of what goes into the matrices. ``bf16``: by default where the processor multiplies in it.
    """

    base: str = "default"
    first: float = 0.4
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    rate: float = 5e-4
    decay: float = 0.01
    warmup: float = 0.1
    epochs: float = 1.0
    questions: int = 6
    texts: int = 8
    max_tokens: int = 192
    bf16: bool | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A step's number, of how many, its loss and that of the first stage alone on the same lists."""

    at: int
    of: int
    loss: float
    first: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What training did: ``steps``, with the loss of each; how many ``pairs`` and ``tokens`` were read, and how many of
    the pairs were ``cut``; the ``weights`` that are trained, and the largest change of one (``moved``); how far a score
    of the folder is from the trained model's (``apart``)."""

    folder: Path
    steps: tuple[Step, ...]
    pairs: int
    tokens: int
    cut: int
    weights: int
    moved: float
    apart: float
    seconds: float

    @property
    def last(self) -> tuple[float, float]:
        """The loss over the last tenth of the steps, and that of the first stage alone."""
        last = self.steps[-max(1, len(self.steps) // 10) :]
        return sum(step.loss for step in last) / len(last), sum(step.first for step in last) / len(last)


def train_reranker(
    lists: Sequence[Listed],
    folder: Path,
    settings: Settings = Settings(),
    *,
    progress: Callable[[Step], None] = lambda step: None,
) -> Trained:
    """Train on ``lists`` and write the adapter's ``folder``, which a recipe's cross-encoder opens by its path.

    The same lists, settings, processor and number of threads give the same weights. The folder is there when all of it
    is, and was found to score as what was trained.

    Raises:
        DatasetError: no list has both a relevant text and another.
        ModelError: the folder is there already or cannot be written, the base is no BERT, torch is missing, the loss is
            no number, no weight moved, or what was written does not score as what was trained.
    """
    if folder.exists():
        raise ModelError("is there already", where=str(folder), do="name a new folder, or remove that one")
    teaching = [one for one in lists if one.teaches]
    if not teaching:
        do = "give questions among whose first candidates there is a relevant one and another"
        raise DatasetError("nothing to learn: no question has both a relevant text and another", do=do)
    torch = _torch()
    torch.manual_seed(settings.seed)
    draw = random.Random(settings.seed)
    model, encode = _opened(settings)
    quick = _multiplies_bf16() if settings.bf16 is None else settings.bf16
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    before = {name: tensor.detach().clone() for name, tensor in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=settings.rate, weight_decay=settings.decay)
    steps = max(1, math.ceil(len(teaching) * settings.epochs / settings.questions))
    warm = max(1, round(steps * settings.warmup))
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: min((at + 1) / warm, (steps - at) / steps))
    told: list[Step] = []
    pairs = tokens = cut = 0
    begun = time.perf_counter()
    model.train()
    for at, batch in zip(range(steps), _batches(teaching, settings, draw), strict=False):
        rows, longer = encode(batch)
        pairs, cut, tokens = pairs + len(rows), cut + longer, tokens + sum(len(ids) for ids, _ in rows)
        # bf16 takes half the time of f32 where the processor multiplies in it; the weights stay f32.
        with torch.autocast("cpu", torch.bfloat16, enabled=quick):
            logits = _logits(model, rows)
        loss, first = _losses(batch, logits, settings.first)
        if not math.isfinite(float(loss.detach())):
            do = "lower the rate, or look for scores that are no numbers"
            raise ModelError(f"the loss is no number at step {at + 1} of {steps}", where=str(folder), do=do)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        plan.step()
        told.append(Step(at + 1, steps, float(loss.detach()), first))
        progress(told[-1])
    moved = max(float((tensor.detach() - before[name]).abs().max()) for name, tensor in trained.items())
    if not moved > 0:
        raise ModelError("training moved no weight", where=str(folder), do="raise the rate")
    seconds = time.perf_counter() - begun
    apart = _kept(model, encode, teaching[0], folder, settings)
    return Trained(
        folder=folder,
        steps=tuple(told),
        pairs=pairs,
        tokens=tokens,
        cut=cut,
        weights=sum(tensor.numel() for tensor in trained.values()),
        moved=moved,
        apart=apart,
        seconds=seconds,
    )


def _batches(lists: Sequence[Listed], settings: Settings, draw: random.Random) -> Iterator[list[Listed]]:
    """For ever: every list once in each round, in an order of its own."""
    waiting: list[Listed] = []
    while True:
        while len(waiting) < settings.questions:
            waiting += draw.sample(lists, len(lists))
        batch, waiting = waiting[: settings.questions], waiting[settings.questions :]
        yield [drawn(one, settings.texts, draw) for one in batch]


def _losses(batch: Sequence[Listed], logits: torch.Tensor, first: float) -> tuple[torch.Tensor, float]:
    """The loss, and what it would be if all logits were 0."""
    torch = _torch()
    loss, without = torch.zeros(()), 0.0
    at = 0
    for one in batch:
        said, at = logits[at : at + len(one.texts)], at + len(one.texts)
        fused = first * torch.tensor(one.scores)
        gain = torch.tensor([2.0**grade - 1.0 if grade > 0 else 0.0 for grade in one.grades])  # as nDCG has it
        gain = gain / gain.sum()
        loss = loss - (gain * (fused + said).log_softmax(0)).sum() / len(batch)
        without -= float((gain * fused.log_softmax(0)).sum()) / len(batch)
    return loss, without


def _opened(settings: Settings) -> tuple[Any, Callable[[Sequence[Listed]], tuple[list[Row], int]]]:
    """The base with its matrices and a head that says 0; and what makes rows of lists, and counts those it cuts."""
    torch = _torch()
    from transformers import BertConfig, BertForSequenceClassification

    from openbook.finetune.lora import add_lora

    folder = read_folder(settings.base)
    if not is_plain(folder):
        raise ModelError("no BERT", where=str(folder.path), do="name a base whose model_type is bert")
    with _quiet():
        config = BertConfig.from_pretrained(str(folder.path), num_labels=1)
        # Weights that stay as they are cannot overfit, and dropping out takes 40 % more time.
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        model = BertForSequenceClassification.from_pretrained(
            str(folder.path), config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    add_lora(model.bert, rank=settings.rank, alpha=settings.alpha, dropout=settings.dropout)
    model.bert.get_submodule("pooler").requires_grad_(True)
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    tokenizer = open_tokenizer(folder)
    tokenizer.enable_truncation(min(settings.max_tokens, folder.positions), strategy="longest_first")

    def encode(batch: Sequence[Listed]) -> tuple[list[Row], int]:
        asked = encodable([one.question for one in batch])
        pairs = [(question, text) for question, one in zip(asked, batch, strict=True) for text in encodable(one.texts)]
        read = tokenizer.encode_batch_fast(pairs)
        return [(each.ids, each.type_ids) for each in read], sum(bool(each.overflowing) for each in read)

    return model, encode


def _logits(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    """A logit a row; read in two halves by length, so that little of them is padding."""
    torch = _torch()
    order = sorted(range(len(rows)), key=lambda at: len(rows[at][0]))
    half = (len(order) + 1) // 2
    said = []
    for part in filter(None, (order[:half], order[half:])):
        ids, types = (_padded([rows[at][of] for at in part]) for of in (0, 1))
        mask = _padded([[1] * len(rows[at][0]) for at in part])
        said.append(model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits[:, 0].float())
    places = torch.empty(len(order), dtype=torch.long)
    places[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(said)[places]  # type: ignore[no-any-return]


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    longest = max(map(len, rows))
    return _torch().tensor([[*row, *[0] * (longest - len(row))] for row in rows])  # type: ignore[no-any-return]


def _kept(
    model: Any, encode: Callable[[Sequence[Listed]], Any], one: Listed, folder: Path, settings: Settings
) -> float:
    """The adapter is written beside ``folder``, opened as a recipe opens it, and moved there if it is the same model:
    the largest difference between two scores of a list. Raises: ModelError."""
    import numpy as np
    from safetensors import SafetensorError

    from openbook.finetune.lora import save_adapter
    from openbook.recipe import CrossEncoder
    from openbook.retrieve.rerank.cross_encoder import PairModel

    torch = _torch()
    model.eval()
    with torch.no_grad():
        expected = torch.sigmoid(_logits(model, encode([one])[0])).numpy()
    base = Path(settings.base).expanduser()
    named = str(base.absolute()) if settings.base != "default" and base.is_dir() else settings.base
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as beside:
            new = Path(beside) / folder.name
            whole = ("pooler", "classifier")
            save_adapter(model, new, base=named, rank=settings.rank, alpha=settings.alpha, whole=whole)
            opened = PairModel(CrossEncoder(model=str(new), max_tokens=settings.max_tokens), precision="f32")
            apart = float(np.abs(opened.score(one.question, one.texts) - expected).max())
            if not apart <= PARITY:
                what = f"what was written scores otherwise than what was trained, by up to {apart:.2g}"
                raise ModelError(what, where=str(folder), do="report it: the two must be the same model")
            new.rename(folder)
    except (OSError, SafetensorError) as error:
        do = "look for room on the disk, and for the right to write there"
        raise ModelError(f"cannot be written ({error})", where=str(folder), do=do) from None
    return apart


def _multiplies_bf16() -> bool:
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _torch() -> Any:
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError:
        do = "run: pip install 'openbook[train]'"
        raise ModelError("training needs torch, which is not installed", where="reranker", do=do) from None
    return torch


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers reports that the head is new, and it is there to be trained."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]
