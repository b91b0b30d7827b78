"""The Internet of a sandbox: every name has one public address, canned responses answer, and nothing is sent."""

from __future__ import annotations

import io
import json
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from celery_jobs.outgoing import Client, Machine, NameNotResolved, TlsFailed
from celery_jobs.testing.responses import Responses

if TYPE_CHECKING:
    from datetime import datetime

    from celery_jobs.addresses import AddressPolicy
    from celery_jobs.outgoing.deadline import Deadline
    from celery_jobs.outgoing.machine import Answer
    from celery_jobs.testing.clock import VirtualClock

__all__ = ["Internet", "SentRequest"]

PUBLIC = "192.0.43.7"
"""What every name resolves to: an address that any policy permits."""


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request as its receiver would get it. `at`: when, on the virtual clock; `url`: percent-encoded.

    `headers` are found by their names in any case: `Webhook-Id` is the id of the run.
    """

    method: str
    url: str
    headers: httpx.Headers
    body: bytes
    at: datetime

    @property
    def json(self) -> Any:
        """The body, read as JSON; raises ValueError where it is none."""
        return json.loads(self.body)


class Internet:
    """What the requests of a sandbox's HTTP jobs reach."""

    def __init__(self, clock: VirtualClock) -> None:
        self.responses = Responses()
        self.requests: list[SentRequest] = []
        """Those that were answered, or met a fault that was given for them."""
        self._clock = clock

    def client(self, policy: AddressPolicy) -> Client:
        """A client that reaches nothing else; it encrypts nothing, so it need trust nobody."""
        machine = Machine(_look_up, lambda _: False, self._connect, self._clock.monotonic)
        return Client(policy, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), http2=False, most=1, machine=machine)

    def _connect(self, family: int, address: tuple[Any, ...], timeout: float, deadline: Deadline) -> _Connection:
        return _Connection(self, address, deadline)

    def answer(self, scheme: str, sent: bytes, deadline: Deadline) -> bytes:
        """The bytes that answer those of a request, when their time has come; raises Unanswered, and faults."""
        request = _read(scheme, sent, self._clock.now)
        response = self.responses.take(request.method, request.url)
        self.requests.append(request)
        left = deadline.left(httpcore.ReadTimeout)
        self._clock.advance(min(response.delay, left))
        if response.delay >= left:
            raise httpcore.ReadTimeout("the deadline of the whole request has passed")
        if response.fault is not None:
            raise _ERRORS[response.fault](f"sandbox.respond gave it fault={response.fault!r}")
        return response.wire


_ERRORS: dict[str, type[Exception]] = {
    "connection_error": httpcore.ConnectError,
    "dns_error": NameNotResolved,
    "ssl_error": TlsFailed,
}
"""What is raised for a fault; a timeout is an endless delay."""


def _look_up(host: str, port: int, deadline: Deadline) -> list[Answer]:
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (PUBLIC, port))]


def _read(scheme: str, sent: bytes, at: datetime) -> SentRequest:
    """A request out of its bytes: httpcore sends no body in chunks."""
    head, _, body = sent.partition(b"\r\n\r\n")
    line, *fields = head.decode("ascii").split("\r\n")
    method, target, _ = line.split(" ")
    headers = httpx.Headers([(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)])
    return SentRequest(method, f"{scheme}://{headers['host']}{target}", headers, body, at)


class _Connection(httpcore.NetworkStream):
    """A connection for one request, which is read when the client waits for its answer."""

    def __init__(self, internet: Internet, address: tuple[Any, ...], deadline: Deadline) -> None:
        self._internet = internet
        self._address = address
        self._deadline = deadline
        self._scheme = "http"
        self._sent = bytearray()
        self._answer: io.BytesIO | None = None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Take what is sent."""
        self._sent += buffer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Give what is answered; raises what `Internet.answer` does."""
        if self._answer is None:
            self._answer = io.BytesIO(self._internet.answer(self._scheme, bytes(self._sent), self._deadline))
        return self._answer.read(max_bytes)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection, and a URL that says https."""
        self._scheme = "https"
        return self

    def close(self) -> None:
        """Nothing is open."""

    def get_extra_info(self, info: str) -> Any:
        """Its peer, and that it is closed after one answer, so that nobody uses it again."""
        return {"server_addr": self._address, "is_readable": True}.get(info)
