"""Write the Word, PDF and Excel files of the example handbook from the texts below.

    python examples/build_handbook.py [FOLDER]      default: examples/handbook

The other files of the handbook (Markdown, HTML, reStructuredText, CSV, plain text) are edited where they lie. The
seven built files are committed too, so nobody needs this script to try openbook; `tests/test_examples.py` checks that
it still yields them. Two runs write the same bytes: every date is fixed. Needs python-docx, reportlab and openpyxl,
which come with `pip install -e .[dev]`.

The texts use a few Markdown marks: `#` headings, `-` and `1.` lists, `|` tables, `**bold**`, and `---` for a new page.
A paragraph ends at an empty line.
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import docx
import openpyxl
from docx.table import Table as WordTable
from openpyxl.styles import Font
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

HANDBOOK = Path(__file__).parent / "handbook"
WRITTEN = datetime(2025, 6, 2, 9, 0, 0)  # the date inside every built file

ONBOARDING = """
# Onboarding: your first 90 days

Owner: Samuel Brandt, People team. Effective 1 March 2025.

New colleagues are called headwaters for their first 90 days. This guide says what happens when, who takes care of it,
and what we expect of you. It is less than you fear.

## Before you start

Three weeks before your first day, the People team sends you a link to Kingfisher. There you enter your bank details,
your tax number and the person we should call in an emergency. In the United States, also upload the documents for the
I-9 check; in Germany, your health insurer and your social security number; in Portugal, your NIF and NISS.

Your laptop reaches you three working days before you start, by courier to your home or at the office, as you prefer.
The two security keys travel in a separate envelope. Do not plug in anything before your first morning, because IT
walks you through the first login together.

## The first day

1. At 09:30 your buddy meets you at the front desk. In Portland it is 08:30.
2. IT sets up your account, your security keys and Clam with you. Plan an hour.
3. Your manager explains in half an hour what you will have done by day 30. It is written down.
4. Lunch with your buddy is on us, up to €25 a head; your buddy files it in Otter.
5. In the afternoon you read the handbook, and you send one correction to a page. There is always one.

## The first two weeks

- Finish the security course within 10 days. It takes 40 minutes. Without it, access to customer data stays closed.
- Meet seven people outside your team. Your buddy has made the list.
- Sit beside customer support for half a day and listen to real calls.
- Push one small change, or publish one small page, by the end of the first week.
- Choose your health plan if you are in the United States; the period ends 31 days after you started.

## Your buddy

A buddy is a colleague from another team who has been here for at least a year. Buddies have two hours a week set aside
for you during the first month and one hour a week during the second. You may ask them what you would not ask your
manager. They are not asked about you, and they do not take part in your probation talk.

## The field day

Within your first 90 days you spend a day with a field crew, whatever your job is. You will hang a Minnow under a
bridge, drive to a Weir and see what a wrong reading looks like from below. The field crew lends you boots and a life
jacket. Book the day with field@example.com; crews leave the yard at 06:15. Accountants have been known to ask for a
second one.

## Talks on the way

| When | With whom | What about |
|---|---|---|
| Day 5 | Buddy | Is anything missing? |
| Day 30 | Manager | Goals of the first month, goals for the second |
| Day 60 | Manager and People team | A written half-page from each side |
| Day 90 | Department head | What should we stop doing? |
| Month 5 | Manager | Probation: the decision is told to you by the end of this month |

## Probation

Probation lasts six months. During it, two weeks' notice is enough from either side. We do not extend it. If your
manager has doubts, you must hear them by day 60 at the latest and get a list of what would remove them.

## What nobody tells you

Nobody minds a camera that is off. Messages after 19:00 need no answer before the morning. Titles are not used in the
building. And the founders really do read the corrections.
"""

CODE_OF_CONDUCT = """
# Code of conduct

Owner: Amara Lindqvist, Ombudsperson. Effective 1 September 2024. Version 3.

