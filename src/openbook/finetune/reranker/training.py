"""``train_reranker``: lists in, a model's folder out.

A folder is there when all of it is, and was found to score as what was trained. Until then the run's own files lie
beside it (``.NAME.training``), from which one that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openbook.embed.bert import is_plain
from openbook.embed.folder import ModelFolder, read_folder
from openbook.errors import DatasetError, ModelError
from openbook.finetune.embedder.base import NO_CHANGES, licence_of
from openbook.finetune.embedder.dev import LEAST
from openbook.finetune.embedder.trained import Progress, of_seed
from openbook.finetune.provenance import TrainedOn
from openbook.finetune.reranker.dev import Rerankings
from openbook.finetune.reranker.questions import Taught
from openbook.finetune.reranker.trained import Trained
from openbook.finetune.running import begin, each_seed, noted, place_of, require_new, require_torch
from openbook.finetune.settings import RerankerSettings

if TYPE_CHECKING:
    from openbook.evaluate.datasets.dataset import Question
    from openbook.finetune.embedder import Dev

HEAD = "ForSequenceClassification"

UNASKED = (
    "no dev questions, and so it is trained to the end of its epochs: none were named, and fewer than"
    f" {LEAST} could be held out of the rows; name a data set (--dev DATA), or give more rows"
)
"""What is to be told where nothing says when to stop."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training, ready to begin: ``place`` is where its own files lie until the folder is there, ``told`` what
    it trains on as it was when it began."""

    settings: RerankerSettings
    folder: ModelFolder
    taught: Taught
    asking: Rerankings | None
    dev: Dev | None
    out: Path
    place: Path
    resume: bool
    progress: Progress
    notes: tuple[str, ...]
    told: TrainedOn


def train_reranker(
    taught: Taught,
    out: Path,
    settings: RerankerSettings,
    *,
    dev: Dev | None = None,
    questions: Sequence[Question] = (),
    resume: bool = False,
    progress: Progress = lambda step: None,
) -> Trained:
    """Train by ``settings`` on the lists that ``taught`` has, and write the model's folder ``out``, which a recipe's
    cross-encoder opens by its path.

    Training stops early by the dev ``questions``, asked of ``dev.kb``; without any it goes to its end. ``resume`` goes
    on with a run that was cut off, and gives the weights that it would have given.

    The same lists, settings, base, processor and number of threads give the same weights.

    Raises:
        DatasetError: no list has both a relevant text and another, or the dev questions cannot be asked.
        ModelError: the base cannot be used, ``out`` is there already or cannot be written, torch is missing, the loss
            is no number, no weight moved, or what was written does not score as what was trained.
        QueryError: there is no such run to go on with.
    """
    settings = settings.resolved()
    out = out.absolute()
    require_new(out)
    require_torch("reranker")
    if not any(one.teaches for one in taught.lists.lists):
        do = "give questions among whose first candidates there is a relevant one and another"
        raise DatasetError("nothing to learn: no question has both a relevant text and another", do=do)
    folder = _base(settings)
    asking = Rerankings(dev, questions, settings) if dev is not None and questions else None
    notes = [] if asking is not None else [UNASKED]
    if asking is not None and asking.left_out:
        notes.append(f"{asking.left_out} dev questions refer to documents that are not there, and are not asked")
    place = place_of(out)
    begin(place, settings, resume=resume)
    told = noted(place, trained_on(taught, folder.path, dev))
    from openbook.finetune.reranker.model import train

    return train(Run(settings, folder, taught, asking, dev, out, place, resume, progress, tuple(notes), told))


def trained_on(taught: Taught, base: Path, dev: Dev | None) -> TrainedOn:
    """What the lists that teach are of, by the names that it has now; who may be answered: who may read each of them as
    it is now, and see each question. And what the ``base`` was trained on."""
    sources = {source for one in taught.lists.lists if one.teaches for source in one.sources}
    listings = [dev.kb.list()] if dev is not None else []
    return taught.told | TrainedOn.of(sources, taught.access, listings) | TrainedOn.read(base)


def train_seeds(
    taught: Taught,
    out: Path,
    settings: RerankerSettings,
    *,
    dev: Dev | None = None,
    questions: Sequence[Question] = (),
    resume: bool = False,
    progress: Progress = lambda step: None,
) -> list[Trained]:
    """As many models as ``settings.seeds`` says: ``out`` itself, or of several ``out/seed-N`` each. With ``resume``
    those that are there stay, and what was cut off goes on. Raises: as ``train_reranker``."""

    def trained(folder: Path, one: RerankerSettings, resume: bool) -> Trained:
        told = of_seed(progress, one.seed, settings.seed, settings.seeds)
        return train_reranker(taught, folder, one, dev=dev, questions=questions, resume=resume, progress=told)

    return each_seed(out, settings, trained, Trained.load, resume=resume)


def _base(settings: RerankerSettings) -> ModelFolder:
    """The model to be trained.

    Raises:
        ModelError: it is missing, has its weights in pickles only or no tokenizer, is no transformer that reads two
            texts, may not be changed by its licence, or is none that small matrices can be kept of apart.
    """
    folder = read_folder(settings.base)
    where = str(folder.path)
    licence = licence_of(folder.path)
    if any(part in licence for part in NO_CHANGES):
        what = f"its licence ({licence}) allows no changed copy"
        raise ModelError(what, where=where, do="name another base")
    if "Transformer" not in folder.modules:
        what = f"no transformer in it ({', '.join(folder.modules)})"
        raise ModelError(what, where=where, do="name a BERT or a cross-encoder")
    kinds = [str(kind) for kind in folder.config.get("architectures") or ()]
    odd = [kind for kind in kinds if "For" in kind and not kind.endswith((HEAD, "ForMaskedLM", "ForPreTraining"))]
    if odd:
        raise ModelError(f"no encoder, but a {odd[0]}", where=where, do="name a BERT or a cross-encoder")
    labels = len(folder.config.get("id2label") or (0,)) if any(kind.endswith(HEAD) for kind in kinds) else 1
    if labels != 1:
        what = f"gives {labels} numbers where one score is wanted"
        raise ModelError(what, where=where, do="name one that was trained with num_labels=1")
    if settings.method == "lora" and not is_plain(folder):
        what = f"no BERT but {folder.config.get('model_type') or 'something else'}, whose adapter nothing here opens"
        raise ModelError(
            what, where=where, do="train all of it (--method full), or name a base whose model_type is bert"
        )
    return folder
