"""Quotes are exact, few, in order and to the point; where the hits hold no answer there is none."""

from __future__ import annotations

import math
import re
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbook import recipe
from openbook.embed import Embedder
from openbook.generate.extractive import FURTHER, MAX_QUESTION, Extractive, units, weigh
from openbook.types import Chunk, Hit, StageScore

TIME_OFF = """# Time off

## PTO

PTO: Full-time employees accrue 25 days of paid vacation per calendar year. Up to five unused days carry over and
expire on 31 March. Employees receive 10 days of paid sick leave; no doctor's note is needed for
absences of up to three days.

## Parental leave

Birth parents receive 20 weeks of fully paid leave, other parents receive 12 weeks. Leave must be taken within the
first year. Tell your manager and the People team at least eight weeks before it starts.
"""

EXPENSES = """# Expenses

File your report in Ledgerly within 30 days of the purchase. Receipts are required above 20 euros.

| Item | Limit | Approval |
|---|---|---|
| Hotel in Europe | 160 euros per night | none |
| Hotel in the US | 220 dollars per night | none |
| Client dinner | 75 euros per head | team lead |

- **Internet:** 40 euros a month are reimbursed for home workers.
- **Phone:** the company pays for a SIM card; private phones are not reimbursed.
- Parking fines and other penalties are never reimbursed.
"""

SECURITY = """# IT security

Passwords are kept in the company vault, Lockbay. They must have at least 14 characters. Two-factor authentication is
mandatory for every account.

## Lost devices

Report a lost or stolen laptop to security@harbourpine.example within one hour. The IT team then wipes it remotely.

## Command line

```bash
notes --new weekly     # a new page of notes
notes --template retro # a page for a retrospective
```
"""

SUPPORT = """# Customer support

The support desk answers from 08:00 to 20:00 on weekdays. Priority-one incidents are answered within 15 minutes.

> Q: Who may grant a refund?
>
> A: Team leads grant refunds up to 500 euros; anything above needs the finance director.

### Escalation

1. Write to the on-call engineer in the #incident channel.
2. If nobody answers within ten minutes, call the duty manager.
"""

WORKING = """# Working here

Core hours are 10:00 to 15:00 Central European Time. Full-time employees work 38 hours a week. Overtime is
compensated with free time, not with money.

Harbour & Pine has offices in Hamburg, Lisbon and Toronto. You may work from home on any day, and from abroad for up
to 30 days a year after the People team has agreed.

Wednesdays are free of meetings because people need time for focused work.
"""

HANDBOOK = {"Time off": TIME_OFF, "Expenses": EXPENSES, "IT security": SECURITY, "Customer support": SUPPORT,
            "Working here": WORKING}  # fmt: skip

ANSWERED = [
    ("How many sick days do I get?", "10 days of paid sick leave"),
    ("How many vacation days do I have?", "25 days"),  # two sentences on one line
    ("When do unused vacation days expire?", "expire on 31 March"),  # a sentence over two lines
    ("How much parental leave does the mother get?", "20 weeks"),
    ("How quickly must I hand in my expenses?", "within 30 days"),
    ("What may a hotel in the US cost?", "220 dollars"),  # a table row
    ("Who approves a client dinner?", "team lead"),  # a table row
    ("Is my home internet paid for?", "40 euros a month"),  # a list item
    ("Will the company pay my parking fine?", "never reimbursed"),  # a list item
    ("What do I do when my laptop is stolen?", "security@harbourpine.example"),
    ("Is two-factor authentication required?", "mandatory"),
    ("Which template makes a page for a retrospective?", "--template retro"),  # a line of code
    ("Who can grant a refund of 800 euros?", "finance director"),  # a quoted question and its answer
    ("Whom do I call if nobody answers in the incident channel?", "duty manager"),  # a numbered list
    ("How many hours a week do full-time employees work?", "38 hours"),
    ("In which cities do we have offices?", "Hamburg, Lisbon and Toronto"),
    ("Can I work from abroad?", "30 days a year"),
    ("Why are there no meetings on Wednesdays?", "focused work"),
]

UNANSWERED = [
    "What is the CEO's salary?",
    "Do we have an office in Tokyo?",
    "May I bring my dog to the office?",
    "What was last year's revenue?",
    "Which health insurance does the company offer?",
    "What is the stock option vesting schedule?",
    "Who won the football world cup in 2014?",
]


@pytest.fixture(scope="module")
def generator(embedder: Embedder) -> Extractive:
    return Extractive(recipe.Extractive(), embedder)


