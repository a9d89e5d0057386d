"""Which database is meant, and a new knowledge base in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from openbook.errors import NotFound, QueryError
from openbook.recipe import Off, Recipe
from openbook.serving import probe_of
from openbook.store.database import Database
from openbook.store.releases import create_knowledge_base, making

DEFAULT_DB = ".openbook"


def open_database(
    db: str | Path | None = None, *, create: bool = True, say: Callable[[str], None] | None = None
) -> Database:
    """The database of knowledge bases that ``openbook.open`` opens. Raises: as it does."""
    db = db or os.environ.get("OPENBOOK_DB") or DEFAULT_DB
    if "://" in str(db) and not str(db).startswith(("postgresql://", "postgres://")):
        raise QueryError(
            "not a database", where=str(db).partition("://")[0] + "://…", do="name a folder or postgresql://…"
        )
    # A folder that is no database yet is not made one by a question.
    if not create and not str(db).startswith(("postgresql://", "postgres://")) and not _is_database(db):
        raise NotFound("no knowledge base here", where=str(db), do="add documents first: openbook add FOLDER")
    return Database.open(db, say=say)


def _is_database(folder: str | Path) -> bool:
    return os.path.isdir(os.path.join(folder, "postgres"))


def create_in(database: Database, name: str, recipe: Recipe) -> int:
    """Make a knowledge base, empty, that reads and answers by this recipe. Its number."""
    from openbook.chunk import require_read
    from openbook.embed import open_embedder
    from openbook.embed.linear import open_adapter

    embedder = open_embedder(recipe.index.embed)
    require_read(recipe.index, embedder)
    if not isinstance(recipe.query.adapter, Off):
        open_adapter(recipe.query.adapter, embedder)
    probe = probe_of(embedder)
    return making(
        lambda: create_knowledge_base(database, name, recipe, embedder.hash, embedder.dimension, probe), database
    )
