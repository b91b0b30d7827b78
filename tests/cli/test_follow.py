"""`jobs follow`: a line for each thing that happens, and how the chain ended as the exit code."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from tests.cli.conftest import lines
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Run
    from tests.cli.terminal import Shell


def test_a_run_is_shown_from_its_beginning_to_its_end(run: Run, dead: str) -> None:
    done = run("follow", dead[:13])
    assert done.exit_code == 1
    shown = [line.split()[1] for line in done.stdout.splitlines()]
    assert shown == ["enqueued", "started", "dead_lettered"]
    last = done.stdout.splitlines()[-1]
    assert "#1  final_status=dead_lettered  reason=exception  error=ValueError: no stock  duration_ms=" in last


def test_json_has_an_object_a_line(run: Run, dead: str) -> None:
    events = lines(run("follow", dead, "--json").stdout)
    assert [event["kind"] for event in events] == ["job.enqueued", "job.started", "job.dead_lettered"]
    behind = lines(run("follow", dead, "--json", "--since", events[0]["cursor"]).stdout)
    assert behind == events[1:]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["no-such-job"], 3), (["--since", "x"], 2), (["--queue", "", "--timeout", "0"], 2)],
    ids=["no such job", "no cursor", "no queue"],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(run: Run, arguments: list[str], code: int) -> None:
    done = run("follow", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr


def test_a_run_and_a_filter_are_too_much(run: Run, dead: str) -> None:
    done = run("follow", dead, "--queue", "celery")
    assert done.exit_code == 2
    assert "not both" in done.stderr


def test_a_timeout_has_its_exit_code(run: Run, app: Celery) -> None:
    id = Jobs(app).enqueue("cli.add", (1,)).id
    done = run("follow", id, "--timeout", "0")
    assert done.exit_code == 5
    assert "still pending" in done.stderr
    assert run("follow", "--timeout", "0").exit_code == 0


def test_all_of_a_filter_are_shown_as_they_happen_until_ctrl_c(shell: Shell, app: Celery) -> None:
    told: list[dict[str, Any]] = []
    made: list[str] = []

    def is_told() -> bool:
        made.append(Jobs(app).enqueue("cli.add", (1,)).id)  # the first ones before it has begun to follow
        return told != []

    with shell.start("follow", "--task", "cli.add", "--json") as command:
        try:
            assert command.stdout is not None
            assert command.stderr is not None
            reader = threading.Thread(target=lambda: told.extend(json.loads(line) for line in command.stdout or ()))
            reader.start()
            wait_until(is_told, message="nothing is shown")
            command.send_signal(signal.SIGINT)
            reader.join(20)
            assert command.stderr.read() == ""
        finally:
            command.kill()
    assert command.returncode == 130
    assert {event["kind"] for event in told} == {"job.enqueued"}
    assert {event["original_id"] for event in told} <= set(made)
