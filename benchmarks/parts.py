"""What every part of a recipe gains and costs on its own: the table of docs/guides/retrieval.md.

Each of ``PARTS`` is the plain recipe, which is the default without filters from the question, with one thing changed.
On twelve public sets (the first 400 judged questions of each, of these the dev half) it is asked beside that:
nDCG@10, the share of questions with all their evidence among the first ten documents, and milliseconds, which are those
of the first 40 questions of a set, asked of all parts in turn, so that whatever else the machine does slows all of
them. For a part of the index half the first 150,000 characters of a set are cut and embedded by it and by the plain
recipe in turn. Beside them: four first-stage methods
(``retrieval.py``), and the best order of the first 50 chunks.

A part that is not in the file of results yet, or stands there with another recipe, is measured; a run that was killed
goes on where it was. The table is written between its marks in the guide from that file and nothing else. A new part is
a line in ``PARTS``.

    python benchmarks/parts.py [--data ../shared/data] [--split dev|test] [--part NAME ...] [--render] [SET ...]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from retrieval import SETS, references

from openbook.chunk import embedded_text, open_chunker
from openbook.embed.runtime import best_precision
from openbook.evaluate import Dataset, open_corpus, read
from openbook.evaluate.measures.ranking import documents, measured
from openbook.evaluate.significance import holm, paired
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import Recipe
from openbook.serving import Serving
from openbook.types import Document


@dataclass(frozen=True, slots=True)
class Part:
    """The plain recipe with the lines of ``change`` in it. ``most``: so many questions of a set are asked."""

    name: str
    change: str
    most: int | None = None

    @property
    def recipe(self) -> Recipe:
        filters = "" if "query.filters" in self.change else "query.filters = {kind = 'none'}\n"
        return Recipe.from_toml(filters + self.change)


PARTS = (
    Part("`fusion` rrf", "query.fusion = {kind = 'rrf'}"),
    Part("`fusion` weighted", "query.fusion = {kind = 'weighted'}"),
    Part("`fusion` without neighbours", "query.fusion = {neighbours = 0.0}"),
    Part("`fusion` without familiarity", "query.fusion = {familiarity = false}"),
    Part("`candidates` 300", "query.candidates = 300"),
    Part("`merge` none", "query.merge = 0"),
    Part("`filters` rules", "query.filters = {kind = 'rules'}"),
    Part("`filters` versions (the default)", "query.filters = {kind = 'rules', read = ['versions']}"),
    Part("`spelling` corpus", "query.spelling = {kind = 'corpus'}"),
    Part("`expansion` relevance", "query.expansion = {kind = 'relevance'}"),
    Part("`hops` bridge", "query.hops = {kind = 'bridge'}"),
    Part(
        "`filters` versions; `hops` bridge",
        "query.filters = {kind = 'rules', read = ['versions']}\nquery.hops = {kind = 'bridge'}",
    ),
    Part("`within` 5.0", "query.within = 5.0"),
    Part("`duplicates` collapse", "query.duplicates = {kind = 'collapse'}"),
    Part("`diversity` mmr", "query.diversity = {kind = 'mmr'}"),
    Part("`diversity` mmr, `relevance` 0.9", "query.diversity = {kind = 'mmr', relevance = 0.9}"),
    Part("`recency` by `published_at`", "query.recency = {kind = 'half-life', field = 'published_at'}"),
    Part("`rerank` late, 10", "query.rerank = {kind = 'late', candidates = 10}", most=12),
    Part("`rerank` late, 20", "query.rerank = {kind = 'late', candidates = 20}", most=30),
    Part("`rerank` late, 50", "query.rerank = {kind = 'late', candidates = 50}", most=12),
    Part("`rerank` late, 100", "query.rerank = {kind = 'late', candidates = 100}", most=12),
    Part(
        "`filters` versions; `rerank` late, 20",
        "query.filters = {kind = 'rules', read = ['versions']}\nquery.rerank = {kind = 'late', candidates = 20}",
        most=30,
    ),
    Part("`index.neighbours` none", "index.neighbours = 0.0"),
    Part("`chunk` recursive", "index.chunk = {kind = 'recursive'}"),
    Part("`chunk` window", "index.chunk = {kind = 'window'}"),
    Part("`chunk` parent", "index.chunk = {kind = 'parent'}"),
    Part("`chunk` semantic", "index.chunk = {kind = 'semantic'}"),
    Part("`context` tables", "index.context = {tables = true}"),
)
PLAIN = Part("plain", "")
CEILING = "best order of the first 50 chunks"
SYSTEMS = ("BM25", "dense", "RRF", "CC")
MULTI_HOP = ("hotpotqa-300", "multihoprag-evidence")

HOPS = (
    "Of the two sets whose questions take several documents: all of them among the first ten, and points more or less."
)
INDEXING = "What reading takes, of parts that need another index, beside the plain recipe:"

JUDGED = 400
TIMED = 40
FIRST = 10
DEEP = 90
"""Chunks that are asked for where the first hits are of fewer than ten documents: with the two hits that merging leaves
out at most, no more than the ``candidates`` that were fused for the first ones."""

SAMPLE = 150_000
DEALT = 20_000
SAVED_EVERY = 20

HERE = Path(__file__).resolve().parent
GUIDE = HERE.parent / "docs" / "guides" / "retrieval.md"


# --- what was measured ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Asked:
    """A part on a set: a value for each of its first questions. ``ms``: of the timed ones, beside the plain one's.

    ``index``: (chunks, seconds of cutting and embedding the sample), of the part and of the plain one.
    """

    change: str
    ndcg: list[float] = field(default_factory=list)
    complete: list[int] = field(default_factory=list)
    ms: list[list[float]] = field(default_factory=list)
    index: list[float] = field(default_factory=list)


class Results:
    """What is known so far, by set and part, in a file of a line for each: one that is written anew as a whole."""

    def __init__(self, file: Path) -> None:
        self.file = file
        told = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self.machine: str = told.get("machine", "")
        self.questions: dict[str, list[str]] = told.get("questions", {})
        self.found: dict[str, dict[str, Asked]] = {
            name: {part: Asked(**asked) for part, asked in parts.items()}
            for name, parts in told.get("sets", {}).items()
        }

    def of(self, dataset: str, part: Part) -> Asked:
        """What is known of the part as it is now: nothing, where its recipe was another one."""
        there = self.found.setdefault(dataset, {})
        if part.name not in there or there[part.name].change != part.change:
            there[part.name] = Asked(part.change)
        return there[part.name]

    def save(self) -> None:
        def line(key: str, value: object) -> str:
            return f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(value, separators=(',', ':'))}"

        def table(rows: Sequence[str], closing: str) -> str:
            return "{\n" + ",\n".join(rows) + "\n" + closing

        sets = [
            f"{json.dumps(name)}: " + table([line(part, vars_of(asked)) for part, asked in parts.items()], "}")
            for name, parts in self.found.items()
        ]
        questions = table([line(name, ids) for name, ids in self.questions.items()], "}")
        text = table([line("machine", self.machine), f'"questions": {questions}', f'"sets": {table(sets, "}")}'], "}\n")
        new = self.file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.file)


def vars_of(asked: Asked) -> dict[str, Any]:
    told = {name: getattr(asked, name) for name in asked.__slots__}
    return {name: value for name, value in told.items() if value != []}


# --- measuring --------------------------------------------------------------------------------------------------------


class Side:
    """A part at work on a set: opened, and indexed, when the first question needs it."""

    def __init__(self, part: Part, dataset: Dataset, base: Side | None, close: ExitStack) -> None:
        self.part = part
        self.recipe = part.recipe
        self._dataset, self._base, self._close = dataset, base, close

    @property
    def has_index(self) -> bool:
        """Whether it reads documents otherwise than the plain recipe does."""
        return self.recipe.index != PLAIN.recipe.index

    @cached_property
    def kb(self) -> KnowledgeBase:
        if self._base is not None and not self.has_index:
            return self._base.kb
        assert self._dataset.corpus is not None
        kb = self._close.enter_context(open_corpus(self._dataset, self.recipe))
        begun = time.perf_counter()
        added = kb.add(self._dataset.corpus)
        if added.chunks:
            seconds = time.perf_counter() - begun
            print(f"{self._dataset.name}: {self.part.name}: {added.chunks} chunks in {seconds:.0f} s", flush=True)
        return kb

    @cached_property
    def serving(self) -> Serving:
        # A release of its own for each part: what it opens stays open while others are asked.
        return self.kb.serving.answering_by(self.recipe.query)

    def ask(self, question: str) -> tuple[list[str], float]:
        """The documents found, best first, and the milliseconds of a question as it is asked in earnest."""
        trace = self.search(question, FIRST)
        found = documents(trace.hits)
        if len(found) < FIRST <= len(trace.hits):
            found = list(dict.fromkeys([*found, *documents(self.search(question, DEEP).hits)]))
        return found, trace.ms["total"]

    def search(self, question: str, k: int) -> Any:
        return self.serving.search(question, k, None, None, since=time.perf_counter())


def measure(dataset: Dataset, parts: Sequence[Part], results: Results) -> None:
    """Ask the set's questions of the parts that have not been asked, one question of all of them in turn."""
    results.questions[dataset.name] = list(dataset.questions)
    with ExitStack() as close:
        base = Side(PLAIN, dataset, None, close)
        sides = [base, *(Side(part, dataset, base, close) for part in parts)]
        asked = {side: results.of(dataset.name, side.part) for side in sides}
        for number, (id, question) in enumerate(dataset.questions.items()):
            timed = number < TIMED
            due = [side for side, known in asked.items() if number == len(known.ndcg) and is_asked(side.part, number)]
            if timed and due and base not in due:
                due.append(base)
            random.Random(number).shuffle(due)  # what comes first finds nothing in any cache
            found: dict[Side, tuple[list[str], float]] = {}
            for side in due:
                if number == 0 or not asked[side].ndcg:
                    side.ask("warm")
                found[side] = side.ask(question.text)
            for side, (ranking, ms) in found.items():
                known = asked[side]
                if number < len(known.ndcg):  # the plain one, asked again for its time
                    continue
                values = measured(["ndcg@10", "recall@10"], {id: question.judgements}, {id: ranking})
                known.ndcg.append(round(values["ndcg@10"][id], 4))
                known.complete.append(int(values["recall@10"][id] > 0.999))
                if timed:
                    known.ms.append([round(ms, 1), round(found[base][1], 1)])
            if found and number % SAVED_EVERY == SAVED_EVERY - 1:
                results.save()
                print(f"{dataset.name}: {number + 1} questions", flush=True)
        for side in sides[1:]:
            if side.has_index and not asked[side].index:
                asked[side].index = indexing(base, side)
        results.save()


