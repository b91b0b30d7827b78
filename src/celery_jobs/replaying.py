"""The new chain that a replay begins: the original's arguments and options, queue settings as they are now."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kombu.serialization import dumps, registry

from celery_jobs import sealing
from celery_jobs.arguments import signature_of
from celery_jobs.envelope import accepted, decode_accepted, opened
from celery_jobs.errors import ArgumentsDoNotFit
from celery_jobs.ids import new_id
from celery_jobs.policy import Level, level_from_json
from celery_jobs.store.rows import Job, Message, NewJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.policy import Policy

__all__ = ["Replays"]


class Replays:
    """The new chains that one verb begins; what many have in common is found out once."""

    def __init__(self, plugin: Plugin, reason: str | None) -> None:
        self.plugin = plugin
        self.reason = reason
        self._accept = accepted(plugin)
        self._policies: dict[tuple[str | None, str], Policy] = {}

    def make(self, original: Job, message: Message) -> NewJob:
        """The first attempt of a replay, due now; raises ArgumentsDoNotFit (semantics.md section 7).

        Links, errbacks and the rest of a chain run on; group and chord are dropped, `expires` and `eta` too.
        """
        job_id = new_id()
        return NewJob(
            id=job_id,
            task_id=job_id,
            task=original.task,
            queue=original.queue,
            message=self._message(original, message, job_id),
            max_attempts=self._policy(original).max_attempts,
            retries_enabled=self.plugin.settings.queue(original.queue).retries_enabled,
            retry_policy=original.retry_policy,
            priority=original.priority,
            tags=original.tags,
            idempotency_scope=original.idempotency_scope,
            idempotency_key=original.idempotency_key,
            concurrency_key=original.concurrency_key,
            concurrency_limit=original.concurrency_limit,
            callback_url=original.callback_url,
            replay_of=original.id,
            replay_reason=self.reason,
        )

    def _message(self, original: Job, message: Message, task_id: str) -> Message:
        if original.task is None:  # a payload is no call that could fit a task, or be a member of anything
            return self._sealed(replace(self._opened(original, message), id=new_id()))
        message = self._opened(original, message)
        body = _read(original, message, self._accept)
        _require_fit(self.plugin, original, body)
        return self._sealed(_alone(message, body, task_id))

    def _opened(self, original: Job, message: Message) -> Message:
        try:
            return opened(self.plugin, message)
        except sealing.Unsealable as error:
            raise ArgumentsDoNotFit(f"the job {original.id} cannot be replayed: {error}") from error

    def _sealed(self, message: Message) -> Message:
        """Under the first key, so that an older one can go when its jobs have gone."""
        if self.plugin.sealer is None:
            return message
        sealed = self.plugin.sealer.seal_body(message.content_type, message.content_encoding, message.body)
        content_type, content_encoding, body = sealed
        return replace(message, content_type=content_type, content_encoding=content_encoding, body=body)

    def _policy(self, original: Job) -> Policy:
        if original.retry_policy is not None:
            return self.plugin.policy(original.task, original.queue, level_from_json(original.retry_policy))
        of = original.task, original.queue
        if of not in self._policies:
            self._policies[of] = self.plugin.policy(*of, Level())
        return self._policies[of]


Body = tuple["Sequence[Any]", dict[str, Any], dict[str, Any]]
"""Arguments, keyword arguments, and the canvas around the call."""


def _read(original: Job, message: Message, accept: Any) -> Body:
    try:
        return decode_accepted(message, accept)
    except Exception as error:
        raise ArgumentsDoNotFit(
            f"the job {original.id} cannot be replayed: "
            f"its message ({message.content_type}) cannot be read here: {error}"
        ) from error


def _require_fit(plugin: Plugin, original: Job, body: Body) -> None:
    """Bind the stored arguments to the task's present signature, where the task is known here."""
    task = plugin.app.tasks.get(original.task)
    if task is None:
        return
    args, kwargs, _ = body
    try:
        signature_of(task).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentsDoNotFit(
            f"the job {original.id} cannot be replayed: its arguments no longer fit {original.task}: {error}"
        ) from error


def _alone(message: Message, body: Body, task_id: str) -> Message:
    """The message under a new task id, and it and the rest of its chain out of group and chord."""
    # Without kombu's types, which come out as they went in: nothing here reads them, and all the rest is read faster.
    headers = json.loads(message.headers)
    headers.update(id=task_id, root_id=task_id, parent_id=None, eta=None, expires=None, retries=0)
    headers.update(group=None, group_index=None, replaced_task_nesting=0)
    return replace(
        message,
        id=new_id(),
        body=_body_alone(message, body),
        headers=json.dumps(headers),
        properties=_properties_alone(message.properties, task_id),
    )


def _properties_alone(text: str, task_id: str) -> str:
    own = f'{{"correlation_id": "{task_id}"'
    usual = _CORRELATED.match(text)
    if usual is not None and '"expiration"' not in text:
        return own + text[usual.end() :]
    properties: dict[str, Any] = json.loads(text)
    properties.pop("expiration", None)
    properties["correlation_id"] = task_id
    return json.dumps(properties)


_CORRELATED = re.compile(r'\{"correlation_id": "[^"\\]*"')
"""How properties begin that Celery has made."""


def _body_alone(message: Message, body: Body) -> bytes:
    args, kwargs, embed = body
    alone = {**embed, "chord": None} if embed.get("chord") else embed
    if embed.get("chain"):
        last, *before = embed["chain"]  # Celery takes the next step from the end
        alone = {**alone, "chain": [_alone_at_last(last), *before]}
    if alone == embed:
        return message.body
    serializer = registry.type_to_name[message.content_type]
    _, encoding, data = dumps((args, kwargs, alone), serializer=serializer)
    return data.encode(encoding) if isinstance(data, str) else bytes(data)


def _alone_at_last(step: Mapping[str, Any]) -> dict[str, Any]:
    """The last step of a chain, which is the member of the group or chord around the chain, out of it."""
    options, inside = dict(step.get("options") or {}), dict(step.get("kwargs") or {})
    if step.get("subtask_type") == "chord":
        inside["body"] = _alone_at_last(inside["body"])
    elif step.get("subtask_type") == "group" and "chord" in options:
        inside["tasks"] = [_alone_at_last(task) for task in inside["tasks"]]
    kept = {name: value for name, value in options.items() if name not in _MEMBERSHIP}
    return {**step, "options": kept, "kwargs": inside}


_MEMBERSHIP = frozenset({"chord", "group_id", "group_index"})
