"""txtai: one hybrid Embeddings with its content stored."""

from __future__ import annotations

from pathlib import Path

from protocol import Acknowledge, Found, Row, main, model, read_corpus
from txtai import Embeddings

# Of the dense side; the rest is the keyword side's. The hybrid default is 0.5.
WEIGHTS = {"dense": 1.0, "hybrid": 0.5, "keyword": 0.0}


class Txtai:
    packages = ("txtai", "faiss-cpu", "transformers")
    modes = ("dense", "hybrid", "keyword")
    saves = True
    depth = 100

    def open(self, folder: Path) -> None:
        self.folder = folder
        self.embeddings = Embeddings(path=model(), content=True, hybrid=True)
        if (folder / "config").exists() or (folder / "config.json").exists():
            self.embeddings.load(str(folder))
        self.embeddings.transform("warm")

    def add(self, corpus: Path, acknowledge: Acknowledge) -> None:
        self.embeddings.upsert((row.id, row.whole, None) for row in read_corpus(corpus))

    def save(self) -> None:
        self.embeddings.save(str(self.folder))

    def search(self, question: str, k: int, mode: str) -> list[Found]:
        hits = self.embeddings.search(question, k, weights=WEIGHTS[mode])
        return [Found(hit["id"], hit["text"]) for hit in hits]

    def update(self, corpus: Path, row: Row) -> None:
        self.embeddings.upsert([(row.id, row.whole, None)])

    def delete(self, id: str) -> None:
        self.embeddings.delete([id])

    def count(self) -> int:
        return self.embeddings.count()

    def close(self) -> None:
        self.embeddings.close()


if __name__ == "__main__":
    main(Txtai)
