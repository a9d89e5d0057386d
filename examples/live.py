"""Edits a policy and asks again: a copy of the example handbook is followed, a page is saved, and the next answer says
what the page now says.

    python examples/live.py

Everything happens in a temporary folder. The seconds at the end run from the save until the new answer is there.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import openbook

HANDBOOK = Path(__file__).resolve().parent / "handbook"
QUESTION = "How many unused PTO days may I carry over?"
WAIT = 30.0  # seconds, on whatever machine


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        folder, db = Path(place) / "handbook", Path(place) / "db"
        shutil.copytree(HANDBOOK, folder)
        print("$ openbook add handbook --watch &", flush=True)
        command = [sys.executable, "-m", "openbook", "--db", str(db), "add", str(folder), "--watch", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watch:
            assert watch.stdout is not None
            print(f"{json.loads(watch.stdout.readline())['added']} added\n")
            try:
                with openbook.open(db, create=False) as kb:
                    return edit_and_ask(kb, folder / "people" / "time-off.md")
            finally:
                watch.send_signal(signal.SIGINT)
                watch.stdout.read()


def edit_and_ask(kb: openbook.KnowledgeBase, page: Path) -> int:
    asked = f'$ openbook ask "{QUESTION}"'
    print(f"{asked}\n{kb.ask(QUESTION).text}\n")
    print("$ sed -i 's/up to 5 unused/up to 8 unused/' handbook/people/time-off.md", flush=True)
    page.write_text(page.read_text().replace("up to 5 unused", "up to 8 unused"))
    saved = time.perf_counter()
    while "up to 8 unused" not in (answer := kb.ask(QUESTION)).text:
        if time.perf_counter() - saved > WAIT:
            print("the answer did not change", file=sys.stderr)
            return 1
        time.sleep(0.02)  # the other process is to have the processor, too
    seconds = time.perf_counter() - saved
    [cited, *_] = answer.citations
    print(f"\n{asked}\n{answer.text}\n[1] time-off.md, version {cited.version}\n\n{seconds:.1f} s after it was saved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
