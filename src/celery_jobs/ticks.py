"""One tick, one job: which entry of beat's ticks here, and what is the same tick (semantics.md section 10)."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.schedules import crontab

    from celery_jobs.store.ticks import Beat

__all__ = ["Tick", "last_due", "note_ticks", "tick_here"]

SAME = 0.8
"""Of the interval: a tick that comes sooner after the last one is the same."""

LONGEST_GAP = 60.0
"""Seconds in which two ticks are the same where a schedule has neither minutes nor an interval, as the sun's."""

LOOKED_BACK = 366 * 8 + 2
"""Days in which the 29th of February comes by, also where a century has none."""


@dataclass(slots=True)
class Tick:
    """An entry that ticks. `is_taken`: its job has passed the seam; what else is enqueued meanwhile is no tick."""

    entry: Any
    is_taken: bool = False

    def take(self, task: str | None) -> bool:
        """Whether a job of this task is the tick's; only the first is."""
        is_meant = not self.is_taken and task == self.entry.task
        self.is_taken = self.is_taken or is_meant
        return is_meant

    def said(self) -> Beat:
        """The tick as the store judges it."""
        from celery.schedules import crontab  # which only beat has loaded

        from celery_jobs.store.ticks import Beat

        plan = self.entry.schedule
        due = partial(last_due, plan) if isinstance(plan, crontab) else None
        return Beat(str(self.entry.name), due, 0 if due else _gap(plan), plan.maybe_make_aware(plan.now()))


tick_here: ContextVar[Tick | None] = ContextVar("celery_jobs_tick", default=None)
"""The entry that beat is sending."""


def note_ticks(scheduler: Any) -> None:
    """Have a scheduler of beat's say which entry it sends: its message names neither entry nor tick."""
    original = scheduler.apply_async

    def apply_async(entry: Any, *args: Any, **options: Any) -> Any:
        token = tick_here.set(Tick(entry))
        try:
            return original(entry, *args, **options)
        finally:
            tick_here.reset(token)

    scheduler.apply_async = apply_async


def _gap(plan: Any) -> float:
    """Seconds within which a tick of a schedule without due minutes is the same as the last one."""
    from celery.schedules import schedule

    every = getattr(plan, "run_every", None)
    if isinstance(plan, schedule) and every is not None and not plan.relative:
        return SAME * float(every.total_seconds())
    wait = plan.is_due(plan.maybe_make_aware(plan.now()))[1]
    return min(LONGEST_GAP, SAME * wait) if isinstance(wait, int | float) and wait > 0 else LONGEST_GAP


def last_due(plan: crontab, moment: datetime) -> datetime:
    """The latest minute at or before a moment at which a crontab is due, in UTC."""
    local = moment.astimezone(plan.tz)
    for day in _days_back(plan, local):
        for hour, minute in product(sorted(plan.hour, reverse=True), sorted(plan.minute, reverse=True)):
            at = _in_utc(day.replace(hour=hour, minute=minute), moment)
            if at <= moment:
                return at
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _days_back(plan: crontab, local: datetime) -> Iterator[datetime]:
    """The days of a crontab from a day on backwards."""
    today = local.replace(second=0, microsecond=0, tzinfo=None)
    for days in range(LOOKED_BACK):
        day = today - timedelta(days=days)
        is_meant = day.month in plan.month_of_year and day.day in plan.day_of_month
        if is_meant and day.isoweekday() % 7 in plan.day_of_week:
            yield day.replace(tzinfo=local.tzinfo)


def _in_utc(local: datetime, moment: datetime) -> datetime:
    """An hour that the clocks go through twice is the second one once that has come; one that they skip is before."""
    second, first = (local.replace(fold=fold).astimezone(UTC) for fold in (1, 0))
    return second if second <= moment else first
