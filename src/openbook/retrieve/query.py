"""What a question is looked for by: its own text, and what stages make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.store.keyword import Question, Term


NEXT = "hop 2"
"""The stage of queries for what the first hits lack."""

APART = ("part", "decompose", NEXT)
"""Stages whose queries ask for something else than the whole question."""


@dataclass(frozen=True, slots=True)
class Query:
    """A text that is looked for, and the stage that made it.

    ``vector`` is what the dense side is asked (``None``: it is not asked), ``words`` what the keyword side is, if that
    is not to be read from the text, and ``also`` what it looks for besides: (field, word), and how much that counts.
    ``weight`` is what its ranking counts among those of others.
    """

    text: str
    stage: str = "question"
    vector: FloatArray | None = None
    words: Question | None = None
    also: tuple[tuple[Term, float], ...] = ()
    weight: float = 1.0

    @property
    def is_part(self) -> bool:
        """Whether it asks for a part of the question; else it asks the whole in other words."""
        return self.stage in APART
