"""queues and stats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_jobs.plugin import plugin_of
from celery_jobs.store import chains
from celery_jobs.store.db import now
from celery_jobs.store.rows import Failure
from celery_jobs.store.tables import queues
from tests.cli.conftest import lines
from tests.store.conftest import begin

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Kill, Run


@pytest.fixture
def busy(app: Celery, kill: Kill) -> None:
    """Two dead letters, a failure without retries, one job that waits and one for later."""
    kill("no stock", "no shelf")
    kill("no stock", queue="plain")
    app.tasks["cli.add"].delay(1)
    app.tasks["cli.add"].apply_async((1,), delay=3600)


@pytest.mark.usefixtures("busy")
def test_queues_has_a_row_a_queue(run: Run) -> None:
    title, *rows = run("queues").stdout.splitlines()
    assert title.split()[:8] == ["QUEUE", "WAITING", "SCHEDULED", "RETRYING", "RUNNING", "DEAD", "OLDEST", "ENDED"]
    celery, plain = (row.split() for row in rows)
    assert celery[:6] == ["celery", "1", "1", "0", "0", "2"]
    assert celery[6].endswith("s")
    assert celery[7] == "2"
    assert plain[:8] == ["plain", "0", "0", "0", "0", "0", "-", "1"]
    told = lines(run("queues", "--json").stdout)
    assert [(queue["queue"], queue["waiting"], queue["ended"]) for queue in told] == [("celery", 1, 2), ("plain", 0, 1)]
    assert told[0]["oldest_waiting_at"].endswith("Z")


def test_a_paused_queue_says_since_when_and_why(app: Celery, run: Run) -> None:
    pause = queues.insert().values(name="plain", paused_at=now(-7200), paused_reason="deploy")
    plugin_of(app).db.run(lambda connection: connection.execute(pause))
    assert "for 2h: deploy" in run("queues").stdout


@pytest.mark.usefixtures("busy")
def test_stats_tells_states_rates_totals_and_what_jobs_died_of(run: Run) -> None:
    shown = run("stats", "--window", "10m").stdout
    states, ended, errors = (block.splitlines() for block in shown.split("\n\n"))
    assert states[-1].split()[:6] == ["all", "1", "1", "0", "0", "2"]
    assert ended[0] == "ended in the last 10m"
    assert ended[-1].split() == ["all", "3", "0.3", "0", "2", "1", "0"]
    assert errors[0] == "what the dead letters died of"
    count, task, first, last, *error = errors[2].split()
    assert (count, task, " ".join(error)) == ("2", "cli.fail", "ValueError: no stock")
    assert first.endswith("s")
    assert last.endswith("s")


@pytest.mark.usefixtures("busy")
def test_stats_json_is_a_line_a_queue_their_sum_and_a_line_an_error(run: Run) -> None:
    told = lines(run("stats", "--json").stdout)
    assert [one["kind"] for one in told] == ["queue", "queue", "total", "error"]
    assert (told[2]["dead_lettered"], told[2]["ended"], told[2]["ended_a_minute"]) == (2, 3, 0.05)
    assert told[3]["count"] == 2
    assert told[3]["last_at"].endswith("Z")


def test_stats_tells_of_requests_why_they_failed(app: Celery, run: Run) -> None:
    db = plugin_of(app).db
    died = Failure("http_server_error", "celery_jobs.errors.HttpFailed", "shop.example answered 500", None)
    chains.bury(db, begin(db, task="celery_jobs.http.request"), died)
    assert "HttpFailed (http_server_error): shop.example answered 500" in run("stats").stdout
    (*_, told) = lines(run("stats", "--json").stdout)
    assert (told["kind"], told["failure_reason"]) == ("error", "http_server_error")


def test_a_window_that_is_no_time_is_wrong_usage(run: Run) -> None:
    for window in ("long", "0", "-5m"):
        assert run("stats", "--window", window).exit_code == 2
