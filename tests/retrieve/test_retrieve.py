"""A question's way to its hits."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbook.errors import QueryError, RecipeError
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    EvidenceFusion,
    IndexHalf,
    Keyword,
    Off,
    QueryHalf,
    Recipe,
    ReciprocalRankFusion,
    WeightedFusion,
)
from openbook.retrieve import Retriever
from openbook.store.change_feed import LITTLE
from openbook.store.database import Database
from openbook.store.index import keyword_folder
from openbook.store.keyword import Changes, KeywordView
from openbook.store.keyword import view as view_module
from openbook.types import Document

TEXTS = {
    "leave": "Paid time off: everyone receives 28 days of holiday a year.",
    "sick": "When you are ill, call your manager before nine. Ten days are paid in full.",
    "vpn": "Error HB-4012 means that the VPN certificate has expired. Run renew-cert.",
    "travel": "Trains are booked in second class. Flights need approval by a director.",
    "arabic": "يحصل كل موظف على عشرين يوما من الإجازة السنوية.",
}


@pytest.fixture
def filled(kb: KnowledgeBase) -> KnowledgeBase:
    kb.add(
        *(
            Document(source=name, text=text, title=name, metadata={"n": i})
            for i, (name, text) in enumerate(TEXTS.items())
        )
    )
    return kb


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("How much vacation do I get?", "leave"),
        ("HB-4012", "vpn"),
        ("hb-4012?", "vpn"),
        ("Can I take a plane to meet a client?", "travel"),
        ("الإجازة السنوية", "arabic"),
    ],
)
def test_the_right_document_comes_first(filled: KnowledgeBase, question: str, source: str) -> None:
    assert filled.search(question, 1).hits[0].source == source


def test_a_hit_tells_what_every_stage_said(filled: KnowledgeBase) -> None:
    hit = filled.search("expired VPN certificate", 3).hits[0]
    assert hit.stages.keys() == {"dense", "keyword", "fused"}
    assert all(stage.rank == 1 for stage in hit.stages.values())
    assert hit.score == hit.stages["fused"].score
    # 20 · cosine, and the words of the chunk and of its document, which here are nearly the same.
    words = hit.score - 20 * hit.stages["dense"].score
    assert 0.5 * hit.stages["keyword"].score < words < 0.7 * hit.stages["keyword"].score


def test_weighted_fusion_is_a_recipe_away(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(Recipe(query=QueryHalf(fusion=WeightedFusion())))
    kb.add(*(Document(source=name, text=text) for name, text in TEXTS.items()))
    hit = kb.search("expired VPN certificate", 3).hits[0]
    assert 0.7 * hit.stages["dense"].score + 0.3 == pytest.approx(hit.score, abs=1e-3)


def test_the_model_has_no_say_in_a_language_that_it_does_not_know(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    for number in range(40):  # all of it near to any Arabic question, as the model sees it
        kb.add(Document(source=f"d{number}", text=f"نص رقم {number} عن موضوع آخر لا علاقة له بالسؤال"))
    kb.add(Document(source="leave", text="يحصل كل موظف على عشرين يوما من الإجازة السنوية، ويمكن نقل خمسة أيام منها."))
    hit = kb.search("كم يوما من الإجازات السنوية؟", 1).hits[0]
    assert hit.source == "leave"
    # All that counts are the words: each side of the sum but the cosine.
    assert hit.score == pytest.approx(0.6 * hit.stages["keyword"].score, rel=0.15)


VERSIONS = ("v3.4", "v3.5", "v3.6")


@pytest.fixture
def versions(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    """The same page in three versions, its version nowhere in its text, among others."""
    kb = new_kb()
    text = "The flag --snapshot-count sets how many transactions trigger a snapshot. Its default is {}."
    kb.add(
        *(
            Document(source=f"{version}/flags", text=text.format(n), metadata={"version": version}, access=(f"g:{n}",))
            for n, version in enumerate(VERSIONS)
        ),
        *(Document(source=f"other{n}", text=f"Note {n} on backups and members.") for n in range(30)),
    )
    return kb


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_that_is_named_is_the_one_that_is_found(versions: KnowledgeBase, version: str) -> None:
    question = f"What is the default of --snapshot-count in {version}?"
    assert [hit.source for hit in versions.search(question, 3).hits] == [f"{version}/flags"]
    versions.answer_by(QueryHalf(filters=Off()))  # without: the other versions come after it
    found = versions.search(question, 3).hits
    assert [hit.source.partition("/")[2] for hit in found] == ["flags"] * 3
    assert found[0].source == f"{version}/flags"


def test_nothing_is_mentioned_that_may_not_be_seen(versions: KnowledgeBase) -> None:
    def mentioned(*groups: str) -> list[str]:
        principals = ("public", *groups)
        with versions.database.snapshot(principals) as connection:
            view = versions.index.view(connection, principals, None)
            return [mention.value for mention in versions.index.read(view, "flags of v3.4 and v3.5").mentions]

    assert mentioned("g:0", "g:1") == ["v3 4", "v3 5"]
    assert mentioned("g:1") == ["v3 5"]
    assert mentioned("g:2") == mentioned() == []


def test_a_mention_among_what_the_filter_leaves(versions: KnowledgeBase) -> None:
    found = versions.search("snapshot count in v3.5", 3, filter="version != 'v3.5' and exists(version)").hits
    assert {hit.source for hit in found} == {"v3.4/flags", "v3.6/flags"}


def test_a_document_that_is_about_it_lifts_its_passages(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(Recipe(query=QueryHalf(fusion=EvidenceFusion(cosine=0.0))))
    section = "# {}\n\n" + "Filler stands here so that sections stay apart from each other. " * 25
    about = "".join(section.format(name) + f"Kiln rule {n}: glaze. \n\n" for n, name in enumerate(("A", "B", "C", "D")))
    kb.add(Document(source="kiln", text=about + section.format("E") + "Opening hours: nine to five."))
    kb.add(Document(source="pool", text=section.format("F") + "Opening hours: nine to five."))
    hits = kb.search("kiln opening hours", 2).hits
    assert hits[0].source == "kiln"
    assert "Opening hours" in hits[0].chunk.text


def test_an_edit_changes_what_the_document_says(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    kb.add(Document(source="a", text="alpha alpha"), Document(source="b", text="beta"))
    before = kb.search("alpha", 2).hits
    kb.add(Document(source="a", text="gamma"), Document(source="b", text="alpha alpha"))
    after = kb.search("alpha", 2).hits
    assert (before[0].source, after[0].source) == ("a", "b")
    kb.remove("b")
    assert [hit.source for hit in kb.search("alpha", 2).hits] == ["a"]


def test_k_hits_come_when_k_match(filled: KnowledgeBase) -> None:
    for k in (1, 3, 5, 50):
        assert len(filled.search("days", k).hits) == min(k, 5)
    assert {hit.source for hit in filled.search("days", 5, filter="n > 2").hits} == {"travel", "arabic"}


def test_rank_fusion_is_a_recipe_away(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(Recipe(query=QueryHalf(fusion=ReciprocalRankFusion(k=10))))
    kb.add(Document(source="a", text="alpha beta"), Document(source="b", text="gamma delta"))
    best = kb.search("alpha", 1).hits[0]
    assert best.source == "a"
    assert best.score == pytest.approx(1 / 11 + 1 / 11)


@pytest.mark.parametrize("question", ["", "  \n\t ", "\u3000"])
def test_an_empty_question_is_told_so(filled: KnowledgeBase, question: str) -> None:
    with pytest.raises(QueryError, match="empty"):
        filled.search(question)


@pytest.mark.parametrize(
    "question",
    ["🦜", "?", "AND OR NOT", '"', "a" * 100_000, "day " * 50_000, "title:x^2 [1 TO 5]", "\x00\ud800", "%s {x}"],
)
def test_odd_questions_are_answered(filled: KnowledgeBase, question: str) -> None:
    assert len(filled.search(question, 5).hits) == 5


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60).filter(lambda text: text.strip()))
def test_any_question_gives_hits_that_are_spans_of_documents(filled: KnowledgeBase, question: str) -> None:
    for hit in filled.search(question, 3).hits:
        assert TEXTS[hit.source][hit.chunk.start : hit.chunk.end] == hit.chunk.text


def test_a_bad_filter_is_one_line(filled: KnowledgeBase) -> None:
    with pytest.raises(QueryError, match="column"):
        filled.search("days", filter="n >=")


TOPICS = ("ferries", "lighthouses", "customs", "pilots", "storms", "anchors", "fishing", "harbour dues")


def guide(topic: str) -> Document:
    """Long enough to be cut, with a sentence on every topic in each, so that neighbours are found together."""
    body = " ".join(
        f"Rule {n} on {topic}: whoever deals with {other} asks the office for {topic} before the {n}th of the month."
        for n, other in enumerate(TOPICS * 4, 1)
    )
    return Document(source=topic, title=topic, text=body)


@pytest.fixture(scope="module")
def guides(database: Database) -> Iterator[KnowledgeBase]:
    kb = KnowledgeBase(database, "guides")
    kb.add(*(guide(topic) for topic in TOPICS))
    yield kb
    kb.traces.close()


QUESTIONS = st.sampled_from([f"Which rules on {a} speak of {b}?" for a in TOPICS for b in TOPICS])


@settings(max_examples=25, deadline=None)
@given(QUESTIONS, st.integers(1, 12), st.integers(1, 12))
def test_fewer_hits_are_the_first_of_more(guides: KnowledgeBase, question: str, few: int, more: int) -> None:
    all = guides.search(question, few + more).hits
    assert guides.search(question, few).hits == all[:few]


@settings(max_examples=25, deadline=None)
@given(QUESTIONS)
def test_neighbours_come_as_one_hit_and_none_comes_twice(guides: KnowledgeBase, question: str) -> None:
    hits = guides.search(question, 10).hits
    covered: dict[str, set[int]] = {}
    for hit in hits:
        text = guide(hit.source).text
        assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
        span = set(range(hit.chunk.start, hit.chunk.end))
        assert not covered.setdefault(hit.source, set()) & span
        covered[hit.source] |= span
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("k", [1, 5, 10, 12])
def test_merging_leaves_as_many_hits_as_were_asked_for(guides: KnowledgeBase, k: int) -> None:
    retriever = Retriever(guides.index, guides.embedder, guides.recipe.query.model_copy(update={"candidates": 1}))
    assert len(retriever.retrieve("Which rules on storms speak of anchors?", k).hits) == k


def test_merged_hits_are_longer_than_their_chunks(guides: KnowledgeBase) -> None:
    part = guides.recipe.query
    longest = max(len(chunk.text) for topic in TOPICS for chunk in guides.chunks(topic))
    lengths = []
    for merge in (part.merge, 0):
        retriever = Retriever(guides.index, guides.embedder, part.model_copy(update={"merge": merge}))
        hits = retriever.retrieve("Which rules on storms speak of anchors?", 10).hits
        lengths.append(max(len(hit.chunk.text) for hit in hits))
    assert lengths[0] > longest >= lengths[1]


@pytest.mark.parametrize(
    ("fusion", "asked"),
    [
        (WeightedFusion(dense=1.0), "dense"),
        (WeightedFusion(dense=0.0), "keyword"),
        (EvidenceFusion(chunk=0.0, document=0.0), "dense"),
        (EvidenceFusion(cosine=0.0), "keyword"),
    ],
)
def test_a_side_that_does_not_count_is_not_asked(
    filled: KnowledgeBase, fusion: WeightedFusion | EvidenceFusion, asked: str
) -> None:
    retriever = Retriever(filled.index, filled.embedder, QueryHalf(fusion=fusion))
    found = retriever.retrieve("expired VPN certificate", 3)
    assert found.hits[0].source == "vpn"
    assert all(hit.stages.keys() == {asked, "fused"} for hit in found.hits)
    assert ("embed" in found.ms) == (asked == "dense")


def test_a_view_that_nobody_asks_need_not_catch_up(new_kb: Callable[..., KnowledgeBase]) -> None:
    """Dense search alone reads no keyword view: that it is behind asks nothing a second time."""
    kb = new_kb(Recipe(query=QueryHalf(fusion=WeightedFusion(dense=1.0))))
    kb.add(*(Document(source=name, text=text) for name, text in TEXTS.items()))
    asked, dense = [], kb.index.dense
    kb.index.dense = lambda *rest: asked.append(1) or dense(*rest)  # type: ignore[method-assign, func-returns-value]
    assert kb.search("expired VPN certificate").hits[0].source == "vpn"
    assert len(asked) == 1


def test_a_question_sees_that_an_older_backup_was_restored(new_kb: Callable[..., KnowledgeBase]) -> None:
    """Its epoch is the same and its position lies before the keyword view's, which was taken for up to date."""
    kb = new_kb(BY_WORDS)
    kb.add(Document(source="first", text="alpha"))
    with kb.database.snapshot(None) as connection:
        backup = kb.index.position(connection).number
    for n in range(3):
        kb.add(Document(source=f"later-{n}", text=f"alpha beta{n}"))
        assert kb.search(f"beta{n}").hits[0].source == f"later-{n}"
    with kb.database.transaction("owner") as connection:
        connection.execute("DELETE FROM openbook.document WHERE kb = %s AND source LIKE 'later-%%'", [kb.kb])
        connection.execute("DELETE FROM openbook.change WHERE kb = %s AND position > %s", [kb.kb, backup])
        connection.execute("UPDATE openbook.knowledge_base SET position = %s WHERE id = %s", [backup, kb.kb])
    kb.add(Document(source="other", text="alpha gamma"))
    assert [hit.source for hit in kb.search("gamma").hits] == ["other"]
    assert {hit.source for hit in kb.search("alpha").hits} == {"first", "other"}


