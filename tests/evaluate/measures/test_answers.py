"""Right answers are found right in every language, wrong ones wrong, and silence earns nothing."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.evaluate.datasets.dataset import Evidence, Question, Span
from openbook.evaluate.measures import answers
from openbook.evaluate.measures.answers import contained, exact_match, f1, tokens
from openbook.evaluate.report import Outcome
from openbook.types import Answer, Chunk, Citation, Hit

# --- SQuAD's normalisation, as its paper and script describe it -------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "overlap"),
    [
        ("Denver Broncos", "denver broncos", 1, 1),
        ("The Denver Broncos!", "Denver  Broncos", 1, 1),
        ("an apple a day", "apple day", 1, 1),
        ("theatre", "atre", 0, 0),  # an article is a word
        ("well-known", "wellknown", 1, 1),  # punctuation leaves no gap
        ("well known", "well-known", 0, 0),
        ("$1,000", "1000", 1, 1),
        ("U.S.", "US", 1, 1),
        ("in March 2021", "March 2021", 0, 2 * 2 / (3 + 2)),
        ("March", "in early March 2021", 0, 2 * 1 / (1 + 4)),
        ("day after day", "day", 0, 2 * 1 / (3 + 1)),  # a bag: one of the two is shared
        ("day after day", "day by day", 0, 2 * 2 / (3 + 3)),
        ("red", "blue", 0, 0),
        ("", "blue", 0, 0),
        ("the", "blue", 0, 0),
        # Where SQuAD's script leaves nothing to compare, and calls all such answers equal:
        ("A", "A", 1, 1),
        ("A", "the", 0, 0),
        ("?", "?", 1, 1),
        ("?", "!", 0, 0),
    ],
)
def test_english_answers(answer: str, accepted: str, exact: float, overlap: float) -> None:
    assert exact_match(tokens(answer), [tokens(accepted)]) == exact
    assert f1(tokens(answer), [tokens(accepted)]) == pytest.approx(overlap)


def squad(text: str) -> list[str]:
    """The four steps of SQuAD's normalisation, written down apart from the module's."""
    kept = re.sub(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]""", "", text.lower())
    return re.sub(r"\b(?:a|an|the)\b", " ", kept).split()


ascii_text = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=25)
english = st.lists(
    st.sampled_from(["the", "a", "An", "lamp", "Keeper's", "log-book", "$5.50", "(1)", "--"]) | ascii_text
)


@settings(max_examples=400)
@given(english.map(" ".join))
def test_ascii_text_is_normalised_as_in_squad(text: str) -> None:
    """Wherever SQuAD leaves anything."""
    if squad(text):
        assert list(tokens(text)) == squad(text)


@given(english.map(" ".join), english.map(" ".join))
def test_f1_is_symmetric_and_agrees_with_precision_and_recall(one: str, other: str) -> None:
    a, b = tokens(one), tokens(other)
    assert f1(a, [b]) == f1(b, [a])
    assert exact_match(a, [b]) == exact_match(b, [a]) <= f1(a, [b]) <= 1
    shared = sum(min(Counter(a)[word], Counter(b)[word]) for word in set(a))
    if shared:
        precision, recall = shared / len(a), shared / len(b)
        assert f1(a, [b]) == pytest.approx(2 * precision * recall / (precision + recall))
    else:
        assert f1(a, [b]) == 0
    assert exact_match(a, [b]) <= contained(a, [b])


@given(st.text(max_size=30), st.sampled_from([*answers.ARTICLES, "ar", "ja", "th", "xx"]))
def test_a_text_is_its_own_answer_in_every_language(text: str, language: str) -> None:
    found = tokens(text, language)
    assert all(found)
    assert exact_match(found, [tokens(f" {text}\n", language)]) == bool(found)


def test_the_best_of_the_accepted_answers_counts() -> None:
    accepted = [tokens("Harbour Pine"), tokens("the harbour"), tokens("pine trees")]
    assert exact_match(tokens("Harbour"), accepted) == 1
    assert f1(tokens("trees of pine"), accepted) == pytest.approx(2 * 2 / (3 + 2))


