"""How good are the answers? A data set's questions are asked, and what was found is measured against its judgements.

So far: retrieval on BEIR folders, judged by document; a document's score is its best chunk's.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from openbook.errors import DatasetError, OpenbookError

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import Recipe

Split = Literal["dev", "test", "all"]

MEASURES = ("ndcg@10", "recall@100")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Questions with judgements: ``judgements[question][document] = grade`` (0: judged, not relevant)."""

    name: str
    questions: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]
    corpus: Path | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A mean over ``n`` questions with its 95 % bootstrap interval; unanswered questions count 0."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured. ``per_question[measure][question]``; ``failed`` questions count 0 in every mean."""

    dataset: str
    split: Split
    release: str
    measures: Mapping[str, Measure]
    failed: tuple[str, ...]
    ms: Mapping[str, float]
    per_question: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read_beir(folder: Path, qrels: str = "test") -> Dataset:
    """A BEIR folder: ``queries.jsonl``, ``qrels/NAME.tsv`` and, unless documents are the user's own, ``corpus.jsonl``.

    Raises:
        DatasetError: a file is missing or a line of it cannot be read.
    """
    judgements: dict[str, dict[str, int]] = {}
    path = folder / "qrels" / f"{qrels}.tsv"
    with _opened(path) as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), 1):
            if not row:
                continue
            try:
                question, document, grade = row
                if number > 1 or grade.lstrip("-").isdigit():
                    judgements.setdefault(question, {})[document] = int(grade)
            except ValueError:
                raise DatasetError(
                    "not three columns: query-id, corpus-id, score", where=f"{path}:{number}", do="mend that line"
                ) from None
    questions = {}
    path = folder / "queries.jsonl"
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    row_ = json.loads(line)
                    questions[str(row_["_id"])] = str(row_["text"])
            except (ValueError, KeyError, TypeError):
                raise DatasetError(
                    "not a query with _id and text", where=f"{path}:{number}", do="mend that line"
                ) from None
    missing = judgements.keys() - questions.keys()
    if missing:
        raise DatasetError(
            f"{len(missing)} judged questions are not in queries.jsonl",
            where=str(folder),
            do=f"add {min(missing)} and the others",
        )
    corpus = folder / "corpus.jsonl"
    judged = {id: questions[id] for id in questions if id in judgements}
    return Dataset(folder.resolve().name, judged, judgements, corpus if corpus.is_file() else None)


def in_split(question: str, split: Split) -> bool:
    """dev when the first byte of SHA-256 of the question's id is even, test otherwise."""
    return split == "all" or (hashlib.sha256(question.encode()).digest()[0] % 2 == 0) == (split == "dev")


