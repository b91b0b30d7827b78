"""A server that callbacks are sent to: it notes all, and behaves badly on command."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Received", "Receiver"]

HOSTS = "127.0.0.0/8"
"""Each of these addresses is a host of its own to a sender."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    host: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """Answers 200, or what `answers` has for a path: statuses one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: dict[str, list[int]] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.slow: dict[str, float] = {}
        self.under_way: Counter[str] = Counter()
        self.most_at_once = 0
        self.most_a_host: Counter[str] = Counter()
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("0.0.0.0", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        """What came to a path, in order."""
        return [request for request in self.received if request.path == path]

    def wait_for(self, path: str, count: int, timeout: float = 15, process: Any = None) -> list[Received]:
        """What came to a path, once it is so many."""
        wait_until(
            lambda: len(self.at(path)) >= count,
            timeout,
            lambda: f"{len(self.at(path))} of {count} callbacks came to {path}",
            process,
        )
        return self.at(path)

    def answer(self, request: Received) -> tuple[int, dict[str, str]]:
        """Note a request, take the time that its path takes, and say what it is answered."""
        with self._lock:
            self.received.append(request)
            statuses = self.answers.get(request.path, [200])
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        with self._counted(request.host):
            self.released.wait(self.slow.get(request.path, 0))
        return status, self.headers.get(request.path, {})

    @contextmanager
    def _counted(self, host: str) -> Iterator[None]:
        with self._lock:
            self.under_way[host] += 1
            self.most_at_once = max(self.most_at_once, self.under_way.total())
            self.most_a_host[host] = max(self.most_a_host[host], self.under_way[host])
        try:
            yield
        finally:
            with self._lock:
                self.under_way[host] -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that goes away is no error of ours."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            host = self.headers.get("host", "").partition(":")[0]
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more = receiver.answer(Received(self.path, host, headers, body))
            with suppress(OSError):
                self.send_response(status)
                for name, value in {"content-length": "0", **more}.items():
                    self.send_header(name, value)
                self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def every(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition holds all the while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not condition():
            return False
        time.sleep(0.02)
    return True
