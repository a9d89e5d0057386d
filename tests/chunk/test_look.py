"""What is told of a chunk is what a person would see who reads it."""

from __future__ import annotations

import pytest
from hypothesis import given

from openbook.chunk import open_chunker
from openbook.chunk.look import Flag, look
from openbook.embed import Embedder
from openbook.recipe import RecursiveChunker
from openbook.types import Chunk, Document

from .shapes import documents
from .test_every_chunker import any_document

ROW = "| a row of the table | with two cells |\n"
CODE = "```sh\nopenbook add folder --access people\nopenbook ask question --json\n```\n"
PROSE = "The lease of the office ends in May of the coming year. " * 3


def flags(text: str, embedder: Embedder, *cuts: int) -> list[tuple[Flag, ...]]:
    """Of the chunks that end at these offsets, blanks left out."""
    chunks = []
    for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True):
        bare = text[start:end].strip()
        at = start + text[start:end].index(bare)
        chunks.append(Chunk(at, at + len(bare), bare))
    return [looked.flags for looked in look(Document("s", text), chunks, embedder, embedder.max_tokens)]


def test_whole_blocks_are_not_flagged(embedder: Embedder) -> None:
    table = "| a | b |\n|---|---|\n" + ROW * 3
    text = f"{PROSE}\n\n{table}\n{CODE}\n{PROSE}"
    cuts = (len(PROSE) + 2, len(PROSE) + 2 + len(table) + 1, len(text) - len(PROSE))
    assert flags(text, embedder, *cuts) == [(), (), (), ()]


@pytest.mark.parametrize(
    ("text", "at", "flag"),
    [
        ("| a | b |\n|---|---|\n" + ROW * 6, 20 + 3 * len(ROW), "mid-table"),
        (PROSE + "\n\n" + "```\n" + "run --now the --same command again\n" * 9 + "```", len(PROSE) + 41, "mid-code"),
        (PROSE, 80, "mid-sentence"),
    ],
)
def test_a_cut_through_something_is_told_of_the_chunk_that_begins_there(
    embedder: Embedder, text: str, at: int, flag: Flag
) -> None:
    first, second = flags(text, embedder, at)
    assert first == ()
    assert flag in second


def test_an_end_that_the_next_chunk_repeats_is_told_of_the_chunk_that_ends_there(embedder: Embedder) -> None:
    text = PROSE
    chunks = [Chunk(0, 80, text[:80]), Chunk(56, len(text.strip()), text[56:].strip())]
    assert [each.flags for each in look(Document("s", text), chunks, embedder, 256)] == [("mid-sentence",), ()]


def test_a_remainder_is_too_small_and_a_short_document_is_not(embedder: Embedder) -> None:
    assert flags("Two words.", embedder) == [()]
    assert flags(PROSE + "\n\n## A heading", embedder, len(PROSE)) == [(), ("too small",)]


def test_what_the_model_does_not_read_is_too_large(embedder: Embedder) -> None:
    text = "The lease of the office ends in May. " * 60
    [(flag,)] = flags(text, embedder)
    assert flag == "too large"


@given(document=documents())
@any_document
def test_any_document_can_be_looked_at(embedder: Embedder, document: Document) -> None:
    chunker = open_chunker(RecursiveChunker(size=200, overlap=60), embedder)
    chunks = list(chunker.chunk(document))
    looked = look(document, chunks, embedder, chunker.max_tokens)
    assert [each.chunk for each in looked] == chunks
    assert all("too large" not in each.flags or len(each.chunk.text) == 1 for each in looked)
