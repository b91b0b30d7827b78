"""The operations on schedules in SQL. A token that is bound to queues sees none: a schedule may make jobs anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.errors import ScheduleNotFound
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.tokens import Scope
from celery_jobs.web.api import fields
from celery_jobs.web.api.forms import listed, ref
from celery_jobs.web.api.jobs import require_exposed
from celery_jobs.web.api.operation import Answer, Operation
from celery_jobs.web.api.problem import Problem

if TYPE_CHECKING:
    from celery_jobs.web.api.operation import Call, Schema

__all__ = ["OPERATIONS"]


def list_schedules(call: Call) -> Answer:
    """All schedules, by name."""
    _require_unbound(call)
    return Answer(200, {"schedules": [found.to_json() for found in call.jobs.schedules()]})


def get_schedule(call: Call) -> Answer:
    """One schedule."""
    return Answer(200, call.jobs.get_schedule(_name(call)).to_json())


def set_schedule(call: Call) -> Answer:
    """Make a schedule, or change the one of this name as a whole."""
    name = _name(call)
    require_exposed(call, call.body.get("task", HTTP_TASK))
    try:
        call.jobs.get_schedule(name)
        status = 200
    except ScheduleNotFound:
        status = 201
    return Answer(status, call.jobs.schedule(name, **fields.renamed(call.body)).to_json())


def remove_schedule(call: Call) -> Answer:
    """Delete a schedule; the jobs that it has made stay."""
    call.jobs.remove_schedule(_name(call))
    return Answer(204, None)


def run_schedule(call: Call) -> Answer:
    """Make its job now; its next tick stays."""
    call.jobs.reason = call.body.get("reason")
    run = call.jobs.run_schedule(_name(call))
    return Answer(201, run.to_json(), {"Location": f"{call.root}/jobs/{run.id}"})


def pause_schedule(call: Call) -> Answer:
    """Let a schedule tick no more until it is resumed."""
    name = _name(call)
    made = call.jobs.pause_schedule(name, by=call.grant.name[:1024], reason=call.body.get("reason"))
    return Answer(200, made.to_json())


def resume_schedule(call: Call) -> Answer:
    """Let a schedule tick again, from now on."""
    call.jobs.reason = call.body.get("reason")
    return Answer(200, call.jobs.resume_schedule(_name(call)).to_json())


def _name(call: Call) -> str:
    _require_unbound(call)
    return call.place["name"]


def _require_unbound(call: Call) -> None:
    if call.grant.queues is not None:
        raise Problem(403, "schedules are not for a token that is bound to queues")


_LEFT_OUT = (
    "delay",
    "scheduled_at",
    "run_at",
    "idempotency_key",
    "idempotency_scope",
    "idempotency_ttl",
    "on_conflict",
)
_WHAT: Schema = {name: schema for name, schema in fields.JOB["properties"].items() if name not in _LEFT_OUT}
_WHEN: Schema = {
    "cron": {"type": "string", "maxLength": 255, "description": "Five fields."},
    "timezone": {"type": "string", "maxLength": 255, "description": "Of cron; UTC where nothing is said."},
    "every": {"type": "number", "minimum": 1, "maximum": 31_622_400, "description": "Seconds, instead of cron."},
    "missed": {"type": "string", "enum": ["skip", "run"]},
    "overlap": {"type": "string", "enum": ["allow", "skip"]},
}
_ONE = ("The schedule.", ref("Schedule"))
_WHY = fields.body({"reason": fields.REASON})


def _operation(method: str, path: str, scope: Scope, summary: str, run: Any, answers: Any, **more: Any) -> Operation:
    return Operation(method, path, scope, summary, run, answers, tag="schedules", **more)


OPERATIONS = (
    _operation(
        "GET",
        "/schedules",
        Scope.READ,
        "See the schedules",
        list_schedules,
        {200: ("The schedules.", listed("schedules", "Schedule"))},
    ),
    _operation("GET", "/schedules/{name}", Scope.READ, "See a schedule", get_schedule, {200: _ONE}),
    _operation(
        "PUT",
        "/schedules/{name}",
        Scope.ADMIN,
        "Make or change a schedule",
        set_schedule,
        {200: _ONE, 201: ("The new schedule.", ref("Schedule"))},
        body=fields.body({**_WHAT, **_WHEN}),
    ),
    _operation(
        "DELETE",
        "/schedules/{name}",
        Scope.ADMIN,
        "Delete a schedule",
        remove_schedule,
        {204: ("It is gone.", None)},
    ),
    _operation(
        "POST",
        "/schedules/{name}/run",
        Scope.OPERATE,
        "Run a schedule now",
        run_schedule,
        {201: ("The new job.", ref("Job"))},
        body=_WHY,
        needs_body=False,
    ),
    _operation(
        "POST",
        "/schedules/{name}/pause",
        Scope.OPERATE,
        "Pause a schedule",
        pause_schedule,
        {200: _ONE},
        body=_WHY,
        needs_body=False,
    ),
    _operation(
        "POST",
        "/schedules/{name}/resume",
        Scope.OPERATE,
        "Resume a schedule",
        resume_schedule,
        {200: _ONE},
        body=_WHY,
        needs_body=False,
    ),
)
