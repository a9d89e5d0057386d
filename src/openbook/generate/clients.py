"""The two protocols that language models are spoken to in, each through its provider's own SDK, as one kind of stream.

A client opens a stream and reads it as ``Piece``\\ s. It never retries: how often and how long is one decision for both
(``language_model.py``). What the SDKs raise becomes a ``Fault``.
"""

from __future__ import annotations

import json
import math
import re
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from openbook.recipe import LanguageModel

if TYPE_CHECKING:
    import anthropic
    import httpx2
    import openai

CONNECT_SECONDS = 5.0
"""A server that is there accepts a connection within this; the rest of the time is for its answer."""

HIDDEN_TOKENS = 4000
"""What a model that thinks first gets on top of ``max_output_tokens``: its hidden tokens count towards that limit."""

_THINKS = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)")
"""Models of OpenAI that think before they write. Others are found out by their server's demand for another limit."""

_NAME_REFUSED = re.compile("support|unknown|unrecogni[sz]ed|extra|permitted|unexpected|instead", re.IGNORECASE)

Ending = Literal["stop", "length", "window", "refused"]

Form = Mapping[str, Any]
"""A JSON schema: every object names all its properties as required, and allows no others."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stream said next: text, the provider's refusal in its own words, how it ended, tokens counted so far."""

    text: str = ""
    refusal: str = ""
    ending: Ending | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a request is put, as far as servers differ: the name of the output limit and what is added to it for hidden
    thoughts, whether ``stream_options`` ask for the tokens used, whether thinking is left as it is, whether the form
    of an answer is demanded where there is one, or only asked for in words."""

    limit: str = "max_tokens"
    hidden: int = 0
    usage: bool = True
    thinks: bool = False
    forms: bool = True


class Fault(Exception):
    """What went wrong in a call. ``status``: HTTP's, or the like of it; 0 where no answer came or it broke off."""

    def __init__(
        self, message: str, *, status: int = 0, code: str = "", retry_after: float | None = None, refused: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code = message, status, code
        self.retry_after, self.connection_refused = retry_after, refused


class Stream(Protocol):
    """An answer under way; ``close`` may be called from another thread."""

    def close(self) -> None: ...


class Client(Protocol):
    dialect: Dialect
    """The one that worked last; every call starts with it."""

    def open(self, system: str, user: str, dialect: Dialect, seconds: float, form: Form | None = None) -> Stream:
        """Ask, and return when the answer begins; it is JSON of this ``form``, where the server can see to it.

        Raises: Fault.
        """

    def read(self, stream: Any) -> Iterator[Piece]:
        """The pieces of an open stream, until it ends. Raises: Fault."""

    def other(self, fault: Fault, dialect: Dialect) -> Dialect | None:
        """Another way to put a request that a server refused a part of, if there is one."""


def open_client(part: LanguageModel, base_url: str, key: str, *, loopback: bool) -> Client:
    return (OpenAIClient if part.kind == "openai" else AnthropicClient)(part, base_url, key, loopback=loopback)


class OpenAIClient:
    """Chat completions, streamed, of OpenAI or of a server that speaks the same protocol.

    Servers differ in three things, which are tried the usual way first: ``stream_options`` (some refuse it: the
    tokens are then estimated), the name of the output limit (``max_completion_tokens`` at OpenAI, ``max_tokens``
    elsewhere), and whether they stream at all.
    """

    def __init__(self, part: LanguageModel, base_url: str, key: str, *, loopback: bool) -> None:
        import httpx2
        import openai

        self._part = part
        if httpx2.URL(base_url).host == "api.openai.com":
            self.dialect = Dialect("max_completion_tokens", HIDDEN_TOKENS if _THINKS.match(part.model) else 0)
        else:
            self.dialect = Dialect()
        # A proxy that the environment names for the world must not stand between this machine and itself.
        http = openai.DefaultHttpxClient(trust_env=False) if loopback else None
        self._sdk: openai.OpenAI = openai.OpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=http)
        weakref.finalize(self, self._sdk.close)

    def open(
        self, system: str, user: str, dialect: Dialect, seconds: float, form: Form | None = None
    ) -> openai.Stream[Any]:
        import httpx2
        import openai

        part = self._part
        body: dict[str, Any] = {dialect.limit: part.max_output_tokens + dialect.hidden}
        if part.temperature is not None:
            body["temperature"] = part.temperature
        if dialect.usage:
            body["stream_options"] = {"include_usage": True}
        if form is not None and dialect.forms:
            schema = {"name": "answer", "strict": True, "schema": form}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        try:
            return self._sdk.chat.completions.create(
                model=part.model,
                messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
                stream=True,
                extra_body=body,
                timeout=httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            )
        except (openai.APIError, httpx2.HTTPError, OSError) as error:
            raise _fault(error) from error

    def read(self, stream: openai.Stream[Any]) -> Iterator[Piece]:
        import httpx2
        import openai

        try:
            if _is_json(stream.response):
                yield from self._whole(_object(stream.response.read()))
                return
            for chunk in stream:
                yield from self._pieces(chunk)
        except (openai.APIError, httpx2.HTTPError, httpx2.StreamError, OSError, ValueError) as error:
            raise _fault(error) from error

    def _pieces(self, chunk: object) -> Iterator[Piece]:
        """SDK objects are built without checking: a server may leave anything out, or send something else."""
        for choice in _list(getattr(chunk, "choices", None)):
            delta = getattr(choice, "delta", None)
            yield Piece(
                text=_text(getattr(delta, "content", None)),
                refusal=_text(getattr(delta, "refusal", None)),
                ending=_openai_ending(getattr(choice, "finish_reason", None)),
            )
        yield self._counted(getattr(chunk, "usage", None))

    def _whole(self, body: object) -> Iterator[Piece]:
        """One JSON object in place of a stream, from a server that does not stream."""
        for choice in _list(getattr(body, "choices", None)):
            message = getattr(choice, "message", None)
            yield Piece(
                text=_text(getattr(message, "content", None)),
                refusal=_text(getattr(message, "refusal", None)),
                ending=_openai_ending(getattr(choice, "finish_reason", None)),
            )
        yield self._counted(getattr(body, "usage", None))

    def _counted(self, usage: object) -> Piece:
        return Piece(
            input_tokens=_count(getattr(usage, "prompt_tokens", None)),
            output_tokens=_count(getattr(usage, "completion_tokens", None)),
        )

    def other(self, fault: Fault, dialect: Dialect) -> Dialect | None:
        if fault.status not in (400, 422):
            return None
        if "stream_options" in fault.message and dialect.usage:
            return replace(dialect, usage=False)
        if re.search("response_format|json_schema", fault.message) and dialect.forms:
            return replace(dialect, forms=False)
        # Only where the limit's name is refused, not its value.
        if re.search("max_(?:completion_)?tokens", fault.message) and _NAME_REFUSED.search(fault.message):
            if dialect.limit == "max_tokens":
                return replace(dialect, limit="max_completion_tokens", hidden=HIDDEN_TOKENS)
            return replace(dialect, limit="max_tokens", hidden=0)
        return None


