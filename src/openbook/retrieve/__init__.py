"""A question becomes hits: dense and keyword search side by side, fused, fetched through the access rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from openbook.errors import QueryError
from openbook.recipe import EvidenceFusion, QueryHalf, WeightedFusion
from openbook.retrieve.familiar import familiarity
from openbook.retrieve.fusion import Ranking, evidence, reciprocal_rank, weighted
from openbook.store.filter import Filter
from openbook.store.index import Index, View
from openbook.types import Hit, StageScore

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray

QUESTION_CHARACTERS = 10_000
"""Longer questions are cut: the model reads some hundred tokens, and words beyond that only slow the keyword side."""

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Hits, best first, and the milliseconds of each stage."""

    hits: tuple[Hit, ...]
    ms: dict[str, float]


class Retriever:
    """The query half of a recipe up to the hits, over one index."""

    def __init__(self, index: Index, embedder: Embedder, part: QueryHalf) -> None:
        self.index = index
        self.embedder = embedder
        self.part = part
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="embed")

    def close(self) -> None:
        self._threads.shutdown()

    def retrieve(
        self, question: str, k: int, *, principals: Sequence[str] | None = None, filter: Filter | None = None
    ) -> Retrieved:
        """The ``k`` best chunks that the principals may see and the filter lets through; fewer only where fewer match.

        Raises:
            QueryError: the question is blank.
        """
        question = question[:QUESTION_CHARACTERS].strip()
        if not question:
            raise QueryError("the question is empty", do="ask something")
        ms: dict[str, float] = {}
        # The model runs beside the snapshot and the keyword search; neither holds the interpreter.
        vector = self._threads.submit(self._embed, question, ms)
        if self.embedder.remote:
            vector.result()  # no snapshot is held open while a remote model thinks
        for attempt in range(_ATTEMPTS):
            with self.index.database.snapshot(principals) as connection:
                view = self.index.view(connection, principals, filter)
                fused, stages = self._rank(view, question, vector.result, k, ms)
                # Another process may have taken the keyword view past this snapshot; a fresh one sees what it sees.
                if attempt + 1 < _ATTEMPTS and self.index.is_ahead(view):
                    continue
                with _Timer(ms, "fetch"):
                    hits = self._fetch(view, fused, stages, k)
                break
        return Retrieved(tuple(hits), ms)

    def _embed(self, question: str, ms: dict[str, float]) -> FloatArray:
        with _Timer(ms, "embed"):
            (vector,) = self.embedder.encode([question], "query")
        return vector  # type: ignore[no-any-return]  # numpy's rows are untyped

    def _rank(
        self, view: View, question: str, vector: Callable[[], FloatArray], k: int, ms: dict[str, float]
    ) -> tuple[list[tuple[int, float]], dict[int, dict[str, StageScore]]]:
        n = max(self.part.candidates, k)
        fusion = self.part.fusion
        with _Timer(ms, "keyword"):
            read = self.index.read(view, question) if isinstance(fusion, EvidenceFusion) else None
            keyword = self.index.keyword(view, read or question, n)
        embedded = vector()
        with _Timer(ms, "dense"):
            dense = self.index.dense(view, embedded, n)
        with _Timer(ms, "fuse"):
            if isinstance(fusion, EvidenceFusion | WeightedFusion):
                # Both scores of every candidate: a chunk that only the keyword side found has a cosine, too.
                cosines = dict(dense)
                missing = [chunk for chunk, _ in keyword if chunk not in cosines]
                cosines.update(self.index.cosines(view, embedded, missing) if missing else {})
            if isinstance(fusion, EvidenceFusion):
                assert read is not None
                (known,) = familiarity([question], self.embedder) if fusion.familiarity else [1.0]
                weighed = self.index.weigh(view, read, list(cosines))
                fused = evidence(
                    cosines, weighed, weight=known * fusion.cosine, chunk=fusion.chunk, document=fusion.document
                )
            elif isinstance(fusion, WeightedFusion):
                fused = weighted(cosines, dict(keyword), fusion.dense)
            else:
                fused = reciprocal_rank([dense, keyword], fusion.k)
        stages: dict[int, dict[str, StageScore]] = {}
        for name, ranking in (("dense", dense), ("keyword", keyword)):
            for rank, (chunk, score) in enumerate(ranking, 1):
                stages.setdefault(chunk, {})[name] = StageScore(rank, score)
        return fused, stages

    def _fetch(self, view: View, fused: Ranking, stages: Mapping[int, Mapping[str, StageScore]], k: int) -> list[Hit]:
        hits: list[Hit] = []
        for first in range(0, len(fused), k):
            batch = fused[first : first + k]
            found = self.index.fetch(view, [chunk for chunk, _ in batch])
            for rank, (chunk, score) in enumerate(batch, first + 1):
                if chunk in found and len(hits) < k:
                    seen = {**stages.get(chunk, {}), "fused": StageScore(rank, score)}
                    hits.append(replace(found[chunk], score=score, stages=seen))
            if len(hits) == k:
                break
        return hits


class _Timer:
    def __init__(self, ms: dict[str, float], stage: str) -> None:
        self.ms, self.stage = ms, stage

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.ms[self.stage] = round((time.perf_counter() - self.start) * 1000, 3)
