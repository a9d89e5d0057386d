"""Where the evidence of a data set stands in the documents, so that it can be judged whatever they are cut into.

A passage is looked for as it stands; then without what writing it down changes (case, Unicode's compatible forms,
accents, quotes, dashes, Markdown's marks, hyphens at line ends; white space never counts); at last by its words in
order, as a whole or sentence by sentence, with a score that tells how much of it is there. Nothing is dropped in
silence: what was not found is listed with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from openbook.evaluate.datasets.dataset import Evidence, Question, Span
from openbook.evaluate.datasets.normal import IS_UNSPACED, Normal
from openbook.sentences import sentences
from openbook.types import storable

if TYPE_CHECKING:
    import numpy as np

    from openbook.knowledge_base import KnowledgeBase

    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

How = Literal["offsets", "exact", "normalised", "fuzzy", "document", "missing"]

THRESHOLD = 0.75
"""Least share of a passage's characters that must stand somewhere, in order, for it to count as found."""

LEAST_FUZZY = 24
"""Characters: of a shorter passage, one word is so large a share that another statement would do ("30 days")."""

LEAST_INSIDE = 24
"""Characters: a shorter passage that begins or ends inside a word of the document is another word ("art", "party")."""

MOST_PLACES = 100
"""A passage that stands in more places marks none of them."""

GAP = 0.5
"""What a character that stands between two matching runs of words costs, as a share of one that matches."""

WINDOWS = 4
"""Places of a document at which a passage is aligned, those with most of its words first."""

BATCH = 4_000_000
"""Characters of documents that are held at once."""


@dataclass(frozen=True, slots=True)
class Match:
    """What became of one piece of evidence.

    ``how``: the data set's own ``offsets`` were right; the passage stands there ``exact`` (but for white space),
    ``normalised`` or ``fuzzy``; a ``document`` is named, and no passage; or it is ``missing``, and ``why`` says so in
    a line, ``reason`` in a few words that many share. ``score`` is the share of its characters that stand there in
    order; that of a missing one is the best that was seen.
    """

    how: How
    score: float
    spans: tuple[Span, ...] = ()
    documents: tuple[str, ...] = ()  # sources
    why: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Located:
    """``matches[question]`` has a match for each of its pieces of evidence, in their order.

    ``judgements[question]`` are graded documents, by source: the question's own, their names resolved as ``openbook
    show`` resolves them, or else the documents that hold its evidence. What could not be found keeps the name it was
    given, so that it counts as never retrieved; ``unknown`` says so in a line for each.
    """

    matches: Mapping[str, tuple[Match, ...]]
    judgements: Mapping[str, Mapping[str, int]]
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def spans(self) -> dict[str, tuple[Span, ...]]:
        """Where the evidence of each question stands, in order of source and start; questions without any left out."""
        found = {id: {span for match in matches for span in match.spans} for id, matches in self.matches.items()}
        return {
            id: tuple(sorted(spans, key=lambda s: (s.source, s.start, s.end, -s.score)))
            for id, spans in found.items()
            if spans
        }

    @property
    def missing(self) -> dict[str, tuple[str, ...]]:
        """What was not found of each question, a line a piece."""
        lines = {id: tuple(m.why for m in matches if m.how == "missing") for id, matches in self.matches.items()}
        return {id: why for id, why in lines.items() if why}

    @property
    def reasons(self) -> dict[str, dict[str, Any]]:
        """Why evidence was not found → ``count`` of its pieces, and an example: a ``question``, ``why`` in a line."""
        found: dict[str, dict[str, Any]] = {}
        for id, matches in self.matches.items():
            for match in matches:
                if match.how == "missing":
                    found.setdefault(match.reason, {"count": 0, "question": id, "why": match.why})["count"] += 1
        return dict(sorted(found.items(), key=lambda item: -item[1]["count"]))

    @property
    def scores(self) -> dict[str, tuple[float, ...]]:
        return {id: tuple(match.score for match in matches) for id, matches in self.matches.items()}

    @property
    def counts(self) -> dict[str, int]:
        """How many pieces of evidence there are, and how each was found."""
        hows = Counter(match.how for matches in self.matches.values() for match in matches)
        return {"evidence": hows.total(), **{how: hows[how] for how in _HOWS if hows[how]}}

    def as_json(self) -> dict[str, Any]:
        """For the details of a report."""
        fuzzy = [m.score for matches in self.matches.values() for m in matches if m.how == "fuzzy"]
        return {
            **self.counts,
            "fuzzy_scores": {"lowest": round(min(fuzzy), 3), "mean": round(sum(fuzzy) / len(fuzzy), 3)}
            if fuzzy
            else {},
            "not_found": {id: list(lines) for id, lines in self.missing.items()},
            "reasons": self.reasons,
            "unknown_documents": {id: list(lines) for id, lines in self.unknown.items()},
        }


