"""The verbs of `Jobs` that say how things go: the last hour in figures, the services, the workers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from celery_jobs.moments import plain
from celery_jobs.services import SERVICES, make_service
from celery_jobs.states import FinalStatus
from celery_jobs.store import vitals

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.vitals import Sample

__all__ = ["Minute", "ServiceHealth", "Timeline", "Times", "Vitals", "WorkerHealth"]

LONGEST = 180
"""Minutes of a timeline."""

OVERDUE = 1.25
"""Times its interval after which a service is overdue: then a worker runs it by itself."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of waiting, from due to started, and of running, of first attempts: half took less, 95 of 100 did."""

    wait_p50: float | None = None
    wait_p95: float | None = None
    run_p50: float | None = None
    run_p95: float | None = None


@dataclass(slots=True)
class Minute:
    """What ended in one minute, by verdict; `retried`: how many of the successes needed a retry."""

    success: int = 0
    dead_lettered: int = 0
    failed_no_retries: int = 0
    cancelled: int = 0
    retried: int = 0
    times: Times = field(default_factory=Times)

    @property
    def ended(self) -> int:
        """Chains that ended."""
        return self.success + self.dead_lettered + self.failed_no_retries + self.cancelled


@dataclass(frozen=True, slots=True)
class Timeline:
    """The last minutes, the oldest first; the whole window by queue. Times are of 200 chains of a minute at most."""

    minutes: list[Minute]
    queues: dict[str, Minute]

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        queues = {name: {**asdict(one), "ended": one.ended} for name, one in self.queues.items()}
        return {"minutes": [{**asdict(one), "ended": one.ended} for one in self.minutes], "queues": queues}


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """A service and its last turn: seconds ago, how long it took, what it handled; None: it never ran."""

    name: str
    interval: float
    age: float | None
    duration_ms: float | None
    handled: int | None

    @property
    def is_overdue(self) -> bool:
        """Whether its turn should have come."""
        return self.age is None or self.age > self.interval * OVERDUE

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {**asdict(self), "is_overdue": self.is_overdue}


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """A worker: where, its queues, since when, seconds since its last heartbeat; `is_alive` False: it is dead."""

    id: str
    hostname: str
    pid: int
    queues: list[str]
    started_at: datetime
    silence: float
    is_alive: bool

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {name: plain(value) for name, value in asdict(self).items()}


class Vitals:
    """How things go."""

    _plugin: Plugin

    def timeline(self, minutes: int = 60) -> Timeline:
        """What ended within the last minutes, 180 at most, and how long it waited and ran. Raises ValueError."""
        if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= LONGEST:
            raise ValueError(f"minutes: a whole number from 1 to {LONGEST} is expected, not {minutes!r}")
        by_minute = [Minute() for _ in range(minutes)]
        by_queue: dict[str, Minute] = defaultdict(Minute)
        for found in vitals.ended(self._plugin.db, minutes):
            of_minute = by_minute[minutes - 1 - min(found.minute, minutes - 1)]
            for one in (of_minute, by_queue[found.queue]):
                name = str(FinalStatus(found.final_status))
                setattr(one, name, getattr(one, name) + found.number)
                one.retried += found.retried
        samples = vitals.sample(self._plugin.db, minutes)
        for place, one in enumerate(by_minute):
            one.times = _times(found for found in samples if found.minute == minutes - 1 - place)
        for queue, one in by_queue.items():
            one.times = _times(found for found in samples if found.queue == queue)
        return Timeline(by_minute, dict(sorted(by_queue.items())))

    def services(self) -> list[ServiceHealth]:
        """The services and their last turns."""
        known = {row.name: row for row in vitals.service_rows(self._plugin.db)}
        found = []
        for name in SERVICES:
            interval, row = make_service(self._plugin, name).interval, known.get(name)
            turn = (None, None, None) if row is None else (row.age, row.duration_ms, row.handled)
            found.append(ServiceHealth(name, interval, *turn))
        return found

    def workers(self) -> list[WorkerHealth]:
        """The workers that have the plugin: those that live, and those that died within the last hour."""
        patience = self._plugin.settings.worker_timeout
        return [
            WorkerHealth(
                row.id,
                row.hostname,
                row.pid,
                row.queues,
                row.started_at,
                row.silence,
                row.dead_at is None and row.silence <= patience,
            )
            for row in vitals.worker_rows(self._plugin.db)
        ]


def _times(samples: Iterable[Sample]) -> Times:
    found = list(samples)
    waited = sorted(max(0.0, one.waited) for one in found if one.waited is not None)
    ran = sorted(float(one.ran) for one in found if one.ran is not None)
    return Times(_quantile(waited, 0.5), _quantile(waited, 0.95), _quantile(ran, 0.5), _quantile(ran, 0.95))


def _quantile(values: list[float], share: float) -> float | None:
    """The value that so many are no larger than."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else None