def is_asked(part: Part, number: int) -> bool:
    return part.most is None or number < part.most


def indexing(base: Side, side: Side) -> list[float]:
    """(chunks, seconds) of a part, then of the plain recipe: all chunks; the seconds of a sample, in turn, the better
    of two times each."""
    sample: list[Document] = []
    for row in base.kb.list():
        document = base.kb.documents.get(row["document"], None)
        assert document is not None
        sample.append(document)
        if sum(len(document.text) for document in sample) > SAMPLE:
            break
    seconds = {one: float("inf") for one in (side, base)}
    for _ in range(2):
        for one in seconds:
            begun = time.perf_counter()
            half, embedder = one.recipe.index, one.kb.embedder
            chunker = open_chunker(half.chunk, embedder, half.context)
            cuts = zip(sample, chunker.chunk_all(sample), strict=True)
            embedder.encode([embedded_text(d.title, c, chunker.max_tokens) for d, chunks in cuts for c in chunks])
            seconds[one] = min(seconds[one], time.perf_counter() - begun)
    return [
        figure for one in (side, base) for figure in (float(one.kb.index.count(None)), round(seconds[one], 2))
    ]  # fmt: skip


def measure_references(dataset: Dataset, results: Results) -> None:
    """The four first-stage methods, which embed every document of the set."""
    if len(results.of(dataset.name, Part(SYSTEMS[0], "")).ndcg) < len(dataset.questions):
        for system, values in references(dataset).items():
            results.of(dataset.name, Part(system, "")).ndcg = [round(values[id], 4) for id in dataset.questions]
        results.save()


