"""The keyword view is a faithful copy of the change feed, and survives whatever happens to its folder."""

from __future__ import annotations

import fcntl
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tantivy
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.errors import RecipeError, StoreError
from openbook.store.filter import matches, parse
from openbook.store.keyword import (
    LANGUAGES,
    MENTION_WEIGHT,
    MENTIONED_IN,
    NOWHERE,
    Change,
    Changes,
    KeywordChunk,
    KeywordView,
    Position,
    Weighed,
)
from openbook.store.keyword import view as view_module
from openbook.types import Metadata


def chunk(
    id: int,
    text: str,
    *,
    title: str = "",
    headings: str = "",
    access: int = 0,
    names: Sequence[str] = (),
    **metadata: Any,
) -> KeywordChunk:
    return KeywordChunk(id, text, title, headings, access, metadata, names)


def everything(*chunks: KeywordChunk, position: int = 1) -> Callable[[Position], Changes]:
    """A feed that rebuilds the view from ``chunks``, each a document of its own."""
    documents = [Change(f"document-{chunk.id}", [chunk]) for chunk in chunks]
    return lambda _: Changes(Position("epoch", position), documents, rebuild=True)


def change(position: int, *changes: Change) -> Callable[[Position], Changes]:
    return lambda _: Changes(Position("epoch", position), changes)


def found(view: KeywordView, query: str, k: int = 100, **limits: Any) -> list[int]:
    return [id for id, _ in view.search(query, k, **limits)]


@pytest.fixture
def view(tmp_path: Path) -> KeywordView:
    return KeywordView(tmp_path / "view", "english")


# --- what is found ----------------------------------------------------------------------------------------------------


def test_the_better_match_comes_first(view: KeywordView) -> None:
    view.catch_up(
        everything(
            chunk(1, "Sick leave: you get ten sick days a year."),
            chunk(2, "The canteen opens at eleven, also on days on which nobody is there at all."),
            chunk(3, "Parental leave takes a year."),
        )
    )
    assert found(view, "How many sick days do I get?")[0] == 1
    scores = [score for _, score in view.search("sick leave days", 10)]
    assert scores == sorted(scores, reverse=True)
    assert found(view, "sick leave days", 1) == [1]


def test_titles_and_headings_are_found_and_count_once(view: KeywordView) -> None:
    view.catch_up(
        everything(
            chunk(1, "Ten days.", title="Handbook", headings="Leave\nSickness"),
            chunk(2, "## Sickness\n\nTen days.", title="Handbook", headings="Leave\nSickness"),
            chunk(3, "Twelve days."),
        )
    )
    assert set(found(view, "handbook leave")) == {1, 2}
    (_, first), (_, second) = view.search("sickness", 10)
    assert first == second


def test_words_are_found_by_stem_case_accent_and_compatibility_form(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "Running the ﬁnal cafés in ＺÜＲＩＣＨ, cafe\u0301s")))
    for query in ("runs", "FINALS", "cafe", "CAFÉ", "zürich", "Zurich", "cafe\u0301"):
        assert found(view, query) == [1], query


def test_identifiers_are_told_from_their_parts(view: KeywordView) -> None:
    view.catch_up(
        everything(
            chunk(1, "The count of a snapshot; 3 v, 5 v. ERR is not 42."),
            chunk(2, "Set --snapshot-count in v3.5, or see ERR_42."),
        )
    )
    for query in ("--snapshot-count", "what does `--Snapshot-Count` do?", "is it in v3.5?", "ERR_42"):
        assert found(view, query)[0] == 2, query


def test_scripts_without_spaces_are_found(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "東京都の文書を読む"), chunk(2, "สวัสดีครับ"), chunk(3, "大阪府のPDF文書")))
    assert found(view, "東京") == [1]
    assert sorted(found(view, "文書")) == [1, 3]
    assert found(view, "สวัสดี") == [2]


def test_a_question_of_nothing_but_stop_words_is_still_asked(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "The Who played."), chunk(2, "Somebody played.")))
    assert found(view, "Who?") == [1]
    assert found(view, "Who played?") == [1, 2] or found(view, "Who played?") == [2, 1]


