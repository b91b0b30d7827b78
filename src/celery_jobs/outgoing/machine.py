"""What a client has of the machine that it runs on: look-ups, connections, a clock. A sandbox gives it another."""

from __future__ import annotations

import ipaddress
import select
import socket
import ssl
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import httpcore

from celery_jobs.outgoing.faults import TlsFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.outgoing.deadline import Deadline

    Answer = tuple[int, int, int, str, tuple[Any, ...]]
    """An address in the form of `getaddrinfo`."""

__all__ = ["Answer", "Machine", "bare", "is_own"]


class LookUp(Protocol):
    """`Lookups.addresses`, or a function like it."""

    def __call__(self, host: str, port: int, deadline: Deadline, /) -> list[Answer]:
        """What the host resolves to; raises NameNotResolved, and httpcore.ConnectTimeout at the deadline."""


class Connect(Protocol):
    """`connect`, or a function like it."""

    def __call__(
        self, family: int, address: tuple[Any, ...], timeout: float, deadline: Deadline, /
    ) -> httpcore.NetworkStream:
        """A connection that knows its peer as `server_addr`; raises OSError, TimeoutError after `timeout` seconds."""


def is_own(address: str) -> bool:
    """Whether this machine has the address: a datagram to it, never sent, would leave from the same address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return bare(probe.getsockname()[0]) == bare(address)
    return False


def bare(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address without its zone."""
    return ipaddress.ip_address(address.partition("%")[0])


def connect(family: int, address: tuple[Any, ...], timeout: float, deadline: Deadline) -> BoundedStream:
    """A connection to an address; raises OSError, TimeoutError after `timeout` seconds."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return BoundedStream(sock, deadline)


class BoundedStream(httpcore.NetworkStream):
    """A connection each of whose waits ends at the deadline at the latest."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._socket = sock
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has arrived; raises httpcore's ReadTimeout and ReadError, and TlsFailed."""
        with _errors(httpcore.ReadTimeout, httpcore.ReadError):
            self._socket.settimeout(self._deadline.left(httpcore.ReadTimeout, timeout))
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send it all; raises httpcore's WriteTimeout and WriteError, and TlsFailed."""
        view = memoryview(buffer)
        with _errors(httpcore.WriteTimeout, httpcore.WriteError):
            while view:
                self._socket.settimeout(self._deadline.left(httpcore.WriteTimeout, timeout))
                view = view[self._socket.send(view) :]

    def close(self) -> None:
        """Close the connection without waiting for the peer."""
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection, encrypted; raises TlsFailed, and httpcore's ConnectTimeout and ConnectError."""
        try:
            with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
                self._socket.settimeout(self._deadline.left(httpcore.ConnectTimeout, timeout))
                encrypted = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return BoundedStream(encrypted, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Which protocol was agreed on, whether an idle connection was closed by its peer, and where that is."""
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info == "is_readable":
            return self._is_readable()
        if info == "server_addr":
            return self._socket.getpeername()
        return {"socket": self._socket}.get(info)

    def _is_readable(self) -> bool:
        if self._socket.fileno() < 0:
            return True
        if not hasattr(select, "poll"):  # on Windows, and where eventlet has taken it out
            return bool(select.select([self._socket], [], [], 0)[0])
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


@contextmanager
def _errors(timeout: type[httpcore.TimeoutException], otherwise: type[httpcore.NetworkError]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout("the deadline of the whole request has passed") from error
    except ssl.SSLError as error:
        raise TlsFailed(_plainly(error)) from error
    except OSError as error:
        raise otherwise(str(error)) from error


def _plainly(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message}"
    return f"TLS failed: {error.reason or error}"


@dataclass(frozen=True)
class Machine:
    """A machine: its look-ups of names, its own addresses, its connections, its monotonic clock."""

    look_up: LookUp
    is_own: Callable[[str], bool] = is_own
    connect: Connect = connect
    monotonic: Callable[[], float] = time.monotonic
