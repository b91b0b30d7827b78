"""The operations on queues: see, pause, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.options import take_moment
from celery_jobs.tokens import Scope
from celery_jobs.web.api import fields
from celery_jobs.web.api.forms import listed, ref
from celery_jobs.web.api.operation import Answer, Operation
from celery_jobs.web.api.problem import Problem

if TYPE_CHECKING:
    from celery_jobs.web.api.operation import Call

__all__ = ["OPERATIONS"]


def list_queues(call: Call) -> Answer:
    """What each queue holds now, and what ended in it within the last `window` seconds."""
    found = call.jobs.queues(call.query.get("window", 3600))
    return Answer(200, {"queues": [queue.to_json() for queue in found if call.grant.covers(queue.queue)]})


def pause_queue(call: Call) -> Answer:
    """Hold a queue; what runs ends, and enqueueing goes on."""
    until = call.body.get("until", call.body.get("seconds"))
    if isinstance(until, str):
        until = take_moment("until", until)
    made = call.jobs.pause(_own(call), until=until, by=call.grant.name[:1024], reason=call.body.get("reason"))
    return Answer(200, made.to_json())


def resume_queue(call: Call) -> Answer:
    """Let a queue go on, and send what is due."""
    call.jobs.reason = call.body.get("reason")
    return Answer(200, {"sent": call.jobs.resume(_own(call))})


def _own(call: Call) -> str:
    name = call.place["name"]
    if not call.grant.covers(name):
        raise Problem(404, f"nobody knows a queue {name!r}", "unknown_queue")
    return name


_WINDOW = {"type": "number", "exclusiveMinimum": 0, "maximum": 31_622_400, "description": "Seconds back."}

OPERATIONS = (
    Operation(
        "GET",
        "/queues",
        Scope.READ,
        "See the queues",
        list_queues,
        {200: ("The queues.", listed("queues", "Queue"))},
        tag="queues",
        query={"window": _WINDOW},
    ),
    Operation(
        "POST",
        "/queues/{name}/pause",
        Scope.OPERATE,
        "Pause a queue",
        pause_queue,
        {200: ("The pause.", ref("Pause"))},
        tag="queues",
        body=fields.body(
            {
                "until": fields.MOMENT,
                "seconds": {**fields.SECONDS, "exclusiveMinimum": 0, "description": "Seconds from now, not until."},
                "reason": fields.REASON,
            }
        ),
        needs_body=False,
    ),
    Operation(
        "POST",
        "/queues/{name}/resume",
        Scope.OPERATE,
        "Resume a queue",
        resume_queue,
        {200: ("How many jobs went out.", fields.body({"sent": {"type": "integer"}}, "sent"))},
        tag="queues",
        body=fields.body({"reason": fields.REASON}),
        needs_body=False,
    ),
)
