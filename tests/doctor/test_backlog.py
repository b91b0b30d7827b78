"""What the doctor finds of jobs that wait in vain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from celery_jobs.destinations import Destination, Destinations
from celery_jobs.settings import QueueSettings
from celery_jobs.states import FailureReason
from celery_jobs.store import alerts, callbacks, endings
from tests.doctor.conftest import ask
from tests.store.conftest import QUEUE, TASK, change, claim, complete, dead_letter, shift, store

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin


def test_jobs_that_are_not_sent_any_more(plugin: Plugin) -> None:
    most = plugin.settings.max_sends
    job = store(plugin.db)
    change(plugin.db, job, send_count=most - 1)
    assert ask(plugin, "sends-used-up") == []
    change(plugin.db, job, send_count=most)
    (finding,) = ask(plugin, "sends-used-up")
    assert finding.severity == "error"
    assert f"1 job(s) in the queue '{QUEUE}' were sent {most} times" in finding.words
    claim(plugin.db, job)
    assert ask(plugin, "sends-used-up") == []


def test_jobs_that_the_promoter_has_still_to_send(plugin: Plugin) -> None:
    change(plugin.db, store(plugin.db), send_count=plugin.settings.max_sends, sent_at=None)
    assert ask(plugin, "sends-used-up") == []


@pytest.mark.parametrize("reason", [FailureReason.UNKNOWN_TASK, FailureReason.UNDECODABLE])
def test_jobs_that_workers_refuse(plugin: Plugin, reason: FailureReason) -> None:
    job = store(plugin.db)
    assert ask(plugin, "jobs-refused") == []
    endings.refuse(plugin.db, job, reason, "no", 10)
    (finding,) = ask(plugin, "jobs-refused")
    assert (finding.severity, repr(TASK) in finding.words) == ("warning", True)
    claim(plugin.db, job)
    assert ask(plugin, "jobs-refused") == []


def test_jobs_that_were_refused_to_their_end(plugin: Plugin) -> None:
    endings.refuse(plugin.db, store(plugin.db), FailureReason.UNKNOWN_TASK, "no", 1)
    assert ask(plugin, "jobs-refused") == []


def test_ends_that_celery_has_not_heard_of(plugin: Plugin) -> None:
    job = store(plugin.db)
    endings.cancel(plugin.db, job)
    shift(plugin.db, 290)
    assert ask(plugin, "ends-untold") == []
    shift(plugin.db, 20)
    assert [finding.severity for finding in ask(plugin, "ends-untold")] == ["warning"]
    endings.mark_told(plugin.db, job)
    assert ask(plugin, "ends-untold") == []


def test_callbacks_that_nobody_sends(plugin: Plugin) -> None:
    job = complete(plugin.db, store(plugin.db, callback_url="https://shop.example/hook"))
    shift(plugin.db, 290)
    assert ask(plugin, "callbacks-unsent") == []
    shift(plugin.db, 20)
    (finding,) = ask(plugin, "callbacks-unsent")
    assert (finding.severity, "1 callback(s) have been due for" in finding.words) == ("warning", True)
    (callback,) = callbacks.take(plugin.db, [job], 30)
    assert ask(plugin, "callbacks-unsent") == []
    assert callbacks.mark(plugin.db, callback, 500, "no", 5)
    shift(plugin.db, 1000)
    assert ask(plugin, "callbacks-unsent") == []


def test_alerts_that_nobody_sends(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_letter(plugin.db, queue="mail")
    shift(plugin.db, 590)
    alerted(plugin, monkeypatch)
    assert ask(plugin, "alerts-late") == []
    shift(plugin.db, 20)
    (finding,) = ask(plugin, "alerts-late")
    assert (finding.severity, "an alert of the queue 'mail' has been due" in finding.words) == ("warning", True)
    report = alerts.take(plugin.db, "mail", 30)
    assert ask(plugin, "alerts-late") == []
    assert report
    assert alerts.settle(plugin.db, report, 300)
    shift(plugin.db, 5000)
    assert ask(plugin, "alerts-late") == []


def test_alerts_that_reach_nobody(plugin: Plugin) -> None:
    dead_letter(plugin.db, queue="mail")
    for tries in (1, 2, 3):
        assert ask(plugin, "alerts-failing") == []
        report = alerts.take(plugin.db, "mail", 30)
        assert report
        assert report.tries == tries
        assert alerts.again(plugin.db, report, 0)
    (finding,) = ask(plugin, "alerts-failing")
    assert finding.words == "an alert of the queue 'mail' was sent 3 times and reached nobody"


def alerted(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    told = replace(
        plugin.settings,
        alert_urls=Destinations((Destination("json://localhost"),)),
        queues={"mail": QueueSettings(alerts_enabled=True)},
    )
    monkeypatch.setitem(plugin.__dict__, "settings", told)
