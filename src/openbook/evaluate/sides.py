"""What can be compared: a recipe, a release, a report kept in a file, another system's TREC run.

Each becomes a Report over the same questions. Where two are asked now, they take turns question by question, so that
whatever else the machine does slows both. What cannot be compared is refused before anything is asked.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError, QueryError
from openbook.evaluate.caches import open_copy, open_corpus
from openbook.evaluate.datasets.dataset import SPLITS, Dataset, Split
from openbook.evaluate.evaluation import KEPT_HITS, MOST_ATTACKS, evaluate, has_answer
from openbook.evaluate.kept import read_report
from openbook.evaluate.measures import ranking
from openbook.evaluate.measures.judge import PROMPTS, Budget, Judge
from openbook.evaluate.pages.definitions import DEFINITIONS, definition, grouped
from openbook.evaluate.report import JUDGED, STYLED, Asked, Report, counted, mean, without_login
from openbook.evaluate.turns import in_turns

if TYPE_CHECKING:
    from openbook.evaluate.measures.adherence import StyleClassifier
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import LanguageModel, Recipe

LIVE, DEFAULT = "live", "default"
"""Words for a side: the knowledge base as it answers now, and the recipe that a new one would have."""

TOTALS = frozenset({"risk", "risk_coverage_area", "abstention_auroc", "win_rate", "flip_rate"})
OF_PLACES = (
    *ranking.CHUNK_MEASURES,
    *(f"span_{kind}@{k}" for k in ranking.SPAN_CUTS for kind in ("recall", "precision", "iou")),
)
OF_ANSWERS = ("Answers", "Form", "Abstention", "Safety")
"""Groups of measures."""


# --- a side becomes a report ------------------------------------------------------------------------------------------


def measured(
    sides: tuple[str, str],
    dataset: Dataset | None,
    *,
    split: Split | None = None,
    limit: int | None = None,
    cuts: Sequence[int] = (),
    measures: Sequence[str] = (),
    named: Sequence[str] = (),
    as_: Sequence[str] | None = None,
    db: str | None = None,
    kb: str = "default",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Report, Report]:
    """The reports of two sides: ``"live"``, a release (``"r2"``), ``"default"``, a recipe (TOML), a report (JSON) or a
    TREC run.

    Every kind of measure is taken at ``cuts``. ``measures`` are those that will be compared (none: all), ``named``
    others that will be needed; what neither side will have of them is refused before anything is asked. What is not
    said (``split``, ``limit``, ``cuts``, ``as_``) is as a report among the sides was made; so is who judged it, and
    what language model answers for a release. ``db`` and ``kb`` name the user's documents, which answer where the data
    set brings none of its own.

    Raises:
        DatasetError: a file is not what it should be, or no question is left.
        QueryError: a side is nothing of the kind, a run is not as deep as a measure, a measure cannot be had, or an
            option would change nothing.
        RecipeError, NotFound, StoreError, ModelError: a side cannot be opened.
    """
    read_ = [read(side) for side in sides]
    kept = next((one for one in read_ if isinstance(one, Report)), None)
    to_ask = [number for number, one in enumerate(read_) if not isinstance(one, Report | Path)]
    options = {"--split": split, "--limit": limit, "-k": tuple(cuts) or None, "--as": as_}
    if dataset is None:
        a, b = read_
        if isinstance(a, Report) and isinstance(b, Report):
            _refuse(options, "two kept reports are compared as they are")
            return a, b
        raise QueryError("no data set to measure them on", do="openbook compare A B DATA")
    if not to_ask:
        idle = ["--as", "-k"] if all(isinstance(one, Report) for one in read_) else ["--as"]
        _refuse({option: options[option] for option in idle}, "nothing is asked: both sides are measured already")
    known: Mapping[str, Any] = kept.settings if kept else {}
    split = split or (_split(kept) if kept else "all")
    if split not in SPLITS:
        raise QueryError(f"unknown split {split!r}", do="choose dev, test or all")
    limit = known.get("limit") if limit is None else limit
    as_ = _callers(kept, as_)
    needed = [*measures, *named]
    asked = [f"{kind}@{k}" for k in cuts for kind in ranking.KINDS]
    asked += [name for name in needed if _is_of_documents(name)]
    wanted = ranking.names_at(cuts) if cuts else known.get("measures") or ranking.MEASURES
    wanted = tuple(dict.fromkeys([*wanted, *asked]))
    chosen = dataset.select(split, limit)
    reports: dict[int, Report] = {}
    for number, what in enumerate(read_):
        if isinstance(what, Report):
            reports[number] = _of(what, chosen, sides[number], cuts)
        elif isinstance(what, Path):
            reports[number] = of_run(what, chosen, wanted, asked=asked, split=split, limit=limit)
    for number, report in reports.items():
        _require_held(needed, report, sides[number])
    answered = known.get("answered")
    judged = _judged(kept, measures, needed) if kept and to_ask else {}
    if to_ask:
        answers = any(map(has_answer, chosen.questions.values())) if answered is None else answered
        _require_measured(needed, judged, answered=answers or bool(judged), callers=as_)
    of_release = [what is None or isinstance(what, str) for what in read_]
    llm = reachable(known["llm"]) if known.get("llm") and any(of_release) else None
    _tell(say, llm, judged)
    ask: dict[int, Callable[..., Report]] = {}
    with ExitStack() as stack:
        for number in to_ask:
            base = opened(sides[number], read_[number], chosen, db=db, kb=kb, say=say, progress=progress)
            stack.enter_context(base)
            ask[number] = partial(
                evaluate,
                base,
                dataset,
                split=split,
                limit=limit,
                measures=wanted,
                answered=answered,
                llm=llm if of_release[number] else None,
                as_=as_,
                attacks=_attacks(known),
                **judged,
            )
        if len(ask) == 2:
            found = [replace(one, settings={**one.settings, "in_turns": True}) for one in in_turns(ask, progress)]
        else:
            found = [one(progress=progress) for one in ask.values()]
    reports |= dict(zip(ask, found, strict=True))
    return reports[0], reports[1]


def again(
    baseline: Report,
    dataset: Dataset,
    side: str | None = None,
    *,
    watched: Sequence[str] = (),
    judge: Judge | None = None,
    style: StyleClassifier | None = None,
    db: str | None = None,
    kb: str = "default",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """What ``side`` makes now of the questions of a report, asked as it was made. By default it is what ``openbook
    evaluate`` asks: the user's documents as they are live, or a data set's own corpus by the default recipe, answered
    by the language model that answered then, if one was named.

    Where one of the ``watched`` measures (none: all) was taken by a judge or a style, it is taken by them again, or by
    ``judge`` and ``style``.

    Raises:
        QueryError: the report was made of other questions than the data set holds, or does not tell what a measure
            was taken by.
    """
    known = baseline.settings
    measures = known.get("measures") or [name for name in baseline.per_question if _is_of_documents(name)]
    if dataset.select(_split(baseline), known.get("limit")).hash != baseline.data:
        raise QueryError(
            f"the baseline was measured on other questions than {dataset.name} holds now ({baseline.dataset},"
            f" split {baseline.split}, {counted(baseline.questions)})",
            do="make a new baseline: openbook evaluate --out",
        )
    judged = judged_as(baseline, watched, judge=judge, style=style)
    llm = reachable(known["llm"]) if known.get("llm") and side is None else None
    _tell(say, llm, judged)
    side = side or (LIVE if dataset.corpus is None else DEFAULT)
    with opened(side, read(side), dataset, db=db, kb=kb, say=say, progress=progress) as base:
        return evaluate(
            base,
            dataset,
            split=_split(baseline),
            limit=known.get("limit"),
            measures=measures or ranking.MEASURES,
            answered=known.get("answered"),
            llm=llm,
            as_=known.get("as"),
            progress=progress,
            attacks=_attacks(known),
            **judged,
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
    from openbook.evaluate.datasets.trec import read_run

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


def read(side: str) -> Report | Recipe | Path | str | None:
    """A side by its name; ``None`` is the live release, a text another one's name, a path a run."""
    from openbook.recipe import Recipe

    if side == LIVE:
        return None
    if _RELEASE.fullmatch(side) and not os.path.lexists(side):
        return side
    if side == DEFAULT:
        return Recipe()
    path = Path(side)
    if path.suffix.lower() == ".toml":
        return Recipe.load(path)
    try:
        with path.open("rb") as file:
            start = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        do = "name live, a release, default, a recipe (TOML), a report (JSON) or a TREC run"
        raise QueryError(f"cannot be read ({error.strerror})", where=side, do=do) from None
    if start.startswith(b"{"):
        return read_report(path)
    return Recipe.load(path) if _TOML.match(start) else path


