"""What a queue's limits must be: a fault is told when the app starts, with all others."""

from __future__ import annotations

from typing import Any

import pytest

from celery_jobs.configuration import parse_settings
from celery_jobs.errors import InvalidSettings
from celery_jobs.settings import QueueSettings
from celery_jobs.store.limits import Limit, limits_of


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("concurrency_limit", value) for value in (0, -1, 1.5, True, "2", 1_000_001)],
        *[("rate_limit", value) for value in ("abc", "0/s", "5", "5/d", 5, "1.5/m", "")],
    ],
)
def test_a_wrong_limit_is_told_with_its_queue(name: str, value: Any) -> None:
    with pytest.raises(InvalidSettings) as raised:
        parse_settings({"queues": {"narrow": {name: value}}})
    assert f"jobs_queues['narrow'].{name}: " in str(raised.value)
    assert f"not {value!r}" in str(raised.value)


def test_the_limits_of_a_job_are_its_keys_its_queues_and_its_rates() -> None:
    settings = parse_settings({"queues": {"narrow": {"concurrency_limit": 3, "rate_limit": "100/m"}}})
    assert limits_of("narrow", settings.queue("narrow"), "k") == [
        Limit("key:k", None),
        Limit("queue:narrow", 3),
        Limit("rate:narrow", 100, 60.0),
    ]
    assert limits_of("wide", settings.queue("wide"), None) == []
    assert (QueueSettings().concurrency_limit, QueueSettings().rate_limit) == (None, None)
