"""Canned responses: what a test has given, and which of it answers a request."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from json import dumps
from typing import TYPE_CHECKING, Any, Literal, get_args

import httpx

from celery_jobs.addresses import parse_url
from celery_jobs.http.request import METHODS
from celery_jobs.outgoing import check_headers
from celery_jobs.testing.complaints import Unanswered

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Canned", "Fault", "Responses", "canned", "url_of"]

Fault = Literal["timeout", "connection_error", "dns_error", "ssl_error"]
"""What goes wrong instead of a response, by its failure reason (semantics.md section 9)."""


@dataclass(frozen=True, slots=True)
class Canned:
    """What answers a request after `delay` seconds: a response in the bytes of HTTP/1.1, or a fault."""

    wire: bytes
    delay: float
    fault: Fault | None


def canned(
    status: int,
    json: Any,
    body: str | bytes | None,
    headers: Mapping[str, object] | None,
    delay: float | timedelta,
    fault: Fault | None,
) -> Canned:
    """Check what a test gives; raises ValueError."""
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if not 0 <= seconds < math.inf:
        raise ValueError(f"delay takes 0 or more seconds, not {seconds!r}")
    if fault is None:
        return Canned(_wire(status, json, body, headers or {}), seconds, None)
    if fault not in get_args(Fault):
        raise ValueError(f"a fault is one of {', '.join(get_args(Fault))}, not {fault!r}")
    if (status, json, body, headers) != (200, None, None, None):
        raise ValueError(f"a {fault} has no response: leave out its status, json, body and headers")
    return Canned(b"", math.inf if fault == "timeout" else seconds, fault)


def _wire(status: int, json: Any, body: str | bytes | None, headers: Mapping[str, object]) -> bytes:
    if not 200 <= status <= 599:
        raise ValueError(f"a status from 200 to 599 is expected, not {status!r}")
    content, content_type = _content(json, body)
    given = {name: str(value) for name, value in headers.items()}
    check_headers(given)
    sent = httpx.Headers({"content-length": str(len(content)), **content_type})
    sent.update(given)
    phrase = next((known.phrase for known in HTTPStatus if known == status), "")
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    return "\r\n".join(lines).encode() + content


def _content(json: Any, body: str | bytes | None) -> tuple[bytes, dict[str, str]]:
    """The bytes, and the header that says what they are where that is known."""
    if json is not None and body is not None:
        raise ValueError("json and body both say what comes back; give one")
    if json is not None:
        return dumps(json).encode(), {"content-type": "application/json"}
    if isinstance(body, str):
        return body.encode(), {"content-type": "text/plain; charset=utf-8"}
    return body or b"", {}


Key = tuple[str | None, str | re.Pattern[str]]
"""A method, or None for any; a URL as it is sent, or a pattern of some."""


class Responses:
    """Those of a sandbox, in the order they were given, by the requests that they answer."""

    def __init__(self) -> None:
        self._given: defaultdict[Key, list[Canned]] = defaultdict(list)

    def give(self, method: str | None, url: str | re.Pattern[str], response: Canned) -> None:
        """Add one behind those of the same URL and method; raises ValueError, InvalidUrl."""
        if method is not None and (method := method.upper()) not in METHODS:
            raise ValueError(f"the method is one of {', '.join(METHODS)}, not {method!r}")
        self._given[method, url if isinstance(url, re.Pattern) else url_of(url)].append(response)

    def take(self, method: str, url: str) -> Canned:
        """The next for a request, the last one again and again; raises Unanswered where there is none."""
        fitting = [key for key in self._given if _fits(key, method, url)]
        if not fitting:
            raise Unanswered(self._complaint(method, url))
        left = self._given[max(fitting, key=_precision)]
        return left.pop(0) if len(left) > 1 else left[0]

    def _complaint(self, method: str, url: str) -> str:
        known = ", ".join(f"{verb or 'any'} {_text(what)}" for verb, what in self._given) or "none at all"
        return (
            f"{method} {url} has no response, and HTTP jobs reach no network in a sandbox: "
            f"call sandbox.respond({url!r}, …) before the job runs; answered are: {known}"
        )


def url_of(text: str) -> str:
    """A URL as it is sent, however it is written; raises InvalidUrl."""
    ready = httpx.Request("GET", parse_url(text).url)
    return f"{ready.url.scheme}://{ready.headers['host']}{ready.url.raw_path.decode('ascii')}"


def _fits(key: Key, method: str, url: str) -> bool:
    wanted, what = key
    return wanted in (None, method) and (what == url if isinstance(what, str) else what.match(url) is not None)


def _precision(key: Key) -> tuple[bool, bool]:
    """A whole URL says more than a pattern, and a method more than none."""
    method, url = key
    return isinstance(url, str), method is not None


def _text(url: str | re.Pattern[str]) -> str:
    return url if isinstance(url, str) else f"re {url.pattern!r}"