@pytest.mark.parametrize(
    ("language", "answer", "accepted"),
    [
        ("de", "Der Leuchtturm.", "leuchtturm"),
        ("de", "die STRASSE", "Straße"),
        ("fr", "L’école", "école"),
        ("fr", "à l'école", "À école"),
        ("es", "¿El faro?", "faro"),
        ("it", "un'isola", "isola"),
        ("it", "gli scogli", "scogli"),
        ("pt", "As ilhas", "ilhas"),
        ("nl", "'t eiland", "het eiland"),
        ("sv", "ett hus", "hus"),
        ("el", "της νήσου", "νήσου"),
        ("hu", "az óra", "óra"),
        ("ar", "المَنارة", "منارة"),
        ("ru", "«Маяк»", "маяк"),
        ("hi", "प्रकाशस्तंभ।", "प्रकाशस्तंभ"),
        ("zh", "《灯塔》。", "灯塔"),
        ("ja", "ﾄｳﾀﾞｲ", "トウダイ"),  # half-width
        ("en", "soft\u00adhyphen", "softhyphen"),
        ("en", "1754–1763", "1754-1763"),
        ("tr", "İSTASYON", "istasyon"),
    ],
)
def test_answers_that_are_the_same_in_their_language(language: str, answer: str, accepted: str) -> None:
    assert exact_match(tokens(answer, language), [tokens(accepted, language)]) == 1


@pytest.mark.parametrize(
    ("language", "answer", "accepted"),
    [
        ("de", "the lamp", "lamp"),  # English articles are German words
        ("en", "die lamp", "lamp"),
        ("ru", "a b", "b"),
        ("ar", "ال", ""),
        ("en", "war—peace", "warpeace"),  # a dash stands between words
    ],
)
def test_answers_that_differ_in_their_language(language: str, answer: str, accepted: str) -> None:
    assert exact_match(tokens(answer, language), [tokens(accepted, language)]) == 0


def test_scripts_without_blanks_are_compared_by_characters() -> None:
    assert f1(tokens("灯塔守护人", "zh"), [tokens("守护人", "zh")]) == pytest.approx(2 * 3 / (5 + 3))
    assert contained(tokens("灯は夕方に点く。", "ja"), [tokens("夕方", "ja")]) == 1
    assert contained(tokens("ประภาคารอยู่บนเกาะ", "th"), [tokens("บนเกาะ", "th")]) == 1
    assert contained(tokens("등대는 섬에 있다", "ko"), [tokens("섬", "ko")]) == 1


@pytest.mark.parametrize(
    ("answer", "accepted", "held"),
    [
        ("Claims are filed within 30 days of purchase.", "30 days", 1),
        ("Claims are filed within 130 days.", "30 days", 0),  # not a part of a word
        ("30 of the 45 days", "30 days", 0),  # side by side
        ("days 30", "30 days", 0),  # in order
        ("It is in the (old) harbour", "old harbour", 1),
        ("30", "30 days", 0),
    ],
)
def test_an_answer_holds_an_accepted_one(answer: str, accepted: str, held: float) -> None:
    assert contained(tokens(answer), [tokens(accepted)]) == held


# --- languages --------------------------------------------------------------------------------------------------------


def test_the_language_is_said_or_seen_or_that_of_the_others() -> None:
    german = (
        "Wie viele Tage darf man von zu Hause aus arbeiten, und muss das mit der Leitung für den Monat geklärt sein?"
    )
    english = "How many of the days are paid, and which of them may be taken in the next of the years?"
    short = "Wer bezahlt das?"
    assert answers.languages(
        [
            Question("seen", german),
            Question("said", short, metadata={"lang": "pt-BR"}),
            Question("arabic", "من يدفع؟", answers=("الشركة",)),
            Question("like the others", short),
            Question("not a code", short, metadata={"lang": "Schweizerdeutsch"}),
        ]
    ) == {"seen": "de", "said": "pt", "arabic": "ar", "like the others": "de", "not a code": "de"}
    assert answers.languages([Question("a", german), Question("b", english)]) == {"a": "de", "b": "en"}
    assert answers.languages([Question("q", "Why?")]) == {"q": "en"}


