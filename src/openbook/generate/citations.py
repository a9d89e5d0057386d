"""A language model's text becomes text whose every citation can be checked.

The model writes passage numbers. Numbers that were never given are removed and counted. Each that stays is bound to
the sentences of its passage that best support what it stands behind, and renumbered: ``[n]`` in the text is the n-th
citation. Links, images and HTML are taken out, so that nothing a document says can put one into an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from openbook.generate.prompt import SENTINEL, Passage
from openbook.sentences import sentences
from openbook.types import Citation

# [1]  [2, 3]  [1-3]  [^1]  [passage 2]  【1】  【4†source】  ［１］
_LIST = r"\^?\d+(?:\s*(?:[,;、，；&–—‑~-]|and)\s*\^?\d+)*"
_MARKER = re.compile(
    r"(?<![ \t])([ \t]*+)[\[【［]\s*(?:(?:passages?|sources?|nos?\.)\s*)?"
    rf"({_LIST})\s*(?:†[^\[\]【】\n]{{0,40}})?\s*[\]】］]",
    re.IGNORECASE,
)
_RANGE = re.compile(r"(\d+)(?:\s*[–—‑~-]\s*\^?(\d+))?")
_DANGLING = re.compile(r"(?<!\s)\s*+[\[【［]\^?[\d\s,;–-]*\Z")

# Where a marker stood, until the numbers are known. NUL is taken out of the model's text before.
_PLACE = re.compile(r"\0(\d+)\0")

_LINK = re.compile(
    r"!?\[((?:[^\[\]]|\[[^\[\]]{0,200}\]){0,400})\]"
    r"\(\s*<?([^\s()<>]{0,2000}(?:\([^\s()]{0,500}\)[^\s()<>]{0,500}){0,5})>?"
    r"(?:\s+(?:\"[^\"]{0,500}\"|'[^']{0,500}'|\([^()]{0,500}\)))?\s*\)"
)
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.\-]{1,30}:/{2,}|(?<![a-z0-9])www\.)[^\s<>|\0]+", re.IGNORECASE)
_ANGLED = re.compile(r"<((?:[a-z][a-z0-9+.\-]{1,30}:|www\.)[^\s<>]*)>", re.IGNORECASE)
_TAG = re.compile(
    r"<[/!?]?(?:(?:a|img|image|iframe|script|style|link|object|embed|video|audio|source|svg|form|input|meta|base|body|"
    r"html|picture|area|map|math|frame|frameset|track|button)\b[^<>]*|[a-z][^<>=]*=[^<>]*|!--[^<>]*)>",
    re.IGNORECASE,
)
_OPEN_TAG = re.compile(r"<(?=[/!?]?[a-z][^<>]*(?:<|\Z)|!--)", re.IGNORECASE)
_REMOVED = "(link removed)"

# Characters that a reader cannot see and a document could hide something in: controls, bidirectional overrides, tags.
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\u200b\u2060\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_THOUGHT = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)

_ROUNDS = 8
"""Taking one thing out can leave another behind (``[[9]1]``). Text that is not done after this many is an attack."""

_SUPPORT = 0.15
"""Sentences that share less than this part of the claim's weighted words are no better a quote than the passage."""
_NEIGHBOUR = 0.25
"""A second sentence is quoted where it raises the shared part by this much of what the first has."""

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Checked:
    """The text with markers ``[1]`` to ``[len(citations)]``, and how many invented numbers were taken out."""

    text: str
    citations: tuple[Citation, ...]
    invented: int


def spoken(text: str) -> str:
    """The model's text without what was not meant for the reader: its thoughts, and characters nobody sees."""
    text = _THOUGHT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _SURROGATE.sub("�", _UNSEEN.sub("", text)).strip()


