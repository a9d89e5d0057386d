"""A question whose answer is spread over several documents: read what was found, see what is missing, search again.

Without a language model (``bridge``) the question is also looked for part by part (``parts``), what it names by title
or metadata shares the hits evenly, and the first hits are read for names that lead on (``bridges``): titles of other
documents that stand in them. With one (``model``) it reads the first hits and says what to look for next.

All of it is counted in one unit. A ranking is read as how likely each chunk is the evidence asked for (a softmax of its
scores, which are log-odds); the question and its parts are averaged, and who is read hands a share of its own
likelihood on to what it names. A question without parts, names and links keeps the ranking that it had.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from openbook.recipe import BridgeHops, EvidenceFusion, ModelHops, QueryHalf
from openbook.retrieve.filters.dates import periods
from openbook.retrieve.fusion import Ranking, best_first
from openbook.retrieve.hops.bridges import Bridges, Likely, handed_on, likely, mixed, scored
from openbook.retrieve.hops.parts import LEAST, own_words, parts
from openbook.retrieve.query import Query
from openbook.store.index import Index, View
from openbook.store.keyword import Mention, Question

if TYPE_CHECKING:
    from openbook.retrieve.calls import Calls
    from openbook.retrieve.hops.model import Missing
    from openbook.types import Hit

Rank = Callable[[Query, Sequence[int]], tuple[list[tuple[int, float]], dict[str, Ranking]]]
"""Ranks chunks for a query, and these others with them."""

POOL = 100
"""Chunks that are looked at for what they have in common with those that are read. On the dev half of hotpotqa-300 the
first 100 hold all evidence of 98.6 % of the questions."""

SPREAD = 3.0
"""Nats: how far below the best a chunk is e times less likely. A ranking's scores are sums over words that come
together, and so larger than the odds that they stand for."""

UNKNOWN_SPREAD = 0.15
"""The same for fusions whose scores have no unit: as a share of the way from the best to the last chunk."""

QUESTION = 3.0
"""What the question as a whole counts beside one of its parts."""

NAMED = 1.0
"""What the names in a question hand out among those that bear them, beside the 1.0 that the ranking hands out."""

FEWEST_NAMED = 2
"""From so many names on a question is about several things, of which none should crowd out another."""

LONGEST_PERIOD = 31
"""Days: a document is called by its day or month; a year is what many are about."""

MOST_NAMED = 1_000
"""Chunks that are looked through for those that bear a name."""

LINKED = 0.6
"""What a chunk that is read hands on of its likelihood."""

FOUND = 50
"""Chunks that one more search adds at most."""

NAMING = 50
"""Chunks that are looked through for those that name what was read."""


@dataclass(frozen=True, slots=True)
class Hopped:
    """The ranking after all hops, what every stage says, what is told of them, and the documents that this names."""

    fused: list[tuple[int, float]]
    stages: dict[str, Ranking]
    told: dict[str, Any]
    documents: frozenset[str] = frozenset()


class Bridge:
    """The rules: parts, names, links. Keeps nothing between questions."""

    def __init__(self, part: BridgeHops, half: QueryHalf, index: Index) -> None:
        self.part = part
        self.index = index
        self._in_nats = isinstance(half.fusion, EvidenceFusion)

    def parts(self, question: str) -> list[str]:
        return parts(question)

    def search(self, view: View, queries: Sequence[Query], rank: Rank) -> Hopped:
        """``queries``: the question, then its parts and whatever else is looked for beside it. What asks the whole in
        other words shares what the question counts: it says no more than that, however many of them there are.

        What another stage made of the words is asked for as that has it: a glossary, relevance feedback, a passage
        that is for the dense side alone.
        """
        question = queries[0]
        words = question.words or self.index.read(view, question.text)
        names = words.mentions
        if self._in_nats:  # which asks by these words; it need not read them again
            question = replace(question, words=words)
        queries = [question, *self._asked(view, queries[1:], names)]
        rankings = [rank(query, ()) for query in queries]
        fused, stages = rankings[0]
        parts = [query.text for query in queries[1:] if query.stage == "part"]
        told: dict[str, Any] = {"kind": "bridge", "parts": parts}
        if not fused:
            return Hopped(fused, stages, {**told, "named": [], "hops": [], "stopped": "nothing was found"})
        spread = _spread(fused, self._in_nats)
        whole = sum(query.weight for query in queries if not query.is_part)
        weights = [1.0 if query.is_part else QUESTION * query.weight / whole for query in queries]
        first = mixed([likely(ranking, spread) for ranking, _ in rankings], weights)
        hits = self._fetch(view, _best(first, POOL))
        named, likelihood = self._named(view, question.text, names, first, hits)
        bridges = Bridges(question.text)
        hops: list[dict[str, Any]] = []
        read: set[str] = set()
        named_too: set[str] = set()
        gained: Likely = {}
        stopped = f"that was hop {self.part.most + 1}, the last"
        for number in range(2, 2 + self.part.most):
            now = {id: likelihood[id] + gained.get(id, 0.0) for id in likelihood}
            top = self._to_read(now, hits, read)
            if not top:
                stopped = "nothing new to read"
                break
            bridges.add(hits)
            new = self._search_again(view, top, hits, bridges, words, named)
            if new:
                hits |= new
                unknown = [id for id in new if id not in likelihood]
                fused, _ = rank(question, unknown) if unknown else (fused, {})
                own = likely(fused, spread)
                least = min(likelihood.values())  # of a fusion that only ranks those it found itself
                likelihood |= {id: QUESTION / sum(weights) * own.get(id, 0.0) or least for id in unknown}
            earlier = frozenset(read)
            read |= {hits[id].document for id in top}
            links = {id: bridges.links(id, hits, likelihood, earlier) for id in top}
            named_too |= {hits[link.chunk].document for those in links.values() for link in those}
            gain = handed_on({id: now[id] for id in top}, links, likelihood, LINKED)
            led = list(dict.fromkeys(link.name for those in links.values() for link in those))
            hops.append({"hop": number, "read": [hits[id].source for id in top], "bridges": led, "new": len(new)})
            if not gain:
                stopped = "no name leads on"
                break
            stages = {**stages, f"hop {number}": best_first(gain)}
            gained = {id: gained.get(id, 0.0) + gain.get(id, 0.0) for id in {**gained, **gain}}
        told |= {"named": named, "hops": hops, "stopped": stopped}
        if len(queries) > 1:
            of = [query.stage for query in queries]
            stages |= {f"{stage} {of[:at].count(stage) + 1}": rankings[at][0] for at, stage in enumerate(of) if at}
        if not gained and not named and len(queries) == 1:
            return Hopped(rankings[0][0], stages, told, frozenset(read))
        all_in_all = {id: likelihood[id] + gained.get(id, 0.0) for id in likelihood}
        return Hopped(
            self._kept(rankings[0][0], scored(all_in_all, rankings[0][0][0][1], spread)),
            stages,
            told,
            frozenset(read | named_too),
        )

    def _kept(self, once: Ranking, fused: list[tuple[int, float]]) -> list[tuple[int, float]]:
        """The first hits of the single search stay the first, none scored below what follows it."""
        first = [id for id, _ in once[: self.part.keep]]
        scores = dict(fused)
        kept: list[tuple[int, float]] = []
        least = max(score for id, score in fused if id not in first) if len(fused) > len(first) else -math.inf
        for id in reversed(first):
            least = max(least, scores[id])
            kept.insert(0, (id, least))
        return [*kept, *(one for one in fused if one[0] not in first)]

    def _asked(self, view: View, others: Sequence[Query], names: Sequence[Mention]) -> Iterator[Query]:
        """What is looked for beside the question. A part of which nothing is left without names asks for nothing: it is
        the head of a contract, or says who reported it. One that names nothing is said of what the question names.
        """
        for query in others:
            if query.words is not None:
                yield query
                continue
            words = self.index.read(view, query.text)
            if query.stage == "part" and own_words(words, names) < LEAST:
                continue
            if not words.mentions:
                yield replace(query, words=Question(words.terms, tuple(names)))
            else:
                yield replace(query, words=words) if self._in_nats else query

    def _named(
        self, view: View, question: str, names: Sequence[Mention], likelihood: Likely, hits: Mapping[int, Hit]
    ) -> tuple[list[str], Likely]:
        """The titles, metadata values and days that the question names, and what is likely when each has its share."""
        bearers: dict[str, list[int]] = {}
        for mention in names:
            # The category "news" is not meant where "Sporting News" is named.
            if any(f" {mention.value} " in f" {one.value} " for one in names if one is not mention):
                continue
            bearing = self.index.keyword(view, Question((), (mention,)), MOST_NAMED)
            if those := [id for id, _ in bearing if id in likelihood]:
                bearers[mention.value] = those
        for period in periods(question, date.min):
            if not period.relative and (period.after - period.first).days <= LONGEST_PERIOD:
                days = period.first.isoformat(), period.after.isoformat()
                if those := [id for id, hit in hits.items() if _is_of(hit, *days)]:
                    bearers[question[period.start : period.end]] = those
        if len(bearers) < FEWEST_NAMED:
            return [], dict(likelihood)
        shared = dict(likelihood)
        for those in bearers.values():
            whole = sum(likelihood[id] for id in those)
            for id in those:
                shared[id] += NAMED / len(bearers) * likelihood[id] / whole
        return list(bearers), shared

    def _to_read(self, likelihood: Likely, hits: Mapping[int, Hit], read: set[str]) -> list[int]:
        """The first chunks of the most likely documents, of which none was read before."""
        chosen: dict[str, int] = {}
        for id in _best(likelihood, POOL):
            if id in hits and hits[id].document not in chosen:
                chosen[hits[id].document] = id
            if len(chosen) == self.part.read:
                break
        return [id for document, id in chosen.items() if document not in read]

    def _search_again(
        self,
        view: View,
        read: Sequence[int],
        hits: Mapping[int, Hit],
        bridges: Bridges,
        words: Question,
        named: Sequence[str],
    ) -> dict[int, Hit]:
        """Chunks beside the hits: of documents whose title stands in what was read, and those in whose text its title
        stands, best by that and the question's ``words``."""
        found: dict[int, None] = {}
        for id in read:
            mentions = tuple(
                one for one in self.index.read(view, hits[id].chunk.text).mentions if one.value not in named
            )
            if mentions:
                ranking = self.index.keyword(view, Question((), mentions), FOUND)
                found |= dict.fromkeys(id for id, _ in ranking if id not in hits)
        new = self._fetch(view, list(found)[:FOUND])
        naming: dict[int, list[int]] = {}
        for id in filter(bridges.may_be_named, read):
            title = self.index.read(view, hits[id].title).terms
            ranking = self.index.keyword(view, Question(tuple({**dict(words.terms), **dict(title)}.items())), NAMING)
            naming[id] = [other for other, _ in ranking if other not in hits and other not in new]
        texts = self._fetch(view, list({other: None for those in naming.values() for other in those}))
        for id, those in naming.items():
            new |= {one: texts[one] for one in those if one in texts and bridges.is_named(id, texts[one].chunk.text)}
        return new

    def _fetch(self, view: View, ids: Sequence[int]) -> dict[int, Hit]:
        return {id: hit for id, (hit, _) in self.index.fetch(view, ids).items()}


