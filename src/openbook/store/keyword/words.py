"""How text becomes the terms of keyword search, the same way in an index and in a question."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, get_args

from openbook.errors import RecipeError
from openbook.recipe import Language

if TYPE_CHECKING:
    import tantivy

LANGUAGES: tuple[str, ...] = tuple(language for language in get_args(Language) if language != "none")
"""The languages whose words are stemmed; ``"none"`` stems nothing."""

_ENGLISH = """
a about am an and any are as at be been being but by can could did do does doing for from had has have he her here him
his how i if in into is it its me might must my no not of on or our s shall she should so some such t than that the
their them then there these they this to was we were what when where which who whom whose why will with would you your
"""
STOPWORDS = {"english": frozenset(_ENGLISH.split())}
"""Words that a question is made with and that are not looked for. Rare in documents, "what" and "how" weigh much:
without them mean nDCG@10 over the dev halves of twelve sets rises from 0.643 to 0.662."""

IDENTIFIER_WEIGHT = 0.5

MAX_TERMS = 1_000
"""Distinct words of a question that are looked for, the first ones."""

LONGEST_WORD = 80
"""Bytes; longer ones are encoded data."""


class Words:
    """The words of one language: lower case, stemmed, accents folded.

    Raises:
        RecipeError: a language that is not among ``LANGUAGES``.
    """

    def __init__(self, language: str) -> None:
        if language not in (*LANGUAGES, "none"):
            known = ", ".join((*LANGUAGES, "none"))
            raise RecipeError(f"unknown keyword language {language!r}", where="recipe", do=f"choose one of {known}")
        self.language = language

    def of(self, text: str) -> list[str]:
        """The words of ``text`` in their order."""
        return list(self.analyzer.analyze(folded(text)))

    def terms(
        self, words: Sequence[str], all_words: Sequence[str], question: str
    ) -> tuple[tuple[tuple[str, str], float], ...]:
        """Each word as often as it stands there, and the identifiers; where nothing but stop words ("Who is who?") or
        mentions are left, all that there is."""
        asked = (
            [word for word in words if word not in self.stopwords]
            or [word for word in all_words if word not in self.stopwords]
            or all_words
        )
        weights = {("body", word): float(count) for word, count in Counter(asked).items()}
        weights |= {("identifier", identifier): IDENTIFIER_WEIGHT for identifier in identifiers(folded(question))}
        return tuple(weights.items())[:MAX_TERMS]

    @cached_property
    def stopwords(self) -> frozenset[str]:
        words = STOPWORDS.get(self.language, frozenset())
        return frozenset(stem for word in words for stem in self.analyzer.analyze(word))

    @cached_property
    def analyzer(self) -> tantivy.TextAnalyzer:
        from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

        analyzer = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(LONGEST_WORD))
        analyzer = analyzer.filter(Filter.lowercase())
        if self.language != "none":
            for language in dict.fromkeys((self.language, *_BY_SCRIPT)):
                analyzer = analyzer.filter(Filter.stemmer(language))
        return analyzer.filter(Filter.ascii_fold()).build()


_BY_SCRIPT = ("arabic", "greek", "russian", "tamil")
"""Languages with a script of their own: their stemmers leave other words as they are, so they run behind the recipe's.
Arabic's, which also makes letter forms and vowel signs one, raises nDCG@10 on the dev half of arcd-arabic from 0.753 to
0.803. Languages that share a script must be told by the recipe."""


def identifiers(text: str) -> list[str]:
    """Flags, versions, names and paths as they stand there: ``snapshot-count``, ``v3.5``, ``err_42``.

    Their parts are words as well; whole they count half a word. nDCG@10 on the dev half of docs-etcd (flags and
    versions) 0.726 -> 0.743, on the other sets within 0.004.
    """
    pieces = (piece for piece in text.split() if _JOINT.search(piece))
    found = (identifier.lower() for piece in pieces for identifier in _IDENTIFIER.findall(piece))
    return list(dict.fromkeys(identifier for identifier in found if len(identifier) <= LONGEST_WORD))


_JOINT = re.compile(r"[-_.:/]\w")
_IDENTIFIER = re.compile(r"[^\W_]+(?:[-_.:/]+[^\W_]+)+")


def folded(text: str) -> str:
    """Text as it is cut into words: compatibility forms made one (full width, ligatures, composed accents), and
    pairs of characters where a script writes no spaces."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode("utf-8")
    return _UNSPACED.sub(_pairs, text)


# Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)


def _pairs(run: re.Match[str]) -> str:
    characters = run[0]
    return f" {' '.join(first + second for first, second in pairwise(characters)) or characters} "
