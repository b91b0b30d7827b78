"""Looks for runs that a filter means, each at a bounded number of rows: what is not found by then is looked for next.

A look goes by the index that suits the filter: the run or the replays that it names, tags that few have, the dead
letters, what is live; else by the primary key, whose ids sort by time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, any_, func, select, union_all

from celery_jobs.ids import parse_id
from celery_jobs.states import FinalStatus, Status
from celery_jobs.store.among import among
from celery_jobs.store.clock import asked_at
from celery_jobs.store.planning import by_index, expected
from celery_jobs.store.tables import jobs, tagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database
    from celery_jobs.store.filters import Filter

__all__ = ["LOOKED_AT", "Look"]

LOOKED_AT = 18_500
"""Rows that one look reads at most; with a first look, and the page itself, a page reads less than 20,000."""

FIRST_LOOKED_AT = 1_000
"""Rows that mostly are enough: for so few of them the planner goes by the index, and does not sort all that it has."""


@dataclass(frozen=True, slots=True)
class Look:
    """Which runs are looked for: newest first, or `upwards` by their ids, oldest first.

    `rows`: that are read at most at once; `end`: the id to stay above, or with `upwards` the last one.
    """

    db: Database
    which: Filter
    rows: int
    upwards: bool = False
    end: str | None = None

    def find(self, connection: Connection, limit: int, start: str | None) -> tuple[list[str], str | None]:
        """At most `limit` ids behind `start`, and where to go on; None: nothing is left behind them."""
        looked_at, few = self._looked_at(connection, start)
        for rows in (self.rows,) if few else (FIRST_LOOKED_AT, self.rows):
            ids = list(connection.execute(self._among(looked_at, rows).limit(limit)).scalars())
            if len(ids) == limit:
                return ids, ids[-1]
        return ids, None if few else self._reached(connection, looked_at)

    def count(self, connection: Connection, start: str | None) -> tuple[int, str | None]:
        """How many there are in the rows behind `start`, and where to go on."""
        looked_at, few = self._looked_at(connection, start)
        found = self._among(looked_at, self.rows).order_by(None).subquery()
        number = connection.execute(select(func.count()).select_from(found)).scalar_one()
        return int(number), None if few else self._reached(connection, looked_at)

    def _reached(self, connection: Connection, looked_at: Select[Any]) -> str | None:
        last = looked_at.with_only_columns(jobs.c.id).offset(self.rows - 1).limit(1)
        return connection.execute(last).scalar()

    def _looked_at(self, connection: Connection, start: str | None) -> tuple[Select[Any], bool]:
        """The rows behind `start`, in order, and whether there are few of them, for one look."""
        conditions, few = _narrowed(self.db, self.which, connection)
        query = select(jobs).where(*conditions).order_by(self._directed(jobs.c.id))
        if start is not None:
            query = query.where(jobs.c.id > start if self.upwards else jobs.c.id < start)
        if self.end is not None:
            query = query.where(jobs.c.id <= self.end if self.upwards else jobs.c.id > self.end)
        return query, few

    def _among(self, looked_at: Select[Any], most: int) -> Select[Any]:
        """The ids of the runs that are meant, among the first rows."""
        rows = looked_at.limit(most).subquery()
        meant = (rows.c.attempt_number == 1, *self.which.conditions(self.db, rows.c))
        return select(rows.c.id).where(*meant).order_by(self._directed(rows.c.id))

    def _directed(self, id: Any) -> Any:
        return id.asc() if self.upwards else id.desc()


def _are_dead(which: Filter) -> bool:
    """Whether none but dead letters are meant."""
    died = (which.dead_lettered_after, which.dead_lettered_before) != (None, None)
    return died or FinalStatus.DEAD_LETTERED in which.states


def _narrowed(db: Database, which: Filter, connection: Connection) -> tuple[list[ColumnElement[bool]], bool]:
    """Conditions that an index answers, and that all which are meant fulfil; whether few rows do."""
    if which.original is not None:
        return [jobs.c.id == parse_id(which.original)], True
    if which.replay_of is not None:
        return [jobs.c.replay_of == parse_id(which.replay_of)], False
    having = _having_tags(db, which, connection)
    if having is not None:
        return [among(jobs.c.id, having, arrays=True)], True
    if _are_dead(which):
        of_queue = [jobs.c.queue == which.queue] if isinstance(which.queue, str) else []
        return [jobs.c.dead_lettered_at.is_not(None), *of_queue], False
    live = _live(which)
    if live and _are_few(connection, live):
        return [_one_of(db, which, live)], True
    return [], False


def _having_tags(db: Database, which: Filter, connection: Connection) -> Sequence[str] | None:
    """The originals with the tags that are asked for, where an index finds them and they are few; else None.

    The index has no order, and gives all that it finds before the first is read. So what seems to be many is not asked
    for.
    """
    condition, most = which.tagged(db), LOOKED_AT // 2  # they are read once more, by their ids
    if db.is_sqlite or condition is None:
        return None
    query = select(jobs.c.id).where(tagged, condition)
    if expected(connection, query) > most:
        return None
    by_index(connection)
    # For the limit alone the planner might look through all jobs, as if it had to find some of many.
    found = query.cte("tagged").prefix_with("MATERIALIZED")
    ids = connection.execute(select(found.c.id).limit(most + 1)).scalars().all()
    return ids if len(ids) <= most else None


def _live(which: Filter) -> list[Select[Any]]:
    """The originals of what waits or runs, where nothing else is meant, in the order of the indexes that find them."""
    query = select(jobs.c.original_id).where(jobs.c.finished_at.is_(None))
    of_live, of_unsent = (jobs.c.queue, jobs.c.sent_at), (jobs.c.queue, jobs.c.scheduled_at)
    if Status.PROCESSING in which.states:  # without what waits in SQL for its time
        due = (jobs.c.sent_at.is_(None), jobs.c.scheduled_at <= asked_at(), jobs.c.task.is_not(None))
        unsent = query.where(*due, jobs.c.waits_for.is_(None))
        outside = query.where(jobs.c.claimed_by.is_not(None)).order_by(jobs.c.queue)
        return [query.where(jobs.c.sent_at.is_not(None)).order_by(*of_live), unsent.order_by(*of_unsent), outside]
    live = {Status.PENDING, FinalStatus.RETRYING} & which.states or which.ended is False
    return [query.order_by(*of_live)] if live else []


def _are_few(connection: Connection, live: Sequence[Select[Any]]) -> bool:
    """Few enough to be looked at one and all; else the newest of all jobs are looked at."""
    by_index(connection)
    some = [select(func.count()).select_from(query.limit(LOOKED_AT + 1).subquery()) for query in live]
    return sum(connection.execute(query).scalar_one() for query in some) <= LOOKED_AT


def _one_of(db: Database, which: Filter, live: Sequence[Select[Any]]) -> ColumnElement[bool]:
    asked = [jobs.c.status == state for state in which.states if isinstance(state, Status)]
    parts = [query.where(*asked).limit(LOOKED_AT).subquery() for query in live]
    ids = union_all(*(select(part.c.original_id) for part in parts))
    if db.is_sqlite:
        return jobs.c.id.in_(ids)
    # An array is looked up in the primary key. For a join the planner may take all the keys, whose order is asked for.
    return jobs.c.id == any_(func.array(ids.scalar_subquery(), type_=ARRAY(jobs.c.id.type)))
