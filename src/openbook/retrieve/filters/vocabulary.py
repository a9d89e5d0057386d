"""What a question can be narrowed by: the metadata that the caller may see, sorted by what its values are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from openbook.store.filter import MAX_FIELD
from openbook.store.vocabulary import Values
from openbook.types import Scalar

NAMES = frozenset({"title", "path", "encoding", "url", "link"})
"""Fields that name one document, or tell how its file is written: nobody narrows a question to them in passing."""

SOURCE = "source"
"""Names a document as well, but where metadata say who published it; such a name has no digits."""

SORTS = ("versions", "dates", "values", "numbers")
"""Of fields, by their values."""

LONGEST = 8
"""Words of a value that is looked for in questions; longer ones are sentences."""

_DATE = re.compile(r"(?:19|20|21)\d\d(?:-\d\d(?:-\d\d(?:[T ].*)?)?)?")
_VERSION = re.compile(r"[vV]?(\d{1,9}(?:\.\d{1,9}){0,3})(?:\.[xX*])?")
_WORD = re.compile(r"[^\W_]+")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\dA-Za-z_]+|\d+")

Number = tuple[int, ...]
"""A version's: 3.5 is (3, 5)."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text as it is compared (case, accents and width folded), and where it stands there."""

    text: str
    start: int
    end: int


def words(text: str) -> list[Word]:
    return [Word(folded(match[0]), match.start(), match.end()) for match in _WORD.finditer(text)]


def folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text)
    return "".join(part for part in parts if not unicodedata.combining(part)).casefold()


@dataclass(frozen=True, slots=True)
class Named:
    """A text value that a question can call by its words."""

    field: str
    value: str
    words: tuple[str, ...]


class Vocabulary:
    """The fields that can be proposed, each of one sort.

    ``dates``: texts that are ISO 8601. ``years``: numbers that are. ``versions``: by field, version → the values that
    say it. ``named``: other texts, by their first word. ``numbers``: fields of numbers. ``fields``: all of these.
    Fields of other sorts than ``of`` are left out.
    """

    def __init__(self, values: Iterable[Values], of: Collection[str] = SORTS) -> None:
        self._of = of
        self.fields: dict[str, Values] = {}
        self.dates: list[str] = []
        self.years: list[str] = []
        self.versions: dict[str, Mapping[Number, Sequence[Scalar]]] = {}
        self.named: dict[str, list[Named]] = {}
        self.numbers: list[str] = []
        for one in values:
            if one.field not in NAMES and 0 < len(one.field) <= MAX_FIELD and (one.texts or one.numbers):
                self._take(one)

    def _take(self, one: Values) -> None:
        said = set(called(one.field))
        sort = ""
        dates = one.texts and not one.numbers and all(_DATE.fullmatch(text) for text in one.texts)
        years = one.numbers and not one.texts and said & {"year", "years"} and all(map(_is_year, one.numbers))
        if dates or years:
            sort = "dates"
        elif one.all and (found := _versions(one, said)):
            sort = "versions"
        elif one.texts and one.all:
            sort = "values"
        elif one.numbers and not one.texts:
            sort = "numbers"
        if sort not in self._of:
            return
        if sort == "dates":
            (self.dates if one.texts else self.years).append(one.field)
        elif sort == "versions":
            self.versions[one.field] = found
        elif sort == "values":
            for text in one.texts:
                told = tuple(word.text for word in words(text))
                name = one.field == SOURCE and any(character.isdigit() for character in text)
                if 0 < len(told) <= LONGEST and "/" not in text and not name:
                    self.named.setdefault(told[0], []).append(Named(one.field, text, told))
        else:
            self.numbers.append(one.field)
        self.fields[one.field] = one


def called(field: str) -> list[str]:
    """The words that a question calls a field by: ``doc.publishedAt`` is "published at".

    >>> called("doc.publishedAt"), called("effective_date")
    (['published', 'at'], ['effective', 'date'])
    """
    return [folded(part) for part in _PARTS.findall(field.rpartition(".")[2] or field)]


def version_of(text: str) -> Number | None:
    """(3, 5) of "v3.5", "3.5" and "3.5.x"; ``None`` of what is no version."""
    found = _VERSION.fullmatch(text)
    return tuple(map(int, found[1].split("."))) if found else None


def _versions(one: Values, said: set[str]) -> dict[Number, list[Scalar]]:
    """Four of five texts have to be versions, and one of them to look like none but that; so do numbers where the
    field is called one."""
    called_one = bool(said & {"version", "versions", "release", "releases", "ver"})
    texts = {text: version_of(text) for text in one.texts}
    telling = called_one or any("." in text or text[:1] in ("v", "V") for text, of in texts.items() if of)
    are = sum(of is not None for of in texts.values())
    if (one.numbers and not called_one) or (texts and (not telling or 5 * are < 4 * len(texts))):
        return {}
    found: dict[Number, list[Scalar]] = {}
    for text, of in texts.items():
        if of is not None:
            found.setdefault(of, []).append(text)
    for number in one.numbers:
        if number >= 0 and (of := version_of(f"{number:.10g}")) is not None:
            found.setdefault(of, []).append(number)
    return found


def _is_year(number: float) -> bool:
    return number.is_integer() and 1900 <= number < 2200
