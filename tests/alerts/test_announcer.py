"""The announcer by itself: what it sends, when again, and when no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.plugin import plugin_of
from celery_jobs.settings import ALERT_RETRY_DELAYS
from celery_jobs.store import alerts
from celery_jobs.worker.announcer import Announcer
from tests.apps import make_app
from tests.store.conftest import dead_letter, shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.store.db import Database
    from tests.callbacks.receiver import Receiver


@pytest.fixture
def announcer(receiver: Receiver, new_sqlite_database: Callable[[], str]) -> Iterator[Announcer]:
    conf: dict[str, Any] = {
        "jobs_alert_urls": [f"json://127.0.0.1:{receiver.port}/all"],
        "jobs_queues": {"shop": {"alerts_enabled": True}},
    }
    app = make_app("memory://", new_sqlite_database(), **conf)
    yield Announcer(plugin_of(app))
    plugin_of(app).db.dispose()
    app.close()


@pytest.fixture
def db(announcer: Announcer) -> Database:
    return announcer.plugin.db


def test_queues_without_alerts_are_left_alone(announcer: Announcer, db: Database, receiver: Receiver) -> None:
    dead_letter(db, queue="quiet")
    assert announcer.send_due() == 0
    assert receiver.received == []


def test_what_reaches_nobody_is_sent_again_for_a_day(announcer: Announcer, db: Database, receiver: Receiver) -> None:
    receiver.answers["/all"] = [500]
    dead_letter(db)
    for delay in (*ALERT_RETRY_DELAYS, ALERT_RETRY_DELAYS[-1]):
        assert announcer.send_due() == 0
        shift(db, delay - 20)
        assert alerts.due(db) == []
        shift(db, 21)
        assert alerts.due(db) == ["shop"]
    assert alerts.failing(db, len(ALERT_RETRY_DELAYS) + 1) == [("shop", len(ALERT_RETRY_DELAYS) + 1)]
    dead_letter(db)
    receiver.answers["/all"] = [200]
    assert announcer.send_due() == 1
    assert receiver.received[-1].json["title"] == "2 jobs died in the queue shop"


def test_what_could_not_be_told_within_a_day_is_given_up(
    announcer: Announcer, db: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers["/all"] = [500]
    dead_letter(db)
    assert announcer.send_due() == 0
    shift(db, ALERT_RETRY_DELAYS[0] + 1)
    monkeypatch.setattr("celery_jobs.settings.ALERT_HORIZON", -1)
    assert announcer.send_due() == 0
    assert alerts.failing(db, 0) == []
