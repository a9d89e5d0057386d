"""PDF: words, reading order, tables, paragraphs and headings, each drawn for the purpose."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from reportlab.lib.pagesizes import A4, landscape
from reportlab.pdfgen.canvas import Canvas

from openbook.load import load
from openbook.types import Document, Skipped

One = Callable[..., Document]
WIDTH, HEIGHT = A4

# Two texts whose lines tell where they stand: (a) on the left, (b) on the right.
LEFT = [f"left column line {i} runs on with a few more words" for i in range(12)]
RIGHT = [f"right column line {i} has other things to say here" for i in range(12)]


def draw(path: Path, *pages: Callable[[Canvas], None], **options: object) -> Path:
    canvas = Canvas(str(path), pagesize=A4, **options)
    for page in pages:
        canvas.setFont("Helvetica", 10)
        page(canvas)
        canvas.showPage()
    canvas.save()
    return path


def lines(canvas: Canvas, texts: Sequence[str], x: float, y: float, step: float = 12) -> None:
    for i, text in enumerate(texts):
        canvas.drawString(x, y - i * step, text)


def in_order(text: str, *words: str) -> bool:
    places = [text.find(word) for word in words]
    return -1 not in places and places == sorted(places)


class TestParagraphs:
    def test_hard_line_ends_are_joined_and_paragraphs_kept_apart(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            lines(
                c,
                ["The first sentence of this paragraph is long and goes", "on to a second line. Then it ends."],
                72,
                700,
            )
            lines(c, ["Another paragraph begins here and has also more than", "one line of words."], 72, 660)

        assert one(draw(tmp_path / "a.pdf", page)).text == (
            "The first sentence of this paragraph is long and goes on to a second line. Then it ends.\n\n"
            "Another paragraph begins here and has also more than one line of words."
        )

    def test_indented_paragraphs_without_space_between(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            c.drawString(90, 700, "First paragraph starts with an indent and fills lines")
            lines(c, ["until it has reached its very end, which is here now ok."], 72, 688)
            c.drawString(90, 676, "Second paragraph starts with an indent as well, and so")
            lines(c, ["it is told from the first."], 72, 664)

        assert one(draw(tmp_path / "a.pdf", page)).text.count("\n\n") == 1

    def test_hyphens_at_line_ends_are_mended_and_compounds_kept(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            lines(
                c,
                ["The committee will decide about the compen-", "sation of every employee, as the long-",
                 "term plan and the long-term goals of the com-", "mittee demand it."],
                72, 700,
            )  # fmt: skip

        assert one(draw(tmp_path / "a.pdf", page)).text == (
            "The committee will decide about the compensation of every employee, as the long-term plan and the"
            " long-term goals of the committee demand it."
        )

    def test_list_items_stay_apart(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            lines(c, ["Each of these is an item:"], 72, 712)
            lines(c, ["• one item that goes on for a whole line and then some", "   more of it", "• two"], 72, 700)
            lines(c, ["(a)", "(b)"], 72, 664)
            lines(c, ["first clause of the agreement;", "second clause of the agreement."], 110, 664)

        text = one(draw(tmp_path / "a.pdf", page)).text.split("\n\n")
        assert text == [
            "Each of these is an item:",
            "• one item that goes on for a whole line and then some more of it",
            "• two",
            "(a) first clause of the agreement;",
            "(b) second clause of the agreement.",
        ]

    def test_running_titles_are_no_part_of_a_paragraph(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            c.drawString(72, 800, "Company handbook")
            lines(c, [f"line {i} of a text that fills the page from side to side" for i in range(50)], 72, 770)
            c.drawString(290, 40, str(c.getPageNumber()))

        document = one(draw(tmp_path / "a.pdf", page, page, page))
        blocks = document.text.split("\n\n")
        assert [len(block) < 20 for block in blocks] == [True, False, True] * 3
        assert blocks[0] == "Company handbook"
        assert blocks[2] == "1"
        assert document.headings == ()


class TestColumns:
    @pytest.mark.parametrize("drawn", ["column by column", "line by line", "right first"])
    def test_two_columns_are_read_one_after_the_other(self, tmp_path: Path, one: One, drawn: str) -> None:
        def page(c: Canvas) -> None:
            c.drawString(
                72, 760, "A title that runs over the whole width of the page, from the left margin to the right"
            )
            if drawn == "line by line":
                for i, (a, b) in enumerate(zip(LEFT, RIGHT, strict=True)):
                    lines(c, [a], 60, 720 - 12 * i)
                    lines(c, [b], 310, 720 - 12 * i)
            else:
                parts = [(LEFT, 60.0), (RIGHT, 310.0)]
                for texts, x in parts[::-1] if drawn == "right first" else parts:
                    lines(c, texts, x, 720)
            c.drawString(290, 40, "17")

        text = one(draw(tmp_path / "a.pdf", page)).text
        assert in_order(text, "A title", *LEFT, *RIGHT, "17")
        assert " ".join(LEFT) in text.replace("\n\n", " ")

    def test_three_columns(self, tmp_path: Path, one: One) -> None:
        columns = [[f"{name} {i} some more words" for i in range(15)] for name in ("one", "two", "three")]

        def page(c: Canvas) -> None:
            for i in range(15):
                for texts, x in zip(columns, (50, 220, 390), strict=True):
                    c.drawString(x, 700 - 12 * i, texts[i])

        assert in_order(one(draw(tmp_path / "a.pdf", page)).text, *columns[0], *columns[1], *columns[2])

    def test_justified_columns_are_no_tables(self, tmp_path: Path, one: One) -> None:
        """Words of a stretched line, an em apart, were taken for the cells of a table."""
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph

        words = "extraordinarily heterogeneous configurations and their instrumentation describe characteristics of it"
        texts = [f"Paragraph {i} says: {words}, {words}, as {words}." for i in range(16)]
        frames = [Frame(50, 50, 170, 600), Frame(240, 50, 170, 600)]
        paper = BaseDocTemplate(str(tmp_path / "a.pdf"), pagesize=A4)
        paper.addPageTemplates([PageTemplate(frames=frames)])
        style = ParagraphStyle("justified", alignment=4, fontSize=9, leading=11, spaceAfter=6)
        paper.build([Paragraph(text, style) for text in texts])
        text = one(tmp_path / "a.pdf").text
        assert "|" not in text
        assert in_order(text, *(f"Paragraph {i} says" for i in range(16)))
        assert sum(whole in text for whole in texts) >= 14  # one or two may be cut by a column's end

    def test_a_sideways_page_is_turned(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            c.setPageSize(landscape(A4))
            c.rotate(90)
            lines(c, ["The words of this page stand upright only", "when the page is turned to its side."], 100, -200)

        def turned(c: Canvas) -> None:
            c.setPageRotation(90)
            lines(c, ["And this page says itself that it is", "to be turned."], 100, 600)

        assert one(draw(tmp_path / "a.pdf", page, turned)).text == (
            "The words of this page stand upright only when the page is turned to its side.\n\n"
            "And this page says itself that it is to be turned."
        )


class TestTables:
    ROWS = (
        ("Region", "Sales 2023", "Sales 2024"),
        ("North America", "1,200", "1,350"),
        ("Europe and the rest", "80", "(95)"),
        ("Total", "1,280", "1,255"),
    )

    def test_cells_of_a_row_stay_on_one_line(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            lines(c, ["The following table shows net sales in each of the regions that we", "serve:"], 72, 760)
            for i, row in enumerate(self.ROWS):
                c.drawString(72, 700 - 14 * i, row[0])
                c.drawRightString(350, 700 - 14 * i, row[1])
                c.drawRightString(480, 700 - 14 * i, row[2])
            lines(c, ["After the table the text goes on as it did before, as one would expect."], 72, 600)

        text = one(draw(tmp_path / "a.pdf", page)).text
        assert "\n\n" + "\n".join(" | ".join(row) for row in self.ROWS) + "\n\n" in text

    def test_a_table_drawn_column_by_column(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            for column, x in enumerate((72, 250, 400)):
                lines(c, [row[column] for row in self.ROWS], x, 700)

        assert one(draw(tmp_path / "a.pdf", page)).text == "\n".join(" | ".join(row) for row in self.ROWS)

    def test_signs_come_to_their_figures_and_empty_cells_keep_their_column(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            for y, row in ((700, ("", "2023", "2024")), (686, ("Sales", "$ 12", "$ 14")), (672, ("Costs", "", "3"))):
                for text, x in zip(row, (72, 300, 400), strict=True):
                    sign, _, figure = text.rpartition(" ")
                    c.drawString(x - 30, y, sign)
                    c.drawString(x, y, figure)
            for y, share in ((700, "share"), (686, "5"), (672, "7")):
                c.drawRightString(480, y, share)
                c.drawString(495, y, "%" if share.isdigit() else "")

        text = one(draw(tmp_path / "a.pdf", page)).text
        assert text == " | 2023 | 2024 | share\nSales | $ 12 | $ 14 | 5 %\nCosts |  | 3 | 7 %"


class TestHeadings:
    def test_size_and_weight_tell(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            for text, font, size, y in (
                ("Annual report", "Helvetica", 24, 760),
                ("Risks", "Helvetica-Bold", 16, 700),
                ("Market risk", "Helvetica-Bold", 10, 640),
            ):
                c.setFont(font, size)
                c.drawString(72, y, text)
                c.setFont("Helvetica", 10)
                lines(c, ["Some sentences of plain text that tell about it, on and on for", "two lines."], 72, y - 24)

        document = one(draw(tmp_path / "a.pdf", page))
        assert [(h.level, h.title) for h in document.headings] == [
            (1, "Annual report"),
            (2, "Risks"),
            (3, "Market risk"),
        ]
        assert [document.text[h.start : h.end] for h in document.headings] == ["Annual report", "Risks", "Market risk"]
        assert document.title == "Annual report"

    def test_the_property_is_the_title_unless_it_is_a_file_name(self, tmp_path: Path, one: One) -> None:
        def page(title: str) -> Callable[[Canvas], None]:
            def draw_page(c: Canvas) -> None:
                c.setTitle(title)
                c.setAuthor("Ann")
                lines(c, ["Plain words."], 72, 700)

            return draw_page

        good = one(draw(tmp_path / "a.pdf", page("Leave policy 2024")))
        assert (good.title, good.metadata["author"]) == ("Leave policy 2024", "Ann")
        assert one(draw(tmp_path / "leave_rules.pdf", page("Microsoft Word - x1.docx"))).title == "leave rules"


class TestPages:
    def test_each_page_stands_between_its_offsets(self, tmp_path: Path, one: One) -> None:
        def page(c: Canvas) -> None:
            lines(c, [f"this is page {c.getPageNumber()}"], 72, 700)

        document = one(draw(tmp_path / "a.pdf", page, lambda c: None, page, page, lambda c: None))
        assert len(document.pages) == 5
        for number in (1, 3, 4):
            assert document.page_at(document.text.index(f"page {number}")) == number
        assert document.pages[4] == len(document.text)

    def test_a_picture_among_the_pages_is_counted(self, tmp_path: Path, one: One) -> None:
        from PIL import Image

        Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
        picture = str(tmp_path / "red.png")
        (tmp_path / "scan").mkdir()
        path = draw(
            tmp_path / "scan" / "a.pdf", lambda c: lines(c, ["words"], 72, 700), lambda c: c.drawImage(picture, 0, 0)
        )
        assert one(path).metadata["pages_without_text"] == 1

    def test_arabic_reads_from_the_right(self, tmp_path: Path, one: One) -> None:
        font = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
        if not font.exists():
            pytest.skip("needs the DejaVu font for Hebrew letters")
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont

        pdfmetrics.registerFont(TTFont("DejaVu", str(font)))

        def page(c: Canvas) -> None:
            c.setFont("DejaVu", 12)
            c.drawRightString(500, 700, "שלום עולם"[::-1])  # a PDF holds glyphs from left to right

        assert one(draw(tmp_path / "a.pdf", page)).text == "שלום עולם"


class TestWhatIsRefused:
    def test_no_text_layer(self, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        draw(tmp_path / "a.pdf", lambda c: c.rect(10, 10, 100, 100))
        assert refused(tmp_path).reason == "no text layer; run OCR first (for example ocrmypdf)"

    def test_a_password(self, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        from reportlab.lib.pdfencrypt import StandardEncryption

        draw(tmp_path / "a.pdf", lambda c: lines(c, ["x"], 72, 700), encrypt=StandardEncryption("secret", strength=128))
        assert refused(tmp_path).reason == "encrypted; save a copy without a password"

    def test_cut_off(self, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        path = draw(tmp_path / "a.pdf", lambda c: lines(c, ["x"], 72, 700))
        path.write_bytes(path.read_bytes()[:300])
        assert refused(tmp_path).reason == "damaged or not a PDF; open it in a PDF viewer and save it again"

    def test_flipped_bytes_never_raise(self, tmp_path: Path) -> None:
        path = draw(tmp_path / "a.pdf", lambda c: lines(c, LEFT, 72, 700), lambda c: lines(c, RIGHT, 72, 700))
        whole = path.read_bytes()
        for at in range(0, len(whole), 97):
            path.write_bytes(whole[:at] + bytes(b ^ 0x15 for b in whole[at : at + 9]) + whole[at + 9 :])
            for item in load(path):
                assert isinstance(item, Document) or "\n" not in item.reason


def test_threads_may_read_at_the_same_time(tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{i}.pdf", lambda c: lines(c, LEFT, 72, 700)) for i in range(4)]
    texts: list[str] = []
    threads = [
        threading.Thread(
            target=lambda p: texts.extend(d.text for d in load(p) if isinstance(d, Document)), args=(path,)
        )
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 4
    assert len(set(texts)) == 1


# --- real files -------------------------------------------------------------------------------------------------------


def test_every_page_of_real_reports_and_contracts_holds_its_words(data_folder: Path) -> None:
    """14 quarterly reports (645 pages) and 14 contracts; what pdfium finds on a page is found in that page's span."""
    import pypdfium2  # type: ignore[import-untyped]

    paths = sorted(
        [*data_folder.glob("sec10q-kgrag/pdfs/*.pdf"), *data_folder.glob("cuad-contracts-a/contracts_pdf/*.pdf")]
    )
    if not paths:
        pytest.skip(f"no PDFs in {data_folder}")
    seconds = 0.0
    for path in paths:
        begin = time.process_time()
        [document] = load(path)
        seconds += time.process_time() - begin
        assert isinstance(document, Document), document
        pdf = pypdfium2.PdfDocument(path)
        assert len(document.pages) == len(pdf)
        for number, (start, end) in enumerate(
            zip(document.pages, [*document.pages[1:], len(document.text)], strict=True)
        ):
            raw = re.sub("[\x02\ufffe](?:\r\n)?", "-", pdf[number].get_textpage().get_text_range())
            there, here = (Counter(re.findall(r"\w+", text)) for text in (raw, document.text[start:end]))
            assert (there & here).total() >= 0.98 * there.total(), f"{path.name}, page {number + 1}: {there - here}"
        pdf.close()
    assert seconds < 30, "779 pages take about 10 s of one core"
