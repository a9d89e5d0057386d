"""How much an embedder reads: tokens counted over a document's text, and spans halved until all of them is read."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from openbook.chunk.outline import Outline
from openbook.chunk.prefix import embedded_text, prefix
from openbook.types import Chunk, Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    IntArray: TypeAlias = NDArray[np.int32]

# A tokenizer may read a long unbroken run as one unknown token. Such a token counts as one for every four characters,
# so that a chunk stays of a size in which a citation still points somewhere.
_LONG, _STRIDE = 16, 4

# A count over the whole document is exact for a span whose neighbours are blank, give or take what a tokenizer makes of
# a text's first and last word. A span this many tokens below the limit needs not be tokenised once more.
_EDGES = 4

# Where an overlong span is halved, best first.
_CUTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\n\s*\n",
        r"\n",
        r"[.!?…][\"'”’)\]]*\s+|[。！？।۔؟]+[”’」』）]*",
        r"[;:,،、，；：]\s*(?!\d)|\s[–—-]\s",
        r"\s+",
    )
)


class Tokens(Protocol):
    """What a chunker needs of an embedder."""

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text the embedder reads, special tokens excluded."""
        ...

    def tokens(self, texts: Sequence[str]) -> list[IntArray]:
        """Per text int32[t, 2]: start and end (code points) of its tokens; no special tokens, nothing truncated."""
        ...


class Counted:
    """A text whose tokens are counted: any span's number of tokens by bisection."""

    def __init__(self, text: str, offsets: IntArray) -> None:
        import numpy as np

        self.text = text
        self.real = len(offsets)
        starts = offsets[:, 0] if self.real else np.zeros(0, dtype=np.int32)
        lengths = offsets[:, 1] - offsets[:, 0] if self.real else starts
        long = np.flatnonzero(lengths > _LONG)
        if len(long):
            more = [np.arange(offsets[i, 0] + _STRIDE, offsets[i, 1], _STRIDE) for i in long.tolist()]
            starts = np.sort(np.concatenate([starts, *more]))
        self.starts: list[int] = starts.tolist()

    def count(self, start: int, end: int) -> int:
        low = bisect_left(self.starts, start)
        return bisect_left(self.starts, end, low) - low

    def cumulated(self, boundaries: Sequence[int]) -> list[int]:
        """For each boundary the number of tokens that start before it."""
        import numpy as np

        found: list[int] = np.searchsorted(np.asarray(self.starts), np.asarray(boundaries)).tolist()
        return found


