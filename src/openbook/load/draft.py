"""What a reader hands over, and what is done to every text whatever its format: decode, normalise, name, guess.

A reader turns the bytes of one file into one ``Draft`` or several. It knows nothing of paths, access or the caller's
metadata; ``openbook.load.read`` adds those and makes the ``Document``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from openbook.errors import SourceError
from openbook.types import Heading, Metadata, Scalar


@dataclass(slots=True)
class Draft:
    """A document before it knows where it came from.

    ``title`` is what the document's own properties say (a PDF's, an HTML page's ``<title>``), ``metadata`` what the
    document says of itself. A file that holds many documents names each: ``source`` is a global name (BEIR's
    ``_id``), ``part`` one that holds within the file.
    """

    text: str
    title: str = ""
    titled: bool = False  # the title is final: headings do not count
    metadata: Metadata = field(default_factory=dict)
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    source: str | None = None
    part: str | None = None


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def normalise(text: str) -> str:
    """CRLF and CR become LF, NUL and lone surrogates U+FFFD; a byte order mark at the start goes."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSTORABLE.sub("\ufffd", text.removeprefix("\ufeff"))


def one_line(text: str) -> str:
    """Words without line breaks and control characters, for titles and table cells."""
    return " ".join(normalise(text).split())


# --- bytes become text ------------------------------------------------------------------------------------------------

