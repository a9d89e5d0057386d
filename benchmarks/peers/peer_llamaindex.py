"""LlamaIndex: a VectorStoreIndex in its own store; hybrid is its QueryFusionRetriever over a BM25Retriever.

Retrievers are made when first asked and kept, as a query engine keeps its own.
"""

from __future__ import annotations

from pathlib import Path

from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.retrievers.bm25 import BM25Retriever
from protocol import Acknowledge, Found, Row, main, model, read_corpus


class LlamaIndex:
    packages = ("llama-index-core", "llama-index-retrievers-bm25", "sentence-transformers")
    modes = ("dense", "hybrid", "keyword")
    saves = True
    depth = 100

    def open(self, folder: Path) -> None:
        Settings.embed_model = HuggingFaceEmbedding(model_name=model())
        Settings.embed_model.get_text_embedding("warm")
        Settings.llm = MockLLM()  # asks for one even where it is never called
        self.folder = folder
        self.index: VectorStoreIndex | None = None
        self.retrievers: dict[tuple[str, int], BaseRetriever] = {}
        if (folder / "docstore.json").exists():
            self.index = load_index_from_storage(StorageContext.from_defaults(persist_dir=str(folder)))

    def add(self, corpus: Path, acknowledge: Acknowledge) -> None:
        documents = [Document(text=row.whole, doc_id=row.id) for row in read_corpus(corpus)]
        if self.index is None:
            self.index = VectorStoreIndex.from_documents(documents)
        else:
            self.index.refresh_ref_docs(documents)

    def save(self) -> None:
        self.index.storage_context.persist(str(self.folder))

    def search(self, question: str, k: int, mode: str) -> list[Found]:
        if (mode, k) not in self.retrievers:
            self.retrievers[mode, k] = self._retriever(k, mode)
        hits = self.retrievers[mode, k].retrieve(question)
        return [Found(hit.node.ref_doc_id, hit.node.get_content()) for hit in hits]

    def _retriever(self, k: int, mode: str) -> BaseRetriever:
        if mode == "dense":
            return self.index.as_retriever(similarity_top_k=k)
        if mode == "keyword":
            return BM25Retriever.from_defaults(docstore=self.index.docstore, similarity_top_k=k)
        return QueryFusionRetriever(
            [self._retriever(k, "dense"), self._retriever(k, "keyword")],
            similarity_top_k=k,
            num_queries=1,
            mode="reciprocal_rerank",
            use_async=False,
        )

    def update(self, corpus: Path, row: Row) -> None:
        self.index.update_ref_doc(Document(text=row.whole, doc_id=row.id))

    def delete(self, id: str) -> None:
        self.index.delete_ref_doc(id, delete_from_docstore=True)

    def count(self) -> int:
        return len(self.index.ref_doc_info) if self.index else 0

    def close(self) -> None:
        pass


if __name__ == "__main__":
    main(LlamaIndex)
