"""Models that were trained are asked what their base is asked, and judged: from folders to a verdict."""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import ValidationError

from openbook.embed.folder import read_folder, read_json
from openbook.embed.provenance import content_of
from openbook.errors import DatasetError, ModelError, QueryError
from openbook.evaluate import sides
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, Split
from openbook.evaluate.datasets.evidence import locate
from openbook.evaluate.evaluation import evaluate
from openbook.evaluate.report import Report
from openbook.finetune.data import formats
from openbook.finetune.data.report import shared
from openbook.finetune.data.rows import Rows, digests
from openbook.finetune.general import DEFAULT, REPLAY, general_sets
from openbook.finetune.page import Training
from openbook.finetune.promotion import planned, priced
from openbook.finetune.rails import Known, Told, told_of
from openbook.finetune.replay import Traded, interpolated, traded
from openbook.finetune.running import Served, served
from openbook.finetune.settings import hash_of
from openbook.finetune.verdict import LOSS, Candidate, Trial, judge, trained_on
from openbook.recipe import Recipe

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase
    from openbook.releasing import Plan
    from openbook.store.keyword.entries import Position

Depth = Literal["adapter", "lora", "full", "reranker"]
COST: tuple[Depth, ...] = get_args(Depth)
"""In order of what serving them takes: an adapter leaves the index as it is, and a reranker reads for each question all
that the first stage found."""

DEPTHS = ("adapter", "lora", "full")
"""What trainings call their methods."""

MEASURE = "ndcg@10"
"""What is traded."""

BASE = "the base"

# --- what was trained -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Model:
    """What one training made: a folder for each seed, what each tells of itself (``trained.json``), and the settings
    that repeat it (``settings.toml``)."""

    name: str
    folders: Sequence[Path]
    trained: Sequence[Mapping[str, Any]]
    settings: str = ""

    @property
    def method(self) -> str:
        return str(self.trained[0].get("method"))

    @property
    def called(self) -> list[str]:
        """Each of its seeds, as a person is told of it."""
        if len(self.folders) == 1:
            return [self.name]
        return [f"{self.name}, seed {told.get('seed', number)}" for number, told in enumerate(self.trained)]

    @property
    def notes(self) -> list[str]:
        """What was noted when its seeds were trained, such as rows that look as if they were shuffled."""
        said = (note for told in self.trained for note in told.get("notes", ()))
        return [f"when it was trained: {note}" for note in dict.fromkeys(said)]

    @property
    def serves(self) -> Depth:
        """What it is to a recipe."""
        return serves(self.trained[0])

    @property
    def data(self) -> list[Path]:
        """The files of rows that it was trained on, as its settings name them."""
        try:
            return [Path(path) for path in tomllib.loads(self.settings).get("data", {})]
        except tomllib.TOMLDecodeError:
            return []

    def changed(self) -> list[Path]:
        """Those of its files that do not hold what it was trained on any more."""
        try:
            held = tomllib.loads(self.settings).get("data", {})
            there = {Path(path): hash for path, hash in held.items() if hash and Path(path).exists()}
            return [path for path, hash in there.items() if hash_of(path) != hash]
        except (tomllib.TOMLDecodeError, AttributeError, DatasetError):
            return []

    @property
    def replayed(self) -> Path | None:
        """The file of general rows that it was trained on besides, as its settings name it."""
        try:
            path = tomllib.loads(self.settings).get("replay", {}).get("data", {}).get("path")
        except (tomllib.TOMLDecodeError, AttributeError):
            return None
        return None if path is None else Path(path)

    @property
    def start(self) -> Path | None:
        """The adapter at which it began, as its settings name it."""
        try:
            path = tomllib.loads(self.settings).get("start", {}).get("path")
        except (tomllib.TOMLDecodeError, AttributeError):
            return None
        return None if path is None else Path(path)

    @property
    def served(self) -> Served:
        """Which of its seeds would be served. (The verdict is on all of them: the best of several on the test would
        be luck.)"""
        scores: list[float | None] = []
        for told in self.trained:
            kept = [step.get("ndcg@10") for step in told.get("dev", ()) if step.get("step") == told.get("best")]
            scores.append(kept[0] if kept else None)
        return served(scores)

    @property
    def best(self) -> Path:
        """Of its seeds the one to serve."""
        return self.folders[self.served.at]

    def chosen_by(self, questions: Iterable[Question]) -> int:
        """How many of these were dev questions of it: they chose what was kept, and are no fair test of it."""
        dev = {one for told in self.trained for one in told.get("dev_questions", ())}
        return sum(not dev.isdisjoint(digests([question.text])) for question in questions)

    @property
    def documents(self) -> set[str]:
        """The sources of the documents that it was trained on."""
        return {source for told in self.trained for source in told.get("sources", ())}


