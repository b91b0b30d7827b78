"""What a response, or the lack of one, means for an HTTP job (semantics.md section 9). Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from celery_jobs.assertions import Answer, check
from celery_jobs.errors import HttpBusy, HttpFailed, HttpGone
from celery_jobs.http.retry_after import seconds_to_wait
from celery_jobs.states import FailureReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from celery_jobs.assertions import Assertion
    from celery_jobs.http.request import HttpRequest

__all__ = ["failure_of_answer", "failure_of_error"]

BUSY = (429, 503)
"""Statuses whose `Retry-After` is obeyed."""


def failure_of_answer(
    request: HttpRequest, host: str, answer: Answer, assertions: Sequence[Assertion], longest_wait: float, now: datetime
) -> HttpFailed | None:
    """Why a response is not what it should be; None where the job has succeeded: 2xx, and every assertion holds.

    `now`: from when on a `Retry-After` that is a date has to be waited for.
    """
    status = answer.status
    if 200 <= status <= 299:
        problem = check(assertions, answer)
        return None if problem is None else HttpFailed(FailureReason.ASSERTION_FAILED, problem, status)
    reason, words = _refused(host, answer)
    if status in request.no_retry_statuses:
        return HttpGone(reason, f"{words}; retrying cannot help", status)
    seconds = seconds_to_wait(answer.headers.get("retry-after"), longest_wait, now) if status in BUSY else None
    if seconds:
        return HttpBusy(reason, f"{words} and asks to wait {seconds:g} s", status, seconds)
    return HttpFailed(reason, words, status)


def _refused(host: str, answer: Answer) -> tuple[FailureReason, str]:
    status = answer.status
    known = {found.value: f" {found.phrase}" for found in HTTPStatus}
    words = f"{host} answered {status}{known.get(status, '')}"
    if 300 <= status <= 399:
        location = answer.headers.get("location")
        return FailureReason.HTTP_REDIRECT, words + (f", to {location:.200}" if location else "") + ", not followed"
    client = 400 <= status <= 499
    return FailureReason.HTTP_CLIENT_ERROR if client else FailureReason.HTTP_SERVER_ERROR, words


def failure_of_error(reason: str, error: Exception, host: str, timeout: float) -> HttpFailed:
    """Why there is no response, in a sentence."""
    said = " ".join(str(error).split()) or type(error).__name__
    sentences = {
        FailureReason.TIMEOUT: f"{host} did not answer within {timeout:g} s: {said}",
        FailureReason.CONNECTION_ERROR: f"the connection to {host} failed: {said}",
        FailureReason.DNS_ERROR: f"the name {host} cannot be resolved: {said}",
        FailureReason.SSL_ERROR: f"no secure connection to {host}: {said}",
        FailureReason.HTTP_REDIRECT: f"{host} redirects: {said}",
    }
    return HttpFailed(reason, sentences.get(FailureReason(reason), said))