def test_a_word_asked_twice_weighs_twice(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "alpha"), chunk(2, "beta")))
    once, twice = view.search("alpha", 1)[0][1], view.search("alpha alpha", 1)[0][1]
    assert twice == pytest.approx(2 * once)


@pytest.mark.parametrize("language", [*LANGUAGES, "none"])
def test_every_language_finds_its_words(tmp_path: Path, language: str) -> None:
    view = KeywordView(tmp_path, language)
    words = ["Übermut", "größe", "قراءة", "კიდევ", "приветствую", "καλημέρα", "வணக்கம்", "işçi"]
    view.catch_up(everything(chunk(1, " ".join(words))))
    for word in words:
        assert found(view, word) == [1], word


def test_languages_with_a_script_of_their_own_are_stemmed_beside_english(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "الإجازةُ السنوية"), chunk(2, "двадцать дней отпуска"), chunk(3, "running late")))
    for query, id in (("اجازة", 1), ("سنوي", 1), ("день отпуск", 2), ("отпусков", 2), ("runs", 3)):
        assert found(view, query) == [id], query


def test_an_unknown_language_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown keyword language 'klingon'; choose one of arabic, .*, none"):
        KeywordView(tmp_path, "klingon")


def test_the_languages_are_those_of_tantivy() -> None:
    for language in LANGUAGES:
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.stemmer(language)).build()


ODD = [
    *("", " ", "\0", "\ud800", 'AND OR NOT "', "body:x AND (", '+-!(){}[]^"~*?:\\/', "*", "🎉🎉", "'; DROP TABLE", "?"),
    *(
        "word " * 20_000,
        "x" * 100_000,
        "a\u0301\u0323" * 50_000,
        "東京" * 50_000,
        "のЖقक्षกé" * 100,
        "\u202e\ufeff\u200b",
    ),
    " ".join(f"word{number}" for number in range(20_000)),
]


@pytest.mark.parametrize("query", ODD, ids=range(len(ODD)))
def test_any_text_is_a_question(view: KeywordView, query: str) -> None:
    view.catch_up(everything(chunk(1, "word body NOT x"), chunk(2, query)))
    assert set(found(view, query)) <= {1, 2}


def test_k_is_kept(view: KeywordView) -> None:
    view.catch_up(everything(*(chunk(number, "same") for number in range(30))))
    assert found(view, "same", 0) == []
    assert found(view, "same", 5) == [0, 1, 2, 3, 4]
    assert found(view, "same", 10**12) == list(range(30))


def test_an_empty_view_finds_nothing(view: KeywordView) -> None:
    view.catch_up(everything(position=7))
    assert view.position() == ("epoch", 7)
    assert found(view, "word") == []


# --- order and scores depend on the content alone ---------------------------------------------------------------------

WORDS = ["sick", "days", "leave", "year", "canteen", "v3.5", "snapshot-count", "travel", "expense"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=25, deadline=None)
@given(st.lists(texts, min_size=2, max_size=40), texts, st.integers(1, 8), st.randoms(use_true_random=False), st.data())
def test_order_and_scores_do_not_depend_on_how_the_view_came_about(
    tmp_path_factory: pytest.TempPathFactory,
    bodies: list[str],
    query: str,
    k: int,
    shuffled: random.Random,
    data: st.DataObject,
) -> None:
    chunks = [chunk(number, text) for number, text in enumerate(bodies)]
    one = KeywordView(tmp_path_factory.mktemp("one"), "english")
    one.catch_up(everything(*chunks))
    other = KeywordView(tmp_path_factory.mktemp("other"), "english")
    shuffled.shuffle(chunks)
    cut = data.draw(st.integers(1, len(chunks) - 1))
    other.catch_up(everything(*chunks[:cut]))
    other.catch_up(change(2, *(Change(str(chunk.id), [chunk]) for chunk in chunks[cut:])))
    best = one.search(query, k)
    assert other.search(query, k) == best
    assert one.search(query, len(chunks))[:k] == best


