"""Where the sentences of a text are: exact spans, found by rules over plain text or Markdown.

Two passes. Lines first: blank lines, headings, list items, table rows and the lines of a code fence end a unit, while
the hard-wrapped lines of a paragraph flow together. Then, inside each unit, stops: a full stop ends a sentence unless
it belongs to an abbreviation, an initial, a list number or a name in a link, an address, code or parentheses.
The rules are those every hand-written splitter shares; there is no model and no language setting.
"""

from __future__ import annotations

import re
from bisect import bisect_right

# What may stand before a line's own mark: indentation and block quote signs. (Possessive: nothing here backtracks.)
_INDENT = r"[^\S\n]*+(?:>[^\S\n]*+)*+"

# How a line starts that is not just the next one of a paragraph.
_LINE = re.compile(
    rf"(?P<blank>{_INDENT}(?:\n|\Z))"  # a blank line, in a quote too
    rf"|(?P<whole>{_INDENT}(?:\#{{1,6}}[^\S\n]|\|))"  # a heading, a table row: a unit as it stands
    r"|(?P<below>[^\S\n]*+([=\-*_~])(?:[ ]?\4){2,}+[^\S\n]*+(?:\n|\Z))"  # a rule, or the line below a heading
    rf"|(?P<opens>{_INDENT}(?:```|~~~|[-*+•‣◦▪][^\S\n]|\d{{1,3}}[.)][^\S\n]))"  # a list item
    r"|(?P<clause>[^\S\n]*+\([A-Za-z0-9]{1,4}\)[^\S\n])"  # (a), (iv) of a contract
)
_FENCE = re.compile(rf"^{_INDENT}(`{{3,}}+(?=[^`\n]*+$)|~{{3,}}+)([^\n]*+)$", re.MULTILINE)

# A stop with the quotes, brackets, emphasis, link ends and note marks that still belong to the sentence. (A pattern
# that begins with one set of characters is found four times as fast as one that begins with alternatives.)
_CLOSE = r"(?:\]\([^()\s]*+\)|\[\^?\w{1,4}\]|[\"'’”»›)\]}*_]|[¹²³⁰⁴-⁹])*+"
_STOP = re.compile(
    r"[.!?…؟۔।॥。！？｡\f\u2029](?:"
    rf"(?<=[.!?…])(?<![.!?…]{{2}})[.!?…]*+{_CLOSE}(?=\s)"
    rf"|(?<=[؟۔।॥])(?<![؟۔।॥]{{2}})[؟۔।॥]*+{_CLOSE}(?=\s)"
    r"|(?<=[。！？｡])[。！？｡]*+(?:[”’」』）】〉》]++(?![^\s“‘「『（【〈《]))?(?![”’」』）】〉》])"
    r"|(?<=[\f\u2029]))"
)
_PROTECTED = re.compile(
    r"[\[`<(](?:"
    r"(?<=\[)[^\[\]]{1,300}\]\([^()\s]*(?:\s+\"[^\"\n]*\")?\)"  # a Markdown link
    r"|(?<=`)(?<!``)(`?)(?!`)[^`]{1,300}`\1(?!`)"  # code
    r"|(?<=<)[^<>\s][^<>\n]{0,300}>"  # an address or a tag
    r"|(?<=\()[^()\n]{1,200}(?:\n[^()\n]{1,100})?\))"  # parentheses
)
_NEXT = re.compile(r"\s*+([\"'“‘«‹(\[{*_¿¡`<]*+)(\w*+)")
_LINE_START = re.compile(r"\n[^\S\n]*+(?:([A-ZÀ-ÖØ-ÞА-ЯΑ-Ω][^\s:]*(?: [^\s:]+){0,3}:(?=\s))|(\S+))")
_MARK_ONLY = re.compile(r"[\s>\-*+•‣◦▪(\[#_]*(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[IVXLCivxlc]{1,5})")


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Never the end of a sentence.
_LEADS = _words(
    "dr mr mrs ms mx prof gen col capt cpt lt sgt rev hon gov sen rep pres supt messrs mme mlle vs v e.g i.e eg ie cf "
    "viz approx ca resp incl excl esp z.b d.h u.a bzw vgl ggf evtl inkl bspw sog p.ex sra srta dña fr"
)
# Not the end where a number (or a lone capital) follows.
_COUNTS = _words(
    "no nos nr fig figs eq eqs ref refs sec sect ch chap art arts vol vols p pp pg para par cl ex app tab abs s bd "
    "ver v rev ed pt item núm num pág págs § jan feb mar apr jun jul aug sep sept oct nov dec"
)
# The end only where the next word is one that starts sentences.
_MAY_END = _words(
    "inc co corp ltd llc bros al jr sr st ave blvd rd mt ft dept univ assn est govt min max avg jan feb mar apr jun "
    "jul aug sep sept oct nov dec mon tue wed thu fri sat sun tel ext hr hrs ed eds trans usw nos gmbh"
)
_STARTERS = _words(
    "a after all also although an and any as at because before both but by can could do does during each either every "
    "few finally first for from given here how however i if in instead is it its later many may more most moreover my "
    "next no not now of on once one only or other our over please several she he should since so some such than that "
    "the their then there therefore these they this those through thus to today under unless until upon use we what "
    "when where whether which while who why will with without you your der die das ein eine es er sie wir le la les "
    "un une il elle el los las una"
)
_GERMAN_MONTHS = _words("januar jänner februar märz april mai juni juli august september oktober november dezember")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]{1,2}|[A-Z][a-z]\.[A-Z]")

# A paragraph narrower than this many characters is an address, a form or a verse: no wrapped prose.
_NARROW = 35


