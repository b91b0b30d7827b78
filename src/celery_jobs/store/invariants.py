"""The invariants of semantics.md section 2, as queries that find what breaks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, not_, or_, select
from sqlalchemy.orm import aliased

from celery_jobs.states import LIVE, FinalStatus, Status
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.store.db import Database

__all__ = ["INVARIANTS", "Violation", "check"]

MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Violation:
    """A job that breaks an invariant."""

    number: int
    rule: str
    job_id: str


def check(db: Database) -> list[Violation]:
    """Find what breaks the invariants, each in a consistent read of its own; at most 100 jobs for each.

    Every one reads all jobs, some seconds of ten million: a read of them all would take longer than is waited for.
    """
    found = []
    for number, rule, query in INVARIANTS:
        with db.reading() as connection:
            for row in connection.execute(query().limit(MOST_SHOWN)):
                found.append(Violation(number, rule, str(row[0])))
    return found


_live = jobs.c.status.in_(LIVE)
_is_original = jobs.c.attempt_number == 1
other = aliased(jobs)


def _final_status_while_live() -> Any:
    return select(jobs.c.id).where(
        or_(
            and_(_live, jobs.c.final_status.is_not(None)),
            and_(not_(_live), jobs.c.final_status.is_(None)),
        )
    )


def _originals() -> Any:
    wrong = or_(
        and_(_is_original, jobs.c.original_id != jobs.c.id),
        and_(~_is_original, jobs.c.original_id == jobs.c.id),
        jobs.c.is_retry != (jobs.c.attempt_number > 1),
        jobs.c.attempt_number < 1,
    )
    return select(jobs.c.id).where(wrong)


def _dense() -> Any:
    group = select(jobs.c.original_id).group_by(jobs.c.original_id)
    return group.having(func.count() != func.max(jobs.c.attempt_number))


def _pending_retry() -> Any:
    later = exists().where(other.c.original_id == jobs.c.id, other.c.attempt_number > 1, other.c.status.in_(LIVE))
    return select(jobs.c.id).where(
        or_(
            and_(jobs.c.has_pending_retry, or_(~_is_original, ~later)),
            and_(~jobs.c.has_pending_retry, _is_original, later),
        )
    )


def _dead_lettered() -> Any:
    dead = jobs.c.final_status == FinalStatus.DEAD_LETTERED
    return select(jobs.c.id).where(
        or_(
            and_(dead, jobs.c.dead_lettered_at.is_(None)),
            and_(dead, ~_is_original),
            and_(jobs.c.dead_lettered_at.is_not(None), or_(jobs.c.final_status.is_(None), not_(dead))),
        )
    )


def _completed() -> Any:
    return select(jobs.c.id).where(jobs.c.status == Status.COMPLETED, jobs.c.final_status != FinalStatus.SUCCESS)


def _claimed() -> Any:
    return select(jobs.c.id).where(
        jobs.c.status == Status.PROCESSING,
        or_(
            and_(jobs.c.worker.is_(None), jobs.c.claimed_by.is_(None)),
            jobs.c.lease_token.is_(None),
            jobs.c.lease_expires_at.is_(None),
        ),
    )


def _one_live() -> Any:
    group = select(jobs.c.original_id).where(_live).group_by(jobs.c.original_id)
    return group.having(func.count() > 1)


def _too_early() -> Any:
    return select(jobs.c.id).where(jobs.c.started_at < jobs.c.scheduled_at)


def _too_many_attempts() -> Any:
    return select(jobs.c.id).where(jobs.c.policy_retries + 1 > jobs.c.max_attempts)


def _shared_key() -> Any:
    twin = exists().where(
        other.c.idempotency_scope == jobs.c.idempotency_scope,
        other.c.idempotency_key == jobs.c.idempotency_key,
        other.c.id != jobs.c.id,
    )
    return select(jobs.c.id).where(jobs.c.idempotency_key.is_not(None), twin)


def _key_on_retry() -> Any:
    return select(jobs.c.id).where(jobs.c.idempotency_key.is_not(None), ~_is_original)


def _over_the_limit() -> Any:
    running = and_(jobs.c.finished_at.is_(None), jobs.c.status == Status.PROCESSING)
    limit = func.coalesce(func.max(jobs.c.concurrency_limit), 1)
    keys = select(jobs.c.concurrency_key).where(running, jobs.c.concurrency_key.is_not(None))
    over = keys.group_by(jobs.c.concurrency_key).having(func.count() > limit)
    return select(jobs.c.id).where(running, jobs.c.concurrency_key.in_(over))


def _replays() -> Any:
    # Every circle has a replay that is older than what it replays.
    wrong = exists().where(
        other.c.id == jobs.c.replay_of,
        or_(other.c.ended_at.is_(None), other.c.created_at > jobs.c.created_at, other.c.id == jobs.c.id),
    )
    return select(jobs.c.id).where(jobs.c.replay_of.is_not(None), wrong)


def _one_chain() -> Any:
    twin = exists().where(
        other.c.task_id == jobs.c.task_id,
        other.c.nesting == jobs.c.nesting,
        other.c.attempt_number == 1,
        other.c.ended_at.is_(None),
        other.c.id != jobs.c.id,
    )
    return select(jobs.c.id).where(_is_original, jobs.c.ended_at.is_(None), twin)


def _ended() -> Any:
    ongoing = or_(jobs.c.final_status.is_(None), jobs.c.final_status == FinalStatus.RETRYING)
    return select(jobs.c.id).where(
        or_(
            and_(~_is_original, jobs.c.ended_at.is_not(None)),
            and_(_is_original, ongoing, jobs.c.ended_at.is_not(None)),
            and_(_is_original, not_(ongoing), jobs.c.final_status.is_not(None), jobs.c.ended_at.is_(None)),
        )
    )


INVARIANTS: tuple[tuple[int, str, Callable[[], Any]], ...] = (
    (1, "final_status is NULL exactly while a job is pending or processing", _final_status_while_live),
    (2, "a chain has one original, and is_retry is set exactly where attempt_number > 1", _originals),
    (2, "attempt numbers of a chain are dense from 1", _dense),
    (3, "has_pending_retry is set exactly where a later job of the chain is live", _pending_retry),
    (4, "dead_lettered_at is set exactly on dead-lettered originals", _dead_lettered),
    (5, "a completed job is a success", _completed),
    (6, "a processing job has a worker, a lease token and a lease's end", _claimed),
    (7, "at most one job of a chain is pending or processing", _one_live),
    (8, "no attempt starts before its scheduled_at", _too_early),
    (9, "a chain has never more than max_attempts policy attempts", _too_many_attempts),
    (10, "an idempotency key is owned by one chain", _shared_key),
    (10, "a retry carries no idempotency key", _key_on_retry),
    (11, "no more jobs of a concurrency key run than the largest limit among them", _over_the_limit),
    (12, "a replay points at an ended chain, or at one deleted since", _replays),
    (13, "one Celery task id has at most one live chain", _one_chain),
    (13, "ended_at is set exactly on the original of an ended chain", _ended),
)
