"""What must not stand in two splits: questions, passages and documents that are the same, or nearly so.

Two questions are the same when their words are, whatever their case, accents and punctuation. They are nearly so when
what they share outweighs what they do not (a weighted Jaccard coefficient, rare words weighing more), and what they
differ in is neither a number, a name nor a negation. Passages and documents are compared by their runs of five words,
in sketches of bounded size (Broder, On the resemblance and containment of documents, 1997). Copies and light edits are
found; a question that asks the same in other words is not.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from openbook.evaluate.datasets.dataset import Evidence, Question

if TYPE_CHECKING:
    import numpy as np

    IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    HashArray = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]
    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

K = TypeVar("K", bound=Hashable)

# --- leaks ------------------------------------------------------------------------------------------------------------

Kind = Literal["question", "near question", "passage", "document"]
KINDS: tuple[Kind, ...] = ("question", "near question", "passage", "document")
"""Worst first: the question itself; one nearly the same; the passage that answers it; the document it is about."""


@dataclass(frozen=True, slots=True)
class Leak:
    """The question ``b`` is no fair test of what has seen the question ``a``: ids, how alike (1: the same), and what
    they share."""

    kind: Kind
    a: str
    b: str
    score: float
    what: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def find(a: Iterable[Question], b: Iterable[Question], kinds: Sequence[Kind] = KINDS) -> list[Leak]:
    """The questions of ``b`` that something in ``a`` gives away, in their order, each with the worst of ``kinds``.

    ``a`` is what was learned or chosen from, ``b`` what is measured on. A passage is given away where its text, or one
    that shares most of its runs of words, is evidence in ``a``; a document where both name its source.
    """
    a, b = list(a), list(b)
    leaks: dict[int, Leak] = {}

    def add(kind: Kind, i: int, j: int, score: float, what: str) -> None:
        known = leaks.get(j)
        if known is None or (known.kind == kind and known.score < score):
            leaks[j] = Leak(kind, a[i].id, b[j].id, round(score, 3), " ".join(what.split()))

    finders = {"question": _same, "near question": _near, "passage": _passages, "document": _documents}
    for kind in KINDS:
        if kind in kinds:
            for i, j, score, what in finders[kind](a, b):
                add(kind, i, j, score, what)
    return [leaks[j] for j in sorted(leaks)]


Found = Iterator[tuple[int, int, float, str]]


def _same(a: Sequence[Question], b: Sequence[Question]) -> Found:
    first: dict[str, int] = {}
    for i, question in enumerate(a):
        first.setdefault(normalised(question.text), i)
    for j, question in enumerate(b):
        i = first.get(normalised(question.text), -1)
        if i >= 0:
            yield i, j, 1.0, a[i].text


def _near(a: Sequence[Question], b: Sequence[Question]) -> Found:
    for i, j, score in near([question.text for question in a], [question.text for question in b]):
        yield i, j, score, a[i].text


def _passages(a: Sequence[Question], b: Sequence[Question]) -> Found:
    ours = [(i, evidence) for i, question in enumerate(a) for evidence in question.evidence]
    theirs = [(j, evidence) for j, question in enumerate(b) for evidence in question.evidence]
    by_source: dict[str, list[tuple[int, Evidence]]] = {}
    for i, evidence in ours:
        if evidence.source and evidence.start is not None:
            by_source.setdefault(evidence.source, []).append((i, evidence))
    for j, evidence in theirs:
        for i, known in by_source.get(evidence.source, ()):
            if _overlap(evidence, known):
                yield i, j, 1.0, evidence.text or f"{evidence.source} {evidence.start}:{evidence.end}"
    yield from _quoted(ours, theirs)
    sketches: Sketches[tuple[bool, int, int]] = Sketches()
    for mine, side in ((True, ours), (False, theirs)):
        for number, (at, evidence) in enumerate(side):
            if evidence.text.strip():
                sketches.add((mine, at, number), evidence.text)
    for (mine, i, _), (also_mine, j, number), score in sketches.alike(NEAR_PASSAGE, HELD_PASSAGE):
        if mine and not also_mine:
            yield i, j, score, theirs[number][1].text


def _quoted(ours: Sequence[tuple[int, Evidence]], theirs: Sequence[tuple[int, Evidence]]) -> Found:
    """Where one text stands in the other and both are of one document: a sketch of a few words tells nothing."""

    def told(evidence: Evidence) -> str:
        known = normalised(evidence.text)
        return f" {known} " if known.count(" ") >= QUOTED - 1 else ""

    by_source: dict[str, dict[str, int]] = {}
    for i, evidence in ours:
        if evidence.source and (text := told(evidence)):
            by_source.setdefault(evidence.source, {}).setdefault(text, i)
    for j, evidence in theirs:
        if text := told(evidence):
            for known, i in by_source.get(evidence.source, {}).items():
                if text in known or known in text:
                    yield i, j, 1.0, evidence.text


def _overlap(a: Evidence, b: Evidence) -> bool:
    if a.start is None or a.end is None or b.start is None or b.end is None:
        return False
    return a.start < b.end and b.start < a.end


def _documents(a: Sequence[Question], b: Sequence[Question]) -> Found:
    first: dict[str, int] = {}
    for i, question in enumerate(a):
        for source in sources(question):
            first.setdefault(source, i)
    for j, question in enumerate(b):
        for source in sources(question):
            if source in first:
                yield first[source], j, 1.0, source


def sources(question: Question) -> tuple[str, ...]:
    """The documents that a question is about: those of its evidence, and those judged relevant."""
    named = [evidence.source for evidence in question.evidence if evidence.source]
    return tuple(dict.fromkeys([*named, *(source for source, grade in question.judgements.items() if grade > 0)]))


# --- words ------------------------------------------------------------------------------------------------------------

# Accents, the vowel signs of Hebrew and Arabic, tatweel: the same word is written with and without them.
_OPTIONAL = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670]")
_APOSTROPHE = re.compile("(?<=\\w)['\u2018\u2019\u02bc](?=\\w)")
# Scripts written without blanks.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u3400-\u9fff\uf900-\ufaff"
_STARTS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_BLANK_UNSPACED = re.compile(rf"(?<=[{_UNSPACED}])\s+(?=[{_UNSPACED}])")
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:[+#]+(?![a-z0-9]))?")


@cache
def _word() -> re.Pattern[str]:
    # Marks that make a word what it is (the vowels of Hindi, Tamil, Thai) are no letters to Python.
    marks = "".join(chr(c) for c in range(0x370, 0x1B00) if unicodedata.category(chr(c)) in ("Mn", "Mc"))
    letter = rf"(?:[{marks}]|(?![{_UNSPACED}_])\w)"
    return re.compile(rf"[{_UNSPACED}{marks}]+|{letter}+(?:[+#]+(?!\w))?")


def words(text: str) -> list[str]:
    """The words of ``text``, as they are compared: case folded, without accents and punctuation.

    Of a script that sets no blanks, each pair of neighbouring characters counts as a word.

    >>> words("What’s the Café's *C++* guide?"), words("東京都")
    (['whats', 'the', 'cafes', 'c++', 'guide'], ['東京', '京都'])
    """
    if text.isascii():
        return _ASCII_WORD.findall(_APOSTROPHE.sub("", text.lower()))
    text = unicodedata.normalize("NFKD", text.casefold())
    text = unicodedata.normalize("NFC", _APOSTROPHE.sub("", _OPTIONAL.sub("", text)))
    text = _BLANK_UNSPACED.sub("", text)
    found: list[str] = []
    for run in _word().findall(text):
        if _STARTS_UNSPACED.match(run):
            found += [run[i : i + 2] for i in range(len(run) - 1)] or [run]
        else:
            found.append(run)
    return found


def normalised(text: str) -> str:
    """Equal for two texts that differ in case, accents, punctuation and white space only.

    >>> normalised("How many sick-days do I get?!") == normalised("how many  SICK days do i get")
    True
    """
    return " ".join(words(text)) or " ".join(text.split())


# --- near questions ---------------------------------------------------------------------------------------------------

NEAR_QUESTION = 0.7
"""Least coefficient of two questions that are nearly the same. Of typos, words left out, put in or exchanged and polite
openings planted in questions of SQuAD 2.0 it finds 99 %, and nothing among 10.8 million pairs of them with questions on
other subjects; ``tests/evaluate/datasets/test_leakage.py`` measures it."""

_CANDIDATE = 0.4
"""Least coefficient before misspelt words are matched: in a question of four words, one wrong leaves no more."""

_SPELT_ALIKE = 0.9
"""What a word counts that another differs from in one letter (added, missing, wrong, or two exchanged)."""

_RARE = 0.002
"""A word of at most this share of the questions has full weight, 1; a commoner one less, down to 0.1."""

_PAIRS = 2_000_000
"""Pairs looked at in one step: some 100 MB."""

_LEAD = re.compile(
    r"^(?:(?:so|and|ok|okay|well|hi|hello|hey|please)\b[\s,!.:-]*)*"
    r"(?:(?:(?:can|could|would|will) you (?:please )?(?:tell me|explain|let me know|say)"
    r"|(?:please )?(?:tell|explain to) me|i(?:'d| would) like to know|do you know|i(?: want| need) to know|may i ask"
    r"|i was wondering)\b[\s,:]*)?(?=.)",
    re.IGNORECASE,
)
_FILLERS = frozenset(("please", "kindly", "thanks", "thank"))
_NEGATION = re.compile(
    r"no|not|never|none|neither|nor|without|cannot|(?:is|are|was|were|do|does|did|has|have|had|ca|wo|could|should|"
    r"would|must)nt|nicht|kein\w*|nie|ohne|pas|jamais|sans|nunca"
)
_TOKEN = re.compile(r"\w[\w.,:/-]*\w|\w")


def _terms(text: str) -> frozenset[str]:
    found = [_singular(word) for word in words(_LEAD.sub("", text.strip())) if word not in _FILLERS]
    return frozenset(found or words(text))


def _singular(word: str) -> str:
    is_plural = len(word) > 3 and word[-1] == "s" and word[-2] not in "sui" and word.isascii() and word.isalpha()
    return word[:-1] if is_plural else word


def near(
    texts: Sequence[str], others: Sequence[str] | None = None, threshold: float = NEAR_QUESTION
) -> list[tuple[int, int, float]]:
    """``(i, j, score)`` for each ``texts[i]`` and ``others[j]`` that are nearly the same question, or the same.

    Without ``others``: pairs of ``texts`` with i < j. Every pair at the threshold is found but for those that only
    misspelt words keep apart (below 0.4 without them).
    """
    import numpy as np

    within = others is None
    a = [_terms(text) for text in texts]
    b = a if others is None else [_terms(text) for text in others]
    frequency = Counter(term for terms in a for term in terms)
    if not within:
        frequency.update(term for terms in b for term in terms)
    vocabulary = {term: n for n, term in enumerate(sorted(frequency, key=lambda t: (frequency[t], t)))}
    total = len(a) + (0 if within else len(b))
    counts = np.array([frequency[term] for term in vocabulary], dtype=np.float64)
    weights = np.log((total + 1) / counts) / np.log(max(2.0, (total + 1) / max(3.0, _RARE * total)))
    weights = np.clip(weights, 0.1, 1.0)
    ours = _Rows.of(a, vocabulary, weights)
    theirs = ours if within else _Rows.of(b, vocabulary, weights)
    of: dict[str, float] = dict(zip(vocabulary, weights.tolist(), strict=True))
    found: list[tuple[int, int, float]] = []
    for i, j, score in _candidates(ours, theirs, min(_CANDIDATE, threshold), within=within):
        left, right = a[i] - b[j], b[j] - a[i]
        if left and right:
            score, left, right = _respelt(a[i], b[j], left, right, of)
        if score >= threshold and not _tells_apart(texts[i], (texts if others is None else others)[j], left, right):
            found.append((i, j, score))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Sets of terms as a sparse matrix: of row r, ``terms[starts[r]:starts[r + 1]]``, the rarest first."""

    starts: IntArray
    terms: IntArray
    weights: FloatArray  # of each term of the vocabulary
    totals: FloatArray  # weight of each row

    @staticmethod
    def of(rows: Sequence[frozenset[str]], vocabulary: Mapping[str, int], weights: FloatArray) -> _Rows:
        import numpy as np

        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        terms = np.array([n for row in rows for n in sorted(vocabulary[term] for term in row)], dtype=np.int64)
        sums = np.concatenate([[0.0], np.cumsum(weights[terms])])
        return _Rows(starts, terms, weights, sums[starts[1:]] - sums[starts[:-1]])

    def prefixes(self, threshold: float) -> tuple[IntArray, IntArray]:
        """(row, term) of each row's rarest terms, so many that the rest alone cannot reach the threshold: two rows that
        are alike share one of them (Chaudhuri, Ganti and Kaushik, A primitive operator for similarity joins, 2006)."""
        import numpy as np

        row = np.repeat(np.arange(len(self.totals)), np.diff(self.starts))
        sums = np.concatenate([[0.0], np.cumsum(self.weights[self.terms])])
        rest = sums[self.starts[1:]][row] - sums[:-1]
        kept = rest >= threshold * self.totals[row] - 1e-9
        return row[kept], self.terms[kept]


