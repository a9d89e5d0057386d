"""A small firm's words: things with invented names, the pages that describe them in plain words, and questions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from openbook.evaluate.datasets.dataset import Dataset, Question, dataset
from openbook.finetune.data.rows import Example, Passage, Rows, grouped
from openbook.types import Document

THINGS = {
    "zorvel": ("espresso machine", "is descaled on Mondays and warmed up at seven by whoever comes first"),
    "QBX": ("forklift", "may be driven with a licence only and is charged over night beside gate four"),
    "plimber": ("letter franking device", "takes envelopes up to a thumb thick and is refilled by the front desk"),
    "TRN9": ("night shift", "begins at ten, has two breaks and is paid a quarter more than the day"),
    "oskelo": ("bicycle shed", "is opened with the badge and has racks with a socket along its back wall"),
    "drubb": ("expense report", "is handed in by the fifth and needs a photograph of every receipt"),
    "VVK": ("fire door", "stays shut, and whoever wedges it open answers to the safety officer"),
    "hathra": ("server room", "is kept at nineteen degrees and entered in pairs with a signed slip"),
    "mizzet": ("visitor parking", "is booked a day ahead and lies behind the chapel, left of the poplars"),
    "KLO2": ("pension plan", "doubles what is paid in, up to six parts of a hundred of the wage"),
    "yandle": ("recycling yard", "takes cardboard on Tuesdays and batteries in the yellow drum"),
    "FREM": ("travel booking desk", "buys rail tickets, second class, and wants three days for a flight"),
}
"""Name → what it is in plain words, and what is said of it."""

OTHERS = (
    "The canteen serves soup at noon and is closed on bank holidays, when the kiosk sells rolls.",
    "The library lends manuals for a month; lost ones are paid for at half their price.",
    "The choir meets on Thursdays in the hall and takes anyone who can hold a note.",
    "The garden is watered in the evening by a rota which hangs beside the shed.",
    "The newsletter is printed in spring and in autumn, and its editor wants pictures.",
    "The first aid box hangs beside the lift and is checked each quarter by the nurse.",
)

ASKED = (
    "What is the rule for {}?",
    "Tell me about the {} here",
    "who knows how {} works",
    "Where do I read up on {}?",
    "{} instructions",
)
HELD = ("I am new: what about {}?", "Anything to heed with our {}?")


SOURCES = {name: f"page-{number}.md" for number, name in enumerate(THINGS)}
"""A page is not called what the firm calls the thing: its words would find it."""


def page(name: str) -> str:
    what, said = THINGS[name]
    return f"The {what} {said}."


def documents() -> list[Document]:
    pages = [Document(SOURCES[name], page(name)) for name in THINGS]
    return [*pages, *(Document(f"other-{number}.md", text) for number, text in enumerate(OTHERS))]


def examples(asked: Sequence[str] = ASKED) -> tuple[Example, ...]:
    found = [
        Example(
            template.format(name),
            (Passage(page(name), SOURCES[name], ("public",)),),
            (Passage(OTHERS[number % len(OTHERS)], f"other-{number % len(OTHERS)}.md", ("public",)),),
            where=f"rows.jsonl:{number}",
        )
        for number, (name, template) in enumerate((name, template) for name in THINGS for template in asked)
    ]
    return grouped(found)


def rows() -> Rows:
    return Rows(examples())


def questions() -> Dataset:
    return dataset(
        "jargon",
        [
            Question(f"{number}-{name}", template.format(name), judgements={SOURCES[name]: 1}, split="dev")
            for name in THINGS
            for number, template in enumerate(HELD)
        ],
    )


def written(folder: Path) -> Path:
    """The documents as files, and ``rows.jsonl`` and ``dev.jsonl`` beside them; the folder of the documents."""
    (folder / "firm").mkdir()
    for one in documents():
        (folder / "firm" / one.source).write_text(one.text)
    lines = [
        {
            "anchor": one.query,
            "positive": one.positives[0].text,
            "negative_1": one.negatives[0].text,
            "metadata": {"group": one.group, "principals": [["public"], ["public"]]},
        }
        for one in examples()
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = [
        {"id": one.id, "question": one.text, "split": "dev", "evidence": [{"source": source, "text": ""}]}
        for one in questions().questions.values()
        for source in one.judgements
    ]
    (folder / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    return folder / "firm"
