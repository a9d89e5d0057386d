"""Questions that ask for the whole ("What are the main themes?"), and what is answered to them from the themes."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from openbook.types import Answer, Citation, Hit, StageScore, Trace

if TYPE_CHECKING:
    from openbook.similar.themes import Theme, Themes

MOST_TOLD = 20
"""Themes that an answer tells, the largest; it says how many there are."""

LONGEST = 200
"""Characters of a question that asks for the whole; a longer one says what it asks about."""

_HOW = (
    r"(?:(?:\d{1,2}|two|three|four|five|six|seven|eight|nine|ten|all|of|main|key|major|central|principal|overall|"
    r"overarching|common|recurring|broad|general|top|dominant|biggest|largest|different|various|important|"
    r"most (?:important|common|frequent))\s+)*"
)
_THEMES = r"(?:themes?|topics?|subjects?|subject (?:areas|matters?)|areas|threads)"
_THESE = (
    r"(?:(?:all|any|each|of|the|these|those|this|that|my|our|your|whole|entire|complete|different|various)\s+)*"
    r"(?:documents?|docs|files?|papers|corpus|collection|knowledge ?base|library|archive|texts?|articles?|pages?|"
    r"data ?set|data|content|contents|material|everything|it all|them all|all)"
)
_WHERE = rf"(?:\s+(?:there\s+)?(?:in|of|across|from|among|within|throughout|over)\s+{_THESE}|\s+here|\s+overall)?"
_DO = r"(?:covered|discussed|treated|mentioned|addressed|dealt with|found|there|present|contained)"
_PLEASE = r"(?:(?:please|can you|could you|would you)\s+)*"
_ASK = (
    r"(?:list|show|name|give|tell|describe|identify|find|extract|summari[sz]e|outline|sum up)(?:\s+(?:me|us))?"
    r"(?:\s+(?:a|an)\s+(?:list|summary|overview)\s+of)?"
)
_GLOBAL = re.compile(
    "|".join(
        (
            r"(?:what|which)(?:'s| is| are| were)?\s+(?:the\s+)?"
            rf"{_HOW}{_THEMES}(?:\s+(?:are|is))?(?:\s+{_DO})?{_WHERE}",
            rf"(?:what|which)\s+{_HOW}{_THEMES}\s+(?:do|does|did)\s+{_THESE}\s+"
            r"(?:cover|discuss|treat|address|deal with|contain|have(?: in common)?|talk about|include)",
            rf"(?:what|which)\s+(?:is|are|do|does)\s+{_THESE}\s+"
            r"(?:(?:all|mainly|mostly|generally)\s+)?(?:about|on|cover|discuss|deal with|contain|talk about)",
            rf"{_PLEASE}{_ASK}\s+(?:the\s+)?{_HOW}{_THEMES}{_WHERE}",
            rf"{_PLEASE}(?:summari[sz]e|sum up|outline|describe)\s+{_THESE}(?:\s+for\s+(?:me|us))?",
            rf"{_PLEASE}(?:(?:give|show)(?:\s+(?:me|us))?\s+)?(?:an?\s+|the\s+)?"
            r"(?:(?:general|short|brief|quick|overall)\s+)?"
            rf"(?:overview|summary)(?:\s+(?:of|over)\s+{_THESE})?",
            rf"(?:the\s+)?{_HOW}{_THEMES}{_WHERE}",
        )
    )
)
_SIGNS = re.compile(r"[^\w' ]+")


def asks_for_all(question: str) -> bool:
    """Whether a question asks what all the documents are about: by rules, in English. One that names a subject ("the
    main topics of the safety training") is no such question.

    >>> asks_for_all("What are the main themes in these documents?"), asks_for_all("Summarise everything.")
    (True, True)
    >>> asks_for_all("What are the main topics of the safety training?")
    False
    """
    if len(question) > LONGEST:
        return False
    plain = " ".join(_SIGNS.sub(" ", question.casefold().replace("’", "'")).split()).removesuffix(" please")
    return _GLOBAL.fullmatch(plain) is not None


def trace_of(
    found: Themes, question: str, k: int, principals: tuple[str, ...] | None, filter: str | None, since: float
) -> Trace:
    """The trace of such a question: its hits are the typical passages of the themes, first one of each, then the next.

    ``details["themes"]`` tells that they come from there; in numbers, since what a caller may read can change.
    """
    hits: list[Hit] = []
    deepest = max((len(theme.hits) for theme in found.themes), default=0)
    for depth in range(deepest):
        for theme in found.themes:
            if depth < len(theme.hits) and len(hits) < k:
                score = StageScore(len(hits) + 1, theme.share)
                hits.append(replace(theme.hits[depth], score=theme.share, stages={"themes": score}))
    return Trace(
        id=str(uuid.uuid4()),
        question=question,
        release=found.release,
        ms={
            **{stage: took for stage, took in found.ms.items() if stage != "total"},
            "total": round((time.perf_counter() - since) * 1000, 3),
        },
        hits=tuple(hits),
        filter=filter,
        principals=principals,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        details={
            "themes": {
                "themes": len(found.themes),
                "documents": found.documents,
                "apart": found.apart,
                "written": sum(theme.written for theme in found.themes),
                "cached": found.cached,
                "notes": list(found.notes),
            }
        },
    )


def answer_of(found: Themes, trace: Trace) -> Answer:
    """What the documents are about: each theme with its share and what is quoted or was written of it."""
    if not found.themes:
        return Answer("", abstained=True, reason="there are no documents to find themes in", trace=trace)
    cited: list[Citation] = []
    lines = [_opening(found)]
    for theme in found.themes[:MOST_TOLD]:
        lines.append(f"- {theme.label} ({_documents(theme.documents)}): {_renumbered(theme, cited)}")
    return Answer("\n".join(lines), tuple(cited), usage=found.usage, trace=trace)


def _opening(found: Themes) -> str:
    count = len(found.themes)
    themes = "1 theme" if count == 1 else f"{count} themes"
    told = f"; the {MOST_TOLD} largest:" if count > MOST_TOLD else ":"
    return f"{_documents(found.documents)}, {themes}{told}"


def _documents(count: int) -> str:
    return "1 document" if count == 1 else f"{count} documents"


def _renumbered(theme: Theme, cited: list[Citation]) -> str:
    """The summary with its citations numbered on from those before; of one that nobody wrote, the first quote."""
    if not theme.written:
        if not theme.citations:
            return "nothing is quoted"
        cited.append(theme.citations[0])
        return f"{' '.join(theme.citations[0].quote.split())} [{len(cited)}]"
    first = len(cited)
    cited.extend(theme.citations)
    return re.sub(r"\[(\d+)\]", lambda mark: f"[{first + int(mark[1])}]", " ".join(theme.summary.split()))
