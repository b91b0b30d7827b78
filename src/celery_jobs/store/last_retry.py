"""What the last retry of a chain has, beside its original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from celery_jobs.store.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import ScalarSelect

__all__ = ["of_last_retry"]

_last = jobs.alias("last")


def of_last_retry(column: str) -> ScalarSelect[Any]:
    """A column of the last retry of the original that is read; NULL where it has none."""
    retries = select(_last.c[column]).where(_last.c.original_id == jobs.c.id, _last.c.attempt_number > 1)
    return retries.order_by(_last.c.attempt_number.desc()).limit(1).scalar_subquery()
