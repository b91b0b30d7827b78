"""One callback on its way: its body, its signature, the POST, and what became of it (semantics.md section 8)."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import celery_jobs
from celery_jobs import failpoints, outgoing, settings, signing
from celery_jobs.callbacks import due_callbacks
from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.store import callbacks, reads
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.callbacks import Taken
    from celery_jobs.store.rows import Job

__all__ = ["Courier"]

PREFIX = "cb_"
"""Of a webhook-id, before the id of the attempt whose end is told."""

MOST_READ_BYTES = 4096
"""Of an answer, whose body says nothing."""
MOST_ERROR_BYTES = 1024

RECORD_PAUSE = 1.0
"""Seconds between two tries to write an outcome while the database is away."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a POST. `error` None: it was delivered; `status` None: nobody answered."""

    status: int | None
    error: str | None
    duration_ms: int


class Courier:
    """Delivers callbacks that were taken; safe in threads."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._client: outgoing.Client | None = None
        self._making = threading.Lock()

    def deliver(self, callback: Taken, stopping: threading.Event) -> None:
        """Send it once and write what became of it; a chain that was deleted since owes nothing."""
        taken_at = time.monotonic()
        chain = reads.attempts(self.plugin.db, callback.original_id, answers=False)
        told = next((told for told in due_callbacks(chain) if told.attempt_id == callback.job_id), None)
        if told is None or time.monotonic() - taken_at > settings.CALLBACK_LEASE - settings.CALLBACK_TIMEOUT:
            return  # by its end it would be somebody else's
        body = json.dumps(told.body, separators=(",", ":")).encode()
        outcome = self._post(callback, body, stopping)
        again_in = None if outcome.error is None else self._again_in(callback.tries)
        if self._record(callback, outcome, again_in, stopping):
            job = next(job for job in chain if job.id == callback.job_id)
            self._tell(job, callback, outcome, again_in)

    def open(self) -> outgoing.Client:
        """The client, made at the first call."""
        with self._making:
            if self._client is None:
                policy = self.plugin.settings.address_policy
                self._client = outgoing.make_client(policy, max_connections=settings.CALLBACKS_AT_ONCE)
            return self._client

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._making:
            if self._client is not None:
                self._client.close()

    def _post(self, callback: Taken, body: bytes, stopping: threading.Event) -> Outcome:
        began = time.monotonic()
        try:
            response = outgoing.fetch(
                self.open(),
                "POST",
                callback.url,
                headers=self._headers(callback, body),
                content=body,
                timeout=settings.CALLBACK_TIMEOUT,
                max_body=MOST_READ_BYTES,
            )
            failpoints.reach("callback.sent")
        except Exception as error:
            if stopping.is_set() and isinstance(error, RuntimeError):
                raise  # the client was closed before it was asked
            reason = outgoing.reason_of(error) or type(error).__name__
            words = clean(f"{reason}: {error}", MOST_ERROR_BYTES)
            return Outcome(None, words, round((time.monotonic() - began) * 1000))
        return Outcome(response.status, _refusal(response.status), response.duration_ms)

    def _headers(self, callback: Taken, body: bytes) -> dict[str, str]:
        """By the database's clock, which said when it was taken."""
        taken_at = callback.until.timestamp() - settings.CALLBACK_LEASE
        return {
            "content-type": "application/json",
            "user-agent": f"celery-jobs/{celery_jobs.__version__}",
            **signing.sign(f"{PREFIX}{callback.job_id}", int(taken_at), body, self.plugin.settings.callback_secrets),
        }

    def _again_in(self, tries: int) -> float | None:
        delays = self.plugin.settings.callback_retry_delays
        return delays[tries - 1] if tries <= len(delays) else None

    def _record(self, callback: Taken, outcome: Outcome, again_in: float | None, stopping: threading.Event) -> bool:
        """Write the outcome, trying for as long as nobody else can have taken the callback."""
        until = time.monotonic() + settings.CALLBACK_LEASE
        while True:
            try:
                return callbacks.mark(
                    self.plugin.db, callback, outcome.status, outcome.error, outcome.duration_ms, again_in
                )
            except StoreUnavailable:
                if time.monotonic() > until or stopping.wait(RECORD_PAUSE):
                    raise

    def _tell(self, job: Job, callback: Taken, outcome: Outcome, again_in: float | None) -> None:
        if outcome.error is None:
            emit(Kind.CALLBACK_SENT, job, status=outcome.status, duration_ms=outcome.duration_ms)
        else:
            error = self.plugin.masked(outcome.error)
            emit(Kind.CALLBACK_FAILED, job, error=error, tries=callback.tries, again_in=again_in)


def _refusal(status: int) -> str | None:
    """Why an answer is a failure; None for one that is none."""
    if 200 <= status < 300:
        return None
    return f"the receiver answered {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")