BY_WORDS = Recipe(query=QueryHalf(fusion=WeightedFusion(dense=0.0)))


def test_no_question_waits_while_another_process_makes_the_keyword_view_anew(
    new_kb: Callable[..., KnowledgeBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view with too much deleted was not followed in memory: who was behind waited for the one who rebuilt it."""
    kb = new_kb(BY_WORDS)
    kb.add(Document(source="first", text="alpha"))
    kb.search("alpha")
    monkeypatch.setattr(view_module, "MAX_DELETED", -1.0)  # it wants to be made anew
    with (keyword_folder(kb.database, kb.kb, kb.index.id) / "lock").open("w") as rebuilding:
        fcntl.flock(rebuilding, fcntl.LOCK_EX)
        start = time.monotonic()
        for number in (1, LITTLE + 5):
            kb.add(*(Document(source=f"{number}-{n}", text=f"beta{number}") for n in range(number)))
            for asking in (kb, KnowledgeBase(kb.database, kb.name)):  # one that asks for the first time, too
                assert len(asking.search(f"beta{number}", 100, record=False).hits) == number
        assert time.monotonic() - start < 30


def test_the_keyword_view_is_made_anew_beside_the_questions(
    new_kb: Callable[..., KnowledgeBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    kb = new_kb(BY_WORDS)
    kb.add(*(Document(source=f"d{n}", text=f"alpha{n}") for n in range(6)))
    kb.search("alpha0")
    monkeypatch.setattr(view_module, "MOST_DOCUMENTS", 1)
    rebuild, begun, go_on = KeywordView._rebuild, threading.Event(), threading.Event()

    def slowly(self: KeywordView, changes: Changes) -> None:
        begun.set()
        assert go_on.wait(60)
        rebuild(self, changes)

    monkeypatch.setattr(KeywordView, "_rebuild", slowly)
    for n in range(6):  # more than memory takes: somebody commits, and then a tenth is deleted
        kb.add(Document(source=f"d{n}", text=f"beta{n}"))
        assert [hit.source for hit in kb.search(f"beta{n}").hits] == [f"d{n}"]
        if begun.wait(1):
            break
    assert begun.is_set()
    kb.add(*(Document(source=f"late{n}", text="gamma") for n in range(3)))
    assert len(kb.search("gamma").hits) == 3
    assert kb.index._feed._renewing.locked()
    go_on.set()
    with kb.index._feed._renewing:
        assert not kb.index._view.needs_rebuild()
    assert len(kb.search("gamma").hits) == 3
    assert not kb.search("alpha0").hits


def test_a_recipe_that_says_nothing_of_its_index_takes_the_one_that_is_there(
    new_kb: Callable[..., KnowledgeBase],
) -> None:
    kb = new_kb(Recipe(index=IndexHalf(keyword=Keyword(language="german"))))
    fused = new_kb(Recipe.from_toml("[query.fusion]\nkind = 'rrf'"), kb.name)
    assert fused.recipe.index == kb.recipe.index
    assert fused.recipe.query.fusion.kind == "rrf"
    with pytest.raises(RecipeError, match=r"index\.keyword\.language is 'german', not 'french'"):
        new_kb(Recipe.from_toml("[index.keyword]\nlanguage = 'french'"), kb.name)
