"""Questions written from a document by rules, each with the span that answers it: no model, nothing invented.

In English, a sentence becomes a question where its grammar is plain enough to be turned around: definitions,
abbreviations, numbers, dates, people, reasons, instructions, rows of tables. In every language there are the headings
that are questions, and headings as the key words that people type. What is not certain is left out, so that most
sentences make no question (Heilman and Smith, Good Question! Statistical ranking for question generation, NAACL 2010,
turn sentences around in the same way, with a parser).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from openbook.evaluate.leakage import words
from openbook.generate.extractive import Unit, units
from openbook.types import Document, heading_path

Kind = Literal[
    "definition", "abbreviation", "number", "date", "person", "reason", "instruction", "table", "faq", "keywords"
]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Written:
    """A question; ``document.text[start:end]`` answers it. ``answers`` are empty where no few words of it do."""

    kind: Kind
    question: str
    answers: tuple[str, ...]
    start: int
    end: int


def questions_in(document: Document, language: str | None) -> Iterator[Written]:
    """Every question that the rules find in a document, in order of the text; ``language`` is ISO 639-1.

    They are candidates: the same may be asked of other documents, and search may not find the answer.
    """
    yield from _of_headings(document, language)
    if language != "en":
        return
    spelling = _Spelling.of(document.text)
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


@dataclass(frozen=True, slots=True)
class _Spelling:
    """The words that a document writes with a small letter, and with a capital one where no sentence begins."""

    lower: frozenset[str]
    names: frozenset[str]

    @staticmethod
    def of(text: str) -> _Spelling:
        lower = frozenset(re.findall(r"(?<![\w'’-])[a-z][\w'’-]*", text))
        return _Spelling(lower, frozenset(re.findall(r"(?<=[a-z,;] )[A-Z][\w'’-]*", text)))


_CODE_BLOCK = re.compile(r"^[ \t>]*(```|~~~)[^\n]*\n.*?^[ \t>]*\1[ \t]*$", re.MULTILINE | re.DOTALL)


# --- sentences --------------------------------------------------------------------------------------------------------


LONGEST_SENTENCE = 400
"""Characters: a longer one is never plain."""


def _of_sentence(unit: Unit, spelling: _Spelling, document: Document) -> Iterator[Written]:
    sentence = unit.bare.rstrip(". ")
    if len(sentence) > LONGEST_SENTENCE:
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


def _checked(kind: Kind, question: str, answers: Sequence[str], sentence: str, unit: Unit) -> Written | None:
    """The question, if it can stand by itself and does not give its answer away."""
    question = " ".join(question.split()).strip(" ,;:")
    answers = tuple(dict.fromkeys(" ".join(answer.split()).strip(" ,;:.*") for answer in answers))
    asked = words(question)
    if not 3 <= len(asked) <= 25 or _UNCLEAR.search(question) or not answers or not all(answers):
        return None
    if any("][" in answer for answer in answers):  # a link by reference
        return None
    if asked[-1] in _DANGLING and kind not in _NAMES_ITS_SUBJECT:
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

PLAIN = _set(
    "a an the of in on at for to from by with and or is are was were be been do does did can may must should will how "
    "what who when why where which many much long i my me you your it as not no up out per each every any all there "
    "know about mean stand work thing things way get have has had take make use person someone everyone everybody "
    "anyone one working calendar same year month week day time times least most"
)
_DANGLING = _set(
    "a an the of in on at for to from by with and or is are was were be been as per into within after before between "
    "under over during than my every each worth aside"
)
# What a reader of the question alone cannot resolve, and what does not belong into one.
_UNCLEAR = re.compile(
    r"\b(?:it|they|them|this|these|those|he|she|him|her|his|hers|we|us|our|ours|such|former|latter|above|below|"
    r"following|here|therefore|however|thus|also|else|otherwise|instead|then|you|aforementioned|herein|thereof)\b"
    r"|\b(?:that|the same|the other|another|the two|both) (?:\w+ )?\w+\?|https?:|www\.|[|*_`<>{}\[\]=]|…",
    re.IGNORECASE,
)
_GLOSSARY = re.compile(r"\b(?:glossary|terms|terminology|definitions|words|abbreviations|acronyms|vocabulary)\b", re.I)

# --- the grammar of a plain sentence ----------------------------------------------------------------------------------

_AUXILIARIES = _set("is are was were can could may might must should will would shall")
_HAVE = {"has": "does", "have": "do", "had": "did"}
_BASES = _set(
    "accept add agree allow apply approve arrive ask become begin belong book bring build buy call carry change "
    "charge check choose claim close collect come complete connect consist contain continue cost count cover create "
    "deal deliver develop die earn elect employ end ensure enter establish exceed exist expire extend fall file "
    "find finish follow form found get give grow handle happen hold include increase install issue join keep lapse "
    "last lead leave live lose maintain make manage mark measure meet move need offer open operate organise "
    "organize own pay play produce protect provide publish reach read receive recommend record reduce refund "
    "reimburse release remain remind remove repay replace report require reserve respond review run sell send serve "
    "set share sign sit sort speak spend stand start stay stop store support take teach tell travel use visit wait "
    "weigh win work write"
)
_IRREGULAR: Mapping[str, str] = {
    "became": "become", "began": "begin", "brought": "bring", "built": "build", "bought": "buy", "came": "come",
    "chose": "choose", "cost": "cost", "dealt": "deal", "fell": "fall", "found": "find", "got": "get", "gave": "give",
    "grew": "grow", "held": "hold", "kept": "keep", "led": "lead", "left": "leave", "lost": "lose", "made": "make",
    "met": "meet", "paid": "pay", "read": "read", "ran": "run", "sold": "sell", "sent": "send", "sat": "sit",
    "spoke": "speak", "spent": "spend", "stood": "stand", "took": "take", "taught": "teach", "told": "tell",
    "won": "win", "wrote": "write",
}  # fmt: skip
# Of these the bare form is as often a noun, and what looks like the third person its plural.
_NOUNS = _set(
    "book call change charge check claim close cost count cover deal end file find form issue lead leave lapse last "
    "mark measure move need offer open own play produce read record refund release report reserve review run set share "
    "sign sort stand start stay stop store support travel use visit wait win work"
)


def _forms() -> dict[str, tuple[str, str]]:
    """Form of a verb → (the auxiliary that asks with it, its base)."""
    forms: dict[str, tuple[str, str]] = {form: (do, "have") for form, do in _HAVE.items()}
    for base in sorted(_BASES):
        stem = base[:-1] if base.endswith("y") and base[-2] not in "aeiou" else base
        third = stem + "ies" if stem != base else base + ("es" if base.endswith(("s", "sh", "ch", "x", "o")) else "s")
        doubled = base in ("stop", "set", "sit", "run", "get", "win", "begin")
        past = base + "d" if base.endswith("e") else stem + "ied" if stem != base else base + base[-1] * doubled + "ed"
        forms.setdefault(base, ("do", base))
        forms.setdefault(third, ("does", base))
        forms.setdefault(past, ("did", base))
    for past, base in _IRREGULAR.items():
        if past != base:
            forms[past] = ("did", base)
    return forms


_FORMS = _forms()
_WORD = re.compile(r"[^\s]+")
_BOUNDARY = re.compile(
    r"[,;:(—–]| (?:and|but|or|so|because|which|who|whose|if|unless|until|when|whenever|where|while|as long|provided|"
    r"although|though|since|except|that|than|whether|even)\b"
)
_NEGATED = re.compile(r"\b(?:not|never|no|nobody|none|nothing|cannot|neither|nor|without)\b|n['’]t\b", re.IGNORECASE)
_FRONT = re.compile(r"(?:In|At|For|On|During|After|Before|From|Under|Within|Outside|Above|Below) [^,]{2,40}, (?=\S)")
_NO_SUBJECT = _set(
    "it they this that these those he she we i there here who which what when where why how if once as to because "
    "although while since unless until however therefore also please only then so such some others another both "
    "either neither one and or but not nor yet with by for from in on at of about into than see note do let its their "
    "my your after before during within under over between through without outside inside up down out off per"
)
_COMMON = _set("everybody everyone anybody anyone people staff mail raw access data time")
_DETERMINERS = _set("a an the every each all any most many few several your no its their some")


@dataclass(frozen=True, slots=True)
class _Clause:
    """``front`` + ``auxiliary`` + ``subject`` + ``predicate``, with a question word in front, is a question."""

    front: str
    auxiliary: str
    subject: str
    predicate: str


def _turned(sentence: str, spelling: _Spelling) -> _Clause | None:
    """A main clause in the order of a question; ``None`` where its grammar is not plain."""
    front = found[0] if (found := _FRONT.match(sentence)) else ""
    body = sentence[len(front) :]
    tokens = [(match[0], match.start(), match.end()) for match in _WORD.finditer(body)]
    for place, (word, start, end) in enumerate(tokens[:12]):
        if place == 0:
            continue
        low = word.lower()
        if low in _AUXILIARIES:
            subject = _subject(body[:start], spelling)
            rest = body[end:].strip()
            if subject is None or not rest:
                return None
            auxiliary = {"are": "am", "were": "was"}.get(low, low) if subject == "I" else low
            return _Clause(_own(front), auxiliary, subject, _own(rest))
        if low in _FORMS and not _is_noun(low, tokens[place - 1][0], place):
            auxiliary, base = _FORMS[low]
            rest = body[end:].strip()
            subject = _subject(body[:start], spelling)
            if subject is None or not rest or _has_finite(_cut(rest), past=auxiliary == "did"):
                return None
            if base == "have" and re.match(r"(?:been|\w+ed|\w+en|made|kept|held|paid|sent|set)\b", rest):
                return _Clause(_own(front), low, subject, _own(rest))
            return _Clause(_own(front), auxiliary, subject, _own(f"{base} {rest}"))
    return None


def _is_noun(form: str, before: str, place: int) -> bool:
    """Whether what may be a verb most likely is none here: the bare form needs a plural or "you" before it."""
    auxiliary, base = _FORMS[form]
    if auxiliary == "do" and form == base:
        return not (before.lower() in ("you", "people", "staff", "women", "men", "children") or before.endswith("s"))
    return base in _NOUNS and auxiliary == "does" and (place < 2 or before.lower() in _DETERMINERS)


def _has_finite(rest: str, *, past: bool) -> bool:
    """Whether there is a second verb, so that the first was perhaps none (a noun, a participle)."""
    tokens = rest.lower().split()
    for before, word in zip(["", *tokens], tokens, strict=False):
        auxiliary, base = _FORMS.get(word, ("", ""))
        if word in _AUXILIARIES or word in _HAVE or (past and auxiliary == "did"):
            return True
        if base and base not in _NOUNS and auxiliary != "did" and before != "to":
            return True
    return False


def _subject(text: str, spelling: _Spelling) -> str | None:
    tokens = text.split()
    if not 1 <= len(tokens) <= 8 or re.search(r"[,;:()\"“”|–—]", text) or _NEGATED.search(text):
        return None
    first = tokens[0].lower()
    if tokens == ["You"]:
        return "I"
    low = {token.lower() for token in tokens}
    if first.endswith("ing") and low & {"to", "in", "on", "at", "from", "by", "back"}:
        return None
    if (first in _NO_SUBJECT and first not in ("my", "your")) or first.endswith("ly") or low & _NOT_INSIDE:
        return None
    if tokens[-1].lower() in PLAIN - {"everyone", "everybody"} or tokens[-1].lower().endswith(("ly", "ing")):
        return None
    return _own(" ".join([_lowered(tokens, spelling), *tokens[1:]]))


_NOT_INSIDE = _set("that who which when if you we it they since because as until while than where later ago earlier")


def _lowered(tokens: Sequence[str], spelling: _Spelling) -> str:
    """The first word of a sentence as it would stand inside one: a name keeps its capital letter."""
    first = tokens[0]
    if first.lower() in _DETERMINERS or first.lower() in spelling.lower:
        return first.lower()
    if first in spelling.names:
        return first
    before_common = len(tokens) > 1 and tokens[1][:1].islower()
    is_plural = first.endswith("s") and not first.endswith(("ss", "us", "is"))
    is_common = before_common or (len(tokens) == 1 and (is_plural or first.lower() in _COMMON))
    return first.lower() if is_common and first == first.capitalize() else first


def _own(text: str) -> str:
    """Said to the reader: asked by the reader."""
    for you, me in ((r"\byour\b", "my"), (r"\byourself\b", "myself"), (r"\byours\b", "mine")):
        text = re.sub(you, me, text, flags=re.IGNORECASE)
    return text


def _cut(text: str) -> str:
    """Up to the end of the clause."""
    found = _BOUNDARY.search(text)
    return text[: found.start()] if found else text


def _asked(clause: _Clause, asks: str, predicate: str) -> str:
    front = clause.front[:1].lower() + clause.front[1:]
    question = f"{asks} {clause.auxiliary} {clause.subject} {predicate}"
    return f"{front}{question[0].lower()}{question[1:]}" if front else question


# --- rules: a sentence → (kind, question, accepted answers) -----------------------------------------------------------

_TERM = re.compile(r"([A-Z][\w'’&/+.-]*(?: \w[\w'’&/+.-]*){0,3})(?::| [–—-]) (?=[A-Z\d\"“])(.{12,})")
_NO_TERM = _set(
    "note notes example examples tip tips warning important caution hint owner author date effective version status "
    "contact mail email phone address see todo step update updated source reason result goal question answer"
)


def _term(sentence: str, spelling: _Spelling, *, is_glossary: bool) -> Found:
    """``Anchor day: A day on which …`` of a list of terms."""
    match = _TERM.fullmatch(sentence)
    if match is None or words(match[1])[:1] == [] or words(match[1])[0] in _NO_TERM:
        return []
    term, meaning = match[1], match[2]
    if _has_finite(_cut(meaning), past=False):  # a sentence, which says something of the term
        return []
    tokens = term.split()
    # Of two words or more, the last one tells whether it is a name: Slack Water, flood room.
    is_name = len(tokens) == 1 or not tokens[-1].islower()
    first = tokens[0] if is_name or tokens[0] in spelling.names or not tokens[0].istitle() else tokens[0].lower()
    name = " ".join([first, *tokens[1:]])
    if re.match(r"(?:A|An) ", meaning):
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


def _definition(sentence: str, spelling: _Spelling) -> Found:
    """``X is a …``, ``X means …``; of ``The X is …`` only names, for what "the goal" is every page says anew."""
    match = _DEFINES.fullmatch(sentence)
    if match is None:
        return []
    term, meaning = match["term"], match["meaning"]
    tokens = term.split()
    article = tokens[0] if tokens[0] in ("The", "A", "An") else ""
    if tokens[0].lower() in _NO_SUBJECT or not tokens[0][0].isupper() or _NEGATED.search(term) or term == article:
        return []
    if any(token.lower() in PLAIN or token.lower() in _AUXILIARIES for token in tokens[bool(article) :]):
        return []
    named = any(c.isupper() for token in tokens[bool(article) :][bool(not article) :] for c in token)
    if article == "The" and not named:
        return []
    name = (
        f"{article.lower()} {' '.join(tokens[1:])}" if article else " ".join([_lowered(tokens, spelling), *tokens[1:]])
    )
    if match["means"]:
        verb = {"means": "mean", "stands for": "stand for", "refers to": "refer to"}[match["means"]]
        return [("definition", f"What does {name} {verb}", (meaning, _short(meaning)))]
    is_name = named or (not article and len(tokens) == 1)
    if not re.match(r"(?:an?|the|one of|any) \w" if is_name else r"(?:an?|one of|any) \w", meaning):
        return []
    if re.match(r"(?:the|an?) \w+(?:[,;:]|$)", meaning):  # "is the rule", "is a must"
        return []
    if len(tokens) == 1 and tokens[0].lower() in _DETERMINERS | {"people", "everyone", "everything", "anyone", "you"}:
        return []
    who = re.match(
        r"(?:an?|the) (?:[\w-]+ ){0,2}(?:person|head|manager|lead|leader|director|colleague|member)\b", meaning
    )
    asks = "Who" if who and not article and len(tokens) in (2, 3) else "What"
    return [("definition", f"{asks} {match['is']} {name}", (meaning, _short(meaning)))]


_SHORT = re.compile(r"\(([A-Z]{2,6})s?\)")


def _abbreviation(sentence: str, spelling: _Spelling) -> Found:
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
_BY_NAME = re.compile(rf"((?:[A-Z][\w'’-]+ ){{1,2}}[A-Z][\w'’-]+) ({_DOES}) ([^,.;:()]{{6,}})(?=[,;:]|\.?$)")


def _person(sentence: str, spelling: _Spelling) -> Found:
    """``Ann Lee, who leads the team``; ``Ann Lee leads the team``."""
    found: Found = []
    for match in (_WHO.search(sentence), _BY_NAME.match(sentence)):
        if (
            match is None
            or _NEGATED.search(match[3])
            or _BOUNDARY.search(match[3])
            or any(name.lower() in spelling.lower for name in match[1].split())
        ):
            continue
        if match[1].split()[0].lower() not in PLAIN | _NO_SUBJECT:
            found.append(("person", f"Who {match[2]} {_own(match[3])}", (match[1],)))
    return found


_IMPERATIVES = _set(
    "click configure copy delete disable download edit enable enter execute export go import log modify move navigate "
    "pass press put refer restart save scroll search select specify submit switch sync tap turn type upgrade upload"
)
_TO = re.compile(r"To ([a-z]+) ([^,;:]{3,60}), ([a-z][^:]{10,})")


def _instruction(sentence: str, spelling: _Spelling) -> Found:
    """``To renew a certificate, open …``."""
    match = _TO.fullmatch(sentence)
    if match is None or _NEGATED.search(match[2]) or match[1] in _NO_NOUN | _DETERMINERS | {"be"}:
        return []
    first = re.match(r"(?:(?:please|simply|just|first|then|you (?:can|may|must|should|need to)) )?([a-z]+)", match[3])
    if first is None or not (_FORMS.get(first[1], ("", ""))[1] == first[1] or first[1] in _IMPERATIVES):
        return []
    return [("instruction", f"How do I {match[1]} {_own(match[2])}", (match[3],))]


_BECAUSE = re.compile(r"(.{12,}?),? because (?!of\b)(.{12,})")


def _reason(sentence: str, spelling: _Spelling) -> Found:
    match = _BECAUSE.fullmatch(sentence)
    clause = _turned(match[1], spelling) if match and not _NEGATED.search(match[1]) else None
    if match is None or clause is None or _cut(clause.predicate) != clause.predicate:
        return []
    return [("reason", _asked(clause, "Why", clause.predicate), (match[2],))]


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
    rf"(?<!\w)(?:(?P<in>{_PREPOSITION}) )?(?P<whole>(?:{_QUALIFIER} )?(?P<bare>"
    rf"(?P<money>(?:[€$£¥] ?|(?:EUR|USD|GBP|CHF) ){_FIGURES}|{_FIGURES} ?(?:€|EUR|USD|GBP|CHF|euros?|dollars?|pounds?))"
    rf"|(?P<percent>{_FIGURES} ?(?:%|percent|per cent))"
    rf"|(?P<figure>{_FIGURES})(?P<noun>(?: [a-zA-Z][\w'’-]*){{1,4}})))(?![\w%-])"
)
_OF = re.compile(
    r" of (?!(?:the|which|them)\b)[\w-]+(?: (?!(?:of|for|in|on|at|by|to|from|per|an?|and|with|as)\b)[\w-]+)?"
)
_NOT_COUNTED = re.compile(
    r"\b(?:the|(?:the|my|its|their) last|first|next|these|those|every|of|than|another|other|further|and|or|an?|at|with|"
    r"from|to|[A-Z]\w*) $"
)
_UNITS = _set(
    "seconds minutes hours days nights weeks months quarters years decades times people employees members percent km "
    "kilometres kilometers metres meters miles kg kilograms grams tonnes degrees words characters pages bytes copies"
)
_NO_NOUN = PLAIN | _NO_SUBJECT | _AUXILIARIES | _set(
    "ago ahead later earlier before after away off old long high wide deep more less most least than each per during "
    "within into until till under over between through without available left only if unless while whose"
)  # fmt: skip


def _number(sentence: str, spelling: _Spelling) -> Found:
    """``You may carry up to 5 unused days``: the first amount of the main clause is asked for."""
    clause = _turned(sentence, spelling)
    match = _AMOUNT.search(clause.predicate) if clause else None
    if clause is None or match is None or _NEGATED.search(sentence):
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
        or len(before.split()) > 5
        or _BOUNDARY.search(before)
        or _AMOUNT.search(_cut(after))
    ):
        return []
    if match["in"]:
        asks = f"{match['in']} {asks}"
    figure = match["bare"] if not noun else f"{match['figure']} {noun}"
    whole = match["whole"] if not noun else match["whole"][: match["whole"].index(match["figure"])] + figure
    short = (match["figure"],) if match["figure"] else ()
    question = _asked(clause, asks, f"{before} {_cut(after)}")
    return [("number", question, (_theirs(whole, sentence), _theirs(figure, sentence), *short))]


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
        if word.lower() in _FORMS and len(taken) > 1:
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


def _date(sentence: str, spelling: _Spelling) -> Found:
    """``The office opened in 2014``; ``Write to Workplace by 10:30``."""
    clause = _turned(sentence, spelling)
    match = _DATE.search(clause.predicate) if clause else None
    if clause is None or match is None or _NEGATED.search(sentence):
        return []
    before, after = clause.predicate[: match.start()], clause.predicate[match.end() :]
    if _BOUNDARY.search(before) or len(before.split()) > 8 or re.match(r" (?:to|and|or|until|–|-) ", after):
        return []
    if match["time"]:
        asks = {"at": "at what time", "by": "by what time", "from": "from what time", "until": "until what time"}.get(
            match["in"], ""
        )
    else:
        asks = _WHEN.get(match["in"], "")
    if not asks or not before.strip():
        return []
    question = _asked(clause, asks, f"{before} {_cut(after)}")
    return [("date", question, (match["date"],))]


# --- tables -----------------------------------------------------------------------------------------------------------


def _is_row(text: str, unit: Unit) -> bool:
    return _line_before(text, unit.start).lstrip("> \t").startswith("|")


def _line_before(text: str, at: int) -> str:
    return text[text.rfind("\n", 0, at) + 1 : at]


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def _of_table(text: str, header: tuple[int, int], rows: Sequence[Unit]) -> Iterator[Written]:
    """Of each row that the first column with different names tells from the others: what stands in its cells."""
    names = _cells(text[slice(*header)])
    body = [(unit, _cells(text[unit.start : unit.end])) for unit in rows]
    body = [(unit, cells) for unit, cells in body if len(cells) == len(names)]
    if len(body) < 2 or len(names) < 2:
        return
    keys = [n for n in range(len(names)) if _are_names([cells[n] for _, cells in body])]
    if not keys:
        return
    key = keys[0]
    for unit, cells in body:
        for n, name in enumerate(names):
            asks = "" if n == key else _asks_cell(name, cells[n])
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
        and value.split()[0].lower() not in _NO_SUBJECT
        for value in values
    )


_MEANS = "what does it mean"


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
        or (first in _FORMS and _FORMS[first][1] not in _NOUNS)
    ):
        return ""
    if re.match(r"(?:what|who|where|when|how|why|which|is|are|can|note|comment|remark|description)", low):
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
            if len(asked) >= 3:
                yield Written("faq", title, (), *section)
            continue
        if (
            language == "en"
            and (to := re.fullmatch(r"How to ([a-z][\w -]{8,60})", title))
            and not _UNCLEAR.search(title)
        ):
            yield Written("instruction", f"How do I {_own(to[1])}?", (), *section)
        if _SENTENCE.match(title):
            continue
        above = heading_path(document.headings[: number + 1], heading.start)[:-1]
        topic = next((name for name in (*reversed(above), document.title) if name and not _says(name, title)), "")
        shown = " ".join(re.findall(r"[\w'’+#.-]+", f"{topic} {title}"))
        if 1 <= len(asked) <= 6 and 3 <= len(set(words(shown))) <= 10 and set(asked) - PLAIN:
            yield Written("keywords", shown, (), *section)


def _says(name: str, title: str) -> bool:
    return set(words(title)) <= set(words(name)) or set(words(name)) <= set(words(title))


def _section(text: str, start: int, end: int) -> tuple[int, int] | None:
    """What stands below a heading, trimmed; ``None`` where that is too little."""
    from openbook.sentences import sentences

    body = text[start:end]
    if len(body.strip()) < LEAST_SECTION:
        return None
    spans = sentences(body)
    last = max([stop for _, stop in spans if stop <= LONGEST_SECTION], default=min(len(body), LONGEST_SECTION))
    return start + spans[0][0], start + last
