"""A superseded policy beside the current one is told with the answer; what only looks like it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.generate.disagreement import apart, disagreements
from openbook.recipe import Disagreements
from openbook.types import Chunk, Disagreement, Hit

FIELDS = Disagreements().dates


def hit(name: str, text: str, title: str = "Leave policy", heading: str = "", **metadata: Any) -> Hit:
    chunk = Chunk(7, 7 + len(text), text, headings=(heading,) if heading else ())
    return Hit(name, 1, f"file:///{name}.md", title, chunk, 1.0, metadata=metadata)


def told(question: str, a: Hit, b: Hit, quote: str = "") -> tuple[Disagreement, ...]:
    """What is told where ``quote`` (default: the whole) of ``a`` is cited, and ``b`` was found as well."""
    start = a.chunk.start + (a.chunk.text.index(quote) if quote else 0)
    cited = a.cite(start, start + len(quote or a.chunk.text))
    return disagreements(question, [cited], [a, b], Disagreements())


OLD, NEW = {"effective": "2021-01-01"}, {"effective": "2024-04-01"}


@pytest.mark.parametrize(
    ("question", "old", "new"),
    [
        ("How many sick days do I get?", "You get ten paid sick days a year.", "You get 14 paid sick days a year."),
        (
            "How much is the meal allowance?",
            "The meal allowance is $25 a day, paid with the salary.",
            "The meal allowance is $40.50 a day, paid with the salary.",
        ),
        ("When do vacation days lapse?", "Vacation days lapse on 31 March.", "Vacation days lapse on 30 June."),
        (
            "May I work from abroad?",
            "You may work from abroad with your manager's approval.",
            "You may not work from abroad with your manager's approval.",
        ),
        ("Are pets allowed in the office?", "Pets are allowed in the office.", "Pets are forbidden in the office."),
        (
            "What is the per diem in Berlin?",
            "| City | EUR |\n|---|---|\n| Berlin | 52 |",
            "| City | EUR |\n|---|---|\n| Berlin | 48 |",
        ),
        (
            "How many days ahead must I ask for leave?",
            "Ask for leave at least 10 days ahead in the portal.",
            "You must ask for leave in the portal at least 21 days ahead.",
        ),
        (
            "Does travel count as working time?",
            "Travel does not count as working time.",
            "Travel counts as working time at one half.",
        ),
        (
            "How many days back do I get?",
            "For a weekend you get one day back.",
            "For a weekend you get both days back.",
        ),
        ("Is a doctor's note required?", "A doctor's note is required.", "A doctor's note is optional."),
    ],
)
def test_another_value_in_the_same_place_of_another_edition_is_told_with_both_dates(
    question: str, old: str, new: str
) -> None:
    a, b = hit("old", old, **OLD), hit("new", new, **NEW)
    for first, second in ((a, b), (b, a)):
        (one,) = told(question, first, second)
        assert (one.older.document, one.newer.document) == ("old", "new")
        assert one.dates == ("2021-01-01", "2024-04-01")
        for place, of in ((one.older, a), (one.newer, b)):
            assert of.chunk.text[place.start - 7 : place.end - 7] == place.quote


@pytest.mark.parametrize(
    ("question", "a", "b"),
    [
        pytest.param(
            "How many sick days do I get?", "You get ten sick days.", "You get 10 sick days.", id="same number"
        ),
        pytest.param(
            "How many sick days do I get?", "You get ten sick days.", "You get 25 vacation days.", id="other days"
        ),
        pytest.param(
            "How many people live in Berlin?",
            "Berlin has 3,600,000 inhabitants in all.",
            "Paris has 2,100,000 inhabitants in all.",
            id="another city",
        ),
        pytest.param(
            "Where is the leave policy?", "See section 4 of the policy.", "See section 5 of the policy.", id="a section"
        ),
        pytest.param(
            "When was the policy updated?", "Last updated on 2021-01-01.", "Last updated on 2024-04-01.", id="own date"
        ),
        pytest.param("How many sick days?", "You get sick days.", "Nobody got 14 of them yesterday.", id="other words"),
        pytest.param("Which etcd runs here?", "etcd v3.4 runs here.", "etcd v3.5 runs here.", id="a version"),
    ],
)
def test_what_is_no_contradiction_is_not_told(question: str, a: str, b: str) -> None:
    assert told(question, hit("a", a, **OLD), hit("b", b, **NEW)) == ()


WORDS = st.sampled_from(
    [
        *(
            "sick ",
            "days ",
            "ten ",
            "14 ",
            "not ",
            "allowed ",
            "forbidden ",
            "$1,000.50 ",
            "5 % ",
            "v3.4 ",
            "May ",
            "2024 ",
        ),
        *(". ", "\n\n", "| ", "- ", "# Leave\n", "休暇は十日。", "👩‍👩‍👧 ", "9" * 300, "1,1." * 200, "\u0663 "),
    ]
)
ANY = st.lists(WORDS, min_size=1, max_size=40).map("".join).filter(str.strip)


@settings(deadline=None)
@given(ANY, ANY, ANY)
def test_whatever_is_told_stands_in_both_to_the_letter(question: str, a: str, b: str) -> None:
    one, other = hit("a", a, **OLD), hit("b", b, **NEW)
    for found in disagreements(question, [one.cite(7, 7 + len(a))], [one, other], Disagreements()):
        assert (found.older.document, found.newer.document) == ("a", "b")
        assert a[found.older.start - 7 : found.older.end - 7] == found.older.quote != ""
        assert b[found.newer.start - 7 : found.newer.end - 7] == found.newer.quote != ""


def test_a_passage_without_end_is_compared_in_good_time() -> None:
    for endless in ("9" * 100_000, "sick days 10 " * 8_000, "You get 10 sick days. " * 400):
        told("How many sick days?", hit("a", endless, **OLD), hit("b", endless.replace("10", "12"), **NEW))


TEN, FOURTEEN = "You get ten paid sick days a year.", "You get 14 paid sick days a year."


def test_without_another_date_nothing_tells_which_holds() -> None:
    assert told("How many sick days?", hit("a", TEN), hit("b", FOURTEEN)) == ()
    assert told("How many sick days?", hit("a", TEN, **OLD), hit("b", FOURTEEN, **OLD)) == ()
    assert told("How many sick days?", hit("a", TEN, **OLD), hit("a", FOURTEEN, **NEW)) == (), "one document"


def test_one_that_was_asked_for_by_its_date_or_version_stands_alone() -> None:
    old, new = hit("old", TEN, version="v3.4"), hit("new", FOURTEEN, version="v3.5")
    assert len(told("How many sick days?", old, new)) == 1
    assert told("How many sick days in v3.4?", old, new) == ()
    assert len(told("How many of 43 sick days in 3.45 years?", old, new)) == 1
    old, new = hit("old", TEN, **OLD), hit("new", FOURTEEN, **NEW)
    assert told("How many sick days did I get in 2021?", old, new) == ()


def test_what_is_cited_twice_is_told_once_and_collapsed_duplicates_are_looked_at() -> None:
    old, new = hit("old", TEN, **OLD), hit("new", FOURTEEN, **NEW)
    citations = [one.cite(7, 7 + len(one.chunk.text)) for one in (old, new)]
    assert len(disagreements("How many sick days?", citations, [old, new], Disagreements())) == 1
    folded = replace(new, also=(old,))
    assert len(disagreements("How many sick days?", citations[1:], [folded], Disagreements())) == 1


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"version": "v3.4"}, {"version": "v3.10"}, (True, "v3.4", "v3.10")),
        ({"modified": "2024-01-01T10:00:00Z"}, {"modified": "2024-01-01T11:00:00Z"}, None),
        ({"status": "superseded"}, {}, (True, "superseded", "")),
        (
            {"modified": "2025-01-01", "status": "Superseded"},
            {"modified": "2024-01-01"},
            (True, "superseded, 2025-01-01", "2024-01-01"),
        ),
        ({"title": "Leave policy 2023"}, {"title": "Leave policy 2021"}, (False, "2023", "2021")),
        ({"title": "Leave policy (superseded)"}, {"title": "Leave policy"}, (True, "superseded", "")),
        ({"path": "2021/leave.md"}, {"path": "2024/leave.md"}, (True, "2021", "2024")),
        ({"title": "Leave policy 1"}, {"title": "Travel policy 2"}, None),
    ],
)
def test_what_tells_two_editions_apart(a: dict[str, Any], b: dict[str, Any], expected: object) -> None:
    one, other = (hit("a", TEN, m.pop("title", "Leave policy"), **m) for m in (a, b))
    assert apart(one, other, FIELDS) == expected
