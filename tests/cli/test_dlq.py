"""dlq list, show, replay and purge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from celery_jobs import JobNotFound, Jobs
from tests.cli.conftest import lines

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Kill, Run


def test_the_list_tells_the_time_of_death_and_the_last_error(app: Celery, run: Run, dead: str) -> None:
    app.tasks["cli.add"].delay(1)
    title, row = run("dlq", "list").stdout.splitlines()
    assert title.split() == ["ID", "TASK", "DIED", "ATTEMPTS", "QUEUE", "REPLAYED", "TAGS", "LAST", "ERROR"]
    assert dead in row
    assert "ValueError: no stock" in row
    assert [found["id"] for found in lines(run("dlq", "list", "--json").stdout)] == [dead]


def test_an_empty_queue_says_so(run: Run) -> None:
    assert run("dlq", "list").stdout == "the dead-letter queue is empty\n"
    assert run("dlq", "list", "--queue", "plain").stdout == "no dead letters\n"


def test_show_refuses_what_is_not_in_the_queue_with_a_hint(app: Celery, run: Run, dead: str) -> None:
    assert "cli.fail  dead_lettered" in run("dlq", "show", dead).stdout
    assert lines(run("dlq", "show", dead, "--json").stdout)[0]["arguments"]["args"] == ["no stock"]
    result = run("dlq", "show", app.tasks["cli.add"].delay(1).job_id)
    assert result.exit_code == 1
    assert "not in the dead-letter queue, it is pending; see it with: jobs show" in result.stderr


def test_a_dead_letter_is_replayed_with_a_reason(run: Run, dead: str) -> None:
    assert run("dlq", "replay", dead, "--reason", "stock is back").exit_code == 0
    (new,) = lines(run("list", "--status", "pending", "--json").stdout)
    assert (new["replay_of"], new["replay_reason"]) == (dead, "stock is back")


def test_only_dead_letters_are_replayed(app: Celery, run: Run, kill: Kill) -> None:
    (failed,) = kill("no stock", queue="plain")
    dead = kill("a", "b")
    assert run("dlq", "replay", failed).exit_code == 1
    assert run("dlq", "replay", "--task", "cli.fail", "--yes").stdout == "2 replayed\n"
    assert [Jobs(app).get(id).replayed_as is None for id in (failed, *dead)] == [True, False, False]


def test_all_means_the_whole_queue_and_stands_alone(run: Run, kill: Kill) -> None:
    kill("a", "b")
    assert run("dlq", "replay", "--all", "--queue", "celery", "--yes").exit_code == 2
    assert "or --all" in run("dlq", "replay").stderr
    assert run("dlq", "replay", "--all", "--yes").stdout == "2 replayed\n"


@pytest.mark.usefixtures("asked")
def test_purging_asks_for_the_count_typed_in(app: Celery, run: Run, kill: Kill) -> None:
    kill("a", "b", "c")
    for wrong in ("y", "2", ""):
        refused = run("dlq", "purge", "--task", "cli.fail", input=f"{wrong}\n")
        assert refused.exit_code == 1
        assert "Type 3 to delete 3 dead letters for good:" in refused.stderr
        assert "nothing was purged" in refused.stderr
        assert Jobs(app).count() == 3
    assert run("dlq", "purge", "--task", "cli.fail", input="3\n").stdout == "3 purged\n"
    assert Jobs(app).count() == 0


@pytest.mark.usefixtures("asked")
def test_purging_one_asks_too(app: Celery, run: Run, dead: str) -> None:
    assert run("dlq", "purge", dead, input="n\n").exit_code == 1
    assert "Type 1 to delete 1 dead letter for good:" in run("dlq", "purge", dead, input="0\n").stderr
    assert run("dlq", "purge", dead, input="1\n").stdout == "1 purged\n"


def test_yes_takes_the_question_out_of_a_scripts_way(app: Celery, run: Run, kill: Kill) -> None:
    first, *others = kill("a", "b", "c")
    assert run("dlq", "purge", first).exit_code == 2
    assert run("dlq", "purge", first, "--yes").stdout == f"{first} is purged, 1 attempt\n"
    assert run("dlq", "purge", first, *others, "--yes").stdout == "2 purged, 1 skipped: 1 not found\n"


def test_only_dead_letters_can_be_purged(app: Celery, run: Run) -> None:
    job_id = app.tasks["cli.add"].delay(1).job_id
    result = run("dlq", "purge", job_id, "--yes")
    assert result.exit_code == 1
    assert "not in the dead-letter queue" in result.stderr
    assert run("dlq", "purge", "x", "--yes").exit_code == 3


@pytest.mark.usefixtures("asked")
def test_what_dies_while_somebody_thinks_is_not_purged(
    app: Celery, run: Run, kill: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = app.tasks["cli.fail"].apply_async(("late",), delay=3600).job_id
    (counted,) = kill("early")

    def think(question: str, **options: object) -> str:
        Jobs(app).fire(waiting)
        kill("another")
        assert Jobs(app).wait(waiting, 40).final_status == "dead_lettered"
        return "1"

    monkeypatch.setattr(click, "prompt", think)
    assert run("dlq", "purge", "--task", "cli.fail").stdout == "1 purged\n"
    assert Jobs(app).count(status="dead_lettered") == 2
    assert Jobs(app).get(waiting).final_status == "dead_lettered"
    with pytest.raises(JobNotFound):
        Jobs(app).get(counted)
