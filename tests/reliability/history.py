"""What several processes did to one knowledge base at the same time, and whether it can have been so.

A history is right when there is one order of all its operations in which each has its effect at one moment between its
beginning and its end, and sees exactly what those before it left (Herlihy and Wing's linearizability, of the whole base
as one object). So every one of these is found: an acknowledged write that a later search does not see, an update that
another swallowed, a removed document that comes back, a search that sees a part of a batch, or two searches that see
two writes in different order. The search for such an order follows Wing and Gong: after each end it keeps every state
that the base may be in; few operations are under way at a time, so few states are possible.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.reliability.documents import Face

State = Mapping[str, Face]
"""What is there: source → face."""


@dataclass(frozen=True, slots=True)
class Event:
    """One operation of one process; seconds of the machine's monotonic clock.

    ``put`` leaves ``faces``; ``remove`` takes ``faces``' sources away, and ``missed`` them where they were not there;
    ``seen`` found exactly ``faces``, of those that ``as_`` may see. ``end`` is infinite where nobody knows whether it
    was done.
    """

    process: int
    start: float
    end: float
    kind: Literal["put", "remove", "missed", "seen"]
    faces: Mapping[str, Face | None]
    as_: str | None = None

    def after(self, state: State) -> State | None:
        """What it makes of a state; ``None``: it cannot have found that state."""
        if self.kind == "put":
            return {**state, **{source: face for source, face in self.faces.items() if face}}
        if self.kind == "remove":
            there = all(source in state for source in self.faces)
            return {s: face for s, face in state.items() if s not in self.faces} if there else None
        if self.kind == "missed":
            return None if any(source in state for source in self.faces) else state
        return state if self.faces == visible(state, self.as_) else None

    def to_json(self) -> list[Any]:
        faces = {source: face and [face.revision, face.note] for source, face in self.faces.items()}
        return [self.process, self.start, self.end, self.kind, faces, self.as_]

    @classmethod
    def from_json(cls, told: list[Any]) -> Event:
        process, start, end, kind, faces, as_ = told
        return cls(process, start, end, kind, {s: Face(*f) if f else None for s, f in faces.items()}, as_)


def visible(state: State, as_: str | None) -> State:
    """What a caller may see of it."""
    return {s: f for s, f in state.items() if as_ is None or {as_, "public"} & set(f.access)}


def read_history(files: Iterable[Path]) -> list[Event]:
    return [Event.from_json(json.loads(line)) for file in files for line in file.read_text().splitlines()]


def impossible(history: Iterable[Event], at_first: State | None = None) -> str | None:
    """Why no order explains the history, told of the first operation that none explains; ``None``: one does."""
    events = sorted(history, key=lambda event: event.start)
    moments = sorted(
        [(event.start, 0, at) for at, event in enumerate(events)]
        + [(event.end, 1, at) for at, event in enumerate(events) if event.end != float("inf")]
    )
    # Each possibility: operations under way that have had their effect already, and the state that is then.
    possible: list[tuple[frozenset[int], State]] = [(frozenset(), dict(at_first or {}))]
    under_way: set[int] = set()
    for _, is_end, at in moments:
        if not is_end:
            under_way.add(at)
            continue
        reached = [(done - {at}, state) for done, state in _closure(possible, under_way, events) if at in done]
        if not reached:
            return _told(events[at], [state for _, state in possible], [events[other] for other in under_way])
        under_way.remove(at)
        possible = _distinct(reached)
    return None


def _closure(
    possible: list[tuple[frozenset[int], State]], under_way: set[int], events: list[Event]
) -> Iterator[tuple[frozenset[int], State]]:
    """Every possibility after some of the operations under way have had their effect, in any order."""
    waiting = _distinct(possible)
    seen = {_key(one) for one in waiting}
    while waiting:
        done, state = one = waiting.pop()
        yield one
        for at in under_way - done:
            after = events[at].after(state)
            if after is not None:
                further = (done | {at}, after)
                if _key(further) not in seen:
                    seen.add(_key(further))
                    waiting.append(further)


def _distinct(possible: Iterable[tuple[frozenset[int], State]]) -> list[tuple[frozenset[int], State]]:
    return list({_key(one): one for one in possible}.values())


def _key(one: tuple[frozenset[int], State]) -> tuple[frozenset[int], frozenset[tuple[str, Face]]]:
    return one[0], frozenset(one[1].items())


def _told(event: Event, states: list[State], others: list[Event]) -> str:
    """Where the nearest possible state differs from what the operation found."""
    about = f"process {event.process}'s {event.kind} from {event.start:.4f} to {event.end:.4f} fits no order of events"
    if event.kind != "seen":
        return f"{about}: {dict(event.faces)}"
    differing = [
        {
            source: (event.faces.get(source), state.get(source))
            for source in {*event.faces, *state}
            if event.faces.get(source) != state.get(source)
        }
        for state in (visible(state, event.as_) for state in states)
    ]
    nearest = min(differing, key=len)
    writes = [f"{other.kind} {dict(other.faces)}" for other in others if other.kind in ("put", "remove")]
    return f"{about}: (seen, expected) {nearest}; under way: {writes}"
