"""One shop for all canvases, with its worker in a thread: it starts quickly, and its tasks can be watched."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from celery_jobs.store import invariants
from tests.canvas.shop import Shop, open_shop
from tests.conftest import shared_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("canvas")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def jobs_database(folder: Path, sqlite_template: Path) -> str:
    shutil.copyfile(sqlite_template, folder / "jobs.sqlite3")
    return f"sqlite:///{folder / 'jobs.sqlite3'}"


@pytest.fixture(scope="package")
def open_all_along(valkey: str, jobs_database: str) -> Iterator[Shop]:
    with open_shop(shared_broker(valkey, "sqlite"), jobs_database, task_default_queue="canvas") as shop:
        yield shop


@pytest.fixture
def shop(open_all_along: Shop) -> Iterator[Shop]:
    """The shop; after each story the store must hold its invariants."""
    open_all_along.noted.clear()
    open_all_along.broken.clear()
    yield open_all_along
    assert invariants.check(open_all_along.db) == []
