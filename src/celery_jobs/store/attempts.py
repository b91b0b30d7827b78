"""Transitions of one attempt: claim and complete. Each guarded, each tells whether it happened."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Float, and_, bindparam, case, func, literal_column, or_, select, true, update

from celery_jobs.states import FinalStatus, Status
from celery_jobs.store import responses
from celery_jobs.store.db import now
from celery_jobs.store.new_rows import is_paused
from celery_jobs.store.prepared import Prepared
from celery_jobs.store.rows import Claim
from celery_jobs.store.tables import jobs
from celery_jobs.store.unclaimed import Unclaimed, why_lost

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Response

__all__ = [
    "CALLBACK_DUE",
    "FINISHED",
    "UNCLAIMED",
    "Unclaimed",
    "claim",
    "complete",
    "holds_lease",
    "is_cancel_requested",
    "lock_original",
    "mark_finished",
    "ready",
    "win_statement",
]

CALLBACK_DUE = "due"

_owes = jobs.c.callback_url.is_not(None)
FINISHED: dict[str, Any] = {
    "finished_at": now(),
    "callback_state": case((_owes, literal_column(f"'{CALLBACK_DUE}'"))),
    "callback_at": case((_owes, now())),
}
"""The end of an attempt, whose callback is due from then on where it has a URL (semantics.md section 8)."""

_CLAIMED = [jobs.c[name] for name in Claim.__slots__]


def claim(
    db: Database,
    job_id: str,
    worker: str,
    lease_token: str,
    lease: float,
    patient: bool = False,
    durable: bool = True,
    edition: int = 0,
) -> Claim | Unclaimed:
    """pending -> processing, for `lease` seconds, if due, not expired, not paused (semantics.md section 6).

    What has a concurrency key is left to `limited_claims`. A repetition after a lost reply finds its own claim.
    `edition`: of the message; of another one, what it brings was replaced.
    `patient`: wait while the database is away; not `durable`: do not wait for PostgreSQL's disk, from which a crash of
    the server within a second may take the claim back.
    """
    run = db.persist if patient else db.run
    values = {"job": job_id, "by": worker, "token": lease_token, "seconds": lease, "of_edition": edition}
    tries = count()
    statement = _win if durable or db.is_sqlite else _win_undurably

    def win(connection: Any) -> Claim | None:
        won = statement.first(connection, {**values, "again": next(tries) > 0})
        return None if won is None else Claim(**{name: won[name] for name in Claim.__slots__})

    return run(win, point="claim", alone=True) or run(partial(why_lost, job_id, lease_token, edition))


def win_statement(*more: Any, limited: bool = False) -> Any:
    """The claim of a job; `limited`: whose limits have been judged."""
    judged = () if limited else (jobs.c.concurrency_key.is_(None),)
    ours = and_(bindparam("again", type_=Boolean), jobs.c.status == Status.PROCESSING, jobs.c.lease_token == _token)
    return (
        update(jobs)
        .where(jobs.c.id == _job, or_(ours, and_(ready(), *judged)))
        .where(jobs.c.edition == bindparam("of_edition", type_=jobs.c.edition.type))
        .values(
            status=Status.PROCESSING,
            worker=bindparam("by", type_=jobs.c.worker.type),
            lease_token=_token,
            started_at=now(),
            lease_expires_at=now(bindparam("seconds", type_=Float)),
            waits_for=None,
            # Of a worker that did not know the task.
            failure_reason=None,
            error_message=None,
        )
        .returning(*_CLAIMED, *more)
    )


_job: Any = bindparam("job", type_=jobs.c.id.type)
_token: Any = bindparam("token", type_=jobs.c.lease_token.type)
_win = Prepared(lambda is_sqlite: win_statement())
_win_undurably = Prepared(
    lambda is_sqlite: win_statement(func.set_config("synchronous_commit", "off", true()).label("commits"))
)
"""The setting is the transaction's own, and is there by its commit."""


def ready() -> ColumnElement[bool]:
    """Waiting, due, and neither expired, nor asked to stop, nor of a paused queue."""
    return and_(
        jobs.c.status == Status.PENDING,
        jobs.c.scheduled_at <= now(),
        or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > now()),
        jobs.c.cancel_requested_at.is_(None),
        ~is_paused(jobs.c.queue),
    )


def _held(job_id: Any, lease_token: Any) -> ColumnElement[bool]:
    """Running, under the claim of this token."""
    return and_(jobs.c.id == job_id, jobs.c.status == Status.PROCESSING, jobs.c.lease_token == lease_token)


