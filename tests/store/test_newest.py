"""What a process has taken into memory is found as if it were committed, and gives way to what is."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from openbook.knowledge_base import KnowledgeBase
from openbook.store.filter import matches, parse, tuples
from openbook.store.keyword import NOWHERE, Change, Changes, KeywordChunk, KeywordView, Position
from openbook.store.keyword import view as room
from openbook.types import Document

WORDS = [f"word{n}" for n in range(60)] + ["snapshot-count", "v3.5", "running", "cafés"]


def chunk(id: int, text: str, *, title: str = "", access: int = 0, **metadata: Any) -> KeywordChunk:
    return KeywordChunk(id, text, title, "", access, {"title": title, **metadata})


def changes(position: int, *documents: Change, rebuild: bool = False) -> Changes:
    return Changes(Position("epoch", position), documents, rebuild)


def invented(chance: random.Random, n: int) -> list[Change]:
    """Documents of one to four chunks, some of them longer than a field's length is kept exactly."""
    made = []
    for document in range(n):
        chunks = [
            chunk(
                10 * document + at,
                " ".join(chance.choices(WORDS, k=chance.choice((3, 12, 47, 130)))),
                title=f"word{document % 7} guide",
                access=document % 3,
                even=document % 2 == 0,
            )
            for at in range(chance.randint(1, 4))
        ]
        made.append(Change(f"document-{document}", chunks))
    return made


@pytest.fixture
def view(tmp_path: Path) -> KeywordView:
    return KeywordView(tmp_path / "view", "english")


def in_use(view: KeywordView, documents: list[Change]) -> None:
    view.catch_up(lambda _: changes(1, *documents))
    view.search("word1", 1)


def test_in_memory_a_chunk_scores_as_it_does_committed(view: KeywordView) -> None:
    chance = random.Random(0)
    documents = invented(chance, 40)
    in_use(view, documents)
    ids = [chunk.id for document in documents for chunk in document.chunks or ()]
    limits: list[dict[str, Any]] = [{}, {"access": [0, 2]}, {"filter": parse("even = true")}]
    questions = [" ".join(chance.choices(WORDS, k=n)) for n in (1, 2, 5, 9) for _ in range(5)] + ["the word3 guide"]

    def answers() -> tuple[dict[Any, float], dict[Any, Any]]:
        scores: dict[Any, float] = {}
        places = {}
        for limit in limits:
            for question in questions:
                read = view.read(question, **limit)
                scores |= {(str(limit), question, id): score for id, score in view.search(read, 500, **limit)}
                for id, weighed in view.weigh(read, ids).items():
                    scores[str(limit), question, id, "chunk"] = weighed.chunk
                    scores[str(limit), question, id, "document"] = weighed.document
                    places[id] = weighed.place
        return scores, places

    scores, places = answers()
    # The same again, a half of it: nothing changes but where it lies.
    assert view.follow(lambda _: changes(2, *documents[::2]))
    assert view.position() == Position("epoch", 2)
    assert answers() == (pytest.approx(scores, rel=1e-5), places)


def test_edits_are_seen_at_once_and_stay_when_they_are_committed(view: KeywordView, tmp_path: Path) -> None:
    in_use(view, [Change(name, [chunk(n, f"alpha {name}")]) for n, name in enumerate(("one", "two", "three"))])
    edits = [Change("one", [chunk(10, "beta one")]), Change("two", None), Change("four", [chunk(11, "alpha four")])]
    for at, edit in enumerate(edits, 2):
        assert view.follow(lambda _, at=at, edit=edit: changes(at, edit))  # type: ignore[misc]
    other = KeywordView(tmp_path / "view", "english")
    assert {id for id, _ in other.search("alpha", 10)} == {0, 1, 2}
    seen = {word: {id for id, _ in view.search(word, 10)} for word in ("alpha", "beta", "one", "two")}
    assert seen == {"alpha": {2, 11}, "beta": {10}, "one": {10}, "two": set()}
    other.catch_up(lambda seen: changes(4, *edits))
    assert {word: {id for id, _ in view.search(word, 10)} for word in seen} == seen
    assert view.position() == Position("epoch", 4)
    assert len(view._current().asking.newest) == 0  # type: ignore[union-attr]