def hit(
    text: str, title: str = "", *, score: float = 0.5, at: int = 0, document: str = "d", cosine: float = 0.5
) -> Hit:
    chunk = Chunk(at, at + len(text), text, (title,) if title else ())
    return Hit(document, 1, f"{document}.md", title, chunk, score, {"dense": StageScore(1, cosine)})


@cache
def found(question: str, embedder: Embedder) -> list[Hit]:
    """The handbook's sections, best first, as a retriever finds them by cosine."""
    sections: list[tuple[str, int, str]] = []
    for title, text in HANDBOOK.items():
        starts = [m.start() for m in re.finditer("^#+ ", text, re.MULTILINE)] + [len(text)]
        sections += [(title, a, text[a:b]) for a, b in pairwise(starts) if text[a:b].strip()]
    cosines = embedder.encode([f"{t}\n{s}" for t, _, s in sections]) @ embedder.encode([question], "query")[0]
    order = sorted(range(len(sections)), key=lambda i: -cosines[i])
    return [
        hit(sections[i][2], sections[i][0], at=sections[i][1], score=float(cosines[i]), document=sections[i][0],
            cosine=float(cosines[i]))
        for i in order
    ]  # fmt: skip


@pytest.mark.parametrize(("question", "fact"), ANSWERED, ids=[q for q, _ in ANSWERED])
def test_a_planted_fact_is_quoted(generator: Extractive, embedder: Embedder, question: str, fact: str) -> None:
    answer = generator.generate(question, found(question, embedder))
    assert not answer.abstained, answer.reason
    assert fact in " ".join(answer.text.split())
    assert 1 <= len(answer.citations) <= 2


@pytest.mark.parametrize("question", UNANSWERED)
def test_what_the_handbook_does_not_say_is_refused(generator: Extractive, embedder: Embedder, question: str) -> None:
    answer = generator.generate(question, found(question, embedder))
    assert answer.abstained
    assert (answer.text, answer.citations) == ("", ())
    assert answer.reason
    assert answer.confidence is not None


def test_without_hits_it_abstains(embedder: Embedder) -> None:
    for threshold in (None, 0.0):
        answer = Extractive(recipe.Extractive(threshold=threshold), embedder).generate("Who?", [])
        assert answer.abstained
        assert answer.reason
        assert answer.confidence == 0


def test_threshold_zero_always_answers_and_one_never_does(embedder: Embedder) -> None:
    never, always = (Extractive(recipe.Extractive(threshold=t), embedder) for t in (1.0, 0.0))
    for question in ("How many sick days do I get?", "Who won the football world cup in 2014?", "🙂"):
        assert never.generate(question, found(question, embedder)).abstained
        assert not always.generate(question, found(question, embedder)).abstained


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_more_sentences_than_the_recipe_says(embedder: Embedder, limit: int) -> None:
    generator = Extractive(recipe.Extractive(sentences=limit, threshold=0.0), embedder)
    for question, _ in ANSWERED[:5]:
        assert 1 <= len(generator.generate(question, found(question, embedder)).citations) <= limit


def test_the_same_question_gives_the_same_answer(generator: Extractive, embedder: Embedder) -> None:
    question = ANSWERED[0][0]
    assert generator.generate(question, found(question, embedder)) == generator.generate(
        question, found(question, embedder)
    )


def test_quotes_of_one_document_stand_in_reading_order(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(sentences=3, threshold=0.0), embedder)
    for question, _ in ANSWERED[:8]:
        answer = generator.generate(question, found(question, embedder))
        by_chunk: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        for citation in answer.citations:
            by_chunk.setdefault((citation.document, citation.headings), []).append(citation.start)
        if len({c.document for c in answer.citations}) == 1:
            assert [c.start for c in answer.citations] == sorted(c.start for c in answer.citations)
        at = 0
        for citation in answer.citations:  # and the text holds them in the citations' order
            at = answer.text.index(citation.quote, at) + len(citation.quote)


BOOK = hit("A novel of 1988 by Mara Ostrov about a fishing village.", "Winter Harbour", score=0.9, document="book")
AUTHOR = hit("She grew up in Tallgate. She has written eleven plays.", "Mara Ostrov (writer)", document="author")
OTHER = hit("The harbour of the village freezes in winter.", "Harbours in winter", score=0.5, document="other")


