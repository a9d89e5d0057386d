"""Where the structure chunker cuts, on small invented pages."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from openbook.chunk import embedded_text, open_chunker
from openbook.embed import Embedder
from openbook.recipe import StructureChunker
from openbook.types import Chunk, Document, Heading

SENTENCE = "The harbour office keeps a record of every vessel that enters after dusk."


def page(text: str, title: str = "") -> Document:
    headings = tuple(
        Heading(m.start(), m.end(), len(m[1]), m[2]) for m in re.finditer(r"^(#{1,6}) (.+)$", text, re.MULTILINE)
    )
    return Document("page.md", text, title, headings=headings)


def cut(embedder: Embedder, document: Document, max_tokens: int = 100, overlap: int = 0) -> list[Chunk]:
    return list(open_chunker(StructureChunker(max_tokens=max_tokens, overlap=overlap), embedder).chunk(document))


def lines(chunks: list[Chunk]) -> list[str]:
    return [line for chunk in chunks for line in chunk.text.split("\n")]


def test_a_chunk_ends_where_its_section_ends(embedder: Embedder) -> None:
    text = "".join(f"## Pier {n}\n\n{' '.join([SENTENCE] * 5)}\n\n" for n in range(4))
    chunks = cut(embedder, page(text, "Piers"))
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [f"## Pier {n}" for n in range(4)]
    assert [chunk.headings for chunk in chunks] == [(f"Pier {n}",) for n in range(4)]


def test_tiny_sections_go_together_under_their_common_path(embedder: Embedder) -> None:
    terms = "".join(f"### Word {n}\n\nIts meaning.\n\n" for n in range(6))
    text = f"# Glossary\n\n## Terms\n\n{terms}## Long\n\n{' '.join([SENTENCE] * 12)}"
    chunks = cut(embedder, page(text))
    assert chunks[0].text.startswith("# Glossary\n\n## Terms\n\n### Word 0")
    assert len([chunk for chunk in chunks if "meaning" in chunk.text]) < 6
    assert all(chunk.headings == ("Glossary", "Long") for chunk in chunks if SENTENCE in chunk.text)


def test_a_heading_stays_with_what_follows_it(embedder: Embedder) -> None:
    text = f"# Port\n\n## Rules\n\n### Night\n\n{' '.join([SENTENCE] * 30)}\n\n### Day\n\n{' '.join([SENTENCE] * 30)}"
    chunks = cut(embedder, page(text))
    for chunk in chunks:
        assert not chunk.text.split("\n")[-1].startswith("#")
    assert chunks[0].text.startswith("# Port\n\n## Rules\n\n### Night\n\nThe harbour")


def test_an_empty_section_is_not_lost(embedder: Embedder) -> None:
    text = f"# Port\n\n{' '.join([SENTENCE] * 30)}\n\n# Reserved\n\n# Night\n\n{' '.join([SENTENCE] * 30)}"
    assert any("# Reserved" in chunk.text for chunk in cut(embedder, page(text)))


def test_table_rows_stay_whole(embedder: Embedder) -> None:
    rows = [f"| vessel {n} | berth {n % 7} | {n * 12} tonnes of grain |" for n in range(60)]
    text = "\n".join(["Before.", "", "| vessel | berth | load |", "|---|---|---|", *rows, "", "After."])
    chunks = cut(embedder, page(text))
    assert len(chunks) > 3
    assert [line for line in lines(chunks) if line] == [line for line in text.split("\n") if line]
    assert "|---|---|---|\n| vessel 0 |" in next(chunk.text for chunk in chunks if "|---" in chunk.text)


def test_list_items_stay_whole_and_their_introduction_with_them(embedder: Embedder) -> None:
    items = [f"{n}. Step {n} of the drill. {SENTENCE}\n   It takes {n} minutes." for n in range(1, 20)]
    text = f"{' '.join([SENTENCE] * 4)}\n\nDo this in order:\n\n" + "\n".join(items)
    chunks = cut(embedder, page(text))
    for item in items:
        assert any(item in chunk.text for chunk in chunks)
    assert any("Do this in order:\n\n1. Step 1" in chunk.text for chunk in chunks)


def test_an_item_too_long_is_cut_inside_itself_only(embedder: Embedder) -> None:
    text = f"- first\n- {' '.join([SENTENCE] * 20)}\n- last\n"
    chunks = cut(embedder, page(text))
    assert all(chunk.text.endswith((".", "last")) for chunk in chunks)


def test_code_that_fits_stays_whole(embedder: Embedder) -> None:
    code = "```sh\nopenbook add handbook/\n\n# not a heading\nopenbook ask 'how deep?'\n```"
    text = f"{' '.join([SENTENCE] * 8)}\n\n{code}\n\n{' '.join([SENTENCE] * 8)}"
    document = Document("page.md", text)
    assert any(code in chunk.text for chunk in cut(embedder, document))


def test_code_too_long_is_cut_at_lines(embedder: Embedder) -> None:
    text = "```\n" + "\n".join(f"    berth[{n}] = lookup(table, key={n}); // . ! ?" for n in range(60)) + "\n```"
    assert [line.strip() for line in lines(cut(embedder, page(text)))] == [line.strip() for line in text.split("\n")]


def test_code_is_not_cut_between_a_line_and_what_is_indented_below_it(embedder: Embedder) -> None:
    """The answer to "what does --berth-7 do" was in two halves, neither of which was found."""
    text = (
        "```\n" + "\n".join(f"--berth-{n} '{n}'\n  How many ships may wait at berth {n}." for n in range(40)) + "\n```"
    )
    for chunk in cut(embedder, page(text)):
        assert "berth" not in chunk.text or chunk.text.rstrip("`\n").endswith(".")


def test_paragraphs_that_fit_are_not_cut(embedder: Embedder) -> None:
    paragraphs = [f"Number {n}. " + " ".join([SENTENCE] * (1 + n % 4)) for n in range(20)]
    chunks = cut(embedder, page("\n\n".join(paragraphs)))
    assert [part for chunk in chunks for part in chunk.text.split("\n\n")] == paragraphs


@pytest.mark.parametrize("count", range(8, 40, 3))
def test_no_tiny_last_piece(embedder: Embedder, count: int) -> None:
    """Greedy packing leaves whatever is left over: one sentence alone."""
    chunks = cut(embedder, page(" ".join([SENTENCE] * count)))
    sizes = [chunk.text.count(".") for chunk in chunks]
    assert max(sizes) - min(sizes) <= 2
    assert all(chunk.text.endswith(".") for chunk in chunks)


def test_overlap_repeats_whole_sentences_of_a_block_that_was_cut(embedder: Embedder) -> None:
    numbered = [f"Rule {n} of the harbour is short." for n in range(60)]
    text = "\n\n".join([" ".join(numbered), "One paragraph that fits.", " ".join(numbered)])
    plain, lapped = cut(embedder, page(text)), cut(embedder, page(text), overlap=20)
    assert all(a.end <= b.start for a, b in pairwise(plain))
    shared = [text[b.start : a.end] for a, b in pairwise(lapped) if b.start < a.end]
    assert len(shared) > 5
    assert all(re.fullmatch(r"Rule \d+ .*short\.", part) for part in shared)
    assert all(len(found) <= 20 for found in embedder.tokens(shared))


def test_plain_text_is_not_taken_for_markdown_that_it_is_not(embedder: Embedder) -> None:
    odd = [
        "#include <deep.h>",
        "    four blanks ahead",
        "1.",
        "* * *",
        ">",
        "| lonely",
        "~~~",
        "[x]: not/a/link",
        "<p>",
    ]
    text = "\n".join(f"{line}\n{SENTENCE}" for line in odd * 8)
    assert [line.strip() for line in lines(cut(embedder, Document("notes.txt", text)))] == [
        line.strip() for line in text.split("\n")
    ]


@pytest.mark.parametrize(
    ("sentence", "stop"),
    [
        ("船舶は日没後に港へ入るとき届け出る。", "。"),
        ("على كل سفينة أن تسجل عند الدخول. ", "."),
        ("जहाज़ रात में आता है। ", "।"),
    ],
)
def test_scripts_without_our_stops_or_blanks_are_cut_at_sentences(embedder: Embedder, sentence: str, stop: str) -> None:
    chunks = cut(embedder, page(sentence * 60))
    assert len(chunks) > 1
    assert all(chunk.text.endswith(stop) for chunk in chunks)


def test_signs_that_a_reader_sees_as_one_are_not_torn(embedder: Embedder) -> None:
    family, accented, flag = "👩\u200d👩\u200d👧\u200d👦", "e\u0301\u0323", "🇩🇪"
    for sign in (family, accented, flag):
        for chunk in cut(embedder, page(sign * 3_000)):
            assert chunk.text.replace(sign, "") == ""


def test_pages_are_those_of_the_first_character(embedder: Embedder) -> None:
    pages = [f"Page {n}. " + " ".join([SENTENCE] * 7) for n in (1, 2, 3)]
    text = "\n\n".join(pages)
    starts = tuple(text.index(part) for part in pages)
    chunks = cut(embedder, Document("scan.pdf", text, pages=starts))
    assert {chunk.page for chunk in chunks} == {1, 2, 3}
    assert all(chunk.page == text[: chunk.start + 7].count("Page ") for chunk in chunks)


# --- what is embedded -------------------------------------------------------------------------------------------------


def embedded(title: str, headings: tuple[str, ...], text: str, max_tokens: int = 254) -> str:
    return embedded_text(title, Chunk(0, len(text), text, headings), max_tokens)


def test_title_and_path_stand_above_the_text() -> None:
    assert embedded("Leave", ("Germany", "Parents"), "Three years.") == "Leave / Germany / Parents\nThree years."
    assert embedded("", (), "Three years.") == "Three years."


def test_nothing_is_said_twice() -> None:
    assert embedded("Leave", ("Leave", "Parents"), "Three years.") == "Leave / Parents\nThree years."
    assert embedded("Leave", ("Leave",), "# Leave\n\nThree years.") == "# Leave\n\nThree years."
    assert embedded("Leave", ("Leave", "Parents"), "## Parents\n\nThree.") == "Leave\n## Parents\n\nThree."
    assert embedded("Leave", (), "Leave is granted.") == "Leave is granted."
    assert embedded("Leave", (), "Leaves fall.") == "Leave\nLeaves fall."


def test_a_long_path_never_crowds_out_the_text(embedder: Embedder) -> None:
    path = tuple(f"Chapter {n} about something that takes many words to say" for n in range(12))
    text = embedded("The harbour handbook", path, "Three years.")
    assert text.startswith("The harbour handbook / ")
    assert text.endswith("Chapter 11 about something that takes many words to say\nThree years.")
    for title in ("word " * 500, "x" * 5_000, "休" * 500, "한" * 500, "👩\u200d👧" * 200, "a1b2" * 200):
        [tokens] = embedder.tokens([embedded(title, path, "Three years.")])
        assert len(tokens) <= 254 * 3 / 4 + 3


def test_a_document_that_fits_is_whole_and_one_that_does_not_is_cut_small(embedder: Embedder) -> None:
    """Two hundred tokens fit; of four hundred a chunk holds no more than the target, and wastes little of it."""
    chunker = open_chunker(StructureChunker(target_tokens=60), embedder)
    assert len(list(chunker.chunk(page(" ".join([SENTENCE] * 13))))) == 1
    chunks = list(chunker.chunk(page(" ".join([SENTENCE] * 26), "Piers")))
    sizes = [len(tokens) for tokens in embedder.tokens([chunk.text for chunk in chunks])]
    assert max(sizes) <= 60
    assert min(sizes) >= 30


def test_a_target_beyond_what_the_model_reads_changes_nothing(embedder: Embedder) -> None:
    text = " ".join([SENTENCE] * 40)
    most = list(open_chunker(StructureChunker(target_tokens=99_999), embedder).chunk(page(text)))
    assert most == list(open_chunker(StructureChunker(target_tokens=256), embedder).chunk(page(text)))
