"""A language model's server, which every test that has one write answers or judge them asks over loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.generate.loopback import ModelServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    with ModelServer("openai") as server:
        yield server
