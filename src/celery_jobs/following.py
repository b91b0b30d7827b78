"""Following runs: a stream of what happens to one, or to all of a filter, read from the rows again and again.

SQL is the truth. PostgreSQL tells a follower of one run when to look; without that, and for many runs, it looks by
itself, less often as time goes on.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from celery_jobs.cursors import ChainCursor, NewsCursor
from celery_jobs.errors import JobNotFound, StoreUnavailable, WaitTimeout
from celery_jobs.run_events import RunEvent, as_deleted, as_event, happened
from celery_jobs.store import following, news, reads
from celery_jobs.store.filters import Filter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.db import Database
    from celery_jobs.store.following import Chain
    from celery_jobs.store.listening import Listener

__all__ = ["Following"]

T = TypeVar("T")

NET = 5.0
"""Seconds after which a follower looks though it has heard nothing."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 1.0
"""Seconds between two looks of who hears nothing at all, doubling while nothing happens."""

AWAY = 30.0
"""Seconds that a follower waits for a database that is away, before it says so."""

SLICE = timedelta(seconds=30)
"""Of a stream of many runs, what is read at once."""


class Following:
    """The streams of events."""

    _plugin: Plugin

    def events(
        self,
        id: str | None = None,
        since: str | None = None,
        timeout: float | None = None,
        *,
        queue: str | None = None,
        task: str | None = None,
        tag: str | Sequence[str] | None = None,
    ) -> Generator[RunEvent]:
        """What happens to a run, from its enqueueing to its end and its callback's; or to all runs of a filter.

        Of a filter only what happens from now on, about a second later: enqueued and ended. `since`: the `cursor` of
        the event to go on behind. After `timeout` seconds a run that has not ended raises WaitTimeout, and the stream
        of a filter ends. Close it to stop earlier. Raises JobNotFound, ValueError, and StoreUnavailable where the
        database is away for 30 s.
        """
        until = None if timeout is None else time.monotonic() + timeout
        which = Filter(queue=queue, task=task, tag=tag)
        if id is None:
            last = NewsCursor.read(since) if since is not None else NewsCursor(reads.database_time(self._plugin.db))
            return _news(self._plugin, which, last, until)
        if not which.is_empty:
            raise ValueError("id: either the id of one run or a filter is expected, not both")
        original_id = reads.find_original(self._plugin.db, id)
        if original_id is None:
            raise JobNotFound(id)
        told = ChainCursor.read(since, original_id)
        return _course(self._plugin, told, until)


def _course(plugin: Plugin, told: ChainCursor, until: float | None) -> Generator[RunEvent]:
    """The events of one chain that are not told yet, until it is over."""
    db, names, known = plugin.db, plugin.settings.redacted, None
    with closing(Ears(db, told.original_id)) as ears:
        while True:
            chain = _patiently(partial(following.read, db, told.original_id))
            if chain is None:
                if known is not None:
                    yield replace(as_deleted(known, reads.database_time(db)), cursor=str(told))
                return
            for entry in happened(chain, names):
                if not told.knows(entry):
                    told = told.behind(entry)
                    ears.pauses.begin_anew()
                    yield replace(entry.event, cursor=str(told))
            if chain.is_over:
                return
            known = chain
            ears.wait(_left(until, chain))


def _left(until: float | None, chain: Chain) -> float | None:
    left = None if until is None else until - time.monotonic()
    if left is not None and left <= 0:
        original, last = chain.steps[0], chain.steps[-1]
        raise WaitTimeout(f"the job {original.id} is still {original.final_status or last.status}; the time is over")
    return left


def _news(plugin: Plugin, which: Filter, last: NewsCursor, until: float | None) -> Generator[RunEvent]:
    """The events of all runs of a filter behind the last that was told."""
    db, names, after = plugin.db, plugin.settings.redacted, last.at
    pauses = Pauses()
    while True:
        settled = _patiently(partial(news.settled_at, db))
        while after < settled:
            end = min(after + SLICE, settled)
            for found in _patiently(partial(news.between, db, which, after, end)):
                cursor = NewsCursor(found.at, found.has_ended, found.original.id)
                if cursor > last:
                    last = cursor
                    pauses.begin_anew()
                    yield replace(as_event(found, names), cursor=str(cursor))
            after = end
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return
        pauses.wait(left)


class Pauses:
    """The time between two looks of who hears nothing: it grows while nothing happens."""

    def __init__(self) -> None:
        self._next = FIRST_PAUSE

    def begin_anew(self) -> None:
        """Something was there to tell: the next look comes soon."""
        self._next = FIRST_PAUSE

    def wait(self, most: float | None) -> None:
        """Wait for the next look, `most` seconds at most."""
        time.sleep(self._next if most is None else min(self._next, most))
        self._next = min(self._next * 2, LONGEST_PAUSE)


class Ears:
    """How a follower of one run learns that there is something to look at: PostgreSQL tells it, or time passes.

    A pooler gives each transaction another session, in which nobody would go on listening.
    """

    def __init__(self, db: Database, original_id: str) -> None:
        self.pauses = Pauses()
        self._db = db
        self._original_id = original_id
        self._hears = None if not (db.is_sqlite or db.is_pooled) else False
        self._listener: Listener | None = None

    def wait(self, most: float | None) -> None:
        """Wait for the next look, `most` seconds at most; the first to wait of those that follow a run marks it."""
        if self._hears is None:
            self._hears = _patiently(partial(following.follow, self._db, self._original_id))
            self._listener = self._listen() if self._hears else None
        if self._listener is None:
            self.pauses.wait(most)
        else:
            self._listener.wait(NET if most is None else min(NET, most))

    def _listen(self) -> Listener:
        from celery_jobs.store.listening import Listener

        return Listener(self._db, self._original_id)

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._listener is not None:
            self._listener.close()


def _patiently(look: Callable[[], T]) -> T:
    """Look, again and again where the database is away; raises StoreUnavailable where it stays so."""
    until, pause = time.monotonic() + AWAY, FIRST_PAUSE
    while True:
        try:
            return look()
        except StoreUnavailable:
            if time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
