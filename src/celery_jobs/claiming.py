"""Winning a job in the process that is to run it, or learning why not (semantics.md section 6)."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo
from celery import states as celery_states
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import Ignore

from celery_jobs import limits
from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Kind, emit

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Claim

__all__ = ["claim_job", "dropped", "lose"]

EARLY_ENOUGH = 2.0
"""Seconds; a claim that comes this much too early waits, an earlier one goes back unsent."""


def claim_job(
    plugin: Plugin, job_id: str, worker: str, lease_token: str, lease: float, edition: int = 0
) -> Claim | None:
    """Claim a job for `lease` seconds, waiting for a database that is away; None where it is not ours to run."""
    from celery_jobs.store import sends
    from celery_jobs.store.rows import Claim

    while True:
        answer = limits.claim(plugin, job_id, worker, lease_token, lease, edition)
        if isinstance(answer, Claim):
            return answer
        if answer.reason == answer.EARLY and answer.wait <= EARLY_ENOUGH:
            time.sleep(answer.wait)
            continue
        if answer.reason == answer.LIMITED:  # due in the moment in which it was judged
            continue
        # A process that dies before its parent has read that it took a request: the pool gives it to another.
        if answer.reason == answer.OURS and lose(plugin, job_id, lease_token):
            continue
        if answer.reason in (answer.EARLY, answer.PAUSED):
            sends.hold(plugin.db, job_id)
            limits.wake_of(plugin, [job_id])  # whose turn it may have been
        elif answer.reason == answer.EXPIRED:
            from celery_jobs.telling import expire

            with suppress(StoreUnavailable):  # the redispatcher ends it then
                expire(plugin, job_id)
        if answer.reason == answer.GONE:
            emit(Kind.GONE, job_id=job_id, database=plugin.where)
        else:
            emit(Kind.DROPPED, job_id=job_id, reason=answer.reason)
        return None


def dropped() -> Any:
    """What the pool is told of a message that is not run: ignored, so that it is acknowledged and no more."""
    try:
        raise Ignore("not ours to run")
    except Ignore as error:
        return trace_ok_t(ExceptionInfo(internal=True), TraceInfo(celery_states.IGNORED, error), 0.0, None)


def lose(plugin: Plugin, job_id: str, lease_token: str) -> bool:
    """Count the loss of the process that held this claim; whether the job may be claimed again."""
    from celery_jobs.store import endings
    from celery_jobs.telling import tell

    lost = endings.lose(plugin.db, job_id, plugin.settings.max_losses, lease_token=lease_token, patient=True)
    if isinstance(lost, endings.Ended):
        tell(plugin, lost.original_id)
    elif lost:
        limits.wake_of(plugin, [job_id])
    return lost is True
