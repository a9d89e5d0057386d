"""Recursive character splitting follows the semantics that its users know."""

from __future__ import annotations

import pytest

from openbook.chunk import open_chunker
from openbook.embed import Embedder
from openbook.recipe import RecursiveChunker
from openbook.types import Document, Heading


def texts(embedder: Embedder, text: str, size: int, overlap: int) -> list[str]:
    chunker = open_chunker(RecursiveChunker(size=size, overlap=overlap), embedder)
    return [chunk.text for chunk in chunker.chunk(Document("s", text))]


@pytest.mark.parametrize(
    ("text", "size", "overlap", "expected"),
    [
        (
            "Go.\n\nThe ship is late.\n\nWho? You? Me?\nThen p q r s.\n"
            "Here is an odd line to read, with a counterclockwise word in it.\n\nEnd!\n\n-Z.",
            10,
            1,
            "Go.|The ship|is late.|Who? You?|Me?|Then p q|r s.|Here is|an odd|line to|read,|with a|countercl|lockwise|"
            "word in|it.|End!|-Z.",
        ),
        ("foo bar baz 123", 8, 4, "foo bar|bar baz|baz 123"),
        ("a b c", 100, 0, "a b c"),
        ("abcdefghij", 4, 2, "abcd|cdef|efgh|ghij"),
    ],
)
def test_pieces(embedder: Embedder, text: str, size: int, overlap: int, expected: str) -> None:
    assert texts(embedder, text, size, overlap) == expected.split("|")


def test_dense_text_is_cut_further_so_that_all_of_it_is_embedded(embedder: Embedder) -> None:
    text = "ab.cd;ef,gh/" * 200
    sizes = [len(part) for part in texts(embedder, text, 1000, 0)]
    assert sum(sizes) == len(text)
    assert max(sizes) < 400


def test_headings_come_from_the_document(embedder: Embedder) -> None:
    text = "# Ports\n\n" + "Deep water. " * 50 + "\n\n## Night\n\n" + "Dark water. " * 50
    headings = (Heading(0, 7, 1, "Ports"), Heading(text.index("## "), text.index("## ") + 8, 2, "Night"))
    chunker = open_chunker(RecursiveChunker(size=300, overlap=50), embedder)
    chunks = list(chunker.chunk(Document("s", text, headings=headings)))
    assert chunks[0].headings == ("Ports",)
    assert chunks[-1].headings == ("Ports", "Night")
