"""A language model writes the answer from numbered passages; what it cites is checked before anyone reads it."""

from __future__ import annotations

import contextvars
import json
import os
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from queue import Empty, SimpleQueue

from openbook import recipe
from openbook.addresses import host_of, is_loopback
from openbook.errors import ModelError, ModelUnavailable
from openbook.generate.citations import check, does_not_know, spoken
from openbook.generate.clients import Client, Dialect, Ending, Fault, Form, Piece, open_client
from openbook.generate.context import room_for, shown_of
from openbook.generate.examples import RULE, Example, block, fitting
from openbook.generate.prompt import DATED, code_for, estimate_tokens, fit, messages
from openbook.generate.tokens import counting
from openbook.prices import Price, price_of
from openbook.types import Answer, Hit, Usage

SECONDS = 60.0
"""The time that one answer may take, from the call to the last word, waiting and trying again included."""

RETRIES = 3
"""Refused for load, a server's own fault, a broken connection: so often again, after 0.5, 1 and 2 seconds (a quarter
less or more), or after what the server asks for."""

ENVELOPE = 48
"""Tokens that a call is taken to need at most beside its texts: roles, the marks of a chat template."""

_LEAST_CONTEXT = 64
"""Tokens of passages below which nothing can be answered from them."""

_ADDRESS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
_TOO_LONG = ("context_length_exceeded", "context length", "context window", "context size", "prompt is too long")
_FILTERED = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")
_NO_MONEY = ("insufficient_quota", "billing_error", "credit balance is too low")

GRACE = 0.5
"""Seconds that a socket waits longer than its caller, who tells of the time that was set."""


class _OutOfTime(Exception):
    pass


@dataclass(slots=True)
class _Reply:
    text: str = ""
    refusal: str = ""
    ending: Ending | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.refusal += piece.refusal
        self.ending = piece.ending or self.ending
        self.input_tokens = piece.input_tokens if piece.input_tokens is not None else self.input_tokens
        self.output_tokens = piece.output_tokens if piece.output_tokens is not None else self.output_tokens


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, unchecked. ``ending``: it stopped, was cut off or refused; ``refusal``: in its own words.

    ``usage`` is what the server counted, else an estimate; its ``cost`` is ``None`` where the price is unknown.
    """

    text: str
    refusal: str
    ending: Ending
    usage: Usage


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be consumed: tokens, read and written together, and US dollars; ``None``: as much as it takes."""

    tokens: int | None = None
    dollars: float | None = None

    def without(self, usage: Usage) -> Allowance:
        """What is left when that is taken away; never less than nothing. An unknown cost leaves no money."""
        tokens = None if self.tokens is None else max(0, self.tokens - usage.input_tokens - usage.output_tokens)
        dollars = self.dollars
        if dollars is not None:
            dollars = 0.0 if usage.cost is None else max(0.0, dollars - usage.cost)
        return Allowance(tokens, dollars)

    def lacks(self, usage: Usage) -> str:
        """Why that much may not be consumed; nothing where it may."""
        tokens = usage.input_tokens + usage.output_tokens
        if self.tokens is not None and tokens > self.tokens:
            return f"it may take {tokens} tokens, and {self.tokens} are left"
        if self.dollars is not None and usage.cost is None:
            return "its price is not known, and dollars are counted"
        if self.dollars is not None and usage.cost is not None and usage.cost > self.dollars:
            return f"it may cost ${usage.cost:.6f}, and ${self.dollars:.6f} are left"
        return ""


