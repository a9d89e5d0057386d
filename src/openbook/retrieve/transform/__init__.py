"""What a question is looked for by, besides as it was typed, and what is asked back.

``spelling``: words that no document has, read as those that one has. ``glossary``: synonyms of one's own.
``relevance``: a second search with what the first found. What each of them did is told in the trace.
``conversation``: a follow-up question is made standalone, by rule. ``model``: what a language model makes of a
question. ``clarify``: hits that answer several readings of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from openbook.recipe import ModelFilters, ModelHops, ModelTransform, Off
from openbook.store.keyword import Term

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.recipe import QueryHalf
    from openbook.retrieve.transform.glossary import Synonyms
    from openbook.retrieve.transform.spelling import Spelling
    from openbook.store.index import Index


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is looked for: ``text``; to what may not be sent local-only documents ``sent``, which has no
    word of theirs that it had not before. ``also``: what the keyword side looks for besides, and how much it counts;
    ``phrases``: what is embedded besides."""

    text: str
    sent: str
    also: tuple[tuple[Term, float], ...] = ()
    phrases: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def as_typed(cls, question: str) -> Asked:
        return cls(question, question)

    def told(self, local: bool) -> str:
        """The question for a part of the recipe; ``local``: it may be sent local-only documents."""
        return self.text if local else self.sent

    def embedded(self, local: bool) -> str:
        return " ".join((self.told(local), *self.phrases))


class Transforms:
    """What a recipe makes of questions before they are looked for, over one index."""

    def __init__(self, part: QueryHalf, index: Index, embedder: Embedder) -> None:
        self.part = part
        self.index = index
        self.embedder = embedder

    def ask(self, question: str, principals: Sequence[str] | None) -> Asked:
        """In a snapshot of its own: none is held open while a model thinks."""
        text = sent = question
        also: dict[Term, float] = {}
        details: dict[str, Any] = {}
        phrases: tuple[str, ...] = ()
        if self._spelling is not None:
            known = self._synonyms.known if self._synonyms else frozenset()
            with self.index.database.snapshot(principals) as connection:
                mended = self._spelling.mend(self.index.view(connection, principals, None), question, known)
            text, sent, details["spelling"] = mended.text, mended.sent, mended.told
            also |= dict(mended.also)
        if self._synonyms is not None:
            added = self._synonyms.add(text)
            also = {**dict(added.terms), **also}
            details["glossary"] = added.told
            if self._synonyms.part.dense:
                # What a word of a local-only document means is not for a remote model, either.
                phrases = (self._synonyms.add(sent) if self.embedder.remote else added).phrases
        return Asked(text, sent, tuple(also.items()), phrases, details)

    @cached_property
    def _spelling(self) -> Spelling | None:
        if isinstance(self.part.spelling, Off):
            return None
        from openbook.retrieve.transform.spelling import Spelling

        stages = (self.part.filters, self.part.transform, self.part.hops)
        models = [one.model for one in stages if isinstance(one, ModelFilters | ModelTransform | ModelHops)]
        reading = [*models, *([] if isinstance(self.part.rerank, Off) else [self.part.rerank])]
        private = self.embedder.remote or not all(one.is_local for one in reading)
        return Spelling(self.part.spelling, self.index, self.embedder, private=private)

    @cached_property
    def _synonyms(self) -> Synonyms | None:
        if isinstance(self.part.glossary, Off):
            return None
        from openbook.retrieve.transform.glossary import Synonyms

        return Synonyms(self.part.glossary, self.index.words)