_RELEASE = re.compile(r"r[1-9]\d*")
_TOML = re.compile(rb"(?:#[^\n]*\n\s*)*(?:\[\[?[\w.\" -]+\]|[\w.\"-]+[ \t]*=)")
"""How TOML begins, and no run."""


# --- as a report was made ---------------------------------------------------------------------------------------------


def _judged(kept: Report, measures: Sequence[str], needed: Sequence[str]) -> dict[str, Any]:
    """What took the judged measures of a kept report, so that another side can be judged alike. Where that cannot be
    had for some of them they are not compared, which is told; unless one of them is ``needed``."""
    held = {name for name in kept.per_question if not measures or name in needed}
    found: dict[str, Any] = {}
    for part, taken, take in (("judge", JUDGED, _judge), ("style", STYLED, _style)):
        if not held & taken:
            continue
        try:
            found[part] = take(kept, None)
        except (QueryError, DatasetError) as error:
            if not taken.isdisjoint(needed):
                do = f"compare two reports of openbook evaluate --{part} … --out FILE, or name another measure"
                raise QueryError(error.what, where=error.where, do=do) from None
    return found


def judged_as(
    report: Report,
    wanted: Sequence[str] = (),
    *,
    judge: Judge | None = None,
    style: StyleClassifier | None = None,
) -> dict[str, Any]:
    """What took the judged measures of a report, as ``evaluate`` takes it: a ``judge``, a ``style``; neither where none
    of the measures that are ``wanted`` (none: all) needs it. What is given stands in for what the report tells; a judge
    that is given without a budget has that of the report.

    Raises:
        QueryError: the report does not tell it, and it is not given; or what is given is another one, or not needed;
            or the judge's prompts were others.
        DatasetError: the examples of the style cannot be read.
    """
    held = {name for name in report.per_question if not wanted or name in wanted}
    found: dict[str, Any] = {}
    if held & JUDGED:
        found["judge"] = _judge(report, judge)
    elif judge is not None:
        raise QueryError("a judge, and no measure that needs one", where="--judge", do="leave it away")
    if held & STYLED:
        found["style"] = _style(report, style)
    elif style is not None:
        raise QueryError("a style, and no measure that needs one", where="--style", do="leave it away")
    return found