Most of what is right needs no page. This one is about the cases in which decent people have disagreed, and about where
to go when you do not know.

## Gifts and invitations

We sell to public bodies, and a present that would be friendly elsewhere can be a crime in a town hall. The limits are
therefore low.

- You may accept a gift worth up to €50 once a year from the same giver. Enter it in Kingfisher under Gifts within a
  week.
- You may not give anything to a public official except a coffee, a sandwich and a printed brochure.
- An invitation to a conference is fine if you pay your own journey and hotel.
- Cash, vouchers and crypto are never fine, in either direction, at any amount.

A gift above the limit that cannot be returned without offence goes to the front desk. It is raffled in December, and
the money goes to the river restoration fund.

## Conflicts of interest

Tell us if your partner, a relative or a close friend works for a customer, a supplier or a competitor and you could
influence a decision about them. You do that once, in Kingfisher, and your manager finds someone else to decide. Two
people who live together may work at Heronbay, but not in the same reporting line.

## Work on the side

Other paid work needs the written consent of your manager, which we give unless it is for a competitor, falls into
working hours or adds more than 12 hours a week. Teaching, volunteering and open-source work need no consent. What you
invent in your own time with your own tools is yours.

## How we treat each other

Nobody is insulted, touched, threatened, passed over or laughed at for who they are, here or on trips or at a party at
two in the morning. Whether it was meant as a joke is not the question that we ask first. Managers who learn of such a
case must report it within two working days, even when the person concerned would rather they did not; that person
decides what happens next.

## Speaking up

| Way | Who listens | Answer |
|---|---|---|
| Your manager or any other manager | a manager | at once |
| ombud@example.com | Amara Lindqvist, who reports to the board only | 3 working days |
| Speak-up line +49 30 5550 0142 | a law firm outside the company, day and night, no name needed | 7 days |

Anyone who punishes a colleague for a report made in good faith loses their job. This has happened once.

## Talking in public

You may say where you work and what you think. Say that it is your own view. Do not name customers before their names
are on our website, and do not comment on floods in which people were hurt. Journalists are passed to
press@example.com. Talks at conferences are welcome; show the slides to your manager a week ahead if they contain maps.

## Money on elections and drink

Heronbay gives no money to parties or candidates. Alcohol at company events is served from 17:00 and paid for up to two
drinks a head. Nobody drives, dives or carries the pager after the first one.
"""

LEARNING = """
# Learning budget and study time

Owner: Samuel Brandt, People team. Effective 1 January 2025.

A company that measures rivers should know that standing water goes bad. Everyone with an employment contract has money
and time to learn, from the first day on.

## How much

| Level | Budget per calendar year | Study days |
|---|---|---|
| D1 to D3 | €1,500 or $1,700 | 5 |
| D4 and D5 | €2,000 or $2,200 | 5 |
| D6 and D7 | €2,500 or $2,800 | 7 |

Part-timers get the full amount. If you join after 30 June, you get half in that year. What you have not used by 31
December lapses; it cannot be saved up for a large course. Two colleagues may, however, pool their budgets to bring a
teacher into the house.

## What it is for

- Courses, conferences and the journey to them
- Coaching, up to six hours a year
- Exam fees, for the first attempt
- Membership in one professional society

Books are not charged to the budget: order what you need from library@example.com, put it on the shelf afterwards, and
nobody counts. Language lessons are free as well. German and Portuguese are taught for two hours a week in working
time, in groups of at most six, and new groups begin in January and September.

## How to get it

1. Find the course and write two sentences about why you want it.
2. Up to €300, just book and claim it in Otter with the category LEARN.
3. Above €300, your manager agrees in Kingfisher beforehand. If they have not answered within five working days, the
   answer is yes.
4. Tell your team what you learnt, in ten minutes or on one page, within a month.

## Long courses

A degree or a certificate that takes more than six months can be supported with up to €6,000 in total. You sign an
agreement: if you leave within 12 months after the end, you pay back half; afterwards nothing. There are four such
places each year. Apply by 15 October at learning@example.com, and the founders and the People team decide in November.

