"""The rerank endpoint of a server, against one on loopback that speaks the protocol (see loopback.py)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from tests.retrieve.rerank.loopback import RerankingServer

from openbook.errors import ModelError, ModelUnavailable, RecipeError
from openbook.recipe import RerankAPI
from openbook.retrieve.rerank.api import RerankServer

TRY_AGAIN = (429, {"Retry-After": "0.02"}, {"message": "slow down"})
BROKEN = (503, {"Retry-After": "0.02"}, b"<html>oops</html>")
TEXTS = ["alpha", "beta gamma", "alpha beta"]


def model(server: RerankingServer, **more: Any) -> RerankServer:
    return RerankServer(RerankAPI(**{"model": "any", "base_url": server.url, **more}))


def results(*pairs: Any) -> tuple[int, dict[str, str], Any]:
    return 200, {}, {"results": [{"index": index, "relevance_score": score} for index, score in pairs]}


def test_scores_come_in_the_order_of_the_texts(reranking: RerankingServer) -> None:
    scores = model(reranking).score("alpha beta", TEXTS)
    assert np.allclose(scores, [reranking.score("alpha beta", text) for text in TEXTS])
    [asked] = reranking.asked
    assert asked["path"] == "/v1/rerank"
    assert (asked["model"], asked["query"], asked["documents"], asked["top_n"]) == ("any", "alpha beta", TEXTS, 3)
    assert asked["authorization"] is None, "a server on this machine needs no key"


def test_the_key_comes_from_its_variable(reranking: RerankingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JINA_API_KEY", " sk-secret\n")
    model(reranking, key_env="JINA_API_KEY").score("alpha", TEXTS)
    assert reranking.asked[0]["authorization"] == "Bearer sk-secret"


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RERANK_API_KEY", raising=False)
    with pytest.raises(ModelError, match=r"rerank-v4 at api\.cohere\.com: no key; set RERANK_API_KEY"):
        RerankServer(RerankAPI(model="rerank-v4", base_url="https://api.cohere.com/v2"))


@pytest.mark.parametrize("address", ["", "localhost:8000", "ftp://a/b", "http://[", "http://a:b@:x/"])
def test_what_is_no_address_is_told_and_not_repeated(address: str) -> None:
    with pytest.raises(RecipeError, match="base_url is no address") as told:
        RerankServer(RerankAPI(model="m", base_url=address))
    assert not address or address not in str(told.value)


@pytest.mark.parametrize("plan", [[TRY_AGAIN], [BROKEN, BROKEN]], ids=["429", "503"])
def test_a_passing_trouble_is_outlasted(reranking: RerankingServer, plan: list[Any]) -> None:
    reranking.plan[:] = plan
    assert model(reranking).score("alpha", TEXTS).shape == (3,)
    assert len(reranking.asked) == len(plan) + 1


@pytest.mark.parametrize("trouble", [TRY_AGAIN, BROKEN], ids=["429", "503"])
def test_a_lasting_trouble_ends_after_the_attempts(reranking: RerankingServer, trouble: Any) -> None:
    reranking.plan[:] = [trouble] * 9
    with pytest.raises(ModelUnavailable, match="keeps refusing"):
        model(reranking).score("alpha", TEXTS)
    assert len(reranking.asked) == 3


def test_a_server_that_asks_for_more_time_than_there_is_is_left(reranking: RerankingServer) -> None:
    reranking.plan[:] = [(429, {"Retry-After": "3600"}, {})] * 3
    with pytest.raises(ModelUnavailable):
        model(reranking).score("alpha", TEXTS)
    assert len(reranking.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_at_once_and_is_not_repeated(
    reranking: RerankingServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("RERANK_API_KEY", "sk-secret")
    reranking.plan[:] = [(status, {}, {"message": "invalid api token sk-secret"})] * 3
    with pytest.raises(ModelError, match="the key was refused; set RERANK_API_KEY") as told:
        model(reranking).score("alpha", TEXTS)
    assert "sk-secret" not in str(told.value)
    assert len(reranking.asked) == 1


@pytest.mark.parametrize("how", ["silent", "drips"])
def test_a_slow_server_is_given_up_when_the_time_is_up(reranking: RerankingServer, how: str) -> None:
    if how == "silent":
        reranking.talks.clear()
    else:
        reranking.drips = True
    start = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"no answer within 0\.3 s"):
        model(reranking, budget_ms=300).score("alpha", TEXTS)
    assert time.monotonic() - start < 3


def test_no_server_is_unavailable() -> None:
    with pytest.raises(ModelUnavailable, match="check base_url"):
        RerankServer(RerankAPI(model="any", base_url="http://127.0.0.1:9/v1")).score("alpha", TEXTS)


@pytest.mark.parametrize(
    "answer",
    [
        results(),
        results((0, 0.1), (1, 0.2)),
        results((0, 0.1), (1, 0.2), (1, 0.3)),
        results((0, 0.1), (1, 0.2), (3, 0.3)),
        results((0, 0.1), (1, 0.2), (-1, 0.3)),
        results((0, 0.1), (1, 0.2), (2, None)),
        results((0, 0.1), (1, 0.2), (2, "0.3")),
        results((0, 0.1), (1, 0.2), (2, float("nan"))),
        results((0, 0.1), (1, 0.2), (2, 10**400)),
        results((0, 0.1), (1, 0.2), (True, 0.3)),
        (200, {}, {"results": "none"}),
        (200, {}, {"results": [0.1, 0.2, 0.3]}),
        (200, {}, {"data": []}),
        (200, {}, []),
        (200, {}, b""),
        (200, {}, b"{"),
        (200, {}, b"\xff\xfe"),
        (200, {}, b"[" * 100_000),
        (200, {"Content-Type": "text/html"}, b"<html>It works!</html>"),
        (302, {"Location": "http://127.0.0.1:9/"}, b""),
        (404, {}, {"detail": "no such\nmodel"}),
        (400, {}, {"message": "too many documents"}),
    ],
)
def test_an_answer_that_is_none_is_refused(reranking: RerankingServer, answer: Any) -> None:
    reranking.plan[:] = [answer]
    with pytest.raises(ModelError) as told:
        model(reranking).score("alpha", TEXTS)
    assert not isinstance(told.value, ModelUnavailable)
    assert "\n" not in str(told.value)
    assert len(reranking.asked) == 1


def test_a_refusal_that_repeats_the_documents_is_not_kept(reranking: RerankingServer) -> None:
    """A trace keeps what went wrong, and is no place for text: it would outlive the document."""
    reranking.plan[:] = [(422, {}, {"detail": [{"input": {"documents": ["Zyxcorp"]}}]})]
    with pytest.raises(ModelError, match=r"refused \(status 422\)") as told:
        model(reranking).score("alpha", ["Zyxcorp"])
    assert "Zyxcorp" not in str(told.value)
