"""Dense search is exact where that is cheap, and never returns fewer than match."""

from __future__ import annotations

import numpy as np
import pytest

from openbook.knowledge_base import KnowledgeBase
from openbook.store import dense as room
from openbook.store.filter import parse
from openbook.store.index import Reading
from openbook.store.writing import Write
from openbook.types import PUBLIC, Chunk, Document

ROWS = 400


@pytest.fixture
def filled(kb: KnowledgeBase) -> tuple[KnowledgeBase, np.ndarray]:
    """Documents with random unit vectors; ``n`` is their number."""
    vectors = np.random.default_rng(7).normal(size=(ROWS, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    writes = []
    for n in range(ROWS):
        document = Document(
            source=f"d{n}", text=f"text {n}", metadata={"n": n}, access=("public",) if n % 2 else ("u:x",)
        )
        chunks = [Chunk(0, len(document.text), document.text)]
        writes.append(Write(document, None, {kb.index.id: Reading(chunks, vectors[n : n + 1], kb.index.embedder)}))
    kb.writer.write(writes)
    return kb, vectors


@pytest.mark.parametrize("exact_bytes", [room.EXACT_BYTES, 1], ids=["exact", "hnsw"])
@pytest.mark.parametrize(
    ("filter", "principals", "matching"),
    [
        (None, None, range(ROWS)),
        ("n < 8", None, range(8)),
        ("n >= 8 and not n < 300", None, range(300, ROWS)),
        (None, [PUBLIC], range(1, ROWS, 2)),
        ("n in (3, 4, 5)", [PUBLIC], (3, 5)),
        ("n = 4", [PUBLIC], ()),
    ],
)
def test_dense_equals_brute_force(
    filled: tuple[KnowledgeBase, np.ndarray],
    exact_bytes: int,
    filter: str | None,
    principals: list[str] | None,
    matching: range | tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kb, vectors = filled
    monkeypatch.setattr(room, "EXACT_BYTES", exact_bytes)
    question = vectors[5] + 0.3 * vectors[6] + 0.2 * vectors[301]
    question /= np.linalg.norm(question)
    with kb.database.snapshot(principals) as connection:
        view = kb.index.view(connection, principals, parse(filter) if filter else None)
        found, cosines = kb.index.dense(view, question, 10)
        hits = kb.index.fetch(view, [chunk for chunk, _ in found])
    numbers = [int(hits[chunk][0].source[1:]) for chunk, _ in found]
    scores = {n: float(vectors[n] @ question) for n in matching}
    expected = sorted(scores, key=lambda n: -scores[n])[:10]
    assert len(numbers) == len(expected)
    assert set(numbers) <= set(matching)
    assert len(set(numbers) & set(expected)) >= 0.9 * len(expected)
    assert [score for _, score in found] == pytest.approx([scores[n] for n in numbers], abs=2e-3)
    assert cosines == dict(found)


def test_the_cosines_of_others_come_along(filled: tuple[KnowledgeBase, np.ndarray]) -> None:
    kb, vectors = filled
    with kb.database.snapshot(None) as connection:
        view = kb.index.view(connection, None, None)
        every, _ = kb.index.dense(view, vectors[5], ROWS)
        worst = [chunk for chunk, _ in every[-4:]]
        found, cosines = kb.index.dense(view, vectors[5], 3, [*worst, every[0][0]])
    assert found == every[:3]
    assert cosines == pytest.approx(dict(every[:3] + every[-4:]), abs=1e-6)
