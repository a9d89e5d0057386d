"""A training as a run: the place of its own files until the model's folder is whole, and how it ends."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from openbook.errors import ModelError, QueryError
from openbook.finetune.provenance import TrainedOn
from openbook.finetune.settings import FILE, File, Group

if TYPE_CHECKING:
    from openbook.finetune.settings import EmbedderSettings, RerankerSettings, Settings

S = TypeVar("S", "EmbedderSettings", "RerankerSettings")
T = TypeVar("T")

TOLD = "trained.json"
"""What a folder has when all of its model is there."""

NEEDED = ("torch", "safetensors", "sentence_transformers", "datasets", "accelerate", "peft")
"""What comes with ``openbook[train]``."""

PARITY = 1e-3
"""How far what is served may be from what was trained, in a vector's number or in a score."""


def is_first() -> bool:
    """Whether this is the process that writes, of those that ``accelerate launch`` started."""
    return int(os.environ.get("RANK", "0")) == 0


def place_of(out: Path) -> Path:
    """Where the run's own files lie, beside what it makes."""
    return out.parent / f".{out.name}.training"


def seeds_in(out: Path) -> list[Path]:
    """The folders of a model's seeds that are whole."""
    return sorted(folder for folder in out.glob("seed-*") if (folder / TOLD).is_file())


def require_new(out: Path) -> None:
    """Raises: ModelError."""
    if not out.exists():
        return
    what, do = "is there already", "name a new folder, or remove that one"
    if (out / TOLD).is_file():
        what += ", a model that is trained"
    elif out.is_dir() and (any(out.glob(".seed-*.training")) or seeds_in(out)):
        seeds = len(seeds_in(out))
        what += f", with {seeds} seed{'s' * (seeds != 1)} of a model"
        do += "; --seeds N --resume trains those that are missing"
    raise ModelError(what, where=str(out), do=do)


def is_finished(out: Path, settings: EmbedderSettings | RerankerSettings) -> bool:
    """Whether all that the settings ask for is there."""
    folders = [out]
    if settings.seeds > 1:
        folders = [out / f"seed-{seed}" for seed in range(settings.seed, settings.seed + settings.seeds)]
    return all((folder / TOLD).is_file() for folder in folders)


def require_torch(what: str) -> None:
    """Raises: ModelError: something that training needs is not installed."""
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        do = "install torch first (its CPU build spares gigabytes), then: pip install 'openbook[train]'"
        raise ModelError(f"training needs {', '.join(lacking)}: not installed", where=what, do=do)


def begin(place: Path, settings: Settings, *, resume: bool) -> None:
    """A place for the run's own files. Raises: QueryError, ModelError."""
    if not is_first():
        return
    told = settings.to_toml()
    if resume:
        try:
            before = (place / FILE).read_text(encoding="utf-8")
        except OSError:
            do = "leave out --resume"
            raise QueryError("no run that was cut off", where=str(place), do=do) from None
        if before != told:
            theirs, ours = before.splitlines(), told.splitlines()
            line = next((line for line in theirs if line not in ours), "fewer settings")
            do = "go on with the settings that it began with, or begin anew: leave out --resume"
            raise QueryError(f"the run was begun with other settings ({line})", where=str(place), do=do)
        return
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / FILE).write_text(told, encoding="utf-8")
    except OSError as error:
        do = "name a place that can be written"
        raise ModelError(f"cannot be written ({error.strerror})", where=str(place), do=do) from None


def noted(place: Path, told: TrainedOn) -> TrainedOn:
    """What a run trains on, with what it did before it was cut off, written beside its checkpoints. Raises:
    ModelError."""
    told = TrainedOn.read(place) | told
    if is_first():
        try:
            told.write(place)
        except OSError as error:
            do = "look for room on the disk, and for the right to write there"
            raise ModelError(f"cannot be written ({error.strerror})", where=str(place), do=do) from None
    return told


@dataclass(frozen=True, slots=True)
class Served:
    """Of a model's seeds the one to serve: its place among them, and why."""

    at: int
    of: int
    why: str

    def line(self, name: str) -> str:
        """As a person reads it; nothing where there is one seed."""
        return f"of {self.of} seeds {name} would be served: {self.why}" if self.of > 1 else ""


