"""The request of an HTTP job, read and checked before anything is written (semantics.md section 9)."""

from __future__ import annotations

import base64
import binascii
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from celery_jobs.addresses import parse_url
from celery_jobs.assertions import Assertion, parse_assertions
from celery_jobs.errors import InvalidJob, InvalidUrl
from celery_jobs.settings import HTTP_NO_RETRY_STATUSES, HTTP_TIMEOUTS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["METHODS", "NAMES", "HttpRequest", "as_arguments", "read_request"]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
OWN_HEADERS = frozenset(("webhook-id", "webhook-timestamp", "webhook-signature"))
"""What the job itself says of a request."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What an HTTP job requests, and what must be so of the answer."""

    url: str
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    timeout: float | None = None
    """Seconds for the whole request; None: as its queue says."""
    assertions: tuple[Assertion, ...] | None = None
    """None: those of its queue."""
    follow_redirects: bool = False
    sign: bool = False
    no_retry_statuses: tuple[int, ...] = HTTP_NO_RETRY_STATUSES
    """Statuses after which retrying cannot help."""


_BODIES = ("payload", "body", "body_base64")
NAMES = (*(f.name for f in fields(HttpRequest) if f.name != "content"), *_BODIES)
"""The keyword arguments of the task."""


def read_request(arguments: Mapping[str, Any]) -> HttpRequest:
    """Read the keyword arguments of the task; raises InvalidJob that names the first at fault."""
    for name in arguments:
        if name not in NAMES:
            near = difflib.get_close_matches(str(name), NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(NAMES)}"
            raise InvalidJob(str(name), f"unknown option of an HTTP job; {hint}")
    given = {name: value for name, value in arguments.items() if value is not None}
    if "url" not in given:
        raise InvalidJob("url", "an http or https URL is expected")
    content, content_type = _content({name: given.pop(name) for name in _BODIES if name in given})
    checked = {name: _CHECKS[name](name, value) for name, value in given.items()}
    request = HttpRequest(**checked, content=content)
    if request.method == "GET" and content:
        raise InvalidJob("method", "a GET has no body; put it into the URL, or use POST")
    if content_type is not None and "content-type" not in {name.lower() for name in request.headers}:
        request.headers["Content-Type"] = content_type
    return request


def as_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given to a door, as the task's keyword arguments, which every serializer can carry.

    Raises InvalidJob for what `read_request` refuses.
    """
    arguments = {name: value for name, value in given.items() if value is not None}
    if isinstance(arguments.get("body"), bytes | bytearray):
        arguments["body_base64"] = base64.b64encode(arguments.pop("body")).decode()
    request = read_request(arguments)
    if request.assertions is not None:
        arguments["assertions"] = [assertion.to_json() for assertion in request.assertions]
    for name in ("headers", "no_retry_statuses"):
        if name in arguments:
            arguments[name] = dict(arguments[name]) if name == "headers" else list(arguments[name])
    return arguments


def _content(given: dict[str, Any]) -> tuple[bytes, str | None]:
    """The bytes to send, and what they are where that is known."""
    if len(given) > 1:
        raise InvalidJob(" and ".join(given), "both say what is sent; give one")
    for name, value in given.items():
        return _READ_BODY[name](name, value)
    return b"", None


def _payload(name: str, value: Any) -> tuple[bytes, str | None]:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(), "application/json"
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob(name, f"a value that JSON has is expected: {error}") from None


def _text_body(name: str, value: Any) -> tuple[bytes, str | None]:
    if not isinstance(value, str | bytes):
        raise InvalidJob(name, f"a text or bytes are expected, not {value!r:.200}; a JSON value is a payload")
    try:
        return (value.encode(), "text/plain; charset=utf-8") if isinstance(value, str) else (value, None)
    except UnicodeEncodeError as error:
        raise InvalidJob(name, f"it cannot be sent as UTF-8: {error}") from None


def _base64_body(name: str, value: Any) -> tuple[bytes, str | None]:
    try:
        return base64.b64decode(value, validate=True), None
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidJob(name, f"base64 is expected: {error}") from None


_READ_BODY = {"payload": _payload, "body": _text_body, "body_base64": _base64_body}


def _url(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidJob(name, f"an http or https URL is expected, not {value!r:.200}")
    try:
        parse_url(value)
    except InvalidUrl as error:
        raise InvalidJob(name, error.problem) from None
    return value


def _method(name: str, value: Any) -> str:
    method = value.upper() if isinstance(value, str) else value
    if method not in METHODS:
        raise InvalidJob(name, f"one of {', '.join(METHODS)} is expected, not {value!r:.200}")
    return str(method)


def _headers(name: str, value: Any) -> dict[str, str]:
    from celery_jobs.outgoing import check_headers

    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise InvalidJob(name, "an object of texts is expected")
    headers = dict(value)
    try:
        check_headers(headers)
    except ValueError as error:
        raise InvalidJob(name, str(error)) from None
    for header in headers:
        if header.lower() in OWN_HEADERS:
            raise InvalidJob(name, f"the header {header!r} is set by the job itself")
    return headers


def _timeout(name: str, value: Any) -> float:
    least, most = HTTP_TIMEOUTS
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidJob(name, f"a number of seconds from {least} to {most} is expected, not {value!r:.200}")
    return float(value)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidJob(name, f"True or False is expected, not {value!r:.200}")
    return value


def _statuses(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(map(_is_failure, value)):
        raise InvalidJob(name, f"a list of statuses from 300 to 599 is expected, not {value!r:.200}")
    return tuple(sorted(value))


def _is_failure(status: Any) -> bool:
    return type(status) is int and 300 <= status <= 599


def _assertions(name: str, value: Any) -> tuple[Assertion, ...]:
    return parse_assertions(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "url": _url,
    "method": _method,
    "headers": _headers,
    "timeout": _timeout,
    "assertions": _assertions,
    "follow_redirects": _truth,
    "sign": _truth,
    "no_retry_statuses": _statuses,
}
