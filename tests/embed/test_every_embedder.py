"""What every embedder promises, checked on every one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbook.embed import Embedder

TEXTS = [
    "How many sick days do I get?",
    "",
    "   \n\t ",
    "Employees receive ten paid sick days each calendar year, which do not carry over into the next one.",
    "Żółw, naïve café — 東京都は日本の首都です。 Привет! 👩‍👩‍👧 मानव",
    "def f(x):\n    return x ** 2  # squares",
    "word " * 40,
    "a",
    "x" * 500,
    "[CLS] special [PAD] tokens [SEP] in a text",
]

any_text = st.text(st.characters(), max_size=60)  # lone surrogates too
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1)


@pytest.mark.parametrize("name", ["packaged", "bert-cls", "bert-max", "mpnet", "api"])
class TestEveryEmbedder:
    @pytest.fixture
    def model(self, name: str, opened: Callable[[str], Embedder]) -> Embedder:
        return opened(name)

    def test_gives_unit_rows_of_float32(self, model: Embedder) -> None:
        vectors = model.encode(TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), model.dimension)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def test_no_texts_give_no_rows(self, model: Embedder) -> None:
        assert model.encode([]).shape == (0, model.dimension)
        assert model.tokens([]) == []

    def test_a_text_alone_has_the_vector_that_it_has_among_many(self, model: Embedder) -> None:
        many = [f"{text} {i}" for i in range(4) for text in TEXTS]
        together = model.encode(many)
        alone = np.concatenate([model.encode([text]) for text in many[:10]])
        assert cosines(together[:10], alone).min() > 0.9999
        assert cosines(together, model.encode(many[::-1])[::-1]).min() > 0.9999

    def test_equal_texts_have_equal_vectors(self, model: Embedder) -> None:
        vectors = model.encode([*TEXTS, *TEXTS])
        assert (vectors[: len(TEXTS)] == vectors[len(TEXTS) :]).all()

    def test_different_texts_have_different_vectors(self, model: Embedder) -> None:
        sick, _, _, days, *_ = model.encode(TEXTS)
        assert sick @ days < 0.999

    def test_reads_exactly_max_tokens(self, model: Embedder) -> None:
        text = " ".join(f"item{i}" for i in range(400))
        end = model.tokens([text])[0][model.max_tokens - 1][1]
        whole, cut, shorter = model.encode([text, text[:end], text[: end - 1].rpartition(" ")[0]])
        assert whole @ cut > 0.9999
        assert whole @ shorter < 0.99999

    def test_tokens_are_not_cut_off_and_name_their_words(self, model: Embedder) -> None:
        text = "apple " * 1000
        spans = model.tokens([text])[0]
        assert spans.dtype == np.int32
        assert spans.shape == (1000, 2)
        assert all(text[start:end].strip() == "apple" for start, end in spans)

    @given(texts=st.lists(any_text, max_size=3))
    @relaxed
    def test_any_unicode_has_a_vector(self, model: Embedder, texts: list[str]) -> None:
        vectors = model.encode(texts)
        assert np.isfinite(vectors).all()
        assert vectors.shape == (len(texts), model.dimension)

    @given(text=any_text)
    @relaxed
    def test_tokens_lie_inside_the_text_and_in_order(self, model: Embedder, text: str) -> None:
        spans = model.tokens([text])[0]
        assert (spans[:, 0] <= spans[:, 1]).all()
        assert (np.diff(spans[:, 0]) >= 0).all()
        assert not len(spans) or (spans[0, 0] >= 0 and spans[:, 1].max() <= len(text))

    def test_progress_counts_every_text_once(self, model: Embedder) -> None:
        heard: list[int] = []
        model.encode([*TEXTS, *TEXTS, "one more"], progress=heard.append)
        assert heard == sorted(heard)
        assert heard[-1] == 2 * len(TEXTS) + 1

    def test_queries_are_texts_too(self, model: Embedder) -> None:
        a, b = model.encode(["where"], "query"), model.encode(["where"], "document")
        assert cosines(a, b)[0] > 0.9999  # none of these models has prefixes

    def test_hash_is_stable_and_short(self, model: Embedder) -> None:
        assert model.hash == model.hash
        assert len(model.hash) == 16
        assert int(model.hash, 16) >= 0

    def test_threads_may_share_it(self, model: Embedder) -> None:
        from concurrent.futures import ThreadPoolExecutor

        texts = [f"text number {i}" for i in range(24)]
        expected = model.encode(texts)
        with ThreadPoolExecutor(4) as pool:
            few = list(pool.map(lambda text: model.encode([text])[0], texts))
            many = list(pool.map(model.encode, [texts] * 4))
        assert cosines(np.array(few), expected).min() > 0.9999
        assert all(cosines(vectors, expected).min() > 0.9999 for vectors in many)
