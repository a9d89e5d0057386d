"""Word, PowerPoint and Excel."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest

from openbook.load import load, office
from openbook.types import Document, Skipped

One = Callable[..., Document]


def repack(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Write the package again with each part as ``change(name, content)`` gives it; ``None`` leaves it out."""
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            changed = change(name, content)
            if changed is not None:
                package.writestr(name, changed)


class TestWord:
    def test_structure(self, tmp_path: Path, one: One) -> None:
        from docx import Document as Word

        word = Word()
        word.core_properties.title = "The property"
        word.core_properties.author = "Ann"
        word.add_heading("Sick  leave", 2)
        paragraph = word.add_paragraph("A ")
        paragraph.add_run("bold").bold = True
        paragraph.add_run(" word.\nNext line.")
        for text in ("one", "two"):
            word.add_paragraph(text, style="List Bullet")
        word.add_paragraph("first", style="List Number")
        table = word.add_table(rows=2, cols=2)
        for cell, text in zip((c for row in table.rows for c in row.cells), ("k|1", "v", "x", "y"), strict=True):
            cell.text = text
        word.save(str(tmp_path / "a.docx"))
        document = one(tmp_path)
        assert document.text == (
            "## Sick leave\n\nA bold word.\nNext line.\n\n- one\n- two\n\n1. first\n\n"
            "| k\\|1 | v |\n| --- | --- |\n| x | y |"
        )
        assert (document.title, document.metadata["author"]) == ("The property", "Ann")

    def test_its_title_style_is_a_heading(self, tmp_path: Path, one: One) -> None:
        from docx import Document as Word

        word = Word()
        word.add_heading("The title", 0)
        word.add_paragraph("words")
        word.save(str(tmp_path / "a.docx"))
        assert one(tmp_path).headings[0].title == one(tmp_path).title == "The title"


class TestPowerPoint:
    def test_slides_are_pages_with_headings_tables_charts_and_notes(self, tmp_path: Path, one: One) -> None:
        from pptx import Presentation
        from pptx.chart.data import CategoryChartData
        from pptx.enum.chart import XL_CHART_TYPE
        from pptx.util import Inches

        slides = Presentation()
        first = slides.slides.add_slide(slides.slide_layouts[5])
        first.shapes.title.text = "Days"
        table = first.shapes.add_table(2, 2, Inches(1), Inches(5), Inches(4), Inches(1)).table
        for row, cells in enumerate((("Who", "Days"), ("All", "10"))):
            for column, text in enumerate(cells):
                table.cell(row, column).text = text
        low = first.shapes.add_textbox(Inches(1), Inches(3), Inches(4), Inches(1))
        low.text_frame.text = "below"
        high = first.shapes.add_textbox(Inches(1), Inches(2), Inches(4), Inches(1))
        high.text_frame.text = "# above"
        first.notes_slide.notes_text_frame.text = "Say\nhello."
        second = slides.slides.add_slide(slides.slide_layouts[6])
        data = CategoryChartData()
        data.categories = ["Q1", "Q2"]
        data.add_series("Sales", (1.5, 2))
        second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(1), Inches(4), Inches(3), data)
        group = second.shapes.add_group_shape()
        group.shapes.add_textbox(Inches(1), Inches(6), Inches(4), Inches(1)).text_frame.text = "grouped"
        slides.save(str(tmp_path / "a.pptx"))
        document = one(tmp_path)
        assert document.text == (
            "# Days\n\n\\# above\n\nbelow\n\n| Who | Days |\n| --- | --- |\n| All | 10 |\n\nNotes: Say\n\nhello.\n\n"
            "# Slide 2\n\n|  | Sales |\n| --- | --- |\n| Q1 | 1.5 |\n| Q2 | 2 |\n\ngrouped"
        )
        assert document.pages == (0, document.text.index("# Slide 2"))


