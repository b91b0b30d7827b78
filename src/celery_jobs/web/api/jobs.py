"""The operations on jobs: make, find, see, and act on one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.errors import InvalidJob
from celery_jobs.http.request import NAMES as REQUEST
from celery_jobs.options import take_moment
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.store import pauses
from celery_jobs.tokens import Scope
from celery_jobs.web.api import fields
from celery_jobs.web.api.forms import listed, ref
from celery_jobs.web.api.operation import Answer, Operation
from celery_jobs.web.api.problem import Problem
from celery_jobs.web.api.room import require_room
from celery_jobs.web.exposure import is_exposed, is_job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.runs import Run
    from celery_jobs.web.api.operation import Call

__all__ = ["OPERATIONS", "queue_of", "read_task", "require_exposed", "where_of"]

KEY_HEADER = "Idempotency-Key"
_MOMENTS = ("created_after", "created_before", "dead_lettered_after", "dead_lettered_before")
_NEW_QUEUE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
LONGEST_QUEUE = 64


def create_job(call: Call) -> Answer:
    """Make a job, or find the one with its key."""
    given = fields.renamed(call.body)
    key = call.headers.get(KEY_HEADER)
    if key is not None and given.setdefault("idempotency_key", key) != key:
        raise Problem.of_fields([(KEY_HEADER, "says another key than idempotency_key")])
    run = _enqueue(call, given)
    status = 200 if run.deduplicated else 201
    return Answer(status, run.to_json(), {"Location": f"{call.root}/jobs/{run.id}"})


def _enqueue(call: Call, given: dict[str, Any]) -> Run:
    queue = queue_of(call, given.pop("queue", None))
    if "task" in given:
        name, args, kwargs = read_task(call, given)
        require_room(call, queue, name)
        options = given if queue is None else {**given, "queue": queue}
        run = call.jobs.enqueue(name, args, kwargs, **options)
    elif "url" in given:
        require_exposed(call, HTTP_TASK)
        require_room(call, queue, HTTP_TASK)
        run = call.jobs.enqueue_http(given.pop("url"), queue, **given)
    else:
        if queue is None:
            raise InvalidJob("queue", "the queue of outside workers is needed, or a task, or a url")
        require_room(call, queue)
        run = call.jobs.enqueue_payload(queue, given.pop("payload"), **given)
    if not call.grant.covers(run.queue):
        raise Problem(409, "a job of another queue has this idempotency key", field="idempotency_key")
    return run


def read_task(call: Call, given: dict[str, Any]) -> tuple[str, list[Any], dict[str, Any]]:
    """Name and arguments of a task, taken out of what was given."""
    name = given.pop("task")
    for other in REQUEST:
        if other in given:
            raise InvalidJob(other, "goes with a url, or alone; not with a task")
    require_exposed(call, name)
    return name, given.pop("args", []), given.pop("kwargs", {})


def require_exposed(call: Call, name: str) -> None:
    """Only what is registered here is made, and only what `jobs_rest_tasks` lets: never a name to be imported."""
    if not is_job(call.plugin, name):
        raise InvalidJob("task", f"{name[:100]!r} is no registered job of this app")
    if not is_exposed(call.plugin, name):
        raise Problem(403, f"the task {name} may not be enqueued by REST (jobs_rest_tasks)", field="task")


def queue_of(call: Call, asked: str | None) -> str | None:
    """The queue, which has a plain name unless the app has it already (semantics.md section 3)."""
    queue = call.queue(asked)
    if queue is None or (set(queue) <= _NEW_QUEUE and len(queue) <= LONGEST_QUEUE):
        return queue
    known = {*call.plugin.settings.queues, *call.plugin.app.amqp.queues}
    if queue not in known and queue not in pauses.known_queues(call.plugin.db):
        wanted = f"lowercase letters, digits and hyphens, {LONGEST_QUEUE} at most"
        raise InvalidJob("queue", f"of a new queue {wanted}, are expected, not {queue!r}")
    return queue


def list_jobs(call: Call) -> Answer:
    """Jobs, the newest first, page by page."""
    return _page(call)


def list_dead_letters(call: Call) -> Answer:
    """The dead-letter queue, the newest first, page by page."""
    return _page(call, final_status="dead_lettered")


def _page(call: Call, **more: Any) -> Answer:
    query = fields.renamed(call.query)
    limit, cursor = query.pop("limit", 50), query.pop("cursor", None)
    page = call.jobs.list(limit, cursor, **{**where_of(call, query), **more})
    told = page.to_json()
    return Answer(200, {"jobs": told.pop("runs"), **told})


def where_of(call: Call, given: Mapping[str, Any]) -> Any:
    """The filter that fields mean, with the queues of who asks."""
    where = {name: take_moment(name, value) if name in _MOMENTS else value for name, value in given.items()}
    queues = call.queues(where.pop("queue", None))
    return where if queues is None else {**where, "queue": queues}


def get_job(call: Call) -> Answer:
    """One job, with its attempts and what it was called with."""
    id = call.own(call.place["id"])
    run = call.jobs.get(id)
    return Answer(200, {**run.to_json(), "arguments": call.jobs.arguments(run.id).to_json()})


def list_attempts(call: Call) -> Answer:
    """The attempts of one job, in order."""
    run = call.jobs.get(call.own(call.place["id"]))
    return Answer(200, {"attempts": run.to_json()["attempts"]})


def cancel_job(call: Call) -> Answer:
    """Cancel what waits; what runs is asked to stop, or killed (`terminate`)."""
    call.jobs.reason = call.body.get("reason")
    run = call.jobs.cancel(call.own(call.place["id"]), terminate=call.body.get("terminate", False))
    return Answer(200, run.to_json())


def replay_job(call: Call) -> Answer:
    """Begin a new chain with the configuration of an ended job."""
    id, force = call.own(call.place["id"]), call.body.get("force", False)
    run = call.jobs.replay(id, reason=call.body.get("reason"), force=force)
    return Answer(201, run.to_json(), {"Location": f"{call.root}/jobs/{run.id}"})


def fire_job(call: Call) -> Answer:
    """Make what waits due now, and send it."""
    call.jobs.reason = call.body.get("reason")
    return Answer(200, call.jobs.fire(call.own(call.place["id"])).to_json())


def delete_job(call: Call) -> Answer:
    """Delete a job that waits or has ended; a dead letter is purged."""
    id = call.own(call.place["id"])
    return Answer(200, {"attempts_deleted": call.jobs.delete(id)})


def erase_job(call: Call) -> Answer:
    """Erase what an ended job was called with and what came of it, for good; that it was stays."""
    call.jobs.reason = call.body.get("reason")
    return Answer(200, call.jobs.erase(call.own(call.place["id"])).to_json())


_JOB = ("The job.", ref("Job"))
_LIST = ("Jobs.", listed("jobs", "Job", cursor={"type": ["string", "null"]}, partial={"type": "boolean"}))
OPERATIONS = (
    Operation(
        "POST",
        "/jobs",
        Scope.ENQUEUE,
        "Make a job",
        create_job,
        {201: ("The new job.", ref("Job")), 200: ("The job with this idempotency key.", ref("Job"))},
        headers={KEY_HEADER: fields.KEY},
        body=fields.JOB,
    ),
    Operation("GET", "/jobs", Scope.READ, "List jobs", list_jobs, {200: _LIST}, query={**fields.FILTER, **fields.PAGE}),
    Operation(
        "GET",
        "/jobs/dlq",
        Scope.READ,
        "List dead letters",
        list_dead_letters,
        {200: _LIST},
        tag="dead letters",
        query={**{k: v for k, v in fields.FILTER.items() if k not in ("status", "final_status")}, **fields.PAGE},
    ),
    Operation("GET", "/jobs/{id}", Scope.READ, "See a job", get_job, {200: ("The job.", ref("JobWithArguments"))}),
    Operation(
        "GET",
        "/jobs/{id}/attempts",
        Scope.READ,
        "See a job's attempts",
        list_attempts,
        {200: ("The attempts.", listed("attempts", "Attempt"))},
    ),
    Operation(
        "POST",
        "/jobs/{id}/cancel",
        Scope.OPERATE,
        "Cancel a job",
        cancel_job,
        {200: _JOB},
        body=fields.body({"terminate": fields.TRUTH, "reason": fields.REASON}),
        needs_body=False,
    ),
    Operation(
        "POST",
        "/jobs/{id}/replay",
        Scope.OPERATE,
        "Replay an ended job",
        replay_job,
        {201: ("The new job.", ref("Job"))},
        body=fields.body({"reason": fields.REASON, "force": fields.TRUTH}),
        needs_body=False,
    ),
    Operation(
        "POST",
        "/jobs/{id}/fire",
        Scope.OPERATE,
        "Send a waiting job now",
        fire_job,
        {200: _JOB},
        body=fields.body({"reason": fields.REASON}),
        needs_body=False,
    ),
    Operation(
        "POST",
        "/jobs/{id}/erase",
        Scope.ADMIN,
        "Erase what an ended job holds",
        erase_job,
        {200: _JOB},
        body=fields.body({"reason": fields.REASON}),
        needs_body=False,
    ),
    Operation(
        "DELETE",
        "/jobs/{id}",
        Scope.ADMIN,
        "Delete a job",
        delete_job,
        {200: ("It is gone.", fields.body({"attempts_deleted": {"type": "integer"}}, "attempts_deleted"))},
    ),
)