def test_a_quote_that_calls_another_document_by_its_title_brings_that_documents_best(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(threshold=0.0), embedder)
    answer = generator.generate("Where did the author of the novel Winter Harbour grow up?", [BOOK, OTHER, AUTHOR])
    assert [citation.quote for citation in answer.citations] == [
        "A novel of 1988 by Mara Ostrov about a fishing village.",
        "She grew up in Tallgate.",
    ]
    one = Extractive(recipe.Extractive(threshold=0.0, sentences=1), embedder)
    assert len(one.generate("Where did the author of Winter Harbour grow up?", [BOOK, OTHER, AUTHOR]).citations) == 1


def test_a_title_that_the_question_has_leads_nowhere(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(threshold=0.0), embedder)
    hits = [BOOK, OTHER, AUTHOR]
    answer = generator.generate("Which novel about a fishing village did Mara Ostrov write in 1988?", hits)
    assert answer.citations[0].document == "book"
    evidence = weigh("Which novel about a fishing village did Mara Ostrov write in 1988?", hits, embedder)
    assert evidence is not None
    assert [c.quote for c in answer.citations][1:] == [
        hits[unit.hit].chunk.text[unit.start : unit.end]
        for unit, score in list(zip(evidence.units, evidence.scores, strict=True))[1:2]
        if score >= evidence.scores[0] - FURTHER
    ]


def test_left_out_text_is_marked_and_neighbours_are_not(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(threshold=0.0), embedder)
    text = "The parrot is called Otto. The parrot Otto is green."
    answer = generator.generate("What colour is the parrot Otto?", [hit(text, "Pets")])
    assert answer.text in (text, "The parrot Otto is green.")
    apart = "The parrot is called Otto. Rent is due on Friday, in cash, to the landlord. The parrot Otto is green."
    answer = generator.generate("What colour is the parrot Otto?", [hit(apart, "Pets")])
    assert answer.text in ("The parrot is called Otto. … The parrot Otto is green.", "The parrot Otto is green.")


def test_a_row_that_wins_brings_its_columns_names(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(threshold=0.0), embedder)
    text = "| Team | Desk budget |\n|---|---|\n| Design | $2,650 |\n"
    answer = generator.generate("What is the desk budget of the design team?", [hit(text, "Budgets")])
    assert [c.quote for c in answer.citations] == ["Team | Desk budget", "Design | $2,650"]


def test_the_row_beside_the_one_that_was_asked_for_is_no_answer(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(threshold=0.0), embedder)
    rows = "| City | Courier rate | Days |\n|---|---|---|\n| Porto | 14.50 | 3 |\n| Graz | 11.20 | 2 |\n"
    answer = generator.generate("What does the courier to Graz cost?", [hit(rows, "Couriers")])
    assert [c.quote for c in answer.citations] == ["City | Courier rate | Days", "Graz | 11.20 | 2"]


def test_a_code_finds_its_row_and_an_unknown_one_nothing(generator: Extractive) -> None:
    text = (
        "If the tunnel refuses the connection, it shows a code: look it up here before you write a ticket.\n\n"
        "| Code | Meaning | What to do |\n|---|---|---|\n| HB-4003 | The clock is off | Switch on automatic time |\n"
        "| HB-4012 | The certificate has expired | Open Keyring Helper and choose Renew |\n"
    )
    hits = [hit(text, "Error codes of the tunnel")]
    assert "choose Renew" in generator.generate("The tunnel shows HB-4012. What do I do?", hits).text
    assert generator.generate("What does the error HB-4077 mean?", hits).abstained


def test_rows_without_borders_are_units_of_their_own() -> None:
    text = "Dinner with a customer | €75 per person | yes\nTeam meal | €35 per person | yes\nPhone used for | €20\nwork"
    assert [text[u.start : u.end] for u in units(0, text)][:2] == [
        "Dinner with a customer | €75 per person | yes",
        "Team meal | €35 per person | yes",
    ]


def test_a_copied_page_is_not_quoted_twice(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(threshold=0.0), embedder)
    copies = [hit("The canteen opens at noon.", title, document=title) for title in ("Canteen", "Canteen, old")]
    assert len(generator.generate("When does the canteen open?", copies).citations) == 1


def test_whoever_listens_hears_the_answer(generator: Extractive, embedder: Embedder) -> None:
    heard: list[str] = []
    question = ANSWERED[0][0]
    answer = generator.generate(question, found(question, embedder), heard.append)
    assert "".join(heard) == answer.text
    heard.clear()
    generator.generate(UNANSWERED[-1], found(UNANSWERED[-1], embedder), heard.append)
    assert heard == []


