"""Which values the metadata of a knowledge base have, as far as a caller may see them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from psycopg import sql

from openbook.store.database import Connection

MOST_VALUES = 1_000
"""Of one field. One that has more names documents, and does not sort them."""

ROWS = 4_000
"""So many rows of a field are read in a row: that tells those that have as good as a value for each document, and all
of those that few documents have. Of the others each value is looked up from the one before it. For 19,000 documents
with ten fields it takes 20 ms so; by looking up alone it took 1.7 times as long."""

MOST_FIELDS = 200

NEAR = 3
"""Fields that are named in the place of one that no document has."""

ALIKE = 0.7
"""So much of two names is the same in the same order: of "yaer" and "year" .75, of "colour" and "country" .62."""


@dataclass(frozen=True, slots=True)
class Values:
    """The texts and numbers that a field has, in order: ``MOST_VALUES`` of them, and whether those are ``all``."""

    field: str
    texts: tuple[str, ...]
    numbers: tuple[float, ...]
    all: bool = True


def read_values(
    connection: Connection, access: Sequence[int], *, without: Collection[str] = (), local_only: bool = True
) -> list[Values]:
    """The fields of documents with these access sets, in order, but for those ``without``; if not ``local_only``,
    nothing of documents that are. Row-level security holds here as everywhere."""
    mine: sql.Composable = sql.SQL("a.access = ANY(%(access)s::int[])")
    if not local_only:
        mine = mine + sql.SQL(
            " AND NOT EXISTS (SELECT FROM openbook.document d WHERE d.id = a.document AND d.local_only)"
        )
    given: dict[str, Any] = {"access": list(access), "fields": MOST_FIELDS, "values": MOST_VALUES, "rows": ROWS}
    names = _fields(connection, mine, given)
    found = {name: Values(name, (), ()) for name in names if name not in without}
    for column in ("text", "number"):
        for name, read in _read(connection, column, [*found], mine, given).items():
            kept = tuple(value for value in read[:MOST_VALUES] if column == "text" or math.isfinite(value))
            one = replace(found[name], all=found[name].all and len(read) <= MOST_VALUES)
            found[name] = replace(one, texts=kept) if column == "text" else replace(one, numbers=kept)
    return [*found.values()]


def unknown_fields(connection: Connection, access: Sequence[int], fields: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Those of ``fields`` that no document with these access sets has, each with the fields that are nearly called so.
    Row-level security holds here as everywhere."""
    mine = sql.SQL("a.access = ANY(%(access)s::int[])")
    given: dict[str, Any] = {"access": list(access), "asked": list(fields), "fields": MOST_FIELDS}
    # In the order of the names, which an index has: for a name alone the planner may read the whole table.
    rows = connection.execute(
        sql.SQL(
            "SELECT f.name FROM unnest(%(asked)s::text[]) AS f (name) LEFT JOIN LATERAL ("
            " SELECT a.field FROM openbook.attribute a WHERE a.field >= f.name AND {mine} ORDER BY a.field LIMIT 1"
            ') next ON true WHERE next.field IS DISTINCT FROM f.name COLLATE "C"'
        ).format(mine=mine),
        given,
    ).fetchall()
    unknown = {name for (name,) in rows}
    if not unknown:
        return {}
    known = {name.casefold(): name for name in _fields(connection, mine, given)}
    return {
        name: tuple(known[near] for near in get_close_matches(name.casefold(), known, NEAR, ALIKE))
        for name in fields
        if name in unknown
    }


def unknown_field(name: str, near: Sequence[str]) -> str:
    """What is said of a filter's field that no document has.

    >>> unknown_field("yaer", ["year"])
    'no document here has the field “yaer” that the filter names: was “year” meant?'
    """
    meant = f": was {' or '.join(f'“{one}”' for one in near)} meant?" if near else ""
    return f"no document here has the field “{name}” that the filter names{meant}"


def _fields(connection: Connection, mine: sql.Composable, given: dict[str, Any]) -> list[str]:
    """The names of the fields, in order."""
    rows = connection.execute(
        sql.SQL(
            "WITH RECURSIVE field (name, n) AS ("
            " (SELECT a.field, 1 FROM openbook.attribute a WHERE {mine} ORDER BY a.field LIMIT 1)"
            " UNION ALL SELECT next.field, n + 1 FROM field, LATERAL ("
            "  SELECT a.field FROM openbook.attribute a WHERE a.field > field.name AND {mine} ORDER BY a.field LIMIT 1"
            " ) next WHERE n < %(fields)s) SELECT name FROM field"
        ).format(mine=mine),
        given,
    ).fetchall()
    return [name for (name,) in rows]


def _read(
    connection: Connection, column: str, names: Sequence[str], mine: sql.Composable, given: dict[str, Any]
) -> dict[str, list[Any]]:
    """The values of the fields that have any in this column: all of them, or more than ``MOST_VALUES``."""
    parts = {"mine": mine, "column": sql.Identifier(column)}
    firsts = connection.execute(
        sql.SQL(
            "SELECT f.name, first.read, first.rows FROM unnest(%(names)s::text[]) AS f (name), LATERAL ("
            " SELECT array_agg(DISTINCT r.value) AS read, count(*) AS rows FROM ("
            "  SELECT a.{column} AS value FROM openbook.attribute a WHERE a.field = f.name AND a.{column} IS NOT NULL"
            "  AND {mine} ORDER BY a.{column} LIMIT %(rows)s) r) first WHERE first.rows > 0"
        ).format(**parts),
        {**given, "names": list(names)},
    ).fetchall()
    values: dict[str, tuple[list[Any], bool]] = {
        name: (read, rows < ROWS or len(read) > MOST_VALUES) for name, read, rows in firsts
    }
    ends = {name: read[-1] for name, (read, done) in values.items() if not done}
    if ends:
        more = connection.execute(
            sql.SQL(
                "SELECT f.name, v.value FROM unnest(%(names)s::text[], %(ends)s::{type}[]) AS f (name, last),"
                " LATERAL (WITH RECURSIVE v (value, n) AS (SELECT f.last {collation}, 1"
                " UNION ALL SELECT next.value, n + 1 FROM v, LATERAL (SELECT a.{column} AS value"
                "  FROM openbook.attribute a WHERE a.field = f.name AND a.{column} > v.value AND {mine}"
                "  ORDER BY a.{column} LIMIT 1) next WHERE n <= %(values)s) SELECT value FROM v OFFSET 1) v"
            ).format(
                **parts,
                type=sql.SQL("text" if column == "text" else "float8"),
                collation=sql.SQL('COLLATE "C"' if column == "text" else ""),
            ),
            {**given, "names": [*ends], "ends": [*ends.values()]},
        ).fetchall()
        for name, value in more:
            values[name][0].append(value)
    return {name: read for name, (read, _) in values.items()}
