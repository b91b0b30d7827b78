"""`Retry-After`, in seconds and as a date."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from celery_jobs.http.retry_after import seconds_to_wait

NOON = datetime(2026, 4, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("120", 120, id="seconds"),
        pytest.param(" 7 ", 7, id="seconds between blanks"),
        pytest.param("0", 0, id="no seconds"),
        pytest.param("86401", 86_400, id="more than a day"),
        pytest.param("9" * 18, 86_400, id="ages"),
        pytest.param("Fri, 10 Apr 2026 12:00:30 GMT", 30, id="the date of today's HTTP"),
        pytest.param("Friday, 10-Apr-26 12:00:30 GMT", 30, id="the date of RFC 850"),
        pytest.param("Fri Apr 10 12:00:30 2026", 30, id="the date of asctime"),
        pytest.param("Fri, 10 Apr 2026 14:00:30 +0200", 30, id="a date in another zone"),
        pytest.param("Fri, 10 Apr 2026 11:59:00 GMT", 0, id="a date that has passed"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", 86_400, id="the last of dates"),
    ],
)
def test_what_can_be_read_is_waited_for(value: str, seconds: float) -> None:
    assert seconds_to_wait(value, 86_400, NOON) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "-5",
        "1.5",
        "1e9",
        "٣",
        "9" * 5000,
        "Fri, 32 Apr 2026 12:00:30 GMT",
        "Fri, 10 Apr 99999 1:1:1 GMT",
    ],
)
def test_what_cannot_be_read_says_nothing(value: str | None) -> None:
    assert seconds_to_wait(value, 86_400, NOON) is None


def test_a_date_counts_from_now() -> None:
    assert seconds_to_wait("Fri, 01 Jan 2100 00:00:00 GMT", 5, NOON) == 5
    assert seconds_to_wait("Sat, 01 Jan 2000 00:00:00 GMT", 5, NOON) == 0
