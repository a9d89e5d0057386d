"""Which rows may share a batch: in it, every other row's passages count as negatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from openbook.finetune.data.rows import Example, same_text


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a training file: its ``texts`` (the query first, then a positive, then negatives), by number; what
    ``answers`` its query; its group."""

    texts: frozenset[int]
    answers: frozenset[int]
    group: int


def without_answers(examples: Sequence[Example]) -> list[Example]:
    """The same without negatives that answer a query of their group: queries that are nearly the same share answers."""
    answers: dict[str, set[str]] = {}
    for one in examples:
        answers.setdefault(one.group, set()).update(same_text(passage.text) for passage in one.positives)
    return [
        replace(one, negatives=tuple(p for p in one.negatives if same_text(p.text) not in answers[one.group]))
        for one in examples
    ]


def lines_of(examples: Sequence[Example], negatives: int) -> tuple[list[list[str]], list[Line]]:
    """For each positive of each query its texts, with so many negatives, and what must not stand beside it. Positives
    of its whole group answer a query."""
    numbers: dict[str, int] = {}
    groups: dict[str, int] = {}

    def number(text: str) -> int:
        return numbers.setdefault(same_text(text), len(numbers))

    answers: dict[str, set[int]] = {}
    for example in examples:
        answers.setdefault(example.group, set()).update(number(passage.text) for passage in example.positives)
    rows: list[list[str]] = []
    lines = []
    for example in examples:
        for positive in example.positives:
            row = [example.query, positive.text, *(passage.text for passage in example.negatives[:negatives])]
            rows.append(row)
            group = groups.setdefault(example.group, len(groups))
            lines.append(Line(frozenset(map(number, row)), frozenset(answers[example.group]), group))
    return rows, lines


@dataclass(frozen=True, slots=True)
class Apart:
    """Makes the sampler of a training: ``lines`` are those of its rows, in their order."""

    lines: tuple[Line, ...]

    def __call__(self, dataset: Any, **how: Any) -> ApartSampler:
        return ApartSampler(dataset, self.lines, **how)

    def steps(self, batch: int, seed: int) -> int:
        """Of the first epoch: more than rows by batch where many rows cannot stand together."""
        return len(self(range(len(self.lines)), batch_size=batch, drop_last=False, seed=seed))


class ApartSampler(DefaultBatchSampler):
    """Batches in which no text stands twice, no two queries are of one group, and nothing that answers a query is
    another row's passage.

    It is sentence-transformers' ``NO_DUPLICATES`` with one rule more: that one knows the texts of a row and not what
    else answers its query. The order depends on seed and epoch alone.
    """

    def __init__(self, dataset: Any, lines: Sequence[Line], **how: Any) -> None:
        super().__init__(dataset, **how)
        self.lines = lines

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches())

    def _batches(self) -> list[list[int]]:
        drawn = torch.Generator().manual_seed(self.seed + self.epoch)
        waiting = torch.randperm(len(self.lines), generator=drawn).tolist()
        batches: list[list[int]] = []
        while waiting:
            batch: list[int] = []
            later: list[int] = []
            texts: set[int] = set()
            answers: set[int] = set()
            groups: set[int] = set()
            for at, row in enumerate(waiting):
                if len(batch) == self.batch_size:
                    later += waiting[at:]
                    break
                line = self.lines[row]
                if line.group in groups or line.texts & (texts | answers) or line.answers & texts:
                    later.append(row)
                    continue
                batch.append(row)
                groups.add(line.group)
                texts |= line.texts
                answers |= line.answers
            waiting = later
            batches.append(batch)
        full = [batch for batch in batches if len(batch) == self.batch_size]
        return full if self.drop_last and full else batches
