"""An app with the tasks of the canvases, and a worker in a thread of the test."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery.app.task import Task

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from tests.apps import make_app, shared_worker
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Job

__all__ = ["PLAIN", "Shop", "open_shop"]

PATIENCE = 30
"""Seconds that a canvas may take on a busy machine."""

PLAIN = "plain."
"""Begins the names of the tasks that are bare Celery's: no jobs."""


@dataclass(frozen=True, slots=True)
class Shop:
    """An app, and what its tasks have written down."""

    app: Celery
    noted: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Tasks that fail while their name is in here."""

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.app)

    @property
    def db(self) -> Database:
        return plugin_of(self.app).db

    def task(self, name: str) -> Any:
        return self.app.tasks[name]

    def value(self, result: Any) -> Any:
        """The value of a canvas that works."""
        return result.get(timeout=PATIENCE, interval=0.05)

    def error(self, result: Any) -> str:
        """What the caller of a canvas that fails is told."""
        try:
            return f"no error, but {self.value(result)!r}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def ended(self, result: Any) -> list[Job]:
        """The rows of a job's chain once it has its verdict."""
        wait_until(lambda: self.jobs.get(result.id).has_ended, PATIENCE)
        return self.jobs.get(result.id, attempts=True)

    def settle(self) -> list[str]:
        """What was noted, once no job waits or runs any more."""
        wait_until(lambda: not self.jobs.count(ended=False), PATIENCE)
        return sorted(self.noted)


@contextmanager
def open_shop(broker_url: str, database_url: str, **conf: Any) -> Iterator[Shop]:
    """A shop at work, one at a time in a process."""
    app = make_app(broker_url, database_url, jobs_queue_defaults={"retry_delays": [0.05, 0.05]}, **conf)
    shop = Shop(app)
    bodies = _tasks_that_work(), _tasks_that_fail(shop), _tasks_that_note(shop)
    for body, bind in ((body, bind) for some in bodies for body, bind in some.items()):
        app.task(name=body.__name__, bind=bind, shared=False)(body)
        app.task(name=PLAIN + body.__name__, bind=bind, shared=False, base=Task)(body)

    with shared_worker(app):
        yield shop


Bodies = dict["Callable[..., Any]", bool]
"""Each with whether it is bound."""


def _tasks_that_work() -> Bodies:
    def add(x: int, y: int = 0) -> int:
        return x + y

    def total(numbers: list[int]) -> int:
        return sum(numbers)

    def replaces_itself(self: Any, x: int, by: Any, attempt: int = 1) -> Any:
        if self.request.retries + 1 < attempt:
            raise ValueError(f"attempt {self.request.retries + 1} fails")
        return self.replace(self.app.signature(by))

    def adds_to_its_chord(self: Any, x: int) -> int:
        self.add_to_chord(self.app.tasks["works_on_attempt"].s(10 * x))
        return x

    return {add: False, total: False, replaces_itself: True, adds_to_its_chord: True}


def _tasks_that_fail(shop: Shop) -> Bodies:
    def works_on_attempt(self: Any, value: int, attempt: int = 3) -> int:
        if self.request.retries + 1 < attempt:
            raise ValueError(f"attempt {self.request.retries + 1} fails")
        return value

    def fails(*ignored: Any) -> None:
        raise ValueError("it is broken")

    def repairable(x: int = 5) -> int:
        if "repairable" in shop.broken:
            raise ValueError("it is broken")
        return x

    return {works_on_attempt: True, fails: False, repairable: False}


def _tasks_that_note(shop: Shop) -> Bodies:
    def note(value: Any, text: str = "") -> Any:
        shop.noted.append(f"{text}{value}")
        return value

    def note_id(task_id: str) -> None:
        """An errback of the old style, which is handed an id and runs as a job of its own."""
        shop.noted.append("an id")

    def note_error(request: Any, error: BaseException, traceback: Any, about: str = "") -> None:
        """An errback of the new style, which Celery calls where the failure is stored."""
        shop.noted.append(f"{about}{type(error).__name__}")

    def stamps(self: Any, *before: Any, attempt: int = 1) -> Any:
        """Note what a step is stamped with, in each of its attempts."""
        shop.noted.append(str(self.request.stamps))
        if self.request.retries + 1 < attempt:
            raise ValueError("not yet")
        return 1

    return {note: False, note_id: False, note_error: False, stamps: True}
