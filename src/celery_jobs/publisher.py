"""Whose run, or whose end, publishes what is published now: so a step published again is told from a new call."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

__all__ = ["ending", "published_by"]

_ending: ContextVar[str | None] = ContextVar("celery_job_ending", default=None)


@contextmanager
def ending(original_id: str) -> Iterator[None]:
    """Celery is told of the end of this chain: what it publishes inside follows that chain."""
    token = _ending.set(original_id)
    try:
        yield
    finally:
        _ending.reset(token)


def published_by(app: Celery, running: str | None) -> dict[str, Any]:
    """What a new job says of its publisher. `running`: the original of the chain that runs here, if any."""
    publisher = _ending.get() or running
    return {"publisher": publisher, "is_step": publisher is not None or app.current_worker_task is not None}
