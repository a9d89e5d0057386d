"""Dates as questions write them: 2021, March 2020, 5 March 2020, Q3 2022, 2021-03-05, last month, three weeks ago."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august"),
    *("september", "october", "november", "december"),
)
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" if month[3:] else month for month in _MONTHS) + "|sept"
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_COUNTS |= {"a": 1, "an": 1, "ten": 10, "eleven": 11, "twelve": 12}
_COUNT = rf"\d{{1,3}}|{'|'.join(_COUNTS)}"
_UNIT = "day|week|month|quarter|year"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"


@dataclass(frozen=True, slots=True)
class Period:
    """Where in the question a date stands, and what it means: the days from ``first`` on, before ``after``.

    ``relative``: it is told from today. ``ago``: it is a distance ("two years"), and ``first`` the day that far back.
    """

    start: int
    end: int
    first: date
    after: date
    relative: bool = False
    ago: bool = False


def periods(text: str, today: date) -> list[Period]:
    """The dates in ``text``, in their order; none overlaps another, and what is no day of the calendar is none."""
    found: list[Period] = []
    for pattern, read in _FORMS:
        for match in pattern.finditer(text):
            if any(match.start() < one.end and one.start < match.end() for one in found):
                continue
            try:
                first, after = read(match, today)
                relative, ago = pattern in _RELATIVE, pattern is _DISTANCE
                found.append(Period(match.start(), match.end(), first, after, relative, ago))
            except (ValueError, OverflowError):
                continue  # 31 February, or a thousand years before the calendar's first
    return sorted(found, key=lambda one: one.start)


def iso(day: date) -> str:
    """A bound as short as it can be said, so that it compares with dates that name the month or the year alone.

    >>> iso(date(2021, 1, 1)), iso(date(2021, 3, 1)), iso(date(2021, 3, 5))
    ('2021', '2021-03', '2021-03-05')
    """
    return f"{day.year:04}" if (day.month, day.day) == (1, 1) else day.isoformat()[: 7 if day.day == 1 else 10]


Span = tuple[date, date]


def _day(year: int, month: int, day: int) -> Span:
    first = date(year, month, day)
    return first, first + timedelta(1)


def _months(first: date, count: int) -> Span:
    return first, moved(first, count)


def moved(day: date, months: int) -> date:
    """So many months later; the last day of a month where it has none of that number."""
    number = day.year * 12 + day.month - 1 + months
    year, month = divmod(number, 12)
    for last in range(day.day, 27, -1):
        try:
            return date(year, month + 1, last)
        except ValueError:
            continue
    return date(year, month + 1, min(day.day, 27))


def _iso(match: re.Match[str], _: date) -> Span:
    year, month, day = match.groups()
    return _day(int(year), int(month), int(day)) if day else _months(date(int(year), int(month), 1), 1)


def _day_first(match: re.Match[str], _: date) -> Span:
    day, month, year = match.groups()
    return _day(int(year), _number(month), int(day))


def _month_first(match: re.Match[str], _: date) -> Span:
    month, day, year = match.groups()
    return _day(int(year), _number(month), int(day))


def _of_month(match: re.Match[str], _: date) -> Span:
    return _months(date(int(match[2]), _number(match[1]), 1), 1)


def _quarter(match: re.Match[str], _: date) -> Span:
    quarter, year = (match[1], match[2]) if match[1] else (match[4], match[3])
    return _months(date(int(year), 3 * int(quarter) - 2, 1), 3)


def _year(match: re.Match[str], _: date) -> Span:
    return _months(date(int(match[1]), 1, 1), 12)


def _near(match: re.Match[str], today: date) -> Span:
    day = today - timedelta(match[1].lower() == "yesterday")
    return day, day + timedelta(1)


def _calendar(match: re.Match[str], today: date) -> Span:
    """This month, last year; "past" is no calendar's: the past month began a month ago."""
    which, unit = match[1].lower(), match[2].lower()
    if which == "past":
        return _back(today, 1, unit), today + timedelta(1)
    back = 0 if which in ("this", "current") else 1
    if unit == "day":
        return today - timedelta(back), today - timedelta(back - 1)
    if unit == "week":
        monday = today - timedelta(today.weekday() + 7 * back)
        return monday, monday + timedelta(7)
    length = {"month": 1, "quarter": 3, "year": 12}[unit]
    month = (today.month - 1) // length * length + 1
    return _months(moved(date(today.year, month, 1), -length * back), length)


def _rolling(match: re.Match[str], today: date) -> Span:
    return _back(today, _count(match[1]), match[2].lower()), today + timedelta(1)


def _ago(match: re.Match[str], today: date) -> Span:
    """The day, week, month or year that lies so far back."""
    unit = match[2].lower()
    first = _back(today, _count(match[1]), unit)
    if unit == "day":
        return first, first + timedelta(1)
    if unit == "week":
        monday = first - timedelta(first.weekday())
        return monday, monday + timedelta(7)
    length = {"month": 1, "quarter": 3, "year": 12}[unit]
    month = (first.month - 1) // length * length + 1
    return _months(date(first.year, month, 1), length)


def _distance(match: re.Match[str], today: date) -> Span:
    first = _back(today, _count(match[1]), match[2].lower())
    return first, first


def _back(today: date, count: int, unit: str) -> date:
    if unit in ("day", "week"):
        return today - timedelta(count * (7 if unit == "week" else 1))
    return moved(today, -count * {"month": 1, "quarter": 3, "year": 12}[unit])


def _number(month: str) -> int:
    return next(at for at, name in enumerate(_MONTHS, 1) if name.startswith(month.lower()[:3]))


def _count(text: str) -> int:
    return int(text) if text.isdigit() else _COUNTS[text.lower()]


def _pattern(form: str) -> re.Pattern[str]:
    return re.compile(form, re.IGNORECASE | re.ASCII)


_YEAR = r"((?:19|20)\d\d)"
_DISTANCE = _pattern(rf"\b(?<=than )({_COUNT}) ({_UNIT})s?\b(?! ago)")
_RELATIVE = (
    _pattern(r"\b(today|yesterday)\b"),
    _pattern(rf"\b(this|current|last|previous|past) ({_UNIT})\b"),
    _pattern(rf"\b(?:last|past|previous) ({_COUNT}) ({_UNIT})s?\b"),
    _pattern(rf"\b({_COUNT}) ({_UNIT})s? ago\b"),
    _DISTANCE,
)
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], date], Span]], ...] = (
    (_pattern(rf"(?<![\w.-]){_YEAR}-(\d\d)(?:-(\d\d))?(?![\w-])"), _iso),
    (_pattern(rf"\b{_DAY} (?:of )?({_MONTH})\.?,? {_YEAR}\b"), _day_first),
    (_pattern(rf"\b({_MONTH})\.? {_DAY},? {_YEAR}\b"), _month_first),
    (_pattern(rf"\b({_MONTH})\.?,? (?:of )?{_YEAR}\b"), _of_month),
    (_pattern(rf"\bQ([1-4])[ /-]?(?:of )?{_YEAR}\b|\b{_YEAR}[ /-]?Q([1-4])\b"), _quarter),
    (_RELATIVE[0], _near),
    (_RELATIVE[1], _calendar),
    (_RELATIVE[2], _rolling),
    (_RELATIVE[3], _ago),
    (_DISTANCE, _distance),
    (_pattern(rf"(?<![\w.$€£-]){_YEAR}(?![\w%-]|\.\d)"), _year),
)
