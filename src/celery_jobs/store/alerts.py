"""Alerts: each dead letter is told of once, and those of a queue that die soon after each other together.

A queue has one report at a time. What died is marked and written into the report in one transaction; whoever sends it
holds a lease on it, so that a sender's death loses nothing (semantics.md section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, false, func, literal, or_, select, union_all, update

from celery_jobs.settings import ALERT_HORIZON
from celery_jobs.store.clock import asked_at
from celery_jobs.store.db import now
from celery_jobs.store.queue_names import queue_names
from celery_jobs.store.tables import alerts, jobs, unalerted
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import CTE, ColumnElement
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database

__all__ = ["Cause", "Report", "again", "deaths", "due", "extend", "failing", "settle", "take"]

MOST_MARKED = 1000
"""Dead letters that one transaction marks."""

MOST_CAUSES = 8
"""Of one report; what else died is only counted."""
MOST_WORDS_BYTES = 300


@dataclass(frozen=True, slots=True)
class Cause:
    """Dead letters of one task and one class of error; `job_id` and `error_message` are of the first of them."""

    task: str | None
    error_type: str | None
    error_message: str | None
    job_id: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What died in a queue: `count` dead letters since `since` (ISO 8601), of which `causes` name the first kinds.

    `until`: the end of the taker's lease on it; `tries`: with this one; `more`: there may be more that belongs to it.
    """

    queue: str
    until: datetime
    tries: int
    count: int
    since: str
    causes: tuple[Cause, ...]
    more: bool


def due(db: Database, queues: Sequence[str] | None = None, but: Sequence[str] = (), since: float = 0) -> list[str]:
    """Which of these queues have a report to be sent now, or dead letters to begin one with; None: all but some.

    `since`: for at least so many seconds.
    """
    names = _names() if queues is None else _these(queues)
    died = jobs.c.dead_lettered_at
    # The oldest of each, rather than whether there is one: only an index gives it, where EXISTS would read a table.
    oldest = select(died).where(_untold(names.c.name), died <= asked_at(-since)).order_by(died).limit(1)
    untold = oldest.scalar_subquery().is_not(None)
    unleased = or_(alerts.c.leased_until.is_(None), alerts.c.leased_until <= asked_at())
    free = and_(alerts.c.next_at <= asked_at(-since), unleased)
    query = (
        select(names.c.name)
        .select_from(names.outerjoin(alerts, alerts.c.queue == names.c.name))
        .where(names.c.name.not_in(but), or_(alerts.c.queue.is_(None), free), or_(alerts.c.report.is_not(None), untold))
    )
    with db.asking() as connection:
        return [row.name for row in connection.execute(query.order_by(names.c.name))]


def _names() -> CTE:
    """The queues that have a report, or dead letters that nobody was told of."""
    reported = select(alerts.c.queue).where(alerts.c.report.is_not(None))
    return select(queue_names(unalerted).c.name).union(reported).cte("asked")


def _these(queues: Sequence[str]) -> CTE:
    named = [select(literal(queue).label("name")) for queue in queues]
    return union_all(*named, select(literal("").label("name")).where(false())).cte("asked")


def _untold(queue: Any) -> ColumnElement[bool]:
    """The dead letters of a queue that nobody has been told of."""
    return and_(jobs.c.queue == queue, unalerted, jobs.c.dead_lettered_at > asked_at(-ALERT_HORIZON))


def take(db: Database, queue: str, lease: float) -> Report | None:
    """Win the queue's report for `lease` seconds, with what has died since added to it; None: there is none to send.

    None as well while the queue's window is open, or somebody else sends it.
    """
    return db.run(partial(_take, db, queue, lease))


def _take(db: Database, queue: str, lease: float, connection: Connection) -> Report | None:
    fresh = db.insert(alerts).values(queue=queue, next_at=now()).on_conflict_do_nothing()
    connection.execute(fresh)
    free = or_(alerts.c.leased_until.is_(None), alerts.c.leased_until <= now())
    mine = select(alerts).where(alerts.c.queue == queue, alerts.c.next_at <= now(), free)
    row = connection.execute(mine.with_for_update(skip_locked=True)).first()
    return None if row is None else _add(connection, row, lease, row.tries + 1)


