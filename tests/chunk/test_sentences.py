"""Sentences: what a person would call one, on invented text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.sentences import sentences

from .shapes import TEXTS


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "text",
    [  # "|" stands between the sentences expected
        "It opens at dusk.|It closes at dawn!|Who enters?|Nobody.",
        "Ask Dr. Ho or Mrs. Lind.|They know, e.g. the berth.",
        "The U.S. office is small.|It moved to the U.S.|The lease is old.",
        "See No. 5 and Fig. 3 on p. 12.|Is it full?|No.|We checked.",
        "Acme Inc. and Delta Ltd. merged.|The new firm is called Acme Corp.|It is large.",
        "J. R. Lind wrote it.|Vitamin C.|The rest follows.",
        "It costs 3.50 or 1,200.75 dollars.|Version 2.1.3 is out.|It was 2019.|The end came.",
        "Meet at 5 p.m. on Jan. 5 or Feb. 12.|Bring tea, milk, etc.|The rest is there.",
        "Lind et al. (2019) found it.|Smith et al. showed more.",
        "Wait... what?|Wait...|What was that?",
        '"Really?" she asked.|"Yes."|He left.',
        "(It was late. Very late.)|We slept.|It rained (see Sec. 4.1. for more).|Good.",
        "See [the guide. Part 2](https://example.org/a.b?c=d.) first.|Then go.",
        "Read https://example.org/a.b/index.html now.|Or www.example.org.|Done.",
        "Run `a. B. c`.|`openbook add` reads it.|--quiet stays silent.",
        "**Never.** Always.".replace(" A", "|A"),
        "It grew.[3]|It shrank.[^note]|It stayed.¹|It ended.",
        "Write to lind@example.org.|Thanks.",
        "Am 5. Mai kam Herr Dr. Ho, z.B. um 7 Uhr.|Er ging bzw. lief.",
        "これは文です。|次の文です！|「はい。」と言った。|最後",
        "他说：“好。”然后走了。|真的吗？|是。",
        "هل هو هنا؟|نعم.|هو هنا.",
        "यह है।|वह है।",
        "Это дом.|Он стоит.",
        "¿Quién es?|¡Soy yo!|Bien.",
    ],
)
def test_stops(text: str) -> None:
    assert split(text.replace("|", " ")) == text.split("|") or split(text.replace("|", "")) == text.split("|")


@pytest.mark.parametrize(
    "units",
    [
        ["# On ships. And boats", "\n", "They float", "\n\n", "They sink"],
        ["Title\n=====", "\n", "Text."],
        [
            "- one. two",
            "\n",
            "- two",
            "\n",
            "  ",
            "* three",
            "\n",
            "1. four",
            "\n",
            "2) five\n   goes on",
            "\n",
            "+ six",
        ],
        ["1. First.", " ", "It is good.", "\n", "2. Second."],
        ["| a. B | c |", "\n", "|---|---|", "\n", "| 1. X | 2 |", "\n", "After."],
        ["```py", "\n", "a. B. C = 1", "\n", "    ", "b", "\n", "```", "\n", "Text."],
        ["> It was quoted\n> and went on.", " ", "Twice.", "\n", ">", "\n", "> Again."],
        ["A line that was wrapped hard by its editor at some\ncolumn goes on. It", "\n\n", "ends"],
        ["Introduction", "\n", "A line that was wrapped hard by its editor at some column\ngoes on and on."],
        ["Harbour Office", "\n", "Quay 7", "\n", "Delta"],
        ["Name: Ho", "\n", "Berth: 7, the long one at the end of the pier", "\n", "Open: at dusk"],
        ["The tenant shall:", "\n", "(a) pay;", "\n", "(b) leave."],
        ["• one", "\n", "• two"],
        ["One page", "\f", "another"],
    ],
)
def test_units(units: list[str]) -> None:
    text = "".join(units)
    expected = [unit for unit in units if unit.strip()]
    if "It\n\nends" in text:
        expected = ["A line that was wrapped hard by its editor at some\ncolumn goes on.", "It", "ends"]
    assert split(text) == expected


@given(st.one_of(TEXTS, st.text("aA.!? \n\t#-|`~>()[]*1。", max_size=300)))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_spans_are_trimmed_and_apart_and_cover_every_sign(text: str) -> None:
    end = 0
    for start, stop in sentences(text):
        assert start >= end
        assert not text[end:start].strip()
        assert text[start:stop] == text[start:stop].strip() != ""
        assert "\n\n" not in text[start:stop]
        end = stop
    assert not text[end:].strip()


@pytest.mark.parametrize(
    "part",
    [
        ".",
        " ",
        "> ",
        "(",
        "[",
        "](a",
        ".](a",
        "`",
        "` ",
        "```\n",
        "- ",
        "A. ",
        "A\n",
        "Aa b c\n",
        "a | b\n",
        "<a",
        "#",
        '."',
        "*",
    ],
)
def test_time_grows_with_the_text_and_no_faster(part: str) -> None:
    """Patterns that backtrack take minutes for such a file; this takes a tenth of a second."""
    text = part * (200_000 // len(part))
    begin = time.process_time()
    sentences(text)
    assert time.process_time() - begin < 5
