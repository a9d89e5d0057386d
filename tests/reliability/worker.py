"""The processes that are killed. ``python -m tests.reliability.worker`` has imported everything and opened nothing; for
each line of JSON that it reads it forks a client, and prints its process number: a client costs no start of Python."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from random import Random
from typing import Any

import numpy  # noqa: F401  # these are what openbook loads when first used: here, once for all clients
import openai
import pgvector.psycopg  # noqa: F401
import psycopg
import psycopg_pool  # noqa: F401
import tantivy  # noqa: F401
import tokenizers  # noqa: F401
from tests.reliability.documents import Ledger, opened
from tests.reliability.operations import Client, Journal

import openbook.editing
import openbook.exporting
import openbook.forgetting
import openbook.importing
import openbook.ingest
import openbook.releasing
import openbook.retrieve
import openbook.verification  # noqa: F401

_PR_SET_PDEATHSIG = 1


def die_at(n: int, after: bool) -> None:
    """Have this process kill itself at its n-th exchange with the database: before what it says leaves, or ``after``
    the server has answered and before anybody has read it."""
    told = 0
    wait = psycopg.Connection.wait

    def counted(self: Any, generator: Generator[Any, Any, Any], *rest: Any, **options: Any) -> Any:
        nonlocal told
        told += 1
        if told == n and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = wait(self, generator, *rest, **options)
        if told == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    psycopg.Connection.wait = counted  # type: ignore[method-assign]


def work(order: dict[str, Any]) -> None:
    """Operations without end: somebody kills this process."""
    if order["die_at"]:
        die_at(order["die_at"], order["after"])
    client = Client(
        lambda: opened(Path(order["folder"]), order["url"]),
        order["url"],
        order["name"],
        Ledger.from_json(order["ledger"]),
        Journal(Path(order["journal"])),
        Random(order["seed"]),
    )
    while True:
        client.step()


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies: their harness waits for them by a handle
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # a lost connection is what this is about
    openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1/v1")
    assert threading.active_count() == 1, "a process with threads does not fork well"
    parent = os.getpid()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            try:
                work(json.loads(line))
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()
