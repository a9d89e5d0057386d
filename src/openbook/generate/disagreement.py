"""Evidence that disagrees: a superseded policy beside the current one. Found by rules, whoever wrote the answer.

Two documents disagree where, of different dates or versions, they have nearly the same sentence with another value in
the same place (a number, a date, an amount, allowed or forbidden), or the same sentence once with and once without a
"not"; and the words of the question stand in or above both. What stands in the answer's citations is compared with
what else was found, and with nothing beyond that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain

from openbook.generate.extractive import STOP, Unit, units
from openbook.recipe import Disagreements
from openbook.types import Citation, Disagreement, Hit, Metadata

_ALIKE = 0.6
"""The share of two sentences' words that stand in both in the same order, from which they say the same of the same
thing, where their headings or their documents' titles are the same."""
_ALIKE_ANYWHERE = 0.85
"""The same, where nothing else says that they do."""
_WORDS_ANYWHERE = 5
"""So many words, besides the commonest, must two sentences share then."""
_LONGEST = 80
"""Words of a sentence that are compared. Longer ones are lists and tables without lines."""

_STOPPED = frozenset(STOP.split())


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SUPERSEDED = _set(
    "superseded obsolete deprecated archived withdrawn retired expired outdated replaced repealed revoked"
)
_STATUS = ("status", "state")
_SUCCESSOR = ("superseded_by", "replaced_by")

_TOKEN = re.compile(
    r"v?\d+(?:\.\d+){2,}|\bv\d+(?:\.\d+)*\b"  # a version
    r"|\d{4}-\d{2}-\d{2}"
    r"|[$€£¥]\s?\d[\d,.]*\d|[$€£¥]\s?\d|\d[\d,.]*\d\s?(?:%|[$€£¥])|\d\s?(?:%|[$€£¥])"
    r"|\d[\d,.:]*\d|\d"
    r"|[^\W\d_]+(?:['’][^\W\d_]+)?",
    re.IGNORECASE,
)
_VERSION = re.compile(r"v?\d+(?:\.\d+){2,}|v\d+(?:\.\d+)*", re.IGNORECASE)
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NUMBERS = {word: str(number) for number, word in enumerate(_SMALL.split())} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "ninety": "90",
    "hundred": "100",
    "both": "2",
    "twice": "2",
}
_CALENDAR = _set(
    "january february march april june july august september october november december monday tuesday wednesday "
    "thursday friday saturday sunday"
)
_OPPOSITES = {
    word: (str(pair), side)
    for pair, sides in enumerate(
        (
            ("allowed permitted", "forbidden prohibited banned disallowed"),
            ("required mandatory compulsory obligatory", "optional voluntary"),
            ("enabled", "disabled"),
            ("included", "excluded"),
            ("true", "false"),
        )
    )
    for side, words in enumerate(sides)
    for word in words.split()
}
_YES_NO = {"yes": "+yes", "no": "-yes"}
"""An answer's first word."""
_NOT = _set("not no never cannot can't don't doesn't isn't aren't won't mustn't neither nor without")
_NAMING = _set(
    "section chapter page figure fig table clause article step appendix note paragraph item number version level "
    "release phase part"
)
"""A number after one of these is a name, and says nothing that another could contradict."""
_OF_ITSELF = re.compile(
    r"\b(?:last (?:updated|modified|reviewed|changed)|updated on|revised|copyright|published|effective|valid|version)\b"
    r"|©",
    re.IGNORECASE,
)
"""What a document says of its own date."""

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class _Said:
    """A sentence: its words with every value as a mark, the values by their places, and what stands above it."""

    words: tuple[str, ...]
    values: dict[int, str]
    heading: str
    above: frozenset[str]
    start: int  # in the document
    end: int

    @property
    def telling(self) -> frozenset[str]:
        return frozenset(word for word in self.words if word[0].isalpha() and word not in _STOPPED)


