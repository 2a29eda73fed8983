"""A scripted OpenAI-compatible model server on loopback: streamed chat completions, no more.

The words come from `script`; this file is the protocol, and the gates with which the driver
decides when an answer goes out, so that every interleaving of the run is made, not hoped for.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .journal import Journal
from .script import Message, Part, Script, Seen

MODEL = "scripted-1"
KEY = "scripted-key"
CONTEXT_LENGTH = 200_000
# A model's pace: a streamed answer to a user lasts a moment, as it does with a real one.
WORD_SECONDS = 0.03


class Gates:
    """Named gates: an answer whose gate is held waits until the driver opens it."""

    def __init__(self) -> None:
        self._gates: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._closing = False

    def hold(self, *names: str) -> None:
        """Hold back the answers called `names`."""
        with self._lock:
            for name in names:
                self._gates.setdefault(name, threading.Event())

    def open(self, *names: str) -> None:
        """Let the answers called `names` go."""
        with self._lock:
            gates = [self._gates[name] for name in names if name in self._gates]
        for gate in gates:
            gate.set()

    def open_all(self) -> None:
        """Let everything go: the run ends."""
        with self._lock:
            self._closing = True
            gates = list(self._gates.values())
        for gate in gates:
            gate.set()

    def wait(self, name: str) -> None:
        """Block while `name` is held."""
        with self._lock:
            gate = None if self._closing else self._gates.get(name)
        if gate is not None:
            gate.wait()


class ModelServer:
    """The server, its gates, and what it tells the journal."""

    def __init__(self, script: Script, journal: Journal, failing: frozenset[str]) -> None:
        self.script = script
        self.journal = journal
        self.failing = failing
        self.gates = Gates()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="model-server", daemon=True
        )

    @property
    def base_url(self) -> str:
        """Where the gateway finds the model."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Let every held answer go and stop answering."""
        self.gates.open_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def note(self, seen: Seen) -> None:
        """Write down what was asked, before any gate holds the answer."""
        add = self.journal.add
        match seen.part:
            case Part.CHILD:
                add("child.asked", "", seen.label)
            case Part.REENTRY:
                at = time.monotonic()
                for block in seen.blocks:
                    add("reentry", seen.session, block.delegation, {"block": block}, at)
            case Part.TITLE:
                pass
            case Part.UNKNOWN:
                add("model.unknown", seen.session)
            case _:
                add("turn.asked", seen.session, seen.label, {"part": seen.part.value})
                for label, handle in seen.handles:
                    add("model.dispatched", seen.session, label, {"delegation": handle})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The default of five is too short a queue for a burst of children.
    request_queue_size = 64
    owner: ModelServer

    def handle_error(self, request: object, client_address: object) -> None:
        """An error in this file must not look like one of the gateway."""
        self.owner.journal.add("model.failed", "", repr(sys.exception()))


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the run's own lines are the log."""

    def setup(self) -> None:
        """Send each chunk at once."""
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        """List the one model; anything else does not exist here."""
        if self.path.rstrip("/").endswith("/models"):
            model = {"id": MODEL, "object": "model", "context_length": CONTEXT_LENGTH}
            self._json(200, {"object": "list", "data": [model]})
        else:
            self._json(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        """Answer one chat completion."""
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._json(401, {"error": {"message": "wrong key"}})
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.endswith("/chat/completions"):
            self._json(404, {"error": {"message": "no such path"}})
            return
        request: dict[str, Any] = json.loads(body)
        messages: list[Message] = request.get("messages") or []
        # The gateway may hang up, as it does when it shuts down.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer(messages, stream=bool(request.get("stream")))

    def _answer(self, messages: list[Message], *, stream: bool) -> None:
        owner = self.server.owner
        script, journal, gates = owner.script, owner.journal, owner.gates
        seen = script.read(messages)
        owner.note(seen)
        if seen.part in (Part.CHILD, Part.QUESTION):
            gates.wait(seen.label)
        if seen.part is Part.CHILD and seen.label in owner.failing:
            journal.add("child.refused", "", seen.label)
            # A bad request is not retried, so the child fails at once, as it would with a model
            # that cannot take its prompt.
            message = script.refusal(seen.label)
            self._json(400, {"error": {"message": message, "type": "invalid_request_error"}})
            return
        if seen.part is Part.CHILD:
            text = script.child_answer(seen.label)
            journal.add("child.answered", "", seen.label)
        elif seen.part is Part.QUESTION:
            text = script.answer(seen.label)
        elif seen.part is Part.REENTRY:
            text = script.acknowledgement(seen.blocks)
        elif seen.part is Part.TITLE:
            text = "A run"
        elif seen.part is Part.DISPATCHED:
            text = "They run in the background; each result comes back by itself."
        else:
            text = "" if seen.calls else "I have no line for this."
        calls = [
            {
                "id": f"call_{call.label}_{script.nonce}",
                "type": "function",
                "function": {"name": "delegate_task", "arguments": call.arguments()},
            }
            for call in seen.calls
        ]
        if stream:
            self._stream(text, calls, WORD_SECONDS if seen.part is Part.QUESTION else 0.0)
        else:
            self._json(200, _whole(text, calls))
        if seen.session and not calls:
            began = [label for label, _ in seen.handles]
            for label in [block.label for block in seen.blocks] or began or [seen.label]:
                journal.add("turn.answered", seen.session, label)

    def _json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, text: str, calls: list[dict[str, Any]], pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in _chunks(text, calls):
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.flush()
            if pause:
                time.sleep(pause)
        self.wfile.write(b"data: [DONE]\n\n")


USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def _chunks(text: str, calls: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The answer as a model streams it: role, words, tool calls, end, usage."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for word in text.split(" ") if text else []:
        yield chunk({"content": word + " "})
    for index, call in enumerate(calls):
        yield chunk({"tool_calls": [{"index": index, **call}]})
    yield chunk({}, "tool_calls" if calls else "stop")
    yield {**base, "choices": [], "usage": USAGE}


def _whole(text: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The same answer in one piece, for a request that does not stream."""
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    finish = "tool_calls" if calls else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": USAGE,
    }
