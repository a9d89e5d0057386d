"""What a keyword index answers: the words of a question, the chunks that have them, and how much they weigh."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from openbook.store.filter import Filter, Not, to_tantivy
from openbook.store.keyword.entries import LONGEST_VALUE, Entry, Indexes
from openbook.store.keyword.newest import Newest, Term, Text, Weights
from openbook.store.keyword.words import MAX_TERMS, Words

if TYPE_CHECKING:
    import tantivy

MAX_QUESTION = 10_000
"""Characters of a question that are looked at."""

MENTIONED_IN = 8
"""A title or metadata value counts as mentioned where fewer than one in so many of the other chunks hold its words:
else it is a word like others ("version", "policy"). Mean nDCG@10 over the dev halves of twelve sets is within 0.002
from one in three to one in eight and falls by 0.004 at one in twelve, where versions are no longer told apart."""

OPEN = 0.25
"""From this share of the chunks on, what a caller may not see is left out after ranking and not before."""

SPARE = 1.5
"""So many times as much is ranked, by words or by vectors, as has to be left by what is asked of it afterwards."""

_TIES = 10

MENTION_WEIGHT = 5.0
"""BM25 points for a nat of a mention: one of log-odds where a BM25 point counts 0.2, as in the default fusion."""


Weigh = Callable[[Sequence[Term]], Mapping[Term, float]]
"""What terms count, of as many of them as are to count at all."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A title or metadata value that stands in a question; ``evidence`` in nats: see ``KeywordView.read``."""

    value: str
    evidence: float


@dataclass(frozen=True, slots=True)
class Question:
    """A question as keyword search reads it: how much each (field, term) weighs, and what it mentions."""

    terms: tuple[tuple[tuple[str, str], float], ...]
    mentions: tuple[Mention, ...] = ()


