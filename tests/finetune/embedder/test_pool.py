"""A pool is an index of a few documents whose vectors a model in training makes."""

from __future__ import annotations

from tests.finetune.embedder import jargon

from openbook.finetune.embedder import Dev
from openbook.finetune.embedder.dev import Asking
from openbook.finetune.embedder.pool import pool_of
from openbook.store.filter import parse


def test_made_by_the_base_itself_it_finds_what_the_base_finds(dev: Dev) -> None:
    """All documents of a small firm are in its pool: nothing is approximated."""
    asking = Asking(dev, dev.questions)
    base = dev.kb.embedder
    pool = pool_of(asking, base, 18)
    assert len(pool.chunks) == len(jargon.documents())
    assert asking.scores(base, pool.index(base.encode)) == asking.scores(base)


def test_a_filter_holds_in_a_pool_too(dev: Dev) -> None:
    asking = Asking(dev, dev.questions)
    index = pool_of(asking, dev.kb.embedder, 18).index(dev.kb.embedder.encode)
    vector = dev.kb.embedder.encode(["rule"], "query")[0]
    with index.database.snapshot(None) as connection:
        found, _ = index.dense(index.view(connection, None, None), vector, 99)
        none, _ = index.dense(index.view(connection, None, parse('lang = "en"')), vector, 99)
    assert len(found) == len(jargon.documents())
    assert not none
