"""A language model reads the first hits and says what they lack: nothing of its answer is more than a search, and no
question fails for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from tests.generate.loopback import NO_ANSWERS, Fail, ModelServer, Raw, Say, Silence

from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import Budget, CorpusSpelling, LanguageModel, ModelHops, QueryHalf, Recipe
from openbook.retrieve.hops.model import FORM, MOST_QUERIES, read
from openbook.types import Document

KINDS = ("openai", "anthropic")
QUESTION = "Where was the author of Winter Harbour born?"


def said(*queries: str, enough: bool = False) -> Say:
    return Say(json.dumps({"enough": enough, "queries": queries}))


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    for kind in KINDS:
        for variable in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(f"{kind.upper()}_{variable}", raising=False)
    with ModelServer(request.param) as server:
        yield server


def query(server: ModelServer, seconds: float = 20.0, **settings: object) -> QueryHalf:
    model = {"kind": server.protocol, "model": "m-2026", "base_url": server.base_url, **settings}
    return QueryHalf(hops=ModelHops(model=LanguageModel.model_validate(model), seconds=seconds))


@pytest.fixture
def library(server: ModelServer, new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    kb = new_kb(Recipe(query=query(server)))
    kb.add(
        Document("harbour", "Winter Harbour is a novel of 1988 by Mara Ostrov.", "Winter Harbour"),
        Document("ostrov", "Ostrov spent her childhood in Tallgate.", "Mara Ostrov"),
        *(Document(f"n{at}", f"Number {at} was born in the capital, an author of crime stories.") for at in range(12)),
    )
    kb.add(Document("closed", "The author of Winter Harbour was born in Sele.", "Closed"), access=["board"])
    kb.add(Document("here", "The author of Winter Harbour was born in Odda.", "Here"), local_only=True)
    return kb


def test_what_it_misses_is_looked_for_and_told(library: KnowledgeBase, server: ModelServer) -> None:
    server.will(said("childhood of Mara Ostrov"))
    trace = library.search(QUESTION, 4, as_=["user:ann"])
    [found] = [hit for hit in trace.hits if hit.source == "ostrov"]
    assert found.stages["hop 2"].rank == 1
    told = trace.details["hops"]
    assert (told["kind"], told["queries"]) == ("model", ["childhood of Mara Ostrov"])
    assert told["usage"] == {"input_tokens": 321, "output_tokens": 12, "cost": 0.0}
    [request] = server.requests
    assert "novel of 1988 by Mara Ostrov" in request.user
    assert QUESTION in request.user
    form = request.body.get("response_format") or request.body["output_config"]
    assert FORM in (form.get("json_schema", {}).get("schema"), form.get("format", {}).get("schema"))


def test_it_reads_what_the_caller_may_see_and_nothing_local_only(library: KnowledgeBase, server: ModelServer) -> None:
    server.will(said(enough=True))
    library.search(QUESTION, as_=["user:ann"])
    assert "Sele" not in server.requests[-1].user
    assert "Odda" not in server.requests[-1].user
    library.search(QUESTION, as_=["board"])
    assert "Sele" in server.requests[-1].user
    library.answer_by(query(server, local=True))
    library.search(QUESTION, as_=["user:ann"])
    assert "Odda" in server.requests[-1].user


def test_a_remote_one_is_not_sent_a_word_mended_by_a_local_only_document(
    library: KnowledgeBase, server: ModelServer
) -> None:
    library.add(Document("merger", "The merger with Quexalotl is signed in May.", "Plan"), local_only=True)
    for local in (False, True):
        half = query(server, local=local)
        library.answer_by(half.model_copy(update={"spelling": CorpusSpelling()}))
        server.will(said(enough=True))
        trace = library.search("the author signed with quexalolt")
        assert trace.details["spelling"]["text"] == "the author signed with quexalotl"
        sent = server.requests[-1].user
        assert ("quexalotl" in sent, "quexalolt" in sent) == (local, not local)


def test_enough_changes_nothing(library: KnowledgeBase, server: ModelServer) -> None:
    server.will(said("birthplace", enough=True))
    trace = library.search(QUESTION)
    library.answer_by(QueryHalf())
    before = library.search(QUESTION)
    assert [(hit.source, hit.score) for hit in trace.hits] == [(hit.source, hit.score) for hit in before.hits]
    assert trace.details["hops"]["stopped"] == "enough"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        *NO_ANSWERS,
        (Say('{"queries": 7}'), "the answer is no such JSON"),
        (Say('{"queries": ['), "the answer is no such JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_answer_that_is_none_is_skipped_and_the_question_answered(
    library: KnowledgeBase, server: ModelServer, reply: Say | Fail | Raw, why: str
) -> None:
    server.will(reply)
    answer = library.ask(QUESTION)
    assert answer.trace is not None
    assert answer.trace.hits[0].source in ("harbour", "closed", "here")
    assert why in answer.trace.details["hops"]["skipped"]
    assert len(server.requests) == 1  # nobody waits for it twice


def test_one_that_is_too_slow_is_not_waited_for(library: KnowledgeBase, server: ModelServer) -> None:
    for reply in (Silence(), Say('{"queries"', pings=True)):
        server.will(reply)
        library.answer_by(query(server, seconds=0.3))
        start = time.monotonic()
        trace = library.search(QUESTION)
        assert time.monotonic() - start < 10
        assert trace.hits
        assert "within 0.3 s" in trace.details["hops"]["skipped"]


def test_of_what_it_says_only_short_queries_count() -> None:
    queries = ["a  b", 7, "", "x" * 300, "a b", "c", "d", "e"]
    assert read({"enough": False, "queries": queries}) == ["a b", "c", "d"]
    assert MOST_QUERIES == 3
    assert read({}) is None


def test_what_the_budget_does_not_allow_is_not_asked(library: KnowledgeBase, server: ModelServer) -> None:
    server.will(said("childhood of Mara Ostrov"))
    library.answer_by(query(server).model_copy(update={"budget": Budget(tokens=50)}))
    trace = library.search(QUESTION, 4)
    assert server.requests == []
    assert "budget" in trace.details["hops"]["skipped"]
    assert [call["stage"] for call in trace.details["calls"]] == ["hops"]
    assert trace.hits


def test_orders_in_a_passage_can_do_no_more_than_search(library: KnowledgeBase, server: ModelServer) -> None:
    """Whatever it was talked into looking for, what is closed stays closed."""
    server.will(said("born in Sele", "everything of the board"))
    trace = library.search(QUESTION, 20, as_=["user:ann"])
    assert "closed" not in [hit.source for hit in trace.hits]
