"""The themes of a knowledge base: a tree of groups of documents, each named and cited down to its sources.

As RAPTOR (Sarthi et al., ICLR 2024) and GraphRAG (Edge et al., 2024) do it, what is asked of the whole is answered from
summaries of parts. Here the parts are documents, by the mean of their chunks' vectors; a part is named by the words
that tell it from the others and summed up by sentences of its most central documents, or by a language model.

A tree is made of what one caller may see, when it is asked for, and kept in memory alone: under the index, the position
of the change feed, the caller and their access sets, the filter and the settings. So it never tells one caller what is
another's, and none outlives the texts that it was made of.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from openbook.errors import QueryError
from openbook.sentences import sentences
from openbook.similar.cluster import MOST_COMPARED, areas, groups
from openbook.similar.terms import CHARACTERS, Terms, label_of
from openbook.store.documents import headings_of
from openbook.store.vocabulary import unknown_field
from openbook.types import Citation, Hit, Usage, heading_path

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import LanguageModel
    from openbook.similar.written import WritingPlan
    from openbook.store.filter import Filter
    from openbook.store.index import Index, View

MOST_THEMES = 200
MOST_LEVELS = 3

DIVIDED = 8
"""Fewer documents are not divided further: they can be read."""

PARTS = 8
"""Themes below one theme, at most."""

LOOKED_AT = 6
QUOTED = 3
"""Central documents that sentences are looked for in, and sentences that are quoted."""

WORDS = (5, 45)
"""A sentence of fewer words says little alone, one of more is a table or a list."""

KEPT = 16
"""Trees in memory, the latest."""

_MARK = re.compile(r"(?:[-*+•‣◦▪>]|\d{1,3}[.)])\s+")


@dataclass(frozen=True, slots=True)
class Theme:
    """A group of documents. ``terms`` tell it from those beside it; ``label`` is made of them, or written.

    ``share`` is that of all documents in themes. ``sources`` are all its documents', the most central first.
    ``summary`` cites ``citations`` by their number, from 1. ``written``: label and summary are a language model's.
    """

    label: str
    terms: tuple[str, ...]
    documents: int
    share: float
    sources: tuple[str, ...]
    summary: str
    citations: tuple[Citation, ...]
    children: tuple[Theme, ...] = ()
    written: bool = False
    hits: tuple[Hit, ...] = ()  # the passages that are quoted, or a model was shown

    @property
    def id(self) -> str:
        """Twelve hex digits that name its documents: the same ones, the same theme, whenever it is made."""
        return hashlib.sha256(json.dumps(sorted(self.sources)).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Area:
    """Several themes that lie near each other, by their numbers from 1."""

    label: str
    terms: tuple[str, ...]
    documents: int
    share: float
    themes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Themes:
    """The themes of what a caller may see, the largest first; ``areas`` of them where they are many.

    ``documents`` are in themes, ``apart`` have no vector and are in none. ``notes`` tell what a reader would not
    expect, ``cached`` that the tree was there already.
    """

    themes: tuple[Theme, ...]
    areas: tuple[Area, ...]
    documents: int
    apart: int
    release: str
    ms: Mapping[str, float]
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    cached: bool = False


@dataclass(slots=True)
class Kept:
    """The latest trees of one knowledge base. Those of an earlier position of the change feed go at once: what they
    were made of may be forgotten."""

    trees: dict[tuple[Any, ...], Themes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple[Any, ...]) -> Themes | None:
        with self.lock:
            for old in [old for old in self.trees if old[:2] != key[:2]]:
                del self.trees[old]
            return self.trees.get(key)

    def put(self, key: tuple[Any, ...], tree: Themes) -> None:
        with self.lock:
            self.trees[key] = tree
            while len(self.trees) > KEPT:
                del self.trees[next(iter(self.trees))]

    def clear(self) -> None:
        with self.lock:
            self.trees.clear()


@dataclass(slots=True)
class _Node:
    rows: list[int]  # the most central first
    terms: tuple[str, ...] = ()
    hits: list[Hit] = field(default_factory=list)
    citations: tuple[Citation, ...] = ()
    children: list[_Node] = field(default_factory=list)


def themes(
    base: KnowledgeBase,
    *,
    number: int | None,
    depth: int,
    filter: Filter | None,
    principals: tuple[str, ...] | None,
    llm: LanguageModel | None = None,
    confirm: Callable[[WritingPlan], bool] | None = None,
) -> Themes:
    """See ``KnowledgeBase.themes``."""
    if number is not None and not 1 <= number <= MOST_THEMES:
        raise QueryError(f"{number} themes", do=f"ask for 1 to {MOST_THEMES}, or leave it to the documents")
    if not 1 <= depth <= MOST_LEVELS:
        raise QueryError(f"{depth} levels of themes", do=f"ask for 1 to {MOST_LEVELS}")
    start = time.perf_counter()
    serving = base.live.now()
    serving.require_open(principals)
    index = serving.index
    ms: dict[str, float] = {}
    with index.database.snapshot(principals) as connection:
        view = index.view(connection, principals, filter)
        # The first two say which texts; whatever else differs is another tree of the same texts.
        key = (index.id, view.position, principals, view.access, str(filter), number, depth, serving.release.name)
        plain = base.trees.get(key)
        if plain is None:
            plain = _tree(view, index, serving.release.name, number, depth, ms)
            base.trees.put(key, plain)
            cached = False
        else:
            cached = True
    found = plain
    if llm is not None and plain.themes:
        from openbook.similar.written import write

        written = base.trees.get((*key, llm.hash))
        if written is None:
            since = time.perf_counter()
            written, whole = write(plain, llm, confirm)
            ms["write"] = _ms(since)
            if whole:
                base.trees.put((*key, llm.hash), written)
            cached = False
        else:
            written = replace(written, usage=Usage())
        found = written
    ms = {**({} if cached else plain.ms), **ms, "total": _ms(start)}
    return replace(found, ms=ms, cached=cached)


def _tree(view: View, index: Index, release: str, number: int | None, depth: int, ms: dict[str, float]) -> Themes:
    since = time.perf_counter()
    rows = index.middles(view)
    held = [(id, source, title, middle) for id, source, title, middle in rows if middle is not None]
    apart = len(rows) - len(held)
    ms["read"] = _ms(since)
    notes = _notes(index, view, len(held), apart, number)
    if not held:
        return Themes((), (), 0, apart, release, dict(ms), notes=notes)
    since = time.perf_counter()
    vectors = np.stack([middle for _, _, _, middle in held])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    nodes = [_divided(vectors, rows, depth) for rows in groups(vectors, number)]
    parts = areas(vectors, [node.rows for node in nodes])
    ms["cluster"] = _ms(since)
    since = time.perf_counter()
    # Words are read of as many documents as were compared: of each theme the most central.
    each = max(LOOKED_AT, MOST_COMPARED // len(nodes))
    chosen = [row for node in nodes for row in node.rows[:each]]
    texts = index.beginnings(view, [held[row][0] for row in chosen], CHARACTERS)
    place = {row: at for at, row in enumerate(chosen)}
    terms = Terms([(held[row][2], texts.get(held[row][0], "")) for row in chosen], index.language)
    _name(nodes, terms, place)
    every = set(range(len(chosen)))
    named_areas = []
    for part in parts:
        inside = [place[row] for at in part for row in nodes[at].rows if row in place]
        named = terms.of(inside, every - set(inside))
        size = sum(len(nodes[at].rows) for at in part)
        label = label_of(named) or label_of(nodes[part[0]].terms)
        named_areas.append(Area(label, named, size, _share(size, len(held)), tuple(at + 1 for at in part)))
    ms["terms"] = _ms(since)
    since = time.perf_counter()
    _quote(nodes, terms, place, [id for id, _, _, _ in held], vectors, view, index)
    _place(nodes, view)
    ms["quote"] = _ms(since)
    made = tuple(_theme(node, held, len(held)) for node in nodes)
    return Themes(made, tuple(named_areas), len(held), apart, release, dict(ms), notes=notes)


def _notes(index: Index, view: View, placed: int, apart: int, number: int | None) -> tuple[str, ...]:
    notes = []
    if apart:
        what = "1 document has" if apart == 1 else f"{apart} documents have"
        notes.append(f"{what} no vector and no theme: empty, or local-only where the model is remote")
    if number is not None and number > placed > 0:
        notes.append(f"{number} themes were asked for, and there are {placed} documents")
    if placed > MOST_COMPARED:
        notes.append(f"{MOST_COMPARED} of {placed} documents were compared with each other, the others put beside them")
    if view.filter is not None:
        notes += [unknown_field(name, near) for name, near in index.unknown_fields(view, view.filter).items()]
        return tuple(notes)
    rows = view.connection.execute(
        "SELECT u.script, count(*) FROM openbook.unfamiliar u JOIN openbook.document d ON d.id = u.document"
        " WHERE u.index = %s AND d.removed IS NULL GROUP BY u.script ORDER BY count(*) DESC, u.script",
        [index.id],
    ).fetchall()
    notes += [f"{count} documents are in a script that the model does not know ({script})" for script, count in rows]
    return tuple(notes)


def _divided(vectors: FloatArray, rows: list[int], depth: int) -> _Node:
    node = _Node(rows)
    if depth > 1 and len(rows) >= DIVIDED:
        own = vectors[rows]
        found = groups(own)
        if len(found) > PARTS:
            found = groups(own, PARTS)
        if len(found) > 1:
            node.children = [_divided(vectors, [rows[at] for at in part], depth - 1) for part in found]
    return node


def _name(nodes: Sequence[_Node], terms: Terms, place: Mapping[int, int]) -> None:
    """By what tells each from those beside it."""
    inside = [[place[row] for row in node.rows if row in place] for node in nodes]
    every = {at for those in inside for at in those}
    for node, own in zip(nodes, inside, strict=True):
        node.terms = terms.of(own, every - set(own))
        _name(node.children, terms, place)


def _quote(
    nodes: Sequence[_Node],
    terms: Terms,
    place: Mapping[int, int],
    documents: Sequence[str],
    vectors: FloatArray,
    view: View,
    index: Index,
) -> None:
    """The passage of each of the most central documents that is nearest to the centre, and the sentence of it that says
    the most of what is the theme's own."""
    every = {place[row] for node in nodes for row in node.rows if row in place}
    for node in nodes:
        centre = vectors[node.rows].mean(axis=0)
        centre /= max(float(np.linalg.norm(centre)), 1e-9)
        central = [documents[row] for row in node.rows[:LOOKED_AT]]
        chunks = index.typical(view, central, centre)
        fetched = index.fetch(view, list(chunks.values()))
        node.hits = [fetched[chunks[id]][0] for id in central if id in chunks and chunks[id] in fetched]
        own = [place[row] for row in node.rows if row in place]
        weights = terms.weights(own, every - set(own))
        said: dict[str, tuple[bool, Citation]] = {}
        for hit in node.hits:
            found = _telling(hit.chunk.text, terms, weights)
            if found is not None:
                start, end, fits = found
                cited = hit.cite(hit.chunk.start + start, hit.chunk.start + end)
                said.setdefault(cited.quote, (fits, cited))
        # Rows of tables and fragments only where too few sentences are there.
        quoted = [cited for _, cited in sorted(said.values(), key=lambda one: not one[0])][:QUOTED]
        node.citations = tuple(quoted)
        _quote(node.children, terms, place, documents, vectors, view, index)


