from __future__ import annotations

import re
from typing import Any

import pytest

from celery_jobs import InvalidSettings
from celery_jobs.configuration import parse_settings
from celery_jobs.destinations import Destination, Destinations

MAIL, CHAT = "mailto://user:hunter2@example.com", "slack://token-a/token-b"


def read(given: Any) -> Destinations:
    return parse_settings({"alert_urls": given}).alert_urls


def test_a_list_is_for_every_queue() -> None:
    destinations = read([MAIL, CHAT])
    assert destinations.of("any") == destinations.of(None) == (Destination(MAIL), Destination(CHAT))
    assert destinations


def test_lists_by_queue_leave_the_star_to_the_others() -> None:
    destinations = read({"payments": [MAIL], "silent": [], "*": (CHAT,)})
    assert destinations.of("payments") == (Destination(MAIL),)
    assert destinations.of("silent") == ()
    assert destinations.of("other") == destinations.of(None) == (Destination(CHAT),)
    assert destinations.everybody() == (Destination(CHAT), Destination(MAIL))


def test_nothing_is_nobody() -> None:
    assert not parse_settings({}).alert_urls
    assert not read([])
    assert read({"payments": [MAIL]}).of("other") == ()


def test_what_was_read_can_be_read_again() -> None:
    assert read(read([MAIL])) == read([MAIL])
    assert read([Destination(MAIL)]) == read([MAIL])


def test_no_url_is_shown() -> None:
    settings = parse_settings({"alert_urls": {"payments": [MAIL], "*": [CHAT]}})
    shown = f"{settings!r} {settings.alert_urls} {[str(found) for found in settings.alert_urls.everybody()]}"
    assert "hunter2" not in shown
    assert "token" not in shown
    assert "mailto://***" in shown


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (MAIL, "jobs_alert_urls: a list of Apprise URLs is expected, not a str"),
        ({"payments": MAIL}, "jobs_alert_urls: ['payments'] a list of Apprise URLs is expected, not a str"),
        ([MAIL, "hunter2"], "jobs_alert_urls: number 2: an Apprise URL such as mailto://… is expected"),
        ({"*": [7]}, "jobs_alert_urls: ['*'] number 1: an Apprise URL such as mailto://… is expected"),
    ],
)
def test_what_is_wrong_is_said_without_the_url(given: Any, words: str) -> None:
    with pytest.raises(InvalidSettings, match=re.escape(words)) as refused:
        read(given)
    assert "hunter2" not in str(refused.value)
