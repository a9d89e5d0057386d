"""The verdict as a page to read: one file that asks for nothing from outside, as every report's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.evaluate.comparison import Row
from openbook.evaluate.pages import plots
from openbook.evaluate.pages.definitions import grouped
from openbook.evaluate.pages.html import asked_of, compared_row, definitions_of, figure, page, sign_of
from openbook.evaluate.pages.plots import Interval
from openbook.finetune.data.rows import Rows
from openbook.finetune.rails import Told
from openbook.finetune.replay import Traded
from openbook.finetune.verdict import Judged, Trial

MOST_DROPPED = 100
"""Rows that were not trained on which the page lists, by their reasons; trained.json has all."""

LONGEST = 12
"""Characters of a candidate's name in a figure, where what follows it counts more."""


@dataclass(frozen=True, slots=True)
class Training:
    """What the page tells of how a candidate came about. ``trained``: what training wrote of each seed
    (``trained.json``); ``settings``: the file from which it can be repeated; ``trade``: what lies between it and its
    base."""

    trained: Sequence[Mapping[str, Any]] = ()
    settings: str = ""
    trade: Sequence[Traded] = ()


def trial_page(
    trial: Trial,
    trainings: Mapping[str, Training] | None = None,
    *,
    rows: Rows | None = None,
    seen: Mapping[str, str] | None = None,
    told: Sequence[Told] = (),
) -> str:
    """A trial as one HTML file: the verdict and why, every candidate, what it gained where and what it forgot, how
    training went, what was trained on, and the settings that repeat it. ``told`` is what the rails say."""
    trainings = trainings or {}
    measure = trial.primary
    title = f"Gains in {measure} with 95 % intervals"
    rows_of = [pair for one in trial.candidates for pair in _gains(one)]
    lines = [Interval(name, row.gain, *row.interval) for name, row in rows_of]
    forest = plots.forest(
        lines, [sign_of(row) for _, row in rows_of], id="gains", title=title, across="tuned minus base"
    )
    return page(
        "trial.html.jinja",
        folder=Path(__file__).parent,
        title=f"{trial.base.dataset}: {trial.verdict}",
        trial=trial,
        tone={"ship": "ship", "don't ship": "stop"}.get(trial.verdict, "unclear"),
        mark={"ship": "\u2713", "don't ship": "\u2715"}.get(trial.verdict, "?"),
        facts=[("Measure", measure), *asked_of(trial.base)],
        candidates=[_candidate(one) for one in trial.candidates],
        gains=figure(
            title,
            forest,
            "Each candidate on all questions, on those whose evidence was trained on, on the"
            " others, and on general sets.",
        ),
        trainings=[
            {"name": one.name, **_training(one.name, number, trainings[one.name])}
            for number, one in enumerate(trial.candidates)
            if one.name in trainings
        ],
        data=list(_data(rows, seen, len(trial.base.questions))) if rows is not None else [],
        told=told,
        definitions=definitions_of(grouped(list(trial.candidates[0].rows))),
    )


def _gains(one: Judged) -> Iterator[tuple[str, Row]]:
    parts = (("all", one.primary), ("trained on", one.seen), ("not trained on", one.unseen), ("general", one.forgotten))
    for name, row in parts:
        if row is not None:
            yield f"{one.name if len(one.name) <= LONGEST else one.name[: LONGEST - 1] + '…'}: {name}", row


def _candidate(one: Judged) -> dict[str, Any]:
    parts = (
        ("All test questions", one.primary),
        ("Evidence was trained on", one.seen),
        ("Evidence was not trained on", one.unseen),
        ("Own answers over those of other questions", one.own),
    )
    general = [{**compared_row(row), "name": name} for name, row in one.general.items()]
    if one.forgotten is not None and len(general) > 1:
        general.append({**compared_row(one.forgotten), "name": f"mean of {len(general)} sets"})
    return {
        "name": one.name,
        "verdict": one.verdict,
        "reasons": one.reasons,
        "notes": one.notes,
        "seeds": one.primary.paired.runs,
        "primary": compared_row(one.primary),
        "unseen": None if one.unseen is None else compared_row(one.unseen),
        "forgotten": None if one.forgotten is None else compared_row(one.forgotten),
        "parts": [{**compared_row(row), "name": name} for name, row in parts if row is not None],
        "general": general,
        "others": [compared_row(row) for row in list(one.rows.values())[1:]],
    }


