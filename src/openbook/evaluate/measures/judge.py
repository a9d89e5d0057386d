"""A language model as judge. ``faithfulness.py`` and ``prefer.py`` say what it is asked.

A judge fails at times: it does not answer in time, refuses, writes what cannot be read. What it then would have said is
unknown, so every failure becomes a pair of bounds (as if it had said the worst, as if it had said the best), the worse
one goes into verdicts, and nothing leaves the mean (Manski, Nonparametric Bounds on Treatment Effects, 1990).

Questions, answers and passages are sent to the judge's server.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from openbook import recipe
from openbook.errors import ModelUnavailable, OpenbookError, QueryError
from openbook.generate.citations import spoken
from openbook.generate.language_model import LanguageModel
from openbook.generate.prompt import estimate_tokens
from openbook.types import Usage

PROMPTS = 1
"""The version of the prompts of ``faithfulness.py`` and ``prefer.py``, kept in every report: another wording is another
judge."""

STOP_AFTER = 8
"""So many calls in a row without any reply, and no more are made: a server that is down is not waited for a thousand
times. What was not asked counts as failed."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a judge may use in all; ``None``: no limit. A call's tokens and dollars are put aside before it is made."""

    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no judgement, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What a judge has used; ``cost`` in US dollars, ``None`` where the price is unknown."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0

    def plus(self, usage: Usage, calls: int = 0) -> Spent:
        cost = None if self.cost is None or usage.cost is None else self.cost + usage.cost
        return Spent(
            self.calls + calls, self.input_tokens + usage.input_tokens, self.output_tokens + usage.output_tokens, cost
        )


