"""Evidence in several documents: what leads from one to the next, by whose rights, and when nothing does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    BridgeHops,
    EvidenceFusion,
    Glossary,
    Off,
    QueryHalf,
    Recipe,
    ReciprocalRankFusion,
    RelevanceFeedback,
    WeightedFusion,
)
from openbook.retrieve.hops.bridges import Bridges, likely, mixed, scored
from openbook.retrieve.hops.parts import MOST, parts
from openbook.types import Chunk, Document, Hit

HOPS = Recipe(query=QueryHalf(hops=BridgeHops()))
QUESTION = "Where was the author of Winter Harbour born?"

BOOKS = [
    Document("harbour", "Winter Harbour is a novel of 1988 by Mara Ostrov about a fishing village.", "Winter Harbour"),
    Document("ostrov", "She grew up in Tallgate and has written eleven plays and novels.", "Mara Ostrov (writer)"),
    Document("tallgate", "A market town of 9,000 people on the river Sele.", "Tallgate"),
]
"""A chain: the first names the second, which names the third."""

NOISE = [
    Document(f"n{at}", f"{name} was born in the capital and became an author of detective stories.", name)
    for at, name in enumerate(
        (
            "Alder",
            "Birk",
            "Corin",
            "Dorn",
            "Ebba",
            "Falk",
            "Gerd",
            "Hald",
            "Ivo",
            "Jorn",
            "Kell",
            "Lund",
            "Moen",
            "Nyby",
        )
    )
]


@pytest.fixture
def library(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    kb = new_kb(HOPS)
    kb.add(*BOOKS, *NOISE)
    return kb


def sources(kb: KnowledgeBase, question: str = QUESTION, k: int = 3, **more: object) -> list[str]:
    return [hit.source for hit in kb.search(question, k, **more).hits]  # type: ignore[arg-type]


def test_a_document_that_the_first_one_names_is_found(library: KnowledgeBase) -> None:
    assert "ostrov" in sources(library)
    library.answer_by(QueryHalf())
    assert "ostrov" not in sources(library)


def test_a_hit_tells_which_hop_found_it_and_the_trace_what_led_there(library: KnowledgeBase) -> None:
    trace = library.search(QUESTION, 3)
    [found] = [hit for hit in trace.hits if hit.source == "ostrov"]
    assert found.stages["hop 2"].rank == 1
    told = trace.details["hops"]
    assert told["kind"] == "bridge"
    assert (told["hops"][0]["hop"], told["hops"][0]["read"][0]) == (2, "harbour")
    assert "Mara Ostrov (writer)" in told["hops"][0]["bridges"]
    assert trace.hits[0].score == max(hit.score for hit in trace.hits)


def test_the_first_hits_stay_where_one_search_has_them(library: KnowledgeBase) -> None:
    library.answer_by(QueryHalf())
    before = sources(library, k=10)
    for keep in (0, 2, 5, 100):
        library.answer_by(QueryHalf(hops=BridgeHops(keep=keep)))
        hits = library.search(QUESTION, 10).hits
        assert [hit.source for hit in hits][:keep] == before[:keep]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_second_hop_follows_the_chain_and_stops_where_nothing_leads_on(library: KnowledgeBase) -> None:
    library.answer_by(QueryHalf(hops=BridgeHops(most=5, read=2, keep=1)))
    trace = library.search(QUESTION, 5)
    assert "tallgate" in [hit.source for hit in trace.hits]
    assert len(trace.details["hops"]["hops"]) < 5
    assert trace.details["hops"]["stopped"] in ("no name leads on", "nothing new to read")


def test_the_parts_of_a_question_are_looked_for(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(HOPS)
    kb.add(
        *(
            Document(f"a{n}", f"Solar panels of type {n} on the roof of the Utrecht depot save money.")
            for n in range(15)
        ),
        Document("b", "Employee bicycles are insured against theft by the company."),
    )
    question = "Do solar panels on the roof of the Utrecht depot save money, and who insures stolen employee bicycles?"
    trace = kb.search(question, 10)
    assert "b" in [hit.source for hit in trace.hits]
    assert len(trace.details["hops"]["parts"]) == 2
    assert any("part 2" in hit.stages for hit in trace.hits)


@pytest.mark.parametrize("fusion", [EvidenceFusion(), WeightedFusion(), ReciprocalRankFusion()], ids=lambda f: f.kind)
def test_a_question_of_one_thing_keeps_its_hits_and_scores(
    new_kb: Callable[..., KnowledgeBase], fusion: EvidenceFusion | WeightedFusion | ReciprocalRankFusion
) -> None:
    kb = new_kb(Recipe(query=QueryHalf(fusion=fusion)))
    kb.add(*NOISE)
    before = kb.search("Which author writes detective stories?", 10)
    kb.answer_by(QueryHalf(fusion=fusion, hops=BridgeHops()))
    after = kb.search("Which author writes detective stories?", 10)
    assert [(hit.source, hit.score) for hit in after.hits] == [(hit.source, hit.score) for hit in before.hits]
    assert after.details["hops"]["stopped"] == "no name leads on"


@pytest.mark.parametrize("fusion", [WeightedFusion(), ReciprocalRankFusion(), EvidenceFusion(document=0.0)])
def test_hops_go_with_every_fusion(
    library: KnowledgeBase, fusion: EvidenceFusion | WeightedFusion | ReciprocalRankFusion
) -> None:
    library.answer_by(QueryHalf(fusion=fusion, hops=BridgeHops()))
    assert "ostrov" in sources(library, k=4)


def test_what_is_closed_to_the_caller_neither_leads_on_nor_is_led_to(new_kb: Callable[..., KnowledgeBase]) -> None:
    """The hops of a caller are those of a knowledge base that never held what is closed to them."""
    closed = [
        Document("secret", "Winter Harbour was in truth written by Ivo. It is not to be told.", "The author"),
        Document("file", "Mara Ostrov was born in Tallgate; her author's file on Winter Harbour.", "Born"),
    ]
    both, without = new_kb(HOPS), new_kb(HOPS)
    for kb in (both, without):
        kb.add(*BOOKS, *NOISE)
    both.add(*closed, access=["board"])
    mine, theirs = (kb.search(QUESTION, 10, as_=["user:ann"]) for kb in (both, without))
    assert mine.details["hops"] == theirs.details["hops"]
    assert {hit.source for hit in mine.hits} == {hit.source for hit in theirs.hits}
    assert {hit.source for hit in both.search(QUESTION, 10, as_=["board"]).hits} & {"secret", "file"}


def test_a_bridge_that_is_closed_leads_nowhere(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(HOPS)
    kb.add(*BOOKS[1:], *NOISE)
    kb.add(BOOKS[0], access=["board"])
    assert "ostrov" not in sources(kb, as_=["user:ann"])
    assert "ostrov" in sources(kb, as_=["board"])


def test_of_a_trace_no_names_are_told_whoever_reads_it_later(new_kb: Callable[..., KnowledgeBase]) -> None:
    """What was read is not always a hit: of one that was closed since, its source and title were told."""
    kb = new_kb(HOPS)
    kb.add(*BOOKS, *NOISE)
    trace = kb.search(QUESTION, 1, as_=[])
    assert trace.hits[0].source != "ostrov"
    assert "Ostrov" in repr(trace.details["hops"])
    assert "Ostrov" in repr(kb.trace(trace.id)["details"]["hops"]), "the owner is told"
    kb.add(BOOKS[1], access=["board"])
    assert "strov" not in repr({**kb.trace(trace.id, as_=[]), "hits": None})


def test_a_glossary_and_feedback_count_in_the_hops_as_without(new_kb: Callable[..., KnowledgeBase]) -> None:
    """The hops read the question's own words anew, and what other stages had made of them was lost."""
    words = {
        "glossary": Glossary(rules=("kitten, feline",), dense=False),
        "expansion": RelevanceFeedback(terms=3, dense=0.0),
    }
    kb = new_kb()
    kb.add(Document("cat", "The feline rests."), *NOISE)
    scores = []
    for hops in (Off(), BridgeHops(keep=1)):
        kb.answer_by(QueryHalf(hops=hops, **words))  # type: ignore[arg-type]
        best = kb.search("kitten", 1).hits[0]
        scores.append((best.source, best.stages["keyword"].score))
    assert scores[0] == scores[1]
    assert scores[0][0] == "cat"


