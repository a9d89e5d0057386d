"""Synonyms of one's own, in a knowledge base."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import CorpusSpelling, EvidenceFusion, Glossary, QueryHalf, Recipe, WeightedFusion
from openbook.retrieve.transform.glossary import MOST_ADDED, Synonyms
from openbook.store.keyword import Words
from openbook.types import Document

WORDS = Words("english")


def added(question: str, *rules: str, **more: float) -> dict[str, list[str]]:
    told: dict[str, list[str]] = Synonyms(Glossary(rules=rules, **more), WORDS).add(question).told.get("added", {})
    return told


@pytest.mark.parametrize(
    ("question", "rules", "means"),
    [
        ("How much PTO is there?", ("pto, paid time off, leave",), {"pto": ["paid time off", "leave"]}),
        ("Is paid time off paid?", ("pto, paid time off",), {"paid time off": ["pto"]}),
        ("laptops", ("laptop => notebook",), {"laptop": ["notebook"]}),
        ("notebook", ("laptop => notebook",), {}),
        ("sick days here", ("sick, ill", "sick days, sickness"), {"sick day": ["sickness"]}),  # the longest
        ("a b", ("a => b", "b => a", "a => a"), {"a": ["b"], "b": ["a"]}),  # a circle is its steps
        ("nothing of it", ("pto, leave",), {}),
        ("anything", (), {}),
        ("😀 東京", ("東京, tokyo",), {"東京": ["tokyo"]}),
    ],
)
def test_what_is_added(question: str, rules: tuple[str, ...], means: dict[str, list[str]]) -> None:
    assert added(question, *rules) == means


def test_a_phrase_counts_as_the_word_that_it_stands_for() -> None:
    found = Synonyms(Glossary(rules=("pto, paid time off, leave",), weight=0.6), WORDS).add("pto and leave")
    assert dict(found.terms) == pytest.approx({("body", word): 0.2 for word in ("paid", "time", "off")})


def test_a_huge_group_adds_a_few() -> None:
    group = ", ".join(f"word{n}" for n in range(1_000))
    assert len(added("word1", group)["word1"]) == MOST_ADDED


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=4), max_size=8), st.text("abcdef ", max_size=20)
)
def test_circles_and_repetitions_end(groups: list[list[str]], question: str) -> None:
    means = added(question, "one, two", *(", ".join(group) for group in groups))
    assert all(word not in those for word, those in means.items())


def test_a_hundred_thousand_entries_take_nothing_of_a_question() -> None:
    rules = tuple(f"abbr{n} => long form number{n}" for n in range(100_000))
    synonyms = Synonyms(Glossary(rules=rules), WORDS)
    begun = time.process_time()
    for n in range(100):
        assert synonyms.add(f"what is abbr{n} good for").phrases == (f"long form number{n}",)
    assert time.process_time() - begun < 1.0


@pytest.fixture
def lib(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    kb = new_kb(Recipe(query=QueryHalf(glossary=Glossary(rules=("zqx, parental leave",)))))
    kb.add(Document("leave", "Parental leave: everyone receives sixteen weeks."))
    kb.add(Document("travel", "A hotel may cost 160 euros a night."))
    kb.add(Document("hours", "We are open on Monday from nine to five."))
    return kb


def test_what_a_word_means_is_found_and_told(lib: KnowledgeBase) -> None:
    trace = lib.search("zqx", 1)
    assert trace.hits[0].source == "leave"
    assert trace.hits[0].stages["keyword"].rank == 1
    assert trace.details["glossary"] == {"added": {"zqx": ["parental leave"]}}
    assert trace.question == "zqx"


@pytest.mark.parametrize("fusion", [WeightedFusion(dense=0.0), EvidenceFusion(cosine=0.0)])
def test_every_fusion_looks_for_it(lib: KnowledgeBase, fusion: WeightedFusion | EvidenceFusion) -> None:
    lib.answer_by(QueryHalf(glossary=Glossary(rules=("zqx, parental leave",)), fusion=fusion))
    assert [hit.source for hit in lib.search("zqx", 3).hits] == ["leave"]


def test_embedded_it_counts_for_the_model_as_well(lib: KnowledgeBase) -> None:
    def cosine(**more: bool) -> float:
        lib.answer_by(QueryHalf(glossary=Glossary(rules=("zqx, parental leave",), **more)))
        return lib.search("zqx", 1).hits[0].stages["dense"].score

    assert cosine() > cosine(dense=False) + 0.2


def test_a_word_of_the_glossary_is_not_mended(lib: KnowledgeBase) -> None:
    part = QueryHalf(glossary=Glossary(rules=("hotol => parental leave",)), spelling=CorpusSpelling())
    lib.answer_by(part)
    trace = lib.search("hotol", 1)
    assert trace.details["spelling"]["changed"] == []
    assert trace.details["glossary"]["added"] == {"hotol": ["parental leave"]}
    trace = lib.search("hotols or hotle", 1)  # what is mended can be in the glossary
    assert trace.details["spelling"]["text"] == "hotols or hotel"
