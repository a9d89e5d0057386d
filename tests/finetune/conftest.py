"""A language model's server, as evaluation's tests have it."""

from tests.evaluate.conftest import server

__all__ = ["server"]
