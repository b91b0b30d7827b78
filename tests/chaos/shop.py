"""The Celery app under chaos: one task that does what it is told, and writes every start and end into the log."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from kombu.transport import redis
from kombu.utils.json import dumps

import celery_jobs
from celery_jobs import events, execution
from tests.chaos import broken, terms
from tests.chaos.history import Log

if TYPE_CHECKING:
    from collections.abc import Callable

BARE = os.environ.get(terms.BARE)
"""`early` or `late`: plain Celery, which acknowledges so."""

log = Log(os.environ.get(terms.LOG, os.devnull))
app = Celery("chaos")
app.conf.update(
    broker_url=os.environ.get("CELERY_BROKER_URL"),
    result_backend=os.environ.get("CELERY_RESULT_BACKEND"),
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    task_time_limit=terms.HARD_LIMIT,
    result_backend_transport_options={"retry_policy": {"timeout": 2.0}},
    redis_socket_timeout=2.0,
    redis_socket_connect_timeout=2.0,
)
if BARE:
    # Kinder to it than its defaults, by which what a dead worker held comes back after an hour.
    app.conf.broker_transport_options = {
        "visibility_timeout": 8,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    app.conf.task_acks_late = BARE == "late"
else:
    app.conf.update(
        jobs_database_url=os.environ.get("JOBS_DATABASE_URL", "sqlite:///unused.sqlite3"),
        jobs_queue_defaults={"retry_delays": list(terms.RETRY_DELAYS)},
        jobs_heartbeat_interval=terms.HEARTBEAT,
        jobs_worker_timeout=terms.WORKER_TIMEOUT,
        jobs_reap_interval=terms.REAP,
        jobs_promote_interval=1,
        jobs_redispatch_interval=terms.REDISPATCH_INTERVAL,
        jobs_redispatch_after=terms.REDISPATCH_AFTER,
        jobs_max_losses=terms.MAX_LOSSES,
        jobs_broker_retry_interval=1,
    )
    broken.apply(os.environ.get(terms.BROKEN))
    celery_jobs.install(app)


class Broke(Exception):
    """What failing jobs raise."""


class Body:
    """One execution, as it tells the log about itself."""

    def __init__(self, request: Any, number: int) -> None:
        running = execution.current()
        self.number = number
        self.run = uuid.uuid4().hex
        self.job = request.id if running is None else running.job.id
        self.attempt = request.retries + 1 if running is None else running.job.attempt_number
        self.token = self.run if running is None else running.job.lease_token

    def note(self, phase: str, **facts: Any) -> None:
        """Write a line."""
        mine = {"run": self.run, "number": self.number, "job": self.job, "attempt": self.attempt, "token": self.token}
        log.write("run", phase, **mine, slot=os.environ.get(terms.SLOT), **facts)

    def is_first(self) -> bool:
        """Whether no execution of this job has asked before, in any process."""
        mark = Path(os.environ[terms.LOG]).parent / f"first-{self.number}"
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@app.task(bind=True, name="chaos.perform")
def perform(self: Any, number: int, kind: str, seconds: float) -> dict[str, Any]:
    """Do what the kind says; a value that only this job's claim can return."""
    body = Body(self.request, number)
    body.note("start")
    try:
        ACTS[kind](body, seconds)
    except (Exception, SoftTimeLimitExceeded) as error:
        last = isinstance(error, celery_jobs.NoRetry) or body.attempt > len(terms.RETRY_DELAYS)
        body.note("end", outcome="raised", last=last)
        if BARE and not last:
            delay = terms.RETRY_DELAYS[body.attempt - 1]
            raise self.retry(exc=error, countdown=delay, max_retries=len(terms.RETRY_DELAYS)) from error
        raise
    body.note("end", outcome="returned", last=True)
    return {"answer": terms.answer(number), "claim": body.token}


def _flaky(body: Body, seconds: float) -> None:
    time.sleep(seconds)
    if body.attempt == 1:
        raise Broke(f"job {body.number} fails once")


def _fail(body: Body, seconds: float) -> None:
    time.sleep(seconds)
    raise Broke(f"job {body.number} always fails")


def _give_up(body: Body, seconds: float) -> None:
    raise celery_jobs.NoRetry(f"job {body.number} cannot be helped")


def _hang(body: Body, seconds: float) -> None:
    if body.attempt == 1:
        time.sleep(60)


def _overrun(body: Body, seconds: float) -> None:
    if body.attempt == 1:
        time.sleep(terms.SOFT_LIMIT + 1.5)


def _suicide(body: Body, seconds: float) -> None:
    if body.is_first():
        _poison(body, seconds)


def _poison(body: Body, seconds: float) -> None:
    body.note("dying")
    os.kill(os.getpid(), signal.SIGKILL)


ACTS: dict[str, Callable[[Body, float], None]] = {
    "ok": lambda body, seconds: time.sleep(seconds),
    "long": lambda body, seconds: time.sleep(seconds),
    "flaky": _flaky,
    "fail": _fail,
    "give_up": _give_up,
    "hang": _hang,
    "overrun": _overrun,
    "suicide": _suicide,
    "poison": _poison,
}

_TOLD = (
    *(events.Kind.DROPPED, events.Kind.GONE, events.Kind.FENCED, events.Kind.LOST, events.Kind.RELEASED),
    *(events.Kind.SENT_AGAIN, events.Kind.UNSENT, events.Kind.WORKER_DEAD, events.Kind.SERVICE_FAILED),
)


@events.subscribe
def tell(event: events.Event) -> None:
    """Write what the product says that it did."""
    if event.kind in _TOLD:
        log.write("product", event.kind, job=event.job_id, **dict(event.details))


def _remember_sent() -> None:
    """Keep every raw message that is put into the broker, for the nemesis to send again."""
    file = os.environ.get(terms.SENT)
    if file is None:
        return
    put = redis.Channel._put
    sent = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def remembering(channel: Any, queue: str, message: Any, **options: Any) -> Any:
        os.write(sent, (dumps({"queue": queue, "message": dumps(message)}) + "\n").encode())
        return put(channel, queue, message, **options)

    redis.Channel._put = remembering


_remember_sent()
