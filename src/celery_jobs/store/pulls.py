"""Which jobs an outside worker's claim takes: by rank, as far as limits have room (semantics.md section 10).

Its locks are those of its queue, then rows, which it passes over where they are locked, then those of keys, which it
passes over too: so it waits for nobody while it holds what others wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import literal, or_, update

from celery_jobs.store.attempts import ready
from celery_jobs.store.clock import asked_at
from celery_jobs.store.limited_claims import keep_places, make_wait
from celery_jobs.store.limits import KEY, Limit, lock, places_left, room_for
from celery_jobs.store.new_rows import is_paused
from celery_jobs.store.planning import in_order
from celery_jobs.store.ranks import due_by_rank
from celery_jobs.store.sends import unexpired, waiting
from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

__all__ = ["take"]

ROUNDS, AT_ONCE = 20, 500
"""Looks of one claim, and the jobs of each but the first: so many may be found to wait for their keys."""

to_pull = (jobs.c.task.is_(None), jobs.c.finished_at.is_(None), jobs.c.waits_for.is_(None))


def take(connection: Connection, queue: str, most: int, values: dict[str, Any], limits: Sequence[Limit]) -> list[Limit]:
    """Give at most `most` due jobs of a queue these `values`; the limits of keys that had no room for theirs."""
    lock(connection, limits)
    in_order(connection)
    left = min([most, *(places_left(connection, limit) for limit in limits)])
    full: dict[str, Limit] = {}
    passed: set[str] = set()
    """Keys that somebody else judges at this moment."""
    for look in range(ROUNDS):
        if left <= 0:
            break
        asked = left if look == 0 else max(left, AT_ONCE)
        rows = due_by_rank(connection, queue, to_pull, _claimable(queue, passed), asked, *_OF_LIMITS)
        left -= _judge(connection, rows, left, values, limits, full, passed)
        if len(rows) < asked:
            break
    return list(full.values())


_OF_LIMITS = (jobs.c.queue, jobs.c.concurrency_key, jobs.c.concurrency_limit)


def _claimable(queue: str, passed: set[str]) -> tuple[Any, ...]:
    unpaused = ~is_paused(literal(queue), asked_at)
    claimable = (waiting, unexpired, unpaused, jobs.c.cancel_requested_at.is_(None))
    unjudged = or_(jobs.c.concurrency_key.is_(None), jobs.c.concurrency_key.not_in(passed))
    return (*claimable, unjudged) if passed else claimable


def _judge(
    connection: Connection,
    rows: Sequence[Any],
    left: int,
    values: dict[str, Any],
    limits: Sequence[Limit],
    full: dict[str, Limit],
    passed: set[str],
) -> int:
    """Claim those of the jobs that have room, and make wait those that have none; how many were claimed."""
    plain: list[str] = []
    over: dict[str, list[str]] = {}
    won = 0
    for row in rows:
        key = row.concurrency_key
        if len(plain) + won == left or key in passed:
            continue
        if key is None:
            plain.append(row.id)
        elif key in full:
            over.setdefault(key, []).append(row.id)
        elif not lock(connection, [limit := Limit(KEY + key, None)], patient=False):
            passed.add(key)
        elif room_for(connection, limit, row).is_there:
            won += _win(connection, [row.id], values, [limit, *limits])
        else:
            full[key] = limit
            over[key] = [row.id]
    for key, ids in over.items():
        make_wait(connection, ids, full[key])
    return won + _win(connection, plain, values, limits)


def _win(connection: Connection, ids: list[str], values: dict[str, Any], limits: Sequence[Limit]) -> int:
    if not ids:
        return 0
    ours = update(jobs).where(jobs.c.id.in_(ids), jobs.c.task.is_(None), ready()).values(values)
    won = connection.execute(ours.returning(jobs.c.id, jobs.c.lease_token, jobs.c.started_at)).all()
    for row in won:
        keep_places(connection, limits, row.id, row.lease_token, row.started_at)
    return len(won)
