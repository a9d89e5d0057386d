"""Chroma: a persistent client and one collection. It has no keyword half on one's own machine."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import chromadb
from chromadb.config import Settings
from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction
from protocol import Acknowledge, Found, Row, main, model, read_corpus


class Chroma:
    packages = ("chromadb", "sentence-transformers")
    modes = ("dense",)
    saves = False
    depth = 100

    def open(self, folder: Path) -> None:
        embed = SentenceTransformerEmbeddingFunction(model_name=model())
        embed(["warm"])
        self.client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
        self.collection = self.client.get_or_create_collection("documents", embedding_function=embed)

    def add(self, corpus: Path, acknowledge: Acknowledge) -> None:
        rows, added = read_corpus(corpus), 0
        while batch := list(islice(rows, self.client.get_max_batch_size())):
            self.collection.add(ids=[row.id for row in batch], documents=[row.whole for row in batch])
            added += len(batch)
            acknowledge(added)

    def save(self) -> None:
        """Chroma writes as it adds."""

    def search(self, question: str, k: int, mode: str) -> list[Found]:
        found = self.collection.query(query_texts=[question], n_results=k)
        texts = (found["documents"] or [[]])[0]
        return [Found(id, text) for id, text in zip(found["ids"][0], texts, strict=True)]

    def update(self, corpus: Path, row: Row) -> None:
        self.collection.update(ids=[row.id], documents=[row.whole])

    def delete(self, id: str) -> None:
        self.collection.delete(ids=[id])

    def count(self) -> int:
        return self.collection.count()

    def close(self) -> None:
        pass


if __name__ == "__main__":
    main(Chroma)
