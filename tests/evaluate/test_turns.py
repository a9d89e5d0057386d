"""Two evaluations take turns, and neither is left waiting."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from openbook.errors import DatasetError
from openbook.evaluate import turns
from openbook.evaluate.report import Report
from openbook.evaluate.turns import in_turns

NOTHING = Report("support", "0", "all", "r1", "", {})


def asker(name: str, log: list[str], questions: int = 4, *, fails_at: int = 0) -> Callable[..., Report]:
    def ask(progress: Callable[[int, int], None]) -> Report:
        for number in range(1, questions + 1):
            if number == fails_at:
                raise DatasetError("it broke", where=name, do="mend it")
            log.append(f"{name}{number}")
            progress(number, questions)
        progress(questions, questions)  # an evaluation may say so once more
        return NOTHING

    return ask


def test_two_evaluations_ask_in_turns() -> None:
    log: list[str] = []
    told: list[int] = []
    asks = {0: asker("a", log), 1: asker("b", log)}
    assert in_turns(asks, lambda done, of: told.append(done)) == [NOTHING, NOTHING]
    assert log == ["a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4"]
    assert told[:8] == list(range(1, 9))


@pytest.mark.parametrize(("broken", "at"), [(0, 1), (0, 3), (1, 1), (1, 4)])
def test_where_one_breaks_the_other_stops_and_the_reason_is_told(broken: int, at: int) -> None:
    log: list[str] = []
    asks = {n: asker("ab"[n], log, 50, fails_at=at if n == broken else 0) for n in (0, 1)}
    with pytest.raises(DatasetError, match="it broke"):
        in_turns(asks, lambda done, of: None)
    assert len(log) <= 2 * at
    assert not [thread for thread in threading.enumerate() if thread.name == "candidate"]


@pytest.mark.parametrize("when", ["while it asks", "while the other one ends"])
def test_an_interruption_does_not_wait_for_what_the_other_one_does_after_its_questions(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Orders are planted then, each an answer of a model: Ctrl-C was without effect until the last."""
    monkeypatch.setattr(turns, "_STOP_SECONDS", 0.05)
    planting, over = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []
    ended: list[bool] = []

    def plants(progress: Callable[[int, int], None]) -> Report:
        progress(1, 1)
        threads.append(threading.current_thread())
        planting.set()
        ended.append(over.wait(10))
        return NOTHING

    def interrupted(progress: Callable[[int, int], None]) -> Report:
        progress(1, 1)
        assert planting.wait(20)
        if when == "while it asks":
            raise KeyboardInterrupt
        threading.Timer(0.2, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
        return NOTHING

    try:
        with pytest.raises(KeyboardInterrupt):
            in_turns({0: interrupted, 1: plants}, lambda done, of: None)
        assert not ended
        assert [thread.daemon for thread in threads] == [True], "nor does the interpreter wait for it"
    finally:
        over.set()


def test_one_that_asks_less_does_not_hold_up_the_other() -> None:
    log: list[str] = []
    in_turns({0: asker("a", log, 1), 1: asker("b", log, 4)}, lambda done, of: None)
    assert log == ["a1", "b1", "b2", "b3", "b4"]