def _candidates(a: _Rows, b: _Rows, threshold: float, *, within: bool) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows with their weighted Jaccard coefficient, where it reaches the threshold."""
    import numpy as np
    from scipy import sparse

    def matrix(rows: _Rows, values: FloatArray) -> Any:
        return sparse.csr_matrix((values, rows.terms, rows.starts), shape=(len(rows.totals), len(rows.weights)))

    weighted, there = matrix(a, a.weights[a.terms]), matrix(b, np.ones(len(b.terms)))
    row_a, term_a = a.prefixes(threshold)
    row_b, term_b = b.prefixes(threshold)
    order = np.argsort(term_a, kind="stable")
    row_a, term_a = row_a[order], term_a[order]
    first = np.searchsorted(term_a, term_b, "left")
    count = np.searchsorted(term_a, term_b, "right") - first
    sums = np.cumsum(count)
    # The prefixes of b are in the order of its rows: a row is never cut in two, so no pair is met in two steps.
    begin = 0
    while begin < len(count):
        done = int(sums[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(sums, done + _PAIRS)))
        while end < len(row_b) and row_b[end] == row_b[end - 1]:
            end += 1
        part = count[begin:end]
        j = np.repeat(row_b[begin:end], part)
        inside = np.arange(int(part.sum())) - np.repeat(np.cumsum(part) - part, part)
        i = row_a[np.repeat(first[begin:end], part) + inside]
        begin = end
        ratio = a.totals[i] / np.maximum(b.totals[j], 1e-12)
        kept = (ratio >= threshold) & (ratio * threshold <= 1.0)
        if within:
            kept &= i < j
        pairs = np.unique(i[kept] * len(b.totals) + j[kept])
        i, j = pairs // len(b.totals), pairs % len(b.totals)
        for at in range(0, len(pairs), _PAIRS // 10):
            some = slice(at, at + _PAIRS // 10)
            shared = np.asarray(weighted[i[some]].multiply(there[j[some]]).sum(axis=1)).ravel()
            score = shared / (a.totals[i[some]] + b.totals[j[some]] - shared)
            kept = score >= threshold - 1e-9
            yield from zip(i[some][kept].tolist(), j[some][kept].tolist(), score[kept].tolist(), strict=True)


def _respelt(
    a: frozenset[str], b: frozenset[str], left: frozenset[str], right: frozenset[str], weights: Mapping[str, float]
) -> tuple[float, frozenset[str], frozenset[str]]:
    """The coefficient, and what is left on each side, with words matched that differ in one letter."""
    from rapidfuzz.distance import OSA

    matched: dict[str, str] = {}
    for word in sorted(left):
        for other in sorted(right.difference(matched.values())):
            long_enough = min(len(word), len(other)) >= 4 and max(len(word), len(other)) >= 5
            if long_enough and word.isalpha() and other.isalpha() and OSA.distance(word, other, score_cutoff=1) <= 1:
                matched[word] = other
                break
    shared = sum(weights[term] for term in a & b)
    shared += _SPELT_ALIKE * sum((weights[word] + weights[other]) / 2 for word, other in matched.items())
    total = sum(weights[term] for term in a) + sum(weights[term] for term in b)
    return shared / (total - shared), left.difference(matched), right.difference(matched.values())


def _tells_apart(a: str, b: str, left: frozenset[str], right: frozenset[str]) -> bool:
    """Whether what is only in ``a`` (``left``) and only in ``b`` makes them different questions, however much else they
    share: a number or a name on both sides, a negation on one."""
    if any(map(_negates, left)) != any(map(_negates, right)):
        return True
    return bool(left & _marked(a) and right & _marked(b))


def _negates(word: str) -> bool:
    return _NEGATION.fullmatch(word) is not None


def _marked(text: str) -> frozenset[str]:
    """The terms of ``text`` that hold a digit, or have a capital letter that no sentence begins with. Where most words
    have one, it says nothing."""
    raw = list(_TOKEN.finditer(text))
    capital = [match for match in raw if any(c.isupper() for c in match[0])]
    means = 2 * len(capital) <= len(raw) or len(raw) <= 3
    marked = [
        match[0]
        for match in raw
        if any(c.isdigit() for c in match[0])
        or (means and match in capital and (match.start() > 0 and text[: match.start()].rstrip()[-1:] not in ".!?:"))
    ]
    return frozenset(_singular(word) for one in marked for word in words(one))


# --- near texts -------------------------------------------------------------------------------------------------------

NEAR_PASSAGE, HELD_PASSAGE = 0.6, 0.8
"""Two passages are the same where they share this much of their runs of words, or one holds this much of the other."""

QUOTED = 4
"""Words from which a text that stands in another of the same document is no chance."""

NEAR_DOCUMENT = 0.5
"""Two documents that share this much are versions of one: they belong into one split."""

RUN = 5
"""Words in a run. Shorter ones are common to unrelated texts, longer ones are lost to every edit."""

SKETCH = 256
"""Runs kept of a text, those with the smallest hashes: all of a passage of 260 words, a sample of a longer text."""

_COMMON = 50
"""A run in more texts than this (a footer, a licence) makes neighbours of them in a row, not of each with each."""


class Sketches(Generic[K]):
    """Texts by their runs of words, in 2 KB each.

    >>> sketches = Sketches()
    >>> for key, text in {"a": "one two three four five six", "b": "One, two, three, four, five, six!"}.items():
    ...     sketches.add(key, text)
    >>> list(sketches.alike(0.5))
    [('a', 'b', 1.0)]
    """

    def __init__(self) -> None:
        self._keys: list[K] = []
        self._same: dict[bytes, int] = {}  # of texts with the same words, the first is sketched
        self._first: list[int] = []
        self._rows: list[HashArray] = []
        self._whole: list[bool] = []
        self._hashes = _Hashes()

    def add(self, key: K, text: str) -> None:
        import numpy as np

        found = words(text)
        digest = hashlib.blake2b(" ".join(found or [text]).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        number = len(self._keys)
        self._keys.append(key)
        self._first.append(self._same.setdefault(digest, number))
        runs = self._runs(found) if self._first[-1] == number else np.empty(0, dtype=np.uint64)
        self._whole.append(len(runs) <= SKETCH)
        self._rows.append(runs if len(runs) <= SKETCH else np.sort(np.partition(runs, SKETCH)[:SKETCH]))

    def versions(self) -> Groups[K]:
        """The groups of texts that are versions of each other."""
        groups: Groups[K] = Groups()
        for a, b, _ in self.alike(NEAR_DOCUMENT):
            groups.join(a, b)
        return groups

    def alike(self, resemblance: float, containment: float = 2.0) -> Iterator[tuple[K, K, float]]:
        """Pairs, the one added earlier first, that share this much of their runs, or of which one holds this much of
        the other (above 1: that does not count); with the larger of the two shares. Texts with the same words make a
        pair with the first of them only."""
        import numpy as np

        for number, first in enumerate(self._first):
            if first != number:
                yield self._keys[first], self._keys[number], 1.0
        lengths = np.array([len(row) for row in self._rows], dtype=np.int64)
        if not lengths.sum():
            return
        hashes = np.concatenate(self._rows)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        order = np.lexsort((owners, hashes))
        hashes, owners = hashes[order], owners[order]
        for i, j, count in _neighbours(hashes, owners, len(lengths)):
            if count < 3 and min(lengths[i], lengths[j]) > 5:
                continue  # a phrase
            shared, either, smaller = self._compare(i, j)
            inside = shared / smaller if shared >= 3 else 0.0  # fewer are no sample of anything
            if shared / either >= resemblance or inside >= containment:
                score = max(shared / either, inside if containment <= 1 else 0.0)
                yield self._keys[i], self._keys[j], score

    def _compare(self, i: int, j: int) -> tuple[int, int, int]:
        """Runs in both, in either, and in the smaller text, of those hashes that both sketches would have kept."""
        import numpy as np

        a, b = self._rows[i], self._rows[j]
        last = min([row[-1] for row, whole in ((a, self._whole[i]), (b, self._whole[j])) if not whole], default=None)
        if last is not None:
            a, b = a[: np.searchsorted(a, last, "right")], b[: np.searchsorted(b, last, "right")]
        shared = len(np.intersect1d(a, b, assume_unique=True))
        return shared, max(1, len(a) + len(b) - shared), max(1, min(len(a), len(b)))

    def _runs(self, found: Sequence[str]) -> HashArray:
        """The distinct hashes of the runs of words, sorted; a shorter text is one run."""
        import numpy as np

        if not found:
            return np.empty(0, dtype=np.uint64)
        each = np.array([self._hashes[word] for word in found], dtype=np.uint64)
        length = min(RUN, len(each))
        runs = np.zeros(len(each) - length + 1, dtype=np.uint64)
        for at in range(length):  # wraps around at 2^64, as it should
            runs = runs * np.uint64(0x9E3779B97F4A7C15) + each[at : at + len(runs)]
        runs ^= runs >> np.uint64(29)
        runs *= np.uint64(0xBF58476D1CE4E5B9)
        return np.unique(runs ^ (runs >> np.uint64(32)))


class _Hashes(dict[str, int]):
    """Of words, the same in every process."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = found = int.from_bytes(digest, "little")
        return found


