"""Copies of documents and corpora in the cache: they follow what they were made of, and keep nothing longer."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import openbook
from openbook.errors import NotFound
from openbook.evaluate import caches, open_corpus
from openbook.evaluate.caches import open_copy
from openbook.evaluate.datasets.dataset import Question, dataset
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import IndexHalf, QueryHalf, Recipe, RecursiveChunker
from openbook.store import database as database_module
from openbook.store.server import Server
from openbook.types import Document

SMALL = Recipe(index=IndexHalf(chunk=RecursiveChunker(size=60, overlap=10)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of copies and corpora."""
    monkeypatch.setenv("OPENBOOK_CACHE", str(tmp_path))
    return tmp_path / "evaluate"


def test_a_copy_follows_the_documents_and_keeps_who_may_see_them(kb: KnowledgeBase, cache: Path) -> None:
    kb.add(
        Document("memo:1", "The canteen opens at eight.", title="Canteen", metadata={"year": 2025, "tag": ("a", "b")})
    )
    kb.add(Document("memo:2", "The vault opens with two keys.", access=("group:hr",)))
    kb.add(Document("memo:3", "The old printer is gone."))
    with open_copy(kb, SMALL) as copy:
        assert {row["source"] for row in copy.list()} == {"memo:1", "memo:2", "memo:3"}
        assert copy.show("memo:1") == kb.show("memo:1")
        assert {hit.source for hit in copy.search("vault keys", as_=["group:it"]).hits} == {"memo:1", "memo:3"}
        assert copy.search("vault keys", as_=["group:hr"]).hits[0].source == "memo:2"

    kb.add(Document("memo:1", "The canteen opens at nine.", title="Canteen"))
    kb.add(Document("memo:2", "The vault opens with two keys.", access=("group:board",)))
    kb.remove("memo:3")
    told: list[tuple[int, int]] = []
    with open_copy(kb, SMALL, progress=lambda *at: told.append(at)) as copy:
        assert {row["source"]: tuple(row["access"]) for row in copy.list()} == {
            "memo:1": ("public",), "memo:2": ("group:board",),
        }  # fmt: skip
        assert copy.show("memo:1").text == "The canteen opens at nine."
        assert not [hit for hit in copy.search("vault", as_=["group:hr"]).hits if hit.source == "memo:2"]
        changed = {row["source"]: row["changed"] for row in copy.list()}
    assert told == [(2, 2)]
    with open_copy(kb, SMALL) as copy:
        assert {row["source"]: row["changed"] for row in copy.list()} == changed, "nothing was written again"
    assert len(list(cache.iterdir())) == 1


def test_it_answers_as_this_recipe_does_and_not_as_the_one_that_made_it(kb: KnowledgeBase, tmp_path: Path) -> None:
    kb.add(Document("memo:1", "The canteen opens at eight."))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "The canteen opens at eight."}\n')
    of_one = dataset("one", [Question("q", "When?", judgements={"1": 1})], corpus=tmp_path / "corpus.jsonl")
    other = SMALL.model_copy(update={"query": QueryHalf(context=3)})
    for ask in (lambda recipe: open_copy(kb, recipe), lambda recipe: open_corpus(of_one, recipe)):
        for recipe in (other, SMALL):
            with ask(recipe) as opened:
                assert opened.recipe.query == recipe.query


def test_nothing_is_not_copied(kb: KnowledgeBase) -> None:
    with pytest.raises(NotFound, match="no document to ask"):
        open_copy(kb, SMALL)


def texts(copy: KnowledgeBase) -> list[str]:
    """Every text that a database holds, whatever is hidden."""
    with copy.database.transaction("owner") as connection:
        return [row[0] for row in connection.execute("SELECT text FROM openbook.version ORDER BY text").fetchall()]


def asked(copy: KnowledgeBase) -> list[str]:
    """The questions of its traces."""
    copy.traces.close()
    with copy.database.transaction("owner") as connection:
        return [
            row[0] for row in connection.execute("SELECT question FROM openbook.trace ORDER BY question").fetchall()
        ]


def vectors(copy: KnowledgeBase) -> int:
    """How many are in its cache."""
    with copy.database.transaction("owner") as connection:
        return len(connection.execute("SELECT FROM openbook.vector").fetchall())


def segments(copy: KnowledgeBase) -> set[str]:
    """The files of its keyword view that hold words."""
    return {path.name for path in Path(copy.database.cache, "keyword").rglob("*.term")}


