"""A language model's server on 127.0.0.1 that says what a test tells it to, in its provider's real protocol.

It stands where a paid service would: OpenAI's ``POST /v1/chat/completions`` and Anthropic's ``POST /v1/messages``, both
streamed as server-sent events in chunked HTTP/1.1, with the events, fields and errors that the providers document. The
official SDKs talk to it unchanged. Every request is kept in ``requests``.

    with ModelServer("openai") as server:
        server.will(Fail(429, headers={"Retry-After": "0"}), Say("Ten days [1]."))
        openai.OpenAI(base_url=server.base_url, api_key="any")
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Protocol = Literal["openai", "anthropic"]


@dataclass(frozen=True)
class Say:
    """An answer. ``ending``: stop, length or refused. ``cut``: the stream ends, properly or by a broken connection,
    when the text is out but not its ending. ``pings``: then signs of life for ever, and no ending."""

    text: str
    ending: Literal["stop", "length", "refused"] = "stop"
    refusal: str = ""
    usage: tuple[int, int] | None = (321, 12)
    cut: Literal["", "properly", "broken"] = ""
    pings: bool = False
    stream: bool = True
    goodbye: bool = True


@dataclass(frozen=True)
class Fail:
    """An error with the provider's body. ``inside``: sent as an event of a stream that began with status 200."""

    status: int
    message: str = "something went wrong"
    code: str | None = None
    kind: str = "api_error"
    headers: dict[str, str] = field(default_factory=dict)
    inside: bool = False


@dataclass(frozen=True)
class Raw:
    """Bytes of the test's own."""

    body: bytes
    content_type: str = "text/event-stream"
    status: int = 200


@dataclass(frozen=True)
class Silence:
    """Accept the request and never answer."""


Reply = Say | Fail | Raw | Silence
Answering = Callable[["Request"], Reply]
"""A server that reads what it is asked."""


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def system(self) -> str:
        if "system" in self.body:
            return str(self.body["system"])
        return str(self.body["messages"][0]["content"])

    @property
    def user(self) -> str:
        return str(self.body["messages"][-1]["content"])


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


NO_ANSWERS = (
    (Say(""), "the model wrote nothing"),
    (Say("I would rather not."), "the answer is no such JSON"),
    (Say("[" * 100_000 + "{}"), "the answer is no such JSON"),
    (Say("", ending="refused", refusal="not that"), "the model refused"),
    (Say('{"que', cut="broken"), "the model did not answer"),
    (Fail(429, "slow down"), "the model did not answer"),
    (Fail(500), "the model did not answer"),
    (Fail(401, "no"), "the key was refused"),
    (Raw(b"\xff\xfe not http at all"), "the model did not answer"),
)
"""What a server says in place of JSON, and what the trace of a question then tells of the stage that asked for it."""


