"""Filters that a question asks for, by rules and without a model.

    in the 3.5 docs · newer than v3.4 · not in 3.4           versions, in the order of versions
    since 2021 · before March 2020 · from last month         ISO dates, and years in numbers
    for Germany · the HR handbook · department: HR           values of other fields
    level 3 · level of at least 3                            numbers, where the field is named

A version stands by its form. A date narrows where it is compared ("since"), told from today, or said of the documents
("articles of 2021"). Of several date fields the question has to name one, and always that of the files themselves
(``modified``): when a file was saved says little of its text. A value narrows where its field is named beside it; or
where the question puts it as a scope ("for …", "the … docs") and it is no ordinary word here, which the words of the
other documents tell. Where a question speaks of several documents ("the report of May … and the article"), each has to
have a value or date of its own: else one of them would be lost. Whatever is met besides is told, and left alone: search
weighs it anyway.

The words of the rules are English; the values are whatever the metadata hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from openbook.retrieve.filters.dates import Period, iso, periods
from openbook.retrieve.filters.proposal import Dropped, Proposal, Proposals
from openbook.retrieve.filters.vocabulary import Named, Number, Vocabulary, Word, called, words
from openbook.store.filter import And, Compare, Filter, In, Not, Or
from openbook.store.keyword import MENTIONED_IN
from openbook.types import Scalar

MOST_CHARACTERS = 2_000
"""Of a question that are read for filters, the first ones; a longer one is a text, with the words of many."""

MOST_DROPPED = 20

Relation = Literal["=", ">=", ">", "<", "<="]

IsRare = Callable[[str, Filter, int], bool]
"""Whether the words of a value stand in fewer than one in so many of the others: is it a name, or a word like any?"""

NAMED_IN = 2
"""Of what is written with a capital in the metadata and in the question: a page for France may speak of Germany."""

_WINDOW = 80
"""Characters before and after a mention in which it is looked for what is said of it."""

_KNOWN_AS = r"(?:the|our|your|all|any|version|versions|release|releases|year|year of|early|late)\s+"
_OPERATORS: tuple[tuple[Relation, str], ...] = (
    ("<=", r"until|till|up to|through|(?:no|not) (?:later|newer) than|not after|at most"),
    (">=", r"since|starting (?:in|from|with|on)|(?:no|not) (?:earlier|older) than|not before|at least"),
    (">", r"after|later than|newer than|more recent than|younger than|higher than|greater than|above|beyond|more than"),
    ("<", r"before|prior to|earlier than|older than|lower than|less than|below"),
)
# "than" may be followed by what the version is of ("newer than etcd 3.4"); "before installing 3.5" compares nothing.
_LEADS = tuple(
    (relation, re.compile(rf"\b(?:{form})\s+(?:{_KNOWN_AS}){{0,2}}(?:(?<=than )[^\W\d]\w*\s+)?\W?$", re.IGNORECASE))
    for relation, form in _OPERATORS
)
_TAILS: tuple[tuple[Relation, re.Pattern[str]], ...] = (
    (
        ">=",
        re.compile(r"\s*\+|,?\s+(?:and|or) (?:newer|later|above|higher|up)\b|\s+(?:onwards?|on)\b(?!\s+\w)", re.I),
    ),
    ("<=", re.compile(r",?\s+(?:and|or)\s+(?:older|earlier|below|lower)\b", re.I)),
)
_RANGE = re.compile(rf"\b(?:between|from)\s+(?:{_KNOWN_AS}){{0,2}}$", re.IGNORECASE)
_JOINT = re.compile(rf"\s*(?:and|to|through|until|till|-|–|—)\s*(?:{_KNOWN_AS})?", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:(?:not|no longer)\s+(?:(?:published|dated|released|posted|issued|signed|filed|written|created|updated"
    r"|modified|changed|edited|valid|available)\s+)?(?:in|for|from|at|of|under|on|during|within)"
    r"|(?:except|excluding|other than|outside|apart from)(?:\s+(?:in|for|from|by|at|of|under|on|during|within))?)\s+"
    rf"(?:{_KNOWN_AS}){{0,2}}(?:[^\W\d]\w*\s+)?['\"“‘«]?$",
    re.IGNORECASE,
)
_SCOPE = re.compile(
    r"\b(?:in|for|from|by|at|within|under|across|inside)\s+(?:(?:the|our|your|all|any)\s+)?['\"“‘«]?$", re.IGNORECASE
)
_DOCUMENTS = (
    r"(?:docs?|documents?|documentation|manuals?|guides?|guidelines?|handbooks?|pages?|articles?|reports?|polic(?:y|ies)"
    r"|editions?|releases?|versions?|contracts?|agreements?|filings?|papers?|posts?|notes|tickets?|news|stor(?:y|ies)"
    r"|minutes|memos?|emails?|letters?|invoices?|reviews?)"
)
_SEVERAL = re.compile(
    r"\b(?:articles?|reports?|posts?|papers?|stor(?:y|ies)|contracts?|agreements?|filings?|reviews?|letters?|memos?"
    r"|coverage|invoices?|polic(?:y|ies))\b",
    re.IGNORECASE,
)
"""Documents that a question speaks of: one of each of these words."""

_ONE_OF_SEVERAL = "said of one of several documents"
_NOUN_AFTER = re.compile(rf"['\"”’»]?(?:['’]s)?\s+{_DOCUMENTS}\b", re.IGNORECASE)
_DATED = re.compile(
    rf"\b(?:{_DOCUMENTS}|published|dated|released|posted|issued|signed|filed|effective|written|created|updated|modified"
    r"|changed|edited|recorded|reported)\b[^.?!;]{0,40}$",
    re.IGNORECASE,
)
_CHANGED = re.compile(r"\b(?:modified|changed|updated|edited|saved|touched|revised)\b", re.IGNORECASE)
_VERSION = re.compile(
    r"(?<![\w./$€£@:-])(?:(v)\.?\s?|(versions?|releases?)\s+)?(\d{1,5}(?:\.\d{1,5}){0,3})(?:\.[xX*])?"
    r"(?![\w%/@-]|[.:]\d|\s*(?:%|(?:percent|million|billion|thousand|times|seconds?|minutes?|hours?|days?|weeks?|months?"
    r"|years?|[kmgt]i?b|ms|s|kg|km|m|x|dollars?|euros?|points?)\b))",
    re.IGNORECASE,
)
# What separates is never a part of a word: a text that could be read in many ways took minutes.
_LISTED = re.compile(r"\bversions?\s+(?:[\w.]+(?:\s*[,-]\s*|\s+(?:and|or|to|through)\s+))*$", re.IGNORECASE)
_YEAR = re.compile(r"\d{4}", re.ASCII)
_AS_VERSION = re.compile(r"\bv\.?\s?$", re.IGNORECASE)
_AS_RELEASE = re.compile(r"\breleases?\s$", re.IGNORECASE)
_WORD_BEFORE = re.compile(r"((?=[^\W\d_])[^\Wa-z_]\w*)(?:\s+|\s*[|&]\s*)$")
_WORD_AFTER = re.compile(r"(?:\s+|\s*[|&]\s*)((?=[^\W\d_])[^\Wa-z_]\w*)")
_OPENING = frozenset(
    (
        *("in", "for", "from", "by", "at", "within", "under", "across", "inside", "not", "except", "excluding"),
        *("outside", "other", "is", "are", "does", "did", "do", "has", "was", "were", "the", "our", "your", "all"),
        *("any", "which", "what", "how", "where", "who", "when", "can", "should", "and", "or", "but", "of", "between"),
    )
)
"""Words with a capital because they open a sentence."""
_GLUED_BEFORE = re.compile(r"[-_/@#=.]$")
_GLUED_AFTER = re.compile(r"[_/@=]|[-.]\w")
FILE_DATE = "modified"
"""When the file was saved: every file has it, and it says little of what the text is of."""


def propose(question: str, vocabulary: Vocabulary, today: date, is_rare: IsRare) -> Proposals:
    """What ``question`` asks to be narrowed to. Asks nothing but ``is_rare``; the same question, the same answer."""
    return _Reading(question[:MOST_CHARACTERS], vocabulary, today, is_rare).proposals()


@dataclass(frozen=True, slots=True)
class _Version:
    start: int
    end: int
    number: Number
    relation: Relation
    negated: bool
    told: bool  # by a "v", "version" or a comparison, not by its digits alone


@dataclass(frozen=True, slots=True)
class _Value:
    start: int
    end: int
    named: Named
    negated: bool
    how: str  # what makes it a scope; "": nothing does


class _Reading:
    """One question as it is read."""

    def __init__(self, question: str, vocabulary: Vocabulary, today: date, is_rare: IsRare) -> None:
        self.text = question
        self.vocabulary = vocabulary
        self.today = today
        self.is_rare = is_rare
        self.proposed: list[tuple[int, Proposal]] = []
        self.dropped: list[Dropped] = []
        self.documents = len(_SEVERAL.findall(question))
        self.taken: list[tuple[int, int]] = []
        self.rare: dict[tuple[str, str, bool], bool] = {}

    def proposals(self) -> Proposals:
        self._dates()
        self._versions()
        self._values()
        self._numbers()
        proposed = [one for _, one in sorted(self.proposed, key=lambda row: row[0])]
        return Proposals("rules", proposed, self.dropped[:MOST_DROPPED])

    # --- what stands around a mention ---------------------------------------------------------------------------------

    def _before(self, start: int) -> str:
        return self.text[max(0, start - _WINDOW) : start]

    def _after(self, end: int) -> str:
        return self.text[end : end + _WINDOW]

    def _relation(self, start: int, end: int) -> Relation:
        before, after = self._before(start), self._after(end)
        for relation, lead in _LEADS:
            if lead.search(before):
                return relation
        for relation, tail in _TAILS:
            if tail.match(after):
                return relation
        return "="

    def _is_negated(self, start: int) -> bool:
        return _NEGATION.search(self._before(start)) is not None

    def _is_range(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        """Between one and the other, or from one to the other."""
        between = self.text[one[1] : other[0]]
        return bool(_JOINT.fullmatch(between) and _RANGE.search(self._before(one[0])))

    def _is_free(self, start: int, end: int) -> bool:
        return not any(start < last and first < end for first, last in self.taken)

    def _said(self, start: int, end: int) -> str:
        """The words of a mention, with up to three before them: what made a filter of it."""
        before = self.text[:start].split()[-3:]
        return " ".join([*before, *self.text[start:end].split()]).strip(" ,;:()\"'")[-120:]

    def _propose(self, start: int, end: int, filter: Filter, why: str) -> None:
        self.proposed.append((start, Proposal(filter, self._said(start, end), why)))

    def _drop(self, start: int, end: int, why: str, filter: Filter | None = None, *, meant: bool = False) -> None:
        self.dropped.append(Dropped(self._said(start, end), why, filter, meant))

    # --- dates --------------------------------------------------------------------------------------------------------

    def _dates(self) -> None:
        found = [one for one in periods(self.text, self.today) if not self._is_version(one)]
        self.taken += [(one.start, one.end) for one in found]
        if not found or not (self.vocabulary.dates or self.vocabulary.years):
            return
        field, why_not = self._date_field()
        within: list[tuple[Period, bool]] = []  # with: whether it is said of the documents
        compared = [one for one in found if one.ago or self._relation(one.start, one.end) != "="]
        if compared and len(found) > 1 and not self._is_one_period(found):
            for one in found:
                self._drop(one.start, one.end, "dates of several times")
            return
        at = 0
        while at < len(found):
            one = found[at]
            at += 1
            if at < len(found) and self._is_range((one.start, one.end), (found[at].start, found[at].end)):
                last = found[at]
                at += 1
                if last.after <= one.first:
                    continue
                self._date(field, why_not, one.start, last.end, one.first, last.after, "a range of dates")
                continue
            relation = self._relation(one.start, one.end)
            if one.ago:  # older than two years: before the day that far back
                relation = ">=" if relation in ("<", "<=") else "<"
                older = re.search(r"\b(?:older|earlier|more)\b\s+than\s*$", self._before(one.start), re.IGNORECASE)
                relation = "<" if older else ">="
            if relation != "=":
                first = {">=": one.first, ">": one.after}.get(relation)
                after = {"<": one.first, "<=": one.after}.get(relation)
                self._date(field, why_not, one.start, one.end, first, after, "a date that is compared")
                continue
            within.append((one, one.relative or self._is_said_of_documents(one)))
        if not any(said for _, said in within):
            for one, _ in within:
                self._drop(one.start, one.end, "a date, but nothing says that the documents are meant by it")
            return
        if field is None or self.documents > max(1, len(within)):
            for one, _ in within:
                self._drop(one.start, one.end, why_not or _ONE_OF_SEVERAL, meant=bool(why_not))
            return
        # One that is said of the documents takes the others along: "on 3 May 2021 … and in the report of June 2022".
        for negated in (False, True):
            those = [one for one, _ in within if self._is_negated(one.start) == negated]
            if those:
                parts = list(dict.fromkeys(self._between(field, one.first, one.after) for one in those))
                either = parts[0] if len(parts) == 1 else Or(tuple(parts))
                filter = Not(either) if negated else either
                self._propose(those[0].start, those[0].end, filter, f"a date of {field}")

    def _is_version(self, one: Period) -> bool:
        """ "Version 2019" is no year, where documents have versions; nor is "release 2019", where one is of it or none
        has a date."""
        if not self.vocabulary.versions or not _YEAR.fullmatch(self.text, one.start, one.end):
            return False
        before = self._before(one.start)
        if _LISTED.search(before) or _AS_VERSION.search(before):
            return True
        dated = self.vocabulary.dates or self.vocabulary.years
        return bool(_AS_RELEASE.search(before)) and (not dated or self._is_known((one.first.year,), "="))

    def _is_one_period(self, found: Sequence[Period]) -> bool:
        """After one date and before another, or between them."""
        if len(found) != 2:
            return False
        places = [(one.start, one.end) for one in found]
        relations = {self._relation(*place)[0] for place in places}
        return relations == {"<", ">"} or self._is_range(*places)

    def _is_said_of_documents(self, one: Period) -> bool:
        return bool(_DATED.search(self._before(one.start)) or _NOUN_AFTER.match(self._after(one.end)))

    def _date_field(self) -> tuple[str | None, str]:
        """The field that dates are said of; where it cannot be told which, why."""
        fields = [*self.vocabulary.dates, *self.vocabulary.years]
        said = {word.text for word in words(self.text)}
        named = [field for field in fields if any(_is_like(part, word) for part in called(field) for word in said)]
        declared = [field for field in fields if field != FILE_DATE]
        if FILE_DATE in fields and _CHANGED.search(self.text):
            named = named or [FILE_DATE]
        for some in (named, declared):
            if len(some) == 1:
                return some[0], ""
            if some:
                return None, f"dates stand in several fields ({', '.join(some[:5])}): name one"
        return None, f"the only date is that of the files ({FILE_DATE}): say modified, changed or updated"

    def _date(
        self,
        field: str | None,
        why_not: str,
        start: int,
        end: int,
        first: date | None,
        after: date | None,
        why: str,
    ) -> None:
        if field is None or self.documents > 1:
            self._drop(start, end, why_not or _ONE_OF_SEVERAL, meant=bool(why_not))
            return
        filter = self._between(field, first, after)
        self._propose(start, end, Not(filter) if self._is_negated(start) else filter, f"{why}, of {field}")

    def _between(self, field: str, first: date | None, after: date | None) -> Filter:
        parts: list[Filter] = []
        if field in self.vocabulary.years:  # the years that the period touches
            if first is not None:
                parts.append(Compare(field, ">=", first.year))
            if after is not None:
                parts.append(Compare(field, "<", after.year + ((after.month, after.day) != (1, 1))))
        else:
            if first is not None:
                parts.append(Compare(field, ">=", iso(first)))
            if after is not None:
                parts.append(Compare(field, "<", iso(after)))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    # --- versions -----------------------------------------------------------------------------------------------------

    def _versions(self) -> None:
        fields = self.vocabulary.versions
        if not fields:
            return
        found = list(self._read_versions())
        self.taken += [(one.start, one.end) for one in found]
        at = 0
        equal: dict[bool, list[_Version]] = {False: [], True: []}
        while at < len(found):
            one = found[at]
            at += 1
            if at < len(found) and self._is_range((one.start, one.end), (found[at].start, found[at].end)):
                last = found[at]
                at += 1
                self._compare(one.start, last.end, [(">=", one.number), ("<=", last.number)], one.negated)
            elif one.relation != "=":
                self._compare(one.start, one.end, [(one.relation, one.number)], one.negated)
            else:
                equal[one.negated].append(one)
        for negated, those in equal.items():
            parts: list[tuple[_Version, Filter]] = []
            for one in those:
                if any(one.number == other.number[: len(one.number)] != other.number for other in those):
                    continue  # "the v3 API in 3.5": the longer one says which
                filter = _either(
                    In(field, tuple(values)) for field, of in fields.items() if (values := _same(of, one.number))
                )
                if filter is not None:
                    parts.append((one, filter))
                elif one.told:
                    self._drop(one.start, one.end, "no document here is of that version", meant=True)
            if parts:
                filter = _either(filter for _, filter in parts)
                assert filter is not None
                first = parts[0][0]
                self._propose(first.start, first.end, Not(filter) if negated else filter, "a version")

    def _read_versions(self) -> Iterable[_Version]:
        for match in _VERSION.finditer(self.text):
            start, end = match.start(), match.end()
            if not self._is_free(match.start(3), match.end(3)):
                continue
            number = tuple(map(int, match[3].split(".")))
            relation = self._relation(start, end)
            told = bool(match[1] or match[2] or _LISTED.search(self._before(start)))
            if not told and (len(number) not in (2, 3) or not self._is_known(number, relation)):
                continue
            yield _Version(start, end, number, relation, self._is_negated(start), told or relation != "=")

    def _is_known(self, number: Number, relation: Relation) -> bool:
        """Digits alone are a version where one is compared to it, or some document is of it."""
        return relation != "=" or any(_same(of, number) for of in self.vocabulary.versions.values())

    def _compare(self, start: int, end: int, bounds: Sequence[tuple[Relation, Number]], negated: bool) -> None:
        filter = _either(
            In(field, tuple(values))
            for field, of in self.vocabulary.versions.items()
            if (values := [value for number in of if _is_within(number, bounds) for value in of[number]])
        )
        if filter is None:
            self._drop(start, end, "no document here is of such a version", meant=True)
        else:
            self._propose(start, end, Not(filter) if negated else filter, "versions that are compared")

    # --- values -------------------------------------------------------------------------------------------------------

    def _values(self) -> None:
        found = list(self._read_values())
        for negated in (False, True):
            those = [one for one in found if one.negated == negated]
            scopes = [one for one in those if one.how and self._narrows(one)]
            fields = {one.named.field for one in scopes}
            # What else the question mentions of the same field comes along: "from Acme's contract, and Bolt's?"
            along = [one for one in those if not one.how and one.named.field in fields and self._narrows(one)]
            places = {(one.start, one.end) for one in (*scopes, *along)}
            several = self.documents > max(1, len(places))
            for one in those:
                if several or (one not in scopes and one not in along):
                    filter = Compare(one.named.field, "=", one.named.value)
                    why = "mentioned, but nothing says that it narrows"
                    if one.how:
                        why = _ONE_OF_SEVERAL if one in scopes else "an ordinary word here"
                    self._drop(one.start, one.end, why, filter)
            if several:
                continue
            # The same words may be values of several fields: that which other words name, else either.
            by_place: dict[tuple[int, int], list[_Value]] = {}
            for one in (*scopes, *along):
                by_place.setdefault((one.start, one.end), []).append(one)
            sure = {some[0].named.field for some in by_place.values() if len(some) == 1}
            by_fields: dict[frozenset[str], list[_Value]] = {}
            for some in by_place.values():
                meant = [one for one in some if one.named.field in sure] or some
                by_fields.setdefault(frozenset(one.named.field for one in meant), []).extend(meant)
            for some in by_fields.values():
                of_field: dict[str, list[Scalar]] = {}
                for one in some:
                    values = of_field.setdefault(one.named.field, [])
                    if one.named.value not in values:
                        values.append(one.named.value)
                either = _either(In(field, tuple(values)) for field, values in of_field.items())
                assert either is not None
                first = min(some, key=lambda one: one.start)
                why = f"{first.how or 'a value'} of {' or '.join(sorted(of_field))}"
                self._propose(first.start, first.end, Not(either) if negated else either, why)

    def _narrows(self, one: _Value) -> bool:
        if one.how == _BY_NAME or _is_acronym(one.named.value):
            return True
        value, said = one.named.value, self.text[one.start : one.end]
        is_name = value[0].isupper() and said[0].isupper() and one.start > 0
        asked = one.named.field, value, is_name
        if asked not in self.rare:  # a question may say one name a hundred times
            of = Compare(one.named.field, "=", value)
            self.rare[asked] = self.is_rare(value, of, NAMED_IN if is_name else MENTIONED_IN)
        return self.rare[asked]

    def _read_values(self) -> Iterable[_Value]:
        here = words(self.text)
        at = 0
        while at < len(here):
            known = [named for named in self.vocabulary.named.get(here[at].text, ()) if self._stands(here, at, named)]
            longest = max((len(named.words) for named in known), default=0)
            for named in known:
                if len(named.words) == longest:
                    start, end = here[at].start, here[at + longest - 1].end
                    negated = self._is_negated(start)
                    yield _Value(start, end, named, negated, self._how(start, end, named.field, negated))
            at += max(longest, 1)

    def _stands(self, here: Sequence[Word], at: int, named: Named) -> bool:
        last = at + len(named.words)
        if last > len(here) or tuple(word.text for word in here[at:last]) != named.words:
            return False
        start, end = here[at].start, here[last - 1].end
        if not self._is_free(start, end):
            return False
        if self.text[start - 1 : start] in ("-", "_", "/", "@", "#") or self.text[end : end + 1] in (
            "_",
            "/",
            "@",
            "=",
        ):
            return False  # a part of a flag, a path or an address
        return (
            not _is_acronym(named.value)
            or self.text[start:end] == named.value
            or self._is_named(start, end, named.field)
        )

    def _how(self, start: int, end: int, field: str, negated: bool) -> str:
        """What makes a scope of a value."""
        if self._is_named(start, end, field):
            return _BY_NAME
        if negated or _SCOPE.search(self._before(start)) or _NOUN_AFTER.match(self._after(end)):
            return _BY_PLACE
        return ""

    def _is_named(self, start: int, end: int, field: str) -> bool:
        """Whether the field's name stands beside the value: "department HR", "the HR department", "team: people"."""
        name = r"[\s_-]+".join(re.escape(part) for part in called(field))
        if len(name) < 2:
            return False
        before = re.search(rf"\b{name}s?\s*(?:[:=]|\b(?:is|are|of|equals)\b)?\s*['\"“‘«]?$", self._before(start), re.I)
        return bool(before or re.match(rf"['\"”’»]?\s+{name}s?\b", self._after(end), re.I))

    # --- numbers ------------------------------------------------------------------------------------------------------

    def _numbers(self) -> None:
        for field in self.vocabulary.numbers:
            name = r"[\s_-]+".join(re.escape(part) for part in called(field))
            if len(name) < 3:
                continue
            form = rf"\b{name}s?\s*(?:[:=]\s*|(?:is|of)\s+)?((?:at least|at most|above|below|over|under|[<>]=?)\s*)?"
            for match in re.finditer(rf"{form}(-?\d{{1,9}}(?:\.\d{{1,9}})?)(?![\w.%-]*\d)", self.text, re.IGNORECASE):
                if not self._is_free(match.start(2), match.end(2)):
                    continue
                number = float(match[2])
                relation = _COMPARED.get((match[1] or "").strip().lower(), "=")
                filter = Compare(field, relation, int(number) if number.is_integer() else number)
                known = self.vocabulary.fields[field]
                if relation == "=" and known.all and number not in known.numbers:
                    self._drop(match.start(), match.end(), f"no document here has that {field}", meant=True)
                else:
                    self._propose(match.start(), match.end(), filter, f"a number of {field}")


