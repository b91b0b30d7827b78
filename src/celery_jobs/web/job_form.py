"""A job as a form has it: its fields as texts, read, checked without being made, and made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery_jobs import enqueueing
from celery_jobs.amounts import read_duration
from celery_jobs.batch import Batch
from celery_jobs.errors import InvalidJob
from celery_jobs.options import take_moment
from celery_jobs.payload_enqueueing import make as make_payload
from celery_jobs.payload_enqueueing import require_pull
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.web.exposure import exposed_tasks, is_exposed

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.jobs import Jobs
    from celery_jobs.plugin import Plugin
    from celery_jobs.runs import Run

__all__ = ["KINDS", "JobForm", "check", "make", "read_job"]

KINDS = ("task", "request", "payload")


@dataclass(frozen=True, slots=True)
class JobForm:
    """A job as it was given: `said` by field; what it is called with, its options; what is wrong by field."""

    kind: str
    said: dict[str, str]
    called: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def read_job(plugin: Plugin, said: dict[str, str]) -> JobForm:
    """Read a form; what is empty is not said."""
    kind = said.get("kind", "task")
    form = JobForm(kind if kind in KINDS else "task", said)
    for name, read in _CALLED[form.kind].items():
        _take(form, name, read, form.called)
    for name, read in _OPTIONS.items():
        _take(form, name, read, form.options)
    if form.kind == "task":
        _require_task(plugin, form)
    return form


def _take(form: JobForm, name: str, read: Callable[[str], Any], into: dict[str, Any]) -> None:
    text = form.said.get(name, "").strip()
    if not text:
        return
    try:
        into[name] = read(text)
    except InvalidJob as error:
        form.errors[name] = error.problem
    except (ValueError, OverflowError) as error:
        form.errors[name] = str(error)


def _require_task(plugin: Plugin, form: JobForm) -> None:
    name = form.called.get("task")
    if name is None:
        form.errors["task"] = "the name of a task is needed"
    elif name not in exposed_tasks(plugin):
        form.errors["task"] = "no registered task that may be enqueued here has this name"


def make(jobs: Jobs, form: JobForm) -> Run:
    """Make the job; raises InvalidJob."""
    called, options = dict(form.called), dict(form.options)
    if form.kind == "task":
        return jobs.enqueue(called["task"], called.get("args", []), called.get("kwargs", {}), **options)
    if form.kind == "request":
        _require_request(jobs._plugin, form)
        return jobs.enqueue_http(called.pop("url"), options.pop("queue", None), **called, **options)
    return jobs.enqueue_payload(options.pop("queue", ""), called.get("payload"), **options)


def check(plugin: Plugin, form: JobForm) -> None:
    """Raise InvalidJob where the job could not be made; nothing is stored or sent."""
    called, options = dict(form.called), dict(form.options)
    if form.kind == "payload":
        queue = options.pop("queue", "")
        require_pull(plugin, queue)
        make_payload(plugin, queue, called.get("payload"), options)
        return
    name, args, kwargs = called.get("task", ""), called.get("args", []), called.get("kwargs", {})
    if form.kind == "request":
        _require_request(plugin, form)
        name, kwargs = enqueueing.http_call(called.pop("url"), {**called, **options})
        args = []
    with Batch(plugin).gathering():
        enqueueing.submit(plugin, name, args, kwargs, options)


def _require_request(plugin: Plugin, form: JobForm) -> None:
    if "url" not in form.called:
        raise InvalidJob("url", "an http or https URL is needed")
    if not is_exposed(plugin, HTTP_TASK):
        raise InvalidJob("url", "requests may not be enqueued here (jobs_rest_tasks)")


def _json(kind: Any, noun: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
        except RecursionError:
            raise ValueError("too many lists and objects inside of each other") from None
        if kind is not None and not isinstance(value, kind):
            raise ValueError(f"{noun} is expected")
        return value

    return read


def _whole(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 11):
        raise ValueError("a whole number is expected")
    return int(text)


def _tags(text: str) -> Any:
    """`a, b` is a list, `k=v, l=w` an object."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs = [part.partition("=") for part in parts if "=" in part]
    if pairs and len(pairs) < len(parts):
        raise ValueError("give either plain tags or k=v pairs, not both")
    return {key.strip(): value.strip() for key, _, value in pairs} if pairs else parts


def _delays(text: str) -> list[float]:
    return [read_duration(part) for part in text.split(",") if part.strip()]


def _headers(text: str) -> dict[str, str]:
    """A line each: `Name: value`."""
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    if not all(colon for _, colon, _ in pairs):
        raise ValueError("a line each is expected: Name: value")
    return {name.strip(): value.strip() for name, _, value in pairs}


_CALLED: dict[str, dict[str, Callable[[str], Any]]] = {
    "task": {"task": str, "args": _json(list, "a list"), "kwargs": _json(dict, "an object")},
    "request": {
        "url": str,
        "method": str,
        "headers": _headers,
        "payload": _json(None, ""),
        "timeout": read_duration,
        "assertions": _json(list, "a list"),
    },
    "payload": {"payload": _json(None, "")},
}

_OPTIONS: dict[str, Callable[[str], Any]] = {
    "queue": str,
    "delay": read_duration,
    "scheduled_at": lambda text: take_moment("scheduled_at", text),
    "priority": _whole,
    "tags": _tags,
    "idempotency_key": str,
    "max_attempts": _whole,
    "retry_delays": _delays,
    "callback_url": str,
}
