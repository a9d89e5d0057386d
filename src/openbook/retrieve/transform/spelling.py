"""Words of a question that no document here has, read as those that one has.

A word is looked for only where it is none: no chunk that the caller may see has it, and the model's own vocabulary does
not hold it whole. Taken is the nearest word that such a chunk has, of equally near ones the most frequent (Kernighan,
Church and Gale, A spelling correction program based on a noisy channel model, COLING 1990). What the caller may not see
counts nowhere: a question is mended as if those documents were not there.

Flags, versions, codes and names of variables are tried in the forms in which they may stand here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from openbook.retrieve.transform.edits import alphabet_of, bare, distance, one_edit
from openbook.store.keyword import Term
from openbook.store.keyword.words import IDENTIFIER_WEIGHT, folded, identifiers

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.recipe import CorpusSpelling
    from openbook.store.index import Index, View

SHORTEST = 4
"""Letters of a word that is mended: of shorter ones too many lie one edit apart."""

LONG = 8
"""Letters from which two edits are mended, of a word whose first two letters are right."""

LONGEST = 30

MOST_READ = 200
"""Words of a question that are looked at, the first ones."""

MOST_MENDED = 8
"""Words of a question that are mended, the first ones: each takes a millisecond."""

FOREIGN = 4
"""Where so many words are unknown, and they are more than half, it is another language, or no text at all."""

MOST_PARTS = 6
"""Of a name of a variable; longer ones are paths and addresses."""

NO_WORD = 0.05
"""What one counts that the model's vocabulary does not hold whole, beside one that it does."""

FEWEST = 3
"""Words in a row that are looked for as one name; two often stand so by chance ("default value")."""

_SEEN = 5
"""Passages that are looked at for how a word is written in them."""

_TRIED = 3
"""Words two edits away that are looked at so."""

_ENDING = 5
"""Letters that a stemmer takes away, at most."""

UNKNOWN_HERE = "no document here has it"
WRITTEN_SO = "written so here"
FOREIGN_HERE = "most of its words are unknown here: another language?"

_PIECE = re.compile(r"\S+")
_CORE = re.compile(r"[^\W_](?:\S*[^\W_])?")
_WORD = re.compile(r"[^\W\d_]+")
_NAMED = re.compile(r"\d|[-_.:/@]|[^\W\d_A-Z][A-Z]")
"""What makes more than a word of a piece of text: a digit, a joint, a capital letter amid others."""
_JOINTS = re.compile(r"[-_.:/@]+")
_JOINED_BY = ("-", "_", ".", ":", "/")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\dA-Za-z_]+|\d+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|[^\W\dA-Za-z_]+\d*|\d+")
_VERSION = re.compile(r"[vV]?(\d+(?:\.\d+)+)")
_END = re.compile(r"[.!?:]\s*$")


@dataclass(frozen=True, slots=True)
class Change:
    """``text[start:end]`` of a question is read as ``to``. ``private``: no document has it that may be sent away."""

    start: int
    end: int
    to: str
    why: str
    private: bool = False


@dataclass(frozen=True, slots=True)
class Mended:
    """What a question is read as: ``text``, or to whoever may not be sent local-only documents ``sent``; and what is
    looked for besides its words (``also``: how much each counts)."""

    text: str
    sent: str
    also: tuple[tuple[Term, float], ...]
    told: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Word:
    """A word where it stands in the question; ``stem``: as the index knows it."""

    text: str
    start: int
    end: int
    stem: str
    name: bool


