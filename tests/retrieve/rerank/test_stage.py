"""Reranking as a stage of a question: what moves, what is told, what happens when it fails."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.retrieve.rerank.loopback import RerankingServer

from openbook.errors import ModelError, RecipeError
from openbook.evaluate import Dataset, Question, evaluate
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    CrossEncoder,
    IndexHalf,
    LateInteraction,
    Off,
    OpenAIEmbedder,
    QueryHalf,
    Recipe,
    RerankAPI,
)
from openbook.retrieve import Retrieved, Retriever
from openbook.retrieve.rerank.stage import FIRST, LEAST, log_odds
from openbook.store.database import Database
from openbook.types import Document

QUESTION = "Which form is for unpaid leave abroad?"
BEST = Document("best.md", "Which form is for unpaid leave abroad? Form 12.", title="Forms")
OTHERS = [Document(f"note{n}.md", f"Note {n}: paid leave, and how leave is asked for.", title="") for n in range(20)]


@pytest.fixture(scope="module")
def filled(database: Database) -> Iterator[KnowledgeBase]:
    kb = KnowledgeBase(database, uuid.uuid4().hex)
    kb.add(BEST, *OTHERS)
    yield kb
    kb.traces.close()


def asked(kb: KnowledgeBase, rerank: Any, k: int = 10, question: str = QUESTION, **more: Any) -> Retrieved:
    part = QueryHalf(rerank=rerank, merge=0, **more)
    return Retriever(kb.index, kb.embedder, part).retrieve(question, k)


def server_part(server: RerankingServer, **more: Any) -> RerankAPI:
    return RerankAPI(**{"model": "any", "base_url": server.url, **more})


@pytest.mark.parametrize("kind", ["late", "bert", "api"])
def test_every_hit_that_was_read_again_says_so(
    filled: KnowledgeBase, kind: str, reranking: RerankingServer, tiny_pairs: Callable[[str], Path]
) -> None:
    part = {
        "late": lambda: LateInteraction(candidates=7),
        "bert": lambda: CrossEncoder(model=str(tiny_pairs("bert")), candidates=7),
        "api": lambda: server_part(reranking, candidates=7),
    }[kind]()
    found = asked(filled, part, 12)
    before = asked(filled, Off(), 12)
    head, tail = found.hits[:7], found.hits[7:]
    assert {hit.source for hit in head} == {hit.source for hit in before.hits[:7]}
    assert [hit.source for hit in tail] == [hit.source for hit in before.hits[7:]]
    assert sorted(hit.stages["rerank"].rank for hit in head) == [*range(1, 8)]
    assert all("rerank" not in hit.stages for hit in tail)
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)
    assert found.details == {"rerank": {"candidates": 7}}
    assert found.ms["rerank"] > 0
    assert not before.details
    assert "rerank" not in before.ms


def test_the_order_is_the_rerankers(filled: KnowledgeBase, reranking: RerankingServer) -> None:
    sources = [hit.source for hit in asked(filled, Off(), 9).hits]
    assert sources[0] == "best.md"
    reranking.plan[:] = [(200, {}, {"results": [{"index": n, "relevance_score": n / 10} for n in range(9)]})]
    found = asked(filled, server_part(reranking, candidates=9), 9)
    assert [hit.source for hit in found.hits] == sources[::-1]
    assert [hit.score for hit in found.hits] == pytest.approx([n / 10 for n in reversed(range(9))])


def test_late_interaction_is_added_to_the_fused_score(filled: KnowledgeBase) -> None:
    hits = asked(filled, LateInteraction(weight=3.0), 5).hits
    assert hits[0].source == "best.md"
    for hit in hits:
        assert hit.score == pytest.approx(hit.stages["fused"].score + 3.0 * hit.stages["rerank"].score)
    still = asked(filled, LateInteraction(weight=0.0), 5).hits
    assert [hit.source for hit in still] == [hit.source for hit in asked(filled, Off(), 5).hits]


def test_a_weighted_cross_encoder_is_added_to_the_fused_score(
    filled: KnowledgeBase, tiny_pairs: Callable[[str], Path]
) -> None:
    part = CrossEncoder(model=str(tiny_pairs("bert")), weight=0.5, threshold=0.0)
    hits = asked(filled, part, 30).hits
    for hit in hits:
        expected = hit.stages["fused"].score + 0.5 * log_odds(hit.stages["rerank"].score)
        assert hit.score == pytest.approx(expected, abs=1e-4)
    half = float(np.median([hit.stages["rerank"].score for hit in hits]))
    kept = asked(filled, part.model_copy(update={"threshold": half}), 30).hits
    expected = [hit.source for hit in hits if hit.stages["rerank"].score >= half]
    assert [hit.source for hit in kept] == expected, "the threshold is of the model's own scores"
    assert len(kept) < len(hits)


def test_fewer_hits_are_the_first_of_more(filled: KnowledgeBase) -> None:
    most = asked(filled, LateInteraction(candidates=6), 20).hits
    for k in (1, 5, 6, 7, 13):
        assert asked(filled, LateInteraction(candidates=6), k).hits == most[:k]


TROUBLES = [
    (500, {"Retry-After": "0"}, {}),
    (401, {}, {"message": "invalid api token"}),
    (200, {}, {"results": []}),
    (200, {}, b""),
    (200, {}, b"{"),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=["500", "401", "empty", "nothing", "malformed"])
def test_a_server_that_fails_is_done_without(filled: KnowledgeBase, reranking: RerankingServer, trouble: Any) -> None:
    reranking.plan[:] = [trouble] * 3
    found, without = asked(filled, server_part(reranking)), asked(filled, Off())
    assert found.hits == without.hits
    assert found.details["rerank"]["candidates"] == 0
    assert found.details["rerank"]["skipped"].startswith("any at 127.0.0.1")


def test_a_server_that_is_too_slow_is_done_without(filled: KnowledgeBase, reranking: RerankingServer) -> None:
    reranking.talks.clear()
    found = asked(filled, server_part(reranking, budget_ms=200))
    assert found.hits == asked(filled, Off()).hits
    assert "no answer within 0.2 s" in found.details["rerank"]["skipped"]


def test_the_question_is_answered_all_the_same(
    new_kb: Callable[..., KnowledgeBase], reranking: RerankingServer
) -> None:
    kb = new_kb(Recipe(query=QueryHalf(rerank=server_part(reranking))))
    kb.add(BEST, *OTHERS)
    reranking.plan[:] = [(200, {}, b"{")]
    answer = kb.ask(QUESTION)
    assert "Form 12" in answer.text
    assert answer.trace is not None
    assert "no rerank response" in kb.trace(answer.trace.id)["details"]["rerank"]["skipped"]


def test_an_evaluation_tells_what_was_not_reranked(
    new_kb: Callable[..., KnowledgeBase], reranking: RerankingServer
) -> None:
    """A recipe would be praised or blamed for a reranker that was never heard."""
    kb = new_kb(Recipe(query=QueryHalf(rerank=server_part(reranking))))
    kb.add(BEST, *OTHERS)
    asking = Dataset("forms", {id: Question(id, QUESTION, judgements={"best.md": 1}) for id in ("a", "b")})
    reranking.plan[:] = [(200, {}, b"{")]
    report = evaluate(kb, asking, answered=False, limit=1)
    assert list(report.details["not_reranked"]) == ["a"]
    assert not report.failed
    assert "not_reranked" not in evaluate(kb, asking, answered=False, limit=1).details


def test_local_only_documents_are_not_sent_and_keep_their_places(
    new_kb: Callable[..., KnowledgeBase], reranking: RerankingServer
) -> None:
    kb = new_kb()
    kb.add(replace(BEST, text=f"{BEST.text} Zyxcorp.", local_only=True), *OTHERS)
    before = asked(kb, Off()).hits
    found = asked(kb, server_part(reranking))
    assert "Zyxcorp" not in repr(reranking.asked)
    assert "note1" not in found.hits[0].source
    assert found.hits[0].source == before[0].source == "best.md"
    assert found.details["rerank"] == {"candidates": 20, "withheld": 1}
    assert found.details["withheld"] == {"rerank": [1]}
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)
    asked(kb, server_part(reranking, local=True))
    assert "Zyxcorp" in repr(reranking.asked), "a server that the recipe calls one's own is sent everything"
    reranking.asked.clear()
    asked(kb, server_part(reranking), k=1, question="Zyxcorp", candidates=2)


def test_nothing_is_sent_where_all_is_local_only(
    new_kb: Callable[..., KnowledgeBase], reranking: RerankingServer
) -> None:
    kb = new_kb()
    kb.add(replace(BEST, local_only=True))
    found = asked(kb, server_part(reranking))
    assert not reranking.asked
    assert found.details == {"rerank": {"candidates": 0, "withheld": 1}, "withheld": {"rerank": [1]}}


def test_what_is_below_the_threshold_is_left_out(filled: KnowledgeBase, reranking: RerankingServer) -> None:
    found = asked(filled, server_part(reranking, threshold=0.5, candidates=15), 20)
    assert [hit.source for hit in found.hits] == ["best.md"]
    assert found.details == {"rerank": {"candidates": 15, "below": 14}}
    reranking.plan[:] = [(200, {}, b"{")]
    assert len(asked(filled, server_part(reranking, threshold=0.5), 20).hits) == 20, "a failure leaves nothing out"


def test_no_more_is_read_than_the_budget_allows(filled: KnowledgeBase) -> None:
    part = QueryHalf(rerank=LateInteraction(candidates=20, budget_ms=1), merge=0)
    retriever = Retriever(filled.index, filled.embedder, part)
    told = [retriever.retrieve(QUESTION, 5).details["rerank"] for _ in range(2)]
    assert told == [{"candidates": n, "budget_ms": 1} for n in (FIRST, LEAST)]
    part = QueryHalf(rerank=LateInteraction(candidates=20, budget_ms=600_000), merge=0)
    retriever = Retriever(filled.index, filled.embedder, part)
    told = [retriever.retrieve(QUESTION, 5).details["rerank"] for _ in range(2)]
    assert told == [{"candidates": 20, "budget_ms": 600_000}] * 2


def test_a_model_that_is_not_there_is_told_before_the_first_question(
    new_kb: Callable[..., KnowledgeBase], tmp_path: Path
) -> None:
    kb = new_kb(Recipe(query=QueryHalf(rerank=CrossEncoder(model=str(tmp_path / "nowhere")))))
    with pytest.raises(ModelError, match="no such folder"):
        _ = kb.serving.retriever


def test_late_interaction_needs_a_model_of_this_machine(new_kb: Callable[..., KnowledgeBase], server: Any) -> None:
    embed = OpenAIEmbedder(model=uuid.uuid4().hex, base_url=server.url, dimensions=16)
    kb = new_kb(Recipe(index=IndexHalf(embed=embed), query=QueryHalf(rerank=LateInteraction())))
    kb.add(BEST)
    with pytest.raises(RecipeError, match=r"query\.rerank: late interaction reads .* token vectors"):
        kb.search(QUESTION)


def test_the_command_line_shows_it(openbook: Callable[..., Any], tmp_path: Path, reranking: RerankingServer) -> None:
    (tmp_path / "forms.md").write_text("Form 12 is for unpaid leave abroad.\n")
    (tmp_path / "board.md").write_text("Unpaid leave of the board.\n")
    recipe = f'[query.rerank]\nkind = "api"\nmodel = "any"\nbase_url = "{reranking.url}"\n'
    (tmp_path / "recipe.toml").write_text(recipe)
    openbook("add", "forms.md")
    openbook("add", "board.md", "--local-only")
    done = openbook("search", "unpaid leave abroad", "--recipe", "recipe.toml")
    assert "rerank 1" in done.stdout
    assert "not sent to the reranker, which is remote: 1 local-only passage\n" in done.stderr
    trace = done.stderr.split("trace ")[1].split(",")[0]
    shown = openbook("show", "--trace", trace).stdout
    assert "rerank    1 candidates" in shown
    assert "withheld  hits 2: local-only, not sent to the reranker" in shown
    reranking.plan[:] = [(401, {}, {})]
    done = openbook("ask", "Which form is for unpaid leave abroad?", "--recipe", "recipe.toml")
    assert "Form 12" in done.stdout
    assert "note: not reranked: any at 127.0.0.1" in done.stderr
