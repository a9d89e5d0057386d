"""A language model proposes filters: nothing of its answer is believed, and no question fails for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.generate.loopback import NO_ANSWERS, Fail, ModelServer, Raw, Request, Say, Silence

from openbook.errors import RecipeError
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import LanguageModel, ModelFilters, QueryHalf, Recipe
from openbook.retrieve.filters.model import FORM, _fields, read
from openbook.retrieve.filters.vocabulary import Vocabulary
from openbook.store.vocabulary import Values
from openbook.types import Document

KINDS = ("openai", "anthropic")
VOCABULARY = Vocabulary(
    [
        Values("version", ("v1.10", "v1.2", "v1.9"), ()),
        Values("country", ("France", "Germany"), ()),
        Values("published", ("2019-05-01", "2021-03-04"), ()),
        Values("level", (), (1.0, 2.0)),
    ]
)


def said(*filters: dict[str, object]) -> Say:
    return Say(json.dumps({"filters": filters}))


def one(field: str, operator: str, *values: object) -> dict[str, object]:
    return {"field": field, "operator": operator, "values": list(values), "words": "so it says"}


GERMANY = said(one("country", "=", "germany"))


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    for kind in KINDS:
        for variable in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(f"{kind.upper()}_{variable}", raising=False)
    with ModelServer(request.param) as server:
        yield server


def query(server: ModelServer, seconds: float = 20.0, **settings: object) -> QueryHalf:
    model = {"kind": server.protocol, "model": "m-2026", "base_url": server.base_url, **settings}
    return QueryHalf(filters=ModelFilters(model=LanguageModel.model_validate(model), seconds=seconds))


@pytest.fixture
def filled(server: ModelServer, new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    kb = new_kb(Recipe(query=query(server)))
    for country, days in (("Germany", 30), ("France", 25)):
        kb.add(Document(country, f"{days} days of holiday a year.", country, {"country": country}))
    kb.add(Document("x", "No holiday.", "x", {"country": "Utopia"}), access=["board"])
    kb.add(Document("y", "Holiday at home.", "y", {"country": "Home"}), local_only=True)
    return kb


def test_what_it_proposes_is_applied_and_told(filled: KnowledgeBase, server: ModelServer) -> None:
    server.will(GERMANY)
    trace = filled.search("How much time off do colleagues in Berlin have?")
    assert [hit.source for hit in trace.hits] == ["Germany"]
    assert trace.filter == 'country = "Germany"'
    filters = trace.details["filters"]
    assert (filters["kind"], filters["applied"][0]["words"]) == ("model", "so it says")
    assert filters["usage"] == {"input_tokens": 321, "output_tokens": 12, "cost": 0.0}
    [request] = server.requests
    assert "Question: How much time off do colleagues in Berlin have?" in request.user
    assert f"Today is {date.today().isoformat()}" in request.user
    form = request.body.get("response_format") or request.body["output_config"]
    assert FORM in (form.get("json_schema", {}).get("schema"), form.get("format", {}).get("schema"))


def test_it_is_shown_what_the_caller_may_see_and_nothing_of_local_only_documents(
    filled: KnowledgeBase, server: ModelServer
) -> None:
    server.will(said(one("country", "=", "Utopia")))
    trace = filled.search("holiday", as_=["user:ann"])
    assert '"France"' in server.requests[-1].user
    assert "Utopia" not in server.requests[-1].user
    assert "Home" not in server.requests[-1].user
    assert trace.filter is None
    assert trace.details["filters"]["dropped"][0]["why"] == "no document here has that country"
    filled.answer_by(query(server, local=True))
    filled.search("holiday", as_=["board"])
    assert "Utopia" in server.requests[-1].user
    assert "Home" in server.requests[-1].user


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        *NO_ANSWERS,
        (Say('{"filters": 7}'), "the answer is no such JSON"),
        (Say('{"filters": [{'), "the answer is no such JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_answer_that_is_none_is_skipped_and_the_question_answered(
    filled: KnowledgeBase, server: ModelServer, reply: Say | Fail | Raw, why: str
) -> None:
    server.will(reply)
    answer = filled.ask("How many days of holiday in Germany?")
    assert answer.trace is not None
    assert len(answer.trace.hits) >= 3
    assert why in answer.trace.details["filters"]["skipped"]
    assert len(server.requests) == 1  # nobody waits for it twice


def test_one_that_is_too_slow_is_not_waited_for(filled: KnowledgeBase, server: ModelServer) -> None:
    for reply in (Silence(), Say('{"filters"', pings=True)):
        server.will(reply)
        filled.answer_by(query(server, seconds=0.3))
        start = time.monotonic()
        trace = filled.search("holiday")
        assert time.monotonic() - start < 10
        assert trace.hits
        assert "within 0.3 s" in trace.details["filters"]["skipped"]


def test_a_server_that_knows_no_forms_is_asked_in_words(filled: KnowledgeBase, server: ModelServer) -> None:
    def old(request: Request) -> Say | Fail:
        for field in ("response_format", "output_config"):
            if field in request.body:
                return Fail(400, f"{field}: extra inputs are not permitted", kind="invalid_request_error")
        return Say(f"```json\n{GERMANY.text}\n```")

    server.will(old)
    assert [hit.source for hit in filled.search("holiday in Berlin").hits] == ["Germany"]
    filled.search("holiday in Berlin")
    assert len(server.requests) == 3  # and not offered one again


@pytest.mark.parametrize(
    ("said", "filter"),
    [
        (one("version", "=", "1.9"), 'version = "v1.9"'),
        (one("version", "=", "v1"), 'version in ("v1.10", "v1.2", "v1.9")'),
        (one("version", ">", "1.9"), 'version = "v1.10"'),
        (one("country", "!=", "GERMANY"), 'not country = "Germany"'),
        (one("published", ">=", "2020"), 'published >= "2020"'),
        (one("published", "<=", "2020-02"), 'published < "2020-03"'),
        (one("published", "=", "2021-03"), 'published >= "2021-03" and published < "2021-04"'),
        (one("level", ">", 1), "level > 1"),
        (one("level", "=", "2"), "level = 2"),
    ],
)
def test_a_proposal_that_holds_becomes_a_filter(said: dict[str, object], filter: str) -> None:
    [proposal] = read([said], VOCABULARY).proposed
    assert str(proposal.filter) == filter


@pytest.mark.parametrize(
    "said",
    [
        one("country", "=", "Utopia"),
        one("nationality", "=", "Germany"),
        one("country", "~", "Germany"),
        one("country", "<", "Germany"),
        one("country", "="),
        one("country", "=", None, {}, []),
        one("published", ">", "soon"),
        one("published", ">", "2020", "2021"),
        one("version", ">", "9"),
        one("level", "=", "3"),
        {"field": 3, "values": "Germany"},
        {},
    ],
)
def test_a_proposal_that_does_not_hold_is_dropped(said: dict[str, object]) -> None:
    found = read([said], VOCABULARY)
    assert not found.proposed
    assert len(found.dropped) == 1


texts = st.sampled_from(
    ["version", "country", "level", "published", "=", ">", "!=", "v1.9", "Germany", "2", "2020", "", "😀"]
)
anything = st.none() | st.integers() | st.floats(allow_nan=False) | texts | st.lists(texts | st.integers(), max_size=3)


@given(st.lists(st.dictionaries(st.sampled_from(["field", "operator", "values", "words"]), anything), max_size=3))
def test_whatever_it_says_only_filters_on_what_is_there_come_out(told: list[dict[str, object]]) -> None:
    for proposal in read(told, VOCABULARY).proposed:
        assert any(str(proposal.filter).removeprefix("not ").strip("(").startswith(f) for f in VOCABULARY.fields)


def test_what_it_is_shown_keeps_to_its_budget() -> None:
    many = Vocabulary(Values(f"field{n}", tuple(f"value {n} {m}" for m in range(200)), ()) for n in range(50))
    shown = _fields(many, 1_000)
    assert 0 < len(shown) < 5_000


def test_a_recipe_names_the_model() -> None:
    recipe = Recipe.from_toml("[query.filters]\nkind = 'model'\n[query.filters.model]\nkind = 'openai'\nmodel = 'm'")
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    with pytest.raises(RecipeError, match=r"query.filters.model is not said"):
        Recipe.from_toml("[query.filters]\nkind = 'model'")