def serves(told: Mapping[str, Any]) -> Depth:
    """What a model is to a recipe, by what it tells of itself. (The method of a reranker says how it was trained.)"""
    return "reranker" if told.get("kind") == "reranker" else told["method"]


def read_models(paths: Sequence[Path]) -> list[Model]:
    """Models by their folders, the cheapest to serve first. A folder holds one, or one in ``seed-N`` each.

    Raises:
        QueryError: a folder holds none, its seeds were trained in different ways, or two have one name.
        ModelError: what it tells of itself cannot be read.
    """
    found = []
    for path in paths:
        whole = (path / "trained.json").is_file()
        folders = [path] if whole else sorted(path.glob("seed-*"), key=lambda one: (len(one.name), one.name))
        if not folders:
            do = "name what openbook finetune embedder or reranker made"
            raise QueryError("no model that was trained: trained.json is missing", where=str(path), do=do)
        trained = [read_json(folder / "trained.json") for folder in folders]
        if odd := [told for told in trained if not isinstance(told, dict) or told.get("method") not in DEPTHS]:
            what = (
                f"tells no method that is known ({odd[0] if not isinstance(odd[0], dict) else odd[0].get('method')!r})"
            )
            raise ModelError(what, where=str(path), do="train it again")
        if len({(told.get("kind"), told["method"]) for told in trained}) > 1:
            raise QueryError("its seeds were trained by several methods", where=str(path), do="name them one by one")
        settings = folders[0] / "settings.toml"
        text = settings.read_text(encoding="utf-8", errors="replace") if settings.is_file() else ""
        found.append(Model(path.resolve().name, folders, trained, text))
    names = [one.name for one in found]
    if len({*names}) < len(names):
        twice = max(names, key=names.count)
        raise QueryError(f"two models are called {twice!r}", do="give the folder of each a name of its own")
    return sorted(found, key=lambda one: COST.index(one.serves))


def recipe_with(recipe: Recipe, folder: Path, serves: str) -> Recipe:
    """The recipe with a model in the place of its own: an adapter turns its queries, a reranker puts what it found in
    another order, with the weight that its dev questions chose, and another model embeds all.

    Raises:
        QueryError: this openbook cannot take it.
        ModelError: a reranker does not tell how it is served.
    """
    place = str(folder.absolute())
    part: dict[str, Any]
    if serves == "adapter":
        part, half = {"adapter": {"kind": "linear", "path": place}}, "query"
    elif serves == "reranker":
        part, half = {"rerank": {**_reranked(folder), "kind": "cross-encoder", "model": place}}, "query"
    else:
        part, half = {"embed": {"kind": "local", "model": place}}, "index"
    told = recipe.model_dump(mode="json")
    told[half] = {**told[half], **part}
    if half == "index":  # one that is there fits the model that was there
        told["query"].pop("adapter", None)
    try:
        return Recipe.model_validate(told)
    except ValidationError as error:
        raise QueryError(
            f"no recipe takes it ({error.errors()[0]['msg']})", where=place, do="update openbook"
        ) from None


