"""Priorities: ours count higher first everywhere; brokers have levels of their own (semantics.md section 4)."""

from __future__ import annotations

__all__ = ["broker_priority", "sql_priority"]

_LOWER_IS_FIRST = frozenset({"redis"})
_REDIS_LEVELS = ((10, 0), (1, 3), (0, 6))
_REDIS_LAST = 9


def broker_priority(driver_type: str, priority: int) -> int | None:
    """The priority of a message for a job of this priority; None: the broker's own default."""
    if driver_type in _LOWER_IS_FIRST:
        return next((level for least, level in _REDIS_LEVELS if priority >= least), _REDIS_LAST)
    return None if priority == 0 else max(0, min(priority, 255))


def sql_priority(driver_type: str, celery_priority: int | None) -> int:
    """A Celery message's own priority as SQL counts it: on Redis Celery's 0 comes first and 9 last."""
    return -(celery_priority or 0) if driver_type in _LOWER_IS_FIRST else celery_priority or 0
