"""Hard negatives: what the live index finds for a query, by vectors and by words, and what does not answer it.

A passage that scores nearly as high as the positive is more likely an answer that nobody marked than a mistake: one is
taken only below ``margin`` · the positive's score (Moreira et al., NV-Retriever, arXiv:2407.15831), and ``gap`` below
it, both in cosines of the knowledge base's own model. sentence-transformers' ``mine_hard_negatives`` has the same
rules; it would embed the whole corpus anew with torch, and knows neither words nor who may see what nor which passages
are of one document, which the index has at hand.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeGuard

from openbook.errors import DatasetError
from openbook.evaluate.datasets import leakage
from openbook.finetune.data.places import Asked, Library, Place
from openbook.finetune.data.rows import Dropped, Example, Passage, distinct, named, same_text
from openbook.store.access import principals_of
from openbook.types import Hit

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.knowledge_base import KnowledgeBase
    from openbook.store.index import View

CANDIDATES = 100
"""Of each side, dense and keyword, so many are looked at."""

MARGIN = 0.95
"""Share of the positive's score below which a negative must lie: the best of NV-Retriever's comparison."""

_WAVE = 64
"""Queries embedded at once, and asked in one snapshot."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a passage of an example stands: a document (its id), and what of it."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mined:
    """An example, and where its passages stand, as far as that is known."""

    example: Example
    right: tuple[Span, ...] = ()
    wrong: tuple[Span, ...] = ()