class Spelling:
    """``private``: whether some part of the recipe may not be sent what is local-only."""

    def __init__(self, part: CorpusSpelling, index: Index, embedder: Embedder, *, private: bool) -> None:
        self.part = part
        self.index = index
        self.embedder = embedder
        self.private = private
        self.words = index.words

    def mend(self, view: View, question: str, known: Collection[str] = ()) -> Mended:
        """``known``: stems that are words here whether or not a document has them. ``view`` has no filter: a word that
        a filter leaves out is a word all the same."""
        told: dict[str, Any] = {}
        changes: list[Change] = []
        named, plain = self._read(question)
        also: dict[Term, float] = {}
        names: list[str] = []
        for span in named if self.part.identifiers else ():
            to, terms = self._form(view, question[slice(*span)])
            if len(terms) == 1 and terms[0][0] == "body":  # one word of what are several: those stay
                also[terms[0]] = 1.0
                names.append(to)
            elif terms:
                changes.append(Change(*span, to, WRITTEN_SO, self._is_private(view, terms)))
        taken = {at for change in changes for at in range(change.start, change.end)}
        if self.part.words:
            unknown = self._unknown(view, [word for word in plain if word.start not in taken], known)
            if len(unknown) >= FOREIGN and 2 * len(unknown) > len(plain):
                told["skipped"] = FOREIGN_HERE
            else:
                found = ((word, self._nearest(view, word)) for word in unknown[:MOST_MENDED])
                changes += [
                    Change(word.start, word.end, as_written(to, word.text), UNKNOWN_HERE, self._is_private(view, terms))
                    for word, near in found
                    if near is not None
                    for to, terms in [near]
                ]
        changes.sort(key=lambda change: change.start)
        text = _changed(question, changes)
        if self.part.identifiers:
            joined = self._joined(view, plain, question, text)
            also |= joined
            names += [name for _, name in joined]
        told["changed"] = [
            {"from": question[change.start : change.end], "to": change.to, "why": change.why} for change in changes
        ]
        if changes:
            told["text"] = text
        if names:
            told["also"] = names
        sent = _changed(question, [change for change in changes if not change.private])
        return Mended(text, sent, tuple(also.items()), told)

    # --- the question, piece by piece ---------------------------------------------------------------------------------

    def _read(self, question: str) -> tuple[list[tuple[int, int]], list[_Word]]:
        """Where flags, versions and the like stand; and the words, those in such names included."""
        named: list[tuple[int, int]] = []
        words: list[_Word] = []
        shouted = not any(letter.islower() for letter in question)
        titled = _is_title(question)
        for piece in _PIECE.finditer(question):
            core = _CORE.search(question, piece.start(), piece.end())
            if core is None:
                continue
            is_named = bool(_NAMED.search(core[0]))
            if is_named:
                named.append(core.span())
                if any(letter.isdigit() or letter in "_.:/@" for letter in core[0]):
                    continue  # a code, an address: its parts are no words of a language
                if not _JOINTS.search(core[0]):
                    continue
            begins = not words or bool(_END.search(question[: core.start()]))
            for match in _WORD.finditer(core[0]):
                word = match[0]
                if len(words) == MOST_READ or (word.isupper() and not shouted):
                    continue
                stems = self.words.of(word)
                if len(stems) == 1:
                    start = core.start() + match.start()
                    name = word[0].isupper() and not (begins or titled or shouted)
                    words.append(_Word(word, start, start + len(word), stems[0], name))
                begins = False
        return named[:MOST_READ], words

    # --- words --------------------------------------------------------------------------------------------------------

    def _unknown(self, view: View, words: Sequence[_Word], known: Collection[str]) -> list[_Word]:
        """Those that are no words, as far as can be told here: neither a document's nor the model's."""
        asked = [
            word
            for word in words
            if SHORTEST <= len(word.text) <= LONGEST
            and word.stem not in known
            and word.stem not in self.words.stopwords
            and alphabet_of(bare(word.text))
        ]
        whole = self._whole([word.text for word in asked])
        asked = [word for word in asked if word.text not in whole]
        held = self.index.chunks_with(view, [("body", word.stem) for word in asked])
        return [word for word in asked if ("body", word.stem) not in held]

    def _whole(self, words: Sequence[str]) -> frozenset[str]:
        """Those that the model's own vocabulary holds in one piece; beside a remote model that of the packaged one."""
        if not words:
            return frozenset()
        distinct = list(dict.fromkeys(word.lower() for word in words))
        # An unknown word is one piece, and so it is when written twice; a known one is then at least two.
        pieces = self.embedder.tokens([*distinct, *(word + word for word in distinct)])
        held = {
            word
            for word, one, two in zip(distinct, pieces, pieces[len(distinct) :], strict=False)
            if len(one) == 1 and (word.isascii() or len(two) > 1)
        }
        return frozenset(word for word in words if word.lower() in held)

    def _nearest(self, view: View, word: _Word) -> tuple[str, list[Term]] | None:
        """What a word is read as, and the terms that a document here has of it."""
        letters = bare(word.text)
        alphabet = alphabet_of(letters)
        assert alphabet is not None
        written: dict[str, dict[str, float]] = {}  # stem → words that have it, and how likely each is meant
        for edited, likely in one_edit(letters, alphabet):
            if len(stems := self.words.analyzer.analyze(edited)) == 1 and len(edited) >= SHORTEST - 1:
                of_stem = written.setdefault(stems[0], {})
                of_stem[edited] = max(likely, of_stem.get(edited, 0.0))
        best: dict[str, tuple[float, str]] = {}

        def weigh(terms: Sequence[Term]) -> dict[Term, float]:
            whole = self._whole([edited for _, stem in terms for edited in written[stem]])
            for _, stem in terms:
                # Of "addres" the stem of "add" has "addes", too: no word of its own.
                those = ((likely * (1.0 if one in whole else NO_WORD), one) for one, likely in written[stem].items())
                likely, one = max(those)
                # A short word that neither knows, one of many ways away, is another as likely as not.
                if one in whole or likely >= NO_WORD or len(letters) >= LONG:
                    best[stem] = likely, one
            return {("body", stem): likely for stem, (likely, _) in best.items()}

        chosen = self.index.most_held(view, [("body", stem) for stem in written], weigh)
        if chosen is not None:
            return (best[chosen[1]][1], [chosen]) if not word.name or self._is_name(view, chosen[1]) else None
        if word.name or len(letters) < LONG:
            return None
        return self._apart(view, letters) or self._farther(view, letters, word.stem)

    def _apart(self, view: View, letters: str) -> tuple[str, list[Term]] | None:
        """Two words without a blank between them, which stand in one chunk."""
        halves = [(letters[:at], letters[at:]) for at in range(SHORTEST - 1, len(letters) - SHORTEST + 2)]
        stems = {half: self.words.analyzer.analyze(half) for pair in halves for half in pair}
        held = self.index.chunks_with(view, [("body", stem) for those in stems.values() for stem in those])
        pairs = [
            (first, second)
            for first, second in halves
            if all(stems[half] and ("body", stems[half][0]) in held for half in (first, second))
        ]
        counted = {pair: self.index.chunks_with_all(view, [stems[half][0] for half in pair]) for pair in pairs}
        best = max(pairs, key=lambda pair: counted[pair], default=None)
        if best is None or not counted[best]:
            return None
        return " ".join(best), [("body", stems[half][0]) for half in best]

    def _farther(self, view: View, letters: str, stem: str) -> tuple[str, list[Term]] | None:
        """Two edits away. An edit in its ending keeps a word from being stemmed: so its beginning is compared, too."""
        has = set(letters)

        def far(other: str) -> int:
            return min(distance(stem, other, 2), distance(letters[: len(other)], other, 2))

        def is_near(other: str) -> bool:
            few = SHORTEST <= len(other) <= len(letters) + 2 and len(has.difference(other)) <= _ENDING
            return few and len(set(other) - has) <= 2 and len(letters) - len(other) <= _ENDING and far(other) <= 2

        found = self.index.beginning(view, letters[:2], is_near)
        for other in sorted(found, key=lambda other: (far(other), -found[other], other))[:_TRIED]:
            written = [bare(one) for one, _ in self._written(view, ("body", other))]
            close = [one for one in written if distance(letters, one, 2) <= 2]
            if close:
                return min(close, key=lambda one: (distance(letters, one, 2), one)), [("body", other)]
        return None

    def _written(self, view: View, term: Term) -> Iterator[tuple[str, bool]]:
        """How a term stands in passages here, and whether their document is local-only."""
        first = self.index.first_with(view, term, _SEEN)
        for _, (hit, _) in sorted(self.index.fetch(view, first).items()):
            text = "\n".join((hit.chunk.text, hit.title, *hit.chunk.headings, hit.chunk.context))
            words = _WORD.findall(text) if term[0] == "body" else text.split()
            for word in dict.fromkeys(words):
                if term[1] in (self.words.of(word) if term[0] == "body" else identifiers(folded(word))):
                    yield word, hit.local_only

    def _is_name(self, view: View, stem: str) -> bool:
        """Whether it is always written as a name is."""
        written = [word for word, _ in self._written(view, ("body", stem))]
        return bool(written) and all(word[0].isupper() for word in written)

    def _is_private(self, view: View, terms: Sequence[Term]) -> bool:
        return self.private and any(all(local for _, local in self._written(view, term)) for term in terms)

    # --- names of variables, versions, codes --------------------------------------------------------------------------

    def _form(self, view: View, piece: str) -> tuple[str, list[Term]]:
        """The form in which it stands here, if not in its own, and the terms of that; no terms where it has none."""
        nothing: tuple[str, list[Term]] = piece, []
        own = [("identifier", one) for one in identifiers(folded(piece))]
        own = own or [("body", stem) for stem in self.words.of(piece)]
        if len(own) != 1 or self.index.chunks_with(view, own):
            return nothing
        forms = dict(self._forms(piece))
        held = self.index.chunks_with(view, forms)
        if held:
            best = max(held, key=lambda term: (term[0] == "identifier", held[term]))
            return forms[best], [best]
        parts = [part.lower() for part in _CAMEL.findall(piece)]
        if _JOINTS.search(piece) or not 1 < len(parts) <= MOST_PARTS or any(len(part) < SHORTEST - 1 for part in parts):
            return nothing
        stems: list[Term] = [("body", stem) for part in parts for stem in self.words.of(part)]
        return (" ".join(parts), stems) if len(self.index.chunks_with(view, stems)) == len(set(stems)) else nothing

    def _forms(self, piece: str) -> Iterator[tuple[Term, str]]:
        """Other forms of it, and how each is written: listenClientUrls is listen-client-urls, v3.5 is 3.5."""
        if version := _VERSION.fullmatch(piece):
            other = f"v{version[1]}" if piece[0].isdigit() else version[1]
            yield ("identifier", other), other
            return
        for cut in (_CAMEL, _PARTS):
            parts = [part.lower() for part in cut.findall(piece)]
            if not 1 < len(parts) <= MOST_PARTS or all(part.isdigit() for part in parts):
                continue
            # Variables of the environment carry the name of their program: ETCD_LISTEN_CLIENT_URLS.
            for some in (parts, parts[1:] if piece.isupper() and len(parts) > 2 else []):
                for joint in _JOINED_BY if some else ():
                    yield ("identifier", joint.join(some)), joint.join(some)
                if joined := "".join(some):
                    for stem in self.words.of(joined):
                        yield ("body", stem), joined

    def _joined(self, view: View, words: Sequence[_Word], question: str, text: str) -> dict[Term, float]:
        """Words in a row that stand here as one name: "listen client urls" is listen-client-urls. What ``text``, as
        which the question is read, names itself is not added."""
        own = {("identifier", one) for one in identifiers(folded(text))}
        runs: dict[Term, float] = {}
        for first in range(len(words)):
            for last in range(first + FEWEST - 1, min(first + MOST_PARTS, len(words))):
                if any(question[a.end : b.start] != " " for a, b in pairwise(words[first : last + 1])):
                    break
                ends = {words[first].stem, words[last].stem}
                if ends & self.words.stopwords:
                    continue
                parts = [bare(word.text) for word in words[first : last + 1]]
                for joint in _JOINED_BY[:3]:
                    runs["identifier", joint.join(parts)] = IDENTIFIER_WEIGHT
        held = self.index.chunks_with(view, runs)
        return {term: runs[term] for term in held if term not in own}


def as_written(word: str, like: str) -> str:
    """In capital letters where that which it stands for is."""
    return word.upper() if like.isupper() else word.capitalize() if like[:1].isupper() else word


def _changed(text: str, changes: Sequence[Change]) -> str:
    for change in reversed(changes):
        text = text[: change.start] + change.to + text[change.end :]
    return text


def _is_title(question: str) -> bool:
    """Whether every longer word begins with a capital letter: then that says nothing."""
    words = [word for word in _WORD.findall(question) if len(word) > SHORTEST]
    return len(words) > 1 and all(word[0].isupper() for word in words)
