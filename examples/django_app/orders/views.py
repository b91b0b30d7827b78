"""The requests: to place an order and mend its card, to see what became of its job, and to replay that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import IntegrityError, connection, transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from celery_jobs import AlreadyReplayed, JobNotEnded, JobNotFound, Jobs
from orders.models import Order
from orders.tasks import charge
from shop import celery_app

if TYPE_CHECKING:
    from django.http import HttpRequest

jobs = Jobs(celery_app)


@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    given = json.loads(request.body)
    order = Order(seat=given["seat"], card=given["card"])
    try:
        with transaction.atomic():
            result = charge.apply_async((order.id,), session=connection)  # committed, or not, with the order
            order.save(force_insert=True)
    except IntegrityError:
        return JsonResponse({"error": "the seat is taken"}, status=409)  # neither the order nor its job is there
    return JsonResponse({"order": order.id, "run": result.job_id}, status=202)


@require_http_methods(["GET", "PUT"])
def order(request: HttpRequest, order_id: str) -> JsonResponse:
    order = get_object_or_404(Order, pk=order_id)
    if request.method == "PUT":
        order.card = json.loads(request.body)["card"]
        order.save(update_fields=["card"])
    return JsonResponse({"seat": order.seat, "paid": order.paid})


@require_GET
def show_run(request: HttpRequest, run_id: str) -> JsonResponse:
    try:
        return JsonResponse(jobs.get(run_id).to_json())
    except JobNotFound as error:
        return JsonResponse({"error": str(error)}, status=404)


@require_POST
def replay_run(request: HttpRequest, run_id: str) -> JsonResponse:
    try:
        run = jobs.replay(run_id, reason=json.loads(request.body)["reason"])
    except JobNotFound as error:
        return JsonResponse({"error": str(error)}, status=404)
    except (AlreadyReplayed, JobNotEnded) as error:
        return JsonResponse({"error": str(error)}, status=409)
    return JsonResponse({"run": run.id}, status=202)
