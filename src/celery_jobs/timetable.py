"""When a schedule ticks: five fields of cron in a time zone, or an interval in seconds (semantics.md section 10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery_jobs.errors import InvalidJob

__all__ = ["INTERVALS", "Timetable", "parse_timetable"]

INTERVALS = (1, 31_622_400)
"""Seconds of the shortest and of the longest interval, which is a year."""

FIELDS = 5


@dataclass(frozen=True, slots=True)
class Timetable:
    """Either `cron` and its `timezone`, or `every`, seconds."""

    cron: str | None = None
    timezone: str | None = None
    every: float | None = None

    def after(self, moment: datetime, since: datetime) -> datetime:
        """The first tick after a moment, in UTC; those of an interval are counted from `since`."""
        if self.every is not None:
            step = timedelta(seconds=self.every)
            return since + step * ((moment - since) // step + 1)
        return _next(str(self.cron), ZoneInfo(str(self.timezone)), moment)


def parse_timetable(cron: Any, timezone: Any, every: Any) -> Timetable:
    """Read when a schedule is to tick; raises InvalidJob naming the field."""
    if (cron is None) == (every is None):
        raise InvalidJob("cron", "give either cron, such as '30 2 * * *', or every, a number of seconds")
    if cron is not None:
        return _of_cron(cron, "UTC" if timezone is None else timezone)
    if timezone is not None:
        raise InvalidJob("timezone", "goes with cron; an interval has none")
    seconds = every.total_seconds() if isinstance(every, timedelta) else every
    least, most = INTERVALS
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not least <= seconds <= most:
        raise InvalidJob("every", f"a number of seconds from {least} to {most:,} is expected, not {every!r}")
    return Timetable(every=float(seconds))


def _of_cron(cron: Any, timezone: Any) -> Timetable:
    zone = _zone(timezone)
    if not isinstance(cron, str) or len(cron.split()) != FIELDS:
        raise InvalidJob("cron", f"minute, hour, day, month and day of the week are expected, not {cron!r}")
    from cronsim import CronSimError

    said = " ".join(cron.split())
    try:
        _next(said, zone, datetime.now(UTC))
    except CronSimError as error:
        raise InvalidJob("cron", f"{error}, as in {cron!r}") from None
    except StopIteration:
        raise InvalidJob("cron", f"{cron!r} never comes") from None
    return Timetable(said, timezone)


def _zone(timezone: Any) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    # What is no name is asked for as a file: a folder, one that is too long, or outside of where they are.
    except (LookupError, OSError, ValueError, TypeError):
        raise InvalidJob("timezone", f"a time zone such as Europe/Berlin is expected, not {timezone!r}") from None


def _next(cron: str, zone: ZoneInfo, moment: datetime) -> datetime:
    from cronsim import CronSim  # which only who has such schedules needs

    for found in CronSim(cron, moment.astimezone(zone)):
        at: datetime = found.astimezone(UTC)
        if at > moment:
            return at
    raise StopIteration