## Study days

A study day is a working day without meetings and without the pager, used for learning of any kind. Enter it in
Kingfisher a week ahead. It may be split into halves, it may be spent in a library or a forest, and it may not be
turned into PTO.
"""

EXPENSES = """
# Expenses

Owner: Marguerite Oyelaran, Chief Financial Officer. Effective 1 January 2025. Version 6.

Spend the company's money as if you had to explain it to a water utility whose customers pay for it, for in the end
they do. This page covers everything except journeys, which have their own policy in the folder travel.

## Limits

| What | Limit | Receipt |
|---|---|---|
| Dinner with a customer | €75 per person, tips included | yes, with the names of the guests |
| Team meal, once a quarter | €35 per person | yes |
| Private mobile phone used for work | €20 a month | no |
| Office supplies at home | €15 a month | yes |
| Farewell present for a colleague | €60 | yes |
| Software subscription | €40 a month, 12 months at most | yes |
| Professional publication | €120 a year | yes |

In Portland the same numbers apply in dollars. The limits include tax. They are not goals.

For a dinner with a customer, the most senior Heron at the table pays and files the claim, so that nobody approves a
meal that they have eaten themselves. Alcohol is included in the limit. Officials of public bodies may not be invited to
dinner at all; see the code of conduct.

---

## Making a claim

Open Otter, photograph the receipt, choose a category and your cost centre, and send. Otter reads the amount and the
date, and it is right in about nine cases out of ten, so look before you send. File a claim within 30 days of the day
on which you spent the money.

If you have lost a receipt, you may sign a declaration instead, up to €30 for each case and three times a year. A bank
statement is not a receipt. Claims in other currencies are converted at the rate of the European Central Bank on the day
of the receipt.

## Who approves

Claims up to €500 are approved by your manager. Between €500 and €5,000 the department head approves as well. Anything
above €5,000 needs Marguerite Oyelaran before the money is spent, and not after. Approvers have five working days; after
that, the claim moves one level up by itself.

Approved claims are paid every Friday. What was approved by Wednesday 12:00 is in that week's run.

## The Reed card

The Reed card is our company credit card. You get one if you travel more than four times a year, buy parts or run
events. Its standard limit is €2,000 a month. It can be raised for a month by writing to finance@example.com two days
ahead. Do not use it for private purchases, not even when you mean to pay them back. Receipts for card payments are
uploaded within seven days. After 21 days without a receipt, the card is blocked until you have caught up.

Lost the card? Block it yourself in Otter under My Card, or call extension 7510; at night call extension 7311.

---

## What we do not pay

Fines and parking tickets. Upgrades of seats and rooms. The minibar. Repairs of your own car or bicycle. Presents for
managers. Private insurance. Late fees on bills that you forgot. Software that Lantern offers free of charge. Donations
made in the company's name without the founders' consent.

## Buying things

Anything that costs more than €1,000 or that stays in the company for longer than three years is a purchase and not an
expense. Send a request to procurement@example.com with one offer up to €5,000 and with three offers above that. Ask
before you sign: only the founders, the Chief Financial Officer and Daniel Osei may sign contracts.

Sensors and parts for field tests are drawn from the hall in Portland. If a part is needed within 48 hours and the hall
cannot ship it, crews may buy it locally for up to €400 and tell procurement afterwards.

## Advances

If a trip or a purchase would strain your own account, ask for an advance. Finance pays up to €1,500 within three
working days and deducts it from your next claims. Nobody has to explain why they ask.

## Fraud

A claim that is wrong by mistake is corrected. A claim that is wrong on purpose ends the employment, however small the
amount. The internal auditor, Ferenc Halmos, looks at one claim in fifty, chosen by lot, and at every claim of the
founders.

## The year's end

