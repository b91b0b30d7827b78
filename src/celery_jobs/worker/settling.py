"""What only a worker's parent sees of an attempt, into SQL: a lost child, a revoke, an expiry, a shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.events import Kind, emit
from celery_jobs.limits import wake_of
from celery_jobs.sending import sender_of
from celery_jobs.states import FinalStatus
from celery_jobs.store import endings, reads, sends

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.plugin import Plugin

__all__ = ["expire", "lose", "release", "revoke", "settle"]


def settle(plugin: Plugin, job_id: str | None, act: Callable[[], object]) -> bool:
    """Do one of these, and send whose turn it is then; whether SQL keeps the chain going."""
    goes_on = bool(job_id and act())
    wake_of(plugin, [job_id] if job_id else [])
    return goes_on


def lose(plugin: Plugin, job_id: str, lease_token: str) -> endings.Ended | None:
    """Count the loss of the process; None: the job waits again, and is sent (semantics.md section 6)."""
    outcome = endings.lose(plugin.db, job_id, plugin.settings.max_losses, lease_token=lease_token)
    if isinstance(outcome, endings.Ended):
        return outcome
    if not outcome:  # it may have died before its claim
        sends.hold(plugin.db, job_id)
    emit(Kind.LOST, job_id=job_id)
    sender_of(plugin).send_now([job_id])
    return None


def release(plugin: Plugin, job_id: str, lease_token: str) -> bool:
    """Give back what a shutdown has stopped, nothing burnt; whether the claim still stood."""
    released = endings.release(plugin.db, job_id, lease_token, patient=False)
    if released is True:
        emit(Kind.RELEASED, job_id=job_id)
        sender_of(plugin).send_now([job_id])
    return bool(released)


def revoke(plugin: Plugin, job_id: str, lease_token: str, duration_ms: int | None) -> endings.Ended | bool:
    """Cancel a chain, of which this attempt was killed if it ran (semantics.md section 10).

    Ended: Celery is still to be told. True: it was cancelled before. False: it has ended otherwise, or runs elsewhere.
    """
    original_id = reads.find_original(plugin.db, job_id)
    if original_id is None:
        return True
    ended = endings.cancel(plugin.db, original_id)
    if ended is True:
        ended = endings.kill(plugin.db, job_id, lease_token, duration_ms)
    if isinstance(ended, endings.Ended):
        return _noted(job_id, ended)
    chain = reads.attempts(plugin.db, original_id, answers=False)
    return not chain or chain[0].final_status == FinalStatus.CANCELLED


def expire(plugin: Plugin, job_id: str) -> endings.Ended | bool:
    """Cancel a pending job whose expiry has passed (semantics.md section 2). True: SQL has done so, or will."""
    ended = endings.expire(plugin.db, job_id)
    return _noted(job_id, ended) if isinstance(ended, endings.Ended) else True


def _noted(job_id: str, ended: endings.Ended) -> endings.Ended:
    emit(Kind.CANCELLED, job_id=job_id, original_id=ended.original_id, error=None)
    return ended