class AnthropicClient:
    """Messages, streamed, of Anthropic or of a server that speaks the same protocol.

    Thinking is switched off; a model that cannot do without gets ``HIDDEN_TOKENS`` more.
    """

    def __init__(self, part: LanguageModel, base_url: str, key: str, *, loopback: bool) -> None:
        import anthropic

        self._part = part
        self.dialect = Dialect()
        http = anthropic.DefaultHttpxClient(trust_env=False) if loopback else None
        self._sdk = anthropic.Anthropic(api_key=key, base_url=base_url, max_retries=0, http_client=http)
        weakref.finalize(self, self._sdk.close)

    def open(
        self, system: str, user: str, dialect: Dialect, seconds: float, form: Form | None = None
    ) -> anthropic.Stream[Any]:
        import anthropic
        import httpx2

        part = self._part
        body: dict[str, Any] = {} if dialect.thinks else {"thinking": {"type": "disabled"}}
        if part.temperature is not None:
            body["temperature"] = part.temperature  # the SDK has no argument for it any more
        if form is not None and dialect.forms:
            body["output_config"] = {"format": {"type": "json_schema", "schema": form}}
        try:
            return self._sdk.messages.create(
                model=part.model,
                system=system,
                messages=[{"role": "user", "content": user}],
                max_tokens=part.max_output_tokens + dialect.hidden,
                stream=True,
                extra_body=body,
                timeout=httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            )
        except (anthropic.APIError, httpx2.HTTPError, OSError) as error:
            raise _fault(error) from error

    def read(self, stream: anthropic.Stream[Any]) -> Iterator[Piece]:
        import anthropic
        import httpx2

        try:
            if _is_json(stream.response):
                yield from self._whole(_object(stream.response.read()))
                return
            for event in stream:
                yield from self._pieces(event)
        except (anthropic.APIError, httpx2.HTTPError, httpx2.StreamError, OSError, ValueError) as error:
            raise _fault(error) from error

    def _pieces(self, event: object) -> Iterator[Piece]:
        kind = getattr(event, "type", None)
        delta = getattr(event, "delta", None)
        if kind == "content_block_start":
            yield Piece(text=_text(getattr(getattr(event, "content_block", None), "text", None)))
        elif kind == "content_block_delta" and getattr(delta, "type", None) == "text_delta":
            yield Piece(text=_text(getattr(delta, "text", None)))
        elif kind == "message_start":
            yield self._counted(getattr(getattr(event, "message", None), "usage", None))
        elif kind == "message_delta":
            yield self._ended(getattr(delta, "stop_reason", None), getattr(delta, "stop_details", None))
            yield self._counted(getattr(event, "usage", None))

    def _whole(self, message: object) -> Iterator[Piece]:
        for block in _list(getattr(message, "content", None)):
            yield Piece(text=_text(getattr(block, "text", None)))
        yield self._ended(getattr(message, "stop_reason", None), getattr(message, "stop_details", None))
        yield self._counted(getattr(message, "usage", None))

    def _ended(self, reason: object, details: object) -> Piece:
        endings: dict[object, Ending] = {
            "end_turn": "stop",
            "stop_sequence": "stop",
            "max_tokens": "length",
            "model_context_window_exceeded": "window",
            "refusal": "refused",
        }
        refusal = _text(getattr(details, "explanation", None)) if reason == "refusal" else ""
        return Piece(refusal=refusal, ending=endings.get(reason, "stop") if reason else None)

    def _counted(self, usage: object) -> Piece:
        names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        counts = [_count(getattr(usage, name, None)) for name in names]
        return Piece(
            input_tokens=sum(count or 0 for count in counts) if counts[0] is not None else None,
            output_tokens=_count(getattr(usage, "output_tokens", None)),
        )

    def other(self, fault: Fault, dialect: Dialect) -> Dialect | None:
        if fault.status in (400, 422) and "thinking" in fault.message and not dialect.thinks:
            return replace(dialect, hidden=HIDDEN_TOKENS, thinks=True)
        if fault.status in (400, 422) and re.search("output_config|format", fault.message) and dialect.forms:
            return replace(dialect, forms=False)
        return None


