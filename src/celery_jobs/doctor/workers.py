"""Who works: workers by their heartbeats, and the services that beat or a worker has to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.doctor.finding import Check, check
from celery_jobs.services import SERVICES, make_service
from celery_jobs.store import health, services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.plugin import Plugin

__all__ = ["CHECKS"]

MOST_MISSED = 3
"""Intervals that a service may be overdue."""


@check("no-worker", "warning")
def no_worker(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """None whose heartbeat is young enough."""
    if not _live(plugin):
        silence = plugin.settings.worker_timeout
        yield f"no worker has been heard of for {silence:g} s", "start one: celery -A <your app> worker"


@check("queue-without-worker", "error")
def queue_without_worker(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """What is due there waits until somebody consumes the queue."""
    served = {queue for worker in _live(plugin) for queue in worker.queues} | set(plugin.settings.pull_queues)
    for queue, count in health.unserved(plugin.db, served).items():
        yield (
            f"{count:,} due job(s) in the queue {queue!r}, which no live worker consumes",
            f"start a worker for it: celery -A <your app> worker -Q {queue}",
        )


@check("sqlite-shared", "warning")
def sqlite_shared(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """A worker's name ends with its host."""
    hosts = sorted({worker.hostname.rpartition("@")[2] for worker in _live(plugin)})
    if plugin.db.is_sqlite and len(hosts) > 1:
        yield (
            f"workers of several hosts ({', '.join(hosts)}) use the SQLite file {plugin.where}",
            "a file cannot be shared over machines: set jobs_database_url to a PostgreSQL database",
        )


@check("service-overdue", "warning")
def service_overdue(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Nobody ticks, and no worker stands in. One that has never run is not known to be missed."""
    ages = services.age(plugin.db)
    for name in SERVICES:
        interval = make_service(plugin, name).interval
        if ages.get(name, 0.0) > interval * (1 + MOST_MISSED):
            yield (
                f"the {name} ran {ages[name]:,.0f} s ago, and is due every {interval:g} s",
                "start celery -A <your app> beat, or a worker; where they run, look in their logs for service.failed",
            )


@check("dead-worker", "info")
def dead_worker(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Between the declaration and the release."""
    for hostname, count in health.held_by_dead(plugin.db).items():
        yield (
            f"the worker {hostname} was declared dead and still holds {count:,} job(s)",
            "the reaper brings them back; now: celery -A <your app> jobs reap",
        )


def _live(plugin: Plugin) -> list[health.LiveWorker]:
    return health.live_workers(plugin.db, plugin.settings.worker_timeout)


CHECKS: tuple[Check, ...] = (no_worker, queue_without_worker, sqlite_shared, service_overdue, dead_worker)
