"""Questions written from a document by rules, each with the span that answers it: no model, nothing invented.

In English, a sentence becomes a question where its grammar is plain enough to be turned around: definitions,
abbreviations, numbers, dates, people, reasons, instructions, rows of tables. In every language there are the headings
that are questions, and headings as the key words that people type. What is not certain is left out, so that most
sentences make no question (Heilman and Smith, Good Question! Statistical ranking for question generation, NAACL 2010,
turn sentences around in the same way, with a parser).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from openbook.evaluate.datasets.grammar import (
    AUXILIARIES,
    BOUNDARY,
    DETERMINERS,
    FORMS,
    NEGATED,
    NO_SUBJECT,
    NOUNS,
    PLAIN,
    Clause,
    Spelling,
    asked_as,
    cut,
    has_finite,
    lowered,
    own,
    turned,
    words_of,
)
from openbook.evaluate.datasets.leakage import words
from openbook.generate.extractive import Unit, units
from openbook.types import Document, heading_path

Kind = Literal[
    "definition", "abbreviation", "number", "date", "person", "reason", "instruction", "table", "faq", "keywords"
]


@dataclass(frozen=True, slots=True)
class Written:
    """A question; ``document.text[start:end]`` answers it. ``answers`` are empty where no few words of it do. Of key
    words, ``heading`` is what stands below those of the topic."""

    kind: Kind
    question: str
    answers: tuple[str, ...]
    start: int
    end: int
    heading: str = ""


def questions_in(document: Document, language: str | None) -> Iterator[Written]:
    """Every question that the rules find in a document, in order of the text; ``language`` is ISO 639-1.

    They are candidates: the same may be asked of other documents, and search may not find the answer.
    """
    yield from _of_headings(document, language)
    if language != "en":
        return
    spelling = Spelling.of(document.text)
    code = [match.span() for match in _CODE_BLOCK.finditer(document.text)]
    rows: dict[tuple[int, int], list[Unit]] = {}
    for unit in units(0, document.text):
        if any(start <= unit.start < end for start, end in code):
            continue
        if _is_row(document.text, unit):
            if unit.lead is not None:
                rows.setdefault(unit.lead, []).append(unit)
        else:
            yield from _of_sentence(unit, spelling, document)
    for header, body in rows.items():
        yield from _of_table(document.text, header, body)


_CODE_BLOCK = re.compile(r"^[ \t>]*(```|~~~)[^\n]*\n.*?^[ \t>]*\1[ \t]*$", re.MULTILINE | re.DOTALL)


# --- sentences --------------------------------------------------------------------------------------------------------


LONGEST_SENTENCE = 400
"""Characters: a longer one is never plain."""


def _of_sentence(unit: Unit, spelling: Spelling, document: Document) -> Iterator[Written]:
    sentence = unit.bare.rstrip(". ")
    if len(sentence) > LONGEST_SENTENCE or _ANNOUNCES.search(sentence):
        return
    is_item = _line_before(document.text, unit.start).strip()[:1] in ("-", "*", "+", "•")
    rules = (_definition, _abbreviation, _person, _instruction, _reason, _number, _date)
    found: list[tuple[Kind, str, tuple[str, ...]]] = []
    if is_item:
        path = " ".join((document.title, *heading_path(document.headings, unit.start)))
        found += _term(sentence, spelling, is_glossary=bool(_GLOSSARY.search(path)))
    for rule in rules:
        found += rule(sentence, spelling)
    for kind, question, answers in found:
        written = _checked(kind, question, answers, sentence, unit)
        if written is not None:
            yield written


_ANNOUNCES = re.compile(r":(?: \d)?$")
"""What it speaks of comes after it, in a list."""


def _checked(kind: Kind, question: str, answers: Sequence[str], sentence: str, unit: Unit) -> Written | None:
    """The question, if it can stand by itself and does not give its answer away."""
    question = " ".join(question.split()).strip(" ,;:")
    answers = tuple(dict.fromkeys(" ".join(answer.split()).strip(" ,;:.*") for answer in answers))
    asked = words(question)
    if not 3 <= len(asked) <= 25 or _UNCLEAR.search(question) or not answers or not all(answers):
        return None
    if any("][" in answer or _ELSEWHERE.search(answer) for answer in answers):
        return None
    if asked[-1] in _DANGLING | _ADVERBS and kind not in _NAMES_ITS_SUBJECT:
        return None
    if question.count("(") != question.count(")") or question.count('"') % 2:
        return None
    there, said = f" {' '.join(asked)} ", f" {' '.join(words(sentence))} "
    if any(f" {' '.join(words(answer))} " not in said for answer in answers):
        return None
    telling = set(asked) - PLAIN - _UNITS
    if f" {' '.join(words(answers[-1]))} " in there or len(telling) < (1 if kind in _NAMES_ITS_SUBJECT else 2):
        return None
    return Written(kind, question[0].upper() + question[1:] + "?", answers, unit.start, unit.end)


_NAMES_ITS_SUBJECT = ("definition", "abbreviation")

Found = list[tuple[Kind, str, tuple[str, ...]]]

_DANGLING = words_of(
    "a an the of in on at for to from by with and or is are was were be been as per into within after before between "
    "under over during than my every each worth aside"
)
_ADVERBS = words_of("always usually often typically generally currently already only also now again still")
# An answer that sends its reader on. "][" is a link by reference.
_ELSEWHERE = re.compile(
    r"\b(?:here|below|above|following|as follows|these|refer to|this (?:form|link|page|guide|document|section|doc))\b"
    r"|\]\[",
    re.IGNORECASE,
)
# What a reader of the question alone cannot resolve, and what does not belong into one.
_UNCLEAR = re.compile(
    r"\b(?:it|they|them|this|these|those|he|she|him|her|his|hers|we|us|our|ours|such|former|latter|above|below|"
    r"following|here|therefore|however|thus|also|else|otherwise|instead|then|you|aforementioned|herein|thereof)\b"
    r"|\bthe (?:role|position|post|job)\b(?! of)"
    r"|\b(?:that|the same|the other|another|the two|both) (?:\w+ )?\w+\?|https?:|www\.|[|*_`<>{}\[\]=]|…"
    r"|(?<!\S)/|/(?!\S)",
    re.IGNORECASE,
)
_GLOSSARY = re.compile(r"\b(?:glossary|terms|terminology|definitions|words|abbreviations|acronyms|vocabulary)\b", re.I)

# --- rules: a sentence → (kind, question, accepted answers) -----------------------------------------------------------

_TERM = re.compile(r"([A-Z][\w'’&/+.-]*(?: \w[\w'’&/+.-]*){0,3})(?::| [–—-]) (?=[A-Z\d\"“])(.{12,})")
_NO_TERM = words_of(
    "note notes example examples tip tips warning important caution hint owner author date effective version status "
    "contact mail email phone address see todo step update updated source reason result goal question answer"
)


def _term(sentence: str, spelling: Spelling, *, is_glossary: bool) -> Found:
    """``Anchor day: A day on which …`` of a list of terms."""
    match = _TERM.fullmatch(sentence)
    if match is None or words(match[1])[:1] == [] or words(match[1])[0] in _NO_TERM:
        return []
    term, meaning = match[1], match[2]
    if has_finite(cut(meaning), past=False):  # a sentence, which says something of the term
        return []
    tokens = term.split()
    # Of two words or more, the last one tells whether it is a name: Slack Water, flood room.
    is_name = len(tokens) == 1 or not tokens[-1].islower()
    first = tokens[0] if is_name or tokens[0] in spelling.names or not tokens[0].istitle() else tokens[0].lower()
    name = " ".join([first, *tokens[1:]])
    if is_glossary and len(tokens) == 1 and tokens[0] not in spelling.names and tokens[0].istitle():
        asks = f"What does “{term}” mean"
    elif re.match(r"(?:A|An) ", meaning):
        asks = f"What is {name}" if is_name else f"What is {'an' if name[0].lower() in 'aeio' else 'a'} {name}"
    elif re.match(r"(?:The|One|Any|Every|Our) ", meaning):
        asks = f"What is {name}" if is_name else f"What is the {name}"
    elif is_glossary:
        asks = f"What does “{term}” mean"
    else:
        return []
    return [("definition", asks, (meaning, _short(meaning)))]


def _short(meaning: str) -> str:
    """The definition without what is added to it."""
    short = re.split(r"[,;:(]| [–—-] ", meaning)[0]
    return short if len(short.split()) >= 3 and short.split()[-1] not in _DANGLING else meaning


_DEFINES = re.compile(
    r"(?P<term>(?:(?:The|An?) )?\w[\w'’/+.-]*(?: \w[\w'’/+.-]*){0,3}?) "
    r"(?:(?P<means>means|stands for|refers to)|(?P<is>is|are)) (?P<meaning>.{12,})"
)


_RELATIVE = words_of(
    "longer shorter higher lower larger smaller greater bigger better worse further earlier later similar common good "
    "bad typical new great important useful"
)
_GOES_ON = re.compile(
    r"(?:,| and| but| so) (?:[\w-]+ ){0,3}?(?:is|are|was|were|has|have|can|will|must|may|should|goes|go)\b"
)
"""A second statement after the definition; what "which is" adds belongs to it, but is not needed either."""
_TELLS = re.compile(
    r"(?:the|an?) (?:only|best|first|last|main|most|least|same|reason|result|key|great|good|important|essential|"
    r"\w+est)\b"
)
"""What something is among others, and not what it is."""


def _definition(sentence: str, spelling: Spelling) -> Found:
    """``X is a …``, ``X means …``; of ``The X is …`` only names, for what "the goal" is every page says anew."""
    match = _DEFINES.fullmatch(sentence)
    if match is None:
        return []
    term, meaning = match["term"], match["meaning"]
    tokens = term.split()
    article = tokens[0] if tokens[0] in ("The", "A", "An") else ""
    if tokens[0].lower() in NO_SUBJECT or not tokens[0][0].isupper() or NEGATED.search(term) or term == article:
        return []
    if any(token.lower() in PLAIN or token.lower() in AUXILIARIES for token in tokens[bool(article) :]):
        return []
    named = any(c.isupper() for token in tokens[bool(article) :][bool(not article) :] for c in token)
    if article == "The" and not named:
        return []
    started = article.lower() if article else lowered(tokens, spelling)
    if started is None or tokens[bool(article)].lower() in _RELATIVE or _GOES_ON.search(meaning):
        return []
    name = " ".join([started, *tokens[1:]])
    if match["means"]:
        if len(tokens) > 1 and tokens[0].endswith("ing"):  # doing something means, that is brings, something
            return []
        verb = {"means": "mean", "stands for": "stand for", "refers to": "refer to"}[match["means"]]
        return [("definition", f"What does {name} {verb}", (meaning, _short(meaning)))]
    is_name = named or (not article and len(tokens) == 1)
    if not re.match(r"(?:an?|the|any) \w" if is_name else r"(?:an?|any) \w", meaning) or _TELLS.match(meaning):
        return []
    if re.match(r"(?:the|an?) \w+(?:[,;:]|$)", meaning):  # "is the rule", "is a must"
        return []
    if len(tokens) == 1 and tokens[0].lower() in DETERMINERS | {"people", "everyone", "everything", "anyone", "you"}:
        return []
    who = re.match(
        r"(?:an?|the) (?:(?!by |of |for |from |in |at |on )[\w'’-]+ ){0,4}"
        r"(?:person|head|manager|lead|leader|director|colleague|member|son|daughter|"
        r"brother|sister|wife|husband|actor|actress|artist|author|singer|musician|composer|player|footballer|politician|lawyer|"
        r"journalist|writer|poet|painter|producer|scientist|professor|founder|president|officer)\b(?! of \w+ing\b)",
        meaning,
    )
    asks = "Who" if who and not article and len(tokens) in (2, 3) else "What"
    return [("definition", f"{asks} {match['is']} {name}", (meaning, _short(meaning)))]


_SHORT = re.compile(r"\(([A-Z]{2,6})s?\)")


def _abbreviation(sentence: str, spelling: Spelling) -> Found:
    """``single sign-on (SSO)``: the initials must be those of the words before."""
    found: Found = []
    for match in _SHORT.finditer(sentence):
        before = list(re.finditer(r"[\w'’]+", sentence[: match.start()]))
        letters = match[1].lower()
        for count in range(len(letters), min(len(letters) + 3, len(before)) + 1):
            taken = before[-count:]
            initials = [
                word[0][0].lower() for word in taken if word[0].lower() not in ("of", "and", "for", "the", "to")
            ]
            if initials == list(letters) and taken[0][0].lower() not in ("of", "and", "for", "the", "to"):
                long = sentence[taken[0].start() : match.start()].strip()
                found.append(("abbreviation", f"What does {match[1]} stand for", (long,)))
                break
    return found


_WHO = re.compile(
    r"((?:[A-Z][\w'’-]+ ){1,2}[A-Z][\w'’-]+), who ([a-z]+s|is|was|has|can|will) ([^,.;:()]{6,})(?=[,;:]|\.?$)"
)
_DOES = (
    "approves|decides|directs|heads|leads|manages|organises|organizes|owns|reviews|runs|signs|sorts|teaches|writes|"
    "approved|created|designed|directed|discovered|founded|invented|led|managed|organised|organized|taught|wrote"
)
_BY_NAME = re.compile(
    rf"((?:[A-Z][\w'’-]+ ){{1,2}}[A-Z][\w'’-]+) ({_DOES}) ([^,.;:()]{{6,}})(?=, (?:and|but|who|which|where)\b|;|\.?$)"
)


def _person(sentence: str, spelling: Spelling) -> Found:
    """``Ann Lee, who leads the team``; ``Ann Lee leads the team``."""
    found: Found = []
    for match in (_WHO.search(sentence), _BY_NAME.match(sentence)):
        if (
            match is None
            or NEGATED.search(match[3])
            or BOUNDARY.search(match[3])
            or match[3].split()[0].endswith(("ly", "ing"))  # what somebody is doing just now
            or any(name.lower() in spelling.lower for name in match[1].split())
        ):
            continue
        if match[1].split()[0].lower() not in PLAIN | NO_SUBJECT:
            found.append(("person", f"Who {match[2]} {own(match[3])}", (match[1],)))
    return found


_IMPERATIVES = words_of(
    "click configure copy delete disable download edit enable enter execute export go import log modify move navigate "
    "pass press put restart save scroll search select specify submit switch sync tap turn type upgrade upload"
)
_TO = re.compile(r"To ([a-z]+) ([^,;:]{3,60}), ([a-z][^:]{10,})")


def _instruction(sentence: str, spelling: Spelling) -> Found:
    """``To renew a certificate, open …``."""
    match = _TO.fullmatch(sentence)
    if match is None or NEGATED.search(match[2]) or match[1] in _NO_NOUN | DETERMINERS | {"be"}:
        return []
    first = re.match(r"(?:(?:please|simply|just|you (?:can|may|must|should|need to)) )?([a-z]+)", match[3])
    if first is None or not (FORMS.get(first[1], ("", ""))[1] == first[1] or first[1] in _IMPERATIVES):
        return []
    return [("instruction", f"How do I {match[1]} {own(match[2])}", (match[3],))]


_BECAUSE = re.compile(r"(.{12,}?),? because (?!of\b)(.{12,})")


def _reason(sentence: str, spelling: Spelling) -> Found:
    match = _BECAUSE.fullmatch(sentence)
    clause = turned(match[1], spelling) if match and not NEGATED.search(match[1]) else None
    if match is None or clause is None or cut(clause.predicate) != clause.predicate:
        return []
    if has_finite(clause.predicate, past=False):
        return []
    return [("reason", asked_as(clause, "Why", clause.predicate), (match[2],))]


_FIGURE = (
    r"(?:\d[\d,]*(?:\.\d+)?|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|twenty|"
    r"thirty|forty|fifty|sixty|ninety)"
)
_FIGURES = rf"{_FIGURE}(?: ?(?:-|–|to|or) ?{_FIGURE})?"
_QUALIFIER = (
    r"(?:up to|at least|at most|about|around|roughly|approximately|more than|less than|fewer than|over|only|exactly|"
    r"nearly|almost|no more than|not more than|a maximum of|a minimum of)"
)
_PREPOSITION = r"(?:for|within|after|before|in|by|on)"
_AMOUNT = re.compile(
    rf"(?:^|(?<=[ (]))(?:(?P<in>{_PREPOSITION}) )?(?P<whole>(?:{_QUALIFIER} )?(?P<bare>"
    rf"(?P<money>(?:[€$£¥] ?|(?:EUR|USD|GBP|CHF) ){_FIGURES}|{_FIGURES} ?(?:€|EUR|USD|GBP|CHF|euros?|dollars?|pounds?))"
    rf"|(?P<percent>{_FIGURES} ?(?:%|percent|per cent))"
    rf"|(?P<figure>{_FIGURES})(?P<noun>(?: [a-zA-Z][\w'’-]*){{1,4}})))(?![\w%-])"
)
_OF = re.compile(
    r" of (?!(?:the|which|them)\b)[\w-]+(?: (?!(?:\w+ed|of|for|in|on|at|by|to|from|per|an?|and|with|as)\b)[\w-]+)?"
)
_NOT_COUNTED = re.compile(
    r"\b(?:the|(?:the|my|its|their) last|first|next|these|those|every|of|than|another|other|further|and|or|an?|at|with|"
    r"from|to|[A-Z]\w*) $"
)
_UNITS = words_of(
    "seconds minutes hours days nights weeks months quarters years decades times people employees members percent km "
    "kilometres kilometers metres meters miles kg kilograms grams tonnes degrees words characters pages bytes copies"
)
_NO_NOUN = PLAIN | NO_SUBJECT | AUXILIARIES | words_of(
    "ago ahead later earlier before after away off old long high wide deep more less most least than each per during "
    "within into until till under over between through without available left only if unless while whose"
)  # fmt: skip


def _number(sentence: str, spelling: Spelling) -> Found:
    """``You may carry up to 5 unused days``: the first amount of the main clause is asked for."""
    clause = turned(sentence, spelling)
    match = _AMOUNT.search(clause.predicate) if clause else None
    if clause is None or match is None or NEGATED.search(sentence) or _is_noun_phrase(clause):
        return []
    before, after = clause.predicate[: match.start()], clause.predicate[match.end() :]
    noun, asks = "", "how much"
    if _NOT_COUNTED.search(before):
        return []
    if match["percent"]:
        asks = "what percentage"
        part = re.match(
            r" of ((?:the |my |all )?[\w-]+(?: [\w-]+)?)(?= (?:of|for|in|on|at|by|to|from|per|a|if)\b|$)", after
        )
        if part is None:
            return []
        asks, after = f"{asks} of {part[1]}", after[part.end() :]
    elif match["noun"]:
        noun = _noun(match["noun"])
        if not noun:
            return []
        after = match["noun"][len(noun) + 1 :] + after
        if size := re.match(r" (deep|long|wide|high|tall|old|thick|heavy|large|far|early|late)\b", after):
            asks, after = f"how {size[1]}", after[size.end() :]
        else:
            part = _OF.match(after)
            asks, after = f"how many {noun}{part[0] if part else ''}", after[part.end() if part else 0 :]
    if (
        re.search(r"\bworth\b", before)
        or _BEFORE_IT.match(after)
        or len(before.split()) > 5
        or BOUNDARY.search(before)
        or _AMOUNT.search(cut(after))
    ):
        return []
    if match["in"]:
        asks = f"{match['in']} {asks}"
    figure = match["bare"] if not noun else f"{match['figure']} {noun}"
    whole = match["whole"] if not noun else match["whole"][: match["whole"].index(match["figure"])] + figure
    short = (match["figure"],) if match["figure"] else ()
    question = asked_as(clause, asks, f"{before} {cut(after)}")
    return [("number", question, (_theirs(whole, sentence), _theirs(figure, sentence), *short))]


_BEFORE_IT = re.compile(r" (?:prior|before|after|ahead|in advance|beforehand)\b")
"""How long before or after something, which is no amount of anything."""


def _is_noun_phrase(clause: Clause) -> bool:
    """Whether something is said to be a thing: an amount or a year that follows belongs to that thing."""
    is_copula = clause.auxiliary in ("is", "are", "was", "were", "am")
    return is_copula and re.match(r"(?:an?|the|one)\b", clause.predicate) is not None


def _theirs(phrase: str, sentence: str) -> str:
    """A phrase of the question as the sentence has it: "your" was turned into "my" there."""
    return phrase if phrase in sentence else re.sub(r"\bmy\b", "your", phrase)


def _noun(after: str) -> str:
    """What is counted: up to the unit, or to the last word that is none of those that end it."""
    taken: list[str] = []
    for word in after.split():
        if word.lower() in _NO_NOUN or word.lower().endswith("ly"):
            break
        taken.append(word)
        if word.lower() in _UNITS:
            break
        if word.lower() in FORMS and len(taken) > 1:
            taken.pop()
            break
    return " ".join(taken) if taken and (taken[-1].endswith("s") or taken[-1] == "people") else ""


_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_DAY = rf"\d{{1,2}} (?:{_MONTH})(?:,? \d{{4}})?|(?:{_MONTH}) \d{{1,2}}(?:, \d{{4}})?|(?:{_MONTH})(?: of)? \d{{4}}"
_DATE = re.compile(
    rf"(?<!\w)(?P<in>on|by|from|until|since|in|at|after|before) "
    rf"(?P<date>{_DAY}|(?:1[5-9]|20)\d\d|(?P<time>\d{{1,2}}:\d\d(?: ?[ap]\.?m\.?)?))"
    r"(?![\w%.-]*\d)(?! (?:euros|days|people)\b)"
)
_WHEN = {"on": "when", "in": "when", "by": "by when", "from": "from when", "until": "until when", "since": "since when"}


def _date(sentence: str, spelling: Spelling) -> Found:
    """``The office opened in 2014``; ``Write to Workplace by 10:30``."""
    clause = turned(sentence, spelling)
    match = _DATE.search(clause.predicate) if clause else None
    if clause is None or match is None or NEGATED.search(sentence) or _is_noun_phrase(clause):
        return []
    before, after = clause.predicate[: match.start()], clause.predicate[match.end() :]
    if BOUNDARY.search(before) or len(before.split()) > 8 or re.match(r" (?:to|and|or|until|–|-) ", after):
        return []
    if match["time"]:
        asks = {"at": "at what time", "by": "by what time", "from": "from what time", "until": "until what time"}.get(
            match["in"], ""
        )
    else:
        asks = _WHEN.get(match["in"], "")
    if not asks or not before.strip():
        return []
    question = asked_as(clause, asks, f"{before} {cut(after)}")
    return [("date", question, (match["date"],))]


# --- tables -----------------------------------------------------------------------------------------------------------


def _is_row(text: str, unit: Unit) -> bool:
    return _line_before(text, unit.start).lstrip("> \t").startswith("|")


def _line_before(text: str, at: int) -> str:
    return text[text.rfind("\n", 0, at) + 1 : at]


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def _of_table(text: str, header: tuple[int, int], rows: Sequence[Unit]) -> Iterator[Written]:
    """Of each row what stands in its cells, where the first column that tells the rows apart is one of names."""
    names = _cells(text[slice(*header)])
    body = [(unit, _cells(text[unit.start : unit.end])) for unit in rows]
    body = [(unit, cells) for unit, cells in body if len(cells) == len(names)]
    if len(body) < 2 or len(names) < 2:
        return
    columns = [[cells[n] for _, cells in body] for n in range(len(names))]
    key = next((n for n, column in enumerate(columns) if len(set(column)) == len(column)), None)
    if key is None or not _are_names(columns[key]):
        return
    # "Deduction breakfast, Deduction dinner": what is asked for stands first, and no question puts it so.
    firsts = Counter(name.split()[0].lower() for name in names if name.split())
    for unit, cells in body:
        for n, name in enumerate(names):
            asked = n != key and name.split() and firsts[name.split()[0].lower()] == 1
            asks = _asks_cell(name, cells[n]) if asked else ""
            answer = cells[n]
            if asks and answer and answer != cells[key] and len(words(answer)) > 0:
                question = f"{asks} for {cells[key]}" if asks != _MEANS else f"what does {cells[key]} mean"
                written = _checked("table", question, (answer,), " ".join(cells), unit)
                if written is not None:
                    yield written


def _are_names(values: Sequence[str]) -> bool:
    distinct = len({value.casefold() for value in values}) == len(values)
    return distinct and all(
        re.match(r"[^\W\d_].*[^\W_]", value)
        and "," not in value
        and len(value.split()) <= 4
        and value.split()[0].lower() not in NO_SUBJECT
        for value in values
    )


_MEANS = "what does it mean"


_SAYS_ANYTHING = ("note", "comment", "remark", "descri", "detail", "info", "summar", "purpose")
"""Heads of columns whose cells could be of anything."""


def _asks_cell(name: str, cell: str) -> str:
    """The question for a column; none for a header that is no noun, or a cell that says nothing."""
    low = name.lower()
    if re.fullmatch(r"(?:what it )?means?|meaning|definition|stands for|long form", low):
        return _MEANS if len(cell.split()) > 1 else ""
    if not 1 <= len(name.split()) <= 4 or not re.fullmatch(r"[\w'’ -]+", name) or re.search(r"\b(?:or|and|to)\b", low):
        return ""
    first, last = low.split()[0], low.split()[-1]
    if (
        last in _DANGLING
        or last in _NO_NOUN
        or first.endswith("ed")
        or (first in FORMS and FORMS[first][1] not in NOUNS)
    ):
        return ""
    if re.match(r"what|who|where|when|how|why|which|is|are|can", low) or last.startswith(_SAYS_ANYTHING):
        return ""
    if cell.lower() in ("", "-", "–", "—", "n/a", "none", "yes", "no", "x", "✓"):
        return ""
    shown = low if name == name.capitalize() or name == low else name
    is_plural = low == "people" or (low.endswith("s") and not low.endswith(("ss", "us", "is")))
    if is_plural and re.fullmatch(r"\d[\d,.]*", cell):
        return f"how many {shown} are there"
    return f"what {'are' if is_plural else 'is'} the {shown}"


# --- headings ---------------------------------------------------------------------------------------------------------

LONGEST_SECTION = 1500
"""Characters: of a longer section the beginning is the evidence, to the end of its sentence."""

LEAST_SECTION = 150
"""Characters: a shorter one says too little of its heading."""


_NUMBERED = re.compile(r"^(?:(?:Q|Question|FAQ)?\s?\d*(?:\.\d+)*[.:)]\s+)?(?=\S)")
_SENTENCE = re.compile(r"(?:what|who|where|when|how|why|which|if|we|you|i|the first|the last)\b", re.IGNORECASE)


def _of_headings(document: Document, language: str | None) -> Iterator[Written]:
    """Headings that are questions; others as key words, below the title or the heading above."""
    for number, heading in enumerate(document.headings):
        following = document.headings[number + 1].start if number + 1 < len(document.headings) else len(document.text)
        section = _section(document.text, heading.end, following)
        if section is None:
            continue
        title = _NUMBERED.sub("", " ".join(heading.title.split()))
        asked = words(title)
        if title.endswith(("?", "？", "؟")):
            if len(asked) >= 3 and not (language == "en" and _UNCLEAR.search(title)):
                yield Written("faq", title, (), *section)
            continue
        if (
            language == "en"
            and (to := re.fullmatch(r"How to ([a-z][\w -]{8,60})", title))
            and not _UNCLEAR.search(title)
        ):
            yield Written("instruction", f"How do I {own(to[1])}?", (), *section)
        if _SENTENCE.match(title) or len(_prose(document.text[slice(*section)])) < LEAST_SECTION:
            continue
        above = heading_path(document.headings[: number + 1], heading.start)[:-1]
        topic = next((name for name in (*reversed(above), document.title) if name and not _says(name, title)), "")
        shown = " ".join(re.findall(r"[\w'’+#.-]+", f"{topic} {title}"))
        if 1 <= len(asked) <= 6 and 3 <= len(set(words(shown))) <= 10 and set(asked) - PLAIN:
            yield Written("keywords", shown, (), *section, heading=title)


def _says(name: str, title: str) -> bool:
    return set(words(title)) <= set(words(name)) or set(words(name)) <= set(words(title))


def _prose(text: str) -> str:
    """Without code, tables, addresses and marks: what stands above those alone is a name of a part, and no question."""
    bare = re.sub(
        r"^[ \t>]*(```|~~~).*?(?:^[ \t>]*\1|\Z)|^[ \t>]*\|.*$|<[^>]*>|\(\S+\)|https?:\S+", " ", text, flags=re.M | re.S
    )
    return " ".join(re.findall(r"[^\W\d_]{2,}", bare))


def _section(text: str, start: int, end: int) -> tuple[int, int] | None:
    """What stands below a heading, trimmed; ``None`` where that is too little."""
    from openbook.sentences import sentences

    body = text[start:end]
    if len(body.strip()) < LEAST_SECTION:
        return None
    spans = sentences(body)
    last = max([stop for _, stop in spans if stop <= LONGEST_SECTION], default=min(len(body), LONGEST_SECTION))
    return start + spans[0][0], start + last
