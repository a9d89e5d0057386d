"""Reports and comparisons as pages to read: one file that asks for nothing from outside, on a phone as on paper.

Everything that comes from questions, documents and answers is text that others wrote. It is escaped wherever it is
shown, no address in it becomes a link, and the page forbids every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from openbook.errors import QueryError
from openbook.evaluate.comparison import PRIMARY, SMALLEST_SLICE, TOLD, Comparison, Row, Side, meaning, slices_of
from openbook.evaluate.pages import plots
from openbook.evaluate.pages.definitions import definition, grouped
from openbook.evaluate.pages.plots import Interval
from openbook.evaluate.report import Measure, Report, direction, mean
from openbook.evaluate.significance import ALPHA

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MOST_QUESTIONS = 500
"""Questions that a report lists, the worst ones; its JSON has all."""

MOST_CHANGES = 100
"""Losses, and wins, that a comparison lists; its JSON has all."""

LONGEST_ANSWER = 1200
"""Characters of an answer that a page shows; the trace has all."""

MOST_SLICES = 12
"""Values of one field that get a line of their own, the most frequent ones: a field of ids is no slice."""

_SLICED = (*PRIMARY, "citation_precision", "recall@100", "coverage")
"""Columns of the slices' tables besides the deciding measure: the first of these that are there, four in all."""

MOST_LOST = 100
"""Questions that failed, or found nothing, that a report lists; its JSON has all."""

# --- pages ------------------------------------------------------------------------------------------------------------


def report_page(report: Report) -> str:
    """A report as one HTML file: measures, how they spread, time, money, slices, and every question, worst first."""
    primary = _primary(report)
    [report] = _without_paths(report)
    groups = grouped(report.measures)
    shares = [name for names in groups.values() for name in names if _is_share(name)]
    operations = report.details.get("operations", {})
    figures = []
    if shares:
        rows = [_interval(name, report.measures[name]) for name in shares]
        title = "Measures with 95 % intervals"
        figures.append(figure(title, plots.dots(rows, id="measures", title=title)))
    spread = report.per_question.get(primary or "", {})
    if primary and _is_share(primary) and len(spread) > 1:
        title = f"How the questions spread: {primary}"
        figures.append(figure(title, plots.histogram(list(spread.values()), id="spread", title=title, measure=primary)))
    if points := report.details.get("coverage_risk"):
        title = "Risk against coverage"
        note = "Answering only the questions that the pipeline is surest of: the lower the line, the better it knows."
        chosen = report.details.get("threshold", {}).get("value")
        if chosen is not None:
            note += f" The dev questions suggest a threshold of {chosen:.3f}; what was measured is the recipe's own."
        figures.append(figure(title, plots.coverage_risk(points, id="risk", title=title), note))
    stages = operations.get("latency", {}).get("stages", {})
    if stages:
        title = "Time by stage"
        middle = {
            name: {quantile: found[quantile]["value"] for quantile in ("p50", "p95")} for name, found in stages.items()
        }
        note = "Stages may run side by side, so they need not add up to the total."
        figures.append(figure(title, plots.latencies(middle, id="time", title=title), note))
    return page(
        "report.html.jinja",
        title=f"{report.dataset}: evaluation",
        report=report,
        facts=[*asked_of(report), *facts_of(report)],
        primary=primary,
        cards=_cards(report, primary),
        groups={
            group: [_measure_row(name, report.measures[name]) for name in names] for group, names in groups.items()
        },
        figures=figures,
        time=_time(report, operations),
        money=operations.get("money"),
        tokens=operations.get("tokens"),
        size=_size(operations.get("size")),
        slices=_slices(report, primary),
        questions=_questions(report, primary),
        of_questions=len(report.questions),
        most_lost=MOST_LOST,
        dollars=lambda amount: shown("cost", amount),
        definitions=definitions_of(groups),
    )


