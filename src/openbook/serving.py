"""A release at work: its recipe, its index and its model, from a question to hits and from hits to an answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from openbook.errors import OpenbookError, StoreError
from openbook.recipe import ApprovedExamples, Disagreements, Extractive, IndexHalf, LanguageModel, Off, QueryHalf
from openbook.store.index import Index
from openbook.store.models import Models
from openbook.store.releases import Release
from openbook.types import Answer, Citation, Disagreement, Hit, Trace, Turn, Usage, heading_path

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray
    from openbook.generate import Generator
    from openbook.generate.examples import Example
    from openbook.reading import Reader
    from openbook.retrieve import Retriever
    from openbook.store.documents import Documents
    from openbook.store.filter import Filter

PROBE = "A model is known by what it makes of this sentence."
_ASKED = 10_000
"""Questions whose vectors are kept: 15 MB."""

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

    def require_open(self, principals: Sequence[str] | None) -> None:
        """Nothing where the model that the index was built with may answer this caller. Raises: ModelError."""
        if self._is_tuned:
            self._models.require_open(self.index.embedder, principals)

    @cached_property
    def _is_tuned(self) -> bool:
        return self._models.is_known(self.index.embedder)

    @property
    def _models(self) -> Models:
        return Models(self.index.database, self.index.kb)

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
        from openbook.chunk import sharing_passages
        from openbook.retrieve import Retriever

        number = None if self.pinned else self.release.id
        sharing = sharing_passages(self.recipe.index.chunk)
        return Retriever(self.index, self.embedder, self.recipe.query, release=number, sharing=sharing)

    def search(
        self,
        question: str,
        k: int | None,
        principals: tuple[str, ...] | None,
        filter: Filter | None,
        *,
        since: float,
        history: Sequence[Turn] = (),
        writer: Extractive | LanguageModel | None = None,
    ) -> Trace:
        """The trace of a question that was asked at ``since``; without ``k`` as many hits as are looked at to answer.
        What the ``writer`` of the answer may take is left of the budget.

        Raises:
            Superseded: another release is live by now.
        """
        most = self.looked_at if k is None else k
        found = self.retriever.retrieve(
            question, most, principals=principals, filter=filter, history=history, held=self._held(writer), since=since
        )
        return Trace(
            id=str(uuid.uuid4()),
            question=question,
            release=self.release.name,
            ms={**found.ms, "total": _ms(since)},
            hits=found.hits,
            filter=None if found.filter is None else str(found.filter),
            principals=principals,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            details=found.details,
        )

    def clarify(self, trace: Trace, writer: Extractive | LanguageModel, *, since: float) -> tuple[Trace, Answer | None]:
        """A question back, where a trace's hits split between readings of its question; and the trace with what that
        took."""
        from openbook.retrieve.transform.clarify import readings

        start = time.perf_counter()
        hits = trace.hits[: self.recipe.query.context]
        details = dict(trace.details)
        by_model = self.retriever.by_model
        if by_model is None:
            found = readings(asked(trace), hits)
        else:
            from openbook.retrieve.calls import Calls

            calls = Calls(self.recipe.query.budget, since=since, held=self._held(writer), before=used(trace))
            found = by_model.clarify(asked(trace), hits, calls)
            details["calls"] = [*details.get("calls", ()), *calls.told]
        took = _ms(start)
        ms = {**trace.ms, "clarify": took, "total": round(trace.ms["total"] + took, 3)}
        if found is not None:
            details["clarification"] = {
                "question": found.question,
                "choices": [choice.text for choice in found.choices],
            }
        trace = replace(trace, ms=ms, details=details)
        if found is None:
            return trace, None
        return trace, Answer("", usage=used(trace), trace=trace, clarification=found)

    def answer(
        self,
        trace: Trace,
        documents: Documents,
        llm: str | LanguageModel | None,
        on_text: Callable[[str], None] | None,
    ) -> Answer:
        """Answer a trace's question from its hits, those withheld that the model may not read; of several that say the
        same, one that it may read is handed to it.

        Raises:
            ModelError: the language model is missing, refused or did not answer; or as ``require_open``.
        """
        start = time.perf_counter()
        self.require_open(trace.principals)
        hits = trace.hits[: self.looked_at]
        reads_all = self.reads_local_only(llm)
        if not reads_all:
            hits = [next((one for one in (hit, *hit.also) if not one.local_only), hit) for hit in hits]
        withheld = [] if reads_all else [rank for rank, hit in enumerate(hits, 1) if hit.local_only]
        handed = [hit for rank, hit in enumerate(hits, 1) if rank not in withheld]
        generator = self.generator(llm)
        assembled = {}
        if self.recipe.query.assemble.is_on:
            of = len(handed)
            handed = self._assembled(handed, documents, trace.principals, generator)
            assembled = {"assemble": {"hits": of, "passages": len(handed)}}
        examples = self._examples(trace, documents, llm)
        answer = self._write(trace, handed, llm, on_text, examples)
        if withheld and answer.abstained:
            answer = replace(answer, reason=_withheld(len(withheld), len(hits), str(answer.reason)))
        # A chunk of several small sections knows only what stands above all of them; a citation says it exactly.
        everywhere = [replace(c, also=_also(c, trace.hits)) for c in answer.citations]
        apart = self._disagreements(trace, answer)
        cited_at = [*everywhere, *(c for one in apart for c in (one.older, one.newer))]
        places = {(c.document, c.version) for cited in cited_at for c in (cited, *cited.also)}
        headings = documents.headings(places, trace.principals)

        def placed(c: Citation) -> Citation:
            path = heading_path(headings.get((c.document, c.version), ()), c.start)
            return replace(c, headings=path, also=tuple(map(placed, c.also)))

        cited = list(map(placed, everywhere))
        apart = [replace(one, older=placed(one.older), newer=placed(one.newer)) for one in apart]
        generate = _ms(start)
        ms = {**trace.ms, "generate": generate, "total": round(trace.ms["total"] + generate, 3)}
        # Ranks, not documents: what is told of those follows the rule that holds when the trace is read.
        details = {**trace.details, **assembled}
        if withheld:
            details = {**details, "withheld": {**details.get("withheld", {}), "generate": withheld}}
        told = replace(trace, ms=ms, details=details)
        read = answer.passages if isinstance(self.writer(llm), LanguageModel) else tuple(handed)
        return replace(answer, citations=tuple(cited), disagreements=tuple(apart), passages=read, trace=told)

    def _examples(self, trace: Trace, documents: Documents, llm: str | LanguageModel | None) -> Sequence[Example]:
        """The approved answers whose questions are nearest, the nearest first: what has no room is left out."""
        part = self.writer(llm)
        if not isinstance(part, LanguageModel) or not isinstance(part.examples, ApprovedExamples):
            return ()
        from openbook.generate.examples import Example
        from openbook.store.feedback import Feedbacks

        kept = Feedbacks(documents.database, documents.kb)
        approved = kept.approved(trace.principals, local_only=self.reads_local_only(llm))
        if not approved:
            return ()
        question = asked(trace)
        new = [one for one in dict.fromkeys([question, *(q for q, _ in approved)]) if one not in self._asked]
        if len(self._asked) > _ASKED:
            self._asked.clear()
            new = list(dict.fromkeys([question, *(q for q, _ in approved)]))
        self._asked.update(zip(new, self.embedder.encode(new, "query") if new else (), strict=True))
        vector = self._asked[question]
        nearest = sorted(approved, key=lambda one: -float(self._asked[one[0]] @ vector))
        return [Example(*one) for one in nearest[: part.examples.count]]

    @cached_property
    def _asked(self) -> dict[str, FloatArray]:
        """The vectors of questions, by which approved answers are chosen."""
        return {}

    def _disagreements(self, trace: Trace, answer: Answer) -> Sequence[Disagreement]:
        """Told to who asked, who may see all that was found; a remote model is not told of what is local-only."""
        part = self.recipe.query.disagreements
        if not isinstance(part, Disagreements) or not answer.citations:
            return ()
        from openbook.generate.disagreement import disagreements

        return disagreements(asked(trace), answer.citations, trace.hits[: self.looked_at], part)

    @property
    def looked_at(self) -> int:
        """How many hits are looked at to answer."""
        query = self.recipe.query
        return max(query.context, query.assemble.pool) if query.assemble.is_on else query.context

    def _assembled(
        self, hits: Sequence[Hit], documents: Documents, principals: tuple[str, ...] | None, generator: Generator
    ) -> list[Hit]:
        from openbook.generate.context import assemble

        query = self.recipe.query
        return assemble(
            hits, query.assemble, query.context, lambda places: documents.spans(places, principals), generator.room()
        )

    def _write(
        self,
        trace: Trace,
        hits: Sequence[Hit],
        llm: str | LanguageModel | None,
        on_text: Callable[[str], None] | None,
        examples: Sequence[Example],
    ) -> Answer:
        """What the generator makes of the question as it is meant, within what the calls before it left."""
        generator, before, budget = self.generator(llm), used(trace), self.recipe.query.budget
        if isinstance(self.writer(llm), LanguageModel) and (budget.tokens, budget.dollars) != (None, None):
            from openbook.generate import language_model

            assert isinstance(generator, language_model.LanguageModel)
            allowance = language_model.Allowance(budget.tokens, budget.dollars).without(before)
            answer = generator.generate(self._meant(trace, llm), hits, on_text, examples, allowance=allowance)
        elif trace.details.get("adapter", {}).get("applied") and isinstance(self.writer(llm), Extractive):
            from openbook.generate import extractive

            assert isinstance(generator, extractive.Extractive)
            adapter = self.retriever.adapter(trace.principals)
            answer = generator.generate(self._meant(trace, llm), hits, on_text, adapter=adapter)
        else:
            answer = generator.generate(self._meant(trace, llm), hits, on_text, examples)
        return replace(answer, usage=before + answer.usage)

    def _held(self, writer: Extractive | LanguageModel | None) -> Usage | None:
        """The most that the answer may take, where that is counted."""
        budget = self.recipe.query.budget
        if not isinstance(writer, LanguageModel) or (budget.tokens, budget.dollars) == (None, None):
            return None
        from openbook.generate.language_model import LanguageModel as Model
        from openbook.generate.prompt import messages

        system, user = messages("", [], writer.instructions)
        generator = self.generator(writer)
        assert isinstance(generator, Model)
        try:
            examples = 0 if isinstance(writer.examples, Off) else writer.examples.tokens
            return generator.most(system, user, room=writer.context_tokens + examples)
        except OpenbookError:
            return None  # told where it is asked

    def generator(self, llm: str | LanguageModel | None) -> Generator:
        """Who writes the answer: the recipe's generator, or another language model."""
        from openbook.generate import open_generator

        part = self.writer(llm)
        if part.hash not in self._generators:
            told = self.recipe.query.disagreements
            dates = told.dates if isinstance(told, Disagreements) else ()
            self._generators[part.hash] = open_generator(part, self.embedder, dates=dates)
        return self._generators[part.hash]

    def _meant(self, trace: Trace, llm: str | LanguageModel | None) -> str:
        """The question as it is answered: mended for who compares its words with those of documents. A language model
        reads it as it was typed."""
        if isinstance(self.writer(llm), Extractive) and self.recipe.index.embed.is_local:
            return str(trace.details.get("spelling", {}).get("text", asked(trace)))
        return asked(trace)

    def reads_local_only(self, llm: str | LanguageModel | None) -> bool:
        """Whether who writes the answer may read local-only documents. The extractive one embeds their sentences."""
        part = self.writer(llm)
        return part.is_local if isinstance(part, LanguageModel) else self.recipe.index.embed.is_local

    def writer(self, llm: str | LanguageModel | None) -> Extractive | LanguageModel:
        """Who writes the answer, as a recipe says it."""
        from openbook.generate import parse_llm

        return self.recipe.query.generate if llm is None else parse_llm(llm) if isinstance(llm, str) else llm

    @cached_property
    def _generators(self) -> dict[str, Generator]:
        return {}


