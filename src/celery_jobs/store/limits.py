"""Limits on what runs at once and on what starts in a time: who has a place, who waits, whose turn it is.

Whoever counts, marks or wakes does it in a transaction that holds the limit's lock, taken by a statement before: then
a job that finds no place is seen by who frees one, or sees the place that was freed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, exists, func, or_, select, update

from celery_jobs.rates import parse_rate
from celery_jobs.states import Status
from celery_jobs.store.clock import asked_at, seconds_until
from celery_jobs.store.db import insert_into, now
from celery_jobs.store.new_rows import is_paused
from celery_jobs.store.ranks import RANK, rank_of
from celery_jobs.store.sends import give_marked, mark_sent, unexpired, waiting
from celery_jobs.store.tables import jobs, places, starts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from celery_jobs.settings import QueueSettings
    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Outgoing

__all__ = [
    "KEY",
    "QUEUE",
    "RATE",
    "Limit",
    "Room",
    "is_first",
    "limits_of",
    "lock",
    "note_start",
    "opens_in",
    "places_left",
    "room_for",
    "take_place",
    "wake",
    "wake_next",
]

KEY, QUEUE, RATE = "key:", "queue:", "rate:"
"""What the name of a limit begins with, before the concurrency key or the queue."""

FRESH = 5.0
"""Seconds for which a place is kept for a job whose turn has come; its message may lie in a busy worker longer."""

LOOKED_AT = 100
"""Jobs of a key that are looked at, in their order, where each may have another limit."""

HASH_SEED = 0x6C696D69


@dataclass(frozen=True, slots=True)
class Limit:
    """`name`: what `waits_for` says. `most`: jobs at once, or starts in any `window` seconds.

    None: of a key, whose jobs have each their own; of a queue, which has no limit any more.
    """

    name: str
    most: int | None
    window: float | None = None

    @property
    def of_key(self) -> bool:
        """Whether it is a concurrency key's."""
        return self.name.startswith(KEY)


def limits_of(queue: str, settings: QueueSettings, key: str | None) -> list[Limit]:
    """The limits of a job, in the order in which they are judged and locked: key, queue, rate of the queue."""
    found = [] if key is None else [Limit(KEY + key, None)]
    if settings.concurrency_limit is not None:
        found.append(Limit(QUEUE + queue, settings.concurrency_limit))
    rate = parse_rate(settings.rate_limit)
    if rate is not None:
        found.append(Limit(RATE + queue, rate.most, rate.window))
    return found


def lock(connection: Connection, limits: Sequence[Limit], patient: bool = True) -> bool:
    """Hold these limits to the transaction's end; False, where not `patient`, if somebody else holds one.

    A statement of its own: the one that counts must begin when the lock is held. SQLite's transactions are one after
    the other anyway. What is searched next is searched by index: the planner knows nothing of tables as small as ours.
    """
    if connection.dialect.name == "sqlite" or not limits:
        return True
    take = func.pg_advisory_xact_lock if patient else func.pg_try_advisory_xact_lock
    locks = [take(func.hashtextextended(limit.name, HASH_SEED)) for limit in limits]
    hints = [func.set_config(name, "off", True) for name in ("enable_seqscan", "enable_sort")]
    taken = connection.execute(select(*hints, *locks)).one()[len(hints) :]
    return patient or all(taken)


@dataclass(frozen=True, slots=True)
class Room:
    """What a limit says of a job. `free`: how many may start; `is_there`: enough for who comes first, and for it."""

    free: int
    is_there: bool


def room_for(connection: Connection, limit: Limit, job: Any) -> Room:
    """Whether a job may start as far as this limit goes, and leave enough to those that wait and come first.

    `job`: its id, queue, priority, scheduled_at and concurrency_limit.
    """
    taken = _taken(connection, limit)
    most = job.concurrency_limit or 1 if limit.of_key else limit.most
    assert most is not None
    free = most - taken.running
    if free <= 0:
        return Room(0, False)
    mine = rank_of(job)
    rivals = [rival for rival in _rivals(connection, limit, taken.running, free) if rival.id != job.id]
    rivals += [parked for parked in taken.parked if parked.queue == job.queue and parked.id != job.id]
    return Room(free, sum(rank_of(rival) < mine for rival in rivals) < free)


