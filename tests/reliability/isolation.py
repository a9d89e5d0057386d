"""Worlds of random documents, callers and questions, and a model in plain Python of who may see what of them.

Every document carries words of its own (markers: ``mk17qabcdef``) in its text, title, source and metadata. Whatever a
verb says to a caller is searched for markers: one of a document that is closed to the caller is a leak. What is open
must be found, and every count must be the model's, so that an engine that hides too much fails as well. What remote
models are sent is searched, too: there of local-only documents.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tests.generate.loopback import ModelServer, Say
from tests.reliability.documents import Embeddings

from openbook.errors import NotFound, QueryError
from openbook.evaluate import Question, evaluate
from openbook.evaluate.datasets.dataset import dataset
from openbook.importing import import_from
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    EvidenceFusion,
    IndexHalf,
    LanguageModel,
    OpenAIEmbedder,
    QueryHalf,
    Recipe,
    ReciprocalRankFusion,
    WeightedFusion,
)
from openbook.retrieve import Retriever
from openbook.store.filter import And, Compare, Exists, Filter, In, Not, Or, filterable, matches
from openbook.types import PUBLIC, Document, Hit, Metadata

WORDS = (
    *("balu", "cormi", "dexan", "fogal", "hirtu", "jopin", "kasel", "lumot"),
    *("meraf", "nolik", "pexur", "qadin", "ravos", "silek", "tumar", "vodek"),
)
"""Words of no language: nothing is stemmed, and none is a stop word."""
NAMED = ("zarek", "yolun", "ximba")
"""Words of titles and metadata, which a question may mention."""
PRINCIPALS = ("group:hr", "group:it", "user:ann", "user:Ann", "tenant:a,b", 'odd "name"', "{braces}", "用户:安")
CHANGES = 8
"""Of each half of a world's questions."""
ALL = 500
"""More hits than a world has chunks."""
QUESTIONS = tuple(
    " ".join(
        (*(["zarek"] if n % 4 == 0 else ["yolun"] if n % 4 == 1 else []), *random.Random(n).choices(WORDS, k=1 + n % 4))
    )
    for n in range(200)
)
"""Few, so that each is embedded once: the rest of a question is what is asked of the model."""

_MARKER = re.compile(r"mk\d+q[a-z]{6}")

FUSIONS: dict[str, QueryHalf] = {
    "dense": QueryHalf(fusion=WeightedFusion(dense=1.0), merge=0),
    "keyword": QueryHalf(fusion=WeightedFusion(dense=0.0), merge=0),
    "weighted": QueryHalf(fusion=WeightedFusion(), merge=0),
    "rrf": QueryHalf(fusion=ReciprocalRankFusion(), merge=0),
    "evidence": QueryHalf(fusion=EvidenceFusion(), merge=0),
    "words": QueryHalf(fusion=EvidenceFusion(cosine=0.0), merge=0),
    "merged": QueryHalf(),
}
BY_WORDS = ("keyword", "words")
"""Fusions that find only what has a word of the question; the others rank everything."""


@dataclass(frozen=True)
class Kept:
    """What the model knows of a document: as it is now, all the versions it had, and its chunks' words."""

    id: str
    document: Document
    markers: frozenset[str]
    before: frozenset[str]  # of all its versions
    chunks: tuple[frozenset[str], ...]
    removed: bool = False
    said: frozenset[str] | None = None  # who was to read it before an edit said another; None: none does

    def open_to(self, principals: frozenset[str]) -> bool:
        return not self.removed and not principals.isdisjoint(self.document.access)

    @property
    def fields(self) -> Metadata:
        return filterable(self.document.source, self.document.title, self.document.metadata)


def markers(said: Any) -> set[str]:
    return set(_MARKER.findall(said if isinstance(said, str) else repr(said)))


