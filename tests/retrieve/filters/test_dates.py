"""Dates as questions write them."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.retrieve.filters.dates import iso, moved, periods

TODAY = date(2026, 3, 31)  # a Tuesday, and the last of a month longer than the one before


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("in 2021", "2021-01-01", "2022-01-01"),
        ("March 2020", "2020-03-01", "2020-04-01"),
        ("Sept. 2020", "2020-09-01", "2020-10-01"),
        ("may 2020", "2020-05-01", "2020-06-01"),
        ("5 March 2020", "2020-03-05", "2020-03-06"),
        ("the 5th of March, 2020", "2020-03-05", "2020-03-06"),
        ("October 31, 2023", "2023-10-31", "2023-11-01"),
        ("2021-12", "2021-12-01", "2022-01-01"),
        ("2021-12-31", "2021-12-31", "2022-01-01"),
        ("Q4 2022", "2022-10-01", "2023-01-01"),
        ("2022 Q1", "2022-01-01", "2022-04-01"),
        ("yesterday", "2026-03-30", "2026-03-31"),
        ("this week", "2026-03-30", "2026-04-06"),
        ("last week", "2026-03-23", "2026-03-30"),
        ("last month", "2026-02-01", "2026-03-01"),
        ("past month", "2026-02-28", "2026-04-01"),
        ("last quarter", "2025-10-01", "2026-01-01"),
        ("this year", "2026-01-01", "2027-01-01"),
        ("the last 3 months", "2025-12-31", "2026-04-01"),
        ("two weeks ago", "2026-03-16", "2026-03-23"),
        ("a year ago", "2025-01-01", "2026-01-01"),
        ("older than 2 years", "2024-03-31", "2024-03-31"),
    ],
)
def test_a_date_is_the_days_that_it_means(text: str, first: str, after: str) -> None:
    [found] = periods(text, TODAY)
    assert (found.first.isoformat(), found.after.isoformat()) == (first, after)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "😀",
        "31-31-2020",
        "2021-13-45",
        "$2021",
        "2021%",
        "12345",
        "in may",
        "port 20211",
        "v2021",
        "2021.5",
        "٢٠٢١",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert periods(text, TODAY) == []


@given(st.text(alphabet="0123456789 -QMarchlastdaysgoweek./", max_size=60), st.dates())
def test_dates_stand_in_order_and_mean_days(text: str, today: date) -> None:
    found = periods(text, today)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(one.first <= one.after for one in found)


@given(st.dates(min_value=date(1600, 1, 1), max_value=date(2400, 1, 1)), st.integers(-2400, 2400))
def test_so_many_months_later_is_in_that_month(day: date, months: int) -> None:
    later = moved(day, months)
    assert later.year * 12 + later.month == day.year * 12 + day.month + months
    assert later.day <= day.day


@given(st.dates(), st.dates())
def test_bounds_sort_as_their_days(one: date, other: date) -> None:
    assert (iso(one) < iso(other)) == (one < other)
