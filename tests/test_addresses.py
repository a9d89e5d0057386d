"""Addresses of servers: one rule for every model behind one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openbook.embed.api import APIModel
from openbook.errors import RecipeError
from openbook.generate.language_model import LanguageModel
from openbook.recipe import LanguageModel as LanguageModelPart
from openbook.recipe import OpenAIEmbedder, RerankAPI
from openbook.retrieve.rerank.api import RerankServer

OPEN: dict[str, Callable[[str], Any]] = {
    "embed": lambda address: APIModel(OpenAIEmbedder(model="m", base_url=address)),
    "rerank": lambda address: RerankServer(RerankAPI(model="m", base_url=address)),
    "generate": lambda address: LanguageModel(LanguageModelPart(kind="openai", model="m", base_url=address)),
}


@pytest.mark.parametrize("kind", OPEN)
class TestEveryServer:
    @pytest.mark.parametrize(
        "address", ["localhost:8000", "http://:80/", "ftp://a/b", "http://[::1", "http://a:pw@:x/"]
    )
    def test_what_is_no_address_is_told_in_the_same_words_and_not_repeated(self, kind: str, address: str) -> None:
        with pytest.raises(RecipeError, match="base_url is no address; write it like http://localhost:11434") as told:
            OPEN[kind](address)
        assert address not in str(told.value)

    @pytest.mark.parametrize("host", ["localhost", "llm.localhost", "127.0.0.1", "[::1]", "0.0.0.0"])
    def test_this_machine_needs_no_key(self, kind: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """An embedder or a reranker on a name of this machine had to have one, and a language model had not."""
        for variable in ("OPENAI_API_KEY", "RERANK_API_KEY"):
            monkeypatch.delenv(variable, raising=False)
        OPEN[kind](f"http://{host}:8000/v1")
