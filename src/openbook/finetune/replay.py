"""Against forgetting: general pairs among the rows, a pull towards the base, and what lies between base and tuned.

``drawn`` and ``pull`` act while a model is trained, ``interpolated`` afterwards: (1 - α) · base + α · tuned, weight by
weight (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). What each α gains on dev questions and
forgets of general ones, ``traded`` measures.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from openbook.errors import DatasetError, ModelError, QueryError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

RATIO = 0.25
"""General pairs to each row: a fifth of what is read in training."""

STEPS = (0.25, 0.5, 0.75, 1.0)
"""What is tried of α; 0 is the base."""

_OWN_WORDS = ("trained.json", "settings.toml", "README.md")
"""Files of a model's folder that tell of its weights, and would tell wrong of others."""

_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

# --- while it is trained ----------------------------------------------------------------------------------------------


def drawn(general: Sequence[T], beside: int, *, ratio: float = RATIO, seed: int = 0) -> list[T]:
    """``ratio`` general rows to each of so many ``beside`` them. Each is taken once before any is taken twice.

    Raises:
        DatasetError: there is no general row to take.
        QueryError: the ratio is below 0.
    """
    if ratio < 0:
        raise QueryError(f"a ratio of {ratio:g}", where="replay", do="name one from 0, such as 0.25")
    wanted = round(ratio * beside)
    if wanted and not general:
        raise DatasetError("no pair to replay", do="name a file of pairs, or default")
    draw = random.Random(seed)
    taken: list[T] = []
    while len(taken) < wanted:
        taken += draw.sample(list(general), min(len(general), wanted - len(taken)))
    return taken


def pull(change: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """What holds an adapter x ↦ x (1 + D) to its base: the mean of ‖z D‖² over ``vectors`` (float[n, d]) in whose
    directions nothing is to change, those of documents and of general texts. ``change`` is D (float[d, d])."""
    return (vectors @ change).square().sum(dim=1).mean()


# --- afterwards -------------------------------------------------------------------------------------------------------


def interpolated(base: Path | None, tuned: Path, out: Path, share: float) -> Path:
    """Write the model that lies ``share`` (α) of the way from ``base`` to ``tuned``: two folders of one architecture,
    weights as safetensors. ``base`` is ``None`` for an adapter, which begins at the identity.

    What the tuned folder tells of itself (settings.toml, README.md) is not copied; of its trained.json what it was
    trained on is, and whom it may answer.

    Raises:
        QueryError: ``share`` is not within 0 and 1.
        ModelError: ``out`` is there, the two do not have the same weights, one holds a number that is none, there are
            no weights or only a pickle of them, or ``out`` cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if not 0.0 <= share <= 1.0:
        raise QueryError(f"an interpolation of {share:g}", do="name one from 0 (the base) to 1 (what was trained)")
    if out.exists():
        raise ModelError("is there already", where=str(out), do="name a new folder, or remove that one")
    pickled = [file for file in tuned.rglob("*") if file.suffix in _PICKLED]
    if pickled:
        do = "save the model as safetensors only (safe_serialization=True)"
        raise ModelError("pickled weights are not opened", where=str(pickled[0]), do=do)
    files = sorted(file.relative_to(tuned) for file in tuned.rglob("*.safetensors"))
    if not files:
        raise ModelError("no weights (*.safetensors)", where=str(tuned), do="name a model's folder")
    beside = out.with_name(f".{out.name}.interpolated")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(tuned, beside, ignore=lambda folder, names: [
            name for name in names if name in _OWN_WORDS or name.endswith(".safetensors")
        ])  # fmt: skip
        for file in files:
            after = _tensors(tuned / file)
            before = _identity(after, tuned / file) if base is None else _tensors(base / file)
            save_file(_between(before, after, share, tuned / file), beside / file, {"format": "pt"})
        _tell(base, tuned, beside)
        beside.replace(out)
    except (OSError, SafetensorError) as error:
        do = "look for room on the disk, and for the right to write there"
        raise ModelError(f"cannot be written ({error})", where=str(out), do=do) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return out


def _tell(base: Path | None, tuned: Path, folder: Path) -> None:
    """What both ends were trained on is in what lies between. Raises: OSError, ModelError."""
    from openbook.embed.provenance import read_provenance
    from openbook.finetune.provenance import TrainedOn

    said = read_provenance(tuned)
    before = base if base is not None and read_provenance(base) is not None else None
    if said is None and before is None:
        return
    told = TrainedOn.read(tuned)
    if before is not None:
        told |= TrainedOn.read(before)
    told.write(folder, **({"fits": said.fits} if said is not None and said.fits else {}))


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"weights cannot be read ({error})", where=str(file), do="save the model again") from None


def _identity(of: Mapping[str, torch.Tensor], file: Path) -> dict[str, torch.Tensor]:
    """The weights with which a linear map changes nothing."""
    import torch

    weight = of.get("linear.weight")
    if (
        weight is None
        or weight.ndim != 2
        or weight.shape[0] != weight.shape[1]
        or set(of) - {"linear.weight", "linear.bias"}
    ):
        do = "name the base that it was trained from"
        raise ModelError("no linear map from a space to itself", where=str(file), do=do)
    return {name: torch.eye(len(weight)) if name == "linear.weight" else torch.zeros_like(one)
            for name, one in of.items()}  # fmt: skip


def _between(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], share: float, file: Path
) -> dict[str, torch.Tensor]:
    """Computed in f32 and kept in the type of what was trained; what is no fraction is that of the trained one."""
    import torch

    found = {}
    for name, tuned in after.items():
        if not tuned.is_floating_point():
            found[name] = tuned
            continue
        base = before.get(name)
        if base is None or base.shape != tuned.shape:
            what = f"the base has no weight {name!r}" if base is None else f"{name!r} is of another shape in the base"
            raise ModelError(what, where=str(file), do="name the base that it was trained from")
        if not (torch.isfinite(base).all() and torch.isfinite(tuned).all()):
            raise ModelError(f"{name!r} holds what is no number", where=str(file), do="train it again, at a lower rate")
        found[name] = torch.lerp(base.float(), tuned.float(), share).to(tuned.dtype).contiguous()
    return found


# --- the trade --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Traded:
    """What ``share`` of the way from the base comes to: means of the measure on dev questions and on general sets."""

    share: float
    dev: float
    general: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def traded(measure: Callable[[float], tuple[float, float]], steps: Sequence[float] = STEPS) -> list[Traded]:
    """What is gained and what is forgotten at each step, the base first. ``measure`` takes a share (0: the base) and
    gives the means on dev questions and on general sets."""
    return [Traded(share, *measure(share)) for share in dict.fromkeys((0.0, *steps))]


def trade_lines(found: Sequence[Traded]) -> Iterator[str]:
    """As a person reads it: the gain on dev questions against the change on general sets."""
    if not found:
        return
    base = next(one for one in found if one.share == 0.0)
    for one in found:
        gain, change = one.dev - base.dev, one.general - base.general
        yield f"{one.share:g} of the way: dev {one.dev:.4f} ({gain:+.4f}), general {one.general:.4f} ({change:+.4f})"
