"""A Document becomes Chunks: exact spans, each small enough that the embedder reads all of it.

>>> from openbook.chunk import open_chunker, embedded_text
>>> from openbook.embed import open_embedder
>>> from openbook.recipe import LocalEmbedder, StructureChunker
>>> from openbook.types import Document
>>> chunker = open_chunker(StructureChunker(), open_embedder(LocalEmbedder()))
>>> [chunk] = chunker.chunk(Document(source="leave.md", title="Leave", text="Everyone has 30 days.\\n"))
>>> embedded_text("Leave", chunk)
'Leave\\nEveryone has 30 days.'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from openbook.chunk.budget import Budget, Tokens
from openbook.chunk.prefix import embedded_text
from openbook.recipe import RecursiveChunker, StructureChunker
from openbook.types import Chunk, Document

__all__ = ["Chunker", "Tokens", "embedded_text", "open_chunker"]


class Chunker(Protocol):
    """Cuts documents. ``max_tokens`` bounds what is embedded of a chunk, prefix included: hand it to embedded_text."""

    @property
    def kind(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...

    def chunk(self, document: Document) -> Iterable[Chunk]:
        """Yield the document's chunks in order of ``start``; together they cover every non-blank character."""
        ...

    def chunk_all(self, documents: Iterable[Document]) -> Iterator[list[Chunk]]:
        """The chunks of each document, in the order given; texts are tokenised together, which is quicker."""
        ...


def open_chunker(part: StructureChunker | RecursiveChunker, tokens: Tokens) -> Chunker:
    """The chunker that a recipe names; ``tokens`` is the embedder (or just its tokenizer) that will read the chunks."""
    if part.kind == "structure":
        from openbook.chunk.structure import Structure

        return Structure(Budget(tokens, part.max_tokens), target=part.target_tokens, overlap=part.overlap)
    from openbook.chunk.recursive import Recursive

    return Recursive(Budget(tokens, None), size=part.size, overlap=part.overlap)
