"""One budget for all calls of a question: what would exceed it is not made, and what is counted never exceeds it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.generate.loopback import Fail, ModelServer, Request, Say, Silence
from tests.retrieve.transform.stages import answering, asked, model_of, query

from openbook.generate.language_model import LanguageModel
from openbook.generate.prompt import estimate_tokens
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import Budget, ModelFilters
from openbook.retrieve.calls import Calls, side_by_side
from openbook.types import Document, Usage

FORM = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
PRICES = '[model."m-2026"]\ninput = 2.0\noutput = 10.0\nas_of = 2026-01-01\n'


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with ModelServer("openai") as server:
        yield server


@pytest.fixture(autouse=True)
def priced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        file = tmp_path_factory.mktemp("prices") / "prices.toml"
        file.write_text(PRICES)
        patch.setenv("OPENBOOK_PRICES", str(file))
        patch.delenv("OPENAI_API_KEY", raising=False)
        yield


def ask(calls: Calls, model: LanguageModel, text: str = "x", seconds: float = 20.0) -> object:
    return calls.ask("stage", model, seconds, ("Say something.", text), FORM, lambda body: body or None)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 4_000),
    st.none() | st.floats(0.0, 0.03),
    st.lists(st.integers(1, 900), min_size=1, max_size=6),
    st.integers(0, 99),
)
def test_what_is_counted_never_exceeds_the_budget(
    running: ModelServer, tokens: int, dollars: float | None, sizes: list[int], seed: int
) -> None:
    """Calls side by side, answered at once or not at all, with any use up to what each may take."""
    chance = random.Random(seed)

    def anything(request: Request) -> Say | Fail:
        sent = sum(estimate_tokens(str(message["content"])) for message in request.body["messages"])
        used = chance.randint(1, sent), chance.randint(0, request.body["max_tokens"])
        said = Say('{"a": 1}', usage=used)
        return chance.choice([said, said, Fail(429), Say("{", cut="broken"), Say("no", usage=used)])

    running.will(anything)
    model = LanguageModel(model_of(running, max_output_tokens=200), retries=0)
    held = Usage(100, 50, 0.0007)
    calls = Calls(Budget(tokens=tokens, dollars=dollars), since=time.perf_counter(), held=held)
    side_by_side(
        {str(n): lambda size=size: ask(calls, model, "word " * size) for n, size in enumerate(sizes)}, lambda: 0
    )
    spent = calls.spent
    assert spent.cost is not None
    assert spent == Usage() or spent.input_tokens + spent.output_tokens + 150 <= tokens
    assert dollars is None or spent == Usage() or spent.cost + 0.0007 <= dollars + 1e-12
    told = [Usage(**call["usage"]) for call in calls.told if "usage" in call]
    assert sum(told, Usage()).input_tokens == spent.input_tokens
    assert len(calls.told) == len(sizes)


def test_what_is_under_way_is_counted_too(running: ModelServer) -> None:
    """Two calls that fit alone and not together: one is made."""
    running.will(Say('{"a": 1}', usage=(10, 10)))
    model = LanguageModel(model_of(running, max_output_tokens=200), retries=0)
    most = model.most("Say something.", "x", FORM)
    calls = Calls(Budget(tokens=2 * (most.input_tokens + most.output_tokens) - 21), since=time.perf_counter())

    def slow(request: Request) -> Say:
        time.sleep(0.3)
        return Say('{"a": 1}', usage=(most.input_tokens, most.output_tokens))

    running.will(slow)
    side_by_side({"1": lambda: ask(calls, model), "2": lambda: ask(calls, model)}, lambda: None)
    assert sorted("skipped" in call for call in calls.told) == [False, True]
    assert "tokens, and" in next(call["skipped"] for call in calls.told if "skipped" in call)


def test_one_that_is_not_waited_for_counts_as_the_most_it_may_take(running: ModelServer) -> None:
    running.will(Silence())
    model = LanguageModel(model_of(running), retries=0)
    calls = Calls(Budget(), since=time.perf_counter())
    ask(calls, model, seconds=0.2)
    assert calls.spent == model.most("Say something.", "x", FORM)
    running.will(Fail(429))
    ask(calls, model)
    assert calls.spent == model.most("Say something.", "x", FORM)  # what was refused costs nothing


def test_seconds_count_from_the_question(running: ModelServer) -> None:
    running.will(Say('{"a": 1}'))
    model = LanguageModel(model_of(running), retries=0)
    calls = Calls(Budget(seconds=5.0), since=time.perf_counter() - 6.0)
    before = len(running.requests)
    ask(calls, model)
    assert calls.told[0]["skipped"] == "the budget of 5 s is used up"
    assert len(running.requests) == before


def test_a_model_of_unknown_price_is_not_asked_where_dollars_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with ModelServer("openai") as server:
        part = model_of(server).model_copy(update={"base_url": "https://models.example/v1", "model": "nobody-knows"})
        calls = Calls(Budget(dollars=1.0), since=time.perf_counter())
        ask(calls, LanguageModel(part, retries=0))
    assert "its price is not known" in calls.told[0]["skipped"]


def test_one_that_has_to_think_first_is_not_asked_beyond_the_budget(running: ModelServer) -> None:
    def thinks(request: Request) -> Say | Fail:
        if "max_tokens" in request.body:
            return Fail(400, "max_tokens is not supported, use max_completion_tokens instead")
        return Say('{"a": 1}', usage=(50, 1_000))

    running.will(thinks)
    model = LanguageModel(model_of(running, max_output_tokens=200), retries=0)
    calls = Calls(Budget(tokens=2_000), since=time.perf_counter())
    for _ in range(2):
        ask(calls, model)
    assert calls.spent == Usage()
    assert "thinks before it writes" in calls.told[0]["skipped"]
    assert "and 2000 are left" in calls.told[1]["skipped"]  # and is reckoned with from then on


class TestAQuestion:
    @pytest.fixture
    def server(self) -> Iterator[ModelServer]:
        with ModelServer("openai") as server:
            server.will(answering({"multi-query": {"queries": ["sick leave"]}}, hyde={"passage": "Ten days of it."}))
            yield server

    @pytest.fixture
    def filled(self, kb: KnowledgeBase) -> KnowledgeBase:
        text = "\n\n".join(f"Rule {n}: employees have ten paid sick days a year." for n in range(60))
        kb.add(Document("sick", text, "Sick leave"), Document("bees", "Bees make honey.", "Roof"))
        return kb

    def test_the_answer_comes_first_and_tells_everything_that_it_took(
        self, filled: KnowledgeBase, server: ModelServer
    ) -> None:
        filled.answer_by(query(server, hyde=True, filters=ModelFilters(model=model_of(server))))
        answer = filled.ask("How many sick days?", llm=model_of(server))
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4 * 321, 4 * 12)
        assert answer.usage.cost == pytest.approx(4 * (321 * 2 + 12 * 10) / 1e6)
        tight = Budget(tokens=1_500)
        filled.answer_by(query(server, hyde=True, budget=tight))
        server.requests.clear()
        answer = filled.ask("How many sick days?", llm=model_of(server, max_output_tokens=100))
        assert answer.text.startswith("Ten days")
        assert answer.trace is not None
        skipped = [call["skipped"] for call in answer.trace.details["calls"]]
        assert len(skipped) == 2
        assert all("the question's budget" in why for why in skipped)
        assert [request.system[:7] for request in server.requests] == ["You ans"]

    def test_the_answer_is_shown_as_much_as_there_is_room_for(self, filled: KnowledgeBase, server: ModelServer) -> None:
        writer = model_of(server, max_output_tokens=100)
        for budget in (Budget(tokens=1_200), Budget(dollars=0.0035)):
            filled.answer_by(query(server, multi_query=0, budget=budget))
            server.requests.clear()
            assert filled.ask("How many sick days?", llm=writer).text.startswith("Ten days")
            [request] = server.requests
            sent = estimate_tokens(request.system) + estimate_tokens(request.user)
            assert sent + 100 <= (budget.tokens or 1e9)
            assert (sent * 2.0 + 100 * 10.0) / 1e6 <= (budget.dollars or 1.0)

    def test_without_room_for_any_it_abstains_and_says_why(self, filled: KnowledgeBase, server: ModelServer) -> None:
        filled.answer_by(query(server, multi_query=0, budget=Budget(tokens=200)))
        answer = filled.ask("How many sick days?", llm=model_of(server))
        assert answer.abstained
        assert "the question's budget has no room for an answer: it may take" in str(answer.reason)
        assert server.requests == []
        filled.answer_by(query(server, budget=Budget(dollars=0.0)))
        assert filled.ask("How many sick days?").citations, "quotes cost nothing"

    def test_what_is_spent_before_is_not_left_for_the_answer(self, filled: KnowledgeBase, server: ModelServer) -> None:
        greedy = Say(json.dumps({"queries": ["sick"]}), usage=(5_000, 4_900))  # more than was asked for
        server.will(answering({"multi-query": greedy}))
        filled.answer_by(query(server, budget=Budget(tokens=10_000)))
        answer = filled.ask("How many sick days?", llm=model_of(server))
        assert answer.abstained
        assert "and 100 are left" in str(answer.reason)
        assert answer.usage == Usage(5_000, 4_900, pytest.approx((5_000 * 2 + 4_900 * 10) / 1e6))

    def test_the_trace_keeps_what_each_call_took(self, filled: KnowledgeBase, server: ModelServer) -> None:
        filled.answer_by(query(server, hyde=True, decompose=True))
        answer = filled.ask("How many sick days?")
        assert answer.trace is not None
        kept = filled.trace(answer.trace.id)
        assert [call["stage"] for call in kept["details"]["calls"]] == ["decompose", "hyde", "multi-query"]
        assert all(call["usage"]["cost"] > 0 and call["ms"] > 0 for call in kept["details"]["calls"])
        assert kept["answer"]["usage"]["input_tokens"] == 3 * 321
        assert len(asked(server, "hyde")) == 1

    def test_quotes_that_a_model_helped_to_find_are_none_that_it_wrote(
        self, filled: KnowledgeBase, server: ModelServer
    ) -> None:
        filled.answer_by(query(server))
        for llm in (None, model_of(server)):
            answer = filled.ask("How many sick days?", llm=llm)
            assert answer.usage.output_tokens > 0
            assert answer.trace is not None
            filled.feedback(answer.trace.id, "up")
        assert [one.written for one in filled.reviewed()] == [False, True]
        receipt = filled.forget("sick")
        assert receipt is not None
        assert [one.why[:9] for one in receipt.pending if one.place == "language models"] == ["1 answers"]