class LanguageModel:
    """Answers by ``openai`` (or any server that speaks its protocol) or ``anthropic``.

    An answer counts only if it can be checked. The model abstains, with an empty text and the reason, where it says
    "I don't know", refuses, writes nothing, or cites no passage that it was given: text without any citation is text
    that a reader could only believe. An answer cut off at ``max_output_tokens`` is kept, and its ``reason`` says so;
    one whose stream broke is none.

    ``dates`` are metadata fields that stand above each passage, for the model to say where passages disagree.

    ``seconds`` bounds everything that one ``generate`` does. A call is repeated up to ``retries`` times, but never
    after text was handed to ``on_text``. ``usage`` is what the server counted, else an estimate; its ``cost`` is what
    the price file says (``openbook.prices``). A model that has no price there costs 0 on this machine and ``None``
    (unknown) elsewhere.

    Raises:
        RecipeError: ``base_url`` is no http address.
    """

    def __init__(
        self,
        part: recipe.LanguageModel,
        *,
        dates: Sequence[str] = (),
        seconds: float = SECONDS,
        retries: int = RETRIES,
    ) -> None:
        self.kind: str = part.kind
        self._part = part
        self._dates = dates
        self._seconds = seconds
        self._retries = retries
        # The SDKs' own variables, so that a proxy set for them holds here too.
        self._base_url = part.base_url or os.environ.get(f"{part.kind.upper()}_BASE_URL") or _ADDRESS[part.kind]
        self._name = f"{part.kind}:{part.model}"
        self._host = host = host_of(self._base_url, where=self._name)
        self._loopback = is_loopback(host)
        self.remote: bool = not self._loopback
        self._place = f"{self._name} at {host}" if part.base_url else self._name
        self._client: Client | None = None
        self._opening = threading.Lock()

    def require_key(self) -> None:
        """Before many questions are asked of it. Raises: ModelError: no key."""
        self._key()

    @property
    def price(self) -> Price | None:
        """What its tokens cost; ``None`` where nobody has told. Raises: PriceError."""
        return price_of(self._part.model, self._host)

    @cached_property
    def count(self) -> Callable[[str], int]:
        """How many tokens a text has. Raises: ModelError: its tokenizer cannot be read."""
        return counting(self._part.tokenizer)

    def room(self) -> Callable[[Sequence[Hit]], bool]:
        """As many as ``context_tokens`` hold. Raises: ModelError: its tokenizer cannot be read."""
        return room_for(self._part.context_tokens, self.count)

    @property
    def name(self) -> str:
        """``openai:MODEL`` or ``anthropic:MODEL``."""
        return self._name

    def most(self, system: str, user: str, form: Form | None = None, *, room: int = 0) -> Usage:
        """What a call may consume, as far as it can be told before: an estimate that errs high of what is sent, with
        ``room`` tokens more, and as much as may be written.

        Raises:
            ModelError, PriceError: as ``generate``, before anything is sent.
        """
        shown = "" if form is None else json.dumps(form)
        sent = sum(map(self.count, (system, user, shown))) + ENVELOPE + room
        return self._usage(sent, self._part.max_output_tokens + self._connected().dialect.hidden, self.price)

    def generate(
        self,
        question: str,
        hits: Sequence[Hit],
        on_text: Callable[[str], None] | None = None,
        examples: Sequence[Example] = (),
        *,
        allowance: Allowance | None = None,
    ) -> Answer:
        """Write an answer to ``question`` from ``hits``, best first. Without hits nothing is asked. It is shown no more
        of them than the ``allowance`` has room for; where that is nothing it abstains.

        Raises:
            ModelError: no key, a refused key, no such model or tokenizer, passages too long for it, a request that it
                refuses.
            ModelUnavailable: no whole answer in time.
            PriceError: the price file cannot be read; told before anything is paid for.
        """
        if not hits:
            return Answer("", abstained=True, reason="nothing was found")
        part = self._part
        if self._dates:
            hits = [_dated(hit, self._dates) for hit in hits]
        examples = self._shown(examples)
        code = code_for(hits, [question, *(example.shown for example in examples)])
        passages = fit(hits, part.context_tokens, self.count, order=part.order, code=code)
        if not passages:
            reason = f"no passage fits into context_tokens = {self._part.context_tokens}; raise it"
            return Answer("", abstained=True, reason=reason)
        more = f"{block(examples, code)}\n\n" if examples else ""
        rules = (DATED if self._dates else "") + (RULE if examples else "")
        system, user = messages(question, passages, part.instructions, code=code, more=more, rules=rules)
        most = None
        if allowance is not None:
            room = part.context_tokens
            most = self.most(system, user)
            while lacking := allowance.lacks(most):
                room = 3 * room // 4  # what a token less saves depends on the price
                passages = fit(hits, room, self.count, order=part.order, code=code) if room >= _LEAST_CONTEXT else []
                if not passages:
                    reason = f"the question's budget has no room for an answer: {lacking}"
                    return Answer("", abstained=True, reason=reason)
                system, user = messages(question, passages, part.instructions, code=code, more=more, rules=rules)
                most = self.most(system, user)
        reply = self.complete(system, user, on_text, most=most)
        usage = reply.usage
        read = tuple(map(shown_of, passages))

        def abstain(reason: str, invented: int = 0) -> Answer:
            return Answer("", abstained=True, reason=reason, usage=usage, invented=invented, passages=read)

        if reply.ending == "refused" or reply.refusal:
            return abstain(f"the model refused: {' '.join(reply.refusal.split())}".rstrip(": "))
        cut = None
        if reply.ending == "length":
            cut = f"the answer was cut off at max_output_tokens = {self._part.max_output_tokens}; raise it"
        elif reply.ending == "window":
            cut = f"the model's context was full; lower context_tokens (now {self._part.context_tokens})"
        text = spoken(reply.text)
        if not text:
            return abstain(cut or "the model wrote nothing")
        if does_not_know(text):
            return abstain("the model found no answer in the passages")
        checked = check(text, passages, question)
        if not checked.citations:
            return abstain(cut or "the model cited no passage", checked.invented)
        return Answer(
            checked.text, checked.citations, reason=cut, usage=usage, invented=checked.invented, passages=read
        )

    def _shown(self, examples: Sequence[Example]) -> list[Example]:
        """The recipe's own examples and others, as many as there is room for."""
        part = self._part.examples
        if isinstance(part, recipe.Off):
            return []
        if isinstance(part, recipe.FixedExamples):
            named = recipe.read_examples(part.file) if part.file else ()
            examples = [Example(*one) for one in (*part.shown, *named)]
        return fitting(examples, part.tokens, self.count)

    def complete(
        self,
        system: str,
        user: str,
        on_text: Callable[[str], None] | None = None,
        *,
        form: Form | None = None,
        seconds: float | None = None,
        most: Usage | None = None,
    ) -> Reply:
        """What the model says to a caller's own messages; the caller checks it. May be called from several threads.

        ``form``: the answer is to be JSON of this schema. Servers that cannot see to it are asked without, so that the
        messages have to say it, too. ``seconds``: it is waited for no longer, and no longer than for every answer.
        ``most``: a server that demands to write more than that is not asked again.

        Raises:
            ModelError, ModelUnavailable, PriceError: as ``generate``.
        """
        price = self.price
        seconds = self._seconds if seconds is None else min(seconds, self._seconds)
        reply = self._ask(system, user, on_text, form, seconds, most)
        sent = estimate_tokens(system) + estimate_tokens(user) if reply.input_tokens is None else reply.input_tokens
        written = estimate_tokens(reply.text) if reply.output_tokens is None else reply.output_tokens
        return Reply(reply.text, reply.refusal, reply.ending or "refused", self._usage(sent, written, price))

    def _usage(self, sent: int, written: int, price: Price | None) -> Usage:
        unpriced = 0.0 if self._loopback else None
        return Usage(sent, written, unpriced if price is None else price.cost(sent, written))

    def _ask(
        self,
        system: str,
        user: str,
        on_text: Callable[[str], None] | None,
        form: Form | None,
        seconds: float,
        most: Usage | None,
    ) -> _Reply:
        """One whole reply, by as many calls as it takes."""
        deadline = time.monotonic() + seconds
        client = self._connected()
        dialect = client.dialect
        tried = {dialect}
        retries = 0
        while True:
            reply = _Reply()
            try:
                with closing(_in_time(client, system, user, dialect, deadline, form)) as pieces:
                    for piece in pieces:
                        reply.add(piece)
                        if piece.text and on_text is not None:
                            on_text(piece.text)
                if reply.ending is None:
                    raise Fault("the answer broke off")
                client.dialect = dialect
                return reply
            except Fault as fault:
                if reply.ending is not None and not fault.status:
                    return reply  # all was said; only the goodbye is missing
                other = client.other(fault, dialect)
                if other is not None and other not in tried:
                    if most is not None and self._part.max_output_tokens + other.hidden > most.output_tokens:
                        client.dialect = other  # the next one is reckoned with that
                        what = "thinks before it writes, and may take more tokens for it than the budget has left"
                        raise ModelUnavailable(what, where=self._place, do="raise query.budget") from None
                    dialect = other
                    tried.add(dialect)
                    continue
                if _any(_FILTERED, fault):
                    return _Reply(refusal=fault.message)
                self._raise_if_final(fault)
                wait = fault.retry_after
                if wait is None:
                    wait = 0.5 * 2**retries * random.uniform(0.75, 1.25)
                out_of_time = time.monotonic() + wait >= deadline
                if retries == self._retries or out_of_time or (reply.text and on_text is not None):
                    raise self._unavailable(fault, wait if out_of_time else 0.0) from None
            except _OutOfTime:
                what = f"no whole answer within {seconds:.3g} s"
                do = "try again, or take a faster model"
                raise ModelUnavailable(what, where=self._place, do=do, begun=True) from None
            retries += 1
            time.sleep(wait)

    def _connected(self) -> Client:
        with self._opening:
            if self._client is None:
                self._client = open_client(self._part, self._base_url, self._key(), loopback=self._loopback)
            return self._client

    def _key(self) -> str:
        """The key. A server on this machine gets one only where the recipe names its variable."""
        variable = self._key_variable
        key = os.environ.get(variable, "").strip() if self._part.key_env or not self._loopback else ""
        if key:
            return key
        if self._loopback:
            return "none"
        do = f"set {variable}" + ("" if self._base_url in _ADDRESS.values() else " (to anything, if it needs no key)")
        raise ModelError("no key", where=self._place, do=do)

    @property
    def _key_variable(self) -> str:
        return self._part.key_env or f"{self.kind.upper()}_API_KEY"

    def _raise_if_final(self, fault: Fault) -> None:
        """Raise what trying again cannot help."""
        part, where, said = self._part, self._place, fault.message
        if fault.status == 401:
            raise ModelError("the key was refused", where=where, do=f"check {self._key_variable}") from None
        if fault.status == 403:
            do = f"check what {self._key_variable} may use"
            raise ModelError(f"not allowed: {said}", where=where, do=do) from None
        if _any(_TOO_LONG, fault) or fault.status == 413:
            do = f"lower query.generate.context_tokens (now {part.context_tokens})"
            raise ModelError("the passages are too long for the model", where=where, do=do) from None
        if _any(_NO_MONEY, fault) or fault.status == 402:
            raise ModelError(f"the account is used up: {said}", where=where, do="check its billing") from None
        if fault.status == 404:
            usual = "which most often ends in /v1" if part.kind == "openai" else "which ends without /v1"
            do = "check its name" + (f" and base_url, {usual}" if part.base_url else "")
            raise ModelError(f"no model {part.model!r} there: {said}", where=where, do=do) from None
        if fault.connection_refused and self._loopback:
            raise ModelUnavailable("nothing answers there", where=where, do="start the model server") from None
        if 300 <= fault.status < 500 and fault.status not in (408, 409, 425, 429):
            do = "mend query.generate in the recipe"
            raise ModelError(f"refused the request: {said}", where=where, do=do) from None

    def _unavailable(self, fault: Fault, wait: float) -> ModelUnavailable:
        what = f"status {fault.status}: {fault.message}" if fault.status else f"no whole answer: {fault.message}"
        do = f"try again in {wait:.0f} s" if wait >= 1 else "try again later"
        return ModelUnavailable(what, where=self._place, do=do, begun=not fault.status and not fault.connection_refused)


