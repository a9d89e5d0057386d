"""Whose question goes through the query adapter: one of a caller who may read all that it was trained on.

Everybody else's is looked for by the vector that the embedder makes of it, and the trace says no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from openbook.recipe import LinearAdapter
from openbook.store.models import Models
from openbook.tuned import Gate, known_adapter

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.embed.linear import LinearMap
    from openbook.store.index import Index


class Adapted:
    """The adapter of a query half over one index.

    Raises:
        ModelError: as ``openbook.tuned.known_adapter``.
    """

    def __init__(self, part: LinearAdapter, index: Index, embedder: Embedder) -> None:
        self._map: LinearMap | None = None
        content = part.content
        # What was withdrawn is left out, and its folder may be gone.
        if content is None or not Models(index.database, index.kb).is_withdrawn(content):
            self._map = known_adapter(part, embedder, index.database, index.kb)
            content = self._map.hash
        self._gate = Gate(content, index.database, index.kb)

    def of(self, principals: Sequence[str] | None) -> tuple[LinearMap | None, dict[str, Any]]:
        """The map for this caller's question, or none; and what the trace tells of it."""
        if why := self._gate.closed(principals):
            return None, {"applied": False, "why": why}
        return self._map, {"applied": self._map is not None}
