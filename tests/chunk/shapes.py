"""Documents of every shape."""

from __future__ import annotations

from hypothesis import strategies as st

from openbook.types import Document, Heading

_WORDS = """
the leave of absence begins on Monday and ends when 3.5 days have passed e.g. Dr. Ho v2.1 U.S. (see below)
https://example.org/a.b?c=d `--flag x` **bold.** naïve Straße Привет мир 休暇 日数は三十日です。 ประเทศไทย مرحبا؟
👩\u200d👩\u200d👧\u200d👦 🇩🇪🇫🇷 e\u0301 ﷺ 한국어 antidisestablishmentarianism x ~ | # - 1. > \\ * _
"""
WORDS = st.sampled_from(_WORDS.split())
LINES = st.one_of(
    st.lists(WORDS, max_size=30).map(" ".join),
    st.builds(lambda n, s: "#" * n + " " + s, st.integers(1, 6), st.lists(WORDS, max_size=4).map(" ".join)),
    st.builds(
        lambda n, m, s: " " * n + m + " " + s, st.integers(0, 6), st.sampled_from(["-", "*", "1.", "2)", ">"]), WORDS
    ),
    st.sampled_from(
        ["", "", "", "   ", "\t", "```", "~~~~", "---", "===", "| a | b |", "|---|---|", "<div>", "#include <x>"]
    ),
    st.integers(1, 40).map(lambda n: "| name | price |\n|---|---|" + "\n| a lamp of some kind | 7 |" * n),
    st.sampled_from(["x" * 700, "abc." * 300, "休" * 400, "é" * 200, "ก" * 500, "\u200b" * 50, "| " * 300]),
)
TEXTS = st.one_of(
    st.lists(LINES, max_size=60).map("\n".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=2000),
    st.lists(WORDS, max_size=800).map(" ".join),
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Text with headings at its own heading lines or anywhere, and with pages or without."""
    text = draw(TEXTS)
    headings: list[Heading] = []
    if draw(st.booleans()):
        offset = 0
        for line in text.split("\n"):
            if line.startswith("#") and line.lstrip("#").startswith(" "):
                level = min(6, len(line) - len(line.lstrip("#")))
                headings.append(Heading(offset, offset + len(line), level, line.strip("# ")))
            offset += len(line) + 1
    else:
        for start in sorted(draw(st.sets(st.integers(0, len(text)), max_size=12))):
            end = min(len(text), start + draw(st.integers(0, 20)))
            headings.append(Heading(start, end, draw(st.integers(1, 4)), draw(st.one_of(WORDS, st.just("")))))
    pages = sorted({0, *draw(st.sets(st.integers(0, len(text)), max_size=5))}) if draw(st.booleans()) else []
    title = draw(st.one_of(st.just(""), st.lists(WORDS, max_size=60).map(" ".join), st.text(max_size=300)))
    title = title.encode("utf-8", "replace").decode().replace("\0", "")
    return Document("s", text, title, headings=tuple(headings), pages=tuple(pages))
