"""Answers without a language model: quote the best sentences of the hits, or abstain. It cannot invent.

Top to bottom: the units a quote may be (sentences, list items, table rows, lines of code), what each of them says
about the question (features), a logistic model that ranks them, and a second one that says how likely the quotes
answer at all. Both models are a handful of weights, trained by ``benchmarks/answers.py`` on dev halves of public sets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from openbook import recipe, titles
from openbook.sentences import sentences
from openbook.types import Answer, Citation, Hit

if TYPE_CHECKING:
    from tantivy import TextAnalyzer

    from openbook.embed import Embedder
    from openbook.embed.linear import LinearMap
    from openbook.generate.examples import Example

# A question longer than this is cut: what it asks stands in its first lines.
MAX_QUESTION = 1000
# Hits read, and units of them embedded: embedding is the cost of an answer.
MAX_HITS = 10
MAX_UNITS = 24
# Of these, the best are embedded without their context as well.
MAX_ALONE = 8
# Characters of a unit that are embedded; a longer one is a table row or a line of code.
MAX_EMBEDDED = 600


# --- units: what a quote may be -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Unit:
    """A quotable span ``start:end`` of a hit's chunk text, without the list mark, quote sign or table border.

    ``bare`` is its text without link targets, tags and emphasis; ``heading`` the nearest heading above it (or the
    question of an FAQ); ``lead`` what introduces it: the line before a list, the header row of a table.
    """

    hit: int
    position: int  # among the units of its chunk
    start: int
    end: int
    bare: str
    heading: str
    lead: tuple[int, int] | None = None
    lead_text: str = ""
    is_row: bool = False  # of a table
    terms: list[str] = field(default_factory=list)


_MARK = re.compile(r"(?:\s*(?:>|[-*+•‣◦▪](?=\s)|\d{1,3}[.)](?=\s)|\[[ xX]\](?=\s)|\|))+\s*")
_LIST_OR_ROW = re.compile(r"(?:\s|>)*(?:[-*+•‣◦▪]\s|\d{1,3}[.)]\s|\|)")
_HEADING = re.compile(r"(?:\s|>)*#{1,6}\s")
_BOLD_LINE = re.compile(r"(\*\*|__)(?:(?!\1).)+\1:?")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s+\"[^\"\n]*\")?\)")
_NOISE = re.compile(r"https?://\S+|<[^<>\n]{1,300}>|\{[{%<][^{}\n]{1,300}\}|\*\*|__|`")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_FRONT_MATTER = re.compile(r"\A---\n.{0,4000}?\n---[^\S\n]*(?:\n|\Z)", re.DOTALL)
_RULE_BELOW = re.compile(r"[^\n]*+\n[ \t>]*+(?=[ \t:|]*+-)[ \t:|-]++(?:\n|\Z)")
_WORD = re.compile(r"\w+")
_AFTER = "|" + "".join(character for character in map(chr, range(0x3001)) if character.isspace())


def _bare(text: str) -> str:
    return " ".join(_NOISE.sub(" ", _LINK.sub(r"\1", text)).split())


def units(hit: int, text: str) -> list[Unit]:
    """The quotable units of a chunk's text, in order.

    Headings, rules, separator rows, fences, front matter, lines of links and bare questions are none.
    """
    found: list[Unit] = []
    matter = _FRONT_MATTER.match(text)
    heading, lead, lead_text = "", None, ""
    for start, end in _lines_of_tables(text):
        raw = text[start:end]
        if (matter and start < matter.end()) or _FENCE.match(raw):
            continue
        if _HEADING.match(raw):
            heading, lead, lead_text = _bare(raw.strip().strip("#>")), None, ""
            continue
        is_row = raw.lstrip("> \t").startswith("|")
        in_list = is_row or bool(_LIST_OR_ROW.match(raw))
        mark = _MARK.match(raw)
        start += mark.end() if mark else 0
        end = start + len(text[start:end].rstrip(_AFTER))
        bare = _bare(text[start:end])
        words = _WORD.findall(bare)
        if not words:
            continue
        if _BOLD_LINE.fullmatch(text, start, end) or bare.endswith(("?", "？", "؟")):
            heading, lead, lead_text = bare, None, ""
            continue
        if is_row and _RULE_BELOW.match(text, end):  # the header row: it names the columns and answers nothing
            lead, lead_text = (start, end), bare
            continue
        if not in_list:
            lead, lead_text = None, ""
        if (len(words) > 1 or any(c in "0123456789#@/_-" for c in bare)) and not _only_links(text[start:end]):
            found.append(Unit(hit, len(found), start, end, bare, heading, lead, lead_text, is_row or " | " in bare))
        if bare.endswith((":", "：")) and not is_row:
            lead, lead_text = (start, end), bare
    return found


def _lines_of_tables(text: str) -> Iterator[tuple[int, int]]:
    """The sentences of ``text``; one that is the rows of a table without borders (from a PDF), row by row."""
    for start, end in sentences(text):
        lines = text[start:end].split("\n")
        if len(lines) < 2 or 2 * sum(" | " in line for line in lines) < len(lines):
            yield start, end
            continue
        for line in lines:
            if line.strip():
                yield start + len(line) - len(line.lstrip()), start + len(line.rstrip())
            start += len(line) + 1


def _only_links(text: str) -> bool:
    """A line of navigation. One link to the web stays: it may be the form or the portal that was asked for."""
    links = list(_LINK.finditer(text))
    return bool(links) and not _WORD.search(_LINK.sub(" ", text)) and not (len(links) == 1 and "://" in text)


# --- words and kinds of answers -------------------------------------------------------------------------------------

STOP = (
    "a an the and or but if of at by for with about to from in on into onto as is are was were be been being am do "
    "does did doing have has had having i me my we our us you your he him his she her it its they them their this "
    "that these those there here what which who whom whose when where why how can could may might must shall "
    "should will would not no nor so than then too very just also any some such only own same both each all more "
    "most other s t d ll re ve m many much long far often old get gets got"
)


@cache
def _analyzer() -> TextAnalyzer:
    import tantivy

    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for step in (tantivy.Filter.lowercase(), tantivy.Filter.ascii_fold(), tantivy.Filter.stemmer("english")):
        builder = builder.filter(step)
    return builder.build()


def _terms(text: str) -> list[str]:
    return list(_analyzer().analyze(text))


@cache
def _stop() -> frozenset[str]:
    return frozenset(_terms(STOP))


_WH = r"what|which|whom|who|how|when|where"
_PREPOSITION = re.compile(rf"^\w+ (?=(?:{_WH})\b)")
_ASKS = (
    ("date", re.compile(
        r"\b(?:when|(?:what|which) (?:year|date|day|month|time|decade|century)|deadline|how long ago)\b")),
    ("number", re.compile(
        r"\bhow (?:many|much|long|far|old|often|large|big|high|tall|deep|wide|fast|soon|late|early)\b|"
        r"\b(?:percent|percentage|number of|share|fraction|proportion|amount|age|maximum|minimum|budget|allowance|rate|"
        r"price|costs?|population)\b")),
    ("who", re.compile(r"\b(?:who|whom|whose)\b")),
    ("where", re.compile(
        r"\bwhere\b|\b(?:what|which) (?:country|countries|city|cities|state|region|place|town|river|location|continent|"
        r"island|province)\b")),
    ("why", re.compile(r"\bwhy\b|\bwhat (?:caused|causes|reason)\b|\bfor what reason\b")),
)  # fmt: skip
_NUMBER = re.compile(
    r"\d[\d,.:]*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    r"seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?|"
    r"billions?|half|third|quarter|dozen|twice|once|double|unlimited|daily|weekly|monthly|annually|yearly)\b",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b(?:january|february|march|april|june|july|august|september|october|november|december|monday|tuesday|wednesday|"
    r"thursday|friday|saturday|sunday)\b|\d+|\bcentur|\bMay\b",
    re.IGNORECASE,
)
_SPAN_OF_TIME = re.compile(r"\b(?:decade|years?|months?|weeks?|days?|today|after|before|until|during|end of)\b", re.I)
_NAME = re.compile(r"(?<=[^.!?:\"“\s]\s)[^\W\d_a-zà-ÿ][\w'’.-]+")
_REASON = re.compile(
    r"\b(?:because|due to|since|so that|in order to|as a result|therefore|thus|caused?|reasons?|so as to|led to|"
    r"prevent|avoid)\b",
    re.IGNORECASE,
)


_CODE = re.compile(r"(?<![\w-])--[\w-]{3,}|\b[A-Z]{1,8}[-_]\d+\w*|\b[A-Za-z]{2,}\d{2,}\b|\b\w+_\w+")


def _asked_for(question: str) -> str:
    """The kind of thing that an English question asks for, where its words tell."""
    low = _PREPOSITION.sub("", question.lower().strip())
    return next((kind for kind, pattern in _ASKS if pattern.search(low)), "")


def _kind_found(kind: str, asked: frozenset[str], bare: str) -> float:
    """1: the unit holds something of the kind asked for that the question does not; -1: it does not; 0: unknown."""

    def new(pattern: re.Pattern[str]) -> bool:
        return any(not asked.issuperset(_terms(match[0])) for match in pattern.finditer(bare))

    if kind == "number":
        return 1.0 if new(_NUMBER) else -1.0
    if kind == "date":
        return 1.0 if new(_DATE) else 0.0 if new(_SPAN_OF_TIME) else -1.0
    if kind in ("who", "where"):
        return 1.0 if new(_NAME) else -1.0
    if kind == "why":
        return 1.0 if _REASON.search(bare) else -1.0
    return 0.0


# --- what a unit says about the question ----------------------------------------------------------------------------

# One weight for each feature of a unit: how much better an answer it is than the other units of the same hits. All are
# free of a corpus's scale: cosines, shares, ranks. ``share`` is of the question's words, each weighted by its rarity
# among the units at hand.
RANKING: Mapping[str, float] = {
    "cosine_in_context": 15.999,  # means what the question means, read below its title, heading and lead
    "hit_score": 1.245,  # the hit's fused score over the best hit's: retrieval saw more of the text than one sentence
    "hit_rank": 1.297,  # 1 / rank: the same for fusions whose scores lie close together
    "share": 2.027,  # of the question's words in the unit
    "share_near": 3.177,  # ... in the units beside it, its headings and title too: pronouns, and words said once
    "pairs": 2.851,  # neighbouring words of the question that are neighbours here: names, phrases
    "kind": 1.142,  # the kind of thing asked for (number, date, name, reason) is there, and not from the question
    "new_words": 1.130,  # log of content words that the question does not have: there must be room for an answer
    "density": 3.616,  # share of the unit's words that are the question's: said of this, not in passing
}

_SHARE = list(RANKING).index("share")

# One weight for each feature of the evidence as a whole, for the logit of the question being answered.
CONFIDENCE: Mapping[str, float] = {
    "bias": -6.291,
    "closest": 10.113,  # the highest cosine of any unit with the question, alone or in its context
    "share_near": 1.047,  # share of the question's words in and around the best unit
    # Share of the question's codes (HB-4012, --snapshot-count, max_tokens) that no hit holds. Set by hand, for the sets
    # have none: keyword search would have found the code if a document had it.
    "codes_missing": -2.0,
}

# Answers below this confidence are refused. On the dev halves of handbook, SQuAD and FAQ, 0.36 to 0.44 refuse at most
# 15 % of the answerable questions; 0.4 leaves room on both sides. Refused there, answerable / unanswerable, dev and
# test halves: handbook 1 of 14 / 3 of 4 and 1 of 14 / 4 of 6; SQuAD 2.0 9 % / 20 % and 8 % / 22 % (its unanswerable
# questions are written to deceive: AUROC 0.65); covid-faq 13 % and 12 %; MultiHop-RAG 30 % / 100 % and 32 % / 100 %,
# where two sentences rarely hold an answer. The cosines are those of the packaged all-MiniLM-L6-v2: another embedder
# needs a threshold of its own in the recipe.
THRESHOLD = 0.4


@dataclass(frozen=True, slots=True)
class Evidence:
    """The units that were weighed, best first, with their features (in RANKING's order) and scores.

    ``summary`` holds CONFIDENCE's features after the bias.
    """

    units: list[Unit]
    rows: list[tuple[float, ...]]
    scores: list[float]
    summary: tuple[float, ...]
    confidence: float


def _dot(weights: Iterable[float], row: Sequence[float]) -> float:
    return sum(w * x for w, x in zip(weights, row, strict=True))


def _above(hit: Hit, unit: Unit) -> list[str]:
    """Where a unit stands, outermost first, nothing twice."""
    parts = (hit.title, *(_bare(h) for h in hit.chunk.headings[-1:]), unit.heading, unit.lead_text)
    return [part for part in dict.fromkeys(parts) if part]


def weigh(question: str, hits: Sequence[Hit], embedder: Embedder, adapter: LinearMap | None = None) -> Evidence | None:
    """Every candidate of ``hits`` (best first) with what it says about ``question``, whose vector goes through the
    ``adapter`` by which it was looked for; None where nothing is quotable."""
    hits = hits[:MAX_HITS]
    chunks = [units(i, hit.chunk.text) for i, hit in enumerate(hits)]
    candidates: list[Unit] = []
    seen: set[tuple[str, str, str]] = set()
    for unit in (unit for chunk in chunks for unit in chunk):
        unit.terms = _terms(unit.bare)
        same = (unit.heading, unit.lead_text, unit.bare)
        if same not in seen:  # else: overlapping chunks, copied pages
            seen.add(same)
            candidates.append(unit)
    if not candidates:
        return None

    asked = _terms(question)
    words = [term for term in dict.fromkeys(asked) if term not in _stop()]
    everything, kind = frozenset(asked), _asked_for(question)
    pairs = {pair for pair in pairwise(asked) if not _stop().issuperset(pair)}
    codes = {match[0].lower() for match in _CODE.finditer(question)}
    having = [everything.intersection(unit.terms) for unit in candidates]
    n = len(candidates)
    rarity = {w: math.log(1 + (n + 1) / (0.5 + sum(w in terms for terms in having))) for w in words}
    total = sum(rarity.values()) or 1.0

    def share(terms: set[str] | frozenset[str]) -> float:
        return sum(rarity[w] for w in words if w in terms) / total

    # Reranking says it in another unit, which these weights do not know.
    fused = [hit.stages["fused"].score if "fused" in hit.stages else hit.score for hit in hits]
    best_score = max(fused)
    lexical: list[tuple[float, ...]] = []
    for unit, shared in zip(candidates, having, strict=True):
        hit, chunk = hits[unit.hit], chunks[unit.hit]
        above = everything.intersection(_terms(" ".join(_above(hit, unit))))
        near = shared.union(
            above, *(everything.intersection(u.terms) for u in chunk[max(0, unit.position - 1) : unit.position + 2])
        )
        new = [t for t in unit.terms if t not in everything and t not in _stop()]
        there = pairs.intersection(pairwise(unit.terms))
        lexical.append(
            (
                fused[unit.hit] / best_score if best_score > 0 else 1.0,
                1 / (1 + unit.hit),
                share(shared),
                share(near),
                len(there) / max(1, len(pairs)),
                _kind_found(kind, everything, unit.bare),
                math.log1p(len(new)),
                len(shared) / max(1, len(set(unit.terms))),
            )
        )

    # Embed those that could still win: the same weights, without the cosine.
    weights = list(RANKING.values())
    kept = sorted(range(n), key=lambda i: -_dot(weights[1:], lexical[i]))[:MAX_UNITS]
    in_context = [": ".join((*_above(hits[candidates[i].hit], candidates[i]), candidates[i].bare)) for i in kept]
    asked_vectors = embedder.encode([question], "query")
    asked_vector = (asked_vectors if adapter is None else adapter.apply(asked_vectors))[0]
    cosines = (embedder.encode([text[: 2 * MAX_EMBEDDED] for text in in_context]) @ asked_vector).tolist()
    rows = [(cosine, *lexical[i]) for cosine, i in zip(cosines, kept, strict=True)]
    scores = [_dot(weights, row) for row in rows]
    order = sorted(range(len(kept)), key=lambda k: -scores[k])
    ranked = [candidates[kept[k]] for k in order]

    alone = embedder.encode([unit.bare[:MAX_EMBEDDED] for unit in ranked[:MAX_ALONE]]) @ asked_vector
    texts = [" ".join((hit.title, *hit.chunk.headings, hit.chunk.text)).lower() for hit in hits] if codes else []
    missing = sum(not any(code in text for text in texts) for code in codes) / max(1, len(codes))
    summary = (max(*cosines, float(alone.max())), rows[order[0]][4], missing)
    logit = _dot(CONFIDENCE.values(), (1.0, *summary))
    # Below 1, so that a threshold of 1 always abstains.
    confidence = min(1 / (1 + math.exp(-logit)), 0.999)
    return Evidence(ranked, [rows[k] for k in order], [scores[k] for k in order], summary, confidence)


# --- the generator --------------------------------------------------------------------------------------------------

# A further sentence is quoted only where its score is at most this far below the best one's. On SQuAD's dev half, 4
# quotes a second sentence for 57 % of the questions and loses 0.9 points of answers against quoting always two.
FURTHER = 4.0


class Extractive:
    """Quotes the best one to ``part.sentences`` sentences of the hits, exactly; abstains below the threshold."""

    kind = "extractive"

    def __init__(self, part: recipe.Extractive, embedder: Embedder) -> None:
        self._limit = part.sentences
        self._threshold = THRESHOLD if part.threshold is None else part.threshold
        self._embedder = embedder

    @property
    def remote(self) -> bool:
        """Question and sentences go where the embedder's texts go."""
        return self._embedder.remote

    def room(self) -> Callable[[Sequence[Hit]], bool]:
        """As many as it reads."""
        return lambda passages: len(passages) <= MAX_HITS

    def generate(
        self,
        question: str,
        hits: Sequence[Hit],
        on_text: Callable[[str], None] | None = None,
        examples: Sequence[Example] = (),
        *,
        adapter: LinearMap | None = None,
    ) -> Answer:
        """Answer ``question`` with quotes from ``hits``, best first; ``on_text`` hears the answer once, whole. What is
        quoted takes its form from no example. ``adapter``: the one by which the hits were found."""
        question = " ".join(question[:MAX_QUESTION].split())
        if not hits:
            return Answer("", abstained=True, reason="nothing was found", confidence=0.0)
        evidence = weigh(question, hits, self._embedder, adapter)
        if evidence is None:
            reason = "the passages found hold no sentence that could be quoted"
            return Answer("", abstained=True, reason=reason, confidence=0.0)
        confidence = round(evidence.confidence, 4)
        spans = _quotes(evidence, self._limit, _led_to(question, evidence, hits))
        citations = [hits[i].cite(hits[i].chunk.start + start, hits[i].chunk.start + end) for i, start, end in spans]
        text = _joined(spans, citations, hits)
        if confidence < self._threshold:
            nearest = hits[evidence.units[0].hit]
            reason = (
                "the documents do not seem to hold the answer: the best evidence, in "
                f"“{nearest.title or nearest.source}”, reaches {confidence:.2f} of the {self._threshold:.2f} needed"
            )
            return Answer("", abstained=True, reason=reason, confidence=confidence, withheld=text)
        if on_text is not None:
            on_text(text)
        return Answer(text, tuple(citations), confidence=confidence)


def _led_to(question: str, evidence: Evidence, hits: Sequence[Hit]) -> Unit | None:
    """The best unit of a document that the best unit calls by its title, and the question does not: the second half of
    an answer that stands in two documents."""
    best = evidence.units[0]
    said, own = best.bare, hits[best.hit].title
    asked, mine = titles.padded(question), titles.bare(own)
    named = {
        at
        for at, hit in enumerate(hits[:MAX_HITS])
        if (name := titles.bare(hit.title)) != mine and f" {name} " not in asked and titles.calls(said, hit.title)
    }
    return next((unit for unit in evidence.units if unit.hit in named and unit.bare != said), None)


def _quotes(evidence: Evidence, limit: int, led_to: Unit | None = None) -> list[tuple[int, int, int]]:
    """``(hit, start, end)`` in the chunk, best hit first and in reading order within one. ``led_to`` comes before all
    others but the best. Of a table the row that was asked for is quoted, with its columns' names: another row only
    where it has as many of the question's words."""
    best, share = evidence.units[0], evidence.rows[0][_SHARE]
    chosen = [(best.hit, best.start, best.end)]
    if led_to is not None and limit > 1:
        chosen.append((led_to.hit, led_to.start, led_to.end))
    others = zip(evidence.units[1:limit], evidence.scores[1:limit], evidence.rows[1:limit], strict=True)
    for unit, score, row in others:
        span = (unit.hit, unit.start, unit.end)
        beside = best.is_row and unit.is_row and unit.hit == best.hit and row[_SHARE] < share
        if len(chosen) < limit and score >= evidence.scores[0] - FURTHER and unit.bare != best.bare and not beside:
            chosen += [span] if span not in chosen else []
    if len(chosen) < limit and best.lead is not None:  # the columns' names, the line before the list
        chosen.append((best.hit, *best.lead))
    hit_order = list(dict.fromkeys(hit for hit, _, _ in chosen))
    return sorted(chosen, key=lambda span: (hit_order.index(span[0]), span[1]))


def _joined(spans: list[tuple[int, int, int]], citations: list[Citation], hits: Sequence[Hit]) -> str:
    """The quotes with a space between neighbours, and an ellipsis where text was left out."""
    text = citations[0].quote
    for before, after, citation in zip(spans, spans[1:], citations[1:], strict=False):
        between = hits[before[0]].chunk.text[before[2] : after[1]] if before[0] == after[0] else "…"
        text += (" … " if _WORD.search(between) or between == "…" else " ") + citation.quote
    return text
