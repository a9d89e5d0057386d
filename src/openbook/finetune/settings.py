"""How something is trained: one TOML file, from which a run can be repeated.

What a run was trained by is written into the model's folder (``settings.toml``), with every setting at the value that
it had and every file under the hash of what it held.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from openbook.embed.cache import sha256
from openbook.errors import DatasetError, QueryError

Method = Literal["adapter", "lora", "full"]
Loss = Literal["softmax", "in-batch", "cached", "triplet", "cosine", "cosent"]
RerankerMethod = Literal["lora", "full"]
RerankerLoss = Literal["listwise", "lambda", "pairwise", "pointwise"]

FILE = "settings.toml"

OF_METHOD: Mapping[Method, Mapping[str, Any]] = {
    "adapter": {"loss": "softmax", "epochs": 12, "batch": 64, "rate": 1e-3, "decay": 0.0, "warmup": 0.0},
    "lora": {"loss": "in-batch", "epochs": 2, "batch": 32, "rate": 5e-4, "decay": 0.0, "warmup": 0.1},
    "full": {"loss": "in-batch", "epochs": 2, "batch": 32, "rate": 3e-5, "decay": 0.01, "warmup": 0.1},
}
"""What each depth of training takes where nothing is said: rates that are right for a matrix would ruin a model."""

LOSSES: Mapping[Method, tuple[Loss, ...]] = {
    "adapter": ("softmax", "in-batch", "cosine"),
    "lora": ("in-batch", "cached", "triplet", "cosine", "cosent"),
    "full": ("in-batch", "cached", "triplet", "cosine", "cosent"),
}
OF_RERANKER: Mapping[RerankerMethod, Mapping[str, Any]] = {
    "lora": {"rate": 5e-4, "decay": 0.01},
    "full": {"rate": 3e-5, "decay": 0.01},
}
"""The same of a reranker."""

OF_PAIRS: tuple[Loss, ...] = ("cosine", "cosent")
"""Losses of scored pairs; the others are of queries with their passages."""


class Group(BaseModel):
    """Settings that refuse keys which they do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class File(Group):
    """A file or folder of data, and the hash of what it held when it was read ("": not read yet)."""

    path: str
    hash: str = ""


class Early(Group):
    """When training stops: dev questions are asked ``per_epoch`` times in an epoch, and it stops where their nDCG@10
    has fallen ``patience`` times in a row (by more than chance moves it: ``embedder.dev.falls``). The latest step at
    which it had not fallen is kept. An adapter stops where every dev question has its answer first, too.

    The questions are the first so many of the dev split of ``data``; where none is named, ``share`` of the rows is held
    out, whole groups of them. A model that changes documents' vectors is measured on a pool: of each question the
    judged documents and the first ``pool`` that the base finds.
    """

    data: File | None = None
    share: float = Field(default=0.1, ge=0.0, lt=1.0)
    questions: int = Field(default=100, ge=1)
    per_epoch: int = Field(default=1, ge=1, le=100)
    patience: int = Field(default=3, ge=1)
    pool: int = Field(default=10, ge=1)


class Lora(Group):
    """Hu et al., LoRA (ICLR 2022): matrices of ``rank`` beside every linear layer of the encoder."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0.0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class RerankerLora(Lora):
    """Without dropout, which takes 30 % more time: small matrices overfit little in two epochs."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class Replay(Group):
    """General pairs, which keep a model from forgetting: ``ratio`` of them to each row of the data."""

    data: File | None = None
    ratio: float = Field(default=0.25, ge=0.0, le=10.0)


