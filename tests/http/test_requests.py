"""What an HTTP job may be asked for: read before anything is written, each fault with its field."""

from __future__ import annotations

from typing import Any

import pytest

from celery_jobs import InvalidJob
from celery_jobs.http.request import as_arguments, read_request

URL = "https://example.com/hook"


def test_what_is_not_said_has_its_default() -> None:
    request = read_request({"url": URL})
    assert (request.method, request.content, request.headers) == ("POST", b"", {})
    assert (request.timeout, request.assertions, request.no_retry_statuses) == (None, None, (410,))
    assert (request.follow_redirects, request.sign) == (False, False)


def test_none_is_nothing() -> None:
    assert read_request({"url": URL, "payload": None, "timeout": None, "assertions": None}) == read_request(
        {"url": URL}
    )


@pytest.mark.parametrize(
    ("given", "content", "content_type"),
    [
        ({"payload": {"a": [1, None, "é"]}}, '{"a":[1,null,"é"]}'.encode(), "application/json"),
        ({"payload": 0}, b"0", "application/json"),
        ({"payload": ""}, b'""', "application/json"),
        ({"body": "é"}, "é".encode(), "text/plain; charset=utf-8"),
        ({"body": b"\x00\xff"}, b"\x00\xff", None),
        ({"body_base64": "AP8="}, b"\x00\xff", None),
        ({"body": "<a/>", "headers": {"content-type": "text/xml"}}, b"<a/>", "text/xml"),
        ({"payload": {}, "headers": {"CONTENT-TYPE": "application/vnd.shop+json"}}, b"{}", "application/vnd.shop+json"),
    ],
    ids=str,
)
def test_a_body_is_json_text_or_bytes(given: dict[str, Any], content: bytes, content_type: str | None) -> None:
    request = read_request({"url": URL, **given})
    assert request.content == content
    found = {name.lower(): value for name, value in request.headers.items()}
    assert found.get("content-type") == content_type


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        ({"url": None}, "url", "an http or https URL is expected"),
        ({"url": 7}, "url", "an http or https URL is expected, not 7"),
        ({"url": "example.com"}, "url", "it must begin with http:// or https://"),
        ({"url": "ftp://example.com"}, "url", "the scheme must be http or https"),
        ({"url": "http://user:pw@example.com"}, "url", "it has a user or password before the host"),
        ({"url": "http://0x7f.1/"}, "url", "is neither a name nor an IPv4 address"),
        ({"method": "HEAD"}, "method", "one of GET, POST, PUT, PATCH, DELETE is expected, not 'HEAD'"),
        ({"method": "GET", "payload": 1}, "method", "a GET has no body"),
        ({"metod": "GET"}, "metod", "did you mean method?"),
        ({"zzz": 1}, "zzz", "known are url, method,"),
        ({"payload": 1, "body": "a"}, "payload and body", "give one"),
        ({"payload": {1, 2}}, "payload", "a value that JSON has is expected"),
        ({"payload": float("nan")}, "payload", "a value that JSON has is expected"),
        ({"body": {"a": 1}}, "body", "a JSON value is a payload"),
        ({"body": "\ud800"}, "body", "cannot be sent as UTF-8"),
        ({"body_base64": "!"}, "body_base64", "base64 is expected"),
        ({"body_base64": 5}, "body_base64", "base64 is expected"),
        ({"headers": ["a"]}, "headers", "an object of texts is expected"),
        ({"headers": {"a": 1}}, "headers", "an object of texts is expected"),
        ({"headers": {"a b": "c"}}, "headers", "'a b' is not the name of a header"),
        ({"headers": {"a": "b\r\nEvil: yes"}}, "headers", "must be printable ASCII"),
        ({"headers": {"Host": "b"}}, "headers", "is set by the client itself"),
        ({"headers": {"Webhook-Id": "b"}}, "headers", "is set by the job itself"),
        ({"timeout": 0.5}, "timeout", "a number of seconds from 1 to 300 is expected, not 0.5"),
        ({"timeout": 301}, "timeout", "a number of seconds from 1 to 300 is expected, not 301"),
        ({"timeout": True}, "timeout", "a number of seconds"),
        ({"timeout": float("nan")}, "timeout", "a number of seconds"),
        ({"timeout": "5"}, "timeout", "a number of seconds"),
        ({"assertions": [{"type": "body"}]}, "assertions", "[0]: exactly one of contains, matches"),
        ({"follow_redirects": 1}, "follow_redirects", "True or False is expected, not 1"),
        ({"sign": "yes"}, "sign", "True or False is expected"),
        ({"no_retry_statuses": [200]}, "no_retry_statuses", "a list of statuses from 300 to 599 is expected"),
        ({"no_retry_statuses": 404}, "no_retry_statuses", "a list of statuses from 300 to 599 is expected"),
    ],
    ids=str,
)
def test_each_fault_names_its_field(given: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        read_request({"url": URL, **given})
    assert raised.value.field == field
    assert problem in raised.value.problem


def test_arguments_are_what_every_serializer_carries() -> None:
    given = {
        "url": URL,
        "body": b"\x00\xff",
        "assertions": [{"type": "status", "in": (200, 201)}],
        "no_retry_statuses": (404, 410),
        "timeout": None,
    }
    arguments = as_arguments(given)
    assert arguments == {
        "url": URL,
        "body_base64": "AP8=",
        "assertions": [{"type": "status", "in": [200, 201]}],
        "no_retry_statuses": [404, 410],
    }
    assert read_request(arguments) == read_request(given)