def _reranked(folder: Path) -> dict[str, Any]:
    told = read_json(folder / "trained.json")
    said = told.get("recipe") if isinstance(told, dict) else None
    if not isinstance(said, dict):
        raise ModelError("does not tell how it is served", where=str(folder / "trained.json"), do="train it again")
    return said


def rows_of(models: Sequence[Model]) -> Rows | None:
    """All rows that the models were trained on; ``None`` where a file of them is not there any more, or has no rows but
    questions, which a reranker is trained on, too."""
    files = list(dict.fromkeys(path for model in models for path in model.data))
    if not files or not all(_has_rows(path) for path in files):
        return None
    return formats.joined([formats.read(path) for path in files])


def _has_rows(path: Path) -> bool:
    return path.exists() and (formats.is_training_data(path) or (path / "qrels" / "train.tsv").is_file())


# --- asking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial with what its page tells besides: how each candidate was trained, on which rows, and what of the test
    questions was in them. ``model`` is the folder to serve; ``None``: there is no winner. ``plans``: what a release by
    each candidate would take, where the base is the live one; ``chosen_by``: how many of the questions chose what was
    kept of it, where any did. ``contents``: the hash of each folder when it was asked. ``why`` that folder of several
    seeds, in a line. ``told``: what the rails say, where the rows are known."""

    trial: Trial
    model: Path | None
    trainings: Mapping[str, Training]
    rows: Rows | None
    seen: Mapping[str, str] | None
    plans: Mapping[str, Plan] = field(default_factory=dict)
    chosen_by: Mapping[str, int] = field(default_factory=dict)
    contents: Mapping[Path, str] = field(default_factory=dict)
    why: str = ""
    told: Sequence[Told] = ()


@dataclass(frozen=True, slots=True)
class Asking:
    """How everything is asked: the same for the base and for every candidate."""

    db: str | None = None
    kb: str = "default"
    as_: Sequence[str] | None = None
    split: Split = "test"
    limit: int | None = None
    say: Callable[[str], None] = lambda line: None
    progress: Callable[[int, int], None] = lambda done, of: None

    def turns(self, of: int) -> Callable[[str, str], None]:
        """Tells, ``of`` so many that will be asked, what is asked next and of which set."""
        numbers = count(1)
        return lambda dataset, what: self.say(f"{next(numbers)} of {of}: {dataset}, {what}")

    def opened(self, dataset: Dataset, recipe: Recipe | None) -> KnowledgeBase:
        """What answers by ``recipe``: the data set's own documents, or the user's (``None``: as they are live)."""
        side = sides.LIVE if recipe is None else "recipe"
        return sides.opened(side, recipe, dataset, db=self.db, kb=self.kb, say=self.say, progress=self.progress)

    def position(self, dataset: Dataset) -> Position | None:
        """Where the change feed of the user's documents ends; ``None`` where the data set brings its own."""
        if dataset.corpus is not None:
            return None
        with self.opened(dataset, None) as kb, kb.database.snapshot(None) as connection:
            return kb.index.position(connection)

    def report(self, kb: KnowledgeBase, dataset: Dataset, split: Split, limit: int | None = None) -> Report:
        return evaluate(kb, dataset, split=split, limit=limit, answered=False, as_=self.as_, progress=self.progress)


