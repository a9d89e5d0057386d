"""Clients and the embedded server killed at random points; ``make torture`` does it for as long as it is let."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.crash import Torture

KILLS = 40
SEED = 7


def test_no_kill_loses_a_write_or_shows_half_of_one(tmp_path: Path, url: str) -> None:
    torture = Torture(tmp_path, SEED, url, fresh=20)
    try:
        for _ in range(KILLS):
            assert torture.round() == []
    finally:
        torture.close()
    print(torture.tally)
    assert torture.tally.acknowledged > KILLS