# --- outcomes ---------------------------------------------------------------------------------------------------------

TEXT = "The lamp is lit at dusk. The keeper writes the hour in the log. Every log is kept for ten years."


def span(text: str, source: str = "lamps.md", score: float = 1.0) -> Span:
    at = TEXT.index(text)
    return Span(source, at, at + len(text), text, score)


def hit(text: str, source: str = "lamps.md") -> Hit:
    at = TEXT.index(text)
    return Hit(source, 1, source, "", Chunk(at, at + len(text), text), 1.0)


def cite(text: str, source: str = "lamps.md") -> Citation:
    at = TEXT.index(text)
    return hit(TEXT, source).cite(at, at + len(text))


WHEN = Question("when", "When is the lamp lit?", {"lamps.md": 1, "other.md": 0}, answers=("dusk", "at dusk"))


def only(question: Question, outcome: Outcome | None, *spans: Span, context: int | None = None) -> dict[str, float]:
    """The measures of one question."""
    outcomes = {} if outcome is None else {question.id: outcome}
    measured = answers.measure({question.id: question}, outcomes, {question.id: spans}, context=context)
    return {name: values[question.id] for name, values in measured.per_question.items()}


def test_an_answer_with_all_that_can_be_measured() -> None:
    answer = Answer("At dusk [1]. Logs are kept [2].", (cite("The lamp is lit at dusk."), cite("ten years")))
    outcome = Outcome("when", [hit("The lamp is lit at dusk.")], answer)
    assert only(WHEN, outcome, span("lit at dusk"), span("the log")) == {
        "exact_match": 0.0,
        "f1": pytest.approx(2 * 2 / (5 + 2)),
        "answer_contained": 1.0,
        "evidence_contained": 0.5,
        "citation_precision": 0.5,
        "citation_recall": 0.5,
        "citation_document_precision": 1.0,
    }


SILENT = [
    Outcome("when", [hit(TEXT)], Answer("", abstained=True, confidence=0.1, withheld="At dusk.")),
    Outcome("when", error="the model did not answer"),
    Outcome("when", [hit(TEXT)], Answer("", (cite("dusk"),))),
    None,
]


@pytest.mark.parametrize("outcome", SILENT, ids=["abstained", "failed", "empty", "never asked"])
def test_silence_on_a_question_that_can_be_answered_counts_zero(outcome: Outcome | None) -> None:
    values = only(WHEN, outcome, span("dusk"))
    assert values.pop("evidence_contained") == float(outcome is not None and bool(outcome.hits))
    assert len(values) == 6
    assert set(values.values()) == {0.0}


def test_an_answer_that_cites_nothing_has_no_citation_that_bears_it() -> None:
    values = only(WHEN, Outcome("when", [], Answer("At dusk.")), span("dusk"))
    assert (values["exact_match"], values["citation_precision"], values["citation_recall"]) == (1, 0, 0)


def test_marks_of_citations_are_no_part_of_an_answer() -> None:
    cited = Answer("Dusk [1].", (cite("dusk"),))
    assert only(WHEN, Outcome("when", [], cited))["exact_match"] == 1
    year = Question("y", "Which entry?", answers=("Entry [12]",))
    assert only(year, Outcome("y", [], Answer("Entry [12] [1]", (cite("dusk"),))))["exact_match"] == 1


def test_questions_without_an_answer_are_not_measured_here() -> None:
    nobody = Question("q", "Who was the first keeper?", {"lamps.md": 1}, answerable=False, answers=("Ida",))
    assert only(nobody, Outcome("q", [hit(TEXT)], Answer("Ida", (cite("dusk"),))), span("dusk")) == {}


