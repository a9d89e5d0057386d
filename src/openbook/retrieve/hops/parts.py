"""The parts of a question that ask for different things: "which company, said to …, also does …, while …?"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from itertools import pairwise
from typing import TYPE_CHECKING

from openbook.store.keyword.words import STOPWORDS

if TYPE_CHECKING:
    from openbook.store.keyword import Mention, Question

LEAST = 4
"""Words of its own, stop words not counted, that a part has: with fewer it finds whatever. Of 3, 4 and 5 words 4 puts
all evidence of the most questions of multihoprag-evidence's dev half into the first ten."""

MOST = 8
"""Parts that are looked for; each is one more search."""

_CUT = re.compile(
    r"[;:](?=\s)|,(?=\s)(?!\s\d{4}\b)|\s(?:and|but|or|while|whereas|who|which|whose)\b(?=\s)", re.IGNORECASE
)
_BRACKETS = {"(": ")", "[": "]", "{": "}", "“": "”", "«": "»", "「": "」", "（": "）", '"': '"'}
_EDGES = re.compile(r"^[\s,;:]+(?:(?:and|but|or|while|whereas)\b)?\s*|[\s,;:?.]+$", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")


def parts(question: str) -> list[str]:
    """Cut at commas and conjunctions, short pieces put to what follows; none where the question is all one. What stands
    in brackets or quotation marks is said of one thing, and is not cut.

    >>> parts("Is the lake that feeds the Angara river deeper, or the lake on the eastern border of Zaire?")
    ['Is the lake that feeds the Angara river deeper', 'the lake on the eastern border of Zaire']
    >>> parts("How many sick days do I get?")
    []
    """
    within = _enclosed(question)
    cuts = (match.start() for match in _CUT.finditer(question))
    places = [0, *(place for place in cuts if not within[place]), len(question)]
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


def own_words(read: Question, names: Collection[Mention]) -> float:
    """How many words a part has beside the ``names`` of the whole question and its own; as ``LEAST`` counts them."""
    named = {word for mention in (*read.mentions, *names) for word in mention.value.split()}
    return sum(
        times for (field, word), times in read.terms if field == "body" and word not in named and word not in _FUNCTION
    )


def _enclosed(question: str) -> bytearray:
    """Of each character whether it is within a pair of brackets or quotation marks; one that is not closed is none."""
    within = bytearray(len(question))
    opened: list[tuple[str, int]] = []  # what would close it, and where it is
    waiting: Counter[str] = Counter()
    for at, mark in enumerate(question):
        if waiting[mark]:
            closed = None
            while closed != mark:
                closed, start = opened.pop()
                waiting[closed] -= 1
            within[start:at] = b"\1" * (at - start)
        elif mark in _BRACKETS:
            opened.append((_BRACKETS[mark], at))
            waiting[_BRACKETS[mark]] += 1
    return within


_FUNCTION = STOPWORDS["english"] | {
    *("after", "all", "also", "another", "because", "before", "being", "between", "both", "during", "each", "every"),
    *("following", "just", "more", "most", "now", "once", "only", "other", "over", "own", "same", "since", "through"),
    *("too", "until", "up", "very", "while", "within"),
}


def _weight(text: str) -> int:
    return sum(word not in _FUNCTION for word in _WORD.findall(text.lower()))
