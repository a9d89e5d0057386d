"""Filters over metadata: ``lang = "en" and year >= 2020 and tag in ("hr", "it")``.

A filter is parsed once into a small tree, which runs in three places that must agree: in Python (``matches``, the
reference), in PostgreSQL (``to_sql``) and in the keyword view (``to_tantivy``).

    filter     = and-terms joined by "or"
    and-terms  = terms joined by "and"
    term       = "not" term | "(" filter ")" | "exists" "(" field ")"
               | field ("=" | "!=" | "<" | "<=" | ">" | ">=") value
               | field ["not"] "in" "(" value ("," value)* ")"
    field      = a name of letters, digits, "_", "." and "-" that starts with a letter or "_" | `anything`
    value      = "text" | 'text' | number | true | false

Keywords are case-insensitive, ``==`` means ``=``, a backslash escapes inside quotes (``\\"``, ``\\\\``, ``\\n``,
``\\t``, ``\\r``). A field has one or several values; a comparison holds when any of them satisfies it. ``!=`` and
``not in`` are exactly the negation of ``=`` and ``in``, so they also hold where the field is missing. Text compares
with text, by code point (dates are written as quoted ISO 8601, which sorts by time); numbers with numbers, as IEEE
doubles; true and false only by ``=``, ``!=`` and ``in``. Whatever else meets is false.
"""

from __future__ import annotations

import base64
import math
import operator
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from psycopg import sql

from openbook.errors import QueryError
from openbook.types import Metadata, Scalar

if TYPE_CHECKING:
    import tantivy

Op = Literal["=", "!=", "<", "<=", ">", ">="]

MAX_TEXT = 10_000
"""Characters of a filter, and of one text value in it."""
MAX_FIELD = 1_000
"""Characters of a field name in a filter; a longer one in metadata cannot be filtered on."""
MAX_DEPTH = 50
"""Parentheses and negations inside one another."""


# --- the tree ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compare:
    """Any value of ``field`` stands in the relation ``op`` to ``value``; ``!=``: none of them equals it."""

    field: str
    op: Op
    value: Scalar

    def __post_init__(self) -> None:
        _check(self.field, self.value)

    def __str__(self) -> str:
        return f"{_field(self.field)} {self.op} {_literal(self.value)}"


@dataclass(frozen=True, slots=True)
class In:
    """Any value of ``field`` equals one of ``values`` (at least one)."""

    field: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        _check(self.field, *self.values)
        if not self.values:
            raise QueryError("a list without values", where="filter", do="give at least one")

    def __str__(self) -> str:
        return f"{_field(self.field)} in {_list(self.values)}"


@dataclass(frozen=True, slots=True)
class Exists:
    """``field`` has a value."""

    field: str

    def __post_init__(self) -> None:
        _check(self.field)

    def __str__(self) -> str:
        return f"exists({_field(self.field)})"


