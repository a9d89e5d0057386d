"""Evidence is found where it stands, whatever documents are cut into and however they are written down."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from openbook.evaluate import open_corpus, read
from openbook.evaluate.datasets.dataset import Evidence, Question
from openbook.evaluate.datasets.evidence import THRESHOLD, Located, Match, locate
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import Recipe
from openbook.store.database import Database
from openbook.types import Document

settings = hypothesis_settings(deadline=None, max_examples=40)

LEAVE = """# Leave

Every employee may take **25 days** of paid leave a year. Unused days expire on
31 March; up to _five_ of them can be carried over with a manager's consent.

| kind     | days |
|----------|------|
| parental | 112  |
| moving   | 2    |

> Sick leave does not count against paid leave. Send a doctor's note from the
> fourth day on to [people@example.org](mailto:people@example.org).

- Part-time staff get a share — rounded up — of the same entitlement.
- Leave in the first six months needs the consent of the team's lead.
"""
TRAVEL = """# Travel

Book trains through the travel desk. A night in a hotel may cost 140 euros, in
capitals 190 euros. Receipts over 10 euros must be uploaded within thirty days,
otherwise the claim lapses. Mileage is refunded at 0.35 euros a kilometre.

Questions go to the travel desk. The limit per trip is 10000 euros.
"""
OFFICE = """# Offices

The Leipzig office opens at seven. Questions go to the travel desk. Bicycles are
kept in the yard, and visitors sign in at the front desk before they are met.

