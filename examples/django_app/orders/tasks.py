"""The tasks. Each call of one is a job; a failure is retried, and in the end a dead letter."""

from __future__ import annotations

from celery import shared_task

from orders.models import Order

__all__ = ["CardDeclined", "charge"]


class CardDeclined(Exception):
    pass


@shared_task
def charge(order_id: str) -> str:
    order = Order.objects.get(pk=order_id)
    if order.card == "declined":
        raise CardDeclined(f"the card for seat {order.seat} is declined")
    order.paid = True  # the same if it is charged twice: a job runs at least once
    order.save(update_fields=["paid"])
    return f"seat {order.seat} is paid"
