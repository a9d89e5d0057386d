"""Results as Markdown: a table a set, one for behaviour, and under what conditions each row was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

NAMES = {
    "openbook": "openbook",
    "txtai": "txtai",
    "llamaindex": "LlamaIndex",
    "langchain": "LangChain + Chroma",
    "haystack": "Haystack",
    "chroma": "Chroma",
}
_MODES = ("hybrid", "dense")

Row = Mapping[str, Any]


def markdown(results: Row) -> str:
    lines = [
        "# openbook beside its peers",
        "",
        "Made by `make peers` (`benchmarks/peers/run.py` says what each figure is). The same texts, the same weights of"
        " all-MiniLM-L6-v2, each library's defaults. In brackets: the ratio to openbook's figure. `× encode` is the"
        " ratio to `SentenceTransformer.encode`, measured beside each peer: it is the figure to compare, since the"
        " machine is shared. Bold: the best of the column, by that ratio where there is one. Where the load before a"
        " row (under *Conditions*) is not near 0, its times are contention as much as the library's: run it again.",
        "",
    ]
    for name, rows in results.get("sets", {}).items():
        lines += [f"## {name}", "", *_set(rows), ""]
    if results.get("behaviour"):
        lines += ["## What they do to their users", "", *_behaviour(results["behaviour"]), ""]
    lines += ["## Conditions", "", *_conditions(results), ""]
    return "\n".join(lines)


# --- one set ----------------------------------------------------------------------------------------------------------


def _set(rows: Mapping[str, Row]) -> list[str]:
    """Columns as (heading, figure, format, whether more is better)."""
    columns: list[tuple[str, Callable[[Row], float | None], str, bool]] = [
        ("added × encode", lambda r: r["add"]["rate"] / r["add"]["encode_rate"], "{:.2f}", True),
        ("docs/s", lambda r: r["add"]["rate"], "{:.0f}", True),
    ]
    for mode in _MODES:
        columns += [
            (f"{mode} p50 × encode", lambda r, m=mode: _beside(r, m), "{:.2f}", False),
            (f"{mode} p50 ms", lambda r, m=mode: _of(r, m, "p50"), "{:.1f}", False),
            (f"{mode} p95 ms", lambda r, m=mode: _of(r, m, "p95"), "{:.1f}", False),
        ]
    speed = _table(rows, columns)
    columns = [
        *[(f"{mode} nDCG@10", lambda r, m=mode: _of(r, m, "ndcg@10"), "{:.3f}", True) for mode in _MODES],
        *[(f"{mode} Recall@100", lambda r, m=mode: _of(r, m, "recall@100"), "{:.3f}", True) for mode in _MODES],
        ("MB adding", lambda r: r["memory_add"] / 1e6, "{:.0f}", False),
        ("MB asking", lambda r: r["memory_ask"] / 1e6, "{:.0f}", False),
        ("cold question s", lambda r: r["cold"]["seconds"], "{:.1f}", False),
    ]
    kept = _table(rows, columns)
    columns = [
        ("added, × encode", lambda r: r["add"]["processor"] / r["add"]["encode_processor"], "{:.2f}", False),
        ("ms a document", lambda r: r["add"]["processor"] * 1000, "{:.1f}", False),
        *[
            (f"ms a question, {mode}", lambda r, m=mode: _of(r, m, "processor", 1000), "{:.1f}", False)
            for mode in _MODES
        ],
    ]
    return [*speed, "", *kept, "", "Processor time, of all cores together:", "", *_table(rows, columns)]


def _of(row: Row, mode: str, figure: str, times: float = 1) -> float | None:
    return float(row[mode][figure]) * times if figure in row.get(mode, {}) else None


def _beside(row: Row, mode: str) -> float | None:
    return float(row[mode]["p50"]) / float(row[mode]["encode_p50"]) if mode in row else None


def _table(
    rows: Mapping[str, Row], columns: Sequence[tuple[str, Callable[[Row], float | None], str, bool]]
) -> list[str]:
    peers = [peer for peer in NAMES if peer in rows]
    cells = {peer: [NAMES[peer]] for peer in peers}
    for _, figure, form, more in columns:
        values = {peer: figure(rows[peer]) for peer in peers}
        known = [value for value in values.values() if value is not None]
        best = (max if more else min)(known, default=None)
        ours = values.get("openbook")
        for peer, value in values.items():
            if value is None:
                cells[peer].append("–")
                continue
            text = form.format(value)
            if best is not None and text == form.format(best):
                text = f"**{text}**"
            if peer != "openbook" and ours:
                text += f" ({value / ours:.2f})"
            cells[peer].append(text)
    return _grid(["", *(heading for heading, *_ in columns)], [cells[peer] for peer in peers])


def _grid(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(heading)} |",
        f"|{'---|' * len(heading)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


# --- behaviour --------------------------------------------------------------------------------------------------------


def _behaviour(rows: Mapping[str, Row]) -> list[str]:
    peers = [peer for peer in NAMES if peer in rows]
    sight = [
        [NAMES[peer], *(_seen(rows[peer]["visible"], edit, who) for edit in ("update", "delete") for who in _WHO)]
        for peer in peers
    ]
    heading = ["", *(f"{edit}: {said}" for edit in ("update", "delete") for said in _WHO.values())]
    life = [
        [
            NAMES[peer],
            _kept(killed["after_add"], "after_save" in killed),
            _kept(killed["after_save"]) if "after_save" in killed else "no save needed",
            _worst(killed["during_add"], "after_save" in killed),
            _worst(killed["during_save"]) if "during_save" in killed else "no save needed",
        ]
        for peer in peers
        for killed in [rows[peer]["killed"]]
    ]
    return [
        "Who sees an edit: the process that made it; another that has the index open (after the save, where one is"
        " needed); a new one. d: dense, k: keyword, h: hybrid.",
        "",
        *_grid(heading, sight),
        "",
        f"After SIGKILL to the process and all that it started: what a new process finds of the {_documents(rows)}"
        " documents being added, and whether its halves agree.",
        "",
        *_grid(["", "right after `add`", "right after the save", "during `add`", "during the save"], life),
    ]


_WHO = {"same": "same process", "other": "another, open", "new": "a new one"}


def _documents(rows: Mapping[str, Row]) -> str:
    counts = {row["killed"]["after_add"]["of"] for row in rows.values()}
    return " or ".join(f"{count:,}" for count in sorted(counts))


def _seen(visible: Row, edit: str, who: str) -> str:
    modes = visible[edit][who]
    if all(seen is True for seen in modes.values()):
        return "yes"
    if not any(seen is True for seen in modes.values()):
        errors = {_short(seen) for seen in modes.values() if isinstance(seen, str)}
        return f"no: {min(errors)}" if errors else "**no**"
    yes, no = ([mode[0] for mode, seen in modes.items() if (seen is True) == good] for good in (True, False))
    return f"{', '.join(yes)} yes; **{', '.join(no)} no**"


def _kept(state: Row, needs_save: bool = False) -> str:
    if not state["opens"]:
        return f"**does not open** ({state['error'].partition(':')[0]})"
    text = "all" if state["documents"] == state["of"] else f"**{state['documents']:,}**"
    if needs_save and state["documents"] == 0:
        text += ", needs a separate save"
    if state["acknowledged"]:
        text += f" ({state['acknowledged']:,} acknowledged)"
    if not state["earlier"]:
        text += ", **earlier ones lost**"
    if not state["consistent"]:
        text += ", **halves disagree**"
    return text


def _worst(states: Sequence[Row], needs_save: bool = False) -> str:
    """Every different outcome of several kills, and how often it came."""
    counts = Counter(_kept(state, needs_save) for state in states)
    if len(states) == 1 or len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{times} × {outcome}" for outcome, times in counts.items())


def _short(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:60]


# --- conditions -------------------------------------------------------------------------------------------------------


def _conditions(results: Row) -> list[str]:
    rows = []
    for name, of in [*results.get("sets", {}).items(), ("behaviour", results.get("behaviour", {}))]:
        for peer in NAMES:
            if peer in of:
                row, c = of[peer], of[peer]["conditions"]
                versions = ", ".join(f"{package} {version}" for package, version in row.get("versions", {}).items())
                speed = f"{row['add']['encode_rate']:.0f}" if "add" in row else "–"
                machine = f"{c['cores']} cores, {c['instructions']} ({c['processor']})"
                load = f"{c['load_before']:.1f}"
                rows.append([name, NAMES[peer], c["date"], machine, c["python"], speed, load, versions])
    heading = ["set", "peer", "date", "processor", "Python", "encode texts/s", "load before", "versions"]
    return _grid(heading, rows)
