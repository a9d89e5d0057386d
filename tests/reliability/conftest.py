"""The model's server that every harness of this folder reads by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.reliability.documents import embeddings


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with embeddings() as url:
        yield url
