"""The tasks of the callers' stories: each as a job, and as bare Celery's beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from celery.app.task import Task
from kombu import Exchange, Queue

from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

__all__ = ["PLAIN", "RETRIES", "make_office"]

PLAIN = "plain."
"""Begins the names of the tasks that are bare Celery's: no jobs."""

FIELDS = (
    *("args", "kwargs", "eta", "expires", "shadow", "headers", "timelimit", "correlation_id", "reply_to"),
    *("argsrepr", "kwargsrepr", "group", "group_index", "parent_id", "ignore_result", "stamps", "stamped_headers"),
    *("replaced_task_nesting", "callbacks", "errbacks", "chain", "chord", "delivery_info", "properties"),
)
"""What a task can learn of its call."""

RETRIES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda task: task.retry(),
    "a countdown": lambda task: task.retry(countdown=0.1),
    "an eta": lambda task: task.retry(eta=datetime.now(UTC) + timedelta(seconds=0.1)),
    "an eta that has passed": lambda task: task.retry(eta=datetime(2020, 1, 1, tzinfo=UTC)),
    "an exception": lambda task: task.retry(exc=KeyError("k"), countdown=0),
    "an exception and no retries left": lambda task: task.retry(exc=KeyError("k"), countdown=0, max_retries=0),
    "no retries left": lambda task: task.retry(countdown=0, max_retries=0),
    "other arguments": lambda task: task.retry(args=("other arguments", 5), countdown=0),
    "other keyword arguments": lambda task: task.retry(kwargs={"x": 9}, countdown=0),
    "both": lambda task: task.retry(args=("both", 7), kwargs={"more": 1}, countdown=0),
    "arguments that do not fit": lambda task: task.retry(args=(1, 2, 3, 4, 5), kwargs={}, countdown=0),
    "a queue": lambda task: task.retry(queue="callers.named", countdown=0),
    "an exchange": lambda task: task.retry(exchange="callers.exchange", routing_key="callers.key", countdown=0),
    "a priority": lambda task: task.retry(priority=9, countdown=0),
    "a serializer": lambda task: task.retry(serializer="yaml", countdown=0),
    "a compression": lambda task: task.retry(compression="gzip", countdown=0),
    "an expiry": lambda task: task.retry(expires=3600, countdown=0),
    "an expiry that has passed": lambda task: task.retry(expires=-1, countdown=0),
    "headers": lambda task: task.retry(headers={"mine": 1}, countdown=0),
    "limits": lambda task: task.retry(time_limit=30, soft_time_limit=20, countdown=0),
    "a shadow": lambda task: task.retry(shadow="dark", countdown=0),
    "links": lambda task: task.retry(link=task.app.tasks["nothing"].s(), countdown=0),
    "two calls": lambda task: (task.retry(throw=False, countdown=0), task.retry(countdown=0)),
}
"""What a task gives to `self.retry`."""


def make_office(broker_url: str, database_url: str) -> Celery:
    """An app with a queue of its own, and one behind a named exchange."""
    named = Queue("callers.named", Exchange("callers.exchange", "direct"), routing_key="callers.key")
    app = make_app(
        broker_url,
        database_url,
        task_default_queue="callers",
        task_queues=[Queue("callers"), named],
        accept_content=["json", "yaml", "msgpack", "pickle"],
        jobs_queue_defaults={"retry_delays": [0.05, 0.05]},
        jobs_broker_priorities=False,
    )
    for body in (look, ask_again):
        app.task(name=body.__name__, bind=True, shared=False)(body)
        app.task(name=PLAIN + body.__name__, bind=True, shared=False, base=Task, default_retry_delay=0.1)(body)
    app.tasks["ask_again"].default_retry_delay = 0.1
    for function in (nothing, echo, total, fails):
        app.task(name=function.__name__, shared=False)(function)
    for bound in (goes_on, works_later, compare):
        app.task(name=bound.__name__, bind=True, shared=False)(bound)
    return app


def seen(request: Any) -> dict[str, str]:
    """What a task learns of its call, as texts that can be compared."""
    return {name: repr(getattr(request, name, None)) for name in FIELDS}


def look(self: Any, attempt: int = 1, **kwargs: Any) -> dict[str, str]:
    """Look at the request, at this attempt."""
    if self.request.retries + 1 < attempt:
        raise ValueError("not yet")
    return seen(self.request)


def ask_again(self: Any, how: str, x: int = 1, more: int = 0) -> Any:
    """Retry itself once, in this way, and look at the request."""
    if self.request.retries == 0:
        return RETRIES[how](self)
    return {**seen(self.request), "x": x, "more": more}


def nothing(*args: Any) -> None: ...


def echo(value: Any) -> Any:
    return value


def total(numbers: list[int]) -> int:
    return sum(numbers)


def fails(*args: Any) -> None:
    raise ValueError("it is broken")


def works_later(self: Any, value: Any) -> Any:
    """Work at the third attempt."""
    if self.request.retries < 2:
        raise ValueError(f"attempt {self.request.retries + 1}")
    return value


def goes_on(self: Any) -> str:
    """Ask for a retry, and return all the same."""
    if self.request.retries == 0:
        self.retry(throw=False, countdown=0)
    return f"attempt {self.request.retries + 1}"


def compare(self: Any, value: Any, serializer: str) -> str:
    """Fail at first; then say whether the arguments are what that serializer carries."""
    from tests.callers.test_serializers import ARGUMENTS

    equal = "equal" if value == ARGUMENTS[serializer] else f"{value!r}"
    if self.request.retries == 0:
        raise ValueError(equal)
    return f"{equal} at attempt {self.request.retries + 1}"
