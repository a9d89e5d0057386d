"""Rows per second in training: openbook beside sentence-transformers' own trainer at its defaults.

Both train the same model on the same blocks of rows in turn, so that whatever else the machine does slows both. Theirs
has its defaults (batches of 8, full precision, all weights); ours has those of each method. Without dev questions;
loading, merging and comparing with what is served are not counted, checkpoints are.

    openbook finetune data rows.jsonl --from-documents 200
    python benchmarks/training.py rows.jsonl [--limit 256] [--blocks 2] [--methods full lora]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

from openbook.embed.folder import read_folder
from openbook.finetune.data import Rows, read
from openbook.finetune.data.formats import examples_of
from openbook.finetune.data.negatives import filled
from openbook.finetune.data.rows import grouped
from openbook.finetune.embedder import train_embedder
from openbook.finetune.embedder.batches import lines_of
from openbook.finetune.settings import EmbedderSettings


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("rows", type=Path, help="training rows of any format")
    asked.add_argument("--limit", type=int, default=256, help="queries, the first of the file")
    asked.add_argument("--blocks", type=int, default=2, help="in which they are trained on, in turn")
    asked.add_argument("--model", default="default", help="a sentence-transformers folder")
    asked.add_argument("--methods", nargs="+", default=["full", "lora"], choices=["full", "lora"])
    options = asked.parse_args()

    examples, _ = filled(grouped(examples_of(read(options.rows))[: options.limit]), 1, 0)
    size = len(examples) // options.blocks
    seconds = dict.fromkeys(["theirs", *options.methods], 0.0)
    rows = 0
    for number in range(options.blocks):
        block = examples[number * size : (number + 1) * size]
        lines, _ = lines_of(block, 1)
        rows += len(lines)
        seconds["theirs"] += theirs(options.model, lines)
        for method in options.methods:
            with tempfile.TemporaryDirectory() as folder:
                settings = EmbedderSettings(method=method, base=options.model, epochs=1)
                done = train_embedder(Rows(tuple(block)), Path(folder) / "model", settings)
                seconds[method] += len(lines) / done.pairs_per_second

    cores = len(os.sched_getaffinity(0))
    print(f"train on {options.rows.name} ({rows:,} rows of a query, a positive and a negative, {cores} cores)")
    speeds = {name: rows / spent for name, spent in seconds.items()}
    print(f"  sentence-transformers {version('sentence-transformers'):8s} {speeds['theirs']:7.1f} rows/s")
    for method in options.methods:
        ratio = speeds[method] / speeds["theirs"]
        print(f"  openbook {method:21s} {speeds[method]:7.1f} rows/s     {ratio:.2f} ×")


def theirs(model: str, lines: list[list[str]]) -> float:
    """Seconds of an epoch by their trainer, as one gets it without an argument."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    columns = {name: [line[at] for line in lines] for at, name in enumerate(("anchor", "positive", "negative"))}
    loaded = SentenceTransformer(str(read_folder(model).path), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=loaded,
            args=SentenceTransformerTrainingArguments(folder, num_train_epochs=1, report_to="none", disable_tqdm=True),
            train_dataset=Dataset.from_dict(columns),
            loss=MultipleNegativesRankingLoss(loaded),
        )
        return float(trainer.train().metrics["train_runtime"])


if __name__ == "__main__":
    main()
