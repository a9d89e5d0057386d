"""LangChain over Chroma; hybrid is its EnsembleRetriever over a BM25Retriever, which is made when first asked."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from pathlib import Path

from langchain_chroma import Chroma
from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from protocol import Acknowledge, Found, Row, main, model, read_corpus


class LangChain:
    packages = ("langchain-core", "langchain-classic", "langchain-community", "langchain-chroma", "chromadb")
    modes = ("dense", "hybrid", "keyword")
    saves = False
    depth = 100

    def open(self, folder: Path) -> None:
        embed = HuggingFaceEmbeddings(model_name=model())
        embed.embed_query("warm")
        self.__dict__.pop("_words", None)
        self.store = Chroma("documents", embedding_function=embed, persist_directory=str(folder))

    def add(self, corpus: Path, acknowledge: Acknowledge) -> None:
        rows, added = read_corpus(corpus), 0
        while batch := list(islice(rows, self.store._client.get_max_batch_size())):
            documents = [Document(row.whole, id=row.id, metadata={"id": row.id}) for row in batch]
            self.store.add_documents(documents, ids=[row.id for row in batch])
            added += len(batch)
            acknowledge(added)

    def save(self) -> None:
        """Chroma writes as it adds."""

    @cached_property
    def _words(self) -> BM25Retriever:
        """Over all documents as they are now: it lives in memory, and its user makes it anew for every change."""
        stored = self.store.get()
        documents = [
            Document(text, metadata={"id": id}) for id, text in zip(stored["ids"], stored["documents"], strict=True)
        ]
        return BM25Retriever.from_documents(documents)

    def search(self, question: str, k: int, mode: str) -> list[Found]:
        if mode == "dense":
            hits = self.store.similarity_search(question, k)
        else:
            self._words.k = k
            if mode == "keyword":
                hits = self._words.invoke(question)
            else:
                dense = self.store.as_retriever(search_kwargs={"k": k})
                ensemble = EnsembleRetriever(retrievers=[self._words, dense], weights=[0.5, 0.5], id_key="id")
                hits = ensemble.invoke(question)[:k]
        return [Found(hit.metadata["id"], hit.page_content) for hit in hits]

    def update(self, corpus: Path, row: Row) -> None:
        self.store.update_document(row.id, Document(row.whole, metadata={"id": row.id}))

    def delete(self, id: str) -> None:
        self.store.delete([id])

    def count(self) -> int:
        return len(self.store.get(include=[])["ids"])

    def close(self) -> None:
        pass


if __name__ == "__main__":
    main(LangChain)
