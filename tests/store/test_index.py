"""What an index holds is what was read, with its rights, and what is fetched of it stands in the text."""

from __future__ import annotations

import numpy as np
import pytest

from openbook.knowledge_base import KnowledgeBase
from openbook.store import index as room
from openbook.store.index import Reading
from openbook.store.writing import Write
from openbook.types import Chunk, Document


def reading(kb: KnowledgeBase, chunks: list[Chunk], vectors: np.ndarray) -> dict[int, Reading]:
    """What the live index will hold of a document."""
    return {kb.index.id: Reading(chunks, vectors, kb.index.embedder)}


@pytest.mark.parametrize("whole", [1, 2, 3, 99])
def test_what_is_fetched_is_what_stands_there(kb: KnowledgeBase, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the text is read: piece by piece, or whole where several chunks of it are wanted."""
    monkeypatch.setattr(room, "WHOLE", whole)
    texts = {"a": "ä one\n\ntwo 😀 three\nfour", "b": "five", "c": "six  seven"}
    spans = {"a": [(0, 5), (7, 18), (19, 23)], "b": [(0, 4)], "c": [(0, 3), (5, 10)]}
    vector = np.eye(384, dtype=np.float32)
    for name, text in texts.items():
        chunks = [Chunk(start, end, text[start:end], (name,), 1) for start, end in spans[name]]
        read = reading(kb, chunks, vector[: len(chunks)])
        kb.writer.write([Write(Document(source=name, text=text), None, read)])
    with kb.database.snapshot(None) as connection:
        view = kb.index.view(connection, None, None)
        found = kb.index.fetch(view, [chunk for chunk, _ in kb.index.dense(view, vector[0], 10)[0]])
    assert len(found) == 6
    for hit, after in found.values():
        text, chunk = texts[hit.source], hit.chunk
        assert chunk.text == text[chunk.start : chunk.end]
        assert (chunk.start, chunk.end) in spans[hit.source]
        assert after == text[chunk.end : chunk.end + room.GAP]
        assert (chunk.headings, chunk.page) == ((hit.source,), 1)


def test_vectors_of_another_length_are_refused(kb: KnowledgeBase) -> None:
    document = Document(source="d", text="text")
    read = reading(kb, [Chunk(0, 4, "text")], np.ones((1, 5), np.float32))
    with pytest.raises(Exception, match="dimensions"):
        kb.writer.write([Write(document, None, read)])
    assert kb.status()["documents"] == 0


ARABIC = "يحصل كل موظف على عشرين يوما من الإجازة السنوية."
RUSSIAN = "Каждый сотрудник получает двадцать дней отпуска."


def test_documents_that_the_model_cannot_read_are_counted_with_their_rights(kb: KnowledgeBase) -> None:
    added = kb.add(
        Document(source="a", text=ARABIC),
        Document(source="r", text=RUSSIAN, access=("g:hr",)),
        Document(source="s", text=f"{RUSSIAN} {RUSSIAN}"),
        Document(source="e", text="Everyone receives twenty days of holiday."),
    )
    assert added.unfamiliar is not None
    assert (added.unfamiliar.documents, added.unfamiliar.example) == (3, "a")
    assert dict(added.unfamiliar.scripts) == {"Cyrillic": 2, "Arabic": 1}
    assert "does not know the language of 3 documents (Cyrillic, Arabic script; such as a)" in str(added.unfamiliar)
    assert kb.status()["unfamiliar"] == {"Cyrillic": 2, "Arabic": 1}
    assert kb.status(as_=["g:none"])["unfamiliar"] == {"Arabic": 1, "Cyrillic": 1}
    assert kb.status(as_=["g:hr"])["unfamiliar"] == {"Cyrillic": 2, "Arabic": 1}


def test_the_count_follows_edits_and_removals(kb: KnowledgeBase) -> None:
    kb.add(Document(source="a", text=ARABIC), Document(source="r", text=RUSSIAN))
    assert kb.add(Document(source="a", text=ARABIC)).unfamiliar is None  # nothing was read anew
    kb.add(Document(source="a", text="Twenty days of holiday."))
    assert kb.status()["unfamiliar"] == {"Cyrillic": 1}
    kb.add(Document(source="a", text=ARABIC, metadata={"moved": True}))
    kb.add(Document(source="a", text=ARABIC, metadata={"moved": False}))  # metadata alone: no chunk is written
    assert kb.status()["unfamiliar"] == {"Arabic": 1, "Cyrillic": 1}
    kb.remove("r")
    assert kb.status()["unfamiliar"] == {"Arabic": 1}


def test_words_of_metadata_name_a_document_but_its_source_does_not(kb: KnowledgeBase) -> None:
    kb.add(
        Document(source="alpha centauri", text="one", metadata={"author": ("Ada Byron", "Bo"), "year": 1843}),
        *(Document(source=f"d{n}", text=f"other {n}") for n in range(20)),
    )
    with kb.database.snapshot(None) as connection:
        read = kb.index.read(kb.index.view(connection, None, None), "alpha centauri by Ada Byron and Bo in 1843")
    assert [mention.value for mention in read.mentions] == ["ada byron", "bo"]
