"""Documents taken together, so that their texts are tokenised on every core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openbook.types import Document

_CHARACTERS, _DOCUMENTS = 1_000_000, 256


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= _CHARACTERS or len(batch) >= _DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
