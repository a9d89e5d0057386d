"""From a verdict to a release: the winner of a trial is built beside what answers, with the report that speaks for it.

What a release by each candidate takes is told before anybody has won. Nothing here changes what answers but
``promoted``, which puts a release in the place of the one that it was compared with and of no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import ModelError, QueryError
from openbook.finetune.verdict import Judged, Trial
from openbook.releasing import Releasing
from openbook.store.releases import Releases

if TYPE_CHECKING:
    from openbook.evaluate.datasets.dataset import Dataset, Split
    from openbook.finetune.trial import Model, Tried
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import Recipe
    from openbook.releasing import Building, Built, Plan
    from openbook.store.releases import Pointers


@dataclass(frozen=True, slots=True)
class Released:
    """A release by the winner of a trial, and what it took. ``built``: ``None`` where a release by this recipe was
    there, whole. ``pointers``: what answers since; ``None``: what did before."""

    release: str
    live: str
    plan: Plan
    built: Built | None
    pointers: Pointers | None = None

    def as_json(self) -> dict[str, Any]:
        """Keys of what the command line prints of a trial."""
        return {
            "release": self.release,
            "plan": self.plan.as_json(),
            "built": self.built and self.built.as_json(),
            "live": self.live if self.pointers is None else self.pointers.live,
        }

    def lines(self) -> Iterator[str]:
        """As a person reads it: what was built, and what to do next."""
        if self.built is None:
            yield f"{self.release} was there already, by the same recipe and model; its report is the new one"
        else:
            done = self.built
            yield f"{self.release} is built: {done.chunks} chunks, {done.embedded} embedded, in {done.seconds:.1f} s"
        if self.pointers is None:
            yield f"openbook release promote {self.release} has it answer in the place of {self.live}"
            yield f"openbook release rollback then returns to {self.live}"
        else:
            yield f"{self.release} answers now; openbook release rollback returns to {self.pointers.previous}"


# --- before anybody has won -------------------------------------------------------------------------------------------


def require_own(dataset: Dataset, where: str, recipe: object = None) -> None:
    """Raises: QueryError: the verdict would not be on what answers now, and so speak for no release."""
    if dataset.corpus is not None:
        do = "leave --release away, or name questions about your own documents"
        raise QueryError("brings documents of its own, and a release is of yours", where=where, do=do)
    if recipe is not None:
        do = "leave --recipe away: the live release is then the base"
        raise QueryError("a release is compared with what answers now, and not with a recipe", where="--release", do=do)


def require_test(dataset: Dataset, models: Sequence[Model], split: Split) -> None:
    """Raises: QueryError: the questions chose a model's settings, or what was kept of it."""
    if split != "test" and any(question.split == "dev" for question in dataset.questions.values()):
        do = "leave --split away: only its test questions may speak for a release"
        raise QueryError(f"has dev questions, and split {split} asks them", where=dataset.name, do=do)
    asked = dataset.select(split).questions
    for model in models:
        _require_unasked(model.name, model.chosen_by(asked.values()))


def _require_unasked(name: str, dev: int) -> None:
    if dev:
        do = "compare it on questions that played no part"
        raise QueryError(f"{dev} of the questions chose what was kept of it", where=name, do=do)


def planned(kb: KnowledgeBase, models: Sequence[Model], recipe: Recipe) -> dict[str, Plan]:
    """What a release by the recipe and each of these models would take, by the model's name.

    Raises:
        ModelError, RecipeError: one cannot be served at all.
    """
    from openbook.finetune.trial import recipe_with

    return {model.name: kb.plan(recipe_with(recipe, model.best, model.serves)) for model in models}


def priced(trial: Trial, plans: Mapping[str, Plan]) -> Trial:
    """The trial, every candidate with a note of what its release would take."""
    told = [
        replace(one, notes=(*one.notes, *(f"its release: {line}" for line in plans[one.name].lines())))
        if one.name in plans
        else one
        for one in trial.candidates
    ]
    return replace(trial, candidates=told)


# --- afterwards -------------------------------------------------------------------------------------------------------


def release(kb: KnowledgeBase, tried: Tried, *, progress: Callable[[Building], None] | None = None) -> Released | None:
    """Build a release by the recipe that was compared and the model that won, and keep the verdict as its report;
    ``None``: none won, and nothing is built. One that is there by the same recipe and model gets the report.

    Of several seeds the one is served that stood highest on dev questions (``Model.best``); the verdict is on all.

    Raises:
        QueryError: the trial was not of this knowledge base's live release, or its questions chose what was kept.
        ModelError: the model is gone, was changed since it was compared, or was trained on a text that is forgotten.
        NotFound: the release that it was compared with is gone.
    """
    from openbook.finetune.trial import recipe_with, serves

    won = next((one for one in tried.trial.candidates if one.name == tried.trial.winner), None)
    if won is None or tried.model is None:
        return None
    live = tried.trial.base.release
    _require_unasked(won.name, tried.chosen_by.get(won.name, 0))
    _require_same(tried.model, tried.contents)
    if won.name not in tried.plans:
        raise QueryError("was not compared with a live release", where=won.name, do="name no recipe and no corpus")
    wanted = recipe_with(kb.show_release(live).recipe, tried.model, serves(tried.trainings[won.name].trained[0]))
    there = Releasing(Releases(kb.database, kb.kb), kb.writer).whole(wanted)
    plan = tried.plans[won.name]
    if there is not None:
        done = Released(there.name, live, plan, None)
    else:
        built = kb.build(wanted, progress=progress)
        done = Released(built.release, live, plan, built)
    kb.keep_report(done.release, report_of(tried.trial, won, done.release))
    return done


def _require_same(folder: Path, contents: Mapping[Path, str]) -> None:
    """Raises: ModelError: the folder does not hold what was asked."""
    from openbook.embed.provenance import content_of

    try:
        now = content_of(folder)
    except OSError as error:
        raise ModelError(f"cannot be read ({error})", where=str(folder), do="compare it again") from None
    if now != contents.get(folder):
        raise ModelError("was changed since it was compared", where=str(folder), do="compare it again")


def report_of(trial: Trial, one: Judged, name: str) -> dict[str, Any]:
    """What a release keeps of its trial: as of any comparison with the live one, with what was told apart besides.
    Figures, and no text of a question."""
    told = one.as_json()
    base = trial.base
    return {
        "a": base.release,
        "b": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": base.dataset,
        "data": base.data,
        "split": base.split,
        "questions": len(base.questions),
        "primary": trial.primary,
        "settings": dict(trial.settings),
        **{key: told[key] for key in ("verdict", "reasons", "measures", "seeds", "seen", "unseen", "own", "general")},
    }


def promoted(kb: KnowledgeBase, done: Released) -> Released:
    """Have it answer, if the release that it was compared with still does.

    Raises:
        QueryError: another one was promoted meanwhile; nothing was changed.
        ModelError, StoreError: as ``KnowledgeBase.promote``.
    """
    return replace(done, pointers=kb.promote(done.release, require_report=True))