def does_not_know(text: str) -> bool:
    """Whether the answer is the agreed "I don't know", in any casing and punctuation, whatever follows it."""
    first = _MARKER.sub("", _DANGLING.sub("", text)).strip()
    spans = sentences(first)
    words = "".join(_WORD.findall(first[slice(*spans[0])].casefold())) if spans else ""
    return words.removeprefix("answer") in {"".join(_WORD.findall(SENTINEL.casefold())), "idonotknow"}


def check(text: str, passages: Sequence[Passage], question: str = "") -> Checked:
    """Check the numbers in ``text`` against ``passages``, choose the quotes, take links out.

    An address stays, as plain text, where it stands letter by letter in a passage that the text cites; every other
    link is reduced to its words, and an image to its description. A citation's quote is one sentence of what the
    model was shown, or two that follow each other, or all of it where no sentence shares enough words with the claim
    (an answer in another language).
    """
    text = _DANGLING.sub("", spoken(text))
    marked, invented = _marked(text, passages)
    bare, places = _bare(marked)
    spans = sentences(bare)
    asked = _terms(question)
    numbers: dict[tuple[str, int, int, int], int] = {}  # two chunks may hold the same sentence
    cited: list[Citation] = []
    out: list[str] = []
    done = 0
    previous: tuple[int, set[int]] = (-1, set())
    for at, index in places:
        passage = passages[index - 1]
        start, end = _support(_claim(bare, spans, at), asked, passage.text)
        first = passage.hit.chunk.start + passage.start
        citation = passage.hit.cite(first + start, first + end)
        key = citation.document, citation.version, citation.start, citation.end
        number = numbers.setdefault(key, len(numbers) + 1)
        if number > len(cited):
            cited.append(citation)
        if at != previous[0]:
            previous = (at, set())
        if number in previous[1]:
            continue
        previous[1].add(number)
        out += [bare[done:at], f"[{number}]"]
        done = at
    out.append(bare[done:])
    # What stands between brackets followed by parentheses would be a link again.
    return Checked("".join(out).replace("](", "] (").strip(), tuple(cited), invented)


def _marked(text: str, passages: Sequence[Passage]) -> tuple[str, int]:
    """``text`` with a place for each number that was given, without links, and how many numbers were not given."""
    cited = {number for match in _MARKER.finditer(text) for number in _numbers(match[2], len(passages))[0]}
    allowed = {_trimmed(match[0]) for number in cited for match in _ADDRESS.finditer(passages[number - 1].text)}
    invented = 0

    def link(match: re.Match[str]) -> str:
        words, target = match[1].strip(), _trimmed(match[2])
        if _MARKER.fullmatch(f"[{words}]"):
            return f"[{words}]"
        if match[0].startswith("!") or target not in allowed:
            return words
        return target if words in ("", target) else f"{words} ({target})"

    def marker(match: re.Match[str]) -> str:
        nonlocal invented
        known, unknown = _numbers(match[2], len(passages))
        invented += unknown
        follows = match.string[match.end() : match.end() + 1]
        blanks = match[1] if known or (follows and follows not in " \t\n.,;:!?…)]}") else ""
        return blanks + "".join(f"\0{number}\0" for number in known)

    def address(match: re.Match[str]) -> str:
        kept = _trimmed(match[0])
        if kept not in allowed:
            return _REMOVED + match[0][len(kept) :]
        follows = match.string[match.end() : match.end() + 1]
        # Renderers let a bare address run on to the next blank.
        return match[0] if not follows or follows.isspace() else match[0] + " "

    for _ in range(_ROUNDS):
        before = text
        text = _LINK.sub(link, text)
        text = _MARKER.sub(marker, text)
        text = _ANGLED.sub(r"\1", text)
        text = _OPEN_TAG.sub("< ", _TAG.sub("", text))
        text = _ADDRESS.sub(address, text)
        if text == before:
            return text, invented
    return _ADDRESS.sub(_REMOVED, re.sub(r"[\[\]【】［］<>]", "", text)), invented


