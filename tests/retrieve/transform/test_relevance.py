"""A second search with what the first found, in a knowledge base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import EvidenceFusion, QueryHalf, Recipe, ReciprocalRankFusion, RelevanceFeedback
from openbook.retrieve.query import Query
from openbook.retrieve.transform.relevance import again
from openbook.types import Document

TEXTS = {
    "a": "The kiln is fired with cedar. Cedar and glaze are in the shed.",
    "b": "Glaze is mixed with cedar ash.",
    "c": "Cedar grows behind the house, and nothing else does.",
    "d": "The canteen opens at nine.",
}


@pytest.fixture
def lib(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    kb = new_kb(Recipe(query=QueryHalf(expansion=RelevanceFeedback(chunks=2, terms=2))))
    kb.add(*(Document(name, text, name) for name, text in TEXTS.items()))
    return kb


def test_what_the_first_have_in_common_is_told(lib: KnowledgeBase) -> None:
    trace = lib.search("glaze", 4)
    told = trace.details["expansion"]
    assert told["chunks"] == 2
    assert "cedar" in told["terms"] or "glaze" in told["terms"]
    assert sum(told["terms"].values()) == pytest.approx(1.0, abs=0.001)
    assert "expand" in trace.ms


def test_what_has_no_word_of_the_question_is_found_by_theirs(lib: KnowledgeBase) -> None:
    words = EvidenceFusion(cosine=0.0)
    lib.answer_by(QueryHalf(fusion=words))
    assert {hit.source for hit in lib.search("glaze", 4).hits} == {"a", "b"}
    lib.answer_by(QueryHalf(fusion=words, expansion=RelevanceFeedback(chunks=2, terms=3)))
    assert {hit.source for hit in lib.search("glaze", 4).hits} >= {"a", "b", "c"}


def test_all_words_together_count_what_they_did(lib: KnowledgeBase) -> None:
    serving = lib.serving
    (vector,) = serving.embedder.encode(["glaze"], "query")
    with lib.database.snapshot(None) as connection:
        view = serving.index.view(connection, None, None)
        read = serving.index.read(view, "glaze in the shed")
        found = [chunk for chunk, _ in serving.index.keyword(view, read, 2)]
        query, *_ = again(RelevanceFeedback(weight=0.4), serving.index, view, Query("q", vector=vector), read, found)
        assert query.words is not None
        assert sum(weight for _, weight in query.words.terms) == pytest.approx(sum(weight for _, weight in read.terms))
        assert query.vector is not None
        assert float(np.linalg.norm(query.vector)) == pytest.approx(1.0, abs=1e-5)
        near = serving.index.vectors(view, found)
        assert all(float(query.vector @ one) > float(vector @ one) for one in near.values())
        same, *_ = again(RelevanceFeedback(weight=0.0, dense=0.0), serving.index, view, query, read, found)
        assert (same.words, same.vector) == (read, query.vector)


def test_words_that_are_closed_are_not_searched_with(lib: KnowledgeBase) -> None:
    lib.add(Document("secret", "Glaze glaze: the Zyxcorp merger."), access=["board"])
    seen = lib.search("glaze", 4, as_=["user:ann"])
    assert "zyxcorp" not in seen.details["expansion"]["terms"]
    assert lib.trace(seen.id, as_=["user:ann"])["details"].get("expansion") is None


@pytest.mark.parametrize("question", ["😀", "zzz", "12 34", "الإجازة", "glaze " * 2_000])
def test_any_question_is_answered(lib: KnowledgeBase, question: str) -> None:
    assert len(lib.search(question, 4).hits) == 4


def test_every_fusion_searches_again(lib: KnowledgeBase) -> None:
    lib.answer_by(QueryHalf(fusion=ReciprocalRankFusion(), expansion=RelevanceFeedback()))
    assert lib.search("glaze", 4).details["expansion"]["terms"]


def test_nothing_to_learn_from_is_nothing_learned(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(Recipe(query=QueryHalf(expansion=RelevanceFeedback())))
    assert kb.search("glaze", 4).hits == ()
    assert replace(kb.search("glaze"), id="", ms={}).details["expansion"] == {"chunks": 0, "terms": {}}
