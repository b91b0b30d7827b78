"""`jobs alert test`, and what `jobs show` says of alerts."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from celery_jobs.alerts import letter_of
from celery_jobs.plugin import plugin_of
from celery_jobs.store import alerts, chains
from celery_jobs.store.rows import Failure
from tests.cli.conftest import Run, lines
from tests.store.conftest import begin, dead_letter, shift

if TYPE_CHECKING:
    from celery import Celery

    from tests.callbacks.receiver import Receiver


def test_a_test_is_sent_and_told(run: Run, app: Celery, receiver: Receiver) -> None:
    app.conf.jobs_alert_urls = [f"json://127.0.0.1:{receiver.port}/hook"]
    sent = run("alert", "test")
    assert sent.exit_code == 0
    assert [line.split() for line in sent.stdout.splitlines()] == [["SERVICE", "TEST"], ["JSON", "sent"]]
    assert receiver.at("/hook")[0].json["title"] == "Test: the alerts of celery-jobs arrive here"


def test_what_was_not_taken_ends_with_1(run: Run, app: Celery, receiver: Receiver) -> None:
    receiver.answers["/broken"] = [500]
    base = f"json://127.0.0.1:{receiver.port}"
    app.conf.jobs_alert_urls = {"mail": [f"{base}/broken", f"{base}/hook"]}
    sent = run("alert", "test", "--queue", "mail", "--json")
    assert sent.exit_code == 1
    broken, taken = lines(sent.stdout)
    assert broken["error"]
    assert taken == {"service": "JSON", "error": None}


def test_without_a_destination_it_says_what_is_missing(run: Run) -> None:
    refused = run("alert", "test")
    assert refused.exit_code == 1
    assert "jobs_alert_urls: there is no destination for queues without a list of their own" in refused.stderr


def test_show_tells_when_somebody_was_told(run: Run, app: Celery) -> None:
    db = plugin_of(app).db
    job_id = dead_letter(db, queue="mail")
    assert "alerted" not in run("show", job_id).stdout
    assert alerts.take(db, "mail", 30) is not None
    assert "alerted" in run("show", job_id).stdout


def test_the_commands_of_a_letter_find_what_died(run: Run, app: Celery) -> None:
    plugin = plugin_of(app)
    job = begin(plugin.db, queue="mail; x")
    shift(plugin.db, 86_400)  # it was made long before it died
    assert chains.bury(plugin.db, job, Failure("exception", "ValueError", "no"))
    report = alerts.take(plugin.db, "mail; x", 30)
    assert report is not None
    see, listed, replay, all_of_them = letter_of(plugin, report, 1).body.splitlines()[-4:]
    for line in (see, listed, all_of_them, replay):
        command = shlex.split(line.partition(" jobs ")[2])
        done = run(*command, *(["--dry-run"] if command[:2] == ["dlq", "replay"] else []))
        assert done.exit_code == 0, done.output
        assert job.id in done.stdout or "1 would be replayed" in " ".join(done.output.split()), done.output
