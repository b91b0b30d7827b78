"""replay, cancel, fire and delete: one at once, many only after they were counted, shown and confirmed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.ids import new_id
from celery_jobs.plugin import plugin_of
from celery_jobs.store import attempts, workers
from tests.cli.conftest import lines

if TYPE_CHECKING:
    from celery import Celery
    from click.testing import Result

    from tests.cli.conftest import Kill, Run


def done(result: Result) -> dict[str, Any]:
    """The object that a bulk verb ends with."""
    (found,) = lines(result.stdout)
    return found


def hold(app: Celery, count: int, **options: Any) -> list[str]:
    """Ids of jobs that wait for an hour."""
    return [app.tasks["cli.add"].apply_async((n,), delay=3600, **options).job_id for n in range(count)]


def test_one_id_is_replayed_at_once(app: Celery, run: Run, dead: str) -> None:
    result = run("replay", dead, "--reason", "stock is back")
    new = Jobs(app).get(dead).replayed_as
    assert result.stdout == f"{dead} is replayed as {new}\n"
    assert Jobs(app).get(str(new)).replay_reason == "stock is back"
    assert lines(run("replay", dead, "--force", "--json").stdout)[0]["replay_of"] == dead


def test_a_second_replay_needs_force(run: Run, dead: str) -> None:
    run("replay", dead)
    again = run("replay", dead)
    assert again.exit_code == 1
    assert "force" in again.stderr


def test_a_live_run_cannot_be_replayed(app: Celery, run: Run) -> None:
    result = run("replay", app.tasks["cli.add"].delay(1).job_id)
    assert result.exit_code == 1
    assert "has not ended" in result.stderr


def test_arguments_that_no_longer_fit_the_task_are_not_replayed(app: Celery, run: Run, dead: str) -> None:
    app.tasks["cli.fail"].run = lambda: None
    result = run("replay", dead)
    assert result.exit_code == 1
    assert "no longer fit" in result.stderr


def test_an_unknown_id_ends_with_3(run: Run) -> None:
    for command in ("show", "wait", "replay", "cancel", "fire", "delete"):
        result = run(command, "x")
        assert result.exit_code == 3
        assert "no job with the id 'x'" in result.stderr


def test_neither_ids_nor_a_filter_is_wrong_usage_and_so_are_both(run: Run) -> None:
    for command in ("replay", "cancel", "fire", "delete"):
        neither, both = run(command), run(command, "x", "--queue", "plain")
        assert (neither.exit_code, both.exit_code) == (2, 2)
        assert "say which: IDS, or a filter" in neither.stderr
        assert "not both" in both.stderr


@pytest.mark.usefixtures("asked")
def test_many_are_counted_and_shown_and_asked_for_first(app: Celery, run: Run, kill: Kill) -> None:
    ids = kill(*"abcdefg")
    result = run("replay", "--task", "cli.fail", input="n\n")
    assert result.exit_code == 1
    assert "7 runs to replay, the first 5 of them:" in result.stderr
    assert [id in result.stderr for id in ids] == [True] * 5 + [False] * 2
    assert "Replay all 7? [y/N]" in result.stderr
    assert "nothing was done" in result.stderr
    assert result.stdout == ""
    assert run("replay", "--task", "cli.fail", input="\n").exit_code == 1
    assert Jobs(app).count() == 7
    assert run("replay", "--task", "cli.fail", input="y\n").stdout == "7 replayed\n"
    assert Jobs(app).count() == 14


def test_where_nobody_can_be_asked_yes_is_demanded(app: Celery, run: Run, dead: str) -> None:
    result = run("replay", "--task", "cli.fail")
    assert result.exit_code == 2
    assert "give --yes" in result.stderr
    assert Jobs(app).get(dead).replayed_as is None


def test_a_dry_run_asks_nobody_and_does_nothing(app: Celery, run: Run, kill: Kill) -> None:
    ids = kill("a", "b")
    assert run("replay", *ids, "--dry-run").stdout == "2 would be replayed\n"
    assert run("replay", ids[0], "--dry-run").stdout == "1 would be replayed\n"
    assert done(run("replay", *ids, "--dry-run", "--json"))["dry_run"] is True
    assert Jobs(app).count() == 2


def test_the_end_says_how_many_were_sent_and_skipped_and_why(app: Celery, run: Run, kill: Kill) -> None:
    ids = kill("a", "b", "c")
    run("replay", ids[0])
    waiting = hold(app, 1)
    result = run("replay", *ids, *waiting, "x", "--yes")
    assert result.exit_code == 0
    assert result.stdout == (
        "2 replayed, 3 skipped: 1 already replayed (--force replays again), 1 not ended yet, 1 not found\n"
    )
    assert run("replay", *ids, "--yes", "--force").stdout == "3 replayed\n"


def test_the_end_lists_all_that_no_longer_bind_to_the_tasks_signature(app: Celery, run: Run, kill: Kill) -> None:
    ids = kill("a", "b")
    app.tasks["cli.fail"].run = lambda: None
    result = run("replay", "--task", "cli.fail", "--yes")
    assert result.exit_code == 0
    assert "0 replayed, 2 skipped: 2 with arguments that no longer fit the task\n" in result.stdout
    assert result.stdout.endswith("".join(f"  {id}\n" for id in ids))


def test_json_ends_with_one_object(app: Celery, run: Run, kill: Kill) -> None:
    kill("a", "b")
    result = run("replay", "--task", "cli.fail", "--yes", "--json", "--rate", "3000/m")
    told = done(result)
    assert (told["verb"], told["matched"], told["done"], told["stopped"]) == ("replay", 2, 2, False)
    assert result.stderr == ""


def test_no_match_is_no_error_and_asks_nobody(run: Run) -> None:
    result = run("replay", "--queue", "nowhere")
    assert (result.exit_code, result.stdout) == (0, "no runs to replay\n")


def test_where_every_id_given_was_refused_the_exit_code_is_1_and_where_none_exists_3(app: Celery, run: Run) -> None:
    assert run("replay", *hold(app, 2), "--yes").exit_code == 1
    assert run("replay", "x", "y", "--yes").exit_code == 3
    assert run("replay", hold(app, 1)[0], "--dry-run").exit_code == 1


@pytest.mark.parametrize("rate", ["0", "fast", "-1/s", "5/y", "50 per s"])
def test_a_rate_that_is_none_is_wrong_usage(run: Run, rate: str) -> None:
    result = run("replay", "--queue", "plain", "--rate", rate)
    assert result.exit_code == 2
    assert "50/s" in result.stderr


def test_a_filter_goes_on_after_a_cursor(app: Celery, run: Run, kill: Kill) -> None:
    ids = kill("a", "b", "c")
    told = done(run("replay", "--task", "cli.fail", "--after", ids[0], "--yes", "--json"))
    assert told["done"] == 2
    assert Jobs(app).get(ids[0]).replayed_as is None
    assert run("replay", "--task", "cli.fail", "--after", "x").exit_code == 2


@pytest.mark.usefixtures("asked")
def test_what_is_left_after_a_cursor_is_what_is_asked_for(run: Run, kill: Kill) -> None:
    ids = kill("a", "b", "c")
    for which in (["--task", "cli.fail"], ids):
        assert "2 runs to replay:" in run("replay", *which, "--after", ids[0], input="n\n").stderr


def test_a_waiting_job_is_cancelled_and_again_without_error(app: Celery, run: Run) -> None:
    (job_id,) = hold(app, 1)
    assert run("cancel", job_id[:23]).stdout == f"{job_id} is cancelled\n"
    assert run("cancel", job_id).exit_code == 0


def test_a_run_that_ended_otherwise_cannot_be_cancelled(run: Run, dead: str) -> None:
    result = run("cancel", dead)
    assert result.exit_code == 1
    assert "has ended as dead_lettered" in result.stderr


@pytest.mark.parametrize("many", [True, False])
def test_a_running_job_is_asked_to_stop_or_killed(app: Celery, run: Run, many: bool) -> None:
    db, worker = plugin_of(app).db, new_id()
    job_id = str(app.tasks["cli.add"].delay(1).job_id)
    attempts.claim(db, job_id, worker, token := new_id(), 60)
    which = ("--queue", "celery", "--yes") if many else (job_id,)
    asked = "1 cancelled or asked to stop\n" if many else f"{job_id} is asked to stop\n"
    assert run("cancel", *which).stdout == asked
    assert workers.terminating(db, worker) == set()
    killed = asked if many else f"{job_id} is about to be killed\n"
    assert run("cancel", *which, "--terminate").stdout == killed
    assert workers.terminating(db, worker) == {token}


@pytest.mark.usefixtures("asked")
def test_a_filter_of_cancel_means_what_has_not_ended(app: Celery, run: Run, dead: str) -> None:
    hold(app, 3)
    result = run("cancel", "--queue", "celery", input="y\n")
    assert "Cancel all 3?" in result.stderr
    assert result.stdout == "3 cancelled or asked to stop\n"


def test_what_waits_is_fired(app: Celery, run: Run) -> None:
    ids = hold(app, 3)
    assert run("fire", ids[0]).stdout == f"{ids[0]} is due now\n"
    assert run("fire", "--queue", "celery", "--yes").stdout == "3 fired\n"
    assert not any(row["scheduled_at"] > row["created_at"][:11] + "99" for row in lines(run("list", "--json").stdout))


def test_deleting_spares_dead_letters(app: Celery, run: Run, dead: str) -> None:
    ids = hold(app, 3)
    assert run("delete", ids[0]).stdout == f"{ids[0]} is deleted, 1 attempt\n"
    assert json.loads(run("delete", ids[1], "--json").stdout) == {"id": ids[1], "deleted_attempts": 1}
    result = run("delete", "--queue", "celery", "--yes")
    assert result.stdout == "1 deleted, 1 skipped: 1 in the dead-letter queue (purge removes them)\n"
    assert [run_.id for run_ in Jobs(app).list()] == [dead]
    assert "purge it instead" in run("delete", dead).stderr


def test_what_has_ended_is_erased(app: Celery, run: Run, dead: str) -> None:
    [waits] = hold(app, 1)
    assert run("erase", waits).exit_code == 1
    result = run("erase", dead, waits, "--yes")
    assert result.stdout == "1 erased, 1 skipped: 1 not ended yet\n"
    assert json.loads(run("erase", dead, "--json").stdout)["erased_at"]
    assert run("erase", dead).stdout == f"{dead} is erased\n"
    assert "erased at" in run("show", dead).stdout
    assert run("erase", "--queue", "celery", "--yes").stdout == "1 erased\n"


def test_a_key_is_released_by_hand(app: Celery, run: Run) -> None:
    first = app.tasks["cli.add"].apply_async((1,), idempotency_key="k1")
    assert run("release-key", "k1", "cli.add").stdout == f"the key k1 is free; {first.job_id} had it\n"
    again = run("release-key", "k1", "cli.add")
    assert again.exit_code == 3
    assert "no job has the idempotency key 'k1' in the scope 'cli.add'" in again.stderr
    second = app.tasks["cli.add"].apply_async((1,), idempotency_key="k1")
    (released,) = lines(run("release-key", "k1", "cli.add", "--json").stdout)
    assert (released["id"], released["idempotency_key"]) == (second.job_id, None)
    assert run("release-key", "k1").exit_code == run("release-key", "", "cli.add").exit_code == 2
