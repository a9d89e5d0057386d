"""Chunks as a person would judge them: how much of each is read, and what its ends cut through."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from openbook.chunk.blocks import CODE, blocks, within
from openbook.chunk.budget import Tokens
from openbook.chunk.prefix import embedded_text
from openbook.chunk.tables import header_above, tables_of
from openbook.sentences import sentences
from openbook.types import Chunk, Document

Flag = Literal["too small", "too large", "mid-table", "mid-code", "mid-sentence"]
FLAGS: tuple[Flag, ...] = get_args(Flag)

SMALL = 16
"""Tokens of its own text below which a chunk of several says too little to be found by: a heading, a remainder."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A chunk, the ``tokens`` that are embedded of it (title and headings included), and what is wrong with it.

    ``too small``: fewer than ``SMALL`` tokens of its own, where the document has other chunks. ``too large``: the
    embedder does not read its end. ``mid-table``, ``mid-code``, ``mid-sentence``: it begins there, or ends there where
    the next one begins earlier. Whole rows of a table whose header is read with them are no fault.
    """

    chunk: Chunk
    tokens: int
    flags: tuple[Flag, ...] = ()


def look(document: Document, chunks: Sequence[Chunk], tokens: Tokens, max_tokens: int) -> list[Looked]:
    """Each chunk of a document with its flags; ``max_tokens`` is the chunker's own."""
    if not chunks:
        return []
    embedded = tokens.tokens([embedded_text(document.title, chunk, max_tokens) for chunk in chunks])
    own = tokens.tokens([chunk.text for chunk in chunks])
    torn = _Torn(document.text)
    looked: list[Looked] = []
    for at, chunk in enumerate(chunks):
        flags: dict[Flag, None] = {}
        if len(chunks) > 1 and len(own[at]) < SMALL:
            flags["too small"] = None
        if len(embedded[at]) > tokens.max_tokens:
            flags["too large"] = None
        flags.update(dict.fromkeys(torn.at(chunk.start, chunk.context)))
        if at + 1 < len(chunks) and chunks[at + 1].start < chunk.end:
            flags.update(dict.fromkeys(torn.at(chunk.end)))
        looked.append(Looked(chunk, len(embedded[at]), tuple(flag for flag in FLAGS if flag in flags)))
    return looked


class _Torn:
    """What a cut at an offset goes through: a table or code as a whole, else a sentence."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tables = tables_of(text)
        self._spans: dict[Flag, list[tuple[int, int]]] = {
            "mid-table": [(table.start, table.end) for table in self._tables],
            "mid-code": [(block.start, block.end) for block in within(blocks(text), CODE)],
            "mid-sentence": sentences(text),
        }

    def at(self, offset: int, context: str = "") -> Iterator[Flag]:
        header = header_above(self._text, self._tables, offset) if context else ""
        if header and header in context and not self._text[:offset].rpartition("\n")[2].strip():
            return
        for flag, spans in self._spans.items():
            i = bisect_right(spans, (offset,))
            if not i:
                continue
            start, end = spans[i - 1]  # whose ends are whole lines: blanks there are no loss
            if offset < end and self._text[start:offset].strip() and self._text[offset:end].strip():
                yield flag
                return