def measure_ceiling(dataset: Dataset, results: Results) -> None:
    """The best order of what the plain recipe finds."""
    part = Part(CEILING, "query.merge = 0")
    ceiling = results.of(dataset.name, part)
    if len(ceiling.ndcg) == len(dataset.questions):
        return
    rankings = {}
    with ExitStack() as close:
        side = Side(part, dataset, None, close)
        for id, question in dataset.questions.items():
            found = documents(side.search(question.text, 50).hits)
            rankings[id] = sorted(found, key=lambda document: -question.judgements.get(document, 0))
    judgements = {id: question.judgements for id, question in dataset.questions.items()}
    values = measured(["ndcg@10", "recall@10"], judgements, rankings)
    ceiling.ndcg = [round(values["ndcg@10"][id], 4) for id in dataset.questions]
    ceiling.complete = [int(values["recall@10"][id] > 0.999) for id in dataset.questions]
    results.save()


# --- the table --------------------------------------------------------------------------------------------------------


def tables(results: Results) -> str:
    """Markdown: nDCG@10 and milliseconds; all the evidence; what indexing takes."""
    known = {name: parts for name, parts in results.found.items() if parts.get("plain", Asked("")).ndcg}
    sets = [name for name in SETS if name in known]
    if not sets:
        return "Nothing is measured yet."
    names = [part.name for part in PARTS if any(part.name in known[name] for name in sets)]
    lines = [
        f"| | {' | '.join(sets)} | mean | p | ms | × |",
        f"|---|{'---|' * (len(sets) + 4)}",
        f"| questions | {' | '.join(str(len(known[name]['plain'].ndcg)) for name in sets)} | | | | |",
    ]
    means = [float(np.mean(known[name]["plain"].ndcg)) for name in sets]
    spent = [ms for name in sets for ms, _ in known[name]["plain"].ms]
    lines.append(
        f"| **plain** | {' | '.join(map(plain, means))} | {plain(np.mean(means))} | | {np.median(spent):.0f} | 1 |"
    )
    best = {name: max(SYSTEMS, key=lambda system: mean_of(known[name].get(system))) for name in sets}
    beside: list[tuple[str, Callable[[str], Asked | None]]] = [
        *((name, lambda of, name=name: known[of].get(name)) for name in SYSTEMS),
        ("best of these four", lambda of: known[of].get(best[of])),
        (CEILING, lambda of: known[of].get(CEILING)),
        *((name, lambda of, name=name: known[of].get(name)) for name in names),
    ]
    for label, pick in beside:
        found = {name: asked for name in sets if (asked := pick(name)) is not None and asked.ndcg}
        if found:
            times = [pair for asked in found.values() for pair in asked.ms]
            cells, mean = differences(known, found, sets, "ndcg")
            p = chance(known, found) if len(found) == len(sets) else ""
            lines.append(f"| {label}{few(label)} | {' | '.join(cells)} | {mean} | {p} | {cost(times)} |")
    parts = ["\n".join(lines)]
    if hops := [name for name in MULTI_HOP if name in sets]:
        lines = [f"| | {' | '.join(hops)} |", f"|---|{'---|' * len(hops)}"]
        shares = [f"{100 * np.mean(known[name]['plain'].complete):.1f} %" for name in hops]
        lines.append(f"| **plain** | {' | '.join(shares)} |")
        for label in (CEILING, *names):
            found = {name: known[name][label] for name in hops if label in known[name] and known[name][label].complete}
            if found:
                cells, _ = differences(known, found, hops, "complete")
                lines.append(f"| {label}{few(label)} | {' | '.join(cells)} |")
        parts += [HOPS, "\n".join(lines)]
    lines = ["| | chunks, × | seconds of cutting and embedding, × |", "|---|---|---|"]
    for label in names:
        costs = [known[name][label].index for name in sets if label in known[name] and known[name][label].index]
        if costs:
            chunks, seconds, of_chunks, of_seconds = np.array(costs).sum(axis=0)
            lines.append(f"| {label} | {chunks / of_chunks:.2f} | {seconds / of_seconds:.2f} |")
    return "\n\n".join([*parts, INDEXING, "\n".join(lines)] if len(lines) > 2 else parts)