class Reader:
    """The language model that reads the first hits. Raises: RecipeError: its ``base_url`` is no address.

    ``private``: no text of local-only documents leaves with what is looked for next, since that is embedded here.
    """

    def __init__(self, part: ModelHops, *, private: bool) -> None:
        from openbook.generate.language_model import LanguageModel

        self.part = part
        self.reads_local = private and part.model.is_local
        # A question waits for its answer, and does without rather than wait again.
        self._model = LanguageModel(part.model, seconds=part.seconds, retries=0)

    def ask(self, question: str, hits: Sequence[Hit], calls: Calls) -> Missing:
        """What is missing in the first hits; asked while no snapshot is held open."""
        from openbook.retrieve.hops.model import missing

        readable = [hit for hit in hits if self.reads_local or not hit.local_only][: self.part.read]
        asked = partial(calls.ask, "hops", self._model, self.part.seconds)
        return missing(asked, question, readable, self.part.model.context_tokens)


def with_parts(whole: Ranking, parts: Sequence[Ranking], *, in_nats: bool) -> list[tuple[int, float]]:
    """The ranking of a question and those of its parts as one, in the unit of the former; what is asked for next counts
    as a part. Each is read as how likely every chunk is the evidence. ``in_nats``: the unit of ``whole``.

    Parts look for different things. Reciprocal rank raises what several rankings have, and so what is half about each.
    """
    found = [(ranking, QUESTION if ranking is whole else 1.0) for ranking in (whole, *parts) if ranking]
    if not found:
        return []
    spreads = [_spread(ranking, in_nats) for ranking, _ in found]
    likelihoods = [likely(ranking, spread) for (ranking, _), spread in zip(found, spreads, strict=True)]
    likelihood = mixed(likelihoods, [weight for _, weight in found])
    return scored(likelihood, found[0][0][0][1], spreads[0])


def _spread(fused: Ranking, in_nats: bool) -> float:
    return SPREAD if in_nats else max(1e-9, UNKNOWN_SPREAD * (fused[0][1] - fused[-1][1]))


def _is_of(hit: Hit, first: str, after: str) -> bool:
    """Whether a date of its metadata, as ISO 8601, is from ``first`` on and before ``after``."""
    dates = (value[:10] for value in hit.metadata.values() if isinstance(value, str) and len(value) >= 10)
    return any(first <= date < after and _DATE.fullmatch(date) for date in dates)


_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _best(likelihood: Likely, n: int) -> list[int]:
    return [id for id, _ in best_first(likelihood)[:n]]
