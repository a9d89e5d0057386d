"""What a peer does to its users: who sees an edit, and what is there after a kill. On documents invented here."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from protocol import Row
from session import PeerFailed, Session

NewSession = Callable[[], Session]

EARLIER, LATER = 100, 300
"""Documents that are safe before a kill, and those being added."""

SAMPLE = 25
"""Documents that are looked for one by one after a kill."""

_THINGS = ("kettle", "ladder", "lantern", "anvil", "compass", "barrel", "easel", "trowel", "loom", "satchel", "sundial")
_PLACES = ("attic", "harbour", "orchard", "library", "foundry", "cellar", "greenhouse", "stable", "quarry", "mill")
_PEOPLE = ("gardener", "clerk", "joiner", "nurse", "ferryman", "printer", "weaver", "tinker", "miller", "tutor")
_DEEDS = ("oiled", "counted", "painted", "moved", "weighed", "lent", "dusted", "mended", "wrapped", "photographed")


def notices(start: int, count: int) -> list[Row]:
    """Invented notices, each with a word that no other has."""
    rows = []
    for number in range(start, start + count):
        draw = random.Random(number)
        thing, place, person, deed = (draw.choice(words) for words in (_THINGS, _PLACES, _PEOPLE, _DEEDS))
        text = (
            f"The {thing} in the {place} was {deed} by the {person} on day {draw.randrange(365)}, who noted that it"
            f" stands beside the {draw.choice(_THINGS)} and bears the label {code(number)} on its side."
        )
        rows.append(Row(f"notice-{number}", f"Notice about the {thing}", text))
    return rows


def code(number: int) -> str:
    """A word for a number below a million: no two alike, and nothing that a stemmer or tokeniser would change."""
    digits = (number // 10_000, number // 100 % 100, number % 100)
    return "z" + "".join("bdfghjklmnprstvwxzcq"[digit // 5] + "aeiou"[digit % 5] for digit in digits) + "k"


# Each document that is edited or deleted has a second-best that must come first once it is gone.
_SIGN = " The word {0} stands above the door and {0} below it."
OLD = Row("edited", "", "The lighthouse keeper polishes the great lamp before dusk." + _SIGN.format("brandolith"))
NEW = Row("edited", "", "Bread dough rises twice before it goes into the oven." + _SIGN.format("quervaline"))
GONE = Row("deleted", "", "Beehives are opened on warm days, when most bees are out." + _SIGN.format("sombrettin"))
SECOND = [
    Row("after-edited", "", "Lighthouses along this coast have lamps that sailors steer by. An old chart says"
        " brandolith beside one of them, and nobody at the harbour office knows why it does."),
    Row("before-edited", "", "Bakers weigh flour and yeast for the dough long before morning. An old receipt says"
        " quervaline below the price, and nobody at the counter knows why it does."),
    Row("after-deleted", "", "A beekeeper looks after the hives and takes the honey in summer. An old jar says"
        " sombrettin on its label, and nobody at the market knows why it does."),
]  # fmt: skip
QUESTIONS = {  # by topic for the dense side, by word for the keyword side, both at once for both
    "old": ("Who polishes the lamp of the lighthouse?", "brandolith"),
    "new": ("How often does bread dough rise before the oven?", "quervaline"),
    "gone": ("When are beehives opened?", "sombrettin"),
}


def _question(about: str, mode: str) -> str:
    topic, word = QUESTIONS[about]
    return {"dense": topic, "keyword": word, "hybrid": f"{topic} {word}"}[mode]


def _write(path: Path, rows: list[Row]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({"_id": row.id, "title": row.title, "text": row.text}) + "\n")
    return path


# --- who sees an edit -------------------------------------------------------------------------------------------------


def visibility(new_session: NewSession, scratch: Path) -> dict[str, Any]:
    """``[update|delete][same|other|new][mode]``: whether the edit is seen by the process that made it, by another that
    had asked before, and by a new one. Where a save is needed, the editor saves before the others look.

    The first and the last are tried with nobody else there: some libraries cannot edit what another process has open.
    """
    edits = {"update": _updated, "delete": _deleted}
    found: dict[str, Any] = {edit: {} for edit in edits}
    with new_session() as writer:
        modes = writer.ask("about")["modes"]
        corpus = _begin(writer, scratch, "alone")
        _check(writer, modes)
        for edit, looks in edits.items():
            _edit(writer, edit, corpus)
            found[edit]["same"] = {mode: looks(writer, mode) for mode in modes}
        writer.ask("save")
        writer.ask("close")
        corpus = _begin(writer, scratch, "shared")
        _check(writer, modes)
        with new_session() as reader:
            reader.ask("open", folder=str(scratch / "shared"))
            _check(reader, modes)
            for edit, looks in edits.items():
                try:
                    _edit(writer, edit, corpus)
                    writer.ask("save")
                    found[edit]["other"] = {mode: looks(reader, mode) for mode in modes}
                except PeerFailed as failure:
                    found[edit]["other"] = dict.fromkeys(modes, f"the edit fails: {failure}")
            reader.ask("close")
            reader.ask("open", folder=str(scratch / "alone"))
            for edit, looks in edits.items():
                found[edit]["new"] = {mode: looks(reader, mode) for mode in modes}
            reader.ask("close")
        writer.ask("close")
    return found


def _begin(session: Session, scratch: Path, name: str) -> Path:
    corpus = _write(scratch / f"{name}.jsonl", [OLD, GONE, *SECOND, *notices(0, EARLIER)])
    session.ask("open", folder=str(scratch / name))
    session.ask("add", corpus=str(corpus))
    session.ask("save")
    return corpus


def _check(session: Session, modes: list[str]) -> None:
    for mode in modes:
        for about, row in (("old", OLD), ("gone", GONE)):
            hits = session.ask("search", question=_question(about, mode), k=10, mode=mode)
            assert hits[0][0] == row.id, f"{mode} does not find {row.id} to begin with: {hits[:3]}"


def _edit(session: Session, edit: str, corpus: Path) -> None:
    if edit == "update":
        session.ask("update", corpus=str(corpus), row=asdict(NEW))
    else:
        session.ask("delete", id=GONE.id)


def _updated(session: Session, mode: str) -> bool | str:
    """The new text comes first for the new question, and the old text for none."""
    try:
        new = session.ask("search", question=_question("new", mode), k=10, mode=mode)
        old = session.ask("search", question=_question("old", mode), k=10, mode=mode)
    except PeerFailed as failure:
        return str(failure)
    stale = any(text is not None and "lighthouse keeper" in text for _, text in [*new, *old])
    return bool(new[0][0] == NEW.id and "dough" in (new[0][1] or "") and old[0][0] != OLD.id and not stale)


def _deleted(session: Session, mode: str) -> bool | str:
    try:
        hits = session.ask("search", question=_question("gone", mode), k=10, mode=mode)
    except PeerFailed as failure:
        return str(failure)
    return GONE.id not in [id for id, _ in hits]


# --- what is there after a kill ---------------------------------------------------------------------------------------


def survival(
    new_session: NewSession, scratch: Path, *, later: int = LATER, shares: Sequence[float] = (0.25, 0.5, 0.75)
) -> dict[str, Any]:
    """SIGKILL to the whole process tree (openbook's PostgreSQL included): right after ``add`` returned, during it, and
    where the library needs a save right after that and during it. Then what a new process finds. ``shares`` of the time
    that it takes are where the kills during it fall."""
    with _Trials(new_session, scratch, later) as trial:
        found: dict[str, Any] = {"after_add": trial.run("add", None)}
        add = trial.seconds["add"]
        if trial.saves:
            found["after_save"] = trial.run("save", None)
            save = trial.seconds["save"]
            found["during_add"] = [trial.run("add", 0.5 * add)]
            found["during_save"] = [trial.run("save", share * save) for share in shares]
        else:
            found["during_add"] = [trial.run("add", share * add) for share in shares]
        return found | {"seconds": trial.seconds}


class _Trials:
    """Kills, one after the other. Whoever looks at what a kill has left is the next one's victim: starting a process
    takes some peers longer than all the rest."""

    def __init__(self, new_session: NewSession, scratch: Path, later: int) -> None:
        self.new_session = new_session
        self.scratch = scratch
        self.earlier, self.later = notices(0, EARLIER), notices(EARLIER, later)
        self.first = _write(scratch / "earlier.jsonl", self.earlier)
        self.second = _write(scratch / "later.jsonl", self.later)
        self.seconds = {"add": 0.0, "save": 0.0}
        self.number = 0

    def __enter__(self) -> _Trials:
        self._renew()
        return self

    def __exit__(self, *error: Any) -> None:
        self._session.__exit__(*error)

    def _renew(self) -> None:
        self._session = self.new_session().__enter__()
        about = self._session.ask("about")
        self.modes, self.saves = about["modes"], about["saves"]

    def run(self, step: str, after: float | None) -> dict[str, Any]:
        """Kill ``after`` so many seconds of ``step``; ``None``: when it has just returned."""
        self.number += 1
        folder = str(self.scratch / f"killed-{self.number}")
        session = self._session
        session.ask("open", folder=folder)
        session.ask("add", corpus=str(self.first))
        session.ask("save")
        if step == "save":
            self.seconds["add"] = session.timed("add", corpus=str(self.second))
        corpus = {"corpus": str(self.second)} if step == "add" else {}
        session.acknowledged = 0
        if after is None:
            self.seconds[step] = session.timed(step, **corpus)
        else:
            session.send(step, **corpus)
            time.sleep(after)
        session.kill()
        session.__exit__(None, None, None)
        self._renew()
        state = self._look(folder)
        return {"killed_at": after, "acknowledged": session.acknowledged, "of": len(self.later), **state}

    def _look(self, folder: str) -> dict[str, Any]:
        session = self._session
        try:
            session.ask("open", folder=folder)
            count = session.ask("count") - EARLIER
            # Both halves must agree with the count, and with each other, about who is there.
            halves = [mode for mode in ("dense", "keyword") if mode in self.modes]
            drawn = random.Random(0).sample(self.later, min(SAMPLE, len(self.later)))
            there = {mode: [self._is_there(row, mode) for row in drawn] for mode in halves}
            earlier = [self._is_there(row, mode) for row in self.earlier[:SAMPLE] for mode in halves]
            session.ask("close")
        except PeerFailed as failure:
            return {"opens": False, "error": str(failure)}
        whole = 0 < count < len(self.later) or all(found == bool(count) for of in there.values() for found in of)
        agree = len({tuple(of) for of in there.values()}) == 1
        return {"opens": True, "documents": count, "earlier": all(earlier), "consistent": whole and agree}

    def _is_there(self, row: Row, mode: str) -> bool:
        word = code(int(row.id.rpartition("-")[2]))
        question = row.whole if mode == "dense" else word
        hits = self._session.ask("search", question=question, k=1, mode=mode)
        return bool(hits) and hits[0][0] == row.id and (hits[0][1] is None or word in hits[0][1])