Claims for December must be in Otter by 8 January. Later ones are charged to the new year's budget of your department.
Questions go to finance@example.com or extension 7510, which is staffed from 09:00 to 16:00 Berlin time.
"""

HEALTH = """
# Health benefits by country

Owner: Leila Haddad, People team. Effective 1 January 2025. Version 2025.1.

What a doctor's bill means depends on where you live, so this guide has a part that holds for everyone and one part for
each country. Contractors are not covered. Questions go to benefits@example.com or extension 7620.

## For everyone

The Stillwater line is a counselling service that has nothing to do with Heronbay except that we pay for it. You and the
people in your household can call it at any hour, in eleven languages, about anything from grief to debt. Each person
has eight sessions a year, by video or in a practice. We learn how many sessions were used in total, and nothing else.

A flu vaccination is offered in each office in October. Anyone who works near sewers is vaccinated against hepatitis A
and tetanus during working hours. If you work at a screen, we pay for an eye test every two years. Herons in field crews
have a medical check every 12 months with the occupational doctor, who tells us "fit" or "not fit" and no more.

## The countries side by side

| | United States | Germany | Portugal |
|---|---|---|---|
| Main plan | Cascade Blue PPO | statutory insurer of your choice | national service plus SulVida private |
| Company pays | 90 % for you, 75 % for family | half of the contribution | 100 % for you, 50 % for family |
| Yearly deductible | $1,200 per person | none | €150 per person |
| Dental | $1,500 a year | €900 a year | €600 a year |
| Glasses or lenses | $250 every 24 months | €200 every 24 months | €180 every 12 months |
| Physiotherapy | 20 visits | as prescribed | 12 visits |
| Begins | first day of the next month | first day | after 30 days |

---

## United States

You choose between Cascade Blue PPO and Cascade Blue HDHP. The second has a deductible of $2,400 and comes with a health
savings account, into which Heronbay pays $900 a year in two halves, in January and July. Both use the same network of
doctors.

Enrol in Kingfisher within 31 days of your start. If you miss that, you wait for the open enrolment from 4 to 22
November, unless something happens that the plan calls a life event: a birth, a divorce, a move to another state, or the
loss of other cover. Report a life event within 30 days. Children can stay in the plan until the end of the month in
which they turn 26.

Short-term disability cover pays 70 % of your salary for up to 12 weeks, beginning on the day after your last Recharge
day. Long-term cover pays 60 % from the thirteenth week.

Fertility treatment is covered up to $15,000 over a lifetime; travel for medical care that is not available in your
state is paid up to $4,000 a year. Claims for both go straight to the insurer, so that nobody at Heronbay sees them.

## Germany

You are insured by law, and you choose the insurer. We pay half of the contribution including the additional rate. If
your salary is above the yearly threshold you may insure yourself privately; we then pay the same amount that we would
have paid to a statutory insurer, but never more than half of the premium.

On top of that, we have a group contract with Ufer Versicherung for teeth, glasses and a better room in hospital. You
join with a signature and without health questions during your first six months. Your family may join for €19 a month
and person. Bills are photographed in the Ufer app, and the money arrives after about eight working days.

When a child under 12 is ill, the statutory insurer pays children's sick pay for 15 days per parent. These days come in
addition to your Recharge days, and you are free to use the one or the other first.

---

## Portugal

The national health service covers everyone who lives in the country. SulVida is a private plan on top that gets you an
appointment sooner. It begins after 30 days, counted from the first day of your contract, and covers pre-existing
conditions after 12 months.

In the SulVida network you pay €15 for a visit to a doctor and €45 for an emergency room. Outside the network you pay
first and get 60 % back. Send those bills to SulVida within 90 days. Medicine is refunded at 50 % up to €250 a year.

The work accident insurance that the law asks for is with Companhia Maré. Its policy number stands on the inside of the
first-aid box in the Lisbon kitchen.

## When you move between countries

Cover follows the contract and not the desk. On drift days and business trips you are insured by the assistance policy,
which pays for emergencies abroad up to €1,000,000 and for the journey home. If your contract moves to another country,
the old cover ends on the last day of the month and the new one begins without a waiting period. Leila Haddad plans it
with you six weeks ahead.

