"""Reports, comparisons and checks as a terminal shows them; ``html.py`` shows them as pages."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from openbook.evaluate.comparison import Comparison, Role, Row, Side, is_ranking, meaning, shown_p
from openbook.evaluate.gate import Check
from openbook.evaluate.pages.definitions import grouped
from openbook.evaluate.report import Report, counted, direction, some

SHOWN = 5
"""Slices, losses and wins; the JSON has all."""

LESS = "less is better"


def report(of: Report) -> str:
    """The measures with their intervals, group by group; what took how long; and last what failed."""
    lines = [
        f"{of.dataset}, split {of.split}, {counted(of.questions)}"
        + (f", release {of.release} (recipe {of.recipe})" if of.release else ""),
        "",
        f"{'measure':<30} {'value':>8}   95 % interval          n",
    ]
    for group, names in grouped(of.measures).items():
        lines.append(group)
        for name in names:
            measure = of.measures[name]
            digits = 1 if abs(measure.high) >= 100 else 4
            interval = f"{measure.low:.{digits}f} to {measure.high:.{digits}f}"
            less = f"   {LESS}" if direction(name) < 0 else ""
            lines.append(f"  {name:<28} {measure.value:>8.{digits}f}   {interval:<20} {measure.n:>4}{less}")
    if of.ms:
        lines += ["", f"ms ({LESS})  " + ", ".join(f"{name} {value:.1f}" for name, value in of.ms.items())]
    threshold = of.details.get("threshold") or {}
    if threshold.get("value") is not None:
        at = f"query.generate.threshold = {threshold['value']:.3f}"
        lines.append(f"the dev questions suggest {at}; what was measured is the recipe's own")
    lines += of.doubts()
    for found in (of.details.get("evidence") or {}).get("reasons", {}).values():
        lines.append(f"  such as, of {found['question']}: {found['why']}")
    for what, questions in (("failed, and count 0", of.failed), ("found nothing, and count 0", of.unanswered)):
        if questions:
            lines.append(f"{what}: {counted(questions)}: {some(questions)}")
            why = of.errors() if questions is of.failed else []
            lines += [f"  {len(ids)} × {_cut(error, 300)} (such as {ids[0]})" for error, ids in why]
    return "\n".join(lines)


def comparison(of: Comparison) -> str:
    """The measures, what flipped, where it is worst, examples, and last the verdict with its reasons."""
    report, measure = of.a.report, of.primary.measure
    lines = [f"{report.dataset}, split {report.split}, {counted(report.questions)}"]
    lines += [f"  {letter}  {_described(side)}" for letter, side in (("A", of.a), ("B", of.b))]
    lines += ["", *table(of.rows)]
    lines += [
        f"  {name:<22} {a:>9.4f} {b:>9.4f} {b - a:>+10.4f}   (not tested{f'; {LESS}' if direction(name) < 0 else ''})"
        for name, (a, b) in of.totals.items()
    ]
    lines += [_latency(of.a, of.b)] if of.a.report.ms and of.b.report.ms else []
    lines += [
        "",
        f"{len(of.negative)} were right and are wrong, {len(of.positive)} were wrong and are right"
        f" (right: {meaning(measure)})",
    ]
    if any(one.row.paired.higher or one.row.paired.lower for one in of.slices):
        lines += ["", _head(f"Slices, worst first ({measure})", len(of.slices))]
        for one in of.slices[:SHOWN]:
            lines.append(
                f"  {_cut(f'{one.field}: {one.value}', 34):<34} n = {one.row.paired.n:<5}"
                f" {one.row.paired.difference:>+8.4f}   p Holm {shown_p(one.row.p_holm)}"
                f"   {one.lost} lost, {one.won} won"
            )
    for title, questions in (("Losses, worst first", of.losses), ("Wins, best first", of.wins)):
        if questions:
            lines += ["", _head(title, len(questions))]
            for question in questions[:SHOWN]:
                lines += _told(of, question)
    lines += ["", *[f"note: {note}" for note in of.notes]] if of.notes else []
    return "\n".join([*lines, "", f"{of.verdict}: {'; '.join(of.reasons)}"])


def check(of: Check) -> str:
    """A is the baseline, B what is now; the last line says whether it holds."""
    report, now = of.baseline.report, of.now.report
    made = f", made {report.created}" if report.created else ""
    lines = [
        f"{report.dataset}, split {report.split}, {counted(report.questions)}",
        f"  A  baseline (release {report.release}{made})",
        f"  B  now (release {now.release}, recipe {now.recipe})",
        "",
        *table(of.rows),
    ]
    if report.ms and now.ms:
        lines.append(f"  ms p95: {report.ms['p95']:.1f} then, {now.ms['p95']:.1f} now ({LESS})")
    lines += ["", *[f"note: {note}" for note in of.notes], *[f"worse: {one.why}" for one in of.worse]]
    last = f"{len(of.worse)} became worse" if of.worse else f"nothing became worse; {_unseen(of.rows)}"
    return "\n".join([*lines, last])


# --- parts ------------------------------------------------------------------------------------------------------------


def table(rows: Mapping[str, Row]) -> list[str]:
    """A line for each measure, below a head."""
    lines = [_LINE.format("", "A", "B", "difference", "95 % interval", "p", "p Holm", "detectable", "")]
    for name, row in rows.items():
        found = row.paired
        values = (f"{found.a:.4f}", f"{found.b:.4f}", f"{found.difference:+.4f}")
        interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
        seen = "-" if found.detectable is None else f"{found.detectable:.4f}"
        marks = ", ".join(mark for mark in (_MARKS[row.role], LESS if direction(name) < 0 else "") if mark)
        lines.append(_LINE.format(name, *values, interval, shown_p(found.p), shown_p(row.p_holm), seen, marks))
    return [line.rstrip() for line in lines]


_LINE = "  {:<22} {:>9} {:>9} {:>10}   {:<20} {:>7} {:>7} {:>10}  {}"
_MARKS: dict[Role, str] = {"primary": "decides", "guard": "", "told": "told only"}


def _head(title: str, of: int) -> str:
    """Of a list that may be longer than what is shown of it."""
    return f"{title}: {SHOWN} of {of}; --html and --json list more" if of > SHOWN else f"{title}: {of}"


def _told(of: Comparison, question: str) -> list[str]:
    """A question with what either side made of it: what was found where that decides, else what was said."""
    measure = of.primary.measure
    lines = [f"  {_cut(question, 24)}  {_cut(of.a.asked(question).text, 90)}"]
    for letter, side in (("A", of.a), ("B", of.b)):
        asked = side.asked(question)
        found = ", ".join(unquote(source.rsplit("/", 1)[-1]) for source in asked.found[:3]) or "nothing found"
        said = "abstained" if asked.abstained else asked.answer
        what = asked.error or (found if is_ranking(measure) or said is None else said)
        lines.append(f"    {letter}  {side.report.per_question[measure][question]:.4f}  {_cut(what, 90)}")
        show = side.show(question)
        lines += [f"       {show}"] if show else []
    return lines


def _described(side: Side) -> str:
    report = side.report
    parts = [f"release {report.release}" if report.release else "", f"recipe {report.recipe}" if report.recipe else ""]
    said = ", ".join(part for part in parts if part)
    return f"{side.name} ({said})" if said else side.name


def _latency(a: Side, b: Side) -> str:
    parts = [f"{letter} p50 {side.report.ms['p50']:.1f}, p95 {side.report.ms['p95']:.1f}"
             for letter, side in (("A", a), ("B", b))]  # fmt: skip
    return f"  ms ({LESS}): {'; '.join(parts)}"


def _unseen(rows: Mapping[str, Row]) -> str:
    """What could have happened without being seen."""
    seen = [f"{name} {row.paired.detectable:.4f}" for name, row in rows.items() if row.paired.detectable]
    if not seen:
        return "nor could it have been seen on so few questions"
    return f"a smaller change than this could have been missed: {', '.join(seen)}"


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