def _judge(report: Report, given: Judge | None) -> Judge:
    told = report.settings.get("judge")
    details = report.details.get("faithfulness")
    used = details.get("judge") if isinstance(details, Mapping) else None
    used = used if isinstance(used, Mapping) else {}
    name = f"{told['kind']}:{told['model']}" if told else used.get("model")
    if used.get("prompts", PROMPTS) != PROMPTS:
        what = f"faithfulness was judged by prompts of version {used['prompts']}, and now they are version {PROMPTS}"
        raise QueryError(what, do="make the former report anew, or say with --measure what else to look at")
    limits = report.settings.get("budget") or {}
    budget = Budget(**{field.name: limits.get(field.name) for field in fields(Budget)})
    if given is not None:
        if name is not None and given.name != name:
            what = f"{name} judged the former answers, and two judges cannot be compared"
            raise QueryError(what, where="--judge", do=f"give {name}, or make the former report anew")
        return given.within(budget) if given.budget == Budget() else given
    if not told:
        what = "faithfulness was judged, and the report does not tell how its judge is reached"
        do = f"give --judge {name or 'PROTOCOL:MODEL'}, or say with --measure what else to look at"
        raise QueryError(what, do=do)
    return Judge(reachable(told), budget=budget)


def _style(report: Report, given: StyleClassifier | None) -> StyleClassifier:
    from openbook.evaluate.measures.adherence import StyleClassifier, read_examples

    told = report.settings.get("style") or {}
    if given is None:
        file = Path(told.get("file") or "")
        if not file.is_file():
            what = "style_adherence was learned from examples that are not here"
            do = "give --style, or say with --measure what else to look at"
            raise QueryError(what, where=told.get("file") or "", do=do)
        given = StyleClassifier.train(read_examples(file), where=str(file))
    if told and given.hash != told["examples"]:
        what = "other examples than those that the former style_adherence was learned from"
        raise QueryError(what, where=given.where, do="give those with --style, or make the former report anew")
    return given


def reachable(told: Mapping[str, Any]) -> LanguageModel:
    """A language model as a report tells it; with the user and password that ``$OPENBOOK_LLM_BASE_URL`` has for the
    same address, because no report keeps them."""
    from openbook.recipe import LanguageModel

    part = LanguageModel.model_validate(told)
    address = os.environ.get("OPENBOOK_LLM_BASE_URL")
    if address and part.base_url == without_login(address):
        return part.model_copy(update={"base_url": address})
    return part


def _tell(say: Callable[[str], None], llm: LanguageModel | None, judged: Mapping[str, Any]) -> None:
    """Who is asked, and perhaps paid, because a report says so."""
    if llm is not None:
        say(f"answered by {llm.kind}:{llm.model}, as the report was")
    if "judge" in judged:
        say(f"judged by {judged['judge'].name}, as the report was")