def asked(trace: Trace) -> str:
    """A trace's question as it was looked for: a follow-up as it is meant."""
    return str(trace.details.get("standalone", {}).get("question") or trace.question)


def used(trace: Trace) -> Usage:
    """What language models took for a trace up to now."""
    return sum((Usage(**call["usage"]) for call in trace.details.get("calls", ()) if "usage" in call), Usage())


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
    if part.embed.kind == "local" and part.embed.model != "default":
        from openbook.tuned import make_known

        make_known(part.embed, embedder, index.database, index.kb)
    return embedder


def probe_of(embedder: Embedder) -> list[float]:
    """What a model makes of ``PROBE``."""
    return [float(x) for x in embedder.encode([PROBE])[0]]


def _also(cited: Citation, hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """Where the quote stands in what was told with its hit, a place a document."""
    for hit in hits:
        alike = (hit, *hit.also)
        if not any((one.document, one.version) == (cited.document, cited.version) for one in alike):
            continue
        found = {
            one.document: one.cite(one.chunk.start + at, one.chunk.start + at + len(cited.quote))
            for one in alike
            if one.document != cited.document and (at := one.chunk.text.find(cited.quote)) >= 0
        }
        if found:
            return tuple(found.values())
    return ()


def _withheld(withheld: int, of: int, reason: str) -> str:
    passages = f"{of} passages" if of > 1 else "1 passage"
    is_ = "is local-only and was" if withheld == 1 else "are local-only and were"
    what = f"{withheld} of {passages} {is_} not sent to the model, which is remote"
    return what if withheld == of else f"{reason}; {what}"


def _ms(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