class Remote(Embeddings):
    """A model that is sent what it embeds, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: set[str] = set()

    def vector(self, text: str, dimension: int) -> list[float]:
        self.heard.add(text)
        return super().vector(text, dimension)

    @property
    def recipe(self) -> Recipe:
        part = OpenAIEmbedder(model="words", base_url=self.url, dimensions=32)
        return Recipe(index=IndexHalf(embed=part))


@dataclass(frozen=True)
class Outside:
    """The remote models, and a folder for exports."""

    embedder: Remote
    llm: ModelServer
    folder: Path

    @property
    def writer(self) -> LanguageModel:
        return LanguageModel(kind="openai", model="m", base_url=self.llm.base_url)


@contextlib.contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    embedder = Remote()
    threading.Thread(target=embedder.serve_forever, daemon=True).start()
    with ModelServer("openai") as llm:
        llm.will(Say("It says so [1]."))
        try:
            yield Outside(embedder, llm, folder)
        finally:
            embedder.shutdown()
            embedder.server_close()


# --- what is in a world -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A document to be: how much text of which words, how many have it, who reads it."""

    words: int
    access: tuple[str, ...]
    team: str | None
    year: int
    tags: tuple[str, ...]
    twin: bool  # the text of the document before it, to the letter
    folder: str
    local_only: bool = False


_access = st.lists(st.sampled_from((PUBLIC, *PRINCIPALS)), min_size=1, max_size=3, unique=True).map(tuple)
_plans = st.builds(
    Plan,
    words=st.integers(1, 80),
    access=_access,
    team=st.none() | st.sampled_from(NAMED),
    year=st.integers(2020, 2024),
    tags=st.lists(st.sampled_from(WORDS[:4]), max_size=2, unique=True).map(tuple),
    twin=st.integers(0, 9).map(lambda n: n == 0),
    folder=st.sampled_from(("a", "a/b", "c")),
    local_only=st.integers(0, 4).map(lambda n: n == 0),
)
worlds = st.lists(_plans, min_size=8, max_size=32)


