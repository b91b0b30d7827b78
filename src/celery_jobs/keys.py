"""The verbs of `Jobs` for idempotency keys (semantics.md section 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.errors import KeyNotFound
from celery_jobs.events import Kind, emit
from celery_jobs.store import keys

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.runs import Run

__all__ = ["KeyVerbs"]


class KeyVerbs:
    """What a person or a program can do to idempotency keys."""

    _plugin: Plugin

    if TYPE_CHECKING:

        def get(self, id: str) -> Run:
            """The run of an id."""

    def release_key(self, key: str, scope: str) -> Run:
        """Release an idempotency key: the next enqueue with it makes a job. Gives the run that it was taken from.

        That run is as it was otherwise. `scope`: the task's name, of an HTTP job its queue's, or the
        `idempotency_scope` that it was enqueued with. Raises KeyNotFound where no job has the key.
        """
        original_id = keys.release(self._plugin.db, key, scope)
        if original_id is None:
            raise KeyNotFound(key, scope)
        run = self.get(original_id)
        emit(Kind.KEY_RELEASED, run, original_id=run.id)
        return run
