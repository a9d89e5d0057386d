"""Keyword search: BM25 over the chunks and the documents of one index, from local tantivy indexes, disposable ones.

The truth is in PostgreSQL. A ``KeywordView`` is a folder beside the host's cache that reflects the database as it was
at one ``Position`` and is caught up from the change feed before it answers.

``words``: how text becomes terms. ``entries``: what the change feed tells, and the indexes that it is written to.
``asking``: what they answer. ``view``: the folder, its lock, and how it is caught up.
"""

from openbook.store.keyword.asking import MENTION_WEIGHT, MENTIONED_IN, SPARE, Mention, Question, Weigh, Weighed
from openbook.store.keyword.entries import NOWHERE, Change, Changes, Held, KeywordChunk, Position, document_number
from openbook.store.keyword.newest import Term
from openbook.store.keyword.view import KeywordView
from openbook.store.keyword.words import LANGUAGES, Words

__all__ = [
    "LANGUAGES",
    "MENTIONED_IN",
    "MENTION_WEIGHT",
    "NOWHERE",
    "SPARE",
    "Change",
    "Changes",
    "Held",
    "KeywordChunk",
    "KeywordView",
    "Mention",
    "Position",
    "Question",
    "Term",
    "Weigh",
    "Weighed",
    "Words",
    "document_number",
]
