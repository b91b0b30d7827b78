"""On a real terminal and in real pipes: tables that fit, questions, progress, Ctrl-C, escapes that stay out."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
import pytest
from rich.cells import cell_len

from celery_jobs import Jobs
from tests.cli.conftest import lines
from tests.cli.shop import NASTY
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Kill, Run
    from tests.cli.terminal import Shell


@pytest.fixture
def crowd(app: Celery, kill: Kill) -> list[str]:
    """Ids of dead letters, of which one has a nasty error; there are other runs beside them."""
    dead = kill("the bank did not answer, and we shall never know why, however long we wait", NASTY, "short")
    kill("no", queue="plain")
    app.tasks["cli.add"].apply_async((1,), delay=3600)
    return dead


@pytest.mark.parametrize(
    "command", [["list"], ["dlq", "list"], ["queues"], ["stats"], ["show", "{}", "--no-traceback"]], ids=" ".join
)
def test_nothing_wraps_on_80_columns(shell: Shell, crowd: list[str], command: list[str]) -> None:
    code, shown = shell.on_terminal(*(word.format(crowd[0]) for word in command))
    assert code == 0
    assert all(cell_len(line) <= 80 for line in shown.splitlines())
    assert shown.count("\n") >= 3


@pytest.mark.matrix
def test_ids_stay_whole_on_any_terminal(shell: Shell, crowd: list[str]) -> None:
    for columns in (50, 80):
        _, shown = shell.on_terminal("dlq", "list", columns=columns)
        assert all(id in shown for id in crowd)


@pytest.mark.matrix
def test_a_wider_terminal_shows_more(shell: Shell, crowd: list[str]) -> None:
    narrow, wide = (shell.on_terminal("list", columns=columns)[1] for columns in (80, 140))
    assert "CREATED" not in narrow
    assert "AGE" in narrow
    assert "CREATED" in wide
    assert "ERROR" in wide


def test_what_is_piped_is_not_cut(run: Run, crowd: list[str]) -> None:
    assert "never know why, however long we wait\n" in run("list").stdout
    assert "…" not in run("dlq", "list").stdout


def test_text_of_jobs_writes_neither_escapes_nor_markup(app: Celery, run: Run, crowd: list[str]) -> None:
    app.tasks["cli.add"].apply_async((NASTY,), tags=[NASTY])
    outputs = [run("list"), run("show", crowd[1]), run("dlq", "list"), run("stats"), run("list", "--task", NASTY)]
    outputs.append(run("show", lines(run("list", "--json").stdout)[0]["id"]))
    outputs.append(run("show", NASTY))
    for output in outputs:
        assert not set(output.output) & set("\x1b\x07\u202e")
    assert "[31mred]0;title [bold]loud[/bold] back" in outputs[0].stdout


def test_a_person_on_a_terminal_is_asked(app: Celery, shell: Shell, crowd: list[str]) -> None:
    code, shown = shell.on_terminal("dlq", "replay", "--all", typed="n\n")
    assert code == 1
    assert "Replay all 3? [y/N]:" in shown
    code, shown = shell.on_terminal("dlq", "purge", "--all", typed="3\n")
    assert code == 0
    assert "3 purged" in shown
    assert Jobs(app).count(final_status="dead_lettered") == 0


def test_a_terminal_has_a_progress_bar_with_count_rate_and_time_left(shell: Shell, kill: Kill) -> None:
    kill(*"abcd")
    code, shown = shell.on_terminal("dlq", "replay", "--all", "--yes", "--rate", "5/s", columns=100)
    assert code == 0
    assert "4/4" in shown
    assert "/s" in shown
    assert "0:00:0" in shown
    assert shown.splitlines()[-1].endswith("4 replayed")
    assert "4/4" not in shell.on_terminal("dlq", "replay", "--all", "--yes", "--force", "--json")[1]


def test_ctrl_c_ends_between_two_batches_and_says_how_to_go_on(app: Celery, shell: Shell, kill: Kill) -> None:
    ids = kill(*"abcdef")
    replay = ("dlq", "replay", "--all", "--yes", "--rate", "2/s")
    with shell.start(*replay) as process:
        wait_until(lambda: Jobs(app).count(status="pending") >= 1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=15)
    assert process.returncode == 130
    cursor = stderr.split("--after ")[1].strip()
    sent = ids.index(cursor) + 1
    assert 1 <= sent < 6
    assert stdout == f"{sent} replayed\n"
    assert Jobs(app).count(status="pending") == sent
    with shell.start("dlq", "replay", "--all", "--yes", "--after", cursor) as process:
        assert process.communicate(timeout=15)[0] == f"{6 - sent} replayed\n"
    assert Jobs(app).count(status="pending") == 6


def test_ctrl_c_while_waiting_ends_with_130(app: Celery, shell: Shell) -> None:
    job_id = app.tasks["cli.add"].apply_async((1,), delay=3600).job_id
    with shell.start("wait", job_id) as process:
        wait_until(lambda: any("sqlite3" in file.path for file in psutil.Process(process.pid).open_files()))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=15)
    assert process.returncode == 130
    assert stderr.strip() == "interrupted"


def test_a_broken_pipe_is_silent(app: Celery, shell: Shell) -> None:
    for n in range(200):
        app.tasks["cli.add"].delay(n)
    with shell.start("list", "--limit", "1000", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
