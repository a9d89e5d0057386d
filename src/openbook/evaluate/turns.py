"""Two evaluations that take turns, question by question: whatever else the machine does slows both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from openbook.evaluate.report import Report

_STOP_SECONDS = 5.0
"""So long the other of two is waited for when one has failed or was interrupted."""


class _Stopped(BaseException):
    """The other of two evaluations has failed."""


def in_turns(ask: Mapping[int, Callable[..., Report]], progress: Callable[[int, int], None]) -> list[Report]:
    """The reports of two evaluations that ask alternately: one question each, the other waiting meanwhile.

    An evaluation tells its progress after each question; there the turn goes to the other one. What follows the last
    question begins when both have asked theirs.
    """
    turn, over = 0, threading.Condition()
    reports: dict[int, Report] = {}
    errors: list[BaseException] = []

    def mine(me: int) -> bool:
        return turn == me or bool(errors) or 1 - me in reports

    def run(me: int) -> None:
        nonlocal turn

        def hand_over(asked: int, of: int) -> None:
            nonlocal turn
            progress(2 * asked - 1 + me, 2 * of)
            with over:
                turn = 1 - me
                over.notify_all()
                if me == 0 or asked < of:
                    over.wait_for(lambda: mine(me))
            if errors:
                raise _Stopped

        try:
            with over:
                over.wait_for(lambda: mine(me))
            if not errors:
                reports[me] = ask[me](progress=hand_over)
        except BaseException as error:
            errors.append(error)
        with over:
            over.notify_all()

    # What it does after its questions (planting orders, judging) asks models, and is not waited for to no purpose.
    other = threading.Thread(target=run, args=(1,), name="candidate", daemon=True)
    other.start()
    run(0)
    try:
        other.join(_STOP_SECONDS if errors else None)
    except KeyboardInterrupt as error:
        errors.append(error)
    if errors:
        raise errors[0]
    return [reports[0], reports[1]]