class Budget:
    """At most ``limit`` tokens of the embedder's own are embedded of a chunk, prefix included."""

    def __init__(self, tokens: Tokens, limit: int | None) -> None:
        self.tokens = tokens
        self.limit = min(limit or tokens.max_tokens, tokens.max_tokens)

    def read(self, documents: Sequence[Document]) -> Iterator[tuple[Outline, Counted, dict[tuple[str, ...], int]]]:
        """Each document with its outline, its tokens, and the tokens of the prefix of every heading path."""
        outlines = [Outline(document) for document in documents]
        paths = [tuple(dict.fromkeys([(), *outline.paths])) for outline in outlines]
        lines = [
            [prefix(document.title, path, self.limit) for path in of]
            for document, of in zip(documents, paths, strict=True)
        ]
        distinct = list(dict.fromkeys(line for of in lines for line in of))
        counted = self.tokens.tokens([*(document.text for document in documents), *distinct])
        sizes = dict(zip(distinct, map(len, counted[len(documents) :]), strict=True))
        for i, outline in enumerate(outlines):
            prefixes = {path: sizes[line] for path, line in zip(paths[i], lines[i], strict=True)}
            yield outline, Counted(documents[i].text, counted[i]), prefixes

    def whole(self, outline: Outline, counted: Counted, prefixes: dict[tuple[str, ...], int]) -> Chunk | None:
        """The document as one chunk, where all of it is read."""
        text = outline.document.text
        bare = text.strip()
        if not bare or counted.real > self.limit or len(counted.starts) > self.limit * _LONG // _STRIDE:
            return None
        start = len(text) - len(text.lstrip())
        chunk = outline.chunk(start, start + len(bare))
        return (
            chunk
            if self._surely_fits(chunk, counted, prefixes) or self._sizes(outline, [chunk])[0] <= self.limit
            else None
        )

    def fit(
        self, outline: Outline, counted: Counted, prefixes: dict[tuple[str, ...], int], spans: Iterable[tuple[int, int]]
    ) -> list[Chunk]:
        """The chunks of these spans, in order; one of which not all would be read is halved, and halved again."""
        done: list[Chunk] = []
        doubtful: list[Chunk] = []
        for start, end in spans:
            chunk = outline.chunk(start, end)
            (done if self._surely_fits(chunk, counted, prefixes) else doubtful).append(chunk)
        while doubtful:
            halves: list[Chunk] = []
            for chunk, size in zip(doubtful, self._sizes(outline, doubtful), strict=True):
                pieces = halved(counted, chunk.start, chunk.end) if size > self.limit else []
                if pieces:
                    halves += [outline.chunk(start, end) for start, end in pieces]
                else:
                    done.append(chunk)
            doubtful = halves
        done.sort(key=lambda chunk: (chunk.start, -chunk.end))
        chunks: list[Chunk] = []
        for chunk in done:  # halves of spans that overlap may lie within one another
            if not chunks or chunk.end > chunks[-1].end:
                chunks.append(chunk)
        return chunks

    def _surely_fits(self, chunk: Chunk, counted: Counted, prefixes: dict[tuple[str, ...], int]) -> bool:
        start, end, text = chunk.start, chunk.end, counted.text
        if counted.count(start, end) + prefixes.get(chunk.headings, self.limit) > self.limit - _EDGES:
            return False
        return (start == 0 or text[start - 1].isspace()) and (end == len(text) or text[end].isspace())

    def _sizes(self, outline: Outline, chunks: Sequence[Chunk]) -> list[int]:
        title = outline.document.title
        return [
            len(found) for found in self.tokens.tokens([embedded_text(title, chunk, self.limit) for chunk in chunks])
        ]


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the blanks at its ends."""
    part = text[start:end]
    bare = part.lstrip()
    start += len(part) - len(bare)
    return start, start + len(bare.rstrip())


def halved(counted: Counted, start: int, end: int) -> list[tuple[int, int]]:
    """Two trimmed spans that cover a trimmed one, cut near its middle; empty where it is a single character."""
    text = counted.text
    if end - start < 2:
        return []
    middle, margin = (start + end) // 2, (end - start) // 4
    low, high = max(start + 1, middle - margin), min(end - 1, middle + margin)
    for pattern in _CUTS:
        nearest = min(
            (m.end() for m in pattern.finditer(text, low, high) if low <= m.end() <= high),
            key=lambda at: abs(at - middle),
            default=None,
        )
        if nearest is not None:
            return [trimmed(text, start, nearest), trimmed(text, nearest, end)]
    token = bisect_left(counted.starts, middle)
    candidates = [at for at in counted.starts[max(0, token - 8) : token + 8] if low <= at <= high]
    candidates.sort(key=lambda at: abs(at - middle))
    around = (middle + step * sign for step in range(min(margin, 64) + 1) for sign in (1, -1))
    candidates += [at for at in around if low <= at <= high]
    cut = next((at for at in candidates if not joined(text, at)), middle)
    return [span for span in (trimmed(text, start, cut), trimmed(text, cut, end)) if span[0] < span[1]]


def joined(text: str, at: int) -> bool:
    """Whether the characters before and after this offset make one sign that a reader sees."""
    after = text[at]
    if after < "\u0300" and text[at - 1] != "\u200d":
        return False
    if unicodedata.category(after)[0] == "M" or after in "\u200d\u200c" or text[at - 1] == "\u200d":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff":  # flags are pairs
        first = at
        while first > 0 and "\U0001f1e6" <= text[first - 1] <= "\U0001f1ff" and at - first < 64:
            first -= 1
        return (at - first) % 2 == 1
    return "\u1160" <= after <= "\u11ff"  # the vowels and finals of a Korean syllable written apart
