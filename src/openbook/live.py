"""The release that answers now: followed when another one is promoted; and who reads documents for every index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from openbook.errors import NotFound, QueryError, StoreError
from openbook.recipe import Extractive, LanguageModel, QueryHalf
from openbook.serving import Serving, open_model
from openbook.store.releases import Release, Releases

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.reading import Reader
    from openbook.store.filter import Filter
    from openbook.types import Trace, Turn

_FOLLOWED = 10
"""Releases promoted while one question is asked, at most."""


class Live:
    """The release that is live; or that is ``pinned``, by its name, whether or not it is live.

    Raises:
        NotFound: there is no such release.
        QueryError: it is still being built.
    """

    def __init__(self, releases: Releases, pinned: str | None = None) -> None:
        self.releases = releases
        self._pinned = pinned
        self._query: QueryHalf | None = None  # that which answers in the place of the release's own
        self._others: dict[int, Reader] = {}  # who reads for indexes that do not answer
        self.serving = self._load()

    def answer_by(self, query: QueryHalf) -> None:
        """Answer by this query half from now on, whichever release it is."""
        self._query = query
        self.serving = self.serving.answering_by(query)

    def now(self) -> Serving:
        """The release that answers by now."""
        if self._pinned is None and self.releases.live() != self.serving.release.id:
            self.serving = self._load(self.serving)
        return self.serving

    def search(
        self,
        question: str,
        k: int | None,
        principals: tuple[str, ...] | None,
        filter: Filter | None,
        *,
        since: float,
        history: Sequence[Turn] = (),
        writer: Callable[[Serving], Extractive | LanguageModel] | None = None,
    ) -> tuple[Serving, Trace]:
        """The trace of a question, and the release that found it; without ``k`` as many hits as it answers from.
        Otherwise as ``Serving.search``."""
        from openbook.retrieve import Superseded

        for _ in range(_FOLLOWED):
            serving = self.serving
            try:
                writes = None if writer is None else writer(serving)
                found = serving.search(question, k, principals, filter, since=since, history=history, writer=writes)
                return serving, found
            except Superseded:
                self.serving = self._load(serving)
        raise StoreError("releases change too fast", where=self.releases.database.where, do="ask again")

    def readers(self) -> Sequence[Reader]:
        """Who reads documents for each index that is kept, the live one's first. One whose model failed a moment ago
        rests: its index falls behind, and edits go on."""
        serving = self.now()
        releases = sorted(self.releases.all(), key=lambda release: release.state != "live")
        readers: list[Reader] = []
        for release in {release.index: release for release in reversed(releases)}.values():
            try:
                reader = serving.reader if release.index == serving.index.id else self._reader(release)
            except NotFound:
                continue  # pruned meanwhile
            if release.state == "live":
                readers.insert(0, reader)
            elif not reader.rests:
                readers.append(reader)
        return readers

    def _reader(self, release: Release) -> Reader:
        """Who reads for an index that does not answer here."""
        from openbook.reading import Reader

        if release.index not in self._others:
            _, index, probe = self.releases.opened(release.name)
            part, waits = release.recipe.index, release.state == "live"
            self._others[index.id] = Reader(index, part, partial(open_model, part, index, probe, patient=waits))
        return self._others[release.index]

    def _load(self, former: Serving | None = None) -> Serving:
        """The release that answers now. What is open of its index and its model stays open."""
        try:
            release, index, probe = self.releases.opened(self._pinned)
        except NotFound as error:
            if former is None:
                raise
            raise NotFound("the release was pruned", where=error.where, do=error.do) from None
        if release.state == "building":
            raise QueryError("is not whole yet", where=release.name, do="openbook release build goes on with it")
        open_: Callable[[], Embedder] | None = None
        if former is not None and former.index.id != index.id and former.recipe.index.embed.kind == "local":
            self._others[former.index.id] = former.reader  # after a rollback no question waits for its model again
        if former is not None and former.index.id == index.id:
            index, open_ = former.index, lambda: former.embedder
        elif (other := self._others.get(index.id)) is not None and other.part.embed.kind == "local":
            index, open_ = other.index, lambda: other.embedder
        return Serving(release, index, probe, query=self._query, pinned=self._pinned is not None, embedder=open_)
