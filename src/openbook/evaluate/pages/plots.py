"""Figures of reports and comparisons, as SVG that is written into the page itself.

Colours are the page's own (CSS variables), so that a figure is dark where the page is; text stays text, in the page's
font. Marks differ in shape as well as in colour. Each figure carries in words what it shows.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.0
"""Inches, of 72 units each: on a narrow phone a unit is about a pixel, and 9 units are the smallest type to read."""

INK, SOFT, LINE, A, B, BACK = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
_VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", A: "--a", B: "--b", BACK: "--bg"}
"""Colours that no figure has, and what they become."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "openbook",  # the same figure, the same file
    "text.parse_math": False,  # a name with a dollar sign is no formula
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval, on a line of its own."""

    name: str
    value: float
    low: float
    high: float


# --- the figures ------------------------------------------------------------------------------------------------------


def dots(rows: Sequence[Interval], *, id: str, title: str) -> str:
    """Values in [0, 1] with their intervals, a line each, from above."""
    said = "; ".join(f"{row.name} {row.value:.3f} ({row.low:.3f} to {row.high:.3f})" for row in rows)
    with _figure(0.55 + 0.27 * len(rows), id=id, title=title, said=said) as (axes, svg):
        for y, row in enumerate(rows):
            axes.plot([row.low, row.high], [y, y], color=A, linewidth=2, solid_capstyle="round")
            axes.plot(row.value, y, "o", color=A, markersize=6.5)
        _lines(axes, [row.name for row in rows])
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("mean and 95 % interval")
    return svg[0]


def histogram(values: Sequence[float], *, id: str, title: str, measure: str) -> str:
    """How the questions' values in [0, 1] spread, in twenty bins, with their mean."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    counts, edges = np.histogram(values, bins=20, range=(0.0, 1.0))
    mean = float(np.mean(values))
    zero, one = sum(value <= 0 for value in values), sum(value >= 1 for value in values)
    said = f"{len(values)} questions, mean {mean:.3f}; {zero} have 0 and {one} have 1"
    with _figure(2.0, id=id, title=title, said=said) as (axes, svg):
        axes.bar(edges[:-1], counts, width=0.05, align="edge", color=A, edgecolor=BACK, linewidth=1.0)
        axes.axvline(mean, color=B, linewidth=1.6, linestyle=(0, (4, 2)), label=f"mean {mean:.3f}")
        axes.legend(loc="upper center", handlelength=2.4)
        axes.grid(axis="x", visible=False)
        axes.set_xlim(-0.02, 1.02)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(measure)
        axes.set_ylabel("questions")
    return svg[0]


def coverage_risk(points: Sequence[Mapping[str, float]], *, id: str, title: str) -> str:
    """The share of wrong answers over the share of questions that are answered, as the threshold falls."""
    xs, ys = ([point[axis] for point in points] for axis in ("coverage", "risk"))
    shown = {round(share, 2): _nearest(points, share) for share in (0.25, 0.5, 0.75, 1.0)}
    said = "; ".join(f"at coverage {at['coverage']:.2f} the risk is {at['risk']:.2f}" for at in shown.values())
    with _figure(2.4, id=id, title=title, said=said) as (axes, svg):
        axes.step(xs, ys, where="post", color=A, linewidth=2)
        if len(xs) == 1:
            axes.plot(xs, ys, "o", color=A)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, max(0.1, *ys) * 1.1)
        axes.set_xlabel("coverage: share of questions answered")
        axes.set_ylabel("risk: share of those wrong")
    return svg[0]


def latencies(stages: Mapping[str, Mapping[str, float]], *, id: str, title: str) -> str:
    """p50 (bar) and p95 (mark) of each stage in milliseconds, a line each, from above."""
    said = "; ".join(f"{stage}: p50 {ms['p50']:.1f} ms, p95 {ms['p95']:.1f} ms" for stage, ms in stages.items())
    with _figure(0.75 + 0.3 * len(stages), id=id, title=title, said=said) as (axes, svg):
        ys = list(range(len(stages)))
        p50, p95 = ([ms[name] for ms in stages.values()] for name in ("p50", "p95"))
        axes.hlines(ys, p50, p95, color=SOFT, linewidth=1.2)
        bars = axes.barh(ys, p50, height=0.55, color=A, label="p50")
        (marks,) = axes.plot(p95, ys, "D", color=B, markersize=5.5, label="p95", linestyle="none")
        _lines(axes, list(stages))
        axes.set_xlim(left=0)
        axes.set_xlabel("milliseconds")
        axes.legend(handles=[bars, marks], loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.1)
    return svg[0]


