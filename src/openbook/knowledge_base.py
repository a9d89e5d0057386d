"""What a user opens: documents that answer questions."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

from openbook.errors import NotFound, OpenbookError, QueryError, RecipeError, StoreError
from openbook.recipe import LanguageModel, Recipe, differences
from openbook.store.database import Connection, Database
from openbook.store.documents import Documents
from openbook.store.feedback import Feedback, Feedbacks, Reviewed, Verdict
from openbook.store.filter import Filter, parse
from openbook.store.index import Index
from openbook.store.traces import Traces
from openbook.types import PUBLIC, Answer, Chunk, Document, Metadata, Trace, heading_path, storable

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.generate import Generator
    from openbook.ingest import Added, Progress
    from openbook.retrieve import Retriever

DEFAULT_DB = ".openbook"

MOST_HITS = 10_000
"""Of one question: each comes with its text, and more is an export."""

PROBE = "A model is known by what it makes of this sentence."
PROBE_COSINE = 0.999
"""Processors and servers round differently; below this cosine it is not the same model."""


def open(
    db: str | Path | None = None,
    name: str = "default",
    *,
    recipe: Recipe | None = None,
    create: bool = True,
    say: Callable[[str], None] | None = None,
) -> KnowledgeBase:
    """Open a knowledge base, made if it is new.

    ``db`` is a folder (an embedded PostgreSQL lives in it) or a ``postgresql://`` URL; by default ``$OPENBOOK_DB``,
    else ``.openbook``. ``recipe`` decides how a new knowledge base reads and answers; for one that exists it may change
    the query half only. ``say`` is told in a line when something takes long.

    Raises:
        NotFound: there is none and ``create`` is false.
        RecipeError: the recipe's index half is not the one that the documents were indexed by.
        StoreError: the database does not start, answer or fit.
    """
    db = db or os.environ.get("OPENBOOK_DB") or DEFAULT_DB
    if "://" in str(db) and not str(db).startswith(("postgresql://", "postgres://")):
        raise QueryError(
            "not a database", where=str(db).partition("://")[0] + "://…", do="name a folder or postgresql://…"
        )
    # A folder that is no database yet is not made one by a question.
    if not create and not str(db).startswith(("postgresql://", "postgres://")) and not _is_database(db):
        raise NotFound("no knowledge base here", where=str(db), do="add documents first: openbook add FOLDER")
    database = Database.open(db, say=say)
    try:
        return KnowledgeBase(database, name, recipe=recipe, create=create)
    except BaseException:
        database.close()
        raise


def _is_database(folder: str | Path) -> bool:
    return os.path.isdir(os.path.join(folder, "postgres"))


class KnowledgeBase:
    """Documents, the index that finds them, the recipe that answers from them. Made by ``openbook.open``.

    >>> kb = openbook.open()                                    # doctest: +SKIP
    >>> kb.add("handbook/")                                     # doctest: +SKIP
    >>> kb.ask("How many sick days do I get?").citations        # doctest: +SKIP

    Verbs that read take ``as_``, the caller's principals: they then see only what is open to one of them, and to
    ``public``. Without it the caller is the owner and sees everything.
    """

    def __init__(self, database: Database, name: str, *, recipe: Recipe | None = None, create: bool = True) -> None:
        self.database = database
        self.name = name = storable(name)
        row = self._row()
        if row is None:
            if not create:
                raise NotFound(
                    f"no knowledge base named {name!r}",
                    where=database.where,
                    do="add documents first: openbook add FOLDER",
                )
            self._create(recipe or Recipe())
            row = self._row()
            assert row is not None
        self.kb, self.release, toml, index, hash, embedder, dimension, language, self._probe = row
        self.recipe = Recipe.from_toml(toml, where=f"release {self.release}", stored=True)
        if recipe is not None:
            # A recipe that says nothing of its index half asks for none other than the one that is there.
            told = differences(self.recipe.index, recipe.index) if "index" in recipe.model_fields_set else []
            if told:
                path, is_, wanted = told[0]
                more = f" and in {len(told) - 1} more" if len(told) > 1 else ""
                raise RecipeError(
                    "this recipe reads documents differently from the one they were indexed by: index."
                    f"{path} is {is_!r}, not {wanted!r}{more}",
                    where=f"knowledge base {name}",
                    do="open one of another name with it",
                )
            self.recipe = self.recipe.model_copy(update={"query": recipe.query})
        self.index = Index(
            database, self.kb, index, hash=hash, embedder=embedder, dimension=dimension, language=language
        )
        self.documents = Documents(database, self.kb)
        self.traces = Traces(database, self.kb)
        self.feedbacks = Feedbacks(database, self.kb)

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write waiting traces and give the database back."""
        self.traces.close()
        self.database.close()

    # --- documents ----------------------------------------------------------------------------------------------------

    def add(
        self,
        *sources: str | Path | Document,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        metadata: Metadata | None = None,
        access: Sequence[str] | None = None,
        keep_missing: bool = False,
        yes: bool = False,
        max_bytes: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Added:
        """Add files, folders or documents, or bring them up to date: only what changed is embedded.

        ``access`` names who may read; without it documents stay open to whom they were, and what is new to whom the
        nearest folder was last opened (``public`` where nothing was ever said).

        A folder that was added before under the same rules also drops what is gone from it, unless ``keep_missing``;
        more than 30 % of it only with ``yes``. A file that cannot be read is skipped with its reason; the rest is
        added. What was acknowledged by ``progress`` is durable.

        Raises:
            SourceError: a source does not exist.
            ModelError, StoreError: the whole cannot go on; batches written so far are kept.
        """
        from openbook.ingest import Ingest

        ingest = Ingest(self.documents, self.index, lambda: self.embedder, self.recipe.index, progress=progress)
        return ingest.add(
            sources,
            include=include,
            exclude=exclude,
            metadata=metadata or {},
            access=access,
            keep_missing=keep_missing,
            yes=yes,
            max_bytes=max_bytes,
        )

    def remove(self, *names: str) -> int:
        """Hide documents, named by source, id or path, from every search at once. Returns how many.

        Raises:
            NotFound: a name means no document; nothing was removed.
            QueryError: a name means several; nothing was removed.
        """
        return self.documents.remove([self._one(name, None)[1] for name in names], self.index)

    def list(self, *, as_: Sequence[str] | None = None) -> Sequence[dict[str, Any]]:
        """The documents, in order of source: id, title, version, metadata, access, when changed, characters."""
        return self.documents.all(principals_of(as_))

    def show(self, name: str, *, version: int | None = None, as_: Sequence[str] | None = None) -> Document:
        """One document, by source, id or path. Raises: NotFound, QueryError (several)."""
        id, source = self._one(name, principals_of(as_))
        document = self.documents.get(id, principals_of(as_), version)
        if document is None:
            raise NotFound(f"no version {version} of it", where=source, do="openbook list tells its newest")
        return document

    def texts(self, documents: Sequence[str], *, as_: Sequence[str] | None = None) -> Mapping[str, str]:
        """The texts of several documents, by id; one that is gone, or that may not be seen, is left out."""
        return self.documents.texts(documents, principals_of(as_))

    def copies(self, *, as_: Sequence[str] | None = None) -> Sequence[tuple[str, ...]]:
        """The sources of documents whose text is the same to the letter, in groups of two and more."""
        return self.documents.copies(principals_of(as_))

    def chunks(self, name: str, *, as_: Sequence[str] | None = None) -> Sequence[Chunk]:
        """The chunks that a document was cut into, in order of ``start``. Raises: NotFound, QueryError (several)."""
        return self.index.chunks(self._one(name, principals_of(as_))[0], principals_of(as_))

    def status(self, *, as_: Sequence[str] | None = None) -> dict[str, Any]:
        """What is in here, and what it is read and answered by."""
        principals = principals_of(as_)
        return {
            "kb": self.name,
            "db": self.database.where,
            **self.documents.status(principals),
            "chunks": self.index.count(principals),
            "release": self.release,
            "recipe": self.recipe.hash,
            "embedder": {"hash": self.index.embedder, "dimension": self.index.dimension},
            "unfamiliar": self.index.unfamiliar(principals),
            "generator": self.recipe.query.generate.kind,
        }

    # --- questions ----------------------------------------------------------------------------------------------------

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | Filter | None = None,
        as_: Sequence[str] | None = None,
        record: bool = True,
    ) -> Trace:
        """The ``k`` best chunks for a question, as the ``hits`` of a trace.

        ``filter`` is an expression over metadata: ``lang = "en" and year >= 2020 and tag in ("hr", "it")``. The trace
        is kept unless ``record`` is false.

        Raises:
            QueryError: the question is empty, ``k`` is not from 1 to 10,000 or the filter cannot be read.
        """
        trace = self._search(question, k, filter, as_)
        if record:
            self.traces.record(trace)
        return trace

    def ask(
        self,
        question: str,
        *,
        filter: str | Filter | None = None,
        as_: Sequence[str] | None = None,
        llm: str | LanguageModel | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Answer from the documents, with citations; or abstain, with the reason.

        ``llm`` (``"openai:MODEL"``, ``"anthropic:MODEL"`` or a recipe part) writes the answer instead of the recipe's
        generator; ``on_text`` is given its text as it comes. The answer's ``trace`` tells everything that happened.

        Raises:
            QueryError: as ``search``.
            ModelError: the language model is missing, refused or did not answer.
        """
        trace = self._search(question, self.recipe.query.context, filter, as_)
        try:
            answer = self.answer(trace, llm=llm, on_text=on_text)
        except OpenbookError as error:
            self.traces.record(replace(trace, details={"error": str(error)}))
            raise
        assert answer.trace is not None
        self.traces.record(answer.trace, answer)
        return answer

    def answer(
        self,
        trace: Trace,
        *,
        llm: str | LanguageModel | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Answer a trace's question from its hits, as many of them as the recipe hands to a generator; not recorded.

        Raises:
            ModelError: as ``ask``.
        """
        start = time.perf_counter()
        answer = self._generator(llm).generate(trace.question, trace.hits[: self.recipe.query.context], on_text)
        # A chunk of several small sections knows only what stands above all of them; a citation says it exactly.
        headings = self.documents.headings({(c.document, c.version) for c in answer.citations}, trace.principals)
        cited = [
            replace(c, headings=heading_path(headings.get((c.document, c.version), ()), c.start))
            for c in answer.citations
        ]
        generate = _ms(start)
        ms = {**trace.ms, "generate": generate, "total": round(trace.ms["total"] + generate, 3)}
        return replace(answer, citations=tuple(cited), trace=replace(trace, ms=ms))

    def trace(self, id: str, *, as_: Sequence[str] | None = None) -> dict[str, Any]:
        """A recorded trace, with what was said of it. Raises: NotFound."""
        self.traces.close()  # what this process has asked is written first
        principals = principals_of(as_)
        found = self.traces.get(id, principals)
        if found is None:
            raise NotFound("no such trace", where=id, do="take the id that ask or search printed")
        return {**found, "feedback": [asdict(said) for said in self.feedbacks.of(id, principals)]}

    def feedback(
        self, trace: str, verdict: str, *, hit: int | None = None, as_: Sequence[str] | None = None
    ) -> Feedback:
        """Say how good an answer was: ``"up"``, ``"down"``, or a better answer in its own words.

        With ``hit``, the rank of a passage from 1, "up" and "down" are said of that passage, and a better answer stands
        in it. Of the same principals, the last word on the same thing counts.

        Raises:
            NotFound: there is no such trace, or the caller may not see it.
            QueryError: nothing is said, or no hit has that rank.
        """
        found = self.trace(trace, as_=as_)
        said = storable(verdict).strip()
        if not said:
            raise QueryError("says nothing", where="feedback", do="write up, down or a better answer")
        if hit is not None and not 1 <= hit <= len(found["hits"]):
            raise QueryError(f"hit {hit} of {len(found['hits'])}", where=trace, do="count the hits from 1")
        kind: Verdict = "up" if said.lower() == "up" else "down" if said.lower() == "down" else "better"
        answer = said if kind == "better" else None
        return self.feedbacks.record(Feedback(found["trace"], kind, answer, hit, principals_of(as_)))

    def reviewed(self, *, as_: Sequence[str] | None = None) -> Sequence[Reviewed]:
        """Every trace that somebody gave feedback on, oldest first, each once with all that counts of it: the last word
        of each caller on the answer, and on each passage.

        Passages read as they were shown; one whose document is gone, or not open to the caller, is ``None``.
        """
        return self.feedbacks.all(principals_of(as_))

    # --- parts --------------------------------------------------------------------------------------------------------

    @cached_property
    def embedder(self) -> Embedder:
        """The model that this index was built with; another one is refused."""
        from openbook.embed import open_embedder

        embedder = open_embedder(self.recipe.index.embed)
        cosine = 0.0
        if embedder.hash == self.index.embedder:
            cosine = sum(a * b for a, b in zip(_probe(embedder), self._probe, strict=True))
        if cosine < PROBE_COSINE:
            raise StoreError(
                f"the index was built with another model (then {self.index.embedder}, now {embedder.hash};"
                f" their cosine on a probe is {cosine:.3f})",
                where=f"knowledge base {self.name}",
                do="put the former model back, or add the documents to a new knowledge base",
            )
        return embedder

    @cached_property
    def _retriever(self) -> Retriever:
        from openbook.retrieve import Retriever

        return Retriever(self.index, self.embedder, self.recipe.query)

    @cached_property
    def _generators(self) -> dict[str, Generator]:
        return {}

    def _generator(self, llm: str | LanguageModel | None) -> Generator:
        from openbook.generate import open_generator, parse_llm

        part = self.recipe.query.generate if llm is None else parse_llm(llm) if isinstance(llm, str) else llm
        if part.hash not in self._generators:
            self._generators[part.hash] = open_generator(part, self.embedder)
        return self._generators[part.hash]

    # --- inside -------------------------------------------------------------------------------------------------------

    def _search(self, question: str, k: int, filter: str | Filter | None, as_: Sequence[str] | None) -> Trace:
        if not 1 <= k <= MOST_HITS:
            raise QueryError(f"k is {k}", do=f"ask for 1 to {MOST_HITS:,} hits")
        start = time.perf_counter()
        question = storable(question)
        principals = principals_of(as_)
        tree = parse(filter) if isinstance(filter, str) else filter
        found = self._retriever.retrieve(question, k, principals=principals, filter=tree)
        return Trace(
            id=str(uuid.uuid4()),
            question=question,
            release=self.release,
            ms={**found.ms, "total": _ms(start)},
            hits=found.hits,
            filter=None if tree is None else str(tree),
            principals=principals,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _one(self, name: str, principals: Sequence[str] | None) -> tuple[str, str]:
        found = self.documents.find(storable(name), principals)
        if not found:
            raise NotFound("no such document", where=name, do="openbook list shows the sources")
        if len(found) > 1:
            raise QueryError(f"means {len(found)} documents", where=name, do=f"name one whole, such as {found[0][1]}")
        return found[0]

    def _row(self) -> Any:
        with self.database.snapshot(None) as connection:
            return connection.execute(
                "SELECT k.id, r.name, r.recipe, i.id, i.hash, i.embedder, i.dimension, i.language, i.probe"
                " FROM openbook.knowledge_base k JOIN openbook.release r ON r.id = k.live"
                " JOIN openbook.index i ON i.id = r.index WHERE k.name = %s",
                [self.name],
            ).fetchone()

    def _create(self, recipe: Recipe) -> None:
        """The knowledge base with its index and its first release, in one transaction."""
        from openbook.embed import open_embedder

        part = recipe.index
        embedder = open_embedder(part.embed)
        probe = _probe(embedder)
        with self.database.transaction("owner") as connection:
            connection.execute(
                "INSERT INTO openbook.knowledge_base (name) VALUES (%s) ON CONFLICT DO NOTHING", [self.name]
            )
            kb, live = _fetch(
                connection, "SELECT id, live FROM openbook.knowledge_base WHERE name = %s FOR UPDATE", [self.name]
            )
            if live is not None:
                return  # another process was first
            (index,) = _fetch(
                connection,
                "INSERT INTO openbook.index (kb, hash, embedder, dimension, language, probe)"
                " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
                [kb, part.hash, embedder.hash, embedder.dimension, part.keyword.language, probe],
            )
            roles = self.database.roles(connection)
            Index.create(connection, index, embedder.dimension, roles["reader"], roles["writer"])
            (release,) = _fetch(
                connection,
                "INSERT INTO openbook.release (kb, name, recipe, index) VALUES (%s, %s, %s, %s) RETURNING id",
                [kb, "r1", recipe.to_toml(), index],
            )
            connection.execute("UPDATE openbook.knowledge_base SET live = %s WHERE id = %s", [release, kb])


def _fetch(connection: Connection, statement: LiteralString, params: Sequence[Any]) -> tuple[Any, ...]:
    row = connection.execute(statement, params).fetchone()
    assert row is not None
    return row


def _probe(embedder: Embedder) -> list[float]:
    return [float(x) for x in embedder.encode([PROBE])[0]]


def principals_of(as_: Sequence[str] | None) -> tuple[str, ...] | None:
    """A caller's principals: whoever calls in another's name is also the public.

    Raises:
        QueryError: a principal without a name.
    """
    if as_ is not None and not all(principal.strip() for principal in ([as_] if isinstance(as_, str) else as_)):
        raise QueryError("a principal without a name", where="as", do="name one, such as group:hr")
    return None if as_ is None else tuple(sorted({*map(storable, [as_] if isinstance(as_, str) else as_), PUBLIC}))


def _ms(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