def _numbers(listed: str, count: int) -> tuple[list[int], int]:
    """The passage numbers of a marker's inside that exist, in order, each once; and how many do not."""
    known: dict[int, None] = {}
    unknown = 0
    for match in _RANGE.finditer(listed):
        # Nine digits are plenty, and int() refuses thousands of them.
        ends = [int(end) if len(end) < 10 else count + 1 for end in match.groups() if end]
        if all(1 <= end <= count for end in ends) and ends == sorted(ends):
            known.update(dict.fromkeys(range(ends[0], ends[-1] + 1)))
        else:
            known.update(dict.fromkeys(end for end in ends if 1 <= end <= count))
            unknown += sum(not 1 <= end <= count for end in ends)
    return list(known), unknown


def _bare(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without its places, and for each place its offset there and its passage number."""
    parts: list[str] = []
    places: list[tuple[int, int]] = []
    length = done = 0
    for match in _PLACE.finditer(marked):
        part = marked[done : match.start()]
        parts.append(part)
        length += len(part)
        places.append((length, int(match[1])))
        done = match.end()
    parts.append(marked[done:])
    return "".join(parts), places


def _claim(text: str, spans: Sequence[tuple[int, int]], at: int) -> set[str]:
    """The words of the sentence that a marker at ``at`` stands in or behind; of the next one where none is before."""
    chosen = spans[:1]
    for span in spans:
        if span[0] >= at:
            break
        chosen = [span]
    return _terms(text[slice(*chosen[0])]) if chosen else set()


def _support(claim: set[str], asked: set[str], text: str) -> tuple[int, int]:
    """The span of ``text`` to quote for ``claim``: a sentence, two neighbours, or all of it.

    Shared words count by how few sentences of the passage hold them (inverse document frequency), numbers half as much
    again and the shortest words, which say least, a third. The question's own words count a third too, to tell "ten
    days" of sick leave from "ten days" of holidays.
    """
    spans = sentences(text)
    whole = spans[0][0], spans[-1][1]
    terms = [_terms(text[start:end]) for start, end in spans]
    weight = {
        term: _telling(term) * log((len(spans) + 1) / (sum(term in held for held in terms) or 0.5))
        for term in claim | asked
    }
    total = sum(weight[term] for term in claim)

    def shared(held: set[str]) -> float:
        return sum(weight[t] for t in claim & held) + sum(weight[t] for t in (asked - claim) & held) / 3

    scores = [shared(held) for held in terms]
    best = max(range(len(spans)), key=scores.__getitem__)
    if not total or scores[best] < _SUPPORT * total:
        return whole
    gains = {
        other: shared(terms[best] | terms[other]) - scores[best]
        for other in (best - 1, best + 1)
        if 0 <= other < len(spans)
    }
    if gains:
        other = max(gains, key=gains.__getitem__)
        if gains[other] >= _NEIGHBOUR * scores[best] and scores[other] >= _SUPPORT * total:
            return spans[min(best, other)][0], spans[max(best, other)][1]
    return spans[best]


def _telling(term: str) -> float:
    if any(character.isdigit() for character in term):
        return 1.5
    return 1 / 3 if len(term) <= 3 and not _UNSPACED.search(term) else 1.0


def _terms(text: str) -> set[str]:
    """Words in lower case, cut to six letters so that endings matter little; pairs of letters in unspaced scripts."""
    found: set[str] = set()
    for word in _WORD.findall(text.casefold()):
        if _UNSPACED.search(word):
            found.update(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        else:
            found.add(word if word.isdigit() else word[:6].removesuffix("s") or word)
    return found


def _trimmed(address: str) -> str:
    """An address without the punctuation of the sentence around it."""
    while address:
        last = address[-1]
        opening = {")": "(", "]": "[", "}": "{"}.get(last)
        if last in ".,;:!?'\"*_~`\\”’»。，" or (opening and address.count(last) > address.count(opening)):
            address = address[:-1]
        else:
            break
    return address
