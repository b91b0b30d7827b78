"""Connections to the very addresses that were checked, and nothing of them later than the deadline.

httpcore bounds each read and write by itself, so a peer that sends a byte a second would never be cut. Here every wait
ends at the request's one deadline, without signals, in any thread.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  the first look-up of a name would import it, in a thread beside which others fork
import ipaddress
import select
import socket
import ssl
import threading
import time
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import httpcore

from celery_jobs.outgoing.faults import NameNotResolved, TlsFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from celery_jobs.addresses import AddressPolicy, Destination

    Answer = tuple[int, int, int, str, tuple[Any, ...]]

__all__ = ["CheckedNetwork", "Deadline", "Lookups", "Resolve"]

MOST_ADDRESSES = 8
"""Of one name that are tried; a name server may give hundreds."""


class Resolve(Protocol):
    """`socket.getaddrinfo`, or a function like it."""

    def __call__(self, host: str, port: int, /, *, type: int) -> Sequence[Any]:
        """The addresses of a host; raises OSError."""


@dataclass
class Deadline:
    """When everything under way is given up, on the monotonic clock; set anew for each request of a connection."""

    until: float

    def left(self, error: type[httpcore.TimeoutException], timeout: float | None = None) -> float:
        """Seconds, more than 0 and at most `timeout`; raises `error` when none are left."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise error("the deadline of the whole request has passed")
        return left if timeout is None else min(left, timeout)


class Lookups:
    """Look-ups of names, each in a daemon thread of its own: `getaddrinfo` cannot be told to give up."""

    def __init__(self, resolve: Resolve, most: int) -> None:
        self._resolve = resolve
        self._places = threading.BoundedSemaphore(most)

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[Answer]:
        """What the host resolves to; raises NameNotResolved, and httpcore.ConnectTimeout at the deadline."""
        if not self._places.acquire(timeout=deadline.left(httpcore.ConnectTimeout)):
            raise httpcore.ConnectTimeout("too many look-ups of names wait for an answer")
        answer: Future[list[Answer]] = Future()
        try:
            threading.Thread(target=self._look_up, args=(host, port, answer), name="look-up", daemon=True).start()
        except BaseException:
            self._places.release()
            raise
        wait([answer], deadline.left(httpcore.ConnectTimeout))
        if not answer.done():
            raise httpcore.ConnectTimeout("the host's name was not resolved in time")
        return answer.result()

    def _look_up(self, host: str, port: int, answer: Future[list[Answer]]) -> None:
        try:
            found = [one for one in self._resolve(host, port, type=socket.SOCK_STREAM) if one[0] in _FAMILIES]
            answer.set_result(list({one[4][0]: one for one in found}.values()))
        except (OSError, UnicodeError) as error:
            answer.set_exception(NameNotResolved(f"the host's name cannot be resolved: {error}"))
        except BaseException as error:
            answer.set_exception(error)
        finally:
            self._places.release()


_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class CheckedNetwork(httpcore.NetworkBackend):
    """Connects to one destination: resolves it once, checks every address, uses those and no others."""

    def __init__(self, destination: Destination, policy: AddressPolicy, lookups: Lookups, deadline: Deadline) -> None:
        self._destination = destination
        self._policy = policy
        self._lookups = lookups
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers, each with its share of the time that is left.

        Raises BlockedAddress when any of the addresses is not allowed, NameNotResolved, and httpcore's ConnectError and
        ConnectTimeout.
        """
        if (host, port) != (self._destination.host, self._destination.port):
            raise self._policy.refusal(self._destination)
        answers = self._answers()[:MOST_ADDRESSES]
        failed: Exception = NameNotResolved("the host has no address")
        for number, (family, _, _, _, address) in enumerate(answers):
            share = self._deadline.left(httpcore.ConnectTimeout) / (len(answers) - number)
            try:
                return self._connect(family, address, share)
            except TimeoutError:
                failed = httpcore.ConnectTimeout("no connection in time")
            except OSError as error:
                failed = httpcore.ConnectError(str(error))
        raise failed

    def _answers(self) -> list[Answer]:
        destination = self._destination
        if destination.address is not None:
            family = socket.AF_INET6 if ":" in destination.address else socket.AF_INET
            answers: list[Answer] = [(family, socket.SOCK_STREAM, 0, "", (destination.address, destination.port))]
        else:
            answers = self._lookups.addresses(destination.host, destination.port, self._deadline)
        if not all(self._permits(answer[4][0]) for answer in answers):
            raise self._policy.refusal(destination)
        return answers

    def _permits(self, address: str) -> bool:
        """Also not to an address of this machine, whose services trust it, unless it is on the lists."""
        host = self._destination.host
        return self._policy.lists(address, host) or (self._policy.permits(address, host) and not is_own(address))

    def _connect(self, family: int, address: tuple[Any, ...], timeout: float) -> httpcore.NetworkStream:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = sock.getpeername()[0]
            if _bare(peer) != _bare(address[0]) or not self._permits(peer):
                raise self._policy.refusal(self._destination)
        except BaseException:
            sock.close()
            raise
        return BoundedStream(sock, self._deadline)

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> NoReturn:
        """Never: raises BlockedAddress."""
        raise self._policy.refusal(self._destination)


def is_own(address: str) -> bool:
    """Whether this machine has the address: a datagram to it, never sent, would leave from the same address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return _bare(probe.getsockname()[0]) == _bare(address)
    return False


def _bare(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.partition("%")[0])


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
        """What httpcore asks: which protocol was agreed on, and whether an idle connection was closed by its peer."""
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info == "is_readable":
            return self._is_readable()
        return {"socket": self._socket}.get(info)

    def _is_readable(self) -> bool:
        if self._socket.fileno() < 0:
            return True
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
