"""Real HTTP servers that misbehave, each on a port of 127.0.0.0/8, and what they saw."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from celery_jobs.addresses import AddressPolicy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    Handler = Callable[["Visit"], None]


LOCAL = AddressPolicy(allowed_addresses=("127.0.0.0/8",))
"""Allows these servers, by their addresses."""


class Visit:
    """One connection to a server."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self.socket = sock
        self.server = server
        self._buffer = b""

    def request(self) -> bytes:
        """The next request, head and body; b"" when the client has gone."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return b""
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        length = int(header(head, "content-length") or 0)
        while len(self._buffer) < length and self._more():
            pass
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        self.server.requests.append(head + b"\r\n\r\n" + body)
        return head

    def _more(self) -> bool:
        came = self.socket.recv(65_536)
        self._buffer += came
        return bool(came)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.server.sent += len(data)

    def is_over(self, timeout: float = 30) -> bool:
        """Wait until the client closes the connection."""
        self.socket.settimeout(timeout)
        with suppress(ConnectionError):
            while self.socket.recv(65_536):
                pass
        return True


class Server:
    """Accepts connections and lets a handler loose on each, in a thread of its own."""

    def __init__(self, handler: Handler, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.handler = handler
        self.requests: list[bytes] = []
        self.visits = 0
        self.sent = 0
        self._tls = tls
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((host, port), backlog=64)
        self.host, self.port = self._listener.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def url_of(self, host: str) -> str:
        """The same with a name for a host."""
        return self.url.replace(self.host, host)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.visits += 1
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError):
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            with sock:
                self.handler(Visit(sock, self))

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def serving(
    handler: Handler, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """A server for the time of a test; `port` 0 takes a free one."""
    with Server(handler, host, port, tls) as server:
        yield server


def header(head: bytes, name: str) -> str | None:
    """A header's value in a request's head."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def answer(body: bytes = b"", status: int = 200, **headers: Any) -> bytes:
    """An answer's bytes; `Content-Length` is right unless it is given, and absent if None."""
    given = {"Content_Length": len(body)} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items() if value is not None)
    return f"HTTP/1.1 {status} Reason\r\n{lines}\r\n".encode() + body


def answers(*given: bytes) -> Handler:
    """Gives each request of each connection the next of these; the last one again and again."""
    left = list(given)

    def handler(visit: Visit) -> None:
        while visit.request():
            visit.send(left.pop(0) if len(left) > 1 else left[0])

    return handler


def redirects(location: str, status: int = 302) -> Handler:
    return answers(answer(status=status, Location=location))


def says_nothing(visit: Visit) -> None:
    visit.is_over()


def hangs_after_headers(visit: Visit) -> None:
    visit.request()
    visit.send(answer(b"", Content_Length=10))
    visit.is_over()


def trickles(pieces: bytes, every: float) -> Handler:
    """One byte at a time; for ever again from the end's last byte."""

    def handler(visit: Visit) -> None:
        visit.request()
        for place in range(10_000):
            visit.send(pieces[place : place + 1] or pieces[-1:])
            time.sleep(every)

    return handler


def reads_nothing(visit: Visit) -> None:
    """Takes the connection and leaves the request where it is."""
    visit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    time.sleep(10)


def resets(visit: Visit) -> None:
    visit.request()
    visit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closes_after(data: bytes) -> Handler:
    def handler(visit: Visit) -> None:
        visit.request()
        visit.send(data)

    return handler


def streams(head: bytes, piece: bytes, times: int) -> Handler:
    """Sends as fast as the client reads."""

    def handler(visit: Visit) -> None:
        visit.request()
        visit.send(head)
        for _ in range(times):
            visit.send(piece)
        visit.is_over()

    return handler


def gzip_bomb(megabytes: int) -> bytes:
    """So many megabytes of zeros, in a thousandth of them."""
    return gzip.compress(bytes(megabytes * 2**20))


@contextmanager
def full_backlog(host: str = "127.0.0.1") -> Iterator[int]:
    """A port where nobody accepts and the queue is full, so that a connection is neither made nor refused."""
    listener = socket.socket()
    waiting = []
    try:
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        yield listener.getsockname()[1]
    finally:
        for sock in (*waiting, listener):
            sock.close()


@contextmanager
def refusing_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that is taken, and refuses."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        yield sock.getsockname()[1]