def disagreements(
    question: str, citations: Sequence[Citation], hits: Sequence[Hit], part: Disagreements
) -> tuple[Disagreement, ...]:
    """What of the ``hits`` says otherwise than what is cited, each pair of places once.

    Where the question names the version or the date of what is cited, other ones are not told: they were not asked for.
    """
    seen: set[frozenset[tuple[str, int, int]]] = set()
    told: list[Disagreement] = []
    everything = list(chain.from_iterable((hit, *hit.also) for hit in hits))
    asked = frozenset(_key(word) for word in _TOKEN.findall(question) if word.casefold() not in _STOPPED)
    read: dict[int, list[_Said]] = {}

    def sentences(hit: Hit) -> list[_Said]:
        if id(hit) not in read:
            read[id(hit)] = list(_sentences(hit))
        return read[id(hit)]

    for cited in citations:
        mine = next((hit for hit in everything if _holds(hit, cited)), None)
        if mine is None:
            continue
        quoted = [said for said in sentences(mine) if said.start < cited.end and cited.start < said.end]
        for other in everything:
            dates = None if other.document == mine.document else apart(mine, other, part.dates)
            if dates is None or _names(question, dates[1]):
                continue
            for said in quoted:
                found = next((one for one in sentences(other) if _differ(said, one, asked, mine, other)), None)
                if found is None:
                    continue
                pair = frozenset({(mine.document, said.start, said.end), (other.document, found.start, found.end)})
                if pair in seen:
                    continue
                seen.add(pair)
                places = [(mine.cite(said.start, said.end), dates[1]), (other.cite(found.start, found.end), dates[2])]
                (older, was), (newer, is_) = places if dates[0] else places[::-1]
                told.append(Disagreement(older, newer, (was, is_)))
    return tuple(told)


def apart(a: Hit, b: Hit, fields: Sequence[str]) -> tuple[bool, str, str] | None:
    """Whether ``a`` is the older one, and what tells so of each; ``None`` where nothing tells them apart.

    A status goes before a date, and the year or version in a title or a path ("Leave policy 2021") counts where no
    field tells.
    """
    old = _is_superseded(a), _is_superseded(b)
    dated: tuple[bool, str, str] | None = None
    for field in fields:
        mine, its = _value(a.metadata, field), _value(b.metadata, field)
        if mine and its and _order(mine) != _order(its):
            dated = _order(mine) < _order(its), mine, its
            break
    for mine, its in ((a.title, b.title), (_path(a), _path(b))):
        if dated is None and mine != its and _family(mine) == _family(its):
            mine, its = (" ".join(_DIGITS.findall(text)) for text in (mine, its))
            if mine and its:
                dated = _order(mine) < _order(its), mine, its
    if old[0] == old[1]:
        return dated
    told = dated[1:] if dated else ("", "")
    mine, its = ("superseded" + (f", {t}" if t else "") if is_old else t for is_old, t in zip(old, told, strict=True))
    return old[0], mine, its


def dates_of(hit: Hit, fields: Sequence[str]) -> str:
    """What tells the age of a hit's document, for a language model to read."""
    told = [f"{field} {value}" for field in fields if (value := _value(hit.metadata, field))][:2]
    return "; ".join([*told, *(["superseded"] if _is_superseded(hit) else [])])


# --- two sentences ----------------------------------------------------------------------------------------------------


def _differ(a: _Said, b: _Said, asked: frozenset[str], mine: Hit, its: Hit) -> bool:
    """Whether both say of what was asked the same thing, with another value."""
    shared = a.telling & b.telling
    if not shared or 2 * len(shared) < min(len(a.telling), len(b.telling)):
        return False
    here, there = asked & (a.telling | a.above), asked & (b.telling | b.above)
    if here - there or not here:  # of another flag, another city
        return False
    related = bool(a.heading) and a.heading == b.heading
    related = related or (a.heading == b.heading and _family(mine.title) == _family(its.title) != "")
    matched = SequenceMatcher(None, a.words, b.words, autojunk=False)
    if related:
        if matched.ratio() < _ALIKE:
            return False
    elif matched.ratio() < _ALIKE_ANYWHERE or len(shared) < _WORDS_ANYWHERE:
        return False
    ignored = _own_numbers(mine) | _own_numbers(its)
    for i, j, n in matched.get_matching_blocks():
        for k in range(n):
            mine_, its_ = a.values.get(i + k), b.values.get(j + k)
            if mine_ and its_ and mine_ != its_ and not {mine_, its_} & ignored:
                return True
    return _is_negated(a.words, b.words, matched, more=1 if related else 0)


def _is_negated(a: Sequence[str], b: Sequence[str], matched: SequenceMatcher[str], more: int) -> bool:
    """Whether the one sentence is the other with a "not" in it, and at most so many ``more`` words are different."""
    changes = [(a[i:j], b[k:m]) for tag, i, j, k, m in matched.get_opcodes() if tag != "equal"]
    told = [word for change in changes for side in change for word in side if word not in _STOPPED or word in _NOT]
    nots = [sum(word in _NOT for change in changes for word in change[side]) for side in (0, 1)]
    return sorted(nots) == [0, 1] and sum(word[0].isalpha() and word not in _NOT for word in told) <= more


