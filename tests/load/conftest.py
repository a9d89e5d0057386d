"""Real files of every format, made with the programs' own libraries, all telling the same little story."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from openbook.load import load
from openbook.types import Document, Skipped

SENTENCE = "Every employee gets ten paid sick days a year, and unused days are not carried over."
TABLE = [["Region", "Days"], ["North", "10"], ["South", "12"]]


@pytest.fixture
def one() -> Callable[..., Document]:
    """Load a path that must give exactly one document and nothing skipped."""

    def load_one(path: Path, **options: object) -> Document:
        [document] = load(path, **options)  # type: ignore[arg-type]
        assert isinstance(document, Document), document
        return document

    return load_one


@pytest.fixture
def refused() -> Callable[..., Skipped]:
    """Load a path that must give exactly one ``Skipped``, on one line."""

    def load_refused(path: Path, **options: object) -> Skipped:
        [skipped] = load(path, **options)  # type: ignore[arg-type]
        assert isinstance(skipped, Skipped), skipped
        assert "\n" not in skipped.reason + skipped.source
        return skipped

    return load_refused


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The shared evaluation data (``OPENBOOK_DATA``, by default ``../shared/data`` beside the repository)."""
    folder = Path(os.environ.get("OPENBOOK_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no evaluation data at {folder}: set OPENBOOK_DATA")
    return folder


def _text(path: Path) -> None:
    path.write_text(f"Handbook\n\n{SENTENCE}\n", encoding="utf-8")


def _markdown(path: Path) -> None:
    path.write_text(f"# Handbook\n\n{SENTENCE}\n\nSick *leave*\n----------\n\n- one\n- two\n", encoding="utf-8")


def _rst(path: Path) -> None:
    path.write_text(
        f"Handbook\n========\n\n{SENTENCE}\n\nSick *leave*\n------------\n\n- one\n- two\n", encoding="utf-8"
    )


def _html(path: Path) -> None:
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in TABLE)
    path.write_text(
        f"<html><head><title>The site</title></head><body><h1>Handbook</h1><p>{SENTENCE}</p>"
        f"<h2>Sick <em>leave</em></h2><table>{rows}</table></body></html>",
        encoding="utf-8",
    )


def _pdf(path: Path) -> None:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

    styles = getSampleStyleSheet()
    SimpleDocTemplate(str(path)).build(
        [
            Paragraph("Handbook", styles["Heading1"]),
            Paragraph(SENTENCE, styles["BodyText"]),
            PageBreak(),
            Paragraph("Sick leave", styles["Heading2"]),
            Paragraph(f"{SENTENCE} " * 6, styles["BodyText"]),
        ]
    )


def _docx(path: Path) -> None:
    from docx import Document as Word

    word = Word()
    word.add_heading("Handbook", 1)
    word.add_paragraph(SENTENCE)
    word.add_heading("Sick leave", 2)
    table = word.add_table(rows=0, cols=2)
    for row in TABLE:
        cells = table.add_row().cells
        cells[0].text, cells[1].text = row
    word.save(str(path))


def _pptx(path: Path) -> None:
    from pptx import Presentation

    slides = Presentation()
    for title, body in (("Handbook", SENTENCE), ("Sick leave", "one\ntwo")):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slides.slides[0].notes_slide.notes_text_frame.text = "Say hello first."
    slides.save(str(path))


def _xlsx(path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Sick leave"
    sheet.append([SENTENCE])
    for row in TABLE:
        sheet.append(row)
    book.save(path)


def _csv(path: Path) -> None:
    path.write_text(f"Region,Days,Remark\nNorth,10,{SENTENCE.replace(',', '')}\n", encoding="utf-8")


def _tsv(path: Path) -> None:
    path.write_text(f"Region\tDays\tRemark\nNorth\t10\t{SENTENCE}\n", encoding="utf-8")


def _json(path: Path) -> None:
    path.write_text(json.dumps({"title": "Handbook", "rules": [{"sick": SENTENCE}]}), encoding="utf-8")


def _jsonl(path: Path) -> None:
    row = {"_id": "handbook-1", "title": "Handbook", "text": f"# Sick leave\n\n{SENTENCE}", "metadata": {"year": 2024}}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")


MAKERS: dict[str, Callable[[Path], None]] = {
    "txt": _text, "md": _markdown, "markdown": _markdown, "rst": _rst, "html": _html, "htm": _html, "pdf": _pdf,
    "docx": _docx, "pptx": _pptx, "xlsx": _xlsx, "csv": _csv, "tsv": _tsv, "json": _json, "jsonl": _jsonl,
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", MAKERS)


@pytest.fixture
def sample(kind: str, tmp_path: Path) -> Path:
    """A good file of that kind."""
    path = tmp_path / f"sick_leave-policy.{kind}"
    MAKERS[kind](path)
    return path


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    """Make a good file of a kind in ``tmp_path``."""

    def make_one(name: str) -> Path:
        path = tmp_path / name
        MAKERS[path.suffix[1:]](path)
        return path

    return make_one