def forest(
    rows: Sequence[Interval], signs: Sequence[int], *, id: str, title: str, unit: str = "", across: str = "B minus A"
) -> str:
    """Differences b - a with their intervals around 0; ``signs``: 1 better and -1 worse for certain, 0 neither."""
    words = {1: "better", -1: "worse", 0: "not told apart"}
    said = "; ".join(
        f"{row.name} {row.value:+.3f} ({row.low:+.3f} to {row.high:+.3f}), {words[sign]}"
        for row, sign in zip(rows, signs, strict=True)
    )
    marks = {1: ("^", A, A), -1: ("v", B, B), 0: ("o", SOFT, BACK)}
    with _figure(0.85 + 0.27 * len(rows), id=id, title=title, said=said) as (axes, svg):
        axes.axvline(0, color=INK, linewidth=1)
        for y, (row, sign) in enumerate(zip(rows, signs, strict=True)):
            shape, edge, face = marks[sign]
            axes.plot([row.low, row.high], [y, y], color=edge, linewidth=1.8, solid_capstyle="round")
            axes.plot(row.value, y, shape, color=face, markeredgecolor=edge, markeredgewidth=1.6, markersize=6.5)
        for sign in sorted({*signs}, reverse=True):
            shape, edge, face = marks[sign]
            axes.plot([], [], shape, color=face, markeredgecolor=edge, markeredgewidth=1.6, label=words[sign])
        _lines(axes, [row.name for row in rows])
        far = max([abs(end) for row in rows for end in (row.low, row.high)] or [0.0]) * 1.1 or 0.01
        axes.set_xlim(-far, far)
        axes.set_xlabel(f"{across}{unit}")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.1, handletextpad=0.2)
    return svg[0]


def scatter(a: Sequence[float], b: Sequence[float], *, id: str, title: str, measure: str) -> str:
    """Each question's value on both sides; questions with the same two values are one larger mark."""
    pairs = Counter((round(x, 3), round(y, 3)) for x, y in zip(a, b, strict=True))
    above, below = (sum(n for (x, y), n in pairs.items() if sign * (y - x) > 0) for sign in (1, -1))
    said = f"B has more on {above} questions, less on {below}, the same on {len(a) - above - below}"
    most = max(pairs.values())
    low, high = min(0.0, *a, *b), max(1.0, *a, *b)
    pad = 0.04 * (high - low)
    with _figure(3.6, id=id, title=title, said=said, width=4.0) as (axes, svg):
        axes.plot([low, high], [low, high], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        for shape, color, chosen in (
            ("^", A, [(p, n) for p, n in pairs.items() if p[1] > p[0]]),
            ("v", B, [(p, n) for p, n in pairs.items() if p[1] < p[0]]),
            ("o", SOFT, [(p, n) for p, n in pairs.items() if p[1] == p[0]]),
        ):
            if chosen:
                xs, ys = zip(*(p for p, _ in chosen), strict=True)
                sizes = [18 + 260 * (n - 1) / most for _, n in chosen]
                axes.scatter(xs, ys, s=sizes, marker=shape, color=color, alpha=0.6, linewidths=0)
        axes.set_xlim(low - pad, high + pad)
        axes.set_ylim(low - pad, high + pad)
        axes.set_aspect("equal")
        axes.set_xlabel(f"A: {measure}")
        axes.set_ylabel(f"B: {measure}")
    return svg[0]


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    id: str,
    title: str,
    across: str,
    up: str,
    level: tuple[str, float] | None = None,
    mark: Mapping[str, float] | None = None,
) -> str:
    """Points (x, y) joined to a line each. ``level``: what all are compared with, a line across; ``mark``: of some
    lines the x of the point that was chosen."""
    ends = "; ".join(f"{name} from {of[0][1]:.3f} to {of[-1][1]:.3f}" for name, of in lines.items() if of)
    said = f"{ends}; {level[0]} {level[1]:.3f}" if level else ends
    shapes = [(color, dash) for dash in ((), (4, 2), (1, 2)) for color in (A, B, SOFT)]
    with _figure(2.2, id=id, title=title, said=said) as (axes, svg):
        if level is not None:
            axes.axhline(level[1], color=INK, linewidth=1, linestyle=(0, (4, 3)), label=level[0])
        for number, (name, of) in enumerate(lines.items()):
            color, dash = shapes[number % len(shapes)]
            xs, ys = [x for x, _ in of], [y for _, y in of]
            axes.plot(xs, ys, color=color, linewidth=1.8, linestyle=(0, dash) if dash else "-", label=name)
            chosen = (mark or {}).get(name)
            axes.plot(
                [x for x in xs if x == chosen], [y for x, y in of if x == chosen], "o", color=color, markersize=6.5
            )
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        if len(lines) > 1 or level is not None:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.1, handlelength=1.6)
    return svg[0]