class World:
    """Two knowledge bases in one database, their model, and questions without end."""

    def __init__(
        self, kb: KnowledgeBase, other: KnowledgeBase, plans: Sequence[Plan], seed: int, outside: Outside
    ) -> None:
        self.kb = kb
        self.outside = outside
        self.opened = [kb]
        self._listening = kb.recipe.index.embed.kind == "openai"  # whether its embedder is sent what it embeds
        outside.embedder.heard.clear()  # another world has the same markers
        self.random = random.Random(seed)
        self.documents: dict[str, Kept] = {}
        self.traces: list[tuple[str, frozenset[str] | None, str]] = []  # id, asked by, question
        self.asked: Counter[str] = Counter()
        self._number = 0
        self._text = ""
        self._moved = False
        self._asked_before: list[tuple[str, str, Filter | None, list[str], int, list[tuple[str, int]]]] = []
        self._told: set[str] = set()  # questions, which name what they like
        made = [self._made(plan) for plan in plans]
        self._text = ""  # the other one's documents share no text with these: what one may send, the other may not
        other.add(*(replace(self._made(plan), source=f"other/{n}") for n, plan in enumerate(plans[:8])))
        self._add(made)
        self._retrievers = self._fusions()
        self._paths: list[tuple[int, Callable[[], None]]] = [
            (70, self.ask_for_passages),
            (6, self.ask_again),
            (4, self.search_with_traces),
            (4, self.show_one),
            (3, self.list_all),
            (3, self.count),
            (3, self.read_chunks),
            (3, self.read_texts),
            (2, self.find_copies),
            (2, self.read_trace),
            (1, self.read_history),
        ]

    def _fusions(self) -> dict[str, Retriever]:
        index, embedder = self.kb.index, self.kb.embedder
        return {name: Retriever(index, embedder, part) for name, part in FUSIONS.items() if name != "merged"}

    def check(self, questions: int) -> Counter[str]:
        """Ask so many, and a few in ways that take long; half of all of what an export was imported as. Returns how
        many went which way.

        Raises:
            AssertionError: a leak, or something that is missing.
        """
        weights, paths = zip(*self._paths, strict=True)
        for half in (questions - questions // 2, questions // 2):
            changes = max(1, half // CHANGES)
            for n in range(half):
                if n % changes == changes - 1:
                    self.change()
                (path,) = self.random.choices(paths, weights)
                path()
            self.answer()
            self.answer(self.outside.writer)
            self.evaluate()
            if not self._moved:
                self.export_for_caller()
                self.move()
        return self.asked

    # --- the documents change -----------------------------------------------------------------------------------------

    def _marker(self) -> str:
        self._number += 1
        return f"mk{self._number}q{''.join(random.Random(self._number).choices('abcdefgh', k=6))}"

    def _made(self, plan: Plan, source: str | None = None) -> Document:
        r = self.random
        if not plan.twin or not self._text:
            words = r.choices(WORDS, k=plan.words)
            for _ in range(1 + plan.words // 40):
                words.insert(r.randint(0, len(words)), self._marker())
            self._text = " ".join(words) + "."
        metadata: dict[str, Any] = {"year": plan.year, "secret": self._marker()}
        if plan.team is not None:
            metadata["team"] = plan.team
        if plan.tags:
            metadata["tag"] = plan.tags
        title = " ".join((*r.choices((*WORDS, *NAMED), k=2), self._marker()))
        source = source or f"{plan.folder}/{self._marker()}.md"
        return Document(
            source, self._text, title=title, metadata=metadata, access=plan.access, local_only=plan.local_only
        )

    def _add(self, documents: Sequence[Document]) -> None:
        self.kb.add(*documents)
        ids = {row["source"]: row["document"] for row in self.kb.list()}
        for one in documents:
            self._keep(ids[one.source], one)
        self._require_kept_here()

    def _keep(self, id: str, one: Document, said: frozenset[str] | None = None) -> None:
        """The document is this one now, and not removed."""
        own = frozenset(markers([one.source, one.text, one.title, dict(one.metadata)]))
        before = self.documents[id].before if id in self.documents else frozenset()
        chunks = tuple(frozenset(re.findall(r"\w+", f"{one.title} {chunk.text}")) for chunk in self.kb.chunks(id))
        self.documents[id] = Kept(id, one, own, own | before, chunks, said=said)

    def change(self) -> None:
        """Add one document anew, edit it, remove it, or bring it back."""
        kept = self.random.choice([*self.documents.values()])
        changes = (self._add_anew, self._edit, self._edit, self._bring_back if kept.removed else self._remove)
        self.random.choice((self._add_anew, self._bring_back) if kept.removed else changes)(kept)
        self._require_kept_here()
        self._asked_before.clear()

    def _readers(self) -> tuple[str, ...]:
        return tuple(self.random.sample((PUBLIC, *PRINCIPALS), self.random.randint(1, 2)))

    def _rewritten(self) -> str:
        self._text = ""
        return self._made(Plan(self.random.randint(1, 60), (PUBLIC,), None, 2021, (), False, "")).text

    def _add_anew(self, kept: Kept) -> None:
        """As a source that says something else of who reads it, of its text or of its metadata."""
        r, one = self.random, kept.document
        how = r.choice(("access", "access", "text", "metadata", "local only"))
        access = self._readers() if how in ("access", "text") else None
        if how == "text":
            one = replace(one, text=self._rewritten())
        elif how == "metadata":
            one = replace(one, metadata={**one.metadata, "secret": self._marker()})
        local_only = r.random() < 0.5 if how == "local only" else None
        self.kb.add(one, access=access, local_only=local_only)
        # An edit of who reads it stands until a source says another than it had said before; public is what one says
        # that says nothing.
        stands = one.access == (PUBLIC,) if access is None else frozenset(access) == kept.said
        one = replace(one, access=one.access if stands or access is None else access)
        one = replace(one, local_only=one.local_only if local_only is None else local_only)
        self._keep(kept.id, one, kept.said if stands else None)

    def _edit(self, kept: Kept) -> None:
        r, one, said = self.random, kept.document, kept.said
        how = r.choice(("text", "title", "metadata", "access", "access", "source", "restore"))
        if how == "text":
            one = replace(one, text=self._rewritten())
            self.kb.edit(kept.id, text=one.text)
        elif how == "title":
            one = replace(one, title=" ".join((*r.choices((*WORDS, *NAMED), k=2), self._marker())))
            self.kb.edit(kept.id, title=one.title)
        elif how == "metadata":
            new: dict[str, Any] = {"team": r.choice(NAMED), "secret": self._marker(), "tag": None}
            merged = {**one.metadata, **new}
            one = replace(one, metadata={key: value for key, value in merged.items() if value is not None})
            self.kb.edit(kept.id, metadata=new)
        elif how == "access":
            said = frozenset(one.access) if said is None else said
            one = replace(one, access=self._readers())
            said = None if said == frozenset(one.access) else said
            self.kb.edit(kept.id, access=one.access)
        elif how == "source":
            one = replace(one, source=f"a/{self._marker()}.md")
            self.kb.edit(kept.id, source=one.source)
        else:
            self.kb.restore(kept.id, 1)
            first = self.kb.show(kept.id)
            one = replace(one, title=first.title, text=first.text)
        self._keep(kept.id, one, said)

    def _remove(self, kept: Kept) -> None:
        self.kb.remove(kept.document.source)
        self.documents[kept.id] = replace(kept, removed=True)

    def _bring_back(self, kept: Kept) -> None:
        self.kb.restore(kept.id)
        self._keep(kept.id, kept.document, kept.said)

    def move(self) -> None:
        """Go on with what an export of it is imported as: everything but the ids and the traces is as it was."""
        moved = self._imported()
        ids = {row["source"]: row["document"] for row in moved.list()}
        self.kb, self._moved = moved, True
        documents, self.documents = self.documents, {}
        for kept in documents.values():
            source = kept.document.source
            id = moved.named(source, removed=True)[0] if kept.removed else ids[source]
            self.documents[id] = replace(kept, id=id)
        self.traces.clear()
        self._asked_before.clear()
        self._retrievers = self._fusions()
        self._require_kept_here()

    def _imported(self, principals: list[str] | str | None = None) -> KnowledgeBase:
        name = uuid.uuid4().hex
        path = self.outside.folder / name
        self.kb.export(path, as_=principals)
        import_from(path, lambda: contextlib.nullcontext(self.kb.database), name)
        path.unlink()
        self.opened.append(KnowledgeBase(self.kb.database, name, create=False))
        return self.opened[-1]

    def _require_kept_here(self) -> None:
        """Of what local-only documents alone hold nothing was sent to the remote embedder since the last look, nor of
        their passages to the remote language model."""
        held = [kept for kept in self.documents.values() if not kept.removed]
        own = {one for kept in held if kept.document.local_only for one in kept.markers}
        own -= {one for kept in held if not kept.document.local_only for one in kept.markers}
        leaked = markers([text for text in self.outside.embedder.heard if text not in self._told]) & own
        assert not leaked, f"sent to a remote embedder: {leaked}"
        self.outside.embedder.heard.clear()

    # --- what a caller may know ---------------------------------------------------------------------------------------

    def caller(self) -> tuple[list[str] | str, frozenset[str]]:
        r = self.random
        principals = r.sample((*PRINCIPALS, PUBLIC, "group:HR", "nobody", "tenant:a", "braces"), r.randint(0, 4))
        as_: list[str] | str = principals[0] if len(principals) == 1 and r.random() < 0.3 else principals
        return as_, frozenset({*principals, PUBLIC})

    def open_to(self, principals: frozenset[str], filter: Filter | None = None) -> dict[str, Kept]:
        return {
            id: kept
            for id, kept in self.documents.items()
            if kept.open_to(principals) and (filter is None or matches(filter, kept.fields))
        }

    def require_closed(self, said: Any, seen: dict[str, Kept], *told: Any, before: bool = False) -> None:
        """No marker in what was ``said`` but of documents that are open, and those that the caller ``told``."""
        known = markers(told).union(*(kept.before if before else kept.markers for kept in seen.values()))
        assert markers(said) <= known, f"leaked {markers(said) - known}"
        ids = {id for id in self.documents if id not in seen and id not in repr(told)}
        found = [id for id in ids if id in (said if isinstance(said, str) else repr(said))]
        assert not found, f"leaked ids {found}"

    def question(self) -> str:
        """Words that many documents have, or the word of one, which may be closed."""
        if self.random.random() < 0.6:
            return self.random.choice(QUESTIONS)
        kept = self.random.choice([*self.documents.values()])
        question = f"{WORDS[8]} {self.random.choice(sorted(kept.before))}"
        self._told.add(question)
        return question

    def filter(self, depth: int = 2) -> Filter:
        r = self.random
        kind = r.randrange(9 if depth else 6)
        if kind == 0:
            return Compare("year", r.choice(("=", "!=", "<", "<=", ">", ">=")), r.randint(2019, 2025))  # type: ignore[arg-type]
        if kind == 1:
            return Compare("team", r.choice(("=", "!=")), r.choice((*NAMED, "unknown")))  # type: ignore[arg-type]
        if kind == 2:
            return In("tag", tuple(r.sample((*WORDS[:4], "unknown"), 2)))
        if kind == 3:
            return Exists(r.choice(("team", "tag", "secret", "unknown")))
        if kind == 4:  # what only one document has
            secret = r.choice([*self.documents.values()]).document.metadata["secret"]
            return Compare("secret", r.choice(("=", "!=")), secret)  # type: ignore[arg-type]
        if kind == 5:
            return Compare("source", r.choice(("<", ">=")), "a/b")  # type: ignore[arg-type]
        if kind == 6:
            return Not(self.filter(depth - 1))
        parts = (self.filter(depth - 1), self.filter(depth - 1))
        return And(parts) if kind == 7 else Or(parts)

    # --- the ways to ask ----------------------------------------------------------------------------------------------

    def ask_for_passages(self) -> None:
        _, principals = self.caller()
        fusion = self.random.choice([*self._retrievers])
        filter = self.filter() if self.random.random() < 0.5 else None
        k = self.random.choice((1, 3, 10, ALL, ALL))
        self._passages(self.question(), fusion, filter, sorted(principals), k)

    def _passages(self, question: str, fusion: str, filter: Filter | None, principals: list[str], k: int) -> None:
        found = self._retrievers[fusion].retrieve(question, k, principals=principals, filter=filter)
        seen = self.open_to(frozenset(principals), filter)
        self.asked[fusion + (" filtered" if filter else "")] += 1
        self.require_closed(found, seen, question, str(filter))
        self.require_true(found.hits, seen)
        possible = [(words, self._has_vectors(kept)) for kept in seen.values() for words in kept.chunks]
        by_words, by_vectors = fusion != "dense", fusion not in BY_WORDS
        asked = {*question.split()}
        # What may be a value of metadata is a word like others or one that is mentioned, and then found there alone.
        values = asked & {*NAMED, *WORDS[:4], *markers(question)}
        least = most = 0
        for words, vector in possible:
            least += (by_words and not (asked - values).isdisjoint(words)) or (by_vectors and vector)
            most += (by_words and (bool(values) or not asked.isdisjoint(words))) or (by_vectors and vector)
        assert min(k, least) <= len(found.hits) <= min(k, most), (
            f"{len(found.hits)} hits, {least} to {most} are open: {fusion} {question!r} k={k} {filter} {principals}"
        )
        places = [(hit.document, hit.chunk.start) for hit in found.hits]
        assert len({*places}) == len(places)
        self._asked_before.append((question, fusion, filter, principals, k, places))

    def _has_vectors(self, kept: Kept) -> bool:
        return not (kept.document.local_only and self._listening)

    def ask_again(self) -> None:
        """The same once more, after others have asked: nothing that was kept in between is another's."""
        if not self._asked_before:
            return self.ask_for_passages()
        question, fusion, filter, principals, k, places = self.random.choice(self._asked_before)
        self._passages(question, fusion, filter, principals, k)
        assert self._asked_before.pop()[-1] == places
        self.asked["again"] += 1
        self.asked[fusion + (" filtered" if filter else "")] -= 1  # counted once
        return None

    @staticmethod
    def require_true(hits: Sequence[Hit], seen: dict[str, Kept]) -> None:
        for hit in hits:
            kept = seen[hit.document].document
            assert hit.chunk.text == kept.text[hit.chunk.start : hit.chunk.end]
            assert (hit.source, hit.title, hit.metadata) == (kept.source, kept.title, kept.metadata)
            assert hit.local_only == kept.local_only

    def search_with_traces(self) -> None:
        as_, principals = self.caller()
        question = self.question()
        trace = self.kb.search(question, self.random.choice((1, 5, 50)), as_=as_)
        seen = self.open_to(principals)
        self.require_closed(trace, seen, question)
        self.require_true(trace.hits, {id: seen[id] for id in {hit.document for hit in trace.hits}})
        assert trace.hits or not any(kept.chunks for kept in seen.values() if self._has_vectors(kept))
        self.traces.append((trace.id, principals, question))
        if self.random.random() < 0.3 and trace.hits:
            self.kb.feedback(trace.id, self.random.choice(("up", "down", "better")), hit=1, as_=as_)
        self.asked["search"] += 1

    def answer(self, llm: LanguageModel | None = None) -> None:
        as_, principals = self.caller()
        question = self.question()
        self.outside.llm.requests.clear()
        answer = self.kb.ask(question, as_=as_, llm=llm)
        seen = self.open_to(principals)
        sent = {id: kept for id, kept in seen.items() if not kept.document.local_only}
        self.require_closed([request.body for request in self.outside.llm.requests], sent, question)
        self.require_closed(answer, seen, question)
        for citation in answer.citations:
            kept = seen[citation.document].document
            assert citation.quote == kept.text[citation.start : citation.end]
        assert answer.trace is not None
        self.traces.append((answer.trace.id, principals, question))
        self.asked["ask" if llm is None else "ask a remote model"] += 1

    def evaluate(self) -> None:
        """A report of questions asked in a caller's name tells what that caller might see, to the last of its pages."""
        as_, principals = self.caller()
        kept = self.random.choice([*self.documents.values()])
        source = kept.document.source
        asked = [Question(f"q{n}", self.question(), judgements={source: 1}) for n in range(3)]
        report = evaluate(self.kb, dataset("random", asked), as_=as_)
        self.require_closed(report.as_json(), self.open_to(principals), [q.text for q in asked], source)
        assert not report.failed
        self.asked["evaluate"] += len(asked)

    def export_for_caller(self) -> None:
        """What a caller exports holds what is open to them, in all versions, and so does what it is imported as."""
        as_, principals = self.caller()
        seen = self.open_to(principals)
        path = self.outside.folder / uuid.uuid4().hex
        self.kb.export(path, as_=as_)
        with zipfile.ZipFile(path) as zip:
            held = "".join(zip.read(name).decode() for name in zip.namelist() if not name.endswith(".f16"))
        path.unlink()
        self.require_closed(held, seen, before=True)
        theirs = self._imported(as_)
        assert [row["source"] for row in theirs.list()] == sorted(kept.document.source for kept in seen.values())
        assert {name for row in theirs.list() for name in row["access"]} <= principals
        question = self.question()
        for who in (None, sorted(principals)):
            found = Retriever(theirs.index, self.kb.embedder, FUSIONS["evidence"]).retrieve(
                question, ALL, principals=who
            )
            self.require_closed(found, seen, question)
            assert len(found.hits) <= sum(len(kept.chunks) for kept in seen.values())
        self.asked["export"] += 1

    def show_one(self) -> None:
        as_, principals = self.caller()
        kept = self.random.choice([*self.documents.values()])
        name = self.random.choice((kept.id, kept.document.source, kept.document.source.rsplit("/", 1)[-1]))
        version = self.random.choice((None, None, 1, 9))
        try:
            told: Any = self.kb.show(name, version=version, as_=as_)
        except (NotFound, QueryError) as error:
            told, refused = None, str(error)
        if told is None:
            self.require_closed(refused, self.open_to(principals), name, before=True)
            assert version == 9 if kept.open_to(principals) else refused.startswith(f"{name}: no such document;")
        else:
            assert kept.open_to(principals)
            assert version is not None or told.text == kept.document.text
            assert {*told.access} == {*kept.document.access} & principals
            self.require_closed(told, {kept.id: kept}, name, before=True)
        self.asked["show"] += 1

    def list_all(self) -> None:
        as_, principals = self.caller()
        listed, seen = self.kb.list(as_=as_), self.open_to(principals)
        assert [row["source"] for row in listed] == sorted(kept.document.source for kept in seen.values())
        self.require_closed(listed, seen)
        assert {one for row in listed for one in row["access"]} <= principals
        self.asked["list"] += 1

    def count(self) -> None:
        as_, principals = self.caller()
        told, seen = self.kb.status(as_=as_), [*self.open_to(principals).values()]
        assert told["documents"] == len(seen)
        assert told["public"] == sum(PUBLIC in kept.document.access for kept in seen)
        assert told["characters"] == sum(len(kept.document.text) for kept in seen)
        assert told["chunks"] == sum(len(kept.chunks) for kept in seen)
        assert told["local_only"] == sum(kept.document.local_only for kept in seen)
        assert sum(told["unfamiliar"].values()) <= len(seen)
        self.asked["status"] += 1

    def read_chunks(self) -> None:
        as_, principals = self.caller()
        kept = self.random.choice([*self.documents.values()])
        try:
            chunks = self.kb.chunks(kept.id, as_=as_)
        except NotFound:
            assert not kept.open_to(principals)
        else:
            assert kept.open_to(principals)
            assert [chunk.text for chunk in chunks] == [kept.document.text[c.start : c.end] for c in chunks]
            assert len(chunks) == len(kept.chunks)
        self.asked["chunks"] += 1

    def read_texts(self) -> None:
        as_, principals = self.caller()
        ids = self.random.choices([*self.documents], k=5)
        seen = self.open_to(principals)
        assert self.kb.texts(ids, as_=as_) == {id: seen[id].document.text for id in ids if id in seen}
        self.asked["texts"] += 1

    def find_copies(self) -> None:
        as_, principals = self.caller()
        by_text: dict[str, list[str]] = {}
        for kept in self.open_to(principals).values():
            by_text.setdefault(kept.document.text, []).append(kept.document.source)
        assert sorted(self.kb.copies(as_=as_)) == sorted(tuple(sorted(s)) for s in by_text.values() if len(s) > 1)
        self.asked["copies"] += 1

    def read_history(self) -> None:
        as_, principals = self.caller()
        kept = self.random.choice([*self.documents.values()])
        try:
            told: Any = self.kb.history(kept.id, as_=as_)
        except NotFound as error:
            assert not kept.open_to(principals)
            self.require_closed(str(error), self.open_to(principals), kept.id)
        else:
            assert kept.open_to(principals)
            self.require_closed(told, {kept.id: kept}, before=True)
        self.asked["history"] += 1

    def read_trace(self) -> None:
        """A trace of anybody's, told to anybody: to who has every principal of the one who asked, and of it what is
        open to them now."""
        if not self.traces:
            return self.search_with_traces()
        as_, principals = self.caller()
        id, by, question = self.random.choice(self.traces)
        told: Any = None
        with contextlib.suppress(NotFound):
            told = self.kb.trace(id, as_=as_)
        assert (told is not None) == (by is not None and by <= principals)
        seen = self.open_to(principals)
        questions = [asked for _, who, asked in self.traces if who is not None and who <= principals]
        self.require_closed(told, seen, question, before=True)
        self.require_closed(self.kb.reviewed(as_=as_), seen, questions, before=True)
        self.asked["trace"] += 1
        return None
