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


def one_edit(word: str, alphabet: str) -> Iterator[str]:
    """Every word that is one letter left out, put in or replaced, or two exchanged, away; some more than once.

    First those that slips of the hand undo most often: exchanges, letters left out, letters put in, others.
    """
    halves = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    yield from (a + b[1] + b[0] + b[2:] for a, b in halves if len(b) > 1 and b[0] != b[1])
    yield from (a + letter + b for a, b in halves for letter in alphabet)
    yield from (a + b[1:] for a, b in halves if b)
    yield from (a + letter + b[1:] for a, b in halves if b for letter in alphabet if letter != b[0])


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
