"""Which questions ask for the whole."""

from __future__ import annotations

import pytest

from openbook.similar.overall import asks_for_all

GLOBAL = """
What are the main themes?
What are the main topics in these documents?
what are the 5 key themes across all documents
Which topics are covered?
What topics do these documents cover?
What are these documents about?
What is this knowledge base about?
Summarise everything.
Please summarize all the documents for me
Give me an overview
Give me a brief overview of the corpus.
An overview of the documents, please
List the main topics.
Main themes
What subjects are discussed here?
Tell me the most important topics of the collection
"""
NOT = """
What are the main topics of the safety training?
Summarise the travel policy.
What is the main gate's opening time?
Give me an overview of parental leave.
How many sick days do I get?
What are the main themes in Hamlet?
What is this?
Which areas are restricted to visitors?
Overview of Lisbon
all
"""


@pytest.mark.parametrize("question", GLOBAL.strip().splitlines())
def test_asks_for_the_whole(question: str) -> None:
    assert asks_for_all(question)


@pytest.mark.parametrize(
    "question", [*NOT.strip().splitlines(), "", "🎈", "what are the main " * 2_000, "top " * 5_000]
)
def test_asks_for_something(question: str) -> None:
    assert not asks_for_all(question)
