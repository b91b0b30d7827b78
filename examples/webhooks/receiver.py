"""A receiver, as its owner would write one: it believes what is signed and acts on each event once.

And it misbehaves on command: `PUT /path` with `500 503:2 hang 410 200` says how the next requests to a path are
answered, one after the other, the last again and again; `503:2` asks to come back in 2 seconds. `GET /path` shows what
came.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import celery_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Received", "Receiver"]

LONGEST_HANG = 300.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request that was signed as it should be, and what it was answered."""

    webhook_id: str
    event_id: str
    answer: str


class Receiver(ThreadingHTTPServer):
    """A server on 127.0.0.1. `secrets`: what senders sign with; `port`: 0 is any that is free."""

    block_on_close = False

    def __init__(self, secrets: Sequence[str], port: int = 0) -> None:
        self.secrets = secrets
        self.requests: dict[str, list[Received]] = {}
        self.events: dict[str, dict[str, Any]] = {}
        """What was acted on, by path and by the event's id."""
        self.closed = threading.Event()
        self._answers: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def behave(self, path: str, *answers: str) -> None:
        """Answer the next requests so; the last answer stays."""
        self._answers[path] = list(answers)

    def take(self, path: str, webhook_id: str, event: dict[str, Any]) -> str:
        """Note a request; gives its answer."""
        with self._lock:
            answers = self._answers.get(path) or ["200"]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.requests.setdefault(path, []).append(Received(webhook_id, event["id"], answer))
            if answer == "200":
                self.events.setdefault(path, {}).setdefault(event["id"], event)  # the same again changes nothing
        return answer

    def server_close(self) -> None:
        self.closed.set()
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self._body()
        try:
            event = celery_jobs.verify_callback(self.headers, body, self.server.secrets)
        except celery_jobs.InvalidSignature as error:
            return self._answer(401, str(error))
        answer = self.server.take(self.path, self.headers["webhook-id"], event)
        if answer == "hang":
            self.server.closed.wait(LONGEST_HANG)
            return None
        status, _, retry_after = answer.partition(":")
        return self._answer(int(status), **({"Retry-After": retry_after} if retry_after else {}))

    def do_PUT(self) -> None:
        self.server.behave(self.path, *self._body().decode().split())
        self._answer(204)

    def do_GET(self) -> None:
        self._answer(200, json.dumps([asdict(received) for received in self.server.requests.get(self.path, [])]))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, text: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass
