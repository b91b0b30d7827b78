"""`celery -A app jobs …`: what it prints for people and for programs, and its exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.demo.valkey import free_port
from celery_jobs.plugin import plugin_of
from celery_jobs.store.tables import jobs as table
from tests.apps import working
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Run


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def dead(app: Celery) -> str:
    """The id of a dead letter."""
    with working(app):
        job_id = str(app.tasks["cli.fail"].delay("no stock").job_id)
        wait_until(lambda: Jobs(app).get(job_id).has_ended)
    return job_id


def test_list_shows_runs_newest_first(app: Celery, run: Run) -> None:
    assert run("list").stdout == "no jobs\n"
    first, second = app.tasks["cli.add"].delay(1), app.tasks["cli.add"].delay(2)
    assert [row["id"] for row in lines(run("list", "--json").stdout)] == [second.job_id, first.job_id]
    assert run("list").stdout.index(second.job_id) < run("list").stdout.index(first.job_id)


def test_list_pages_by_cursor(app: Celery, run: Run) -> None:
    ids = [app.tasks["cli.add"].delay(n).job_id for n in range(3)]
    first = run("list", "--limit", "2", "--json")
    assert [row["id"] for row in lines(first.stdout)] == [ids[2], ids[1]]
    cursor = first.stderr.split()[-1]
    rest = run("list", "--limit", "2", "--cursor", cursor, "--json")
    assert [row["id"] for row in lines(rest.stdout)] == [ids[0]]
    assert rest.stderr == ""


@pytest.mark.parametrize("spelling", ["dead_lettered", "deadletter", "DEAD"])
def test_list_takes_each_spelling_of_the_dead_letter_queue(run: Run, dead: str, spelling: str) -> None:
    assert [row["id"] for row in lines(run("list", "--status", spelling, "--json").stdout)] == [dead]
    assert lines(run("list", "--status", "success", "--json").stdout) == []


def test_an_unknown_state_is_an_error_that_lists_the_known_ones(run: Run) -> None:
    result = run("list", "--status", "broken")
    assert result.exit_code == 1
    assert "dead_lettered" in result.stderr


def test_show_tells_the_whole_chain(run: Run, dead: str) -> None:
    shown = run("show", dead).stdout
    for words in ("cli.fail", "dead_lettered", "('no stock')", "ValueError: no stock", "Traceback"):
        assert words in shown
    (told,) = lines(run("show", dead, "--json").stdout)
    assert told["final_status"] == "dead_lettered"
    assert told["attempts"][0]["error_message"] == "no stock"
    assert told["dead_lettered_at"].endswith("Z")


def test_an_unknown_id_ends_with_3(run: Run) -> None:
    for command in (("show", "x"), ("replay", "x"), ("cancel", "x"), ("dlq", "replay", "x")):
        result = run(*command)
        assert result.exit_code == 3
        assert "no job with the id 'x'" in result.stderr


def test_dead_letters_are_listed_replayed_and_purged(app: Celery, run: Run, dead: str) -> None:
    assert dead in run("dlq", "list").stdout
    replayed = run("dlq", "replay", dead, "--reason", "stock is back")
    assert replayed.exit_code == 0
    (new,) = lines(run("list", "--status", "pending", "--json").stdout)
    assert (new["replay_of"], new["replay_reason"]) == (dead, "stock is back")
    again = run("replay", dead)
    assert again.exit_code == 1
    assert "force" in again.stderr
    assert run("replay", dead, "--force").exit_code == 0
    assert run("dlq", "purge", dead, input="n\n").exit_code == 1
    assert run("dlq", "purge", dead, "--yes").stdout == f"{dead} is purged, 1 attempt(s)\n"
    assert run("dlq", "list").stdout == "the dead-letter queue is empty\n"


def test_only_dead_letters_can_be_purged(app: Celery, run: Run) -> None:
    job_id = app.tasks["cli.add"].delay(1).job_id
    result = run("dlq", "purge", job_id, "--yes")
    assert result.exit_code == 1
    assert "not in the dead-letter queue" in result.stderr


def test_arguments_that_no_longer_fit_the_task_are_not_replayed(app: Celery, run: Run, dead: str) -> None:
    app.tasks["cli.fail"].run = lambda: None
    result = run("replay", dead)
    assert result.exit_code == 1
    assert "no longer fit" in result.stderr


def test_a_waiting_job_is_cancelled_and_again_without_error(app: Celery, run: Run) -> None:
    job_id = app.tasks["cli.add"].apply_async((1,), delay=3600).job_id
    assert run("cancel", job_id).stdout == f"{job_id} is cancelled\n"
    assert run("cancel", job_id).exit_code == 0


def test_a_run_that_ended_otherwise_cannot_be_cancelled(run: Run, dead: str) -> None:
    result = run("cancel", dead)
    assert result.exit_code == 1
    assert "has ended as dead_lettered" in result.stderr


def test_a_live_run_cannot_be_replayed(app: Celery, run: Run) -> None:
    result = run("replay", app.tasks["cli.add"].delay(1).job_id)
    assert result.exit_code == 1
    assert "has not ended" in result.stderr


def test_check_finds_what_is_broken_and_ends_with_1(app: Celery, run: Run, dead: str) -> None:
    assert run("check").stdout == "all invariants hold\n"
    plugin_of(app).db.run(lambda connection: connection.execute(table.update().values(dead_lettered_at=None)))
    result = run("check")
    assert result.exit_code == 1
    assert f"job {dead}" in result.stdout
    assert {row["number"] for row in lines(run("check", "--json").stdout)} == {4}


def test_promote_sweep_and_reap_say_what_they_did(app: Celery, run: Run) -> None:
    app.tasks["cli.add"].apply_async((1,), delay=61)
    app.tasks["cli.add"].apply_async((1,), delay=3600)
    assert run("promote").stdout == "1 job(s) promoted, 0 sent again or ended\n"
    assert run("sweep").stdout == "0 dead letter(s) and 0 old run(s) deleted\n"
    assert lines(run("reap", "--json").stdout) == [{"service": "reaper", "handled": 0}]


def test_migrate_says_where_the_schema_stands(run: Run) -> None:
    assert "is up to date (version 0001)" in run("migrate").stdout


def test_a_database_that_does_not_answer_ends_with_4(app: Celery, run: Run) -> None:
    app.conf.jobs_database_url = f"postgresql://nobody@127.0.0.1:{free_port()}/jobs"
    result = run("list")
    assert result.exit_code == 4
    assert "does not answer" in result.stderr
