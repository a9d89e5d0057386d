"""What is to be known of training data before anything is trained, and what forbids it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Evidence, Question
from openbook.evaluate.datasets.leakage import KINDS, Kind, Leak
from openbook.finetune.data.rows import Example, Passage, Rows

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.finetune.data.negatives import Mined
    from openbook.finetune.data.places import Ranking

LEAST, FEW = 10, 500
"""Distinct queries: with fewer nothing is learned but these; with few, an adapter at most."""

_NEEDED = f"training needs {LEAST} at least, and 500 to 10,000 are advised"

MANY = 20
"""A positive below so many passages that answer nothing is a doubtful one: the label is wrong, or the search is."""

DEPTH = 50
"""Hits of the live search that are looked at for doubtful labels."""

DOUBTFUL, TRUNCATED, APART = 0.3, 0.1, 2.0
"""Told from these shares of doubtful positives and of texts that are cut on, and where positives and negatives differ
so many times in length: a model can then tell them apart by it."""

REFUSED: tuple[Kind, ...] = ("question", "near question")
"""What a test set must not share with training. Passages and documents it may: both search the same documents."""


# --- what forbids training --------------------------------------------------------------------------------------------


def require_enough(data: Rows, read: int) -> None:
    """``read``: how many rows were read.

    Raises:
        DatasetError: nothing could be learned from them.
    """
    if data.scored:
        _require_scores(data, read)
        return
    queries = len(data.examples)
    if queries < LEAST:
        same = f", in {read} rows" if read >= LEAST else ""
        do = f"{_NEEDED}: ask people, write more (--from-documents), or do not train"
        raise DatasetError(f"{queries} distinct queries{same}", do=do)
    if len({passage.text for example in data.examples for passage in example.positives}) == 1:
        do = "give each query the passage that answers it"
        raise DatasetError(f"one and the same positive for {queries} queries", do=do)


def _require_scores(data: Rows, read: int) -> None:
    if len(data.scored) < LEAST:
        same = f", in {read} rows" if read >= LEAST else ""
        raise DatasetError(f"{len(data.scored)} distinct pairs{same}", do=_NEEDED)
    require_labels(data)


def require_labels(data: Rows) -> None:
    """Raises: DatasetError: scored pairs all have one label, or one score: nothing tells the alike from the others."""
    if len({one.score for one in data.scored}) != 1:
        return
    first = data.scored[0]
    what = "label" if first.is_label else "score"
    do = "add pairs that are not alike (--negatives): without them everything is"
    if first.score == 1.0:
        do += "; or say that all are positives: openbook finetune data OUT ROWS --to pairs"
    elif first.score == 0.0:
        do = "add pairs that are alike: without them nothing is"
    raise DatasetError(f"one {what} only ({first.score:g}) in {len(data.scored)} pairs", do=do)


def asked_in(rows: Sequence[Sequence[str]], test: Sequence[Question]) -> dict[int, Leak]:
    """Of rows by their texts: those, by number, that ask the same as a test question, or nearly; the test would measure
    memory. (A test question is found with the nearest row only: it is looked again, until none is left.)"""
    found: dict[int, Leak] = {}
    while True:
        left = [Question(str(n), text) for n, texts in enumerate(rows) if n not in found for text in texts]
        leaks = leakage.find(left, test, REFUSED)
        if not leaks:
            return found
        for leak in leaks:
            found.setdefault(int(leak.a), leak)


def shared(data: Rows, test: Sequence[Question]) -> list[Leak]:
    """What training shares with a test set: its questions that something in the rows gives away, each with the worst
    that it is."""
    trained = [
        Question(
            str(number),
            example.query,
            evidence=tuple(Evidence(passage.document, passage.text) for passage in example.positives),
        )
        for number, example in enumerate(data.examples)
    ]
    trained += [Question("", passage.text) for one in data.scored for passage in (one.first, one.second)]
    return leakage.find(trained, test)


def overlap(data: Rows, test: Sequence[Question]) -> dict[str, int]:
    """How many test questions by the worst of what they share with training."""
    counted = Counter(leak.kind for leak in shared(data, test))
    told = {"tested": len(test)}
    for kind in KINDS:
        told[kind] = counted[kind]
    return told


# --- what is told -----------------------------------------------------------------------------------------------------


def lengths(embedder: Embedder, data: Rows) -> dict[str, Any]:
    """Tokens of the texts, each once, and how many the model would not read to their end."""
    kinds: Mapping[str, Sequence[Passage]] = {
        "queries": [Passage(example.query) for example in data.examples],
        "positives": [passage for example in data.examples for passage in example.positives],
        "negatives": [passage for example in data.examples for passage in example.negatives],
        "sentences": [passage for one in data.scored for passage in (one.first, one.second)],
    }
    told: dict[str, Any] = {"max_tokens": embedder.max_tokens}
    for kind, passages in kinds.items():
        counts = sorted(map(len, embedder.tokens(sorted({passage.text for passage in passages}))))
        if counts:
            told[kind] = {
                "median": round(median(counts)),
                "p95": counts[min(len(counts) - 1, int(0.95 * len(counts)))],
                "longest": counts[-1],
                "truncated": sum(count > embedder.max_tokens for count in counts),
                "of": len(counts),
            }
    return told


def noise(mined: Sequence[Mined], rankings: Mapping[str, Ranking]) -> dict[str, Any]:
    """How far the live hybrid search doubts the labels: positives that are not found above ``MANY`` passages which
    answer nothing, and mined negatives that come before every positive of their query."""
    positives = doubtful = negatives = above = 0
    for one in mined:
        ranking = rankings.get(one.example.query)
        if ranking is None or not one.right:
            continue
        ranks = [ranking.rank(span.document, [(span.start, span.end)]) for span in one.right]
        answering = {rank for rank in ranks if rank is not None}
        for rank in ranks:
            positives += 1
            doubtful += rank is None or rank - 1 - sum(other < rank for other in answering) >= MANY
        best = min(answering, default=DEPTH + 1)
        for span in one.wrong:
            rank = ranking.rank(span.document, [(span.start, span.end)])
            negatives += 1
            above += rank is not None and rank < best
    return {
        "positives": positives,
        "doubtful": doubtful,
        "share_doubtful": round(doubtful / positives, 4) if positives else None,
        "negatives": negatives,
        "above_positive": above,
        "share_above": round(above / negatives, 4) if negatives else None,
    }


def groups(examples: Sequence[Example]) -> dict[str, int]:
    counted = Counter(example.group for example in examples)
    return {"count": len(counted), "largest": max(counted.values(), default=0)}


def few(data: Rows) -> str | None:
    """What is to be told of rows that are enough to train on, and few."""
    number = len(data.examples) or len(data.scored)
    if number >= FEW:
        return None
    return f"{number} {'distinct queries' if data.examples else 'pairs'}: below {FEW} training seldom helps"


def warnings(data: Rows, told: Mapping[str, Any], *, tested: bool) -> list[str]:
    """A line for each thing that makes training doubtful and does not forbid it."""
    found = []
    number = len(data.examples) or len(data.scored)
    if line := few(data):
        found.append(line)
    if not tested:
        found.append("no test set was named (--test): nothing says that it is not what will be measured")
    sizes = told["lengths"]
    for kind in ("queries", "positives", "negatives", "sentences"):
        of = sizes.get(kind)
        if of and of["truncated"] > TRUNCATED * of["of"]:
            more = (
                f"{of['truncated']} of {of['of']} {kind} are longer than the {sizes['max_tokens']} tokens that are read"
            )
            found.append(more)
    if "positives" in sizes and "negatives" in sizes:
        a, b = sizes["positives"]["median"], sizes["negatives"]["median"]
        if max(a, b) > APART * min(a, b):
            found.append(f"positives have {a} tokens and negatives {b}: a model can tell them apart by their length")
    doubts = told["noise"]
    if doubts and doubts["positives"] and doubts["doubtful"] > DOUBTFUL * doubts["positives"]:
        found.append(
            f"{doubts['doubtful']} of {doubts['positives']} positives stand below {MANY} other passages: look at them"
        )
    if number and told["groups"]["largest"] > max(1, number // 10):
        found.append(f"{told['groups']['largest']} of {number} queries are nearly one, or share a positive")
    if any(not -1.0 <= one.score <= 1.0 for one in data.scored) and not data.scored[0].is_label:
        found.append("scores beyond -1 and 1: a cosine loss cannot reach them; divide them by their largest")
    return found


def of_dev(leaks: Mapping[int, Leak], places: Sequence[str]) -> str:
    """What is to be told of rows that ask what dev questions ask; ``places``: of all rows."""
    number = next(iter(leaks))
    tests = len({leak.b for leak in leaks.values()})
    nearly = ", or nearly" if any(leak.kind == "near question" for leak in leaks.values()) else ""
    return (
        f"{len(leaks)} rows ask what {tests} dev questions ask{nearly}, such as {places[number]}: these are kind to"
        " what was trained on them, and say too late when to stop"
    )


def refusal(leaks: Mapping[int, Leak], places: Sequence[str]) -> DatasetError:
    """The error that says what training shares with a test set; ``places``: of all rows."""
    number, first = next(iter(leaks.items()))
    tests = len({leak.b for leak in leaks.values()})
    asked = f"{len(leaks)} rows ask what the test set asks ({tests} of its questions)"
    what = f"{asked}, such as {first.b} ({first.what[:80]})"
    near = sum(leak.kind == "near question" for leak in leaks.values())
    if near:
        what += f"; {near} of them ask nearly the same"
    return DatasetError(what, where=places[number], do="take them out, or have them dropped (--drop-leaks)")