_HOWS: tuple[How, ...] = ("offsets", "exact", "normalised", "fuzzy", "document", "missing")


def locate(
    kb: KnowledgeBase,
    questions: Iterable[Question],
    *,
    as_: Sequence[str] | None = None,
    threshold: float = THRESHOLD,
) -> Located:
    """Look for the evidence of ``questions`` in the documents that ``as_`` may see.

    A passage is looked for in the document that its source names (an id, a source, a path or the end of one, with or
    without the file's ending, or a value of the documents' metadata); without a source, or where none is of that name,
    in all. Every place at which it stands counts. Offsets that the data set gives are trusted where they cut out the
    passage. ``threshold`` in (0, 1] bounds what is found by its words only.
    """
    questions = list(questions)
    names = _Names(kb.list(as_=as_))
    wanted = [
        _Wanted(question.id, evidence, names.find(evidence.source) or names.holding(evidence.source))
        for question in questions
        for evidence in question.evidence
    ]
    passages = [want for want in wanted if want.is_passage]
    everywhere = _Cover([want for want in passages if not want.documents and want.text])
    _find_whole(kb, names, passages, everywhere, threshold, as_)
    _find_fuzzy(kb, names, [want for want in passages if not want.found and want.can_be_fuzzy], threshold, as_)
    matches: dict[str, list[Match]] = {}
    for want in wanted:
        matches.setdefault(want.question, []).append(want.match(names))
    judgements: dict[str, dict[str, int]] = {}
    unknown: dict[str, tuple[str, ...]] = {}
    for question in questions:
        judged, lines = _judged(question, matches.get(question.id, ()), names)
        if judged:
            judgements[question.id] = judged
        if lines:
            unknown[question.id] = lines
    return Located({id: tuple(of) for id, of in matches.items()}, judgements, unknown)


def _judged(question: Question, matches: Sequence[Match], names: _Names) -> tuple[dict[str, int], tuple[str, ...]]:
    judged: dict[str, int] = {}
    lines = []
    for name, grade in question.judgements.items():
        found = names.find(name)
        if len(found) != 1 and grade > 0:
            lines.append(names.trouble(name, found))
        source = names.source[found[0]] if len(found) == 1 else name
        judged[source] = max(grade, judged.get(source, grade))
    if judged:
        return judged, tuple(lines)
    for evidence, match in zip(question.evidence, matches, strict=True):
        judged.update(dict.fromkeys(match.documents or (evidence.source or "(not found)",), 1))
    return judged, ()


# --- which document is meant ------------------------------------------------------------------------------------------