def test_ties_across_the_last_place_go_to_the_smaller_ids(view: KeywordView) -> None:
    numbers = list(range(500))
    random.Random(1).shuffle(numbers)
    view.catch_up(everything(*(chunk(number, "the same words") for number in numbers)))
    assert found(view, "same words", 7) == list(range(7))


# --- a chunk and its document -----------------------------------------------------------------------------------------


def weighed(view: KeywordView, question: str, *ids: int) -> dict[int, Weighed]:
    return view.weigh(view.read(question), ids)


def test_a_document_is_weighed_as_a_whole(view: KeywordView) -> None:
    split = Change("a", [chunk(1, "alpha"), chunk(2, "beta"), chunk(3, "gamma")])
    view.catch_up(change(1, split, Change("b", [chunk(4, "alpha beta delta")]), Change("c", [chunk(5, "delta")])))
    found = weighed(view, "alpha beta", 1, 2, 3, 4, 5)
    assert found[1].document == found[2].document == found[3].document
    assert found[1].document == pytest.approx(found[4].document)  # as many words, as many of those asked for
    assert found[1].chunk > found[3].chunk == 0.0
    assert (found[5].chunk, found[5].document) == (0.0, 0.0)
    assert found[4].chunk > found[1].chunk


def test_neighbours_of_a_section_have_numbers_in_a_row(view: KeywordView) -> None:
    headings = ("A", "A", "B", "B")
    chunks = [replace(chunk(id, "alpha"), headings=path) for id, path in enumerate(headings, 1)]
    view.catch_up(change(1, Change("a", chunks), Change("b", [chunk(5, "alpha")])))
    places = [each.place for _, each in sorted(weighed(view, "alpha", 1, 2, 3, 4, 5).items())]
    assert [b[1] - a[1] for a, b in pairwise(places[:4])] == [1, 2, 1]
    assert len({place[0] for place in places[:4]}) == 1
    assert places[4][0] != places[0][0]


def test_of_documents_of_one_chunk_both_say_the_same(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "red green"), chunk(2, "red"), chunk(3, "blue")))
    for each in weighed(view, "red --snapshot-count", 1, 2, 3).values():
        assert each.chunk == pytest.approx(each.document)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(texts, min_size=1, max_size=4), min_size=1, max_size=12), texts)
def test_weights_are_the_scores_that_are_searched_by(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]], query: str
) -> None:
    view = KeywordView(tmp_path_factory.mktemp("view"), "english")
    changes, ids = [], 0
    for number, bodies in enumerate(documents):
        changes.append(Change(str(number), [chunk(ids + i, body) for i, body in enumerate(bodies)]))
        ids += len(bodies)
    view.catch_up(change(1, *changes))
    question = view.read(query)
    searched = dict(view.search(question, ids))
    found = view.weigh(question, range(ids))
    assert found.keys() == set(range(ids))
    for id, each in found.items():
        assert each.chunk == pytest.approx(searched.get(id, 0.0), rel=1e-5)
    assert view.weigh(question, [0]) == {0: found[0]}
    assert view.weigh(question, []) == view.weigh(question, [ids + 7]) == {}


def test_edits_and_deletions_reach_the_document_too(view: KeywordView) -> None:
    view.catch_up(change(1, Change("a", [chunk(1, "red"), chunk(2, "green")]), Change("b", [chunk(3, "blue")])))
    assert weighed(view, "green", 1)[1].document > 0
    view.catch_up(change(2, Change("a", [chunk(4, "red"), chunk(5, "yellow")])))
    (gone,) = weighed(view, "green", 4).values()
    assert (gone.chunk, gone.document) == (0.0, 0.0)
    assert weighed(view, "yellow", 4)[4].document > 0
    view.catch_up(change(3, Change("a", None)))
    assert weighed(view, "red blue", 3, 4, 5).keys() == {3}
    view.catch_up(everything(chunk(6, "red"), position=4))
    assert weighed(view, "red", 3, 4, 6).keys() == {6}


# --- what a question mentions -----------------------------------------------------------------------------------------

PAPERS = ("The Morning Star", "Gazette", "Evening Post")


