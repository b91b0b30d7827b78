"""Followers of an app's runs on either database, each in a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.moments import microseconds
from celery_jobs.plugin import plugin_of
from celery_jobs.store import reads
from tests.jobs.conftest import app, broker, db, doors, new_app
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs import Jobs, RunEvent

__all__ = ["Follower", "app", "broker", "db", "doors", "follow", "kinds", "new_app"]

LONGEST = 60.0


def kinds(events: list[RunEvent]) -> list[str]:
    """What happened, without `job.`."""
    return [str(event.kind).removeprefix("job.") for event in events]


class Follower:
    """A thread that follows; what it was told so far, and what ended it, if that was an error."""

    def __init__(self, doors: Jobs, *args: Any, **options: Any) -> None:
        self.told: list[RunEvent] = []
        self.error: Exception | None = None
        self._doors = doors
        self._stopped = threading.Event()
        events = doors.events(*args, **options) if args else self._of_all(options)
        self._thread = threading.Thread(target=self._follow, args=(events,), daemon=True)
        self._thread.start()

    def _of_all(self, options: dict[str, Any]) -> Iterator[RunEvent]:
        """A filter's stream, which ends when the test does."""
        since = f"{microseconds(reads.database_time(plugin_of(self._doors.app).db))}.0.{'0' * 32}"
        return self._in_turns(since, {**options, "timeout": 2})

    def _in_turns(self, since: str, options: dict[str, Any]) -> Iterator[RunEvent]:
        while not self._stopped.is_set():
            for event in self._doors.events(since=since, **options):
                since = event.cursor
                yield event

    def _follow(self, events: Iterator[RunEvent]) -> None:
        try:
            self.told.extend(events)
        except Exception as error:
            self.error = error

    def wait_for(self, number: int) -> list[RunEvent]:
        """Until it was told so many."""
        wait_until(lambda: len(self.told) >= number or not self._thread.is_alive(), message="too little is told")
        return self.told

    def result(self) -> list[RunEvent]:
        """What it was told until its end."""
        self._thread.join(LONGEST)
        assert not self._thread.is_alive(), f"it follows on after {kinds(self.told)}"
        if self.error is not None:
            raise self.error
        return self.told

    def stop(self) -> None:
        """End it, at its next turn."""
        self._stopped.set()
        self._thread.join(LONGEST)


@pytest.fixture
def follow(doors: Jobs) -> Iterator[Callable[..., Follower]]:
    """Begins to follow: `follow(id)`, or `follow(**where)`."""
    begun: list[Follower] = []

    def begin(*args: Any, **options: Any) -> Follower:
        begun.append(Follower(doors, *args, **{"timeout": LONGEST, **options}))
        return begun[-1]

    yield begin
    for follower in begun:
        follower.stop()
