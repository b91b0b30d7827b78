"""The first seam of the producer's side: `send_task`, which every call passes, and what it asks of the second.

Celery makes the message of a call and hands it to the second, in `publishing`, unless the call is a copy of an earlier.
"""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

from celery_jobs import execution
from celery_jobs.canvas import following_calls
from celery_jobs.ids import new_id
from celery_jobs.options import take_options
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.repeats import Repeats
from celery_jobs.submission import Submission, submission_here
from celery_jobs.ticks import tick_here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Celery

    from celery_jobs.plugin import Plugin

__all__ = ["install_send_task"]


def install_send_task(plugin: Plugin, is_seam: Callable[[], bool]) -> None:
    """Put it into an app. `is_seam`: whether Celery would still hand a message to the second, and to nobody before."""
    app = plugin.app
    original = app.__dict__.get("send_task") or partial(_send_task_of_class, app)
    app.send_task = _wrap_send_task(plugin, original, Repeats(plugin, is_seam))


def _send_task_of_class(app: Celery, /, *args: Any, **options: Any) -> Any:
    """The class's `send_task` as it is by then: Sentry patches it, and often after the app was made."""
    return type(app).send_task(app, *args, **options)


def _wrap_send_task(plugin: Plugin, original: Callable[..., Any], repeats: Repeats) -> Callable[..., Any]:
    """`send_task`, giving back the existing job's result where the seam found a duplicate."""

    def send_task(
        name: str, args: Any = None, kwargs: Any = None, countdown: float | None = None, **options: Any
    ) -> Any:
        is_eager = plugin.app.conf.task_always_eager
        if not is_eager:
            _check_calls(plugin, name, args, kwargs, options)
        if is_eager or not plugin.manages(name):
            return original(name, args, kwargs, countdown, **options)
        _defer_task_call(plugin.app)
        make = partial(_submit, plugin, original, name, args, kwargs, countdown, options)
        may_repeat = countdown is None and tick_here.get() is None
        result = repeats.enqueue(name, args, kwargs, options, make) if may_repeat else None
        return make() if result is None else result

    send_task.__wrapped__ = original  # type: ignore[attr-defined]
    return send_task


def _submit(
    plugin: Plugin,
    original: Callable[..., Any],
    name: str,
    args: Any,
    kwargs: Any,
    countdown: float | None,
    given: Mapping[str, Any],
) -> Any:
    options = dict(given)
    submission = Submission(take_options(options), delay=countdown)
    submission.celery_priority = options.get("priority")
    submission.expires_in = _seconds(options.get("expires"))
    submission.ignore_result = bool(options.get("ignore_result"))
    if submission.options.delay is not None:
        submission.delay = countdown = submission.options.delay
    if submission.options.scheduled_at is not None:
        options["eta"] = submission.options.scheduled_at
    if options.get("task_id") is None:
        options["task_id"] = submission.own_id = new_id()
    token = submission_here.set(submission)
    try:
        result = original(name, args, kwargs, countdown, **options)
    finally:
        submission_here.reset(token)
    submission.tell(result)
    return result


def _seconds(expires: Any) -> float | None:
    return float(expires) if isinstance(expires, Real) else None


def _check_calls(plugin: Plugin, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
    """Let a task that has rules for its arguments refuse them, whatever door they come through, and of what follows.

    What Celery publishes at the end of another call is let through, and fails itself: that call has nothing wrong.
    """
    running = execution.current()
    if options.get("root_id") is not None or (running is not None and running.body_done):
        return
    first = {"task": name, "args": args, "kwargs": kwargs}
    for call, handed in ((first, False), *following_calls(options)):
        if call.get("task") == HTTP_TASK and HTTP_TASK in plugin.app.tasks:
            plugin.app.tasks[HTTP_TASK].check_call(call.get("args") or (), call.get("kwargs") or {}, handed)


def _defer_task_call(app: Celery) -> None:
    """`send_task` calls the backend before the seam: an unreachable one must not stop an enqueue."""
    backend = app.backend
    if "on_task_call" in backend.__dict__:
        return
    original = backend.on_task_call

    def on_task_call(producer: Any, task_id: str) -> Any:
        return {} if submission_here.get() is not None else original(producer, task_id)

    on_task_call.__wrapped__ = original  # type: ignore[attr-defined]
    backend.on_task_call = on_task_call
