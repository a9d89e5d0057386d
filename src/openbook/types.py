"""The types that travel through openbook, in the order in which data meets them.

Everything here is frozen and imports nothing of ours. Offsets count code points of a document's normalised text;
pages count from 1; scores are higher-is-better; vectors are ``float32`` of unit length.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Scalar = str | int | float | bool
"""A metadata value. Dates are ISO 8601 strings, which compare in time order."""

Metadata = Mapping[str, Scalar | tuple[Scalar, ...]]
"""What is known about a document besides its text; a tuple is a field with several values (tags)."""

PUBLIC = "public"
"""The principal that every caller has."""


def storable(text: str) -> str:
    """``text`` with NUL and lone surrogates, which no database and no UTF-8 file holds, replaced by U+FFFD."""
    return text.replace("\0", "\ufffd") if text.isascii() else _UNSTORABLE.sub("\ufffd", text)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def printable(text: str) -> str:
    """``text`` as it stands, but for the control characters that a terminal would obey, replaced by U+FFFD."""
    return text.translate(_CONTROLS)


_CONTROLS = {c: "\ufffd" for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\n\t"}


# --- a source becomes a document ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: ``document.text[start:end]`` is its line (or lines), ``title`` its words without mark-up."""

    start: int
    end: int
    level: int  # 1 is outermost
    title: str


def heading_path(headings: Sequence[Heading], offset: int) -> tuple[str, ...]:
    """The titles of those ``headings`` (in order of ``start``) that stand above ``offset``, outermost first.

    A heading without words bounds a section but has no place in a path.
    """
    path: list[Heading] = []
    for heading in headings:
        if heading.start > offset:
            break
        while path and path[-1].level >= heading.level:
            path.pop()
        path.append(heading)
    return tuple(heading.title for heading in path if heading.title)


@dataclass(frozen=True, slots=True)
class Document:
    """One source as text.

    ``text`` is normalised: line ends are ``\\n``; NUL and lone surrogates are replaced by U+FFFD. Formats that carry
    structure (HTML, Word, slides, sheets, …) arrive as Markdown. ``pages[i]`` is the offset at which page ``i + 1``
    starts (``pages[0] == 0``); it is empty where the source has no pages. ``headings`` come in order of ``start``. The
    text of a ``local_only`` document is sent to no remote model.
    """

    source: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    access: tuple[str, ...] = (PUBLIC,)
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    local_only: bool = False

    @property
    def hash(self) -> str:
        """Hex SHA-256 of what is indexed (text, title, headings, pages): equal hashes need no new chunks."""
        content = [self.text, self.title, [(h.start, h.end, h.level, h.title) for h in self.headings], self.pages]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def page_at(self, offset: int) -> int | None:
        """The page on which the character at ``offset`` stands; ``None`` where the source has no pages."""
        from bisect import bisect_right

        return bisect_right(self.pages, offset) or None if self.pages else None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A source that could not be read: one line that says why and what to do. The rest goes on."""

    source: str
    reason: str


# --- a document becomes chunks --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of one document version.

    Invariant: ``document.text[start:end] == text``. ``headings`` is the path of headings above the span, outermost
    first; ``page`` is the page on which the span starts. ``passage`` is a longer span, this one in it, that is shown
    when the chunk is found; ``context`` is read with the text where it is embedded and where its words are looked for.
    """

    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    passage: tuple[int, int] | None = None
    context: str = ""


# --- a question becomes hits ----------------------------------------------------------------------------------------


class Turn(NamedTuple):
    """What was said before a question: by the ``role`` "user" or "assistant"."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class StageScore:
    """What one stage said about a hit: its rank (from 1) and its score, in that stage's own unit."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found, with its score and what every stage that saw it said.

    ``document`` and ``version`` name the text that the chunk's offsets count in; ``pages`` are that version's page
    starts, so that a citation inside the chunk names the page its quote stands on. Of a chunk with a passage, ``chunk``
    is the passage, and ``found`` the chunk's own span. ``also`` are hits that say nearly the same, and are told with
    this one in place of their own rank.
    """

    document: str
    version: int
    source: str
    title: str
    chunk: Chunk
    score: float
    stages: Mapping[str, StageScore] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    pages: tuple[int, ...] = ()
    local_only: bool = False  # its document's text is sent to no remote model
    found: tuple[int, int] | None = None
    also: tuple[Hit, ...] = ()

    def cite(self, start: int, end: int) -> Citation:
        """The citation of ``text[start:end]`` of this hit's document version; the span must lie inside the chunk.

        Raises:
            ValueError: the span leaves the chunk, or is empty.
        """
        from bisect import bisect_right

        chunk = self.chunk
        if not chunk.start <= start < end <= chunk.end:
            raise ValueError(f"span {start}:{end} is not inside the chunk {chunk.start}:{chunk.end}")
        return Citation(
            document=self.document,
            version=self.version,
            source=self.source,
            title=self.title,
            headings=chunk.headings,
            page=bisect_right(self.pages, start) or None if self.pages else None,
            start=start,
            end=end,
            quote=chunk.text[start - chunk.start : end - chunk.start],
        )


# --- hits become an answer ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a statement stands. Invariant: ``quote`` is the exact text of ``start:end`` of that document version.

    ``also`` is where it stands to the letter in what was told with the hit as nearly the same.
    """

    document: str
    version: int
    source: str
    title: str
    start: int
    end: int
    quote: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    also: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two places that say otherwise of what was asked, one of them cited in the answer; ``dates`` are what tells their
    age: a date, a version, "superseded"."""

    older: Citation
    newer: Citation
    dates: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer consumed: tokens of a language model, and money in US dollars (``None``: price unknown)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Both together; of an unknown cost and another the sum is unknown.

        >>> Usage(3, 1, 0.5) + Usage(4, 2, 0.25)
        Usage(input_tokens=7, output_tokens=3, cost=0.75)
        """
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens, cost)


@dataclass(frozen=True, slots=True)
class Choice:
    """One reading of a question, in a few words, and where it stands."""

    text: str
    citation: Citation


@dataclass(frozen=True, slots=True)
class Clarification:
    """A question that is asked back, as what was found answers several readings of what was asked: two or more."""

    question: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Text with the citations that bear it, or an abstention with its reason; or, where the caller allows it, a
    question back (``clarification``), with no text.

    ``confidence`` in [0, 1] is the generator's own estimate that the answer is right (``None``: it has none); an
    extractive answer abstains where it falls below the recipe's threshold. ``invented`` counts citation numbers of
    a language model that did not exist and were dropped. ``disagreements`` are evidence of another date that says
    otherwise, where the recipe has it looked for. ``withheld`` is what an extractive abstention would have
    quoted: read by evaluation, which asks what another threshold would do, and shown to nobody. ``passages`` are what
    the generator was given, as it was. ``usage`` is what language models took for it, calls before the answer included.
    They and ``trace`` are filled in by ``KnowledgeBase.ask``.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    reason: str | None = None
    confidence: float | None = None
    usage: Usage = Usage()
    invented: int = 0
    disagreements: tuple[Disagreement, ...] = ()
    withheld: str = ""
    passages: tuple[Hit, ...] = ()
    trace: Trace | None = None
    clarification: Clarification | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that happened to one question. ``ms`` holds milliseconds for each stage, and ``total``."""

    id: str
    question: str
    release: str
    ms: Mapping[str, float]
    hits: Sequence[Hit]
    filter: str | None = None
    principals: tuple[str, ...] | None = None  # None: asked as the owner
    created: str = ""  # ISO 8601, UTC
    details: Mapping[str, Any] = field(default_factory=dict)
