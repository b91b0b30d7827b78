"""Connections to the very addresses that were checked."""

from __future__ import annotations

import encodings.idna  # noqa: F401  the first look-up of a name would import it, in a thread beside which others fork
import socket
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import httpcore

from celery_jobs.outgoing.faults import NameNotResolved
from celery_jobs.outgoing.machine import bare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from celery_jobs.addresses import AddressPolicy, Destination
    from celery_jobs.outgoing.deadline import Deadline
    from celery_jobs.outgoing.machine import Answer, Machine

__all__ = ["CheckedNetwork", "Lookups", "Resolve"]

MOST_ADDRESSES = 8
"""Of one name that are tried; a name server may give hundreds."""


class Resolve(Protocol):
    """`socket.getaddrinfo`, or a function like it."""

    def __call__(self, host: str, port: int, /, *, type: int) -> Sequence[Any]:
        """The addresses of a host; raises OSError."""


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

    def __init__(self, destination: Destination, policy: AddressPolicy, machine: Machine, deadline: Deadline) -> None:
        self._destination = destination
        self._policy = policy
        self._machine = machine
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
            answers = self._machine.look_up(destination.host, destination.port, self._deadline)
        if not all(self._permits(answer[4][0]) for answer in answers):
            raise self._policy.refusal(destination)
        return answers

    def _permits(self, address: str) -> bool:
        """Also not to an address of this machine, whose services trust it, unless it is on the lists."""
        host = self._destination.host
        if self._policy.lists(address, host):
            return True
        return self._policy.permits(address, host) and not self._machine.is_own(address)

    def _connect(self, family: int, address: tuple[Any, ...], timeout: float) -> httpcore.NetworkStream:
        stream = self._machine.connect(family, address, timeout, self._deadline)
        try:
            peer = stream.get_extra_info("server_addr")[0]
            if bare(peer) != bare(address[0]) or not self._permits(peer):
                raise self._policy.refusal(self._destination)
        except BaseException:
            stream.close()
            raise
        return stream

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> NoReturn:
        """Never: raises BlockedAddress."""
        raise self._policy.refusal(self._destination)
