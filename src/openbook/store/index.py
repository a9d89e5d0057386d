"""The search side of an index: its chunks and vectors in PostgreSQL, its words in the keyword view.

What an engine that outgrows one machine would have to offer is what ``Index`` offers: ``upsert``, ``delete``,
``dense``, ``keyword``, ``position``. Truth, releases, access and the fetch-back of every hit stay in PostgreSQL.

``dense`` has how vectors are searched, ``change_feed`` how the keyword view is brought up to date. Here: the table of
chunks, and what is read of it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import sql

from openbook.errors import StoreError
from openbook.store import vectors
from openbook.store.change_feed import ChangeFeed
from openbook.store.database import Connection, Database
from openbook.store.dense import MOST_DIMENSIONS, Dense, array
from openbook.store.filter import And, Filter, fields_of, to_sql, tuples
from openbook.store.keyword import Held, KeywordView, Position, Question, Term, Weigh, Weighed, Words
from openbook.store.vocabulary import Values, read_values, unknown_fields
from openbook.types import Chunk, Hit

if TYPE_CHECKING:
    from openbook.embed import FloatArray

T = TypeVar("T")

GAP = 16
"""Between two chunks lie blanks alone; so many are looked at to tell that nothing else does."""

WHOLE = 3
"""Of so many chunks of one document its text is read whole: each substr walks it from its beginning, and copies it."""


@dataclass(frozen=True, slots=True)
class View:
    """What one question may see: a snapshot of the database with the caller's rights, and the filter."""

    connection: Connection
    position: Position
    live: int  # the number of the release that answers in this snapshot
    access: tuple[int, ...] | None  # access sets that the caller may see; None: all
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What an index holds of one document version: its chunks, a row of ``vectors`` (float32[n, d]) for each.

    ``embedder`` is the hash of the model that made the vectors; ``unfamiliar`` the script of a language that it does
    not know (``None``: it knows it). ``vectors`` are ``None`` where the document was ``local_only`` and the model is
    not: keyword search carries it alone. ``keys`` are those of the cached vectors that these are made of.
    """

    chunks: Sequence[Chunk]
    vectors: FloatArray | None
    embedder: str
    unfamiliar: str | None = None
    local_only: bool = False
    keys: tuple[bytes, ...] = ()


def keyword_folder(database: Database, kb: int, index: int) -> Path:
    """Where this host keeps the keyword view of an index."""
    return Path(database.cache) / "keyword" / f"{kb}-{index}"


class Index:
    """The chunks and vectors of one index half of one knowledge base."""

    def __init__(
        self, database: Database, kb: int, id: int, *, hash: str, embedder: str, dimension: int, language: str
    ) -> None:
        """``hash`` is that of the index half, ``embedder`` that of the model."""
        self.database = database
        self.kb = kb
        self.id = id
        self.hash = hash
        self.embedder = embedder
        self.dimension = dimension
        self.language = language
        self.table = sql.Identifier("openbook", f"chunk_{id}")
        self._view = KeywordView(keyword_folder(database, kb, id), language)
        self._dense = Dense(self.table, dimension, self._view)
        self._feed = ChangeFeed(database, kb, self.table, self._view)

    @classmethod
    def kept(cls, connection: Connection, database: Database, kb: int) -> list[Index]:
        """Every index of a knowledge base: of the release that answers, of the one before it, of candidates."""
        rows = connection.execute(
            "SELECT id, hash, embedder, dimension, language FROM openbook.index WHERE kb = %s ORDER BY id", [kb]
        ).fetchall()
        return [
            cls(database, kb, id, hash=hash, embedder=embedder, dimension=dimension, language=language)
            for id, hash, embedder, dimension, language in rows
        ]

    @staticmethod
    def create(
        connection: Connection, id: int, dimension: int, reader: str, writer: str, *, bound: bool = True
    ) -> None:
        """Make the chunk table of a new index, empty, with its HNSW index: built later it would block writers.

        Its reference to documents keeps all who write one waiting until this transaction ends. A long one leaves the
        table not ``bound``, and binds it last. What an exact scan reads stands before what has no fixed place in a row:
        to walk there takes it a quarter of its time.
        """
        connection.execute(
            sql.SQL(
                """
                CREATE TABLE {table} (
                    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                    document uuid NOT NULL {reference},
                    version  int NOT NULL,
                    start    int NOT NULL,
                    "end"    int NOT NULL,
                    access   int NOT NULL,
                    vector   halfvec({dimension}),
                    headings text[] NOT NULL,
                    page     int,
                    passage  int[],
                    context  text NOT NULL DEFAULT ''
                );
                CREATE INDEX ON {table} (document);
                CREATE INDEX ON {table} (access);
                ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                CREATE POLICY everything ON {table} TO CURRENT_USER, {writer} USING (true);
                CREATE POLICY permitted ON {table} FOR SELECT TO {reader}
                    USING (access IN (SELECT id FROM openbook.access_set));
                GRANT SELECT ON {table} TO {reader};
                GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {writer};
                """
            ).format(
                table=sql.Identifier("openbook", f"chunk_{id}"),
                reference=sql.SQL("REFERENCES openbook.document ON DELETE CASCADE" if bound else ""),
                dimension=sql.Literal(dimension),
                reader=sql.Identifier(reader),
                writer=sql.Identifier(writer),
            )
        )
        if dimension <= MOST_DIMENSIONS:
            connection.execute(
                sql.SQL("CREATE INDEX ON {} USING hnsw (vector halfvec_ip_ops)").format(
                    sql.Identifier("openbook", f"chunk_{id}")
                )
            )

    @staticmethod
    def bind(connection: Connection, id: int) -> None:
        """Have chunks go with their document, which this transaction has made as well: so it is not looked at whether
        each has one. As long as that would take, nobody could write a document."""
        name = f"chunk_{id}"
        connection.execute(
            sql.SQL(
                "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY (document)"
                " REFERENCES openbook.document ON DELETE CASCADE NOT VALID"
            ).format(sql.Identifier("openbook", name), sql.Identifier(f"{name}_document_fkey"))
        )

    @staticmethod
    def drop(connection: Connection, id: int) -> None:
        """Drop the chunk table of an index; its keyword view (``keyword_folder``) goes when that has committed."""
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("openbook", f"chunk_{id}")))

    # --- writing, inside the caller's transaction ---------------------------------------------------------------------

    def upsert(self, connection: Connection, rows: Sequence[tuple[str, int, int, Reading]]) -> None:
        """Insert what was read of (document, version, access); what was there of them was deleted before.

        Raises:
            StoreError: vectors of another model.
        """
        from pgvector import HalfVector

        for _, _, _, reading in rows:
            self.require(reading.embedder)
        statement = sql.SQL(
            'INSERT INTO {} (document, version, start, "end", headings, page, access, passage, context, vector)'
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %b)"
        ).format(self.table)
        with connection.cursor() as cursor:
            cursor.executemany(
                statement,
                [
                    (document, version, *_columns(chunk, access), vector)
                    for document, version, access, reading in rows
                    for chunk, vector in zip(
                        reading.chunks,
                        [None] * len(reading.chunks) if reading.vectors is None else map(HalfVector, reading.vectors),
                        strict=True,
                    )
                ],
            )
            cursor.executemany(
                "INSERT INTO openbook.unfamiliar (index, document, script) VALUES (%s, %s, %s)",
                [(self.id, document, read.unfamiliar) for document, _, _, read in rows if read.unfamiliar],
            )
            cursor.executemany(
                "INSERT INTO openbook.indexed (index, document, version) VALUES (%s, %s, %s)",
                [(self.id, document, version) for document, version, _, _ in rows],
            )
        vectors.use(connection, [(document, reading.embedder, reading.keys) for document, _, _, reading in rows])

    def delete(self, connection: Connection, documents: Sequence[str]) -> None:
        """Drop what the index holds of these documents: those that are there, it is then behind by."""
        for table in (self.table, *(sql.Identifier("openbook", name) for name in ("unfamiliar", "indexed"))):
            of_index = sql.SQL("") if table is self.table else sql.SQL("index = {} AND ").format(sql.Literal(self.id))
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE {}document = ANY(%s::uuid[])").format(table, of_index), [list(documents)]
            )

    def is_complete(self, connection: Connection) -> bool:
        """Whether questions may be asked of it: see ``Releases.complete``."""
        row = connection.execute("SELECT complete FROM openbook.index WHERE id = %s", [self.id]).fetchone()
        return row == (True,)

    def require(self, embedder: str) -> None:
        """Vectors of two models are never compared. Raises: StoreError: another one than this index's."""
        if embedder != self.embedder:
            raise StoreError(
                f"vectors of model {embedder} do not belong to an index of model {self.embedder}",
                where=f"index {self.id}",
                do="build a release with that model: openbook release build",
            )

    def set_access(self, connection: Connection, rows: Sequence[tuple[str, int]]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                # A row that is written anew goes into the HNSW index anew, too.
                sql.SQL("UPDATE {} SET access = %s WHERE document = %s AND access <> %s").format(self.table),
                [(access, document, access) for document, access in rows],
            )

    # --- reading, inside one snapshot ---------------------------------------------------------------------------------

    def position(self, connection: Connection) -> Position:
        return self._feed.now(connection)[0]

    def view(self, connection: Connection, principals: Sequence[str] | None, filter: Filter | None) -> View:
        """What this snapshot may see; the caller's access sets are read once, through row-level security."""
        access = None
        if principals is not None:
            rows = connection.execute("SELECT id FROM openbook.access_set WHERE kb = %s", [self.kb]).fetchall()
            access = tuple(row[0] for row in rows)
        position, live = self._feed.now(connection)
        return View(connection, position, live, access, filter)

    def dense(
        self, view: View, vector: FloatArray, k: int, also: Sequence[int] = ()
    ) -> tuple[list[tuple[int, float]], dict[int, float]]:
        """The k chunks nearest to ``vector`` (float32[d], unit length) as (chunk, cosine), best first; and the cosines
        of these and ``also`` of other chunks. A chunk that has no vector has no cosine and is not near.

        What matches is scanned exactly while that is cheap; above, HNSW with iterative scan, and the exact scan again
        where it finds fewer than k.
        """
        return self._dense.search(view, vector, k, also)

    def read(self, view: View, question: str) -> Question:
        """The question's words, and the titles and metadata values that it mentions."""
        return self._asked(view, lambda words: words.read(question, filter=view.filter, access=view.access))

    def values(self, view: View, *, without: Collection[str] = (), local_only: bool = True) -> list[Values]:
        """The metadata that this snapshot may see, but for the fields ``without``; if not ``local_only``, not that of
        documents which are."""
        return read_values(view.connection, self._access(view), without=without, local_only=local_only)

    def unknown_fields(self, view: View, filter: Filter) -> dict[str, tuple[str, ...]]:
        """The fields of a filter that no document has which this snapshot may see, each with those nearly called so."""
        return unknown_fields(view.connection, self._access(view), fields_of(filter))

    def _access(self, view: View) -> tuple[int, ...]:
        if view.access is not None:
            return view.access
        rows = view.connection.execute("SELECT id FROM openbook.access_set WHERE kb = %s", [self.kb]).fetchall()
        return tuple(row[0] for row in rows)

    def matching(self, view: View, filter: Filter | None) -> int:
        """How many chunks satisfy ``filter``, of those that this snapshot may see and its own filter lets through."""
        both = view.filter if filter is None else filter if view.filter is None else And((view.filter, filter))
        return self._asked(view, lambda words: words.matching(both, access=view.access))

    def is_rare(self, view: View, text: str, of: Filter, *, one_in: int) -> bool:
        """Whether fewer than one in so many of the chunks that ``of`` does not let through hold the words ``text``."""
        return self._asked(view, lambda words: words.is_rare(text, of, one_in=one_in, access=view.access))

    def chunks_with(self, view: View, terms: Iterable[Term]) -> dict[Term, int]:
        """Those of these (field, word) that some chunk has which this snapshot may see, and how many such have it."""
        return self._asked(view, lambda words: words.chunks_with(terms, access=view.access))

    def most_held(self, view: View, terms: Iterable[Term], weigh: Weigh) -> Term | None:
        """That (field, word) of which its weight, times how many chunks that this snapshot may see have it, is
        greatest; ``None``: none has any. See ``KeywordView.most_held``."""
        return self._asked(view, lambda words: words.most_held(terms, weigh, access=view.access))

    def first_with(self, view: View, term: Term, k: int) -> list[int]:
        """The first ``k`` chunks that have a (field, word) and that this snapshot may see."""
        return self._asked(view, lambda words: words.first_with(term, k, access=view.access))

    def chunks_with_all(self, view: View, words: Sequence[str]) -> int:
        """How many chunks that this snapshot may see have all of these words."""
        return self._asked(view, lambda those: those.chunks_with_all(words, access=view.access))

    def beginning(self, view: View, start: str, keep: Callable[[str], bool]) -> dict[str, int]:
        """The words that begin so, that are to be kept, and that this snapshot may see: word → how many chunks."""
        return self._asked(view, lambda words: words.beginning(start, keep, access=view.access))

    @property
    def words(self) -> Words:
        """How text becomes the words of this index."""
        return self._view.words

    def keyword(self, view: View, question: str | Question, k: int) -> list[tuple[int, float]]:
        """The k chunks that keyword search ranks highest: (chunk, score), best first."""
        return self._asked(view, lambda words: words.search(question, k, filter=view.filter, access=view.access))

    def weigh(self, view: View, question: Question, chunks: Sequence[int]) -> dict[int, Weighed]:
        """What keyword search says of these chunks, which the caller may see, and of their documents."""
        return self._asked(view, lambda words: words.weigh(question, chunks))

    def _asked(self, view: View, ask: Callable[[KeywordView], T]) -> T:
        """Asks the keyword view, caught up with what this snapshot sees."""
        if self._view.position().is_behind(view.position):
            self._feed.follow()
        try:
            return ask(self._view)
        except StoreError:  # damaged, or deleted meanwhile: it is derived, so make it anew
            self._feed.catch_up()
            return ask(self._view)

    def is_ahead(self, view: View) -> bool:
        """Whether the keyword view has seen changes that this snapshot has not: the question then asks again."""
        return self._view.position() != view.position

    def turn_back(self) -> None:
        """Make the keyword view anew where it has seen changes that are not there any more: an older backup of the
        database was restored. Its epoch is the same, and by numbers alone the view would never be behind."""
        seen = self._view.position()
        with self.database.snapshot(None, role="writer") as connection:
            now = self.position(connection)  # later than whatever the view was given
        if seen.epoch == now.epoch and seen.number > now.number:
            self._feed.catch_up()

    def fetch(self, view: View, chunks: Sequence[int]) -> Mapping[int, tuple[Hit, str]]:
        """Chunks, or the passages that are shown of them, with their text, through row-level security: the last gate
        before anything leaves. With each the ``GAP`` characters that follow it."""
        rows = view.connection.execute(
            sql.SQL(
                "SELECT d.id::text, v.version, d.source, v.title, v.pages, d.metadata, d.local_only, g.chunks,"
                " CASE WHEN cardinality(g.starts) < %s THEN ARRAY(SELECT substr(v.text, at.start + 1, at.length)"
                " FROM unnest(g.starts, g.lengths) WITH ORDINALITY at (start, length, n) ORDER BY at.n) END,"
                " CASE WHEN cardinality(g.starts) >= %s THEN v.text END"
                " FROM (SELECT document, version, array_agg(coalesce(passage[1], start) ORDER BY id) AS starts,"
                ' array_agg(coalesce(passage[2], "end") - coalesce(passage[1], start) + %s ORDER BY id) AS lengths,'
                ' jsonb_agg(jsonb_build_array(id, start, "end", headings, page, passage, context) ORDER BY id)'
                " AS chunks"
                " FROM {} WHERE id = ANY(%s) GROUP BY document, version) g"
                " JOIN openbook.document d ON d.id = g.document"
                " JOIN openbook.version v ON v.document = g.document AND v.version = g.version"
            ).format(self.table),
            [WHOLE, WHOLE, GAP, list(chunks)],
        ).fetchall()
        found: dict[int, tuple[Hit, str]] = {}
        for document, version, source, title, pages, metadata, local_only, spans, texts, whole in rows:
            shared = {
                "document": document,
                "version": version,
                "source": source,
                "title": title,
                "metadata": tuples(metadata),
                "pages": tuple(pages),
                "local_only": local_only,
            }
            for n, (id, own_start, own_end, headings, page, passage, context) in enumerate(spans):
                start, end = passage or (own_start, own_end)
                text = whole[start : end + GAP] if texts is None else texts[n]
                if passage:
                    page = bisect_right(pages, start) or None
                chunk = Chunk(start, end, text[: end - start], tuple(headings), page, context=context)
                own = (own_start, own_end) if passage else None
                found[id] = Hit(**shared, chunk=chunk, score=0.0, found=own), text[end - start :]
        return found

    def vectors(self, view: View, chunks: Sequence[int]) -> dict[int, FloatArray]:
        """float32[d], unit length but for rounding, of those of these chunks that have one, through row-level
        security."""
        rows = view.connection.execute(
            sql.SQL("SELECT c.id, c.vector FROM {} c WHERE c.vector IS NOT NULL AND c.id = ANY(%s::bigint[])").format(
                self.table
            ),
            [array(chunks)],
        ).fetchall()
        return {id: vector.to_numpy().astype("float32") for id, vector in rows}

    def all_vectors(self, view: View) -> tuple[list[int], list[str], FloatArray]:
        """Every chunk that has a vector, the document (its id) of each, and float32[n, d], through row-level
        security."""
        import numpy as np

        rows = view.connection.execute(
            sql.SQL(
                "SELECT c.id, c.document::text, c.vector FROM {} c WHERE c.vector IS NOT NULL ORDER BY c.id"
            ).format(self.table)
        ).fetchall()
        vectors = np.empty((len(rows), self.dimension), np.float32)
        for row, (_, _, vector) in enumerate(rows):
            vectors[row] = vector.to_numpy()
        return [id for id, _, _ in rows], [document for _, document, _ in rows], vectors

    def middles(self, view: View) -> list[tuple[str, str, str, FloatArray | None]]:
        """(id, source, title, the mean of its chunks' vectors) of every document that this snapshot may see and the
        filter lets through, in order of source; without a vector of any chunk no mean."""
        where: tuple[sql.Composable, list[Any]] = sql.SQL("true"), []
        if view.filter is not None:
            where = to_sql(view.filter, document="d.id", table=sql.Identifier("openbook", "attribute"))
        rows = view.connection.execute(
            sql.SQL(
                "SELECT d.id::text, d.source, v.title, m.middle FROM openbook.document d"
                " JOIN openbook.version v ON v.document = d.id AND v.version = d.version"
                " LEFT JOIN (SELECT c.document, avg(c.vector) AS middle FROM {} c GROUP BY c.document) m"
                " ON m.document = d.id WHERE d.kb = %s AND d.removed IS NULL AND {} ORDER BY d.source"
            ).format(self.table, where[0]),
            [self.kb, *where[1]],
        ).fetchall()
        return [
            (id, source, title, None if middle is None else middle.to_numpy().astype("float32"))
            for id, source, title, middle in rows
        ]

    def beginnings(self, view: View, documents: Sequence[str], characters: int) -> dict[str, str]:
        """Document (its id) → so many characters of its text, through row-level security."""
        rows = view.connection.execute(
            "SELECT d.id::text, left(v.text, %s) FROM openbook.document d"
            " JOIN openbook.version v ON v.document = d.id AND v.version = d.version WHERE d.id = ANY(%s::uuid[])",
            [characters, list(documents)],
        ).fetchall()
        return dict(rows)

    def typical(self, view: View, documents: Sequence[str], vector: FloatArray) -> dict[str, int]:
        """Document (its id) → the chunk of it that is nearest to ``vector``."""
        from pgvector import HalfVector

        rows = view.connection.execute(
            sql.SQL(
                "SELECT DISTINCT ON (c.document) c.document::text, c.id FROM {} c"
                " WHERE c.vector IS NOT NULL AND c.document = ANY(%s::uuid[])"
                " ORDER BY c.document, c.vector <#> %s::halfvec, c.id"
            ).format(self.table),
            [list(documents), HalfVector(vector)],
        ).fetchall()
        return dict(rows)

    def chunks(self, document: str, principals: Sequence[str] | None) -> list[Chunk]:
        """The chunks of a document (its id), in order of ``start``."""
        with self.database.snapshot(principals) as connection:
            rows = connection.execute(
                sql.SQL(
                    'SELECT c.start, c."end", substr(v.text, c.start + 1, c."end" - c.start), c.headings, c.page,'
                    " c.passage, c.context FROM {} c"
                    " JOIN openbook.version v ON v.document = c.document AND v.version = c.version"
                    " WHERE c.document = %s ORDER BY c.start, c.id"
                ).format(self.table),
                [document],
            ).fetchall()
        return [
            Chunk(start, end, text, tuple(headings), page, passage and (passage[0], passage[1]), context)
            for start, end, text, headings, page, passage, context in rows
        ]

    def places(self, view: View, documents: Sequence[str]) -> dict[str, list[tuple[int, int, int]]]:
        """(chunk, start, end) of the chunks of these documents (their ids), in order of ``start``, by document."""
        rows = view.connection.execute(
            sql.SQL(
                'SELECT c.document::text, c.id, c.start, c."end" FROM {} c WHERE c.document = ANY(%s::uuid[])'
                " ORDER BY c.document, c.start, c.id"
            ).format(self.table),
            [list(documents)],
        ).fetchall()
        found: dict[str, list[tuple[int, int, int]]] = {}
        for document, chunk, start, end in rows:
            found.setdefault(document, []).append((chunk, start, end))
        return found

    def contexts(self, sources: Sequence[str]) -> dict[str, dict[tuple[tuple[str, ...], str], str]]:
        """What the chunks of these sources are read with, by source and (headings, text), where it is anything."""
        with self.database.snapshot(None) as connection:
            rows = connection.execute(
                sql.SQL(
                    'SELECT d.source, c.headings, substr(v.text, c.start + 1, c."end" - c.start), c.context'
                    " FROM {} c JOIN openbook.document d ON d.id = c.document"
                    " JOIN openbook.version v ON v.document = c.document AND v.version = c.version"
                    " WHERE d.kb = %s AND d.key = ANY(%s) AND c.context <> ''"
                ).format(self.table),
                [self.kb, [hashlib.sha256(source.encode()).digest() for source in sources]],
            ).fetchall()
        found: dict[str, dict[tuple[tuple[str, ...], str], str]] = {}
        for source, headings, text, context in rows:
            found.setdefault(source, {})[tuple(headings), text] = context
        return found

    def count(self, principals: Sequence[str] | None) -> int:
        with self.database.snapshot(principals) as connection:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(self.table)).fetchone()
        assert row is not None
        return int(row[0])

    def unfamiliar(self, principals: Sequence[str] | None) -> dict[str, int]:
        """Script → documents in it whose language the model does not know, the most first."""
        with self.database.snapshot(principals) as connection:
            rows = connection.execute(
                "SELECT u.script, count(*) FROM openbook.unfamiliar u JOIN openbook.document d ON d.id = u.document"
                " WHERE u.index = %s AND d.removed IS NULL GROUP BY u.script ORDER BY count(*) DESC, u.script",
                [self.id],
            ).fetchall()
        return dict(rows)

    def bytes_on_disk(self) -> dict[str, int]:
        """What the index takes: ``rows`` (chunks, vectors), ``hnsw``, other ``btrees`` and the ``keyword`` view."""
        with self.database.snapshot(None) as connection:
            row = connection.execute(
                "SELECT pg_table_size(t), pg_indexes_size(t), (SELECT coalesce(sum(pg_relation_size(i.indexrelid)), 0)"
                " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
                " WHERE i.indrelid = t AND a.amname = 'hnsw') FROM (SELECT %s::regclass AS t)",
                [self.table.as_string(connection)],
            ).fetchone()
        assert row is not None
        rows, indexes, hnsw = map(int, row)
        return {"rows": rows, "hnsw": hnsw, "btrees": indexes - hnsw, "keyword": self._view.bytes_on_disk()}

    def keyword_held(self, access: Sequence[int]) -> Held | None:
        """What this host's keyword view holds; ``None``: it has none."""
        return self._view.held(access)

    def rebuild_keyword(self) -> None:
        """Make this host's keyword view anew, from nothing."""
        self._view.reset()
        self._feed.catch_up()

    def warm(self) -> None:
        """Bring the keyword view of this host up to now, so that no question waits for it."""
        with self.database.snapshot(None) as connection:
            now = self.position(connection)
        if self._view.position().is_behind(now):
            self._feed.catch_up()

    def renew_view(self) -> bool:
        """As ``ChangeFeed.renew``. Raises: StoreError."""
        return self._feed.renew()


def _columns(c: Chunk, access: int) -> tuple[Any, ...]:
    passage = None if c.passage is None else list(c.passage)
    return c.start, c.end, list(c.headings), c.page, access, passage, c.context
