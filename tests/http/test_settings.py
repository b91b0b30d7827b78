"""What a queue says of its HTTP jobs is checked with all other settings, before anything runs."""

from __future__ import annotations

import pytest

from celery_jobs import InvalidSettings
from celery_jobs.assertions import Assertion
from celery_jobs.configuration import parse_settings

OPEN = {"type": "header", "name": "X-Shop", "equals": "open"}
OK = {"type": "body", "contains": "ok"}


def test_a_queue_has_assertions_and_a_timeout() -> None:
    settings = parse_settings(
        {
            "queue_defaults": {"assertions": [OPEN], "timeout": 5},
            "queues": {"strict": {"assertions": [OPEN, OK]}, "a": {}},
        }
    )
    assert settings.queue("any").assertions == (Assertion("header", "equals", "open", "X-Shop"),)
    assert [one.to_json() for one in settings.queue("strict").assertions] == [OPEN, OK]
    assert settings.queue("a").assertions == settings.queue("any").assertions
    assert [settings.queue(name).timeout for name in ("any", "strict", "a")] == [5, 5, 5]


def test_what_was_read_is_read_again() -> None:
    first = parse_settings({"queue_defaults": {"assertions": [OPEN]}})
    again = parse_settings({"queue_defaults": first.queue_defaults})
    assert again.queue_defaults.assertions == first.queue_defaults.assertions


def test_every_fault_is_listed_with_its_place() -> None:
    with pytest.raises(InvalidSettings) as raised:
        parse_settings(
            {
                "max_retry_after": 0,
                "queue_defaults": {"assertions": "ok", "timeout": "5"},
                "queues": {
                    "strict": {"assertions": [OK, {"type": "status", "in": [302]}, {"tpe": "body"}], "timout": 5}
                },
            }
        )
    assert raised.value.problems == [
        "jobs_max_retry_after: a number above 0 is expected, not 0",
        "jobs_queue_defaults.assertions: a list of assertions is expected, not 'ok'",
        "jobs_queue_defaults.timeout: a number above 0, or None is expected, not '5'",
        "jobs_queues['strict'].assertions[1].in: a list of statuses from 200 to 299 is expected, not [302]",
        "jobs_queues['strict'].assertions[2].type: is missing; it is one of status, header, body, json, duration",
        "jobs_queues['strict']: timout is not a setting; did you mean timeout?",
    ]
