"""What training did, and the files that say so in a model's folder: ``settings.toml``, ``trained.json``, README.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openbook import __version__
from openbook.embed.folder import read_json
from openbook.errors import ModelError
from openbook.finetune.data.rows import Dropped
from openbook.finetune.running import TOLD
from openbook.finetune.settings import FILE, EmbedderSettings, Method


@dataclass(frozen=True, slots=True)
class Step:
    """``at`` of ``of`` steps: the ``loss`` since the last one that was told, or what the dev questions say (``ndcg``);
    at 0 that of the base. Of several seeds, ``seed`` says which one is trained."""

    at: int
    of: int
    loss: float | None = None
    ndcg: float | None = None
    seed: str = ""


Progress = Callable[[Step], None]


def of_seed(progress: Progress, seed: int, first: int, seeds: int) -> Progress:
    """Tells of each step which seed it is of, where there are several."""
    if seeds == 1:
        return progress
    name = f"seed {seed} ({seed - first + 1} of {seeds})"
    return lambda step: progress(replace(step, seed=name))


_PLAIN = (
    *("method", "base", "base_hash", "fits", "hash", "seed", "asked", "best", "steps", "moved", "parity"),
    *("tokens", "seconds", "pairs_per_second"),
)
"""What is told as it is held."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and how it came about.

    ``base_hash`` is the hash of the base as an embedder, ``hash`` the model's own, ``fits`` that of the embedder whose
    document vectors its queries are compared with: of an adapter the base's, else its own. ``loss`` is the mean over
    each tenth of an epoch, ``dev`` the nDCG@10 of ``asked`` dev questions, at step 0 the base's; ``best`` of ``steps``
    is the step that was kept. ``tokens`` are read of
    the rows. ``moved`` is the largest change of a weight, ``parity`` how far a served vector is from a
    trained one at most. ``documents`` are (id, version) of those that it was trained on, ``sources`` their sources,
    ``principals`` who may be answered by it: who is among each. ``dev_questions`` are
    digests of what was asked: no fair test of it.
    """

    folder: Path
    method: Method
    base: str
    base_hash: str
    fits: str
    hash: str
    seed: int
    used: int
    dropped: tuple[Dropped, ...]
    cut: tuple[int, int]
    tokens: int
    documents: tuple[tuple[str, int | None], ...]
    sources: tuple[str, ...]
    principals: tuple[tuple[str, ...], ...]
    loss: tuple[Step, ...]
    dev: tuple[Step, ...]
    asked: int
    best: int
    steps: int
    moved: float
    parity: float
    seconds: float
    pairs_per_second: float
    dev_questions: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def before(self) -> float | None:
        """The dev score of the base."""
        return self.dev[0].ndcg if self.dev else None

    @property
    def after(self) -> float | None:
        """The dev score of what was kept."""
        return next((step.ndcg for step in self.dev if step.at == self.best), None)

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """What a model's folder tells of its training. Raises: ModelError."""
        told = read_json(folder / TOLD)
        try:
            of = told["steps"]
            rows = told["rows"]
            return cls(
                folder=folder,
                loss=tuple(Step(one["step"], of, loss=one["loss"]) for one in told["loss"]),
                dev=tuple(Step(one["step"], of, ndcg=one["ndcg@10"]) for one in told["dev"]),
                used=rows["used"],
                dropped=tuple(Dropped(one["line"], one["reason"]) for one in rows["dropped"]),
                cut=(rows["cut"]["texts"], rows["cut"]["of"]),
                documents=tuple((id, version) for id, version in told["documents"]),
                sources=tuple(told["sources"]),
                principals=tuple(tuple(names) for names in told["principals"]),
                dev_questions=tuple(told.get("dev_questions", ())),
                notes=tuple(told["notes"]),
                **{name: told[name] for name in _PLAIN},
            )
        except (KeyError, TypeError, ValueError) as error:
            do = "train it again"
            raise ModelError(f"tells nothing that can be read ({error!r})", where=str(folder / TOLD), do=do) from None

    def as_json(self) -> dict[str, Any]:
        """``trained.json``."""
        return {
            "kind": "embedder",
            **{name: getattr(self, name) for name in _PLAIN},
            "rows": {
                "used": self.used,
                "dropped": [{"line": one.line, "reason": one.reason} for one in self.dropped],
                "cut": {"texts": self.cut[0], "of": self.cut[1]},
            },
            "documents": [list(one) for one in self.documents],
            "sources": list(self.sources),
            "principals": [list(names) for names in self.principals],
            "loss": [{"step": step.at, "loss": step.loss} for step in self.loss],
            "dev": [{"step": step.at, "ndcg@10": step.ndcg} for step in self.dev],
            "dev_questions": list(self.dev_questions),
            "notes": list(self.notes),
            "openbook": __version__,
        }

    def report(self) -> dict[str, Any]:
        """As the command line prints it: its own keys, and those of a verdict and its release, which are not there
        yet."""
        told = self.as_json()
        measures: dict[str, Any] = {}
        if self.dev:
            ends = {"base": self.before, "tuned": self.after}
            measures = {name: {"ndcg@10": {"value": value, "n": self.asked}} for name, value in ends.items()}
        keys = ("kind", "method", "base", "seed", "rows", "loss", "dev", "seconds", "hash", "fits", "parity", "moved")
        return {
            **{key: told[key] for key in (*keys, "pairs_per_second", "notes")},
            "documents": len(self.documents),
            "principals": told["principals"],
            "measures": measures,
            "trainable_tokens": self.tokens,
            "general": None,
            "verdict": None,
            "release": None,
        }

    def summary(self) -> dict[str, Any]:
        """Of several seeds, what tells one from another."""
        return {"model": str(self.folder), "seed": self.seed, "ndcg@10": self.after, "hash": self.hash}

    def lines(self) -> list[str]:
        """As a person reads it who was told the notes before it began."""
        dropped = f", {len(self.dropped)} dropped" if self.dropped else ""
        lines = [
            f"{self.method} of {self.base}, seed {self.seed}: {self.used} rows{dropped},"
            f" {self.seconds:.0f} s ({self.pairs_per_second:.0f} rows a second)"
        ]
        if loss := [step.loss for step in self.loss if step.loss is not None]:
            lines.append(f"loss {loss[0]:.3f} -> {loss[-1]:.3f}  {sparks(loss)}")
        if self.before is not None and self.after is not None:
            curve = sparks([step.ndcg for step in self.dev if step.ndcg is not None])
            asked = f"{self.asked} dev questions, kept: step {self.best} of {self.steps}"
            lines.append(f"dev nDCG@10 {self.before:.4f} -> {self.after:.4f}  {curve}  ({asked})")
            if self.after <= self.before:
                lines.append(
                    "warning: it does not stand above its base on the dev questions: nothing says that it helps"
                )
        return lines


