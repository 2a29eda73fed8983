"""A model on loopback that says what a delegation needs, and notes when it was asked.

It speaks just enough of the OpenAI protocol. `Delegate A` makes it start `Child A` in the
background; a child answers with `Result of A`; everything else gets a word.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import perf_counter
from typing import Any

KEY = "loopback-key"
NAME = "loopback-1"
_DELEGATE = re.compile(r"Delegate ([\w-]+)")
_CHILD = re.compile(r"Child ([\w-]+)")


@dataclass(frozen=True)
class Request:
    """A request, and when its last byte was there."""

    at: float
    #: `user`, `child`, `tool` or `result`: what the last message is.
    kind: str
    #: Its text.
    text: str
    #: The whole conversation.
    messages: list[dict[str, Any]]

    @property
    def conversation(self) -> str:
        """All that was said."""
        return "\n".join(_text(message.get("content")) for message in self.messages)


class Model:
    """The server; a context manager that serves in between."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        #: Asked for each request before it is answered; may block.
        self.before_answer: Callable[[Request], None] = lambda request: None
        self._answered: list[Request] = []
        self._came = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.model = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def base_url(self) -> str:
        """Where a gateway finds it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Model:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, kind: str, text: str, nth: int = 0) -> Request:
        """The first (or a later) request of the kind whose last message holds the text."""
        return self._wait(self.requests, kind, text, nth)

    def wait_answered(self, kind: str, text: str = "", nth: int = 0) -> Request:
        """The same, of those whose answer has gone out."""
        return self._wait(self._answered, kind, text, nth)

    def _wait(self, among: list[Request], kind: str, text: str, nth: int) -> Request:
        def found() -> list[Request]:
            return [r for r in among if r.kind == kind and text in r.text][nth:]

        with self._came:
            if not self._came.wait_for(found, 60):
                seen = [(request.kind, request.text[:60]) for request in among]
                raise TimeoutError(f"no {kind} with {text!r} among {seen}")
            return found()[0]

    def note_answered(self, request: Request) -> None:
        """Take down that the answer has gone out."""
        with self._came:
            self._answered.append(request)
            self._came.notify_all()

    def answer(self, request: Request) -> tuple[str, str | None]:
        """The answer to a request: a text, and the goal of a delegation to start."""
        with self._came:
            self.requests.append(request)
            self._came.notify_all()
        self.before_answer(request)
        if request.kind == "child":
            return f"Result of {_name(_CHILD, request.text)}", None
        if request.kind == "user" and (name := _name(_DELEGATE, request.text)):
            return "", f"Child {name}"
        return "Noted.", None


def _read(messages: list[dict[str, Any]]) -> Request:
    at = perf_counter()
    text = _text(messages[-1].get("content"))
    first = next((_text(m.get("content")) for m in messages if m.get("role") == "user"), "")
    if messages[-1].get("role") == "tool":
        return Request(at, "tool", text, messages)
    # Behind a question that was never answered, where the process went before the answer came.
    if "[ASYNC DELEGATION " in text:
        return Request(at, "result", text, messages)
    return Request(at, "child" if _CHILD.match(first) else "user", text, messages)


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _name(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    model: Model


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        model = {"id": NAME, "object": "model", "context_length": 200_000}
        self._send("application/json", [json.dumps({"object": "list", "data": [model]})])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        request = _read(body.get("messages") or [])
        text, goal = self.server.model.answer(request)
        calls = [] if goal is None else [_call(goal)]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if body.get("stream"):
                self._send("text/event-stream", _stream(text, calls))
            else:
                message = {"role": "assistant", "content": text or None, "tool_calls": calls}
                choice = {"index": 0, "message": message, "finish_reason": _reason(calls)}
                self._send("application/json", [json.dumps({**_base(), "choices": [choice]})])
        self.server.model.note_answered(request)

    def _send(self, kind: str, parts: Iterator[str] | list[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write("".join(parts).encode())


def _call(goal: str) -> dict[str, Any]:
    arguments = json.dumps({"goal": goal, "background": True})
    function = {"name": "delegate_task", "arguments": arguments}
    return {"id": f"call_{goal.replace(' ', '_')}", "type": "function", "function": function}


def _reason(calls: list[dict[str, Any]]) -> str:
    return "tool_calls" if calls else "stop"


def _base() -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": NAME, "usage": usage}


def _stream(text: str, calls: list[dict[str, Any]]) -> Iterator[str]:
    base = {**_base(), "object": "chat.completion.chunk"}
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": text}, None)
    ]
    if calls:
        indexed = [{"index": number, **call} for number, call in enumerate(calls)]
        deltas.append(({"tool_calls": indexed}, None))
    deltas.append(({}, _reason(calls)))
    for delta, reason in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield f"data: {json.dumps({**base, 'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"
