"""Synonyms from a glossary of the user's own, for the words of a question that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openbook.store.keyword import Term
from openbook.synonyms import sides

if TYPE_CHECKING:
    from openbook.recipe import Glossary
    from openbook.store.keyword import Words

MOST_ADDED = 32
"""Synonyms that are added to a question, the first ones; a group of more would say little of any."""

LONGEST = 8
"""Words of a phrase that is looked for in questions."""

Phrase = tuple[str, ...]
"""As stems."""


@dataclass(frozen=True, slots=True)
class Added:
    """What a glossary adds to a question: ``terms`` to look for, as much as each counts; ``phrases`` as it has them."""

    terms: tuple[tuple[Term, float], ...]
    phrases: tuple[str, ...]
    told: dict[str, Any]


class Synonyms:
    """A glossary by the words of an index. One step is taken and no further: that ``a`` means ``b`` and ``b`` means
    ``c`` does not make ``a`` mean ``c``, and a circle is no more than its steps."""

    def __init__(self, part: Glossary, words: Words) -> None:
        self.part = part
        self.words = words
        self._meant: dict[Phrase, dict[str, None]] = {}
        stems = _Stems(words)
        for rule in part.rules:
            left, right = sides(rule)
            for asked in left:
                phrase = stems[asked]
                if 0 < len(phrase) <= LONGEST:
                    means = self._meant.setdefault(phrase, {})
                    means.update(dict.fromkeys(other for other in right or left if stems[other] not in ((), phrase)))
        self._longest = max(map(len, self._meant), default=0)
        self.known: frozenset[str] = frozenset(stem for phrase in self._meant for stem in phrase)
        """Stems that are words of the glossary."""

    def add(self, question: str) -> Added:
        """What the question's phrases mean besides, the longest first, and of two that overlap the first."""
        asked = self.words.of(question)
        own = frozenset(asked)
        told: dict[str, list[str]] = {}
        weights: dict[Term, float] = {}
        at = 0
        while at < len(asked) and sum(map(len, told.values())) < MOST_ADDED:
            ends = range(min(len(asked), at + self._longest), at, -1)
            end = next((end for end in ends if self._meant.get(tuple(asked[at:end]))), None)
            if end is None:
                at += 1
                continue
            phrase = tuple(asked[at:end])
            room = MOST_ADDED - sum(map(len, told.values()))
            told[" ".join(phrase)] = means = list(self._meant[phrase])[:room]
            for other in means:
                stems = [stem for stem in dict.fromkeys(self.words.of(other)) if stem not in self.words.stopwords]
                for stem in stems:
                    if stem not in own:
                        # All words of a phrase together count as the one that they stand for.
                        weight = self.part.weight / len(stems)
                        weights["body", stem] = max(weights.get(("body", stem), 0.0), weight)
            at = end
        phrases = tuple(dict.fromkeys(other for means in told.values() for other in means))
        return Added(tuple(weights.items()), phrases, {"added": told} if told else {})


class _Stems(dict[str, Phrase]):
    """Of each phrase, once."""

    def __init__(self, words: Words) -> None:
        super().__init__()
        self._words = words

    def __missing__(self, phrase: str) -> Phrase:
        self[phrase] = found = tuple(self._words.of(phrase))
        return found
