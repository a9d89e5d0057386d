"""The OpenAI-compatible door, against a server on loopback that speaks the protocol (see conftest.py)."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from openbook.embed.api import BATCH_TEXTS, APIModel
from openbook.errors import ModelError, ModelUnavailable, RecipeError
from openbook.recipe import OpenAIEmbedder

TRY_AGAIN = (429, {"Retry-After": "0.05"}, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
BROKEN = (500, {"Retry-After": "0.05"}, {"error": {"message": "oops"}})


def model(server: Any, **settings: Any) -> APIModel:
    limits = {name: settings.pop(name) for name in ("seconds", "attempts") if name in settings}
    settings = {"model": "any", "base_url": server.url, **settings}
    return APIModel(OpenAIEmbedder(**settings), **{"attempts": 3, **limits})


def reply(*vectors: Any) -> tuple[int, dict[str, str], Any]:
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    return 200, {}, {"object": "list", "data": data, "model": "any", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def test_rows_are_the_servers_vectors_brought_to_unit_length(server: Any) -> None:
    texts = [f"text {i}" for i in range(2 * BATCH_TEXTS + 7)]
    expected = np.array([server.vector(text, 24) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(model(server).encode(texts), expected, atol=1e-6)
    assert max(len(asked["input"]) for asked in server.asked) == BATCH_TEXTS


def test_prefixes_and_dimensions_are_sent(server: Any) -> None:
    asking = model(server, query_prefix="query: ", document_prefix="passage: ", dimensions=8)
    assert asking.encode(["a"], "query").shape == (1, 8)
    asking.encode(["a"])
    assert [asked["input"] for asked in server.asked] == [["query: a"], ["passage: a"]]
    assert {asked["dimensions"] for asked in server.asked} == {8}


def test_half_a_character_is_sent_as_its_replacement(server: Any) -> None:
    """Half a surrogate pair, out of a file name, ended in an error of the encoder."""
    assert model(server, dimensions=8).encode(["a\ud800"]).shape == (1, 8)
    assert server.asked[-1]["input"] == ["a\ufffd"]


def test_equal_texts_are_sent_once(server: Any) -> None:
    model(server, dimensions=8).encode(["a", "b", "a"])
    assert [asked["input"] for asked in server.asked] == [["a", "b"]]


def test_requests_are_bounded_in_tokens(server: Any) -> None:
    texts = [f"{i} " + "word " * 999 for i in range(100)]
    model(server, dimensions=8, max_tokens=1000).encode(texts)
    assert {len(asked["input"]) for asked in server.asked} == {32, 4}


@pytest.mark.parametrize("plan", [[TRY_AGAIN], [BROKEN, BROKEN]], ids=["429", "500"])
def test_a_passing_trouble_is_outlasted(server: Any, plan: list[Any]) -> None:
    server.plan[:] = plan
    assert model(server, dimensions=24).encode(["a"]).shape == (1, 24)
    assert len(server.asked) == len(plan) + 1


@pytest.mark.parametrize("trouble", [TRY_AGAIN, BROKEN], ids=["429", "500"])
def test_a_lasting_trouble_ends_after_the_attempts(server: Any, trouble: Any) -> None:
    server.plan[:] = [trouble] * 9
    with pytest.raises(ModelUnavailable, match="try again later"):
        model(server, dimensions=24).encode(["a"])
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_at_once_and_is_not_repeated(
    server: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.plan[:] = [(status, {}, {"error": {"message": "Incorrect API key provided: sk-secret"}})] * 3
    with pytest.raises(ModelError, match="OPENAI_API_KEY") as caught:
        model(server, dimensions=24).encode(["a"])
    assert not isinstance(caught.value, ModelUnavailable)
    assert "sk-secret" not in str(caught.value)
    assert [asked["authorization"] for asked in server.asked] == ["Bearer sk-secret"]


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match="set OPENAI_API_KEY"):
        APIModel(OpenAIEmbedder(model="text-embedding-3-small"))
    with pytest.raises(ModelError, match="set MY_KEY"):
        APIModel(OpenAIEmbedder(model="any", base_url="http://embed.example/v1", key_env="MY_KEY"))


@pytest.mark.parametrize("address", ["localhost:8080/v1", "http://", "ftp://embed.example", "http://[::1"])
def test_what_is_no_address_is_told_before_the_key(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """The key was asked for, and whoever set it was none the wiser."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(RecipeError, match="base_url is no address"):
        APIModel(OpenAIEmbedder(model="any", base_url=address))


def test_no_credit_is_no_passing_trouble(server: Any) -> None:
    server.plan[:] = [(429, {"Retry-After": "0.01"}, {"error": {"message": "quota", "code": "insufficient_quota"}})] * 3
    with pytest.raises(ModelError, match="add credit") as caught:
        model(server, dimensions=24).encode(["a"])
    assert not isinstance(caught.value, ModelUnavailable)


def test_a_silent_server_is_given_up(server: Any) -> None:
    server.silence.clear()
    try:
        with pytest.raises(ModelUnavailable, match="does not answer"):
            model(server, dimensions=24, seconds=0.2, attempts=1).encode(["a"])
    finally:
        server.silence.set()


def test_no_server_is_unavailable() -> None:
    with pytest.raises(ModelUnavailable, match="check base_url"):
        APIModel(OpenAIEmbedder(model="any", base_url="http://127.0.0.1:9/v1"), attempts=1).encode(["a"])


@pytest.mark.parametrize(
    "answer",
    [
        reply(),
        reply([1.0] * 24),
        reply([1.0] * 24, [1.0] * 24, [1.0] * 24),
        reply([1.0] * 24, [1.0] * 23),
        reply([1.0] * 24, []),
        reply([1.0] * 24, [float("nan")] * 24),
        reply([1.0] * 24, ["a"] * 24),
        reply([1.0] * 24, None),
        reply([1.0] * 24, [0.0] * 24),
        (200, {}, {"data": "nothing"}),
        (200, {}, []),
        (200, {}, b"{"),
        (200, {"Content-Type": "text/html"}, b"<html>It works!</html>"),
        (404, {}, {"error": {"message": "model not found"}}),
    ],
)
def test_an_answer_that_is_none_is_refused(server: Any, answer: Any) -> None:
    server.plan[:] = [answer]
    with pytest.raises(ModelError) as caught:
        model(server, dimensions=24).encode(["a", "b"])
    assert not isinstance(caught.value, ModelUnavailable)
    assert "\n" not in str(caught.value)


def test_other_dimensions_than_the_recipe_says_are_refused(server: Any) -> None:
    server.plan[:] = [reply([1.0] * 12)]
    with pytest.raises(ModelError, match="12 dimensions where 24"):
        model(server, dimensions=24).encode(["a"])


def test_hash_names_server_model_dimension_prefixes_and_length(server: Any) -> None:
    first = model(server).hash
    assert model(server).hash == first == model(server, base_url=server.url + "/").hash
    variants = [{"model": "other"}, {"dimensions": 8}, {"query_prefix": "q: "}, {"max_tokens": 99}]
    assert len({first, *(model(server, **variant).hash for variant in variants)}) == len(variants) + 1


def test_an_interrupted_run_sends_no_more(server: Any) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model(server, dimensions=4).encode([str(i) for i in range(40 * BATCH_TEXTS)], progress=stop)
    assert len(server.asked) < 40
    assert threading.active_count() < 40
