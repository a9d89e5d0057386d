"""Pairs per second in training a reranker: openbook beside sentence-transformers' own trainer at its defaults.

Both train the same model on the same pairs of question and text, in blocks in turn, so that whatever else the machine
does slows both. Theirs has its defaults (batches of 8 pairs, full precision, all weights, a decision on each pair
alone); ours has those of each method (lists of 8). Both read 192 tokens of a pair. Without dev questions; loading and
comparing with what is served are not counted, checkpoints are.

    openbook finetune data rows.jsonl --from-documents 200 --negatives 7
    python benchmarks/training_reranker.py rows.jsonl [--limit 48] [--blocks 2] [--methods full lora]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from openbook.embed.folder import read_folder
from openbook.finetune.data import read
from openbook.finetune.data.formats import examples_of
from openbook.finetune.lists import Listed, Lists
from openbook.finetune.reranker import Taught, train_reranker
from openbook.finetune.settings import RerankerSettings


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("rows", type=Path, help="training rows with negatives, of any format")
    asked.add_argument("--limit", type=int, default=48, help="queries, the first of the file")
    asked.add_argument("--blocks", type=int, default=2, help="in which they are trained on, in turn")
    asked.add_argument("--model", default="default", help="a BERT")
    asked.add_argument("--methods", nargs="+", default=["full", "lora"], choices=["full", "lora"])
    options = asked.parse_args()

    usual = RerankerSettings()
    lists = listed(options.rows, usual.texts)[: options.limit]
    size = len(lists) // options.blocks
    seconds = dict.fromkeys(["theirs", *options.methods], 0.0)
    pairs = 0
    for number in range(options.blocks):
        block = lists[number * size : (number + 1) * size]
        many = sum(len(one.texts) for one in block)
        pairs += many
        seconds["theirs"] += theirs(options.model, block, usual.max_tokens)
        for method in options.methods:
            with tempfile.TemporaryDirectory() as folder:
                settings = RerankerSettings(method=method, base=options.model, epochs=1)
                taught = Taught(Lists(tuple(block), 0, 0, 0, 0), len(block))
                seconds[method] += many / train_reranker(taught, Path(folder) / "model", settings).pairs_per_second

    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    print(
        f"train on {options.rows.name} ({pairs:,} pairs in {size * options.blocks} lists, {threads} of {cores} cores)"
    )
    speeds = {name: pairs / spent for name, spent in seconds.items()}
    print(f"  sentence-transformers {version('sentence-transformers'):8s} {speeds['theirs']:7.1f} pairs/s")
    for method in options.methods:
        ratio = speeds[method] / speeds["theirs"]
        print(f"  openbook {method:21s} {speeds[method]:7.1f} pairs/s     {ratio:.2f} ×")


def listed(file: Path, texts: int) -> list[Listed]:
    """Of each query its first positive, and negatives of its own, as if a first stage had found them all alike."""
    lists = []
    for one in examples_of(read(file)):
        wrong = [passage.text for passage in one.negatives][: texts - 1]
        if wrong:
            every = (one.positives[0].text, *wrong)
            lists.append(Listed(one.query, every, (1, *[0] * len(wrong)), (0.0,) * len(every)))
    return lists


def theirs(model: str, lists: Sequence[Listed], tokens: int) -> float:
    """Seconds of an epoch by their trainer, as one gets it without an argument."""
    from datasets import Dataset
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    pairs = [
        (one.question, text, float(grade)) for one in lists for text, grade in zip(one.texts, one.grades, strict=True)
    ]
    columns = {name: [pair[at] for pair in pairs] for at, name in enumerate(("question", "text", "label"))}
    loaded = CrossEncoder(str(read_folder(model).path), num_labels=1, max_length=tokens, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        trainer = CrossEncoderTrainer(
            model=loaded,
            args=CrossEncoderTrainingArguments(folder, num_train_epochs=1, report_to="none", disable_tqdm=True),
            train_dataset=Dataset.from_dict(columns),
            loss=BinaryCrossEntropyLoss(loaded),
        )
        return float(trainer.train().metrics["train_runtime"])


if __name__ == "__main__":
    main()
