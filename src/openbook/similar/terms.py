"""The words that tell one group of texts from the others.

As class-based TF-IDF (Grootendorst, BERTopic, 2022) counts words a group instead of a document. Here every text has one
voice, however long it is: a word or a phrase of two counts in it by 1 + ln of how often it stands there, and more in
its title. What it counts on average in the texts of a group is held against what it counts in those of the others.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from openbook.store.keyword.words import STOPWORDS, Words

if TYPE_CHECKING:
    import tantivy

CHARACTERS = 4_000
"""Of a text that are read for its words: what it is about it says in its beginning."""

MOST = 8
"""Terms of a group."""

PHRASE = 1.4
"""So much more a phrase counts than a word: "exchange rate" says more than "rate" and is rarer."""

SINGLE = 0.35
"""A term whose share in its group is below this part of the commonest term's is chance."""

IN_TITLE = 1.5
"""A text's title says what it is about: so much more its words count."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\]\([^)\s]*\)|<[^<>]{1,200}>")

_LISTED = (
    *("danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian"),
    *("portuguese", "russian", "spanish", "swedish"),
)
"""Languages whose stop words tantivy brings."""

_EMPTY = """
able above across actually after again against all along also although always among another anyone anything aren
around away back became because become becomes been before being below beside best better between both came cannot
certain clearly come comes could didn different doesn don done down during each either else enough especially etc even
ever every everyone everything example few first following found further get gets getting give given gives go goes
going gone gonna got had hasn having hello help hence here hers herself hey hi himself however i'd i'll i'm i've
including indeed instead into isn it'll it's its itself just keep kind know known last lately least less let like
likely long lot made make makes making many maybe me mine more moreover most much must myself near nearly need needs
neither never new next nobody nor nothing now obviously off often oh ok okay old once one only onto other others
otherwise our ours ourselves out over own part particular per perhaps please possible presumably probably provided put
quickly quite rather really recently related respectively right said same saw say says secondly see seem seems seen
self several similar similarly since so some someone something sometimes somewhat somewhere soon specifically
specified still such sure take taken tell tends than thank thanks that's their theirs themselves there there's
therefore they'd they're thing things think this those though three through thus till to together too toward towards
truly try trying two under unless unlikely until up upon us use used uses using usually various very via want wanted
wants was wasn way ways well went were what's whatever whenever where's wherever whether whichever while who's whoever
whole whose why with within without won't would wouldn yes yet you you'd you'll you're your yours yourself
"""
"""Words that stand in every text, and tell nothing of any, beside those that a question is made with."""


_CALENDAR = """
january february march april may june july august september october november december
jan feb apr jun jul aug sep sept oct nov dec
monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri
"""
"""When a text was written tells little of what it is about; "mar", "sat" and "sun" are words of their own."""

_VERBS = """
accept achieve add agree allow announce appear apply arrive ask assume attempt avoid begin believe bring carry cause
choose click come consider contain continue create decide define depend describe determine discuss enable ensure enter
exist expect explain feel find follow happen hear hold hope improve include indicate involve join keep leave listen live
look lose mean meet move occur perform play prefer prevent provide put reach receive recommend reduce refer remain
remember remove require seek send set show sit speak spend stand start stay stop suggest tell think try turn understand
wait want wish write
"""
"""Verbs that stand in texts about anything; they tell groups apart, and name none."""


class Terms:
    """The words and phrases of some texts, read once, each with its title. ``language`` is that of the index: its words
    are stemmed."""

    def __init__(self, texts: Sequence[tuple[str, str]], language: str) -> None:
        self._words = Words(language)
        self._stop = _Stop(language)
        self._stems: dict[str, str] = {}
        self._shown: dict[str, Counter[str]] = {}
        self._held = [self._weighed(title, text[:CHARACTERS]) for title, text in texts]

    def of(self, group: Sequence[int], others: Iterable[int]) -> tuple[str, ...]:
        """Up to ``MOST`` terms of the texts in ``group`` that those in ``others`` have more seldom, the best first."""
        scores = {
            term: told * (PHRASE if " " in term else 1.0)
            for term, told in self._told(group, list(others), least=2 if len(group) >= 4 else 1).items()
        }
        chosen: list[str] = []
        for term in sorted(scores, key=lambda term: (-scores[term], term)):
            if chosen and scores[term] < SINGLE * scores[chosen[0]] and len(chosen) >= 3:
                break
            words = set(term.split(" "))
            if any(words & set(other.split(" ")) for other in chosen):
                continue
            chosen.append(term)
            if len(chosen) == MOST:
                break
        return tuple(self._shown[term].most_common(1)[0][0] for term in chosen)

    def weights(self, group: Sequence[int], others: Iterable[int]) -> dict[str, float]:
        """Stem → how much it tells the group from the others, for weighing its sentences."""
        return {term: told for term, told in self._told(group, list(others)).items() if " " not in term}

    def _told(self, group: Sequence[int], others: Sequence[int], least: int = 1) -> dict[str, float]:
        """Term → how much it tells, where that is anything and so many texts of the group have it."""
        texts, inside, outside = Counter[str](), Counter[str](), Counter[str]()
        for at in group:
            texts.update(self._held[at].keys())
            _add(inside, self._held[at])
        for at in others:
            _add(outside, self._held[at])
        size, other = max(1, len(group)), max(1, len(others))
        blur = 0.5 / other + 0.01
        found: dict[str, float] = {}
        for term, weight in inside.items():
            own = weight / size
            told = own * math.log((own + blur) / (outside[term] / other + blur))
            if told > 0 and texts[term] >= least:
                found[term] = told
        return found

    def stems(self, text: str) -> list[str]:
        """The words of ``text`` that count, as ``weights`` names them."""
        return [stem for stem, _ in self._words_of(text) if stem]

    def _weighed(self, title: str, text: str) -> dict[str, float]:
        found = {term: 1 + math.log(count) for term, count in self._read(text).items()}
        for term in self._read(title):
            found[term] = found.get(term, 0.0) + IN_TITLE
        return found

    def _read(self, text: str) -> Counter[str]:
        """The words of a text, and its phrases: two words that nothing parts but a blank or a hyphen."""
        found = Counter[str]()
        before = ("", "")
        for stem, word in self._words_of(text):
            if stem:
                found[stem] += 1
                self._shown.setdefault(stem, Counter())[word] += 1
                if before[0] and before[0] != stem:
                    phrase = f"{before[0]} {stem}"
                    found[phrase] += 1
                    self._shown.setdefault(phrase, Counter())[f"{before[1]} {word}"] += 1
            before = (stem, word)
        return found

    def _words_of(self, text: str) -> Iterable[tuple[str, str]]:
        """(stem, word) in their order; ("", "") where something parts them."""
        text = _ADDRESS.sub(" . ", text)
        end = 0
        for match in _WORD.finditer(text):
            if text[end : match.start()].strip(" -") or "\n\n" in text[end : match.start()]:
                yield "", ""
            end = match.end()
            word = match[0]
            if _UNSPACED.match(word):  # nothing tells where one word ends: two characters at a time
                yield from ((word[at : at + 2], word[at : at + 2]) for at in range(len(word) - 1))
                continue
            low = word.lower().replace("’", "'")
            short = len(word) < 2 or (len(word) == 2 and word.isascii() and not word.isupper())
            if short or low in self._stop or low.partition("'")[0] in self._stop:
                yield "", ""
            else:
                bare = word[:-2] if low.endswith("'s") else word
                yield self._stem(bare), bare

    def _stem(self, word: str) -> str:
        if word not in self._stems:
            self._stems[word] = "".join(self._words.of(word)) or word.lower()
        return self._stems[word]


def _add(sums: Counter[str], weights: dict[str, float]) -> None:
    for term, weight in weights.items():
        sums[term] += weight  # type: ignore[assignment]  # a Counter of numbers that are not whole


def label_of(terms: Sequence[str]) -> str:
    """What a group is called by its terms: the first three that name something, else the first three.

    >>> label_of(("exchange rate", "currency", "transfers", "fee"))
    'Exchange rate, currency, transfers'
    >>> label_of(("October", "adding", "song", "playlist")), label_of(("October", "adding"))
    ('Song, playlist', 'October, adding')
    """
    telling = [term for term in terms if not all(map(_says_little, term.split(" ")))]
    text = ", ".join((telling or terms)[:3])
    return text[:1].upper() + text[1:]


def _says_little(word: str) -> bool:
    """Whether it is a day or a month, or a verb of every subject, in whatever form."""
    return word.lower() in _days_and_months() or not _verbs().isdisjoint(_words_of_english().of(word))


@cache
def _days_and_months() -> frozenset[str]:
    return frozenset(_CALENDAR.split())


@cache
def _words_of_english() -> Words:
    return Words("english")


@cache
def _verbs() -> frozenset[str]:
    """As stems."""
    return frozenset(stem for verb in _VERBS.split() for stem in _words_of_english().of(verb))


class _Stop:
    """The words that say nothing, of a language and of English, which stands beside every other in documents."""

    def __init__(self, language: str) -> None:
        self._english = frozenset((*STOPWORDS["english"], *_EMPTY.split()))
        self._analyzer = _stopping(language) if language in _LISTED else None
        self._known: dict[str, bool] = {}

    def __contains__(self, word: str) -> bool:
        if word not in self._known:
            listed = self._analyzer is not None and not self._analyzer.analyze(word)
            self._known[word] = listed or word in self._english
        return self._known[word]


def _stopping(language: str) -> tantivy.TextAnalyzer:
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    return TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.stopword(language)).build()
