"""Jobs that wait in vain, and ends that nobody was told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.doctor.finding import Check, check
from celery_jobs.store import alerts, callbacks, health

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.plugin import Plugin

__all__ = ["CHECKS"]

LONGEST_UNTOLD = 300.0
"""Seconds; the redispatcher tells what is untold every minute."""

MOST_VAIN = 3
"""Times that an alert may be sent in vain before somebody is told of it."""

LONGEST_UNSENT = 300.0
"""Seconds; a worker looks every 15, and a callback takes 10 at most."""


@check("sends-used-up", "error")
def sends_used_up(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Their messages go somewhere, and nobody claims the jobs."""
    most = plugin.settings.max_sends
    for queue, count in health.used_up(plugin.db, most).items():
        yield (
            f"{count:,} job(s) in the queue {queue!r} were sent {most} times, claimed by nobody, and no more",
            "look who else consumes the queue: a worker without celery-jobs, or with another jobs database; "
            "then cancel and replay them",
        )


@check("jobs-refused", "warning")
def jobs_refused(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Each waits for a worker that can run it."""
    for task, count in health.refused(plugin.db).items():
        yield (
            f"{count:,} pending job(s) of the task {task!r} were refused by a worker that cannot run or read them",
            "deploy the task to every worker of its queue, and let them accept its content type, "
            f"before the jobs are sent {plugin.settings.max_refusals} times",
        )


@check("ends-untold", "warning")
def ends_untold(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Callers may be waiting for these."""
    if count := health.untold(plugin.db, LONGEST_UNTOLD):
        yield (
            f"Celery has not heard of {count:,} end(s) for {LONGEST_UNTOLD / 60:g} minutes: callers may still wait",
            "see whether the result backend answers; what is untold is told again every "
            f"{plugin.settings.redispatch_interval:g} s by the redispatcher, which has to run",
        )


@check("callbacks-unsent", "warning")
def callbacks_unsent(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Every worker sends what is due."""
    if count := callbacks.overdue(plugin.db, LONGEST_UNSENT):
        yield (
            f"{count:,} callback(s) have been due for more than {LONGEST_UNSENT / 60:g} minutes",
            "start a worker, or more of them: each sends 8 at once, and 2 to a host; "
            "a receiver that does not answer holds its place for 10 s",
        )


@check("alerts-late", "warning")
def alerts_late(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """They are sent by workers, where those know of a destination."""
    queues, but = plugin.settings.alerted_queues
    for queue in alerts.due(plugin.db, queues, but, plugin.settings.alert_window + LONGEST_UNSENT):
        yield (
            f"an alert of the queue {queue!r} has been due for more than {LONGEST_UNSENT / 60:g} minutes",
            "start a worker that has jobs_alert_urls",
        )


@check("alerts-failing", "warning")
def alerts_failing(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """None of its services took it."""
    for queue, tries in alerts.failing(plugin.db, MOST_VAIN):
        yield (
            f"an alert of the queue {queue!r} was sent {tries} times and reached nobody",
            f"run: celery -A <your app> jobs alert test --queue {queue}",
        )


CHECKS: tuple[Check, ...] = (sends_used_up, jobs_refused, ends_untold, callbacks_unsent, alerts_late, alerts_failing)
