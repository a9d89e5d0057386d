"""Rules of a glossary, as files of the search engines have them, line by line.

    pto, paid time off, sick days      each means the others
    laptop => notebook, computer       one way: who asks for a laptop also looks for these
    # a comment

Tabs separate as commas do, and alone where a line has any; a comma that belongs to a word is written ``\\,`` or within
quotes. That is Solr's and Elasticsearch's synonym format, and a CSV or TSV without a head.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from openbook.errors import RecipeError

MOST_BYTES = 16 << 20
MOST_RULES = 200_000
LONGEST_PHRASE = 200
"""Characters of a synonym; what is longer is a text."""

ARROW = "=>"


def read_file(path: Path) -> list[str]:
    """The rules of a file. Raises: RecipeError: it cannot be read, is no text, is too large, or says nothing."""
    try:
        if path.stat().st_size > MOST_BYTES:
            what = f"a glossary of more than {MOST_BYTES >> 20} MB"
            raise RecipeError(what, where=str(path), do="leave out what nobody asks for")
        content = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    except ValueError:  # a NUL in the path
        raise RecipeError("no path of a file", where=repr(str(path))[:80], do="check query.glossary.path") from None
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError("not UTF-8", where=str(path), do="save it as UTF-8 text") from None
    return rules(text.splitlines(), where=str(path))


def rules(lines: Iterable[str], where: str) -> list[str]:
    """The lines that say something, each once and in one form. Raises: RecipeError: a line is none, or none does."""
    found: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        if not (line := line.replace("\x00", " ").strip(" \r\n\ufeff")) or line.startswith("#"):
            continue
        place = f"{where}, line {number}"
        left, right = sides(line, place)
        if len({phrase.casefold() for phrase in (*left, *right)}) < 2:
            continue  # a word means itself anyway, in capitals or not
        if len(found) == MOST_RULES:
            raise RecipeError(f"more than {MOST_RULES:,} rules", where=place, do="leave out what nobody asks for")
        found[_line(left) + (f" {ARROW} {_line(right)}" if right else "")] = None
    if not found:
        raise RecipeError("no synonyms in it", where=where, do="write a line such as: pto, paid time off")
    return list(found)


def sides(line: str, where: str = "glossary") -> tuple[list[str], list[str]]:
    """The words on the left of the arrow and on its right; without one nothing is on the right.

    >>> sides("pto, paid time off"), sides("laptop => notebook")
    ((['pto', 'paid time off'], []), (['laptop'], ['notebook']))

    Raises: RecipeError: an arrow with nothing on a side, two arrows, or a phrase as long as a text.
    """
    parts = line.split(ARROW)
    found = [_phrases(part, where) for part in parts]
    if len(parts) > 2 or (len(parts) == 2 and not all(found)):
        what = "two arrows" if len(parts) > 2 else f"nothing on one side of {ARROW}"
        raise RecipeError(what, where=where, do=f"write: word, word {ARROW} synonym, synonym")
    if long := next((phrase for those in found for phrase in those if len(phrase) > LONGEST_PHRASE), None):
        what = f"a synonym of {len(long)} characters ({long[:30]}…)"
        raise RecipeError(what, where=where, do="separate synonyms by commas or tabs, a group to a line")
    return found[0], found[1] if len(parts) == 2 else []


def _phrases(text: str, where: str) -> list[str]:
    if "\t" in text.strip(" \t"):
        cells = text.split("\t")
    else:
        try:
            [cells] = csv.reader([text.strip()], skipinitialspace=True, escapechar="\\") if text.strip() else [[]]
        except (csv.Error, ValueError) as error:
            raise RecipeError(f"not a line of synonyms ({error})", where=where, do="mend its quotes") from None
    found = dict.fromkeys(" ".join(cell.split()) for cell in cells)
    return [cell for cell in found if cell]


def _line(phrases: Iterable[str]) -> str:
    return ", ".join(_quoted(phrase) for phrase in phrases)


def _quoted(phrase: str) -> str:
    if not phrase.startswith("#") and not any(sign in phrase for sign in ',"\\'):
        return phrase
    return '"' + phrase.replace("\\", "\\\\").replace('"', '""') + '"'
