"""Whose question goes through the query adapter: one of a caller who may read all that it was trained on.

Everybody else's is looked for by the vector that the embedder makes of it, and the trace says no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from openbook.recipe import LinearAdapter
from openbook.store.models import Models, Standing
from openbook.tuned import known_adapter

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.embed.linear import LinearMap
    from openbook.store.index import Index

CLOSED = "it was trained on texts that are not all open to this caller"
WITHDRAWN = "it was withdrawn: a text that it was trained on is forgotten"


class Adapted:
    """The adapter of a query half over one index.

    Raises:
        ModelError: as ``openbook.tuned.known_adapter``.
    """

    def __init__(self, part: LinearAdapter, index: Index, embedder: Embedder) -> None:
        self._models = Models(index.database, index.kb)
        self._map: LinearMap | None = None
        # What was withdrawn is left out, and its folder may be gone.
        if part.content is None or self._models.standing(part.content, None) != "withdrawn":
            self._map = known_adapter(part, embedder, index.database, index.kb)

    def of(self, principals: Sequence[str] | None) -> tuple[LinearMap | None, dict[str, Any]]:
        """The map for this caller's question, or none; and what the trace tells of it."""
        standing: Standing = "withdrawn" if principals is None else "closed"
        if self._map is not None:
            # Asked for each question: a text may be forgotten, or closed to somebody, between two of them.
            standing = self._models.standing(self._map.hash, principals)
        if standing == "open":
            return self._map, {"applied": True}
        return None, {"applied": False, "why": WITHDRAWN if standing == "withdrawn" else CLOSED}
