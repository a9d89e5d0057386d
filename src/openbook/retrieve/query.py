"""What a question is looked for by: its own text, and what stages make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openbook.embed import FloatArray
    from openbook.store.keyword import Question, Term


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