def differences(
    known: Mapping[str, Mapping[str, Asked]], found: Mapping[str, Asked], sets: Sequence[str], measure: str
) -> tuple[list[str], str]:
    """A cell for each set, bold where the difference is significant, corrected over the row; and their mean."""
    tests = {}
    for name, asked in found.items():
        values = getattr(asked, measure)
        usual = getattr(known[name]["plain"], measure)[: len(values)]
        tests[name] = paired(dict(enumerate(map(float, usual))), dict(enumerate(map(float, values))), name=name)  # type: ignore[arg-type]
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    cells = []
    for name in sets:
        if name not in tests:
            cells.append("")
        elif tests[name].higher == tests[name].lower == 0:
            cells.append("=")
        else:
            figure = tests[name].difference
            text = signed(figure) if measure == "ndcg" else f"{100 * figure:+.1f}".replace("-", "−")
            cells.append(f"**{text}**" if corrected[name] < 0.05 else text)
    mean = signed(float(np.mean([test.difference for test in tests.values()])))
    return cells, mean if len(tests) == len(sets) else f"({mean})"


def chance(known: Mapping[str, Mapping[str, Asked]], found: Mapping[str, Asked]) -> str:
    """How often a mean over sets, each of the same weight, lies as far from 0 where every question's sign is dealt."""
    draw = np.random.default_rng(0)
    dealt, mean = np.zeros(DEALT), 0.0
    for name, asked in found.items():
        apart = np.array(asked.ndcg) - np.array(known[name]["plain"].ndcg[: len(asked.ndcg)])
        dealt += draw.choice((-1.0, 1.0), (DEALT, len(apart))) @ apart / len(apart)
        mean += float(apart.mean())
    p = float(np.mean(np.abs(dealt) >= abs(mean) - 1e-12))
    return "" if not mean else "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def few(label: str) -> str:
    """Of a part that is not asked every question: of how many."""
    most = next((part.most for part in PARTS if part.name == label), None)
    return f" (first {most} questions)" if most else ""