def _sentences(hit: Hit) -> Iterator[_Said]:
    above = frozenset(_key(word) for text in (hit.title, *hit.chunk.headings) for word in _TOKEN.findall(text))
    for unit in units(0, hit.chunk.text):
        yield _said(unit, hit, above)


def _said(unit: Unit, hit: Hit, above: frozenset[str]) -> _Said:
    heading = unit.heading or (hit.chunk.headings[-1] if hit.chunk.headings else "")
    named = (unit.heading, unit.lead_text)
    of_itself = bool(_OF_ITSELF.search(unit.bare))
    words: list[str] = []
    values: dict[int, str] = {}
    for match in list(_TOKEN.finditer(unit.bare))[:_LONGEST]:
        value = "" if words and words[-1] in _NAMING else _value_of(match[0])
        if not words:
            value = _YES_NO.get(match[0].casefold(), value)
        if value and not (of_itself and value[0].isdigit() and len(value) in (4, 10)):
            values[len(words)] = value
        words.append(_mark(match[0], value))
    return _Said(
        tuple(words),
        values,
        _family(heading),
        above | {_key(word) for text in named for word in _TOKEN.findall(text)},
        hit.chunk.start + unit.start,
        hit.chunk.start + unit.end,
    )


def _value_of(token: str) -> str:
    """What could be another: a number, an amount, a date, one of two opposites; ``""``: a word."""
    low = token.casefold()
    if _VERSION.fullmatch(low):
        return ""
    if low in _OPPOSITES:
        pair, side = _OPPOSITES[low]
        return f"{'+-'[side]}{pair}"
    if low in _CALENDAR:
        return low
    low = _NUMBERS.get(low, low)
    return low.replace(",", "").replace(" ", "").removesuffix(".0") if any(c.isdigit() for c in low) else ""


def _mark(token: str, value: str) -> str:
    """A word as it is compared; of values only their kind."""
    if not value:
        return "#v" if _VERSION.fullmatch(token) else _key(token)
    if value[0] in "+-":
        return f"#{value[1:]}"
    return "#day" if value in _CALENDAR else "#" + "".join(c for c in value if c in "$€£¥%")


def _key(word: str) -> str:
    """A word without the endings that matter little."""
    low = word.casefold().replace("’", "'")
    if low in _NOT or low in _STOPPED or low in _NAMING:
        return low
    return low[:7].removesuffix("s") or low


# --- what is known of a document --------------------------------------------------------------------------------------


def _is_superseded(hit: Hit) -> bool:
    """By its status, its successor, or a word of its title."""
    stated = (str(hit.metadata.get(field, "")) for field in _STATUS)
    words = {word for text in (*stated, hit.title) for word in re.findall(r"[a-z]+", text.casefold())}
    return bool(words & _SUPERSEDED) or any(hit.metadata.get(field) for field in _SUCCESSOR)


def _path(hit: Hit) -> str:
    return str(hit.metadata.get("path") or hit.source)


def _value(metadata: Metadata, field: str) -> str:
    value = metadata.get(field, "")
    value = "" if isinstance(value, tuple | bool) else str(value)
    # Of a time the day counts: files that were written together are of one date.
    return value[:10] if re.match(r"\d{4}-\d{2}-\d{2}", value) else value


def _order(value: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in _DIGITS.findall(value)[:6] if len(digits) < 10)


def _family(title: str) -> str:
    """A title without what tells its editions apart."""
    words = [word for word in re.findall(r"[^\W\d_]+", title.casefold()) if word not in _SUPERSEDED]
    return " ".join(word for word in words if word not in ("v", "version", "current", "new"))


def _own_numbers(hit: Hit) -> set[str]:
    """Numbers by which a document is named or dated: they differ because the documents do."""
    texts = (hit.title, *(str(value) for value in hit.metadata.values() if isinstance(value, str | int)))
    return {digits for text in texts for digits in _DIGITS.findall(text) if len(digits) >= 4}


def _names(question: str, label: str) -> bool:
    """Whether the question says the date or version of what is cited, or its year."""
    digits = _DIGITS.findall(label)
    if not digits:
        return False
    wanted = digits[:1] if len(digits[0]) == 4 else digits[:2]
    return re.search(r"(?<![\d.])" + r"[.\-]".join(wanted) + r"(?!\d)", question) is not None


def _holds(hit: Hit, cited: Citation) -> bool:
    chunk = hit.chunk
    same = (hit.document, hit.version) == (cited.document, cited.version)
    return same and chunk.start <= cited.start and cited.end <= chunk.end
