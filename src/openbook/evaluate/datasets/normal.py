"""A text without what writing it down changes, and where in the text each of its characters stands.

Case, accents, Unicode's compatible forms, kinds of quotes and dashes, Markdown's and HTML's marks, entities, hyphens at
line ends and white space differ between a passage as it was noted and the document that it is from.
"""

from __future__ import annotations

import html
import re
import unicodedata
from array import array
from bisect import bisect_right
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts that put no blanks between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese): a character is a word."""

IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(r"[^\W_]+")
_WORD_OR_CHARACTER = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")

_WRITING = re.compile(
    r"""
    (?P<rule>^[^\S\n]*+(?:[|:=\-*_~+][^\S\n]*+){3,}+$)          # a rule, the second line of a table
    |(?P<line>^(?=[^\S\n]*+[>\#\-*+•‣◦▪])[^\S\n]*+(?:>[^\S\n]*+)*+(?:(?:\#{1,6}|[-*+•‣◦▪])(?=\s|\Z))?+)
    |(?P<target>(?<=\])(?:\((?:[^()\s]|\([^()\s]*+\))*+(?:\s+"[^"\n]*+")?\)|\[[^\[\]\n]{1,100}\]))
    |(?P<tag></?[A-Za-z][A-Za-z0-9-]*+(?:\s[^<>]*+)?/?>)
    |(?P<entity>&(?:[A-Za-z][A-Za-z0-9]{1,30}|\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6});)
    |(?P<hyphen>\u00ad\s*+|(?<=[^\W\d_])[-‐‑](?:[^\S\n]*+\n\s*+)?(?=[^\W\d_]))
    |(?P<dash>(?<=[^\W\d_])(?:[‒–—―−]+|\s+[-‐‑‒–—―−]+\s+)(?=[^\W\d_]))
    |(?P<mark>\]|[*_`~\\\["'‘’‚‛“”„‟«»‹›′″]+)
    |(?P<space>[^\S\n]+|[\n|])
    """,
    re.VERBOSE | re.MULTILINE,
)
_DASHES = dict.fromkeys("‐‑‒–—―−", "-")


@lru_cache(maxsize=65_536)
def _normal_character(character: str) -> str:
    if character in _DASHES:
        return "-"
    decomposed = unicodedata.normalize("NFKD", character).casefold()
    return "".join(c for c in decomposed if not c.isspace() and unicodedata.category(c) not in ("Mn", "Cf", "Cc"))


class Solid:
    """A text without white space."""

    def __init__(self, text: str) -> None:
        self._starts = [match.start() for match in re.finditer(r"\S+", text)]
        words = text.split()
        self._before = [0, *accumulate(map(len, words))]  # characters before each word
        self.chars = "".join(words)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where ``chars[start:end]`` stands in the text."""
        return self._at(start), self._at(end - 1) + 1

    def _at(self, index: int) -> int:
        word = bisect_right(self._before, index) - 1
        return self._starts[word] + index - self._before[word]


class Normal:
    """A text in normal form: ``chars``, without any blank, and where in the text each of them begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        chars: list[str] = []
        at = array("I")
        self._long: dict[int, int] = {}  # index of a character that several stand for (&amp;) → their end
        self._breaks = [0]  # indexes before which there was a blank
        position = 0
        for match in _WRITING.finditer(text):
            self._keep(chars, at, position, match.start())
            position = match.end()
            if match.lastgroup == "space" or match.lastgroup == "dash" or match.lastgroup == "rule":
                if self._breaks[-1] != len(at):
                    self._breaks.append(len(at))
            elif match.lastgroup == "entity":
                for character in html.unescape(match[0]):
                    for normal in _normal_character(character):
                        self._long[len(at)] = match.end()
                        chars.append(normal)
                        at.append(match.start())
        self._keep(chars, at, position, len(text))
        self.chars = "".join(chars)
        self._at = at

    def _keep(self, chars: list[str], at: array[int], start: int, end: int) -> None:
        if start == end:
            return
        piece = self.text[start:end]
        if piece.isascii():
            chars.append(piece.lower())
            at.extend(range(start, end))
            return
        for index, character in enumerate(piece, start):
            normal = character.lower() if character.isascii() else _normal_character(character)
            chars.append(normal)
            at.extend([index] * len(normal))

    @cached_property
    def solid(self) -> Solid:
        return Solid(self.text)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where ``chars[start:end]`` stands in the text."""
        return self._at[start], self._long.get(end - 1, self._at[end - 1] + 1)

    @cached_property
    def words(self) -> list[str]:
        return [word for word, _ in self._words]

    @cached_property
    def _words(self) -> list[tuple[str, int]]:
        pattern = _WORD_OR_CHARACTER if IS_UNSPACED.search(self.chars) else _WORD
        return [
            (match[0], match.start())
            for start, end in pairwise([*self._breaks, len(self.chars)])
            for match in pattern.finditer(self.chars, start, end)
        ]

    def words_span(self, first: int, last: int) -> tuple[int, int]:
        """Where the words from number ``first`` to number ``last`` stand in the text."""
        word, at = self._words[last]
        return self.span(self._words[first][1], at + len(word))

    @cached_property
    def size(self) -> int:
        """Characters of its words."""
        return sum(map(len, self.words))

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Word → its numbers."""
        places: dict[str, list[int]] = {}
        for number, word in enumerate(self.words):
            places.setdefault(word, []).append(number)
        return places
