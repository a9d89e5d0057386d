"""What rules read out of a question."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.retrieve.filters.proposal import ALL_ARE_SO, NOTHING_LEFT, Proposals, choose
from openbook.retrieve.filters.rules import propose
from openbook.retrieve.filters.vocabulary import Vocabulary
from openbook.store.filter import And, Compare, Exists, Filter, In, Not, Or, matches, parse
from openbook.store.vocabulary import Values
from openbook.types import Metadata

TODAY = date(2026, 3, 31)
ETCD = [Values("version", ("v3.10", "v3.4", "v3.5", "v3.6"), ()), Values("product", ("etcd",), ())]
HR = [
    Values("country", ("Côte d'Ivoire", "France", "Germany", "US"), ()),
    Values("department", ("HR", "IT", "Legal Affairs", "business"), ()),
    Values("level", (), (1.0, 2.0, 3.0)),
    Values("modified", ("2026-01-01T00:00:00Z",), ()),
    Values("published", ("2019-05-01", "2021-03-04"), ()),
    Values("title", ("Sick leave",), ()),
]
NEWS = [
    Values("author", ("News",), ()),
    Values("published_at", ("2023-10-31T10:00:00+00:00",), ()),
    Values("source", ("Sporting News", "TechCrunch", "The Verge", "art001"), ()),
]


def read(question: str, values: list[Values], ordinary: tuple[str, ...] = ("business",)) -> list[str]:
    said = propose(question, Vocabulary(values), TODAY, lambda text, *_: text not in ordinary)
    return [str(one.filter) for one in said.proposed]


@pytest.mark.parametrize(
    ("question", "filters"),
    [
        ("in the 3.5 docs, what is the default?", ['version = "v3.5"']),
        ("etcd v3.4: default for --snapshot-count?", ['version = "v3.4"']),
        ("Which flags does 3.5.x have?", ['version = "v3.5"']),
        ("What is new in release v3.5.2?", ['version = "v3.5"']),
        ("in version 3", ['version in ("v3.10", "v3.4", "v3.5", "v3.6")']),
        ("the v3 API in 3.5", ['version = "v3.5"']),
        ("versions 3.4 and 3.5", ['version in ("v3.4", "v3.5")']),
        ("newer than 3.4", ['version in ("v3.10", "v3.5", "v3.6")']),
        ("newer than etcd v3.5", ['version in ("v3.10", "v3.6")']),
        ("since v3.5", ['version in ("v3.10", "v3.5", "v3.6")']),
        ("before 3.6", ['version in ("v3.4", "v3.5")']),
        ("3.6 or newer", ['version in ("v3.10", "v3.6")']),
        ("between 3.4 and 3.6", ['version in ("v3.4", "v3.5", "v3.6")']),
        ("upgrading from 3.4 to 3.5", ['version in ("v3.4", "v3.5")']),
        ("Which flags are not in 3.4?", ['not version = "v3.4"']),
        ("Why does it not work in 3.4?", ['version = "v3.4"']),
        ("except for version 3.4", ['not version = "v3.4"']),
        ("what changed in v3.9?", []),
        ("3.5 GB of memory, 3.4% and $3.5", []),
        ("127.0.0.1:2379 and --enable-v2", []),
        ("before upgrading to 3.5", ['version = "v3.5"']),
    ],
)
def test_versions_are_read_and_ordered_as_versions(question: str, filters: list[str]) -> None:
    found = read(question, ETCD)
    assert [frozenset(_values(one)) for one in found] == [frozenset(_values(one)) for one in filters]
    assert [one.startswith("not") for one in found] == [one.startswith("not") for one in filters]


def _values(filter: str) -> list[str]:
    return [part for part in filter.split('"') if part.startswith("v3")]


@pytest.mark.parametrize(
    ("question", "filters"),
    [
        ("the travel rules since 2021", ['published >= "2021"']),
        ("before March 2020", ['published < "2020-03"']),
        ("after 2020", ['published >= "2021"']),
        ("until March 2020", ['published < "2020-04"']),
        ("from 2019 to 2021", ['published >= "2019" and published < "2022"']),
        ("news from last month", ['published >= "2026-02" and published < "2026-03"']),
        ("What was decided last week?", ['published >= "2026-03-23" and published < "2026-03-30"']),
        ("older than 2 years", ['published < "2024-03-31"']),
        ("articles of 2021", ['published >= "2021" and published < "2022"']),
        ("which guides were not published in 2021?", ['not (published >= "2021" and published < "2022")']),
        ("guides, but not of 2021", ['not (published >= "2021" and published < "2022")']),
        ("What happened in 2021?", []),
        ("files modified since last week", ['modified >= "2026-03-23"']),
        ("What was updated this year?", ['modified >= "2026" and modified < "2027"']),
        ("after 2019 and before 2021", ['published >= "2020"', 'published < "2021"']),
        ("since 2019, as in 2021", []),
    ],
)
def test_dates_narrow_where_they_are_said_of_documents(question: str, filters: list[str]) -> None:
    assert read(question, HR) == filters


@pytest.mark.parametrize(
    ("question", "filters"),
    [
        ("the rules for Germany", ['country = "Germany"']),
        ("rules for cote d’ivoire", ['country = "Côte d\'Ivoire"']),
        ("rules for France and Germany", ['country in ("France", "Germany")']),
        ("not for Germany", ['not country = "Germany"']),
        ("everywhere except Germany", ['not country = "Germany"']),
        ("the HR department", ['department = "HR"']),
        ("department: IT", ['department = "IT"']),
        ("what is it for?", []),
        ("laptops for IT", ['department = "IT"']),
        ("what is in it for us?", []),
        ("legal affairs policy", ['department = "Legal Affairs"']),
        ("in business terms", []),
        ("the business department", ['department = "business"']),
        ("Is Germany colder than France?", []),
        ("rules for New Germany Ltd", []),
        ("at level 3", ["level = 3"]),
        ("level of at least 2", ["level >= 2"]),
        ("3 people", []),
        ("sick leave policy", []),  # a title: search weighs it
    ],
)
def test_values_narrow_where_they_are_a_scope(question: str, filters: list[str]) -> None:
    assert read(question, HR) == filters


@pytest.mark.parametrize(
    ("question", "filters"),
    [
        ("Which company does The Verge article name?", ['source = "The Verge"']),
        ("the 'Sporting News' article", ['source = "Sporting News"']),  # and not the author called News
        ("the article by TechCrunch and that of The Verge", ['source in ("TechCrunch", "The Verge")']),
        ("Did the TechCrunch article and the report of the BBC agree?", []),  # or the BBC's would be lost
        ("the article of October 31, 2023", ['published_at >= "2023-10-31" and published_at < "2023-11"']),
        ("Did the report of October 31, 2023 and the later report agree?", []),
    ],
)
def test_of_several_documents_none_is_lost(question: str, filters: list[str]) -> None:
    assert read(question, NEWS) == filters


def test_a_year_may_be_a_number() -> None:
    years = [Values("fiscal_year", (), (2022.0, 2023.0))]
    assert read("reports of 2022", years) == ["fiscal_year >= 2022 and fiscal_year < 2023"]
    assert read("since March 2022", years) == ["fiscal_year >= 2022"]


def test_of_several_date_fields_one_has_to_be_named() -> None:
    values = [Values("effective_date", ("2020-01-01",), ()), Values("signed", ("2019-01-01",), ())]
    said = propose("contracts since 2019", Vocabulary(values), TODAY, lambda *_: True)
    assert not said.proposed
    assert "effective_date, signed" in said.dropped[0].why
    assert read("contracts signed since 2019", values) == ['signed >= "2019"']


def test_what_is_met_and_not_applied_is_told() -> None:
    said = propose(
        "Is Germany in business since v9?", Vocabulary(HR + ETCD), TODAY, lambda text, *_: text != "business"
    )
    told = {one.words.split()[-1]: one.why for one in said.dropped}
    assert "nothing says that it narrows" in told["Germany"]
    assert "an ordinary word" in told["business"]
    assert "no document here" in told["v9"]


@pytest.mark.parametrize(
    "question", ["", " ", "😀", "?" * 100_000, "v3.5 " * 20_000, "für Германия 日本の規則は", "\0\ud800"]
)
def test_any_question_can_be_read(question: str) -> None:
    for values in (ETCD, HR, NEWS, []):
        read(question, values)


def test_words_that_hold_what_separates_a_list_take_no_time() -> None:
    """A text of 1,700 characters took minutes: "xorxorxor" could be read as a list in many ways."""
    begun = time.process_time()
    read(f"versions {'1or' * 23}! 3.5 " * 20, ETCD)
    assert time.process_time() - begun < 2


def test_how_rare_a_value_is_is_asked_once() -> None:
    """A question of one name a hundred times asked the index two hundred times."""
    asked: list[str] = []
    propose("for Germany " * 100, Vocabulary(HR), TODAY, lambda text, *_: not asked.append(text))
    assert asked == ["Germany"]


def test_a_field_that_no_filter_can_name_is_none() -> None:
    values = [Values("x" * 2_000, ("Germany",), ()), Values("", ("Germany",), ())]
    assert not Vocabulary(values).fields
    assert read("for Germany", values) == []


names = st.sampled_from(["version", "country", "published", "level", "tag", "größe"])
texts = st.sampled_from(["v3.4", "3.5", "2021-03-04", "2020", "Germany", "HR", "IT", "open source", "日本", "a b c"])
scalars = texts | st.integers(-3, 2030) | st.booleans()
metadata = st.dictionaries(names, scalars | st.tuples(scalars, scalars), max_size=4)
PHRASES = (
    "for|in the|not|since|before|newer than|from|to|docs|department|level|v3.4|3.5|2020|March 2021|Germany|HR"
    "|open source|last month|and|except|version|report|?"
)
phrases = st.sampled_from(PHRASES.split("|"))


@settings(max_examples=300, deadline=None)
@given(st.lists(metadata, min_size=1, max_size=6), st.lists(phrases, max_size=10))
def test_what_is_chosen_leaves_something_and_speaks_of_what_is_there(
    documents: list[Metadata], question: list[str]
) -> None:
    said = propose(" ".join(question), Vocabulary(_values_of(documents)), TODAY, lambda *_: True)
    chosen = choose(said, counting(documents))
    if chosen.filter is not None:
        assert any(matches(chosen.filter, one) for one in documents)
        assert parse(str(chosen.filter)) == chosen.filter
    assert len(chosen.applied) + len(chosen.dropped) == len(said.proposed) + len(said.dropped)
    there = {(name, value) for one in documents for name, value in _pairs(one)}
    for proposal in said.proposed:
        for name, value in _equalities(proposal.filter):
            assert (name, value) in there


def test_a_proposal_that_leaves_nothing_is_dropped_and_the_others_stay() -> None:
    said = propose("the rules for Germany since 2021", Vocabulary(HR), TODAY, lambda *_: True)
    documents: list[Metadata] = [{"country": "Germany", "published": "2019-05-01"}, {"country": "France"}]
    chosen = choose(said, counting(documents))
    assert str(chosen.filter) == 'country = "Germany"'
    assert [one.why for one in chosen.dropped] == [NOTHING_LEFT]
    chosen = choose(said, counting([{"country": "Germany", "published": "2022"}]))
    assert chosen.filter is None
    assert {one.why for one in chosen.dropped} == {ALL_ARE_SO}
    assert choose(Proposals("rules"), counting([])).filter is None


def counting(documents: list[Metadata]) -> Callable[[Filter | None], int]:
    return lambda filter: sum(filter is None or matches(filter, one) for one in documents)


def _pairs(document: Metadata) -> list[tuple[str, object]]:
    return [
        (name, value)
        for name, values in document.items()
        for value in (values if isinstance(values, tuple) else (values,))
    ]


def _values_of(documents: list[Metadata]) -> list[Values]:
    """As the store reads them."""
    pairs = [pair for document in documents for pair in _pairs(document)]
    found = []
    for name in sorted({name for name, _ in pairs}):
        said = [value for field, value in pairs if field == name and not isinstance(value, bool)]
        strings = tuple(sorted({value for value in said if isinstance(value, str)}))
        numbers = tuple(sorted({float(value) for value in said if isinstance(value, int)}))
        found.append(Values(name, strings, numbers))
    return found


def _equalities(filter: Filter) -> list[tuple[str, object]]:
    match filter:
        case And(parts) | Or(parts):
            return [pair for part in parts for pair in _equalities(part)]
        case Not(part):
            return _equalities(part)
        case In(field, values):
            return [(field, value) for value in values]
        case Compare(field, "=", value):
            return [(field, value)]
        case Compare() | Exists():
            return []