@dataclass(frozen=True, slots=True)
class And:
    """All of ``parts`` hold (at least two)."""

    parts: tuple[Filter, ...]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise QueryError('"and" joins at least two filters', where="filter", do="pass one alone as it is")

    def __str__(self) -> str:
        return " and ".join(f"({part})" if isinstance(part, And | Or) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of ``parts`` holds (at least two)."""

    parts: tuple[Filter, ...]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise QueryError('"or" joins at least two filters', where="filter", do="pass one alone as it is")

    def __str__(self) -> str:
        return " or ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """``part`` does not hold."""

    part: Filter

    def __str__(self) -> str:
        if isinstance(self.part, In):
            return f"{_field(self.part.field)} not in {_list(self.part.values)}"
        return f"not ({self.part})" if isinstance(self.part, And | Or) else f"not {self.part}"


Filter = Compare | In | Exists | And | Or | Not
"""``str(filter)`` is text that ``parse`` reads back to an equal tree."""


def fields_of(filter: Filter) -> tuple[str, ...]:
    """The fields that a filter names, each once, in its order.

    >>> fields_of(parse("year >= 2020 and (lang = 'en' or exists(year))"))
    ('year', 'lang')
    """
    if isinstance(filter, And | Or):
        return tuple(dict.fromkeys(field for part in filter.parts for field in fields_of(part)))
    return fields_of(filter.part) if isinstance(filter, Not) else (filter.field,)


def _check(field: str, *values: Scalar) -> None:
    for text in (field, *(value for value in values if isinstance(value, str))):
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise QueryError("a NUL or half a surrogate pair in a name or text", where="filter", do="remove it")
        if len(text) > MAX_TEXT:
            raise QueryError(f"a text of more than {MAX_TEXT:,} characters", where="filter", do="shorten it")
    if not field or len(field) > MAX_FIELD:
        raise QueryError(f"a field name must have 1 to {MAX_FIELD:,} characters", where="filter", do="mend it")
    for value in values:
        if isinstance(value, int | float) and not math.isfinite(_double(value)):
            raise QueryError("a number outside the range of a double", where="filter", do="compare with a smaller one")


def _field(name: str) -> str:
    plain = _NAME.fullmatch(name) and name.lower() not in _KEYWORDS
    return name if plain else _quoted(name, "`")


def _literal(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value, '"') if isinstance(value, str) else repr(value)


def _list(values: tuple[Scalar, ...]) -> str:
    return f"({', '.join(map(_literal, values))})"


def _quoted(text: str, quote: str) -> str:
    for escape, character in (("\\", "\\"), (quote, quote), ("n", "\n"), ("r", "\r"), ("t", "\t")):
        text = text.replace(character, f"\\{escape}")
    return f"{quote}{text}{quote}"


# --- text becomes a tree ----------------------------------------------------------------------------------------------

_KEYWORDS = frozenset({"and", "or", "not", "in", "exists", "true", "false"})
_NAME = re.compile(r"[^\W\d][\w.\-]*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.:+\-])", re.ASCII)
_OPERATOR = re.compile(r"==|!=|<=|>=|=|<|>")
_BARE = re.compile(r"[\w.:+\-]+")
_SPACE = re.compile(r"\s*")
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "`": "`", "n": "\n", "r": "\r", "t": "\t"}


def parse(text: str) -> Filter:
    """Read a filter.

    >>> str(parse("year>=2020 AND not tag in ('hr','it')"))
    'year >= 2020 and tag not in ("hr", "it")'

    Raises:
        QueryError: not a filter; one line that names the column and what was expected there.
    """
    if len(text) > MAX_TEXT:
        raise QueryError(f"{len(text):,} characters, more than {MAX_TEXT:,}", where="filter", do="shorten it")
    parser = _Parser(text)
    tree = parser.either()
    if parser.at < len(text):
        raise parser.expected('"and", "or" or the end')
    return tree


class _Parser:
    """Recursive descent. ``at`` always stands on the first character that is neither read nor blank."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.skip(0)

    def either(self) -> Filter:
        parts = [self.both()]
        while self.keyword("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self) -> Filter:
        parts = [self.term()]
        while self.keyword("and"):
            parts.append(self.term())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def term(self) -> Filter:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.failure(f"nested more than {MAX_DEPTH} deep", "write it flatter")
        try:
            if self.keyword("not"):
                return Not(self.term())
            if self.symbol("("):
                inner = self.either()
                self.require(")")
                return inner
            if self.keyword("exists"):
                self.require("(")
                field = self.field()
                self.require(")")
                return Exists(field)
            return self.comparison()
        finally:
            self.depth -= 1

    def comparison(self) -> Filter:
        field = self.field()
        if self.keyword("not"):
            if not self.keyword("in"):
                raise self.expected('"in"')
            return Not(In(field, self.values()))
        if self.keyword("in"):
            return In(field, self.values())
        found = _OPERATOR.match(self.text, self.at)
        if not found:
            raise self.expected('one of = != < <= > >= "in" "not in"')
        self.skip(found.end())
        op: Any = "=" if found[0] == "==" else found[0]
        return Compare(field, op, self.value())

    def values(self) -> tuple[Scalar, ...]:
        self.require("(")
        values = [self.value()]
        while self.symbol(","):
            values.append(self.value())
        self.require(")", 'a comma or ")"')
        return tuple(values)

    def field(self) -> str:
        if self.text.startswith("`", self.at):
            return self.quoted()
        found = _NAME.match(self.text, self.at)
        if not found:
            raise self.expected("a field name")
        if found[0].lower() in _KEYWORDS:
            raise self.expected(f"a field name (one that is called {found[0]} goes into backquotes)")
        self.skip(found.end())
        return found[0]

    def value(self) -> Scalar:
        if self.text.startswith(('"', "'"), self.at):
            return self.quoted()
        if self.keyword("true"):
            return True
        if self.keyword("false"):
            return False
        if found := _NUMBER.match(self.text, self.at):
            if not math.isfinite(float(found[0])):
                raise self.failure("a number outside the range of a double", "compare with a smaller one")
            self.skip(found.end())
            whole = found[0].lstrip("-").isdigit() and len(found[0]) < 400
            return int(found[0]) if whole else float(found[0])
        if bare := _BARE.match(self.text, self.at):
            raise self.expected(f'a value, with text in quotes ("{bare[0][:40]}")')
        raise self.expected("a value")

    def quoted(self) -> str:
        start, quote = self.at, self.text[self.at]
        characters: list[str] = []
        at = start + 1
        while at < len(self.text) and self.text[at] != quote:
            if self.text[at] == "\\":
                at += 1
                escaped = _ESCAPES.get(self.text[at : at + 1])
                if escaped is None:
                    self.at = at
                    raise self.expected("one of \\ \" ' ` n r t after a backslash")
                characters.append(escaped)
            else:
                characters.append(self.text[at])
            at += 1
        if at == len(self.text):
            raise self.failure("this quote is never closed", f"close it with {quote}")
        self.skip(at + 1)
        return "".join(characters)

    def keyword(self, word: str) -> bool:
        """Read ``word`` if it stands here."""
        found = _NAME.match(self.text, self.at)
        if not found or found[0].lower() != word:
            return False
        self.skip(found.end())
        return True

    def symbol(self, symbol: str) -> bool:
        """Read ``symbol`` if it stands here."""
        if not self.text.startswith(symbol, self.at):
            return False
        self.skip(self.at + len(symbol))
        return True

    def require(self, symbol: str, wanted: str = "") -> None:
        if not self.symbol(symbol):
            raise self.expected(wanted or f'"{symbol}"')

    def skip(self, at: int) -> None:
        space = _SPACE.match(self.text, at)
        self.at = space.end() if space else at

    def expected(self, what: str) -> QueryError:
        before = self.text[: self.at].rstrip()
        after = f' after "{"…" * (len(before) > 30)}{before[-30:]}"' if before else ""
        return self.failure(f"expected {what}{after}", "")

    def failure(self, what: str, do: str) -> QueryError:
        return QueryError(f"{what} (column {self.at + 1})", where="filter", do=do)


# --- metadata become attributes ---------------------------------------------------------------------------------------


ATTRIBUTE_LENGTH = 500
"""Longer text values are kept with the document but cannot be filtered on: they are prose, not attributes."""


def filterable(source: str, title: str, metadata: Metadata) -> Metadata:
    """What filters can read of a document: its metadata, and ``source`` and ``title``; long prose is left out."""
    fields: dict[str, Scalar | tuple[Scalar, ...]] = {}
    for name, value in {"source": source, "title": title, **metadata}.items():
        values = value if isinstance(value, tuple) else (value,)
        fields[name] = tuple(one for one in values if not isinstance(one, str) or len(one) <= ATTRIBUTE_LENGTH)
    return fields


def tuples(metadata: Mapping[str, Any]) -> Metadata:
    """Metadata as the types have it, from JSON, whose arrays are lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in metadata.items()}


class Attribute(NamedTuple):
    """One value of one field, a row of the table ``attribute``: exactly one of the last three is not ``None``."""

    field: str
    text: str | None
    number: float | None
    flag: bool | None


def attributes(metadata: Metadata) -> list[Attribute]:
    """The rows that stand for ``metadata``, without repetition.

    Numbers become doubles (an integer beyond their range an infinity), NaN is no value; NUL and lone surrogates,
    which PostgreSQL cannot hold, become U+FFFD.
    """
    rows: dict[Attribute, None] = {}
    for name, values in metadata.items():
        field = _storable(name)
        for value in values if isinstance(values, tuple | list) else (values,):
            if isinstance(value, bool):
                rows[Attribute(field, None, None, value)] = None
            elif isinstance(value, str):
                rows[Attribute(field, _storable(value), None, None)] = None
            elif not math.isnan(number := _double(value)):
                rows[Attribute(field, None, number, None)] = None
    return list(rows)


def _storable(text: str) -> str:
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def _double(number: int | float) -> float:
    try:
        return float(number) + 0.0  # turns -0.0 into 0.0
    except OverflowError:
        return math.inf if number > 0 else -math.inf


# --- in Python: the reference -----------------------------------------------------------------------------------------

_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(filter: Filter, metadata: Metadata) -> bool:
    """Whether a document with ``metadata`` satisfies ``filter``: what the other two are tested against."""
    return _holds(filter, attributes(metadata))


def _holds(filter: Filter, rows: Sequence[Attribute]) -> bool:
    match filter:
        case And(parts):
            return all(_holds(part, rows) for part in parts)
        case Or(parts):
            return any(_holds(part, rows) for part in parts)
        case Not(part):
            return not _holds(part, rows)
        case Exists(field):
            return any(row.field == field for row in rows)
        case In(field, values):
            return any(_holds(Compare(field, "=", value), rows) for value in values)
        case Compare(field, "!=", value):
            return not _holds(Compare(field, "=", value), rows)
        case Compare(field, "=", value):
            return attributes({field: value})[0] in rows
        case Compare(field, op, value):
            wanted, relation = attributes({field: value})[0], _RELATIONS[op]
            of_field = [row for row in rows if row.field == field]
            if isinstance(value, str):
                return any(relation(row.text, wanted.text) for row in of_field if row.text is not None)
            if not isinstance(value, bool):
                return any(relation(row.number, wanted.number) for row in of_field if row.number is not None)
            return False


# --- in PostgreSQL ----------------------------------------------------------------------------------------------------


_SQL = {"<": sql.SQL("<"), "<=": sql.SQL("<="), ">": sql.SQL(">"), ">=": sql.SQL(">=")}


def to_sql(
    filter: Filter, *, document: str, table: sql.Identifier, by: Literal["hash", "list", "row"] = "hash"
) -> tuple[sql.Composed, list[Any]]:
    """A boolean SQL expression and its parameters.

    Args:
        document: the column (``alias.column``) that holds the document's uuid.
        table: ``attribute(document uuid, field text COLLATE "C", text text COLLATE "C", number float8, flag bool)``,
            a row for each of ``attributes(metadata)``.
        by: ``list`` collects the documents of each comparison first, so that an index over ``document`` finds their
            rows in one pass, whatever the planner believes of how many there are; ``row`` looks at the attributes of
            one document after another, which pays where few are looked at; ``hash`` is for the rest.
    """
    column = sql.Identifier(*document.split("."))
    parameters: list[Any] = []

    negated = 0

    def within(condition: sql.Composable, *values: Any) -> sql.Composed:
        parameters.extend(values)
        if by == "row":  # a limit keeps the planner from making a join of it
            row = sql.SQL("((SELECT true FROM {} WHERE document = {} AND field = %s{} LIMIT 1) IS NOT NULL)")
            return row.format(table, column, condition)
        of_documents = sql.SQL("SELECT document FROM {} WHERE field = %s{}").format(table, condition)
        # What is not in an array is told by walking it, row by row; a subquery is hashed.
        form = "{} = ANY(ARRAY({}))" if by == "list" and not negated else "{} IN ({})"
        return sql.SQL(form).format(column, of_documents)

    def inverted(node: Filter) -> sql.Composed:
        nonlocal negated
        negated += 1
        try:
            return sql.SQL("NOT {}").format(expression(node))
        finally:
            negated -= 1

    def expression(node: Filter) -> sql.Composed:
        match node:
            case And(parts):
                return sql.SQL("({})").format(sql.SQL(" AND ").join([expression(part) for part in parts]))
            case Or(parts):
                return sql.SQL("({})").format(sql.SQL(" OR ").join([expression(part) for part in parts]))
            case Not(part):
                return inverted(part)
            case Exists(field):
                return within(sql.SQL(""), field)
            case Compare(field, "!=", value):
                return inverted(In(field, (value,)))
            case Compare(field, "=", value):
                return expression(In(field, (value,)))
            case In(field, values):
                rows = [row for value in values for row in attributes({field: value})]
                held: list[tuple[sql.SQL, list[Any]]] = [
                    (sql.SQL("text = ANY(%s::text[])"), [row.text for row in rows if row.text is not None]),
                    (sql.SQL("number = ANY(%s::float8[])"), [row.number for row in rows if row.number is not None]),
                    (sql.SQL("flag = ANY(%s::boolean[])"), [row.flag for row in rows if row.flag is not None]),
                ]
                held = [(condition, wanted) for condition, wanted in held if wanted]
                either = sql.SQL(" OR ").join([condition for condition, _ in held])
                return within(sql.SQL(" AND ({})").format(either), field, *(wanted for _, wanted in held))
            case Compare(field, op, value):
                if isinstance(value, bool):
                    return sql.Composed([sql.SQL("FALSE")])
                if isinstance(value, str):
                    return within(sql.SQL(" AND text {} %s::text").format(_SQL[op]), field, value)
                return within(sql.SQL(" AND number {} %s::float8").format(_SQL[op]), field, _double(value))

    return expression(filter), parameters


# --- in the keyword view ----------------------------------------------------------------------------------------------

# tantivy orders neither text nor mixed JSON values, but the terms of a bytes field can be ranged over. So each
# attribute is one such term: length of the field's name, ":", the name, one letter for the kind, and the value in
# bytes that sort as the values do (UTF-8 sorts by code point). The length keeps any name from running into a value.

_EXISTS, _FLAG, _NUMBER_KIND, _TEXT = b"e", b"f", b"n", b"s"
_MAX_VALUE = 50_000
"""Bytes of a text that are indexed: tantivy takes 65,530 a term. Longer than any value in a filter, so that cutting
the rest off changes no comparison."""


def terms(metadata: Metadata) -> list[bytes]:
    """What ``metadata`` put into the bytes field that ``to_tantivy`` searches."""
    found: dict[bytes, None] = {}
    for row in attributes(metadata):
        if len(row.field) <= MAX_FIELD:
            found[_term(row.field, _EXISTS)] = None
            found[_attribute_term(row)] = None
    return list(found)


def to_tantivy(filter: Filter, index: tantivy.Index, field: str = "attribute") -> tantivy.Query:
    """The query that finds what satisfies ``filter`` in the indexed bytes field ``field``; its scores mean nothing."""
    from tantivy import Occur, Query

    schema = index.schema

    def query(node: Filter) -> tantivy.Query:
        match node:
            case And(parts):
                return Query.boolean_query([(Occur.Must, query(part)) for part in parts])
            case Or(parts):
                return Query.boolean_query([(Occur.Should, query(part)) for part in parts])
            case Not(part):
                return Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, query(part))])
            case Exists(name):
                return Query.term_query(schema, field, _term(name, _EXISTS), "basic")
            case In(name, values):
                wanted = [_attribute_term(row) for value in values for row in attributes({name: value})]
                return Query.term_set_query(schema, field, wanted)
            case Compare(name, "=", value):
                return query(In(name, (value,)))
            case Compare(name, "!=", value):
                return query(Not(In(name, (value,))))
            case Compare(name, op, value):
                if isinstance(value, bool):
                    return Query.empty_query()
                kind = _TEXT if isinstance(value, str) else _NUMBER_KIND
                bound = _attribute_term(attributes({name: value})[0])
                first, after = _term(name, kind), _term(name, bytes([kind[0] + 1]))
                low, high = (first, bound) if op in ("<", "<=") else (bound, after)
                # The parser is the only door to a range over bytes, which it reads in base64: nothing to escape.
                opening = "{" if op == ">" else "["
                closing = "]" if op == "<=" else "}"
                return index.parse_query(f"{field}:{opening}{_base64(low)} TO {_base64(high)}{closing}")

    return query(filter)


def _term(field: str, kind: bytes, value: bytes = b"") -> bytes:
    name = field.encode()
    return b"%d:%b%b%b" % (len(name), name, kind, value)


def _attribute_term(row: Attribute) -> bytes:
    if row.text is not None:
        return _term(row.field, _TEXT, row.text.encode()[:_MAX_VALUE])
    if row.number is not None:
        return _term(row.field, _NUMBER_KIND, _sortable(row.number))
    return _term(row.field, _FLAG, b"1" if row.flag else b"0")


def _sortable(number: float) -> bytes:
    """Eight bytes that sort as doubles do: the sign bit turned, and all bits of negative ones."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", number))
    return struct.pack(">Q", bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63))


def _base64(term: bytes) -> str:
    return base64.b64encode(term).decode("ascii")
