"""Queries made of the documents themselves, where nobody has asked anything yet.

With a language model: a question to a passage. Without one: what the rules of ``dataset write`` find (definitions, key
words of headings, headings that are questions, …), a page's title for its beginning, what introduces a list and the
terms in it, what a link is called by the page that points to another, and a sentence for the passage around it (the
inverse cloze task: Lee, Chang and Toutanova, Latent Retrieval for Weakly Supervised Open Domain Question Answering, ACL
2019).

A query is kept where search finds its own passage among the first hits (round-trip consistency: Dai et al.,
Promptagator: Few-shot Dense Retrieval From 8 Examples, arXiv:2209.11755).
"""

from __future__ import annotations

import posixpath
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.grammar import PLAIN
from openbook.evaluate.datasets.making import Corpus
from openbook.evaluate.datasets.writing import write
from openbook.evaluate.datasets.written import questions_in
from openbook.finetune.data.places import Asked, Place, Ranking
from openbook.finetune.data.rows import Dropped
from openbook.generate.extractive import Unit, units
from openbook.sentences import sentences
from openbook.types import Chunk, Document, heading_path

if TYPE_CHECKING:
    from openbook.evaluate.measures.judge import Budget
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import LanguageModel

Progress = Callable[[int, int], None]

SPARE = 4
"""So many times as many candidates as queries are wanted are enough to choose from."""

LEFT_OUT = 0.9
"""How often a sentence, or a title, is taken out of its passage; always, a model would never learn that the same words
count (ICT)."""

SENTENCE = (6, 40)
"""Words of a sentence that stands for a query: a shorter one says too little, a longer one is no query."""

TERM_WORDS, MEANING_WORDS = 5, 4
"""Of ``Term: meaning`` in a list, the most and the least words."""

OPENING = 400
"""Characters of a page that its title, and a link to it, are answered by."""


def of_documents(
    kb: KnowledgeBase,
    corpus: Corpus,
    n: int,
    *,
    within: int,
    rankings: dict[str, Ranking],
    depth: int,
    llm: LanguageModel | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    as_: Sequence[str] | None = None,
    progress: Progress = lambda done, of: None,
) -> tuple[list[Asked], list[Dropped]]:
    """Up to ``n`` queries about the documents of ``corpus``, and what was dropped and why.

    ``within``: the first hits among which search must find the passage of a query. What it found, ``depth`` hits deep,
    is kept in ``rankings``. The same seed makes the same of the same documents.

    Raises:
        ModelError: the language model is not there.
    """
    rng = random.Random(seed)
    if llm is None:
        candidates, dropped = _by_rules(kb, corpus, n, rng, as_)
    else:
        candidates, dropped = _by_model(kb, n, llm, budget, seed, as_)
    left = iter(candidates)
    kept: list[Asked] = []
    while len(kept) < n:
        some = list(islice(left, n - len(kept)))
        if not some:
            break
        for one in some:
            ranking = rankings[one.query] = Ranking.of(kb, one.query, depth, as_)
            rank = ranking.rank(one.right[0].document, one.right[0].spans)
            if rank is not None and rank <= within:
                kept.append(one)
            else:
                dropped.append(Dropped(one.where, f"search does not find its passage among {within} hits"))
        near = {j for _, j, _ in leakage.near([one.query for one in kept])}
        dropped += [Dropped(kept[number].where, "nearly the same as another") for number in sorted(near)]
        kept = [one for number, one in enumerate(kept) if number not in near]
        progress(len(kept), n)
    return kept, dropped


def _by_model(
    kb: KnowledgeBase,
    n: int,
    llm: LanguageModel,
    budget: Budget | None,
    seed: int,
    as_: Sequence[str] | None,
) -> tuple[list[Asked], list[Dropped]]:
    """Questions that ``dataset write`` has a model write, to train on instead."""
    made = write(kb, n, llm=llm, budget=budget, unanswerable=0.0, seed=seed, as_=as_, shares={"train": 1.0})
    found = []
    for question in made.dataset.questions.values():
        evidence = question.evidence[0]
        assert evidence.start is not None
        assert evidence.end is not None
        id, _ = kb.named(evidence.source)
        place = Place(id, ((evidence.start, evidence.end),))
        found.append(Asked(question.text, (place,), kind="llm", where=f"{evidence.source}:{evidence.start}"))
    return found, [Dropped("a passage", reason) for reason, count in made.dropped.items() for _ in range(count)]


