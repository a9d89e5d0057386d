"""What every reranker promises, checked on every one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbook.retrieve.rerank import Reranker

QUESTION = "How many sick days do I get?"
TEXTS = [
    "Employees receive ten paid sick days each calendar year, which do not carry over into the next one.",
    "",
    "   \n\t ",
    "The canteen opens at nine.",
    "Żółw, naïve café — 東京都は日本の首都です。 Привет! 👩‍👩‍👧 मानव",
    "word " * 400,
    "a",
    "[CLS] special [PAD] tokens [SEP] in a text",
]

any_text = st.text(st.characters(), max_size=60)  # lone surrogates too
relaxed = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", ["late", "bert", "distilbert", "api"])
class TestEveryReranker:
    @pytest.fixture
    def model(self, name: str, rerankers: Callable[[str], Reranker]) -> Reranker:
        return rerankers(name)

    def test_gives_a_finite_float32_for_every_text(self, model: Reranker) -> None:
        scores = model.score(QUESTION, TEXTS)
        assert scores.dtype == np.float32
        assert scores.shape == (len(TEXTS),)
        assert np.isfinite(scores).all()

    def test_no_texts_have_no_scores(self, model: Reranker) -> None:
        assert model.score(QUESTION, []).shape == (0,)

    def test_a_text_alone_has_the_score_that_it_has_among_many(self, model: Reranker) -> None:
        many = [f"{text} {i}" for i in range(6) for text in TEXTS]
        together = model.score(QUESTION, many)
        alone = np.concatenate([model.score(QUESTION, [text]) for text in many[:10]])
        assert np.allclose(together[:10], alone, atol=1e-3)
        assert np.allclose(together, model.score(QUESTION, many[::-1])[::-1], atol=1e-3)

    def test_equal_texts_have_equal_scores(self, model: Reranker) -> None:
        scores = model.score(QUESTION, [TEXTS[0], TEXTS[3]] * 3)
        assert np.allclose(scores.reshape(3, 2), scores[:2], atol=1e-4)
        assert abs(scores[0] - scores[1]) > 1e-4

    def test_the_question_counts(self, model: Reranker) -> None:
        ours, others = (model.score(question, TEXTS) for question in (QUESTION, "When does the canteen open?"))
        assert not np.allclose(ours, others, atol=1e-4)

    def test_being_made_ready_changes_nothing(self, model: Reranker) -> None:
        before = model.score(QUESTION, TEXTS)
        model.ready(1)
        model.ready(100)
        assert np.allclose(model.score(QUESTION, TEXTS), before, atol=1e-4)

    @pytest.mark.parametrize("question", ["?", "🦜", "word " * 2_000, "\x00\ud800"])
    def test_odd_questions_have_scores(self, model: Reranker, question: str) -> None:
        assert np.isfinite(model.score(question, TEXTS)).all()

    @given(question=any_text, texts=st.lists(any_text, max_size=3))
    @relaxed
    def test_any_unicode_has_a_score(self, model: Reranker, question: str, texts: list[str]) -> None:
        scores = model.score(question, texts)
        assert scores.shape == (len(texts),)
        assert np.isfinite(scores).all()

    def test_threads_may_share_it(self, model: Reranker) -> None:
        many = [f"text number {i}" for i in range(40)]
        expected = model.score(QUESTION, many)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: model.score(QUESTION, many), range(4)))
            few = list(pool.map(lambda text: model.score(QUESTION, [text])[0], many))
        assert all(np.allclose(scores, expected, atol=1e-3) for scores in found)
        assert np.allclose(few, expected, atol=1e-3)
