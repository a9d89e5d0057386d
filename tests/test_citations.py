"""Every citation is checkable: its quote is its span's exact text, and its page is the page it stands on."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from openbook.knowledge_base import KnowledgeBase
from openbook.load import load
from openbook.types import Document, heading_path

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def handbook(database: object) -> KnowledgeBase:
    kb = KnowledgeBase(database, "handbook-for-citations")  # type: ignore[arg-type]
    assert kb.add(ROOT / "examples" / "handbook").skipped == ()
    return kb


QUESTIONS = [json.loads(line) for line in (ROOT / "examples" / "questions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q["id"])
def test_every_citation_of_the_example_questions(handbook: KnowledgeBase, question: dict) -> None:
    answer = handbook.ask(question["question"])
    assert answer.abstained == (not answer.citations) == (not answer.text)
    for citation in answer.citations:
        document = handbook.show(citation.source, version=citation.version)
        assert document.text[citation.start : citation.end] == citation.quote
        assert citation.page == document.page_at(citation.start)
        assert citation.headings == heading_path(document.headings, citation.start)
        assert citation.quote in answer.text


def test_most_example_questions_are_answered_and_most_without_an_answer_are_refused(handbook: KnowledgeBase) -> None:
    """Pinned, so that a change that costs answers is seen."""
    right = refused = 0
    for question in QUESTIONS:
        answer = handbook.ask(question["question"])
        said = squeezed(answer.text)
        if question["answerable"]:
            right += any(squeezed(accepted) in said for accepted in question["answers"])
        else:
            refused += answer.abstained
    print(f"{right} of 30 answered with an accepted answer, {refused} of 10 refused")
    assert right >= RIGHT
    assert refused >= REFUSED


RIGHT, REFUSED = 11, 9  # measured 12 of 30 and 10 of 10


def squeezed(text: str) -> str:
    return re.sub(r"\W+", "", unicodedata.normalize("NFKC", text)).casefold()


@pytest.mark.parametrize("folder", ["sec10q-kgrag/pdfs", "cuad-contracts-a/contracts_pdf"])
def test_in_real_pdfs_a_quote_stands_on_its_page(data: Path, kb: KnowledgeBase, folder: str) -> None:
    """Each chunk's opening and closing words, cited, are looked for on the page as pdfium itself reads it."""
    import pypdfium2

    from openbook.chunk import open_chunker
    from openbook.recipe import StructureChunker
    from openbook.sentences import sentences

    chunker = open_chunker(StructureChunker(), kb.embedder)
    files = sorted((data / folder).glob("*.pdf"))
    documents = [document for file in files for document in load(file)]
    assert len(documents) == len(files) == 14
    assert all(isinstance(document, Document) for document in documents)
    quotes = wrong = 0
    for file, document in zip(files, documents, strict=True):
        assert isinstance(document, Document)
        pdf = pypdfium2.PdfDocument(file)
        pages = [words(page.get_textpage().get_text_range()) for page in pdf]
        assert len(document.pages) == len(pages)
        for chunk in chunker.chunk(document):
            for start, end in sentences(chunk.text)[:: max(1, len(sentences(chunk.text)) - 1)]:
                page = document.page_at(chunk.start + start)
                assert page is not None
                quote = chunk.text[start:end]
                said, first = words(quote), re.findall(r"\w{2,}", plain(quote))[:1]
                on = pages[page - 1] | (pages[page] if page < len(pages) else frozenset())
                quotes += 1
                # A quote may run on to the next page, but it begins on its own.
                wrong += len(said - on) > 0.1 * len(said) or not pages[page - 1].issuperset(first)
        pdf.close()
    print(f"{folder}: {quotes} quotes, {wrong} not on their page")
    assert quotes > 500
    assert wrong <= 0.001 * quotes


def plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text.replace("\ufffe", ""))


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w{2,}", plain(text)))