class _Names:
    """The documents, by whatever they can be called."""

    def __init__(self, listing: Sequence[Mapping[str, Any]]) -> None:
        self.source = {row["document"]: row["source"] for row in listing}
        self.length = {row["document"]: row["characters"] for row in listing}
        self._listing = listing
        self._by_source = {row["source"]: row["document"] for row in listing}
        self._found: dict[str, tuple[str, ...]] = {}

    def find(self, name: str) -> tuple[str, ...]:
        """Ids of the documents that ``name`` means: an id, a source, a path or the end of one; at best there is one."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def holding(self, value: str) -> tuple[str, ...]:
        """Ids of the documents with this value in a field of their metadata: all parts of a contract, say."""
        return tuple(self._values.get(value, ()))

    def _find(self, name: str) -> tuple[str, ...]:
        if name in self._by_source:
            return (self._by_source[name],)
        if name in self.source:
            return (name,)
        wanted = name.removeprefix("./").strip("/")
        if not wanted:
            return ()
        for ends in (self._ends, self._bare_ends):
            found = {
                id
                for spelled in (wanted, quote(wanted))
                for path, id in ends.get(spelled.rpartition("/")[2], ())
                if path.endswith(f"/{spelled}")
            }
            if found:
                return tuple(sorted(found, key=self.source.__getitem__))
        return ()

    @cached_property
    def _ends(self) -> dict[str, list[tuple[str, str]]]:
        """Last part of a path → (whole path, document). Files are known by source, and by path not percent-encoded."""
        ends: dict[str, list[tuple[str, str]]] = {}
        for row in self._listing:
            for path in {row["source"], str(row["metadata"].get("path", ""))}:
                ends.setdefault(path.rpartition("/")[2], []).append((f"/{path}", row["document"]))
        return ends

    @cached_property
    def _bare_ends(self) -> dict[str, list[tuple[str, str]]]:
        """The same without what stands after the last dot: data sets leave the ending of a file out."""
        ends: dict[str, list[tuple[str, str]]] = {}
        for last, paths in self._ends.items():
            ending = PurePosixPath(last).suffix
            if ending:
                bare = [(path.removesuffix(ending), id) for path, id in paths]
                ends.setdefault(last.removesuffix(ending), []).extend(bare)
        return ends

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        """Value of a metadata field → documents: the parts of a contract, an article by its address."""
        values: dict[str, list[str]] = {}
        for row in self._listing:
            for value in {value for value in row["metadata"].values() if isinstance(value, str) and value}:
                values.setdefault(value, []).append(row["document"])
        return values

    def trouble(self, name: str, found: Sequence[str]) -> str:
        if not found:
            return f"{name}: no such document; add it, or correct the name"
        return f"{name}: means {len(found)} documents; name one whole, such as {self.source[found[0]]}"


# --- what is looked for -----------------------------------------------------------------------------------------------


class _Wanted:
    """A piece of evidence, and what has been found of it so far."""

    def __init__(self, question: str, evidence: Evidence, documents: tuple[str, ...]) -> None:
        self.question = question
        self.evidence = evidence
        self.documents = documents  # that its source names
        self.text = _as_stored(evidence.text).strip()
        self.near: list[str] = []  # documents that hold enough of its words; only where none is named
        self.offsets: list[Span] = []
        self.exact: list[Span] = []
        self.normalised: list[Span] = []
        self.fuzzy: list[Span] = []
        self.score = 0.0
        self.best = ""  # the document of the best score

    @property
    def is_passage(self) -> bool:
        return bool(self.text) or (self.evidence.start is not None and len(self.documents) == 1)

    @cached_property
    def normal(self) -> Normal:
        return Normal(self.text)

    @cached_property
    def solid(self) -> str:
        return "".join(self.text.split())

    @cached_property
    def parts(self) -> list[Normal]:
        """Its sentences, or what stands between marks of omission; short ones stay with the one before."""
        parts: list[str] = []
        for piece in _OMISSION.split(self.text):
            for start, end in sentences(piece):
                if parts and len(piece[start:end]) < LEAST_FUZZY:
                    parts[-1] += " " + piece[start:end]
                else:
                    parts.append(piece[start:end])
        return [Normal(part) for part in parts] if len(parts) > 1 else []

    @property
    def found(self) -> bool:
        return bool(self.offsets or self.exact or self.normalised)

    @property
    def can_be_fuzzy(self) -> bool:
        return self.normal.size >= LEAST_FUZZY

    def match(self, names: _Names) -> Match:
        for how, spans in (
            ("offsets", self.offsets),
            ("exact", self.exact),
            ("normalised", self.normalised),
            ("fuzzy", self.fuzzy),
        ):
            if 0 < len(spans) <= MOST_PLACES:
                score = self.score if how == "fuzzy" else 1.0
                sources = tuple(dict.fromkeys(span.source for span in spans))
                return Match(how, score, tuple(spans), sources)  # type: ignore[arg-type]
            if spans:
                why = f"stands in {len(spans)} places; name its document, or quote more"
                return self._missing("stands in too many places", why, names)
        name = self.evidence.source
        if not self.is_passage:
            if len(self.documents) == 1:
                return Match("document", 1.0, documents=(names.source[self.documents[0]],))
            reason = "its source names several documents" if self.documents else "its source is not there"
            return Match("missing", 0.0, why=names.trouble(name, self.documents), reason=reason)
        if not self.text:
            what = f"{name}: {self.evidence.start}:{self.evidence.end} lies beyond its end; give the passage's text"
            known, reason = (names.source[self.documents[0]],), "lies beyond the end of its document"
            return Match("missing", 0.0, documents=known, why=what, reason=reason)
        where = f"does not stand in {name}" if self.documents else "stands in no document"
        reason = "does not stand in its document" if self.documents else where
        if name and not self.documents:
            where += f", and none is named {name}"
            reason += ", and its source is not there"
        if self.best:
            where += f" (nearest: {self.score:.2f} in {names.source[self.best]})"
        return self._missing(reason, where, names)

    def _missing(self, reason: str, why: str, names: _Names) -> Match:
        text = " ".join(self.text.split())
        shown = text if len(text) <= 60 else f"{text[:59]}…"
        known = (names.source[self.documents[0]],) if len(self.documents) == 1 else ()
        return Match("missing", min(self.score, 1.0), documents=known, why=f"“{shown}” {why}", reason=reason)


_OMISSION = re.compile(r"\s*(?:\[\s*(?:\.{3}|…)\s*\]|\(\s*(?:\.{3}|…)\s*\)|\.{3,}|…)\s*")


def _as_stored(text: str) -> str:
    """As a document's text is stored."""
    return storable(text.replace("\r\n", "\n").replace("\r", "\n"))


