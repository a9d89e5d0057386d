"""Newer documents before older ones that say as much."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from openbook.recipe import Recency
from openbook.retrieve.stages import Candidate, placed, said

_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2}))?")
_DAY = 86_400.0


def by_recency(candidates: Sequence[Candidate], part: Recency) -> list[Candidate]:
    """Of the first ``part.candidates``, those whose documents are older fall back.

    Ages count from the newest of them and not from today: the answer to a question does not change while nothing
    else does. Its score is taken as what it is ahead of the lowest by, which is the same whatever its unit.
    """
    head = candidates[: part.candidates]
    now = datetime.now(UTC)
    dates = {}
    for at, candidate in enumerate(head):
        if (date := date_of(candidate.hit.metadata.get(part.field))) is not None:
            dates[at] = min(date, now)  # what is dated tomorrow makes nothing else old
    if not dates:
        return list(candidates)
    newest = max(dates.values())
    fresh = {at: 0.5 ** ((newest - date).total_seconds() / _DAY / part.half_life_days) for at, date in dates.items()}
    usual = median(fresh.values())
    lowest = min(candidate.hit.score for candidate in head)
    scores = {
        at: lowest + (candidate.hit.score - lowest) * (1.0 - part.weight * (1.0 - fresh.get(at, usual)))
        for at, candidate in enumerate(head)
    }
    return placed(said(candidates, "recency", fresh), scores)


def date_of(value: object) -> datetime | None:
    """What a metadata value says as a date: ISO 8601 text, from the year alone on, or a year as a number; of several
    the latest. ``None``: it is none.

    >>> date_of("2021-05"), date_of(1999), date_of("soon")
    (datetime.datetime(2021, 5, 1, 0, 0, tzinfo=datetime.timezone.utc), datetime.datetime(1999, 1, 1, 0, 0, ...), None)
    """
    if isinstance(value, tuple | list):
        return max((date for each in value if (date := date_of(each)) is not None), default=None)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        if not isinstance(value, str):
            return datetime(int(value), 1, 1, tzinfo=UTC)
        text = value.strip()
        if partial := _PARTIAL.fullmatch(text):
            return datetime(int(partial[1]), int(partial[2] or 1), 1, tzinfo=UTC)
        date = datetime.fromisoformat(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
