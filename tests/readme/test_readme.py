"""What README.md says works: its commands, its code and its numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

import celery_jobs
from celery_jobs.cli import jobs
from celery_jobs.settings import QueueSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = "\n".join(README.splitlines()[:30])
    prefix = "python3 -m venv .venv && .venv/bin/pip install -e '.[demo,test]' && .venv/bin/"
    assert f"{prefix}python -m celery_jobs demo\n" in first_screen
    assert f"{prefix}pytest\n" in first_screen


def test_ci_runs_the_readmes_test_command() -> None:
    assert "grep -m1 'bin/pytest$' README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_code_runs_as_it_stands(new_sqlite_database: Callable[[], str], broker_url: str, tmp_path: Path) -> None:
    """The snippets one after another, on a database and a broker that are here, with a worker in the middle."""
    code = "\n".join(blocks("python"))
    code = code.replace("postgresql+psycopg://shop@localhost/shop", new_sqlite_database())
    code = code.replace("redis://localhost:6379/0", broker_url)
    code = code.replace("run = jobs.get(job_or_task_id)", "run = jobs.get(charge.delay(1).job_id)")
    code = code.replace("jobs.cancel(run_id)", "assert jobs.cancel(run.id).final_status == 'cancelled'")
    script = tmp_path / "shop.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def commands() -> list[list[str]]:
    """Each `celery -A shop jobs …` in the shell blocks."""
    found = re.findall(r"celery -A shop jobs ((?:[\w-]+ ?|ID ?|\"[^\"]*\" ?)+)", "\n".join(blocks("sh")))
    return [words.split() for words in found]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_each_command_exists(words: list[str]) -> None:
    command: Any = jobs
    while isinstance(command, click.Group):
        assert words[0] in command.commands, f"no command {words[0]}"
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_defaults_are_those_of_the_settings() -> None:
    for name, given in re.findall(r"^\| (?:\u2013 )?`(\w+)` \| `([^`]+)` \|", README, flags=re.M):
        settings: Any = Settings() if name.startswith("jobs_") else QueueSettings()
        value = getattr(settings, name.removeprefix("jobs_"))
        assert given in (str(value), str(list(value)) if isinstance(value, tuple) else "", f"{value}"), name


def test_the_names_it_uses_are_public() -> None:
    for name in re.findall(r"celery_jobs\.(\w+)", README):
        assert hasattr(celery_jobs, name), name


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