@pytest.fixture
def papers(view: KeywordView) -> KeywordView:
    """Sixty articles of three papers; that each is in access set 0, 1 or 2 follows its paper."""
    view.catch_up(
        everything(
            *(
                chunk(n, f"The council met on item {n}.", names=[PAPERS[n % 3], "news"], access=n % 3)
                for n in range(60)
            ),
            chunk(60, "The star of the evening was the mayor.", title="A gala"),
        )
    )
    return view


def mentioned(view: KeywordView, question: str, **limits: Any) -> list[str]:
    return [mention.value for mention in view.read(question, **limits).mentions]


def test_a_whole_value_is_mentioned_and_no_part_of_one(papers: KeywordView) -> None:
    assert mentioned(papers, "What did THE MORNING-STAR say of the council?") == ["the morn star"]
    assert mentioned(papers, "Gazette or Evening Post: which one?") == ["gazett", "evening post"]
    assert mentioned(papers, "the morning after, a star was seen") == []
    assert mentioned(papers, "was it a gala?") == ["a gala"]
    assert mentioned(papers, "") == mentioned(papers, "the") == []


def test_a_mention_speaks_for_the_documents_that_have_it_and_is_not_looked_for_twice(papers: KeywordView) -> None:
    question = papers.read("Gazette: item 7 and item 8")
    assert [word for (_, word), _ in question.terms] == ["item", "7", "8"]
    best = papers.search(question, 60)
    assert {id % 3 for id, _ in best[:20]} == {1}
    assert best[0][0] == 7
    (mention,) = question.mentions
    assert best[0][1] == pytest.approx(papers.search("item 7 item 8", 60)[0][1] + MENTION_WEIGHT * mention.evidence)


def test_a_question_that_is_nothing_but_a_mention_looks_for_its_words(papers: KeywordView) -> None:
    assert [word for (_, word), _ in papers.read("Evening Post").terms] == ["evening", "post"]
    assert papers.search(papers.read("Evening Post?"), 1)[0][0] % 3 == 2


