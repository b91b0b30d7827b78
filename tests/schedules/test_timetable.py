"""When a schedule ticks, through the gaps and folds of its time zone; and what is no timetable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celery_jobs.errors import InvalidJob
from celery_jobs.timetable import Timetable, parse_timetable

NEW_YORK = "America/New_York"


def ticks(timetable: Timetable, since: str, count: int) -> list[str]:
    """The next ticks after a moment, in UTC."""
    moment, found = datetime.fromisoformat(since), []
    for _ in range(count):
        moment = timetable.after(moment, moment)
        found.append(moment.strftime("%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("cron", "since", "expected"),
    [
        ("30 2 * * *", "2025-06-01T00:00:00Z", ["01 06:30", "02 06:30"]),
        ("*/20 9 * * 1-5", "2025-06-01T00:00:00Z", ["02 13:00", "02 13:20", "02 13:40", "03 13:00"]),
        # The clocks go from 02:00 to 03:00 on the 9th of March: what was to come between ticks at 03:00, once.
        ("30 2 * * *", "2025-03-08T12:00:00Z", ["09 07:00", "10 06:30"]),
        ("15,45 2 * * *", "2025-03-08T12:00:00Z", ["09 07:00", "10 06:15"]),
        # What comes each hour goes on with the hours that there are.
        ("30 * * * *", "2025-03-09T06:00:00Z", ["09 06:30", "09 07:30"]),
        # From 02:00 back to 01:00 on the 2nd of November: 01:30 comes twice, and ticks the first time.
        ("30 1 * * *", "2025-11-01T12:00:00Z", ["02 05:30", "03 06:30"]),
        ("*/30 * * * *", "2025-11-02T04:45:00Z", ["02 05:00", "02 05:30", "02 06:00", "02 06:30", "02 07:00"]),
    ],
)
def test_cron_in_a_time_zone(cron: str, since: str, expected: list[str]) -> None:
    assert ticks(parse_timetable(cron, NEW_YORK, None), since, len(expected)) == expected


def test_a_tick_is_after_the_moment_that_is_given() -> None:
    timetable = parse_timetable("0 12 * * *", None, None)
    noon = datetime(2025, 6, 1, 12, tzinfo=UTC)
    assert timetable.after(noon, noon) == noon + timedelta(days=1)
    assert timetable.after(noon - timedelta(microseconds=1), noon) == noon
    assert timetable.timezone == "UTC"


def test_an_interval_keeps_its_step_whatever_was_missed() -> None:
    timetable = parse_timetable(None, None, timedelta(minutes=1))
    since = datetime(2025, 6, 1, 12, 0, 7, tzinfo=UTC)
    assert timetable.after(since, since) == since + timedelta(minutes=1)
    assert timetable.after(since + timedelta(seconds=3599), since) == since + timedelta(hours=1)
    assert timetable.after(since + timedelta(hours=1), since) == since + timedelta(hours=1, minutes=1)
    assert timetable.after(since - timedelta(seconds=59), since) == since


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((None, None, None), r"cron: give either cron, such as '30 2 \* \* \*', or every"),
        (("* * * * *", None, 5), "cron: give either cron"),
        (("* * * *", None, None), "cron: minute, hour, day, month and day of the week are expected, not"),
        (("* * * * * *", None, None), "cron: minute, hour"),
        ((5, None, None), "cron: minute, hour"),
        (("61 * * * *", None, None), "cron: Bad minute"),
        (("0 0 30 2 *", None, None), "cron: Bad day-of-month"),
        (("* * * * *", "Europe/Nowhere", None), "timezone: a time zone such as Europe/Berlin is expected"),
        (("* * * * *", "../etc/passwd", None), "timezone: a time zone"),
        (("* * * * *", "Europe", None), "timezone: a time zone"),
        (("* * * * *", "", None), "timezone: a time zone"),
        (("* * * * *", 7, None), "timezone: a time zone"),
        ((None, "UTC", 60), "timezone: goes with cron"),
        ((None, None, 0.5), "every: a number of seconds from 1 to 31,622,400"),
        ((None, None, True), "every: a number"),
        ((None, None, "60"), "every: a number"),
        ((None, None, float("nan")), "every: a number"),
        ((None, None, 1e9), "every: a number"),
    ],
)
def test_what_is_no_timetable_names_its_field(given: tuple[Any, Any, Any], said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        parse_timetable(*given)
