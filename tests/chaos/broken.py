"""Deliberately broken builds of the product, which a run must catch: patches that only the shop applies."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, update

from celery_jobs.errors import StoreUnavailable
from celery_jobs.services.reaper import Reaper
from celery_jobs.services.redispatcher import Redispatcher
from celery_jobs.states import LIVE, FinalStatus, Status
from celery_jobs.store import attempts, chains, db, enqueue, limited_claims, limits, rows
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

__all__ = ["BUILDS", "apply"]


def apply(name: str | None) -> None:
    """Break this process's build in the named way, if any."""
    if name:
        BUILDS[name]()


def _fencing_off() -> None:
    """Whoever finishes an attempt writes its outcome, also without its lease."""

    def mark_finished(
        connection: Connection,
        job: rows.Claim,
        status: Status,
        final_status: FinalStatus,
        ends: bool,
        response: object = None,
        **values: Any,
    ) -> bool:
        if ends:
            values["ended_at"] = db.now()
        done = connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.status == Status.PROCESSING)
            .values(status=status, final_status=final_status, **attempts.FINISHED, **values)
        )
        return done.rowcount == 1

    no_short_way = SimpleNamespace(first=lambda *_: None)
    _replace(attempts, mark_finished=mark_finished, holds_lease=lambda *_: True, _succeed=no_short_way)
    _replace(chains, mark_finished=mark_finished, _stands=lambda *_: True)


def _claim_unconditional() -> None:
    """A message runs its job although another one is running it."""
    _replace(attempts, ready=lambda: or_(*(jobs.c.status == status for status in LIVE)))


def _send_before_commit() -> None:
    """The message goes out and the caller is told so; the row follows, or never comes."""
    store = enqueue.enqueue

    def enqueue_later(database: db.Database, new: rows.NewJob, *_: Any) -> rows.Enqueued:
        def follow() -> None:
            time.sleep(0.3)
            with suppress(StoreUnavailable):
                store(database, new)

        threading.Thread(target=follow, daemon=True).start()
        return rows.Enqueued(new.id, new.task_id, datetime.now(UTC))

    _replace(enqueue, enqueue=enqueue_later)


def _reaper_off() -> None:
    """Nobody looks for silent workers."""
    _replace(Reaper, run_once=lambda _: 0)


def _redispatcher_off() -> None:
    """Nobody sends a lost message again."""
    _replace(Redispatcher, run_once=lambda _: 0)


def _retry_apart() -> None:
    """The retry is written in a transaction of its own, after the failure's."""
    retry, insert = chains.retry, chains._insert_next
    to_come = threading.local()

    def put_off(database: db.Database, connection: Connection, job: rows.Claim, following: chains.Next) -> Any:
        to_come.insert = partial(insert, database, job=job, following=following)
        return chains.Ended(job.original_id, FinalStatus.RETRYING)

    def retry_apart(database: db.Database, *arguments: Any, **options: Any) -> Any:
        to_come.insert = None
        outcome = retry(database, *arguments, **options)
        if to_come.insert is None:
            return outcome
        time.sleep(0.3)
        return database.persist(lambda connection: to_come.insert(connection=connection))

    _replace(chains, retry=retry_apart, _insert_next=put_off)


def _outcomes_dropped() -> None:
    """A finish that meets an absent database is given up."""
    _replace(db.Database, persist=db.Database.run)


def _places_uncounted() -> None:
    """A claim finds room whoever runs already."""
    _replace(limited_claims, room_for=lambda *_: limits.Room(1, True))


def _replace(owner: Any, **parts: Any) -> None:
    for name, part in parts.items():
        getattr(owner, name)  # what is not there any more breaks nothing
        setattr(owner, name, part)


BUILDS: dict[str, Callable[[], None]] = {
    "fencing-off": _fencing_off,
    "claim-unconditional": _claim_unconditional,
    "send-before-commit": _send_before_commit,
    "reaper-off": _reaper_off,
    "redispatcher-off": _redispatcher_off,
    "retry-apart": _retry_apart,
    "outcomes-dropped": _outcomes_dropped,
    "places-uncounted": _places_uncounted,
}
"""Every broken build, by name."""
