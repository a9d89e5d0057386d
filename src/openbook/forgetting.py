"""Forgetting: documents erased wherever openbook keeps something of them, and a receipt of it.

Rows first, in one transaction (``store.erasure``); then what is derived from them on this host: the keyword views and
the copies that evaluation made; then PostgreSQL's files. An erasure that was stopped after its transaction is finished
by the next ``forget``, which needs no names for that.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

from openbook.errors import NotFound, OpenbookError, QueryError
from openbook.recipe import LanguageModel, OpenAIEmbedder, Recipe
from openbook.store.erasure import Doomed, Erasures, Left
from openbook.store.index import keyword_folder
from openbook.store.keyword import KeywordView
from openbook.types import storable

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase
    from openbook.store.index import Index

QUOTED = 8
"""So many words in a row that a forgotten document has are a quote of it."""

TELLING = 4
"""Letters from which a word that no other document has tells of the one that had it: a name, a number, a code."""

PLACES = (
    *("documents", "versions", "chunks", "vectors", "cached vectors", "attributes", "files", "roots", "traces"),
    *("feedback", "reports", "keyword views", "copies for evaluation", "model files", "stray files"),
)
"""What a receipt counts: rows, then folders and files on this host, then files that PostgreSQL had lost."""

FORGOTTEN = "(forgotten)"
"""What stands in a report in the place of a text that quotes."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A document that was erased. ``hash`` is the SHA-256 of ``salt`` and its last text, in hex: who has the text can
    tell that it was this one. ``source`` is told once, by the run that erased it, and kept nowhere."""

    document: str
    source: str | None
    versions: int
    salt: str
    hash: str | None


@dataclass(frozen=True, slots=True)
class Pending:
    """What may still hold something of the documents and has to be seen to by hand, or by another run."""

    place: str
    why: str


@dataclass(frozen=True, slots=True)
class WithdrawnModel:
    """A model that was trained on what was forgotten, by its hash. ``releases`` answer without it from now on, if it is
    a query adapter; if it is an embedder they are to be replaced, and ``pending`` says so."""

    model: str
    kind: str
    releases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased, in numbers by place, and what lies out of reach.

    ``complete``: in openbook's own reach nothing is left. ``pending`` is beyond it. ``models`` are those that were
    trained on the documents, and answer nobody any more.
    """

    receipt: str = ""
    documents: tuple[Forgotten, ...] = ()
    erased: Mapping[str, int] | None = None
    models: tuple[WithdrawnModel, ...] = ()
    pending: tuple[Pending, ...] = ()
    complete: bool = True


