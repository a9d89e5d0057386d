"""What is indexed apart from the user's database: data sets' own corpora, and copies of documents by other recipes.

Both lie in ``evaluate/`` of the user's cache, each a data folder of its own, and may be deleted whenever nobody
compares. Their names begin with what made them (``corpus-MAKER-…``, ``copy-MAKER-…``), openbook's version and its
database's schema: what another one made is not used, and copies, which hold documents, are deleted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import NotFound, StoreError, StoreUnreachable

if TYPE_CHECKING:
    from openbook.evaluate.datasets.dataset import Dataset
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import Recipe
    from openbook.types import Document

_COPIED_TOGETHER = 256


def open_corpus(dataset: Dataset, recipe: Recipe, *, say: Callable[[str], None] | None = None) -> KnowledgeBase:
    """A knowledge base of the data set's own corpus, apart from the user's; ``add(dataset.corpus)`` fills it.

    It is kept in the cache under a name made of the corpus, the recipe's index half and the model, so that it is
    indexed once. Close it.
    """
    from openbook.knowledge_base import open as open_

    assert dataset.corpus is not None
    digest = hashlib.sha256(_reader(recipe).encode())
    with dataset.corpus.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    kb = open_(_folder() / f"corpus-{_maker()}-{digest.hexdigest()[:16]}", recipe=recipe, say=say)
    kb.answer_by(recipe.query)  # whatever the one who indexed it answered by, and whether or not this recipe says it
    return kb


def open_copy(
    kb: KnowledgeBase,
    recipe: Recipe,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> KnowledgeBase:
    """The documents of ``kb``, with their sources, metadata and access, indexed by another recipe; close it.

    The copy lies in the cache, one for each knowledge base and index half, and is brought up to date at every opening:
    what changed is indexed again, what was removed is erased. Where nothing is left in ``kb``, its copies are deleted;
    so are those that another openbook made, unless it is at work. ``progress`` is told how many documents are through.

    Raises:
        NotFound: there is no document.
        ModelError, StoreError: the copy cannot be made; what was copied so far is kept for the next time.
    """
    from openbook.knowledge_base import open as open_
    from openbook.store.server import Server

    folder, maker = _folder(), _maker()
    of = _hash(f"{kb.database.epoch} {kb.kb}")
    there = {row["source"]: row["document"] for row in kb.list()}
    for kept in folder.glob("copy-*"):
        its_own = kept.name.startswith(f"copy-{maker}-{of}-")
        if not kept.name.startswith(f"copy-{maker}-") or (its_own and not there):
            try:
                Server.discard(kept)
            except StoreError as error:
                say(f"note: a copy that nobody needs is left: {error}")
    if not there:
        raise NotFound("no document to ask", where=f"knowledge base {kb.name}", do="openbook add FOLDER")
    copy = open_(folder / f"copy-{maker}-{of}-{_hash(_reader(recipe))}", recipe=recipe, say=say)
    copy.answer_by(recipe.query)
    try:
        copy.writer.remove([row["source"] for row in copy.list() if row["source"] not in there])
        _erase_former(copy)
        sources = list(there)
        for first in range(0, len(sources), _COPIED_TOGETHER):
            batch = sources[first : first + _COPIED_TOGETHER]
            theirs, ours = kb.writer.current(batch), copy.writer.current(batch)
            stale = [source for source in batch if source in theirs and not _is_same(theirs[source], ours.get(source))]
            read = [kb.documents.get(there[source], None) for source in stale]
            documents = sorted((one for one in read if one is not None), key=_rules)
            for (access, local_only), ruled_so in groupby(documents, key=_rules):
                for skipped in copy.add(*ruled_so, access=access, local_only=local_only).skipped:
                    say(f"skipped {skipped.source}: {skipped.reason}")
            progress(min(first + _COPIED_TOGETHER, len(sources)), len(sources))
        _erase_former(copy)
        _erase_vectors(copy)
    except BaseException:
        copy.close()
        raise
    return copy


def _rules(document: Document) -> tuple[tuple[str, ...], bool]:
    return document.access, document.local_only


def discard_copies(kb: KnowledgeBase) -> tuple[int, list[Path]]:
    """Delete every copy of ``kb`` in this user's cache: how many, and those that somebody is using."""
    from openbook.store.database import user_cache
    from openbook.store.server import Server

    of = _hash(f"{kb.database.epoch} {kb.kb}")
    copies = sorted((user_cache() / "evaluate").glob(f"copy-*-{of}-*"))
    used = [copy for copy in copies if not Server.discard(copy)]
    return len(copies) - len(used), used


def corpora() -> list[Path]:
    """The data sets' own corpora that are indexed in this user's cache."""
    from openbook.store.database import user_cache

    return sorted((user_cache() / "evaluate").glob("corpus-*"))


def _is_same(theirs: Any, ours: Any) -> bool:
    return ours is not None and not ours.removed and all(
        getattr(theirs, name) == getattr(ours, name) for name in ("hash", "metadata", "access", "local_only")
    )  # fmt: skip


def _erase_former(copy: KnowledgeBase) -> None:
    """Of a copy nothing is kept but what its original shows: no removed document, no former version, no trace that
    found one, and no words of them in the keyword view, which only marks as deleted what it has dropped."""
    from openbook.store.index import keyword_folder
    from openbook.store.keyword import KeywordView

    with copy.database.transaction("owner") as connection:
        erased = connection.execute("DELETE FROM openbook.document WHERE removed IS NOT NULL").rowcount
        erased += connection.execute(
            "DELETE FROM openbook.version v USING openbook.document d WHERE d.id = v.document AND v.version < d.version"
        ).rowcount
        if erased:
            connection.execute(
                "DELETE FROM openbook.trace t WHERE EXISTS (SELECT FROM jsonb_array_elements("
                "  coalesce(t.body -> 'hits', '[]') || coalesce(t.body #> '{answer,citations}', '[]')) AS span"
                " WHERE NOT EXISTS (SELECT FROM openbook.version v WHERE v.document = (span ->> 'document')::uuid"
                "  AND v.version = (span ->> 'version')::int))"
            )
            KeywordView(keyword_folder(copy.database, copy.kb, copy.index.id), "none").reset()


def _erase_vectors(copy: KnowledgeBase) -> None:
    """The cache of vectors, which is by texts and not by documents: it serves a copy that is not whole yet."""
    with copy.database.transaction("owner") as connection:
        if connection.execute("SELECT FROM openbook.vector LIMIT 1").fetchone() is not None:
            connection.execute("TRUNCATE openbook.vector, openbook.vector_use")


def _folder() -> Path:
    """The cache's folder, which nobody else may list or read: in it are documents that not everybody may see.

    Raises:
        StoreUnreachable: it cannot be made, or is somebody else's.
    """
    from openbook.store.database import user_cache
    from openbook.store.disk import prepare

    folder = user_cache() / "evaluate"
    try:
        prepare(folder)
        # Root's server runs as another user, who must be able to walk in (not to list).
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        do = "mend its rights, or name another folder with OPENBOOK_CACHE"
        raise StoreUnreachable(error.strerror or str(error), where=str(folder), do=do) from None
    return folder


def _maker() -> str:
    """What decides how a data folder is written, besides the recipe."""
    from openbook import __version__
    from openbook.store.database import MIGRATIONS

    return _hash(f"{__version__} {' '.join(MIGRATIONS)}", 8)


def _reader(recipe: Recipe) -> str:
    """What decides how documents are read."""
    from openbook.embed import open_embedder

    return f"{recipe.index.hash} {open_embedder(recipe.index.embed).hash}"


def _hash(text: str, digits: int = 16) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
