"""HTML becomes clean Markdown: its main content's headings, paragraphs, lists, tables and code, without the frame.

Links become their text and emphasis goes, so that a sentence can be quoted as it reads. The same renderer serves
Word (through mammoth) and reStructuredText (through docutils).
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from openbook.load.draft import Draft, decode, normalise, one_line, pipe_table
from openbook.load.markdown import headings

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_CHARSET = re.compile(rb"""<(?:meta\b[^>]*?charset|\?xml\b[^>]*?encoding)\s*=\s*["']?\s*([\w:.-]+)""", re.IGNORECASE)


def read(data: bytes) -> Draft:
    """One HTML page. Raises: SourceError."""
    declared = _CHARSET.search(data[:4096])
    text, encoding = decode(data, _known(declared[1].decode("ascii")) if declared else None)
    markdown, title = to_markdown(text)
    metadata = {"encoding": encoding} if encoding else {}
    return Draft(markdown, title=title, metadata=metadata, headings=headings(markdown))


def _known(charset: str) -> str | None:
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        return None
    # Browsers read these as Windows-1252, for that is what such pages hold (https://encoding.spec.whatwg.org).
    return "cp1252" if name in ("ascii", "iso8859-1") else name


def to_markdown(source: str, *, page: bool = True) -> tuple[str, str]:
    """Markdown and the ``<title>`` of HTML.

    ``page``: it is a web page, whose navigation, footers and sidebars are left out; otherwise all of it is content.
    """
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(source)
    head = tree.css_first("head title")
    title = one_line(head.text()) if head else ""
    body = tree.body
    if body is None:
        return "", title
    for node in body.css(_INVISIBLE):
        node.decompose()
    if page:
        body = _main(body)
    try:
        blocks = _blocks(body)
    except RecursionError:  # thousands of nested elements: keep the words
        blocks = [one_line(body.text(separator=" "))]
    return "\n\n".join(blocks), title


# --- the main content -------------------------------------------------------------------------------------------------

_INVISIBLE = (
    "script, style, noscript, template, iframe, object, svg, canvas, audio, video, head, input, select, button,"
    ' textarea, [hidden], [style*="display:none"], [style*="display: none"], a.headerlink'
)
_FRAME = (
    'nav, footer, aside, [role="navigation"], [role="contentinfo"], [role="banner"], [role="search"],'
    ' [role="complementary"]'
)
_ADMONITION = re.compile(r"admonition|callout|note|tip|warning|caution|danger|important|info|hint", re.IGNORECASE)
_LEAST_MAIN = 0.2  # of the page's text; a main element with less is a stub that scripts fill


def _main(body: LexborNode) -> LexborNode:
    whole = body.clone()
    for node in body.css(_FRAME):
        if node.tag == "aside" and _ADMONITION.search(f"{node.attributes.get('class')} {node.attributes.get('role')}"):
            continue
        node.decompose()
    for node in body.css("header"):
        if not node.css_first("h1"):
            node.decompose()
    length = len(one_line(body.text()))
    if not length:
        return whole
    for selector in ("main", '[role="main"]', "article"):
        found = body.css(selector)
        if len(found) == 1 and len(one_line(found[0].text())) >= _LEAST_MAIN * length:
            return found[0]
    return body


# --- elements become blocks -------------------------------------------------------------------------------------------

_BLOCK_NAMES = """
    address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer
    form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p pre search section
    summary table caption colgroup tbody thead tfoot tr td th ul
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())


def _blocks(parent: LexborNode) -> list[str]:
    """The Markdown blocks of an element's content, in order; text between block elements is a paragraph."""
    blocks: list[str] = []
    inline: list[str] = []

    def paragraph() -> None:
        text = _lines("".join(inline))
        inline.clear()
        if text:
            blocks.append(_unambiguous(text))

    for node in parent.iter(include_text=True):
        if node.tag in _BLOCKS or (not node.is_text_node and _holds_blocks(node)):
            paragraph()
            blocks.extend(_block(node))
        else:
            inline.append(_inline(node))
    paragraph()
    return blocks


def _holds_blocks(node: LexborNode) -> bool:
    """Whether a block element stands inside an inline one, as in ``<a><div>``."""
    return any(child.tag in _BLOCKS for child in node.traverse() if child != node)


def _block(node: LexborNode) -> list[str]:
    tag = node.tag or ""
    match tag:
        case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
            title = one_line("".join(map(_inline, node.iter(include_text=True)))).removesuffix("¶").rstrip()
            return [f"{'#' * int(tag[1])} {title}"] if title.strip("# ") else []
        case "pre":
            return _fence(node)
        case "ul" | "ol" | "menu":
            items = _list(node)
            return [items] if items else []
        case "dl":
            items = _definitions(node)
            return [items] if items else []
        case "table":
            return _table(node)
        case "blockquote":
            inner = "\n\n".join(_blocks(node))
            return ["\n".join(f"> {line}".rstrip() for line in inner.split("\n"))] if inner else []
        case "hr":
            return []
    return _blocks(node)


def _inline(node: LexborNode) -> str:
    """The text of a text node or inline element, blanks not yet collapsed; a line break is ``\\v``."""
    if node.is_text_node:
        return re.sub(r"[ \t\n\f]+", " ", node.text_content or "")
    match node.tag:
        case "br":
            return "\v"
        case "wbr" | "-comment" | "_comment" | "!doctype" | "-doctype":
            return ""
        case "img":
            alt = one_line(node.attributes.get("alt") or "")
            return f" {alt} " if alt else ""
        case "code" | "kbd" | "samp" | "tt":
            return _code(node.text())
        case "span" if "literal" in (node.attributes.get("class") or "").split():  # docutils' own
            return _code(node.text())
    return "".join(map(_inline, node.iter(include_text=True)))


