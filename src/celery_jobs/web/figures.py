"""The figures of the jobs for Prometheus, kept in this process: gauges as they are now, counters from its start on.

Counters go on by the chains that have ended since the last look; an attempt is counted when its chain ends.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from celery_jobs.jobs import Jobs
from celery_jobs.store import figures, news, reads
from celery_jobs.store.callbacks import FAILED, SENT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from celery import Celery

    from celery_jobs.store.figures import Attempt, EndedChain
    from celery_jobs.store.stats import QueueStats

__all__ = ["KEPT", "Figures"]

KEPT = 5.0
"""Seconds that figures are as they were read, however many ask."""

PAGE = 5_000
"""Chains that are read at once."""

LONGEST = 2.0
"""Seconds of one look; what is left is counted at the next."""

MOST_QUEUES = 100
"""Queues that the app does not name and that have figures of their own; the others have them together."""

OTHER = "other"
FIRST_ID = "00000000-0000-0000-0000-000000000000"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 10_800)


class Figures:
    """What is known of the jobs of one app. `refresh` is for one thread at a time."""

    def __init__(self, app: Celery) -> None:
        self._jobs = Jobs(app)
        self._plugin = self._jobs._plugin
        self._reached: tuple[datetime, str] | None = None
        self._read_at = 0.0
        conf = app.conf
        declared = {getattr(queue, "name", queue) for queue in conf.task_queues or ()}
        self._named = {*self._plugin.settings.queues, *declared, conf.task_default_queue}
        self._others: set[str] = set()
        self.lock = threading.Lock()
        self.registry = CollectorRegistry()
        self._make_gauges()
        self._make_counters()

    def _make_gauges(self) -> None:
        in_registry: Any = {"registry": self.registry}
        self._depth = Gauge("celery_jobs_depth", "Jobs by queue and state.", ["queue", "state"], **in_registry)
        self._retrying = Gauge("celery_jobs_retrying", "Retries that wait for their time.", ["queue"], **in_registry)
        self._oldest = Gauge(
            "celery_jobs_oldest_waiting_seconds", "Age of the job that has been due longest.", ["queue"], **in_registry
        )
        self._paused = Gauge("celery_jobs_paused", "1: the queue is paused.", ["queue"], **in_registry)
        self._age = Gauge(
            "celery_jobs_service_age_seconds", "Since a service last ran; NaN: never.", ["service"], **in_registry
        )
        self._interval = Gauge(
            "celery_jobs_service_interval_seconds", "Between two turns of a service.", ["service"], **in_registry
        )
        self._workers = Gauge("celery_jobs_workers", "Workers that are alive.", **in_registry)

    def _make_counters(self) -> None:
        in_registry: Any = {"registry": self.registry}
        self._finished = Counter(
            "celery_jobs_finished", "Chains that ended, by verdict.", ["queue", "final_status"], **in_registry
        )
        self._started = Counter(
            "celery_jobs_started", "Attempts started, counted when their chain ends.", ["queue"], **in_registry
        )
        self._retried = Counter(
            "celery_jobs_retried", "Retries made, counted when their chain ends.", ["queue"], **in_registry
        )
        self._wait = Histogram(
            "celery_jobs_wait_seconds", "From due to started.", ["queue"], buckets=BUCKETS, **in_registry
        )
        self._run = Histogram(
            "celery_jobs_run_seconds", "From started to ended.", ["queue"], buckets=BUCKETS, **in_registry
        )
        self._callbacks = Counter("celery_jobs_callbacks", "Callbacks by outcome.", ["outcome"], **in_registry)

    def refresh(self) -> None:
        """Look again, if the last look is old; raises StoreUnavailable, SchemaOutdated."""
        if time.monotonic() - self._read_at < KEPT:
            return
        until = time.monotonic() + LONGEST
        self._count_ended(until)
        self._show_queues(self._jobs.queues(60))
        for service in self._jobs.services():
            self._age.labels(service.name).set(float("nan") if service.age is None else service.age)
            self._interval.labels(service.name).set(service.interval)
        self._workers.set(sum(worker.is_alive for worker in self._jobs.workers()))
        self._read_at = time.monotonic()

    def _show_queues(self, queues: Iterable[QueueStats]) -> None:
        for gauge in (self._depth, self._retrying, self._oldest, self._paused):
            gauge.clear()
        now = reads.database_time(self._plugin.db)
        for one in queues:
            queue = self._label(one.queue)
            for state in ("waiting", "scheduled", "processing", "dead_lettered"):
                self._depth.labels(queue, state).inc(getattr(one, state))
            self._retrying.labels(queue).inc(one.retrying)
            age = 0.0 if one.oldest_waiting_at is None else (now - one.oldest_waiting_at).total_seconds()
            oldest = self._oldest.labels(queue)
            oldest.set(max(age, oldest._value.get()))
            self._paused.labels(queue).inc(one.paused_at is not None)

    def _count_ended(self, until: float) -> None:
        settled = news.settled_at(self._plugin.db)
        if self._reached is None:
            self._reached = settled, FIRST_ID
        while time.monotonic() < until:
            chains, attempts = figures.ended_chains(self._plugin.db, self._reached, settled, PAGE)
            self._add(chains, attempts)
            if chains:
                self._reached = chains[-1].ended_at, chains[-1].id
            if len(chains) < PAGE:
                return

    def _add(self, chains: Iterable[EndedChain], attempts: Iterable[Attempt]) -> None:
        for chain in chains:
            self._finished.labels(self._label(chain.queue), chain.final_status).inc()
        for attempt in attempts:
            queue = self._label(attempt.queue)
            if attempt.is_retry:
                self._retried.labels(queue).inc()
            if attempt.started_at is not None:
                self._started.labels(queue).inc()
                self._wait.labels(queue).observe(max(0.0, (attempt.started_at - attempt.scheduled_at).total_seconds()))
            if attempt.duration_ms is not None:
                self._run.labels(queue).observe(attempt.duration_ms / 1000)
            if attempt.callback_state in (SENT, FAILED):
                self._callbacks.labels(attempt.callback_state).inc()

    def _label(self, queue: str) -> str:
        """A queue's name, unless it is one of very many."""
        if queue in self._named or queue in self._others:
            return queue
        if len(self._others) >= MOST_QUEUES:
            return OTHER
        self._others.add(queue)
        return queue