## When you leave

In the United States the cover ends on the last day of the month in which you leave, and you may continue it at your own
cost under COBRA for 18 months. In Germany the statutory insurance continues with your next employer, and the group
contract may be kept as a private one. In Portugal SulVida ends on your last day.

## Accidents at work

Go to a doctor first and report second. Every accident with more than a plaster is entered in Kingfisher under Accidents
within 24 hours, also on the way to work. The occupational doctor for Europe is Dr Annegret Pohl, the one for Portland
Dr Hiro Nakagawa.
"""

DATA_HANDLING = """
# Data handling guide

Owner: Henrik Sandvoss, Data Protection Officer. Effective 1 May 2025. Version 4.2.

## Three classes

**Clear** is what anyone may read: the website, brochures, open river levels. **Silted** is for Herons only: plans, this
handbook, prices, the names of customers under negotiation. **Deep** is what could hurt somebody: personal data, the
position of sensors in drinking-water systems, keys, payroll, and the maps of sewers. If a document has no mark, treat
it as silted. Whoever creates a document marks it; whoever doubts the mark asks the officer.

## Where data may live

Clear data may live anywhere. Silted data stays in our own accounts and on encrypted laptops. Deep data stays in the
regions named in the customer's contract, is never copied to a laptop, and is seen through the administration pages
only. USB sticks are forbidden for silted and deep data, with the exception of the blue sticks of the field crews, which
encrypt themselves and forget everything after 10 wrong codes.

## Sending

Silted data may be sent by mail to someone who has signed a confidentiality agreement. Deep data is sent through the
Sluice, our transfer page: the link expires after 72 hours and can be opened three times. Never send a file and its
password the same way. If you sent something to the wrong person, tell the security duty officer within an hour; recall
functions do not work.

## Printing

Print deep data only on the printer in the flood room, stay beside it, and shred the paper on the same day. The bins
with a lid are emptied by a certified firm on the first Monday of the month.

## How long we keep things

Raw readings of a Minnow are kept for 400 days and then thinned out to hourly values, which stay for ever. Recordings of
support calls are deleted after 90 days. Applications of people whom we did not hire are deleted after 180 days unless
they ask us to keep them. Contracts and invoices stay for ten years. Chat messages vanish after two years, mail after
six. Camera pictures of the entrances are overwritten after 72 hours.

## Language models and other clever services

You may paste clear data into any service. Silted data may go only into the assistants on the list in Lantern, because
with these we have a contract that forbids training on it. Deep data goes into none. Check what a machine has written
as you would check an intern, and say in the document that a machine has helped when more than a paragraph is its work.

## People's rights

Anyone may ask what we know about them. Send such a request to privacy@example.com on the day on which it reaches you,
even if it came in a bar. We answer within 30 days. Do not search for the data yourself, and delete nothing in the
meantime. Requests from the police or a ministry go to Henrik Sandvoss alone, by telephone, extension 7710.

## Customers' data

A customer's readings belong to the customer. We may use them to improve forecasts if the contract says so, which four
out of five do. To look at them for any other reason, ask the customer account lead, who notes the reason. Test systems
run on the invented river Lethe; copies of real rivers in a test system count as a SEV-2.

## Suppliers

A new supplier that sees silted or deep data needs an assessment, which takes about three weeks. Start it with a ticket
of the kind Vendor in Lantern. An existing supplier is looked at again every 24 months.

## Getting rid of devices

Discs are wiped by IT and then drilled. A Minnow that comes back from the field is reset with the magnet key before it
goes on a shelf. Old phones go into the grey box in the IT room. Nothing with a memory goes into a waste bin, a school
project or a cupboard at home.

## If in doubt

