"""Retrieval measures: of documents and chunks by trec_eval's definitions, of spans by their characters.

Documents and chunks are judged by ir_measures, which hands all but the reciprocal rank to trec_eval itself. A ranking
is handed over with strictly decreasing scores and under invented ids, because trec_eval breaks ties by id, which is
nobody's intention.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence, Set

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Span
from openbook.types import Hit

KINDS = {"ndcg": "nDCG", "recall": "R", "precision": "P", "mrr": "RR", "map": "AP", "success": "Success"}
"""Our names of the measures and those of ir_measures (trec_eval: ndcg_cut, recall, P, recip_rank, map_cut, success)."""

MEASURES = ("ndcg@10", "recall@10", "recall@100", "precision@5", "mrr@10", "map@100", "success@5")
CHUNK_MEASURES = ("chunk_ndcg@10", "chunk_recall@10", "chunk_precision@5")
SPAN_CUTS = (5, 10)

HIGHEST_GRADE = 1_000_000
"""trec_eval keeps a counter for each grade up to the highest one: a larger one costs gigabytes, or overflows to 0."""

Ranking = Sequence[str]
"""Documents, best first, each once."""

Character = tuple[str, int]
"""One character: the source of its document, and its offset there."""


def names_at(cuts: Sequence[int]) -> tuple[str, ...]:
    """Every kind of measure at these cuts; ``ndcg@10`` and ``recall@100``, which all comparisons read, always."""
    return tuple(dict.fromkeys(["ndcg@10", "recall@100", *(f"{kind}@{k}" for k in cuts for kind in KINDS)]))


def cut(name: str) -> int:
    """The k of a measure's name.

    Raises:
        DatasetError: the name is not one of ours, or its k is not a whole number from 1.

    >>> cut("ndcg@10")
    10
    """
    kind, _, k = name.partition("@")
    if kind not in KINDS or not re.fullmatch("[1-9][0-9]{0,5}", k):
        raise DatasetError(
            f"unknown measure {name!r}", do=f"choose one of {', '.join(KINDS)} with its cut, such as ndcg@10"
        )
    return int(k)


def measured(
    names: Sequence[str], judgements: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Ranking]
) -> dict[str, dict[str, float]]:
    """Each measure for each judged question; one without a ranking, or with an empty one, counts 0.

    A document is relevant from grade 1; a grade below 0 counts as 0 and one above 1 weighs in nDCG only.

    Raises:
        DatasetError: a measure is unknown, a ranking holds a document twice, or a grade is above ``HIGHEST_GRADE``.
    """
    import ir_measures

    cuts = {name: cut(name) for name in names}
    parsed = {ir_measures.parse_measure(f"{KINDS[name.partition('@')[0]]}@{k}"): name for name, k in cuts.items()}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judgements, 0.0) for name in names}
    questions = {question: f"q{number}" for number, question in enumerate(judgements)}
    qrels, run = [], []
    for question, id in questions.items():
        ranking = rankings.get(question, ())
        ids = {document: f"d{number}" for number, document in enumerate(ranking)}
        if len(ids) < len(ranking):
            raise DatasetError("a ranking holds a document twice", where=question, do="rank each document once")
        run += [ir_measures.ScoredDoc(id, d, float(len(ids) - n)) for n, d in enumerate(ids.values())]
        for document, grade in judgements[question].items():
            if grade > HIGHEST_GRADE:
                raise DatasetError(f"{document} has the grade {grade}", where=question, do="grade by small numbers")
            # Below 0 is not relevant to trec_eval either, but pytrec_eval 0.5 then writes where it must not.
            qrels.append(ir_measures.Qrel(id, ids.setdefault(document, f"d{len(ids)}"), max(0, grade)))
    back = {id: question for question, id in questions.items()}
    for metric in ir_measures.iter_calc(list(parsed), qrels, run):
        values[parsed[metric.measure]][back[metric.query_id]] = float(metric.value)
    return values


def documents(hits: Sequence[Hit]) -> list[str]:
    """The sources of hits, best first, each at its best chunk."""
    return list(dict.fromkeys(hit.source for hit in hits))


# --- chunks and spans -------------------------------------------------------------------------------------------------


def chunk_measures(
    names: Sequence[str],
    spans: Mapping[str, Sequence[Span]],
    hits: Mapping[str, Sequence[Hit]],
    chunks: Callable[[str], Sequence[tuple[int, int]]],
) -> dict[str, dict[str, float]]:
    """``names`` (``chunk_ndcg@10``, …) over the questions whose evidence was found.

    A chunk is relevant when it holds at least half of a piece of evidence, or nothing but evidence. ``chunks(source)``
    tells the (start, end) of all chunks of a document, so that relevant ones that were not found count, too. A hit that
    neighbouring chunks were merged into ranks as those, in the document's order.
    """
    judgements: dict[str, dict[str, int]] = {}
    for question, found in spans.items():
        relevant = {
            f"{span.source}\n{start}:{end}": 1
            for span in found
            for start, end in chunks(span.source)
            if _is_relevant(start, end, span)
        }
        if relevant:
            judgements[question] = relevant
    names = [name.removeprefix("chunk_") for name in names]
    deepest = max(map(cut, names), default=0)
    rankings = {question: _chunks_of(hits.get(question, ()), chunks, deepest) for question in judgements}
    values = measured(names, judgements, rankings)
    return {f"chunk_{name}": per_question for name, per_question in values.items()}


def _chunks_of(hits: Sequence[Hit], chunks: Callable[[str], Sequence[tuple[int, int]]], most: int) -> Sequence[str]:
    """At least the first ``most`` chunks of ``hits``, each once: a document's chunks are read for no more than that."""
    found: dict[str, None] = {}
    for hit in hits:
        if len(found) >= most:
            break
        own = (hit.chunk.start, hit.chunk.end)
        there = chunks(hit.source)
        parts = [own] if own in there else [(a, b) for a, b in there if own[0] <= a and b <= own[1]]
        found.update(dict.fromkeys(f"{hit.source}\n{start}:{end}" for start, end in parts or [own]))
    return list(found)


