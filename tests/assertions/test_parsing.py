"""Assertions as they are declared: a JSON form both ways, and every fault at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celery_jobs import InvalidJob
from celery_jobs.assertions import Assertion, parse_assertions, read_assertions

ALL = [
    {"type": "status", "in": [200, 201]},
    {"type": "status", "between": [200, 204]},
    {"type": "header", "name": "X-Shop", "equals": "tea"},
    {"type": "header", "name": "X-Shop", "contains": "tea"},
    {"type": "header", "name": "X-Shop", "matches": "^t"},
    {"type": "body", "contains": "ok"},
    {"type": "body", "matches": "o+k"},
    {"type": "json", "path": "$.a", "exists": False},
    {"type": "json", "path": "$.a", "equals": {"b": [1, None]}},
    {"type": "json", "path": "$.a", "!=": None},
    {"type": "json", "path": "$.a", "<": 1.5},
    {"type": "json", "path": "$.a", "<=": 1},
    {"type": "json", "path": "$.a", ">": "b"},
    {"type": "json", "path": "$.a", ">=": 0},
    {"type": "json", "path": "$.a", "length": 0},
    {"type": "duration", "below_ms": 0.5},
]


def faults(*given: Any) -> list[str]:
    return read_assertions(list(given))[1]


@pytest.mark.parametrize("form", ALL, ids=str)
def test_the_json_form_goes_both_ways(form: dict[str, Any]) -> None:
    (assertion,) = parse_assertions(json.loads(json.dumps([form])))
    assert assertion.to_json() == form
    assert parse_assertions([assertion]) == (assertion,)


def test_values_and_forms_may_be_mixed() -> None:
    given = [Assertion("body", "contains", "ok"), {"type": "duration", "below_ms": 100}]
    assert [assertion.to_json() for assertion in parse_assertions(given)] == [ALL[5], given[1]]


def test_nothing_asserts_nothing() -> None:
    assert parse_assertions([]) == ()


def test_every_fault_is_listed_with_its_place() -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_assertions(
            [
                {"type": "status", "in": [200, 404]},
                {"type": "header", "nam": "X-Shop", "equal": "tea"},
                {"type": "body", "contains": "ok"},
                {"type": "jsn", "path": "$.a", "exists": True},
            ]
        )
    assert raised.value.field == "assertions"
    assert raised.value.problem.split("; [") == [
        "[0].in: a list of statuses from 200 to 299 is expected, not [200, 404]",
        "1].nam: 'nam' is unknown; did you mean name?",
        "1].equal: 'equal' is unknown; did you mean equals?",
        "1].name: a text is expected, not None",
        "3].type: 'jsn' is unknown; did you mean json?",
    ]


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ("ok", ': an object such as {"type": "body", "contains": "ok"} is expected, not \'ok\''),
        ({1: 2}, ': an object such as {"type": "body", "contains": "ok"} is expected, not {1: 2}'),
        ({"contains": "ok"}, ".type: is missing; it is one of status, header, body, json, duration"),
        ({"type": ["body"]}, ".type: ['body'] is unknown; did you mean body?"),
        ({"type": "7"}, ".type: '7' is unknown; known are status, header, body, json, duration"),
        ({"type": "body"}, ": exactly one of contains, matches is expected, and none is there"),
        (
            {"type": "body", "contains": "a", "matches": "b"},
            ": exactly one of contains, matches is expected, and contains and matches are too many",
        ),
        ({"type": "body", "contains": ""}, ".contains: a text is expected, not ''"),
        ({"type": "body", "matches": "("}, ".matches: '(' is not a regular expression: missing ) at position 1"),
        ({"type": "body", "matches": 5}, ".matches: a regular expression of 1 to 1,000 characters is expected, not 5"),
        ({"type": "status", "in": []}, ".in: a list of statuses from 200 to 299 is expected, not []"),
        ({"type": "status", "in": [True]}, ".in: a list of statuses from 200 to 299 is expected, not [True]"),
        ({"type": "status", "in": 200}, ".in: a list of statuses from 200 to 299 is expected, not 200"),
        (
            {"type": "status", "between": [204, 200]},
            ".between: two statuses from 200 to 299, the lower first, are expected, not [204, 200]",
        ),
        ({"type": "header", "name": "", "equals": "a"}, ".name: a text is expected, not ''"),
        ({"type": "json", "path": "$.a", "exists": 1}, ".exists: true or false is expected, not 1"),
        ({"type": "json", "path": "$.a", "<": True}, ".<: a number or a text is expected, not True"),
        ({"type": "json", "path": "$.a", "<": float("nan")}, ".<: a number or a text is expected, not nan"),
        ({"type": "json", "path": "$.a", "equals": {1, 2}}, ".equals: a value that JSON has is expected, not {1, 2}"),
        ({"type": "json", "path": "$.a", "length": -1}, ".length: a whole number from 0 is expected, not -1"),
        ({"type": "duration", "below_ms": 0}, ".below_ms: a number of milliseconds above 0 is expected, not 0"),
    ],
    ids=str,
)
def test_nonsense_is_refused_in_words(form: Any, fault: str) -> None:
    assert faults(form) == [f"[0]{fault}"]


@pytest.mark.parametrize(
    "path", ["a.b", "$.", "$.a[", "$[?shout(@.a)]", "$.a ", "$" + "[?@.a" * 300, "\x00", "$.a | $.b"]
)
def test_what_is_no_json_path_is_refused(path: str) -> None:
    (fault,) = faults({"type": "json", "path": path, "exists": True})
    assert fault.startswith("[0].path: ")


@pytest.mark.parametrize("given", [None, "ok", b"ok", {"type": "body", "contains": "ok"}, 5])
def test_assertions_are_a_list(given: Any) -> None:
    with pytest.raises(InvalidJob, match="a list of assertions is expected, not "):
        parse_assertions(given)


def test_there_are_not_too_many() -> None:
    with pytest.raises(InvalidJob, match="at most 50 are taken, not 51"):
        parse_assertions([ALL[5]] * 51)