def test_what_many_others_say_is_no_mention(view: KeywordView) -> None:
    def fill(others: int) -> None:
        chunks = [chunk(n, "a policy" if n < others else "a note") for n in range(79)]
        view.catch_up(everything(*chunks, chunk(80, "whatever", title="Policy"), position=others + 1))

    for others in (0, 8):  # one in ten
        fill(others)
        (mention,) = view.read("which policy?").mentions
        assert mention.evidence == pytest.approx(math.log(80 / (others + 1)))
    fill(80 // MENTIONED_IN + 1)
    assert view.read("which policy?").mentions == ()
    assert view.search(view.read("which policy?"), 80) == view.search("which policy?", 80)


def test_what_every_document_has_tells_nothing(view: KeywordView) -> None:
    view.catch_up(everything(*(chunk(n, f"note {n}", names=["acme"]) for n in range(50))))
    assert mentioned(view, "acme note") == []


def test_only_what_may_be_seen_is_mentioned(papers: KeywordView) -> None:
    question = "Gazette, Evening Post"
    assert mentioned(papers, question, access=[0, 1]) == ["gazett"]
    assert mentioned(papers, question, access=[0]) == mentioned(papers, question, access=[]) == []
    assert mentioned(papers, question, filter=parse("nothing = 1")) == []


def test_how_much_a_mention_says_is_counted_in_what_may_be_seen(view: KeywordView) -> None:
    """How often a caller's closed documents have the words decided whether an open one counted as mentioned."""
    open_ = [chunk(n, f"Item {n}.", names=["policy"] if n == 0 else [], access=0) for n in range(20)]
    closed = [chunk(100 + n, "The policy of nobody.", names=["secret"], access=1) for n in range(60)]
    view.catch_up(everything(*open_))
    before = view.read("which policy?", access=[0])
    view.catch_up(everything(*open_, *closed))
    assert view.read("which policy?", access=[0]) == before
    assert [mention.value for mention in before.mentions] == ["polici"]
    assert view.read("which policy?").mentions == (), "the owner sees all of them"


def test_a_deleted_document_is_mentioned_no_more(papers: KeywordView) -> None:
    papers.catch_up(change(2, Change("document-60", None)))
    assert mentioned(papers, "a gala") == []


@pytest.mark.parametrize("query", ODD, ids=range(len(ODD)))
def test_any_text_is_read(view: KeywordView, query: str) -> None:
    view.catch_up(
        everything(chunk(1, "word", title=query[:100], names=[query]), *(chunk(n, "x") for n in range(2, 30)))
    )
    question = view.read(query)
    assert {id for id, _ in view.search(question, 50)} <= set(range(1, 30))
    assert view.weigh(question, [1]).keys() == {1}


def test_a_long_question_is_read_quickly(view: KeywordView) -> None:
    view.catch_up(everything(*(chunk(n, f"text {n}", names=[f"name {n} of many words"]) for n in range(200))))
    start = time.perf_counter()
    assert len(view.read("name 7 of many words " + "name 8 of many " * 500).mentions) == 1
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("damage", ["chunk", "document"])
def test_damage_that_is_met_while_weighing_is_told(papers: KeywordView, damage: str) -> None:
    question = papers.read("council")
    for path in papers.folder.glob(f"*/{damage}/*.*"):
        path.unlink()
    fresh = KeywordView(papers.folder, "english")
    with pytest.raises(StoreError, match="there is no keyword index"):
        fresh.weigh(question, [1])
    fresh.catch_up(everything(chunk(1, "council")))
    assert fresh.weigh(question, [1])[1].document > 0


# --- filters and access -----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(texts, st.integers(2018, 2022), st.integers(0, 3)), min_size=1, max_size=60),
    texts,
    st.sampled_from(
        [None, "year >= 2020", "year != 2020", "not exists(tag)", "tag = 'even' and year < 2022", "nothing = 1"]
    ),
    st.none() | st.lists(st.integers(0, 5), max_size=3),
    st.integers(1, 12),
)
def test_filter_and_access_choose_what_is_ranked_and_leave_the_scores(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[tuple[str, int, int]],
    query: str,
    filter: str | None,
    access: list[int] | None,
    k: int,
) -> None:
    metadata: list[Metadata] = [
        {"year": year, **({"tag": ("even", "x")} if year % 2 == 0 else {})} for _, year, _ in documents
    ]
    chunks = [
        KeywordChunk(number, text, "", "", group, metadata[number]) for number, (text, _, group) in enumerate(documents)
    ]
    view = KeywordView(tmp_path_factory.mktemp("view"), "english")
    view.catch_up(everything(*chunks))
    tree = parse(filter) if filter else None
    allowed = {
        chunk.id
        for chunk in chunks
        if (tree is None or matches(tree, chunk.metadata)) and (access is None or chunk.access in access)
    }
    wanted = [(id, score) for id, score in view.search(query, 100) if id in allowed]
    assert view.search(query, 100, filter=tree, access=access) == wanted
    assert view.search(query, k, filter=tree, access=access) == wanted[:k]


def test_no_permitted_access_finds_nothing(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "word", access=1)))
    assert found(view, "word", access=[]) == []
    assert found(view, "word", access=[2]) == []
    assert found(view, "word", access=[1, 2]) == [1]


# --- following the feed -----------------------------------------------------------------------------------------------


def test_changes_replace_and_delete_whole_documents(view: KeywordView) -> None:
    assert view.position() == NOWHERE
    view.catch_up(change(1, Change("a", [chunk(1, "red"), chunk(2, "green")]), Change("b", [chunk(3, "red")])))
    assert view.position() == Position("epoch", 1)
    assert found(view, "red green") == [2, 1, 3]
    view.catch_up(change(2, Change("a", [chunk(4, "blue")])))
    assert found(view, "red green blue") == [4, 3]
    view.catch_up(change(3, Change("b", None)))
    assert found(view, "red") == []
    view.catch_up(change(4, Change("a", [chunk(5, "one")]), Change("a", None), Change("a", [chunk(6, "two")])))
    assert found(view, "one two blue") == [6]