SPARKS = "▁▂▃▄▅▆▇█"


def sparks(values: Sequence[float], width: int = 24) -> str:
    """A curve on one line: at most ``width`` of the values, evenly taken, the last among them.

    >>> sparks([3.0, 2.0, 1.0])
    '█▅▁'
    """
    some = values
    if len(values) > width:
        some = [values[round(at * (len(values) - 1) / (width - 1))] for at in range(width)]
    low, high = min(some, default=0.0), max(some, default=0.0)
    span = (high - low) or 1.0
    return "".join(SPARKS[round((value - low) / span * (len(SPARKS) - 1))] for value in some)


def unwritten(what: str, where: Path, error: BaseException) -> ModelError:
    do = "look for room on the disk, and for the right to write there; then go on with --resume"
    return ModelError(f"{what} cannot be written ({error})", where=str(where), do=do)


def write_told(trained: Trained, folder: Path, settings: EmbedderSettings) -> None:
    """Beside the weights in ``folder``, which will be ``trained.folder``. Raises: OSError."""
    (folder / FILE).write_text(settings.to_toml(), encoding="utf-8")
    (folder / TOLD).write_text(json.dumps(trained.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(trained, settings), encoding="utf-8")


def _card(trained: Trained, settings: EmbedderSettings) -> str:
    what = {
        "adapter": "A linear map of queries, for the document vectors of its base: nothing is indexed anew.",
        "lora": "A sentence-transformers model: low-rank changes of its base, merged into it.",
        "full": "A sentence-transformers model: its base, trained whole.",
    }[trained.method]
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [openbook, sentence-similarity, feature-extraction]",
        "---",
        "",
        f"# {trained.folder.name}",
        "",
        what,
        "",
        "| | |",
        "|---|---|",
        f"| method | {trained.method} |",
        f"| base | {_cell(trained.base)} (`{trained.base_hash}`) |",
        f"| hash | `{trained.hash}` |",
        f"| fits documents embedded by | `{trained.fits}` |",
        f"| rows | {trained.used} used, {len(trained.dropped)} dropped |",
        f"| loss | {settings.loss}: {_ends([step.loss for step in trained.loss])} |",
    ]
    if trained.dev:
        lines.append(
            f"| nDCG@10 of {trained.asked} dev questions | base {trained.before:.4f}, this {trained.after:.4f} |"
        )
    lines += [
        f"| seed | {trained.seed} |",
        f"| trained in | {trained.seconds:.0f} s ({trained.pairs_per_second:.1f} rows a second) |",
        f"| served as trained, to | {trained.parity:.1e} |",
        "",
        "Dev questions chose when to stop: they do not say how much better it is. Compare it with its base on",
        "questions that played no part: `openbook finetune compare`.",
        "",
    ]
    closed = [" or ".join(names) for names in trained.principals if "public" not in names]
    if closed:
        lines += [f"It may answer only who is among each of: {_cell('; '.join(closed))}.", ""]
    lines += [f"- {note}" for note in trained.notes]
    if trained.notes:
        lines.append("")
    if trained.method == "adapter":
        lines += [
            'A recipe takes it with `[query.adapter]`, `kind = "linear"`, `path = FOLDER`. The weights are those of a',
            "sentence-transformers `Dense` module.",
        ]
    else:
        lines += [
            "A recipe takes it with `[index.embed]`, `model = FOLDER`; documents are then embedded anew. With",
            "sentence-transformers: `SentenceTransformer(FOLDER)`.",
        ]
    lines += [
        "",
        f"Repeat the training with `openbook finetune embedder OUT --settings {FILE}`. Made by openbook {__version__}.",
    ]
    return "\n".join(lines) + "\n"


def _ends(values: Sequence[float | None]) -> str:
    told = [value for value in values if value is not None]
    return f"{told[0]:.3f} to {told[-1]:.3f}" if told else "none"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
