"""A document is known by its title in another's text, whole words and as it is written."""

from __future__ import annotations

import pytest

from openbook.titles import bare, calls


@pytest.mark.parametrize(
    ("text", "title", "called"),
    [
        ("A novel of 1988 by Mara Ostrov about a village.", "Mara Ostrov (writer)", True),
        ("A novel by mara ostrov.", "Mara Ostrov", True),
        ("Mara Ostrovska wrote it.", "Mara Ostrov", False),
        ("It lies beyond Tallgate.", "Tallgate", True),
        ("They pay late.", "Pay", False),
        ("See Pay, and the rest.", "Pay", True),
        ("The C++ (language) page", "C++", False),
        ("anything", "", False),
        ("a.b", "(a)", False),
    ],
)
def test_what_calls_a_document(text: str, title: str, called: bool) -> None:
    assert calls(text, title) is called


def test_a_title_without_what_tells_it_from_others() -> None:
    assert bare("Wale (rapper)") == "wale"
    assert bare("Young, New South Wales") == "young new south wales"