def _is_relevant(start: int, end: int, span: Span) -> bool:
    shared = min(end, span.end) - max(start, span.start)
    return shared > 0 and (2 * shared >= span.end - span.start or shared == end - start)


def span_measures(
    cuts: Sequence[int], spans: Mapping[str, Sequence[Span]], hits: Mapping[str, Sequence[Hit]]
) -> dict[str, dict[str, float]]:
    """Recall, precision and intersection over union of the first k chunks against the evidence, by characters.

    As Smith and Troynikov define them (Evaluating Chunking Strategies for Retrieval, Chroma, 2024): with e what the
    evidence holds and r what the retrieved chunks hold, counted twice where two chunks overlap, recall = |e ∩ r| / |e|,
    precision = |e ∩ r| / |r|, IoU = |e ∩ r| / (|r| + |e \\ r|). They speak of tokens and count characters, and so do
    these: a word cut by a chunk's border counts as far as it is there, and languages without blanks are no exception.
    Blanks do not count, because chunkers differ in which ones they keep. Of a passage that stands in several places,
    the one that was found best is the evidence (``passages``).
    """
    values: dict[str, dict[str, float]] = {
        f"span_{kind}@{k}": {} for k in cuts for kind in ("recall", "precision", "iou")
    }
    for question, found in spans.items():
        places = [[characters(span) for span in passage] for passage in passages(found)]
        if not places:
            continue
        for k in cuts:
            best = hits.get(question, ())[:k]
            evidence = set().union(*(max(of_one, key=lambda place: len(held(place, best))) for of_one in places))
            shared = len(held(evidence, best))
            retrieved = sum(len("".join(hit.chunk.text.split())) for hit in best)
            values[f"span_recall@{k}"][question] = shared / len(evidence)
            values[f"span_precision@{k}"][question] = shared / retrieved if retrieved else 0.0
            values[f"span_iou@{k}"][question] = shared / (retrieved + len(evidence) - shared)
    return values


def passages(spans: Sequence[Span]) -> list[list[Span]]:
    """``spans`` in groups: each is one passage with all places where it stands; who has found one has found it.

    Spans are of one passage where their letters and digits are the same; blank ones are of none.
    """
    groups: dict[str, list[Span]] = {}
    for span in spans:
        if span.text.strip():
            letters = "".join(c for c in unicodedata.normalize("NFKD", span.text) if c.isalnum()).casefold()
            groups.setdefault(letters or span.text, []).append(span)
    return list(groups.values())


def characters(span: Span) -> set[Character]:
    """The characters of a span, blanks left out.

    >>> sorted(characters(Span("a.md", 10, 14, "I do")))
    [('a.md', 10), ('a.md', 12), ('a.md', 13)]
    """
    return {(span.source, at) for at, character in enumerate(span.text, span.start) if not character.isspace()}


def held(wanted: Set[Character], hits: Sequence[Hit]) -> set[Character]:
    """Those of the characters that lie in a chunk of ``hits``."""
    chunks: dict[str, list[tuple[int, int]]] = {}
    for hit in hits:
        chunks.setdefault(hit.source, []).append((hit.chunk.start, hit.chunk.end))
    return {(source, at) for source, at in wanted if any(start <= at < end for start, end in chunks.get(source, ()))}
