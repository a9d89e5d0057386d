"""Where documents are cut, to be read by a person: of files, or of what a knowledge base holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openbook.chunk import Tokens, open_chunker, require_read
from openbook.chunk.look import Looked, look
from openbook.load import load
from openbook.recipe import IndexHalf
from openbook.types import Chunk, Document, Skipped

if TYPE_CHECKING:
    from openbook.embed import Embedder

TOGETHER = 64
"""Documents that are cut together: their texts are tokenised on every core."""


@dataclass(frozen=True, slots=True)
class Boundaries:
    """A document and its chunks, each with what is wrong with it."""

    document: Document
    chunks: tuple[Looked, ...]


def boundaries(document: Document, chunks: Sequence[Chunk], tokens: Tokens, half: IndexHalf) -> Boundaries:
    """Of a document that is cut already, by this half of a recipe."""
    limit = min(getattr(half.chunk, "max_tokens", None) or tokens.max_tokens, tokens.max_tokens)
    return Boundaries(document, tuple(look(document, chunks, tokens, limit)))


def boundaries_of(
    root: str | Path, half: IndexHalf, *, embedder: Embedder | None = None
) -> Iterator[Boundaries | Skipped]:
    """Of every document of a file or folder, as ``add`` would cut it; nothing is added.

    ``embedder`` is the one that ``half`` names, where it is open already.

    Raises:
        SourceError: there is no such file.
        ModelError: the recipe's embedder is missing.
        RecipeError: chunks would be longer than it reads.
    """
    from openbook.embed import open_embedder

    if embedder is None:
        embedder = open_embedder(half.embed)
        require_read(half, embedder)
    chunker = open_chunker(half.chunk, embedder, half.context)
    batch: list[Document] = []
    for item in load(root):
        if isinstance(item, Skipped):
            yield item
            continue
        batch.append(item)
        if len(batch) == TOGETHER:
            for document, chunks in zip(batch, chunker.chunk_all(batch), strict=True):
                yield boundaries(document, chunks, embedder, half)
            batch = []
    for document, chunks in zip(batch, chunker.chunk_all(batch), strict=True):
        yield boundaries(document, chunks, embedder, half)
