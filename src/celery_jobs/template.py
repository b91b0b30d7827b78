"""Many calls of one task differ in little: Celery makes the first, the others are copies with what differs filled in.

A message takes Celery several times as long as storing and sending it. What may look at each call as it is made, a
router, a receiver of a signal, a method of the app's own, still sees each: then there are no copies.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import fields, replace
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.app import amqp, base, routes, task
from kombu.serialization import registry
from kombu.utils import json

from celery_jobs.arguments import reprs_of, require_fit
from celery_jobs.batch import Gathered
from celery_jobs.envelope import serialize
from celery_jobs.ids import new_ids
from celery_jobs.options import take_options
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.sealing import differ
from celery_jobs.unchanged import is_own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued, NewJob

__all__ = ["Template", "Templates", "makes_as_ever"]

_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Templates:
    """The templates of one call that enqueues many, by task and options: a key and the arguments may differ."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._ids = new_ids()
        self._copied: dict[str, bool] = {}
        self._templates: dict[Any, Template | None] = {}

    def copy(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Gathered | None:
        """The job of a call, where there is a template for it; raises InvalidJob and what `Template.fill` raises."""
        template = self._templates.get(_like(name, options))
        if template is None:
            return None
        require_fit(self._plugin.app.tasks[name], args, kwargs)
        key = options.get("idempotency_key")
        return template.fill(
            args, kwargs, None if key is None else take_options({"idempotency_key": key}).idempotency_key
        )

    def keep(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], made: Gathered
    ) -> None:
        """Make a template of a call that Celery has made, where calls like it may be copied."""
        like = _like(name, options)
        if like is not None and like not in self._templates and self._may_copy(name):
            self._templates[like] = Template.of(self._plugin, made, args, kwargs, self._ids)

    def _may_copy(self, name: str) -> bool:
        if name not in self._copied:
            self._copied[name] = may_copy(self._plugin, name)
        return self._copied[name]


def _like(name: str, options: Mapping[str, Any]) -> Any:
    """What calls have in common that differ in their arguments and keys alone; None: no other is like this one."""
    if not options.keys() <= _COPIED:
        return None
    said = {option: value for option, value in options.items() if option != "idempotency_key" and value is not None}
    if not all(type(value) in _PLAIN for value in said.values()):
        return None
    return name, options.get("idempotency_key") is not None, frozenset((n, type(v), v) for n, v in said.items())


_PLAIN = (str, int, float, bool)
_COPIED = frozenset(
    [
        *("queue", "priority", "delay", "serializer", "ignore_result", "callback_url", "max_attempts", "max_retries"),
        *("idempotency_key", "idempotency_scope", "idempotency_ttl", "concurrency_key", "concurrency_limit"),
    ]
)
"""Options that say the same of every call, whatever its arguments."""


class Template:
    """A job as Celery has made it, to be copied for other arguments."""

    def __init__(self, plugin: Plugin, made: Gathered, serializer: str, ids: Iterator[str]) -> None:
        self._plugin = plugin
        self._ids = ids
        self._task_id = made.job.task_id
        self._wants_result = made.wants_result
        self._oid = plugin.app.thread_oid
        self._serializer = serializer
        self._reprs = reprs_of(plugin, str(made.job.task))
        self._gaps, self._headers = _with_gaps(made.job.message.headers)
        # As dataclasses.replace does it, but without asking for each field again.
        self._message = _fields_of(made.job.message, "body")
        self._job = _fields_of(made.job, "message")

    @classmethod
    def of(
        cls, plugin: Plugin, made: Gathered, args: Sequence[Any], kwargs: Mapping[str, Any], ids: Iterator[str]
    ) -> Template | None:
        """The template of a call that Celery has made; None where a copy would not be what it has made."""
        serializer = _serializer_of(plugin, made.job)
        if serializer is None:
            return None
        template = cls(plugin, made, serializer, ids)
        copy = template.fill(args, kwargs, made.job.idempotency_key).job
        return template if _under_its_id(copy, made.job) == made.job else None

    def fill(self, args: Sequence[Any], kwargs: Mapping[str, Any], idempotency_key: str | None) -> Gathered:
        """The job of another call; raises PayloadNotSerializable and PayloadTooLarge."""
        from celery_jobs.store.rows import Message, NewJob

        task_id = next(self._ids)
        args, kwargs = tuple(args), dict(kwargs)
        limit = self._plugin.settings.max_payload_bytes
        content_type, content_encoding, body = serialize(
            (args, kwargs, _EMBED), self._serializer, limit, self._plugin.sealer
        )
        message: dict[str, Any] = {
            **self._message,
            "id": next(self._ids),
            "body": body,
            "content_type": content_type,
            "content_encoding": content_encoding,
            "headers": self._headers_with(task_id, *self._reprs(args, kwargs)),
            "properties": self._properties_with(task_id),
        }
        job: dict[str, Any] = {
            **self._job,
            "id": task_id,
            "task_id": task_id,
            "root_id": task_id,
            "message": Message(**message),
            "idempotency_key": idempotency_key,
        }
        return Gathered(NewJob(**job), _accept, _settle, self._wants_result)

    def _properties_with(self, task_id: str) -> str:
        """Of a reply, `correlation_id` and `reply_to`: the latter is another in each thread."""
        properties: str = self._message["properties"].replace(self._task_id, task_id)
        return properties.replace(self._oid, self._plugin.app.thread_oid)

    def _headers_with(self, task_id: str, argsrepr: str, kwargsrepr: str) -> str:
        values = {"id": task_id, "root_id": task_id, "argsrepr": argsrepr, "kwargsrepr": kwargsrepr}
        filled = zip(self._headers, (encode_basestring_ascii(values[name]) for name in self._gaps), strict=False)
        return "".join([text for pair in filled for text in pair]) + self._headers[-1]


