"""The client: which destinations are allowed, what TLS is spoken, and the connections that are kept."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from socket import getaddrinfo
from typing import TYPE_CHECKING, Self

import httpcore
import httpx

from celery_jobs.outgoing.deadline import Deadline
from celery_jobs.outgoing.machine import Machine
from celery_jobs.outgoing.network import CheckedNetwork, Lookups, Resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.addresses import AddressPolicy, Destination

__all__ = ["IDLE_SECONDS", "Client", "Line", "make_client"]

IDLE_SECONDS = 2.0
"""A connection that is not used for so long is closed: before usual servers do (5 s), since a request that meets their
close on its way is lost, and a callback has one try."""
LEAST_LOOKUPS = 16


@dataclass
class Line:
    """A connection and the deadline of whatever it is doing."""

    destination: Destination
    connection: httpcore.HTTPConnection
    deadline: Deadline
    done: bool = False
    """Whether the last answer was read to its end, so that the connection can be used again."""

    def finish(self, response: httpcore.Response) -> None:
        """Note that the answer was read to its end, unless the server has said more than that.

        Bytes beyond the length that it gave would be taken for the answer to the next request. httpcore keeps them
        where only a private name leads; without it no connection is used twice.
        """
        h11 = getattr(getattr(self.connection, "_connection", None), "_h11_state", None)
        is_clean = h11 is not None and not h11.trailing_data[0]
        self.done = is_clean or response.extensions.get("http_version") == b"HTTP/2"

    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        kept = self.connection
        return self.done and kept.is_available() and kept.is_idle() and not (kept.is_closed() or kept.has_expired())


class Client:
    """Makes requests with `fetch`; keeps connections for a moment, each for one request at a time.

    Nothing else is kept: no cookies, no credentials, nothing of the environment. A connection of HTTP/2 is not shared
    by requests either: one that waits for another's answer could not keep its own deadline. Safe in threads; a process
    that forks makes its client after the fork.
    """

    def __init__(self, policy: AddressPolicy, tls: ssl.SSLContext, http2: bool, most: int, machine: Machine) -> None:
        self.policy = policy
        self.machine = machine
        self._tls = tls
        self._http2 = http2
        self._most = most
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._closed = False

    @contextmanager
    def line(self, destination: Destination, until: float) -> Iterator[Line]:
        """A connection for one request, from those kept or a new one, until the machine's monotonic `until`.

        Raises httpx.PoolTimeout when all stay in use until then. What is done on it may raise anything; it is kept only
        if `done` was set.
        """
        if self._closed:
            raise RuntimeError("the client is closed")
        if not self._places.acquire(timeout=max(0.0, until - self.machine.monotonic())):
            raise httpx.PoolTimeout("all connections are in use")
        try:
            line = self._kept(destination) or self._new(destination)
            line.deadline.until, line.done = until, False
            try:
                yield line
            finally:
                self._give_back(line)
        finally:
            self._places.release()

    def _kept(self, destination: Destination) -> Line | None:
        while True:
            with self._lock:
                fitting = (line for line in reversed(self._idle) if line.destination.origin == destination.origin)
                line = next(fitting, None)
                if line is None:
                    return None
                self._idle.remove(line)
            if line.is_usable():
                return line
            line.connection.close()

    def _new(self, destination: Destination) -> Line:
        deadline = Deadline(0.0, self.machine.monotonic)
        scheme, host, port = destination.origin
        connection = httpcore.HTTPConnection(
            httpcore.Origin(scheme.encode(), host.encode(), port),
            ssl_context=self._tls,
            keepalive_expiry=IDLE_SECONDS,
            http2=self._http2,
            network_backend=CheckedNetwork(destination, self.policy, self.machine, deadline),
        )
        return Line(destination, connection, deadline)

    def _give_back(self, line: Line) -> None:
        with self._lock:
            kept = line.is_usable() and not self._closed
            if kept:
                self._idle.append(line)
            spare = [old for old in self._idle if old.connection.has_expired()] or self._idle[: -self._most]
            self._idle = [old for old in self._idle if old not in spare]
        for old in spare if kept else [line, *spare]:
            old.connection.close()

    def close(self) -> None:
        """Close what is kept; what is in use is closed when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for line in idle:
            line.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def make_client(
    policy: AddressPolicy,
    *,
    http2: bool | None = None,
    max_connections: int = 100,
    ca_file: str | None = None,
    resolve: Resolve = getaddrinfo,
) -> Client:
    """A client that reaches only what the policy allows.

    `http2`: speak it where the server does; by default where the `http2` extra is installed. `max_connections`: at
    once; further requests wait. `ca_file`: a PEM file of authorities that are trusted besides the usual ones.
    `resolve`: looks names up. Raises ImportError for `http2=True` without the extra, OSError for a `ca_file` that
    cannot be read.
    """
    if http2 is None:
        http2 = find_spec("h2") is not None
    elif http2 and find_spec("h2") is None:
        raise ImportError("HTTP/2 needs the extra: pip install 'celery-jobs[http2]'")
    tls = _usual_tls(http2) if ca_file is None else _tls(ca_file)
    lookups = Lookups(resolve, max(max_connections, LEAST_LOOKUPS))
    return Client(policy, tls, http2, max_connections, Machine(lookups.addresses))


@cache
def _usual_tls(http2: bool) -> ssl.SSLContext:
    """Reading all authorities takes 0.1 s. One for each kind of client: httpcore writes its protocols into it."""
    return _tls(None)


def _tls(ca_file: str | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context(verify=True, trust_env=False)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
