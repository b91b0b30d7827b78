"""Limits of running jobs and of starts: who may claim, and who is sent when a place is free (semantics.md section 10).

Jobs without limits ask nothing here, except in an app of which some queue has one: its claims ask first whose they are.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from celery_jobs.errors import StoreUnavailable
from celery_jobs.sending import sender_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.limits import Limit
    from celery_jobs.store.rows import Claim, Outgoing
    from celery_jobs.store.unclaimed import Unclaimed

__all__ = ["claim", "wake", "wake_all", "wake_of", "wake_up"]


class OfLimits(Protocol):
    """What says which limits a job has."""

    @property
    def queue(self) -> str: ...
    @property
    def concurrency_key(self) -> str | None: ...


def claim(
    plugin: Plugin, job_id: str, worker: str, lease_token: str, lease: float, edition: int = 0
) -> Claim | Unclaimed:
    """Claim a job for `lease` seconds as far as its limits let it, waiting for a database that is away.

    `edition`: of the message.
    """
    from celery_jobs.store import attempts, limited_claims
    from celery_jobs.store.rows import Claim

    db, queue_settings = plugin.db, plugin.settings.queue
    durable = not plugin.settings.async_claims
    if not (plugin.has_limited_queues and limited_claims.is_limited(db, job_id, queue_settings)):
        answer = attempts.claim(db, job_id, worker, lease_token, lease, True, durable, edition)
        if isinstance(answer, Claim) or answer.reason != answer.LIMITED:
            return answer
    winner = {"worker": worker, "lease_token": lease_token, "lease": lease, "edition": edition}
    judged = limited_claims.claim(db, job_id, queue_settings, winner, plugin.settings.promote_ahead, durable)
    _send(plugin, judged.outgoing)
    return judged.answer


def wake(plugin: Plugin, job: OfLimits) -> None:
    """Send those whose turn it is now that a job is out of the way: it has ended, or waits no more.

    Nothing is lost where the database is away: the promoter does the same in its turn.
    """
    if job.concurrency_key is None and not plugin.has_limited_queues:
        return
    from celery_jobs.store.limits import limits_of

    wake_up(plugin, limits_of(job.queue, plugin.settings.queue(job.queue), job.concurrency_key))


def wake_of(plugin: Plugin, job_ids: Sequence[str]) -> None:
    """The same of jobs of which only the ids are known here."""
    from celery_jobs.store import waiting_for

    with suppress(StoreUnavailable):
        for job in waiting_for.whose(plugin.db, job_ids):
            wake(plugin, job)


def wake_all(plugin: Plugin) -> int:
    """Send those whose turn it is and of whom nobody has thought; how many went out.

    Whoever ends a job may die before it has sent the next, and so may a message.
    """
    from celery_jobs.store import waiting_for

    return wake_up(plugin, waiting_for.limits_to_wake(plugin.db, plugin.settings.queue))


def wake_up(plugin: Plugin, limits: Iterable[Limit]) -> int:
    """Send those whose turn it is by these limits; how many went out."""
    from celery_jobs.store.limits import wake

    went = 0
    with suppress(StoreUnavailable):
        for limit in limits:
            went += _send(plugin, wake(plugin.db, limit, plugin.settings.promote_ahead))
    return went


def _send(plugin: Plugin, outgoing: Sequence[Outgoing]) -> int:
    return sender_of(plugin).send(outgoing) if outgoing else 0
