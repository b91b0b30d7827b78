"""The messenger: sends the callbacks that are due, in threads of the worker's parent (semantics.md section 8).

It looks when a request of this worker has ended, and when a heartbeat says that something is due which others have
left: a reaper, a caller that cancelled, a worker that died. It holds no place in the pool and needs no broker.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from celery_jobs import settings
from celery_jobs.addresses import parse_url
from celery_jobs.errors import InvalidUrl, StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.store import callbacks
from celery_jobs.worker.courier import Courier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.callbacks import Taken, Unsent

__all__ = ["Messenger"]

MOST_SEEN = 100
"""Callbacks that one query gives."""
MOST_QUERIES = 10
"""In one look, past hosts that are busy."""

PAUSE = 1.0
"""Seconds between two looks: a busy worker without callbacks pays for one query a second."""
BREATH = 0.1
"""The same where something was sent within the last `ACTIVE` seconds. The end of a callback is always followed by a
look, for what waits for its place."""
ACTIVE = 10.0

PATIENCE = 2.0
"""Seconds that a worker which stops waits for the callbacks that it is sending."""


class Messenger:
    """Takes what is due and gives each a thread, so that a receiver which hangs delays nobody else's."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._courier = Courier(plugin)
        self._bell = threading.Event()
        self._freed = threading.Event()
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._sending: dict[str, Taken] = {}
        """The callbacks under way, by job."""
        self._nothing_past: frozenset[str] = frozenset()
        """Hosts that were busy when nothing could be sent to any other."""
        self._nothing_at = -math.inf
        self._thread = threading.Thread(target=self._run, name="celery-jobs-messenger", daemon=True)

    def start(self) -> None:
        """Begin to look.

        What its threads need is imported here: a fork while a thread imports leaves the child a lock for ever.
        """
        try:
            self._courier.open()
        except Exception as error:
            emit(Kind.SERVICE_FAILED, service="messenger", error=repr(error))
        self._thread.start()

    def ring(self) -> None:
        """Look soon: an attempt has ended here that may have a callback, or others have left one."""
        self._bell.set()

    def stop(self) -> None:
        """Look once more, and stop within 2 s; what is not sent by then is for other workers."""
        until = time.monotonic() + PATIENCE
        self._stopping.set()
        self._hurry()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        self.wait(until - time.monotonic())
        self._courier.close()

    def wait(self, seconds: float) -> bool:
        """Wait for the callbacks under way; whether none is left."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._sending, max(0.0, seconds))

    def _hurry(self) -> None:
        """Look now."""
        self._freed.set()
        self._bell.set()

    def _run(self) -> None:
        sent_at = -math.inf
        while not self._stopping.is_set():
            looked_at = time.monotonic()
            sent, more_in = self._look()
            sent_at = looked_at if sent else sent_at
            self._bell.wait(None if more_in == math.inf else more_in)
            self._bell.clear()
            pause = BREATH if looked_at - sent_at < ACTIVE else PAUSE
            self._freed.wait(max(0.0, looked_at + min(pause, more_in) - time.monotonic()))
            self._freed.clear()
        self._look()

    def _look(self) -> tuple[int, float]:
        try:
            return self.send_due()
        except Exception as error:
            emit(Kind.SERVICE_FAILED, service="messenger", error=repr(error))
            return 0, math.inf

    def send_due(self) -> tuple[int, float]:
        """Begin to send what is due, as far as there is room; how many, and in how many seconds more falls due."""
        chosen, more_in = self._choose()
        taken = callbacks.take(self.plugin.db, chosen, settings.CALLBACK_LEASE) if chosen else []
        for callback in taken:
            sender = threading.Thread(target=self._send, args=(callback,), name="celery-jobs-callback", daemon=True)
            with self._changed:
                sender.start()
                self._sending[callback.job_id] = callback
        # What another worker has won, or holds for a moment, leaves its place to others: look again at once.
        return len(taken), BREATH if len(taken) < len(chosen) else more_in

    def _choose(self) -> tuple[list[str], float]:
        """The due callbacks that there is room for, and in how many seconds more falls due.

        The hosts that are busy are left out of the next query: however much waits for them, it hides nothing. That
        query reads all that waits for them, so one that gave nothing is not repeated within `PAUSE`.
        """
        with self._changed:
            under_way = list(self._sending.values())
        places = _Places(under_way)
        left_out: set[str] = set()
        chosen: list[str] = []
        for more_queries in reversed(range(MOST_QUERIES if places.free else 0)):
            if left_out and (pause := self._pause(places)) > 0:
                return chosen, pause
            found = callbacks.unsent(self.plugin.db, MOST_SEEN, left_out)
            due = [callback for callback in found if callback.wait <= 0]
            fits = [callback.job_id for callback in due if places.take(callback)]
            chosen += fits
            is_past = bool(left_out)
            left_out.update(_beginning(callback.url) for callback in due if places.is_full(callback.url))
            if len(due) < MOST_SEEN or not (places.free and more_queries):
                if is_past and not fits:
                    self._nothing_past, self._nothing_at = frozenset(left_out), time.monotonic()
                return chosen, min((callback.wait for callback in found if callback.wait > 0), default=math.inf)
        return chosen, math.inf

    def _pause(self, places: _Places) -> float:
        """Seconds for which nothing is looked for past the hosts that are busy."""
        if not all(map(places.is_full, self._nothing_past)):
            return 0.0
        return self._nothing_at + PAUSE - time.monotonic()

    def _send(self, callback: Taken) -> None:
        try:
            self._courier.deliver(callback, self._stopping)
        except StoreUnavailable as error:
            # Its lease runs out, and it is sent again.
            emit(Kind.SERVICE_FAILED, service="messenger", error=str(error))
        except Exception as error:
            emit(Kind.SERVICE_FAILED, service="messenger", error=repr(error))
            self._give_up(callback, error)
        finally:
            with self._changed:
                del self._sending[callback.job_id]
                self._changed.notify_all()
            self._hurry()

    def _give_up(self, callback: Taken, error: Exception) -> None:
        """What cannot be sent, or its outcome not be written, is not tried for ever."""
        if self._stopping.is_set():
            return
        try:
            callbacks.mark(self.plugin.db, callback, None, f"not sent: {type(error).__name__}", None)
        except Exception as failed:
            emit(Kind.SERVICE_FAILED, service="messenger", error=repr(failed))


class _Places:
    """The room that is left, in all and at each host; the callbacks of a chain go one after the other."""

    def __init__(self, under_way: Iterable[Taken]) -> None:
        self._hosts: Counter[str] = Counter()
        self._chains: set[str] = set()
        for callback in under_way:
            self._add(callback)

    @property
    def free(self) -> bool:
        return self._hosts.total() < settings.CALLBACKS_AT_ONCE

    def is_full(self, url: str) -> bool:
        """Whether its host has all that it may have."""
        return self._hosts[_host(url)] >= settings.CALLBACKS_A_HOST

    def take(self, callback: Unsent) -> bool:
        """Whether there was a place for it."""
        if not self.free or self.is_full(callback.url) or callback.original_id in self._chains:
            return False
        self._add(callback)
        return True

    def _add(self, callback: Unsent | Taken) -> None:
        self._hosts[_host(callback.url)] += 1
        self._chains.add(callback.original_id)


def _host(url: str) -> str:
    """Where a URL leads, however it is written; what cannot be read is refused before anybody is asked."""
    try:
        return parse_url(url).host
    except InvalidUrl:
        return ""


def _beginning(url: str) -> str:
    """A URL up to its path, as it is written."""
    found = re.match(r"[^/?#]*//[^/?#]*", url)
    return found[0] if found else url
