"""How the newest runs went, counted for who asks what other settings would have made of them.

One consistent read of at most so many of the newest runs, by the primary key, whose ids sort by time: older history
costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, Text, and_, case, cast, extract, false, func, literal, or_, select, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from celery_jobs.sealing import DIGEST_END, PREFIX
from celery_jobs.states import FinalStatus
from celery_jobs.store.db import now
from celery_jobs.store.tables import Timestamp, jobs, messages

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement

    from celery_jobs.store.db import Database

__all__ = ["Tallies", "Tally", "tally"]

COMPARED_BYTES = 65_536
"""Bytes of the largest arguments that are compared with those of other runs."""

_IN_GROUP = '%"group": "%'
"""What the headers of a member of a group or chord have, whatever else is in them."""

_NEVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tally:
    """Runs of one task in one queue that went the same way.

    `failed`: ended as failed_no_retries, its `failure_reason`, `error_type` and `retries` (Celery's own, made before)
    those of the last attempt, its `retry_policy` what the call said; `got_over`: the same task has begun and succeeded
    with the same arguments since. `duplicates`: came so soon after a run of the same task with the same arguments, or
    before its end; these are `overlapping`.
    """

    queue: str
    task: str | None
    failed: bool
    failure_reason: str | None
    error_type: str | None
    retries: int | None
    retry_policy: dict[str, Any] | None
    got_over: bool
    runs: int
    duplicates: int
    overlapping: int


@dataclass(frozen=True, slots=True)
class Tallies:
    """What was counted. `complete`: whether every run since then was; else `since` is later than was asked for."""

    since: datetime
    complete: bool
    tallies: tuple[Tally, ...]


class digest(FunctionElement[str]):
    """What stands for a body among others."""

    type = Text()
    inherit_cache = True
    name = "digest"


@compiles(digest, "postgresql")
def _postgres_digest(element: digest, compiler: Any, **options: Any) -> str:
    return f"encode(sha256({compiler.process(element.clauses, **options)}), 'hex')"


@compiles(digest, "sqlite")
def _sqlite_digest(element: digest, compiler: Any, **options: Any) -> str:
    return f"jobs_digest({compiler.process(element.clauses, **options)})"


def tally(db: Database, since: datetime | float, queue: str | None, within: float, limit: int) -> Tallies:
    """Count the runs created since a moment, or in so many seconds, of one queue or all; `limit`: the newest of all.

    `within`: seconds in which a run with the same arguments as another is taken for a duplicate.
    """
    moment = now(-since) if isinstance(since, int | float) else literal(since, Timestamp)
    newest = _newest(limit)
    with db.reading() as connection:
        asked = connection.execute(select(type_coerce(moment, Timestamp))).scalar_one()
        beyond = connection.execute(
            select(jobs.c.created_at).where(_first).order_by(_by_age).offset(limit).limit(1)
        ).scalar()
        complete = beyond is None or beyond < asked
        if not complete:
            asked = connection.execute(select(func.min(newest.c.created_at, type_=Timestamp))).scalar_one()
        compared = _compared(_described(newest, asked, queue))
        rows = connection.execute(_counted(db, compared, within)).all()
    return Tallies(asked, complete, tuple(Tally(**row._mapping) for row in rows))


_first, _by_age = jobs.c.attempt_number == 1, jobs.c.id.desc()


def _newest(limit: int) -> CTE:
    """The originals of the newest runs."""
    return select(*(jobs.c[name] for name in _LOOKED_AT)).where(_first).order_by(_by_age).limit(limit).cte("newest")


_LOOKED_AT = (
    *("id", "message_id", "queue", "task", "created_at", "ended_at", "final_status", "replay_of", "idempotency_key"),
    *("failure_reason", "error_type", "last_error_type", "retries", "retry_policy"),
)
"""Columns, without those that are long: SQLite lays out what it counts."""


def _described(newest: CTE, since: datetime, queue: str | None) -> CTE:
    """The runs that are meant, how each failed, and what they are compared by."""
    failed = newest.c.final_status == FinalStatus.FAILED_NO_RETRIES
    small = func.length(messages.c.body) <= COMPARED_BYTES
    alone = and_(
        newest.c.replay_of.is_(None), newest.c.idempotency_key.is_(None), messages.c.headers.not_like(_IN_GROUP)
    )
    of_failed = {
        "failure_reason": func.coalesce(_of_last_retry(newest, "failure_reason"), newest.c.failure_reason),
        "error_type": func.coalesce(newest.c.last_error_type, newest.c.error_type),
        "retries": func.coalesce(_of_last_retry(newest, "retries"), newest.c.retries),
        "retry_policy": newest.c.retry_policy,
    }
    query = (
        select(
            *(newest.c[name] for name in ("id", "queue", "task", "created_at", "ended_at")),
            func.coalesce(failed, false()).label("failed"),
            *(case((failed, value)).label(name) for name, value in of_failed.items()),
            case((newest.c.final_status == FinalStatus.SUCCESS, newest.c.created_at)).label("succeeded"),
            alone.label("alone"),
            case((small, digest(_compared_part())), else_=cast(newest.c.id, Text)).label("arguments"),
        )
        .join(messages, messages.c.id == newest.c.message_id)
        .where(newest.c.created_at >= literal(since, Timestamp))
    )
    return (query if queue is None else query.where(newest.c.queue == queue)).cte("described")


def _compared_part() -> Any:
    """A body, or of one that is sealed what equal ones have in common."""
    sealed = func.substr(messages.c.body, 1, len(PREFIX)) == literal(PREFIX, LargeBinary)
    return case((sealed, func.substr(messages.c.body, 1, DIGEST_END)), else_=messages.c.body)


def _of_last_retry(newest: CTE, column: str) -> Any:
    retries = jobs.alias("retries")
    query = select(retries.c[column]).where(retries.c.original_id == newest.c.id, retries.c.attempt_number > 1)
    return query.order_by(retries.c.attempt_number.desc()).limit(1).scalar_subquery()


def _compared(described: CTE) -> CTE:
    """Each run beside those of the same task with the same arguments: what came before it, whether one succeeded."""
    of = described.c
    same: dict[str, Any] = {"partition_by": [of.task, of.arguments]}
    before: dict[str, Any] = {**same, "order_by": [of.created_at, of.id], "rows": (None, -1)}
    end = func.coalesce(of.ended_at, literal(_NEVER, Timestamp))
    return select(
        described,
        func.max(case((of.alone, of.created_at)), type_=Timestamp).over(**before).label("previous"),
        func.max(case((of.alone, end)), type_=Timestamp).over(**before).label("busy_until"),
        func.max(of.succeeded, type_=Timestamp).over(**same).label("last_success"),
    ).cte("compared")


def _counted(db: Database, compared: CTE, within: float) -> Any:
    of = compared.c
    overlapping = and_(of.alone, of.busy_until > of.created_at)
    duplicate = and_(of.alone, or_(of.busy_until > of.created_at, _seconds(db, of.previous, of.created_at) <= within))
    got_over = and_(of.failed, func.coalesce(of.last_success >= of.ended_at, false()))
    way = [
        *(of[name] for name in ("queue", "task", "failed", "failure_reason", "error_type", "retries", "retry_policy")),
        got_over.label("got_over"),
    ]
    return select(
        *way,
        func.count().label("runs"),
        func.count().filter(duplicate).label("duplicates"),
        func.count().filter(overlapping).label("overlapping"),
    ).group_by(*way)


def _seconds(db: Database, earlier: ColumnElement[Any], later: ColumnElement[Any]) -> ColumnElement[Any]:
    if db.is_sqlite:
        return (func.julianday(later) - func.julianday(earlier)) * 86_400.0
    return extract("epoch", later - earlier)
