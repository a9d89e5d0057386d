"""Pseudo-relevance feedback: what a first search finds first is taken for relevant, and searched with once more.

By words RM3: the first chunks make a language model, whose most telling words are mixed into the question (Lavrenko and
Croft, Relevance-based language models, SIGIR 2001; Abdul-Jaleel et al., UMass at TREC 2004). By vectors Rocchio: the
question's moves towards the mean of theirs (Rocchio, Relevance feedback in information retrieval, 1971).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from openbook.store.keyword import Question

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.recipe import RelevanceFeedback
    from openbook.retrieve.query import Query
    from openbook.store.index import Index, View
    from openbook.types import Hit

_LOOKED_UP = 3
"""So many times as many words as are wanted are looked up for how common they are, the most frequent first."""


def again(
    part: RelevanceFeedback, index: Index, view: View, query: Query, read: Question, found: Sequence[int]
) -> tuple[Query, dict[str, Any], frozenset[str]]:
    """The query that is asked after ``query``, which was ``read`` so and ``found`` these chunks, best first; what is
    told of it; and the documents whose words that has."""
    first = list(found[: part.chunks])
    hits = [hit for hit, _ in index.fetch(view, first).values()] if part.weight else []
    terms = _telling(part, index, view, hits) if hits else {}
    words = _mixed(read, terms, part.weight)
    vector = query.vector
    if vector is not None and part.dense and (vectors := index.vectors(view, first)):
        vector = _moved(vector, list(vectors.values()), part.dense)
    told = {"chunks": len(first), "terms": {word: round(share, 4) for word, share in terms.items()}}
    documents = frozenset(hit.document for hit in hits)
    return replace(query, words=words, also=(), vector=vector), told, documents


def _telling(part: RelevanceFeedback, index: Index, view: View, hits: Sequence[Hit]) -> dict[str, float]:
    """Word → its share of the model of these chunks, the most telling ones; the shares sum to 1.

    How common a word is counts in what the caller may see.
    """
    words = index.words
    shares: Counter[str] = Counter()
    for hit in hits:
        counts = Counter(word for word in words.of(hit.chunk.text) if word not in words.stopwords)
        for word, count in counts.items():
            shares[word] += count / counts.total()  # type: ignore[assignment]  # a Counter of floats
    often = sorted(shares, key=lambda word: (-shares[word], word))[: _LOOKED_UP * part.terms]
    everything = replace(view, filter=None)
    held = index.chunks_with(everything, [("body", word) for word in often])
    total = index.matching(everything, None)
    telling = {
        word: shares[word] * math.log(1 + total / held["body", word]) for word in often if ("body", word) in held
    }
    best = sorted(telling, key=lambda word: (-telling[word], word))[: part.terms]
    mass = sum(shares[word] for word in best)
    return {word: shares[word] / mass for word in best}


def _mixed(read: Question, terms: dict[str, float], weight: float) -> Question:
    """All words together count as much as they did: of that the new ones have ``weight``."""
    if not terms:
        return read
    mass = sum(counts for (field, _), counts in read.terms if field == "body") or 1.0
    mixed = {term: counts * (1.0 - weight) for term, counts in read.terms}
    for word, share in terms.items():
        mixed["body", word] = mixed.get(("body", word), 0.0) + weight * mass * share
    return replace(read, terms=tuple(mixed.items()))


def _moved(vector: FloatArray, towards: Sequence[FloatArray], share: float) -> FloatArray:
    import numpy as np

    mean = np.mean(towards, axis=0)
    moved = (1.0 - share) * vector + share * mean
    length = float(np.linalg.norm(moved))
    return (moved / length).astype(np.float32) if length > 0 else vector
