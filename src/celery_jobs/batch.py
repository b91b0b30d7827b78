"""Gathering enqueues to store them in one transaction and send them in one go (semantics.md section 4, bulk)."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from celery.exceptions import SoftTimeLimitExceeded

from celery_jobs.errors import StoreUnavailable
from celery_jobs.replaced import send_replaced, tell_enqueued
from celery_jobs.sending import sender_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued, NewJob, Outgoing

__all__ = ["Batch", "Gathered", "current", "outgoing"]


@dataclass(frozen=True, slots=True)
class Gathered:
    """An enqueue that waits for its batch. `accept` may refuse what was made or found by raising; `settle` tells it."""

    job: NewJob
    accept: Callable[[Enqueued], None]
    settle: Callable[[Enqueued], None]
    wants_result: bool


_batches: ContextVar[Mapping[int, Batch | None]] = ContextVar("celery_jobs_batches", default=MappingProxyType({}))
"""The innermost batch of each app, by its plugin's identity; None: enqueue at once."""


def current(plugin: Plugin) -> Batch | None:
    """The batch that gathers what is enqueued here through this app, if any."""
    return _batches.get().get(id(plugin))


class Batch:
    """The enqueues of one block, in their order.

    `session`: a transaction of the caller's own that they are to be part of; None: one of our own.
    """

    def __init__(self, plugin: Plugin, session: Any = None) -> None:
        self.plugin = plugin
        self.session = session
        self.gathered: list[Gathered] = []

    @contextmanager
    def gathering(self, active: bool = True) -> Iterator[None]:
        """Gather what is enqueued inside; not `active`: enqueue it at once, also inside another batch."""
        token = _batches.set({**_batches.get(), id(self.plugin): self if active else None})
        try:
            yield
        finally:
            _batches.reset(token)

    def add(self, gathered: Gathered) -> None:
        """Take an enqueue in."""
        self.gathered.append(gathered)

    def store(self, gathered: Sequence[Gathered]) -> list[Enqueued]:
        """Store enqueues, all or none, then send those that are due soon; gives what each made or found.

        In a transaction of the caller's own, they are sent after its commit. Raises StoreUnavailable, and DuplicateJob
        for a member of a canvas that would be another job.
        """
        made = self.record(gathered)
        self.follow(gathered, made)
        return made

    def record(self, gathered: Sequence[Gathered]) -> list[Enqueued]:
        """The first half of `store`, of which nobody hears yet; it may be done in another thread."""
        from celery_jobs.store.enqueue import enqueue_all, enqueue_in

        accepts = {entry.job.id: entry.accept for entry in gathered}
        jobs = [entry.job for entry in gathered]

        def accept(job: NewJob, enqueued: Enqueued) -> None:
            accepts[job.id](enqueued)

        if self.session is None:
            return enqueue_all(self.plugin.db, jobs, accept)
        db = self.plugin.db_beside(self.session)
        return enqueue_in(db, self.session, jobs, accept, partial(self._send_committed, gathered))

    def follow(self, gathered: Sequence[Gathered], made: Sequence[Enqueued]) -> None:
        """The second half, by who has gathered them: tell of what was recorded, and send it."""
        _settle(gathered, made)
        if self.session is None:
            self._announce(gathered, made)
            self._send(gathered, made)

    def _send_committed(self, gathered: Sequence[Gathered], made: Sequence[Enqueued]) -> None:
        """Send what the caller's transaction has kept: a savepoint may have undone some of it."""
        from celery_jobs.store.reads import existing

        try:
            db = self.plugin.db  # which must not hold the caller's commit for long
            kept = existing(db, [enqueued.job_id for enqueued in made], within=db.timeout)
            pairs = [(entry, one) for entry, one in zip(gathered, made, strict=True) if one.job_id in kept]
            entries, sent = [entry for entry, _ in pairs], [one for _, one in pairs]
            self._announce(entries, sent)
            self._send(entries, sent)
        except SoftTimeLimitExceeded:
            raise
        except StoreUnavailable:
            pass  # the redispatcher finds them
        except Exception:  # the caller has committed: an error would say otherwise, and leave a session unusable
            logging.getLogger("celery_jobs").exception("committed jobs were not sent; the redispatcher sends them")

    def _announce(self, gathered: Sequence[Gathered], made: Sequence[Enqueued]) -> None:
        for entry, enqueued in zip(gathered, made, strict=True):
            tell_enqueued(entry.job, enqueued)

    def _send(self, gathered: Sequence[Gathered], made: Sequence[Enqueued]) -> None:
        sender = sender_of(self.plugin)
        pairs = list(zip(gathered, made, strict=True))
        due = [(entry, one) for entry, one in pairs if one.sent_at is not None and not one.replaced]
        sender.announce(outgoing(entry.job, enqueued) for entry, enqueued in pairs if not enqueued.deduplicated)
        awaited = next((entry.job.task_id for entry, _ in due if entry.wants_result), None)
        if awaited is not None and not sender.announce_result(awaited):
            sender.note_unsent([enqueued for _, enqueued in due])
        else:
            sender.send(outgoing(entry.job, enqueued) for entry, enqueued in due)
        send_replaced(self.plugin, made)


def _settle(gathered: Sequence[Gathered], made: Sequence[Enqueued]) -> None:
    for entry, enqueued in zip(gathered, made, strict=True):
        entry.settle(enqueued)


def outgoing(job: NewJob, enqueued: Enqueued) -> Outgoing:
    """A new job as it is sent at once, also where it is held: then only for the event of it."""
    from celery_jobs.store.rows import Outgoing

    return Outgoing(
        job_id=job.id,
        message=job.message,
        queue=job.queue,
        task=job.task,
        task_id=job.task_id,
        retries=job.retries,
        priority=job.priority,
        due_at=enqueued.due_at,
        sent_at=enqueued.sent_at or datetime.now(UTC),
        expires_at=enqueued.expires_at,
    )