def _telling(text: str, terms: Terms, weights: Mapping[str, float]) -> tuple[int, int, bool] | None:
    """The sentence whose words weigh the most, long ones not for their length, and whether it is one that stands alone:
    a fragment or a row of a table only where there is no other."""
    best: tuple[tuple[bool, float], tuple[int, int, bool]] | None = None
    for start, end in sentences(text):
        mark = _MARK.match(text, start, end)
        start = mark.end() if mark else start
        sentence = text[start:end]
        if not any(letter.isalpha() for letter in sentence):
            continue
        length = len(sentence.split())
        fits = WORDS[0] <= length <= WORDS[1] and not sentence.startswith(("#", "|", "```", "<"))
        weight = sum(weights.get(stem, 0.0) for stem in set(terms.stems(sentence))) / (length + 4) ** 0.5
        if best is None or (fits, weight) > best[0]:
            best = (fits, weight), (start, end, fits)
    return None if best is None else best[1]


def _place(nodes: Sequence[_Node], view: View) -> None:
    """The headings above each quote: a chunk of several small sections knows only those above all of them."""
    all_nodes: list[_Node] = []
    waiting = list(nodes)
    while waiting:
        all_nodes.append(waiting.pop())
        waiting += all_nodes[-1].children
    places = {(cited.document, cited.version) for node in all_nodes for cited in node.citations}
    rows = view.connection.execute(
        "SELECT document::text, version, headings FROM openbook.version"
        " WHERE (document, version) IN (SELECT * FROM unnest(%s::uuid[], %s::int[]))",
        [[document for document, _ in sorted(places)], [version for _, version in sorted(places)]],
    ).fetchall()
    headings = {(document, version): headings_of(those) for document, version, those in rows}
    for node in all_nodes:
        node.citations = tuple(
            replace(cited, headings=heading_path(headings.get((cited.document, cited.version), ()), cited.start))
            for cited in node.citations
        )


def _theme(node: _Node, held: Sequence[tuple[str, str, str, Any]], of: int) -> Theme:
    summary = " ".join(f"{' '.join(cited.quote.split())} [{n}]" for n, cited in enumerate(node.citations, 1))
    title = next((held[row][2] for row in node.rows if held[row][2].strip()), "")
    return Theme(
        label=label_of(node.terms) or " ".join(title.split())[:80] or "Without a name",
        terms=node.terms,
        documents=len(node.rows),
        share=_share(len(node.rows), of),
        sources=tuple(held[row][1] for row in node.rows),
        summary=summary,
        citations=node.citations,
        children=tuple(_theme(child, held, of) for child in node.children),
        hits=tuple(node.hits),
    )


def _share(part: int, of: int) -> float:
    return round(part / of, 4)


def _ms(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 3)
