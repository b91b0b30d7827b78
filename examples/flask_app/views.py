"""The requests: to place an order and mend its card, to see what became of its job, and to replay that."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from flask import Blueprint, current_app, request
from sqlalchemy.exc import IntegrityError, NoResultFound

from celery_jobs import AlreadyReplayed, JobNotEnded, JobNotFound, Jobs
from flask_app.database import Order, session
from flask_app.tasks import charge

__all__ = ["blueprint"]

blueprint = Blueprint("shop", __name__)

Answer = tuple[dict[str, Any], int]


@blueprint.post("/orders")
def place_order() -> Answer:
    order = Order(id=uuid4().hex, seat=request.json["seat"], card=request.json["card"])
    session.add(order)
    result = charge.apply_async((order.id,), session=session)  # committed, or not, with the order; sent after that
    session.commit()
    return {"order": order.id, "run": result.job_id}, 202


@blueprint.errorhandler(IntegrityError)
def refuse(error: Exception) -> Answer:
    return {"error": "the seat is taken"}, 409  # neither the order nor its job is there


@blueprint.put("/orders/<order_id>")
def mend_order(order_id: str) -> Answer:
    session.get_one(Order, order_id).card = request.json["card"]
    session.commit()
    return {}, 200


@blueprint.get("/orders/<order_id>")
def show_order(order_id: str) -> Answer:
    order = session.get_one(Order, order_id)
    return {"seat": order.seat, "paid": order.paid}, 200


@blueprint.get("/runs/<run_id>")
def show_run(run_id: str) -> Answer:
    return _jobs().get(run_id).to_json(), 200


@blueprint.post("/runs/<run_id>/replay")
def replay_run(run_id: str) -> Answer:
    return {"run": _jobs().replay(run_id, reason=request.json["reason"]).id}, 202


@blueprint.errorhandler(NoResultFound)
@blueprint.errorhandler(JobNotFound)
def not_found(error: Exception) -> Answer:
    return {"error": str(error)}, 404


@blueprint.errorhandler(AlreadyReplayed)
@blueprint.errorhandler(JobNotEnded)
def not_now(error: Exception) -> Answer:
    return {"error": str(error)}, 409


def _jobs() -> Jobs:
    return Jobs(current_app.extensions["celery"])