def _neighbours(hashes: HashArray, owners: IntArray, texts: int) -> Iterator[tuple[int, int, int]]:
    """Pairs of texts that share hashes (``hashes`` sorted, the ``owners`` of each sorted), each once; and how many."""
    import numpy as np

    starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    size = np.diff(np.concatenate([starts, [len(hashes)]]))
    pairs: list[IntArray] = []
    counts: list[IntArray] = []
    for step in range(1, _COMMON):
        # Each owner with the one ``step`` places after it in its group.
        group = (size > step) & ((size <= _COMMON) | (step == 1))
        if not group.any():
            break
        length = size[group] - step
        first = np.repeat(starts[group], length)
        at = first + np.arange(len(first)) - np.repeat(np.cumsum(length) - length, length)
        pair, count = np.unique(owners[at] * texts + owners[at + step], return_counts=True)
        pairs.append(pair)
        counts.append(count)
    if pairs:
        pair, place = np.unique(np.concatenate(pairs), return_inverse=True)
        count = np.bincount(place, np.concatenate(counts)).astype(np.int64)
        yield from zip((pair // texts).tolist(), (pair % texts).tolist(), count.tolist(), strict=True)


class Groups(Generic[K]):
    """Which things belong together: ``join`` says that two do, ``of`` names a group by its smallest member."""

    def __init__(self) -> None:
        self._up: dict[K, K] = {}

    def join(self, a: K, b: K) -> None:
        a, b = self.of(a), self.of(b)
        if a != b:
            small, large = sorted((a, b), key=str)
            self._up[large] = small

    def of(self, member: K) -> K:
        root = member
        while (up := self._up.get(root, root)) != root:
            root = up
        while member != root:
            self._up[member], member = root, self._up[member]
        return root
