"""Whether an embedding model knows the language of a text, told by how its own tokenizer cuts the words.

A vocabulary is learned from the text that a model is trained on. What it saw often are pieces of several letters; what
it never saw falls apart into single letters, or is one unknown piece. all-MiniLM-L6-v2 reads 4.3 letters a piece in
English questions, 2 to 2.7 in German, French and Italian, and 1.0 in Arabic, Russian, Greek, Hebrew and Chinese.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openbook.embed import Embedder

KNOWN = 3.0
"""Letters a piece from which a text counts as known: few English questions are below, be they full of names and flags
(on no public set 2 % of them below 2.6), and other languages are. 1 letter a piece is not known at all."""

KNOWN_SYLLABLES = 1.5
"""The same where a character is a syllable or a word: Han, kana, Hangul."""

UNFAMILIAR = 0.5
"""A document below this is one whose language the model does not know."""

SAMPLE = 1_000
"""Characters of a document that are looked at, from its middle: what surrounds a text is often English."""

_WORD = re.compile(r"[^\W\d_]+")
_SYLLABLES = re.compile("[\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")


def familiarity(texts: Sequence[str], embedder: Embedder) -> list[float]:
    """For each text from 0 (letter by letter, or unknown) to 1 (known); 1 where it has no letters, or the model is
    remote: what its tokenizer does is not known here."""
    if embedder.remote:
        return [1.0] * len(texts)
    words = [_WORD.findall(text) for text in texts]
    distinct = list(dict.fromkeys(word for of in words for word in of))
    # An unknown word is one piece, and so it is when written twice; a known one is then at least two.
    pieces = embedder.tokens([*distinct, *(word + word for word in distinct if not word.isascii())])
    doubled = iter(pieces[len(distinct) :])
    known: dict[str, tuple[int, float]] = {}  # word → pieces, and letters or syllables over what is wanted of a piece
    for word, cut in zip(distinct, pieces, strict=False):
        unknown = not word.isascii() and len(next(doubled)) <= 1
        wanted = KNOWN_SYLLABLES if _SYLLABLES.search(word) else KNOWN
        count = max(1, len(cut))
        known[word] = count, 0.0 if unknown else (len(word) - count) / (wanted - 1.0)
    return [_share([known[word] for word in of]) for of in words]


def _share(words: Sequence[tuple[int, float]]) -> float:
    pieces = sum(count for count, _ in words)
    return min(1.0, max(0.0, sum(gained for _, gained in words) / pieces)) if pieces else 1.0


def sample(text: str) -> str:
    start = max(0, (len(text) - SAMPLE) // 2)
    return text[start : start + SAMPLE]


def script(text: str) -> str:
    """The script that most letters of a text are in, as Unicode names it: ``Arabic``, ``Cyrillic``, ``Latin``."""
    names = Counter(
        unicodedata.name(letter, "unknown").split(" ")[0] for word in _WORD.findall(text) for letter in word
    )
    return names.most_common(1)[0][0].title() if names else "unknown"
