"""A real DNS server whose answers the test chooses, and a resolver in getaddrinfo's form that asks it."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.message
import dns.rdatatype
import dns.resolver
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEVER = "never"


class NameServer:
    """Knows names; counts the questions for each."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._records: dict[str, Callable[[int], list[str] | str]] = {}
        self.questions: Counter[tuple[str, str]] = Counter()
        self.look_ups: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def knows(self, name: str, *addresses: str) -> None:
        """It has these addresses, IPv4 and IPv6."""
        self._records[name] = lambda _: list(addresses)

    def changes(self, name: str, *answers: str) -> None:
        """Its first answer is the first address, its second the second; the last one is given for ever."""
        self._records[name] = lambda asked: [answers[min(asked, len(answers)) - 1]]

    def points(self, name: str, to: str) -> None:
        """A CNAME."""
        self._records[name] = lambda _: to

    def never_answers(self, name: str) -> None:
        self._records[name] = lambda _: NEVER

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                packet, client = self._socket.recvfrom(4096)
                reply = self._reply(dns.message.from_wire(packet))
                if reply is not None:
                    self._socket.sendto(reply.to_wire(), client)

    def _reply(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True)
        self.questions[name, kind] += 1
        reply = dns.message.make_response(query)
        record = self._records.get(name)
        given = record(self.questions[name, kind]) if record else []
        if given == NEVER:
            return None
        if isinstance(given, str):
            reply.answer.append(dns.rrset.from_text(question.name, 0, "IN", "CNAME", f"{given}."))
            name, given = given, self._records[given](1)
        fitting = [one for one in given if (":" in one) == (kind == "AAAA")]
        if fitting:
            reply.answer.append(dns.rrset.from_text(f"{name}.", 0, "IN", kind, *fitting))
        return reply

    def getaddrinfo(self, host: str, port: int, /, *, type: int) -> list[Any]:
        """As the system's would, were this its only name server."""
        self.look_ups.append(host)
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], self._socket.getsockname()[1]
        try:
            found = resolver.resolve_name(host, lifetime=5, search=False)
        except dns.exception.DNSException as error:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from error
        return [
            info for address in found.addresses() for info in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
        ]

    def close(self) -> None:
        self._socket.close()


@contextmanager
def name_server() -> Iterator[NameServer]:
    """A name server for the time of a test."""
    server = NameServer()
    try:
        yield server
    finally:
        server.close()
