"""The operations of outside workers, on the jobs of pull queues (semantics.md section 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.errors import InvalidJob
from celery_jobs.tokens import Scope
from celery_jobs.web.api import fields
from celery_jobs.web.api.forms import listed, ref
from celery_jobs.web.api.operation import Answer, Operation

if TYPE_CHECKING:
    from celery_jobs.web.api.operation import Call

__all__ = ["OPERATIONS"]


def claim_jobs(call: Call) -> Answer:
    """Claim due jobs of a pull queue, each for as long as its lease."""
    given = fields.renamed(call.body)
    queue = call.queue(given.pop("queue", None))
    if queue is None:
        raise InvalidJob("queue", "is required")
    claimed = call.jobs.claim(queue, **given)
    return Answer(200, {"jobs": [job.to_json() for job in claimed]})


def complete_job(call: Call) -> Answer:
    """End a claimed job as completed."""
    run = call.jobs.complete(call.own(call.place["id"]), call.body["worker_id"], call.body.get("result"))
    return Answer(200, run.to_json())


def fail_job(call: Call) -> Answer:
    """End a claimed job as failed; it is retried as any failure is."""
    run = call.jobs.fail(call.own(call.place["id"]), call.body["worker_id"], call.body["error"])
    return Answer(200, run.to_json())


def keep_job(call: Call) -> Answer:
    """Keep a claimed job for longer."""
    given = fields.renamed(call.body)
    lease = call.jobs.heartbeat(call.own(call.place["id"]), given["worker_id"], given.get("lease_duration"))
    return Answer(200, lease.to_json())


def _operation(path: str, summary: str, run: Any, answer: Any, body: Any) -> Operation:
    return Operation("POST", path, Scope.WORK, summary, run, {200: answer}, tag="outside workers", body=body)


_ERROR = {"type": "string", "description": "What went wrong."}
_JOB = ("The job.", ref("Job"))

OPERATIONS = (
    _operation(
        "/jobs/claim",
        "Claim jobs",
        claim_jobs,
        ("The jobs that are the worker's now.", listed("jobs", "Claimed")),
        fields.body(fields.CLAIM, "worker_id"),
    ),
    _operation(
        "/jobs/{id}/complete",
        "Complete a claimed job",
        complete_job,
        _JOB,
        fields.body({**fields.WORKER, "result": {"description": "What came of it, any JSON."}}, "worker_id"),
    ),
    _operation(
        "/jobs/{id}/fail",
        "Fail a claimed job",
        fail_job,
        _JOB,
        fields.body({**fields.WORKER, "error": _ERROR}, "worker_id", "error"),
    ),
    _operation(
        "/jobs/{id}/heartbeat",
        "Keep a claimed job",
        keep_job,
        ("How long it is the worker's.", ref("Lease")),
        fields.body({**fields.WORKER, **fields.LEASE}, "worker_id"),
    ),
)