def _callers(kept: Report | None, as_: Sequence[str] | None) -> Sequence[str] | None:
    known = kept.settings if kept else {}
    if as_ is None:
        return known.get("as")
    if "as" in known and (None if known["as"] is None else sorted({*known["as"]})) != sorted({*as_}):
        said = " and ".join(known["as"]) if known["as"] else "the owner"
        raise QueryError(f"the report was asked as {said}", where="--as", do="leave --as away, or evaluate it again")
    return as_


def _attacks(known: Mapping[str, Any]) -> int:
    """As many planted orders as a report had: with a language model, each is paid for."""
    return MOST_ATTACKS if known.get("attacks") is None else int(known["attacks"])


def _split(report: Report) -> Split:
    return report.split  # type: ignore[return-value]  # ``select`` refuses what is none


# --- refused before anything is asked ---------------------------------------------------------------------------------


def _refuse(options: Mapping[str, object], why: str) -> None:
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise QueryError(why, where=" ".join(given), do=f"leave {' and '.join(given)} away")


def _of(report: Report, chosen: Dataset, side: str, cuts: Sequence[int]) -> Report:
    if report.data != chosen.hash:
        what = f"was measured on other questions than these of {chosen.name} ({report.dataset}, split {report.split})"
        raise QueryError(what, where=side, do="evaluate it again, or name its data set, split and limit")
    for k in cuts:
        if not any(_is_of_documents(name) and ranking.cut(name) == k for name in report.per_question):
            do = f"leave -k {k} away, or evaluate it again with it"
            raise QueryError(f"has no measure at {k}", where=side, do=do)
    return report


def _require_held(needed: Sequence[str], report: Report, side: str) -> None:
    for name in needed:
        if name not in report.per_question:
            has = ", ".join(report.per_question)
            raise QueryError(f"has no measure {name!r}", where=side, do=f"choose one of {has}")


def _require_measured(
    needed: Sequence[str], judged: Mapping[str, Any], *, answered: bool, callers: Sequence[str] | None
) -> None:
    """Raises: QueryError: one of these measures will not be in a report of questions that are asked so."""
    for name in needed:
        if _is_of_documents(name):
            try:
                ranking.cut(name)
            except DatasetError as error:
                raise QueryError(error.what, do=error.do) from None
            continue
        group = next(iter(grouped([name])))
        if definition(name) is None or (group == "Chunks and spans" and name not in OF_PLACES):
            like = difflib.get_close_matches(name, [*DEFINITIONS, *OF_PLACES], n=1)
            do = f"was {like[0]} meant?" if like else "openbook evaluate shows those that there are"
            raise QueryError(f"unknown measure {name!r}", do=do)
        why = ""
        if name in TOTALS:
            why = "is no mean over questions: it can be told, and not tested"
        elif name in JUDGED and "judge" not in judged:
            why = "comes from a judge: openbook evaluate --judge … --out FILE makes reports that can be compared"
        elif name in STYLED and "style" not in judged:
            why = "comes from a style: openbook evaluate --style … --out FILE makes reports that can be compared"
        elif name == "access_leak_rate" and callers is None:
            why = "is measured in a caller's name: give --as"
        elif group in OF_ANSWERS and not answered:
            why = "is measured on answers, and the data set holds none"
        if why:
            raise QueryError(f"{name} {why}", do="or name another measure")


def _is_of_documents(measure: str) -> bool:
    return measure.partition("@")[0] in ranking.KINDS


# --- opening ----------------------------------------------------------------------------------------------------------


def opened(
    side: str,
    recipe: Report | Recipe | Path | str | None,
    dataset: Dataset,
    *,
    db: str | None,
    kb: str,
    say: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> KnowledgeBase:
    """A knowledge base that answers by ``recipe`` (``None``: by the live one; a release's name: by that); close it.

    A data set's own corpus is indexed apart and kept. Of the user's documents, the index that is there serves where it
    reads documents as the recipe does; else a copy of them is indexed by it.
    """
    from openbook.knowledge_base import open as open_

    if isinstance(recipe, Report | Path):
        what = "is a report" if isinstance(recipe, Report) else "is no recipe"
        raise QueryError(f"{what}, which cannot be asked", where=side, do="name live, default or a recipe (TOML)")
    if dataset.corpus is not None:
        if recipe is None or isinstance(recipe, str):
            with open_(db, kb, release=recipe, create=False, say=say) as base:
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
    if recipe is None or isinstance(recipe, str):
        return open_(db, kb, release=recipe, create=False, say=say)
    base = open_(db, kb, create=False, say=say)
    try:
        if recipe.index == base.recipe.index:
            base.answer_by(recipe.query)
            return base
        copy = open_copy(base, recipe, say=say, progress=progress)
    except BaseException:
        base.close()
        raise
    base.close()
    return copy
