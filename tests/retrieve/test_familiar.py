"""A model is trusted with the languages that its tokenizer knows, and with no others."""

from __future__ import annotations

import pytest

from openbook.embed import Embedder, open_embedder
from openbook.recipe import LocalEmbedder
from openbook.retrieve.familiar import UNFAMILIAR, familiarity, sample, script

UNKNOWN = {
    "Arabic": "كم عدد أيام الإجازة التي أستحقها في السنة؟",
    "Cyrillic": "Сколько дней отпуска мне положено в год?",
    "Greek": "Πόσες ημέρες άδειας δικαιούμαι ετησίως;",
    "Hebrew": "כמה ימי חופשה מגיעים לי בשנה?",
    "Cjk": "我每年有多少天的带薪休假",
    "Hiragana": "ゆうきゅうきゅうかはなんにちありますか",
    "Hangul": "저는 일 년에 휴가를 며칠 받을 수 있나요",
    "Thai": "ฉันมีวันลาพักร้อนกี่วันต่อปี",
    "Ethiopic": "በዓመት ስንት ቀን እረፍት አለኝ",
}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return open_embedder(LocalEmbedder())


@pytest.mark.parametrize(
    "text",
    [
        "How many days of holiday do I get when I work part time?",
        "The fracture toughness of heat-treated polycrystalline specimens was measured.",
        "What is the default of --experimental-watch-progress-notify-interval?",
    ],
)
def test_english_is_known(embedder: Embedder, text: str) -> None:
    assert familiarity([text], embedder) == [1.0]


@pytest.mark.parametrize("name", UNKNOWN)
def test_scripts_that_the_model_spells_are_not(embedder: Embedder, name: str) -> None:
    (known,) = familiarity([UNKNOWN[name]], embedder)
    assert known < 0.1
    assert script(UNKNOWN[name]) == name


def test_a_language_that_shares_the_letters_lies_between(embedder: Embedder) -> None:
    german, turkish = familiarity(
        [
            "Wie viele Urlaubstage habe ich pro Jahr, wenn ich in Teilzeit arbeite?",
            "Yarı zamanlı çalışıyorsam yılda kaç gün izin hakkım var?",
        ],
        embedder,
    )
    assert turkish < UNFAMILIAR < german < 1.0


def test_every_text_is_judged_by_itself(embedder: Embedder) -> None:
    texts = ["holiday", UNKNOWN["Arabic"], "", "42 / 7", UNKNOWN["Thai"], "the annual report"]
    assert familiarity(texts, embedder) == [familiarity([text], embedder)[0] for text in texts]
    assert familiarity(["", "42 / 7"], embedder) == [1.0, 1.0]
    assert familiarity([], embedder) == []


def test_half_a_text_counts_between_its_halves(embedder: Embedder) -> None:
    english, arabic = "the annual report on holidays", UNKNOWN["Arabic"]
    low, middle, high = familiarity([arabic, f"{english} {arabic}", english], embedder)
    assert low < middle < high


def test_a_remote_model_is_believed(embedder: Embedder) -> None:
    class Remote:
        remote = True

    assert familiarity([UNKNOWN["Arabic"]], Remote()) == [1.0]  # type: ignore[list-item]


def test_the_middle_of_a_document_is_looked_at() -> None:
    assert script(sample("Licence: free to copy. " * 50 + UNKNOWN["Arabic"] * 200)) == "Arabic"
    assert script("12 - 13") == "unknown"