@pytest.mark.parametrize(
    "question",
    [
        "",
        " \n",
        "🙂",
        "?",
        "a" * 100_000,
        "sick days " * 10_000,
        "كم يوم إجازة؟",
        "病気休暇は何日ですか？",
        "\x00\ufffd",
        "Ǆ" * 300,
    ],
    ids=["empty", "blank", "emoji", "mark", "one long word", "many words", "arabic", "japanese", "nul", "titlecase"],
)
def test_strange_questions_do_not_crash(generator: Extractive, question: str) -> None:
    answer = generator.generate(question, [hit(TIME_OFF, "Time off"), hit(SUPPORT, "Support", score=-1.0)])
    assert answer.confidence is not None
    assert math.isfinite(answer.confidence)
    assert 0 <= answer.confidence < 1


def test_a_question_in_another_script_finds_its_words(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(sentences=1, threshold=0.0), embedder)
    text = "المكتب الرئيسي في القاهرة. الإجازة السنوية واحد وعشرون يوما. الراتب يدفع في نهاية الشهر."
    answer = generator.generate("كم الإجازة السنوية؟", [hit(text)])
    assert answer.text == "الإجازة السنوية واحد وعشرون يوما."


def test_scores_may_be_missing_zero_or_negative(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(threshold=0.0), embedder)
    for score in (0.0, -3.0, 1e-9):
        bare = Hit("d", 1, "d.md", "", Chunk(0, 18, "Cats eat fish now."), score)
        assert generator.generate("What do cats eat?", [bare]).text == "Cats eat fish now."


@pytest.mark.parametrize(
    "text",
    [
        "# Only a heading\n",
        "---\ntitle: Leave\nauthor: Jo Doe\n---\n",
        "|---|---|\n",
        "[Home](/index.md) | [About us](/about.md) | [Contact page](/contact.md)\n",
        "- [Acceptable use policy](../policies/use.md)\n",
        "***\n",
        "**Effective dates**\n",
        "What should I wear?\n",
        "```bash\n```\n",
    ],
)
def test_what_is_never_quoted(embedder: Embedder, text: str) -> None:
    assert units(0, text) == []
    answer = Extractive(recipe.Extractive(threshold=0.0), embedder).generate("What is the policy?", [hit(text)])
    assert answer.abstained


def test_marks_stay_outside_a_quote_and_links_inside() -> None:
    text = "> * [x] See [the form](https://x.example/a_(b)) first.\n| a b | c |\n  12) Last one.\n"
    assert [text[u.start : u.end] for u in units(0, text)] == [
        "See [the form](https://x.example/a_(b)) first.",
        "a b | c",
        "Last one.",
    ]


pieces = st.sampled_from(
    ["# Head\n", "\n", "\n\n", "- item one", "| a b | 1 |\n", "|---|---|\n", "> said so. ", "A sentence. ", "Who? ",
     "é😀 ", "**bold**\n", "[l](u)", "```\nx = 1\n```\n", "1. ", "   ", "word ", ": ", "\u2028", "\t", "---\n"]
)  # fmt: skip
texts = st.lists(st.one_of(pieces, st.text(max_size=12)), min_size=1, max_size=12).map("".join)


class TestAnyText:
    @settings(max_examples=300, deadline=None)
    @given(texts)
    def test_units_are_trimmed_disjoint_and_in_order(self, text: str) -> None:
        end = 0
        for unit in units(0, text):
            assert end <= unit.start < unit.end <= len(text)
            assert text[unit.start : unit.end].strip() == text[unit.start : unit.end]
            end = unit.end

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(texts, max_size=3), st.text(max_size=40), st.integers(0, 1000))
    def test_every_quote_is_the_exact_text_of_its_span(
        self, embedder: Embedder, parts: list[str], question: str, at: int
    ) -> None:
        hits = [hit(text, f"T{i}", at=at, document=str(i)) for i, text in enumerate(parts)]
        answer = Extractive(recipe.Extractive(sentences=3, threshold=0.0), embedder).generate(question, hits)
        assert answer.abstained == (not answer.citations)
        for citation in answer.citations:
            text = parts[int(citation.document)]
            assert citation.quote == text[citation.start - at : citation.end - at]
            assert citation.quote in answer.text


def test_a_long_question_is_cut_not_refused(embedder: Embedder) -> None:
    generator = Extractive(recipe.Extractive(threshold=0.0), embedder)
    question = "How many sick days do I get? " + "x" * (10 * MAX_QUESTION)
    assert not generator.generate(question, [hit(TIME_OFF, "Time off")]).abstained
