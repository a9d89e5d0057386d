"""Time and agreement of reranking: openbook beside ``CrossEncoder.predict`` of sentence-transformers at its defaults.

Both score the same pairs of the same model in turn, question by question, so that whatever else the machine does slows
both. Without ``--model`` it is of the shape of ms-marco-MiniLM-L6: the packaged model with a head of random numbers,
which takes as long as a trained one. Needs openbook[train].

    python benchmarks/rerank.py shared/data/scifact [--questions 10] [--candidates 50] [--model FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from openbook.embed.folder import read_folder
from openbook.embed.runtime import best_precision
from openbook.recipe import CrossEncoder
from openbook.retrieve.rerank.cross_encoder import PairModel


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path, help="a BEIR folder with corpus.jsonl and queries.jsonl")
    asked.add_argument("--questions", type=int, default=10)
    asked.add_argument("--candidates", type=int, default=50, help="texts for each question, drawn at random (seed 0)")
    asked.add_argument("--model", type=Path, help="a CrossEncoder's folder")
    options = asked.parse_args()

    texts = [f"{row.get('title') or ''} {row['text']}".strip() for row in rows(options.folder / "corpus.jsonl")]
    questions = [row["text"] for row in rows(options.folder / "queries.jsonl")]
    draw = random.Random(0)
    pools = [
        (question, draw.sample(texts, options.candidates)) for question in draw.sample(questions, options.questions)
    ]

    import sentence_transformers

    with tempfile.TemporaryDirectory() as made:
        folder = options.model or shaped(Path(made))
        theirs = sentence_transformers.CrossEncoder(str(folder), device="cpu")
        ours = PairModel(CrossEncoder(model=str(folder)))
        ours.ready(options.candidates)
        theirs.predict([("warm", text) for text in texts[:8]])
        ours.score("warm", texts[: options.candidates])
        times, apart = [], 0.0
        logistic = type(theirs.activation_fn).__name__ == "Sigmoid"
        for question, pool in pools:
            begun, busy = time.perf_counter(), time.process_time()
            a = theirs.predict([(question, text) for text in pool])
            between, half = time.perf_counter(), time.process_time()
            b = ours.score(question, pool)
            times.append((between - begun, time.perf_counter() - between, half - busy, time.process_time() - half))
            apart = max(apart, float(np.abs((a if logistic else 1 / (1 + np.exp(-a))) - b).max()))

    seconds = np.array(times)
    cores = len(os.sched_getaffinity(0))
    of = f"{options.questions} questions × {options.candidates} texts"
    print(f"rerank {options.folder.name} ({of}, {cores} cores, {best_precision()})")
    names = (f"sentence-transformers {version('sentence-transformers')}", "openbook")
    for name, wall, busy in zip(names, seconds.T, seconds.T[2:], strict=False):
        told = (
            f"{1000 * np.median(wall):7.0f} ms a question, {1000 * np.median(busy):7.0f} ms of all processors (medians)"
        )
        print(f"  {name:30s} {told}")
    whole, usual = seconds[:, 1].sum() / seconds[:, 0].sum(), np.median(seconds[:, 1] / seconds[:, 0])
    print(f"  time, openbook / sentence-transformers: {whole:.0%} in all, {usual:.0%} in the median question")
    print(f"  processor time: {seconds[:, 3].sum() / seconds[:, 2].sum():.0%}")
    print(f"  scores apart by at most {apart:.1e}")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def shaped(folder: Path) -> Path:
    import shutil

    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    base = read_folder("default").path
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=1).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(base / name, folder / name)
    return folder


if __name__ == "__main__":
    main()
