"""A question whose hits split between readings is asked back: "for employees or contractors?".

By rule, and rather not than in vain: hits split where two or more of the first, with nearly the same score, are twins.
Twins are the same section of pages that differ in one field of their metadata ("version: v3.4" and "version: v3.5"), or
sections side by side under one heading that say alike things of different ones ("Employees" and "Contractors"). The
question must name none of them, and what the twins say must differ.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from openbook.retrieve.filters.vocabulary import NAMES, folded
from openbook.sentences import sentences
from openbook.store.keyword.words import STOPWORDS
from openbook.types import Choice, Citation, Clarification, Hit

NEAR = 0.25
"""Of what the best hit is ahead of the last: as much a page may be behind and still count as one that leads. Of the 36
dev questions of docs-etcd none is asked back as it stands, and 7 without the version that they name; of
handbook-sourcegraph's 18 none."""

NEAR_BESIDE = 0.1
"""The same for sections of one page, which more often complete each other than differ."""

ALIKE = 0.25
"""Of the words that either of two sections side by side has, so many are in both where they say alike things."""

MOST_CHOICES = 5

_TELL_NOTHING = NAMES | {"source", "type", "lang", "modified"}
"""Fields that tell how a page is kept, and not what it is about."""

_DATE = re.compile(r"(?:19|20|21)\d\d-\d\d(?:-\d\d.*)?")
_WORD = re.compile(r"[^\W_]+")


def readings(question: str, hits: Sequence[Hit]) -> Clarification | None:
    """What to ask back of hits, best first; ``None`` where they do not split."""
    if len(hits) < 2:
        return None
    named = _words(question)
    return _of_field(_leading(hits, NEAR), named) or _of_headings(_leading(hits, NEAR_BESIDE), named)


def _leading(hits: Sequence[Hit], near: float) -> list[Hit]:
    furthest = hits[0].score - near * (hits[0].score - hits[-1].score)
    return [hit for hit in hits if hit.score >= furthest]


def beginning(hit: Hit) -> Citation:
    """The first sentence of a hit that is no heading, to stand for it."""
    chunk = hit.chunk
    spans = sentences(chunk.text) or [(0, len(chunk.text))]
    start, end = next((span for span in spans if not chunk.text.startswith("#", span[0])), spans[0])
    return hit.cite(chunk.start + start, chunk.start + end)


def _of_field(leading: Sequence[Hit], named: frozenset[str]) -> Clarification | None:
    """The same section of pages that differ in one field."""
    for field in dict.fromkeys(field for hit in leading for field in hit.metadata if field not in _TELL_NOTHING):
        values = [_value(hit, field) for hit in leading]
        # A hit that is of no value at all answers every reading.
        if not all(values) or len(set(values)) < 2 or any(map(_DATE.fullmatch, values)):
            continue
        told = frozenset(word for value in values for word in _words(value))
        if named & told:
            continue
        twins: defaultdict[tuple[object, ...], dict[str, Hit]] = defaultdict(dict)
        for hit, value in zip(leading, values, strict=True):
            twins[_without(told, (hit.title, *hit.chunk.headings))].setdefault(value, hit)
        for found in twins.values():
            if len(found) > 1 and len({" ".join(hit.chunk.text.split()) for hit in found.values()}) > 1:
                return _asked(f"Which {_said(field)} is meant", found)
    return None


def _of_headings(leading: Sequence[Hit], named: frozenset[str]) -> Clarification | None:
    """Sections side by side that say alike things."""
    beside: defaultdict[tuple[str, int, tuple[str, ...]], dict[str, Hit]] = defaultdict(dict)
    for hit in leading:
        *above, last = hit.chunk.headings or ("",)
        if above and last:
            beside[hit.document, hit.version, tuple(above)].setdefault(last, hit)
    for found in beside.values():
        first, *others = found.items()
        alike = dict([first, *(other for other in others if _alike(first[1], other[1]))])
        own = [_words(heading) for heading in alike]
        shared = frozenset.intersection(*own)
        if len(alike) > 1 and not any(named & (words - shared) or words <= named for words in own):
            return _asked("Which is meant", alike)
    return None


def _asked(question: str, found: Mapping[str, Hit]) -> Clarification:
    choices = tuple(Choice(text, beginning(hit)) for text, hit in [*found.items()][:MOST_CHOICES])
    *first, last = (choice.text for choice in choices)
    return Clarification(f"{question}: {', '.join(first)} or {last}?", choices)


def _alike(one: Hit, other: Hit) -> bool:
    a, b = _words(one.chunk.text), _words(other.chunk.text)
    return bool(a) and len(a & b) >= ALIKE * len(a | b)


def _value(hit: Hit, field: str) -> str:
    """That of a field with one value; nothing where it has none or several."""
    value = hit.metadata.get(field, "")
    return "" if isinstance(value, tuple | bool) else str(value)


def _without(words: frozenset[str], texts: Iterable[str]) -> tuple[object, ...]:
    """Titles and headings as far as they do not say which of the twins it is."""
    return tuple(tuple(w for w in _WORD.findall(folded(text)) if w not in words and not w.isdigit()) for text in texts)


def _said(field: str) -> str:
    return " ".join(field.rpartition(".")[2].replace("_", " ").split()) or field


def _words(text: str) -> frozenset[str]:
    """The words of a text that tell something; of a version its numbers, too."""
    found = {word for word in _WORD.findall(folded(text)) if word not in STOPWORDS["english"]}
    return frozenset(found | {word[1:] for word in found if word[0] == "v" and word[1:].isdigit()})
