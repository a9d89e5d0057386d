"""A part of an index whose vectors are made anew by a model in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from openbook.embed.vectors import blended
from openbook.evaluate.measures import ranking
from openbook.finetune.data.places import Library
from openbook.retrieve import Retriever
from openbook.store.access import principals_of
from openbook.store.filter import to_sql
from openbook.store.index import Index

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray
    from openbook.finetune.embedder.dev import Asking
    from openbook.store.index import View
    from openbook.store.keyword import Question

MOST = 1_200
"""Chunks of a pool: they are embedded again and again while a model is trained."""

FURTHER = 20
"""Times as many keyword hits are looked at, since most of them are none of the pool's."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Documents that stand for all of them: those that are judged, and the first that the base finds for each dev
    question.

    What is approximated: a chunk outside the pool is never found, neither by its vector nor by its words, so that
    scores are higher than those of the whole; and a document that only the model in training would find is missed as a
    wrong answer. Two steps of one training are compared on the same pool. How rare a word is is told by the whole
    index.
    """

    asking: Asking
    chunks: tuple[int, ...]
    texts: tuple[str, ...]
    ends: tuple[int, ...]  # of the runs of chunks that are blended with their neighbours

    def index(self, encode: Callable[[Sequence[str]], FloatArray]) -> Index:
        """As the knowledge base's index would be, were it made of these documents by this model."""
        kb = self.asking.dev.kb
        vectors = blended(encode(self.texts), self.ends, kb.recipe.index.neighbours)
        return _Pooled(kb.index, self.chunks, vectors)


def pool_of(asking: Asking, base: Embedder, first: int) -> Pool:
    """The judged documents and the ``first`` that ``base``, the index's own model, finds for each question; of those,
    the ones that are found first, as many as ``MOST`` chunks allow."""
    kb, who = asking.dev.kb, principals_of(asking.dev.as_)
    listing = kb.list(as_=asking.dev.as_)
    library = Library.of(kb, listing, {})
    retriever = Retriever(kb.index, base, asking.query)
    found = [
        ranking.documents(retriever.retrieve(question.text, 5 * first, principals=who).hits)[:first]
        for question in asking.questions
    ]
    judged = dict.fromkeys(source for grades in asking.judgements.values() for source in grades)
    wanted = dict.fromkeys(judged)
    for rank in range(first):
        wanted.update(dict.fromkeys(sources[rank] for sources in found if rank < len(sources)))
    ids = [library.ids[source] for source in wanted if source in library.ids]
    chunks: list[int] = []
    texts: list[str] = []
    ends: list[int] = []
    with kb.index.database.snapshot(who) as connection:
        view = kb.index.view(connection, who, None)
        for id in ids:
            of = [chunk for chunk, _, _ in kb.index.places(view, [id]).get(id, ())]
            if chunks and len(chunks) + len(of) > MOST:
                continue
            fetched = kb.index.fetch(view, of)
            headings = None
            for chunk in (chunk for chunk in of if chunk in fetched):
                hit = fetched[chunk][0]
                if headings is not None and hit.chunk.headings != headings:
                    ends.append(len(chunks))
                headings = hit.chunk.headings
                chunks.append(chunk)
                texts.append(library.passage(hit).text)
            ends.append(len(chunks))
    return Pool(asking, tuple(chunks), tuple(texts), tuple(ends))


class _Pooled(Index):
    """An index that finds nothing but the chunks of a pool, by vectors of its own."""

    def __init__(self, index: Index, chunks: Sequence[int], vectors: FloatArray) -> None:
        self.__dict__.update(index.__dict__)
        self._chunks = list(chunks)
        self._vectors = vectors
        self._at = {chunk: row for row, chunk in enumerate(chunks)}

    def require(self, embedder: str) -> None:
        """Its vectors are whose they are."""

    def dense(
        self, view: View, vector: FloatArray, k: int, also: Sequence[int] = ()
    ) -> tuple[list[tuple[int, float]], dict[int, float]]:
        cosines = dict(zip(self._chunks, (self._vectors @ vector).tolist(), strict=True))
        there = set(self._chunks) if view.filter is None else {*self._seen(view)}
        nearest = sorted(((id, cosines[id]) for id in there), key=lambda row: (-row[1], row[0]))[:k]
        return nearest, dict(nearest) | {id: cosines[id] for id in also if id in cosines}

    def keyword(self, view: View, question: str | Question, k: int) -> list[tuple[int, float]]:
        found = super().keyword(view, question, FURTHER * k)
        return [(chunk, score) for chunk, score in found if chunk in self._at][:k]

    def vectors(self, view: View, chunks: Sequence[int]) -> dict[int, FloatArray]:
        return {chunk: self._vectors[self._at[chunk]] for chunk in chunks if chunk in self._at}

    def _seen(self, view: View) -> list[int]:
        """Those that the filter lets through."""
        assert view.filter is not None
        where, params = to_sql(view.filter, document="c.document", table=sql.Identifier("openbook", "attribute"))
        rows = view.connection.execute(
            sql.SQL("SELECT c.id FROM {} c WHERE c.id = ANY(%s::bigint[]) AND {}").format(self.table, where),
            [self._chunks, *params],
        ).fetchall()
        return [id for (id,) in rows]