# --- as it stands -----------------------------------------------------------------------------------------------------


def _find_whole(
    kb: KnowledgeBase,
    names: _Names,
    passages: Sequence[_Wanted],
    everywhere: _Cover,
    threshold: float,
    as_: Sequence[str] | None,
) -> None:
    """Fill in offsets, exact and normalised places, and which documents are near to what may stand anywhere."""
    by_document: dict[str, list[_Wanted]] = {}
    for want in passages:
        for document in want.documents:
            by_document.setdefault(document, []).append(want)
    for id, text in _texts(kb, names, names.source if everywhere.passages else by_document, as_):
        normal = Normal(text)
        near = everywhere.near(normal, threshold)
        for want in near:
            want.near.append(id)
        for want in (*by_document.get(id, ()), *near):
            _find_in(want, normal, names.source[id])


def _find_in(want: _Wanted, normal: Normal, source: str) -> None:
    text, evidence = normal.text, want.evidence
    if evidence.start is not None and evidence.end is not None and evidence.end <= len(text):
        there = text[evidence.start : evidence.end]
        if there.strip() == want.text or (not want.text and len(want.documents) == 1):
            want.offsets.append(Span(source, evidence.start, evidence.end, there))
    if want.offsets or not want.text:
        return  # offsets say which of the places is meant
    solid = normal.solid
    exact = _whole_words(text, [solid.span(i, i + len(want.solid)) for i in _occurrences(solid.chars, want.solid)])
    want.exact += [Span(source, start, end, text[start:end]) for start, end in exact]
    size = len(want.normal.chars)
    alike = _whole_words(text, [normal.span(i, i + size) for i in _occurrences(normal.chars, want.normal.chars)])
    want.normalised += [Span(source, start, end, text[start:end]) for start, end in alike]


def _occurrences(text: str, passage: str) -> Iterator[int]:
    at = text.find(passage) if passage else -1
    while at >= 0:
        yield at
        at = text.find(passage, at + len(passage))


