"""Filters from the question: "in the 3.5 docs", "since 2021", "for Germany".

They are proposed from the metadata that this caller may see, by ``rules`` or by a language ``model``, and none is
applied that leaves nothing. ``vocabulary``: what there is to narrow by. ``dates``: dates as questions write them.
``proposal``: what was proposed, applied and dropped, and why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from openbook.recipe import ModelFilters, RuleFilters
from openbook.retrieve.filters import rules
from openbook.retrieve.filters.proposal import NOTHING_LEFT, Chosen, Proposals, both, choose
from openbook.retrieve.filters.vocabulary import NAMES, SORTS, Vocabulary
from openbook.store.filter import Filter
from openbook.store.index import Index, View

if TYPE_CHECKING:
    from openbook.generate.language_model import LanguageModel
    from openbook.retrieve.calls import Calls
    from openbook.store.keyword import Position

KEPT = 64
"""Vocabularies that are kept: one for each set of access rules that callers have, as of one position of the feed."""


class Filters:
    """The stage that reads filters out of questions, over one index. ``today`` is the day that it reckons from.

    Raises:
        RecipeError: a language model whose ``base_url`` is no address.
    """

    def __init__(self, part: RuleFilters | ModelFilters, index: Index, today: Callable[[], date]) -> None:
        self.part = part
        self.index = index
        self.today = today
        self._kept: tuple[Position | None, dict[object, Vocabulary]] = (None, {})
        self._keeping = threading.Lock()
        self._model: LanguageModel | None = None
        if isinstance(part, ModelFilters):
            from openbook.generate.language_model import LanguageModel

            # A question waits for its answer, and does without rather than wait again.
            self._model = LanguageModel(part.model, seconds=part.seconds, retries=0)

    @property
    def reads_local(self) -> bool:
        """Whether what reads the questions may be sent local-only documents."""
        return not isinstance(self.part, ModelFilters) or self.part.model.is_local

    @property
    def asks(self) -> bool:
        """Whether a language model is asked."""
        return self._model is not None

    def ask(self, question: str, principals: Sequence[str] | None, calls: Calls) -> Proposing | None:
        """Begin with a question; ``None``: there is nothing in it to read. A language model is asked here, while no
        snapshot is held open."""
        today = self.today()
        if self._model is None:
            # Most questions name no version: what versions there are is then not looked up, either.
            versions_alone = isinstance(self.part, RuleFilters) and set(self.part.read) <= {"versions"}
            if versions_alone and not any(character.isdigit() for character in question):
                return None
            return Proposing(self, question, today)
        assert isinstance(self.part, ModelFilters)
        from openbook.retrieve.filters.model import ask

        with self.index.database.snapshot(principals) as connection:
            # What is said of local-only documents goes to no remote model, no more than their text.
            vocabulary = self.vocabulary(self.index.view(connection, principals, None), local=self.part.model.is_local)
        said, usage = ask(self._model, question, vocabulary, today, self.part, calls)
        return Proposing(self, question, today, said, {} if usage is None else {"usage": usage})

    def vocabulary(self, view: View, *, local: bool = True) -> Vocabulary:
        """What the caller of this snapshot may see; without ``local`` nothing of local-only documents."""
        key = view.access, local
        with self._keeping:
            position, kept = self._kept
            if position == view.position and key in kept:
                return kept[key]
        of = self.part.read if isinstance(self.part, RuleFilters) else SORTS
        found = Vocabulary(self.index.values(view, without=NAMES, local_only=local), of)
        with self._keeping:
            position, kept = self._kept
            if position != view.position or len(kept) >= KEPT:
                kept = {}
            self._kept = view.position, {**kept, key: found}
        return found


@dataclass(slots=True)
class Proposing:
    """One question's way through the stage; ``said``: what a language model made of it."""

    stage: Filters
    question: str
    today: date
    said: Proposals | None = None
    more: dict[str, Any] = field(default_factory=dict)
    _chosen: Chosen = field(default_factory=lambda: Chosen(None, (), ()))

    def narrow(self, view: View) -> tuple[View, dict[str, Any]]:
        """The snapshot under the proposals that leave something, and what is told of all of them."""
        index = self.stage.index

        def is_rare(text: str, of: Filter, one_in: int) -> bool:
            return index.is_rare(view, text, of, one_in=one_in)

        said = self.said
        if said is None:
            said = rules.propose(self.question, self.stage.vocabulary(view), self.today, is_rare)
        self._chosen = choose(said, lambda filter: index.matching(view, filter))
        filter = self._chosen.filter
        narrowed = view if filter is None else replace(view, filter=both(view.filter, filter))
        return narrowed, self._told(view, said)

    def give_up(self, view: View) -> dict[str, Any]:
        """What is told where the narrowed search found nothing."""
        self._chosen = self._chosen.given_up(NOTHING_LEFT)
        return self._told(view, self.said)

    def _told(self, view: View, said: Proposals | None) -> dict[str, Any]:
        own = None if view.filter is None else str(view.filter)
        skipped = said.skipped if said else ""
        kind = self.stage.part.kind
        return {**self._chosen.told(kind, skipped), "own": own, "today": self.today.isoformat(), **self.more}
