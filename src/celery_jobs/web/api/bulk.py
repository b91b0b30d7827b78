"""The operation that makes many jobs: what is sent to a broker in one statement and one go, payloads one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.enqueueing import http_call
from celery_jobs.errors import InvalidJob
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.runs import MARKS, EnqueueOutcome
from celery_jobs.tokens import Scope
from celery_jobs.web.api import fields
from celery_jobs.web.api.forms import listed
from celery_jobs.web.api.jobs import queue_of, read_task, require_exposed
from celery_jobs.web.api.operation import Answer, Operation
from celery_jobs.web.api.problem import Problem
from celery_jobs.web.api.room import require_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.web.api.operation import Call

__all__ = ["OPERATIONS"]


def create_jobs(call: Call) -> Answer:
    """Make up to 100 jobs; a bad one keeps no other out. Two with one idempotency key are one job."""
    shared = fields.renamed(call.body)
    given = shared.pop("jobs")
    outcomes: dict[int, EnqueueOutcome] = {}
    items: dict[int, dict[str, Any]] = {}
    for index, item in enumerate(given):
        try:
            read = _read(call, {**shared, **fields.renamed(item)})
            if "payload" in read:
                outcomes[index] = _pulled(call, index, read)
            else:
                items[index] = read
        except (ValueError, Problem) as error:
            outcomes[index] = EnqueueOutcome(index, error=error)
    outcomes.update(_sent(call, items))
    told = [_told(call, outcomes[index]) for index in range(len(given))]
    failed = sum(item["error"] is not None for item in told)
    return Answer(200, {"success_count": len(told) - failed, "failure_count": failed, "results": told})


def _read(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """An item as `enqueue_many` takes it, or a payload with its options."""
    queue = queue_of(call, given.pop("queue", None))
    if "task" in given:
        name, args, kwargs = read_task(call, given)
        given.update(task=name, args=args, kwargs=kwargs)
    elif "url" in given:
        require_exposed(call, HTTP_TASK)
        name, kwargs = http_call(given.pop("url"), given)
        given.update(task=name, kwargs=kwargs)
    elif queue is None:
        raise InvalidJob("queue", "the queue of outside workers is needed, or a task, or a url")
    require_room(call, queue, given.get("task"))
    return given if queue is None else {**given, "queue": queue}


def _sent(call: Call, items: Mapping[int, dict[str, Any]]) -> dict[int, EnqueueOutcome]:
    if not items:
        return {}
    made = call.jobs.enqueue_many(list(items.values()))
    return dict(zip(items, made, strict=True))


def _pulled(call: Call, index: int, given: dict[str, Any]) -> EnqueueOutcome:
    run = call.jobs.enqueue_payload(given.pop("queue"), given.pop("payload"), **given)
    return EnqueueOutcome(index, run.id, run.task_id, **{name: getattr(run, name) for name in MARKS})


def _told(call: Call, outcome: EnqueueOutcome) -> dict[str, Any]:
    """What became of an item, by its place; nothing of a job that is of another queue than who asks may see."""
    told = outcome.to_json()
    is_bound = outcome.deduplicated and call.grant.queues is not None
    if is_bound and not call.grant.covers(call.jobs.get(str(outcome.job_id)).queue):
        error = {"type": "Conflict", "message": "a job of another queue has this key", "field": "idempotency_key"}
        told.update(job_id=None, task_id=None, deduplicated=False, payload_mismatch=False, error=error)
    return told


_COUNTS = {"success_count": {"type": "integer"}, "failure_count": {"type": "integer"}}

OPERATIONS = (
    Operation(
        "POST",
        "/jobs/bulk",
        Scope.ENQUEUE,
        "Make up to 100 jobs",
        create_jobs,
        {200: ("What became of each.", listed("results", "Outcome", **_COUNTS))},
        body=fields.BULK,
    ),
)
