"""What the app's settings say, as they are read here."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from celery_jobs.doctor.addresses import is_remote
from celery_jobs.doctor.finding import Check, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kombu import Connection

    from celery_jobs.plugin import Plugin

__all__ = ["CHECKS"]

PICKLE = {"pickle", "application/x-python-serialize"}
ENCRYPTED = {"rediss", "amqps"}
INTERNAL = ("celery.", "celery_jobs.")
"""Begin the names of tasks that nobody has written for this app."""

NAMED = 10
"""As many of a list are shown."""


@check("pickle-accepted", "error")
def pickle_accepted(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Whoever can write to the broker can run any code in a worker."""
    if PICKLE & set(plugin.app.conf.accept_content or ()):
        yield (
            "workers accept pickle: whoever can write to the broker runs code in them",
            'take pickle out of accept_content, and let task_serializer be "json"',
        )


@check("confirms-off", "error")
def confirms_off(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """The plugin asks for confirms by itself, unless the app forbids it."""
    options = plugin.app.conf.broker_transport_options or {}
    with plugin.app.connection_for_write() as connection:
        if not options.get("confirm_publish", True) and connection.transport.driver_type == "amqp":
            yield (
                "confirm_publish is off: RabbitMQ says nothing of a message that it loses",
                "take confirm_publish out of broker_transport_options",
            )


@check("broker-without-tls", "warning")
def broker_without_tls(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Only of the transports whose wire we know."""
    with plugin.app.connection_for_write() as connection:
        known = connection.transport.driver_type in ("redis", "amqp")
        for url in _addresses(connection) if known and not connection.ssl else ():
            if url.scheme not in ENCRYPTED and is_remote(url.hostname):
                yield (
                    f"jobs go to the broker at {url.hostname} in the clear",
                    "use rediss:// or amqps://, or set broker_use_ssl",
                )


@check("retries-off", "info")
def retries_off(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Off in the defaults and in every queue that has settings of its own."""
    settings = plugin.settings
    if not any(queue.retries_enabled for queue in (settings.queue_defaults, *settings.queues.values())):
        yield (
            "retries are turned off for every queue: a failed job ends at its first failure",
            "set retries_enabled in jobs_queue_defaults or jobs_queues, if that is not what you want; "
            "`jobs stats --what-if` tells what retries would have done",
        )


@check("tasks-without-jobs", "info")
def tasks_without_jobs(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Celery's own and ours are none on purpose."""
    tasks = plugin.app.tasks
    names = [name for name in sorted(tasks) if not (name.startswith(INTERNAL) or plugin.manages(name))]
    if names:
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        yield (
            f"tasks are no jobs, for their class is not JobTask: {', '.join(names[:NAMED])}{more}",
            "derive their base from celery_jobs.JobTask, or leave out base=, if that is not what you want",
        )


@check("alerts-nowhere", "warning")
def alerts_nowhere(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """The event job.dead_lettered is emitted all the same."""
    settings = plugin.settings
    for name, queue in [(None, settings.queue_defaults), *settings.queues.items()]:
        if queue.alerts_enabled and not settings.alert_urls.of(name):
            of = f"the queue {name!r}" if name is not None else "queues"
            yield (
                f"alerts of {of} are enabled, and jobs_alert_urls has no destination for them",
                "set jobs_alert_urls, or turn alerts_enabled off",
            )


def _addresses(connection: Connection) -> list[SplitResult]:
    return [urlsplit(url) for url in connection.alt or [connection.as_uri()]]


CHECKS: tuple[Check, ...] = (
    pickle_accepted,
    confirms_off,
    broker_without_tls,
    retries_off,
    tasks_without_jobs,
    alerts_nowhere,
)
