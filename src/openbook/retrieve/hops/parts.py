"""The parts of a question that ask for different things: "which company, said to …, also does …, while …?"."""

from __future__ import annotations

import re
from itertools import pairwise

from openbook.store.keyword.words import STOPWORDS

LEAST = 4
"""Words of its own, stop words not counted, that a part has: with fewer it finds whatever. Of 3, 4 and 5 words 4 puts
all evidence of the most questions of multihoprag-evidence's dev half into the first ten."""

MOST = 8
"""Parts that are looked for; each is one more search."""

_CUT = re.compile(
    r"[;:](?=\s)|,(?=\s)(?!\s\d{4}\b)|\s(?:and|but|or|while|whereas|who|which|whose)\b(?=\s)", re.IGNORECASE
)
_EDGES = re.compile(r"^[\s,;:]+(?:(?:and|but|or|while|whereas)\b)?\s*|[\s,;:?.]+$", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")


def parts(question: str) -> list[str]:
    """Cut at commas and conjunctions, short pieces put to what follows; none where the question is all one.

    >>> parts("Is the lake that feeds the Angara river deeper, or the lake on the eastern border of Zaire?")
    ['Is the lake that feeds the Angara river deeper', 'the lake on the eastern border of Zaire']
    >>> parts("How many sick days do I get?")
    []
    """
    places = [0, *(match.start() for match in _CUT.finditer(question)), len(question)]
    found: list[str] = []
    piece = ""
    for start, end in pairwise(places):
        piece += question[start:end]
        if _weight(piece) >= LEAST:
            found.append(piece)
            piece = ""
    if piece and found:
        found[-1] += piece
    cut = list(dict.fromkeys(_EDGES.sub("", one) for one in found))
    return cut[:MOST] if len(cut) > 1 else []


_FUNCTION = STOPWORDS["english"] | {
    *("after", "all", "also", "another", "because", "before", "being", "between", "both", "during", "each", "every"),
    *("following", "just", "more", "most", "now", "once", "only", "other", "over", "own", "same", "since", "through"),
    *("too", "until", "up", "very", "while", "within"),
}


def _weight(text: str) -> int:
    return sum(word not in _FUNCTION for word in _WORD.findall(text.lower()))
