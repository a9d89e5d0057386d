"""Rows of a table are read with the header of their columns, which stands in another chunk."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import tee
from typing import TYPE_CHECKING

from openbook.chunk.blocks import Block, blocks, within
from openbook.chunk.prefix import embedded_text
from openbook.types import Chunk, Document

if TYPE_CHECKING:
    from openbook.chunk import Chunker
    from openbook.chunk.budget import Tokens


class WithHeaders:
    """The chunks of another chunker; one that begins below the header of a table has it as its context.

    The span stays what it is. A header that the embedder would not read whole beside the rows is left out.
    """

    def __init__(self, chunker: Chunker, tokens: Tokens) -> None:
        self._chunker = chunker
        self._tokens = tokens
        self.kind = chunker.kind
        self.max_tokens = chunker.max_tokens
        self.overlap = getattr(chunker, "overlap", 0)

    def chunk(self, document: Document) -> Iterable[Chunk]:
        return next(self.chunk_all([document]))

    def chunk_all(self, documents: Iterable[Document]) -> Iterator[list[Chunk]]:
        documents, read = tee(documents)
        for document, chunks in zip(documents, self._chunker.chunk_all(read), strict=True):
            yield self._headed(document, chunks)

    def _headed(self, document: Document, chunks: list[Chunk]) -> list[Chunk]:
        tables = tables_of(document.text) if len(chunks) > 1 else []
        headed = {
            at: replace(chunk, context="\n".join(part for part in (header, chunk.context) if part))
            for at, chunk in enumerate(chunks)
            if (header := header_above(document.text, tables, chunk.start))
        }
        texts = [embedded_text(document.title, chunk, self.max_tokens) for chunk in headed.values()]
        for (at, chunk), tokens in zip(headed.items(), self._tokens.tokens(texts), strict=True):
            if len(tokens) <= self.max_tokens:
                chunks[at] = chunk
        return chunks


def tables_of(text: str) -> list[Block]:
    return list(within(blocks(text), ("table_open",))) if "|" in text else []


def header_above(text: str, tables: Sequence[Block], offset: int) -> str:
    """The header row of the table in whose body the offset lies; empty where it lies in none."""
    at = bisect_right(tables, offset, key=lambda table: table.start)
    table = tables[at - 1] if at else None
    if table is None or offset >= table.end or not table.children:
        return ""
    row = table.children[0]
    return text[row.start : row.end].strip() if offset >= row.end else ""