def test_replaying_a_change_is_harmless(view: KeywordView) -> None:
    for _ in range(3):
        view.catch_up(change(5, Change("a", [chunk(1, "red"), chunk(2, "red")]), Change("b", None)))
    assert found(view, "red") == [1, 2]


def test_the_feed_is_asked_from_where_the_view_stands(view: KeywordView) -> None:
    asked: list[Position] = []

    def feed(position: Position) -> Changes:
        asked.append(position)
        return Changes(Position("epoch", len(asked)), [])

    for _ in range(3):
        view.catch_up(feed)
    KeywordView(view.folder, "english").catch_up(feed)
    assert asked == [NOWHERE, ("epoch", 1), ("epoch", 2), ("epoch", 3)]


def test_a_position_without_changes_commits_nothing(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "word")))
    before = _tantivy_files(view)
    view.catch_up(change(9))
    assert view.position() == ("epoch", 9)
    assert _tantivy_files(view) == before


def test_a_second_reader_sees_what_the_first_one_wrote(view: KeywordView) -> None:
    other = KeywordView(view.folder, "english")
    for number in range(1, 4):
        view.catch_up(change(number, Change("a", [chunk(number, "word")])))
        assert other.position() == ("epoch", number)
        assert found(other, "word") == [number]
    view.catch_up(everything(chunk(9, "word"), position=4))
    assert found(other, "word") == [9]


def test_a_tenth_deleted_asks_for_a_rebuild_that_mends_the_scores(view: KeywordView) -> None:
    chunks = [chunk(number, f"word {'other ' * (number % 7)}") for number in range(60)]
    view.catch_up(everything(*chunks))
    for number in range(7):
        assert not view.needs_rebuild()
        view.catch_up(change(2 + number, Change(f"document-{number}", None)))
    assert view.needs_rebuild()
    drifted = view.search("word other", 60)
    view.catch_up(everything(*chunks[7:], position=20))
    assert not view.needs_rebuild()
    mended = view.search("word other", 60)
    assert {id for id, _ in mended} == {id for id, _ in drifted} == set(range(7, 60))
    assert mended != drifted


def test_a_tenth_of_the_documents_deleted_asks_for_a_rebuild_too(view: KeywordView) -> None:
    """Only chunks were counted: edits of short documents beside a long one left the documents' statistics to drift."""
    long = Change("long", [chunk(number, f"word {number}") for number in range(500)])
    short = [Change(f"short-{number}", [chunk(1000 + number, f"word {'other ' * number}")]) for number in range(19)]
    view.catch_up(lambda _: Changes(Position("epoch", 1), [long, *short], rebuild=True))
    for number in range(3):
        assert not view.needs_rebuild()
        view.catch_up(change(2 + number, short[number]))
    assert view.needs_rebuild(), "3 of 523 chunks are deleted ones, and 3 of 23 documents"
    view.catch_up(lambda _: Changes(Position("epoch", 9), [long, *short], rebuild=True))
    assert not view.needs_rebuild()


def test_reset_leaves_nothing_but_the_lock(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "word")))
    view.reset()
    assert [path.name for path in view.folder.rglob("*")] == ["lock"]
    assert view.position() == NOWHERE
    with pytest.raises(StoreError, match="there is no keyword index; ask again"):
        view.search("word", 1)
    view.catch_up(everything(chunk(2, "word")))
    assert found(view, "word") == [2]


def test_a_rebuild_leaves_one_generation(view: KeywordView) -> None:
    for number in range(3):
        view.catch_up(everything(chunk(number, f"word{number}"), position=number))
    assert len([path for path in view.folder.iterdir() if path.is_dir()]) == 1
    assert found(view, "word0 word1 word2") == [2]


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_feed_that_fails_leaves_the_view_as_it_was(view: KeywordView, rebuild: bool) -> None:
    view.catch_up(everything(chunk(1, "word")))

    def failing() -> Iterator[Change]:
        yield Change("document-1", None)
        yield Change("b", [chunk(2, "word")])
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError) as kept:  # and with it the frames of what failed
        view.catch_up(lambda _: Changes(Position("epoch", 2), failing(), rebuild))
    assert view.position() == ("epoch", 1)
    assert found(view, "word") == [1]
    view.catch_up(change(2, Change("c", [chunk(3, "word")])))
    assert found(view, "word") == [1, 3]
    assert kept.value.args == ("gone",)


