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

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from openbook.chunk.budget import Budget, Tokens
from openbook.chunk.prefix import embedded_text
from openbook.errors import RecipeError
from openbook.recipe import AS_READ, ChunkerPart, Context, IndexHalf, StructureChunker
from openbook.types import Chunk, Document

if TYPE_CHECKING:
    from openbook.embed import Embedder

__all__ = ["Chunker", "Tokens", "embedded_text", "open_chunker", "require_read", "sharing_passages"]


class Chunker(Protocol):
    """Cuts documents. ``max_tokens`` bounds what is embedded of a chunk, prefix included: hand it to embedded_text."""

    @property
    def kind(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...

    def chunk(self, document: Document) -> Iterable[Chunk]:
        """Yield the document's chunks in order of ``start``; together they cover every non-blank character.

        A chunk that has a passage lies in it. Its context is such that all that is embedded of it is read.
        """
        ...

    def chunk_all(self, documents: Iterable[Document]) -> Iterator[list[Chunk]]:
        """The chunks of each document, in the order given; texts are tokenised together, which is quicker."""
        ...


_NO_CONTEXT = Context()


def open_chunker(
    part: ChunkerPart,
    embedder: Embedder,
    context: Context = _NO_CONTEXT,
    *,
    tell: Callable[[str, str], None] = lambda source, note: None,
) -> Chunker:
    """The chunker that a recipe names; ``embedder`` will read the chunks. ``tell`` hears of a document, by its source,
    that was cut in another way than the recipe says, and why. The sentences of ``context.situate`` are not written
    here."""
    chunker = _open(part, embedder, tell)
    if context.tables:
        from openbook.chunk.tables import WithHeaders

        chunker = WithHeaders(chunker, embedder)
    return chunker


def require_read(half: IndexHalf, embedder: Tokens) -> None:
    """Refuse chunks longer than the model reads before anything is cut by such a recipe: they would be made smaller in
    silence. A ``target_tokens`` that nobody chose gives way.

    Raises:
        RecipeError: ``max_tokens`` or ``target_tokens`` is more than is read at once.
    """
    reads, part = embedder.max_tokens, half.chunk
    do = "lower it, or take a model that reads more"
    own = getattr(half.embed, "max_tokens", None) or 0
    if own > reads:
        raise RecipeError(f"{own}, and the model reads {reads} tokens of a text", where="index.embed.max_tokens", do=do)
    most = getattr(part, "max_tokens", None) or reads
    if most > reads:
        raise RecipeError(
            f"{most}, and the model reads {reads} tokens of a text", where="index.chunk.max_tokens", do=do
        )
    target = getattr(part, "target_tokens", 0)
    if target > most and target not in (StructureChunker().target_tokens, AS_READ):
        what = f"{target}, and a chunk has at most {most} tokens"
        raise RecipeError(what, where="index.chunk.target_tokens", do=f"lower it to {most} or less")


def sharing_passages(part: ChunkerPart) -> int:
    """About how many chunks may have a passage in common: so many more are looked for than hits are wanted."""
    if part.kind == "window":
        return 2 * part.window + 1
    return -(-part.parent_tokens // part.target_tokens) + 1 if part.kind == "parent" else 1


def _open(part: ChunkerPart, embedder: Embedder, tell: Callable[[str, str], None]) -> Chunker:
    match part.kind:
        case "structure":
            from openbook.chunk.structure import Structure

            return Structure(Budget(embedder, part.max_tokens), target=part.target_tokens, overlap=part.overlap)
        case "recursive":
            from openbook.chunk.recursive import Recursive

            return Recursive(Budget(embedder, None), size=part.size, overlap=part.overlap)
        case "window":
            from openbook.chunk.window import Window

            return Window(Budget(embedder, None), window=part.window, least=part.least_tokens)
        case "parent":
            from openbook.chunk.parent import Parent

            return Parent(Budget(embedder, None), target=part.target_tokens, parent=part.parent_tokens)
        case "semantic":
            from openbook.chunk.semantic import Semantic
            from openbook.recipe import LanguageModel

            asking = None
            if isinstance(part.choose, LanguageModel):
                from openbook.chunk.asking import Asking

                asking = Asking(part.choose)
            return Semantic(
                Budget(embedder, None),
                embedder,
                smooth=part.smooth,
                percentile=part.percentile,
                least=part.least_tokens,
                target=part.target_tokens,
                asking=asking,
                tell=tell,
            )