@dataclass(slots=True)
class Miner:
    """Turns queries with places into examples with passages, and finds their negatives.

    ``refused`` counts, by reason, what was likely no negative; ``dropped`` are queries of which no positive is left.
    """

    kb: KnowledgeBase
    library: Library
    negatives: int
    margin: float = MARGIN
    gap: float = 0.0
    as_: Sequence[str] | None = None
    refused: Counter[str] = field(default_factory=Counter)
    dropped: list[Dropped] = field(default_factory=list)

    def mine(self, asked: Sequence[Asked | Example], progress: Progress = lambda done, of: None) -> Iterator[Mined]:
        """In their order. A query that is nearly another has its positives kept out of its negatives, too.

        Raises:
            ModelError, StoreError: the index cannot be asked.
        """
        index = self.kb.index
        for one in asked if self.kb.embedder.remote else ():
            if _is_withheld(one):
                self.refused["to look for: local-only, and the embedding model is remote"] += 1
                yield Mined(one)
        asked = [one for one in asked if not (self.kb.embedder.remote and _is_withheld(one))]
        also = _near_queries(asked)
        for at in range(0, len(asked), _WAVE):
            wave = asked[at : at + _WAVE]
            vectors = self.kb.embedder.encode([one.query for one in wave], "query")
            with index.database.snapshot(principals_of(self.as_)) as connection:
                view = index.view(connection, principals_of(self.as_), None)
                for number, (one, vector) in enumerate(zip(wave, vectors, strict=True), at):
                    near = [asked[other] for other in also.get(number, ())]
                    mined = self._mined(view, one, vector, near)
                    if mined is not None:
                        yield mined
            progress(min(at + _WAVE, len(asked)), len(asked))

    def _mined(
        self, view: View, one: Asked | Example, vector: FloatArray, near: Sequence[Asked | Example]
    ) -> Mined | None:
        index = self.kb.index
        given = one if isinstance(one, Example) else None
        places = () if isinstance(one, Example) else (*one.right, *one.wrong)
        chunks = index.places(view, [place.document for place in places])
        words = index.keyword(view, one.query, CANDIDATES) if self.negatives else []
        own = [chunk for of in chunks.values() for chunk, _, _ in of]
        wanted = CANDIDATES if self.negatives else 1
        dense, cosines = index.dense(view, vector, wanted, [*own, *(chunk for chunk, _ in words)])
        right: list[int] = []
        wrong: list[int] = []
        if isinstance(one, Asked):
            right = [best for place in one.right if (best := _best(place, chunks, cosines)) is not None]
            wrong = [best for place in one.wrong if (best := _best(place, chunks, cosines)) is not None]
        ranked = self._ranked([chunk for chunk, _ in dense], [chunk for chunk, _ in words])
        fetched = index.fetch(view, [*right, *wrong])
        if isinstance(one, Asked):
            positives = self._passages(right, fetched, cosines, one.left_out)
            if not positives:
                self.dropped.append(Dropped(one.where, "its document is not in the index"))
                return None
            judged = tuple(replace(p, by="judged") for p in self._passages(wrong, fetched, cosines))
        else:
            assert given is not None
            positives, judged = given.positives, given.negatives
        if given is not None or (isinstance(one, Asked) and one.left_out):
            scores = self.kb.embedder.encode([passage.text for passage in positives]) @ vector
            positives = tuple(replace(p, score=_rounded(s)) for p, s in zip(positives, scores, strict=True))
        found, spans = self._negatives(view, ranked, cosines, one, near, positives, judged)
        example = Example(
            one.query,
            distinct(positives),
            distinct([*judged, *found]),
            kind=one.kind,
            asked_by=one.asked_by,
            where=one.where,
        )
        return Mined(example, _spans(right, fetched), (*_spans(wrong, fetched), *spans))

    def _ranked(self, dense: Sequence[int], words: Sequence[int]) -> list[tuple[int, str]]:
        """Both rankings in turn, each chunk once, with the side that ranked it so high."""
        found: dict[int, str] = {}
        for pair in zip_longest(dense, words):
            for chunk, by in zip(pair, ("dense", "keyword"), strict=True):
                if chunk is not None:
                    found.setdefault(chunk, by)
        return list(found.items())

    def _passages(
        self,
        chunks: Sequence[int],
        fetched: Mapping[int, tuple[Hit, str]],
        cosines: Mapping[int, float],
        left_out: str = "",
    ) -> tuple[Passage, ...]:
        return tuple(
            replace(self.library.passage(fetched[chunk][0], left_out), score=_rounded(cosines.get(chunk)))
            for chunk in chunks
            if chunk in fetched and fetched[chunk][0].document in self.library.rows
        )

    def _negatives(
        self,
        view: View,
        ranked: Sequence[tuple[int, str]],
        cosines: Mapping[int, float],
        one: Asked | Example,
        near: Sequence[Asked | Example],
        positives: Sequence[Passage],
        judged: Sequence[Passage],
    ) -> tuple[list[Passage], tuple[Span, ...]]:
        """As many as are wanted, the hardest first."""
        wanted = self.negatives - len(judged)
        scores = [passage.score for passage in positives if passage.score is not None]
        if wanted <= 0 or not scores:
            return [], ()
        lowest = min(scores)
        most = min(lowest - (1.0 - self.margin) * abs(lowest), lowest - self.gap)
        named = {self.library.ids[p.document] for p in positives if p.document in self.library.ids}
        answers = _documents([one, *near]) | named
        alike = _Alike([*positives, *(p for other in near if isinstance(other, Example) for p in other.positives)])
        known = {same_text(passage.text) for passage in judged}
        found: list[Passage] = []
        spans: list[Span] = []
        at = 0
        while len(found) < wanted and at < len(ranked):
            some = ranked[at : at + 4 * self.negatives]
            at += len(some)
            fetched = self.kb.index.fetch(view, [chunk for chunk, _ in some])
            for chunk, by in some:
                if chunk not in fetched or len(found) >= wanted:
                    continue
                hit = fetched[chunk][0]
                why = self._why_not(hit, cosines.get(chunk), most, answers)
                passage = self.library.passage(hit) if not why else None
                if passage is not None:
                    why = "nearly the same as a positive" if alike.holds(passage.text) else ""
                    if same_text(passage.text) in known:
                        continue
                if passage is None or why:
                    self.refused[why] += 1
                    continue
                known.add(same_text(passage.text))
                found.append(replace(passage, score=_rounded(cosines[chunk]), by=by))
                start, end = hit.found or (hit.chunk.start, hit.chunk.end)
                spans.append(Span(hit.document, start, end))
        return found, tuple(spans)

    def _why_not(self, hit: Hit, score: float | None, most: float, answers: set[str]) -> str:
        """Why a chunk that was found is likely no negative; "": it may be one."""
        if hit.document not in self.library.rows:
            return "of a document that is not to be trained on"
        if any(self.library.same(hit.document, answer) for answer in answers):
            return "of the same document as a positive"
        if score is None:
            return "local-only, and the embedding model is remote"
        return "" if score < most else "too near its positive: likely an answer"