# --- by rules ---------------------------------------------------------------------------------------------------------


def _by_rules(
    kb: KnowledgeBase, corpus: Corpus, n: int, rng: random.Random, as_: Sequence[str] | None
) -> tuple[list[Asked], list[Dropped]]:
    """Candidates: each kind and each document in turn, sentences last."""
    newest = {corpus.versions.of(row["source"]): row for row in corpus.listing}  # of versions the last by name
    rows = list(newest.values())
    rng.shuffle(rows)
    usual = Counter(row["metadata"].get("lang") for row in rows if row["metadata"].get("lang")).most_common(1)
    paths = _Paths(corpus.listing)
    found: list[Asked] = []
    plain: list[Asked] = []
    for row in rows:
        if len(found) >= SPARE * n or len(found) + len(plain) >= 3 * SPARE * n:
            break
        id = str(row["document"])
        document = kb.show(id, as_=as_)
        language = document.metadata.get("lang") or (usual[0][0] if usual else "en")
        if _tells(document.title, 2) and len(document.text) > len(document.title) + OPENING // 2:
            left_out = document.title if rng.random() < LEFT_OUT else ""
            found.append(_asked(document.title, id, 0, OPENING, "title", document, left_out))
        for written in questions_in(document, str(language)):
            kind = "heading" if written.kind == "keywords" else written.kind
            found.append(_asked(written.question, id, written.start, written.end, kind, document))
        found += _of_lists(id, document)
        found += _of_links(id, document, paths)
        plain += _of_sentences(id, document, kb.chunks(id, as_=as_), rng)
    asked, dropped = _of_one_document(found)
    sentences_, more = _of_one_document(plain)
    return [*_in_turn(asked, rng), *_in_turn(sentences_, rng)], [*dropped, *more]


def _asked(query: str, id: str, start: int, end: int, kind: str, document: Document, left_out: str = "") -> Asked:
    where = f"{document.source}:{start}"
    return Asked(" ".join(query.split()), (Place(id, ((start, end),)),), kind=kind, where=where, left_out=left_out)


def _of_one_document(found: Sequence[Asked]) -> tuple[list[Asked], list[Dropped]]:
    """Each query once; none that several documents answer: it says too little to tell them apart."""
    by_query: dict[str, list[Asked]] = {}
    for one in found:
        by_query.setdefault(leakage.normalised(one.query), []).append(one)
    kept, dropped = [], []
    for of in by_query.values():
        if len({one.right[0].document for one in of}) == 1:
            kept.append(of[0])
        else:
            dropped += [Dropped(one.where, "asked of several documents") for one in of]
    return kept, dropped


def _in_turn(found: Sequence[Asked], rng: random.Random) -> list[Asked]:
    order = [*found]
    rng.shuffle(order)
    turn: Counter[tuple[str, str]] = Counter()
    turns = []
    for one in order:
        key = one.kind, one.right[0].document
        turns.append((turn[key], one))
        turn[key] += 1
    return [one for _, one in sorted(turns, key=lambda item: item[0])]


# --- lists ------------------------------------------------------------------------------------------------------------

_TERM = re.compile(r"(\w[\w'’&/+.-]*(?: [\w'’&/+.-]+)*)(?::| [–—-]) (.+)", re.DOTALL)
_ITEM = re.compile(r"(?:\s|>)*(?:[-*+•‣◦▪]|\d{1,3}[.)])\s")


