"""Which values the metadata of a knowledge base have, as far as a caller may see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from openbook.store.database import Connection

MOST_VALUES = 1_000
"""Of one field. One that has more names documents, and does not sort them."""

MOST_FIELDS = 200


@dataclass(frozen=True, slots=True)
class Values:
    """The texts and numbers that a field has, in order: the first ``MOST_VALUES``, and whether those are ``all``."""

    field: str
    texts: tuple[str, ...]
    numbers: tuple[float, ...]
    all: bool = True


def read_values(connection: Connection, access: Sequence[int], *, local_only: bool = True) -> list[Values]:
    """The fields of documents with these access sets, in order; without ``local_only`` not of those that are.

    From each value the next one is looked up in the index, so that it costs a look-up for each value and not a row for
    each document. Row-level security holds here as everywhere.
    """
    mine: sql.Composable = sql.SQL("a.access = ANY(%(access)s::int[])")
    if not local_only:
        mine = mine + sql.SQL(
            " AND NOT EXISTS (SELECT FROM openbook.document d WHERE d.id = a.document AND d.local_only)"
        )
    parameters: dict[str, Any] = {"access": list(access), "fields": MOST_FIELDS, "values": MOST_VALUES}
    names = connection.execute(
        sql.SQL(
            "WITH RECURSIVE field (name, n) AS ("
            " (SELECT a.field, 1 FROM openbook.attribute a WHERE {mine} ORDER BY a.field LIMIT 1)"
            " UNION ALL SELECT next.field, n + 1 FROM field, LATERAL ("
            "  SELECT a.field FROM openbook.attribute a WHERE a.field > field.name AND {mine} ORDER BY a.field LIMIT 1"
            " ) next WHERE n < %(fields)s) SELECT name FROM field"
        ).format(mine=mine),
        parameters,
    ).fetchall()
    parameters["names"] = [name for (name,) in names]
    found: dict[str, tuple[list[str], list[float]]] = {name: ([], []) for (name,) in names}
    for at, column in enumerate(("text", "number")):
        rows = connection.execute(
            sql.SQL(
                "SELECT f.name, v.value FROM unnest(%(names)s::text[]) AS f (name), LATERAL ("
                " WITH RECURSIVE v (value, n) AS ("
                " (SELECT a.{column}, 1 FROM openbook.attribute a WHERE a.field = f.name AND a.{column} IS NOT NULL"
                "  AND {mine} ORDER BY a.{column} LIMIT 1)"
                " UNION ALL SELECT next.value, n + 1 FROM v, LATERAL (SELECT a.{column} AS value"
                "  FROM openbook.attribute a WHERE a.field = f.name AND a.{column} > v.value AND {mine}"
                "  ORDER BY a.{column} LIMIT 1) next WHERE n <= %(values)s) SELECT value FROM v) v"
            ).format(mine=mine, column=sql.Identifier(column)),
            parameters,
        ).fetchall()
        for name, value in rows:
            if column == "text" or math.isfinite(value):
                found[name][at].append(value)
    return [
        Values(
            name,
            tuple(texts[:MOST_VALUES]),
            tuple(numbers[:MOST_VALUES]),
            len(texts) <= MOST_VALUES and len(numbers) <= MOST_VALUES,
        )
        for name, (texts, numbers) in found.items()
    ]
