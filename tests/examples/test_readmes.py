"""What the READMEs of the ticket shops tell to run, on a laptop without servers, and in production."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from tests.examples.follower import Follower
from tests.examples.terminal import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.databases import Databases

APPS = {"flask_app": "flask_app.make_celery", "fastapi_app": "fastapi_app.celery_app", "django_app": "shop"}
"""The examples, and what each README gives `celery -A`."""

pytestmark = [pytest.mark.slow, pytest.mark.matrix, pytest.mark.parametrize("example", APPS)]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with a copy of the examples."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3*"))
    return tmp_path


@pytest.fixture
def servers(postgres: Databases, broker_url: str) -> Iterator[dict[str, str]]:
    """What the variables of production name here: an empty database and a broker."""
    url = postgres.create_database(f"tickets_{os.getpid()}")
    yield {"DATABASE_URL": url, "CELERY_BROKER_URL": broker_url}
    postgres.drop_database(str(make_url(url).database))


def follow(example: str, repository: Path, settings: dict[str, str], *sections: str) -> None:
    """Do what sections tell; in the end there are the order's job and its replay, and no job of the refused order."""
    with Follower(EXAMPLES / example / "README.md", repository, settings) as follower:
        for section in sections:
            follower.follow(section)
        listed = follower.say("celery", "-A", APPS[example], "jobs", "list", "--json")
        ended = [json.loads(line)["final_status"] for line in listed.splitlines()]
        assert ended == ["success", "dead_lettered"]


def test_it_runs_on_a_laptop_without_servers(example: str, repository: Path) -> None:
    follow(example, repository, dict.fromkeys(("DATABASE_URL", "CELERY_BROKER_URL"), ""), "Run it", "Test it")


def test_it_runs_in_production(example: str, repository: Path, servers: dict[str, str]) -> None:
    follow(example, repository, servers, "In production", "Run it")
