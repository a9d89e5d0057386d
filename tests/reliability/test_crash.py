"""Clients and the embedded server killed at random points; ``make torture`` does it for as long as it is let."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.reliability.crash import Torture, in_memory

KILLS = 40
SEED = 7


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    shared = in_memory()
    folder = Path(tempfile.mkdtemp(prefix="openbook-torture-", dir=shared)) if shared else tmp_path
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_no_kill_loses_a_write_or_shows_half_of_one(folder: Path, url: str) -> None:
    torture = Torture(folder, SEED, url, fresh=20)
    try:
        for _ in range(KILLS):
            assert torture.round() == []
    finally:
        torture.close()
    print(torture.tally)
    assert torture.tally.acknowledged > KILLS