def _is_withheld(one: Asked | Example) -> TypeGuard[Example]:
    """Whether a remote model may not be sent its texts."""
    return isinstance(one, Example) and any(passage.local_only for passage in one.passages)


def _documents(asked: Sequence[Asked | Example]) -> set[str]:
    return {place.document for one in asked if isinstance(one, Asked) for place in one.right}


def _near_queries(asked: Sequence[Asked | Example]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for i, j, _ in leakage.near([one.query for one in asked]):
        found.setdefault(i, []).append(j)
        found.setdefault(j, []).append(i)
    return found


def _best(
    place: Place, chunks: Mapping[str, Sequence[tuple[int, int, int]]], cosines: Mapping[int, float]
) -> int | None:
    """The chunk that most of the spans are in; of the whole document, the one nearest to the query."""
    of = chunks.get(place.document, ())
    if not of:
        return None
    if place.spans:
        chunk, start, end = max(of, key=lambda one: (place.shared(one[1], one[2]), -one[1]))
        if place.shared(start, end):
            return chunk
    return max(of, key=lambda one: (cosines.get(one[0], -1.0), -one[1]))[0]


def _spans(chunks: Sequence[int], fetched: Mapping[int, tuple[Hit, str]]) -> tuple[Span, ...]:
    hits = [fetched[chunk][0] for chunk in chunks if chunk in fetched]
    return tuple(Span(hit.document, *(hit.found or (hit.chunk.start, hit.chunk.end))) for hit in hits)


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(float(score), 4)


class _Alike:
    """Which texts say nearly the same as one of a few."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._texts = [passage.text for passage in passages]
        self._same = {leakage.normalised(text) for text in self._texts}

    def holds(self, text: str) -> bool:
        if leakage.normalised(text) in self._same:
            return True
        sketches: leakage.Sketches[int] = leakage.Sketches()
        for number, known in enumerate([*self._texts, text]):
            sketches.add(number, known)
        last = len(self._texts)
        return any(last in (a, b) for a, b, _ in sketches.alike(leakage.NEAR_PASSAGE, leakage.HELD_PASSAGE))


# --- n-tuples ---------------------------------------------------------------------------------------------------------


def filled(examples: Sequence[Example], n: int, seed: int) -> tuple[list[Example], int]:
    """Each with ``n`` negatives, the first ones that it has; what lacks is drawn among the positives of other groups,
    and told how many. n-tuples of one file all have as many columns.

    Raises:
        DatasetError: there are not enough passages of other groups.
    """
    rng = random.Random(seed)
    pool = [(passage, example.group) for example in examples for passage in example.positives]
    found, drawn = [], 0
    for example in examples:
        negatives = list(example.negatives[:n])
        documents = {passage.document for passage in example.positives if passage.document}
        known = {same_text(passage.text) for passage in (*example.positives, *negatives)}
        others = rng.sample(pool, len(pool)) if len(negatives) < n else []
        for passage, group in others:
            if len(negatives) >= n:
                break
            same = same_text(passage.text)
            if group == example.group or passage.document in documents or same in known:
                continue
            known.add(same)
            negatives.append(replace(passage, score=None, by="random"))
            drawn += 1
        if len(negatives) < n:
            do = "ask for fewer (--negatives), or write triplets (--to triplets)"
            raise DatasetError(f"only {len(negatives)} passages do not answer {named(example.query)!r}", do=do)
        found.append(replace(example, negatives=tuple(negatives)))
    return found, drawn