def _openai_ending(reason: object) -> Ending | None:
    endings: dict[object, Ending] = {"length": "length", "content_filter": "refused"}
    return endings.get(reason, "stop") if reason else None


def _object(body: bytes) -> object:
    """A JSON body with its fields as attributes, as the SDKs' own objects have them.

    Raises:
        Fault: it is an error, or no JSON.
    """
    try:
        value = json.loads(body)
        if isinstance(value, dict) and value.get("error"):
            message, status, code = _said(value)
            raise Fault(message, status=status, code=code)
        return json.loads(body, object_hook=lambda fields: SimpleNamespace(**fields))
    except ValueError as error:
        raise Fault(f"answered with broken JSON: {error}") from None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _is_json(response: httpx2.Response) -> bool:
    """Whether one JSON object came in place of a stream; a web page in its place is no model's answer.

    Raises:
        Fault: neither a stream nor JSON.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/html":
        raise Fault("answered with a web page", status=404)
    return kind == "application/json"


_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "server_error": 500,
    "rate_limit_exceeded": 429,
}
"""Errors inside a stream, whose HTTP status was 200, by Anthropic's and OpenAI's names."""


def _fault(error: Exception) -> Fault:
    """Both SDKs raise the same tree of errors, under the same names."""
    import httpx2

    message, status, code = _said(getattr(error, "body", None))
    response = getattr(error, "response", None)
    if getattr(error, "status_code", 200) != 200:
        status = getattr(error, "status_code", 0)
    if not message:
        cause = error.__cause__ or error
        message = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
    return Fault(
        message,
        status=status,
        code=code,
        retry_after=_retry_after(response.headers) if response is not None else None,
        refused=isinstance(error.__cause__ or error, httpx2.ConnectError),
    )


def _said(body: object) -> tuple[str, int, str]:
    """The message, the status and the code in the body of an error, whoever's it is."""
    if not isinstance(body, Mapping):
        return str(body or "")[:300], 0, ""
    inner = body.get("error", body)
    if not isinstance(inner, Mapping):
        return str(inner)[:300], 0, ""
    code, kind = str(inner.get("code") or ""), str(inner.get("type") or "")
    # Gateways pass a status on as the code.
    status = int(code) if code in ("400", "401", "402", "403", "404", "408", "413", "429") else 0
    status = status or (500 if code.startswith("5") else 0) or _STATUS.get(code, 0) or _STATUS.get(kind, 0)
    message = inner.get("message") or inner.get("detail") or ""
    return str(message)[:300], status, code or kind


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to be left alone for."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except ValueError:
        return None
