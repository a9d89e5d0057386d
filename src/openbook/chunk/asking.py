"""Questions about a text that a language model answers while it is read, and what happens where it does not.

A text is data: it stands between tags whose name occurs nowhere in it, and what the model says of it is checked. A
model that fails costs no document: whoever asked goes on without, and says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from openbook import recipe
from openbook.errors import OpenbookError
from openbook.generate.citations import spoken
from openbook.generate.language_model import LanguageModel
from openbook.generate.prompt import broken_up, unused_code

AT_ONCE = 4
"""Calls under way at the same time."""

SECONDS = 30.0
"""For one call. Reading goes on without an answer, so it does not wait as long as a person's question would."""

REST = 60.0
"""Seconds for which a model that did not answer is left alone: else every document would wait for it."""

_NUMBERED = re.compile(r"^[\s\-*]*\[?(\d{1,6})\]?\s*[:.)\-–]\s*(.+)$", re.MULTILINE)


class Unanswered(Exception):
    """Why there is no answer, in a few words."""


class Asking:
    """One language model at work for a reader of documents."""

    def __init__(self, part: recipe.LanguageModel, *, seconds: float = SECONDS) -> None:
        self.is_local = part.is_local
        self._model = LanguageModel(part, seconds=seconds, retries=1)
        self._rests_until = 0.0
        self._why = ""

    def all(self, asked: Sequence[tuple[str, str]]) -> list[str | Unanswered]:
        """What the model says to each (rules, text), in order."""
        if len(asked) < 2:
            return [self._one(*each) for each in asked]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda each: self._one(*each), asked))

    def _one(self, system: str, user: str) -> str | Unanswered:
        if time.monotonic() < self._rests_until:
            return Unanswered(self._why)
        try:
            reply = self._model.complete(system, user)
        except OpenbookError as error:
            self._why, self._rests_until = f"the language model failed ({error.what})", time.monotonic() + REST
            return Unanswered(self._why)
        if reply.ending == "refused" or reply.refusal:
            return Unanswered("the language model refused")
        text = spoken(reply.text)
        return text if text.strip() else Unanswered("the language model wrote nothing")


def numbered(texts: Iterable[str], others: Sequence[str] = ()) -> tuple[str, str]:
    """A code that occurs in none of the texts, and the texts, each between tags with it and its number from 1."""
    shown = [broken_up(text) for text in texts]
    code = unused_code([*shown, *others])
    return code, "\n".join(
        f'<part-{code} number="{number}">\n{text}\n</part-{code}>' for number, text in enumerate(shown, 1)
    )


def numbered_lines(answer: str) -> dict[int, str]:
    """The lines ``number: text`` of an answer; of a number said twice, the first."""
    found: dict[int, str] = {}
    for match in _NUMBERED.finditer(answer):
        found.setdefault(int(match[1]), " ".join(match[2].split()))
    return found
