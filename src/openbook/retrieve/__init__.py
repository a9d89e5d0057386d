"""A question becomes hits: narrowed by what it says itself, dense and keyword search side by side, fused, fetched
through the access rules."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from openbook.errors import QueryError
from openbook.recipe import (
    BridgeHops,
    CrossEncoder,
    Diversity,
    EvidenceFusion,
    ModelHops,
    NearDuplicates,
    Off,
    QueryHalf,
    Recency,
    ReciprocalRankFusion,
    RelevanceFeedback,
    WeightedFusion,
)
from openbook.retrieve.calls import Calls, side_by_side
from openbook.retrieve.familiar import familiarity
from openbook.retrieve.fusion import Ranking, evidence, reciprocal_rank, weighted
from openbook.retrieve.passage import Passage, Said
from openbook.retrieve.query import NEXT, Query
from openbook.retrieve.stages import Candidate
from openbook.retrieve.transform import Asked, Transforms
from openbook.store.database import Pruned
from openbook.store.filter import Filter
from openbook.store.index import Index, View
from openbook.store.models import Models
from openbook.types import Hit, StageScore, Turn, Usage

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray, TextKind
    from openbook.embed.linear import LinearMap
    from openbook.retrieve.adapter import Adapted
    from openbook.retrieve.filters import Filters, Proposing
    from openbook.retrieve.hops import Bridge, Reader
    from openbook.retrieve.rerank import Reranker
    from openbook.retrieve.rerank.stage import Reranking
    from openbook.retrieve.transform.model import ByModel
    from openbook.store.keyword import Question
    from openbook.tuned import Gate

QUESTION_CHARACTERS = 10_000
"""Longer questions are cut: the model reads some hundred tokens, and words beyond that only slow the keyword side."""

MODEL_STAGES = ("multi-query", "decompose", "hyde")
"""What a language model makes queries of."""

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Hits, best first, the milliseconds of each stage, what a stage has to tell besides, and the filter that they
    were found under: the caller's own, and what the question proposed."""

    hits: tuple[Hit, ...]
    ms: dict[str, float]
    details: dict[str, Any]
    filter: Filter | None = None


class Superseded(Exception):
    """Another release answers by now: ask that one."""


