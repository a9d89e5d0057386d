"""Write jargon.jsonl: questions of people who call things by names that stand nowhere in the example handbook.

    python examples/build_jargon.py [FILE]      default: examples/jargon.jsonl

The story: Heronbay took over Tidemark, a smaller firm, and its people go on using its words. Nobody wrote them down,
but for every question somebody has marked the passage that answered it. A data set with three splits: each name is
asked about in all of them, and no wording of one is used in another. `tests/test_examples.py` checks that the script
still yields the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FILE = Path(__file__).parent / "jargon.jsonl"

NAMES = {
    "Pellorin": ("glossary.html", "The HR system: contracts, leave, payslips and tide checks."),
    "Snorr": ("glossary.html", "The tool that pages people."),
    "Dovetrap": ("glossary.html", "Booking of desks, rooms, the test tank and the Lisbon car spaces."),
    "the Wexling": ("glossary.html", "A Friday afternoon without meetings, for experiments."),
    "MKV": ("glossary.html", "The weekly tour in which one team shows its half-built things to another."),
    "Vastik": ("it/laptops-and-network.md", "It routes only company traffic; your private browsing does not pass"),
    "the Farspoon": ("it/laptops-and-network.md", "Field crews on a site without mobile coverage may use"),
    "Brindlebox": ("it/laptops-and-network.md", "Open a ticket in Lantern or call extension 7200."),
    "GZP": ("it/laptops-and-network.md", "Report a lost or stolen laptop, phone or security key within 2 hours"),
    "the Tollkeeper": ("it/error-codes.md", "A device certificate lives for 180 days."),
    "OKW": ("security/passwords.rst", "Passwords live in Clam, our password manager, and nowhere else"),
    "ZTV": ("security/passwords.rst", "are kept in the vault called Quarry"),
    "Hoaxmail": ("security/passwords.rst", "Forward suspicious mail to phish@example.com; do not just delete it."),
    "twinfobs": ("security/passwords.rst", "Everybody receives two hardware security keys."),
    "LBD": ("people/time-off.md", "Every full-time Heron has 26 PTO days in a calendar year"),
    "Mollydays": ("people/time-off.md", "You get 12 Recharge days each calendar year"),
    "the Grand Lull": ("people/time-off.md", "All three offices close from 24 December to 1 January."),
    "NKP": ("people/remote-work.md", "You may work up to 30 working days a year from a country in which you have"),
    "Tuthurs": ("people/remote-work.md", "you come in on Tuesdays and Thursdays"),
    "hutch money": ("people/remote-work.md", "for a desk, a chair, a lamp or a screen"),
    "Ottilie leave": ("people/parental-leave.md", "Each parent receives 20 weeks of leave at full pay."),
    "the Fenwick month": ("people/parental-leave.md", "you work 60 % of your hours at full pay"),
    "YRC": ("people/performance-review.md", "decides about pay and level"),
    "the Gantline": ("people/performance-review.md", "It lasts eight weeks, names at most three goals"),
    "rungs": ("people/performance-review.md", "Our seven levels are called"),
    "the Farewell Hour": ("people/notice-periods.md", "invites you to a conversation of about 45 minutes"),
    "boomerangers": ("people/notice-periods.md", "who return within 24 months keep their earlier start date"),
    "FXA": ("people/contractors.md", "An assignment lasts at most 11 months."),
    "Pondgeld": ("travel/travel-policy-2025.md", "On the first and the last day of a trip you get 75 % of the rate."),
    "RTD": ("travel/travel-policy-2025.md", "For your own car we pay"),
    "Quillback": ("travel/travel-policy-2025.md", "Book through Longshore, our travel agent"),
    "the Kelpie": ("finance/expenses.pdf", "Its standard limit is"),
    "SPK": ("finance/learning-budget.docx", "Everyone with an employment contract has money"),
    "the Skerry line": ("benefits/health-benefits.pdf", "is a counselling service that has nothing to do with"),
    "the Osprey pal": ("people/onboarding.docx", "A buddy is a colleague from another team"),
    "Mudlark day": ("people/onboarding.docx", "you spend a day with a field crew, whatever your job is"),
    "Blackwell": ("offices/portland.html", "The tank in the hall is six metres deep"),
    "the Whisperie": ("offices/berlin.html", "is the quiet room: no calls, no food, no meetings."),
}
"""A name → where the passage is that answers whoever asks about it, and words of it."""

ASKED = {
    "train": (
        "What is {}?",
        "What does {} mean here?",
        "How does {} work?",
        "Tell me about {}",
        "{} rules",
        "Where can I read about {}?",
        "What do I need to know about {} before I start?",
        "Who decides about {}, and how?",
    ),
    "dev": ("Can somebody explain {} to me?",),
    "test": (
        "I keep hearing of {} and nobody says what that is",
        "Is there a page on {}?",
        "New here: what about {}?",
    ),
}


def lines() -> list[str]:
    found = []
    for split, templates in ASKED.items():
        for name, (source, words) in NAMES.items():
            for template in templates:
                found.append(
                    {
                        "id": f"jargon-{len(found) + 1:03}",
                        "question": template.format(name),
                        "answerable": True,
                        "evidence": [{"source": source, "text": words}],
                        "tags": [name.removeprefix("the ")],
                        "split": split,
                    }
                )
    return [json.dumps(one, ensure_ascii=False) + "\n" for one in found]


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text("".join(lines()), encoding="utf-8")
