"""Words that tell one group of texts from the others."""

from __future__ import annotations

import pytest

from openbook.similar.terms import Terms, label_of

BREAD = [("", f"Knead the rye bread dough and bake the bread in oven {n}.") for n in "abcdef"]
BOATS = [("", f"The harbour master moors every sailing boat at pier {n}.") for n in "abcdef"]


def test_each_group_is_told_by_its_own_words() -> None:
    terms = Terms([*BREAD, *BOATS], "english")
    bread, boats = terms.of(range(6), range(6, 12)), terms.of(range(6, 12), range(6))
    assert any("bread" in term for term in bread)
    assert any("harbour" in term for term in boats)
    assert not any("every" in term.split() or "the" in term.split() for term in (*bread, *boats))


def test_a_text_of_many_words_has_one_voice() -> None:
    shouting = ("", "Marmalade! " * 500)
    terms = Terms([*BREAD, shouting, *BOATS], "english")
    assert "marmalade" not in label_of(terms.of(range(7), range(7, 13))).lower()


def test_words_of_titles_count_more() -> None:
    texts = [("Tide tables", f"Low water and high water at gauge {n}.") for n in "abcdef"]
    assert Terms([*texts, *BREAD], "english").of(range(6), range(6, 12))[0] == "Tide tables"


def test_forms_of_one_word_are_one_term() -> None:
    texts = [("", "A card"), ("", "Two cards"), ("", "My cards"), ("", "These cards"), *BREAD]
    assert Terms(texts, "english").of(range(4), range(4, 10)) == ("cards",)


def test_scripts_without_blanks_and_scripts_of_their_own_have_terms() -> None:
    chinese = [("", f"潮汐表记录高水位{n}") for n in "甲乙丙丁"]
    arabic = [("", "الأبراج الفلكية في السماء") for _ in range(4)]
    terms = Terms([*chinese, *arabic], "none")
    assert "潮汐" in terms.of(range(4), range(4, 8))
    assert terms.of(range(4, 8), range(4))


def test_texts_without_words_have_no_terms() -> None:
    assert Terms([("", ""), ("", "123 456 ---")], "english").of([0, 1], []) == ()
    assert label_of(()) == ""


@pytest.mark.parametrize(
    ("terms", "label"),
    [
        (("October", "harbour", "Tuesday", "pier"), "Harbour, pier"),
        (("adds", "creating", "showed", "playlist"), "Playlist"),
        (("October report", "added", "revenue"), "October report, revenue"),
        (("May", "adding"), "May, adding"),
        (("sun", "moon", "march"), "Sun, moon"),
    ],
)
def test_days_months_and_verbs_of_everything_name_a_group_only_where_nothing_else_does(
    terms: tuple[str, ...], label: str
) -> None:
    assert label_of(terms) == label