# --- drawing ----------------------------------------------------------------------------------------------------------


def _lines(axes: Axes, names: Sequence[str]) -> None:
    """One line for each name, from above."""
    axes.set_yticks(range(len(names)), [_cut(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _nearest(points: Sequence[Mapping[str, float]], coverage: float) -> Mapping[str, float]:
    return min(points, key=lambda point: abs(point["coverage"] - coverage))


@contextmanager
def _figure(height: float, *, id: str, title: str, said: str, width: float = WIDTH) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on; the list holds the SVG when the block is left."""
    import matplotlib
    from matplotlib.figure import Figure

    svg: list[str] = []
    with matplotlib.rc_context(), warnings.catch_warnings():
        # matplotlib measures text in a font of its own, which may lack a script that the reader's has.
        warnings.filterwarnings("ignore", message="Glyph")
        matplotlib.rcdefaults()  # whatever this user's matplotlibrc says
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots(), svg
        svg.append(_svg(figure, id, title, said))


def _svg(figure: Figure, id: str, title: str, said: str) -> str:
    """The figure as an SVG element: no header, no metadata, no styles for the page around it, names of its own."""
    file = StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    written = file.getvalue()
    box = re.search(r'viewBox="([\d. ]+)"', written)
    assert box is not None
    body = written[written.index(">", written.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)

    def tag(match: re.Match[str]) -> str:
        text = re.sub(r"^<g id=\"[^\"]*\"", "<g", match[0])  # nothing refers to groups
        text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{id}-", text).replace("xlink:href", "href")
        text = re.sub(r"font: ?([\d.]+px)[^;\"]*", r"font-size: \1", text)
        text = re.sub(r" ?font-family:[^;\"]*;?| transform=\"rotate\(-0 [^\"]*\"", "", text)
        for color, variable in _VARIABLES.items():
            text = text.replace(color, f"var({variable})")
        return re.sub(r"\s+", " ", re.sub(r"(\.\d\d)\d+", r"\1", text))

    body = re.sub(r"<[^>]*>", tag, body)
    body = re.sub(r"<defs>\s*</defs>|(?<=>)\s+(?=<)", "", body)
    widest = 34 * float(box[1].split()[2]) / (72 * WIDTH)  # all figures at one scale
    return (
        f'<svg viewBox="{box[1]}" style="max-width: {widest:.1f}rem" role="img" aria-labelledby="{id}-title {id}-said">'
        f'<title id="{id}-title">{escape(title)}</title><desc id="{id}-said">{escape(said)}</desc>{body}'
    )


def _cut(name: str, length: int = 28) -> str:
    """On one line, without what a reader cannot see."""
    line = "".join(character if character.isprintable() else " " for character in " ".join(name.split()))
    return line if len(line) <= length else line[: length - 1] + "…"
