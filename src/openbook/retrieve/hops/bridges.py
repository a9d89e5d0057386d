"""Rankings as likelihoods, and what leads from one hit to another."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from openbook.retrieve.fusion import Ranking, best_first
from openbook.titles import in_pieces, padded

if TYPE_CHECKING:
    from openbook.types import Hit

Likely: TypeAlias = "dict[int, float]"
"""chunk → how likely it is evidence that is asked for; of one query these add up to 1."""

BACKWARDS = 0.3
"""What a link counts whose other end names what is read, and not the other way round."""

COMMON = 0.2
"""A title that stands in more than this share of what was found leads nowhere: it is what all of them are about."""

FLATTENED = 0.5
"""Of likelihoods among the chunks that one leads to, this power counts: how well they match the question says less of
them than of those that it found."""


@dataclass(frozen=True, slots=True)
class Link:
    """``chunk`` is of the document that ``name`` is the title of, or names the document that is read by it."""

    chunk: int
    name: str
    strength: float


def likely(ranking: Ranking, spread: float) -> Likely:
    """A softmax of the scores over ``spread``.

    >>> {chunk: round(p, 2) for chunk, p in likely([(7, 3.0), (8, 0.0)], 3.0).items()}
    {7: 0.73, 8: 0.27}
    """
    if not ranking:
        return {}
    top = max(score for _, score in ranking)
    odds = {chunk: math.exp((score - top) / spread) for chunk, score in ranking}
    whole = sum(odds.values())
    return {chunk: one / whole for chunk, one in odds.items()}


def mixed(queries: Sequence[Likely], weights: Sequence[float]) -> Likely:
    """The weighted mean of what several queries say."""
    found: Likely = {}
    for likelihood, weight in zip(queries, weights, strict=True):
        for chunk, one in likelihood.items():
            found[chunk] = found.get(chunk, 0.0) + weight / sum(weights) * one
    return found


def scored(likelihood: Likely, top: float, spread: float) -> list[tuple[int, float]]:
    """Back in the unit of a ranking whose best score was ``top``; what ``likely`` is undone by.

    >>> [(chunk, round(score, 6)) for chunk, score in scored(likely([(7, 3.0), (8, 0.5)], 3.0), 3.0, 3.0)]
    [(7, 3.0), (8, 0.5)]
    """
    most = max(likelihood.values())
    return best_first({id: top + spread * math.log(max(one, 1e-300) / most) for id, one in likelihood.items()})


def handed_on(read: Likely, links: Mapping[int, Sequence[Link]], likelihood: Likely, share: float) -> Likely:
    """What each chunk gains by the links of those that were ``read``: of each a ``share`` of its likelihood, which its
    links divide by their strength and by how likely they are themselves.

    What several lead to gains by the strongest alone. Added up, that which all passages on a subject name would come
    before the best of them.
    """
    gained: Likely = {}
    for chunk, those in links.items():
        parts = {link.chunk: link.strength * likelihood[link.chunk] ** FLATTENED for link in those}
        whole = sum(parts.values())
        for other, part in parts.items() if whole > 0 else ():
            gained[other] = max(gained.get(other, 0.0), share * read[chunk] * part / whole)
    return gained


class Bridges:
    """The links between the hits of one question. A name that the question has itself is no bridge."""

    def __init__(self, question: str) -> None:
        self._question = padded(question)
        self._texts: dict[int, str] = {}
        self._titles: dict[int, str] = {}
        self._bearers: dict[str, set[str]] = {}

    def add(self, hits: Mapping[int, Hit]) -> None:
        for id, hit in hits.items():
            if id not in self._texts:
                self._texts[id], self._titles[id] = padded(hit.chunk.text), in_pieces(hit.title)
                self._bearers.setdefault(self._titles[id], set()).add(hit.document)

    def links(self, chunk: int, hits: Mapping[int, Hit], likelihood: Likely, read: Collection[str] = ()) -> list[Link]:
        """From ``chunk`` to one chunk, the likeliest, of each document that it names or that names it, but for those
        that were ``read`` in an earlier hop."""
        self.add(hits)
        mine, my_title = self._texts[chunk], self._titles[chunk]
        found: dict[str, Link] = {}
        for id in sorted(hits, key=lambda id: (-likelihood.get(id, 0.0), id)):
            hit, title = hits[id], self._titles[id]
            if hit.document in found or hit.document in {*read, hits[chunk].document} or title == my_title:
                continue
            if _stands(title, mine) and not _stands(title, self._question) and self._leads(title):
                found[hit.document] = Link(id, hit.title, 1.0)
            elif _stands(my_title, self._texts[id]) and self._leads(my_title):
                found[hit.document] = Link(id, hits[chunk].title, BACKWARDS)
        return list(found.values())

    def may_be_named(self, chunk: int) -> bool:
        """Whether a text that has the title of ``chunk`` would be one that the question's own words do not find."""
        title = self._titles[chunk]
        return len(title) > 2 and not _stands(title, self._question) and self._leads(title)

    def is_named(self, chunk: int, text: str) -> bool:
        return _stands(self._titles[chunk], padded(text))

    def _leads(self, title: str) -> bool:
        """Whether it names one document, and is rare: a title that several bear, as the pages of one article do,
        says what they are about and names none of them."""
        if len(self._bearers[title]) > 1:
            return False
        held = sum(_stands(title, text) for text in self._texts.values())
        return held <= max(2.0, COMMON * len(self._texts))


def _stands(title: str, text: str) -> bool:
    """Whether a text has a title, or all pieces of one that has commas: who writes of "Springfield, a city in the west
    of Illinois" means "Springfield, Illinois"."""
    return len(title) > 2 and all(f" {piece} " in text for piece in title.split(", "))
