"""URLs, read so strictly that nobody reads another destination in them."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass

from celery_jobs.errors import InvalidUrl

__all__ = ["MOST_URL_CHARACTERS", "Destination", "parse_url", "read_host"]

MOST_URL_CHARACTERS = 2048

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?P<fragment>#.*)?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_CONTROLS = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")
"""Unicode's categories of characters that cannot be seen, and of spaces."""


@dataclass(frozen=True)
class Destination:
    """A URL that was read strictly: what is asked for, and of whom."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Lower case, IDNA-encoded, without a last dot; an address in its shortest form, without brackets."""
    port: int
    target: str
    """Path and query as the URL has them."""
    written: str
    """The host as the URL has it, for messages."""
    address: str | None = None
    """The host again if it is an address and not a name."""

    @property
    def netloc(self) -> str:
        """Host and port as they stand in a URL and in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL, normalised."""
        return f"{self.scheme}://{self.netloc}{self.target}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection is kept for."""
        return self.scheme, self.host, self.port


def parse_url(text: str) -> Destination:
    """Read a URL so strictly that no client can read another destination in it.

    Raises InvalidUrl. Whether the destination is allowed is `AddressPolicy.check`.
    """
    _refuse_characters(text)
    found = _URL.fullmatch(text)
    if found is None:
        raise InvalidUrl("scheme", "it must begin with http:// or https://")
    scheme = found["scheme"].lower()
    if scheme not in _PORTS:
        raise InvalidUrl("scheme", f"the scheme must be http or https, not {scheme!r}")
    if found["fragment"] is not None:
        raise InvalidUrl("fragment", "a fragment (#…) is never sent: leave it out")
    written, port = _split(found["authority"])
    host, address = _literal(written) if written.startswith("[") else read_host(written)
    target = found["rest"] if found["rest"].startswith("/") else f"/{found['rest']}"
    return Destination(scheme, host, _port(port, scheme), target, written, address)


def _refuse_characters(text: str) -> None:
    if len(text) > MOST_URL_CHARACTERS:
        raise InvalidUrl("length", f"it has {len(text):,} characters, the limit is {MOST_URL_CHARACTERS:,}")
    for position, character in enumerate(text):
        if character in "\\\x7f" or unicodedata.category(character) in _CONTROLS:
            raise InvalidUrl("characters", f"character {position + 1} must be percent-encoded: {character!r}")


def _split(authority: str) -> tuple[str, str | None]:
    if "@" in authority:
        raise InvalidUrl("credentials", "it has a user or password before the host: use a header")
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        colon, port = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":"):
            raise InvalidUrl("host", "the address in [] is not complete")
        host += bracket
    else:
        host, colon, port = authority.partition(":")
    if not host:
        raise InvalidUrl("host", "the host is missing")
    return host, port if colon else None


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return _PORTS[scheme]
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65_535:
        raise InvalidUrl("port", f"the port must be a number from 1 to 65535, not {text[:20]!r}")
    return int(text)


def _literal(written: str) -> tuple[str, str]:
    text = written[1:-1]
    try:
        if "%" in text or not text.isascii():
            raise ValueError
        address = str(ipaddress.IPv6Address(text))
    except ValueError:
        raise InvalidUrl("host", f"{written} is not an IPv6 address without a zone") from None
    return address, address


def read_host(written: str) -> tuple[str, str | None]:
    """The normalised name, and the address if it is one.

    Resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1: what ends in a number must be an address as everybody
    writes it, or is refused.
    """
    name = _encoded(written)
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            address = str(ipaddress.IPv4Address(name))
        except ValueError:
            raise InvalidUrl("host", f"{written!r} is neither a name nor an IPv4 address of four numbers") from None
        return address, address
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidUrl("host", f"{written[:80]!r} is not a host name")
    return name, None


def _encoded(written: str) -> str:
    name = (written[:-1] if written.endswith(".") else written).lower()
    if name.isascii() and "xn--" not in name:
        return name
    import idna  # whose tables take long to load

    try:
        if not name.isascii():
            if re.search("[\u3002\uff0e\uff61]", name) or len(name) > 253:
                raise idna.IDNAError
            return idna.encode(name).decode()
        for label in name.split("."):
            if label.startswith("xn--"):
                idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        raise InvalidUrl("host", f"{written[:80]!r} is not an international host name") from None
    return name
