from __future__ import annotations

import pytest

from celery_jobs.priority import broker_priority, sql_priority


@pytest.mark.parametrize(("priority", "level"), [(100, 0), (10, 0), (9, 3), (1, 3), (0, 6), (-1, 9), (-100, 9)])
def test_on_redis_higher_priorities_go_to_its_first_lists(priority: int, level: int) -> None:
    assert broker_priority("redis", priority) == level


@pytest.mark.parametrize(("priority", "level"), [(300, 255), (255, 255), (7, 7), (1, 1), (0, None), (-5, 0)])
def test_on_other_brokers_a_priority_is_itself_within_0_to_255(priority: int, level: int | None) -> None:
    assert broker_priority("amqp", priority) == level


@pytest.mark.parametrize(("celery", "ours"), [(0, 0), (3, -3), (9, -9), (None, 0)])
def test_celerys_priorities_on_redis_are_lower_first(celery: int | None, ours: int) -> None:
    assert sql_priority("redis", celery) == ours


@pytest.mark.parametrize(("celery", "ours"), [(0, 0), (9, 9), (None, 0)])
def test_celerys_priorities_elsewhere_are_higher_first(celery: int | None, ours: int) -> None:
    assert sql_priority("amqp", celery) == ours


@pytest.mark.parametrize("driver", ["redis", "amqp"])
def test_sql_and_broker_agree_on_the_order(driver: str) -> None:
    ours = [broker_priority(driver, priority) or 0 for priority in (-20, -1, 0, 1, 5, 10, 99)]
    assert ours == sorted(ours, reverse=driver == "redis")
