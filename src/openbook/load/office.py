"""Word, PowerPoint and Excel files become Markdown; a bomb, a password or a DTD in one is refused before parsing."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import Any
from xml.etree import ElementTree

from openbook.errors import SourceError
from openbook.load.draft import Draft, normalise, one_line, pipe_table
from openbook.load.html import to_markdown
from openbook.load.markdown import headings

_MOST_UNPACKED = 1 << 30  # bytes of all parts together; a workbook of 50 MiB unpacks to some 500
_MOST_TREE = 1 << 27  # bytes of XML that Word and PowerPoint readers hold as a tree, at about ten times its size


# --- Word -------------------------------------------------------------------------------------------------------------


def read_docx(data: bytes) -> Draft:
    """One Word document: headings, paragraphs, lists, tables, footnotes. Raises: SourceError."""
    import mammoth  # type: ignore[import-untyped]

    title, creator = _open(data, _MOST_TREE)
    html = mammoth.convert_to_html(
        io.BytesIO(data),
        style_map="p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh",
        convert_image=mammoth.images.img_element(lambda image: {}),  # the alternative text stays
    ).value
    text, _ = to_markdown(html.replace("↑</a>", "</a>"), page=False)
    return Draft(text, title=title, metadata=creator, headings=headings(text))


# --- PowerPoint -------------------------------------------------------------------------------------------------------


def read_pptx(data: bytes) -> Draft:
    """One presentation: a heading and a page for each slide, its text and its notes. Raises: SourceError."""
    from pptx import Presentation

    title, creator = _open(data, _MOST_TREE)
    text = ""
    pages = []
    for number, slide in enumerate(Presentation(io.BytesIO(data)).slides, 1):
        named = slide.shapes.title
        heading = one_line(named.text_frame.text) if named is not None and named.has_text_frame else ""
        blocks = [f"# {heading or f'Slide {number}'}"]
        for shape in _in_reading_order(slide.shapes):
            if named is None or shape.shape_id != named.shape_id:
                blocks += _shape(shape)
        if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None:
            said = [line for paragraph in notes.paragraphs if (line := one_line(paragraph.text))]
            blocks += ["Notes: " + "\n\n".join(said)] if said else []
        pages.append(len(text))
        text += "\n\n".join(blocks) + "\n\n"
    text = text.rstrip("\n")
    found = headings(text)
    own = bool(title) and title.lower() not in ("powerpoint presentation", "presentation")
    return Draft(text, title=title if own else "", metadata=creator, headings=found, pages=tuple(pages))


def _in_reading_order(shapes: Iterable[Any]) -> Iterator[Any]:
    """Top to bottom, then left to right, the shapes of a group in its place."""
    for shape in sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0)):
        if hasattr(shape, "shapes"):
            yield from _in_reading_order(shape.shapes)
        else:
            yield shape


def _shape(shape: Any) -> list[str]:
    if getattr(shape, "has_table", False) and shape.has_table:
        table = pipe_table([cell.text for cell in row.cells] for row in shape.table.rows)
        return [table] if table else []
    if getattr(shape, "has_chart", False) and shape.has_chart:
        return _chart(shape.chart)
    if not shape.has_text_frame:
        return []
    paragraphs = [(p.level, one_line(p.text)) for p in shape.text_frame.paragraphs if one_line(p.text)]
    if len(paragraphs) > 1:  # an outline: a slide's paragraphs are its points
        return ["\n".join(f"{'  ' * level}- {line}" for level, line in paragraphs)]
    return [re.sub(r"^(#+(?: |$)|```|~~~)", r"\\\1", line) for _, line in paragraphs]


def _chart(chart: Any) -> list[str]:
    title = one_line(chart.chart_title.text_frame.text) if chart.has_title and chart.chart_title.has_text_frame else ""
    blocks = [title] if title else []
    for plot in chart.plots:
        series = list(plot.series)
        rows = [["", *(each.name or "" for each in series)]]
        values = [list(each.values) for each in series]
        for index, category in enumerate(plot.categories):
            rows.append([str(category), *(_cell(each[index]) if index < len(each) else "" for each in values)])
        table = pipe_table(rows)
        blocks += [table] if table else []
    return blocks


# --- Excel ------------------------------------------------------------------------------------------------------------


def read_xlsx(data: bytes) -> Draft:
    """One workbook: a heading and a table for each sheet; formulas as their last values. Raises: SourceError."""
    from openpyxl import load_workbook  # type: ignore[import-untyped]

    title, creator = _open(data, None)
    workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    blocks = []
    try:
        for sheet in workbook.worksheets:
            if sheet.sheet_state == "veryHidden":  # not even Excel's own menu shows it
                continue
            sheet.reset_dimensions()  # what the file says of its size is often wrong
            rows = [[_formatted(cell) for cell in row] for row in sheet.iter_rows()]
            content = list(_sheet(rows))
            blocks += [f"## {one_line(sheet.title)}", *content] if content else []
    finally:
        workbook.close()
    text = "\n\n".join(blocks)
    return Draft(text, title=title, titled=True, metadata=creator, headings=headings(text))


def _sheet(rows: list[list[str]]) -> Iterator[str]:
    """Lines above the table that fill one cell only are its title or a remark; a wider row begins the table."""
    filled = [row for row in rows if any(row)]
    wide = max((sum(map(bool, row)) for row in filled), default=0)
    while wide > 1 and sum(map(bool, filled[0])) == 1:
        yield re.sub(r"^(#+(?: |$)|```|~~~)", r"\\\1", one_line(next(filter(None, filled.pop(0)))))
    table = pipe_table(filled)
    if table:
        yield table


def _formatted(cell: Any) -> str:
    value = cell.value
    if isinstance(value, int | float) and not isinstance(value, bool) and str(cell.number_format or "").endswith("%"):
        return f"{_cell(value * 100)}%"
    return _cell(value)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return f"{value:.15g}" if abs(value) < 1e15 else str(value)  # as Excel shows it: 0.1 + 0.2 is 0.3
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
        case date() | time():
            return value.isoformat()
    return normalise(str(value))


# --- the package ------------------------------------------------------------------------------------------------------

_SAVE_AGAIN = "open it in its own program and save it again"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"


def _open(data: bytes, most_tree: int | None) -> tuple[str, dict[str, str]]:
    """Check that the package is safe to parse; its title property, and its author as metadata.

    Raises:
        SourceError: a password, no package at all, too much inside, or an entity declaration (which OOXML forbids).
    """
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise SourceError(
            "encrypted, or in the format of Office 97", do="save a copy without a password in today's format"
        )
    try:
        package = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise SourceError(f"damaged: {error}", do=_SAVE_AGAIN) from None
    with package:
        parts = package.infolist()
        trees = [part for part in parts if part.filename.endswith((".xml", ".rels"))]
        _refuse_bomb(sum(part.file_size for part in parts), _MOST_UNPACKED)
        if most_tree is not None:
            _refuse_bomb(sum(part.file_size for part in trees), most_tree)
        for part in trees:
            try:
                with package.open(part) as stream:
                    start = stream.read(4096).replace(b"\0", b"")  # in UTF-16 as well
            except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError) as error:
                raise SourceError(f"damaged: {part.filename}: {error}", do=_SAVE_AGAIN) from None
            if b"<!DOCTYPE" in start or b"<!ENTITY" in start:
                raise SourceError(
                    f"{part.filename} declares XML entities, which no Office program writes",
                    do="do not trust this file; save it again from its own program",
                )
        try:
            with package.open("docProps/core.xml") as stream:
                core = ElementTree.fromstring(stream.read(1 << 20))  # a few hundred bytes, when honest
        except (KeyError, ElementTree.ParseError, zipfile.BadZipFile, zlib.error):
            return "", {}
    title, creator = (one_line(core.findtext(_DUBLIN_CORE + name) or "") for name in ("title", "creator"))
    return title, {"author": creator} if creator else {}


def _refuse_bomb(size: int, most: int) -> None:
    if size > most:
        raise SourceError(
            f"unpacks to {size >> 20:,} MiB, over the limit of {most >> 20:,} MiB",
            do="split it, or do not trust it: small files that unpack to so much are made to harm",
        )
