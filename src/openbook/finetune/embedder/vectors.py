"""What an adapter is trained on: vectors that are there already, and which of them answer a query."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openbook.evaluate.datasets import leakage
from openbook.finetune.data.places import Library
from openbook.finetune.data.rows import Example, Passage, same_text
from openbook.store.access import principals_of

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray
    from openbook.finetune.embedder.dev import Dev
    from openbook.store.index import View

MOST = 100_000
"""Chunks that a softmax is taken over: of more, so many are drawn. A step over 100,000 takes a quarter of a second."""

SAME = 0.8
"""Of the words of the shorter of two texts, the share that the other has from which a chunk is the passage."""

ALIKE = 0.98
"""Cosine from which two passages say the same as far as a model can tell: copies, and versions with a word changed."""

_FETCHED = 512


@dataclass(frozen=True, slots=True)
class Targets:
    """``queries`` float32[q, d] and ``passages`` float32[n, d], as the base makes them; by query the ``right`` rows of
    ``passages``, those of its ``own`` row in the data (its positives and negatives), and those that are ``left`` out of
    its softmax: whatever else may answer it. ``documents`` (ids) are whose vectors these are."""

    queries: FloatArray
    passages: FloatArray
    right: tuple[tuple[int, ...], ...]
    own: tuple[tuple[int, ...], ...]
    left: tuple[tuple[int, ...], ...]
    documents: tuple[str, ...]


def of_rows(examples: Sequence[Example], embedder: Embedder) -> Targets:
    """The passages of the rows alone, embedded by the base."""
    texts = list(dict.fromkeys(passage.text for example in examples for passage in example.passages))
    at = {text: row for row, text in enumerate(texts)}
    places = {text: (row,) for text, row in at.items()}
    return _targets(examples, embedder, embedder.encode(texts), places, {}, ())


def of_index(examples: Sequence[Example], embedder: Embedder, dev: Dev, access: Sequence[Sequence[str]]) -> Targets:
    """The chunks of the live index as it holds them, and what of the rows is none of them embedded beside.

    ``access`` is who may be answered by what is trained on the rows (see ``Rows.access``): of other documents only
    those are taken that such a caller may read anyway.
    """
    import numpy as np

    kb, index = dev.kb, dev.kb.index
    listing = {row["document"]: row for row in kb.list(as_=dev.as_)}
    ids = {row["source"]: id for id, row in listing.items()}
    named = {ids[p.document] for example in examples for p in example.passages if p.document in ids}
    required = [{*principals} for principals in access] + [{*listing[id]["access"]} for id in named]
    readable = {
        id
        for id, row in listing.items()
        if id in named or "public" in row["access"] or any(one <= {*row["access"]} for one in required)
    }
    with index.database.snapshot(principals_of(dev.as_)) as connection:
        view = index.view(connection, principals_of(dev.as_), None)
        chunks, documents, vectors = index.all_vectors(view)
        wanted = [chunk for chunk, of in zip(chunks, documents, strict=True) if of in named]
        texts = _texts(dev, Library.of(kb, list(listing.values()), {}), wanted, view)
    by_document: dict[str, list[int]] = {}
    for row, document in enumerate(documents):
        by_document.setdefault(document, []).append(row)
    places: dict[str, tuple[int, ...]] = {}
    beside: dict[str, int] = {}
    for passage in (passage for example in examples for passage in example.passages):
        if passage.text not in places:
            rows = by_document.get(ids.get(passage.document, ""), ())
            found = _same(passage, {row: texts[chunks[row]] for row in rows if chunks[row] in texts})
            places[passage.text] = found or (len(chunks) + beside.setdefault(passage.text, len(beside)),)
    added = embedder.encode(list(beside)) if beside else np.empty((0, vectors.shape[1]), np.float32)
    # Of another passage than it, a document that answers a query is no negative of it.
    answering = {
        id: tuple(by_document.get(ids.get(id, ""), ()))
        for id in {p.document for example in examples for p in example.positives}
    }
    kept = [row for row, document in enumerate(documents) if document in readable]
    if len(kept) > MOST:
        asked = {row for rows in places.values() for row in rows if row < len(chunks)}
        others = [row for row in kept if row not in asked]
        kept = sorted([*asked, *random.Random(0).sample(others, max(0, MOST - len(asked)))])
    to = {row: at for at, row in enumerate([*kept, *range(len(chunks), len(chunks) + len(beside))])}
    passages = np.concatenate([vectors[kept], added])
    places = {text: tuple(to[row] for row in rows if row in to) for text, rows in places.items()}
    answering = {source: tuple(to[row] for row in rows if row in to) for source, rows in answering.items()}
    used = sorted({documents[row] for row in kept})
    return _targets(examples, embedder, passages, places, answering, used)


def _targets(
    examples: Sequence[Example],
    embedder: Embedder,
    passages: FloatArray,
    places: Mapping[str, Sequence[int]],
    answering: Mapping[str, Sequence[int]],
    documents: Sequence[str],
) -> Targets:
    groups: dict[str, set[int]] = {}
    right, own = [], []
    for example in examples:
        of_query = {row for passage in example.positives for row in places[passage.text]}
        also = {row for passage in example.positives for row in answering.get(passage.document, ())}
        groups.setdefault(example.group, set()).update(of_query, also)
        right.append(tuple(sorted(of_query)))
        own.append(tuple(sorted({row for passage in example.passages for row in places[passage.text]})))
    alike = _alike(passages, sorted({row for rows in groups.values() for row in rows}))
    for rows in groups.values():
        rows.update(*(alike[row] for row in rows.copy()))
    left = [tuple(sorted(groups[example.group] - {*rows})) for example, rows in zip(examples, right, strict=True)]
    queries = embedder.encode([example.query for example in examples], "query")
    return Targets(queries, passages, tuple(right), tuple(own), tuple(left), tuple(documents))


def _alike(passages: FloatArray, rows: Sequence[int]) -> dict[int, list[int]]:
    """By row the passages that say nearly the same, in other documents or other versions of one: they answer, too."""
    import numpy as np

    found: dict[int, list[int]] = {}
    for first in range(0, len(rows), _FETCHED):
        some = rows[first : first + _FETCHED]
        for row, cosines in zip(some, passages[some] @ passages.T, strict=True):
            found[row] = np.flatnonzero(cosines >= ALIKE).tolist()
    return found


def _texts(dev: Dev, library: Library, chunks: Sequence[int], view: View) -> dict[int, str]:
    """What is embedded of these chunks."""
    found: dict[int, str] = {}
    for first in range(0, len(chunks), _FETCHED):
        for chunk, (hit, _) in dev.kb.index.fetch(view, chunks[first : first + _FETCHED]).items():
            found[chunk] = library.passage(hit).text
    return found


def _same(passage: Passage, texts: Mapping[int, str]) -> tuple[int, ...]:
    """The chunks of a document that a passage is: the same text, else those whose words are its own, else the chunk
    that has most in common with it. Whole documents are several chunks."""
    same = tuple(row for row, text in texts.items() if same_text(text) == same_text(passage.text))
    if same or not texts:
        return same
    words = {*leakage.normalised(passage.text).split()}
    shares = {}
    for row, text in texts.items():
        own = {*leakage.normalised(text).split()}
        shares[row] = len(words & own) / max(1, min(len(words), len(own)))
    most = max(shares.values())
    return tuple(row for row, share in shares.items() if share >= min(SAME, most))