def _with_gaps(text: str) -> tuple[list[str], list[str]]:
    """The names of what differs in headers, in their order, and the text before each and behind the last."""
    headers = json.loads(text)
    marks = {name: uuid.uuid4().hex for name in ("id", "root_id", "argsrepr", "kwargsrepr")}
    marked = {**headers, **marks}
    gaps = "|".join(f'"{mark}"' for mark in marks.values())
    return [name for name in marked if name in marks], re.split(gaps, json.dumps(marked))


def _fields_of(made: Any, large: str) -> dict[str, Any]:
    """All but the one that is large, which each copy has of its own."""
    return {field.name: getattr(made, field.name) for field in fields(made) if field.name != large}


def _accept(enqueued: Enqueued) -> None:
    """No member of a canvas, which alone may refuse to be another job."""


_settle = _accept


def _serializer_of(plugin: Plugin, made: NewJob) -> str | None:
    """The serializer of a message; None where several have its content type, and may differ in other arguments."""
    message = made.message
    content_type = message.content_type
    if plugin.sealer is not None:
        content_type, _, _ = plugin.sealer.open_body(content_type, message.content_encoding, message.body)
    named = [name for name, codec in registry._encoders.items() if codec.content_type == content_type]
    return named[0] if len(named) == 1 else None


def _under_its_id(copy: NewJob, made: NewJob) -> NewJob:
    """A copy as if it had the ids of what it is a copy of."""
    message = replace(
        copy.message,
        id=made.message.id,
        # What is sealed is another each time.
        body=copy.message.body if differ(made.message.body, copy.message.body) else made.message.body,
        headers=copy.message.headers.replace(copy.task_id, made.task_id),
        properties=copy.message.properties.replace(copy.task_id, made.task_id),
    )
    return replace(copy, id=made.id, task_id=made.task_id, root_id=made.root_id, message=message)


def may_copy(plugin: Plugin, name: str) -> bool:
    """Whether nothing of the app's own has a say in each call of a task."""
    known = plugin.app.tasks.get(name)
    return (
        known is not None
        and getattr(known, "_dump_pydantic_arguments", None) is None
        and is_own(type(known).apply_async, task)
        and is_own(type(known).shadow_name, task)
        and makes_as_ever(plugin, name)
    )


def makes_as_ever(plugin: Plugin, name: str) -> bool:
    """Whether nothing of the app's own has a say in what `send_task` makes of each call of a task."""
    app = plugin.app
    send_task = getattr(app.send_task, "__wrapped__", None)
    return (
        plugin.task(name) is not None
        and name != HTTP_TASK
        and app.current_worker_task is None
        and not any(signal.receivers for signal in _SIGNALS)
        and type(app.amqp.router) is routes.Router
        and is_own(routes.Router.route, routes)
        and all(type(router) is routes.MapRoute for router in app.amqp.router.routes)
        and type(app.amqp) is amqp.AMQP
        and app.amqp.create_task_message == app.amqp.as_task_v2
        and is_own(amqp.AMQP.as_task_v2, amqp)
        and is_own(type(app).send_task if getattr(send_task, "args", None) == (app,) else send_task, base)
    )


_SIGNALS = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