class Settings(Group):
    """How something is trained, as a file says it. ``data`` is path → hash."""

    data: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def from_toml(cls, text: str, *, where: str = FILE, **changed: Any) -> Self:
        """What is not said takes its default; ``changed`` stands over what is said, parts by part.

        Raises:
            QueryError: not TOML, an unknown key or an impossible value.
        """
        try:
            return cls.model_validate(_over(tomllib.loads(text), changed))
        except tomllib.TOMLDecodeError as error:
            raise QueryError(f"not TOML: {error}", where=where, do="mend that line") from None
        except ValidationError as error:
            # A key that is misspelt is told before the one that is then missing.
            errors = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
            what, do = _complaint(errors[0], cls)
            raise QueryError(what, where=where, do=do) from None

    @classmethod
    def load(cls, path: Path | None, **changed: Any) -> Self:
        """Of a file (``None``: of no file); ``changed`` as ``from_toml``. Raises: QueryError."""
        if path is None:
            return cls.from_toml("", where="settings", **changed)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise QueryError(f"cannot be read ({error})", where=str(path), do="check the path") from None
        return cls.from_toml(text, where=str(path), **changed)

    def to_toml(self) -> str:
        """As ``from_toml`` reads it back."""
        lines: list[str] = []
        _write(self.model_dump(mode="json", exclude_none=True), (), lines)
        return "\n".join(lines).strip() + "\n"


class EmbedderSettings(Settings):
    """How an embedding model is trained.

    ``method`` says what of it: a linear map of queries (``adapter``), small matrices in it (``lora``), all of it
    (``full``). Of each query ``negatives`` hard ones are taken. ``scale`` is what a cosine is multiplied by in a
    softmax. ``pull`` holds an adapter to the identity on the documents' own vectors and on the replayed queries. An
    adapter may ``start`` where another one stands, and is held to that instead. ``matryoshka``: dimensions at which the
    loss is taken as well. ``interpolate``: how much of what was learnt is kept, 1 being all. ``max_tokens``: of a text,
    so many are read in training (the model's own where not said). ``bf16``: where the processor multiplies in it, if
    not said.

    What is not said depends on the method: ``loss``, ``epochs``, ``batch``, ``rate``, ``decay``, ``warmup``.
    """

    method: Method = "adapter"
    base: str = "default"
    start: File | None = None
    seed: int = Field(default=0, ge=0)
    seeds: int = Field(default=1, ge=1, le=100)
    loss: Loss | None = None
    epochs: float | None = Field(default=None, gt=0.0)
    batch: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, ge=0.0)
    decay: float | None = Field(default=None, ge=0.0)
    warmup: float | None = Field(default=None, ge=0.0, le=1.0)
    negatives: int = Field(default=1, ge=0, le=50)
    scale: float = Field(default=20.0, gt=0.0)
    pull: float = Field(default=10.0, ge=0.0)
    matryoshka: tuple[int, ...] = ()
    interpolate: float = Field(default=1.0, gt=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=8)
    bf16: bool | None = None
    dev: Early = Early()
    lora: Lora = Lora()
    replay: Replay = Replay()

    @model_validator(mode="after")
    def _loss_is_of_the_method(self) -> EmbedderSettings:
        if self.loss is not None and self.loss not in LOSSES[self.method]:
            raise ValueError(f"method {self.method!r} has no loss {self.loss!r}: {', '.join(LOSSES[self.method])}")
        if self.matryoshka and self.method == "adapter":
            raise ValueError("an adapter leaves documents' vectors as they are: matryoshka needs lora or full")
        if self.start is not None and self.method != "adapter":
            raise ValueError("only an adapter starts at another one: lora and full begin at their base")
        return self

    def resolved(self, *, scored: bool = False) -> EmbedderSettings:
        """With every setting said. ``scored``: the rows are scored pairs."""
        told = {name: value for name, value in OF_METHOD[self.method].items() if getattr(self, name) is None}
        if scored and "loss" in told:
            told["loss"] = "cosine" if self.method == "adapter" else "cosent"
        return self.model_copy(update=told)