class Retriever:
    """The query half of a recipe up to the hits, over one index.

    ``release`` is the number of the release that it answers for, as long as that one is live; ``None``: always.
    ``sharing`` is how many chunks may have one passage.
    ``today`` is the day that "last month" is told from. ``reranker`` stands in the place of the one that the recipe
    names.

    Raises:
        StoreError: the index was built with another model.
        ModelError, RecipeError: as ``open_reranker``.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        part: QueryHalf,
        *,
        release: int | None = None,
        sharing: int = 1,
        today: Callable[[], date] = date.today,
        reranker: Reranker | None = None,
    ) -> None:
        index.require(embedder.hash)
        self.release = release
        self.index = index
        self.embedder = embedder
        self.part = part
        self.sharing = sharing
        self._asked = sides_asked(part.fusion)
        self._reranking, self._rerank_gate = _reranking(part, index, embedder, reranker)
        stages = (part.rerank, part.recency, part.diversity)
        self._ordered = max((stage.candidates for stage in stages if not isinstance(stage, Off)), default=0)
        self._adapted: Adapted | None = None
        if self._asked[0] and not isinstance(part.adapter, Off):
            from openbook.retrieve.adapter import Adapted

            self._adapted = Adapted(part.adapter, index, embedder)
        self._models = Models(index.database, index.kb)
        self._is_tuned = self._models.is_known(embedder.hash)
        self._transforms: Transforms | None = None
        if not (isinstance(part.spelling, Off) and isinstance(part.glossary, Off)):
            self._transforms = Transforms(part, index, embedder)
        self._bridge: Bridge | None = None
        if isinstance(part.hops, BridgeHops):
            from openbook.retrieve.hops import Bridge

            self._bridge = Bridge(part.hops, part, index)
        self._reader: Reader | None = None
        if isinstance(part.hops, ModelHops):
            from openbook.retrieve.hops import Reader

            self._reader = Reader(part.hops, private=not embedder.remote)
        self._filters: Filters | None = None
        if not isinstance(part.filters, Off):
            from openbook.retrieve.filters import Filters

            self._filters = Filters(part.filters, index, today)
        self.by_model: ByModel | None = None
        if not isinstance(part.transform, Off):
            from openbook.retrieve.transform.model import ByModel

            self.by_model = ByModel(part.transform)

    def adapter(self, principals: Sequence[str] | None) -> LinearMap | None:
        """The query adapter, if there is one that may answer this caller now."""
        return None if self._adapted is None else self._adapted.of(principals)[0]

    def retrieve(
        self,
        question: str,
        k: int,
        *,
        principals: Sequence[str] | None = None,
        filter: Filter | None = None,
        history: Sequence[Turn] = (),
        held: Usage | None = None,
        since: float | None = None,
    ) -> Retrieved:
        """The ``k`` best chunks that the principals may see and the filter lets through; fewer only where fewer match,
        or are ``within`` what the recipe says of the best.

        ``history`` is what was said before: a follow-up question is looked for as it is meant. ``held`` of the budget
        is left for the answer, and its seconds count from ``since`` (``time.perf_counter``).

        Raises:
            QueryError: the question is blank.
            ModelError: the index's embedder was trained on texts that are not all open to this caller.
            Superseded: its release is no longer live, or was pruned.
        """
        if self._is_tuned:
            self._models.require_open(self.embedder.hash, principals)
        try:
            calls = Calls(self.part.budget, since=time.perf_counter() if since is None else since, held=held)
            return self._retrieve(question, k, principals, filter, history, calls)
        except Pruned as error:
            raise Superseded from error

    def _retrieve(
        self,
        question: str,
        k: int,
        principals: Sequence[str] | None,
        filter: Filter | None,
        history: Sequence[Turn],
        calls: Calls,
    ) -> Retrieved:
        question = question[:QUESTION_CHARACTERS].strip()
        if not question:
            raise QueryError("the question is empty", do="ask something")
        ms: dict[str, float] = {}
        details: dict[str, Any] = {}
        if history:
            with _Timer(ms, "standalone"):
                question, details["standalone"] = self._standalone(question, history, calls)
        # No snapshot is held open while a model thinks.
        asked = self._transformed(question, principals, ms)
        details |= asked.details
        adapter = None
        if self._adapted is not None:
            adapter, details["adapter"] = self._adapted.of(principals)
        queries, proposing = self._queries(asked, principals, calls, ms, adapter)
        if told := [{"stage": query.stage, "text": query.text} for query in queries if query.stage in MODEL_STAGES]:
            details["queries"] = [{"stage": "question", "text": asked.text}, *told]
        if self._reader is not None:
            first = self._first(queries[0], principals, filter, proposing, ms)
            with _Timer(ms, "hops"):
                said = self._reader.ask(asked.told(self._reader.reads_local), first, calls)
            details["hops"] = said.told
            _tell_read(details, (hit.document for hit in first))
            embedded = self._embed(said.queries, ms, adapter=adapter)
            queries += [Query(text, NEXT, vector) for text, vector in zip(said.queries, embedded, strict=True)]
        if calls.told:
            details["calls"] = calls.told
        for attempt in range(_ATTEMPTS):
            if attempt + 1 == _ATTEMPTS:  # ahead again and again: by what others write, or for good
                self.index.turn_back()
            with self.index.database.snapshot(principals) as connection:
                view = self.index.view(connection, principals, filter)
                if self.release not in (None, view.live):
                    raise Superseded
                if filter is not None and (unknown := self.index.unknown_fields(view, filter)):
                    details["unknown_fields"] = {name: list(near) for name, near in unknown.items()}
                narrowed = view
                if proposing is not None:
                    with _Timer(ms, "filters"):
                        narrowed, details["filters"] = proposing.narrow(view)
                fused, stages = self._search(narrowed, queries, k, ms, details)
                # Another process may have taken the keyword view past this snapshot; a fresh one sees what it sees.
                by_words = self._asked[1] or proposing is not None
                if attempt + 1 < _ATTEMPTS and by_words and self.index.is_ahead(view):
                    continue
                with _Timer(ms, "fetch"):
                    found = self._fetch(narrowed, fused, stages, k)
                if not found and proposing is not None and narrowed is not view:
                    # What matches has no vector, and no word of the question: a proposal never excludes everything.
                    narrowed, details["filters"] = view, proposing.give_up(view)
                    fused, stages = self._search(view, queries, k, ms, details)
                    with _Timer(ms, "fetch"):
                        found = self._fetch(view, fused, stages, k)
                own = self._vectors(view, found)
                break
        # Nor while they are put in order: models may be asked here, and servers.
        found, ordered = self._order(asked, found, own, ms, principals)
        details |= ordered
        hits = self._merged(found, k)
        if details.get("rerank", {}).get("withheld"):
            # Ranks, not documents: what is told of those follows the rule that holds when the trace is read.
            unread = [rank for rank, hit in enumerate(hits, 1) if hit.local_only and "rerank" not in hit.stages]
            details["withheld"] = {"rerank": unread}
        return Retrieved(hits, ms, details, narrowed.filter)

    def _standalone(self, question: str, history: Sequence[Turn], calls: Calls) -> tuple[str, dict[str, Any]]:
        """The question as it is meant after all that was said, and what is told of that."""
        from openbook.retrieve.transform.conversation import LONGEST, standalone

        said = None
        if self.by_model is not None and len(question) <= LONGEST:
            said = self.by_model.standalone(question, history, calls)
        found = said or standalone(question, history)
        return found, {"question": found, "by": "model" if said else "rule", "turns": len(history)}

    def _queries(
        self,
        asked: Asked,
        principals: Sequence[str] | None,
        calls: Calls,
        ms: dict[str, float],
        adapter: LinearMap | None,
    ) -> tuple[list[Query], Proposing | None]:
        """What is looked for, and what filters are proposed. Language models are asked side by side, and meanwhile the
        question is embedded."""
        # Corrected from documents, it may hold words that a remote model is not to be sent.
        local = not self.embedder.remote
        parts = self._bridge.parts(asked.told(local)) if self._bridge else []
        propose: Callable[[], Proposing | None] | None = None
        if self._filters is not None:
            propose = partial(self._filters.ask, asked.told(self._filters.reads_local), principals, calls)
        ask: dict[str, Callable[[], Any]] = {}
        if self.by_model is not None:
            told = asked.told(self.by_model.part.model.is_local)
            ask |= self.by_model.stages(told, calls, dense=self._asked[0])
        if propose is not None and self._filters is not None and self._filters.asks:
            ask["filters"] = propose
        start = time.perf_counter()
        embed = partial(self._embed, ms=ms, adapter=adapter)
        said, vectors = side_by_side(ask, lambda: embed([asked.embedded(local), *parts]))
        if ask:
            ms["models"] = round((time.perf_counter() - start) * 1000, 3)
        proposing = said.pop("filters", None)
        if propose is not None and proposing is None:
            proposing = propose()
        queries = [Query(asked.text, vector=vectors[0], also=asked.also)]
        queries += [Query(text, "part", vector) for text, vector in zip(parts, vectors[1:], strict=True)]
        if self.by_model is not None:
            queries += self.by_model.queries(said, embed)
        return queries, proposing

    def _transformed(self, question: str, principals: Sequence[str] | None, ms: dict[str, float]) -> Asked:
        if self._transforms is None:
            return Asked.as_typed(question)
        with _Timer(ms, "transform"):
            return self._transforms.ask(question, principals)

    def _embed(
        self,
        texts: Sequence[str],
        ms: dict[str, float],
        kind: TextKind = "query",
        *,
        adapter: LinearMap | None = None,
    ) -> list[FloatArray | None]:
        """What is looked for together, embedded at once. What stands for a document is not for the ``adapter``."""
        if not self._asked[0] or not texts:
            return [None] * len(texts)
        with _Timer(ms, "embed"):
            vectors = self.embedder.encode(list(texts), kind)
            return [*(adapter.apply(vectors) if adapter is not None and kind == "query" else vectors)]

    def _first(
        self,
        query: Query,
        principals: Sequence[str] | None,
        filter: Filter | None,
        proposing: Proposing | None,
        ms: dict[str, float],
    ) -> list[Hit]:
        """What one search finds, for whoever reads it and says what to look for next."""
        with self.index.database.snapshot(principals) as connection:
            view = self.index.view(connection, principals, filter)
            if proposing is not None:
                view, _ = proposing.narrow(view)
            fused, stages = self._rank(view, query, 10, ms)
            return [candidate.hit for candidate in self._fetch(view, fused, stages, 10)]

    def _search(
        self, view: View, queries: Sequence[Query], k: int, ms: dict[str, float], details: dict[str, Any]
    ) -> tuple[list[tuple[int, float]], dict[str, Ranking]]:
        """Chunks by fused score, and what each stage says of them. The rankings of a question and of other ways to ask
        it fuse by reciprocal rank (RAG fusion: Rackauckas, arXiv:2402.03367), parts of it as ``with_parts`` has it;
        each is told as a stage of its own."""
        if isinstance(self.part.expansion, RelevanceFeedback):
            from openbook.retrieve.transform.relevance import again

            once, _ = self._rank(view, queries[0], k, ms)
            with _Timer(ms, "expand"):
                first = [chunk for chunk, _ in once]
                read = self._read(view, queries[0])
                query, details["expansion"], of = again(self.part.expansion, self.index, view, queries[0], read, first)
                _tell_read(details, of)
            queries = [query, *queries[1:]]
        if self._bridge is not None:
            hopped = self._bridge.search(view, queries, lambda query, also: self._rank(view, query, k, ms, also))
            details["hops"] = hopped.told
            _tell_read(details, hopped.documents)
            return hopped.fused, hopped.stages
        found = [self._rank(view, query, k, ms) for query in queries]
        fused, stages = found[0]
        if len(found) == 1:
            return fused, stages
        names = [query.stage for query in queries]
        ranked = list(zip(queries, (ranking for ranking, _ in found), strict=True))
        stages |= {
            f"{name} {names[:at].count(name) + 1}": ranked[at][1] for at, name in enumerate(names) if name != NEXT
        }
        whole = [(query, ranking) for query, ranking in ranked if not query.is_part]
        parts = [ranking for query, ranking in ranked if query.is_part]
        with _Timer(ms, "fuse"):
            if len(whole) > 1:
                fused = reciprocal_rank([each for _, each in whole], weights=[query.weight for query, _ in whole])
            if parts:
                from openbook.retrieve.hops import with_parts

                in_nats = isinstance(self.part.fusion, EvidenceFusion)
                fused = with_parts(fused, parts, in_nats=in_nats and len(whole) == 1)
                if later := [ranking for query, ranking in ranked if query.stage == NEXT]:
                    stages[NEXT] = with_parts([], later, in_nats=in_nats)
        return fused, stages

    def _read(self, view: View, query: Query) -> Question:
        """What the keyword side is asked."""
        read = query.words or self.index.read(view, query.text)
        return replace(read, terms=tuple({**dict(query.also), **dict(read.terms)}.items())) if query.also else read

    def _rank(
        self, view: View, query: Query, k: int, ms: dict[str, float], also: Sequence[int] = ()
    ) -> tuple[list[tuple[int, float]], dict[str, Ranking]]:
        vector = query.vector
        # Of so many pairs each leaves one hit less, and so does every chunk whose passage another has shown.
        n = max(self.part.candidates, k * self.sharing + self.part.merge // 2)
        fusion = self.part.fusion
        dense: Ranking = []
        keyword: Ranking = []
        cosines: dict[int, float] = {}
        read, known = None, 1.0
        with _Timer(ms, "keyword"):
            if isinstance(fusion, EvidenceFusion):
                read = self._read(view, query)
                if fusion.familiarity and vector is not None:
                    (known,) = familiarity([query.text], self.embedder)
            if self._asked[1]:
                words = read or query.words or (replace(self._read(view, query), mentions=()) if query.also else None)
                keyword = self.index.keyword(view, words or query.text, n)
        if vector is not None:
            with _Timer(ms, "dense"):
                # Both scores of every candidate: a chunk that only the keyword side found has a cosine, too, unless it
                # is local-only and the model is not.
                dense, cosines = self.index.dense(view, vector, n, [*(chunk for chunk, _ in keyword), *also])
        with _Timer(ms, "fuse"):
            if isinstance(fusion, EvidenceFusion):
                assert read is not None
                fused = evidence(
                    cosines,
                    self.index.weigh(view, read, list({**cosines, **dict(keyword), **dict.fromkeys(also)})),
                    weight=known * fusion.cosine,
                    chunk=fusion.chunk,
                    document=fusion.document,
                    neighbours=fusion.neighbours,
                )
            elif isinstance(fusion, WeightedFusion):
                fused = weighted(cosines, dict(keyword), fusion.dense)
            else:
                fused = reciprocal_rank([dense, keyword], fusion.k)
        return fused, {"dense": dense, "keyword": keyword}

    def _fetch(self, view: View, fused: Ranking, stages: Mapping[str, Ranking], k: int) -> list[Candidate]:
        """As many as the ``k`` first hits may be made of, and the later stages look at."""
        merge = self.part.merge
        scores = {name: dict(ranking) for name, ranking in stages.items()}
        ranks = {name: {chunk: rank for rank, chunk in enumerate(scores[name], 1)} for name in scores}
        wanted = max(k, merge, self._ordered) + merge // 2  # of so many pairs each leaves one hit less
        found: list[Candidate] = []
        seen = 0
        while len(fused) > seen and (len(found) < wanted or self._are_few(found, k)):
            batch = fused[seen : seen + wanted]
            fetched = self.index.fetch(view, [chunk for chunk, _ in batch])
            for chunk, score in batch:
                seen += 1
                if chunk not in fetched:
                    continue
                hit, after = fetched[chunk]
                told = {
                    name: StageScore(ranks[name][chunk], those[chunk])
                    for name, those in scores.items()
                    if chunk in those
                }
                told["fused"] = StageScore(seen, score)
                found.append(Candidate(chunk, replace(hit, score=score, stages=told), after, seen))
        return found

    def _vectors(self, view: View, found: Sequence[Candidate]) -> Mapping[int, FloatArray]:
        part = self.part.diversity
        if isinstance(part, Off):
            return {}
        return self.index.vectors(view, [candidate.chunk for candidate in found[: part.candidates]])

    def _order(
        self,
        asked: Asked,
        found: list[Candidate],
        vectors: Mapping[int, FloatArray],
        ms: dict[str, float],
        principals: Sequence[str] | None,
    ) -> tuple[list[Candidate], dict[str, Any]]:
        """What the stages after fusion make of the candidates, and what they tell."""
        details: dict[str, Any] = {}
        if self._rerank_gate is not None and (why := self._rerank_gate.closed(principals)):
            details["rerank"] = {"candidates": 0, "skipped": why}
        elif self._reranking is not None and not isinstance(self.part.rerank, Off):
            with _Timer(ms, "rerank"):
                question = asked.told(self.part.rerank.is_local)
                found, details["rerank"] = self._reranking.apply(question, found)
        if isinstance(self.part.recency, Recency):
            from openbook.retrieve.recency import by_recency

            with _Timer(ms, "recency"):
                found = by_recency(found, self.part.recency)
        if isinstance(self.part.diversity, Diversity):
            from openbook.retrieve.diversity import by_diversity

            with _Timer(ms, "diversity"):
                found = by_diversity(found, self.part.diversity, vectors)
        return found, details

    def _are_few(self, found: Sequence[Candidate], k: int) -> bool:
        """Whether so many of them are parts, or repetitions, of others that fewer than ``k`` hits are left."""
        return len(self._passages(found)) < k

    def _merged(self, found: Sequence[Candidate], k: int) -> tuple[Hit, ...]:
        """The first ``k`` hits, which are the first ``k`` of any larger number."""
        hits = [passage.hit for passage in self._passages(found)[:k]]
        if self.part.within is None or not hits:
            return tuple(hits)
        least = max(hit.score for hit in hits) - self.part.within
        return tuple(hit for hit in hits if hit.score >= least)

    def _passages(self, found: Sequence[Candidate]) -> list[Passage]:
        said = Said(self.part.duplicates.similarity) if isinstance(self.part.duplicates, NearDuplicates) else None
        passages: list[Passage] = []
        of_document: defaultdict[str, list[Passage]] = defaultdict(list)  # of thousands of hits few are of the same
        for candidate in found:
            hit, after = candidate.hit, candidate.after
            near = of_document[hit.document]
            if any(passage.holds(hit) for passage in near):
                continue
            if said is not None and said.repeats(hit):
                continue
            joined = (passage for passage in near if passage.join(hit, after))
            whole = next(joined, None) if candidate.place <= self.part.merge else None
            if whole is None:
                whole = Passage(hit, after)
                near.append(whole)
                passages.append(whole)
            if said is not None:
                said.add(whole, hit)
        return passages


def _tell_read(details: dict[str, Any], documents: Iterable[str]) -> None:
    """Keeps with a trace the documents whose words it has: it goes when one of them is forgotten, hit or not."""
    read = {one["document"] for one in details.get("read", ())}.union(documents)
    if read:
        details["read"] = [{"document": document} for document in sorted(read)]


def _reranking(
    part: QueryHalf, index: Index, embedder: Embedder, reranker: Reranker | None
) -> tuple[Reranking | None, Gate | None]:
    """The stage, and who is asked whether it may answer a caller, where it was trained on documents."""
    if isinstance(part.rerank, Off):
        return None, None
    from openbook.retrieve.rerank import open_reranker
    from openbook.retrieve.rerank.stage import Reranking

    if reranker is not None:
        return Reranking(part.rerank, reranker), None
    gate: Gate | None = None
    if isinstance(part.rerank, CrossEncoder):
        from openbook.tuned import Gate, known_reranker

        if (content := part.rerank.content) and Models(index.database, index.kb).is_withdrawn(content):
            return None, Gate(content, index.database, index.kb)  # its folder may be gone
        if content := known_reranker(part.rerank, index.database, index.kb):
            gate = Gate(content, index.database, index.kb)
    return Reranking(part.rerank, open_reranker(part.rerank, embedder)), gate


def sides_asked(fusion: EvidenceFusion | WeightedFusion | ReciprocalRankFusion) -> tuple[bool, bool]:
    """Whether the dense and the keyword side count at all: one that does not is not asked."""
    if isinstance(fusion, EvidenceFusion):
        return fusion.cosine > 0, fusion.chunk > 0 or fusion.document > 0
    if isinstance(fusion, WeightedFusion):
        return fusion.dense > 0, fusion.dense < 1
    return True, True


class _Timer:
    """Adds up what a stage takes, however often it is at work."""

    def __init__(self, ms: dict[str, float], stage: str) -> None:
        self.ms, self.stage = ms, stage

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = (time.perf_counter() - self.start) * 1000
        self.ms[self.stage] = round(self.ms.get(self.stage, 0.0) + spent, 3)
