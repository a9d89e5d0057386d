"""Words that are a few letters away from one another."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ",
)
"""Of the scripts whose words are mended: those that write every sound with a letter of its own. Where a letter is a
syllable, or vowels are not written, another letter is mostly another word."""


def alphabet_of(word: str) -> str | None:
    """The one that all letters of a ``bare`` word are of; ``None``: none, or several.

    >>> alphabet_of("leave") == ALPHABETS[0], alphabet_of("v3"), alphabet_of("إجازة")
    (True, None, None)
    """
    return next((letters for letters in ALPHABETS if set(word) <= set(letters)), None)


def bare(word: str) -> str:
    """In lower case, and Latin letters without accents: as two spellings are compared.

    >>> bare("Résumé"), bare("Край")
    ('resume', 'край')
    """
    if word.isascii():
        return word.lower()
    return "".join(_base(letter) for letter in unicodedata.normalize("NFKC", word).casefold())


def _base(letter: str) -> str:
    first = unicodedata.normalize("NFKD", letter)[:1]
    return first if first.isascii() else letter


def one_edit(word: str, alphabet: str) -> Iterator[tuple[str, float]]:
    """Every word that is one letter left out, put in or replaced, or two exchanged, away; some more than once. With
    each how likely somebody who means it types ``word``, beside the likeliest slip.

    To exchange letters or to leave one out there are as many ways as a word has letters. A letter put in, or replaced,
    is one of ``NEAR_KEYS`` as well, unless one is typed twice. The first letter is seldom wrong (Yannakoudakis and
    Fawthrop, The rules of spelling errors, 1983), but where it was exchanged with the second.
    """
    halves = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    for a, b in halves:
        first = 1.0 if a else FIRST
        if len(b) > 1 and b[0] != b[1]:
            yield a + b[1] + b[0] + b[2:], 1.0
        for letter in alphabet:
            yield a + letter + b, first
        if b:
            twice = b[0] in (a[-1:], b[1:2])
            yield a + b[1:], 1.0 if twice else first / NEAR_KEYS
            for letter in alphabet:
                if letter != b[0]:
                    yield a + letter + b[1:], first / NEAR_KEYS


NEAR_KEYS = 6.0
"""Keys around one on a keyboard."""

FIRST = 0.2


def distance(one: str, other: str, most: int) -> int:
    """How many letters left out, put in or replaced, or pairs exchanged, lie between two words; ``most + 1`` where more
    than ``most`` do (the optimal string alignment distance).

    >>> distance("vaccatoin", "vacation", 2), distance("leave", "holiday", 2)
    (2, 3)
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        last, row = row, [i]
        for j, its in enumerate(other, 1):
            least = min(row[j - 1] + 1, last[j] + 1, last[j - 1] + (letter != its))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == its:
                least = min(least, before[j - 2] + 1)
            row.append(least)
        if min(row) > most:
            return most + 1
        before = last
    return min(row[-1], most + 1)
