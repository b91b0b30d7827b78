"""What an attempt that runs knows of its being cancelled (semantics.md section 10)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from celery_jobs import settings, soft_limit
from celery_jobs.errors import JobsError
from celery_jobs.events import Kind, emit

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["StopSign"]

SHARE = 10
"""A slow answer is not asked for again before so many times as long have passed: the time is the task's."""


class StopSign:
    """Whether an attempt was asked to stop: the database is asked once a second at most, and a yes is remembered."""

    def __init__(self, plugin: Plugin, job_id: str) -> None:
        self._plugin = plugin
        self._job_id = job_id
        self._is_up = False
        self._next_look = -math.inf
        """By the plugin's clock."""

    def is_up(self, now: bool = False) -> bool:
        """Whether it was; False while the database does not answer. `now`: ask, however lately it was asked."""
        begun = self._plugin.monotonic()
        if not self._is_up and (now or begun >= self._next_look):
            self._is_up = self._ask()
            answered = self._plugin.monotonic()
            self._next_look = answered + max(settings.CANCEL_PAUSE, SHARE * (answered - begun))
        return self._is_up

    def _ask(self) -> bool:
        from celery_jobs.store.attempts import is_cancel_requested

        try:
            with soft_limit.held():
                return is_cancel_requested(self._plugin.db, self._job_id, self._plugin.settings.database_timeout)
        except JobsError as error:
            emit(Kind.STORE_UNAVAILABLE, error=str(error))
            return False
