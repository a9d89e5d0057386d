"""What the training of a reranker did, and the files that say so: ``settings.toml``, ``trained.json``, README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook import __version__
from openbook.embed.folder import read_json
from openbook.errors import ModelError
from openbook.finetune.data.rows import Dropped
from openbook.finetune.embedder.trained import Step, sparks
from openbook.finetune.running import TOLD
from openbook.finetune.settings import FILE, RerankerLoss, RerankerMethod, RerankerSettings

_PLAIN = (
    *("method", "loss_kind", "base", "base_hash", "hash", "seed", "asked", "best", "steps", "moved", "parity"),
    *("tokens", "seconds", "pairs_per_second"),
)
"""What is told as it is held."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A reranker and how it came about.

    ``used`` lists of ``pairs`` candidates in all, of which ``cut`` are longer than the model reads; ``left`` counts the
    candidates that are in no list, by reason. ``loss`` is the mean over each tenth of an epoch, ``dev`` the nDCG@10 of
    ``asked`` dev questions, at step 0 that of the recipe as it stands; ``best`` of ``steps`` is the step that was kept.
    ``tokens`` are read of all lists. ``moved`` is the largest change of a weight, ``parity`` how far a served score is
    from a trained one at most. ``weights`` are those that were tried of what was kept, with the nDCG@10 of the dev
    questions at each, at 0 that of the recipe as it stands (``None``: its score in the place of the fused one).
    ``recipe`` is what a recipe's ``[query.rerank]`` says, but for the model. ``documents`` are (id, version) of those
    that it was trained on, ``sources`` their sources, ``principals`` who may be answered by it: who is among each.
    ``dev_questions`` are digests of what was asked: no fair test of it.
    """

    folder: Path
    method: RerankerMethod
    loss_kind: RerankerLoss
    base: str
    base_hash: str
    hash: str
    seed: int
    used: int
    dropped: tuple[Dropped, ...]
    pairs: int
    cut: int
    left: Mapping[str, int]
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
    weights: tuple[tuple[float | None, float], ...]
    recipe: Mapping[str, Any]
    dev_questions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def before(self) -> float | None:
        """The dev score of the recipe as it stands."""
        return self.dev[0].ndcg if self.dev else None

    @property
    def after(self) -> float | None:
        """The dev score of what was kept."""
        return next((step.ndcg for step in self.dev if step.at == self.best), None)

    @property
    def weight(self) -> float | None:
        """What the dev questions chose of ``weights``: 0 where the recipe is best left as it is. The recipe's own,
        where none was asked."""
        if self.before is not None and self.after is not None and self.after <= self.before:
            return 0.0
        chosen: float | None = self.recipe.get("weight")
        return chosen

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """What a model's folder tells of its training. Raises: ModelError."""
        told = read_json(folder / TOLD)
        try:
            of, rows = told["steps"], told["rows"]
            return cls(
                folder=folder,
                loss=tuple(Step(one["step"], of, loss=one["loss"]) for one in told["loss"]),
                dev=tuple(Step(one["step"], of, ndcg=one["ndcg@10"]) for one in told["dev"]),
                used=rows["used"],
                dropped=tuple(Dropped(one["line"], one["reason"]) for one in rows["dropped"]),
                pairs=rows["pairs"],
                cut=rows["cut"],
                left=rows["left"],
                documents=tuple((id, version) for id, version in told["documents"]),
                sources=tuple(told["sources"]),
                principals=tuple(tuple(names) for names in told["principals"]),
                weights=tuple((one["weight"], one["ndcg@10"]) for one in told["weights"]),
                recipe=told["recipe"],
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
            "kind": "reranker",
            **{name: getattr(self, name) for name in _PLAIN},
            "rows": {
                "used": self.used,
                "dropped": [{"line": one.line, "reason": one.reason} for one in self.dropped],
                "pairs": self.pairs,
                "cut": self.cut,
                "left": dict(self.left),
            },
            "documents": [list(one) for one in self.documents],
            "sources": list(self.sources),
            "principals": [list(names) for names in self.principals],
            "loss": [{"step": step.at, "loss": step.loss} for step in self.loss],
            "dev": [{"step": step.at, "ndcg@10": step.ndcg} for step in self.dev],
            "weight": self.weight,
            "weights": [{"weight": weight, "ndcg@10": ndcg} for weight, ndcg in self.weights],
            "recipe": dict(self.recipe),
            "dev_questions": list(self.dev_questions),
            "notes": list(self.notes),
            "openbook": __version__,
        }

    def report(self) -> dict[str, Any]:
        """As the command line prints it: its own keys, and those of a verdict, which is not there yet."""
        told = self.as_json()
        measures: dict[str, Any] = {}
        if self.dev:
            ends = {"base": self.before, "tuned": self.after}
            measures = {name: {"ndcg@10": {"value": value, "n": self.asked}} for name, value in ends.items()}
        keys = ("kind", "method", "loss_kind", "base", "seed", "rows", "loss", "dev", "seconds", "hash", "parity")
        said = ("pairs_per_second", "weight", "weights", "recipe", "notes", "principals")
        return {
            **{key: told[key] for key in (*keys, "moved", *said)},
            "documents": len(self.documents),
            "measures": measures,
            "trainable_tokens": self.tokens,
        }

    def summary(self) -> dict[str, Any]:
        """Of several seeds, what tells one from another."""
        return {"model": str(self.folder), "seed": self.seed, "ndcg@10": self.after, "hash": self.hash}

    def lines(self) -> list[str]:
        """As a person reads it."""
        dropped = f", {len(self.dropped)} dropped" if self.dropped else ""
        lines = [
            f"{self.method} of {self.base}, seed {self.seed}: {self.used} questions with {self.pairs} candidates"
            f"{dropped}, {self.seconds:.0f} s ({self.pairs_per_second:.0f} pairs a second)"
        ]
        if loss := [step.loss for step in self.loss if step.loss is not None]:
            lines.append(f"{self.loss_kind} loss {loss[0]:.3f} -> {loss[-1]:.3f}  {sparks(loss)}")
        if self.before is not None and self.after is not None:
            curve = sparks([step.ndcg for step in self.dev if step.ndcg is not None])
            asked = f"{self.asked} dev questions, kept: step {self.best} of {self.steps}"
            lines.append(f"dev nDCG@10 {self.before:.4f} -> {self.after:.4f}  {curve}  ({asked})")
            by = ", ".join(f"{_of_weight(weight)} {ndcg:.4f}" for weight, ndcg in self.weights)
            lines.append(f"by the weight of what it says: {by}")
            if self.weight == 0:
                lines.append("warning: at no weight did it stand above the recipe as it is: leave that as it is")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def recipe_lines(self, model: str) -> list[str]:
        """What turns it on, in a recipe's TOML."""
        told = {"kind": "cross-encoder", "model": model, **self.recipe}
        return ["[query.rerank]", *(f"{key} = {json.dumps(of, ensure_ascii=False)}" for key, of in told.items())]


