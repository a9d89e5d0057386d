"""Whatever a model writes, what comes out can be checked: numbers that exist, quotes that stand in the document."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openbook.generate.citations import Checked, check, does_not_know
from openbook.generate.prompt import Passage
from openbook.types import Chunk, Hit


def passage(text: str, shown: int | None = None, start: int = 7) -> Passage:
    hit = Hit("d", 1, "d.md", "D", Chunk(start, start + len(text), text), 1.0)
    return Passage(hit, text[:shown])


LEAVE = passage(
    "Leave is granted by your manager. You get ten paid sick days a year. "
    "A doctor's note is needed from the third day. Holidays are 28 days a year. Unused holidays expire in March. See https://hr.example.com/leave."
)
TRAVEL = passage("Travel in second class.\n\n- Keep every receipt for seven years.\n- Taxis need an approval.", start=0)
PASSAGES = (LEAVE, TRAVEL, passage("病気休暇は年に十日です。診断書が必要です。"))


def quotes(text: str, question: str = "") -> list[str]:
    return [citation.quote for citation in check(text, PASSAGES, question).citations]


BITS = """
[1]~[2]~[3]~[4]~[0]~[1,2]~[1, 9]~[1-3]~[3-1]~[2–9]~【1】~【2†x】~［３］~[^1]~[[1]]~[[9]1]~[ 1 ]~[passage 2]~[~]~(~)~!
](~[x](http://e.io/a)~![y](http://e.io/b)~<img src=x>~<a ~<http://e.io>~http://e.io~www.e.io~javascript:e~<~>~<think>
https://hr.example.com/leave~</think>~.~。~ ~|~`~#~- ~ten ~sick ~days ~\t~\0~\0001\0~\ud800
"""
MARKS = [mark for line in BITS.split("\n") for mark in line.split("~")] + ["\n"]
TEXTS = st.one_of(st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=5)), max_size=30).map("".join), st.text())


def must_hold(checked: Checked, passages: tuple[Passage, ...]) -> None:
    marks = [int(number) for number in re.findall(r"[\[【［](\d+)[\]】］]", checked.text)]
    assert set(marks) == set(range(1, len(checked.citations) + 1))
    first = dict.fromkeys(marks)
    assert list(first) == sorted(first), "numbered in the order of their first appearance"
    spans = [(c.document, c.version, c.start, c.end) for c in checked.citations]
    for citation in checked.citations:
        assert any(
            citation.quote == p.text[citation.start - p.hit.chunk.start : citation.end - p.hit.chunk.start]
            and citation.quote.strip() == citation.quote != ""
            for p in passages
        )
    assert len(set(zip(spans, (c.quote for c in checked.citations), strict=True))) == len(spans)
    assert "](" not in checked.text
    assert "e.io" not in re.sub(r"\s", "", " ".join(re.findall(r"(?:://|(?<![A-Za-z0-9])www\.)\S*", checked.text)))
    assert not re.search(r"<(?:img|a)\b[^<>]*>|[\0\ud800]", checked.text)
    checked.text.encode()


@given(TEXTS)
@example("[[9]1]")
@example("[" + "9" * 5000 + "]")
@example("[[[[[[[[[[[[[[9]9]9]9]9]9]9]9]9]9]9]9]9]1]")
@example("[1](http://e.io)")
@example("https://hr.example.com/leave[1]secret")
@example("[a[9]](http://e.io/x)")
@example("<<img src=x>img src=http://e.io>")
@example("http://e.[9]io/")
@example("see www.[9]e.io")
def test_any_text_comes_out_checkable(text: str) -> None:
    must_hold(check(text, PASSAGES, "How many sick days?"), PASSAGES)
    does_not_know(text)


@given(
    TEXTS,
    st.lists(st.tuples(st.text(min_size=1).filter(str.strip), st.integers(0, 9)), min_size=1, max_size=4),
)
def test_any_passages_are_quoted_exactly_and_only_as_far_as_they_were_shown(
    text: str, given_passages: list[tuple[str, int]]
) -> None:
    passages = tuple(passage(body + " never shown", len(body), start) for body, start in given_passages)
    must_hold(check(text, passages), passages)


class TestAMarker:
    @pytest.mark.parametrize(
        ("written", "becomes", "invented"),
        [
            ("[1]", "[1]", 0),
            ("【1】", "[1]", 0),
            ("【1†leave.md】", "[1]", 0),
            ("［１］", "[1]", 0),
            ("[^1]", "[1]", 0),
            ("[Passage 1]", "[1]", 0),
            ("[1, 2]", "[1][2]", 0),
            ("[1; 2]", "[1][2]", 0),
            ("[1][2]", "[1][2]", 0),
            ("[1-3]", "[1][2][3]", 0),
            ("[1–3]", "[1][2][3]", 0),
            ("[1][1]", "[1]", 0),
            ("[1, 7]", "[1]", 1),
            ("[1-9]", "[1]", 1),
            ("[7-9]", "", 2),
            ("[0]", "", 1),
            ("[99999999999999999999]", "", 1),
        ],
    )
    def test_is_read_in_the_forms_that_models_write(self, written: str, becomes: str, invented: int) -> None:
        checked = check(f"Ten sick days {written}.", PASSAGES)
        assert checked.text == f"Ten sick days {becomes}".rstrip() + "."
        assert checked.invented == invented

    def test_that_is_none_is_left_alone(self) -> None:
        text = "Ten [sic] days (1) of leave [see p. 4] [1]."
        assert check(text, PASSAGES).text == text

    def test_is_numbered_by_what_it_quotes(self) -> None:
        checked = check("Ten sick days [1]. 28 days of holidays [1]. Again: ten sick days [1].", PASSAGES)
        assert checked.text == "Ten sick days [1]. 28 days of holidays [2]. Again: ten sick days [1]."


class TestAQuote:
    def test_is_the_sentence_that_says_it(self) -> None:
        assert quotes("Holidays that you do not use expire in March [1].") == ["Unused holidays expire in March."]

    def test_of_a_marker_behind_the_stop_belongs_to_the_sentence_before(self) -> None:
        assert quotes("You get 28 days of holidays. [1] Keep receipts. [2]") == [
            "Holidays are 28 days a year.",
            "- Keep every receipt for seven years.",
        ]

    def test_of_a_marker_that_starts_a_sentence_belongs_to_it(self) -> None:
        assert quotes("[1] says that a doctor's note is needed from day three.") == [
            "A doctor's note is needed from the third day."
        ]

    def test_of_a_list_goes_item_by_item(self) -> None:
        assert quotes("Rules:\n- taxis: approval needed [2]\n- receipts: keep for seven years [2]") == [
            "- Taxis need an approval.",
            "- Keep every receipt for seven years.",
        ]

    def test_spans_two_neighbours_where_the_claim_does(self) -> None:
        assert quotes("You get ten paid sick days a year, with a doctor's note from the third day [1].") == [
            "You get ten paid sick days a year. A doctor's note is needed from the third day."
        ]

    def test_of_a_short_answer_is_found_by_the_question(self) -> None:
        assert quotes("28 [1].", "How many holidays a year?") == ["Holidays are 28 days a year."]
        assert quotes("Until March [1].", "When do unused holidays expire?") == ["Unused holidays expire in March."]

    def test_in_a_script_without_spaces_is_found(self) -> None:
        assert quotes("診断書が必要 [3]。") == ["診断書が必要です。"]

    def test_for_another_language_is_the_whole_passage(self) -> None:
        assert quotes("Belege sind aufzubewahren [2].") == [TRAVEL.text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't know", True),
        ("I DON´T KNOW", True),
        ("“I don’t know.”", True),
        ("Answer: I don't know.", True),
        ("I don't know. The passages speak of travel only [2].", True),
        ("I don't know\n\n[1]", True),
        ("I don't know the number, but the limit is ten [1].", False),
        ("Ich weiß es nicht.", False),
        ("", False),
    ],
)
def test_the_agreed_words_are_recognised(text: str, expected: bool) -> None:
    assert does_not_know(text) is expected
