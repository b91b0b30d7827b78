"""The callbacks that attempts owe since they ended: which are due, who sends them, what became of them.

`callback_at` is when one is due, and while it is sent the moment that its sender's lease on it runs out; then when it
was settled (semantics.md section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, exists, func, or_, select, update

from celery_jobs.store.attempts import CALLBACK_DUE
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import now, seconds_until
from celery_jobs.store.tables import jobs, unsent_callback

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["DUE", "FAILED", "SENDING", "SENT", "Taken", "Unsent", "mark", "overdue", "resend", "take", "unsent"]

DUE, SENDING, SENT, FAILED = CALLBACK_DUE, "sending", "sent", "failed"


@dataclass(frozen=True, slots=True)
class Unsent:
    """A callback that is to be sent. `wait`: seconds until it is due; the lease of one that is being sent counts."""

    job_id: str
    original_id: str
    url: str
    wait: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A callback that is the taker's to send until its lease runs out. `tries`: with this one."""

    job_id: str
    original_id: str
    url: str
    until: datetime
    tries: int


def unsent(db: Database, limit: int, but: Iterable[str] = ()) -> list[Unsent]:
    """At most `limit` callbacks, the first due first; none whose chain has an earlier one that is being sent.

    `but`: beginnings of URLs, up to their path, to leave out.
    """
    wait = seconds_until(jobs.c.callback_at).label("wait")
    query = select(jobs.c.id, jobs.c.original_id, jobs.c.callback_url, wait)
    query = query.where(unsent_callback, ~_is_behind, *(_is_elsewhere(beginning) for beginning in but))
    with db.asking() as connection:
        rows = connection.execute(query.order_by(jobs.c.callback_at).limit(limit))
        return [Unsent(row.id, row.original_id, row.callback_url, row.wait) for row in rows]


_earlier = jobs.alias("earlier")
_is_behind = and_(
    jobs.c.attempt_number > 1,
    exists().where(
        # In the words of the two indexes, as in `of_chains`.
        or_(
            _earlier.c.id == jobs.c.original_id,
            and_(_earlier.c.original_id == jobs.c.original_id, _earlier.c.attempt_number > 1),
        ),
        _earlier.c.attempt_number < jobs.c.attempt_number,
        _earlier.c.callback_state == SENDING,
        _earlier.c.callback_at > asked_at(),
    ),
)


def _is_elsewhere(beginning: str) -> Any:
    """No LIKE, in which letters are alike on one database and differ on another."""
    start = func.substr(jobs.c.callback_url, 1, len(beginning) + 1)
    return start.not_in([beginning, f"{beginning}/", f"{beginning}?"])


def take(db: Database, job_ids: Sequence[str], lease: float) -> list[Taken]:
    """Win those of the callbacks that are due, or whose sender has died, for `lease` seconds.

    A repetition after a lost reply finds what it took.
    """
    return db.run(partial(_take, job_ids, lease, {}), point="callback.take")


def _take(job_ids: Sequence[str], lease: float, mine: dict[str, datetime], connection: Connection) -> list[Taken]:
    taken = _still_taken(connection, mine) if mine else []
    if not taken:
        taken = _win(connection, job_ids, lease)
        mine.clear()
        mine.update({callback.job_id: callback.until for callback in taken})
    return taken


_TAKEN = (jobs.c.id.label("job_id"), jobs.c.original_id, jobs.c.callback_url.label("url"))
_HELD = (jobs.c.callback_at.label("until"), jobs.c.callback_tries.label("tries"))


def _still_taken(connection: Connection, mine: dict[str, datetime]) -> list[Taken]:
    rows = connection.execute(select(*_TAKEN, *_HELD).where(jobs.c.id.in_(mine), jobs.c.callback_state == SENDING))
    found = [Taken(**row._mapping) for row in rows]
    return [callback for callback in found if callback.until == mine[callback.job_id]]


MOST_TRIES = 32_000
"""That the column counts."""

_next_try = case((jobs.c.callback_tries < MOST_TRIES, jobs.c.callback_tries + 1), else_=jobs.c.callback_tries)


def _win(connection: Connection, job_ids: Sequence[str], lease: float) -> list[Taken]:
    due = (unsent_callback, jobs.c.callback_at <= now())
    chosen = select(jobs.c.id).where(jobs.c.id.in_(job_ids), *due).order_by(jobs.c.id)
    locked = [row.id for row in connection.execute(chosen.with_for_update(skip_locked=True, of=jobs))]
    if not locked:
        return []
    rows = connection.execute(
        update(jobs)
        .where(jobs.c.id.in_(locked), *due)
        .values(callback_state=SENDING, callback_at=now(lease), callback_tries=_next_try)
        .returning(*_TAKEN, *_HELD)
    )
    return [Taken(**row._mapping) for row in rows]


def mark(
    db: Database,
    callback: Taken,
    status: int | None,
    error: str | None,
    duration_ms: int | None,
    again_in: float | None = None,
) -> bool:
    """Write what became of a callback that was taken; `error` None: it was delivered. `again_in`: seconds, or never.

    False: somebody else has taken it since, or asked for it once more.
    """
    state = SENT if error is None else FAILED if again_in is None else DUE
    statement = (
        update(jobs)
        .where(jobs.c.id == callback.job_id)
        .where(jobs.c.callback_state == SENDING, jobs.c.callback_at == callback.until)
        .values(
            callback_state=state,
            callback_at=now(again_in or 0),
            callback_status=status,
            callback_error=error,
            callback_duration_ms=duration_ms,
        )
    )
    written = select(jobs.c.id).where(
        jobs.c.id == callback.job_id, jobs.c.callback_state == state, jobs.c.callback_tries == callback.tries
    )

    def transition(connection: Connection) -> bool:
        done = connection.execute(statement).rowcount == 1
        # The reply to our own commit may have been lost: whoever took it since has counted a try more.
        return done or connection.execute(written).first() is not None

    return db.run(transition, point="callback.mark")


def resend(db: Database, job_id: str) -> bool:
    """Make the callback of an ended attempt due now, its tries counted anew; one that is being sent is left alone.

    False: there is none to be sent.
    """
    statement = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.finished_at.is_not(None), jobs.c.callback_url.is_not(None))
        .where((jobs.c.callback_state != SENDING) | jobs.c.callback_state.is_(None) | (jobs.c.callback_at <= now()))
        .values(callback_state=DUE, callback_at=now(), callback_tries=0)
    )
    sending = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.callback_state == SENDING)

    def transition(connection: Connection) -> bool:
        done = connection.execute(statement).rowcount == 1
        return done or connection.execute(sending).first() is not None

    return db.run(transition, point="callback.resend")


def overdue(db: Database, after: float) -> int:
    """How many callbacks have been due for more than `after` seconds."""
    query = select(func.count()).where(unsent_callback, jobs.c.callback_at < asked_at(-after))
    with db.asking() as connection:
        return int(connection.execute(query).scalar_one())