def test_every_hop_stays_under_the_filter(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(HOPS)
    for document in (*BOOKS, *NOISE):
        kb.add(
            Document(document.source, document.text, document.title, {"shelf": "a" if document in BOOKS[:1] else "b"})
        )
    assert set(sources(kb, k=10, filter="shelf = 'a'")) == {"harbour"}


@pytest.mark.parametrize(
    "question", ["?", "🦆", "a, b, c, d", ", and , who ;" * 50, "wer, wie, was? " * 700, "ماذا، ومن"]
)
def test_odd_questions_are_answered(library: KnowledgeBase, question: str) -> None:
    assert library.search(question, 5).details["hops"]["kind"] == "bridge"


def test_an_empty_knowledge_base_is_asked(new_kb: Callable[..., KnowledgeBase]) -> None:
    trace = new_kb(HOPS).search(QUESTION)
    assert (trace.hits, trace.details["hops"]["stopped"]) == ((), "nothing was found")


@given(st.text(max_size=400))
def test_parts_are_pieces_of_the_question(question: str) -> None:
    found = parts(question)
    assert all(part in question and part for part in found)
    assert len(found) != 1
    assert len(found) <= MOST


def test_dates_and_short_lists_are_not_cut() -> None:
    assert parts("Did the report of October 7, 2023 name red, green and blue?") == []


def test_what_stands_in_brackets_or_quotation_marks_is_not_cut() -> None:
    """The names of both parties of a contract, in brackets in its title, were looked for as if each were a question."""
    title = 'Hosting Agreement (Arbor Green Data Ltd. ("Arbor"); Pine Valley Systems, Inc.)'
    head, asked = parts(f"{title}: does a fee rise with use or time?")
    assert head == title
    assert asked == "does a fee rise with use or time"


@pytest.mark.parametrize("question", ["(" * 3000 + "”" * 3000, "([" * 2000 + "])" * 2000, '"' * 5001, ")" * 5000 + "("])
def test_brackets_that_do_not_match_are_read(question: str) -> None:
    assert parts(question) == []


def test_a_bracket_that_is_never_closed_holds_nothing_together() -> None:
    assert len(parts("the deep lake (that feeds the great Angara river, and the old town on its southern shore")) == 2


def test_a_part_of_names_alone_is_not_looked_for(new_kb: Callable[..., KnowledgeBase]) -> None:
    """What a question names has its share as it is; searched for, it raised whatever the named document has."""
    kb = new_kb(HOPS)
    for at, paper in enumerate(("Northern Evening Daily Courier", "Harbour Street Morning Gazette")):
        kb.add(Document(f"p{at}", "The ferry was late again in the storm.", f"Storm {at}", {"paper": paper}))
    kb.add(*NOISE)
    question = (
        "Which ferry was late in the winter storm of that year,"
        " as told by the Northern Evening Daily Courier and the Harbour Street Morning Gazette?"
    )
    assert len(parts(question)) > 1
    told = kb.search(question, 5).details["hops"]
    assert told["parts"] == ["Which ferry was late in the winter storm of that year"]
    assert len(told["named"]) == 2


def test_a_text_that_names_what_was_read_is_found_without_a_word_of_the_question(
    new_kb: Callable[..., KnowledgeBase],
) -> None:
    """The second page names the first, and not the other way round; among hundreds no search had it."""
    kb = new_kb(HOPS)
    kb.add(Document("ostrov", "Mara Ostrov wrote Frost Bay, a play on Saint Lucia day.", "Mara Ostrov"))
    kb.add(Document("daughter", "Kirstin is an actress, the daughter of Mara Ostrov.", "Kirstin"))
    kb.add(
        *(Document(f"x{at}", f"Who wrote a play on day {at}? A writer of plays.", f"Play {at}") for at in range(300))
    )
    found = [hit.source for hit in kb.search("Who wrote the play on Saint Lucia day?", 10).hits]
    assert "daughter" in found
    kb.answer_by(QueryHalf())
    assert "daughter" not in [hit.source for hit in kb.search("Who wrote the play on Saint Lucia day?", 10).hits]


def _hit(document: str, title: str, text: str) -> Hit:
    return Hit(document, 1, document, title, Chunk(0, len(text), text), 0.0)


def test_a_title_that_several_documents_bear_names_none_of_them() -> None:
    """Paragraphs of one article, each a document by its title, gained by every text that had the title's words."""
    hits = {1: _hit("a", "Reeds", "Reeds and rushes of the Rhine."), 2: _hit("b", "Rhine", "It rises in the Alps.")}
    even = dict.fromkeys(range(1, 4), 0.3)
    assert [link.name for link in Bridges("What grows there?").links(1, hits, even)] == ["Rhine"]
    hits[3] = _hit("c", "Rhine", "It ends in the sea.")
    assert Bridges("What grows there?").links(1, hits, even) == []


def test_a_title_with_commas_stands_where_all_its_pieces_do() -> None:
    hits = {
        1: _hit("creek", "Miller Creek", "It rises near Arden, in the north of West Orland."),
        2: _hit("arden", "Arden, West Orland", "A village of nine houses."),
        3: _hit("other", "Arden, Maine", "A town by the sea."),
    }
    links = Bridges("Where does the creek begin?").links(1, hits, dict.fromkeys(hits, 0.3))
    assert [link.chunk for link in links] == [2]


@given(st.dictionaries(st.integers(0, 50), st.floats(-50, 50), min_size=1))
def test_likelihoods_add_up_and_lead_back_to_scores(scores: dict[int, float]) -> None:
    ranking = sorted(scores.items(), key=lambda one: (-one[1], one[0]))
    assert sum(likely(ranking, 3.0).values()) == pytest.approx(1.0)
    both = mixed([likely(ranking, 3.0)] * 2, [3.0, 1.0])
    assert both == pytest.approx(likely(ranking, 3.0))
    back = dict(scored(both, ranking[0][1], 3.0))
    assert back == pytest.approx(scores, abs=1e-6)


def test_recipes_without_hops_keep_their_hash() -> None:
    assert "hops" not in QueryHalf().model_dump(mode="json")
    assert "hops" not in Recipe().to_toml()
    assert Recipe.from_toml("[query.hops]\nkind = 'bridge'").query.hops == BridgeHops()
    assert Recipe.from_toml(HOPS.to_toml()) == HOPS
