"""Which hosts are elsewhere: what is said to them goes over other people's wires."""

from __future__ import annotations

import socket
from ipaddress import ip_address

__all__ = ["is_remote"]


def is_remote(host: str | None) -> bool:
    """Whether a host has a public address; a socket's path and an unknown name have none."""
    if not host or host.startswith("/"):
        return False
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return any(ip_address(str(info[4][0]).partition("%")[0]).is_global for info in found)
