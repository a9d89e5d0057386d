"""Answers of a language model to each stage, told by the rules that it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.generate.loopback import Fail, ModelServer, Raw, Request, Say, Silence

from openbook.recipe import LanguageModel, ModelTransform, QueryHalf
from openbook.retrieve.filters import model as filters
from openbook.retrieve.transform import model

Reply = Say | Fail | Raw | Silence

RULES = {
    "multi-query": model.MULTI_QUERY,
    "hyde": model.HYDE,
    "decompose": model.DECOMPOSE,
    "standalone": model.STANDALONE,
    "clarify": model.CLARIFY,
    "filters": filters.SYSTEM,
}
NOTHING: dict[str, Any] = {
    "multi-query": {"queries": []},
    "hyde": {"passage": ""},
    "decompose": {"questions": []},
    "standalone": {"question": ""},
    "clarify": {"question": "", "choices": []},
    "filters": {"filters": []},
}


def stage_of(request: Request) -> str:
    """Which stage asks; ``answer``: none, the passages are to be answered from."""
    return next((stage for stage, rules in RULES.items() if rules == request.system), "answer")


def answering(replies: dict[str, Any] | None = None, **more: Any) -> Callable[[Request], Reply]:
    """What a stage is answered: a reply, or what becomes JSON; nothing of use where it is not said."""
    said = {**NOTHING, "answer": Say("Ten days [1]."), **(replies or {}), **more}

    def answer(request: Request) -> Reply:
        reply = said[stage_of(request)]
        return reply if isinstance(reply, Reply) else Say(json.dumps(reply))

    return answer


def asked(server: ModelServer, stage: str) -> list[Request]:
    return [request for request in server.requests if stage_of(request) == stage]


def model_of(server: ModelServer, **settings: Any) -> LanguageModel:
    return LanguageModel.model_validate(
        {"kind": server.protocol, "model": "m-2026", "base_url": server.base_url, **settings}
    )


def query(server: ModelServer, *, llm: dict[str, Any] | None = None, **settings: Any) -> QueryHalf:
    """A query half whose transformation is by this server; settings of ``QueryHalf`` beside those of the part."""
    own = {name: settings.pop(name) for name in [*settings] if name in QueryHalf.model_fields}
    part = ModelTransform(**{"seconds": 20.0, **settings, "model": model_of(server, **(llm or {}))})
    return QueryHalf(transform=part, **own)
