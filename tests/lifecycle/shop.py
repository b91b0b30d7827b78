"""A shop whose tasks do what the stories need; the worker and the tests make the same app of it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Celery
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

import celery_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

Body = TypeVar("Body", bound="Callable[..., Any]")

TASKS: list[tuple[Any, dict[str, Any]]] = []

DELAYS = [0.2, 0.4, 0.6]
"""Seconds before attempts 2, 3 and 4 on the default queue."""

SERVED = ("celery", "no-retries", "once", "slow", "pausable")
"""Queues that the worker consumes."""

UNSERVED = "unserved"
"""A queue that nobody consumes."""

CONCURRENCY = 6
"""Processes of the worker: more than the stories that kill theirs side by side."""


def make_app(broker_url: str, database_url: str) -> Celery:
    app = Celery("shop", broker=broker_url, backend=broker_url, set_as_current=False)
    app.conf.broker_connection_retry_on_startup = True
    app.conf.worker_prefetch_multiplier = 4
    app.conf.jobs_database_url = database_url
    app.conf.jobs_queue_defaults = {"retry_delays": DELAYS}
    app.conf.jobs_queues = {
        "no-retries": {"retries_enabled": False},
        "once": {"retry_delays": []},
        "slow": {"retry_delays": [120]},
    }
    # Services in quick succession; what is due in more than 5 s stays in SQL.
    app.conf.update(jobs_promote_interval=1, jobs_promote_ahead=5, jobs_redispatch_interval=1, jobs_reap_interval=1)
    # A message that a dying child took along is sent again soon.
    app.conf.jobs_redispatch_after = 5
    celery_jobs.install(app)
    for body, options in TASKS:
        app.task(name=body.__name__, **options)(body)
    app.finalize()
    return app


def job(**options: Any) -> Callable[[Body], Body]:
    """List a function as a task of the shop."""

    def listed(body: Body) -> Body:
        TASKS.append((body, options))
        return body

    return listed


def write_line(file: str, line: str) -> None:
    with Path(file).open("a") as lines:
        lines.write(f"{line}\n")


def leave_mark(file: str) -> int:
    """Add a mark to a file, which outlives a killed process; gives how many it has."""
    write_line(file, str(os.getpid()))
    return len(Path(file).read_text().splitlines())


def wait_for(file: str) -> None:
    deadline = time.monotonic() + 20
    while not Path(file).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{file} did not appear")
        time.sleep(0.02)


class OutOfStock(Exception):
    pass


@job()
def add(x: int, y: int) -> int:
    return x + y


@job()
def total(numbers: list[int]) -> int:
    return sum(numbers)


@job()
def note(value: Any, file: str) -> Any:
    """Write down what a link or an errback was handed."""
    write_line(file, str(value))
    return value


@job()
def note_failure(request: Any, error: BaseException, traceback: Any, file: str) -> None:
    """An errback of the new style."""
    write_line(file, f"{type(error).__name__}: {error}")


@job(bind=True)
def works_on_attempt(self: Any, number: int, value: int = 42) -> int:
    attempt = self.request.retries + 1
    if attempt < number:
        raise ValueError(f"attempt {attempt} fails")
    return value


@job(bind=True)
def fails(self: Any, *ignored: Any) -> None:
    raise ValueError(f"attempt {self.request.retries + 1} fails")


@job()
def works_when_repaired(file: str) -> str:
    if not Path(file).exists():
        raise ValueError("broken")
    return "repaired"


@job()
def waits_for(file: str, fail: bool = False) -> str:
    wait_for(file)
    if fail:
        raise ValueError("waited in vain")
    return "waited"


@job(bind=True)
def stops_when_asked(self: Any, file: str) -> None:
    """Note each turn of a loop that nobody else ends."""
    deadline = time.monotonic() + 40
    while not self.is_cancelled() and time.monotonic() < deadline:
        leave_mark(file)
        time.sleep(0.05)
    raise celery_jobs.Cancelled("asked to stop" if self.is_cancelled() else "nobody asked")


@job()
def fails_when(file: str) -> None:
    waits_for(file, fail=True)


@job()
def heeds_no_signal(file: str) -> None:
    """Note its process, and go on whatever it is told."""
    write_line(file, str(os.getpid()))
    while True:
        with suppress(BaseException):
            time.sleep(60)


@job()
def stops_by_itself(*ignored: Any) -> None:
    raise celery_jobs.Cancelled("the order was withdrawn")


@job(bind=True)
def kills_its_worker(self: Any, file: str, times: int) -> int:
    """Die like a process that the kernel kills, at the first `times` runs."""
    runs = leave_mark(file)
    if runs <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(self.request.retries) + 1


@job()
def kills_its_worker_when(file: str) -> str:
    """Die as soon as the file appears; the next run finds it there and works."""
    if Path(file).exists():
        return "survived"
    wait_for(file)
    os.kill(os.getpid(), signal.SIGKILL)
    return "not reached"


@job(bind=True)
def fails_and_then_kills_its_worker(self: Any, file: str) -> None:
    if self.request.retries == 0:
        raise ValueError("before the losses")
    leave_mark(file)
    os.kill(os.getpid(), signal.SIGKILL)


@job()
def ignores() -> None:
    raise Ignore


@job()
def rejects() -> None:
    raise Reject("unwanted", requeue=False)


@job()
def rejects_at_first(file: str) -> int:
    runs = leave_mark(file)
    if runs == 1:
        raise Reject("not now", requeue=True)
    return runs


@job(bind=True, acks_late=True)
def rejects_at_first_and_acknowledges_late(self: Any, file: str) -> int:
    return rejects_at_first(file)


@job(acks_late=True, acks_on_failure=False, acks_on_timeout=False, reject_on_worker_lost=True)
def asks_the_broker_to_send_it_again(file: str, way: str) -> None:
    """Its settings have Celery give the message back where it fails, hangs or kills its worker."""
    leave_mark(file)
    if way == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "hangs":
        time.sleep(20)
    raise ValueError("it is broken")


@job(bind=True)
def replaces_itself(self: Any, x: int) -> Any:
    return self.replace(self.app.tasks["add"].s(x, 1))


@job(bind=True)
def replaces_itself_by_what_works_later(self: Any, attempt: int) -> Any:
    return self.replace(self.app.tasks["works_on_attempt"].s(attempt))


@job(bind=True, max_retries=2)
def asks_again(self: Any, works_on: int, countdown: float) -> str:
    attempt = self.request.retries + 1
    if attempt < works_on:
        raise self.retry(exc=OutOfStock(f"attempt {attempt}"), countdown=countdown)
    return f"attempt {attempt}"


@job(bind=True, max_retries=1)
def asks_again_after_a_failure(self: Any) -> None:
    """The policy retries the first failure, `self.retry` the second, and then gives up."""
    if self.request.retries == 0:
        raise ValueError("for the policy")
    raise self.retry(exc=OutOfStock("gone"), countdown=0.1)


@job(bind=True)
def asks_again_and_goes_on(self: Any, countdown: float = 0.3) -> str:
    attempt = self.request.retries + 1
    if attempt == 1:
        self.retry(countdown=countdown, throw=False)
    return f"attempt {attempt}"


@job(bind=True)
def asks_again_and_raises(self: Any, countdown: float) -> str:
    if self.request.retries == 0:
        self.retry(countdown=countdown, throw=False)
        raise ValueError("after the retry")
    return "second"


@job(autoretry_for=(OutOfStock,), retry_backoff=1, retry_jitter=False, max_retries=1)
def autoretries() -> None:
    raise OutOfStock("still")


@job(autoretry_for=(OutOfStock,), retry_backoff=1, retry_jitter=False, max_retries=5)
def autoretries_other_errors() -> None:
    raise ValueError("not for autoretry")


@job()
def knows_it_is_hopeless() -> None:
    raise celery_jobs.NoRetry("no such customer")


@job(no_retry_for=(OutOfStock,))
def declares_hopeless() -> None:
    raise OutOfStock("for good")


@job(bind=True)
def asks_for_time(self: Any, seconds: float) -> str:
    if self.request.retries == 0:
        raise celery_jobs.RetryAfter(seconds)
    return "in time"


@job(bind=True)
def hangs_at_first(self: Any) -> str:
    if self.request.retries == 0:
        time.sleep(20)
    return "quick"


@job()
def hangs() -> None:
    time.sleep(20)


@job(bind=True)
def survives_its_soft_limit(self: Any) -> str:
    try:
        time.sleep(20)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "unlimited"
