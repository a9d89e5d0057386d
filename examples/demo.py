"""The first minute: add the example handbook, ask three questions, the last of which it cannot answer.

Answers are quoted from the documents. With OPENBOOK_LLM set (openai:MODEL or anthropic:MODEL; a server of your own by
OPENBOOK_LLM_BASE_URL), the model's answer is shown beside each quoted one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUESTIONS = ("How many sick days do I get?", "Can I carry over unused leave?", "What is the dress code at the office?")


def openbook(*arguments: str, **environment: str) -> None:
    print("$ openbook", *(f'"{a}"' if " " in a else a for a in arguments), flush=True)
    quoting = {key: value for key, value in os.environ.items() if key != "OPENBOOK_LLM"}
    status = subprocess.run([sys.executable, "-m", "openbook", *arguments], env={**quoting, **environment}).returncode
    if status:
        sys.exit(status)
    print(flush=True)


def main() -> None:
    model = os.environ.get("OPENBOOK_LLM")
    openbook("add", os.path.relpath(HERE / "handbook"))
    for question in QUESTIONS:
        openbook("ask", question)
        if model:
            openbook("ask", question, OPENBOOK_LLM=model)
    if not model:
        print("These answers are quotes. To have a model write them: export OPENBOOK_LLM=openai:MODEL OPENAI_API_KEY=…")


if __name__ == "__main__":
    main()
