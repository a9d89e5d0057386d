"""What was read out of a question, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from openbook.store.filter import And, Filter


@dataclass(frozen=True, slots=True)
class Proposal:
    """A filter that a question seems to ask for: the ``words`` of the question that say so, and ``why``."""

    filter: Filter
    words: str
    why: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was met in a question and is no filter after all. ``meant``: the question asks for it all the same, and
    whoever asked is told; else it is in the trace."""

    words: str
    why: str
    filter: Filter | None = None
    meant: bool = False


@dataclass(frozen=True, slots=True)
class Proposals:
    """What a question proposes; ``skipped``: why nothing could be read out of it."""

    kind: str
    proposed: Sequence[Proposal] = ()
    dropped: Sequence[Dropped] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is applied of the proposals, as one filter, and what is told of all of them."""

    filter: Filter | None
    applied: Sequence[Proposal]
    dropped: Sequence[Dropped]

    def told(self, kind: str, skipped: str = "") -> dict[str, Any]:
        """As JSON, for the trace."""
        found: dict[str, Any] = {
            "kind": kind,
            "applied": [{"filter": str(one.filter), "words": one.words, "why": one.why} for one in self.applied],
            "dropped": [
                {
                    "filter": None if one.filter is None else str(one.filter),
                    "words": one.words,
                    "why": one.why,
                    "meant": one.meant,
                }
                for one in self.dropped
            ],
        }
        return {**found, "skipped": skipped} if skipped else found

    def given_up(self, why: str) -> Chosen:
        """Nothing of it, after all."""
        return Chosen(None, (), (*self.dropped, *(Dropped(one.words, why, one.filter, True) for one in self.applied)))


NOTHING_LEFT = "nothing here would be left"
ALL_ARE_SO = "it excludes nothing here"


def choose(proposals: Proposals, matching: Callable[[Filter | None], int]) -> Chosen:
    """One proposal after another, as long as together they leave something; one that excludes nothing would cost the
    search its time. ``matching``: how much a filter leaves."""
    applied: list[Proposal] = []
    dropped = list(proposals.dropped)
    kept: Filter | None = None
    left = matching(None) if proposals.proposed else 0
    for one in proposals.proposed:
        together = both(kept, one.filter)
        found = matching(together)
        if not 0 < found < left:
            dropped.append(Dropped(one.words, ALL_ARE_SO if found else NOTHING_LEFT, one.filter, not found))
        else:
            applied.append(one)
            kept, left = together, found
    return Chosen(kept, applied, dropped)


def both(one: Filter | None, other: Filter) -> Filter:
    """Both hold; a flat list of parts, which stays readable."""
    if one is None:
        return other
    parts = [part for filter in (one, other) for part in (filter.parts if isinstance(filter, And) else (filter,))]
    return And(tuple(parts))
