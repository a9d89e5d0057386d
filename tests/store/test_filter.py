"""A filter means the same in Python, in PostgreSQL and in the keyword view."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import tantivy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from openbook.errors import QueryError
from openbook.store.filter import (
    MAX_TEXT,
    And,
    Compare,
    Exists,
    Filter,
    In,
    Not,
    Or,
    attributes,
    matches,
    parse,
    terms,
    to_sql,
    to_tantivy,
)
from openbook.types import Metadata

# Few names and values, so that filters and metadata meet; with what sorts differently in UTF-16, in natural language
# and as text than by code point and as numbers.
NAMES = ["year", "lang", "a.b-c", "not", "", "größe \n`\\", "1", "yearn", "y" * 1_001]
TEXTS = [
    "",
    "en",
    "EN",
    "e",
    "en\x01",
    "é",
    "e\u0301",
    "\uffff",
    "\U0001f600",
    "2020",
    "true",
    "10",
    "9",
    "\0",
    "\ud800",
]
NUMBERS = [0, -0.0, 1, -1, 2020, 2020.0, 2020.5, -2020, 1e-320, -1e300, 2**53, 2**53 + 1, 10**400, float("inf")]
NUMBERS += [float("nan"), float("-inf")]
LONG = ["x" * 60_000, "x" * MAX_TEXT, "x" * 70_000 + "y"]

values = st.sampled_from([*TEXTS, *NUMBERS, True, False]) | st.text(max_size=3) | st.floats() | st.integers()
metadata = st.dictionaries(st.sampled_from(NAMES), values | st.lists(values, max_size=3).map(tuple), max_size=4)


def _makes_a_filter(value: Any) -> bool:
    try:
        return bool(Compare("x", "=", value))
    except QueryError:
        return False


literals = (values | st.just("x" * MAX_TEXT)).filter(_makes_a_filter)
names = st.sampled_from([name for name in NAMES if 0 < len(name) <= 1_000])
filters: st.SearchStrategy[Filter] = st.recursive(
    st.builds(Compare, names, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), literals)
    | st.builds(In, names, st.lists(literals, min_size=1, max_size=3).map(tuple))
    | st.builds(Exists, names),
    lambda parts: (
        st.builds(And, st.lists(parts, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(parts, min_size=2, max_size=3).map(tuple))
        | st.builds(Not, parts)
    ),
    max_leaves=6,
)
corpora = st.lists(metadata, min_size=1, max_size=6)


# --- the language -----------------------------------------------------------------------------------------------------

HANDBOOK: Metadata = {"lang": "en", "year": 2021, "tag": ("hr", "law"), "draft": False, "date": "2024-05-01"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('lang = "en" and year >= 2020 and tag in ("hr", "it")', True),
        ("lang == 'en'", True),
        ("LANG = 'en'", False),
        ("year = 2021.0", True),
        ("year < 2021 or year > 2021", False),
        ("year > '2000'", False),
        ("tag = 'law' AND tag = 'hr'", True),
        ("tag != 'law'", False),
        ("owner != 'law'", True),
        ("owner not in ('a', 'b') and not exists(owner)", True),
        ("not (exists(lang) and exists(owner))", True),
        ("draft = false", True),
        ("draft != true", True),
        ("draft < true", False),
        ("draft = 0", False),
        ("date >= '2024-01-01' and date < '2025'", True),
        ("`lang` in (1, true, 'en')", True),
        ("lang = 'de' or lang = 'en' and year = 1", False),
        ("(lang = 'en' or lang = 'de') and year = 2021", True),
        ("not lang = 'de' and not lang = 'fr'", True),
        ("year=2.021e3", True),
    ],
)
def test_filter_holds(text: str, holds: bool) -> None:
    assert matches(parse(text), HANDBOOK) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("year >=", 'filter: expected a value after "year >=" (column 8)'),
        ("year >= ", 'filter: expected a value after "year >=" (column 9)'),
        ("", "filter: expected a field name (column 1)"),
        ("year", 'filter: expected one of = != < <= > >= "in" "not in" after "year" (column 5)'),
        ("year = 1 lang = 2", 'filter: expected "and", "or" or the end after "year = 1" (column 10)'),
        ("lang = en", 'filter: expected a value, with text in quotes ("en") after "lang =" (column 8)'),
        ("day > 2024-05-01", 'filter: expected a value, with text in quotes ("2024-05-01") after "day >" (column 7)'),
        ("lang = 'en", "filter: this quote is never closed (column 8); close it with '"),
        ("lang = 'e\\x'", None),
        ("tag in ()", 'filter: expected a value after "tag in (" (column 9)'),
        ("tag in (1", 'filter: expected a comma or ")" after "tag in (1" (column 10)'),
        ("tag not 1", 'filter: expected "in" after "tag not" (column 9)'),
        ("and = 1", "filter: expected a field name (one that is called and goes into backquotes) (column 1)"),
        ("(a = 1", 'filter: expected ")" after "(a = 1" (column 7)'),
        ("`` = 1", None),
        ("a = 1e999", None),
        ("a = '\0'", None),
        ("a = '\ud800'", None),
        (f"a = {'9' * 5000}", None),
        ("(" * 60 + "a = 1" + ")" * 60, "filter: nested more than 50 deep (column 51); write it flatter"),
        ("not " * 60 + "a = 1", None),
        ("(" * 100_000, "filter: 100,000 characters, more than 10,000; shorten it"),
        ("'; DROP TABLE attribute; --", None),
    ],
)
def test_what_is_no_filter_gets_one_line(text: str, message: str | None) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    if message:
        assert str(caught.value) == message


@given(filters)
def test_a_filter_rendered_is_read_back_equal(tree: Filter) -> None:
    text = str(tree)
    if len(text) <= MAX_TEXT:
        assert parse(text) == tree
        assert str(parse(text)) == text
        assert text.isprintable() or "\n" not in text


@given(st.text(max_size=40) | st.text(alphabet="a1'\"`\\()=<>!,. notinexists", max_size=40))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        tree = parse(text)
    except QueryError:
        return
    assert parse(str(tree)) == tree


# --- the keyword view -------------------------------------------------------------------------------------------------


def _tantivy_finds(tree: Filter, documents: list[Metadata]) -> list[bool]:
    schema = (
        tantivy.SchemaBuilder()
        .add_bytes_field("attribute", indexed=True)
        .add_unsigned_field("id", fast=True, indexed=True)
        .build()
    )
    index = tantivy.Index(schema)
    writer = index.writer(15_000_000, 1)
    for number, document in enumerate(documents):
        entry = tantivy.Document()
        entry.add_unsigned("id", number)
        for term in terms(document):
            entry.add_bytes("attribute", term)
        writer.add_document(entry)
    writer.commit()
    index.reload()
    searcher = index.searcher()
    hits = searcher.search(to_tantivy(tree, index), limit=100).hits
    found = set(searcher.fast_field_values("id", [address for _, address in hits]))
    return [number in found for number in range(len(documents))]


@settings(max_examples=200, deadline=None)
@given(filters, corpora)
def test_the_keyword_view_filters_as_python_does(tree: Filter, documents: list[Metadata]) -> None:
    assert _tantivy_finds(tree, documents) == [matches(tree, document) for document in documents]


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("op", ["=", "!=", "<", "<=", ">", ">="])
def test_the_keyword_view_filters_values_too_long_for_a_term(text: str, op: Any) -> None:
    documents: list[Metadata] = [{"a": text}, {"a": "x"}, {"a": "y"}, {}]
    for value in ("x", "x" * MAX_TEXT, "y"):
        tree = Compare("a", op, value)
        assert _tantivy_finds(tree, documents) == [matches(tree, document) for document in documents]


def test_names_do_not_run_into_values() -> None:
    documents: list[Metadata] = [{"a": "n2020"}, {"an": 2020}, {"as": "b"}, {"a": "sb"}]
    for text in ("a = 'n2020'", "a = 'sb'", "as = 'b'", "an >= 0", "a >= ''", "exists(a)"):
        tree = parse(text)
        assert _tantivy_finds(tree, documents) == [matches(tree, document) for document in documents]


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

TABLE = sql.Identifier("pg_temp", "attribute")


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection[Any]]:
    from openbook.store.server import Server

    server = Server.open(tmp_path_factory.mktemp("filter"))
    try:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                'CREATE TEMPORARY TABLE attribute (document uuid NOT NULL, field text COLLATE "C" NOT NULL,'
                ' text text COLLATE "C", number double precision, flag boolean)'
            )
            connection.execute("CREATE TEMPORARY TABLE document (id uuid, number integer)")
            yield connection
    finally:
        server.close()


def _postgresql_finds(connection: psycopg.Connection[Any], tree: Filter, documents: list[Metadata]) -> list[bool]:
    with connection.transaction():
        connection.execute("TRUNCATE pg_temp.attribute, pg_temp.document")
        rows, entries = [], []
        for number, document in enumerate(documents):
            entries.append((uuid.UUID(int=number), number))
            rows += [(uuid.UUID(int=number), *row) for row in attributes(document)]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO pg_temp.document VALUES (%s, %s)", entries)
            cursor.executemany("INSERT INTO pg_temp.attribute VALUES (%s, %s, %s, %s, %s)", rows)
        found = []
        for by in ("hash", "list", "row"):
            condition, parameters = to_sql(tree, document="document.id", table=TABLE, by=by)  # type: ignore[arg-type]
            query = sql.SQL("SELECT number FROM pg_temp.document WHERE {}").format(condition)
            found.append({number for (number,) in connection.execute(query, parameters)})
    assert found[0] == found[1] == found[2]
    return [number in found[0] for number in range(len(documents))]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters, corpora)
def test_postgresql_filters_as_python_does(
    connection: psycopg.Connection[Any], tree: Filter, documents: list[Metadata]
) -> None:
    assert _postgresql_finds(connection, tree, documents) == [matches(tree, document) for document in documents]


def test_values_travel_as_parameters_only(connection: psycopg.Connection[Any]) -> None:
    """Quotes and percent signs in names and values reach neither the SQL text nor its placeholders."""
    tree = parse('`a"\'%s` = "x\'); DROP TABLE attribute; -- %s" and b > 1')
    documents: list[Metadata] = [{"a\"'%s": "x'); DROP TABLE attribute; -- %s", "b": 2}, {"b": 2}]
    assert _postgresql_finds(connection, tree, documents) == [True, False]
    condition, _ = to_sql(tree, document="document.id", table=TABLE)
    assert "DROP" not in condition.as_string(connection)
