"""The checker of histories, on histories made up to be wrong: each must be found out, and their right twins not."""

from __future__ import annotations

import pytest
from tests.reliability.documents import Face
from tests.reliability.history import Event, impossible

A, B, C = Face(1, 3), Face(2, 6), Face(3, 9)  # all of them public
HR = Face(4, 13)  # group:hr
FOREVER = float("inf")


def put(process: int, start: float, end: float, **faces: Face) -> Event:
    return Event(process, start, end, "put", faces)


def seen(process: int, start: float, end: float, **faces: Face) -> Event:
    return Event(process, start, end, "seen", faces)


def gone(process: int, start: float, end: float, source: str) -> Event:
    return Event(process, start, end, "remove", {source: None})


RIGHT = {
    "a write is seen after it": [put(0, 0, 1, x=A), seen(1, 2, 3, x=A)],
    "a write under way is seen or not": [put(0, 0, 9, x=A), seen(1, 1, 2), seen(1, 3, 4, x=A)],
    "two at once, in either order": [put(0, 0, 2, x=A), put(1, 0, 2, x=B), seen(0, 3, 4, x=A), seen(1, 5, 6, x=A)],
    "a removed document is gone": [put(0, 0, 1, x=A), gone(1, 2, 3, "x"), seen(0, 4, 5)],
    "nobody knows of it, and it was done": [put(0, 0, FOREVER, x=A), seen(1, 5, 6, x=A)],
    "nobody knows of it, and it was not": [put(0, 0, FOREVER, x=A), seen(1, 5, 6)],
    "a batch is seen whole": [put(0, 0, 3, x=A, y=A), seen(1, 1, 2, x=A, y=A)],
    "who may not see it does not": [put(0, 0, 1, x=HR), Event(1, 2, 3, "seen", {}, "group:it")],
    "removed by another just before": [put(0, 0, 1, x=A), gone(1, 2, 4, "x"), Event(0, 3, 5, "missed", {"x": None})],
}
WRONG = {
    "an acknowledged write is not seen": [put(0, 0, 1, x=A), seen(1, 2, 3)],
    "its own write is not seen": [put(0, 0, 1, x=A), put(0, 2, 3, x=B), seen(0, 4, 5, x=A)],
    "an update is lost": [put(0, 0, 1, x=A), put(1, 2, 3, x=B), seen(0, 4, 5, x=B), seen(0, 6, 7, x=A)],
    "a removed document comes back": [put(0, 0, 1, x=A), gone(1, 2, 3, "x"), seen(0, 4, 5), seen(1, 6, 7, x=A)],
    "what nobody wrote": [put(0, 0, 1, x=A), seen(1, 2, 3, x=A, y=B)],
    "half a batch": [put(0, 0, 9, x=A, y=A), seen(1, 1, 2, x=A)],
    "two searches in two orders": [
        *(put(0, 0, 9, x=A), put(1, 0, 9, y=A)),
        *(seen(2, 1, 2, x=A), seen(3, 3, 4, y=A)),
    ],
    "seen, and then not": [put(0, 0, 9, x=A), seen(1, 1, 2, x=A), seen(2, 3, 4)],
    "who may not see it does": [put(0, 0, 1, x=HR), Event(1, 2, 3, "seen", {"x": HR}, "group:it")],
    "removed twice": [put(0, 0, 1, x=A), gone(0, 2, 3, "x"), gone(1, 4, 5, "x")],
    "missed though it was there": [put(0, 0, 1, x=A), Event(1, 2, 3, "missed", {"x": None})],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_history_is_explained(name: str) -> None:
    assert impossible(RIGHT[name]) is None


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_history_is_found_out(name: str) -> None:
    assert impossible(WRONG[name]) is not None


def test_the_report_names_what_was_seen_and_what_was_expected() -> None:
    told = impossible(WRONG["its own write is not seen"])
    assert told is not None
    assert f"'x': ({A}, {B})" in told
