"""A release at work: its recipe, its index and its model, from a question to hits and from hits to an answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from openbook.errors import StoreError
from openbook.recipe import Extractive, IndexHalf, LanguageModel, QueryHalf
from openbook.store.index import Index
from openbook.store.releases import Release

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.generate import Generator
    from openbook.reading import Reader
    from openbook.retrieve import Retriever

PROBE = "A model is known by what it makes of this sentence."
PROBE_COSINE = 0.999
"""Processors and servers round differently; below this cosine it is not the same model."""


class Serving:
    """One release, ready to answer. Its models are opened when the first question needs them.

    ``query`` answers in the place of the recipe's own query half. ``pinned``: it answers whether or not it is live.
    """

    def __init__(
        self,
        release: Release,
        index: Index,
        probe: list[float],
        *,
        query: QueryHalf | None = None,
        pinned: bool = False,
        embedder: Callable[[], Embedder] | None = None,
    ) -> None:
        self.release = release
        self.index = index
        self.probe = probe
        self.pinned = pinned
        self.recipe = release.recipe if query is None else release.recipe.model_copy(update={"query": query})
        self._open_embedder = embedder or (lambda: open_model(self.recipe.index, index, probe))

    def answering_by(self, query: QueryHalf) -> Serving:
        """The same release with another query half; what is open stays open."""
        return Serving(
            self.release, self.index, self.probe, query=query, pinned=self.pinned, embedder=lambda: self.embedder
        )

    @cached_property
    def embedder(self) -> Embedder:
        """The model that the index was built with. Raises: ModelError, StoreError: as ``open_model``."""
        return self._open_embedder()

    @cached_property
    def reader(self) -> Reader:
        """Who reads documents for its index."""
        from openbook.reading import Reader

        return Reader(self.index, self.recipe.index, lambda: self.embedder)

    @cached_property
    def retriever(self) -> Retriever:
        """Raises: as ``embedder``."""
        from openbook.retrieve import Retriever

        number = None if self.pinned else self.release.id
        return Retriever(self.index, self.embedder, self.recipe.query, release=number)

    def generator(self, llm: str | LanguageModel | None) -> Generator:
        """Who writes the answer: the recipe's generator, or another language model."""
        from openbook.generate import open_generator

        part = self._part(llm)
        if part.hash not in self._generators:
            self._generators[part.hash] = open_generator(part, self.embedder)
        return self._generators[part.hash]

    def reads_local_only(self, llm: str | LanguageModel | None) -> bool:
        """Whether who writes the answer may read local-only documents. The extractive one embeds their sentences."""
        part = self._part(llm)
        return part.is_local if isinstance(part, LanguageModel) else self.recipe.index.embed.is_local

    def _part(self, llm: str | LanguageModel | None) -> Extractive | LanguageModel:
        from openbook.generate import parse_llm

        return self.recipe.query.generate if llm is None else parse_llm(llm) if isinstance(llm, str) else llm

    @cached_property
    def _generators(self) -> dict[str, Generator]:
        return {}


def open_model(part: IndexHalf, index: Index, probe: list[float], *, patient: bool = True) -> Embedder:
    """The model of an index; one that makes other vectors than those that are there is refused.

    ``patient``: a remote one that does not answer is asked again and again.

    Raises:
        ModelError: it is missing, or does not answer.
        StoreError: it is another one.
    """
    from openbook.embed import open_embedder

    embedder = open_embedder(part.embed, patient=patient)
    cosine = 0.0
    if embedder.hash == index.embedder:
        cosine = sum(a * b for a, b in zip(probe_of(embedder), probe, strict=True))
    if cosine < PROBE_COSINE:
        raise StoreError(
            f"the index was built with another model (then {index.embedder}, now {embedder.hash};"
            f" their cosine on a probe is {cosine:.3f})",
            where=f"index {index.id}",
            do="put the former model back, or build a release with this one: openbook release build",
        )
    return embedder


def probe_of(embedder: Embedder) -> list[float]:
    """What a model makes of ``PROBE``."""
    return [float(x) for x in embedder.encode([PROBE])[0]]
