"""Acts are written down: `AuditedJobs` has the verbs of `Jobs` and says who called those that change something.

An act is written before it begins, as nobody could write it after the process has died in it, and completed when it
has ended: verbs are many transactions and send messages, so one transaction for both there is none.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery_jobs.bulk import BulkResult, Progress
from celery_jobs.errors import JobsError, StoreUnavailable
from celery_jobs.ids import new_id
from celery_jobs.jobs import Jobs
from celery_jobs.moments import plain
from celery_jobs.redaction import redact
from celery_jobs.store import audit
from celery_jobs.store.audit import Act
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

__all__ = ["CHANGES", "Act", "Actor", "AuditedJobs"]

CHANGES = frozenset(
    [
        *("enqueue", "enqueue_http", "enqueue_payload", "enqueue_many"),
        *("cancel", "replay", "fire", "purge", "delete", "erase", "resend_callback", "release_key"),
        *("cancel_many", "replay_many", "fire_many", "purge_many", "delete_many", "erase_many"),
        *("pause", "resume", "drain"),
        *("schedule", "pause_schedule", "resume_schedule", "run_schedule", "remove_schedule"),
        *("make_token", "revoke_token", "stop_act", "test_alert"),
    ]
)
"""The verbs that are written down. What outside workers do to the jobs they hold is work, and on the jobs' rows."""

_TOLD = frozenset(
    [
        *("id", "ids", "name", "queue", "task", "url", "method", "scope", "key", "attempt", "terminate", "force"),
        *("until", "timeout", "atomic", "rate", "after", "delay", "scheduled_at", "run_at", "priority", "tags"),
        *("idempotency_key", "cron", "timezone", "every", "missed", "overlap", "scopes", "queues", "expires"),
        *("status", "final_status", "tag", "error_type", "error", "attempts", "original", "replay_of", "ended"),
        *("created_after", "created_before", "dead_lettered_after", "dead_lettered_before"),
    ]
)
"""What an act says of its arguments: what it is done to. Never what jobs are called with."""

MOST_IDS = 100
"""That an act names; of more it has the number."""

NOTE_PAUSE = 0.5
"""Seconds between two notes of how far a bulk act is."""

LONGEST_TEXT = 1024

