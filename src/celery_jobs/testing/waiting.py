"""Which jobs of a sandbox wait, and which of them cannot run. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from celery_jobs.states import Status
from celery_jobs.store.new_rows import is_paused
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from celery_jobs.store.db import Database

__all__ = ["Waiting", "all_waiting", "next_waiting"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pending attempt."""

    id: str
    original_id: str
    task: str | None
    queue: str
    scheduled_at: datetime
    retries: int
    edition: int
    paused: bool

    def obstacle(self, tasks: Collection[str]) -> str | None:
        """Why it cannot run, and what to do; None where it can."""
        if self.paused:
            return f"its queue {self.queue!r} is paused; resume it"
        if self.task is None:
            return "it is an outside worker's; use sandbox.jobs.claim"
        if self.task not in tasks:
            return f"the app does not know the task {self.task!r}; import the module that defines it"
        return None


def next_waiting(db: Database, tasks: Collection[str], queue: str | None) -> Waiting | None:
    """The first to run of the named tasks and the queue, or of any: by due time, then priority, then id."""
    query = _waiting(queue).where(~is_paused(jobs.c.queue), jobs.c.task.in_(tasks)).limit(1)
    return next(iter(_read(db, query)), None)


def all_waiting(db: Database, queue: str | None = None, chain: str | None = None) -> list[Waiting]:
    """Everything that waits, of a queue or of one chain, in the same order."""
    query = _waiting(queue)
    return _read(db, query if chain is None else query.where(jobs.c.original_id == chain))


def _waiting(queue: str | None) -> Any:
    columns = [jobs.c[name] for name in Waiting.__slots__ if name != "paused"]
    query = (
        select(*columns, is_paused(jobs.c.queue).label("paused"))
        .where(jobs.c.status == Status.PENDING)
        .order_by(jobs.c.scheduled_at, jobs.c.priority.desc(), jobs.c.id)
    )
    return query if queue is None else query.where(jobs.c.queue == queue)


def _read(db: Database, query: Any) -> list[Waiting]:
    with db.asking() as connection:
        return [Waiting(**row._mapping) for row in connection.execute(query)]
