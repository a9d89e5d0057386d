"""What every chunker promises, whatever the document. A new chunker is one more line in ``PARTS``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openbook.chunk import Chunker, embedded_text, open_chunker, require_read
from openbook.embed import Embedder, open_embedder
from openbook.errors import RecipeError
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    ChunkerPart,
    Context,
    IndexHalf,
    LocalEmbedder,
    ParentChunker,
    Recipe,
    RecursiveChunker,
    SemanticChunker,
    StructureChunker,
    WindowChunker,
)
from openbook.types import Chunk, Document, Heading

from .shapes import documents

PARTS: dict[str, ChunkerPart | IndexHalf] = {
    "structure": StructureChunker(),
    "structure-64": StructureChunker(max_tokens=64),
    "structure-16": StructureChunker(max_tokens=16),
    "structure-overlap": StructureChunker(max_tokens=80, overlap=20),
    "recursive": RecursiveChunker(),
    "recursive-dense": RecursiveChunker(size=4000, overlap=0),
    "recursive-small": RecursiveChunker(size=60, overlap=20),
    "recursive-1": RecursiveChunker(size=1, overlap=0),
    "window": WindowChunker(),
    "window-0": WindowChunker(window=0, least_tokens=1),
    "parent": ParentChunker(),
    "parent-small": ParentChunker(target_tokens=16, parent_tokens=40),
    "semantic": SemanticChunker(),
    "semantic-often": SemanticChunker(smooth=1, percentile=90, least_tokens=8, target_tokens=40),
    "tables": IndexHalf(context=Context(tables=True)),
    "tables-full": IndexHalf(chunk=StructureChunker(target_tokens=254), context=Context(tables=True)),
    "tables-recursive": IndexHalf(chunk=RecursiveChunker(size=200, overlap=80), context=Context(tables=True)),
}


@pytest.fixture(scope="module", params=PARTS)
def chunker(request: pytest.FixtureRequest, embedder: Embedder) -> Chunker:
    part = PARTS[request.param]
    return (
        open_chunker(part.chunk, embedder, part.context)
        if isinstance(part, IndexHalf)
        else open_chunker(part, embedder)
    )


any_document = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
AWKWARD = [
    Document("s", ""),
    Document("s", " \n\t\n "),
    Document("s", "x" * 10_000, "one word"),
    Document("s", "\u0301" * 2_000),
    Document("s", "한" * 2_000, "한" * 500),
    Document("s", "a. " * 3_000, headings=(Heading(0, 2, 1, "a"), Heading(9_000, 9_000, 2, "at the end"))),
    Document(
        "s",
        "# A\n\n## B\n\n### C\n\ntext",
        headings=(Heading(0, 3, 1, "A"), Heading(5, 9, 2, "B"), Heading(11, 16, 3, "C")),
    ),
]


def path_at(document: Document, offset: int) -> tuple[str, ...]:
    stack: list[Heading] = []
    for heading in document.headings:
        if heading.start > offset:
            break
        stack = [above for above in stack if above.level < heading.level] + [heading]
    return tuple(heading.title for heading in stack if heading.title)


class TestEveryChunker:
    def check(self, chunker: Chunker, document: Document, embedder: Embedder) -> list[Chunk]:
        chunks = list(chunker.chunk(document))
        covered = bytearray(len(document.text))
        for chunk in chunks:
            assert document.text[chunk.start : chunk.end] == chunk.text
            assert chunk.text
            assert chunk.text == chunk.text.strip()
            assert chunk.page == document.page_at(chunk.start)
            if chunk.passage is not None:
                first, last = chunk.passage
                assert 0 <= first <= chunk.start < chunk.end <= last <= len(document.text)
                assert document.text[first:last] == document.text[first:last].strip()
            covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
            above = path_at(document, chunk.start)
            assert above[: len(chunk.headings)] == chunk.headings
            if not any(chunk.start < heading.start < chunk.end for heading in document.headings):
                assert chunk.headings == above
        assert all(sign.isspace() or seen for sign, seen in zip(document.text, covered, strict=True))
        for before, after in pairwise(chunks):
            assert before.start < after.start
            assert before.end < after.end
            overlaps = getattr(chunker, "overlap", 0)
            assert overlaps or before.end <= after.start
        texts = [embedded_text(document.title, chunk, chunker.max_tokens) for chunk in chunks]
        for chunk, found in zip(chunks, embedder.tokens(texts), strict=True):
            assert len(found) <= chunker.max_tokens or len(chunk.text) == 1
        return chunks

    @given(document=documents())
    @any_document
    def test_spans_cover_the_text_in_order_and_all_of_it_is_embedded(
        self, chunker: Chunker, embedder: Embedder, document: Document
    ) -> None:
        self.check(chunker, document, embedder)

    @pytest.mark.parametrize("document", AWKWARD, ids=range(len(AWKWARD)))
    def test_awkward_documents(self, chunker: Chunker, embedder: Embedder, document: Document) -> None:
        chunks = self.check(chunker, document, embedder)
        assert bool(chunks) == bool(document.text.strip())

    @given(several=st.lists(documents(), max_size=4))
    @settings(any_document, max_examples=10)
    def test_documents_together_give_the_same_chunks_as_alone(self, chunker: Chunker, several: list[Document]) -> None:
        assert list(chunker.chunk_all(several)) == [list(chunker.chunk(document)) for document in several]

    def test_chunk_all_is_lazy(self, chunker: Chunker) -> None:
        """A corpus larger than memory streams through."""
        endless = (Document("s", "A word or two.") for _ in iter(int, 1))
        assert next(iter(chunker.chunk_all(endless)))


class TestTheStructureChunker:
    @given(document=documents())
    @any_document
    @example(document=Document("s", "word " * 100 + " " * 9_000 + "end", "blank between"))
    def test_what_is_read_whole_stays_whole(self, embedder: Embedder, document: Document) -> None:
        """Public reference scores count one document as one chunk."""
        text = document.text.strip()
        [tokens] = embedder.tokens([f"{document.title}\n{text}"])
        sane = len(text) < 4 * embedder.max_tokens
        if text and sane and len(document.title) < 60 and len(tokens) <= embedder.max_tokens:
            [chunk] = open_chunker(StructureChunker(), embedder).chunk(document)
            assert chunk.text == text

    def test_a_model_that_reads_less_gets_smaller_chunks(self) -> None:
        small = open_embedder(LocalEmbedder(max_tokens=32))
        chunker = open_chunker(StructureChunker(max_tokens=500), small)
        assert chunker.max_tokens == small.max_tokens
        document = Document("s", "Some words that go on. " * 100, "A title")
        for chunk in chunker.chunk(document):
            [tokens] = small.tokens([embedded_text(document.title, chunk, chunker.max_tokens)])
            assert len(tokens) <= small.max_tokens


@pytest.mark.parametrize(
    ("half", "message"),
    [
        (
            IndexHalf(chunk=StructureChunker(max_tokens=500)),
            "index.chunk.max_tokens: 500, and the model reads 254 tokens",
        ),
        (
            IndexHalf(chunk=StructureChunker(target_tokens=400)),
            "index.chunk.target_tokens: 400, and a chunk has at most 254",
        ),
        (
            IndexHalf(chunk=StructureChunker(max_tokens=64, target_tokens=80)),
            "index.chunk.target_tokens: 80, .* lower it to 64",
        ),
        (IndexHalf(chunk=SemanticChunker(target_tokens=255)), "index.chunk.target_tokens: 255"),
        (IndexHalf(embed=LocalEmbedder(max_tokens=600)), "index.embed.max_tokens: 600, and the model reads 510 tokens"),
    ],
)
def test_chunks_longer_than_the_model_reads_are_refused_where_nothing_is_cut_by_them_yet(
    new_kb: Callable[..., KnowledgeBase], half: IndexHalf, message: str
) -> None:
    """They were made smaller in silence."""
    with pytest.raises(RecipeError, match=message):
        new_kb(Recipe(index=half))
    with pytest.raises(RecipeError, match=message):
        new_kb().build(Recipe(index=half))


@pytest.mark.parametrize(
    "chunk",
    [
        StructureChunker(),
        StructureChunker(max_tokens=64),
        StructureChunker(max_tokens=254, target_tokens=254),
        RecursiveChunker(size=9_000),
        ParentChunker(parent_tokens=900),
    ],
)
def test_what_fits_or_was_chosen_by_nobody_is_not_refused(embedder: Embedder, chunk: ChunkerPart) -> None:
    require_read(IndexHalf(chunk=chunk), embedder)


def test_importing_the_package_loads_no_library() -> None:
    code = "import openbook.chunk, sys; print({'numpy', 'markdown_it', 'tokenizers', 'openvino'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