_MARKS = (  # longer first: UTF-32's little-endian mark starts with UTF-16's
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"
# Latin-script code pages share most letters, so that detection takes one for another. Where the language is not one
# of the eastern ones, or is not known, Windows-1252 is what such a file is in practice.
_EAST = {"Czech", "Hungarian", "Polish", "Slovak", "Slovene", "Croatian", "Romanian", "Turkish", "Lithuanian"}
_EAST |= {"Latvian", "Estonian", "Vietnamese"}
_LATIN = re.compile(r"cp12(?:50|52|54|57|58)|cp(?:437|775|85\d|86\d|1140|1026)|(?:iso8859|mac)_\w+|latin_1|hp_roman8")
_NOT_IN_WORDS = re.compile(r"[^\W\d_][¡-¿×÷†‡ˆ‰˜™\u0080-\u009f]+[^\W\d_]")


def decode(data: bytes, declared: str | None = None) -> tuple[str, str | None]:
    """Text (normalised) and the encoding, ``None`` for UTF-8.

    A byte order mark decides; then UTF-8; then ``declared`` (what an HTML page says of itself); then detection.

    Raises:
        SourceError: the bytes are not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            text = data.decode(encoding, "replace")
            return normalise(text), None if encoding == "utf-8" else encoding
    start = data[:4096]
    zeros = start.count(0)
    if zeros * 10 > len(start) >= 16:
        # Half of the bytes of UTF-16 in a Latin script are zero, all in the same place.
        encoding = "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
        if zeros < 0.6 * len(start) and min(start[::2].count(0), start[1::2].count(0)) * 20 < zeros:
            return normalise(data.decode(encoding, "replace")), encoding
        raise _binary()
    if declared and data.isascii() and b"\x1b" in data:  # ISO-2022-JP and its kin
        return normalise(data.decode(declared, "replace")), declared
    try:
        return normalise(data.decode("utf-8")), None
    except UnicodeDecodeError:
        pass
    if len(start.translate(None, _CONTROLS)) < 0.95 * len(start):
        raise _binary()
    if declared:
        try:
            return normalise(data.decode(declared)), declared
        except (UnicodeDecodeError, LookupError):
            pass
    return _detect(data)


def _detect(data: bytes) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    # Only lines with other than ASCII tell anything, and 64 KiB of them tell enough.
    telling = b"\n".join(line for line in data.splitlines() if not line.isascii())[:65536]
    best = from_bytes(telling).best()
    if best is None or _LATIN.fullmatch(best.encoding):
        western = data.decode("cp1252", "replace")
        if (best is None or best.language not in _EAST) and not _NOT_IN_WORDS.search(western):
            return normalise(western), "cp1252"
    if best is None:
        raise _binary()
    return normalise(data.decode(best.encoding, "replace")), best.encoding


def _binary() -> SourceError:
    return SourceError("not text: the bytes look binary", do="check its type, or convert it to UTF-8 text")


# --- what a document says of itself -----------------------------------------------------------------------------------

_MOST_FIELDS = 200  # of one document: above that it is data, not a description
_DEEPEST = 4


def flatten(fields: Mapping[Any, Any]) -> Metadata:
    """Metadata out of what YAML or JSON gave: lists as tuples, dates as ISO 8601, ``{"a": {"b": 1}}`` as ``a.b``.

    What a filter cannot compare (nulls, infinities, lists of objects) is left out.
    """
    return dict(pair for pair, _ in zip(_flatten(fields, "", 0), range(_MOST_FIELDS), strict=False))


def _flatten(fields: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Scalar | tuple[Scalar, ...]]]:
    for key, value in fields.items():
        name = prefix + one_line(str(key))
        if isinstance(value, Mapping):
            if depth < _DEEPEST:
                yield from _flatten(value, f"{name}.", depth + 1)
        elif isinstance(value, list | tuple | set | frozenset):
            several = tuple(scalar for item in value if (scalar := _scalar(item)) is not None)
            if several:
                yield name, several
        elif (scalar := _scalar(value)) is not None:
            yield name, scalar


def _scalar(value: object) -> Scalar | None:
    match value:
        case str():
            return normalise(value)
        case bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
    return None


# --- language ---------------------------------------------------------------------------------------------------------

# Words that are frequent in one language and rare in the others listed. A trained identifier (py3langid) knows more
# languages and takes 1.4 s to load, which a first `add` would feel.
_FREQUENT = {
    "en": "the of and to is that for with as are this be you by from or not which have it",
    "de": "der die und das ist nicht mit den von ein eine auf für werden sich dem auch wird oder bei",
    "fr": "le les des et est une dans pour que qui sur pas avec au sont ou du ce vous par",
    "es": "el los las y una por con para del que se es como más su al lo pero sus está",
    "pt": "os uma por com para do da que não em um na no como dos ao são mais das pela",
    "it": "il di che per una sono della con non gli del nel è alla le dei più anche si delle",
    "nl": "het een van en dat niet zijn voor met op te aan wordt ook worden bij naar deze als door",
    "sv": "och att det som en är på för av med till den inte om ett har kan från eller ska",
    "da": "og at det som en er på for af med til den ikke om et har kan fra eller skal",
    "nb": "og at det som en er på for av med til den ikke om et har kan fra eller skal",
    "fi": "ja on ei se että tai ovat kun myös voi jos mutta oli joka sekä ole sen tämä niin kuin",
    "pl": "i w na z do się nie jest że to od dla przez oraz jak po są lub być może",
    "cs": "a v na se je že to s z do pro jsou ve od by jako při nebo které podle",
    "hu": "a az és hogy nem is egy van meg ez csak vagy mint ha de kell azt lehet által minden",
    "ro": "și în de la cu pe nu care din este pentru sau mai sunt un fi prin ca se au",
    "tr": "ve bir bu için ile olarak da de olan daha en çok gibi kadar sonra her ya veya göre ise",
    "id": "yang dan di dengan untuk dari pada dalam ini tidak adalah ke akan atau oleh dapat itu sebagai telah anda",
}
_SCRIPTS = (  # one language each, or none named: Arabic script is Persian's and Urdu's too, and so on
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7a3]")),
    ("zh", re.compile("[\u4e00-\u9fff]")),
    ("el", re.compile("[\u0370-\u03ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("ur", re.compile("[ٹڈڑںےھ]")),
    ("fa", re.compile("[پچژگی]")),
    ("ar", re.compile("[\u0620-\u064a]")),
    ("uk", re.compile("[іїєґІЇЄҐ]")),
    ("ru", re.compile("[а-яёА-ЯЁ]")),
)
_OWN_SHARE = {"ja": 0.1, "ur": 0.04, "fa": 0.06, "uk": 0.03}  # of the letters; a script that stands among another's
_LETTERS = re.compile(r"[^\W\d_]+")
_SPEAKERS: dict[str, list[str]] = {}  # word → the languages in which it is frequent
for _code, _words in _FREQUENT.items():
    for _word in _words.split():
        if len(_word) > 1:  # lone letters are variables and list marks in any language
            _SPEAKERS.setdefault(_word, []).append(_code)


def language_of(text: str) -> str | None:
    """ISO 639-1 code of the language that the text's beginning is in; ``None`` when it is too short or not clear."""
    start = text[:2000]
    words = _LETTERS.findall(start)
    letters = sum(map(len, words))
    if letters < 40:
        return None
    if letters - len(re.findall("[A-Za-z\u00c0-\u024f]", start)) > 0.5 * letters:
        for language, script in _SCRIPTS:
            if len(script.findall(start)) > _OWN_SHARE.get(language, 0.5) * letters:
                return language
        return None
    if len(words) < 12:
        return None
    counts = Counter(code for word in words for code in _SPEAKERS.get(word.lower(), ()))
    (language, most), (other, second), (_, third) = [*counts.most_common(3), ("", 0), ("", 0), ("", 0)][:3]
    if {language, other} == {"da", "nb"}:  # all but the same words
        language, second = ("da" if counts["da"] > counts["nb"] else "nb"), third
    return language if most >= max(4, 0.12 * len(words)) and most >= 1.4 * second else None


# --- tables -----------------------------------------------------------------------------------------------------------


def pipe_table(rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table whose first row is the header; line breaks in cells become blanks, pipes are escaped.

    Rows may differ in length; empty rows and empty columns are left out. Nothing in, nothing out.
    """
    cells = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    width = max(map(len, cells), default=0)
    used = [column for column in range(width) if any(column < len(row) and row[column] for row in cells)]
    lines = ["| " + " | ".join(row[column] if column < len(row) else "" for column in used) + " |" for row in cells]
    if lines:
        lines.insert(1, "|" + " --- |" * len(used))
    return "\n".join(lines)