def places_left(connection: Connection, limit: Limit) -> int:
    """How many of a queue may start now."""
    assert limit.most is not None
    return limit.most - _taken(connection, limit).running


def is_first(connection: Connection, limit: Limit, job: Any) -> bool:
    """Whether nobody that waits for this limit comes before a job."""
    mine = rank_of(job)
    return all(rank_of(rival) >= mine for rival in _rivals(connection, limit, 0, 1))


@dataclass(frozen=True, slots=True)
class _Taken:
    running: int
    """Places that are taken, or starts within the window."""
    parked: Sequence[Any] = ()
    """Jobs whose turn it is by their key, and which wait for their queue."""


def _taken(connection: Connection, limit: Limit) -> _Taken:
    if limit.window is not None:
        within = (starts.c.queue == limit.name.removeprefix(RATE), starts.c.started_at > asked_at(-limit.window))
        return _Taken(connection.execute(select(func.count()).where(*within)).scalar_one())
    held = select(func.count()).select_from(_placed).where(places.c.limit_name == limit.name, _is_held)
    if not limit.of_key:
        return _Taken(connection.execute(held).scalar_one())
    both = select(*_RANKED, jobs.c.status).select_from(_placed).where(places.c.limit_name == limit.name)
    rows = connection.execute(both.where(or_(_is_held, _is_parked))).all()
    parked = [row for row in rows if row.status == Status.PENDING]
    return _Taken(len(rows) - len(parked), parked)


_RANKED = (
    jobs.c.id,
    jobs.c.queue,
    jobs.c.task,
    jobs.c.priority,
    jobs.c.scheduled_at,
    jobs.c.sent_at,
    jobs.c.concurrency_limit,
)
_placed = places.join(jobs, jobs.c.id == places.c.job_id)
_is_held = and_(jobs.c.status == Status.PROCESSING, jobs.c.lease_token == places.c.lease_token)
_startable = (waiting, unexpired, jobs.c.cancel_requested_at.is_(None), ~is_paused(jobs.c.queue, asked_at))
_is_parked = and_(
    places.c.lease_token.is_(None),
    jobs.c.waits_for.is_not(None),
    jobs.c.waits_for != places.c.limit_name,
    *_startable,
)


def _rivals(connection: Connection, limit: Limit, running: int, free: int) -> list[Any]:
    """Those that wait for a limit and come first, as many as matter, and those whose turn has come just now."""
    unsent = connection.execute(_waiting(limit, max(LOOKED_AT, free) if limit.of_key else free)).all()
    rivals = [*unsent, *_woken(connection, limit)]
    return [row for row in rivals if not limit.of_key or (row.concurrency_limit or 1) > running]


def _waiting(limit: Limit, most: int) -> Any:
    """The first of those that wait, unsent."""
    unsent = (jobs.c.waits_for == limit.name, jobs.c.sent_at.is_(None), jobs.c.finished_at.is_(None))
    return select(*_RANKED).where(*unsent, *_startable).order_by(*RANK).limit(most)


def _woken(connection: Connection, limit: Limit) -> Sequence[Any]:
    """Those whose turn has come, and which were sent so lately that they may still arrive; or are to arrive."""
    sent = (jobs.c.waits_for == limit.name, jobs.c.sent_at > asked_at(-FRESH), jobs.c.finished_at.is_(None))
    return connection.execute(select(*_RANKED).where(*sent, *_startable)).all()


def opens_in(connection: Connection, limit: Limit) -> float:
    """Seconds until a rate that is used up lets the next start."""
    assert limit.most is not None
    assert limit.window is not None
    of_queue = starts.c.queue == limit.name.removeprefix(RATE)
    query = select(seconds_until(starts.c.started_at)).where(of_queue).order_by(starts.c.started_at.desc())
    last = connection.execute(query.offset(limit.most - 1).limit(1)).scalar()
    return 0.0 if last is None else max(0.0, float(last) + limit.window)