def try_models(
    dataset: Dataset,
    models: Sequence[Model],
    *,
    general: Mapping[str, Dataset],
    recipe: Recipe | None = None,
    rows: Rows | None = None,
    asking: Asking | None = None,
    primary: str | None = None,
    worth: float = 0.0,
    allowed: float = LOSS,
    seed: int = 0,
    trade: bool = False,
) -> Tried:
    """Base and models on the test questions of ``dataset`` and on the ``general`` sets, and the verdict.

    The base is ``recipe``, or what a data set with documents of its own is measured by (the default), or the live
    release. ``rows`` are what was trained on, where the models' settings do not tell. ``trade``: measure what lies
    between the base and each model, too (``trade_of``), which for one that embeds documents takes an index a step.

    Raises:
        QueryError: the user's documents were changed meanwhile, or the test is one of memory (``without_rows``).
        QueryError, DatasetError, ModelError, StoreError: something cannot be opened, asked or compared.
    """
    asking = asking or Asking()
    live = recipe is None and dataset.corpus is None
    if recipe is None and dataset.corpus is not None:
        recipe = Recipe()
    changed = [] if rows is not None else [(model.name, path) for model in models for path in model.changed()]
    rows = rows if rows is not None else rows_of(models)
    whole = dataset
    remembered: tuple[str, ...] = ()
    if rows is not None:
        dataset, remembered = without_rows(dataset, rows, asking.split)
    chosen = dataset.select(asking.split, asking.limit)
    begun = asking.position(dataset)
    turn = asking.turns((1 + len(general)) * (1 + sum(len(model.folders) for model in models)))
    turn(dataset.name, BASE)
    with asking.opened(dataset, recipe) as kb:
        known = (
            []
            if rows is None
            else [Known.of(kb if dataset.corpus is None else None, one.serves, rows, test=dataset) for one in models]
        )
        plans = planned(kb, models, kb.recipe) if live else {}
        for name, plan in plans.items():
            for line in plan.lines():
                asking.say(f"{name}: {line}")
        base = asking.report(kb, dataset, asking.split, asking.limit)
        recipe, there = kb.recipe, _located(kb, chosen, asking.as_)
    seen = _seen(there, models, rows)
    answers = {question.id: question.judgements for question in there if question.judgements}
    contents = {folder: content_of(folder) for model in models for folder in model.folders}
    before, after = kept(models, general, recipe, asking, turn)
    candidates = []
    for model in models:
        reports: list[Report] = []
        for folder, called in zip(model.folders, model.called, strict=True):
            turn(dataset.name, called)
            with asking.opened(dataset, recipe_with(recipe, folder, model.serves)) as kb:
                reports.append(asking.report(kb, dataset, asking.split, asking.limit))
        candidates.append(Candidate(model.name, reports, after[model.name]))
    if asking.position(dataset) != begun:  # what was added meanwhile would be a gain of those that were asked last
        what = "documents were changed while it was compared, and not all were asked of the same"
        raise QueryError(what, where=asking.kb, do="compare it again")
    trial = judge(
        base, candidates, general=before, seen=seen, judgements=answers, primary=primary, worth=worth, allowed=allowed,
        seed=seed,
    )  # fmt: skip
    what = "has changed since it was trained on: which questions it had seen is told by what it holds now"
    trial = replace(trial, notes=(*trial.notes, *(f"{path} of {name} {what}" for name, path in changed)))
    dev = {model.name: count for model in models if (count := model.chosen_by(chosen.questions.values()))}
    of = f"of the {len(chosen.questions)} questions chose what was kept of"
    picked = (f"{count} {of} {name}: it stands too high by them" for name, count in dev.items())
    noted = {model.name: model.notes for model in models}
    told_of_each = [replace(one, notes=(*one.notes, *noted[one.name])) for one in trial.candidates]
    held = recipe.model_dump_json() if recipe is not None else ""
    live_already = [
        f"what it is compared with has {model.name} in it already: it is compared with itself"
        for model in models
        if any(json.dumps(str(folder.absolute()), ensure_ascii=False) in held for folder in model.folders)
    ]
    notes = (*trial.notes, *remembered, *picked, *live_already)
    trial = priced(replace(trial, candidates=told_of_each, notes=notes), plans)
    if [*general] == [DEFAULT] and any(model.replayed == REPLAY for model in models):
        what = (
            "the only general set is of one hand with the texts that were replayed, and may flatter: name one of yours"
        )
        trial = replace(trial, notes=(*trial.notes, what))
    trial = replace(trial, notes=(*trial.notes, *_of_rerankers(models, trade=trade)))
    traded_ = [model for model in models if trade and model.serves != "reranker"]
    between = {model.name: trade_of(whole, model, general=general, recipe=recipe, asking=asking) for model in traded_}
    trainings = {model.name: Training(model.trained, model.settings, between.get(model.name, [])) for model in models}
    # Of documents that the data set brings there is no release to go back to, and none is made.
    told = dict.fromkeys(
        one
        for each in known
        for one in told_of(replace(each, baseline=base))
        if dataset.corpus is None or one.name != "rollback"
    )
    won = next((model for model in models if model.name == trial.winner), None)
    why = won.served.line(won.best.name) if won is not None else ""
    return Tried(
        trial, won.best if won is not None else None, trainings, rows, seen, plans, dev, contents, why, (*told,)
    )


