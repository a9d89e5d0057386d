"""The calls of language models before an answer: side by side, under one budget, none of them needed.

Each is skipped where it might exceed the budget, does not answer in time, or answers nothing of use; the question goes
on without it, and the trace says so. What a call may take at most is set aside while it is under way, so that calls
side by side do not exceed together what each of them alone would not.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from openbook.errors import ModelUnavailable, OpenbookError
from openbook.types import Usage

if TYPE_CHECKING:
    from openbook.generate.clients import Form
    from openbook.generate.language_model import LanguageModel
    from openbook.recipe import Budget

AT_ONCE = 4
"""Calls of one question that are under way at the same time: one of each stage."""

NOTHING = "the model wrote nothing"
NO_JSON = "the answer is no such JSON"

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Said(Generic[T]):
    """What was read out of an answer, or why nothing was; ``usage`` of a call that was made."""

    value: T | None = None
    skipped: str = ""
    usage: Usage | None = None


class Calls:
    """Those of one question. ``since``: when it was asked, by ``time.perf_counter``. ``held``: what the answer itself
    may take, and no call before it may. ``before``: what was consumed already. May be used by several threads."""

    def __init__(self, budget: Budget, *, since: float, held: Usage | None = None, before: Usage | None = None) -> None:
        self.budget = budget
        self.since = since
        self.held = held or Usage()
        self._spent = before or Usage()
        self._reserved: list[Usage] = []
        self._told: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    @property
    def told(self) -> list[dict[str, Any]]:
        """Each call by its stage and model, as JSON: milliseconds, usage, why it was skipped."""
        with self._lock:
            return sorted(self._told, key=lambda call: str(call["stage"]))

    @property
    def spent(self) -> Usage:
        """What was consumed up to now. What was written by a model that was not waited for is not known, and counted as
        the most that it could be."""
        with self._lock:
            return self._spent

    def ask(
        self,
        stage: str,
        model: LanguageModel,
        seconds: float,
        messages: tuple[str, str],
        form: Form,
        read: Callable[[Mapping[str, Any]], T | None],
    ) -> Said[T]:
        """What ``read`` makes of the JSON that the model answers to ``messages`` (system, user) within ``seconds``;
        ``None`` of it is no answer. Never raises what a model or its server does."""
        start = time.perf_counter()
        said = self._ask(model, seconds, messages, form, read)
        call: dict[str, Any] = {
            "stage": stage,
            "model": model.name,
            "ms": round((time.perf_counter() - start) * 1e3, 3),
        }
        call |= {"usage": asdict(said.usage)} if said.usage else {}
        call |= {"skipped": said.skipped} if said.skipped else {}
        with self._lock:
            self._told.append(call)
        return said

    def _ask(
        self,
        model: LanguageModel,
        seconds: float,
        messages: tuple[str, str],
        form: Form,
        read: Callable[[Mapping[str, Any]], T | None],
    ) -> Said[T]:
        from openbook.generate.citations import spoken

        try:
            most = model.most(*messages, form)
        except OpenbookError as error:
            return Said(skipped=f"the model did not answer: {error}")
        if self.budget.seconds is not None:
            left = self.since + self.budget.seconds - time.perf_counter()
            if left <= 0:
                return Said(skipped=f"the budget of {self.budget.seconds:g} s is used up")
            seconds = min(seconds, left)
        if lacking := self._reserve(most):
            return Said(skipped=f"the question's budget: {lacking}")
        used: Usage | None = None
        try:
            reply = model.complete(*messages, form=form, seconds=seconds, most=most)
            used = reply.usage
        except OpenbookError as error:
            if isinstance(error, ModelUnavailable) and error.begun:
                used = most
            return Said(skipped=f"the model did not answer: {error}", usage=used)
        finally:
            self._settle(most, used)
        if reply.ending == "refused" or reply.refusal:
            why = f"the model refused: {' '.join(reply.refusal.split())}".rstrip(": ")
            return Said(skipped=why, usage=used)
        body = _object(spoken(reply.text))
        value = None if body is None else read(body)
        if value is None:
            return Said(skipped=NO_JSON if reply.text.strip() else NOTHING, usage=used)
        return Said(value, usage=used)

    def _reserve(self, most: Usage) -> str:
        """Set it aside; or why it is more than is left."""
        from openbook.generate.language_model import Allowance

        with self._lock:
            # What the answer costs may be unknown: that is told when it is its turn.
            held = replace(self.held, cost=self.held.cost or 0.0)
            taken = sum(self._reserved, self._spent + held)
            lacking = Allowance(self.budget.tokens, self.budget.dollars).without(taken).lacks(most)
            if not lacking:
                self._reserved.append(most)
            return lacking

    def _settle(self, most: Usage, used: Usage | None) -> None:
        with self._lock:
            self._reserved.remove(most)
            if used is not None:
                self._spent += used


def side_by_side(asked: Mapping[str, Callable[[], T]], meanwhile: Callable[[], U]) -> tuple[dict[str, T], U]:
    """What each says, by its name, and what was done ``meanwhile``, in this thread; others wait for servers."""
    if not asked:
        return {}, meanwhile()
    with ThreadPoolExecutor(min(len(asked), AT_ONCE), "openbook-ask") as pool:
        waiting = {name: pool.submit(ask) for name, ask in asked.items()}
        done = meanwhile()
        return {name: one.result() for name, one in waiting.items()}, done


def _object(text: str) -> Mapping[str, Any] | None:
    """The JSON object of a model's answer, in a fence or with words around it."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        body = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