def mean_of(asked: Asked | None) -> float:
    return float(np.mean(asked.ndcg)) if asked is not None and asked.ndcg else -1.0


def cost(times: Sequence[Sequence[float]]) -> str:
    if not times:
        return " | "
    own, usual = np.median(np.array(times), axis=0)
    return f"{own:.0f} | {own / usual:.2f}"


def plain(figure: float | np.floating[Any]) -> str:
    return f"{figure:.3f}".removeprefix("0")


def signed(figure: float) -> str:
    return f"{figure:+.3f}".replace("0.", ".", 1).replace("-", "−")


def render(text: str, guide: Path) -> None:
    """Write the tables between their marks. Raises: ValueError: the guide has none."""
    before, begin, rest = guide.read_text(encoding="utf-8").partition("<!-- parts: begin -->\n")
    _, end, after = rest.partition("<!-- parts: end -->")
    if not (begin and end):
        raise ValueError(f"{guide}: the marks of the table are missing")
    guide.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


# --- the command ------------------------------------------------------------------------------------------------------


def chosen(data: Path, names: Sequence[str], split: Any) -> Iterator[Dataset]:
    for name in names:
        whole = read(data / name)
        judged = {id: q for id, q in whole.select("all").questions.items() if q.judgements}
        yield Dataset(name, dict(list(judged.items())[:JUDGED]), whole.corpus).select(split)


def is_meant(part: Part, name: str) -> bool:
    """By its whole name, or by a piece that is no other part's whole name."""
    return name == part.name or (name in part.name and all(name != other.name for other in PARTS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OPENBOOK_DATA", "../shared/data")))
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument(
        "--part",
        action="append",
        metavar="NAME",
        help="with this in its name, or ceiling, or references; may be repeated",
    )
    parser.add_argument("--results", type=Path, help="by default parts-SPLIT.json beside this file")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the table from the results")
    options = parser.parse_args()
    results = Results(options.results or HERE / f"parts-{options.split}.json")
    parts = [part for part in PARTS if not options.part or any(is_meant(part, name) for name in options.part)]
    if not options.render:
        results.machine = f"{len(os.sched_getaffinity(0))} cores, {best_precision()}"
        for dataset in chosen(options.data, options.sets, options.split):
            measure(dataset, parts, results)
            for name, measure_beside in (("ceiling", measure_ceiling), ("references", measure_references)):
                if not options.part or name in options.part:
                    measure_beside(dataset, results)
            print(f"{dataset.name}: measured, load {os.getloadavg()[0]:.1f}", flush=True)
    if options.split == "dev" and options.results is None:  # the test halves are no place to choose from
        render(tables(results), GUIDE)
    print(tables(results))


if __name__ == "__main__":
    main()
