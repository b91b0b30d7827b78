"""enqueue: one job from options, many from lines of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from tests.apps import working
from tests.cli.conftest import lines

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from tests.cli.conftest import Run


def only(app: Celery) -> Any:
    (run,) = Jobs(app).list()
    return run


def test_a_task_is_enqueued_with_arguments_and_options(app: Celery, run: Run) -> None:
    options = [
        "--queue",
        "plain",
        "--delay",
        "30m",
        "--key",
        "k1",
        "--key-ttl",
        "1h",
        "--priority",
        "7",
        "--expires",
        "2h",
    ]
    chain = ["--max-attempts", "4", "--retry-delays", "1,2m,3"]
    result = run("enqueue", "cli.add", "--args", "[1]", "--kwargs", '{"y": 2}', *options, *chain)
    made = only(app)
    assert result.stdout.startswith(f"{made.id} is enqueued on plain, due 2")
    assert str(Jobs(app).arguments(made.id)) == "(1, y=2)"
    assert (made.queue, made.idempotency_key, made.priority, made.max_attempts) == ("plain", "k1", 7, 4)
    assert 1799 < (made.scheduled_at - made.created_at).total_seconds() < 1801
    assert made.expires_at is not None
    assert 3599 < (made.key_expires_at - made.created_at).total_seconds() < 3601


def test_tags_are_a_list_or_pairs_but_not_both(app: Celery, run: Run) -> None:
    run("enqueue", "cli.add", "--args", "[1]", "--tag", "a", "--tag", "b")
    assert only(app).tags == ["a", "b"]
    made = lines(run("enqueue", "cli.add", "--args", "[1]", "--tag", "customer=42", "--tag", "x=y=z", "--json").stdout)
    assert made[0]["tags"] == {"customer": "42", "x": "y=z"}
    assert "'--tag'" in run("enqueue", "cli.add", "--tag", "a", "--tag", "k=v").stderr


def test_at_is_a_moment(app: Celery, run: Run) -> None:
    assert "due 2999-01-01 12:00:00Z" in run("enqueue", "cli.add", "--args", "[1]", "--at", "2999-01-01T12:00").stdout


def test_a_second_enqueue_with_a_key_finds_the_first_job(app: Celery, run: Run) -> None:
    run("enqueue", "cli.add", "--args", "[1]", "--key", "k1")
    again = run("enqueue", "cli.add", "--args", "[2]", "--key", "k1")
    assert again.exit_code == 0
    assert again.stdout == f"{only(app).id} has that key already, with other arguments: it is pending\n"
    assert lines(run("enqueue", "cli.add", "--args", "[1]", "--key", "k1", "--json").stdout)[0]["deduplicated"] is True


def test_wait_waits_for_the_end_and_takes_its_exit_code(app: Celery, run: Run) -> None:
    with working(app):
        good = run("enqueue", "cli.add", "--args", "[1]", "--wait")
        bad = run("enqueue", "cli.fail", "--args", '["no stock"]', "--wait", "15")
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "ended as success" in good.stdout
    assert "ValueError: no stock" in bad.stdout
    assert run("enqueue", "cli.add", "--args", "[1]", "--wait", "0.1").exit_code == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--args", "[1, "], "'--args': not JSON at column 5"),
        (["--args", '{"x": 1}'], "'--args': a list is expected"),
        (["--kwargs", "[1]"], "'--kwargs': an object is expected"),
        (["--kwargs", '{"x": 1,\n oops}'], "'--kwargs': not JSON at line 2, column 2"),
        (["--delay", "soon"], "'--delay'"),
        (["--delay", "2d"], "delay: a number of seconds from 0 to 86,400"),
        (["--retry-delays", "1,x"], "'--retry-delays'"),
        (["--max-attempts", "0"], "max_attempts"),
        (["--at", "noon"], "'--at'"),
        (["--delay", "1", "--at", "2999-01-01"], "say the same"),
        (["--atomic"], "--atomic goes with --from"),
        (["--from", "-"], "either a TASK or --from"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, options: list[str], said: str) -> None:
    result = run("enqueue", "cli.fail", "--args", '["x"]', *options)
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]


def test_neither_a_task_nor_a_file_is_wrong_usage(run: Run) -> None:
    assert run("enqueue").exit_code == 2


def test_lines_of_json_are_jobs_and_options_are_those_of_all(app: Celery, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "items"
    file.write_text('{"task": "cli.add", "args": [1]}\n\n{"task": "cli.add", "kwargs": {"x": 2}, "queue": "celery"}\n')
    assert run("enqueue", "--from", str(file), "--queue", "plain", "--tag", "a").stdout == "2 enqueued\n"
    assert sorted((made.queue, made.tags) for made in Jobs(app).list()) == [("celery", ["a"]), ("plain", ["a"])]


GOOD = '{"task": "cli.add", "args": [1]}'
BAD = "\n".join([GOOD, "{bad", '{"task": "cli.add", "args": [1], "delay": "x"}', "[1]", '{"args": [1]}', GOOD])


def test_bad_lines_are_told_with_their_numbers_and_the_others_go_ahead(app: Celery, run: Run) -> None:
    result = run("enqueue", "--from", "-", input=BAD)
    assert result.exit_code == 1
    assert result.stdout == "2 enqueued, 4 refused\n"
    told = [line.split(":")[0:2] for line in result.stderr.splitlines()]
    assert told == [["line 2", " JSON"], ["line 3", " delay"], ["line 4", " JSON"], ["line 5", " task"]]
    assert Jobs(app).count() == 2


def test_json_tells_of_each_line(run: Run) -> None:
    told = lines(run("enqueue", "--from", "-", "--json", input=BAD).stdout)
    assert [one["line"] for one in told] == [1, 2, 3, 4, 5, 6]
    assert [one["error"] is None for one in told] == [True, False, False, False, False, True]
    assert told[2]["error"]["field"] == "delay"


@pytest.mark.parametrize(
    ("bad", "said"), [("{bad", "JSON: column 2"), ('{"task": "cli.add", "args": [1], "delay": -1}', "delay: ")]
)
def test_atomic_is_all_or_none(app: Celery, run: Run, bad: str, said: str) -> None:
    good = '{"task": "cli.add", "args": [1]}\n'
    result = run("enqueue", "--from", "-", "--atomic", input=f"{good}\n{bad}\n")
    assert result.exit_code == 2
    assert f"line 3: {said}" in result.stderr
    assert Jobs(app).count() == 0
    assert run("enqueue", "--from", "-", "--atomic", input=good * 2).stdout == "2 enqueued\n"


def test_atomic_refuses_more_than_one_call_takes(app: Celery, run: Run) -> None:
    result = run("enqueue", "--from", "-", "--atomic", input='{"task": "cli.add", "args": [1]}\n' * 10_001)
    assert result.exit_code == 2
    assert "10,000 lines" in result.stderr
    assert Jobs(app).count() == 0


def test_keys_that_are_there_already_are_counted(run: Run) -> None:
    item = '{"task": "cli.add", "args": [1], "idempotency_key": "k1"}\n'
    assert run("enqueue", "--from", "-", input=item * 3).stdout == "1 enqueued, 2 there already\n"


def test_arguments_that_do_not_fit_the_task_are_refused_in_one_line(app: Celery, run: Run) -> None:
    one, many = run("enqueue", "cli.add"), run("enqueue", "--from", "-", "--atomic", input='{"task": "cli.add"}')
    for result in (one, many):
        assert result.exit_code == 2
        assert "missing 1 required positional argument" in result.stderr.splitlines()[-1]
    assert Jobs(app).count() == 0


def test_a_task_that_is_no_job_is_refused(run: Run) -> None:
    result = run("enqueue", "celery.backend_cleanup")
    assert result.exit_code == 2
    assert "is no job" in result.stderr


def test_what_waits_is_replaced_where_that_is_asked_for(app: Celery, run: Run) -> None:
    first = ["enqueue", "cli.add", "--key", "k1", "--args"]
    run(*first, "[1]")
    result = run(*first, "[2]", "--on-conflict", "replace")
    made = only(app)
    assert result.stdout.startswith(f"{made.id} waited with that key and is replaced")
    assert str(Jobs(app).arguments(made.id)) == "(2)"
    assert lines(run(*first, "[3]", "--on-conflict", "replace", "--json").stdout)[0]["replaced"] is True
    assert run(*first, "[3]", "--on-conflict", "fail").exit_code == 2
