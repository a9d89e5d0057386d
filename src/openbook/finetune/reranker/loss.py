"""sentence-transformers' losses over lists, of the first stage's scores with the model's correction of them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses

from openbook.finetune.lists import Listed, drawn
from openbook.finetune.settings import RerankerSettings

NOTHING = -1e4
"""The logarithm of no gain: its exponential is 0."""

Pair = tuple[str, str]


class Corrected(torch.nn.Module):
    """What a loss calls a model: ``first`` · fused score + logit, of the pairs of one step.

    Pairs are read in two halves by length, so that little of them is padding: a third less time than at once.
    """

    num_labels = 1

    def __init__(self, model: CrossEncoder, first: float) -> None:
        super().__init__()
        self.model = model
        self.first = first
        self.scores: Sequence[float] = ()

    @property
    def device(self) -> torch.device:
        return self.model.device

    def preprocess(self, pairs: Sequence[Pair], **_: Any) -> dict[str, Any]:
        return {"pairs": pairs}

    def forward(self, features: dict[str, Any]) -> dict[str, torch.Tensor]:
        pairs: Sequence[Pair] = features["pairs"]
        order = sorted(range(len(pairs)), key=lambda at: len(pairs[at][0]) + len(pairs[at][1]))
        half = (len(order) + 1) // 2
        said = []
        for part in filter(None, (order[:half], order[half:])):
            tokens = self.model.preprocess([pairs[at] for at in part])
            moved = {name: of.to(self.device) if isinstance(of, torch.Tensor) else of for name, of in tokens.items()}
            said.append(self.model(moved)["scores"].view(-1).float())
        places = torch.empty(len(order), dtype=torch.long)
        places[torch.tensor(order)] = torch.arange(len(order))
        fused = torch.tensor(self.scores, dtype=torch.float32, device=self.device)
        return {"scores": torch.cat(said)[places.to(self.device)] + self.first * fused}


class ListLoss(torch.nn.Module):
    """The loss of a step, of ``texts`` drawn anew from each of its lists.

    | loss | of sentence-transformers | reference |
    |---|---|---|
    | listwise | ListNetLoss, to the gains of nDCG, 2^grade - 1 | Cao et al., ICML 2007 |
    | lambda | LambdaLoss, NDCG-Loss2++ | Wang et al., CIKM 2018 |
    | pairwise | RankNetLoss | Burges et al., ICML 2005 |
    | pointwise | BinaryCrossEntropyLoss, of relevant or not | |

    Inputs: (questions, their texts, the first stage's scores of these), labels: their grades.
    """

    def __init__(self, model: CrossEncoder, settings: RerankerSettings) -> None:
        super().__init__()
        assert settings.first is not None
        self.kind = settings.loss
        self.texts = settings.texts
        fused: Any = Corrected(model, settings.first)
        self.inner: torch.nn.Module
        if self.kind == "listwise":
            self.inner = losses.ListNetLoss(fused, mini_batch_size=-1)
        elif self.kind == "lambda":
            self.inner = losses.LambdaLoss(fused, mini_batch_size=-1)
        elif self.kind == "pairwise":
            self.inner = losses.RankNetLoss(fused, mini_batch_size=-1)
        else:
            pointwise: Any = losses.BinaryCrossEntropyLoss(model)  # it takes nothing else for a model
            pointwise.model = fused
            self.inner = pointwise

    @property
    def fused(self) -> Corrected:
        inner: Any = self.inner
        return inner.model  # type: ignore[no-any-return]

    @property
    def model(self) -> CrossEncoder:
        """By which the trainer knows a loss that holds its model."""
        return self.fused.model

    def forward(
        self, inputs: Sequence[Any], labels: Sequence[torch.Tensor], prompt: str | None = None, task: str | None = None
    ) -> torch.Tensor:
        # Of torch's own generator, whose state a checkpoint holds.
        draw = random.Random(int(torch.randint(2**62, ())))
        lists = [
            drawn(
                Listed(question, tuple(texts), tuple(int(grade) for grade in grades), tuple(scores)), self.texts, draw
            )
            for question, texts, scores, grades in zip(*inputs, labels, strict=True)
        ]
        self.fused.scores = [score for one in lists for score in one.scores]
        questions, texts = [one.question for one in lists], [list(one.texts) for one in lists]
        if self.kind == "pointwise":
            asked = [one.question for one in lists for _ in one.texts]
            right = torch.tensor([float(grade > 0) for one in lists for grade in one.grades], device=self.fused.device)
            return self.inner([asked, [text for of in texts for text in of]], right)  # type: ignore[no-any-return]
        grades = [torch.tensor([float(max(grade, 0)) for grade in one.grades]) for one in lists]
        if self.kind == "listwise":  # whose target is the softmax of the labels
            grades = [torch.tensor([math.log(2.0**g - 1.0) if g else NOTHING for g in of.tolist()]) for of in grades]
        return self.inner([questions, texts], grades)  # type: ignore[no-any-return]
