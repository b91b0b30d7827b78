"""promote, sweep, reap, migrate and check; and what every command shares."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from celery_jobs.cli import jobs
from celery_jobs.demo.valkey import free_port
from celery_jobs.plugin import plugin_of
from celery_jobs.store import workers
from celery_jobs.store.migrations import HEAD
from celery_jobs.store.tables import jobs as table
from tests.cli.conftest import lines
from tests.cli.shop import NASTY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from tests.cli.conftest import Run
    from tests.servers.databases import Databases


def test_check_finds_what_is_broken_and_ends_with_1(app: Celery, run: Run, dead: str) -> None:
    plugin_of(app).db.run(lambda connection: connection.execute(table.update().values(dead_lettered_at=None)))
    result = run("check")
    assert result.exit_code == 1
    first, second, *_ = result.stdout.splitlines()
    assert first.startswith(f"error    invariant-broken: job {dead} breaks invariant 4: ")
    assert second.startswith(f"         see it: celery -A <your app> jobs show {dead}")
    assert "all is well" not in result.stdout
    found = lines(run("check", "--json").stdout)
    assert all(set(finding) == {"severity", "check", "words", "advice"} for finding in found)
    assert [finding["check"] for finding in found if finding["severity"] == "error"] == ["invariant-broken"]


def test_check_fails_on_warnings_only_where_it_is_strict(run: Run) -> None:
    result = run("check")
    assert result.exit_code == 0
    assert result.stdout.startswith("warning  no-worker: ")
    assert "all is well" not in result.stdout
    assert run("check", "--strict").exit_code == 1


def test_check_says_where_all_is_well(app: Celery, run: Run) -> None:
    workers.register(plugin_of(app).db, "celery@here", 1, ["celery"])
    result = run("check", "--strict")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "all is well"
    assert {finding["severity"] for finding in lines(run("check", "--json").stdout)} <= {"info"}


def test_check_of_a_database_without_tables_says_what_to_do(app: Celery, run: Run, postgres: Databases) -> None:
    name = f"jobs_check_{os.getpid()}"
    app.conf.jobs_database_url = postgres.create_database(name)
    result = run("check")
    plugin_of(app).unchecked_db.dispose()
    postgres.drop_database(name)
    assert result.exit_code == 1
    assert "schema-outdated" in result.stdout
    assert "jobs migrate" in result.stdout


def test_check_of_a_broker_that_is_away_is_no_traceback(run: Run, app: Celery) -> None:
    app.conf.broker_url = f"redis://127.0.0.1:{free_port()}/0"
    result = run("check")
    assert result.exit_code == 1
    assert result.stdout.startswith("error    broker-away: the broker redis://")


def test_a_finding_cannot_steer_the_terminal(app: Celery, run: Run) -> None:
    app.tasks["cli.add"].apply_async((1,), queue=NASTY)
    assert "\x1b" not in run("check").stdout


def test_promote_sweep_and_reap_say_what_they_did(app: Celery, run: Run) -> None:
    app.tasks["cli.add"].apply_async((1,), delay=61)
    app.tasks["cli.add"].apply_async((1,), delay=3600)
    assert run("promote").stdout == "1 job(s) promoted, 0 sent again or ended\n"
    assert run("sweep").stdout == "0 dead letter(s) and 0 old run(s) deleted\n"
    assert lines(run("reap", "--json").stdout) == [{"service": "reaper", "handled": 0}]


def test_migrate_says_where_the_schema_stands(run: Run) -> None:
    assert f"is up to date (version {HEAD})" in run("migrate").stdout


def test_a_database_that_does_not_answer_ends_with_4(app: Celery, run: Run) -> None:
    app.conf.jobs_database_url = f"postgresql://nobody@127.0.0.1:{free_port()}/jobs"
    for command in ("list", "check"):
        result = run(command)
        assert result.exit_code == 4
        assert "does not answer" in result.stderr


def commands(group: click.Group = jobs, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=str)
def test_each_command_has_an_example_in_its_help_and_takes_json(run: Run, path: tuple[str, ...], command: Any) -> None:
    shown = run(*path, "--help").stdout
    assert f"celery -A shop jobs {' '.join(path)}" in shown
    assert "--json" in shown
    assert not command.get_short_help_str(60).endswith("...")


def test_the_help_documents_each_exit_code_and_how_to_complete(run: Run) -> None:
    shown = run("--help").stdout
    for code in (0, 1, 2, 3, 4, 5, 130):
        assert f"\n    {code} " in shown
    assert "_CELERY_COMPLETE=bash_source celery" in shown


def test_loading_the_commands_loads_no_database_library() -> None:
    code = "import sys, celery_jobs.cli; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