def sentences(text: str) -> list[tuple[int, int]]:
    """The spans ``(start, end)`` of the sentences of ``text``: trimmed, in order, over every non-blank character.

    Headings, list items (each with its mark), table rows and lines of code count as units of their own; a blank line
    always ends a sentence, the wrapped lines of a paragraph do not.

    >>> text = "Ask Dr. Ho.\\n- No. 5 costs 3.50 (incl. VAT).\\n- Go!"
    >>> [text[start:end] for start, end in sentences(text)]
    ['Ask Dr. Ho.', '- No. 5 costs 3.50 (incl. VAT).', '- Go!']
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for fence_start, fence_end in _fences(text):
        _prose(text, start, fence_start, spans)
        _lines(text, fence_start, fence_end, spans)
        start = fence_end
    _prose(text, start, len(text), spans)
    return spans


def _fences(text: str) -> list[tuple[int, int]]:
    """Closed code fences, whole lines. One that nothing closes is text (a row of tildes in a letter)."""
    found: list[tuple[int, int]] = []
    mark, start = "", 0
    for match in _FENCE.finditer(text):
        if not mark:
            mark, start = match[1], match.start()
        elif match[1].startswith(mark) and not match[2].strip():
            found.append((start, match.end()))
            mark = ""
    return found


def _lines(text: str, start: int, end: int, spans: list[tuple[int, int]]) -> None:
    while start < end:
        stop = text.find("\n", start, end) + 1 or end
        _append(text, start, stop, spans)
        start = stop


def _append(text: str, start: int, end: int, spans: list[tuple[int, int]]) -> None:
    part = text[start:end]
    bare = part.lstrip()
    if bare:
        start += len(part) - len(bare)
        spans.append((start, start + len(bare.rstrip())))


def _prose(text: str, start: int, end: int, spans: list[tuple[int, int]]) -> None:
    """Everything but code: line by line, what starts or ends a unit."""
    line = start
    while line < end:
        following = text.find("\n", line, end) + 1 or end
        kind = found.lastgroup if (found := _LINE.match(text, line, end)) else None
        if kind == "blank" or kind == "whole":
            _unit(text, start, line, spans)
            _append(text, line, following, spans)
            start = following
        elif kind == "below":
            _unit(text, start, following, spans)
            start = following
        elif kind == "opens" or (kind == "clause" and text[max(start, line - 2)] in ".;:,"):
            _unit(text, start, line, spans)
            start = line
        line = following
    _unit(text, start, end, spans)


def _unit(text: str, start: int, end: int, spans: list[tuple[int, int]]) -> None:
    """Cut one unit at its stops and at the line ends that were meant."""
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start].isspace():
        start += 1
    if start == end:
        return
    cuts = [m.end() for m in _STOP.finditer(text, start, end) if m.end() < end and _ends(text, start, m)]
    if text.find("\n", start, end) >= 0:
        meant = _meant_line_ends(text, start, end)
        if meant:
            cuts = sorted({*cuts, *meant})
    if cuts:
        inside = [(m.start(), m.end()) for m in _PROTECTED.finditer(text, start, end)]
        if inside:
            starts = [span[0] for span in inside]
            cuts = [cut for cut in cuts if not (i := bisect_right(starts, cut)) or cut >= inside[i - 1][1]]
    for cut in cuts:
        _append(text, start, cut, spans)
        start = cut
    _append(text, start, end, spans)


def _ends(text: str, unit: int, stop: re.Match[str]) -> bool:
    """Whether this stop ends a sentence of the unit that starts at ``unit``."""
    mark = text[stop.start()]
    if mark not in ".!?…":
        return True
    following = _NEXT.match(text, stop.end())
    opening, word = following.groups() if following else ("", "")
    if word and word[0].islower() and "`" not in opening and "<" not in opening and not word.startswith("http"):
        return False
    if mark != "." or text.startswith("..", stop.start()):
        return True
    at = stop.start()
    begin = at
    while begin > unit and begin > at - 24 and not text[begin - 1].isspace():
        begin -= 1
    before = text[begin:at].lstrip("\"'“‘«([{*_>-–—/")
    if not before:
        return begin > unit
    if at - unit <= 24 and _MARK_ONLY.fullmatch(text, unit, at):
        return False
    low = before.lower()
    low = low[max(low.rfind("-"), low.rfind("/"), low.rfind("(")) + 1 :]
    starter = word.lower() in _STARTERS and word[:1].isupper() and (len(word) > 1 or word in "AI")
    if low in _LEADS:
        return False
    if low in _COUNTS and (word[:1].isdigit() or (len(word) == 1 and word.isupper() and not starter)):
        return False
    if low in _MAY_END or _ACRONYM.fullmatch(before):
        return starter
    if len(before) == 1 and before.isalpha() and before.isupper():
        return starter
    return not (before.isdigit() and len(before) <= 2 and word.lower() in _GERMAN_MONTHS)


def _meant_line_ends(text: str, start: int, end: int) -> list[int]:
    """Line ends of a paragraph that are no wrapping: the next word would have fitted, or starts a row or a field."""
    lines = text[start:end].split("\n")
    width = max(map(len, lines))
    rows = all(" | " in line for line in lines)
    limit = 2 * width if width < _NARROW else 0.6 * width
    cuts = []
    for match in _LINE_START.finditer(text, start, end):
        if rows or match[1]:
            cuts.append(match.start() + 1)
            continue
        at = match.start()
        first = match[2].lstrip("\"'“‘«([{*_")[:1]
        if not first.isupper() or text[at - 1] in ",;-–—&/(":
            continue
        length = at - (text.rfind("\n", start, at) + 1 or start)
        if length + 1 + len(match[2]) <= limit:
            cuts.append(at + 1)
    return cuts
