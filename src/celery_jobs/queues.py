"""The verbs for a whole queue: counting, pausing, draining, resuming (semantics.md section 10)."""

from __future__ import annotations

import difflib
import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import UnknownQueue, WaitTimeout
from celery_jobs.events import Kind, emit
from celery_jobs.limits import wake_all
from celery_jobs.moments import plain
from celery_jobs.options import is_json, take_moment
from celery_jobs.services.promoter import Promoter
from celery_jobs.store import pauses, stats

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.pauses import Pause
    from celery_jobs.store.stats import ErrorGroup, QueueStats

__all__ = ["Queues"]

LOOK_PAUSE = 0.2
"""Seconds between two looks at what a queue that is drained still runs."""

LONGEST_TEXT = 1024
"""Characters of who paused a queue, and of why."""


class Queues:
    """The part of `Jobs` that is about queues."""

    _plugin: Plugin

    def queues(self, window: float = 3600) -> list[QueueStats]:
        """What each queue holds now, and what ended in it within the last `window` seconds."""
        return stats.queue_stats(self._plugin.db, window, self._plugin.settings.queues)

    def error_groups(self, limit: int = 20) -> list[ErrorGroup]:
        """The newest 20,000 dead letters by task and error, of HTTP jobs by reason too, the most frequent first."""
        groups = stats.error_groups(self._plugin.db, limit)
        return [replace(group, error_message=self._plugin.masked(group.error_message)) for group in groups]

    def pause(
        self, queue: str, until: datetime | float | None = None, by: str | None = None, reason: str | None = None
    ) -> Pause:
        """Hold a queue: from now on nothing of it is claimed, sent or promoted; enqueueing goes on, and what runs ends.

        `until`: a moment, or seconds from now, after which it goes on by itself; None: until `resume`. A queue that is
        paused stays so, with the new `until`, `by` and `reason`. Raises UnknownQueue, and ValueError where `until` has
        passed or a text is over 1,024 characters.
        """
        _check(until, by, reason)
        self._require_known(queue)
        made = pauses.pause(self._plugin.db, queue, _in_utc(until), by, reason)
        emit(Kind.QUEUE_PAUSED, queue=queue, until=plain(made.paused_until), by=by, reason=reason)
        return made

    def resume(self, queue: str) -> int:
        """End the pause of a queue and send what is due at once; how many jobs went out. It need not be paused."""
        was_paused = pauses.resume(self._plugin.db, queue)
        sent = Promoter(self._plugin).promote(queue) + wake_all(self._plugin)
        if was_paused:
            emit(Kind.QUEUE_RESUMED, queue=queue, sent=sent)
        return sent

    def running(self, queue: str) -> int:
        """How many jobs of a queue are being run."""
        return pauses.running(self._plugin.db, queue)

    def drain(self, queue: str, timeout: float | None = None, **why: Any) -> Pause:
        """Pause a queue (`until`, `by`, `reason` as for `pause`) and wait until nothing of it runs; it stays paused.

        Raises WaitTimeout where something still runs after `timeout` seconds, and what `pause` raises.
        """
        made = self.pause(queue, **why)
        self.wait_idle(queue, timeout)
        return made

    def wait_idle(self, queue: str, timeout: float | None = None) -> None:
        """Wait until nothing of a queue runs; raises WaitTimeout where something does after `timeout` seconds."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while (number := self.running(queue)) > 0:
            left = until - time.monotonic()
            if left <= 0:
                words = f"the queue {queue} is not idle: {number:,} of its jobs still run after {timeout:g} s"
                raise WaitTimeout(words)
            time.sleep(min(LOOK_PAUSE, left))

    def _require_known(self, queue: str) -> None:
        """A queue that nobody knows is one that was misspelt: pausing it would hold nothing."""
        plugin = self._plugin
        known = {*plugin.settings.queues, *plugin.app.amqp.queues}
        if queue not in known:
            known |= pauses.known_queues(plugin.db)
        if queue not in known:
            raise UnknownQueue(queue, difflib.get_close_matches(queue, known, n=1))


def _in_utc(until: Any) -> Any:
    return take_moment("until", until) if isinstance(until, datetime) else until


def _check(until: Any, by: Any, reason: Any) -> None:
    moment = _in_utc(until)
    if isinstance(moment, datetime):
        if moment <= datetime.now(UTC):
            raise ValueError(f"until: a moment to come is expected, not {plain(moment)}")
    elif until is not None and (isinstance(until, bool) or not 0 < until < math.inf):
        raise ValueError(f"until: a moment, or seconds above 0, are expected, not {until!r}")
    require_words(by, reason)


def require_words(by: Any, reason: Any) -> None:
    """Raise ValueError where who pauses something, or why, is no text that is kept."""
    for name, value in (("by", by), ("reason", reason)):
        if value is not None and (not isinstance(value, str) or len(value) > LONGEST_TEXT or not is_json(value)):
            raise ValueError(f"{name}: a text of at most {LONGEST_TEXT:,} characters is expected")