def evaluate(
    kb: KnowledgeBase,
    dataset: Dataset,
    *,
    split: Split = "all",
    limit: int | None = None,
    measures: Sequence[str] = MEASURES,
    as_: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Ask the data set's questions (the first ``limit`` of the split) and measure what is found.

    Raises:
        DatasetError: no question is left, or a measure is unknown.
    """
    import numpy as np

    _ = kb.embedder  # a model that is missing or another one is told, not counted as questions that failed
    asked = [question for question in dataset.questions if in_split(question, split)][:limit]
    if not asked:
        raise DatasetError("no question is left to ask", where=dataset.name, do="widen the split or the limit")
    runs: dict[str, dict[str, float]] = {}
    failed: list[str] = []
    seconds: list[float] = []
    for number, question in enumerate(asked):
        start = time.perf_counter()
        try:
            hits = kb.search(dataset.questions[question], k=kb.recipe.query.candidates, as_=as_, record=False).hits
        except OpenbookError:
            failed.append(question)
            hits = ()
        seconds.append(time.perf_counter() - start)
        ranking = list(dict.fromkeys(hit.source for hit in hits))  # best first, each document at its best chunk
        runs[question] = {document: float(len(ranking) - rank) for rank, document in enumerate(ranking)}
        if progress is not None:
            progress(number + 1, len(asked))
    per_question = measured(measures, {question: dataset.judgements[question] for question in asked}, runs)
    p50, p95, p99 = (round(float(value) * 1000, 3) for value in np.percentile(seconds, [50, 95, 99]))
    return Report(
        dataset=dataset.name,
        split=split,
        release=kb.release,
        measures={name: mean(list(values.values())) for name, values in per_question.items()},
        failed=tuple(failed),
        ms={"p50": p50, "p95": p95, "p99": p99},
        per_question=per_question,
    )


def measured(
    names: Sequence[str], judgements: Mapping[str, Mapping[str, int]], runs: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Each measure for each judged question, by ir_measures (trec_eval's definitions); what was not found counts 0.

    Scores of a run must differ: trec_eval breaks ties by document id, which is nobody's intention.
    """
    import ir_measures

    parsed = {}
    for name in names:
        try:
            parsed[ir_measures.parse_measure(_ir_name(name))] = name
        except (NameError, ValueError, AttributeError):
            raise DatasetError(f"unknown measure {name!r}", do="try ndcg@10 or recall@100") from None
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judgements, 0.0) for name in names}
    # ir_measures takes a run whose question has no documents for one that was not asked.
    run = [ir_measures.ScoredDoc(q, d, score) for q, documents in runs.items() for d, score in documents.items()]
    qrels = [ir_measures.Qrel(q, d, grade) for q, documents in judgements.items() for d, grade in documents.items()]
    for metric in ir_measures.iter_calc(list(parsed), qrels, run):
        values[parsed[metric.measure]][metric.query_id] = float(metric.value)
    return values


def mean(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Measure:
    """The mean with its 95 % percentile bootstrap interval over questions."""
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(array), size=(resamples, len(array)))
    low, high = np.percentile(array[draws].mean(axis=1), [2.5, 97.5])
    return Measure(float(array.mean()), float(low), float(high), len(array))


def open_corpus(dataset: Dataset, recipe: Recipe, *, say: Callable[[str], None] | None = None) -> KnowledgeBase:
    """A knowledge base of the data set's own corpus, apart from the user's; ``add(dataset.corpus)`` fills it.

    It is kept in the cache under a name made of the corpus, the recipe's index half and the model, so that it is
    indexed once. Close it.
    """
    from openbook import __version__
    from openbook.embed import open_embedder
    from openbook.knowledge_base import open as open_
    from openbook.store.database import user_cache

    assert dataset.corpus is not None
    digest = hashlib.sha256(f"{__version__} {recipe.index.hash} {open_embedder(recipe.index.embed).hash}".encode())
    with dataset.corpus.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return open_(user_cache() / "evaluate" / digest.hexdigest()[:16], recipe=recipe, say=say)


def as_json(report: Report) -> dict[str, Any]:
    """The report as the command line prints it."""
    return {
        "dataset": report.dataset,
        "split": report.split,
        "release": report.release,
        "questions": len(next(iter(report.per_question.values()))),
        "failed": list(report.failed),
        "measures": {
            name: {"value": round(m.value, 6), "low": round(m.low, 6), "high": round(m.high, 6), "n": m.n}
            for name, m in report.measures.items()
        },
        "ms": dict(report.ms),
    }


_IR_NAMES = {"ndcg": "nDCG", "recall": "R", "mrr": "RR", "map": "AP", "precision": "P", "success": "Success"}


def _ir_name(name: str) -> str:
    kind, _, cut = name.partition("@")
    return f"{_IR_NAMES.get(kind.lower(), kind)}@{cut}" if cut else _IR_NAMES.get(kind.lower(), kind)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A data set's file as text; one that is not there, or no text, is a DatasetError."""
    try:
        file = path.open(encoding="utf-8", newline="")
    except OSError as error:
        do = "a BEIR folder has queries.jsonl and qrels/test.tsv"
        raise DatasetError(f"cannot be read ({error.strerror})", where=str(path), do=do) from None
    with file:
        try:
            yield file
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"cannot be read ({error})", where=str(path), do="save it as UTF-8 text") from None
