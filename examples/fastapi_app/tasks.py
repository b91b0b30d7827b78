"""The tasks. Each call of one is a job; a failure is retried, and in the end a dead letter."""

from __future__ import annotations

from sqlalchemy.orm import Session

from fastapi_app.celery_app import celery_app
from fastapi_app.database import Order, engine

__all__ = ["CardDeclined", "charge"]


class CardDeclined(Exception):
    pass


@celery_app.task
def charge(order_id: str) -> str:
    with Session(engine) as session, session.begin():
        order = session.get_one(Order, order_id)
        if order.card == "declined":
            raise CardDeclined(f"the card for seat {order.seat} is declined")
        order.paid = True  # the same if it is charged twice: a job runs at least once
        return f"seat {order.seat} is paid"
