"""The same app before and after it was adopted, on one broker."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from tests.adoption.shop import make_shop
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from celery_jobs.runs import Run


@dataclass(frozen=True, slots=True)
class Fleet:
    """`old`: the app without the plugin; `new`: with it; `file`: where its tasks leave marks."""

    old: Celery
    new: Celery
    file: Path
    another: Callable[..., Celery]
    """Makes the app with the plugin and other settings."""

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.new)

    def mark(self, app: Celery, line: str, task: str = "shop.mark", **options: Any) -> Any:
        """Call a task that leaves a line where it ran."""
        return app.tasks[task].apply_async((str(self.file), line), **options)

    @property
    def marks(self) -> list[str]:
        """The lines, each with the kind of worker that wrote it."""
        return self.file.read_text().splitlines() if self.file.exists() else []

    def wait_for_marks(self, *lines: str) -> None:
        wait_until(lambda: sorted(self.marks) == sorted(lines), 30, lambda: f"the marks are {self.marks}")

    def ended(self, id: str) -> Run:
        return wait_until(lambda: (run := self.jobs.get(id)).has_ended and run, 30)


@pytest.fixture
def settings() -> dict[str, Any]:
    """More settings of the app."""
    return {}


@pytest.fixture
def fleet(
    broker_url: str, new_sqlite_database: Callable[[], str], tmp_path: Path, settings: dict[str, Any]
) -> Iterator[Fleet]:
    url = new_sqlite_database()
    with sailing(broker_url, url, tmp_path / "marks", settings) as fleet:
        yield fleet


@contextmanager
def sailing(broker_url: str, database_url: str, file: Path, settings: dict[str, Any]) -> Iterator[Fleet]:
    """A fleet on this broker and this database, which has to be healthy at the end."""
    made: list[Celery] = []

    def make(adopted: bool = True, **given: Any) -> Celery:
        made.append(make_shop(broker_url, database_url, adopted, **given))
        return made[-1]

    yield Fleet(make(adopted=False, **settings), make(**settings), file, make)
    assert invariants.check(plugin_of(made[1]).db) == []
    for app in made[1:]:
        plugin_of(app).unchecked_db.dispose()
    for app in made:
        app.close()