def _of_lists(id: str, document: Document) -> Iterator[Asked]:
    """What introduces a list (``To renew a card you need:``), for the whole of it; and its terms (``Term: meaning``),
    each with what the page is about."""
    lists: dict[tuple[int, int], list[Unit]] = {}
    for unit in units(0, document.text):
        line = document.text[document.text.rfind("\n", 0, unit.start) + 1 : unit.start]
        if not _ITEM.match(line):
            continue
        if unit.lead is not None:
            lists.setdefault(unit.lead, []).append(unit)
        match = _TERM.fullmatch(unit.bare)
        topic = document.title or (path[-1] if (path := heading_path(document.headings, unit.start)) else "")
        if match is None or not topic:
            continue
        term, meaning = match[1], match[2]
        if len(term.split()) <= TERM_WORDS and len(meaning.split()) >= MEANING_WORDS and _tells(f"{topic} {term}", 2):
            yield _asked(f"{topic} {term}", id, unit.start, unit.end, "list", document)
    for (start, _), items in lists.items():
        said = items[0].lead_text.rstrip(":： ")
        if len(items) > 1 and _tells(said, 3):
            yield _asked(said, id, start, items[-1].end, "list", document)


def _tells(text: str, least: int) -> bool:
    """Whether it has so many words that say something."""
    return len(set(leakage.words(text)) - PLAIN) >= least


# --- links ------------------------------------------------------------------------------------------------------------

_LINK = re.compile(r"(?<!!)\[([^\[\]\n]{6,80})\]\(([^()\s]+)(?:\s+\"[^\"\n]*\")?\)")


class _Paths:
    """The documents by where they lie, as links between them name them."""

    def __init__(self, listing: Sequence[Mapping[str, Any]]) -> None:
        self._ids: dict[str, set[str]] = {}
        self.of: dict[str, str] = {}
        for row in listing:
            path = str(row["metadata"].get("path") or row["source"])
            self.of[row["document"]] = path
            for name in _names(path):
                self._ids.setdefault(name, set()).add(row["document"])

    def target(self, id: str, link: str) -> str | None:
        """The document that a link of document ``id`` leads to, if it is one of them."""
        if re.match(r"[a-z][a-z0-9+.-]*:|//", link, re.IGNORECASE):
            return None
        path = unquote(link.partition("#")[0].partition("?")[0])
        if not path:
            return None
        at = path.lstrip("/") if path.startswith("/") else posixpath.join(posixpath.dirname(self.of[id]), path)
        for name in _names(posixpath.normpath(at)):
            found = self._ids.get(name, set())
            if len(found) == 1:
                return next(iter(found)) if found != {id} else None
        return None


def _names(path: str) -> list[str]:
    """A page's path, and as it is linked without its ending, or by its folder."""
    bare = re.sub(r"\.(?:md|markdown|html?|mdx|rst|txt)$", "", path, flags=re.IGNORECASE)
    folder = re.sub(r"/(?:index|readme)$", "", bare, flags=re.IGNORECASE)
    return [*dict.fromkeys((path, bare, folder))]


def _of_links(id: str, document: Document, paths: _Paths) -> Iterator[Asked]:
    """What a link is called, for the beginning of the page that it leads to."""
    for match in _LINK.finditer(document.text):
        target = paths.target(id, match[2])
        said = " ".join(re.sub(r"[*_`]", "", match[1]).split())
        if target is not None and _tells(said, 2) and "://" not in said:
            where = f"{document.source}:{match.start()}"
            yield Asked(said, (Place(target, ((0, OPENING),)),), kind="link", where=where)


# --- sentences --------------------------------------------------------------------------------------------------------


def _of_sentences(id: str, document: Document, chunks: Sequence[Chunk], rng: random.Random) -> Iterator[Asked]:
    """One sentence of each passage that has several, for what stands around it."""
    for chunk in chunks:
        of_chunk = units(0, chunk.text)
        fit = [
            unit for unit in of_chunk if SENTENCE[0] <= len(unit.bare.split()) <= SENTENCE[1] and _tells(unit.bare, 4)
        ]
        if len(sentences(chunk.text)) < 3 or len(of_chunk) < 2 or not fit:
            continue
        unit = rng.choice(fit)
        left_out = chunk.text[unit.start : unit.end] if rng.random() < LEFT_OUT else ""
        yield _asked(unit.bare, id, chunk.start, chunk.end, "sentence", document, left_out)