class TestExcel:
    def test_sheets_are_headings_and_tables(self, tmp_path: Path, one: One) -> None:
        from openpyxl import Workbook

        book = Workbook()
        sheet = book.active
        assert sheet is not None
        sheet.title = "Days & more"
        sheet["B2"] = "All regions, 2024"
        for row, cells in enumerate(
            (("Region", None, "Days", "Since", "Share", "Sum"),
             ("North", None, 10.0, date(2024, 5, 1), 0.125, 0.1 + 0.2),
             (None,) * 6, ("South|East", None, 12, datetime(2024, 5, 1, 9, 30), True, "a\nb")), 4,
        ):  # fmt: skip
            for column, value in enumerate(cells, 2):
                sheet.cell(row, column, value)
        sheet["F5"].number_format = "0.0%"
        book.create_sheet("Blank")
        book.create_sheet("Second").append(["only"])
        book.create_sheet("Hidden away").sheet_state = "veryHidden"
        book["Hidden away"].append(["secret"])
        book.save(tmp_path / "a.xlsx")
        document = one(tmp_path)
        assert document.text == (
            "## Days & more\n\nAll regions, 2024\n\n"
            "| Region | Days | Since | Share | Sum |\n| --- | --- | --- | --- | --- |\n"
            "| North | 10 | 2024-05-01 | 12.5% | 0.3 |\n| South\\|East | 12 | 2024-05-01 09:30:00 | TRUE | a b |\n\n"
            "## Second\n\n| only |\n| --- |"
        )
        assert [heading.title for heading in document.headings] == ["Days & more", "Second"]

    def test_a_workbook_without_cells_is_empty(self, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        from openpyxl import Workbook

        Workbook().save(tmp_path / "a.xlsx")
        assert refused(tmp_path).reason.startswith("empty; ")


@pytest.mark.parametrize("kind_of_package", ["docx", "pptx", "xlsx"])
class TestWhatIsRefused:
    def test_a_password(self, kind_of_package: str, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        (tmp_path / f"a.{kind_of_package}").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
        assert refused(tmp_path).reason == (
            "encrypted, or in the format of Office 97; save a copy without a password in today's format"
        )

    def test_a_zip_bomb(
        self,
        kind_of_package: str,
        make: Callable[[str], Path],
        refused: Callable[..., Skipped],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = make(f"a.{kind_of_package}")
        monkeypatch.setattr(office, "_MOST_UNPACKED", 30 << 20)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as package:
            package.writestr("word/media/image.bin", bytes(32 << 20))
        assert path.stat().st_size < 1 << 20
        assert "over the limit of 30 MiB; split it, or do not trust it" in refused(path).reason

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_declared_entities(
        self, kind_of_package: str, encoding: str, make: Callable[[str], Path], refused: Callable[..., Skipped]
    ) -> None:
        path = make(f"a.{kind_of_package}")
        bomb = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'.encode(
            encoding
        )
        main = {"docx": "word/document.xml", "pptx": "ppt/presentation.xml", "xlsx": "xl/workbook.xml"}[kind_of_package]
        repack(path, lambda name, content: bomb if name == main else content)
        assert refused(path).reason.startswith(f"{main} declares XML entities")

    def test_a_part_that_is_missing(
        self, kind_of_package: str, make: Callable[[str], Path], refused: Callable[..., Skipped]
    ) -> None:
        path = make(f"a.{kind_of_package}")
        main = {"docx": "word/document.xml", "pptx": "ppt/presentation.xml", "xlsx": "xl/workbook.xml"}[kind_of_package]
        repack(path, lambda name, content: None if name == main else content)
        assert f"cannot be read as {kind_of_package} (" in refused(path).reason

    def test_flipped_bytes(self, kind_of_package: str, make: Callable[[str], Path]) -> None:
        path = make(f"a.{kind_of_package}")
        whole = path.read_bytes()
        for at in range(100, len(whole), len(whole) // 12):
            path.write_bytes(whole[:at] + bytes(b ^ 0x5A for b in whole[at : at + 40]) + whole[at + 40 :])
            for item in load(path):
                assert isinstance(item, Document) or "\n" not in item.reason
