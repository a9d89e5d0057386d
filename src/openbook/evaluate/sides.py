"""What can be compared: a recipe, the live release, a report kept in a file, another system's TREC run.

Each becomes a Report over the same questions. Where two are asked now, they take turns question by question, so that
whatever else the machine does slows both.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import NotFound, QueryError
from openbook.evaluate import ranking
from openbook.evaluate.dataset import SPLITS, Dataset, Split
from openbook.evaluate.evaluation import KEPT_HITS, MOST_ATTACKS, evaluate, open_corpus
from openbook.evaluate.report import Asked, Report, mean, read_report

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import Recipe

LIVE, DEFAULT = "live", "default"
"""Words for a side: the knowledge base as it answers now, and the recipe that a new one would have."""

_COPIED_TOGETHER = 256


# --- a side becomes a report ------------------------------------------------------------------------------------------


def measured(
    sides: tuple[str, str],
    dataset: Dataset | None,
    *,
    split: Split | None = None,
    limit: int | None = None,
    cuts: Sequence[int] = (),
    measures: Sequence[str] = (),
    as_: Sequence[str] | None = None,
    db: str | None = None,
    kb: str = "default",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Report, Report]:
    """The reports of two sides: ``"live"``, ``"default"``, a recipe (``.toml``), a report (JSON) or a TREC run.

    Every kind of measure is taken at ``cuts``, and those of ``measures`` besides. What is not said (``split``,
    ``limit``, ``cuts``, ``as_``) is as a report among the sides was made. ``db`` and ``kb`` name the user's documents,
    which answer where the data set brings none of its own.

    Raises:
        DatasetError: a file is not what it should be, or no question is left.
        QueryError: a side is nothing of the kind, or a run is not as deep as a measure.
        RecipeError, NotFound, StoreError, ModelError: a side cannot be opened.
    """
    named = [read(side) for side in sides]
    kept = next((one for one in named if isinstance(one, Report)), None)
    if dataset is None:
        a, b = named
        if isinstance(a, Report) and isinstance(b, Report):
            return a, b
        raise QueryError("no data set to measure them on", do="openbook compare A B DATA")
    known: Mapping[str, Any] = kept.settings if kept else {}
    split = split or (_split(kept) if kept else "all")
    if split not in SPLITS:
        raise QueryError(f"unknown split {split!r}", do="choose dev, test or all")
    limit = known.get("limit") if limit is None else limit
    as_ = known.get("as") if as_ is None else as_
    asked = [f"{kind}@{k}" for k in cuts for kind in ranking.KINDS]
    asked += [name for name in measures if _is_of_documents(name)]
    wanted = ranking.names_at(cuts) if cuts else known.get("measures") or ranking.MEASURES
    wanted = tuple(dict.fromkeys([*wanted, *asked]))
    chosen = dataset.select(split, limit)
    reports: dict[int, Report] = {}
    for number, what in enumerate(named):
        if isinstance(what, Report):
            reports[number] = _of(what, chosen, sides[number])
        elif isinstance(what, Path):
            reports[number] = of_run(what, chosen, wanted, asked=asked, split=split, limit=limit)
    ask: dict[int, Callable[..., Report]] = {}
    with ExitStack() as stack:
        for number, what in enumerate(named):
            if number not in reports:
                base = opened(sides[number], what, chosen, db=db, kb=kb, say=say, progress=progress)
                stack.enter_context(base)
                ask[number] = partial(
                    evaluate,
                    base,
                    dataset,
                    split=split,
                    limit=limit,
                    measures=wanted,
                    answered=known.get("answered"),
                    as_=as_,
                    attacks=_attacks(known),
                )
        if len(ask) == 2:
            found = [replace(one, settings={**one.settings, "in_turns": True}) for one in _in_turns(ask, progress)]
        else:
            found = [one(progress=progress) for one in ask.values()]
    reports |= dict(zip(ask, found, strict=True))
    return reports[0], reports[1]


def _of(report: Report, chosen: Dataset, side: str) -> Report:
    if report.data != chosen.hash:
        what = f"was measured on other questions than these of {chosen.name} ({report.dataset}, split {report.split})"
        raise QueryError(what, where=side, do="evaluate it again, or name its data set, split and limit")
    return report


def again(
    baseline: Report,
    dataset: Dataset,
    side: str | None = None,
    *,
    db: str | None = None,
    kb: str = "default",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """What ``side`` makes now of the questions of a report, asked as it was made. By default it is what ``openbook
    evaluate`` asks: the user's documents as they are live, or a data set's own corpus by the default recipe, answered
    by the language model that answered then, if one was named.

    Raises:
        QueryError: the report was made of other questions than the data set holds.
    """
    from openbook.recipe import LanguageModel

    known = baseline.settings
    measures = known.get("measures") or [name for name in baseline.per_question if _is_of_documents(name)]
    if dataset.select(_split(baseline), known.get("limit")).hash != baseline.data:
        raise QueryError(
            f"the baseline was measured on other questions than {dataset.name} holds now ({baseline.dataset},"
            f" split {baseline.split}, {len(baseline.questions)} questions)",
            do="make a new baseline: openbook evaluate --json",
        )
    named, side = side is not None, side or (LIVE if dataset.corpus is None else DEFAULT)
    with opened(side, read(side), dataset, db=db, kb=kb, say=say, progress=progress) as base:
        return evaluate(
            base,
            dataset,
            split=_split(baseline),
            limit=known.get("limit"),
            measures=measures or ranking.MEASURES,
            answered=known.get("answered"),
            llm=LanguageModel.model_validate(known["llm"]) if known.get("llm") and not named else None,
            as_=known.get("as"),
            progress=progress,
            attacks=_attacks(known),
        )


def of_run(
    path: Path,
    dataset: Dataset,
    measures: Sequence[str],
    *,
    asked: Sequence[str] = (),
    split: Split = "all",
    limit: int | None = None,
) -> Report:
    """The report of a TREC run over the judged questions of ``dataset``; those that it lacks count 0 and are listed.

    A measure deeper than the run would count what was cut off as not found: it is left out, unless it was ``asked``
    for, or none was and it is ``ndcg@10``, which decides.

    Raises:
        DatasetError: the run cannot be read, or ranks a document twice.
        QueryError: it answers none of the questions, or is not as deep as a measure.
    """
    from openbook.evaluate.trec import read_run

    found = read_run(path).rankings
    judged = {id: question.judgements for id, question in dataset.questions.items() if question.judgements}
    if not judged.keys() & found.keys():
        raise QueryError(
            f"the run answers no judged question of {dataset.name}", where=str(path), do="name its data set"
        )
    depth = max(map(len, found.values()))
    deeper = [name for name in measures if ranking.cut(name) > depth]
    if set(deeper) & set(asked or ["ndcg@10"]):
        raise QueryError(
            f"the run holds at most {depth} documents for a question", where=str(path), do=f"measure at {depth} or less"
        )
    kept = [name for name in measures if name not in deeper]
    per_question = ranking.measured(kept, judged, found)
    missing = tuple(id for id in judged if not found.get(id))
    return Report(
        dataset=dataset.name,
        data=dataset.hash,
        split=split,
        release="",
        recipe="",
        measures={name: mean(list(values.values())) for name, values in per_question.items()},
        per_question=per_question,
        questions={
            id: Asked(
                question.text,
                {field: str(value) for field, value in question.metadata.items()},
                found.get(id, ())[:KEPT_HITS],
            )
            for id, question in dataset.questions.items()
        },
        unanswered=missing,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings={"limit": limit, "measures": kept, "run": str(path)},
    )


def read(side: str) -> Report | Recipe | Path | None:
    """A side by its name; ``None`` is the live release, a path a run."""
    from openbook.recipe import Recipe

    if side == LIVE:
        return None
    if side == DEFAULT:
        return Recipe()
    path = Path(side)
    if path.suffix.lower() == ".toml":
        return Recipe.load(path)
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        do = "name live, default, a recipe (.toml), a report (JSON) or a TREC run"
        raise QueryError(f"cannot be read ({error.strerror})", where=side, do=do) from None
    return read_report(path) if start.startswith(b"{") else path


def _attacks(known: Mapping[str, Any]) -> int:
    """As many planted orders as a report had: with a language model, each is paid for."""
    return MOST_ATTACKS if known.get("attacks") is None else int(known["attacks"])


def _split(report: Report) -> Split:
    return report.split  # type: ignore[return-value]  # ``select`` refuses what is none


def _is_of_documents(measure: str) -> bool:
    return measure.partition("@")[0] in ranking.KINDS


# --- opening ----------------------------------------------------------------------------------------------------------


def opened(
    side: str,
    recipe: Report | Recipe | Path | None,
    dataset: Dataset,
    *,
    db: str | None,
    kb: str,
    say: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> KnowledgeBase:
    """A knowledge base that answers by ``recipe`` (``None``: by the live one); close it.

    A data set's own corpus is indexed apart and kept. Of the user's documents, the index that is there serves where it
    reads documents as the recipe does; else a copy of them is indexed by it.
    """
    from openbook.knowledge_base import open as open_

    if isinstance(recipe, Report | Path):
        raise QueryError("is measured already", where=side, do="name live, default or a recipe (.toml)")
    if dataset.corpus is not None:
        if recipe is None:
            with open_(db, kb, create=False, say=say) as base:
                recipe = base.recipe
        base = open_corpus(dataset, recipe, say=say)
        try:
            done = base.add(dataset.corpus, progress=lambda at: progress(at.chunks, at.of_chunks))
        except BaseException:
            base.close()
            raise
        for skipped in done.skipped:
            say(f"skipped {skipped.source}: {skipped.reason}")
        return base
    base = open_(db, kb, create=False, say=say)
    try:
        if recipe is None:
            return base
        if recipe.index == base.recipe.index:
            base.recipe = recipe
            return base
        copy = open_copy(base, recipe, say=say, progress=progress)
    except BaseException:
        base.close()
        raise
    base.close()
    return copy


def open_copy(
    kb: KnowledgeBase,
    recipe: Recipe,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> KnowledgeBase:
    """The documents of ``kb``, with their sources, metadata and access, indexed by another recipe; close it.

    The copy lies in the cache, one for each knowledge base and index half, and is brought up to date at every opening:
    what changed is indexed again, what was removed is removed. ``progress`` is told how many documents are through.

    Raises:
        ModelError, StoreError: the copy cannot be made; what was copied so far is kept for the next time.
    """
    from openbook import __version__
    from openbook.embed import open_embedder
    from openbook.knowledge_base import open as open_
    from openbook.store.database import user_cache

    part = f"{__version__} {recipe.index.hash} {open_embedder(recipe.index.embed).hash}"
    name = hashlib.sha256(f"{kb.database.epoch} {kb.kb} {part}".encode()).hexdigest()[:16]
    copy = open_(user_cache() / "evaluate" / f"copy-{name}", recipe=recipe, say=say)
    try:
        there = {row["source"]: row["document"] for row in kb.list()}
        if not there:
            raise NotFound("no document to ask", where=f"knowledge base {kb.name}", do="openbook add FOLDER")
        gone = [row["source"] for row in copy.list() if row["source"] not in there]
        copy.documents.remove(gone, copy.index)
        sources = list(there)
        for first in range(0, len(sources), _COPIED_TOGETHER):
            batch = sources[first : first + _COPIED_TOGETHER]
            theirs, ours = kb.documents.current(batch), copy.documents.current(batch)
            stale = [source for source in batch if source in theirs and not _is_same(theirs[source], ours.get(source))]
            read = [kb.documents.get(there[source], None) for source in stale]
            documents = sorted((one for one in read if one is not None), key=lambda one: one.access)
            for access, open_to_them in groupby(documents, key=lambda one: one.access):
                for skipped in copy.add(*open_to_them, access=access).skipped:
                    say(f"skipped {skipped.source}: {skipped.reason}")
            progress(min(first + _COPIED_TOGETHER, len(sources)), len(sources))
    except BaseException:
        copy.close()
        raise
    return copy


def _is_same(theirs: Any, ours: Any) -> bool:
    return ours is not None and not ours.removed and all(
        getattr(theirs, name) == getattr(ours, name) for name in ("hash", "metadata", "access")
    )  # fmt: skip


# --- taking turns -----------------------------------------------------------------------------------------------------


class _Stopped(BaseException):
    """The other of two evaluations has failed."""


def _in_turns(ask: Mapping[int, Callable[..., Report]], progress: Callable[[int, int], None]) -> list[Report]:
    """The reports of two evaluations that ask alternately: one question each, the other waiting meanwhile.

    An evaluation tells its progress after each question; there the turn goes to the other one. What follows the last
    question begins when both have asked theirs.
    """
    turn, over = 0, threading.Condition()
    reports: dict[int, Report] = {}
    errors: list[BaseException] = []

    def mine(me: int) -> bool:
        return turn == me or bool(errors) or 1 - me in reports

    def run(me: int) -> None:
        nonlocal turn

        def hand_over(asked: int, of: int) -> None:
            nonlocal turn
            progress(2 * asked - 1 + me, 2 * of)
            with over:
                turn = 1 - me
                over.notify_all()
                if me == 0 or asked < of:
                    over.wait_for(lambda: mine(me))
            if errors:
                raise _Stopped

        try:
            with over:
                over.wait_for(lambda: mine(me))
            if not errors:
                reports[me] = ask[me](progress=hand_over)
        except BaseException as error:
            errors.append(error)
        with over:
            over.notify_all()

    other = threading.Thread(target=run, args=(1,), name="candidate")
    other.start()
    run(0)
    other.join()
    if errors:
        raise errors[0]
    return [reports[0], reports[1]]
