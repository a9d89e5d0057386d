"""The grammar of a plain English sentence, as far as it takes to turn it into a question; what is not plain is left.

``The tank in the yard is six metres deep`` is a clause of subject, auxiliary and predicate; with a question word in
front it asks: ``How deep is the tank in the yard``. Nothing is parsed: what a list of common verbs and a few rules
do not tell for certain makes no clause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Spelling:
    """The words that a document writes with a small letter, and with a capital one where no sentence begins."""

    lower: frozenset[str]
    names: frozenset[str]

    @staticmethod
    def of(text: str) -> Spelling:
        lower = frozenset(re.findall(r"(?<![\w'’-])[a-z][\w'’-]*", text))
        return Spelling(lower, frozenset(re.findall(r"(?<=[a-z,;] )[A-Z][\w'’-]*", text)))


PLAIN = words_of(
    "a an the of in on at for to from by with and or is are was were be been do does did can may must should will how "
    "what who when why where which many much long i my me you your it as not no up out per each every any all there "
    "know about mean stand work thing things way get have has had take make use person someone everyone everybody "
    "anyone one working calendar same year month week day time times least most"
)
AUXILIARIES = words_of("is are was were can could may might must should will would shall")
_HAVE = {"has": "does", "have": "do", "had": "did"}
_BASES = words_of(
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
NOUNS = words_of(
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


FORMS = _forms()
_WORD = re.compile(r"[^\s]+")
BOUNDARY = re.compile(
    r"[,;:(—–]| (?:and|but|or|so|because|which|who|whose|if|unless|until|when|whenever|where|while|as long|provided|"
    r"although|though|since|except|that|than|whether|even)\b"
)
NEGATED = re.compile(r"\b(?:not|never|no|nobody|none|nothing|cannot|neither|nor|without)\b|n['’]t\b", re.IGNORECASE)
_FRONT = re.compile(
    r"(?!For (?:example|instance|more|now)\b)(?:In|At|For|On|During|After|Before|From|Under|Within|Outside|Above|Below)"
    r" [^,]{2,40}, (?=\S)"
)
_REFERS = re.compile(
    r"the (?:two|three|others?|application|case|client|cluster|code|command|default|example|feature|field|file|flag|"
    r"function|goal|idea|intention|list|match|message|method|name|number|object|option|output|page|parameter|plan|"
    r"problem|procedure|process|purpose|rest|request|response|result|script|section|series|server|service|song|step|"
    r"system|table|test|text|thing|time|tool|user|value|version)"
)
"""Subjects that only what stands before them tells which they are."""
NO_SUBJECT = words_of(
    "it they this that these those he she we i there here who which what when where why how if once as to because "
    "although while since unless until however therefore also please only then so such some others another both "
    "either neither one and or but not nor yet with by for from in on at of about into than see note do let its their "
    "my your after before during within under over between through without outside inside up down out off per"
)
_COMMON = words_of("everybody everyone anybody anyone people staff mail raw access data time")
DETERMINERS = words_of("a an the every each all any most many few several your no its their some")


@dataclass(frozen=True, slots=True)
class Clause:
    """``front`` + ``auxiliary`` + ``subject`` + ``predicate``, with a question word in front, is a question."""

    front: str
    auxiliary: str
    subject: str
    predicate: str


def turned(sentence: str, spelling: Spelling) -> Clause | None:
    """A main clause in the order of a question; ``None`` where its grammar is not plain."""
    front = found[0] if (found := _FRONT.match(sentence)) else ""
    body = sentence[len(front) :]
    tokens = [(match[0], match.start(), match.end()) for match in _WORD.finditer(body)]
    for place, (word, start, end) in enumerate(tokens[:12]):
        if place == 0:
            continue
        low = word.lower()
        if low in AUXILIARIES:
            subject = _subject(body[:start], spelling)
            rest = body[end:].strip()
            if subject is None or not rest:
                return None
            auxiliary = {"are": "am", "were": "was"}.get(low, low) if subject == "I" else low
            return Clause(own(front), auxiliary, subject, own(rest))
        if low in FORMS and not _is_noun(low, tokens[place - 1][0], place):
            auxiliary, base = FORMS[low]
            rest = body[end:].strip()
            subject = _subject(body[:start], spelling)
            if subject is None or not rest or has_finite(cut(rest), past=auxiliary == "did"):
                return None
            if base == "have" and re.match(r"(?:been|\w+ed|\w+en|made|kept|held|paid|sent|set)\b", rest):
                return Clause(own(front), low, subject, own(rest))
            return Clause(own(front), auxiliary, subject, own(f"{base} {rest}"))
    return None


def _is_noun(form: str, before: str, place: int) -> bool:
    """Whether what may be a verb most likely is none here: the bare form needs a plural or "you" before it."""
    auxiliary, base = FORMS[form]
    if auxiliary == "do" and form == base:
        return not (before.lower() in ("you", "people", "staff", "women", "men", "children") or before.endswith("s"))
    return base in NOUNS and auxiliary == "does" and (place < 2 or before.lower() in DETERMINERS)


def has_finite(rest: str, *, past: bool) -> bool:
    """Whether there is a second verb, so that the first was perhaps none (a noun, a participle)."""
    tokens = rest.lower().split()
    for before, word in zip(["", *tokens], tokens, strict=False):
        auxiliary, base = FORMS.get(word, ("", ""))
        if word in AUXILIARIES or word in _HAVE or (past and auxiliary == "did"):
            return True
        if base and base not in NOUNS and auxiliary != "did" and before != "to":
            return True
    return False


def _subject(text: str, spelling: Spelling) -> str | None:
    tokens = text.split()
    if not 1 <= len(tokens) <= 8 or re.search(r"[,;:()\"“”|–—]", text) or NEGATED.search(text):
        return None
    first = tokens[0].lower()
    if tokens == ["You"]:
        return "I"
    if _REFERS.fullmatch(text.strip().lower()):
        return None
    low = {token.lower() for token in tokens}
    if first.endswith("ing") and low & {"to", "in", "on", "at", "from", "by", "back"}:
        return None
    if (first in NO_SUBJECT and first not in ("my", "your")) or first.endswith("ly") or low & _NOT_INSIDE:
        return None
    if tokens[-1].lower() in PLAIN - {"everyone", "everybody"} or tokens[-1].lower().endswith(("ly", "ing")):
        return None
    started = lowered(tokens, spelling)
    return None if started is None else own(" ".join([started, *tokens[1:]]))


_NOT_INSIDE = words_of(
    "that who which when if you we it they since because as until while than where later ago earlier"
)


def lowered(tokens: Sequence[str], spelling: Spelling) -> str | None:
    """The first word of a sentence as it would stand inside one: a name keeps its capital letter. ``None`` where the
    document does not tell which it is: "Okta accounts" and "Raw readings" look alike."""
    first = tokens[0]
    if first.lower() in DETERMINERS:
        return first.lower()
    if first in spelling.names or first != first.capitalize():
        return first
    if first.lower() in spelling.lower:
        return first.lower()
    if len(tokens) > 1:
        return None if tokens[1][:1].islower() else first
    is_plural = first.endswith("s") and not first.endswith(("ss", "us", "is"))
    return first.lower() if is_plural or first.lower() in _COMMON else first


def own(text: str) -> str:
    """Said to the reader: asked by the reader."""
    for you, me in ((r"\byour\b", "my"), (r"\byourself\b", "myself"), (r"\byours\b", "mine")):
        text = re.sub(you, me, text, flags=re.IGNORECASE)
    return text


def cut(text: str) -> str:
    """Up to the end of the clause."""
    found = BOUNDARY.search(text)
    return text[: found.start()] if found else text


def asked_as(clause: Clause, asks: str, predicate: str) -> str:
    front = clause.front[:1].lower() + clause.front[1:]
    question = f"{asks} {clause.auxiliary} {clause.subject} {predicate}"
    return f"{front}{question[0].lower()}{question[1:]}" if front else question