def holds_lease(db: Database, job_id: str, lease_token: str) -> bool:
    """Whether the claim still stands."""
    query = select(jobs.c.id).where(_held(job_id, lease_token))
    return db.persist(lambda connection: connection.execute(query).first() is not None)


def is_cancel_requested(db: Database, job_id: str, within: float) -> bool:
    """Whether a running attempt was asked to stop; waits `within` seconds for the answer (semantics.md section 10)."""
    query = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.cancel_requested_at.is_not(None))
    with db.asking(within) as connection:
        return connection.execute(query).first() is not None


def complete(
    db: Database,
    job: Claim,
    result: str | None,
    duration_ms: int,
    replaced_by: str | None = None,
    untold: bool = False,
    response: Response | None = None,
    patient: bool = True,
) -> bool:
    """processing -> completed, the chain a success; False for who lost the lease (semantics.md section 2).

    `patient`: wait for the database as long as it takes, as an outcome is never dropped. `untold`: Celery does not
    know yet.
    """
    run = db.persist if patient else db.run
    if job.id == job.original_id and response is None:
        values = {"job": job.id, "token": job.lease_token, "given_result": result, "given_duration_ms": duration_ms}
        values.update(given_replaced_by=replaced_by, untold=untold)
        if run(lambda connection: _succeed.first(connection, values), point="complete", alone=True):
            return True
    outcome = {"result": result, "duration_ms": duration_ms, "replaced_by": replaced_by, "response": response}
    return run(partial(_complete, job, outcome, untold), point="complete")


def _succeed_statement(is_sqlite: bool) -> Any:
    """The end of a chain that succeeds at its first attempt."""
    return (
        update(jobs)
        .where(_held(_job, _token))
        .values(
            status=Status.COMPLETED,
            final_status=FinalStatus.SUCCESS,
            ended_at=now(),
            untold_at=case((bindparam("untold", type_=Boolean), now())),
            **{name: bindparam(f"given_{name}", type_=jobs.c[name].type) for name in _OUTCOME},
            **FINISHED,
        )
        .returning(jobs.c.id)
    )


_OUTCOME = ("result", "duration_ms", "replaced_by")
_succeed = Prepared(_succeed_statement)


def _complete(job: Claim, outcome: dict[str, Any], untold: bool, connection: Connection) -> bool:
    is_original = job.id == job.original_id
    if not is_original:
        lock_original(connection, job.original_id)
    owed: dict[str, Any] = {"untold_at": now()} if untold else {}
    if is_original:
        outcome = {**outcome, **owed}
    done = mark_finished(connection, job, Status.COMPLETED, FinalStatus.SUCCESS, ends=is_original, **outcome)
    if done and not is_original:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job.original_id)
            .values(
                final_status=FinalStatus.SUCCESS,
                has_pending_retry=False,
                resolved_by=job.id,
                ended_at=now(),
                **owed,
            )
        )
    return done or _was_ours(connection, job)


def mark_finished(
    connection: Connection,
    job: Claim,
    status: Status,
    final_status: FinalStatus,
    ends: bool,
    response: Response | None = None,
    **values: Any,
) -> bool:
    """Write an attempt's end, if its lease still stands. `ends`: the row is an original whose chain ends here."""
    if ends:
        values["ended_at"] = now()
    if response is not None:
        values["response_status"] = response.status
    done = connection.execute(
        update(jobs)
        .where(_held(job.id, job.lease_token))
        .values(status=status, final_status=final_status, **FINISHED, **values)
    )
    if done.rowcount == 1 and response is not None:
        responses.keep(connection, job.id, response)
    return done.rowcount == 1


def _was_ours(connection: Connection, job: Claim) -> bool:
    """Whether the end is already written by this very claim: the reply to our own commit was lost."""
    row = connection.execute(
        select(jobs.c.status).where(jobs.c.id == job.id, jobs.c.lease_token == job.lease_token)
    ).first()
    return row is not None and row.status == Status.COMPLETED


def lock_original(connection: Connection, original_id: str) -> Any:
    """Lock the chain: whoever touches more than one of its rows holds its original first."""
    return connection.execute(
        select(jobs.c.final_status, jobs.c.cancel_requested_at, jobs.c.ended_at)
        .where(jobs.c.id == original_id)
        .with_for_update()
    ).first()


UNCLAIMED: dict[str, Any] = {
    "status": Status.PENDING,
    "sent_at": None,
    "send_count": 0,
    "worker": None,
    "claimed_by": None,
    "lease_token": None,
    "lease_expires_at": None,
    "started_at": None,
}