def _code(text: str) -> str:
    plain = one_line(text)
    if not plain or "`" in plain:
        return text
    return f"{' ' * text[0].isspace()}`{plain}`{' ' * text[-1].isspace()}"


def _lines(text: str) -> str:
    """Blanks collapsed; line breaks kept as line ends."""
    lines = (re.sub(r"[ \t\n\f\xa0]+", " ", line).strip(" ") for line in normalise(text).split("\v"))
    return "\n".join(line for line in lines if line)


_STARTS_BLOCK = re.compile(r"^(?=#{1,6}(?:\s|$)|[=-]+[ \t]*$|```|~~~)", re.MULTILINE)


def _unambiguous(text: str) -> str:
    """A backslash before what Markdown would take for a heading, an underline or a fence."""
    return _STARTS_BLOCK.sub(r"\\", text)


def _fence(node: LexborNode) -> list[str]:
    for br in node.css("br"):
        br.replace_with("\n")
    code = normalise(node.text()).strip("\n")
    if not code.strip():
        return []
    classes = " ".join(str(part.attributes.get("class") or "") for part in (node, *node.css("code")))
    language = re.search(r"\b(?:language|lang|highlight|brush)[-:]\s*([\w+#-]+)", classes)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return [f"{fence}{language[1] if language else ''}\n{code}\n{fence}"]


# --- lists ------------------------------------------------------------------------------------------------------------


def _list(node: LexborNode) -> str:
    ordered = node.tag == "ol"
    try:
        number = int(node.attributes.get("start") or 1)
    except ValueError:
        number = 1
    lines: list[str] = []
    for child in node.iter():
        if child.tag in ("ul", "ol", "menu"):  # wrong, and common: a list straight in a list
            inner = _list(child)
            lines += [f"  {line}" for line in inner.split("\n")] if inner else []
            continue
        blocks = _blocks(child)
        if not blocks:
            continue
        mark = f"{number}. " if ordered else "- "
        number += 1
        lines += _hang(mark, blocks)
    return "\n".join(lines)


def _hang(mark: str, blocks: list[str]) -> list[str]:
    """A list item: its first line after the mark, the others under it; a list inside needs no blank line before it."""
    indent = " " * len(mark)
    first, *rest = blocks
    lines = first.split("\n")
    for block in rest:
        if not re.match(r"(?:[-*] |\d+\. )", block):
            lines.append("")
        lines += block.split("\n")
    return [mark + lines[0], *((indent + line).rstrip() for line in lines[1:])]


def _definitions(node: LexborNode) -> str:
    """Terms as paragraph lines in a list, each with its definitions below: ``- term: definition``."""
    lines: list[str] = []
    terms: list[str] = []

    def item(definition: list[str]) -> None:
        if terms:
            term = ", ".join(terms) + ":"
            terms.clear()
            inline = bool(definition) and not re.match(r"(?:[-*] |\d+\. |[|`>])", definition[0])
            definition = [f"{term} {definition[0]}", *definition[1:]] if inline else [term, *definition]
        if definition:
            lines.extend(_hang("- ", definition))

    for part in node.css("dt, dd"):
        owner = part.parent
        while owner is not None and owner.tag != "dl":
            owner = owner.parent
        if owner != node:
            continue
        if part.tag == "dt":
            term = one_line("".join(map(_inline, part.iter(include_text=True)))).removesuffix(":")
            terms += [term] if term else []
        else:
            item(_blocks(part))
    item([])
    return "\n".join(lines)


# --- tables -----------------------------------------------------------------------------------------------------------

_WIDEST_SPAN = 1000  # HTML's own limit for colspan


def _table(node: LexborNode) -> list[str]:
    """A pipe table; a table that only lays a page out is rendered as its cells' blocks."""
    rows = [row for row in node.css("tr") if _nearest(row, "table") == node]
    cells = [[cell for cell in row.iter() if cell.tag in ("td", "th")] for row in rows]
    before: list[str] = []
    for caption in node.css("caption"):
        if _nearest(caption, "table") == node:
            before += _blocks(caption)
    layout = max(map(len, cells), default=0) < 2 or any(
        cell.css_first("table, h1, h2, h3, pre") is not None for row in cells for cell in row
    )
    if layout:
        return before + [block for row in cells for cell in row for block in _blocks(cell)]
    grid: list[list[str]] = []
    hanging: dict[int, tuple[int, str]] = {}  # column → rows still to fill, text
    for row in cells:
        line: list[str] = []
        waiting = iter(row)
        while True:
            column = len(line)
            if column in hanging:
                left, text = hanging.pop(column)
                if left > 1:
                    hanging[column] = (left - 1, text)
                line.append(text)
                continue
            cell = next(waiting, None)
            if cell is None:
                if not any(later > column for later in hanging):
                    break
                line.append("")
                continue
            text = " ".join(one_line(block) for block in _blocks(cell))
            width, height = (_span(cell, name) for name in ("colspan", "rowspan"))
            for offset in range(width):
                line.append("" if offset else text)
                if height > 1:
                    hanging[column + offset] = (height - 1, "" if offset else text)
        grid.append(line)
    table = pipe_table(grid)
    return [*before, table] if table else before


def _nearest(node: LexborNode, tag: str) -> LexborNode | None:
    parent = node.parent
    while parent is not None and parent.tag != tag:
        parent = parent.parent
    return parent


def _span(cell: LexborNode, name: str) -> int:
    try:
        return max(1, min(int(cell.attributes.get(name) or 1), _WIDEST_SPAN))
    except ValueError:
        return 1
