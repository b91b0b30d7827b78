"""From a Celery message to the job that is stored for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import BlockedAddress, InvalidJob
from celery_jobs.ids import new_id
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.options import JobOptions
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Message, NewJob

__all__ = ["Wire", "make_job", "read_wire", "require_carried", "require_permitted", "require_sent"]

LONGEST_NAME = 1024
"""Bytes of UTF-8; an index of PostgreSQL takes no more than 2,704 in all."""

LONGEST_OF_AMQP = 255
"""The same of a message's `correlation_id`, which Celery makes of the task id."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a task message says of itself, in either of Celery's protocols."""

    task_id: str
    task: str
    retries: int
    eta: datetime | None
    expires_at: datetime | None
    root_id: str | None
    group_id: str | None
    nesting: int
    in_canvas: bool


def read_wire(plugin: Plugin, headers: Mapping[str, Any], body: Any) -> Wire | None:
    """Read a message on its way to the broker; None for one that is no task, such as an event."""
    source = headers if "task" in headers else body if isinstance(body, dict) and "task" in body else None
    if source is None or "id" not in source:
        return None
    embed = body[2] if isinstance(body, tuple | list) and len(body) == 3 else source
    group_id = source.get("group") or source.get("taskset")
    return Wire(
        task_id=str(source["id"]),
        task=str(source["task"]),
        retries=int(source.get("retries") or 0),
        eta=_moment(plugin, source.get("eta")),
        expires_at=_moment(plugin, source.get("expires")),
        root_id=source.get("root_id"),
        group_id=group_id,
        nesting=int(source.get("replaced_task_nesting") or 0),
        in_canvas=bool(group_id or embed.get("chord") or embed.get("chain")),
    )


def _moment(plugin: Plugin, value: Any) -> datetime | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC if plugin.app.conf.enable_utc else plugin.app.timezone)
    result: datetime = moment.astimezone(UTC)
    return result


def make_job(plugin: Plugin, wire: Wire, message: Message, queue: str, options: JobOptions, **more: Any) -> NewJob:
    """The first attempt of a chain; raises InvalidJob where its retry policy makes no sense, or a name is none."""
    from celery_jobs.store.rows import NewJob

    for field, name in {"task_id": wire.task_id, "task": wire.task, "queue": queue}.items():
        _require_kept(field, name)
    values: dict[str, Any] = {
        **said_of(plugin, wire.task, queue, options),
        "id": new_id(),
        "task_id": wire.task_id,
        "task": wire.task,
        "queue": queue,
        "message": message,
        "nesting": wire.nesting,
        "retries": wire.retries,
        "root_id": wire.root_id,
        "scheduled_at": wire.eta,
        "expires_at": wire.expires_at,
    }
    return NewJob(**{**values, **more})


def said_of(plugin: Plugin, task: str | None, queue: str, options: JobOptions) -> dict[str, Any]:
    """What a chain has of its policy and its options, as columns; raises InvalidJob where they make no sense."""
    try:
        policy = plugin.policy(task, queue, options.level)
    except ValueError as error:
        raise InvalidJob("retry_policy", str(error)) from error
    if options.callback_url is not None:
        require_permitted(plugin, "callback_url", options.callback_url)
    # All HTTP jobs have one task, and what outside workers claim has none; what they have in common is the queue.
    scope = options.idempotency_scope or (queue if task in (None, HTTP_TASK) else task)
    return {
        "max_attempts": policy.max_attempts,
        "retries_enabled": plugin.settings.queue(queue).retries_enabled,
        "retry_policy": options.level.to_json(),
        "tags": options.tags,
        "idempotency_scope": scope if options.idempotency_key else None,
        "idempotency_key": options.idempotency_key,
        "idempotency_ttl": options.idempotency_ttl,
        "replaces": options.on_conflict == "replace",
        "concurrency_key": options.concurrency_key,
        "concurrency_limit": options.places,
        "callback_url": options.callback_url,
    }


def require_sent(plugin: Plugin, queue: str) -> None:
    """Raise InvalidJob for a task in a queue of which nothing is sent."""
    if plugin.settings.queue(queue).is_pull:
        raise InvalidJob(
            "queue",
            f"{queue!r} has mode 'pull': outside workers claim its jobs, and no worker of Celery would run a task; "
            "give it another queue, or enqueue_payload what outside workers are to have",
        )


def require_carried(driver: str, task_id: str) -> None:
    """Raise InvalidJob for a task id that the messages of this transport have no room for."""
    if driver == "amqp" and len(task_id.encode(errors="replace")) > LONGEST_OF_AMQP:
        raise InvalidJob("task_id", f"RabbitMQ carries at most {LONGEST_OF_AMQP} bytes, as in {task_id[:60]!r} …")


def _require_kept(field: str, name: str) -> None:
    if clean(name) != name:
        raise InvalidJob(field, f"no database keeps NUL or half a character, as in {name!r}")
    size = len(name.encode())
    if size > LONGEST_NAME:
        raise InvalidJob(field, f"at most {LONGEST_NAME:,} bytes are kept, not {size:,}, as in {name[:60]!r} …")


def require_permitted(plugin: Plugin, field: str, url: str) -> None:
    """Raise InvalidJob where requests may not go to a URL; where a name leads to is judged when it is resolved."""
    from celery_jobs.addresses import parse_url  # whose tables take long to make, and most jobs have no URL

    try:
        plugin.settings.address_policy.check(parse_url(url))
    except BlockedAddress as error:
        raise InvalidJob(field, str(error)) from None