会議室は三階にあります。予約は前日までに必要です。
"""
PLAIN = "Receipts over 10 euros must be uploaded within thirty days, otherwise the claim lapses."
FORMS: list[Callable[[str], str]] = [  # as another program would have written it down
    str.upper,
    lambda text: text.replace("thirty days", "**thirty _days_**"),
    lambda text: text.replace("claim", '[claim](https://example.org/a(b)c "a claim")'),
    lambda text: text.replace("claim", "[claim][1]"),
    lambda text: text.replace("uploaded", "up-\nloaded"),
    lambda text: text.replace("uploaded", "up\u00adloaded"),
    lambda text: text.replace("Receipts", "# Receipts").replace("otherwise", "\n- otherwise"),
    lambda text: text.replace("must", "<b>must</b>").replace("over 10", "over&#160;10"),
    lambda text: text.replace("within", "“within”").replace("thirty", "‘thirty’"),
    lambda text: text.replace("otherwise", "other\u200bwise"),
    lambda text: text.replace("e", "e\u0301").replace("10", "\uff11\uff10"),
    lambda text: "> " + text.replace(" must", "\n> must"),
    lambda text: text.replace(" must", " |\n|---|:--|\n| must"),
]
CUT = "eceipts over 10 euros must be uploaded within thi"
DOCUMENTS = {"handbook/leave.md": LEAVE, "handbook/travel.md": TRAVEL, "office/index.md": OFFICE}


def documents(texts: dict[str, str], **more: object) -> list[Document]:
    return [Document(source, text, **more) for source, text in texts.items()]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def handbook(database: Database) -> Iterator[KnowledgeBase]:
    kb = KnowledgeBase(database, uuid.uuid4().hex)
    kb.add(*documents(DOCUMENTS))
    yield kb
    kb.traces.close()


@pytest.fixture(scope="module")
def library(database: Database) -> Iterator[KnowledgeBase]:
    """Documents that each have something odd."""
    kb = KnowledgeBase(database, uuid.uuid4().hex)
    kb.add(
        *documents({f"forms/{n}.md": f"Before.\n\n{form(PLAIN)}\n\nAfter." for n, form in enumerate(FORMS)}),
        *documents({"old.md": TRAVEL, "new.md": TRAVEL}),
        *documents({"signs.md": "We \ufb01t A&amp;O o\ufb03ces.", "many.md": "yes no " * 101}),
        *documents({"case/a.md": "It may rain. IT may help.", "case/b.md": "it May snow."}),
        *documents({"en/index.md": "The English pages begin here.", "de/index.md": "The German pages begin here."}),
        Document("guide/trains.md", "Seats are booked by the team's assistant.", metadata={"series": "the guide"}),
        Document("guide/copy.md", "Seats are booked by the team's assistant."),
        Document("board.md", "The board meets in secret.", access=("group:board",)),
    )
    yield kb
    kb.traces.close()


def ask(*evidence: Evidence | str, id: str = "q") -> Question:
    return Question(id, "?", evidence=tuple(Evidence("", e) if isinstance(e, str) else e for e in evidence))


def found(kb: KnowledgeBase, *evidence: Evidence | str, threshold: float = THRESHOLD) -> tuple[Match, ...]:
    return locate(kb, [ask(*evidence)], threshold=threshold).matches["q"]


def texts(match: Match) -> list[str]:
    return [span.text for span in match.spans]


def bare(text: str) -> str:
    """What normal form keeps of plain words."""
    return "".join(re.findall(r"[^\W_]", text)).lower()


# --- as it stands -----------------------------------------------------------------------------------------------------


@st.composite
def passages(draw: st.DrawFn) -> tuple[str, int, int]:
    """(source, start, end) of whole words of a document."""
    source = draw(st.sampled_from(sorted(DOCUMENTS)))
    words = [m.span() for m in re.finditer(r"\S+", DOCUMENTS[source])]
    first = draw(st.integers(0, len(words) - 1))
    last = draw(st.integers(first, min(len(words) - 1, first + 30)))
    return source, words[first][0], words[last][1]


@settings
@given(passage=passages(), named=st.booleans())
def test_what_stands_there_is_found_exactly(
    handbook: KnowledgeBase, passage: tuple[str, int, int], named: bool
) -> None:
    source, start, end = passage
    text = DOCUMENTS[source][start:end]
    [match] = found(handbook, Evidence(source if named else "", text))
    assert (match.how, match.score, match.why) == ("exact", 1.0, "")
    assert (source, start, end) in [(span.source, span.start, span.end) for span in match.spans]
    for span in match.spans:
        assert span.text == DOCUMENTS[span.source][span.start : span.end]
        assert span.text.split() == text.split()


def reflowed(text: str, draw: Callable[[st.SearchStrategy[str]], str]) -> str:
    return "".join(draw(st.sampled_from([" ", "\n", "\n\n", "\t", "\u00a0", "  "])) if c.isspace() else c for c in text)


@settings
@given(passage=passages(), data=st.data())
def test_white_space_does_not_count(
    handbook: KnowledgeBase, passage: tuple[str, int, int], data: st.DataObject
) -> None:
    source, start, end = passage
    [match] = found(handbook, Evidence(source, f" {reflowed(DOCUMENTS[source][start:end], data.draw)}\r\n"))
    assert match.how == "exact"
    assert (start, end) in [(span.start, span.end) for span in match.spans]


@hypothesis_settings(deadline=None, max_examples=80)
@given(forms=st.lists(st.sampled_from(FORMS), min_size=1, max_size=4, unique=True))
def test_how_a_data_set_writes_a_passage_down_does_not_count(
    handbook: KnowledgeBase, forms: list[Callable[[str], str]]
) -> None:
    text = PLAIN
    for form in forms:
        text = form(text)
    [match] = found(handbook, text)
    assert (match.how, match.score) == ("normalised", 1.0)
    [span] = match.spans
    assert span.text == TRAVEL[span.start : span.end]
    assert " ".join(span.text.split()).rstrip(".") == PLAIN.rstrip(".")


@pytest.mark.parametrize("number", range(len(FORMS)))
def test_how_a_document_writes_a_passage_down_does_not_count(library: KnowledgeBase, number: int) -> None:
    [match] = found(library, Evidence(f"forms/{number}.md", PLAIN))
    assert match.how == "normalised"
    [span] = match.spans
    text = library.show(f"forms/{number}.md").text
    assert span.text == text[span.start : span.end]
    assert text[: span.start].strip("\n> #") == "Before."
    assert text[span.end :].strip("\n") == "After."


def test_ligatures_and_entities_are_cut_out_whole(library: KnowledgeBase) -> None:
    matches = found(library, "fit A&O", "offices", "o\ufb03ces.")
    assert [texts(match) for match in matches] == [["\ufb01t A&amp;O"], ["o\ufb03ces"], ["o\ufb03ces."]]


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ("10 euros", ["10 euros"]),  # neither in 140 nor in 190
        ("0.3", []),  # the beginning of 0.35
        ("000", []),
        ("rain", []),  # in trains
        ("三階", ["三階"]),  # no blanks: every character is a word
        ("会議室は3階", []),
        ("eceipts over 10", []),
        (CUT, [CUT]),  # cut to some length
    ],
)
def test_a_passage_is_whole_words(handbook: KnowledgeBase, evidence: str, expected: list[str]) -> None:
    [match] = found(handbook, evidence)
    assert texts(match) == expected


def test_every_place_counts_and_the_source_says_where(handbook: KnowledgeBase) -> None:
    line = "Questions go to the travel desk."
    everywhere, named = found(handbook, line, Evidence("travel.md", line))
    assert [span.source for span in everywhere.spans] == ["handbook/travel.md", "office/index.md"]
    assert [span.source for span in named.spans] == ["handbook/travel.md"]
    [twice] = found(handbook, Evidence("handbook/travel.md", "travel desk"))
    assert texts(twice) == ["travel desk", "travel desk"]
    assert len({span.start for span in twice.spans}) == 2


def test_an_exact_place_is_preferred_to_one_that_is_only_written_alike(library: KnowledgeBase) -> None:
    exact, alike = found(library, "IT may", "IT MAY")
    assert (exact.how, texts(exact)) == ("exact", ["IT may"])
    assert (alike.how, sorted(texts(alike))) == ("normalised", ["IT may", "It may", "it May"])


# --- offsets ----------------------------------------------------------------------------------------------------------


def test_offsets_are_trusted_only_where_they_cut_out_the_passage(handbook: KnowledgeBase) -> None:
    second = TRAVEL.rindex("travel desk")
    right, wrong, beyond, bare_, nowhere, outside = found(
        handbook,
        Evidence("travel.md", "travel desk", second, second + 11),
        Evidence("travel.md", "claim lapses", second, second + 11),
        Evidence("travel.md", "claim lapses", 10_000, 10_012),
        Evidence("travel.md", "", second, second + 11),
        Evidence("", "claim lapses", 0, 12),
        Evidence("travel.md", "", 10_000, 10_012),
    )
    assert (right.how, [(s.start, s.text) for s in right.spans]) == ("offsets", [(second, "travel desk")])
    assert (bare_.how, bare_.spans) == ("offsets", right.spans)
    for searched in (wrong, beyond, nowhere):
        assert (searched.how, texts(searched)) == ("exact", ["claim lapses"])
    assert outside.how == "missing"
    assert "lies beyond its end" in outside.why


# --- by its words -----------------------------------------------------------------------------------------------------


def test_the_score_is_the_share_of_the_passage_that_stands_there_in_order(handbook: KnowledgeBase) -> None:
    said = "Receipts over 10 euros must always be uploaded within thirty days, otherwise the whole claim lapses."
    [match] = found(handbook, said)
    there = bare(said.replace("always", "").replace("whole", ""))
    assert match.how == "fuzzy"
    assert match.score == pytest.approx(len(there) / len(bare(said)))
    [span] = match.spans
    assert span.score == match.score
    assert " ".join(span.text.split()) == PLAIN.removesuffix(".")


def test_words_out_of_order_are_not_there(handbook: KnowledgeBase) -> None:
    words = PLAIN.split()
    random.Random(3).shuffle(words)
    [match] = found(handbook, " ".join(words))
    assert match.how == "missing"
    assert match.score < THRESHOLD


@settings
@given(data=st.data(), share=st.floats(0.05, 0.2))
def test_a_passage_with_some_words_changed_is_found_where_it_stood(
    handbook: KnowledgeBase, data: st.DataObject, share: float
) -> None:
    sentences = [
        " ".join(text.split())
        for text in (
            "Unused days expire on 31 March; up to five of them can be carried over with a manager's consent.",
            "A night in a hotel may cost 140 euros, in capitals 190 euros.",
            PLAIN,
        )
    ]
    words = data.draw(st.sampled_from(sentences)).split()
    spots = data.draw(st.sets(st.integers(0, len(words) - 1), max_size=int(len(words) * share)))
    changed = ["zebra" if n in spots else word for n, word in enumerate(words)]
    [match] = found(handbook, " ".join(changed), threshold=0.5)
    assert match.spans
    inside = bare("".join(texts(match)))
    kept = [bare(word) for n, word in enumerate(words) if n not in spots]
    assert sum(word in inside for word in kept) >= 0.8 * len(kept)
    assert 0.5 <= match.score <= 1


def test_a_stray_word_does_not_widen_the_span(handbook: KnowledgeBase) -> None:
    [match] = found(
        handbook, "The receipts over 10 euros must be uploaded, within thirty days, otherwise the claim lapses"
    )
    [span] = match.spans
    assert span.text.startswith("Receipts")


def test_sentences_that_stand_apart_are_found_apart(handbook: KnowledgeBase) -> None:
    apart, omitted = found(
        handbook,
        "A night in a hotel may cost 140 euros, in capitals 190 euros. The limit per trip is 10000 euros.",
        "Unused days expire on 31 March […] Send a doctor's note from the fourth day on",
    )
    assert apart.score == omitted.score == 1.0
    assert [span.text.split()[0] for span in apart.spans] == ["A", "The"]
    assert [span.text.split()[0] for span in omitted.spans] == ["Unused", "Send"]


def test_a_short_passage_must_stand_there_as_it_is(handbook: KnowledgeBase) -> None:
    """“30 days of paid leave” is not in the handbook: 25 days are."""
    [match] = found(handbook, Evidence("leave.md", "30 days of paid leave"))
    assert match.how == "missing"


def test_copies_of_a_document_that_are_equally_near_all_count(library: KnowledgeBase) -> None:
    [match] = found(library, "Mileage is always refunded at 0.35 euros a kilometre.")
    assert match.how == "fuzzy"
    assert sorted(span.source for span in match.spans) == ["new.md", "old.md"]


# --- which document ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["guide/trains.md", "trains.md", "./guide/trains.md", "trains", "guide/trains", "the guide"]
)
def test_a_source_is_named_as_show_takes_it(library: KnowledgeBase, name: str) -> None:
    passage, document = found(library, Evidence(name, "Seats are booked"), Evidence(name))
    assert passage.documents == ("guide/trains.md",)
    assert (document.how, document.documents) == ("document", ("guide/trains.md",))


def test_a_judged_document_is_no_value_of_metadata(library: KnowledgeBase) -> None:
    """A judged document that is missing was taken for one that mentions its number."""
    located = locate(library, [Question("q", "?", {"the guide": 1, "trains.md": 2})])
    assert located.judgements == {"q": {"the guide": 1, "guide/trains.md": 2}}
    assert located.unknown == {"q": ("the guide: no such document; add it, or correct the name",)}


def test_files_are_named_by_their_path(new_kb: Callable[..., KnowledgeBase], tmp_path: Path) -> None:
    folder = tmp_path / "my files"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "plan über.md").write_text(TRAVEL, encoding="utf-8")
    kb = new_kb()
    kb.add(folder)
    [row] = kb.list()
    for name in ("a/plan über.md", "plan über.md", "plan über", str(folder / "a" / "plan über.md"), row["document"]):
        [match] = found(kb, Evidence(name, "the claim lapses"))
        assert match.documents == (row["source"],), name


def test_a_name_of_several_documents_is_told_unless_the_passage_decides(library: KnowledgeBase) -> None:
    decided, several = found(library, Evidence("index.md", "The English pages"), Evidence("index.md"))
    assert decided.documents == ("en/index.md",)
    assert several.how == "missing"
    assert several.why == "index.md: means 2 documents; name one whole, such as de/index.md"


def test_a_passage_is_looked_for_everywhere_where_no_document_has_its_sources_name(handbook: KnowledgeBase) -> None:
    there, not_there, only = found(
        handbook,
        Evidence("Travel Policy 2019", "the claim lapses"),
        Evidence("Travel Policy 2019", "Nothing of the kind was ever written in here."),
        Evidence("Travel Policy 2019"),
    )
    assert there.documents == ("handbook/travel.md",)
    assert not_there.why.endswith("stands in no document, and none is named Travel Policy 2019")
    assert only.why == "Travel Policy 2019: no such document; add it, or correct the name"


def test_what_is_not_in_the_named_document_is_missing_even_if_it_stands_elsewhere(handbook: KnowledgeBase) -> None:
    [match] = found(handbook, Evidence("leave.md", PLAIN))
    assert match.how == "missing"
    assert match.why.startswith("“Receipts over 10 euros must be uploaded within thirty days,")
    assert "does not stand in leave.md" in match.why


def test_who_may_not_see_a_document_finds_nothing_in_it(library: KnowledgeBase) -> None:
    asked = [ask("The board meets in secret.")]
    assert locate(library, asked).matches["q"][0].how == "exact"
    assert locate(library, asked, as_=["group:board"]).matches["q"][0].how == "exact"
    [match] = locate(library, asked, as_=["group:hr"]).matches["q"]
    assert (match.how, match.spans, match.score) == ("missing", (), 0.0)
    assert "board.md" not in match.why


def test_a_passage_that_stands_everywhere_marks_nothing(library: KnowledgeBase) -> None:
    [match] = found(library, "yes")
    assert (match.how, match.why) == ("missing", "“yes” stands in 101 places; name its document, or quote more")


# --- together ---------------------------------------------------------------------------------------------------------

ASKED = [
    ask("Unused days expire on 31 March", Evidence("travel.md", "Mileage is refunded"), id="two"),
    ask("Visitors sign in at the front desk before they are met", id="normalised"),
    ask("Nothing of the kind was ever written in here.", id="none"),
    Question("unanswerable", "?", answers=("Mileage is refunded",), answerable=False),
    Question("judged", "?", {"travel.md": 2, "lost.md": 1, "gone.md": 0}, evidence=(Evidence("", PLAIN),)),
    ask(Evidence("leave.md"), Evidence("lost.md"), id="documents"),
]


def test_spans_missing_and_judgements_of_many_questions(handbook: KnowledgeBase) -> None:
    located = locate(handbook, ASKED)
    assert {id: [s.source for s in spans] for id, spans in located.spans.items()} == {
        "two": ["handbook/leave.md", "handbook/travel.md"],
        "normalised": ["office/index.md"],
        "judged": ["handbook/travel.md"],
    }
    assert located.missing.keys() == {"none", "documents"}
    assert located.judgements == {
        "two": {"handbook/leave.md": 1, "handbook/travel.md": 1},
        "normalised": {"office/index.md": 1},
        "none": {"(not found)": 1},  # counts as never retrieved: a judgement does not vanish from the mean
        "judged": {"handbook/travel.md": 2, "lost.md": 1, "gone.md": 0},
        "documents": {"handbook/leave.md": 1, "lost.md": 1},
    }
    assert located.unknown == {"judged": ("lost.md: no such document; add it, or correct the name",)}
    assert located.counts == {"evidence": 7, "exact": 3, "normalised": 1, "document": 1, "missing": 2}
    assert located.as_json()["not_found"].keys() == {"none", "documents"}
    assert located.scores["documents"] == (1.0, 0.0)


def outcome(located: Located) -> dict[str, list[tuple[str, list[str]]]]:
    """How each piece was found, and the words of its spans."""
    return {id: [(m.how, [" ".join(t.split()) for t in texts(m)]) for m in of] for id, of in located.matches.items()}


def test_evidence_survives_another_recipe_and_another_layout(
    handbook: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]
) -> None:
    """Spans count in documents, which chunks do not change; and lines may be broken elsewhere."""
    sentence = "Sick leave does not count against paid leave."
    asked = [
        *ASKED,
        ask(sentence, "A night in a hotel may cost 140 euros, in Rome 190 euros, breakfast apart", id="more"),
    ]
    small = Recipe.from_toml('[index.chunk]\nkind = "recursive"\nsize = 100\noverlap = 0\n')
    rechunked = new_kb(recipe=small)
    rechunked.add(*documents(DOCUMENTS))
    assert rechunked.status()["chunks"] > handbook.status()["chunks"]
    assert locate(rechunked, asked) == locate(handbook, asked)
    broken = new_kb()
    broken.add(
        *documents({source: re.sub(r"(?<=\w)[ \n](?=[a-z0-9])", "\n", text) for source, text in DOCUMENTS.items()})
    )
    assert outcome(locate(broken, asked)) == outcome(locate(handbook, asked))


def test_the_order_of_questions_and_documents_does_not_matter(
    handbook: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]
) -> None:
    turned = new_kb()
    turned.add(*reversed(documents(DOCUMENTS)))
    assert locate(turned, ASKED[::-1]) == locate(handbook, ASKED)


def test_nothing_is_asked_of_the_documents_without_evidence(kb: KnowledgeBase) -> None:
    located = locate(kb, [Question("q", "?", answers=("42",))])
    assert (located.matches, located.spans, located.missing, located.judgements) == ({}, {}, {}, {})
    assert located.counts == {"evidence": 0}


@pytest.mark.quality
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("docs-etcd", {"exact": 48}),
        ("handbook-sourcegraph", {"exact": 28}),
        ("squad2-a", {"offsets": 2518}),
        ("scifact", {"exact": 1270, "fuzzy": 25}),  # sentences that stand apart
        ("cuad-contracts-a", {"offsets": 51, "exact": 471, "fuzzy": 8, "missing": 6}),  # cut by the passages' borders
    ],
)
def test_the_evidence_of_public_sets_is_found(data: Path, name: str, how: dict[str, int]) -> None:
    dataset = read(data / name)
    assert dataset.corpus is not None
    with open_corpus(dataset, Recipe()) as kb:
        kb.add(dataset.corpus)
        located = locate(kb, dataset.questions.values())
    assert located.counts == {"evidence": sum(how.values()), **how}
    assert located.unknown == {}
