"""What every figure is measured beside: ``SentenceTransformer.encode`` at its defaults. Speaks two lines.

``{"documents": [[text, …], …]}``, a call a batch, or ``{"questions": [text, …]}``, a call a question; it answers with
the seconds of each call.
"""

from __future__ import annotations

import json
import os
import sys
import time

from protocol import model
from sentence_transformers import SentenceTransformer


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    encoder = SentenceTransformer(model(), device="cpu")
    encoder.encode(["warm"])
    for line in sys.stdin:
        asked = json.loads(line)
        seconds = []
        for texts in asked["documents"] if "documents" in asked else [[text] for text in asked["questions"]]:
            begun = time.perf_counter()
            encoder.encode(texts)
            seconds.append(time.perf_counter() - begun)
        out.write(json.dumps({"result": seconds}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