def _of_weight(weight: float | None) -> str:
    return "in place of the fused score" if weight is None else f"{weight:g}"


def write_told(trained: Trained, folder: Path, settings: RerankerSettings) -> None:
    """Beside the weights in ``folder``, which will be ``trained.folder``. Raises: OSError."""
    (folder / FILE).write_text(settings.to_toml(), encoding="utf-8")
    (folder / TOLD).write_text(json.dumps(trained.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(trained), encoding="utf-8")


def _card(trained: Trained) -> str:
    what = {
        "lora": "A LoRA adapter and a head on a BERT, as peft writes them: its base is opened with it.",
        "full": "A sentence-transformers cross-encoder: its base, trained whole.",
    }[trained.method]
    loss = [step.loss for step in trained.loss if step.loss is not None]
    lines = [
        "---",
        f"library_name: {'peft' if trained.method == 'lora' else 'sentence-transformers'}",
        "pipeline_tag: text-ranking",
        "tags: [openbook, cross-encoder, reranker]",
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
        f"| questions | {trained.used} used with {trained.pairs} candidates, {len(trained.dropped)} dropped |",
        f"| loss | {trained.loss_kind}: {loss[0]:.3f} to {loss[-1]:.3f} |"
        if loss
        else f"| loss | {trained.loss_kind} |",
    ]
    if trained.dev:
        ends = f"as the recipe was {trained.before:.4f}, with this {trained.after:.4f}"
        lines.append(f"| nDCG@10 of {trained.asked} dev questions | {ends} |")
    lines += [
        f"| seed | {trained.seed} |",
        f"| trained in | {trained.seconds:.0f} s ({trained.pairs_per_second:.1f} pairs a second) |",
        f"| served as trained, to | {trained.parity:.1e} |",
        "",
        "Dev questions chose when to stop: they do not say how much better it is. Compare it with the recipe as it",
        "was, on questions that played no part: `openbook finetune compare DATA FOLDER`.",
        "",
    ]
    if trained.weights:
        by = ", ".join(f"{_of_weight(weight)}: {ndcg:.4f}" for weight, ndcg in trained.weights)
        lines += [f"nDCG@10 of them by the weight of what it says: {by}.", ""]
    if trained.weight == 0:
        lines += ["At no weight did it stand above the recipe as it is.", ""]
    closed = [" or ".join(names) for names in trained.principals if "public" not in names]
    if closed:
        lines += [f"It may answer only who is among each of: {_cell('; '.join(closed))}.", ""]
    lines += [f"- {note}" for note in trained.notes]
    if trained.notes:
        lines.append("")
    lines += ["A recipe takes it with:", "", "```toml", *trained.recipe_lines("FOLDER"), "```", ""]
    lines.append(
        f"Repeat the training with `openbook finetune reranker OUT --settings {FILE}`. Made by openbook {__version__}."
    )
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