def without_rows(dataset: Dataset, rows: Rows, split: Split) -> tuple[Dataset, tuple[str, ...]]:
    """The data set without the questions of ``split`` that are in the rows themselves, and what is to be told of them.
    What is asked nearly the same stays, and is told: of scifact's 300 test claims a train claim is so to 75.

    Raises:
        QueryError: more than half of them are in the rows, or nearly.
    """
    asked = dataset.select(split).questions
    kinds = {leak.b: leak.kind for leak in shared(rows, list(asked.values()))}
    same = {id for id, kind in kinds.items() if kind == "question"}
    near = {id for id, kind in kinds.items() if kind == "near question"}
    if 2 * len(same | near) > len(asked):
        what = f"{len(same)} of {len(asked)} test questions are in the rows, and {len(near)} more nearly: it is memory"
        raise QueryError(what, where=dataset.name, do="name another test set, or train without them")
    told = []
    if same:
        told.append(f"{len(same)} of {len(asked)} test questions are in the rows themselves, and were not asked")
    if near:
        told.append(f"{len(near)} of {len(asked)} test questions are nearly in the rows: what they gain may be memory")
    left = {id: question for id, question in dataset.questions.items() if id not in same}
    return replace(dataset, questions=left), tuple(told)


def kept(
    models: Sequence[Model],
    general: Mapping[str, Dataset],
    recipe: Recipe,
    asking: Asking,
    turn: Callable[[str, str], None],
) -> tuple[dict[str, Report], dict[str, dict[str, list[Report]]]]:
    """What of general knowledge is kept: by general set what the base finds; and by model and set, what each of its
    seeds does. ``turn`` is told each time that a set is asked, and of what.

    Raises:
        QueryError, DatasetError, ModelError, StoreError: something cannot be opened or asked.
    """
    before: dict[str, Report] = {}
    after: dict[str, dict[str, list[Report]]] = {model.name: {name: [] for name in general} for model in models}
    for name, dataset in general.items():
        turn(name, BASE)
        with asking.opened(dataset, recipe) as kb:
            before[name] = asking.report(kb, dataset, "all")
        for model in models:
            for folder, called in zip(model.folders, model.called, strict=True):
                turn(name, called)
                with asking.opened(dataset, recipe_with(recipe, folder, model.serves)) as kb:
                    after[model.name][name].append(asking.report(kb, dataset, "all"))
    return before, after


@dataclass(frozen=True, slots=True)
class Measured:
    """What training is told to have done: by general set, nDCG@10 of base and model (the mean of its seeds); and the
    trial, where test questions were named."""

    general: Mapping[str, tuple[float, float]]
    trial: Trial | None = None

    def as_json(self) -> dict[str, Any]:
        """The keys of a training's report that only questions can fill."""
        told: dict[str, Any] = {
            "general": {
                "before": {name: before for name, (before, _) in self.general.items()},
                "after": {name: after for name, (_, after) in self.general.items()},
            }
        }
        if self.trial is not None:
            [one] = self.trial.candidates
            ends = {"base": "a", "tuned": "b"}
            told["measures"] = {
                end: {name: {"value": getattr(row.paired, key), "n": row.paired.n} for name, row in one.rows.items()}
                for end, key in ends.items()
            }
            told |= {"verdict": self.trial.verdict, "trial": self.trial.as_json()}
        return told

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        if self.trial is not None:
            yield from self.trial.lines()
            return
        for name, (before, after) in self.general.items():
            yield f"general, {name}: {MEASURE} {before:.4f} to {after:.4f}, {after - before:+.4f}"


