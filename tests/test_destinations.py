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


@pytest.mark.parametrize(
    ("defaults", "queues", "urls", "told"),
    [
        (False, {}, [MAIL], ([], [])),
        (True, {}, [MAIL], (None, [])),
        (True, {"quiet": False}, [MAIL], (None, ["quiet"])),
        (True, {}, {"own": [MAIL]}, (["own"], [])),
        (True, {"own": False}, {"own": [MAIL], "silent": [], "*": [CHAT]}, (None, ["own", "silent"])),
        (False, {"loud": True, "mute": True}, {"loud": [MAIL]}, (["loud"], [])),
    ],
)
def test_who_is_told_of_what(defaults: bool, queues: dict[str, bool], urls: Any, told: Any) -> None:
    settings = parse_settings(
        {
            "queue_defaults": {"alerts_enabled": defaults},
            "queues": {name: {"alerts_enabled": enabled} for name, enabled in queues.items()},
            "alert_urls": urls,
        }
    )
    assert settings.alerted_queues == told


def test_a_window_is_shorter_than_news_are_news() -> None:
    assert parse_settings({"alert_window": 43_200}).alert_window == 43_200
    with pytest.raises(InvalidSettings, match=r"jobs_alert_window: a number of seconds above 0, at most 43,200 is"):
        parse_settings({"alert_window": 43_201})


def test_the_password_of_the_database_is_not_shown() -> None:
    assert "hunter2" not in repr(parse_settings({"database_url": "postgresql://shop:hunter2@host/jobs"}))
    with pytest.raises(InvalidSettings, match="jobs_database_url: an SQLAlchemy URL") as refused:
        parse_settings({"database_url": "PostgreSQL://shop:hunter2@host/jobs"})
    assert "hunter2" not in str(refused.value)