_BY_NAME = "a value beside the name"
_BY_PLACE = "a value put as a scope"
_COMPARED: dict[str, Relation] = {
    "at least": ">=",
    "at most": "<=",
    "above": ">",
    "over": ">",
    "below": "<",
    "under": "<",
    ">": ">",
    ">=": ">=",
    "<": "<",
    "<=": "<=",
}


def _either(filters: Iterable[Filter]) -> Filter | None:
    """Any of them; values of one field in one list."""
    values: dict[str, list[Scalar]] = {}
    for filter in filters:
        for one in filter.parts if isinstance(filter, Or) else (filter,):
            assert isinstance(one, In | Compare)
            said = one.values if isinstance(one, In) else (one.value,)
            values.setdefault(one.field, []).extend(said)
    parts: list[Filter] = []
    for field, many in values.items():
        several = tuple(dict.fromkeys(many))
        parts.append(Compare(field, "=", several[0]) if len(several) == 1 else In(field, several))
    return None if not parts else parts[0] if len(parts) == 1 else Or(tuple(parts))


def _same(of: object, number: Number) -> list[Scalar]:
    """The values that say this version: 3.5 is 3.5, 3.5.0 and 3.5.2; else what holds it: 3.5.2 is told of in 3.5."""
    assert isinstance(of, dict)
    found = [one for one in of if one[: len(number)] == number]
    if not found:
        padded = number + (0,) * 4
        found = [one for one in of if (one + (0,) * 4)[:4] == padded[:4]]
    if not found and len(number) > 2:
        within = [one for one in of if 1 < len(one) < len(number) and number[: len(one)] == one]
        found = sorted(within, key=len)[-1:]
    return [value for one in found for value in of[one]]


def _is_within(number: Number, bounds: Sequence[tuple[Relation, Number]]) -> bool:
    """3.5.2 counts as 3.5 where it is compared to 3.4 or to 3.5."""
    for relation, bound in bounds:
        one = (number + (0,) * 4)[: len(bound)]
        holds = {">=": one >= bound, ">": one > bound, "<": one < bound, "<=": one <= bound, "=": one == bound}
        if not holds[relation]:
            return False
    return True


def _is_like(part: str, word: str) -> bool:
    """Forms of one word: "published" and "publication", "modified" and "modify"; "date" is said of every field."""
    if part in ("date", "at", "on", "time", "year", "last", "is"):
        return part == word and part in ("date",)
    return len(part) > 3 and len(word) > 3 and part[:5] == word[:5]


def _is_acronym(value: str) -> bool:
    """IT, US, WHO: in small letters they are other words."""
    return 1 < len(value) <= 4 and value.isalpha() and value.isupper()