_REFUSALS = (JobsError, ValueError, TypeError)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a name, through which door (cli, dashboard, rest), from which address, with which token."""

    name: str
    door: str
    address: str | None = None
    token_id: str | None = None


class AuditedJobs(Jobs):
    """The verbs of `Jobs`, those that change something written to the audit log as done by an actor.

    It is for one thread. `reason`: why it is done, of a verb that is not told; `act_id`: of the last act.
    """

    def __init__(self, app: Celery, actor: Actor) -> None:
        super().__init__(app)
        self.actor = actor
        self.act_id: str | None = None
        self.reason: str | None = None
        self._is_acting = False

    def _begin_act(self, action: str, given: Mapping[str, Any], act_id: str | None) -> str:
        """Write an act down; a verb that calls another is one act."""
        reason = given.get("reason", self.reason)
        self.act_id = act_id or new_id()
        audit.begin(
            self._plugin.db,
            self.act_id,
            actor=clean(self.actor.name)[:LONGEST_TEXT],
            door=self.actor.door,
            address=self.actor.address,
            token_id=self.actor.token_id,
            action=action,
            target=_target(given, self._plugin.settings.redacted),
            reason=self._plugin.masked(clean(reason)[:LONGEST_TEXT]) if isinstance(reason, str) else None,
        )
        return self.act_id

    def _end_act(self, act_id: str, result: str, **values: Any) -> None:
        """Complete it. It has happened whatever becomes of this: an act without an end says that it began."""
        try:
            audit.end(self._plugin.db, act_id, result, **values)
        except Exception:
            logging.getLogger("celery_jobs").exception("the end of the act %s could not be written down", act_id)


def _audited(verb: Callable[..., Any]) -> Callable[..., Any]:
    signature, action = inspect.signature(verb), verb.__name__

    @functools.wraps(verb)
    def act(self: AuditedJobs, *args: Any, act_id: str | None = None, **kwargs: Any) -> Any:
        if self._is_acting or kwargs.get("dry_run"):
            return verb(self, *args, **kwargs)
        given = _arguments(signature, self, args, kwargs)
        begun = self._begin_act(action, given, act_id)
        if action.endswith("_many") and action != "enqueue_many":
            watch = _Watch(self, begun, kwargs)
            kwargs.update(progress=watch.progress, stop=watch.stop)
        self._is_acting = True
        try:
            result = verb(self, *args, **kwargs)
        except BaseException as error:
            said = "refused" if isinstance(error, _REFUSALS) and not isinstance(error, StoreUnavailable) else "failed"
            self._end_act(begun, said, error=self._plugin.masked(clean(_words(error))[:LONGEST_TEXT]))
            raise
        finally:
            self._is_acting = False
        self._end_act(begun, _result(result), **_counts(result))
        return result

    return act


def _arguments(signature: inspect.Signature, *given: Any) -> dict[str, Any]:
    """What a verb was called with, its options too; what does not fit is for the verb to refuse."""
    self, args, kwargs = given
    try:
        bound = dict(signature.bind(self, *args, **kwargs).arguments)
    except TypeError:
        return dict(kwargs)
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            bound.update(bound.pop(name, {}))
    return bound


def _target(given: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    told = {name: _plain(value) for name, value in given.items() if name in _TOLD and value is not None}
    ids = given.get("ids")
    if isinstance(ids, Sized) and len(ids) > MOST_IDS:
        told["ids_count"] = len(ids)
    items = given.get("items")
    if isinstance(items, list):
        told["items_count"] = len(items)
        tasks = {str(item.get("task") or "") for item in items if isinstance(item, Mapping)} - {""}
        told["tasks"] = _plain(sorted(tasks))
    cleaned: dict[str, Any] = redact(told, names)
    return cleaned


def _plain(value: Any) -> Any:
    """As JSON has it, and a database keeps it."""
    if isinstance(value, Mapping):
        return {clean(str(key)): _plain(inner) for key, inner in list(value.items())[:MOST_IDS]}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in list(value)[:MOST_IDS]]
    if isinstance(value, datetime) or value is None or isinstance(value, bool | int):
        return plain(value)
    return clean(str(value))[:LONGEST_TEXT]


class _Watch:
    """Notes how far a bulk act is, also while it waits for its rate, and hears whether it is to stop."""

    def __init__(self, jobs: AuditedJobs, act_id: str, options: Mapping[str, Any]) -> None:
        self._jobs = jobs
        self._act_id = act_id
        self._progress = options.get("progress")
        self._stop = options.get("stop", lambda: False)
        self._counts: dict[str, int | None] = {}
        self._noted_at = time.monotonic()
        self._is_asked = False

    def progress(self, reached: Progress) -> None:
        """A batch is done."""
        self._counts = {"matched": reached.matched, "done": reached.done, "skipped": reached.skipped}
        if self._progress is not None:
            self._progress(reached)
        self._note()

    def stop(self) -> bool:
        """Whether to stop before the next batch."""
        self._note()
        return bool(self._is_asked or self._stop())

    def _note(self) -> None:
        if time.monotonic() - self._noted_at >= NOTE_PAUSE:
            self._is_asked = audit.note(self._jobs._plugin.db, self._act_id, **self._counts)
            self._noted_at = time.monotonic()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _result(value: Any) -> str:
    return "stopped" if isinstance(value, BulkResult) and value.stopped else "done"


def _counts(value: Any) -> dict[str, int]:
    if isinstance(value, BulkResult):
        return {"matched": value.matched, "done": value.done, "skipped": value.skipped_count}
    if isinstance(value, list):
        failed = sum(getattr(outcome, "error", None) is not None for outcome in value)
        return {"matched": len(value), "done": len(value) - failed, "skipped": failed}
    return {"done": value if isinstance(value, int) and not isinstance(value, bool) else 1}


for _name in sorted(CHANGES):
    setattr(AuditedJobs, _name, _audited(getattr(Jobs, _name)))
