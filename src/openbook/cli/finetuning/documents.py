"""The documents that rows are made of and that questions are asked of: the user's, or those that a data set brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import typer

from openbook.cli.opening import opened
from openbook.cli.printing import bar, say
from openbook.errors import NotFound, QueryError

if TYPE_CHECKING:
    from openbook.evaluate import Dataset
    from openbook.knowledge_base import KnowledgeBase


def named(context: typer.Context, db: str | None, kb: str | None) -> tuple[str | None, str | None]:
    """What was named to be opened, before the verb or after it; ``None``: nothing was."""
    return db or context.obj["db"], kb or context.obj["kb"]


@contextmanager
def brought(context: typer.Context, db: str | None, kb: str | None, dataset: Dataset) -> Iterator[KnowledgeBase]:
    """The documents of a data set, indexed by the default recipe and kept."""
    from openbook.evaluate import sides

    (db, kb), side = named(context, db, kb), sides.DEFAULT
    with bar("indexing") as indexed:
        base = sides.opened(side, sides.read(side), dataset, db=db, kb=kb or "default", say=say, progress=indexed)
    with base:
        yield base


@contextmanager
def own(
    context: typer.Context, db: str | None, kb: str | None, *, wanted: bool = False
) -> Iterator[KnowledgeBase | None]:
    """The user's documents; ``None`` where there are none and nobody named or ``wanted`` any."""
    wanted = wanted or any(named(context, db, kb))
    with ExitStack() as stack:
        try:
            base: KnowledgeBase | None = stack.enter_context(opened(context, db, kb))
        except NotFound:
            if wanted:
                raise
            base = None
        yield base


@contextmanager
def library(
    context: typer.Context, db: str | None, kb: str | None, datasets: Sequence[Dataset], *, feedback: bool = False
) -> Iterator[KnowledgeBase]:
    """The one set of documents that data sets are about: that which they bring, else the user's.

    Raises:
        QueryError: several of them bring documents, or one does and others, or ``feedback``, are about one's own.
    """
    bring = [dataset for dataset in datasets if dataset.corpus is not None]
    if len({dataset.corpus for dataset in bring}) > 1 or (bring and (feedback or len(datasets) > len(bring))):
        do = "make them apart, and then one of both: openbook finetune data OUT A.jsonl B.jsonl"
        raise QueryError("rows of several sets of documents", where=bring[0].name, do=do)
    with brought(context, db, kb, bring[0]) if bring else opened(context, db, kb) as base:
        yield base