class ModelServer:
    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.requests: list[Request] = []
        self.left = threading.Event()  # set when a client went away before the end
        self._replies: list[Reply | Answering] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = _Http(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def base_url(self) -> str:
        host = f"http://127.0.0.1:{self._http.server_port}"
        return f"{host}/v1" if self.protocol == "openai" else host

    def will(self, *replies: Reply | Answering) -> None:
        """Give these replies, one a request; the last one again and again."""
        self._replies = list(replies)

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, http: BaseHTTPRequestHandler) -> None:
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        with self._lock:
            request = Request(http.path, {k.lower(): v for k, v in http.headers.items()}, body)
            self.requests.append(request)
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if not isinstance(reply, Reply):
            reply = reply(request)
        expected = "/v1/chat/completions" if self.protocol == "openai" else "/v1/messages"
        if http.path != expected:
            reply = Fail(404, f"no route {http.path}", kind="not_found_error")
        try:
            if isinstance(reply, Silence):
                self._closing.wait(30)
                http.close_connection = True
            elif isinstance(reply, Raw):
                self._send(http, reply.status, reply.body, reply.content_type)
            elif isinstance(reply, Fail) and not reply.inside:
                self._send(http, reply.status, json.dumps(self._error(reply)).encode(), headers=reply.headers)
            elif isinstance(reply, Say) and not reply.stream:
                self._send(http, 200, json.dumps(self._whole(reply)).encode())
            else:
                self._stream(http, reply)
        except (BrokenPipeError, ConnectionResetError):
            self.left.set()
            http.close_connection = True

    def _send(
        self,
        http: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        http.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}.items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(body)

    def _stream(self, http: BaseHTTPRequestHandler, reply: Say | Fail) -> None:
        http.send_response(200)
        http.send_header("Content-Type", "text/event-stream; charset=utf-8")
        http.send_header("Transfer-Encoding", "chunked")
        http.end_headers()

        def send(event: str) -> None:
            data = event.encode()
            http.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            http.wfile.flush()

        events = self._openai(reply) if self.protocol == "openai" else self._anthropic(reply)
        for event in events:
            send(event)
        if isinstance(reply, Say) and reply.pings:
            while not self._closing.wait(0.02):
                send(": ping\n\n" if self.protocol == "openai" else 'event: ping\ndata: {"type": "ping"}\n\n')
        if isinstance(reply, Say) and reply.cut == "broken":
            http.close_connection = True
            return
        http.wfile.write(b"0\r\n\r\n")

    def _openai(self, reply: Say | Fail) -> Iterator[str]:
        def chunk(choices: list[dict[str, Any]], **more: Any) -> str:
            body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-2026"}
            return f"data: {json.dumps({**body, 'choices': choices, **more})}\n\n"

        def choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
            return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

        yield chunk(choice({"role": "assistant", "content": "", "refusal": None}))
        if isinstance(reply, Fail):
            yield f"data: {json.dumps(self._error(reply))}\n\n"
            return
        for piece in _pieces(reply.text):
            yield chunk(choice({"content": piece}))
        if reply.cut or reply.pings:
            return
        if reply.refusal:
            yield chunk(choice({"refusal": reply.refusal}))
        finish = {"stop": "stop", "length": "length", "refused": "content_filter"}[reply.ending]
        yield chunk(choice({}, "stop" if reply.refusal else finish))
        if reply.usage:
            sent, written = reply.usage
            usage = {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written}
            yield chunk([], usage=usage)
        if reply.goodbye:
            yield "data: [DONE]\n\n"

    def _anthropic(self, reply: Say | Fail) -> Iterator[str]:
        def event(kind: str, **fields: Any) -> str:
            return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"

        usage = reply.usage if isinstance(reply, Say) else None
        message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
        message |= {"stop_reason": None, "stop_sequence": None}
        if usage:
            message["usage"] = {"input_tokens": usage[0], "output_tokens": 1}
        yield event("message_start", message=message)
        yield event("ping")
        if isinstance(reply, Fail):
            yield f"event: error\ndata: {json.dumps(self._error(reply))}\n\n"
            return
        yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for piece in _pieces(reply.text):
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        if reply.cut or reply.pings:
            return
        yield event("content_block_stop", index=0)
        delta: dict[str, Any] = {"stop_reason": self._stop_reason(reply), "stop_sequence": None}
        if reply.refusal:
            delta["stop_details"] = {"type": "refusal", "category": None, "explanation": reply.refusal}
        yield event("message_delta", delta=delta, **({"usage": {"output_tokens": usage[1]}} if usage else {}))
        if reply.goodbye:
            yield event("message_stop")

    def _stop_reason(self, reply: Say) -> str:
        if reply.refusal:
            return "refusal"
        return {"stop": "end_turn", "length": "max_tokens", "refused": "refusal"}[reply.ending]

    def _whole(self, reply: Say) -> dict[str, Any]:
        sent, written = reply.usage or (0, 0)
        if self.protocol == "anthropic":
            return {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [{"type": "text", "text": reply.text}],
                "stop_reason": self._stop_reason(reply),
                "usage": {"input_tokens": sent, "output_tokens": written},
            }
        message = {"role": "assistant", "content": reply.text, "refusal": reply.refusal or None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written},
        }

    def _error(self, fail: Fail) -> dict[str, Any]:
        if self.protocol == "anthropic":
            return {"type": "error", "error": {"type": fail.kind, "message": fail.message}, "request_id": "req_1"}
        return {"error": {"message": fail.message, "type": fail.kind, "param": None, "code": fail.code}}


def _pieces(text: str) -> list[str]:
    """As models stream: a few characters a time, words and markers broken anywhere."""
    return [text[i : i + 5] for i in range(0, len(text), 5)]
