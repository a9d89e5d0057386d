"""What is usually done wrong before a retriever is trained: each is looked for, and told in one line.

A rail sees what is known (``Known``) and says nothing, or what is wrong. One of them refuses: a test set that training
has seen measures memory, and its figure is worse than none. The others leave the choice to who trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Dataset, Question
from openbook.finetune.data.report import asked_in, few, refusal
from openbook.finetune.data.rows import Rows, named
from openbook.recipe import Recipe, WeightedFusion

if TYPE_CHECKING:
    from openbook.evaluate.report import Report
    from openbook.knowledge_base import KnowledgeBase

MOVING = 0.25
"""Told from this share of documents on that were edited since they were added."""

# --- what is known ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """What can be known before anything is trained. ``None`` is always: there is none, or it was not named.

    ``test`` is what will be measured on, ``baseline`` the report of what is there now, ``recipe`` that of the live
    release, ``asked`` whether an evaluation ever asked this knowledge base anything, ``chunks`` how many its index has,
    ``missing`` how many of how many documents in the rows it does not hold, ``edited`` how many of how many that it
    holds changed since they were added.
    """

    method: Literal["adapter", "lora", "full", "reranker"]
    rows: Rows
    test: Dataset | None = None
    baseline: Report | None = None
    recipe: Recipe | None = None
    asked: bool | None = None
    chunks: int | None = None
    missing: tuple[int, int] | None = None
    edited: tuple[int, int] | None = None

    @staticmethod
    def of(
        kb: KnowledgeBase | None,
        method: Literal["adapter", "lora", "full", "reranker"],
        rows: Rows,
        *,
        test: Dataset | None = None,
        baseline: Report | None = None,
    ) -> Known:
        """As ``kb`` tells it, and what was named. Raises: StoreError."""
        if kb is None:
            return Known(method, rows, test, baseline)
        trained = {*rows.documents}
        versions = [row["version"] for row in kb.list() if row["source"] in trained]
        return Known(
            method,
            rows,
            test,
            baseline,
            recipe=kb.recipe,
            asked=kb.traces.are_of_evaluation(),
            chunks=kb.index.count(None),
            missing=(len(trained) - len(versions), len(trained)) if trained else None,
            edited=(sum(version > 1 for version in versions), len(versions)) if versions else None,
        )

    @property
    def tested(self) -> Sequence[Question]:
        """The questions of the test set that are measured on: those of its test split."""
        return [] if self.test is None else [one for one in self.test.questions.values() if one.is_in("test")]


# --- the rails --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rail:
    """One mistake: its name, how it is known, and the line that tells it (``None``: it is not made)."""

    name: str
    known_by: str
    line: Callable[[Known], str | None]


def _baseline(known: Known) -> str | None:
    if known.baseline is None:
        return (
            "nothing says how good it is now: openbook evaluate DATA --out baseline.json, before anything is tuned, and"
            " name it (--baseline baseline.json)"
        )
    if known.test is not None and known.baseline.questions.keys().isdisjoint(known.test.questions):
        return f"the baseline ({known.baseline.dataset}) holds no question of the test set {known.test.name}"
    return None


def _apart(known: Known) -> str | None:
    if known.test is None:
        return "no test set apart from training: nothing will say whether it helped, or only made it remember"
    if not known.tested:
        return f"{known.test.name} has no question to test with: all are to train on, or say when to stop"
    return None


def _few(known: Known) -> str | None:
    return few(known.rows)


def _missing(known: Known) -> str | None:
    if known.missing is None or not known.missing[0]:
        return None
    gone, of = known.missing
    return (
        f"{gone} of {of} documents that the rows name are not in the knowledge base: what they say is trained on as it"
        " stands in the rows; leave it out if it was removed, or name the one that holds them (--db, --kb)"
    )


def _negatives(known: Known) -> str | None:
    # An adapter's loss is over every chunk of the index, a reranker's over what the first stage found besides.
    if known.method in ("adapter", "reranker") or not known.rows.examples:
        return None
    bare = sum(not example.negatives for example in known.rows.examples)
    if bare == len(known.rows.examples):
        return f"none of {bare} queries has a hard negative: openbook finetune data OUT ROWS --negatives 4 mines them"
    return None


def _moving(known: Known) -> str | None:
    if known.edited is None or known.edited[0] < MOVING * known.edited[1]:
        return None
    changed, of = known.edited
    return (
        f"{changed} of {of} documents in the rows were edited since they were added: a retriever that was tuned on what"
        " they said has to be tuned again; what changes is for search to find"
    )


def _cheaper(known: Known) -> str | None:
    if known.recipe is None:
        return None
    fusion = known.recipe.query.fusion
    if isinstance(fusion, WeightedFusion) and fusion.dense == 1.0:
        return (
            "keyword search counts nothing in the live recipe: exact names and codes are its work, and cost no training"
        )
    if known.asked is False:
        return (
            "no evaluation has asked this knowledge base anything: chunks, filters and hybrid search are cheaper to"
            " mend and were not looked at (openbook evaluate, openbook chunks)"
        )
    return None


def _reindex(known: Known) -> str | None:
    if known.method in ("adapter", "reranker"):
        return None
    chunks = "every chunk" if known.chunks is None else f"{known.chunks:,} chunks"
    return (
        f"{known.method} changes what documents' vectors are: {chunks} must be embedded anew before it answers"
        " (openbook release build says what that takes)"
    )


def _way_back(known: Known) -> str | None:
    if known.recipe is not None:
        return None
    return "no knowledge base is named: there is no release to go back to, and nowhere to try it first (--db, --kb)"


RAILS: tuple[Rail, ...] = (
    Rail("baseline", "a report of the test set was named (--baseline)", _baseline),
    Rail("test set", "a data set was named to test with (--test)", _apart),
    Rail("few rows", "distinct queries, or pairs", _few),
    Rail("missing documents", "the documents that rows name, and those that are there", _missing),
    Rail("negatives", "rows have negatives, where the loss does not see all chunks", _negatives),
    Rail("changing facts", "versions of the documents in the rows", _moving),
    Rail("cheaper fixes", "the live recipe, and traces of evaluations", _cheaper),
    Rail("re-index", "the method, and chunks of the live index", _reindex),
    Rail("rollback", "a live release", _way_back),
)
"""In the order of the field's own list: measure, test apart, rows, negatives, facts, chunks and filters, index, way
back."""


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What a rail says."""

    name: str
    line: str

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "line": self.line}


def look(known: Known) -> list[Told]:
    """What of all that is done wrong, a line each.

    Raises:
        DatasetError: rows ask what the test set asks.
    """
    require_apart(known)
    return told_of(known)


def told_of(known: Known) -> list[Told]:
    """The same, where nothing needs to be refused."""
    return [Told(rail.name, line) for rail in RAILS if (line := rail.line(known)) is not None]


def require_apart(known: Known) -> None:
    """Raises: DatasetError: rows ask what the test set asks, or nearly."""
    rows = known.rows
    texts = [[one.query] for one in rows.examples] + [[one.first.text, one.second.text] for one in rows.scored]
    places = [one.where or named(one.query) for one in rows.examples]
    places += [one.where or named(one.first.text) for one in rows.scored]
    name = "" if known.test is None else f"{known.test.name}: "
    leaks = asked_in(texts, [replace(one, id=f"{name}{one.id}") for one in known.tested])
    if leaks:
        error = refusal(leaks, places)
        bare = not rows.scored and not any(one.negatives for one in rows.examples)
        do = f"take them out: openbook finetune data OUT ROWS --test DATA --drop-leaks{' --to pairs' * bare}"
        raise DatasetError(error.what, where=error.where, do=do)