def test_a_copy_keeps_nothing_that_its_original_does_not_show(kb: KnowledgeBase) -> None:
    """What was removed, and former versions, stayed in the cache, out of sight and out of reach of ``forget``."""
    kb.add(Document("memo:1", "The vault's code is xylophone."), Document("memo:2", "The canteen opens at eight."))
    kb.add(Document("memo:3", "The workshop lends drills."))
    with open_copy(kb, SMALL) as copy:
        assert len(texts(copy)) == 3
        chunks = copy.index.count(None)
        found = {copy.search(words, 1).hits[0].source for words in ("the vault's code", "canteen", "lend drills")}
        assert found == {"memo:1", "memo:2", "memo:3"}
        assert asked(copy) == ["canteen", "lend drills", "the vault's code"]
        assert vectors(copy) == 0
        held = segments(copy)
    kb.remove("memo:1")
    kb.add(Document("memo:2", "The canteen opens at nine."))
    assert held
    with open_copy(kb, SMALL) as copy:
        assert not held & segments(copy), "a deleted document's words stay in its segment"
        assert texts(copy) == ["The canteen opens at nine.", "The workshop lends drills."]
        assert copy.index.count(None) < chunks
        assert asked(copy) == ["lend drills"], "the others have found what is gone"
        assert not [hit for hit in copy.search("the vault's code").hits if "xylophone" in hit.chunk.text]
        assert copy.search("lend drills", 1).hits[0].stages.keys() >= {"dense", "keyword"}
        assert vectors(copy) == 0


def test_of_an_emptied_knowledge_base_no_copy_is_left(
    new_kb: Callable[..., KnowledgeBase], kb: KnowledgeBase, cache: Path
) -> None:
    """The copy was left as it was, with all its documents: there was nothing to ask, and so nothing was removed."""
    other = new_kb()
    for one in (kb, other):
        one.add(Document("memo:1", "The vault's code is 4711."))
        open_copy(one, SMALL).close()
    kept = set(cache.iterdir())
    kb.remove("memo:1")
    with pytest.raises(NotFound, match="no document to ask"):
        open_copy(kb, SMALL)
    assert len(kept) == 2
    assert len(kept & set(cache.iterdir())) == 1, "another one's copy is its own"


def test_what_another_openbook_indexed_is_not_used_and_copies_of_it_are_deleted(
    kb: KnowledgeBase, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data folder was used as it was found, whatever had written it, and copies that nobody used stayed for ever."""
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "The canteen opens at eight."}\n')
    of_one = dataset("one", [Question("q", "When?", {"d": 1})], corpus=tmp_path / "corpus.jsonl")
    kb.add(Document("memo:1", "The canteen opens at eight."))
    (cache / "copy-0123456789abcdef" / "postgres").mkdir(parents=True)  # named before names told the maker
    open_copy(kb, SMALL).close()
    with open_corpus(of_one, SMALL) as corpus:
        corpus.add(tmp_path / "corpus.jsonl")
    before = {path.name for path in cache.iterdir()}
    assert sorted(name.partition("-")[0] for name in before) == ["copy", "corpus"]
    with open_corpus(of_one, SMALL) as corpus:
        assert corpus.status()["documents"] == 1, "it is kept"
    monkeypatch.setattr(openbook, "__version__", "9.9")
    with open_copy(kb, SMALL) as copy, open_corpus(of_one, SMALL) as corpus:
        assert (copy.status()["documents"], corpus.status()["documents"]) == (1, 0)
    after = {path.name for path in cache.iterdir()}
    assert [name.partition("-")[0] for name in before - after] == ["copy"]
    assert len(after) == 3


def test_another_schema_is_another_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = caches._maker()
    monkeypatch.setattr(database_module, "MIGRATIONS", (*database_module.MIGRATIONS, "9999_another"))
    assert caches._maker() != maker


def test_a_copy_that_cannot_be_deleted_is_told_and_hinders_nothing(kb: KnowledgeBase, cache: Path) -> None:
    """A leftover that nobody needs failed every comparison."""
    kb.add(Document("memo:1", "The canteen opens at eight."))
    (cache / "copy-00000000-a-b" / "lock").mkdir(parents=True)
    told: list[str] = []
    with open_copy(kb, SMALL, say=told.append) as copy:
        assert copy.status()["documents"] == 1
    assert [line for line in told if line.startswith("note: a copy that nobody needs is left: ")], told


def test_a_copy_that_another_openbook_is_using_is_left_alone(kb: KnowledgeBase, cache: Path) -> None:
    kb.add(Document("memo:1", "The canteen opens at eight."))
    theirs = cache / "copy-00000000-a-b"
    cache.mkdir()
    with Server.open(theirs):
        open_copy(kb, SMALL).close()
        assert theirs.is_dir()
        assert not Server.discard(theirs)
    assert Server.discard(theirs)
    assert not theirs.exists()


def test_nobody_else_may_list_or_read_the_cache(kb: KnowledgeBase, cache: Path) -> None:
    cache.mkdir(mode=0o755)
    kb.add(Document("memo:1", "The canteen opens at eight."))
    open_copy(kb, SMALL).close()
    assert not stat.S_IMODE(cache.stat().st_mode) & 0o066, "root's server must be able to walk in, and no more"