class Judge:
    """Asks a language model for judgements, several at a time, within a budget.

    A reply that cannot be read is asked for again up to ``retries`` times, as is a call that the server refuses for
    load; one call may take ``seconds`` in all. ``part.context_tokens`` bounds the passages that the judge is shown.

    Raises:
        RecipeError: ``base_url`` is no http address.
        QueryError: the budget is in dollars and nobody has told the model's price.
    """

    def __init__(
        self,
        part: recipe.LanguageModel,
        *,
        seconds: float = 60.0,
        retries: int = 2,
        threads: int = 4,
        budget: Budget = Budget(),
    ) -> None:
        self.name = f"{part.kind}:{part.model}"
        self.context_tokens = part.context_tokens
        self.part = part
        self.budget = budget
        self._seconds = seconds
        self._retries = retries
        self._threads = threads
        self._model = LanguageModel(part, seconds=seconds, retries=retries)
        self.remote: bool = self._model.remote
        self._price = self._model.price
        if budget.dollars is not None and self._price is None and self.remote:
            raise QueryError(
                f"no price is known for {self.name}", do="put it into the price file (openbook prices), or limit calls"
            )
        self._lock = threading.Lock()
        self._spent = Spent()
        self._reserved = Spent()
        self._silent = 0  # calls without any reply, in a row

    def within(self, budget: Budget) -> Judge:
        """The same judge with another budget, of which nothing is used yet. Raises: QueryError, as when it is made."""
        return Judge(self.part, seconds=self._seconds, retries=self._retries, threads=self._threads, budget=budget)

    @property
    def spent(self) -> Spent:
        with self._lock:
            return self._spent

    def ready(self) -> None:
        """Make sure that there is a judge, before other work is done for it: one short call.

        Raises:
            ModelError, ModelUnavailable: no key, no such model, no answer.
        """
        usage = self._model.complete("You are asked whether you can be reached.", "Reply with one word: yes").usage
        with self._lock:
            self._spent = self._spent.plus(usage, 1)

    def ask(self, system: str, user: str, read: Callable[[str], T | None]) -> T | Failed:
        """What ``read`` makes of the judge's reply; it returns ``None`` for one that it cannot read."""
        message, reason = user, ""
        for _ in range(self._retries + 1):
            reserved = self._reserve(system, message)
            if isinstance(reserved, Failed):
                # What was said before is the better reason to tell.
                return Failed(reason) if reason else reserved
            try:
                reply = self._model.complete(system, message)
            except OpenbookError as error:
                # One that only came too late is paid for all the same.
                used = self._priced(reserved.input_tokens) if isinstance(error, ModelUnavailable) else Usage()
                self._settle(reserved, used, silent=True)
                return Failed(error.what)
            except BaseException:
                self._settle(reserved, Usage(), silent=True)
                raise
            self._settle(reserved, reply.usage, silent=False)
            if reply.ending == "refused" or reply.refusal:
                return Failed(f"refused: {' '.join(reply.refusal.split())[:200]}".rstrip(": "))
            found = read(spoken(reply.text))
            if found is not None:
                return found
            reason = "cut off at max_output_tokens" if reply.ending == "length" else "the reply cannot be read"
            message = f"{user}\n\n{_AGAIN}"
        return Failed(reason)

    def all(self, questions: Mapping[K, Callable[[], T]], progress: Progress | None = None) -> dict[K, T]:
        """The results of ``questions``, each of which asks; as many at once as the judge has threads."""
        waiting: SimpleQueue[K] = SimpleQueue()
        finished: SimpleQueue[tuple[K, T] | BaseException] = SimpleQueue()
        gone = threading.Event()
        for key in questions:
            waiting.put(key)

        def work() -> None:
            try:
                while not gone.is_set():
                    key = waiting.get_nowait()
                    finished.put((key, questions[key]()))
            except Empty:
                pass
            except BaseException as error:  # handed to the caller, whose it is
                finished.put(error)

        # A pool's threads would keep an interrupted program waiting for the answers under way.
        for _ in range(min(self._threads, len(questions))):
            threading.Thread(target=work, name="openbook-judge", daemon=True).start()
        results: dict[K, T] = {}
        try:
            while len(results) < len(questions):
                result = finished.get()
                if isinstance(result, BaseException):
                    raise result
                results[result[0]] = result[1]
                if progress is not None:
                    progress(len(results), len(questions))
        finally:
            gone.set()
        return {key: results[key] for key in questions}

    def used_since(self, before: Spent) -> dict[str, Any]:
        """What the judge is and has used since ``before``, for a report."""
        now = self.spent
        return {
            "model": self.name,
            "remote": self.remote,
            "prompts": PROMPTS,
            "calls": now.calls - before.calls,
            "input_tokens": now.input_tokens - before.input_tokens,
            "output_tokens": now.output_tokens - before.output_tokens,
            "cost": None if now.cost is None or before.cost is None else now.cost - before.cost,
        }

    def _reserve(self, system: str, user: str) -> Usage | Failed:
        """Put aside what a call may use at most, so that calls made at once do not overdraw together."""
        usage = self._priced(estimate_tokens(system) + estimate_tokens(user), self.part.max_output_tokens)
        budget = self.budget
        with self._lock:
            if self._silent >= STOP_AFTER:
                return Failed(f"not asked: the judge did not answer {self._silent} times in a row")
            would = self._reserved.plus(usage, 1)
            spent = self._spent
            tokens = spent.input_tokens + spent.output_tokens + would.input_tokens + would.output_tokens
            if budget.calls is not None and spent.calls + would.calls > budget.calls:
                return Failed(f"not asked: the budget of {budget.calls} calls is used up")
            if budget.tokens is not None and tokens > budget.tokens:
                return Failed(f"not asked: the budget of {budget.tokens} tokens is used up")
            if budget.dollars is not None and (spent.cost or 0.0) + (would.cost or 0.0) > budget.dollars:
                return Failed(f"not asked: the budget of ${budget.dollars:g} is used up")
            self._reserved = would
        return usage

    def _priced(self, sent: int, written: int = 0) -> Usage:
        free = None if self.remote else 0.0
        return Usage(sent, written, free if self._price is None else self._price.cost(sent, written))

    def _settle(self, reserved: Usage, used: Usage, *, silent: bool) -> None:
        with self._lock:
            cost = None if reserved.cost is None else -reserved.cost
            back = Usage(-reserved.input_tokens, -reserved.output_tokens, cost)
            self._reserved = self._reserved.plus(back, -1)
            self._spent = self._spent.plus(used, 1)
            self._silent = self._silent + 1 if silent else 0


_AGAIN = "Your last reply could not be read. Reply with the JSON object that was asked for, whole, and nothing else."

_OPENING = re.compile(r"[{\[]")
_TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")


def objects(text: str) -> list[dict[str, Any]]:
    """Every JSON object in a reply, whatever stands around it; of one that is cut off, the objects inside it.

    >>> objects('Sure! {"claims": [{"claim": 1}, {"claim": 2}, {"cla')
    [{'claim': 1}, {'claim': 2}]
    """
    text = _TRAILING_COMMA.sub("", text)
    decoder = json.JSONDecoder()
    found: list[dict[str, Any]] = []

    def collect(value: object) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            yield value
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from collect(inner)

    at = 0
    while start := _OPENING.search(text, at):
        try:
            value, at = decoder.raw_decode(text, start.start())
            found += collect(value)
        except (ValueError, RecursionError):
            at = start.end()
    return found