def _training(name: str, number: int, training: Training) -> dict[str, Any]:
    """The curves of all seeds, and what training wrote."""
    figures = []
    curves = {f"seed {told.get('seed', at)}": told for at, told in enumerate(training.trained)}
    for key, of, across, up in (("loss", "loss", "step", "loss"), ("dev", "ndcg@10", "step", "nDCG@10, dev questions")):
        lines = {seed: _points(told.get(key), of) for seed, told in curves.items()}
        lines = {seed: points for seed, points in lines.items() if points}
        if not lines:
            continue
        title = f"{name}: {'loss' if key == 'loss' else 'dev questions while it was trained'}"
        best = {seed: float(curves[seed]["best"]) for seed in lines if key == "dev" and "best" in curves[seed]}
        base = next((points[0][1] for points in lines.values() if points[0][0] == 0), None)
        level = ("base", base) if key == "dev" and base is not None else None
        drawn = plots.curves(lines, id=f"{key}-{number}", title=title, across=across, up=up, level=level, mark=best)
        figures.append(figure(title, drawn, "The mark is the step that was kept." if best else ""))
    if len(training.trade) > 1:
        title = f"{name}: what is gained and what is forgotten"
        base_ = training.trade[0]
        lines = {
            "dev": [(one.share, one.dev - base_.dev) for one in training.trade],
            "general": [(one.share, one.general - base_.general) for one in training.trade],
        }
        drawn = plots.curves(
            lines,
            id=f"trade-{number}",
            title=title,
            across="share of the way from the base",
            up="change",
            level=("base", 0.0),
        )
        figures.append(figure(title, drawn, "Between the base (0) and what was trained (1), weight by weight."))
    return {
        "figures": figures,
        "facts": [_facts(told, seed) for seed, told in curves.items()],
        "settings": training.settings,
    }


def _points(told: Any, key: str) -> list[tuple[float, float]]:
    """(step, value) of a curve, as trained.json has it."""
    return [(float(one["step"]), float(one[key])) for one in told or () if one.get(key) is not None]


def _facts(told: Mapping[str, Any], seed: str) -> list[tuple[str, str]]:
    rows = told.get("rows", {})
    dropped = Counter(one["reason"] for one in rows.get("dropped", ())).most_common(MOST_DROPPED)
    why = "; ".join(f"{count} {reason}" for reason, count in dropped)
    facts = [
        ("Seed", seed.removeprefix("seed ")),
        ("Base", f"{told.get('base', '')} {told.get('base_hash', '')}".strip()),
        ("Hash", str(told.get("hash", ""))),
        ("Rows", f"{rows['used']:,}" if "used" in rows else ""),
        ("Dropped", why),
        ("Weight of its score", f"{told['weight']:g}" if told.get("weight") is not None else ""),
        ("Seconds", f"{told['seconds']:,.0f}" if "seconds" in told else ""),
        ("Largest change of a weight", f"{told['moved']:.4f}" if "moved" in told else ""),
        ("Served as trained, to", f"{told['parity']:.1e}" if told.get("parity") is not None else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _data(rows: Rows, seen: Mapping[str, str] | None, tested: int) -> Iterator[tuple[str, str]]:
    """What was trained on, and what the test set shares with it."""
    if rows.scored:
        yield "Scored pairs", f"{len(rows.scored):,}"
    else:
        negatives = [passage for example in rows.examples for passage in example.negatives]
        yield "Queries", f"{len(rows.examples):,}"
        yield "Positives", f"{sum(len(example.positives) for example in rows.examples):,}"
        by = ", ".join(
            f"{name} {count:,}" for name, count in Counter(one.by or "file" for one in negatives).most_common()
        )
        yield "Negatives", f"{len(negatives):,} ({by})" if negatives else "none"
        kinds = Counter(example.kind or "file" for example in rows.examples).most_common()
        yield "Kinds", ", ".join(f"{kind} {count:,}" for kind, count in kinds)
    yield "Documents", f"{len(rows.documents):,}"
    if seen is not None:
        kinds = Counter(seen.values()).most_common()
        what = ", ".join(f"{kind} {count:,}" for kind, count in kinds) or "nothing"
        yield f"Shared with {tested:,} test questions", what