def _tantivy_files(view: KeywordView) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns for path in sorted(view.folder.glob("*/*/*")) if ".lock" not in path.name
    }


def _remove_a_segment(view: KeywordView) -> None:
    for path in view.folder.glob("*/*/*.idx"):
        path.unlink()


def _cut_the_segments(view: KeywordView) -> None:
    for path in view.folder.glob("*/*/*.*"):
        os.truncate(path, path.stat().st_size // 2)


def _remove_the_index(view: KeywordView) -> None:
    for path in view.folder.glob("*/*/*"):
        path.unlink()


def _spoil(name: str, content: bytes) -> Callable[[KeywordView], None]:
    def spoil(view: KeywordView) -> None:
        for path in view.folder.glob(name):
            path.write_bytes(content)

    return spoil


@pytest.mark.parametrize(
    "damage",
    [
        _remove_a_segment,
        _cut_the_segments,
        _remove_the_index,
        _spoil("view.json", b""),
        _spoil("view.json", b"[]"),
        _spoil("view.json", b'{"format": 3}'),
        _spoil("view.json", b"\xff\xfe"),
        _spoil("*/*/meta.json", b"{}"),
        _spoil("*/*/*.term", b"\0" * 10),
    ],
)
def test_a_damaged_folder_is_rebuilt_from_nothing(view: KeywordView, damage: Callable[[KeywordView], None]) -> None:
    view.catch_up(everything(chunk(1, "word"), position=3))
    damage(view)
    fresh = KeywordView(view.folder, "english")
    assert fresh.position() == NOWHERE
    with pytest.raises(StoreError, match="there is no keyword index"):
        fresh.search("word", 1)
    fresh.catch_up(everything(chunk(2, "word"), position=4))
    assert fresh.position() == ("epoch", 4)
    assert found(fresh, "word") == [2]
    assert len([path for path in view.folder.iterdir() if path.is_dir()]) == 1


def test_an_index_that_breaks_while_it_is_open_is_rebuilt_by_the_next_write(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "word"), position=3))
    assert view.position() == ("epoch", 3)
    (generation,) = (path for path in view.folder.iterdir() if path.is_dir())
    (generation / "chunk" / "meta.json").write_bytes(b"{}")
    asked = []

    def feed(position: Position) -> Changes:
        asked.append(position)
        return Changes(Position("epoch", 4), [Change("a", [chunk(2, "word")])], rebuild=position == NOWHERE)

    view.catch_up(feed)
    assert asked == [("epoch", 3), NOWHERE]
    assert found(view, "word") == [2]


@pytest.mark.parametrize("other", ["german", "none"])
def test_another_language_rebuilds_the_view(view: KeywordView, other: str) -> None:
    view.catch_up(everything(chunk(1, "running")))
    changed = KeywordView(view.folder, other)
    assert changed.position() == NOWHERE
    changed.catch_up(everything(chunk(1, "running")))
    assert found(changed, "running") == [1]
    assert view.position() == NOWHERE


def test_another_format_rebuilds_the_view(view: KeywordView, monkeypatch: pytest.MonkeyPatch) -> None:
    view.catch_up(everything(chunk(1, "word")))
    monkeypatch.setattr(view_module, "FORMAT", view_module.FORMAT + 1)
    assert KeywordView(view.folder, "english").position() == NOWHERE


def test_waiting_for_another_writer_ends_in_one_line(view: KeywordView) -> None:
    view.catch_up(everything(chunk(1, "word")))
    with (view.folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"another process has been writing the keyword index for 0\.01 s; wait"):
            view.catch_up(everything(), timeout=0.01)
        assert found(view, "word") == [1]  # readers do not wait


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    view = KeywordView(tmp_path / "file" / "view", "english")
    assert view.position() == NOWHERE
    with pytest.raises(StoreError, match="the keyword index cannot be written"):
        view.catch_up(everything())


# --- several at once --------------------------------------------------------------------------------------------------

