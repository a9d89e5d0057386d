"""Models that were trained on documents: whom each may answer, and which are withdrawn when a document is forgotten.

A model can say again what it was trained on. So it carries the access sets of those texts, and answers only callers who
overlap every one of them: the reading role sees no other model (a policy, as of documents). A text that is closed to
somebody later is closed in the model, too; one that is opened to more stays closed in it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from openbook.errors import ModelError
from openbook.store.access import normal
from openbook.store.database import Connection, Database
from openbook.store.locks import own_indexes
from openbook.store.tombstones import key_of
from openbook.types import PUBLIC

Kind = Literal["adapter", "embedder", "reranker"]

Standing = Literal["open", "closed", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it is registered: ``hash`` by which recipes and indexes name it, ``weights`` by which its files are
    known again. ``documents`` by id or by source, ``rules`` as principals."""

    hash: str
    kind: Kind
    weights: str
    documents: tuple[str, ...] = ()
    rules: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A model that was trained on what is forgotten. ``places``: (host, path) of its files; ``releases`` that name it,
    or have an index by it."""

    id: int
    hash: str
    kind: Kind
    weights: str
    places: tuple[tuple[str, str], ...]
    releases: tuple[str, ...]

    @property
    def is_needed(self) -> bool:
        """Whether an index would be lost without it. Others are left out of an answer, and nothing is lost."""
        return self.kind == "embedder" and bool(self.releases)


class Models:
    """The trained models that one knowledge base knows of."""

    def __init__(self, database: Database, kb: int) -> None:
        self.database = database
        self.kb = kb

    def register(self, model: Model, host: str, path: str) -> None:
        """Have a model known, and where its files lie. One that is known already keeps every rule that it has.

        Raises:
            ModelError: it was trained on a text that is forgotten.
        """
        id, is_whole, is_placed = self._known(model, host, path)
        if is_whole and is_placed:
            return
        with self.database.transaction("owner") as connection:
            if not is_whole:
                own_indexes(connection, self.kb)  # nobody changes a rule, and nobody forgets a document meanwhile
                id = self._enter(connection, model, path)
            connection.execute(
                "INSERT INTO openbook.model_folder (model, host, path) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [id, host, path],
            )

    def _known(self, model: Model, host: str, path: str) -> tuple[int, bool, bool]:
        """(its number, 0: it has none; whether all its rules are known, or it is withdrawn; whether this place is)."""
        rules = [list(rule) for rule in _rules(model)]
        with self.database.snapshot(None) as connection:
            row = connection.execute(
                "SELECT m.id, m.withdrawn IS NOT NULL OR NOT EXISTS ("
                "  SELECT FROM jsonb_array_elements(%s::jsonb) AS rule WHERE NOT EXISTS ("
                "   SELECT FROM openbook.access_set a WHERE a.id = ANY(m.rules) AND to_jsonb(a.principals) = rule)),"
                " EXISTS (SELECT FROM openbook.model_folder f WHERE f.model = m.id AND f.host = %s AND f.path = %s)"
                " FROM openbook.model m WHERE m.kb = %s AND m.hash = %s",
                [json.dumps(rules), host, path, self.kb, model.hash],
            ).fetchone()
        return (0, False, False) if row is None else (row[0], row[1], row[2])

    def _enter(self, connection: Connection, model: Model, path: str) -> int:
        ids, sources = _split(connection, self.kb, model.documents)
        _refuse_forgotten(connection, ids, path)
        rules = {interned(connection, self.kb, rule) for rule in _rules(model)}
        rows = connection.execute(
            "SELECT DISTINCT access FROM openbook.document WHERE id = ANY(%s::uuid[])", [ids]
        ).fetchall()
        rules |= {access for (access,) in rows}
        row = connection.execute(
            "INSERT INTO openbook.model (kb, hash, kind, weights, rules, withdrawn) VALUES (%s, %s, %s, %s, %s,"
            "  (SELECT min(same.withdrawn) FROM openbook.model same WHERE same.weights = %s))"  # of whichever base
            " ON CONFLICT (kb, hash) DO UPDATE SET rules = coalesce("
            "  (SELECT array_agg(DISTINCT rule) FROM unnest(model.rules || excluded.rules) AS rule), '{}')"
            " RETURNING id",
            [self.kb, model.hash, model.kind, model.weights, sorted(rules), model.weights],
        ).fetchone()
        assert row is not None
        id = int(row[0])
        connection.execute(
            "WITH told (document, source) AS (SELECT unnest(%s::uuid[]), NULL::bytea"
            "  UNION ALL SELECT NULL, unnest(%s::bytea[]))"
            " INSERT INTO openbook.trained_on (model, document, source) SELECT %s, document, source FROM told"
            " WHERE NOT EXISTS (SELECT FROM openbook.trained_on t WHERE t.model = %s"
            "  AND (t.document, t.source) IS NOT DISTINCT FROM (told.document, told.source))",
            [ids, sources, id, id],
        )
        return id

    def is_known(self, hash: str) -> bool:
        """Whether this is a model that was trained on documents."""
        with self.database.snapshot(None) as connection:
            row = connection.execute(
                "SELECT FROM openbook.model WHERE kb = %s AND hash = %s", [self.kb, hash]
            ).fetchone()
        return row is not None

    def standing(self, hash: str, principals: Sequence[str] | None) -> Standing:
        """Whether a known model may answer a caller. One that may not is told no more than that."""
        with self.database.snapshot(principals) as connection:
            row = connection.execute(
                "SELECT withdrawn IS NOT NULL FROM openbook.model WHERE kb = %s AND hash = %s", [self.kb, hash]
            ).fetchone()
        return "closed" if row is None else "withdrawn" if row[0] else "open"

    def is_withdrawn(self, hash: str) -> bool:
        """Whether it was trained on a text that is forgotten."""
        return self.standing(hash, None) == "withdrawn"

    def require_open(self, hash: str, principals: Sequence[str] | None) -> None:
        """Nothing where the embedder of an index may answer this caller. A withdrawn one answers whom it did until
        another release is promoted: ``forget`` has said so.

        Raises:
            ModelError: it may not.
        """
        if self.standing(hash, principals) == "closed":
            raise ModelError(
                "answers by a model that was trained on texts which are not all open to this caller",
                where="this release",
                do="ask as somebody who may read them, or have the owner promote a release by another model",
            )

    def rules(self, hash: str) -> list[tuple[str, ...]]:
        """Whom it may answer: who is among each of these. What is open to the public is left out."""
        with self.database.snapshot(None) as connection:
            rows = connection.execute(
                "SELECT a.principals FROM openbook.model m JOIN openbook.access_set a ON a.id = ANY(m.rules)"
                " WHERE m.kb = %s AND m.hash = %s AND NOT %s = ANY(a.principals) ORDER BY a.principals",
                [self.kb, hash, PUBLIC],
            ).fetchall()
        return [tuple(principals) for (principals,) in rows]


# --- what others change ---------------------------------------------------------------------------------------------


def follow_access(connection: Connection, documents: Sequence[tuple[str, int]]) -> None:
    """What these documents are open to now holds for the models that were trained on them, too, by whatever name."""
    connection.execute(
        "UPDATE openbook.model m SET rules = (SELECT array_agg(DISTINCT rule) FROM unnest(m.rules || n.rules) AS rule)"
        " FROM (WITH now AS (SELECT * FROM unnest(%s::uuid[], %s::int[]) AS now (document, access)),"
        "   named AS (SELECT d.kb, d.key, now.access FROM openbook.document d JOIN now ON now.document = d.id"
        "    UNION SELECT r.kb, r.key, now.access FROM openbook.renamed r JOIN now USING (document)),"
        "   told AS (SELECT t.model, now.access FROM openbook.trained_on t JOIN now USING (document)"
        "    UNION SELECT t.model, named.access FROM openbook.trained_on t JOIN named ON named.key = t.source"
        "     JOIN openbook.model o ON o.id = t.model AND o.kb = named.kb)"
        "  SELECT model, array_agg(DISTINCT access) AS rules FROM told GROUP BY model) n"
        " WHERE m.id = n.model AND NOT n.rules <@ m.rules",
        [[id for id, _ in documents], [access for _, access in documents]],
    )


def withdraw(connection: Connection, kb: int, documents: Sequence[str]) -> list[str]:
    """Withdraw every model that was trained on these documents, of whichever knowledge base, and others of the same
    weights; their hashes. The documents are there still."""
    rows = connection.execute(
        "WITH gone AS (SELECT id, key FROM openbook.document WHERE kb = %(kb)s AND id = ANY(%(ids)s::uuid[])"
        "  UNION SELECT document, key FROM openbook.renamed WHERE kb = %(kb)s AND document = ANY(%(ids)s::uuid[])),"
        " trained AS (DELETE FROM openbook.trained_on t USING gone, openbook.model m WHERE m.id = t.model"
        "  AND (t.document = gone.id OR (t.source = gone.key AND m.kb = %(kb)s)) RETURNING t.model)"
        " UPDATE openbook.model SET withdrawn = coalesce(withdrawn, now()) WHERE weights IN ("
        "  SELECT m.weights FROM openbook.model m JOIN trained ON trained.model = m.id) RETURNING hash",
        {"kb": kb, "ids": list(documents)},
    ).fetchall()
    return sorted({hash for (hash,) in rows})


def withdrawn(connection: Connection, kb: int) -> list[Withdrawn]:
    """The models of this database that are withdrawn. A release of another knowledge base than ``kb`` is told with the
    name of that."""
    rows = connection.execute(
        "SELECT m.id, m.hash, m.kind, m.weights,"
        " ARRAY(SELECT f.host FROM openbook.model_folder f WHERE f.model = m.id ORDER BY f.host, f.path),"
        " ARRAY(SELECT f.path FROM openbook.model_folder f WHERE f.model = m.id ORDER BY f.host, f.path),"
        " ARRAY(SELECT CASE WHEN r.kb = %s THEN r.name ELSE k.name || ' ' || r.name END FROM openbook.release r"
        "  JOIN openbook.index i ON i.id = r.index JOIN openbook.knowledge_base k ON k.id = r.kb"
        "  WHERE CASE m.kind WHEN 'embedder' THEN i.embedder = m.hash ELSE strpos(r.recipe, m.hash) > 0 END"
        "  ORDER BY r.id)"
        " FROM openbook.model m WHERE m.withdrawn IS NOT NULL ORDER BY m.id",
        [kb],
    ).fetchall()
    return [
        Withdrawn(id, hash, kind, weights, tuple(zip(hosts, paths, strict=True)), tuple(releases))
        for id, hash, kind, weights, hosts, paths, releases in rows
    ]


def lost(connection: Connection, model: int, host: str, path: str) -> None:
    """Its files do not lie there any more."""
    connection.execute(
        "DELETE FROM openbook.model_folder WHERE model = %s AND host = %s AND path = %s", [model, host, path]
    )


def interned(connection: Connection, kb: int, principals: tuple[str, ...]) -> int:
    """The number of an access set of these principals, which are in order."""
    connection.execute(
        "INSERT INTO openbook.access_set (kb, principals) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [kb, list(principals)],
    )
    row = connection.execute(
        "SELECT id FROM openbook.access_set WHERE kb = %s AND principals = %s", [kb, list(principals)]
    ).fetchone()
    assert row is not None
    return int(row[0])


# --- inside ---------------------------------------------------------------------------------------------------------


def _split(connection: Connection, kb: int, documents: Sequence[str]) -> tuple[list[str], list[bytes]]:
    """Ids; and the keys of sources by which no document is known here."""
    ids = {name for name in documents if _is_id(name)}
    keys = {key_of(name) for name in documents if name not in ids}
    rows = connection.execute(
        "SELECT key, id::text FROM openbook.document WHERE kb = %s AND key = ANY(%s)"
        " UNION ALL SELECT key, document::text FROM openbook.renamed WHERE kb = %s AND key = ANY(%s)",
        [kb, list(keys), kb, list(keys)],
    ).fetchall()
    known = {bytes(key): id for key, id in rows}
    return sorted({*ids, *known.values()}), sorted(keys - known.keys())


def _is_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _refuse_forgotten(connection: Connection, ids: Sequence[str], path: str) -> None:
    """The change feed knows every document that there ever was. Raises: ModelError."""
    row = connection.execute(
        "SELECT count(DISTINCT c.document) FROM openbook.change c WHERE c.document = ANY(%s::uuid[])"
        " AND NOT EXISTS (SELECT FROM openbook.document d WHERE d.id = c.document)",
        [list(ids)],
    ).fetchone()
    if row is not None and row[0]:
        what = f"was trained on {row[0]} document{'s' * (row[0] > 1)} that {'are' if row[0] > 1 else 'is'} forgotten"
        raise ModelError(what, where=path, do="delete it, and train again without")


def _rules(model: Model) -> list[tuple[str, ...]]:
    """Those that anybody is kept out by."""
    return sorted({normal(rule) for rule in model.rules if PUBLIC not in rule})
