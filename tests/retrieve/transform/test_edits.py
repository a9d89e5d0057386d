"""How far words are apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.retrieve.transform.edits import ALPHABETS, alphabet_of, bare, distance, one_edit

words = st.text("abcd", max_size=8)


@given(words)
def test_one_edit_is_one_edit(word: str) -> None:
    edited = {other for other, _ in one_edit(word, "abcd")}
    assert all(distance(word, other, 2) <= 1 for other in edited)
    assert {word + "a", "a" + word} <= edited
    assert len(word) < 1 or word[1:] in edited


@given(words, words)
def test_distance_is_the_same_both_ways_and_counts_what_it_must(one: str, other: str) -> None:
    far = distance(one, other, 3)
    assert far == distance(other, one, 3)
    assert (far == 0) == (one == other)
    assert far >= min(4, abs(len(one) - len(other)))
    assert (far <= 1) == (one == other or other in dict(one_edit(one, "abcd")))


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [("hotle", "hotel", 1), ("hotl", "hotel", 1), ("hottel", "hotel", 1), ("hatel", "hotel", 1), ("ab", "ba", 1)],
)
def test_slips_of_the_hand(one: str, other: str, edits: int) -> None:
    assert distance(one, other, 2) == edits


def test_letters_are_compared_bare_and_of_one_alphabet() -> None:
    assert (bare("RÉSUMÉ"), bare("Край"), bare("ﬁle")) == ("resume", "край", "file")
    assert alphabet_of("leave") is ALPHABETS[0]
    assert [alphabet_of(word) for word in ("إجازة", "東京", "mixедно", "a1", "😀")] == [None] * 5
