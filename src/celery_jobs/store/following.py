"""Following a run: its rows as a follower reads them, and the mark on them that has PostgreSQL tell of changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from celery_jobs.errors import StoreUnavailable
from celery_jobs.store.among import of_chains
from celery_jobs.store.attempts import lock_original
from celery_jobs.store.callbacks import DUE, SENDING
from celery_jobs.store.faults import READ_ONLY
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["STEP", "Chain", "Replay", "Step", "follow", "read"]

NOT_ALLOWED = "42501"


@dataclass(frozen=True, slots=True)
class Step:
    """What a follower reads of one attempt."""

    id: str
    original_id: str
    task_id: str
    task: str | None
    queue: str
    attempt_number: int
    status: str
    final_status: str | None
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    ended_at: datetime | None
    cancel_requested_at: datetime | None
    duration_ms: int | None
    losses: int
    failure_reason: str | None
    error_type: str | None
    error_message: str | None
    callback_state: str | None
    callback_at: datetime | None
    callback_status: int | None
    callback_error: str | None
    callback_tries: int
    callback_duration_ms: int | None
    edition: int
    replaced_at: datetime | None
    replay_of: str | None
    replayed_at: datetime | None

    @property
    def owes_callback(self) -> bool:
        """Whether a callback of its end is still to be told."""
        return self.callback_state in (DUE, SENDING)


STEP = [jobs.c[name] for name in Step.__slots__]
"""What a step is made of, in its order."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A chain that replays another."""

    id: str
    task_id: str
    task: str | None
    queue: str
    created_at: datetime
    replay_reason: str | None


_REPLAY = [jobs.c[name] for name in Replay.__slots__]


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain as it is at one moment: its attempts in order, and the replays made of it."""

    steps: tuple[Step, ...]
    replays: tuple[Replay, ...]

    @property
    def is_over(self) -> bool:
        """Whether it has its verdict, and owes no callback."""
        return self.steps[0].ended_at is not None and not any(step.owes_callback for step in self.steps)


def follow(db: Database, original_id: str) -> bool:
    """Mark a chain, whose changes PostgreSQL tells from then on; False where the database lets nobody write.

    The mark stays: the next follower finds it, and retries take it over.
    """

    def transition(connection: Connection) -> None:
        if lock_original(connection, original_id) is not None:
            unmarked = (of_chains([original_id]), jobs.c.followed.is_(False))
            connection.execute(update(jobs).where(*unmarked).values(followed=True))

    try:
        db.run(transition, point="follow")
    except (StoreUnavailable, DBAPIError) as error:
        if _code_of(error) not in (READ_ONLY, NOT_ALLOWED):
            raise
        return False
    return True


def _code_of(error: Exception) -> Any:
    cause = error.__cause__ if isinstance(error, StoreUnavailable) else error
    return getattr(getattr(cause, "orig", None), "sqlstate", None)


def read(db: Database, original_id: str) -> Chain | None:
    """A chain as it is now; None where it is gone. One statement, and one more where it was replayed."""
    query = select(*STEP).where(of_chains([original_id])).order_by(jobs.c.attempt_number)
    with db.asking() as connection:
        found = tuple(Step(*row) for row in connection.execute(query))
    if not found:
        return None
    return Chain(found, _replays(db, original_id) if found[0].replayed_at is not None else ())


def _replays(db: Database, original_id: str) -> tuple[Replay, ...]:
    query = select(*_REPLAY).where(jobs.c.replay_of == original_id).order_by(jobs.c.created_at, jobs.c.id)
    with db.asking() as connection:
        return tuple(Replay(*row) for row in connection.execute(query))
