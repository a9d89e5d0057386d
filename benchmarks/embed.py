"""Texts per second and agreement: openbook beside ``SentenceTransformer.encode`` at its defaults.

Both take the same blocks of texts in turn, so that whatever else the machine does slows both. Needs openbook[train].

    python benchmarks/embed.py shared/data/scifact [--limit 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from openbook.embed import open_embedder
from openbook.embed.folder import read_folder
from openbook.embed.runtime import best_precision
from openbook.recipe import LocalEmbedder

BLOCK = 256


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path, help="a BEIR folder with corpus.jsonl")
    asked.add_argument("--limit", type=int, help="encode only so many texts, drawn at random (seed 0)")
    asked.add_argument("--model", default="default", help="a sentence-transformers folder")
    options = asked.parse_args()

    with (options.folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
    random.Random(0).shuffle(texts)
    texts = texts[: options.limit]

    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(read_folder(options.model).path), device="cpu")
    ours = open_embedder(LocalEmbedder(model=options.model))
    for warm in (theirs.encode, ours.encode):
        warm(texts[:32])

    seconds = np.zeros(2)
    agreement = 1.0
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        begun = time.perf_counter()
        a = theirs.encode(block, normalize_embeddings=True)
        between = time.perf_counter()
        b = ours.encode(block)
        seconds += between - begun, time.perf_counter() - between
        agreement = min(agreement, float((a * b).sum(axis=1).min()))

    speeds = len(texts) / seconds
    cores = len(os.sched_getaffinity(0))
    print(f"embed {options.folder.name} ({len(texts):,} texts, {cores} cores, {features()}, {best_precision()})")
    print(f"  sentence-transformers {version('sentence-transformers'):8s} {speeds[0]:7.1f} texts/s")
    ratio = f"{speeds[1] / speeds[0]:.2f} ×  (cosine ≥ {np.floor(agreement * 1e6) / 1e6:.6f})"
    print(f"  openbook                       {speeds[1]:7.1f} texts/s     {ratio}")


def features() -> str:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    names = {"amx_bf16": "AMX", "avx512f": "AVX-512", "avx2": "AVX2"}
    return next((name for flag, name in names.items() if flag in flags), "no AVX2")


if __name__ == "__main__":
    main()
