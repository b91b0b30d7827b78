"""The task `celery_jobs.http.request`: one request, its response judged (semantics.md section 9)."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from celery_jobs import execution
from celery_jobs.assertions import Answer
from celery_jobs.errors import HttpFailed, HttpGone, InvalidJob
from celery_jobs.http.judging import failure_of_answer, failure_of_error
from celery_jobs.http.request import HttpRequest, read_request
from celery_jobs.plugin import HTTP_TASK, plugin_of
from celery_jobs.recording import require_permitted
from celery_jobs.settings import ASSERTED_BYTES, HTTP_TIMEOUT, HTTP_TIMEOUTS, RESPONSE_BYTES
from celery_jobs.states import FailureReason
from celery_jobs.task import JobTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery import Celery

    from celery_jobs.assertions import Assertion
    from celery_jobs.execution import Execution
    from celery_jobs.outgoing import Response
    from celery_jobs.plugin import Plugin
    from celery_jobs.sealing import Sealer
    from celery_jobs.settings import QueueSettings

__all__ = ["HttpTask", "add_task"]


class HttpTask(JobTask):
    """A task whose arguments are a request; they are checked before a call of it is written or sent."""

    abstract = True
    keeps_its_time = True
    throws = (HttpFailed,)
    """A failure is nothing of which the worker's log needs a traceback."""

    @classmethod
    def check_call(cls, args: Sequence[Any], kwargs: Mapping[str, Any], handed: bool = False) -> None:
        """Raise InvalidJob that names the argument at fault. `handed`: it gets what the call before it returns."""
        request = _read(args, kwargs, handed)
        plugin = plugin_of(cls.app)
        require_permitted(plugin, "url", request.url)
        if request.sign:
            _require_secrets(plugin)


def _read(args: Sequence[Any], kwargs: Mapping[str, Any], handed: bool = False) -> HttpRequest:
    if args or handed:
        hint = "in a chain, where the step before hands on its result, write .si() for .s()"
        raise InvalidJob("args", f"{HTTP_TASK} takes keyword arguments only; {hint}")
    return read_request(kwargs)


def add_task(app: Celery) -> None:
    """Register the task on an app."""
    app.task(_read_request, name=HTTP_TASK, base=HttpTask, bind=True, shared=False, lazy=False)


def _request(
    self: HttpTask,
    *,
    url: str,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    payload: Any = None,
    body: str | bytes | None = None,
    body_base64: str | None = None,
    timeout: float | None = None,
    assertions: list[dict[str, Any]] | None = None,
    follow_redirects: bool | None = None,
    sign: bool | None = None,
    no_retry_statuses: list[int] | None = None,
) -> dict[str, Any]:
    """Make a request; gives the status of its response and the milliseconds it took.

    Raises HttpFailed unless the response is 2xx and every assertion on it holds.
    """
    return _read_request(**locals())


@functools.wraps(_request)
def _read_request(self: HttpTask, *args: Any, **given: Any) -> dict[str, Any]:
    """The same of whatever has come: where it does not fit the signature above, retrying cannot help."""
    try:
        request = _read(args, given)
    except InvalidJob as error:  # published at the end of another call, or by somebody who does not check
        reason = FailureReason.INVALID_URL if error.field == "url" else FailureReason.NO_RETRY
        raise HttpGone(reason, str(error)) from error
    return _run(plugin_of(self.app), self, request)


def _run(plugin: Plugin, task: HttpTask, request: HttpRequest) -> dict[str, Any]:
    running = execution.current()
    queue = plugin.settings.queue(running.job.queue) if running else plugin.settings.queue_defaults
    assertions = queue.assertions if request.assertions is None else request.assertions
    id = running.job.original_id if running else str(task.request.id)
    headers = _headers(plugin, request, id, _now(plugin, running))
    response = _fetch(plugin, request, _timeout(request, queue), _most(assertions), headers)
    answer = Answer(response.status, dict(response.headers), response.body, response.truncated, response.duration_ms)
    if running is not None:
        running.response = _kept(answer, plugin.sealer)
    longest_wait, now = plugin.settings.max_retry_after, _now(plugin, running)
    failure = failure_of_answer(request, _host(response.url), answer, assertions, longest_wait, now)
    if failure is not None:
        raise failure
    return {"response_status": answer.status, "duration_ms": answer.duration_ms}


def _now(plugin: Plugin, running: Execution | None) -> datetime:
    """By the database's clock, which said when the attempt was claimed."""
    if running is None:
        return datetime.now(UTC)
    return running.job.started_at + timedelta(milliseconds=running.duration_ms)


def _timeout(request: HttpRequest, queue: QueueSettings) -> float:
    """The job's own, else the queue's as far as a request may take it."""
    if request.timeout is not None:
        return request.timeout
    least, most = HTTP_TIMEOUTS
    return HTTP_TIMEOUT if queue.timeout is None else min(max(queue.timeout, least), most)


def _most(assertions: Sequence[Assertion]) -> int:
    """Bytes of the body to read."""
    return ASSERTED_BYTES if any(assertion.needs_body for assertion in assertions) else RESPONSE_BYTES


def _headers(plugin: Plugin, request: HttpRequest, id: str, now: datetime) -> dict[str, str]:
    """Those of the request, sent now.

    The receiver knows by `webhook-id` what it has got before, from an earlier attempt.
    """
    if not request.sign:
        return {**request.headers, "webhook-id": id}
    from celery_jobs.signing import sign

    _require_secrets(plugin)
    return {**request.headers, **sign(id, int(now.timestamp()), request.content, plugin.settings.callback_secrets)}


def _require_secrets(plugin: Plugin) -> None:
    if not plugin.settings.callback_secrets:
        raise InvalidJob("sign", "there is nothing to sign with: jobs_callback_secrets is empty")


def _fetch(plugin: Plugin, request: HttpRequest, timeout: float, most: int, headers: dict[str, str]) -> Response:
    """The response; raises HttpFailed where there is none."""
    from celery_jobs.http.clients import client_of
    from celery_jobs.outgoing import fetch, reason_of

    try:
        return fetch(
            client_of(plugin),
            request.method,
            request.url,
            headers=headers,
            content=request.content,
            timeout=timeout,
            max_body=most,
            follow_redirects=request.follow_redirects,
        )
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        raise failure_of_error(reason, error, _host(request.url), timeout) from error


def _host(url: str) -> str:
    from celery_jobs.addresses import parse_url

    return parse_url(url).netloc


def _kept(answer: Answer, sealer: Sealer | None) -> Any:
    from celery_jobs.store.responses import sealed
    from celery_jobs.store.rows import Response

    cut = len(answer.body) > RESPONSE_BYTES
    kept = Response(answer.status, dict(answer.headers), answer.body[:RESPONSE_BYTES], answer.truncated or cut)
    return sealed(kept, sealer)