Ask before and not after. Henrik Sandvoss keeps an open hour every Wednesday from 14:00 to 15:00 Berlin time, in the
channel "ask-data", and nobody has yet asked him a question that was too small.
"""

OFFICES = [
    ["Office", "Country", "Address", "Opened", "People", "Desks", "Site lead", "Front desk", "Office manager mail"],
    ["Portland", "United States", "2210 Slough Road, Portland, OR 97217", 2014, 81, 52, "Ines Valadares",
     "+1 503 555 0110", "portland@example.com"],
    ["Berlin", "Germany", "Spreeufer 18, 10179 Berlin", 2017, 84, 64, "Tobias Kern", "+49 30 5550 0110",
     "berlin@example.com"],
    ["Lisbon", "Portugal", "Rua do Aqueduto 52, 1300-021 Lisbon", 2021, 47, 38, "Catarina Meireles",
     "+351 21 555 0110", "lisbon@example.com"],
]  # fmt: skip
ROOMS = [
    ["Office", "Room", "Floor", "Seats", "Screen", "Note"],
    ["Berlin", "Elbe", "3", 22, "two", "camera follows the speaker"],
    ["Berlin", "Havel", "3", 8, "one", ""],
    ["Berlin", "Isar", "4", 6, "one", ""],
    ["Berlin", "Panke", "4", 10, "none", "quiet room"],
    ["Berlin", "Neisse", "4", 4, "one", "nursing room, lockable, with fridge"],
    ["Lisbon", "Guadiana", "0", 16, "two", "camera follows the speaker"],
    ["Lisbon", "Mondego", "1", 8, "one", ""],
    ["Lisbon", "Sado", "1", 8, "none", "quiet room"],
    ["Lisbon", "Minho", "1", 4, "one", "nursing room, lockable, with fridge"],
    ["Portland", "Willamette", "1", 18, "two", ""],
    ["Portland", "Sandy", "1", 6, "one", ""],
    ["Portland", "Clackamas", "2", 4, "one", "nursing room, lockable, with fridge"],
    ["Portland", "Mariana", "hall", 2, "none", "test tank, two people when the cover is open"],
]


def blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """The parts of a text as (kind, items): `h1`, `h2`, `p`, `-`, `1.`, `|` (rows, still joined by `|`), `---`."""
    for part in re.split(r"\n\n+", text.strip()):
        lines = part.split("\n")
        if part == "---":
            yield "---", []
        elif match := re.match(r"(#+) (.*)", part):
            yield f"h{len(match[1])}", [match[2]]
        elif part.startswith("|"):
            yield "|", [line for line in lines if not re.fullmatch(r"[|-]+", line)]
        elif match := re.match(r"(-|1\.) ", part):
            items = re.split(r"\n(?=- |\d+\. )", part)
            yield match[1], [" ".join(re.sub(r"^(-|\d+\.) ", "", item).split()) for item in items]
        else:
            yield "p", [" ".join(lines)]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip()[1:-1].split("|")]


def word(text: str, title: str, author: str) -> bytes:
    document = docx.Document()
    for kind, items in blocks(text):
        if kind == "|":
            rows = [cells(item) for item in items]
            table: WordTable = document.add_table(len(rows), len(rows[0]), style="Table Grid")
            for i, row in enumerate(rows):
                for j, value in enumerate(row):
                    table.cell(i, j).text = value
            document.add_paragraph()
        elif kind.startswith("h"):
            document.add_heading(items[0], level=int(kind[1]))
        else:
            style = {"-": "List Bullet", "1.": "List Number"}.get(kind, "Normal")
            for item in items:
                document.add_paragraph(item, style=style)
    properties = document.core_properties
    properties.title, properties.author, properties.last_modified_by = title, author, author
    properties.comments, properties.revision = "", 1
    properties.created = properties.modified = properties.last_printed = WRITTEN
    stream = io.BytesIO()
    document.save(stream)
    return steady_zip(stream.getvalue())


BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=11, leading=16.5, spaceAfter=9)
STYLES = {
    "h1": ParagraphStyle("h1", fontName="Helvetica-Bold", fontSize=21, leading=26, spaceAfter=12, keepWithNext=1),
    "h2": ParagraphStyle(
        "h2", fontName="Helvetica-Bold", fontSize=14, leading=18, spaceBefore=10, spaceAfter=6, keepWithNext=1
    ),
    "p": BODY,
}
CELL = ParagraphStyle("cell", fontName="Helvetica", fontSize=9.5, leading=12.5)
HEAD = ParagraphStyle("head", parent=CELL, fontName="Helvetica-Bold")


def pdf(text: str, title: str, author: str, columns: int = 1) -> bytes:
    stream = io.BytesIO()
    width, height = A4
    margin, gap = 24 * mm, 8 * mm
    column = (width - 2 * margin - (columns - 1) * gap) / columns
    frames = [
        Frame(margin + i * (column + gap), margin, column, height - 2 * margin, 0, 0, 0, 0) for i in range(columns)
    ]

    def footer(canvas: Canvas, _: object) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(margin, 12 * mm, f"Heronbay handbook: {title}")
        canvas.drawRightString(width - margin, 12 * mm, f"Page {canvas.getPageNumber()}")

    story: list[Flowable] = []
    for kind, items in blocks(text):
        if kind == "---":
            story.append(PageBreak())
        elif kind == "|":
            rows = [[Paragraph(cell, CELL if i else HEAD) for cell in cells(row)] for i, row in enumerate(items)]
            table = Table(rows, colWidths=[column / len(rows[0])] * len(rows[0]), repeatRows=1)
            table.setStyle(
                TableStyle(
                    [
                        ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
                        ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
                        ("VALIGN", (0, 0), (-1, -1), "TOP"),
                    ]
                )
            )
            story += [table, Spacer(0, 10)]
        else:
            story.append(Paragraph(re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", items[0]), STYLES[kind]))
    template = PageTemplate(frames=frames, onPage=footer, pagesize=A4)
    BaseDocTemplate(stream, pageTemplates=[template], title=title, author=author, invariant=1).build(story)
    return stream.getvalue()


def excel() -> bytes:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in (("Offices", OFFICES), ("Rooms", ROOMS)):
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
        for cell in sheet[1]:
            cell.font = Font(bold=True)
    workbook.properties.title, workbook.properties.creator = "Offices and rooms", "Joanna Whitlock"
    workbook.properties.created = WRITTEN
    stream = io.BytesIO()
    workbook.save(stream)
    return steady_zip(stream.getvalue())


def steady_zip(data: bytes) -> bytes:
    """The same Office file with the clock taken out: entry times and the date of the last save."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            body = old.read(name)
            if name == "docProps/core.xml":
                stamp = f"{WRITTEN:%Y-%m-%dT%H:%M:%SZ}".encode()
                body = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>" + stamp, body)
            entry = zipfile.ZipInfo(name, WRITTEN.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(entry, body)
    return stream.getvalue()


def build() -> dict[str, bytes]:
    """Every built file: path inside the handbook → content."""
    return {
        "people/onboarding.docx": word(ONBOARDING, "Onboarding: your first 90 days", "Samuel Brandt"),
        "people/code-of-conduct.docx": word(CODE_OF_CONDUCT, "Code of conduct", "Amara Lindqvist"),
        "finance/learning-budget.docx": word(LEARNING, "Learning budget and study time", "Samuel Brandt"),
        "finance/expenses.pdf": pdf(EXPENSES, "Expenses", "Marguerite Oyelaran"),
        "benefits/health-benefits.pdf": pdf(HEALTH, "Health benefits by country", "Leila Haddad"),
        "security/data-handling.pdf": pdf(DATA_HANDLING, "Data handling guide", "Henrik Sandvoss", columns=2),
        "offices/offices.xlsx": excel(),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HANDBOOK
    for name, content in build().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"{path}  {len(content):,} bytes")


if __name__ == "__main__":
    main()
