"""The vector cache: a text that a model has read once is never embedded by it again.

Which documents a vector was made for is written down with each of them: forgetting the last one erases it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from openbook.store.database import Connection, Database

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray


def key_of(text: str) -> bytes:
    """By which the vector of an embedded text is found."""
    return hashlib.sha256(text.encode()).digest()


def known_of(database: Database, embedder: str, keys: Sequence[bytes]) -> set[bytes]:
    """Those of the texts, by SHA-256, whose vectors are there."""
    with database.snapshot(None) as connection:
        rows = connection.execute(
            "SELECT text FROM openbook.vector WHERE embedder = %s AND text = ANY(%s)", [embedder, list(keys)]
        ).fetchall()
    return {bytes(key) for (key,) in rows}


def drop_cached(database: Database, embedder: str, texts: Sequence[str]) -> None:
    """Keep no vectors of these texts that this model made."""
    with database.transaction() as connection:
        connection.execute(
            "DELETE FROM openbook.vector WHERE embedder = %s AND text = ANY(%s)",
            [embedder, [hashlib.sha256(text.encode()).digest() for text in texts]],
        )


def embed_cached(
    database: Database,
    embedder: Embedder,
    texts: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> tuple[FloatArray, int]:
    """Vectors of document texts, float32[n, d] in order, and how many had to be computed.

    Computed outside any transaction; what is new is committed to the cache before the documents that need it.
    ``progress`` hears how many of the texts are done.
    """
    import numpy as np
    from pgvector import HalfVector

    keys = [key_of(text) for text in texts]
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    vectors: dict[bytes, FloatArray] = {}
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT text, vector FROM openbook.vector WHERE embedder = %s AND text = ANY(%s)",
            [embedder.hash, list(first)],
        )
        for key, vector in rows:
            vectors[bytes(key)] = vector.to_numpy().astype(np.float32)
    missing = [key for key in first if key not in vectors]
    known = len(texts) - len(missing)
    tell = progress or (lambda _: None)
    tell(known)
    if missing:
        to_embed = [texts[first[key]] for key in missing]
        computed = embedder.encode(to_embed, "document", progress=lambda done: tell(known + done))
        with database.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO openbook.vector (embedder, text, vector) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    (embedder.hash, key, HalfVector(vector))
                    for key, vector in sorted(zip(missing, computed, strict=True), key=lambda row: row[0])
                ],
            )
        vectors.update(zip(missing, computed, strict=True))
    if not keys:
        return np.zeros((0, embedder.dimension), np.float32), 0
    return np.stack([vectors[key] for key in keys]), len(missing)


def use(connection: Connection, made: Sequence[tuple[str, str, Sequence[bytes]]]) -> None:
    """Write down, with the documents, which vectors were made for them: (document, model's hash, keys)."""
    rows = sorted({(document, embedder, key) for document, embedder, keys in made for key in keys})
    connection.execute(
        "INSERT INTO openbook.vector_use (document, embedder, text)"
        " SELECT * FROM unnest(%s::uuid[], %s::text[], %s::bytea[]) ON CONFLICT DO NOTHING",
        [*map(list, zip(*rows, strict=True))] if rows else [[], [], []],
    )


def drop_unused(connection: Connection, made: Sequence[tuple[str, Sequence[bytes]]]) -> None:
    """Take those of the vectors (model's hash, keys) out of the cache that no document uses."""
    rows = [(embedder, key) for embedder, keys in made for key in keys]
    connection.execute(
        "DELETE FROM openbook.vector v USING unnest(%s::text[], %s::bytea[]) AS made (embedder, text)"
        " WHERE v.embedder = made.embedder AND v.text = made.text AND NOT EXISTS ("
        "  SELECT FROM openbook.vector_use u WHERE u.embedder = v.embedder AND u.text = v.text)",
        [[embedder for embedder, _ in rows], [key for _, key in rows]],
    )