def extend(db: Database, report: Report, lease: float) -> Report | None:
    """Add more of what died to a report that was taken; None: somebody else has taken it since."""

    def transition(connection: Connection) -> Report | None:
        held = (alerts.c.queue == report.queue, alerts.c.leased_until == report.until)
        row = connection.execute(select(alerts).where(*held).with_for_update()).first()
        return None if row is None else _add(connection, row, lease, row.tries)

    return db.run(transition)


def _add(connection: Connection, row: Any, lease: float, tries: int) -> Report | None:
    died = _mark(connection, row.queue)
    written = _merge(row.report, died)
    if written is None:
        return None
    until = connection.execute(
        update(alerts)
        .where(alerts.c.queue == row.queue)
        .values(report=written, leased_until=now(lease), tries=tries)
        .returning(alerts.c.leased_until)
    ).scalar_one()
    causes = tuple(Cause(**cause) for cause in written["causes"])
    more = len(died) == MOST_MARKED
    return Report(row.queue, until, tries, written["count"], written["since"], causes, more)


def _mark(connection: Connection, queue: str) -> list[Any]:
    """Mark dead letters that nobody has been told of; gives them in the order in which they died.

    Those that somebody holds at this moment are for the next time.
    """
    query = select(jobs.c.id).where(_untold(queue)).order_by(jobs.c.dead_lettered_at).limit(MOST_MARKED)
    chosen = [found.id for found in connection.execute(query.with_for_update(skip_locked=True))]
    if not chosen:
        return []
    marked = connection.execute(
        update(jobs)
        .where(jobs.c.id.in_(chosen))
        .values(alerted_at=now())
        .returning(
            jobs.c.id,
            jobs.c.task,
            jobs.c.dead_lettered_at,
            func.coalesce(jobs.c.last_error_type, jobs.c.error_type).label("error_type"),
            func.coalesce(jobs.c.last_error_message, jobs.c.error_message).label("error_message"),
        )
    )
    return sorted(marked, key=lambda found: found.dead_lettered_at)


def _merge(report: dict[str, Any] | None, died: list[Any]) -> dict[str, Any] | None:
    """A report with these added to it."""
    if not died:
        return report
    merged = report or {"count": 0, "since": died[0].dead_lettered_at.isoformat(), "causes": []}
    known = {(cause["task"], cause["error_type"]): cause for cause in merged["causes"]}
    for job in died:
        kind = (job.task, job.error_type)
        if kind in known:
            known[kind]["count"] += 1
        elif len(known) < MOST_CAUSES:
            words = None if job.error_message is None else clean(job.error_message, MOST_WORDS_BYTES)
            known[kind] = {
                "task": job.task,
                "error_type": job.error_type,
                "error_message": words,
                "job_id": str(job.id),
                "count": 1,
            }
    return {**merged, "count": merged["count"] + len(died), "causes": list(known.values())}


def settle(db: Database, report: Report, window: float) -> bool:
    """Close a report that was sent or given up: the next one is sent `window` seconds from now at the earliest.

    False: somebody else has taken it since.
    """
    return _close(db, report, {"report": None, "tries": 0, "next_at": now(window)})


def again(db: Database, report: Report, wait: float) -> bool:
    """Keep a report that reached nobody, to be sent in `wait` seconds; False: somebody else has taken it since."""
    return _close(db, report, {"next_at": now(wait)})


def _close(db: Database, report: Report, values: dict[str, Any]) -> bool:
    statement = (
        update(alerts)
        .where(alerts.c.queue == report.queue, alerts.c.leased_until == report.until)
        .values(leased_until=None, **values)
    )
    return db.run(lambda connection: bool(connection.execute(statement).rowcount == 1))


def deaths(db: Database, queue: str, within: float, most: int) -> int:
    """How many jobs of the queue were dead-lettered in the last `within` seconds, counted up to `most`."""
    died = select(jobs.c.id).where(jobs.c.queue == queue, jobs.c.dead_lettered_at > asked_at(-within)).limit(most)
    with db.asking() as connection:
        return int(connection.execute(select(func.count()).select_from(died.subquery())).scalar_one())


def failing(db: Database, tries: int) -> list[tuple[str, int]]:
    """The queues whose report was sent at least so many times and reached nobody, and how many times."""
    vain = select(alerts.c.queue, alerts.c.tries).where(alerts.c.report.is_not(None), alerts.c.tries >= tries)
    with db.asking() as connection:
        return [(row.queue, row.tries) for row in connection.execute(vain.order_by(alerts.c.queue))]