def served(scores: Sequence[float | None]) -> Served:
    """By what each seed's dev questions said when it was kept (``None``: nothing was asked): that which stood highest;
    of equals, and where nothing was asked, the first.

    >>> served([0.8, 0.9, 0.9]).at
    1
    """
    known = [score or 0.0 for score in scores]
    best = max(known)
    if all(score is None for score in scores):
        why = "no dev questions were asked, and it is the first"
    elif known.count(best) > 1:
        why = (
            f"{known.count(best)} stood highest on the dev questions (nDCG@10 {best:.4f}), and it is the first of them"
        )
    else:
        why = f"it stood highest on the dev questions (nDCG@10 {best:.4f})"
    return Served(known.index(best), len(known), why)


def each_seed(
    out: Path, settings: S, train: Callable[[Path, S, bool], T], load: Callable[[Path], T], *, resume: bool
) -> list[T]:
    """As many models as ``settings.seeds`` says: ``out`` itself, or of several ``out/seed-N`` each, by ``train(folder,
    settings, resume)``. With ``resume`` those that are there stay (``load``), and what was cut off goes on.

    Raises:
        ModelError: ``out`` is there and holds no model.
        QueryError: one that is there was trained with other settings, or one seed is where several are wanted.
    """
    if settings.seeds == 1:
        if resume and out.exists():
            if not (out / TOLD).is_file():
                require_new(out)
            _require_same(out, settings)
            return [load(out)]
        return [train(out, settings, resume)]
    if (out / TOLD).is_file():
        do = "name a new folder, or leave --seeds away"
        raise QueryError("is one model that is trained, and no folder of seeds", where=str(out), do=do)
    done = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        folder = out / f"seed-{seed}"
        one = settings.model_copy(update={"seed": seed, "seeds": 1})
        if resume and folder.exists():
            _require_same(folder, one)
            done.append(load(folder))
        else:
            done.append(train(folder, one, resume and place_of(folder).exists()))
    return done


def _require_same(folder: Path, settings: Settings) -> None:
    """Raises: QueryError: the model in a folder was not trained as is asked for."""
    told = type(settings).load(folder / FILE)
    for name in type(settings).model_fields:
        mine, its = getattr(settings, name), getattr(told, name)
        # What was not said was filled in; the packaged model is called by what the index holds.
        if mine not in (None, its) and (name, mine) != ("base", "default"):
            part = name
            if isinstance(mine, Group) and isinstance(its, Group):
                part = next(of for of in type(mine).model_fields if getattr(mine, of) != getattr(its, of))
                mine, its, part = getattr(mine, part), getattr(its, part), f"{name}.{part}"
            mine, its = (one.path if isinstance(one, File) else one for one in (mine, its))
            do = "name another folder, or say the settings that it was trained by (its settings.toml)"
            raise QueryError(f"its {part} is {its}, and not {mine}", where=str(folder), do=do)


def finish(new: Path, out: Path, *, moved: float, parity: float, tell: Callable[[Path], None]) -> None:
    """Move ``new``, whose weights are there, to ``out``, with what ``tell`` writes beside them.

    Raises:
        ModelError: no weight ``moved``, what is served is not what was trained (``parity``), or it cannot be written.
    """
    place = place_of(out)
    if not (moved > 0 and parity <= PARITY):
        shutil.rmtree(place, ignore_errors=True)  # there is nothing to go on with
    if not moved > 0:
        raise ModelError("training moved no weight", where=str(out), do="raise the rate, or train for longer")
    if not parity <= PARITY:
        what = f"what is served is not what was trained: they differ by up to {parity:.2g}"
        raise ModelError(what, where=str(out), do="report it: the two must be the same model")
    try:
        tell(new)
        new.rename(out)
    except OSError as error:
        do = "look for room on the disk, and for the right to write there"
        raise ModelError(f"cannot be written ({error})", where=str(out), do=do) from None
    with suppress(OSError):
        shutil.rmtree(place)
