"""``add --watch``: a line for each change, until it is stopped."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from openbook.cli.documents import print_added
from openbook.cli.printing import file_name, one_line, print_json, say

if TYPE_CHECKING:
    from openbook.watch import Followed

NAMED = 3
"""Of a change so many places are named on its line."""


def follow(changes: Iterator[Followed], json: bool) -> None:
    """Print what became of each change until Ctrl-C, or until the system ends this; then the sum of it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service is stopped like this, not by Ctrl-C
    start, first = time.monotonic(), True
    total = {"added": 0, "updated": 0, "removed": 0}
    try:
        for change in changes:
            done = change.done
            for key in total:
                total[key] += getattr(done, key)
            if json:
                facts = {"time": change.time, "root": change.root, "places": change.places}
                print_json({**facts, **asdict(done), "note": change.note})
            elif change.note is not None:
                say(f"{file_name(change.root)}: {one_line(change.note)}")
            elif first or not change.places:
                print_added(done)
            else:
                for skipped in done.skipped:
                    say(f"skipped {skipped.source}: {skipped.reason}")
                counts = ", ".join(f"{getattr(done, key)} {key}" for key in total if getattr(done, key))
                more = len(change.places) - NAMED
                named = ", ".join(map(one_line, change.places[:NAMED])) + f" and {more} more" * (more > 0)
                if counts:
                    print(f"{change.time[11:19]}  {named}: {counts}")
            first = False
            sys.stdout.flush()  # whoever reads a pipe is to see it now
    except KeyboardInterrupt:
        pass
    seconds = round(time.monotonic() - start, 1)
    if json:
        print_json({"stopped": True, **total, "seconds": seconds})
    else:
        print(f"stopped after {seconds:,.0f} s: " + ", ".join(f"{count} {key}" for key, count in total.items()))
