"""The claim of a job with limits: judged, and won or made to wait, in one transaction that holds their locks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, case, func, select, update

from celery_jobs.states import Status
from celery_jobs.store.attempts import ready, win_statement
from celery_jobs.store.limits import (
    QUEUE,
    RATE,
    Limit,
    is_first,
    limits_of,
    lock,
    note_start,
    opens_in,
    room_for,
    take_place,
    wake_next,
)
from celery_jobs.store.prepared import Prepared
from celery_jobs.store.rows import Claim
from celery_jobs.store.sends import give_marked
from celery_jobs.store.tables import jobs
from celery_jobs.store.unclaimed import Unclaimed, why_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from celery_jobs.settings import QueueSettings
    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Outgoing

__all__ = ["Judged", "claim", "is_limited", "keep_places", "make_wait"]

NEARLY_OPEN = 2.0
"""Seconds; who comes this much before a rate opens, and is the first, waits for it where it is."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a claim, and who is to be sent for it."""

    answer: Claim | Unclaimed
    outgoing: Sequence[Outgoing] = ()


def is_limited(db: Database, job_id: str, settings: Callable[[str], QueueSettings]) -> bool:
    """Whether a job has limits: its key's, or its own queue's, whichever queue its message came through."""
    row = db.persist(lambda connection: _whose.first(connection, {"job": job_id}), alone=True)
    return row is not None and (row["concurrency_key"] is not None or settings(row["queue"]).is_limited)


_whose = Prepared(
    lambda is_sqlite: select(jobs.c.queue, jobs.c.concurrency_key).where(
        jobs.c.id == bindparam("job", type_=jobs.c.id.type)
    )
)


def claim(
    db: Database,
    job_id: str,
    settings: Callable[[str], QueueSettings],
    winner: dict[str, Any],
    ahead: float,
    durable: bool = True,
) -> Judged:
    """pending -> processing if each of the job's limits has room for it; else it waits, unsent.

    `winner`: `worker`, `lease_token`, `lease` (seconds) and the message's `edition`. Waits while the database is away;
    a repetition after a lost reply finds its own claim, and whom it was to send. `ahead`: seconds that a message may be
    sent before its time (semantics.md section 10).
    """
    marked: dict[str, datetime] = {}
    tries = count()

    def transition(connection: Connection) -> Judged:
        if not durable and not db.is_sqlite:
            connection.execute(select(func.set_config("synchronous_commit", "off", True)))
        row = connection.execute(select(jobs.c.queue, jobs.c.concurrency_key).where(jobs.c.id == job_id)).first()
        limits = [] if row is None else limits_of(row.queue, settings(row.queue), row.concurrency_key)
        lock(connection, limits)
        judged = _Claim(connection, job_id, limits, {**winner, "again": next(tries) > 0}, ahead, marked)
        answer = judged.decide() or why_lost(job_id, winner["lease_token"], winner["edition"], connection)
        return Judged(answer, give_marked(connection, marked))

    return db.persist(transition, point="claim")


@dataclass(slots=True)
class _Claim:
    """One try, under the locks of the job's limits."""

    connection: Connection
    job_id: str
    limits: list[Limit]
    winner: dict[str, Any]
    ahead: float
    marked: dict[str, datetime]
    """Who was marked as sent."""

    def decide(self) -> Claim | Unclaimed | None:
        """The claim, or that the job waits; None where it cannot be claimed at all."""
        job = self.connection.execute(_judged.where(jobs.c.id == self.job_id)).first()
        if job is None or job.edition != self.winner["edition"]:
            return None
        if job.status == Status.PROCESSING and self.winner["again"]:
            return self._won_before()
        if job.status == Status.PENDING:
            for limit in self.limits:
                room = room_for(self.connection, limit, job)
                if not room.is_there:
                    return self._wait(job, limit, room.free)
        return self._win()

    def _won_before(self) -> Claim | None:
        """What this very claim has won, where the reply was lost: its start has been noted."""
        mine = (jobs.c.id == self.job_id, jobs.c.lease_token == self.winner["lease_token"])
        won = self.connection.execute(select(*(jobs.c[name] for name in Claim.__slots__)).where(*mine)).first()
        return None if won is None else Claim(**won._mapping)

    def _win(self) -> Claim | None:
        values = {"job": self.job_id, "by": self.winner["worker"], "token": self.winner["lease_token"]}
        values.update(seconds=self.winner["lease"], of_edition=self.winner["edition"], again=False)
        won = self.connection.execute(_win, values).first()
        if won is None:
            return None
        keep_places(self.connection, self.limits, won.id, won.lease_token, won.started_at)
        for limit in self.limits:
            if limit.window is not None:
                self.marked.update(wake_next(self.connection, limit, self.ahead))
        return Claim(**won._mapping)

    def _wait(self, job: Any, limit: Limit, free: int) -> Unclaimed | None:
        """Wait for a limit, unsent, and let those come that are before it."""
        if limit.window is not None and job.waits_for == limit.name and job.sent_at is not None:
            wait = opens_in(self.connection, limit)
            if 0 < wait <= NEARLY_OPEN and is_first(self.connection, limit, job):
                return Unclaimed(Unclaimed.EARLY, wait)
        if not make_wait(self.connection, [job.id], limit):
            return None
        for before in self.limits:
            if before.of_key and not limit.of_key:
                take_place(self.connection, before, job.id, None)
        for left in _left(job, limit, free, self.limits):
            self.marked.update(wake_next(self.connection, left, self.ahead))
        return Unclaimed(Unclaimed.WAITING)


def _left(job: Any, limit: Limit, free: int, limits: Sequence[Limit]) -> list[Limit]:
    """Whose turn is to be given on: of what it waits for, and of what it waited for, if others can start there."""
    both_of_queue = limit.name.startswith((QUEUE, RATE)) and str(job.waits_for).startswith((QUEUE, RATE))
    before = [other for other in limits if other.name == job.waits_for and other != limit and not both_of_queue]
    return [*before, limit] if free > 0 or limit.window is not None else before


def make_wait(connection: Connection, job_ids: Sequence[str], limit: Limit) -> int:
    """Mark what could be claimed but for a limit as waiting for it, as if it had not been sent; how many."""
    sends = case((and_(jobs.c.sent_at.is_not(None), jobs.c.send_count > 0), jobs.c.send_count - 1))
    statement = update(jobs).where(jobs.c.id.in_(job_ids), ready())
    changes = {"waits_for": limit.name, "sent_at": None, "send_count": func.coalesce(sends, jobs.c.send_count)}
    return int(connection.execute(statement.values(changes)).rowcount)


def keep_places(
    connection: Connection, limits: Sequence[Limit], job_id: str, lease_token: str, started_at: datetime
) -> None:
    """Note that a job has started under these limits."""
    for limit in limits:
        if limit.window is None:
            take_place(connection, limit, job_id, lease_token)
        else:
            note_start(connection, limit, job_id, started_at)


_judged = select(
    *(jobs.c[name] for name in ("id", "queue", "status", "priority", "scheduled_at", "sent_at")),
    *(jobs.c.waits_for, jobs.c.concurrency_limit, jobs.c.edition),
)
_win = win_statement(limited=True)
