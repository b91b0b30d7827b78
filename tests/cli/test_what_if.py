"""stats --what-if: the forecast as tables, as JSON, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs.plugin import plugin_of
from celery_jobs.store import chains
from tests.cli.conftest import lines
from tests.cli.shop import make_shop
from tests.store.conftest import FAILURE, begin, complete, dead_letter, shift, store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from tests.cli.conftest import Run


@pytest.fixture
def app(broker_url: str, database_url: str) -> Iterator[Celery]:
    """The same app on either database."""
    app = make_shop(broker_url, database_url)
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def history(app: Celery) -> None:
    """Three failures of a queue without retries, one got over since, beside what others do."""
    db = plugin_of(app).db
    for args, policy in (([1], [60, 60]), ([2], [90]), ([3], [])):
        level = {"delays": policy, "max_attempts": None, "jitter": False}
        job = begin(db, task="cli.fail", queue="plain", args=args, retries_enabled=False, retry_policy=level)
        chains.bury(db, job, FAILURE)
        shift(db, 100)
    complete(db, store(db, task="cli.fail", queue="plain", args=[1]))
    for _ in range(2):
        dead_letter(db, task="cli.add", queue="bold")
    store(db, task="cli.add", queue="bold")


@pytest.mark.usefixtures("history")
def test_what_if_tells_by_queue_and_task_what_would_have_been(run: Run) -> None:
    done = run("stats", "--what-if")
    assert (done.exit_code, done.stderr) == (0, "")
    retries, duplicates, words = (block.splitlines() for block in done.stdout.split("\n\n"))
    assert retries[0].startswith("had retries been on since 2")
    assert [row.split() for row in retries[1:]] == [
        ["QUEUE", "TASK", "FAILED", "RETRIED", "AFTER", "ATTEMPTS", "DEAD", "GOT", "OVER"],
        ["plain", "cli.fail", "3", "2", "1m-1m", "30s", "3", "1", "1"],
        ["all", "3", "2", "1m-1m", "30s", "3", "1", "1"],
    ]
    assert [row.split() for row in duplicates] == [
        ["the", "same", "again", "within", "1m,", "or", "before", "its", "end"],
        ["QUEUE", "TASK", "RUNS", "DUPLICATES", "OVERLAPPING"],
        ["bold", "cli.add", "3", "2", "0"],
        ["all", "7", "2", "0"],
    ]
    assert words[0].startswith("At most so many RETRIED")
    assert all(len(word) <= 80 for word in words)


@pytest.mark.usefixtures("history")
def test_what_if_as_json_is_a_line_a_forecast_and_their_sum(run: Run) -> None:
    bold, plain, total = lines(run("stats", "--what-if", "--json", "--within", "0").stdout)
    assert [one["kind"] for one in (bold, plain, total)] == ["forecast", "forecast", "total"]
    assert (bold["queue"], bold["runs"], bold["failed"], bold["least_wait"], bold["duplicates"]) == (
        "bold",
        3,
        0,
        None,
        0,
    )
    assert (plain["retried"], plain["attempts"], plain["dead_lettered"], plain["got_over"]) == (2, 3, 1, 1)
    assert (total["failed"], total["least_wait"], total["most_wait"]) == (3, 60, 90)
    assert (total["complete"], total["within"], total["limit"]) == (True, 0, 100_000)
    assert total["since"].endswith("Z")


@pytest.mark.usefixtures("history")
def test_what_if_looks_at_a_queue_a_time_and_so_many_runs(run: Run) -> None:
    assert "bold" not in run("stats", "--what-if", "--queue", "plain").stdout
    assert "cli.fail" not in run("stats", "--what-if", "--since", "90s").stdout
    done = run("stats", "--what-if", "--limit", "3")
    assert "no run failed for it" in done.stdout
    assert done.stderr == "only the newest 3 runs were looked at; --limit looks at more\n"


def test_without_history_it_says_so(run: Run) -> None:
    done = run("stats", "--what-if")
    assert "no run failed for it" in done.stdout
    assert "no run was like another" in done.stdout


WRONG = {
    "--since 7d": "--since goes with --what-if",
    "--limit 5": "--limit goes with --what-if",
    "--what-if --window 1h": "--window goes without --what-if",
    "--what-if --limit 1000001": "1<=x<=1000000",
    "--what-if --since soon": "an ISO 8601 moment",
}


def test_options_that_do_not_go_together_are_wrong_usage(run: Run) -> None:
    for words, says in WRONG.items():
        done = run("stats", *words.split())
        assert done.exit_code == 2
        assert says in done.stderr
