"""Which addresses and names are allowed, by tables of our own.

`ipaddress` alone is no filter: it calls NAT64, 6to4, multicast and Azure's metadata address global, and differs between
versions of Python. It is asked as well, and refuses what the tables forgot.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from celery_jobs.addresses.urls import read_host
from celery_jobs.errors import BlockedAddress, InvalidUrl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_jobs.addresses.urls import Destination

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

__all__ = ["AddressPolicy"]

ALLOWED_ADDRESSES = "jobs_http_allowed_addresses"
ALLOWED_HOSTS = "jobs_http_allowed_hosts"
BLOCKED_PORTS = "jobs_http_blocked_ports"


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_NEVER_GLOBAL = _networks(
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier NAT; Alibaba's metadata
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # Azure's metadata, an address that is global otherwise
    "169.254.0.0/16",  # link-local; the metadata of most clouds
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments; Oracle's metadata
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved; broadcast
    "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: an IPv4 address in disguise
    "3fff::/20",  # documentation
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""All that is given out of IPv6. Outside are loopback, `::`, mapped, compatible and NAT64 addresses, link-local,
site-local, unique local, multicast, discard-only and segment routing: none is on the Internet."""
_INNER = _networks("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7")
"""Where a host that is allowed by name may lie besides the Internet."""
_METADATA = _networks("100.100.100.200", "fd00:ec2::254", "fd20:ce::254")
"""Metadata of Alibaba, Amazon and Google inside these: allowed by address only, since it gives away credentials."""
_NEVER_PUBLIC = (
    *("localhost", "localdomain", "localhost6", "ip6-localhost", "ip6-loopback", "local", "internal", "intranet"),
    *("private", "lan", "corp", "home", "home.arpa", "svc", "cluster.local", "onion", "invalid", "test"),
)


@dataclass(frozen=True)
class AddressPolicy:
    """Which destinations are allowed: the Internet, and what these lists add or take away.

    Raises ValueError when an entry cannot be read.
    """

    allowed_addresses: tuple[str, ...] = ()
    """Addresses and networks (CIDR) that are allowed whatever they are, such as `10.20.0.0/16`."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that may resolve to private addresses; `.corp.example` is every name below `corp.example`."""
    blocked_ports: tuple[int, ...] = ()
    """Ports that are refused everywhere, also where the lists above allow the host."""

    def __post_init__(self) -> None:
        self._networks  # noqa: B018
        self._hosts  # noqa: B018
        for port in self.blocked_ports:
            if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= 65_535:
                raise ValueError(f"{port!r} is not a port from 1 to 65535")

    @cached_property
    def _networks(self) -> tuple[Network, ...]:
        return tuple(map(_network, self.allowed_addresses))

    @cached_property
    def _hosts(self) -> frozenset[str]:
        return frozenset(map(_checked_name, self.allowed_hosts))

    def check(self, destination: Destination) -> None:
        """Refuse what needs no look-up: blocked ports, addresses, and names that are never public.

        Raises BlockedAddress.
        """
        if destination.port in self.blocked_ports:
            raise BlockedAddress(f"port {destination.port} of {destination.written}", BLOCKED_PORTS)
        if destination.address is not None:
            allowed = self.permits(destination.address)
        else:
            allowed = self.names(destination.host) or not _is_never_public(destination.host)
        if not allowed:
            raise self.refusal(destination)

    def refusal(self, destination: Destination) -> BlockedAddress:
        """The one error for whatever is wrong with a destination's addresses."""
        setting = ALLOWED_ADDRESSES if destination.address is not None else f"{ALLOWED_HOSTS}, {ALLOWED_ADDRESSES}"
        return BlockedAddress(destination.written, setting)

    def permits(self, address: str, host: str | None = None) -> bool:
        """Whether to connect to an address; to one that `host`, a normalised name, resolved to."""
        return self.lists(address, host) or _is_global(_address(address))

    def lists(self, address: str, host: str | None = None) -> bool:
        """Whether the lists allow the address, global or not."""
        read = _address(address)
        if _within(read, self._networks):
            return True
        return host is not None and self.names(host) and _within(read, _INNER) and not _within(read, _METADATA)

    def names(self, host: str) -> bool:
        """Whether the host, normalised, is allowed by name."""
        parents = host.split(".")
        return host in self._hosts or any(f".{'.'.join(parents[n:])}" in self._hosts for n in range(1, len(parents)))


def _address(text: str) -> Address:
    """Also with a zone, as resolvers give them: `fe80::1%eth0` is judged as `fe80::1`."""
    return ipaddress.ip_address(text.partition("%")[0])


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _is_global(address: Address) -> bool:
    if _within(address, _NEVER_GLOBAL) or (address.version == 6 and address not in _GLOBAL_V6):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_never_public(host: str) -> bool:
    """Names without a dot, too: they are completed with the search domains of this machine."""
    return "." not in host or any(host == name or host.endswith(f".{name}") for name in _NEVER_PUBLIC)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as problem:
        raise ValueError(f"{text!r} is not an address or network such as 10.20.0.0/16: {problem}") from None


def _checked_name(text: str) -> str:
    """A name of the list, normalised; raises ValueError."""
    dot = "." if text.startswith(".") else ""
    try:
        name, address = read_host(text.removeprefix("."))
    except InvalidUrl:
        name, address = "", None
    if not name or address is not None:
        raise ValueError(f"{text!r} is not a host such as api.corp.example, nor a suffix such as .corp.example")
    return f"{dot}{name}"
