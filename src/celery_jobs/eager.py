"""Runs without a broker, `apply()` and `task_always_eager`: retried at once as the policy says, and no rows made."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, QueueNotFound, Reject, Retry

from celery_jobs.verdicts import left_to_autoretry, next_by_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs.options import JobOptions
    from celery_jobs.plugin import Plugin

__all__ = ["EagerRun", "current", "running"]

_current: ContextVar[EagerRun | None] = ContextVar("celery_jobs_eager_run", default=None)


def current() -> EagerRun | None:
    """The eager run that is under way here, if any."""
    return _current.get()


@contextmanager
def running(
    plugin: Plugin, task: Any, task_id: str, queue: Any, options: JobOptions, is_retry: bool = False
) -> Iterator[None]:
    """An eager run of a task; goes on where Celery applies the same one again, which is a retry of its own.

    A task that replaces itself has the same id too, and is a chain of its own.
    """
    run = _current.get()
    if run is None or not is_retry or (run.task, run.task_id) != (task, task_id):
        run = EagerRun(plugin, task, task_id, queue, options)
    run.entered, run.retries_by_policy = False, 0
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)


@dataclass(slots=True)
class EagerRun:
    """A chain that runs here and now, with the attempts that a worker would make of it."""

    plugin: Plugin
    task: Any
    task_id: str
    queue: Any
    """As the caller gave it: a name, a kombu Queue, or None for where the task is routed."""
    options: JobOptions
    entered: bool = False
    gave_up: bool | Exception = False
    policy_retries: int = 0
    retries_by_policy: int = 0
    """Those of them that Celery, which counts anew when it applies a retry of its own, has in `request.retries`."""

    def run(self, body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], whole: bool) -> Any:
        """Run the task's body, `whole` with autoretry inside, until it succeeds or the policy gives up; no waiting."""
        self.entered = True
        while True:
            try:
                return body(*args, **kwargs)
            except (Retry, Ignore, Reject):
                raise
            except Exception as error:
                left = left_to_autoretry(self.task, type(error)) and not whole
                if self.gave_up or left or not self._is_retried(error):
                    raise
            self.policy_retries += 1
            self.retries_by_policy += 1
            self.task.request.retries += 1

    def _is_retried(self, error: Exception) -> bool:
        queue = self._queue_name()
        policy = self.plugin.policy(self.task.name, queue, self.options.level)
        enabled = self.plugin.settings.queue(queue).retries_enabled
        job = _Chain(
            self.task.name, queue, enabled, policy.max_attempts, self.policy_retries, self.options.level.to_json()
        )
        following: Any = next_by_policy(self.plugin, job, error, self.task)
        return following is not None

    def _queue_name(self) -> str:
        app = self.plugin.app
        found: Any = self.queue
        with suppress(QueueNotFound):
            found = found or app.amqp.router.route({}, self.task.name).get("queue")
        return str(getattr(found, "name", None) or found or app.conf.task_default_queue)


@dataclass(frozen=True, slots=True)
class _Chain:
    """What the policy asks of a chain."""

    task: str
    queue: str
    retries_enabled: bool
    max_attempts: int
    policy_retries: int
    retry_policy: dict[str, Any] | None
