"""The chunks nearest to a vector: scanned exactly while that is cheap, by HNSW above."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from psycopg import sql

from openbook.errors import StoreError
from openbook.store.database import Connection
from openbook.store.filter import to_sql
from openbook.store.keyword import SPARE, KeywordView

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.store.index import View

EXACT_BYTES = 30_000 * 2 * 384
"""Up to this many bytes of vectors are scanned exactly: 30,000 rows of 384 dimensions take 8 ms, and HNSW under a
filter that keeps 1 % of the rows finds 36 % of what the exact scan finds."""

MOST_REACHED = 1000
"""pgvector's limit for ``hnsw.ef_search``."""

UNKNOWN_SHARE = 0.01
"""Taken for the share that matches where it was not counted."""

MOST_DIMENSIONS = 4000
"""pgvector's limit for HNSW over halfvec; beyond it every search is exact."""


class Dense:
    """The dense search of one index, in the ``table`` of its chunks. Its keyword view tells how much a filter keeps."""

    def __init__(self, table: sql.Identifier, dimension: int, view: KeywordView) -> None:
        self.table = table
        self.dimension = dimension
        self._view = view

    def search(
        self, view: View, vector: FloatArray, k: int, also: Sequence[int] = ()
    ) -> tuple[list[tuple[int, float]], dict[int, float]]:
        """As ``Index.dense``."""
        limit = max(1, EXACT_BYTES // (2 * self.dimension))
        if self.dimension <= MOST_DIMENSIONS and (share := self._share(limit, view)):
            found, others = self._approximate(view, vector, k, also, share)
            if len(found) >= k:
                return found, others
        return self._exact(view, vector, k, also)

    def _share(self, limit: int, view: View) -> float:
        """About which share of the chunks match; 0 where no more than about ``limit`` do. The keyword view tells it in
        a tenth of the time that PostgreSQL takes; where it is not up to date (nobody asks for words), they are counted
        there, and no further than to know that they are more."""
        if not self._view.position().is_behind(view.position):
            with contextlib.suppress(StoreError):  # damaged: whoever asks for words makes it anew
                size = self._view.size()
                if size <= limit:
                    return 0.0
                matching = self._view.count(filter=view.filter, access=view.access)
                return min(1.0, matching / size) if matching > limit else 0.0
        where, params = self._where(view)
        (counted,) = view.connection.execute(
            sql.SQL("SELECT count(*) FROM (SELECT FROM {} c WHERE {} LIMIT %s) m").format(self.table, where),
            [*params, limit + 1],
        ).fetchall()
        return UNKNOWN_SHARE if counted[0] > limit else 0.0

    def _approximate(
        self, view: View, vector: FloatArray, k: int, also: Sequence[int], share: float
    ) -> tuple[list[tuple[int, float]], dict[int, float]]:
        """By HNSW; the access rules are those of row-level security. ``share``: how much of all matches.

        With ``ef_search`` of k and at least 200 recall@10 in 100,000 chunks is 0.99; 2 k takes twice the time for
        nothing that could be measured. Where much matches, so many more are taken that k of them are left, and only of
        those is it asked what they match; else the scan goes on until it has k. Without a way to sort, the planner has
        to take the index.
        """
        reach = math.ceil(SPARE * k / share) if share < 1.0 else k
        wide = reach <= MOST_REACHED
        settings = {
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.ef_search": str(min(MOST_REACHED, max(200, reach if wide else k))),
            "enable_sort": "off",
        }
        distance = sql.SQL("c.vector <#> %s::halfvec")
        with _planned(view.connection, settings):
            if view.filter is not None and wide:
                found, others = self._nearest(view, vector, k, also, *self._where(view, by="row"), distance, of=reach)
                if len(found) >= k:
                    return found, others
            return self._nearest(view, vector, k, also, *self._where(view), distance)

    def _exact(
        self, view: View, vector: FloatArray, k: int, also: Sequence[int]
    ) -> tuple[list[tuple[int, float]], dict[int, float]]:
        """Of all that match. Under a filter or access rules those are found by indexes: the sets of the caller are
        named beside row-level security, which looks at every row, and a scan of 100,000 rows takes longer than 10,000
        distances. Nor are other processes started for what takes milliseconds."""
        where, params = self._where(view, by="list")
        if view.access is not None:
            where, params = sql.SQL("{} AND c.access = ANY(%s)").format(where), [*params, list(view.access)]
        settings = {}
        if view.filter is not None or view.access is not None:
            settings = {"enable_seqscan": "off", "max_parallel_workers_per_gather": "0"}
        with _planned(view.connection, settings):
            # The sum keeps the planner from using the HNSW index.
            return self._nearest(view, vector, k, also, where, params, sql.SQL("(c.vector <#> %s::halfvec) + 0"))

    def _nearest(
        self,
        view: View,
        vector: FloatArray,
        k: int,
        also: Sequence[int],
        where: sql.Composable,
        params: list[Any],
        distance: sql.SQL,
        *,
        of: int | None = None,
    ) -> tuple[list[tuple[int, float]], dict[int, float]]:
        from pgvector import HalfVector

        asked = HalfVector(vector)
        near = sql.SQL(
            "SELECT c.id, {distance} AS distance, true FROM {table} c WHERE c.vector IS NOT NULL AND {where}"
            " ORDER BY distance LIMIT %s"
        ).format(distance=distance, table=self.table, where=where)
        near_params = [asked, *params, k]
        if of is not None:  # what lies nearest, and of that what matches
            near = sql.SQL(
                "SELECT c.id, c.distance, true FROM (SELECT c.id, c.document, {distance} AS distance FROM {table} c"
                " WHERE c.vector IS NOT NULL ORDER BY distance LIMIT %s) c WHERE {where} LIMIT %s"
            ).format(distance=distance, table=self.table, where=where)
            near_params = [asked, of, *params, k]
        rows = view.connection.execute(
            sql.SQL(
                "({near}) UNION ALL (SELECT c.id, c.vector <#> %s::halfvec, false FROM {table} c"
                "  WHERE c.vector IS NOT NULL AND c.id = ANY(%s::bigint[]))"
            ).format(near=near, table=self.table),
            [*near_params, asked, array(also)],
        ).fetchall()
        nearest = sorted(((id, -far) for id, far, near in rows if near), key=lambda row: (-row[1], row[0]))
        return nearest, {id: -far for id, far, _ in rows}

    def _where(self, view: View, *, by: Literal["hash", "list", "row"] = "hash") -> tuple[sql.Composable, list[Any]]:
        if view.filter is None:
            return sql.SQL("true"), []
        table = sql.Identifier("openbook", "attribute")
        return to_sql(view.filter, document="c.document", table=table, by=by)


@contextlib.contextmanager
def _planned(connection: Connection, settings: Mapping[str, str]) -> Iterator[None]:
    """Settings for what is asked inside; what is asked after it in the same transaction is planned as ever."""
    if not settings:
        yield
        return
    before = connection.execute(
        "SELECT current_setting(name, true), set_config(name, value, true) FROM unnest(%s::text[], %s::text[])"
        " AS s (name, value)",
        [list(settings), list(settings.values())],
    ).fetchall()
    yield
    connection.execute(
        "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
        [list(settings), [former for former, _ in before]],
    )


def array(numbers: Sequence[int]) -> str:
    """As PostgreSQL reads it: written at once, where psycopg writes number by number."""
    return f"{{{','.join(map(str, numbers))}}}"
