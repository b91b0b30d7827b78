"""`jobs pause`, `jobs resume`, `jobs drain`: what a person and a program read, and the exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from tests.cli.conftest import lines
from tests.jobs.conftest import claim

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Run


def test_a_queue_is_paused_and_goes_on(app: Celery, run: Run) -> None:
    told = run("pause", "celery", "--reason", "the bank is closed", "--until", "2h", "--by", "mo")
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.startswith("the queue celery is paused until 20")
    assert told.stdout.endswith("Z; 0 jobs of it still run\n")
    app.tasks["cli.add"].delay(1, 2)
    assert "the bank is closed" in run("queues").stdout
    told = run("resume", "celery")
    assert (told.exit_code, told.stdout) == (0, "the queue celery goes on, 1 job sent\n")
    assert run("resume", "celery").stdout == "the queue celery goes on, 0 jobs sent\n"


def test_a_program_reads_json(run: Run) -> None:
    (made,) = lines(run("pause", "celery", "--by", "mo", "--json").stdout)
    assert (made.pop("paused_at")[-1], made) == (
        "Z",
        {"queue": "celery", "paused_until": None, "paused_by": "mo", "paused_reason": None},
    )
    assert lines(run("resume", "celery", "--json").stdout) == [{"queue": "celery", "sent": 0}]


def test_draining_ends_when_nothing_runs_or_with_the_timeout(app: Celery, run: Run) -> None:
    told = run("drain", "celery", "--timeout", "30")
    assert (told.exit_code, told.stdout) == (0, "nothing of the queue celery runs\n")
    assert "the queue celery is paused; waiting for 0 jobs" in told.stderr
    run("resume", "celery")
    claim(plugin_of(app).db, Jobs(app).enqueue("cli.add", (1, 2)).id)
    told = run("drain", "celery", "--timeout", "0.2")
    assert told.exit_code == 5
    assert "1 of its jobs still run after 0.2 s" in told.stderr
    assert Jobs(app).queues()[0].paused_at is not None


def test_wrong_names_and_times_are_told(run: Run) -> None:
    told = run("pause", "celrey")
    assert told.exit_code == 1
    assert "did you mean celery?" in told.stderr
    told = run("pause", "celery", "--until", "2020-01-01")
    assert told.exit_code == 2
    assert "a moment to come is expected" in told.stderr
    assert run("pause", "").exit_code == 2