def comparison_page(comparison: Comparison) -> str:
    """A comparison as one HTML file: the verdict and why, every measure, what flipped, wins and losses, and traces."""
    sides = (comparison.a, comparison.b)
    names = _shortest(side.name for side in sides)
    reports = _without_paths(*(side.report for side in sides))
    a, b = (Side(names[side.name], report) for side, report in zip(sides, reports, strict=True))
    comparison = replace(comparison, a=a, b=b)
    primary = comparison.primary
    rows = list(comparison.rows.values())
    shares = [row for row in rows if _is_share(row.measure)]
    figures = []
    if shares:
        title = "Differences with 95 % intervals"
        lines = [Interval(row.measure, row.paired.difference, row.paired.low, row.paired.high) for row in shares]
        figures.append(figure(title, plots.forest(lines, [sign_of(row) for row in shares], id="forest", title=title)))
    before, after = (side.report.per_question[primary.measure] for side in (a, b))
    if _is_share(primary.measure):
        title = f"Question by question: {primary.measure}"
        drawn = plots.scatter(
            list(before.values()),
            [after[question] for question in before],
            id="pairs",
            title=title,
            measure=primary.measure,
        )
        note = "Above the line B does better, below it A. Larger marks are several questions."
        figures.append(figure(title, drawn, note))
    if comparison.slices:
        title = f"Slices, worst first: {primary.measure}"
        worst = comparison.slices[:MOST_SLICES]
        lines = [
            Interval(f"{s.field}: {s.value}", s.row.paired.difference, s.row.paired.low, s.row.paired.high)
            for s in worst
        ]
        figures.append(figure(title, plots.forest(lines, [sign_of(s.row) for s in worst], id="slices", title=title)))
    read = comparison.as_json()
    return page(
        "comparison.html.jinja",
        title=f"{a.report.dataset}: {comparison.verdict}",
        comparison=comparison,
        primary=primary.measure,
        meaning=meaning(primary.measure),
        flips=read["flips"],
        sides=[{"letter": letter, "name": side.name, "facts": facts_of(side.report)} for letter, side in _AB(a, b)],
        facts=asked_of(a.report),
        n=f"{primary.paired.n:,}",
        groups={
            "Decides": [compared_row(primary)],
            **{
                group: [
                    compared_row(comparison.rows[name])
                    if name in comparison.rows
                    else _untested_row(name, *comparison.totals[name])
                    for name in names
                ]
                for group, names in grouped([*list(comparison.rows)[1:], *comparison.totals]).items()
            },
        },
        figures=figures,
        slices=[
            {"field": s.field, "value": s.value, "lost": s.lost, "won": s.won, **compared_row(s.row)}
            for s in comparison.slices
        ],
        changes=[
            {
                "title": title,
                "id": title.lower(),
                "of": len(questions),
                "shown": [_change(comparison, question) for question in questions[:MOST_CHANGES]],
            }
            for title, questions in (("Losses", comparison.losses), ("Wins", comparison.wins))
        ],
        definitions=definitions_of(grouped([*comparison.rows, *comparison.totals])),
    )


def write(path: Path, page: str) -> None:
    """Write a page whole or not at all: whoever has the former one open never sees half of this one.

    Raises:
        QueryError: the file cannot be written there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            beside.write_text(page, encoding="utf-8", errors="replace")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        do = "name a file in a folder that is there and that you may write to"
        raise QueryError(f"cannot be written ({error.strerror})", where=str(path), do=do) from None


# --- what a page need not tell ----------------------------------------------------------------------------------------


def _without_paths(*reports: Report) -> list[Report]:
    """The reports with names of files and folders in the place of paths: a page is passed on, and where its maker keeps
    things is nobody's business."""
    sources = {source for report in reports for asked in report.questions.values() for source in asked.found}
    names = _shortest(sources)
    found = []
    for report in reports:
        db = report.db if report.db is None or "://" in report.db else PurePath(report.db).name
        paths = {path: name for path, name in {**names, report.db or "": db or ""}.items() if path != name}
        questions = {
            id: replace(one, found=[names[source] for source in one.found], error=_renamed(one.error, paths))
            for id, one in report.questions.items()
        }
        found.append(replace(report, db=db, questions=questions))
    return found


def _renamed(text: str | None, names: Mapping[str, str]) -> str | None:
    for path in sorted(names, key=len, reverse=True) if text else ():
        text = str(text).replace(path, names[path])
    return text


def _shortest(names: Iterable[str]) -> dict[str, str]:
    """Each name; of an absolute path or a file's address the last part, with as many before as tell it from others.

    >>> _shortest(["file:///srv/it/vpn%20key.md", "/home/ann/rrf.toml", "live"]).values()
    dict_values(['vpn key.md', 'rrf.toml', 'live'])
    >>> _shortest(["/a/it/README.md", "/a/hr/README.md"]).values()
    dict_values(['it/README.md', 'hr/README.md'])
    """
    parts = {}
    for name in names:
        path = unquote(name.removeprefix("file://")) if name.startswith("file:///") else name
        parts[name] = path.strip("/").split("/") if path.startswith("/") and path.strip("/") else [name]
    taken = Counter(tuple(of[-n:]) for of in parts.values() for n in range(1, len(of) + 1))
    return {
        name: "/".join(next((of[-n:] for n in range(1, len(of)) if taken[tuple(of[-n:])] == 1), of))
        for name, of in parts.items()
    }


