"""How an index half reads documents: cut into chunks, embedded through the cache, ready for its index."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from openbook.chunk import Chunker, embedded_text, open_chunker
from openbook.embed.vectors import blended
from openbook.recipe import IndexHalf, LanguageModel
from openbook.retrieve.familiar import UNFAMILIAR, familiarity, sample, script
from openbook.store.index import Index, Reading
from openbook.store.vectors import drop_cached, embed_cached, key_of
from openbook.types import Chunk, Document

if TYPE_CHECKING:
    from openbook.chunk.situate import Situating
    from openbook.embed import Embedder

Cut = tuple[Document, Sequence[Chunk]]
"""A document and its chunks."""


REST = 30.0
"""Seconds for which the model of an index that does not answer is left alone when it has failed."""


class Reader:
    """One index half at work for its index. The model is opened when the first text is new: where nothing changed,
    nobody waits for it."""

    def __init__(self, index: Index, part: IndexHalf, embedder: Callable[[], Embedder]) -> None:
        self.index = index
        self.part = part
        self._open_embedder = embedder
        self._rests_until = 0.0
        self._notes: list[tuple[str, str]] = []

    @property
    def rests(self) -> bool:
        """Whether its model failed a moment ago: an index that does not answer may fall behind, and edits do not wait
        for it again and again."""
        return time.monotonic() < self._rests_until

    def rest(self) -> None:
        self._rests_until = time.monotonic() + REST

    @cached_property
    def embedder(self) -> Embedder:
        """Raises: ModelError, StoreError: it is missing, or not the one that the index was built with."""
        return self._open_embedder()

    @cached_property
    def chunker(self) -> Chunker:
        return open_chunker(self.part.chunk, self.embedder, self.part.context, tell=self._tell)

    @cached_property
    def situating(self) -> Situating | None:
        """Who writes a sentence for each chunk, where the recipe names one."""
        part = self.part.context.situate
        if not isinstance(part, LanguageModel):
            return None
        from openbook.chunk.asking import Asking
        from openbook.chunk.situate import Situating

        return Situating(Asking(part), self.embedder, self._tell)

    def cut(self, documents: Sequence[Document]) -> list[Cut]:
        """Each document with its chunks. Raises: as ``embedder``."""
        if not documents:
            return []
        cuts: Sequence[Sequence[Chunk]] = list(self.chunker.chunk_all(documents))
        if self.situating is not None:
            known = self.index.contexts([document.source for document in documents])
            cuts = self.situating.situate(documents, cuts, self.chunker.max_tokens, known)
        return list(zip(documents, cuts, strict=True))

    def take_notes(self) -> list[tuple[str, str]]:
        """(source, what is to be known of how it was cut) since this was last asked."""
        notes, self._notes = self._notes, []
        return notes

    def _tell(self, source: str, note: str) -> None:
        self._notes.append((source, note))

    def may_embed(self, document: Document) -> bool:
        """Whether the model may be sent its text."""
        return self.part.embed.is_local or not document.local_only

    def texts(self, cuts: Sequence[Cut]) -> list[str]:
        """What is embedded of these chunks, a text a chunk: nothing of documents that the model may not read."""
        return self._texts([cut for cut in cuts if self.may_embed(cut[0])])

    def _texts(self, cuts: Sequence[Cut]) -> list[str]:
        room = self.chunker.max_tokens
        return [embedded_text(document.title, chunk, room) for document, chunks in cuts for chunk in chunks]

    def read(self, cuts: Sequence[Cut], progress: Callable[[int], None] | None = None) -> tuple[list[Reading], int]:
        """What the index will hold of each document, and how many texts had to be embedded.

        ``progress`` hears how many of the chunks are embedded.

        Raises:
            ModelError, StoreError: as ``embedder``; or the model did not answer.
        """
        embedder = self.embedder
        sent = [cut for cut in cuts if self.may_embed(cut[0])]
        texts = self.texts(sent)
        vectors, embedded = embed_cached(self.index.database, embedder, texts, progress)
        if len(sent) < len(cuts):  # and what was embedded while it was allowed is kept no longer
            withheld = self._texts([cut for cut in cuts if not self.may_embed(cut[0])])
            drop_cached(self.index.database, embedder.hash, withheld)
        vectors = blended(vectors, _runs(sent), self.part.neighbours)
        known = familiarity([sample(document.text) for document, _ in cuts], embedder)
        ends = accumulate(len(chunks) if self.may_embed(document) else 0 for document, chunks in cuts)
        readings = [
            Reading(
                chunks,
                vectors[end - len(chunks) : end] if self.may_embed(document) else None,
                embedder.hash,
                script(sample(document.text)) if chunks and familiar < UNFAMILIAR else None,
                document.local_only,
                tuple(map(key_of, texts[end - len(chunks) : end])) if self.may_embed(document) else (),
            )
            for (document, chunks), familiar, end in zip(cuts, known, ends, strict=True)
        ]
        return readings, embedded


def _runs(cuts: Sequence[Cut]) -> list[int]:
    """Where, among the chunks of all these documents, each document and each section in it ends."""
    sections = [(at, chunk.headings) for at, (_, chunks) in enumerate(cuts) for chunk in chunks]
    return [row for row in range(1, len(sections) + 1) if row == len(sections) or sections[row] != sections[row - 1]]