def wake(db: Database, limit: Limit, ahead: float) -> list[Outgoing]:
    """Mark as sent, and give, those whose turn it is now that places are free, or starts allowed.

    Where none is allowed, the first is sent to arrive when it is, if that is within `ahead` seconds. Jobs without a
    task are left to who claims them.
    """
    mine: dict[str, datetime] = {}

    def transition(connection: Connection) -> list[Outgoing]:
        lock(connection, [limit])
        _prune(connection, limit)
        mine.update(wake_next(connection, limit, ahead))
        return give_marked(connection, mine)  # of a repetition after a lost reply, also what it had marked

    return db.run(transition)


def _prune(connection: Connection, limit: Limit) -> None:
    """Delete what counts no more."""
    if limit.window is not None:
        of_queue = starts.c.queue == limit.name.removeprefix(RATE)
        connection.execute(delete(starts).where(of_queue, starts.c.started_at <= now(-limit.window)))
        return
    counts = exists().where(jobs.c.id == places.c.job_id, or_(_is_held, _is_parked))
    connection.execute(delete(places).where(places.c.limit_name == limit.name, ~counts))


def wake_next(connection: Connection, limit: Limit, ahead: float) -> dict[str, datetime]:
    """The same inside a transaction that holds the limit: who was marked as sent, and when."""
    if limit.of_key:
        return _send(connection, limit, _next_of_key(connection, limit))
    if limit.most is None:
        return _let_go(connection, limit)
    free, woken = limit.most - _taken(connection, limit).running, len(_woken(connection, limit))
    if free > woken:
        return _send(connection, limit, connection.execute(_waiting(limit, free - woken)).all())
    if limit.window is None or woken or free > 0:
        return {}
    after = opens_in(connection, limit)
    return _send(connection, limit, connection.execute(_waiting(limit, 1)).all(), after) if after <= ahead else {}


def _next_of_key(connection: Connection, limit: Limit) -> list[Any]:
    """Whose turn it is: each is held to its own limit, and to what others of its queue have before it."""
    taken = _taken(connection, limit)
    running, parked = taken.running + len(_woken(connection, limit)), Counter(row.queue for row in taken.parked)
    found = []
    for row in connection.execute(_waiting(limit, LOOKED_AT)):
        if running + parked[row.queue] < (row.concurrency_limit or 1):
            found.append(row)
            running += 1
    return found


def _let_go(connection: Connection, limit: Limit) -> dict[str, datetime]:
    """Of a queue that has no such limit any more: the promoter sends them."""
    some = [row.id for row in connection.execute(_waiting(limit, 10 * LOOKED_AT))]
    connection.execute(update(jobs).where(jobs.c.id.in_(some), waiting).values(waits_for=None))
    return {}


def _send(connection: Connection, limit: Limit, rows: Sequence[Any], after: float = 0) -> dict[str, datetime]:
    still = (jobs.c.waits_for == limit.name, jobs.c.sent_at.is_(None), waiting)
    pulled = [row.id for row in rows if row.task is None]
    if pulled:
        connection.execute(update(jobs).where(jobs.c.id.in_(pulled), *still).values(waits_for=None))
    return mark_sent(connection, [row.id for row in rows if row.task is not None], *still, after=after)


def take_place(connection: Connection, limit: Limit, job_id: str, lease_token: str | None) -> None:
    """Give a job that runs with this token a place; without one, keep its turn by its key while it waits for its queue.

    Others of that queue and key do not pass it: ten thousand would wait there before those that can run.
    """
    place = insert_into(places, connection.dialect.name == "sqlite")
    place = place.values(limit_name=limit.name, job_id=job_id, lease_token=lease_token)
    key = [places.c.limit_name, places.c.job_id]
    connection.execute(place.on_conflict_do_update(index_elements=key, set_={"lease_token": lease_token}))


def note_start(connection: Connection, limit: Limit, job_id: str, started_at: datetime) -> None:
    """Note a start in a queue with a rate: at the moment that is on its job."""
    queue = limit.name.removeprefix(RATE)
    connection.execute(starts.insert().values(queue=queue, started_at=started_at, job_id=job_id))
