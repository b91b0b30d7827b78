"""One request and its answer: within one deadline, never more of the body than asked for, each hop checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpcore
import httpx

import celery_jobs
from celery_jobs.addresses import Destination, parse_url
from celery_jobs.errors import InvalidUrl
from celery_jobs.outgoing.bodies import BoundedBody
from celery_jobs.outgoing.faults import httpx_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celery_jobs.outgoing.client import Client, Line

__all__ = ["MOST_BODY_BYTES", "MOST_REDIRECTS", "Response", "check_headers", "fetch"]

MOST_BODY_BYTES = 65_536
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)

OWN_HEADERS = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect")
)
"""What only the client may say of a request."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_SECRETS = ("authorization", "cookie")
_OF_CONTENT = ("content-type", "content-encoding", "content-language", "content-location")


@dataclass(frozen=True)
class Response:
    """A server's answer."""

    status: int
    headers: httpx.Headers
    body: bytes
    """Decoded if the server compressed it."""
    truncated: bool
    """Whether there was more of the body."""
    duration_ms: int
    """From the beginning of the request, with redirects, to the end of what was read."""
    url: str
    """What answered, after redirects."""
    http_version: str
    """`HTTP/1.1` or `HTTP/2`."""


@dataclass(frozen=True)
class _Request:
    method: str
    destination: Destination
    headers: httpx.Headers
    content: bytes


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that would change what is sent besides them; raises ValueError."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in OWN_HEADERS:
            raise ValueError(f"the header {name!r} is set by the client itself")
        if not _VALUE.fullmatch(value) or value != value.strip():
            raise ValueError(f"the header {name!r} must be printable ASCII without spaces around it")


def fetch(
    client: Client,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes = b"",
    timeout: float,
    max_body: int = MOST_BODY_BYTES,
    follow_redirects: bool = False,
) -> Response:
    """Request a URL; everything, from the look-up to the body's last byte, within `timeout` seconds.

    Of the body `max_body` bytes are read, then the connection is closed. A redirect is the answer, unless it is
    followed: then each hop is checked as the first; one from https to http is never followed.

    Raises InvalidUrl, BlockedAddress, and httpx.HTTPError of the kinds that `reason_of` tells apart; ValueError for
    headers that `check_headers` refuses.
    """
    check_headers(headers or {})
    began = client.machine.monotonic()
    until = began + timeout
    given = httpx.Headers({"user-agent": f"celery-jobs/{celery_jobs.__version__}", "accept": "*/*"})
    given["accept-encoding"] = "identity"
    given.update(headers)
    request = _Request(method, parse_url(url), given, content)
    for _ in range(MOST_REDIRECTS + 1):
        client.policy.check(request.destination)
        answer = _exchange(client, request, until, max_body, began, follow_redirects)
        if isinstance(answer, Response):
            return answer
        request = answer
    raise httpx.TooManyRedirects(f"more than {MOST_REDIRECTS} redirects")


def _exchange(
    client: Client, request: _Request, until: float, max_body: int, began: float, follow: bool
) -> Response | _Request:
    """The answer, or the request that a redirect asks for."""
    with httpx_errors(), client.line(request.destination, until) as line:
        response = line.connection.handle_request(_encoded(request))
        if not 100 <= response.status <= 999:
            raise httpx.RemoteProtocolError(f"{response.status} is no status of HTTP")
        headers = httpx.Headers(response.headers)
        if follow and (following := _redirected(request, response.status, headers)):
            return following
        body = _read(line, response, headers, max_body)
        return Response(
            status=response.status,
            headers=headers,
            body=body.kept,
            truncated=body.truncated,
            duration_ms=round((client.machine.monotonic() - began) * 1000),
            url=request.destination.url,
            http_version=response.extensions["http_version"].decode("ascii"),
        )


def _encoded(request: _Request) -> httpcore.Request:
    """httpx writes the Host header and the length, and quotes the path."""
    destination = request.destination
    try:
        ready = httpx.Request(request.method, destination.url, headers=request.headers, content=request.content)
    except httpx.InvalidURL as error:
        raise InvalidUrl("path", str(error)) from None
    url = httpcore.URL(
        scheme=destination.scheme.encode(),
        host=destination.host.encode(),
        port=destination.port,
        target=ready.url.raw_path,
    )
    return httpcore.Request(request.method, url, headers=ready.headers.raw, content=request.content)


def _redirected(request: _Request, status: int, headers: httpx.Headers) -> _Request | None:
    """The next request; None where the answer is no redirect, or one that is not followed."""
    if status not in REDIRECTS or not headers.get("location"):
        return None
    destination = _location(request.destination, headers["location"])
    if request.destination.scheme == "https" and destination.scheme != "https":
        return None
    kept = request.headers.copy()
    if destination.origin != request.destination.origin:
        _drop(kept, _SECRETS)
    if status in (307, 308) or request.method in ("GET", "HEAD") or (status != 303 and request.method != "POST"):
        return replace(request, destination=destination, headers=kept)
    _drop(kept, _OF_CONTENT)
    return _Request("GET", destination, kept, b"")


def _location(base: Destination, location: str) -> Destination:
    """Where a redirect leads. `urljoin` would silently repair what is no URL, so it sees paths only."""
    if re.search(r"[\x00-\x20\x7f\\]", location):
        raise InvalidUrl("location", "the Location of a redirect has characters that no URL has")
    location = location.partition("#")[0]
    if location.startswith("//"):
        location = f"{base.scheme}:{location}"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):
        return parse_url(location)
    return parse_url(urljoin(base.url, location))


def _drop(headers: httpx.Headers, names: Iterable[str]) -> None:
    for name in names:
        headers.pop(name, None)


def _read(line: Line, response: httpcore.Response, headers: httpx.Headers, most: int) -> BoundedBody:
    """The body's beginning; the connection can be used again only if that is all of it."""
    body = BoundedBody(headers.get("content-encoding", ""), most)
    for chunk in response.iter_stream():
        body.add(chunk)
        if body.truncated:
            return body
    response.close()
    line.finish(response)
    return body
