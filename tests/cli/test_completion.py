"""What a shell completes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from celery.bin.celery import celery
from click.shell_completion import ShellComplete

if TYPE_CHECKING:
    from celery import Celery


@pytest.fixture
def complete(app: Celery, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Complete:
    from tests.cli import shop

    monkeypatch.setitem(vars(shop), "app", app)
    return Complete()


class Complete:
    """Completes `celery -A shop jobs …` as a shell would ask for it."""

    def __call__(self, *words: str, app: str = "tests.cli.shop") -> list[str]:
        *before, incomplete = words
        shell = ShellComplete(celery, {}, "celery", "_CELERY_COMPLETE")
        found = shell.get_completions(["-A", app, "jobs", *before], incomplete)
        return [item.value for item in found]


def test_commands_and_options_are_completed(complete: Complete) -> None:
    assert complete("re") == ["replay", "release-key", "resume", "reap"]
    assert complete("dlq", "p") == ["purge"]
    assert complete("replay", "--dr") == ["--dry-run"]


def test_states_are_completed(complete: Complete) -> None:
    assert complete("list", "--status", "p") == ["pending", "processing"]
    assert complete("list", "--status", "can") == ["cancelled"]
    assert complete("list", "--final-status", "dead") == ["dead_lettered"]


def test_queues_and_tasks_of_the_app_are_completed(complete: Complete) -> None:
    assert complete("list", "--queue", "") == ["celery", "plain"]
    assert complete("dlq", "replay", "--task", "cli.f") == ["cli.fail"]
    assert complete("enqueue", "cli.") == ["cli.add", "cli.fail"]
    assert complete("release-key", "k1", "cli.a") == ["cli.add"]


def test_an_app_that_cannot_be_loaded_completes_nothing_and_says_nothing(
    complete: Complete, capfd: pytest.CaptureFixture[str]
) -> None:
    assert complete("list", "--queue", "", app="no.such.app") == []
    assert capfd.readouterr() == ("", "")


def test_the_shells_own_scripts_can_be_had(shell_script: str) -> None:
    assert "_CELERY_COMPLETE=bash_complete" in shell_script


@pytest.fixture
def shell_script() -> str:
    import subprocess
    import sys

    environment = {**os.environ, "_CELERY_COMPLETE": "bash_source"}
    code = "import sys; sys.argv[0] = 'celery'; from celery.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.stdout