def test_another_process_that_committed_less_takes_nothing_back(view: KeywordView, tmp_path: Path) -> None:
    in_use(view, [Change("one", [chunk(1, "alpha")])])
    first, second = Change("one", [chunk(2, "beta")]), Change("one", [chunk(3, "gamma")])
    view.follow(lambda _: changes(2, first))
    view.follow(lambda _: changes(3, second))
    KeywordView(tmp_path / "view", "english").catch_up(lambda _: changes(2, first))
    assert [id for id, _ in view.search("alpha beta gamma", 10)] == [3]
    assert view.position() == Position("epoch", 3)


@pytest.mark.parametrize("committed", [1, 3])
def test_what_a_restored_backup_took_back_is_forgotten(view: KeywordView, tmp_path: Path, committed: int) -> None:
    """On the disk and in memory, here and in another process that has asked before."""
    in_use(view, [Change("one", [chunk(1, "alpha")])])
    later = [Change("one", [chunk(2, "beta")]), Change("two", [chunk(3, "gamma")])]
    other = KeywordView(tmp_path / "view", "english")
    other.search("alpha", 1)
    for one in (view, other):
        assert one.follow(lambda _: changes(4, *later))
    if committed == 3:
        KeywordView(tmp_path / "view", "english").catch_up(lambda _: changes(3, later[0]))
    asked = []

    def restored(seen: Position) -> Changes:
        asked.append(seen)
        return changes(2, Change("one", [chunk(5, "delta")]))

    for one in (view, other):
        one.catch_up(restored)
        assert one.position() == Position("epoch", 2)
        assert [id for id, _ in one.search("alpha beta gamma delta", 10)] == [5]
    assert asked[-1] == NOWHERE


def test_rights_and_filters_hold_in_memory(view: KeywordView) -> None:
    in_use(view, [Change("one", [chunk(1, "alpha", access=1)])])
    changed = Change("one", [chunk(1, "alpha", access=2, year=2020)])  # the chunk keeps its number
    assert view.follow(lambda _: changes(2, changed))
    assert view.search("alpha", 10, access=[1]) == []
    assert [id for id, _ in view.search("alpha", 10, access=[2])] == [1]
    assert view.search("alpha", 10, access=[]) == []
    assert [id for id, _ in view.search("alpha", 10, filter=parse("year = 2020"))] == [1]
    assert view.search("alpha", 10, filter=parse("year < 2020")) == []


def test_a_title_in_memory_is_mentioned_by_those_who_may_see_it(view: KeywordView) -> None:
    in_use(view, [Change(f"{n}", [chunk(n, "some text of no title")]) for n in range(1, 40)])
    view.follow(lambda _: changes(2, Change("new", [chunk(100, "freight is paid", title="Acme Bolt", access=7)])))
    assert [mention.value for mention in view.read("acme bolt: who pays?").mentions] == ["acm bolt"]
    assert view.read("acme bolt: who pays?", access=[0]).mentions == ()


def test_what_was_hidden_since_is_mentioned_no_more(view: KeywordView) -> None:
    plain = [Change(f"{n}", [chunk(n, "some text of no title")]) for n in range(1, 40)]
    titled = [chunk(100, "freight is paid", title="Acme Bolt", access=1)]
    in_use(view, [*plain, Change("titled", titled)])
    assert view.read("acme bolt: who pays?", access=[0, 1]).mentions
    view.follow(lambda _: changes(2, Change("titled", [chunk(100, "freight is paid", title="Acme Bolt", access=2)])))
    assert not view.read("acme bolt: who pays?", access=[0, 1]).mentions
    assert view.read("acme bolt: who pays?", access=[0, 2]).mentions


def test_who_has_not_asked_yet_commits(view: KeywordView, tmp_path: Path) -> None:
    in_use(view, [Change("one", [chunk(1, "alpha")])])
    assert not KeywordView(tmp_path / "view", "english").follow(lambda _: changes(2))


def test_too_much_is_committed(view: KeywordView, monkeypatch: pytest.MonkeyPatch) -> None:
    in_use(view, [Change("one", [chunk(1, "alpha")])])
    assert not view.follow(lambda _: None)
    monkeypatch.setattr(room, "MOST_DOCUMENTS", 1)
    assert view.follow(lambda _: changes(2, Change("two", [chunk(2, "alpha")])))
    assert not view.follow(lambda _: changes(3, Change("three", [chunk(3, "alpha")])))
    view.catch_up(lambda seen: changes(3, *(Change(f"{n}", [chunk(n, "alpha")]) for n in range(2, 4))))
    assert len(view.search("alpha", 10)) == 3


