"""Haystack: pipelines over its InMemoryDocumentStore; hybrid joins embedding and BM25 retriever by reciprocal rank."""

from __future__ import annotations

from pathlib import Path

from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from protocol import Acknowledge, Found, Row, main, model, read_corpus


class Haystack:
    packages = ("haystack-ai", "sentence-transformers-haystack", "sentence-transformers")
    modes = ("dense", "hybrid", "keyword")
    saves = True
    depth = 100

    def open(self, folder: Path) -> None:
        self.file = folder / "store.json"
        if self.file.exists():
            self.store = InMemoryDocumentStore.load_from_disk(str(self.file))
        else:
            self.store = InMemoryDocumentStore()
        self.embedder = SentenceTransformersDocumentEmbedder(model=model(), progress_bar=False)
        self.embedder.warm_up()
        self.embedder.run([Document(content="warm")])
        self.pipelines: dict[str, Pipeline] = {}

    def _write(self, rows: list[Row], policy: DuplicatePolicy) -> None:
        documents = [Document(id=row.id, content=row.whole) for row in rows]
        documents = self.embedder.run(documents)["documents"]
        DocumentWriter(self.store, policy=policy).run(documents)

    def add(self, corpus: Path, acknowledge: Acknowledge) -> None:
        self._write(list(read_corpus(corpus)), DuplicatePolicy.NONE)

    def save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.store.save_to_disk(str(self.file))

    def _pipeline(self, mode: str) -> Pipeline:
        pipeline = Pipeline()
        if mode != "keyword":
            pipeline.add_component("embed", SentenceTransformersTextEmbedder(model=model(), progress_bar=False))
            pipeline.add_component("dense", InMemoryEmbeddingRetriever(self.store))
            pipeline.connect("embed.embedding", "dense.query_embedding")
        if mode != "dense":
            pipeline.add_component("keyword", InMemoryBM25Retriever(self.store))
        if mode == "hybrid":
            pipeline.add_component("join", DocumentJoiner(join_mode="reciprocal_rank_fusion"))
            pipeline.connect("dense", "join")
            pipeline.connect("keyword", "join")
        return pipeline

    def search(self, question: str, k: int, mode: str) -> list[Found]:
        if mode not in self.pipelines:
            self.pipelines[mode] = self._pipeline(mode)
        asked: dict[str, dict[str, object]] = {
            "embed": {"text": question},
            "dense": {"top_k": k},
            "keyword": {"query": question, "top_k": k},
            "join": {"top_k": k},
        }
        wanted = {"dense": ("embed", "dense"), "keyword": ("keyword",), "hybrid": tuple(asked)}[mode]
        found = self.pipelines[mode].run({name: asked[name] for name in wanted})
        return [Found(hit.id, hit.content) for hit in found[wanted[-1]]["documents"]]

    def update(self, corpus: Path, row: Row) -> None:
        self._write([row], DuplicatePolicy.OVERWRITE)

    def delete(self, id: str) -> None:
        self.store.delete_documents([id])

    def count(self) -> int:
        return self.store.count_documents()

    def close(self) -> None:
        pass


if __name__ == "__main__":
    main(Haystack)
