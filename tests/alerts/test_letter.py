"""What an alert says, and where it is said that it cannot go."""

from __future__ import annotations

import sys
import textwrap
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from celery_jobs import InvalidSettings, Jobs, JobTask
from celery_jobs.alerts import Channels, letter_of
from celery_jobs.alerts.letter import MOST_DEATHS
from celery_jobs.destinations import Destination, Destinations
from celery_jobs.plugin import plugin_of
from celery_jobs.store.alerts import Cause, Report
from tests.docs.pages import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.plugin import Plugin
    from tests.callbacks.receiver import Receiver

FIRST, SECOND = "0199b2f4-0000-7000-8000-000000000001", "0199b2f4-0000-7000-8000-000000000002"


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", task_cls=JobTask, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def plugin(app: Celery) -> Plugin:
    app.conf.update(jobs_redact=["card"], jobs_database_url="sqlite://")
    return plugin_of(app)


def report(*causes: Cause, count: int | None = None, queue: str = "mail") -> Report:
    total = sum(cause.count for cause in causes) if count is None else count
    return Report(queue, datetime.now(UTC), 0, total, "2026-01-01T12:00:00+00:00", causes, False)


def test_a_letter_says_what_died_why_how_often_how_to_see_and_how_to_replay_it(plugin: Plugin) -> None:
    causes = (
        Cause("charge", "BankError", 'refused {"card": "4242"}\n  at once', FIRST, 3),
        Cause(None, None, None, SECOND),
    )
    letter = letter_of(plugin, report(*causes, count=6), deaths=40)
    assert letter.title == "6 jobs died in the queue mail"
    assert letter.body == (
        f"charge: 3 jobs, the first of them {FIRST}\n"
        '    BankError: refused {"card": ***} at once\n'
        f"a job without a task: the job {SECOND}\n"
        "    no error was recorded\n"
        "and 2 jobs more, of other kinds\n"
        "\n"
        "Within the last hour 40 jobs died in this queue.\n"
        "\n"
        f"See:    celery -A shop jobs show {FIRST}\n"
        "        celery -A shop jobs dlq list --queue mail\n"
        f"Replay: celery -A shop jobs replay {FIRST}\n"
        "        celery -A shop jobs dlq replay --queue mail --dead-since 2026-01-01T12:00:00+00:00"
    )


def test_the_letter_of_the_page_is_one(plugin: Plugin) -> None:
    causes = (
        Cause("charge", "ConnectionError", "the bank does not answer", "0199b2f4-7c11-7000-8000-5a3a6e2f9d01", 2),
        Cause("refund", "ValueError", "no such order", "0199b2f4-81d0-7000-8000-0c1f6c9b7e44"),
    )
    letter = letter_of(plugin, report(*causes, queue="payments"), deaths=41)
    assert textwrap.indent(f"{letter.title}\n\n{letter.body}\n", "    ") in text_of("alerts.md")


def test_a_count_that_was_cut_says_so_and_a_nasty_queue_is_quoted(plugin: Plugin) -> None:
    letter = letter_of(plugin, report(Cause("t", "E", "e", FIRST), queue="a; rm -rf"), deaths=MOST_DEATHS + 1)
    assert "more than 10,000 jobs died" in letter.body
    assert "--queue 'a; rm -rf'" in letter.body


def test_an_app_without_a_name_leaves_it_to_the_reader(plugin: Plugin) -> None:
    plugin.app.main = "__main__"
    assert "celery -A <your app> jobs show" in letter_of(plugin, report(Cause("t", "E", "e", FIRST)), 1).body


def test_a_destination_that_apprise_cannot_read_is_told_without_its_secret() -> None:
    destinations = Destinations((Destination("nonsense://secret"), Destination("json://localhost")))
    with pytest.raises(InvalidSettings, match=r"jobs_alert_urls: nonsense://\*\*\*: Apprise cannot read") as refused:
        Channels(destinations)
    assert "secret" not in str(refused.value)


def test_without_apprise_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(InvalidSettings, match=r"pip install 'celery-jobs\[alerts\]'"):
        Channels(Destinations((Destination("json://localhost"),)))


def test_a_service_that_breaks_is_a_failed_delivery(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = Channels(Destinations((Destination("json://localhost:9"),)))

    def breaks(*_: object, **__: object) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr("apprise.Apprise.notify", breaks)
    (delivery,) = channels.send("mail", letter_of(plugin, report(Cause("t", "E", "e", FIRST)), 1))
    assert (delivery.service, delivery.error) == ("JSON", "RuntimeError")


def test_a_service_that_hangs_delays_nobody_and_leaves_no_threads_that_are_waited_for(
    plugin: Plugin, receiver: Receiver
) -> None:
    receiver.slow["/hangs"] = 60
    base = f"json://127.0.0.1:{receiver.port}"
    channels = Channels(Destinations((Destination(f"{base}/hangs?rto=90"), Destination(f"{base}/quick"))))
    letter = letter_of(plugin, report(Cause("t", "E", "e", FIRST)), 1)
    hangs, quick = channels.send("mail", letter, within=3)
    assert (hangs.error, quick.error) == ("no answer within 3 s", None)
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "celery-jobs-alert")


def test_what_is_too_long_for_a_service_comes_in_parts() -> None:
    urls = ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "json://localhost?overflow=truncate")
    channels = Channels(Destinations(tuple(Destination(url) for url in urls)))
    assert [service.overflow_mode.value for service in channels._services.values()] == ["split", "truncate"]


def test_no_log_shows_what_is_secret_in_a_destination(
    plugin: Plugin, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers["/hook/hunter2"] = [500]
    destination = Destination(f"json://user:hunter2@127.0.0.1:{receiver.port}/hook/hunter2")
    letter = letter_of(plugin, report(Cause("t", "E", "e", FIRST)), 1)
    with caplog.at_level("DEBUG"):
        (delivery,) = Channels(Destinations((destination,))).send("mail", letter)
    assert delivery.error == "refused, or not reached"
    assert "hunter2" not in caplog.text
    assert len(receiver.received) == 1


def test_nobody_is_woken_by_an_error_text(plugin: Plugin) -> None:
    letter = letter_of(plugin, report(Cause("t", "E", "wake @everyone and @Here, not a@hereby.example", FIRST)), 1)
    assert "@everyone" not in letter.body
    assert "@Here" not in letter.body
    assert "a@hereby.example" in letter.body


def test_a_test_goes_to_the_destinations_of_the_queue(app: Celery, receiver: Receiver) -> None:
    base = f"json://127.0.0.1:{receiver.port}"
    app.conf.update(jobs_alert_urls={"mail": [f"{base}/mail", f"{base}/broken"], "*": [f"{base}/all"]})
    receiver.answers["/broken"] = [500]
    first, second = Jobs(app).test_alert("mail")
    assert (first.to_json(), second.service) == ({"service": "JSON", "error": None}, "JSON")
    assert second.error is not None
    assert [delivery.error for delivery in Jobs(app).test_alert()] == [None]
    (told,) = receiver.at("/mail")
    assert "a job of the queue mail" in told.json["message"]
    assert "set alerts_enabled" in told.json["message"]


def test_a_test_without_a_destination_says_so(app: Celery) -> None:
    app.conf.update(jobs_alert_urls={"mail": ["json://localhost"]})
    with pytest.raises(InvalidSettings, match="there is no destination for the queue 'other'"):
        Jobs(app).test_alert("other")