DOCUMENTS = 12


def _state_at(number: int) -> dict[int, int]:
    """The invented database: step n gave document n % 12 its newest text, ``step<n>``; every fifth step deletes."""
    return {step % DOCUMENTS: step for step in range(max(0, number - DOCUMENTS) + 1, number + 1)}


def _chunks_of(step: int) -> Sequence[KeywordChunk] | None:
    if step % 5 == 0:
        return None
    return [chunk(10 * step + part, f"step{step} part{part} every", year=step) for part in range(3)]


def invented_feed(target: int) -> Callable[[Position], Changes]:
    def feed(position: Position) -> Changes:
        goal = max(target, position.number)
        rebuild = position.epoch != "epoch" or goal % 7 == 0
        documents = [
            Change(f"document-{document}", _chunks_of(step))
            for document, step in _state_at(goal).items()
            if rebuild or step > position.number
        ]
        return Changes(Position("epoch", goal), documents, rebuild)

    return feed


def _expected_ids(number: int) -> set[int]:
    return {chunk.id for step in _state_at(number).values() for chunk in _chunks_of(step) or ()}


def _run(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    prelude = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_keyword import KeywordView, invented_feed, found, _expected_ids
        view = KeywordView(Path({str(folder)!r}), "english")
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_writer_killed_at_any_moment_leaves_a_view_that_goes_on(tmp_path: Path) -> None:
    chance = random.Random(7)
    reached = 0
    for _ in range(6):
        process = _run(
            """
            number = view.position().number
            while True:
                number += 1
                view.catch_up(invented_feed(number))
                print(number, flush=True)
            """,
            tmp_path,
        )
        assert process.stdout
        for _ in range(chance.randrange(1, 12)):
            reached = int(process.stdout.readline())
        # Anywhere within the next steps: the pipe does not hold the writer back.
        threading.Event().wait(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        view = KeywordView(tmp_path, "english")
        position = view.position()
        assert position.epoch == "epoch"
        assert position.number >= reached
        assert set(found(view, "every")) in (_expected_ids(position.number), _expected_ids(position.number + 1))
        view.catch_up(invented_feed(position.number + 1))
        assert set(found(view, "every")) == _expected_ids(position.number + 1)


def test_four_processes_catch_up_together(tmp_path: Path) -> None:
    processes = [
        _run(
            """
            for number in range(1, 20):
                if view.position().number < number:
                    view.catch_up(invented_feed(number))
                reached = view.position().number
                assert reached >= number
                found_ids = set(found(view, "every"))
                # Others go on writing: what is found is what some position since then held.
                assert any(found_ids == _expected_ids(later) for later in range(reached, 30)), (reached, found_ids)
            print("done")
            """,
            tmp_path,
        )
        for _ in range(4)
    ]
    assert [process.communicate()[0] for process in processes] == ["done\n"] * 4
    assert set(found(KeywordView(tmp_path, "english"), "every")) == _expected_ids(19)


def test_a_count_does_not_need_what_other_threads_forget(view: KeywordView) -> None:
    """The counts that are kept were read back after another thread had cleared them: the view was taken for damaged."""

    class Forgotten(dict[Any, int]):
        def __setitem__(self, key: Any, value: int) -> None:
            super().__setitem__(key, value)
            self.clear()  # as the thread that finds them too many

    view.catch_up(everything(chunk(1, "word", access=1), chunk(2, "word", access=2)))
    opened = view._current()
    assert opened is not None
    view._opened = replace(opened, asking=replace(opened.asking, counted=Forgotten()))
    assert view.count(access=[1]) == 1
    assert view.position() == ("epoch", 1)


def test_threads_of_one_process_share_a_view(view: KeywordView) -> None:
    view.catch_up(invented_feed(1))

    def work(worker: int) -> None:
        for number in range(2, 20):
            if worker == 0:
                view.catch_up(invented_feed(number))
            reached = view.position().number
            ids = set(found(view, "every"))
            assert any(ids == _expected_ids(later) for later in range(reached, 21))

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, worker) for worker in range(4)]:
            done.result()