# --- the parts of a report --------------------------------------------------------------------------------------------


def _primary(report: Report) -> str | None:
    """The measure that the questions are sorted by."""
    usual = [name for name in PRIMARY if report.per_question.get(name)]
    others = [name for name, values in report.per_question.items() if values and not name.startswith(TOLD)]
    return next(iter([*usual, *others]), None)


def facts_of(report: Report) -> list[tuple[str, str]]:
    """Which pipeline it was, and when."""
    facts = [
        ("Release", report.release),
        ("Recipe", report.recipe),
        ("Measured", report.created.replace("T", " ").replace("+00:00", " UTC")),
        ("Database", report.db or ""),
    ]
    return [(name, value) for name, value in facts if value]


def asked_of(report: Report) -> list[tuple[str, str]]:
    """Which questions they were."""
    return [("Questions", f"{len(report.questions):,}"), ("Split", report.split), ("Data hash", report.data)]


def _cards(report: Report, primary: str | None) -> list[dict[str, str]]:
    """What a reader wants to know first."""
    cards = []
    for name in dict.fromkeys([primary, "f1", "abstention_auroc"]):
        if name is not None and (measure := report.measures.get(name)):
            note = f"95 %: {span(name, measure.low, measure.high)}"
            cards.append({"name": name, "value": shown(name, measure.value), "note": note})
    total = report.details.get("operations", {}).get("latency", {}).get("stages", {}).get("total")
    if total:
        cards.append(
            {"name": "time, p50", "value": _ms(total["p50"]["value"]), "note": f"p95 {_ms(total['p95']['value'])}"}
        )
    elif report.ms:
        cards.append({"name": "time, p50", "value": _ms(report.ms["p50"]), "note": f"p95 {_ms(report.ms['p95'])}"})
    money = report.details.get("operations", {}).get("money")
    if money and money["model"]:
        each = money["per_question"]
        value = "price unknown" if each is None else shown("cost", each)
        cards.append({"name": "a question costs", "value": value, "note": money["model"]})
    lost = len(report.failed) + len(report.unanswered)
    note = f"{len(report.failed)} failed, {len(report.unanswered)} found nothing"
    cards.append({"name": "lost", "value": f"{lost:,}", "note": note if lost else "every question came through"})
    return cards


def _measure_row(name: str, measure: Measure) -> dict[str, Any]:
    return {
        "name": name,
        "value": shown(name, measure.value),
        "interval": span(name, measure.low, measure.high),
        "n": f"{measure.n:,}",
        "less": direction(name) < 0,
    }


def _time(report: Report, operations: Mapping[str, Any]) -> dict[str, Any]:
    latency = operations.get("latency")
    if not latency or not latency["stages"]:
        rows = [{"stage": "total", "cells": [_ms(report.ms[q]) for q in ("p50", "p95", "p99")]}] if report.ms else []
        return {"rows": rows, "n": None, "first": None, "failed": 0, "cold": None, "freshness": None}
    rows = [
        {"stage": stage, "cells": [_with_interval(found[quantile]) for quantile in ("p50", "p95", "p99")]}
        for stage, found in latency["stages"].items()
    ]
    first = latency["first"]
    return {
        "rows": rows,
        "n": latency["n"],
        "first": _ms(first["total"]) if first else None,
        "failed": latency["failed"]["n"],
        "cold": _cold(operations.get("cold")),
        "freshness": _freshness(operations.get("freshness")),
    }


def _with_interval(found: Mapping[str, float | None]) -> str:
    value, low, high = (found[key] for key in ("value", "low", "high"))
    assert value is not None
    ends = f"{'…' if low is None else f'{low:,.1f}'} to {'…' if high is None else f'{high:,.1f}'}"
    return f"{value:,.1f} ({ends})"