def forget(
    kb: KnowledgeBase,
    names: Sequence[str],
    *,
    confirm: Callable[[Sequence[Doomed]], bool] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Receipt | None:
    """Erase what the names mean, or, without names, finish what was begun; ``None``: not confirmed.

    Raises:
        NotFound, QueryError: a name means no document, or several; nothing was forgotten.
        StoreError: it could not be finished; where the rows are gone already, the next ``forget`` goes on.
    """
    erasures = Erasures(kb.database, kb.kb)
    ids = list(dict.fromkeys(_one(kb, name) for name in names))
    doomed = erasures.doomed(ids)
    if doomed and confirm is not None and not confirm(doomed):
        return None
    receipt = uuid.uuid4().hex
    if ids:
        kb.traces.close()  # what this process has asked is written first, so that it is found
        traces, reports = _quoting(erasures, doomed)
        erasures.erase(ids, receipt, traces=traces, reports=reports, keep_file=_is_there, keep_root=is_folder)
    return _finish(kb, erasures, {one.document: one for one in doomed}, say)


def _one(kb: KnowledgeBase, name: str) -> str:
    found = kb.documents.find(storable(name), None, removed=True)
    if not found:
        raise NotFound("no such document", where=name, do="openbook list shows the sources; nothing was forgotten")
    if len(found) > 1:
        do = f"name one whole, such as {found[0][1]}; nothing was forgotten"
        raise QueryError(f"means {len(found)} documents", where=name, do=do)
    return found[0][0]


# --- what quotes them -------------------------------------------------------------------------------------------------


def _quoting(erasures: Erasures, doomed: Sequence[Doomed]) -> tuple[list[str], dict[int, Any]]:
    """The traces whose question, or a better answer to it, quotes the documents; and the reports that do, without it.

    A quote is a run of their words, or one telling word, or its stem, that no other document has. So is a name of one
    by itself.
    """
    ids = [one.document for one in doomed]
    names = {name for one in doomed for name in (one.document, one.source, one.file, *one.former)}
    stems = _Stems(erasures.indexes())
    words: set[str] = set()
    runs: set[int] = set()
    for text in erasures.said(ids):
        read = _words(text)
        words.update(stems.of(word for word in read if len(word) >= TELLING))
        runs.update(_runs(read))
    reports = erasures.reports()
    asked = list(erasures.asked())
    spoken = [text for one in asked for text in one.texts] + [text for one in reports.values() for text in _texts(one)]
    telling = words & {word for text in spoken for word in stems.of(_words(text))}
    if telling:
        for text in erasures.said(ids, others=True):
            telling.difference_update(stems.of(_words(text)))
            if not telling:
                break

    def quotes(text: str) -> bool:
        if text in names:
            return True
        read = _words(text)
        return not telling.isdisjoint(stems.of(read)) or not runs.isdisjoint(_runs(read))

    traces = [one.trace for one in asked if any(map(quotes, one.texts))]
    without = {release: _without(report, quotes) for release, report in reports.items()}
    return traces, {release: report for release, report in without.items() if report != reports[release]}


class _Stems:
    """Words as the indexes know them, too: what a search tells of a text are its stems, or another word of the same."""

    def __init__(self, indexes: Iterable[Index]) -> None:
        self._indexes = {index.language: index.words for index in indexes}
        self._known: dict[str, frozenset[str]] = {}

    def of(self, words: Iterable[str]) -> set[str]:
        """The words, and their stems."""
        return set().union(*(self._forms(word) for word in set(words)))

    def _forms(self, word: str) -> frozenset[str]:
        if word not in self._known:
            stems = (stem for those in self._indexes.values() for stem in those.of(word))
            self._known[word] = frozenset((word, *stems))
        return self._known[word]


def _words(text: str) -> list[str]:
    # A source is percent-encoded, and whoever asks of it is not.
    return _WORD.findall((f"{text}\n{unquote(text)}" if "%" in text else text).casefold())


_WORD = re.compile(r"[^\W_]+")


def _runs(words: Sequence[str]) -> set[int]:
    return {hash(tuple(words[at : at + QUOTED])) for at in range(len(words) - QUOTED + 1)}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _without(value: Any, quotes: Callable[[str], bool]) -> Any:
    """A report in JSON as it stands, but for its texts that quote."""
    if isinstance(value, str):
        return FORGOTTEN if quotes(value) else value
    if isinstance(value, list):
        return [_without(one, quotes) for one in value]
    if isinstance(value, dict):
        names = ((f"{FORGOTTEN} {n}" if quotes(key) else key, one) for n, (key, one) in enumerate(value.items(), 1))
        return {key: _without(one, quotes) for key, one in names}
    return value


# --- what is left of them ---------------------------------------------------------------------------------------------


def _finish(kb: KnowledgeBase, erasures: Erasures, doomed: Mapping[str, Doomed], say: Callable[[str], None]) -> Receipt:
    """Erase what the rows have left behind, of every erasure that was begun."""
    begun = erasures.unfinished()
    kept_roots = erasures.empty_roots(is_folder)
    if not begun:
        return Receipt(erased={}, pending=tuple(_of_roots(kept_roots)))
    erased: Counter[str] = Counter()
    for one in begun:
        erased.update(one.erased)
    views, left = _views(kb, erasures)
    erased["keyword views"] = views
    copies, used = _copies(kb)
    erased["copies for evaluation"] = copies
    left += used
    hashes = {hash for one in begun for hash in one.models}
    withdrawn = [one for one in erasures.withdrawn() if one.hash in hashes]
    models = {one.hash: WithdrawnModel(one.hash, one.kind, one.releases) for one in withdrawn}
    erased["model files"], kept_models = _models(erasures)
    left += kept_models
    left += erasures.rewrite(begun[-1].transaction, say)
    erased["stray files"], strays = erasures.sweep()
    left += strays
    left += erasures.renew_log()
    complete = not any(one.again for one in left)
    if complete:
        erasures.finish([one.id for one in begun])
    documents = [
        Forgotten(
            told["document"],
            doomed[told["document"]].source if told["document"] in doomed else None,
            told["versions"],
            told["salt"],
            told["hash"],
        )
        for one in begun
        for told in one.documents
    ]
    return Receipt(
        receipt=begun[-1].receipt,
        documents=tuple(documents),
        erased={place: erased[place] for place in PLACES if erased[place]},
        models=tuple(models.values()),
        pending=(
            *(Pending(one.place, one.why) for one in left),
            *_of_sources(documents, doomed),
            *_of_roots(kept_roots),
            *_out_of_reach(kb, erasures, answered=sum(one.answered for one in begun)),
        ),
        complete=complete,
    )


def _views(kb: KnowledgeBase, erasures: Erasures) -> tuple[int, list[Left]]:
    """The keyword views on this host, made anew."""
    kept = {keyword_folder(kb.database, kb.kb, index.id): index for index in erasures.indexes()}
    renewed, left = 0, []
    views = keyword_folder(kb.database, kb.kb, 0).parent
    try:
        folders = sorted(views.glob(f"{kb.kb}-*"))
    except OSError as error:
        why = f"cannot be listed ({error.strerror}): mend that, and run openbook forget again"
        return 0, [Left(f"keyword views {views}", why, again=True)]
    for folder in folders:
        try:
            if folder in kept:
                kept[folder].renew_view()
            else:  # of an index that was dropped
                KeywordView(folder, "none").reset()
                shutil.rmtree(folder, ignore_errors=True)
            renewed += 1
        except OpenbookError as error:
            left.append(Left(f"keyword view {folder}", f"{error.what}: run openbook forget again", again=True))
    return renewed, left


def _copies(kb: KnowledgeBase) -> tuple[int, list[Left]]:
    from openbook.evaluate.caches import discard_copies

    gone, used = discard_copies(kb)
    why = "an evaluation is using it: run openbook forget again when it is done"
    return gone, [Left(f"copy {folder}", why, again=True) for folder in used]


def _models(erasures: Erasures) -> tuple[int, list[Left]]:
    """The files of withdrawn models, deleted where they lie on this host and no index needs them."""
    from openbook.tuned import NAMES, erase_files, host, lies_in

    gone, left = 0, []
    for model in erasures.withdrawn():
        name = f"{NAMES[model.kind]} {model.hash}"
        if model.is_needed:
            why = (
                f"the index of {', '.join(model.releases)} has its vectors, and who asks there is answered by it: build"
                " and promote a release by another model, prune that one, and run openbook forget again"
            )
            left.append(Left(name, why, again=True))
            continue
        for at, path in model.places:
            lies = lies_in(model.kind, model.weights, Path(path))
            if lies:
                try:
                    gone += erase_files(model.kind, Path(path))
                except OSError as error:
                    why = f"cannot be deleted ({error.strerror}): mend that, and run openbook forget again"
                    left.append(Left(f"{name} in {path}", why, again=True))
                    continue
            elif at != host():
                left.append(Left(f"{name} in {path} on {at}", "its files are on another machine: delete them there"))
                continue
            elif lies is None:
                why = (
                    "weights lie there, and whether they are its own cannot be read: delete the folder if they are, or"
                    " put its files right, and run openbook forget again"
                )
                left.append(Left(f"{name} in {path}", why, again=True))
                continue
            erasures.lost(model, at, path)  # or something else lies there by now
    return gone, left


# --- what lies out of reach -------------------------------------------------------------------------------------------


def _of_sources(documents: Sequence[Forgotten], doomed: Mapping[str, Doomed]) -> Iterable[Pending]:
    files = {name for one in doomed.values() for name in (one.file or one.source, *one.former)}
    for uri in sorted(uri for uri in files if uri.startswith("file://")):
        if _is_there(uri):
            yield Pending(
                os.fsdecode(_path(uri)), "the file is there: delete it; openbook refuses its text as it is now"
            )
    if any(one.source is None for one in documents):
        yield Pending("files", "those that the documents came from, whose names are erased: delete them")


def _of_roots(roots: Sequence[str]) -> Iterable[Pending]:
    for uri in roots:
        why = (
            "nothing is in it; its name is kept with its access rule: delete the folder, then run openbook forget again"
        )
        yield Pending(os.fsdecode(_path(uri)), why)


def _out_of_reach(kb: KnowledgeBase, erasures: Erasures, *, answered: int) -> Iterable[Pending]:
    from openbook.evaluate.caches import corpora

    yield Pending(
        "other running processes",
        "words of the newest changes and keyword files that are deleted stay in their memory until they next answer a"
        " question: ask them one, or end them",
    )
    if kb.database.server is None:
        yield Pending(
            "other hosts", "keyword views and copies in the caches of others who use this server: delete them"
        )
        yield Pending("the server's log", "it may hold statements and values, as its owner has set it")
    for place in sorted(_sent_to(erasures)):
        yield Pending(place, "text was sent there: ask the provider to delete it")
    if answered:
        yield Pending("language models", f"{answered} answers were written by one that was sent passages")
    if kept := corpora():
        yield Pending(str(kept[0].parent), "corpora of data sets, indexed to evaluate: delete those that have it")
    yield Pending("copies", "back-ups, exports, data sets, reports and pages that were kept in files: search them")


def _sent_to(erasures: Erasures) -> set[str]:
    """Who was sent text of the documents, by the recipes of the releases."""
    from openbook.evaluate.report import without_login

    found = set()
    for name, toml in erasures.recipes().items():
        recipe = Recipe.from_toml(toml, where=f"release {name}", stored=True)
        for part in (recipe.index.embed, recipe.query.generate):
            if isinstance(part, OpenAIEmbedder | LanguageModel):
                at = f" at {without_login(part.base_url)}" if part.base_url else ""
                found.add(f"{part.kind}:{part.model}{at}")
    return found


def _path(uri: str) -> bytes:
    return unquote_to_bytes(uri.removeprefix("file://"))


def _is_there(uri: str) -> bool:
    return os.path.lexists(_path(uri))


def is_folder(uri: str) -> bool:
    """Whether a root is a folder that is there: added again, it must not forget who may read it."""
    return os.path.isdir(_path(uri))
