"""One attempt in the test's process, as a worker would run it: the same claim, tracer and finish."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery import _state
from celery.app.trace import build_tracer
from celery.result import denied_join_result
from celery.worker.strategy import proto1_to_proto2
from kombu.serialization import loads, prepare_accept_content
from kombu.utils import json

from celery_jobs.claiming import lose
from celery_jobs.envelope import EDITION_HEADER, JOB_HEADER, decode_headers
from celery_jobs.execution import LEASE_KEY, WORKER_KEY, traced
from celery_jobs.store import endings, reads
from celery_jobs.testing.complaints import SandboxError, Unanswered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Message
    from celery_jobs.testing.waiting import Waiting

__all__ = ["run_job", "run_message"]

HOSTNAME = "celery@sandbox"


def run_job(plugin: Plugin, job: Waiting) -> None:
    """Run a pending attempt that is due. What the task raises is recorded, not raised.

    A `SystemExit` is the loss of its worker (semantics.md section 6). What would end the test's own process, an
    interrupt or a failing assertion of pytest, gives the job back and is raised; so does a request that nobody answers.
    """
    message = reads.message_of(plugin.db, job.id)
    if message is None:
        raise SandboxError(f"the message of the job {job.id} is gone: was the run deleted meanwhile?")
    lease_token = str(uuid4())
    marks: dict[str, Any] = {
        JOB_HEADER: job.id,
        EDITION_HEADER: job.edition,
        LEASE_KEY: lease_token,
        WORKER_KEY: str(uuid4()),
    }
    marks["retries"] = job.retries
    task = plugin.app.tasks[job.task]
    tracer = traced(plugin, task, _tracer(plugin, task))
    try:
        _trace(plugin, tracer, _request(plugin, message) | marks)
    except SystemExit:
        lose(plugin, job.id, lease_token)
    except BaseException as error:
        endings.release(plugin.db, job.id, lease_token)
        if isinstance(error, Unanswered):
            raise SandboxError(str(error)) from None
        raise


def run_message(plugin: Plugin, name: str, message: Message) -> None:
    """Run a task that is no job; what it raises goes to the result backend, as in Celery."""
    _trace(plugin, _tracer(plugin, plugin.app.tasks[name]), _request(plugin, message))


def _tracer(plugin: Plugin, task: Any) -> Any:
    """Celery's tracer of a task, made anew: a task's own is left to its worker."""
    return build_tracer(task.name, task, hostname=HOSTNAME, app=plugin.app)


def _trace(plugin: Plugin, tracer: Any, request: dict[str, Any]) -> None:
    # A task that waits for another fails here as it does in a worker.
    with _current(plugin.app), denied_join_result():
        tracer(request["id"], request["args"], request["kwargs"], request)


@contextmanager
def _current(app: Celery) -> Iterator[None]:
    """Make the app Celery's current one, as a worker does: what follows a canvas step asks for it."""
    before = _state._tls.current_app
    app.set_current()
    try:
        yield
    finally:
        _state._set_current_app(before)


def _request(plugin: Plugin, message: Message) -> dict[str, Any]:
    """What a worker makes of a message (celery.worker.request.Request)."""
    (args, kwargs, embed), headers = _decode(plugin, message)
    properties = json.loads(message.properties)
    return {
        **headers,
        "args": args,
        "kwargs": kwargs,
        "eta": None,
        "hostname": HOSTNAME,
        "is_eager": False,
        "properties": properties,
        "reply_to": properties.get("reply_to"),
        "correlation_id": properties.get("correlation_id"),
        "delivery_info": {
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "priority": properties.get("priority"),
            "redelivered": False,
        },
        **(embed or {}),
    }


def _decode(plugin: Plugin, message: Message) -> tuple[Any, dict[str, Any]]:
    """Body and headers, of either of Celery's protocols."""
    accept = prepare_accept_content(plugin.app.conf.accept_content)
    try:
        body = loads(message.body, message.content_type, message.content_encoding, accept=accept)
    except Exception as error:
        raise SandboxError(
            f"a worker of this app could not read a message ({message.content_type}): {error!r}; "
            "does accept_content allow what task_serializer makes?"
        ) from error
    headers = decode_headers(message)
    if isinstance(body, dict):
        body, headers, *_ = proto1_to_proto2(SimpleNamespace(headers=headers), body)
    return body, headers
