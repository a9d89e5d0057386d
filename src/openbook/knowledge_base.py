"""What a user opens: documents that answer questions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import NotFound, QueryError, RecipeError
from openbook.live import Live
from openbook.opening import create_in, open_database
from openbook.recipe import LanguageModel, QueryHalf, Recipe, differences
from openbook.serving import Serving
from openbook.store.access import principals_of
from openbook.store.database import Database
from openbook.store.documents import Documents
from openbook.store.feedback import Feedback, Feedbacks, Reviewed, Verdict
from openbook.store.filter import Filter, parse
from openbook.store.index import Index
from openbook.store.releases import Pointers, Release, Releases, number_of
from openbook.store.traces import Traces
from openbook.store.writing import Writer
from openbook.types import Answer, Chunk, Document, Metadata, Trace, Turn, storable

if TYPE_CHECKING:
    from openbook.editing import Edited, History
    from openbook.embed import Embedder
    from openbook.exporting import Exported
    from openbook.forgetting import Receipt
    from openbook.importing import Imported
    from openbook.indexing import Added, Progress
    from openbook.ingest import Ingest
    from openbook.looking import Boundaries
    from openbook.releasing import Building, Built, Difference, Plan, Releasing
    from openbook.similar.themes import Kept, Themes
    from openbook.similar.written import WritingPlan
    from openbook.store.erasure import Doomed
    from openbook.tuned import Restricted
    from openbook.types import Scalar
    from openbook.verification import Verified
    from openbook.watch import Followed

MOST_DAYS = 36_500
"""That traces are kept for: what is kept longer is kept for ever."""


def open(
    db: str | Path | None = None,
    name: str = "default",
    *,
    recipe: Recipe | None = None,
    release: str | None = None,
    create: bool = True,
    say: Callable[[str], None] | None = None,
) -> KnowledgeBase:
    """Open a knowledge base, made if it is new.

    It answers by the release that is live, and follows when another one is promoted; by ``release``, if one is named,
    whether or not it is live. ``db`` is a folder (an embedded PostgreSQL lives in it) or a ``postgresql://`` URL; by
    default ``$OPENBOOK_DB``, else ``.openbook``. ``recipe`` decides how a new knowledge base reads and answers; for one
    that exists it may change the query half only. ``say`` is told in a line when something takes long.

    Raises:
        NotFound: there is none and ``create`` is false, or no such release.
        QueryError: the release is still being built.
        RecipeError: the recipe's index half is not the one that the documents were indexed by.
        StoreError: the database does not start, answer or fit.
    """
    database = open_database(db, create=create, say=say)
    try:
        return KnowledgeBase(database, name, recipe=recipe, release=release, create=create)
    except BaseException:
        database.close()
        raise


def import_(
    path: str | Path,
    db: str | Path | None = None,
    name: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Imported:
    """Make a knowledge base of what ``KnowledgeBase.export`` wrote, under the ``name`` that it had or another.

    Raises:
        ArchiveError: the file is no export, truncated, altered or of a newer openbook; or the name is taken. Nothing
            was changed.
        StoreError: as ``open``.
    """
    from openbook.importing import import_from

    return import_from(path, lambda: open_database(db, say=say), name, progress=progress)


class KnowledgeBase:
    """Documents, the index that finds them, the recipe that answers from them. Made by ``openbook.open``.

    >>> kb = openbook.open()                                    # doctest: +SKIP
    >>> kb.add("handbook/")                                     # doctest: +SKIP
    >>> kb.ask("How many sick days do I get?").citations        # doctest: +SKIP

    Verbs that read take ``as_``, the caller's principals: they then see only what is open to one of them, and to
    ``public``. Without it the caller is the owner and sees everything.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        recipe: Recipe | None = None,
        release: str | None = None,
        create: bool = True,
    ) -> None:
        self.database = database
        self.name = name = storable(name)
        if recipe is not None:
            from openbook.tuned import taken

            recipe = taken(recipe)
        kb = number_of(database, name)
        if kb is None:
            if not create or release is not None:
                raise NotFound(
                    f"no knowledge base named {name!r}",
                    where=database.where,
                    do="add documents first: openbook add FOLDER",
                )
            kb = create_in(database, name, recipe or Recipe())
        self.kb = kb
        self.documents = Documents(database, kb)
        self.writer = Writer(database, kb)
        self.traces = Traces(database, kb)
        self.feedbacks = Feedbacks(database, kb)
        self._releases = Releases(database, kb)
        self.live = Live(self._releases, release)
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
                    do="build a release by it: openbook release build --recipe FILE",
                )
            if "query" in recipe.model_fields_set:
                self.answer_by(recipe.query)

    @property
    def serving(self) -> Serving:
        """The release that answers, ready to."""
        return self.live.serving

    @property
    def release(self) -> str:
        """The name of the release that answers."""
        return self.serving.release.name

    @property
    def recipe(self) -> Recipe:
        """How documents become answers: the release's recipe, with the query half of ``answer_by``."""
        return self.serving.recipe

    @property
    def index(self) -> Index:
        """What the release finds documents by."""
        return self.serving.index

    @property
    def embedder(self) -> Embedder:
        """The model that the index was built with. Raises: ModelError, StoreError: it is missing, or another one."""
        return self.serving.embedder

    def answer_by(self, query: QueryHalf) -> None:
        """Answer by this query half from now on, here; nothing is stored."""
        self.live.answer_by(query)

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
        local_only: bool | None = None,
        keep_missing: bool = False,
        yes: bool = False,
        again: bool = False,
        max_bytes: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Added:
        """Add files, folders or documents, or bring them up to date: only what changed is embedded.

        ``access`` names who may read; without it documents stay open to whom they were, and what is new to whom the
        nearest folder was last opened (``public`` where nothing was ever said). ``local_only`` says in the same way
        whether their text may be sent to a remote model: that of local-only documents never is.

        A folder that was added before under the same rules also drops what is gone from it, unless ``keep_missing``;
        more than 30 % of it only with ``yes``. A file that cannot be read is skipped with its reason, and so is what
        was forgotten, unless ``again``; the rest is added. What was acknowledged by ``progress`` is durable.

        Raises:
            SourceError: a source does not exist.
            ModelError, StoreError: the whole cannot go on; batches written so far are kept.
        """
        return self._ingest(progress).add(
            sources,
            include=include,
            exclude=exclude,
            metadata=metadata or {},
            access=access,
            local_only=local_only,
            keep_missing=keep_missing,
            yes=yes,
            again=again,
            max_bytes=max_bytes,
        )

    def remove(self, *names: str) -> int:
        """Hide documents, named by source, id or path, from every search at once. Returns how many.

        Raises:
            NotFound: a name means no document; nothing was removed.
            QueryError: a name means several; nothing was removed.
        """
        return self.writer.remove([self.named(name)[1] for name in names])

    def edit(
        self,
        name: str,
        *,
        source: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Scalar | tuple[Scalar, ...] | None] | None = None,
        access: Sequence[str] | None = None,
        text: str | None = None,
    ) -> Edited:
        """Change one document, named by source, id or path; what is not said stays. All of it, or nothing of it.

        ``source`` renames it: it stays the same document, and the former source goes on meaning it. ``metadata`` are
        merged; a key whose value is ``None`` is dropped. A new ``title`` or ``text`` makes a version and is embedded,
        all else embeds nothing. Every process's next search sees it.

        A document that came from a file is edited here and not there. The edit stands through every ``add``, until the
        file itself says something else of what was edited; of ``access``, until an ``add`` says another than before.

        Raises:
            NotFound: the name means no document.
            QueryError: it means several; the new source is taken; a new text, title or source is empty.
        """
        from openbook.editing import edit

        return edit(self, name, source=source, title=title, metadata=metadata, access=access, text=text)

    def history(self, name: str, *, as_: Sequence[str] | None = None) -> History:
        """The versions of a document, oldest first; the owner finds removed ones, too. Raises: NotFound, QueryError."""
        from openbook.editing import history

        return history(self, name, principals_of(as_))

    def restore(self, name: str, version: int | None = None) -> Edited:
        """Bring back a removed document, or the text and title of an earlier version, as a new version. Who may read
        it stays as it is.

        Raises:
            NotFound: there is no such document or version.
            QueryError: the name means several; or the document is not removed, and no version is named.
        """
        from openbook.editing import restore

        return restore(self, name, version)

    def watch(
        self,
        *sources: str | Path,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        metadata: Metadata | None = None,
        access: Sequence[str] | None = None,
        local_only: bool | None = None,
        keep_missing: bool = False,
        yes: bool = False,
        again: bool = False,
        max_bytes: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        poll: float | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[Followed]:
        """Add files and folders as ``add`` does, and follow them until ``stop`` is set: what is saved is found by the
        next question, what is deleted is removed. Tells what was done, first of all of each source, then of each
        change.

        A source that is gone keeps its documents until it is back. What was removed by hand stays removed until its
        file changes. ``poll``: look every so many seconds, and do not wait to be told by the system.

        Raises:
            SourceError: a source does not exist.
            ModelError, StoreError: what trying again does not mend; what was told is durable.
        """
        from openbook.watch import Watch

        def take(root: Path, places: Collection[str] | None, *, first: bool, seen_gone: bool) -> Added:
            return self._ingest(progress).add(
                [root],
                include=include,
                exclude=exclude,
                metadata=metadata or {},
                access=access,
                local_only=local_only,
                keep_missing=keep_missing,
                yes=(first and yes) or seen_gone,
                again=first and again,
                max_bytes=max_bytes,
                only=places,
                revive=first,
            )

        return Watch(sources, take, include=include, exclude=exclude, poll=poll, stop=stop).run()

    def forget(
        self,
        *names: str,
        confirm: Callable[[Sequence[Doomed]], bool] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Receipt | None:
        """Erase documents, named by source, id or path: text, versions, chunks, vectors, words, traces and cache
        entries, from PostgreSQL's files as well. It cannot be undone, and locks each table while it is rewritten.

        Removed documents can be named, too. Without names it finishes what a stopped ``forget`` left. ``confirm`` is
        shown what will go; where it says no, ``None`` is returned. ``say`` is told in a line when something takes long.

        Raises:
            NotFound, QueryError: a name means no document, or several; nothing was forgotten.
            StoreError: it could not be finished; ``forget()`` goes on.
        """
        from openbook.forgetting import forget

        try:
            return forget(self, names, confirm=confirm, say=say or (lambda line: None))
        finally:
            if "trees" in vars(self):
                self.trees.clear()

    def list(self, *, as_: Sequence[str] | None = None) -> Sequence[dict[str, Any]]:
        """The documents, in order of source: id, title, version, metadata, access, when changed, characters."""
        return self.documents.all(principals_of(as_))

    def show(self, name: str, *, version: int | None = None, as_: Sequence[str] | None = None) -> Document:
        """One document, by source (one that it had before, too), id or path. With ``version``, the owner is shown a
        removed one, too: what was cited can be read. Raises: NotFound, QueryError (several)."""
        id, source = self.named(name, principals_of(as_), removed=version is not None)
        document = self.documents.get(id, principals_of(as_), version)
        if document is None:
            raise NotFound(f"no version {version} of it", where=source, do="openbook history shows those there are")
        return document

    def texts(self, documents: Sequence[str], *, as_: Sequence[str] | None = None) -> Mapping[str, str]:
        """The texts of several documents, by id; one that is gone, or that may not be seen, is left out."""
        return self.documents.texts(documents, principals_of(as_))

    def copies(self, *, as_: Sequence[str] | None = None) -> Sequence[tuple[str, ...]]:
        """The sources of documents whose text is the same to the letter, in groups of two and more."""
        return self.documents.copies(principals_of(as_))

    def chunks(self, name: str, *, as_: Sequence[str] | None = None) -> Sequence[Chunk]:
        """The chunks that a document was cut into, in order of ``start``. Raises: NotFound, QueryError (several)."""
        return self.live.now().index.chunks(self.named(name, principals_of(as_))[0], principals_of(as_))

    def boundaries(self, name: str, *, as_: Sequence[str] | None = None) -> Boundaries:
        """The chunks of a document, each with what is wrong with it: too small or too large, or that it begins in the
        middle of a table, of code or of a sentence. Raises: NotFound, QueryError (several), ModelError."""
        from openbook.looking import boundaries

        document = self.show(name, as_=as_)
        chunks = self.chunks(document.source, as_=as_)
        return boundaries(document, chunks, self.embedder, self.recipe.index)

    def status(self, *, as_: Sequence[str] | None = None) -> dict[str, Any]:
        """What is in here, and what it is read and answered by."""
        principals = principals_of(as_)
        serving = self.live.now()
        return {
            "kb": self.name,
            **({"db": self.database.where} if principals is None else {}),
            **self.documents.status(principals),
            "chunks": serving.index.count(principals),
            "release": serving.release.name,
            "recipe": serving.recipe.hash,
            "embedder": {"hash": serving.index.embedder, "dimension": serving.index.dimension},
            "unfamiliar": serving.index.unfamiliar(principals),
            "generator": serving.recipe.query.generate.kind,
            **({"trace_days": self.traces.days()} if principals is None else {}),
            **(self._pending() if principals is None else {}),
        }

    def _pending(self) -> dict[str, Any]:
        """What a rollback returns to, and how many documents it would have to read first; how many erasures were
        stopped before their end."""
        from openbook.store.erasure import Erasures

        previous = next((one for one in self._releases.all() if one.state == "previous"), None)
        behind = 0 if previous is None else self._releases.behind().get(previous.index, 0)
        return {
            "rollback": None if previous is None else {"release": previous.name, "behind": behind},
            "unfinished_erasures": len(Erasures(self.database, self.kb).unfinished()),
        }

    # --- releases -----------------------------------------------------------------------------------------------------

    def releases(self) -> Sequence[Release]:
        """Every release, the oldest first: its recipe, its state, the report that speaks for it."""
        return self._releases.all()

    def show_release(self, name: str) -> Release:
        """One release. Raises: NotFound."""
        return self._releases.opened(name)[0]

    def behind(self) -> Mapping[str, int]:
        """How many documents the index of each release has not read yet, by the release's name."""
        behind = self._releases.behind()
        return {release.name: behind.get(release.index, 0) for release in self._releases.all()}

    def plan(self, recipe: Recipe) -> Plan:
        """What a release by this recipe would take: texts, tokens, seconds, US dollars. Builds nothing.

        A half that the recipe does not mention is that of the live release. Raises: ModelError.
        """
        return self._releasing.plan(recipe)

    def build(self, recipe: Recipe, *, progress: Callable[[Building], None] | None = None) -> Built:
        """Build a release by this recipe beside the live one, which goes on answering and taking edits.

        Only what its index half needs is computed, and nothing if that is the live one's. A build that was killed goes
        on where it was. Then ``promote`` it.

        Raises:
            QueryError: a release by this recipe is there, whole.
            ModelError: its model is missing, or stopped answering.
        """
        return self._releasing.build(recipe, progress=progress)

    def register(self, model: str | Path) -> None:
        """Have a trained model's folder known here, by what its ``trained.json`` says: when a document that it was
        trained on is forgotten it is withdrawn, wherever it lies. What a release names is known by that. Raises:
        ModelError."""
        from openbook.tuned import register

        register(model, self.database, self.kb)

    def restricted(self, release: str) -> Sequence[Restricted]:
        """The models of a release that do not answer everybody, because they were trained on closed texts; none for
        most. Raises: NotFound."""
        return self._releasing.restricted(release)

    def promote(self, release: str, *, require_report: bool = False) -> Pointers:
        """Have a release answer from the next question of every process on.

        ``require_report``: only if a comparison with the live release says "ship" (``openbook compare live r2 DATA``).

        Raises:
            NotFound: there is no such release.
            QueryError: it is live, or still being built, or no comparison speaks for it.
            ModelError, StoreError: its model is missing, or is not the one that it was built with.
        """
        pointers = self._releasing.promote(release, require_report=require_report)
        self.live.now()
        return pointers

    def rollback(self) -> Pointers:
        """Have the release answer that answered before; no edit made since is lost. Raises: QueryError, ModelError."""
        pointers = self._releasing.rollback()
        self.live.now()
        return pointers

    def prune(self, *releases: str) -> Sequence[str]:
        """Delete releases: those named, or all that neither answer, nor are what ``rollback`` returns to, nor are being
        built. Returns their names. Raises: NotFound, QueryError (the live one)."""
        return self._releasing.prune(*releases)

    def diff(self, a: str, b: str) -> Difference:
        """Where the recipes of two releases differ. Raises: NotFound."""
        return self._releasing.diff(a, b)

    def keep_report(self, release: str, report: Mapping[str, Any]) -> None:
        """Keep the comparison that speaks for or against a release, as ``compare`` prints it. Raises: NotFound."""
        self._releases.keep_report(release, report)

    @property
    def _releasing(self) -> Releasing:
        from openbook.releasing import Releasing

        return Releasing(self._releases, self.writer)

    def verify(self, *, repair: bool = False, progress: Callable[[int, int], None] | None = None) -> Verified:
        """Look at every invariant; with ``repair`` make anew what is derived and broken. Texts are never touched."""
        from openbook.verification import verify

        return verify(self.database, self.name, repair=repair, progress=progress)

    def export(
        self,
        path: str | Path,
        *,
        vectors: bool = True,
        force: bool = False,
        as_: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Exported:
        """Write everything but traces and feedback into one file, which ``openbook.import_`` makes a knowledge base of.

        Without ``vectors`` it is smaller, and importing it takes the model. With ``as_`` it holds what these may see.

        Raises:
            ArchiveError: the file is there already and not ``force``, or cannot be written; there is then none.
        """
        from openbook.exporting import export

        return export(
            self.database,
            self.name,
            path,
            vectors=vectors,
            force=force,
            principals=principals_of(as_),
            progress=progress,
        )

    # --- questions ----------------------------------------------------------------------------------------------------

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | Filter | None = None,
        history: Sequence[Turn | tuple[str, str]] = (),
        as_: Sequence[str] | None = None,
        record: bool = True,
        raw: bool = False,
    ) -> Trace:
        """The ``k`` best chunks for a question, as the ``hits`` of a trace.

        ``filter`` is an expression over metadata: ``lang = "en" and year >= 2020 and tag in ("hr", "it")``. Where the
        recipe has it so, the question's own words narrow it further: ``trace.filter`` is the whole, and
        ``trace.details["filters"]`` tells what was applied, what was dropped and why. ``history`` is what was said
        before, as (role, text) with the roles "user" and "assistant": a follow-up question is looked for as it is meant
        after that, and ``trace.details["standalone"]`` tells how it was read. The trace is kept unless ``record`` is
        false. Asked in somebody's name, scores tell ranks alone: what they are made of counts words in
        all documents. ``raw`` leaves them as they are, for the owner who measures in that name.

        Raises:
            QueryError: the question is empty, ``k`` is not from 1 to 10,000, the filter cannot be read, or a turn of
                the history is none.
        """
        from openbook.asking import search

        return search(self, question, k, filter=filter, history=history, as_=as_, record=record, raw=raw)

    def ask(
        self,
        question: str,
        *,
        filter: str | Filter | None = None,
        history: Sequence[Turn | tuple[str, str]] = (),
        clarify: bool = False,
        as_: Sequence[str] | None = None,
        llm: str | LanguageModel | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Answer from the documents, with citations; or abstain, with the reason.

        ``history`` as for ``search``; a follow-up question is answered as it is meant. With ``clarify`` the answer may
        be a question back, its ``clarification``, where what was found answers several readings: ask again with both
        questions in the history.

        ``llm`` (``"openai:MODEL"``, ``"anthropic:MODEL"`` or a recipe part) writes the answer instead of the recipe's
        generator; ``on_text`` is given its text as it comes. The answer's ``trace`` tells everything that happened.

        Passages of local-only documents are handed to no remote model: ``trace.details["withheld"]`` holds their ranks,
        under ``generate`` for the generator and ``rerank`` for the reranker. Where there are no others to answer from,
        the answer is an abstention that says so.

        Raises:
            QueryError: as ``search``.
            ModelError: the language model is missing, refused or did not answer.
        """
        from openbook.asking import ask

        return ask(self, question, filter=filter, history=history, clarify=clarify, as_=as_, llm=llm, on_text=on_text)

    def themes(
        self,
        *,
        number: int | None = None,
        depth: int = 2,
        filter: str | Filter | None = None,
        as_: Sequence[str] | None = None,
        llm: str | LanguageModel | None = None,
        confirm: Callable[[WritingPlan], bool] | None = None,
    ) -> Themes:
        """What the documents are about: groups of them, the largest first, each named by the words that tell it from
        the others and cited down to its sources; and, to the given ``depth``, the groups that these consist of.

        As many as the documents suggest, or ``number``. ``llm`` (as of ``ask``) names and sums up each of them, by
        one call; ``confirm`` is first shown what that takes, and where it says no, nothing is sent. A call that fails
        leaves its theme as it was. A tree is made of what the caller may see, and kept in memory until a document
        changes.

        Raises:
            QueryError: not 1 to 200 themes, not 1 to 3 levels, or a filter that cannot be read.
            ModelError: the language model has no key.
        """
        from openbook.generate import parse_llm
        from openbook.similar.themes import themes

        return themes(
            self,
            number=number,
            depth=depth,
            filter=parse(filter) if isinstance(filter, str) else filter,
            principals=principals_of(as_),
            llm=parse_llm(llm) if isinstance(llm, str) else llm,
            confirm=confirm,
        )

    @cached_property
    def trees(self) -> Kept:
        """The trees of themes that this process has made."""
        from openbook.similar.themes import Kept

        return Kept()

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
        return self.serving.answer(trace, self.documents, llm, on_text)

    def trace(self, id: str, *, as_: Sequence[str] | None = None) -> dict[str, Any]:
        """A recorded trace, with what was said of it. Raises: NotFound."""
        self.traces.close()  # what this process has asked is written first
        principals = principals_of(as_)
        found = self.traces.get(id, principals)
        if found is None:
            raise NotFound("no such trace", where=id, do="take the id that ask or search printed")
        return {**found, "feedback": [asdict(said) for said in self.feedbacks.of(id, principals)]}

    def keep_traces(self, days: int | None) -> int:
        """Keep traces for so many days (``None``: for ever), but for those with feedback, which stay. Returns how many
        were older, and are gone. Raises: QueryError (not 1 to 36,500)."""
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise QueryError(f"traces kept for {days} days", do=f"keep them for 1 to {MOST_DAYS:,} days, or for ever")
        return self.traces.keep(days)

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

    # --- inside -------------------------------------------------------------------------------------------------------

    def _ingest(self, progress: Callable[[Progress], None] | None) -> Ingest:
        from openbook.ingest import Ingest

        return Ingest(self.writer, self.live.readers, progress=progress)

    def named(self, name: str, principals: Sequence[str] | None = None, *, removed: bool = False) -> tuple[str, str]:
        """(id, source) of the one document that a name means; ``removed`` ones are asked if it means no other.

        Raises: NotFound, QueryError (several).
        """
        found = self.documents.find(storable(name), principals)
        if not found and removed:
            found = self.documents.find(storable(name), principals, removed=True)
        if not found:
            raise NotFound("no such document", where=name, do="openbook list shows the sources")
        if len(found) > 1:
            raise QueryError(f"means {len(found)} documents", where=name, do=f"name one whole, such as {found[0][1]}")
        return found[0]
