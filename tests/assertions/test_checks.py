"""What assertions say of a response: nothing where they hold, else what was expected and what was there instead."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from celery_jobs.assertions import Answer, check, parse_assertions

ORDER = {
    "id": 7,
    "state": "paid",
    "total": 12.5,
    "open": False,
    "note": None,
    "items": [{"name": "tea", "price": 4}, {"name": "cup", "price": 8.5}],
}


def answer(body: Any = ORDER, truncated: bool = False, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(201, {"content-type": "application/json", **headers}, content, truncated, 87)


def verdict(assertion: dict[str, Any], given: Answer | None = None) -> str | None:
    return check(parse_assertions([assertion]), answer() if given is None else given)


@pytest.mark.parametrize(
    "assertion",
    [
        {"type": "status", "in": [200, 201]},
        {"type": "status", "between": [200, 204]},
        {"type": "header", "name": "Content-Type", "equals": "application/json"},
        {"type": "header", "name": "content-type", "contains": "json"},
        {"type": "header", "name": "content-type", "matches": r"^application/(\w+\+)?json$"},
        {"type": "body", "contains": "paid"},
        {"type": "body", "matches": r'"total":\s*12'},
        {"type": "json", "path": "$.note", "exists": True},
        {"type": "json", "path": "$.error", "exists": False},
        {"type": "json", "path": "$.state", "equals": "paid"},
        {"type": "json", "path": "$.id", "equals": 7.0},
        {"type": "json", "path": "$.open", "equals": False},
        {"type": "json", "path": "$.note", "equals": None},
        {"type": "json", "path": "$.items[0]", "equals": {"price": 4, "name": "tea"}},
        {"type": "json", "path": "$.state", "!=": "failed"},
        {"type": "json", "path": "$.open", "!=": 0},
        {"type": "json", "path": "$.total", "<": 13},
        {"type": "json", "path": "$.total", "<=": 12.5},
        {"type": "json", "path": "$.total", ">": 12},
        {"type": "json", "path": "$.total", ">=": 12.5},
        {"type": "json", "path": "$.state", ">": "open"},
        {"type": "json", "path": "$.items[*].price", "<": 10},
        {"type": "json", "path": "$.items", "length": 2},
        {"type": "json", "path": "$.items[0]", "length": 2},
        {"type": "json", "path": "$.state", "length": 4},
        {"type": "json", "path": "$.items[?@.price > 5]", "length": 1},
        {"type": "json", "path": "$.items[?match(@.name, 't.a')]", "exists": True},
        {"type": "json", "path": "$.items[?search(@.name, 'u')].name", "equals": "cup"},
        {"type": "duration", "below_ms": 88},
    ],
    ids=str,
)
def test_what_is_as_wanted_is_not_spoken_of(assertion: dict[str, Any]) -> None:
    assert verdict(assertion) is None


@pytest.mark.parametrize(
    ("assertion", "said"),
    [
        ({"type": "status", "in": [200, 204]}, "the status was expected to be one of 200, 204, but was 201"),
        ({"type": "status", "between": [202, 204]}, "the status was expected to be from 202 to 204, but was 201"),
        (
            {"type": "header", "name": "X-Shop", "equals": "tea"},
            'the header X-Shop was expected to be "tea", but is not there',
        ),
        (
            {"type": "header", "name": "Content-Type", "contains": "html"},
            "the header Content-Type was expected to contain \"html\", but was 'application/json'",
        ),
        (
            {"type": "header", "name": "Content-Type", "matches": "^text"},
            "the header Content-Type was expected to match \"^text\", but was 'application/json'",
        ),
        (
            {"type": "json", "path": "$.error", "exists": True},
            "$.error of the body was expected to exist, but is not there",
        ),
        (
            {"type": "json", "path": "$.state", "exists": False},
            '$.state of the body was expected not to exist, but was "paid"',
        ),
        (
            {"type": "json", "path": "$.state", "equals": "done"},
            '$.state of the body was expected to be "done", but was "paid"',
        ),
        ({"type": "json", "path": "$.open", "equals": 0}, "$.open of the body was expected to be 0, but was false"),
        (
            {"type": "json", "path": "$.open", "!=": False},
            "$.open of the body was expected not to be false, but was false",
        ),
        ({"type": "json", "path": "$.id", "<": 7}, "$.id of the body was expected to be below 7, but was 7"),
        ({"type": "json", "path": "$.id", "<=": 6}, "$.id of the body was expected to be at most 6, but was 7"),
        ({"type": "json", "path": "$.id", ">": 7}, "$.id of the body was expected to be above 7, but was 7"),
        ({"type": "json", "path": "$.id", ">=": "7"}, '$.id of the body was expected to be at least "7", but was 7'),
        (
            {"type": "json", "path": "$.items[*].price", "<": 8},
            "$.items[*].price of the body was expected to be below 8, but was 8.5",
        ),
        (
            {"type": "json", "path": "$.state", "length": 5},
            '$.state of the body was expected to have the length 5, but was "paid", which has the length 4',
        ),
        (
            {"type": "json", "path": "$.id", "length": 1},
            "$.id of the body was expected to have the length 1, but was 7",
        ),
        (
            {"type": "json", "path": "$.items[*]", "length": 3},
            "$.items[*] of the body was expected to have the length 3, but it finds 2 values",
        ),
        ({"type": "duration", "below_ms": 87}, "the duration was expected to be below 87 ms, but was 87 ms"),
    ],
    ids=str,
)
def test_what_is_otherwise_is_said(assertion: dict[str, Any], said: str) -> None:
    assert verdict(assertion) == said


def test_the_first_that_does_not_hold_is_said() -> None:
    assertions = parse_assertions(
        [{"type": "status", "in": [201]}, {"type": "body", "contains": "tea!"}, {"type": "duration", "below_ms": 1}]
    )
    said = check(assertions, answer(b"cup"))
    assert said == "the body was expected to contain \"tea!\", but was 'cup'"


def test_what_was_there_is_cut() -> None:
    said = verdict({"type": "body", "contains": "tea"}, answer(b"x" * 10_000))
    assert said is not None
    assert said.endswith("x…")
    assert len(said) < 300


def test_a_text_is_read_in_its_charset() -> None:
    tea = {"type": "body", "contains": "Tée"}
    quoted = {"content-type": 'text/plain; charset="latin-1"'}
    assert verdict(tea, answer("Tée".encode("latin-1"), False, **quoted)) is None
    assert verdict(tea, answer("Tée".encode(), False, **{"content-type": "text/plain; charset=klingon"})) is None
    assert verdict(tea, answer("Tée".encode(), False, **{"content-type": "text/plain; charset=base64"})) is None


@pytest.mark.parametrize(
    ("body", "truncated", "said"),
    [
        (b"<html>", False, "the body is not JSON: '<html>'"),
        (b"", False, "the body is not JSON: ''"),
        (b"\xff\x00", False, "the body is not JSON: '�\\x00'"),
        (b"[" * 100_000, False, f"the body is not JSON: '{'[' * 199}…"),
        (b"1" * 5000, False, f"the body is not JSON: '{'1' * 199}…"),
        (b'{"a": 1', True, "the body is longer than the 7 bytes that are read"),
    ],
    ids=["html", "nothing", "binary", "deep", "a number as long as a book", "cut"],
)
def test_a_body_that_is_no_json_has_nothing_at_any_path(body: bytes, truncated: bool, said: str) -> None:
    found = verdict({"type": "json", "path": "$.a", "exists": False}, answer(body, truncated))
    assert found == f"$.a of the body was expected not to exist, but {said}"


def test_a_body_that_was_cut_is_judged_by_what_was_read() -> None:
    assert verdict({"type": "body", "contains": "tea"}, answer(b"tea and", truncated=True)) is None
    said = verdict({"type": "body", "contains": "cup"}, answer(b"tea and", truncated=True))
    assert said == "the body was expected to contain \"cup\", but was 'tea and' (its first 7 bytes)"


NEVER = "(x+x+)+[yz]"
"""Divides a row of x in all ways, which each further x doubles."""


@pytest.mark.parametrize(
    "assertion",
    [
        {"type": "body", "matches": NEVER},
        {"type": "header", "name": "x-row", "matches": NEVER},
        {"type": "json", "path": f"$[?search(@, '{NEVER}')]", "exists": True},
        {"type": "json", "path": f"$[?match(@, '{NEVER}')]", "exists": True},
    ],
    ids=["body", "header", "search()", "match()"],
)
def test_a_pattern_without_an_end_is_stopped(assertion: dict[str, Any]) -> None:
    row = "x" * 3000
    begun = time.process_time()
    said = verdict(assertion, answer([row] * 10, False, **{"x-row": row}))
    assert said is not None
    assert said.endswith("took longer than 1 s")
    assert time.process_time() - begun < 10


def test_a_path_that_goes_through_a_body_more_often_than_can_be_waited_for_is_cut_off() -> None:
    body: Any = [{"id": number} for number in range(800)]
    for _ in range(90):
        body = {"items": body}
    started = time.process_time()
    said = verdict({"type": "json", "path": "$..items..items..items..name", "exists": True}, answer(body))
    assert "took longer than" in str(said)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("charset", ["punycode", "idna", "rot13", "no-such-charset", "base64"])
def test_a_charset_that_takes_long_or_is_none_is_not_used(charset: str) -> None:
    headers = {"content-type": f"text/plain; charset={charset}"}
    given = Answer(200, headers, "tea für zwei ".encode() * 40_000, False, 87)
    started = time.process_time()
    assert verdict({"type": "body", "contains": "für zwei"}, given) is None
    assert time.process_time() - started < 5