def test_only_what_the_data_support_is_measured() -> None:
    outcome = Outcome("q", [hit(TEXT)], Answer("At dusk", (cite("dusk"),)))
    assert only(Question("q", "When?"), outcome) == {}
    assert only(Question("q", "When?", answers=(" ", "\u200b")), outcome) == {}
    assert set(only(Question("q", "When?", answers=("dusk",)), outcome)) == {"exact_match", "f1", "answer_contained"}
    assert set(only(Question("q", "When?", answers=('{"a": 1}',), schema={}), outcome)) == set()
    assert set(only(Question("q", "When?"), outcome, span("dusk"))) == {
        "evidence_contained",
        "citation_precision",
        "citation_recall",
    }
    assert only(Question("q", "When?", {"other.md": 2, "lamps.md": 0}), outcome) == {"citation_document_precision": 0}
    assert only(Question("q", "When?", {"lamps.md": 0}), outcome) == {}


def test_the_report_tells_in_which_language_answers_were_compared() -> None:
    questions = {
        "a": Question("a", "When?", answers=("dusk",)),
        "b": Question("b", "x", answers=("y",), metadata={"lang": "de"}),
    }
    assert answers.measure(questions, {}, {}).details == {"languages": {"en": 1, "de": 1}}


@pytest.mark.parametrize(
    ("question", "known"),
    [
        (Question("q", ""), None),
        (Question("q", "", {"a": 0}), None),
        (Question("q", "", {"a": 1}), True),
        (Question("q", "", answers=("x",)), True),
        (Question("q", "", evidence=(Evidence("a"),)), True),
        (Question("q", "", {"a": 1}, answerable=False), False),
    ],
)
def test_whether_a_question_can_be_answered(question: Question, known: bool | None) -> None:
    assert answers.is_answerable(question) is known


# --- evidence and citations -------------------------------------------------------------------------------------------


def test_evidence_may_be_held_by_several_hits_together() -> None:
    question, piece = Question("q", "?"), span("keeper writes the hour")
    left, right = hit("The keeper wri"), hit("tes the hour in")
    assert only(question, Outcome("q", [left, right]), piece)["evidence_contained"] == 1
    assert only(question, Outcome("q", [left]), piece)["evidence_contained"] == 0
    assert only(question, Outcome("q", [hit("The keeper writes"), hit("the hour")]), piece)["evidence_contained"] == 1
    assert only(question, Outcome("q", [hit(TEXT, "copy.md")]), piece)["evidence_contained"] == 0


def test_only_the_hits_that_the_generator_was_given_count() -> None:
    hits = [hit("Every log is kept"), hit("The lamp is lit at dusk.")]
    for context, held in ((None, 1), (2, 1), (1, 0)):
        assert only(WHEN, Outcome("when", hits), span("dusk"), context=context)["evidence_contained"] == held


def test_evidence_found_by_likeness_need_not_be_held_to_the_last_character() -> None:
    question, near = Question("q", "?"), hit("The keeper writes the hour in")
    assert only(question, Outcome("q", [near]), span("keeper writes the hour in the log"))["evidence_contained"] == 0
    likely = span("keeper writes the hour in the log", score=0.75)
    assert only(question, Outcome("q", [near]), likely)["evidence_contained"] == 1


def test_a_passage_that_stands_in_two_documents_is_borne_by_either() -> None:
    places = (span("dusk"), span("dusk", "copy.md"))
    outcome = Outcome("when", [hit(TEXT, "copy.md")], Answer("dusk", (cite("at dusk", "copy.md"),)))
    values = only(WHEN, outcome, *places)
    assert (values["evidence_contained"], values["citation_precision"], values["citation_recall"]) == (1, 1, 1)
    assert values["citation_document_precision"] == 0  # the copy was never judged


def test_a_citation_beside_the_evidence_does_not_bear_it() -> None:
    piece = span("lit at dusk")
    for quote, overlaps in (("The lamp is lit", 1), ("The lamp is ", 0), ("dusk.", 1), (". The keeper", 0)):
        values = only(WHEN, Outcome("when", [], Answer("Dusk", (cite(quote),))), piece)
        assert values["citation_precision"] == values["citation_recall"] == overlaps, quote
    values = only(WHEN, Outcome("when", [], Answer("Dusk", (cite("lit at dusk", "other.md"),))), piece)
    assert values["citation_precision"] == values["citation_recall"] == 0
