"""`jobs callback resend`, and what `jobs show` says of callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store import callbacks
from tests.cli.conftest import Run, lines
from tests.processes import wait_until
from tests.store.conftest import change, complete, store

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.store.db import Database
    from tests.callbacks.receiver import Receiver

URL = "https://shop.example/hook"


@pytest.fixture
def db(app: Celery) -> Database:
    return plugin_of(app).db


def settled(db: Database, status: int | None, error: str | None, ms: int, tries: int = 1) -> str:
    job_id = complete(db, store(db, callback_url=URL))
    (callback,) = callbacks.take(db, [job_id], 30)
    assert callbacks.mark(db, callback, status, error, ms)
    change(db, job_id, callback_tries=tries)
    return job_id


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ((204, None, 87), f"callback  {URL} (attempt 1 sent, answered 204, after 87ms)"),
        ((500, "the receiver answered 500", 3, 3), "(attempt 1 failed, the receiver answered 500, after 3ms, try 3)"),
        ((None, "timeout: no answer", 10_000), "(attempt 1 failed, timeout: no answer, after 10s)"),
    ],
)
def test_show_tells_what_became_of_the_callback(
    run: Run, db: Database, outcome: tuple[int | None, str | None, int], words: str
) -> None:
    shown = run("show", settled(db, *outcome)).stdout
    assert words in " ".join(shown.split()).replace("callback ", "callback  ")


def test_the_json_of_an_attempt_has_the_whole_outcome(run: Run, db: Database) -> None:
    (shown,) = lines(run("show", settled(db, 500, "the receiver answered 500", 3), "--json").stdout)
    (attempt,) = shown["attempts"]
    outcome = {name: attempt[f"callback_{name}"] for name in ("state", "status", "error", "duration_ms", "tries")}
    assert outcome == {
        "state": "failed",
        "status": 500,
        "error": "the receiver answered 500",
        "duration_ms": 3,
        "tries": 1,
    }
    assert attempt["callback_at"].endswith("Z")


def test_resend_sends_it_again(app: Celery, run: Run, receiver: Receiver) -> None:
    from tests.apps import working

    app.conf.jobs_http_allowed_addresses = ["127.0.0.1"]
    app.conf.jobs_heartbeat_interval = 0.5
    job_id = app.tasks["cli.add"].apply_async((1,), callback_url=receiver.url()).job_id
    with working(app):
        receiver.wait_for("/hook", 1)
        wait_until(lambda: Jobs(app).get(job_id).attempts[0].callback_state == "sent")
        said = run("callback", "resend", job_id[:23])
        assert (said.exit_code, said.stdout) == (0, f"a callback of {job_id} is due now\n")
        first, second = receiver.wait_for("/hook", 2)
        assert (first.id, first.body) == (second.id, second.body)
    assert "(attempt 1 sent, answered 200, after " in " ".join(run("show", job_id).stdout.split())


def test_resend_gives_json_and_takes_the_number_of_an_attempt(run: Run, db: Database) -> None:
    job_id = settled(db, 200, None, 5)
    (shown,) = lines(run("callback", "resend", job_id, "--attempt", "1", "--json").stdout)
    assert (shown["id"], shown["attempts"][0]["callback_state"]) == (job_id, "due")


def test_resend_says_of_what_is_being_sent_that_it_is(run: Run, db: Database) -> None:
    job_id = complete(db, store(db, callback_url=URL))
    (taken,) = callbacks.take(db, [job_id], 30)
    said = run("callback", "resend", job_id)
    assert (said.exit_code, said.stdout) == (0, f"a callback of {job_id} is being sent right now\n")
    (shown,) = lines(run("callback", "resend", job_id, "--json").stdout)
    assert shown["attempts"][0]["callback_state"] == "sending"
    assert callbacks.mark(db, taken, 200, None, 5)


def test_what_cannot_be_resent_is_one_line_and_an_exit_code(run: Run, db: Database) -> None:
    silent, waiting, done = complete(db, store(db)), store(db, callback_url=URL), settled(db, 200, None, 5)
    for arguments, code, words in (
        ((silent,), 1, f"Error: the job {silent} has no callback_url"),
        ((waiting,), 1, f"Error: the job {waiting} has not ended; its callback is sent when it does"),
        ((done, "--attempt", "2"), 2, "Error: attempt: a number from 1 to 1 is expected, not 2"),
        (("0199b2f4-0000-7000-8000-000000000000",), 3, "Error: no job with the id '0199b2f4-0000-7000-8000-0"),
    ):
        said = run("callback", "resend", *arguments)
        assert (said.exit_code, said.stdout) == (code, "")
        assert said.stderr.startswith(words)