class Weighed(NamedTuple):
    """BM25 of a chunk, mentions included, and BM25 of the whole document that it belongs to; ``place``: which document
    that is, and a number that neighbours in a section have in a row."""

    chunk: float
    document: float
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Asking:
    """The two indexes of a generation as one commit left them, which hold ``size`` chunks, and what is newer.

    What it is asked and what it answers stands with ``KeywordView``, which alone makes one. tantivy's errors pass."""

    words: Words
    indexes: Indexes
    chunks: tantivy.Searcher
    documents: tantivy.Searcher
    size: int
    newest: Newest
    counted: dict[tuple[str, Sequence[int] | None], int] = field(default_factory=dict)

    def read(self, question: str, *, filter: Filter | None = None, access: Sequence[int] | None = None) -> Question:
        text = question[:MAX_QUESTION]
        words = self.words.of(text)[:MAX_TERMS]
        mentions: dict[str, Mention] = {}
        told = [False] * len(words)
        for start, end in self._values(words):
            value = " ".join(words[start:end])
            if value not in mentions:
                evidence = self._evidence(value, words[start:end], filter, access)
                mentions[value] = Mention(value, evidence)
            if mentions[value].evidence >= math.log(MENTIONED_IN):
                told[start:end] = [True] * (end - start)
        left = [word for word, said in zip(words, told, strict=True) if not said]
        found = tuple(mention for mention in mentions.values() if mention.evidence >= math.log(MENTIONED_IN))
        return Question(self.words.terms(left, words, text), found)

    def count(self, filter: Filter | None, access: Sequence[int] | None) -> int:
        from tantivy import Query

        if access is not None and not access:
            return 0
        asked = (str(filter), None if access is None else tuple(access))
        found = self.counted.get(asked)
        if found is None:
            if len(self.counted) >= _COUNTS_KEPT:
                self.counted.clear()
            limited = _limited(Query.all_query(), self.indexes.chunks, filter, access)
            found = _count(self.chunks, limited)
            self.counted[asked] = found  # never read back: another thread may clear it at any moment
        return found

    def search(
        self, query: str | Question, k: int, *, filter: Filter | None = None, access: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        from tantivy import Query

        if isinstance(query, str):
            text = query[:MAX_QUESTION]
            words = self.words.of(text)
            query = Question(self.words.terms(words, words, text))
        clauses = _clauses(self.indexes.chunks.schema, query)
        k = min(k, self.size + len(self.newest.chunks))
        if not clauses or k < 1 or (access is not None and not access):
            return []
        ranking, found = Query.boolean_query(clauses), None
        if filter is None and access is not None:
            share = self.count(None, access) / max(1, self.size)
            if share >= OPEN:  # who sees much is asked for after ranking: a set of all that they see takes longer
                more = math.ceil(k * (SPARE / share - 1.0)) + _TIES
                found = _best(self.chunks, ranking, k, self.newest.numbers, more=more, access=frozenset(access))
        if found is None:
            limited = _limited(ranking, self.indexes.chunks, filter, access)
            found = _best(self.chunks, limited, k, self.newest.numbers) or []
        if self.newest.chunks:
            scored = self._newest(query, self.newest.permitted(filter, access))
            found = sorted([*found, *scored], key=lambda one: (-one[1], one[0]))[:k]
        return found

    def _newest(self, question: Question, entries: Iterable[tuple[Entry, Text]]) -> list[tuple[int, float]]:
        """Those of the newest chunks that have a word asked for, or are mentioned, and their scores."""
        weights = Weights(self.chunks, self.indexes.chunks.schema, question.terms)
        mentions = {mention.value: MENTION_WEIGHT * mention.evidence for mention in question.mentions}
        scored = []
        for entry, text in entries:
            values = {" ".join(value) for value in entry.values} if mentions else ()
            said = sum(weight for value, weight in mentions.items() if value in values)
            if score := weights.score(text) + said:
                scored.append((entry.id, score))
        return scored

    def weigh(self, question: Question, chunks: Sequence[int]) -> dict[int, Weighed]:
        newest = {id: self.newest.chunks[id] for id in chunks if id in self.newest.chunks}
        wanted = [id for id in chunks if id not in newest] if newest else chunks
        found = _scored(self.chunks, self.indexes.chunks.schema, question, "id", wanted)
        numbers: list[Any] = self.chunks.fast_field_values("number", found.addresses)
        ordinals: list[Any] = self.chunks.fast_field_values("ordinal", found.addresses)
        words = replace(question, mentions=())
        whole = _scored(self.documents, self.indexes.documents.schema, words, "number", [*set(numbers)])
        of_document = dict(zip(whole.values, whole.scores, strict=True))
        weighed = {
            id: Weighed(score, of_document.get(number, 0.0), (number, ordinal))
            for id, score, number, ordinal in zip(found.values, found.scores, numbers, ordinals, strict=True)
        }
        if newest:
            scores = dict(self._newest(question, ((entry, text) for entry, text, _ in newest.values())))
            weights = Weights(self.documents, self.indexes.documents.schema, question.terms)
            for id, (entry, _, kept) in newest.items():
                weighed[id] = Weighed(scores.get(id, 0.0), weights.score(kept.whole), (kept.number, entry.ordinal))
        return weighed

    def _values(self, words: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Where a whole title or metadata value stands among the words. Longer ones are tried where two words open
        one, so that a question costs about two look-ups a word."""
        stopwords, values, openings = self.words.stopwords, self.newest.values, self.newest.openings

        def known(field: str, term: str) -> bool:
            return self.chunks.doc_freq(field, term) > 0 or term in (values if field == "value" else openings)

        for start, word in enumerate(words):
            if word not in stopwords and known("value", word):
                yield start, start + 1
            if start + 1 < len(words) and known("opening", f"{word} {words[start + 1]}"):
                for end in range(start + 2, min(start + LONGEST_VALUE, len(words)) + 1):
                    if known("value", " ".join(words[start:end])) and not self.words.stopwords.issuperset(
                        words[start:end]
                    ):
                        yield start, end

    def _evidence(self, value: str, words: Sequence[str], filter: Filter | None, access: Sequence[int] | None) -> float:
        from tantivy import Occur, Query

        index = self.indexes.chunks

        def count(query: tantivy.Query, filter: Filter | None = None) -> int:
            return self._standing(query, filter, access)

        if access is not None and not access:
            return 0.0
        has = Query.term_query(index.schema, "value", value, "basic")
        mine = value in self.newest.values and any(
            value in map(" ".join, entry.values) for entry, _ in self.newest.permitted(filter, access)
        )
        if not mine and not count(has, filter):
            return 0.0
        holds = [(Occur.Must, Query.term_query(index.schema, "body", word, "basic")) for word in dict.fromkeys(words)]
        everything = self.chunks.num_docs if access is None else self.count(None, access)
        others = everything - count(has)
        return math.log((others + 1) / (count(Query.boolean_query([*holds, (Occur.MustNot, has)])) + 1))

    def _standing(self, query: tantivy.Query, filter: Filter | None, access: Sequence[int] | None) -> int:
        """How many chunks of the commit a query finds. What the caller may not see says nothing here, not even how
        common these words are in it; nor does what was hidden, or taken out of the filter, since the commit."""
        return _count(self.chunks, self._current(query, filter, access))

    def _current(self, query: tantivy.Query, filter: Filter | None, access: Sequence[int] | None) -> tantivy.Query:
        """``query`` over what may be found and has not changed since the commit."""
        from tantivy import Occur, Query

        index = self.indexes.chunks
        outdated = [Query.term_query(index.schema, "document", id, "basic") for id in self.newest.documents]
        seen = _limited(query, index, filter, access)
        if outdated:
            seen = Query.boolean_query([(Occur.Must, seen), *((Occur.MustNot, one) for one in outdated)])
        return seen

    def matching(self, filter: Filter | None, access: Sequence[int] | None) -> int:
        from tantivy import Query

        if access is not None and not access:
            return 0
        return len(self.newest.permitted(filter, access)) + self._standing(Query.all_query(), filter, access)

    def chunks_with(self, terms: Iterable[Term], access: Sequence[int] | None) -> dict[Term, int]:
        from tantivy import Query

        if access is not None and not access:
            return {}
        schema, seen = self.indexes.chunks.schema, None if access is None else frozenset(access)
        found = {}
        for term in dict.fromkeys(terms):
            count = sum(seen is None or each in seen for each in self.newest.readers.get(term, ()))
            if self.chunks.doc_freq(*term):
                count += self._standing(Query.term_query(schema, *term, "basic"), None, access)
            if count:
                found[term] = count
        return found

    def most_held(self, terms: Iterable[Term], weigh: Weigh, access: Sequence[int] | None) -> Term | None:
        newest = self.newest.readers
        # At most so many chunks each: what is closed, or gone, is among them, and does no more than save counting.
        most = {term: self.chunks.doc_freq(*term) + len(newest.get(term, ())) for term in terms}
        weights = weigh([term for term, count in most.items() if count])
        best: tuple[float, Term] | None = None
        for bound, term in sorted(((weight * most[term], term) for term, weight in weights.items()), reverse=True):
            if best is not None and bound < best[0]:
                break
            if count := self.chunks_with([term], access).get(term):
                best = max(best or (0.0, term), (weights[term] * count, term))
        return None if best is None else best[1]

    def first_with(self, term: Term, k: int, access: Sequence[int] | None) -> list[int]:
        from tantivy import Order, Query

        if access is not None and not access:
            return []
        found = [entry.id for entry, text in self.newest.permitted(None, access) if term in text.counts]
        if self.chunks.doc_freq(*term):
            query = self._current(Query.term_query(self.indexes.chunks.schema, *term, "basic"), None, access)
            hits = self.chunks.search(query, k, count=False, order_by_field="id", order=Order.Asc).hits
            found += [int(id) for id, _ in hits]
        return sorted(found)[:k]

    def chunks_with_all(self, words: Sequence[str], access: Sequence[int] | None) -> int:
        from tantivy import Occur, Query

        if not words or (access is not None and not access):
            return 0
        here = [("body", word) for word in words]
        count = sum(all(term in text.counts for term in here) for _, text in self.newest.permitted(None, access))
        if all(self.chunks.doc_freq(*term) for term in here):
            schema = self.indexes.chunks.schema
            holds = [(Occur.Must, Query.term_query(schema, *term, "basic")) for term in here]
            count += self._standing(Query.boolean_query(holds), None, access)
        return count

    def beginning(self, start: str, keep: Callable[[str], bool], access: Sequence[int] | None) -> dict[str, int]:
        there = dict.fromkeys(word for word, _ in self.chunks.terms_with_prefix("body", start))
        if self.newest.documents:
            there |= dict.fromkeys(
                word for field, word in self.newest.readers if field == "body" and word.startswith(start)
            )
        # What these are is known to nobody before it is known that he may.
        held = self.chunks_with((("body", word) for word in there if keep(word)), access)
        return {word: count for (_, word), count in held.items()}

    def is_rare(self, text: str, of: Filter, one_in: int, access: Sequence[int] | None) -> bool:
        from tantivy import Occur, Query

        words = self.words.of(text[:MAX_QUESTION])
        if not words or (access is not None and not access):
            return False
        schema = self.indexes.chunks.schema
        holds = [(Occur.Must, Query.term_query(schema, "body", word, "basic")) for word in dict.fromkeys(words)]
        held = self._standing(Query.boolean_query(holds), Not(of), access)
        # Of what is left when those are taken away: to look for what does not satisfy a filter walks all there is.
        here, those = (self._standing(Query.all_query(), filter, access) for filter in (None, of))
        return not held or held * one_in < here - those


def _count(searcher: tantivy.Searcher, query: tantivy.Query) -> int:
    return int(searcher.search(query, 1, count=True).count or 0)  # type: ignore[attr-defined]


def _clauses(schema: tantivy.Schema, question: Question) -> list[tuple[tantivy.Occur, tantivy.Query]]:
    from tantivy import Occur, Query

    words = [
        Query.boost_query(Query.term_query(schema, field, term, "freq"), weight)
        for (field, term), weight in question.terms
    ]
    mentions = [
        Query.const_score_query(
            Query.term_query(schema, "value", mention.value, "basic"), MENTION_WEIGHT * mention.evidence
        )
        for mention in question.mentions
    ]
    return [(Occur.Should, clause) for clause in (*words, *mentions)]


def _scored(
    searcher: tantivy.Searcher, schema: tantivy.Schema, question: Question, field: str, values: Sequence[int]
) -> _Scored:
    """The entries with these values of an integer field, and their scores; 0 without a word asked for."""
    from tantivy import Occur, Query

    if not values:
        return _Scored([], [], [])
    if len(values) <= _LOOKED_UP:
        these = Query.boolean_query(
            [(Occur.Should, Query.term_query(schema, field, value, "basic")) for value in values]
        )
    else:
        these = Query.term_set_query(schema, field, list(values))
    query = Query.boolean_query([(Occur.Must, Query.const_score_query(these, 0.0)), *_clauses(schema, question)])
    hits = searcher.search(query, len(values), count=False).hits
    addresses = [address for _, address in hits]
    return _Scored(searcher.fast_field_values(field, addresses), addresses, [score for score, _ in hits])


class _Scored(NamedTuple):
    """In parallel."""

    values: Sequence[Any]  # integers: every entry has the fields that are looked up
    addresses: list[tantivy.DocAddress]
    scores: Sequence[float]


_LOOKED_UP = 2_000
"""So many values are looked up one by one; a set of more is run along the field's whole dictionary. Of 100,000 chunks
500 take 0.8 ms against 2.4 ms, what the question's words score included."""


def _limited(
    ranking: tantivy.Query, index: tantivy.Index, filter: Filter | None, access: Sequence[int] | None
) -> tantivy.Query:
    """``ranking`` over what may be found; what limits it scores 0."""
    from tantivy import Occur, Query

    limits = []
    if filter is not None:
        limits.append(to_tantivy(filter, index, "attribute"))
    if access is not None:
        limits.append(Query.term_set_query(index.schema, "access", list(access)))
    if not limits:
        return ranking
    unscored = [(Occur.Must, Query.const_score_query(limit, 0.0)) for limit in limits]
    return Query.boolean_query([(Occur.Must, ranking), *unscored])


def _best(
    searcher: tantivy.Searcher,
    query: tantivy.Query,
    k: int,
    without: Collection[int],
    *,
    more: int = _TIES,
    access: Collection[int] | None = None,
) -> list[tuple[int, float]] | None:
    """The ``k`` best that are of none of the documents ``without`` (their numbers). tantivy breaks ties by where a
    chunk happens to lie, so fetch until the last one fetched is worse than the k-th, and break them by id.

    With ``access`` those of these access sets, if they are among the ``k + more`` best of all; ``None``: not surely.
    """
    while True:
        kept = hits = searcher.search(query, k + more, count=False).hits
        if without:
            numbers = searcher.fast_field_values("number", [address for _, address in kept])
            kept = [hit for hit, number in zip(kept, numbers, strict=True) if int(number or 0) not in without]
        if access is not None:
            sets = searcher.fast_field_values("access", [address for _, address in kept])
            kept = [hit for hit, number in zip(kept, sets, strict=True) if int(number or 0) in access]
        enough = len(kept) > k and hits[-1][0] < kept[k - 1][0]
        if len(hits) < k + more or enough:
            break
        if access is not None:
            return None
        if more >= _MOST_TIES:
            break
        more *= 8
    ids = searcher.fast_field_values("id", [address for _, address in kept])
    ranked = sorted((-score, int(id or 0)) for (score, _), id in zip(kept, ids, strict=True))
    return [(id, -score) for score, id in ranked[:k]]


_MOST_TIES = 20_000
_COUNTS_KEPT = 1_000