def _cold(cold: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if not cold:
        return []
    if "error" in cold:
        return [("Cold start could not be measured", cold["error"])]
    return [
        (f"A new process, from its start to the end of its first {cold['verb']}", _ms(cold["process"]["median"])),
        ("Opening the knowledge base anew in a process that runs", _ms(cold["open"])),
        ("Its first question", _ms(cold["first"])),
        ("Its second question", _ms(cold["second"])),
    ]


def _freshness(freshness: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if not freshness:
        return []
    if "error" in freshness:
        return [("Freshness could not be measured", freshness["error"])]
    lines = [
        ("From an acknowledged edit to a search that finds it, same process", freshness["same_process"]),
        ("The same, from another process", freshness["other_process"]),
        ("From a removal to a search that finds nothing", freshness["removal"]),
    ]
    return [
        *(
            (name, "not seen in time" if found["median"] is None else f"{_ms(found['median'])}, {_searches(found)}")
            for name, found in lines
        ),
        ("A search there without an edit takes", _ms(freshness["search"]["median"])),
    ]


def _searches(found: Mapping[str, Any]) -> str:
    return "by the first search" if found["searches"] == 1 else f"after at most {found['searches']} searches"


def _size(size: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if not size:
        return []
    index = size["index"]
    lines = [
        ("Index in all", _bytes(index["total"])),
        ("Chunks with their vectors", _bytes(index["rows"])),
        ("Vector index (HNSW)", _bytes(index["hnsw"])),
        ("Other indexes", _bytes(index["btrees"])),
        ("Keyword index", _bytes(index["keyword"])),
        ("Texts it was made from", f"{_bytes(size['texts'])}, {size['documents']:,} documents"),
    ]
    if size["per_chunk"] is not None:
        lines.append(("For each chunk", f"{_bytes(size['per_chunk'])}, {size['chunks']:,} chunks"))
    if size["per_character"] is not None:
        lines.append(("For each character of text", f"{size['per_character']:.1f} bytes"))
    return lines


def _slices(report: Report, primary: str | None) -> list[dict[str, Any]]:
    """For each field a table: its values, how many questions have them, and the means of some measures."""
    if primary is None:
        return []
    names = [name for name in dict.fromkeys([primary, *_SLICED]) if report.per_question.get(name)][:4]
    fields: dict[str, dict[str, list[str]]] = {}
    for id, asked in report.questions.items():
        for field, value in slices_of(asked).items():
            fields.setdefault(field, {}).setdefault(value, []).append(id)
    tables = []
    for field, values in fields.items():
        # Below that a mean says nothing, and its bootstrap interval says it with too much confidence.
        common = {value: ids for value, ids in values.items() if len(ids) >= SMALLEST_SLICE}
        if len(values) < 2 or not common:
            continue
        rows = [
            {"value": value, "n": f"{len(ids):,}", "cells": [_slice_mean(report, name, ids) for name in names]}
            for value, ids in sorted(common.items(), key=lambda item: (-len(item[1]), item[0]))[:MOST_SLICES]
        ]
        tables.append({"field": field, "rows": rows, "names": names, "more": len(values) - len(rows)})
    return tables


def _slice_mean(report: Report, name: str, ids: Sequence[str]) -> str:
    values = [report.per_question[name][id] for id in ids if id in report.per_question[name]]
    if not values:
        return "–"
    found = mean(values)
    return f"{shown(name, found.value)} ({span(name, found.low, found.high)})"


def _questions(report: Report, primary: str | None) -> list[dict[str, Any]]:
    """The questions, worst first; those that the primary measure does not apply to come last."""
    values = report.per_question.get(primary, {}) if primary else {}
    sign = direction(primary) if primary else 1
    order = sorted(report.questions, key=lambda id: (id not in values, sign * values.get(id, 0.0)))
    side = Side("", report)
    found = []
    for id in order[:MOST_QUESTIONS]:
        asked = report.questions[id]
        found.append(
            {
                "id": id,
                "text": asked.text,
                "value": shown(str(primary), values[id]) if id in values else "–",
                "measures": [
                    (name, shown(name, of[id]))
                    for name, of in report.per_question.items()
                    if id in of and name != primary
                ],
                "slices": [(field, value) for field, value in asked.slices.items()],
                "show": side.show(id),
                **_outcome(asked.found, asked.answer, asked.abstained, asked.error),
            }
        )
    return found


def _outcome(found: Sequence[str], answer: str | None, abstained: bool, error: str | None) -> dict[str, Any]:
    return {"found": list(found), "answer": _cut(answer), "abstained": abstained, "error": error}


# --- the parts of a comparison ----------------------------------------------------------------------------------------


def _AB(a: Side, b: Side) -> tuple[tuple[str, Side], tuple[str, Side]]:
    return ("A", a), ("B", b)


def sign_of(row: Row) -> int:
    """1: better for certain, -1: worse for certain, 0: neither."""
    return -1 if row.is_worse else int(row.gain > 0 and row.p_holm <= ALPHA)


def compared_row(row: Row) -> dict[str, Any]:
    name, found = row.measure, row.paired
    nothing = found.a == found.b == 0
    return {
        "name": name,
        "role": row.role,
        "less": direction(name) < 0,
        "a": shown(name, found.a),
        "b": shown(name, found.b),
        "difference": shown(name, found.difference, signed=True),
        "interval": span(name, found.low, found.high, signed=True),
        "p": _p(found.p),
        "p_holm": _p(row.p_holm),
        "detectable": "–"
        if found.detectable is None or (nothing and not _is_share(name))
        else shown(name, found.detectable),
        "effect": "–" if found.effect is None else f"{found.effect:+.2f}",
        "n": f"{found.n:,}",
        "sign": sign_of(row),
    }


def _untested_row(name: str, a: float, b: float) -> dict[str, Any]:
    difference = shown(name, b - a, signed=True)
    less = direction(name) < 0
    return {
        "name": name,
        "role": None,
        "less": less,
        "a": shown(name, a),
        "b": shown(name, b),
        "difference": difference,
    }


def _change(comparison: Comparison, question: str) -> dict[str, Any]:
    measure = comparison.primary.measure
    sides = []
    for letter, side in _AB(comparison.a, comparison.b):
        made = side.of(question, side.report.per_question[measure][question])
        outcome = _outcome(made["found"], made["answer"], made["abstained"], made["error"])
        sides.append({"letter": letter, "value": shown(measure, made["value"]), "show": made["show"], **outcome})
    before, after = (side.report.per_question[measure][question] for side in (comparison.a, comparison.b))
    return {
        "id": question,
        "text": comparison.a.report.questions[question].text,
        "difference": shown(measure, after - before, signed=True),
        "sides": sides,
    }


# --- figures in words -------------------------------------------------------------------------------------------------


def shown(measure: str, value: float, *, signed: bool = False) -> str:
    """A value as people read it, in the measure's own unit.

    >>> shown("ndcg@10", 0.71234), shown("tokens_input", -1234.0, signed=True), shown("cost", 0.00012345)
    ('0.712', '-1,234', '$0.000123')
    """
    sign = ("-" if value < 0 else "+") if signed or value < 0 else ""
    size = abs(value)
    if measure.startswith("ms"):
        text = f"{size:,.{0 if size >= 100 else 1}f}{_UNIT}"
    elif measure.startswith("cost"):
        text = f"${_plain(size)}"
    elif measure.startswith("tokens"):
        text = f"{size:,.0f}"
    else:
        text = f"{size:.3f}"
    return sign + text if re.search("[1-9]", text) else text


def span(measure: str, low: float, high: float, *, signed: bool = False) -> str:
    """An interval, its unit said once.

    >>> span("ms_total", 7.5, 1234.5).split()
    ['7.5', 'to', '1,234', 'ms']
    """
    ends = [shown(measure, end, signed=signed) for end in (low, high)]
    return f"{ends[0].removesuffix(_UNIT)} to {ends[1]}"


_UNIT = "\N{NO-BREAK SPACE}ms"


def _plain(dollars: float) -> str:
    """Three significant digits, never in powers of ten."""
    if dollars == 0 or dollars >= 1:
        return f"{dollars:,.2f}"
    return f"{Decimal(f'{dollars:.3g}'):f}"


def _ms(value: float) -> str:
    return shown("ms", value)


def _bytes(number: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,.0f} bytes"


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST_ANSWER else text[:LONGEST_ANSWER] + " …"


def _is_share(measure: str) -> bool:
    """Whether its values lie in [0, 1]."""
    return not measure.startswith(("ms", "cost", "tokens"))


def _interval(name: str, measure: Measure) -> Interval:
    return Interval(name, measure.value, measure.low, measure.high)


def definitions_of(groups: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(name, said) for names in groups.values() for name in names if (said := definition(name))]


# --- the page ---------------------------------------------------------------------------------------------------------


def figure(caption: str, svg: str, note: str = "") -> dict[str, Any]:
    from markupsafe import Markup

    return {"caption": caption, "svg": Markup(svg), "note": note}  # matplotlib has escaped the texts in it


def page(template: str, *, folder: Path | None = None, **values: Any) -> str:
    """A page of this ``template``, which lies here or in a ``folder`` of another room."""
    from markupsafe import Markup

    from openbook import __version__

    environment = _environment(folder)
    source = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    written = environment.get_template(template).render(
        script=Markup(source), script_hash=digest, style=Markup(style), version=__version__, **values
    )
    # What no HTML may hold: control characters, and halves of surrogate pairs.
    return re.sub("[\0-\b\v\f\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", written)


@cache
def _environment(folder: Path | None) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([*([folder] if folder else ()), Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(name: str) -> Markup:
    """A measure's name, which may go on in the next line after each of its words."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=_)|(?=@)", name))