def _whole_words(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those that neither begin nor end inside a word or number; all of them, where long ones leave no other choice."""
    whole = [(start, end) for start, end in spans if not _is_inside(text, start) and not _is_inside(text, end)]
    return whole or [(start, end) for start, end in spans if end - start >= LEAST_INSIDE]


def _is_inside(text: str, at: int) -> bool:
    """Whether a word, or a number with its point, goes on from ``at - 1`` to ``at``."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if before.isalnum() and after.isalnum():
        return not (IS_UNSPACED.match(before) or IS_UNSPACED.match(after))
    if before in ".,":
        return after.isdigit() and at > 1 and text[at - 2].isdigit()
    return before.isdigit() and after in ".," and text[at + 1 : at + 2].isdigit()


def _texts(
    kb: KnowledgeBase, names: _Names, documents: Iterable[str], as_: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """(id, text) of these documents, read some at a time."""
    batch: list[str] = []
    size = 0
    for id in documents:
        if batch and size + names.length[id] > BATCH:
            yield from kb.texts(batch, as_=as_).items()
            batch, size = [], 0
        batch.append(id)
        size += names.length[id]
    if batch:
        yield from kb.texts(batch, as_=as_).items()


# --- anywhere ---------------------------------------------------------------------------------------------------------


class _Cover:
    """Which of many passages a document may hold, by the share of their characters whose words it holds anywhere:
    no alignment can find more."""

    def __init__(self, passages: Sequence[_Wanted]) -> None:
        import numpy as np

        self.passages = passages
        weights: dict[str, tuple[list[int], list[float]]] = {}
        for number, want in enumerate(passages):
            for word, count in Counter(want.normal.words).items():
                numbers, shares = weights.setdefault(word, ([], []))
                numbers.append(number)
                shares.append(count * len(word) / want.normal.size)
        self._weights = {word: (np.array(n), np.array(shares)) for word, (n, shares) in weights.items()}
        self._wordless = [want for want in passages if not want.normal.words]

    def near(self, document: Normal, threshold: float) -> list[_Wanted]:
        import numpy as np

        known = [self._weights[word] for word in document.places if word in self._weights]
        if not known:
            return self._wordless
        numbers, shares = (np.concatenate(of) for of in zip(*known, strict=True))
        covered = np.bincount(numbers, shares, minlength=len(self.passages))
        return [*self._wordless, *(self.passages[i] for i in np.flatnonzero(covered >= threshold - 1e-9).tolist())]


# --- by its words -----------------------------------------------------------------------------------------------------


def _find_fuzzy(
    kb: KnowledgeBase, names: _Names, wanted: Sequence[_Wanted], threshold: float, as_: Sequence[str] | None
) -> None:
    """Fill in where most of a passage stands, in the best document (in several, where they are equally good)."""
    by_document: dict[str, list[_Wanted]] = {}
    for want in wanted:
        for document in want.documents or want.near:
            by_document.setdefault(document, []).append(want)
    for id, text in _texts(kb, names, by_document, as_):
        normal = Normal(text)
        for want in by_document[id]:
            score, places = _aligned(normal, want, threshold)
            if score < want.score or not score:
                continue
            if score > want.score:
                want.fuzzy, want.score, want.best = [], score, id
            if score >= threshold:
                spans = [(normal.words_span(first, last), share) for first, last, share in places]
                want.fuzzy += [Span(names.source[id], s, e, text[s:e], share) for (s, e), share in spans]


Place = tuple[int, int, float]
"""Number of the first and of the last word, and the share of the passage (or of its part) that stands there."""


def _aligned(document: Normal, want: _Wanted, threshold: float) -> tuple[float, list[Place]]:
    """The share of a passage that a document holds in one place, or part by part, and where."""
    whole = _align(document, want.normal, min(threshold, 0.5))
    best = (whole[2], [whole]) if whole is not None else (0.0, [])
    places, characters = [], 0.0
    for part in want.parts:
        place = _align(document, part, threshold)
        if place is not None:
            places.append(place)
            characters += place[2] * part.size
    score = characters / want.normal.size
    return (score, sorted(set(places))) if score > best[0] else best


def _align(document: Normal, passage: Normal, least: float) -> Place | None:
    """The place where most of the passage's words stand in order; ``None`` where less than ``least`` of it does.

    The longest common subsequence of words, in windows a third wider than the passage; of it, the stretch that is worth
    its gaps (``GAP``), so that a lone "the" far ahead does not widen the span.
    """
    import numpy as np
    from rapidfuzz.distance import LCSseq

    words, total = passage.words, passage.size
    numbers = [(number, word) for word in set(words) for number in document.places.get(word, ())]
    if not numbers:
        return None
    width = len(words) + max(4, len(words) // 3)
    held, rare = np.zeros(len(document.words)), np.zeros(len(document.words))
    for number, word in numbers:
        held[number] = len(word)
        rare[number] = len(word) / len(document.places[word])
    most, promising = _sums(held, width), _sums(rare, width)
    best: Place | None = None
    for _ in range(WINDOWS):
        start = int(np.argmax(promising))
        if promising[start] <= 0:
            break
        promising[max(0, start - width // 2) : start + width // 2 + 1] = 0
        if most[start] < least * total:
            continue
        place = _stretch(passage, document, start, LCSseq.opcodes(words, document.words[start : start + width]))
        if place is not None and place[2] >= least and (best is None or place[2] > best[2]):
            best = place
    return best


def _sums(values: FloatArray, width: int) -> FloatArray:
    """The sum of each window, by its start."""
    import numpy as np

    sums = np.concatenate(([0.0], np.cumsum(values)))
    ends = np.minimum(np.arange(len(values)) + width, len(values))
    result: FloatArray = sums[ends] - sums[:-1]
    return result


def _stretch(passage: Normal, document: Normal, offset: int, operations: Iterable[Any]) -> Place | None:
    """The best run of an alignment: matching characters less ``GAP`` for each that stands between (Bentley, 1984)."""
    best: Place | None = None
    worth = most = matched = 0.0
    first = last = -1
    for operation in operations:
        start, end = offset + operation.dest_start, offset + operation.dest_end
        length = sum(map(len, document.words[start:end]))
        if operation.tag != "equal":
            worth -= GAP * length
            continue
        if worth <= 0:
            worth, matched, first = 0.0, 0.0, start
        worth, matched, last = worth + length, matched + length, end - 1
        if worth > most:
            most, best = worth, (first, last, matched / passage.size)
    return best