def _dated(hit: Hit, fields: Sequence[str]) -> Hit:
    """A hit that tells its age among what stands above its text."""
    from openbook.generate.disagreement import dates_of

    told = [line for line in (dates_of(hit, fields), hit.chunk.context) if line]
    return replace(hit, chunk=replace(hit.chunk, context="\n".join(told)))


def _any(words: Sequence[str], fault: Fault) -> bool:
    return any(word in fault.code or word.lower() in fault.message.lower() for word in words)


def _in_time(
    client: Client, system: str, user: str, dialect: Dialect, deadline: float, form: Form | None
) -> Generator[Piece, None, None]:
    """The pieces of one call, read in a thread of its own.

    A socket's timeouts bound the silence between two bytes, not the whole: a slow handshake or a server that sends a
    sign of life every second would hold its caller for ever. Here the caller goes when its time is up.

    Raises:
        Fault: what the client raised.
        _OutOfTime: the time is up.
    """
    pieces: SimpleQueue[Piece | BaseException | None] = SimpleQueue()
    gone = threading.Event()
    closers: list[Callable[[], None]] = []

    def read() -> None:
        try:
            stream = client.open(system, user, dialect, max(0.001, deadline - time.monotonic()) + GRACE, form)
            closers.append(stream.close)
            if gone.is_set():
                stream.close()
            for piece in client.read(stream):
                pieces.put(piece)
            pieces.put(None)
        except BaseException as error:  # handed to the caller, whose it is
            pieces.put(error)

    threading.Thread(target=contextvars.copy_context().run, args=(read,), name="openbook-llm", daemon=True).start()
    try:
        while True:
            try:
                piece = pieces.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise _OutOfTime from None
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        gone.set()
        for close in closers:
            close()
