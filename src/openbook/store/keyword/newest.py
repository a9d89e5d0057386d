"""What has changed since a keyword index was last committed, held in the memory of a process.

A commit of tantivy waits for the disk: two indexes, a dozen files each. On a disk that others write to as well that
takes 20 to 200 ms, and an edit is to be found sooner. So a process that is asking takes in the newest changes here, and
they are committed when there are too many of them.

Their chunks are scored by tantivy's own formula, by the statistics of the committed index: what a word weighs does not
depend on where a chunk happens to lie. The statistics of the newest themselves come with the commit.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from openbook.store.filter import Filter, matches
from openbook.store.keyword.entries import Change, Entry, Position, document_body, document_number, entries
from openbook.store.keyword.words import Words, folded, identifiers

if TYPE_CHECKING:
    import tantivy

MOST_DOCUMENTS = 200
"""More changed documents are committed. One edit of so many waits for the disk; scoring them all takes 1 ms."""

MOST_CHUNKS = 2_000

_K1, _B = 1.2, 0.75  # tantivy's

Term = tuple[str, str]
"""(field, word)."""


@dataclass(frozen=True, slots=True)
class Text:
    """How often each term stands in a text, and how long its fields are, as tantivy counts it."""

    counts: Mapping[Term, int]
    lengths: Mapping[str, int]

    @classmethod
    def of(cls, text: str, words: Words) -> Text:
        said, named = words.of(text), identifiers(folded(text))
        counts = Counter([*(("body", word) for word in said), *(("identifier", name) for name in named)])
        return cls(counts, {"body": _rounded(len(said)), "identifier": _rounded(len(named))})


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that was changed at ``position`` or before; without chunks it is deleted."""

    position: Position
    number: int
    chunks: tuple[tuple[Entry, Text], ...]
    whole: Text

    @classmethod
    def of(cls, change: Change, position: Position, words: Words) -> Kept:
        chunks = tuple((entry, Text.of(entry.body, words)) for entry in entries(change, words))
        whole = Text.of(document_body(change.chunks), words) if change.chunks else Text({}, {})
        return cls(position, document_number(change.document), chunks, whole)


class Newest:
    """Changed documents, by their uuid. Never changed itself."""

    def __init__(self, documents: Mapping[str, Kept]) -> None:
        self.documents = documents

    def taking(self, changes: Iterable[Change], position: Position, words: Words) -> Newest:
        return Newest({**self.documents, **{one.document: Kept.of(one, position, words) for one in changes}})

    def after(self, position: Position) -> Newest:
        """Without what a commit at ``position`` holds."""
        if not self.documents:
            return self
        kept = {id: one for id, one in self.documents.items() if one.position.epoch == position.epoch}
        return Newest({id: one for id, one in kept.items() if one.position.number > position.number})

    def __len__(self) -> int:
        return len(self.documents)

    @cached_property
    def chunks(self) -> Mapping[int, tuple[Entry, Text, Kept]]:
        return {entry.id: (entry, text, kept) for kept in self.documents.values() for entry, text in kept.chunks}

    @cached_property
    def numbers(self) -> frozenset[int]:
        """Of the documents: whatever a committed index holds of these is out of date."""
        return frozenset(kept.number for kept in self.documents.values())

    @cached_property
    def values(self) -> frozenset[str]:
        """Titles and metadata values, whole, as words."""
        return frozenset(" ".join(value) for entry, _, _ in self.chunks.values() for value in entry.values)

    @cached_property
    def openings(self) -> frozenset[str]:
        """The first two words of the longer ones."""
        return frozenset(
            " ".join(value[:2]) for entry, _, _ in self.chunks.values() for value in entry.values if len(value) > 1
        )

    @cached_property
    def readers(self) -> Mapping[Term, Sequence[int]]:
        """The access sets of the chunks that have a term."""
        found: defaultdict[Term, list[int]] = defaultdict(list)
        for entry, text, _ in self.chunks.values():
            for term in text.counts:
                found[term].append(entry.access)
        return found

    def permitted(self, filter: Filter | None, access: Sequence[int] | None) -> list[tuple[Entry, Text]]:
        seen = None if access is None else frozenset(access)
        return [
            (entry, text)
            for entry, text, _ in self.chunks.values()
            if (seen is None or entry.access in seen) and (filter is None or matches(filter, entry.metadata))
        ]


class Weights:
    """What each of a question's terms weighs in a committed index, for texts that are not in it."""

    def __init__(self, searcher: tantivy.Searcher, schema: tantivy.Schema, terms: Iterable[tuple[Term, float]]) -> None:
        from tantivy import Query

        frequencies = [(term, weight, searcher.doc_freq(*term)) for term, weight in terms]
        total = float(searcher.num_docs)
        self._average: dict[str, float] = {}
        for (field, word), _, found in frequencies:
            if found and field not in self._average:
                query = Query.term_query(schema, field, word, "freq")
                for _, address in searcher.search(query, 1, count=False).hits:
                    told = _told(json.loads(query.explain(searcher, address).to_json()))
                    total, self._average[field] = told["N"], told["avgdl"]
        self._weights = {
            term: weight * (_K1 + 1) * math.log(1 + (total - found + 0.5) / (found + 0.5))
            for term, weight, found in frequencies
        }

    def score(self, text: Text) -> float:
        """BM25."""
        score = 0.0
        for term, weight in self._weights.items():
            if count := text.counts.get(term):
                length = text.lengths[term[0]]
                norm = _K1 * (1 - _B + _B * length / self._average.get(term[0], length))
                score += weight * count / (count + norm)
        return score


def _told(explanation: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a tantivy explanation, by the first word of what they are called."""
    told = {explanation["description"].split(",")[0]: explanation["value"]}
    for detail in explanation.get("details", ()):
        told |= _told(detail)
    return told


def _rounded(length: int) -> int:
    """As tantivy keeps a field's length in a byte: exact up to 40, then three binary digits after the first."""
    if length <= 40:
        return length
    shift = (length - 24).bit_length() - 4
    return 24 + ((length - 24) >> shift << shift)
