"""From a recipe to a release that answers: what it will cost, building beside the live one, promoting, rolling back.

Nothing here keeps a state of its own. What a candidate's index has read stands in the database, so a build that was
killed goes on where it was; and every write reaches every index that is kept, so nothing is read twice.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from openbook.chunk import require_read
from openbook.embed import open_embedder
from openbook.errors import ModelError, QueryError
from openbook.prices import prices
from openbook.reading import Reader
from openbook.recipe import (
    IndexHalf,
    Off,
    OpenAIEmbedder,
    Recipe,
    SemanticChunker,
    StructureChunker,
    differences,
)
from openbook.serving import open_model, probe_of
from openbook.store.index import Index, keyword_folder
from openbook.store.models import Models
from openbook.store.releases import Pointers, Release, Releases
from openbook.store.vectors import known_of
from openbook.store.writing import FIRST, Writer
from openbook.tuned import Restricted, require_lasting, restricted, taken

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.types import Document

SAMPLE = 64
"""Texts that are embedded to tell how long all of them will take."""

ROUNDS = 100
"""Promotion catches up with edits that the index lacks so many times, then gives up: somebody outruns it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What building a release comes to.

    ``texts`` of ``chunks`` are new to the model, ``tokens`` long in all (a remote model's are estimated). ``seconds``
    is an estimate from a sample, of a remote model the least it can be; ``cost`` is in US dollars, ``None``: nobody has
    told the price. ``host``: the server that is sent the texts; ``None``: they stay here. ``restricted`` are models of
    it that do not answer everybody.
    """

    reindex: bool
    documents: int
    chunks: int
    texts: int
    tokens: int
    seconds: float
    cost: float | None
    model: str
    host: str | None = None
    restricted: tuple[Restricted, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """As a person reads it: what is to be read, and which of its models do not answer everybody."""
        yield self._reading
        yield from map(str, self.restricted)

    @property
    def _reading(self) -> str:
        if not self.reindex:
            return "nothing to read: an index for this recipe is there"
        model = "the packaged model" if self.model == "default" else self.model
        read = f"{_so_many(self.documents, 'document')}, {_so_many(self.chunks, 'chunk')}"
        if not self.texts:
            return f"{read}: every text has been embedded by {model} before"
        where = f"sent to {self.host}" if self.host else "embedded on this machine"
        money = ", price unknown" if self.cost is None else "" if self.host is None else f", {self.cost:.4f} US dollars"
        about = "at least" if self.host else "about"
        texts, tokens = _so_many(self.texts, "text"), _so_many(self.tokens, "token")
        return f"{read}: {texts} of {tokens} to be {where} by {model}, {about} {self.seconds:.0f} s{money}"


@dataclass(frozen=True, slots=True)
class Building:
    """How far a build is, in documents; ``chunks`` are in the index so far."""

    documents: int
    of_documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did. ``chunks`` is what the index holds, ``embedded`` how many texts had to be computed."""

    release: str
    state: str
    index: int
    chunks: int
    embedded: int
    cost: float | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """As ``openbook release build --json`` prints it."""
        return {**asdict(self), "chunks": {"done": self.chunks, "total": self.chunks}}


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two recipes differ: (path of the setting, in a, in b). ``reindex``: they do not share an index."""

    changes: Sequence[tuple[str, Any, Any]]
    reindex: bool


class Releasing:
    """The verbs of releases, over one knowledge base."""

    def __init__(self, releases: Releases, writer: Writer) -> None:
        self.releases = releases
        self.writer = writer
        self.database = releases.database
        self.kb = releases.kb

    def recipe(self, wanted: Recipe) -> Recipe:
        """``wanted``, and where it says nothing of a half, the live release's."""
        live = self.releases.opened()[0].recipe
        halves = {half: getattr(live, half) for half in ("index", "query") if half not in wanted.model_fields_set}
        return taken(wanted.model_copy(update=halves))

    def plan(self, wanted: Recipe) -> Plan:
        """What building a release by this recipe takes, before anything is built. Nothing is sent to a remote model but
        the sentence by which it is known; where a model cuts or reads besides, what it would do is not counted, and the
        cost is unknown.

        Raises:
            ModelError: the model is missing or does not answer; or it, or the query adapter, does not fit or was
                trained on a text that is forgotten.
            RecipeError: chunks would be longer than the model reads.
        """
        recipe = self.recipe(wanted)
        embedder = open_embedder(recipe.index.embed)
        closed = require_lasting(recipe, embedder, self.database, self.kb)
        self._require_read(recipe, embedder)
        asked = time.perf_counter()
        probe_of(embedder)
        asked = time.perf_counter() - asked
        number = self.releases.index_of(recipe, embedder.hash)
        half = _unasked(recipe.index, embedder.remote)
        reader = Reader(self._as_if(recipe, embedder, number), half, lambda: embedder)
        seen: set[bytes] = set()
        documents = chunks = texts = tokens = 0
        rate = 0.0  # tokens a second
        for batch in self._behind(number):
            cuts = reader.cut([document for _, _, document in batch])
            found = reader.texts(cuts)
            keys = [hashlib.sha256(text.encode()).digest() for text in found]
            known = seen | known_of(self.database, embedder.hash, keys)
            new = [text for key, text in dict(zip(keys, found, strict=True)).items() if key not in known]
            lengths = [min(len(cut), embedder.max_tokens) for cut in embedder.tokens(new)]
            if new and not rate and not embedder.remote:
                sample = sorted(range(len(new)), key=lengths.__getitem__)[:: max(1, len(new) // SAMPLE)][:SAMPLE]
                start = time.perf_counter()
                embedder.encode([new[at] for at in sample])
                rate = sum(lengths[at] for at in sample) / (time.perf_counter() - start)
            seen.update(keys)
            documents, chunks, texts, tokens = (
                documents + len(batch),
                chunks + sum(len(its) for _, its in cuts),
                texts + len(new),
                tokens + sum(lengths),
            )
        part = recipe.index.embed
        cost: float | None = 0.0
        if isinstance(part, OpenAIEmbedder):
            cost = _cost(part, tokens)
            seconds = asked * -(-texts // 128) / 4
        else:
            seconds = tokens / rate if rate else 0.0
        if half != recipe.index:
            cost = None
        return Plan(
            reindex=number == 0 or documents > 0,
            documents=documents,
            chunks=chunks,
            texts=texts,
            tokens=tokens,
            seconds=round(seconds, 3),
            cost=cost,
            model=part.model,
            host=_host(part),
            restricted=tuple(closed),
        )

    def build(self, wanted: Recipe, *, progress: Callable[[Building], None] | None = None) -> Built:
        """Build a release by this recipe beside the live one, which goes on answering and taking edits. One that was
        killed is gone on with. What only its query half changes needs no index of its own, and is there at once.

        Raises:
            QueryError: a release with this recipe is there, whole.
            ModelError: as ``plan``; or the model stopped answering: what was read stays.
            RecipeError: as ``plan``.
        """
        start = time.perf_counter()
        recipe = self.recipe(wanted)
        embedder = open_embedder(recipe.index.embed)
        require_lasting(recipe, embedder, self.database, self.kb)
        self._require_read(recipe, embedder)
        release = self.releases.begin(recipe, embedder.hash, embedder.dimension, probe_of(embedder))
        _, index, _ = self.releases.opened(release.name)
        reader = Reader(index, recipe.index, lambda: embedder)
        embedded = tokens = 0
        if release.state == "building":
            while True:
                done = self._fill(reader, progress)
                embedded, tokens = embedded + done[0], tokens + done[1]
                if self.releases.complete(index.id):
                    break
        part = recipe.index.embed
        return Built(
            release=release.name,
            state=self.releases.opened(release.name)[0].state,
            index=index.id,
            chunks=index.count(None),
            embedded=embedded,
            cost=_cost(part, tokens) if isinstance(part, OpenAIEmbedder) else 0.0,
            seconds=round(time.perf_counter() - start, 3),
        )

    def promote(self, name: str, *, require_report: bool = False) -> Pointers:
        """Have another release answer, from the next question of every process on. Its model is opened and its keyword
        view made before, so that nobody waits for them; the release that answered is kept for a rollback.

        Raises:
            NotFound: there is no such release.
            QueryError: it is live, is still being built, or (``require_report``) no comparison with the release that is
                live says "ship".
            ModelError, StoreError: its model is missing, or another one than it was built with, or was trained on a
                text that is forgotten; so of its query adapter.
        """
        release, index, probe = self.releases.opened(name)
        release.require_whole()
        live = self.releases.pointers().live
        if require_report:
            _require_ship(release, live)
        embedder = open_model(release.recipe.index, index, probe)
        require_lasting(release.recipe, embedder, self.database, self.kb)
        index.warm()
        reader = Reader(index, release.recipe.index, lambda: embedder)
        return self._turned(name, reader, live if require_report else None)

    def rollback(self) -> Pointers:
        """Have the release answer that answered before the live one. No edit that was made since is lost, since all of
        them reached its index, too; where its model was down, what it lacks is read first.

        Raises:
            QueryError: there is none.
            ModelError: documents are missing in its index, and its model does not answer; or that was trained on a
                text which is forgotten. Nothing was changed.
        """
        now = self.releases.pointers()
        previous = now.previous
        if previous is None:
            raise QueryError("no release answered before this one", where="rollback", do="openbook release list")
        release, index, probe = self.releases.opened(previous)
        # A query adapter that is withdrawn is left out; an index has no other vectors than its model's.
        if Models(self.database, self.kb).is_withdrawn(index.embedder):
            what = "has an index by a model that was trained on a text which is forgotten"
            raise ModelError(what, where=previous, do="build and promote a release by another model")
        reader = Reader(index, release.recipe.index, lambda: open_model(release.recipe.index, index, probe))
        return self._turned(previous, reader, now.live)

    def restricted(self, name: str) -> list[Restricted]:
        """The models of a release that do not answer everybody. Raises: NotFound."""
        release, index, _ = self.releases.opened(name)
        return restricted(release.recipe, index.embedder, self.database, self.kb)

    def whole(self, wanted: Recipe) -> Release | None:
        """The release by this recipe and its models that could be promoted as it is; ``None``: it is to be built.

        Raises:
            ModelError: as ``plan``.
        """
        recipe = self.recipe(wanted)
        index = self.releases.index_of(recipe, open_embedder(recipe.index.embed).hash)
        same = [one for one in self.releases.all() if one.index == index and one.recipe == recipe]
        return next((one for one in same if one.state in ("ready", "previous")), None)

    def prune(self, *names: str) -> list[str]:
        """Delete releases with their indexes: those named, or all that neither answer, nor are what a rollback returns
        to, nor are being built. The live one cannot be. Returns the names of those that went.

        Raises:
            NotFound: there is no such release; nothing was deleted.
            QueryError: one of them is live; nothing was deleted.
        """
        named = [self.releases.opened(name)[0] for name in dict.fromkeys(names)]
        for release in named:
            release.require_droppable()
        chosen = named or [release for release in self.releases.all() if release.state == "ready"]
        for name in (release.name for release in chosen):
            index = self.releases.drop(name)
            if index is not None:
                shutil.rmtree(keyword_folder(self.database, self.kb, index), ignore_errors=True)
        return [release.name for release in chosen]

    def diff(self, a: str, b: str) -> Difference:
        """Where the recipes of two releases differ. Raises: NotFound."""
        (first, one, _), (second, two, _) = self.releases.opened(a), self.releases.opened(b)
        return Difference(differences(first.recipe, second.recipe), one.id != two.id)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _require_read(self, recipe: Recipe, embedder: Embedder) -> None:
        if not self.releases.index_of(recipe, embedder.hash):  # one that is there goes on as it was built
            require_read(recipe.index, embedder)

    def _turned(self, name: str, reader: Reader, expected: str | None) -> Pointers:
        for _ in range(ROUNDS):
            pointers = self.releases.promote(name, expected)
            if pointers is not None:
                return pointers
            try:
                self._fill(reader)
            except ModelError as error:
                behind = self.releases.behind().get(reader.index.id, 0)
                raise type(error)(
                    f"{error.what}, and {behind} documents are not in the index of {name}",
                    where=error.where,
                    do=f"{error.do}; nothing was changed",
                ) from error
        raise QueryError("is outrun by edits", where=name, do="try again when fewer documents change at once")

    def _fill(self, reader: Reader, progress: Callable[[Building], None] | None = None) -> tuple[int, int]:
        """Read into an index what it lacks; returns how many texts were embedded, and their tokens if the model is a
        remote one."""
        index, done, chunks, embedded, tokens = reader.index.id, 0, 0, 0, 0
        of = self.releases.behind().get(index, 0)
        for batch in self._behind(index):
            cuts = reader.cut([document for _, _, document in batch])
            readings, computed = reader.read(cuts)
            if computed and reader.embedder.remote:  # cached ones among them are few
                tokens += sum(map(len, reader.embedder.tokens(reader.texts(cuts))))
            rows = [(id, version, read) for (id, version, _), read in zip(batch, readings, strict=True)]
            done += self.writer.catch_up(reader.index, rows)
            embedded += computed
            chunks += sum(len(read.chunks) for read in readings)
            if progress is not None:
                progress(Building(done, max(done, of), chunks))
        return embedded, tokens

    def _behind(self, index: int) -> Iterator[Sequence[tuple[str, int, Document]]]:
        after = FIRST
        while batch := self.writer.behind(index, after):
            yield batch
            after = batch[-1][0]

    def _as_if(self, recipe: Recipe, embedder: Embedder, number: int) -> Index:
        return Index(
            self.database,
            self.kb,
            number,
            hash=recipe.index.hash,
            embedder=embedder.hash,
            dimension=embedder.dimension,
            language=recipe.index.keyword.language,
        )


def _require_ship(release: Release, live: str) -> None:
    report: Mapping[str, Any] = release.report or {}
    do = f"openbook compare live {release.name} DATA"
    if not report:
        raise QueryError("no comparison speaks for it", where=release.name, do=do)
    if report["verdict"] != "ship":
        more = (
            f"ask more questions: {do}" if report["verdict"] == "insufficient evidence" else "improve it, or leave it"
        )
        raise QueryError(f"its comparison says: {report['verdict']}", where=release.name, do=more)
    if report["a"] != live:
        raise QueryError(f"was compared with {report['a']}, and {live} is live", where=release.name, do=do)


def _unasked(half: IndexHalf, remote: bool) -> IndexHalf:
    """How documents are cut by about the same rule, without asking a language model, or a remote embedder, anything."""
    context, chunk = half.context.model_copy(update={"situate": Off()}), half.chunk
    if isinstance(chunk, SemanticChunker):
        plain = StructureChunker(target_tokens=chunk.target_tokens)
        chunk = plain if remote else chunk.model_copy(update={"choose": Off()})
    return half.model_copy(update={"context": context, "chunk": chunk})


def _cost(part: OpenAIEmbedder, tokens: int) -> float | None:
    price = prices().of(part.model, urlsplit(part.base_url).hostname if part.base_url else None)
    return None if price is None else round(price.cost(tokens), 6)


def _host(part: Any) -> str | None:
    if not isinstance(part, OpenAIEmbedder):
        return None
    return urlsplit(part.base_url).hostname if part.base_url else "api.openai.com"


def _so_many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
