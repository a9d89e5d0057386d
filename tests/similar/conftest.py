"""Documents of three subjects, which nobody tells the library."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from openbook.knowledge_base import KnowledgeBase
from openbook.types import Document

SUBJECTS = {
    "bread": "The baker kneads rye dough and bakes {} loaves of bread in the stone oven.",
    "boats": "A sailing boat of {} metres was moored at the harbour pier when the tide came in.",
    "taxes": "The tax office refunds {} euros of income tax after the yearly declaration was filed.",
}
EACH = 8


def documents(**about: object) -> list[Document]:
    return [
        Document(f"{subject}-{number}.md", sentence.format(number + 3) + f" This is note {number}.", **about)  # type: ignore[arg-type]
        for subject, sentence in SUBJECTS.items()
        for number in range(EACH)
    ]


@pytest.fixture
def filled(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    kb = new_kb()
    kb.add(*documents())
    return kb