FILTERS = [
    "year >= 2020",
    "year < 2020 or tag = 'red'",
    "not tag = 'red'",
    "tag in ('red', 'green') and year in (2019, 2021)",
    "draft = true",
    "title = 'Guide 3' or tag = 'blue'",
]


@pytest.mark.parametrize("access", [None, (), (0,), (1, 2)])
def test_which_words_there_are_is_told_of_what_may_be_seen_alone(view: KeywordView, access: tuple[int, ...]) -> None:
    """Committed, changed in memory, deleted, or closed meanwhile."""
    chance = random.Random(7)
    before = invented(chance, 30)
    in_use(view, before)
    changed = [
        *(Change(one.document, [chunk(one.chunks[0].id, "word1 newest", access=at % 3)]) for at, one in
          enumerate(before[:6]) if one.chunks),
        Change("document-7", None),
        Change("new", [chunk(9_000, "wordless newer v3.5", access=1)]),
    ]  # fmt: skip
    assert view.follow(lambda _: changes(2, *changed))
    now = {one.document: one.chunks or () for one in (*before, *changed)}
    seen = [one for chunks in now.values() for one in chunks if access is None or one.access in access]
    words = {one.id: set(view.words.of(f"{one.title} {one.text}")) for one in seen}
    asked = ["word1", "word59", "newest", "newer", "run", "cafe", "absent"]
    held = {("body", word): n for word in asked if (n := sum(word in those for those in words.values()))}
    assert view.chunks_with([("body", word) for word in asked], access=access) == held
    assert ("identifier", "v3.5") in view.chunks_with([("identifier", "v3.5")], access=access) or not seen
    for word in asked:
        ids = sorted(id for id, those in words.items() if word in those)
        assert view.first_with(("body", word), 5, access=access) == ids[:5]
    assert view.chunks_with_all(["word1", "run"], access=access) == sum({"word1", "run"} <= w for w in words.values())
    counts = {("body", word): n * len(word) for (_, word), n in held.items()}
    most = view.most_held(
        [("body", word) for word in asked], lambda those: {one: len(one[1]) for one in those}, access=access
    )
    assert most == max(counts, key=lambda term: (counts[term], term), default=None)
    beginning = view.beginning("wor", lambda word: not word.endswith("9"), access=access)
    assert beginning.keys() == {w for those in words.values() for w in those if w[:3] == "wor" and w[-1] != "9"}


@pytest.mark.parametrize("seed", range(2))
def test_whatever_was_edited_filters_find_what_they_would_find_in_the_truth(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Through edits in memory, commits of them, and views made anew."""
    monkeypatch.setattr(room, "MOST_DOCUMENTS", 5)
    chance = random.Random(seed)

    def metadata() -> dict[str, Any]:
        return {
            "year": chance.choice((2018, 2019, 2020, 2021, None)),
            "tag": chance.choice(("red", ("red", "blue"), ("green", "blue"), None)),
            "draft": chance.choice((True, False, None)),
        }

    truth: dict[str, dict[str, Any]] = {}
    for n in range(9):
        said = {key: value for key, value in metadata().items() if value is not None}
        kb.add(Document(source=f"d{n}", text=f"common text {n}", title=f"Guide {n}", metadata=said))
        truth[f"d{n}"] = said
    held = 0
    for _ in range(40):
        name = chance.choice([f"d{n}" for n in range(9)])
        if name not in truth:
            kb.restore(name)
            truth[name] = tuples(kb.show(name).metadata)
        elif chance.random() < 0.1:
            kb.remove(name)
            del truth[name]
        else:
            said = dict(chance.sample(sorted(metadata().items()), chance.randint(1, 3)))
            kb.edit(name, metadata=said, text=f"common text {chance.random()}" if chance.random() < 0.2 else None)
            truth[name] = {key: value for key, value in {**truth[name], **said}.items() if value is not None}
        expression = parse(chance.choice(FILTERS))
        with kb.database.snapshot(None) as connection:
            asked = kb.index.view(connection, None, expression)
            ids = [id for id, _ in kb.index.keyword(asked, "common", 100)]
            found = sorted(hit.source for hit, _ in kb.index.fetch(asked, ids).values())
        expected = {name: {"title": f"Guide {name[1:]}", **said} for name, said in truth.items()}
        assert found == sorted(name for name, said in expected.items() if matches(expression, said)), str(expression)
        assert len(ids) == len(found)
        opened = kb.index._view._current()
        held += bool(opened and len(opened.asking.newest))
    assert held > 20
