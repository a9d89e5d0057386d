"""Principals: the names that documents are open to and that callers come with, and what a caller may be told of them.

A name is any text that is not blank and can be kept: ``user:ann``, ``group:hr``, ``tenant:acme`` by custom, or whatever
the company's directory calls people. It is compared as it stands, code point by code point: case, blanks and the form
in which accents are written all count, so that no two names ever mean the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from openbook.errors import QueryError
from openbook.types import PUBLIC, Hit, StageScore, storable


def names(principals: Sequence[str], where: str) -> tuple[str, ...]:
    """``principals`` as a tuple; one that is a single text is one name.

    Raises:
        QueryError: a name is blank, no text, or holds what no database keeps: replaced, two names would become one.
    """
    found = (principals,) if isinstance(principals, str) else tuple(principals)
    for name in found:
        if not isinstance(name, str):
            raise QueryError(f"a principal that is no text ({str(name)[:40]!r})", where=where, do="name it in words")
        if not name.strip():
            raise QueryError("a principal without a name", where=where, do="name one, such as public or group:hr")
        if storable(name) != name:
            what = f"a principal with a NUL or half a character in its name ({storable(name)[:40]!r})"
            raise QueryError(what, where=where, do="write it in characters that can be kept")
    return found


def readers(access: Sequence[str], where: str = "access") -> tuple[str, ...]:
    """Who may read a document: at least one name. Raises: QueryError."""
    if not access:
        raise QueryError("a principal without a name", where=where, do="name who may read: public, group:hr, …")
    return names(access, where)


def normal(access: Iterable[str]) -> tuple[str, ...]:
    """Principals sorted and distinct: equal rules are one row."""
    return tuple(sorted(set(access)))


def principals_of(as_: Sequence[str] | None) -> tuple[str, ...] | None:
    """A caller's principals: whoever calls in another's name is also the public. ``None``: the owner.

    Raises:
        QueryError: something among them that is no name.
    """
    return None if as_ is None else tuple(sorted({*names(as_, "as"), PUBLIC}))


def theirs(access: Iterable[str], principals: Sequence[str] | None) -> tuple[str, ...]:
    """Those of a document's principals that a caller may know of: their own. Who else reads it is not theirs to see."""
    return tuple(name for name in access if principals is None or name in principals)


def ranked(stage: str, score: float, rank: int) -> float:
    """The score that a caller is told of what a stage, or all of them (``fused``), found at this rank.

    BM25 counts words in all documents: how much a word counts tells how many others have it. So of whatever holds such
    a number the rank alone is told, as 1 / rank. A cosine is between the question and the passage.
    """
    return score if stage == "dense" else 1 / rank


def without_statistics(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """Hits as a caller may know them: their scores are ``ranked``; and so are those of what is told with one."""
    return tuple(_without_statistics(hit, rank) for rank, hit in enumerate(hits, 1))


def _without_statistics(hit: Hit, rank: int) -> Hit:
    return replace(
        hit,
        score=ranked("fused", hit.score, rank),
        stages={name: StageScore(of.rank, ranked(name, of.score, of.rank)) for name, of in hit.stages.items()},
        also=tuple(_without_statistics(one, one.stages["fused"].rank) for one in hit.also),
    )