class RerankerSettings(Settings):
    """How a reranker is trained.

    ``method`` says what of it: small matrices in it and its head (``lora``), or all of it (``full``). What is learnt is
    a correction: a list's scores are ``first`` · fused score + the model's logit (0: the logit alone). Of each question
    the first ``candidates`` are looked at; a step takes ``batch`` questions, and of each ``texts``, drawn anew each
    time. ``max_tokens`` of question and text together are read. ``bf16``: where the processor multiplies in it, if not
    said.

    What is not said depends: ``rate`` and ``decay`` on the method, ``first`` on the loss.
    """

    method: RerankerMethod = "lora"
    base: str = "default"
    seed: int = Field(default=0, ge=0)
    seeds: int = Field(default=1, ge=1, le=100)
    loss: RerankerLoss = "listwise"
    first: float | None = Field(default=None, ge=0.0)
    epochs: float = Field(default=2.0, gt=0.0)
    batch: int = Field(default=6, ge=1)
    texts: int = Field(default=8, ge=2)
    candidates: int = Field(default=20, ge=2, le=200)
    rate: float | None = Field(default=None, ge=0.0)
    decay: float | None = Field(default=None, ge=0.0)
    warmup: float = Field(default=0.1, ge=0.0, le=1.0)
    max_tokens: int = Field(default=192, ge=16)
    bf16: bool | None = None
    dev: Early = Early()
    lora: RerankerLora = RerankerLora()

    def resolved(self) -> RerankerSettings:
        """With every setting said."""
        usual = {**OF_RERANKER[self.method], "first": 0.0 if self.loss == "pointwise" else 0.4}
        return self.model_copy(update={name: of for name, of in usual.items() if getattr(self, name) is None})


S = TypeVar("S", bound=Settings)


def hash_of(path: str | Path) -> str:
    """Sixteen hex digits that name what a file, or all files of a folder, hold. Raises: DatasetError."""
    path = Path(path)
    try:
        if not path.is_dir():
            return sha256(path)[:16]
        files = sorted(file for file in path.rglob("*") if file.is_file())
        told = [(str(file.relative_to(path)), sha256(file)) for file in files]
    except OSError as error:
        raise DatasetError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def read_now(settings: S) -> tuple[S, list[str]]:
    """The same with every file named by its whole path and by what it holds now; and the files that held something else
    when the settings were written. Raises: DatasetError: one is not there."""
    changed = []

    def now(path: str, hash: str) -> tuple[str, str]:
        held = hash_of(path)
        if hash and hash != held:
            changed.append(f"{path} has changed: it was {hash} and is {held}")
        return str(Path(path).absolute()), held

    data = dict(now(path, hash) for path, hash in settings.data.items())
    told: dict[str, Any] = {"data": data}
    start = getattr(settings, "start", None)
    if start is not None:
        path, held = now(start.path, start.hash)
        told["start"] = File(path=path, hash=held)
    for name in ("dev", "replay"):
        part = getattr(settings, name, None)
        if part is not None and part.data is not None:
            path, held = now(part.data.path, part.data.hash)
            told[name] = part.model_copy(update={"data": File(path=path, hash=held)})
    return settings.model_copy(update=told), changed


def _over(told: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in changed.items():
        if isinstance(value, Mapping) and name != "data":
            below = told.get(name)
            told[name] = _over(dict(below) if isinstance(below, dict) else {}, value)
        elif value is not None:
            told[name] = value
    return told


def _complaint(error: Any, settings: type[Group]) -> tuple[str, str]:
    """What pydantic found, as a person says it."""
    steps = [str(step) for step in error["loc"]]
    path = ".".join(steps)
    if error["type"] == "extra_forbidden":
        there: type[Group] = settings
        for step in steps[:-1]:
            inner = there.model_fields[step].annotation
            there = inner if isinstance(inner, type) and issubclass(inner, Group) else File
        keys = list(there.model_fields)
        like = difflib.get_close_matches(steps[-1], keys, n=1)
        meant = f"was {like[0]} meant? " if like else ""
        return f"{path}: no such key", f"{meant}the keys there are {', '.join(keys)}"
    what = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] == "missing":
        return f"{path} is not said", "add it"
    if error["type"] == "value_error":
        return what, "mend one of them"
    return f"{path} = {json.dumps(error['input'], default=str)[:80]} is not allowed", f"write {what}"


def _write(table: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if values and path:
        lines += ["", f"[{'.'.join(map(_text, path))}]"]
    lines += [f"{_text(key)} = {_text(value, bare=False)}" for key, value in values.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            _write(value, (*path, key), lines)


def _text(value: Any, *, bare: bool = True) -> str:
    if bare and value.isidentifier() and value.isascii():
        return str(value)
    # JSON's scalars are TOML's, but for the DEL character, which JSON leaves bare.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