def measured(folder: Path, test: Dataset | None, recipe: Recipe | None, asking: Asking) -> Measured:
    """What the model in ``folder`` forgot of the general questions that come with openbook, and what it gained on the
    test questions of ``test``, over the live release or the documents that ``test`` brings. Without ``test`` the base
    is ``recipe``, or the default.

    Raises:
        QueryError, DatasetError, ModelError, StoreError: something cannot be opened, asked or compared.
    """
    general, models = general_sets(), read_models([folder])
    if test is not None:
        trial = try_models(test, models, general=general, asking=asking).trial
        [one] = trial.candidates
        return Measured({name: (row.paired.a, row.paired.b) for name, row in one.general.items()}, trial)
    turn = asking.turns(len(general) * (1 + sum(len(model.folders) for model in models)))
    before, after = kept(models, general, recipe or Recipe(), asking, turn)
    [its] = after.values()
    means = {
        name: (report.measures[MEASURE].value, fmean(run.measures[MEASURE].value for run in its[name]))
        for name, report in before.items()
    }
    return Measured(means)


def _of_rerankers(models: Sequence[Model], *, trade: bool) -> Iterator[str]:
    for model in models:
        if model.serves != "reranker":
            continue
        if any(told.get("weight") == 0 for told in model.trained):
            yield f"{model.name}: on its own dev questions no weight of it stood above the recipe as it was"
        if trade:
            yield f"{model.name}: no trade is measured of a reranker, which its weight in the recipe holds back"


def trade_of(
    dataset: Dataset, model: Model, *, general: Mapping[str, Dataset], recipe: Recipe, asking: Asking
) -> list[Traded]:
    """What each step between the base and a model (the best of its seeds) gains on the dev questions of ``dataset`` and
    forgets on those of the ``general`` sets: nDCG@10, the mean over sets. The base of an adapter is that at which it
    began, else the recipe.

    Raises:
        ModelError, QueryError: its base cannot be read, or is not what it was trained from.
        DatasetError: there are no dev questions.
    """
    told = model.trained[model.folders.index(model.best)]
    base = model.start if model.method == "adapter" else read_folder(str(told.get("base", "default"))).path

    def measure(share: float) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as place:
            tuned = recipe
            if share:
                folder = interpolated(base, model.best, Path(place) / "between", share)
                tuned = recipe_with(recipe, folder, model.serves)
            elif model.start is not None:
                tuned = recipe_with(recipe, model.start, model.serves)
            means = []
            for name, one in ((dataset.name, dataset), *general.items()):
                asking.say(f"{name}, {model.name} at {share:g} of the way from its base")
                with asking.opened(one, tuned) as kb:
                    means.append(asking.report(kb, one, "dev", asking.limit).measures[MEASURE].value)
        return means[0], fmean(means[1:]) if means[1:] else 0.0

    return traded(measure)


def _located(kb: KnowledgeBase, dataset: Dataset, as_: Sequence[str] | None) -> list[Question]:
    """The questions with what answers them as the documents here name it."""
    questions = list(dataset.questions.values())
    located = locate(kb, questions, as_=as_)
    spans = located.spans
    return [
        replace(
            question,
            judgements=located.judgements.get(question.id, {}),
            evidence=tuple(Evidence(span.source, span.text) for span in spans.get(question.id, ())),
        )
        for question in questions
    ]


def _seen(there: Sequence[Question], models: Sequence[Model], rows: Rows | None) -> dict[str, str] | None:
    """The test questions whose evidence was trained on; ``None``: nobody knows."""
    if rows is not None:
        return trained_on(rows, there)
    documents = {source for model in models for source in model.documents}
    if not documents:
        return None
    return {question.id: "document" for question in there if _is_of(question, documents)}


def _is_of(question: Question, documents: set[str]) -> bool:
    return any(grade > 0 and source in documents for source, grade in question.judgements.items())
