"""A disk that is really full: a small file system, mounted for the data folder and filled up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from tests.reliability.checks import faults
from tests.reliability.documents import Ledger, opened
from tests.reliability.operations import OPERATIONS, Client, Journal

from openbook.errors import OpenbookError

MEGABYTES = 160
"""A new data folder takes about 60."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Leaves no block free."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def test_a_full_disk_loses_nothing_and_space_heals_it(small_disk: Path, tmp_path: Path, url: str) -> None:
    db, ballast = small_disk / "db", small_disk / "ballast"
    ledger, journal = Ledger(), Journal(tmp_path / "journal")
    client = Client(lambda: opened(db, url), url, "c", ledger, journal, Random(3))
    with client.kb:
        for _ in range(3):
            OPERATIONS["add"][1](client)
        for begin_segment in (False, True):
            if (
                begin_segment
            ):  # the next write begins a segment of the log, for which there will be no room: the server dies
                with client.kb.database.transaction("owner") as connection:
                    connection.execute("SELECT pg_switch_wal()")
            fill(ballast)
            refused: list[OpenbookError] = []
            for n in range(300):
                try:
                    OPERATIONS[("rewrite", "add", "annotate", "search")[n % 4]][1](client)
                except OpenbookError as error:
                    refused.append(error)
                    if len(refused) == 3:
                        break
            ballast.unlink()
            assert refused
            assert all(error.do and "\n" not in str(error) for error in refused)
            found, truth = faults(client.kb, [ledger])
            assert not found
            ledger.settle(truth, client.kb.release)
            OPERATIONS["rewrite"][1](client)
            assert not ledger.unsure
    assert "wrong" not in journal.path.read_text()
