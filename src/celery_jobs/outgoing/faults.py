"""What can go wrong with a request, in httpx's errors and two of ours, and the failure reason of each."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

import httpcore
import httpx

from celery_jobs.errors import BlockedAddress, InvalidUrl

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NameNotResolved", "Reason", "TlsFailed", "httpx_errors", "reason_of"]


class NameNotResolved(httpx.ConnectError):
    """The host has no address, or its name servers fail."""


class TlsFailed(httpx.ConnectError):
    """The certificate is not trusted or not the host's, or the peer does not speak TLS 1.2 or later."""


class Reason(StrEnum):
    """Why there is no answer, spelled as the failure reasons of semantics.md section 9."""

    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    DNS_ERROR = "dns_error"
    SSL_ERROR = "ssl_error"
    HTTP_REDIRECT = "http_redirect"
    INVALID_URL = "invalid_url"
    BLOCKED_ADDRESS = "blocked_address"


_REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (InvalidUrl, Reason.INVALID_URL),
    (BlockedAddress, Reason.BLOCKED_ADDRESS),
    (httpx.TimeoutException, Reason.TIMEOUT),
    (NameNotResolved, Reason.DNS_ERROR),
    (TlsFailed, Reason.SSL_ERROR),
    (httpx.TooManyRedirects, Reason.HTTP_REDIRECT),
    (httpx.HTTPError, Reason.CONNECTION_ERROR),
)


def reason_of(error: BaseException) -> Reason | None:
    """The failure reason of an error that `fetch` raises; None for any other error."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)


_HTTPX: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.TimeoutException, httpx.ReadTimeout),
    (httpcore.ConnectionNotAvailable, httpx.ConnectError),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.NetworkError, httpx.ReadError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.ProtocolError, httpx.RemoteProtocolError),
)


@contextmanager
def httpx_errors() -> Iterator[None]:
    """Raise httpcore's errors as httpx's of the same name."""
    try:
        yield
    except tuple(kind for kind, _ in _HTTPX) as error:
        kind = next(to for kind, to in _HTTPX if isinstance(error, kind))
        raise kind(str(error) or type(error).__name__) from error
