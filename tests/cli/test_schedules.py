"""`jobs schedule …`: what a person and a program read, and the exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs import Jobs
from tests.cli.conftest import lines

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Run


def test_a_schedule_is_set_listed_shown_and_removed(app: Celery, run: Run) -> None:
    assert run("schedule", "list").stdout == "there are no schedules\n"
    told = run(
        *("schedule", "set", "nightly", "--task", "cli.add", "--args", "[1, 2]", "--cron", "30 2 * * *"),
        *("--timezone", "Europe/Berlin", "--tag", "team=bank", "--missed", "run", "--priority", "3"),
    )
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.startswith("the schedule nightly makes cli.add 30 2 * * * Europe/Berlin, next at 20")
    told = run("schedule", "set", "ping", "--url", "https://shop.example/ping", "-X", "GET", "--every", "5m")
    assert told.stdout.startswith("the schedule ping makes GET https://shop.example/ping every 5m, next at 20")
    first, second, third = run("schedule", "list").stdout.splitlines()
    assert first.split() == ["NAME", "WHEN", "MAKES", "NEXT", "LAST", "PAUSED"]
    assert second.startswith("nightly  30 2 * * * Europe/Berlin  cli.add ")
    assert third.startswith("ping     every 5m ")
    shown = run("schedule", "show", "nightly").stdout
    for line in ("args      [1, 2]", 'options   {"tags": {"team": "bank"}, "priority": 3}', "last      never"):
        assert line in shown
    assert "missed    run" in shown
    assert run("schedule", "remove", "ping").stdout == "the schedule ping is removed\n"
    assert [one.name for one in Jobs(app).schedules()] == ["nightly"]


def test_a_schedule_is_paused_run_and_goes_on(app: Celery, run: Run) -> None:
    run("schedule", "set", "nightly", "--task", "cli.add", "--args", "[1, 2]", "--every", "1h")
    told = run("schedule", "pause", "nightly", "--by", "mo", "--reason", "stocktaking")
    assert (told.exit_code, told.stdout) == (0, "the schedule nightly is paused\n")
    assert "stocktaking" in run("schedule", "list").stdout
    assert ", by mo, stocktaking" in run("schedule", "show", "nightly").stdout
    (made,) = lines(run("schedule", "run", "nightly", "--json").stdout)
    assert (made["task"], made["tags"]) == ("cli.add", {"schedule": "nightly"})
    assert [found.id for found in Jobs(app).list(tag="schedule:nightly").runs] == [made["id"]]
    assert run("schedule", "resume", "nightly").stdout.startswith("the schedule nightly goes on, next at 20")


def test_a_program_reads_json(run: Run) -> None:
    (made,) = lines(
        run("schedule", "set", "nightly", "--task", "cli.add", "--every", "90", "--args", "[1, 2]", "--json").stdout
    )
    assert (made["name"], made["every"], made["cron"], made["next_at"][-1]) == ("nightly", 90, None, "Z")
    assert lines(run("schedule", "list", "--json").stdout) == [made]
    assert lines(run("schedule", "show", "nightly", "--json").stdout) == [made]
    assert lines(run("schedule", "remove", "nightly", "--json").stdout) == [{"name": "nightly", "removed": True}]


def test_wrong_usage_and_unknown_names_are_told(run: Run) -> None:
    told = run("schedule", "set", "nightly", "--task", "cli.add", "--args", "[1, 2]", "--cron", "61 * * * *")
    assert (told.exit_code, told.stderr) == (2, "Error: cron: Bad minute, as in '61 * * * *'\n")
    told = run("schedule", "set", "nightly", "--task", "cli.add", "--args", "[1, 2]")
    assert told.exit_code == 2
    assert "give either cron" in told.stderr
    run("schedule", "set", "nightly", "--task", "cli.add", "--args", "[1, 2]", "--every", "60")
    for verb in ("show", "pause", "resume", "run", "remove"):
        told = run("schedule", verb, "nightl")
        assert (told.exit_code, told.stderr) == (3, "Error: there is no schedule 'nightl'; did you mean nightly?\n")
