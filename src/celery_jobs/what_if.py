"""What the policies that are configured now would have made of the recorded runs: a trial without retries, read.

Only what is recorded is judged, by the class of an error and not by the error itself: all numbers are upper bounds.
"""

from __future__ import annotations

import builtins
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery.exceptions import MaxRetriesExceededError, Reject

from celery_jobs.errors import NoRetry
from celery_jobs.moments import plain
from celery_jobs.policy import Policy, level_from_json, resolve
from celery_jobs.settings import QueueSettings
from celery_jobs.states import FailureReason
from celery_jobs.store.what_if import tally
from celery_jobs.verdicts import left_to_autoretry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.what_if import Tally

__all__ = ["LONGEST_LOOK", "Forecast", "WhatIf", "what_if"]

LONGEST_LOOK = 1_000_000
"""Runs that may be looked at at once."""

_BEYOND_RETRIES = (FailureReason.WORKER_LOST, FailureReason.UNKNOWN_TASK, FailureReason.UNDECODABLE)
"""What ends a chain whatever attempts are left."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would have become of the runs of one task in one queue.

    Of the runs that `failed` with retries off, at most so many would have been `retried`, by so many `attempts` more,
    the first of them after `least_wait` to `most_wait` seconds; the others would have been `dead_lettered` at once.
    `got_over`: of the retried, those whose task has succeeded with the same arguments since. `duplicates`: runs that
    an idempotency key would have made one with another; `overlapping`: those enqueued before the other had ended.
    """

    queue: str
    task: str | None
    runs: int = 0
    failed: int = 0
    retried: int = 0
    attempts: int = 0
    dead_lettered: int = 0
    got_over: int = 0
    duplicates: int = 0
    overlapping: int = 0
    least_wait: float | None = None
    most_wait: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A forecast for each queue and task with runs created since `since`.

    `complete`: whether all runs since the moment that was asked for were looked at; else there are more than `limit`,
    and `since` is later. `within`: seconds in which a run with the arguments of another counts as a duplicate.
    """

    since: datetime
    complete: bool
    within: float
    limit: int
    forecasts: tuple[Forecast, ...]

    @property
    def total(self) -> Forecast:
        """The sums of all forecasts, and their shortest and longest wait; its `queue` is `all`."""
        return _sum(("all", None), self.forecasts)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form: that of the sums, and what was looked at."""
        asked = {name: getattr(self, name) for name in ("complete", "within", "limit")}
        return {**self.total.to_json(), "since": plain(self.since), **asked}


def what_if(plugin: Plugin, since: datetime | float, queue: str | None, within: float, limit: int) -> WhatIf:
    """Judge the newest `limit` runs at most, as far as they were created since a moment, or in so many seconds."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LONGEST_LOOK:
        raise ValueError(f"limit must be from 1 to {LONGEST_LOOK:,}, not {limit!r}")
    if isinstance(since, datetime):
        since = since.replace(tzinfo=UTC) if since.tzinfo is None else since
    found = tally(plugin.db, since, queue, within, limit)
    by_name: dict[tuple[str, str | None], list[Forecast]] = defaultdict(list)
    for counted in found.tallies:
        by_name[counted.queue, counted.task].append(_forecast(plugin, counted))
    ordered = sorted(by_name, key=lambda name: (name[0], name[1] or ""))
    return WhatIf(found.since, found.complete, within, limit, tuple(_sum(name, by_name[name]) for name in ordered))


def _forecast(plugin: Plugin, counted: Tally) -> Forecast:
    """Of runs that all went the same way."""
    same: dict[str, Any] = {
        name: getattr(counted, name) for name in ("queue", "task", "runs", "duplicates", "overlapping")
    }
    if not counted.failed:
        return Forecast(**same)
    policy = _policy(plugin, counted)
    if policy.max_attempts < 2 or _has_given_up(plugin, counted):
        return Forecast(**same, failed=counted.runs, dead_lettered=counted.runs)
    least, most = _first_wait(policy)
    return Forecast(
        **same,
        failed=counted.runs,
        retried=counted.runs,
        attempts=counted.runs * (policy.max_attempts - 1),
        got_over=counted.runs if counted.got_over else 0,
        least_wait=least,
        most_wait=most,
    )


def _policy(plugin: Plugin, counted: Tally) -> Policy:
    """As job, task, queue and defaults say now; where what the call once said fits them no more, the defaults' own."""
    try:
        return plugin.policy(str(counted.task), counted.queue, level_from_json(counted.retry_policy))
    except ValueError:
        return resolve(QueueSettings().level)


def _first_wait(policy: Policy) -> tuple[float, float]:
    """The shortest and the longest wait before attempt 2, in seconds."""
    wait = policy.delays[0]
    return (wait / 2 if policy.jitter else wait), wait


def _has_given_up(plugin: Plugin, counted: Tally) -> bool:
    """Whether a failure ends its chain although the policy has attempts left (semantics.md section 3)."""
    if counted.failure_reason in _BEYOND_RETRIES:
        return True
    task = plugin.app.tasks.get(counted.task)
    kind = _class_named(counted.error_type)
    if kind is None:
        return counted.failure_reason == FailureReason.NO_RETRY or _has_used_up(task, counted.retries)
    hopeless = (NoRetry, Reject, MaxRetriesExceededError, *getattr(task, "no_retry_for", ()))
    return issubclass(kind, hopeless) or left_to_autoretry(task, kind) or _has_used_up(task, counted.retries)


def _has_used_up(task: Any, retries: int | None) -> bool:
    """Whether Celery's own retries were made, as many as the task has."""
    most = getattr(task, "max_retries", None)
    return bool(retries) and most is not None and retries is not None and retries >= most


def _class_named(name: str | None) -> type[BaseException] | None:
    """The class of a recorded error, where this process has it loaded: nothing is imported for it."""
    parts = (name or "").split(".")
    for end in range(len(parts) - 1, -1, -1):
        found: Any = sys.modules.get(".".join(parts[:end])) if end else builtins
        for part in parts[end:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return None


def _sum(name: tuple[str, str | None], forecasts: Iterable[Forecast]) -> Forecast:
    every = list(forecasts)
    sums: dict[str, Any] = {
        f.name: sum(getattr(one, f.name) for one in every) for f in fields(Forecast) if f.default == 0
    }
    waits = [
        (one.least_wait, one.most_wait) for one in every if one.least_wait is not None and one.most_wait is not None
    ]
    least, most = min((wait[0] for wait in waits), default=None), max((wait[1] for wait in waits), default=None)
    return Forecast(*name, **sums, least_wait=least, most_wait=most)
