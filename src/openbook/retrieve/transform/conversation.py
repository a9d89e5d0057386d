"""Follow-up questions: "and for contractors?" is looked for with what was asked before.

By rule, in English: a question that begins by going on ("and", "what about"), that points back ("it", "those"), or that
is a few words without a verb takes the words of the user's last one that tell something. Whatever else was said before
is the caller's own and is data: it changes what is looked for, and nothing else.

Of 17 follow-ups to questions of the example handbook, written for this, 16 are answered rightly so, by quotes; 14
behind the whole last question; 6 as they stand. The right passage is found first for 15; for 10 where the follow-up as
it stands is looked for beside it, by reciprocal rank.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openbook.errors import QueryError
from openbook.store.keyword.words import STOPWORDS
from openbook.types import Turn, storable

MOST_TURNS = 10
"""Of a conversation: the last ones. What was said before them is no longer spoken of."""

LONGEST_TURN = 1_000
"""Characters of a turn that are read."""

LONGEST = 500
"""Characters of a question that is made standalone. A longer one says itself what it is about."""

_ROLES = ("user", "assistant")
_FRAGMENT = 4
"""Words of a question without a verb, at most."""

_WHOLE = 3
"""Words that tell something, from which a question that begins with "and" and has a verb is one of its own."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_NAMED = re.compile(r"[^\W_](?:[\w.:/-]*[^\W_])?")  # a word, a version, a flag, a path
_GOING_ON = re.compile(
    r"\W*(?:(?:and|but|or|so)\s+)?(?:(?:what|how)\s+about|what\s+(?:if|else)|why\s+not)\b", re.IGNORECASE
)
_JOINING = re.compile(r"\W*(?:and|but|or|also|then|so|otherwise)\b", re.IGNORECASE)
_THIS = r"this(?!\s+(?:year|month|week|quarter|morning|summer|winter|document|page|handbook|company))"
# "that" and "there" point back at the end ("who approves that?") or before the last word ("is that allowed?"), and
# elsewhere join clauses.
_POINTING = re.compile(
    rf"\b(?:it|its|they|them|their|theirs|he|him|his|she|hers?|these|those|{_THIS}"
    r"|that(?=(?:\s+\w+)?\W*\Z)|(?<!is )(?<!are )(?<!was )(?<!were )there(?=\W*\Z)"
    r"|the\s+(?:same|former|latter|\w+\s+ones?))\b",
    re.IGNORECASE,
)
_AUXILIARIES = """
am are aren't be can can't could did do does doesn't don't had has have how's is isn't may might must shall should was
were what's when's where's who's will would
"""
_VERBS = frozenset(_AUXILIARIES.split())


def conversation(history: Sequence[Turn | tuple[str, str]]) -> tuple[Turn, ...]:
    """The last turns of what was said before a question, each cut to what is read of it.

    Raises:
        QueryError: a turn is no (role, text), or of another role than "user" and "assistant".
    """
    turns: list[Turn] = []
    for turn in history:
        if not (isinstance(turn, tuple | list) and len(turn) == 2 and all(isinstance(part, str) for part in turn)):
            raise QueryError(f"a turn that is no (role, text): {str(turn)[:60]!r}", where="history", do="mend it")
        role, text = turn
        if role not in _ROLES:
            raise QueryError(
                f"a turn of {role[:40]!r}", where="history", do='leave out all but those of "user" and "assistant"'
            )
        if said := storable(text[:LONGEST_TURN]).strip():
            turns.append(Turn(role, said))
    return tuple(turns[-MOST_TURNS:])


def read_conversation(path: Path) -> list[tuple[str, str]]:
    """A conversation in a file: a JSON array of turns, or a turn a line, each ``{"role": …, "content": …}`` as chat
    servers have it (``text`` will do for ``content``).

    Raises:
        QueryError: it cannot be read, or holds no such turns.
    """
    do = 'write a line {"role": "user", "content": "…"} for each turn'
    try:
        text = path.read_text(encoding="utf-8")
        is_array = text.lstrip().startswith("[")
        lines = [line for line in text.splitlines() if line.strip()]
        told: list[Any] = json.loads(text) if is_array else [json.loads(line) for line in lines]
    except OSError as error:
        raise QueryError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    except (ValueError, RecursionError) as error:
        raise QueryError(f"not JSON: {error}", where=str(path), do=do) from None
    turns: list[tuple[str, str]] = []
    for number, turn in enumerate(told, 1):
        fields = turn if isinstance(turn, dict) else {}
        role, said = fields.get("role"), fields.get("content", fields.get("text"))
        if not isinstance(role, str) or not isinstance(said, str):
            raise QueryError(f"turn {number} has no role and content that are texts", where=str(path), do=do)
        turns.append((role, said))
    return turns


def is_follow_up(question: str) -> bool:
    """Whether a question, as it stands, leans on what was said before.

    >>> [is_follow_up(text) for text in ("And for contractors?", "Who approves it?", "in Germany?", "What is etcd?")]
    [True, True, True, False]
    """
    if len(question) > LONGEST:
        return False
    if _GOING_ON.match(question) or _POINTING.search(question):
        return True
    words = [word.lower().replace("’", "'") for word in _WORD.findall(question)]
    has_verb = bool(_VERBS.intersection(words))
    if _JOINING.match(question):
        return not has_verb or sum(word not in STOPWORDS["english"] for word in words[1:]) < _WHOLE
    return len(words) <= _FRAGMENT and not has_verb


def standalone(question: str, turns: Sequence[Turn]) -> str:
    """A follow-up question with the words of those that it follows; any other as it is.

    >>> said = [Turn("user", "How many sick days do I get?"), Turn("assistant", "Ten.")]
    >>> standalone("And for contractors?", said)
    'And for contractors? many sick days get'
    """
    found = question
    asked = [turn.text for turn in turns if turn.role == "user"]
    while asked and is_follow_up(question):
        question = asked.pop()
        known = {word.casefold() for word in _NAMED.findall(found)} | STOPWORDS["english"]
        for word in _NAMED.findall(question):
            if word.casefold() not in known and len(found) + len(word) < LONGEST:
                found = f"{found} {word}"
                known.add(word.casefold())
    return found
