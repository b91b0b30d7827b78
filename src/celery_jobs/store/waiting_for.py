"""Which limits are waited for, and those that nobody has woken: what the promoter looks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, not_, or_, select

from celery_jobs.states import Status
from celery_jobs.store.limits import KEY, QUEUE, RATE, Limit, limits_of
from celery_jobs.store.planning import by_index, in_order
from celery_jobs.store.queue_names import names_in
from celery_jobs.store.ranks import RANK
from celery_jobs.store.tables import jobs, limited, places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Row

    from celery_jobs.settings import QueueSettings
    from celery_jobs.store.db import Database

__all__ = ["limits_to_wake", "whose"]

MOST_LEFT = 1000
"""Places of jobs that have ended, of which one look takes care."""


def whose(db: Database, job_ids: Sequence[str]) -> list[Row[Any]]:
    """Queue and concurrency key of these jobs."""
    if not job_ids:
        return []
    query = select(jobs.c.queue, jobs.c.concurrency_key).where(jobs.c.id.in_(job_ids)).distinct()
    with db.asking() as connection:
        return list(connection.execute(query))


def limits_to_wake(db: Database, settings: Callable[[str], QueueSettings]) -> list[Limit]:
    """The limits of queues that jobs wait for, those of keys whose first job has room, and those that were left."""
    with db.reading() as connection:
        by_index(connection)
        in_order(connection)
        names = set(connection.execute(_with_room()).scalars())
        names |= set(connection.execute(_left()).scalars())
    return [_limit(name, settings) for name in sorted(names)]


def _with_room() -> Any:
    names = names_in(jobs.c.waits_for, limited)
    first = select(func.coalesce(jobs.c.concurrency_limit, 1)).where(jobs.c.waits_for == names.c.name, limited)
    running = select(func.count()).select_from(_placed).where(places.c.limit_name == names.c.name, _is_held)
    has_room = first.order_by(*RANK).limit(1).scalar_subquery() > running.scalar_subquery()
    return select(names.c.name).where(or_(not_(names.c.name.startswith(KEY, autoescape=True)), has_room))


_placed = places.outerjoin(jobs, jobs.c.id == places.c.job_id)
_is_held = and_(jobs.c.status == Status.PROCESSING, jobs.c.lease_token == places.c.lease_token)


def _left() -> Any:
    """Limits with places that nobody has any more: whoever ended those jobs has not woken anybody."""
    is_left = and_(places.c.lease_token.is_not(None), func.coalesce(not_(_is_held), True))
    some = select(places.c.limit_name).select_from(_placed).where(is_left).limit(MOST_LEFT).subquery()
    return select(some.c.limit_name).distinct()


def _limit(name: str, settings: Callable[[str], QueueSettings]) -> Limit:
    """A limit as the settings have it now, without a number where they have none."""
    queue = name.removeprefix(QUEUE) if name.startswith(QUEUE) else name.removeprefix(RATE)
    known = [] if name.startswith(KEY) else limits_of(queue, settings(queue), None)
    return next((limit for limit in known if limit.name == name), Limit(name, None))
