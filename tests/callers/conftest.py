"""One office for all callers, with its worker in a thread; and apps without a worker."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from tests.apps import shared_worker
from tests.callers.office import make_office
from tests.conftest import shared_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery


@pytest.fixture(scope="package")
def office_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("callers")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def open_office(valkey: str, office_folder: Path, sqlite_template: Path) -> Iterator[Celery]:
    file = office_folder / "jobs.sqlite3"
    shutil.copyfile(sqlite_template, file)
    app = make_office(shared_broker(valkey, "sqlite"), f"sqlite:///{file}")
    with shared_worker(app):
        yield app


@pytest.fixture
def office(open_office: Celery) -> Iterator[Celery]:
    """The office; after each story the store must hold its invariants."""
    yield open_office
    assert invariants.check(plugin_of(open_office).db) == []
