"""The shop's tests: the orders in Django's test database, the jobs in a sandbox."""

from __future__ import annotations

from django.test import TestCase

from celery_jobs.testing import Sandbox
from orders.models import Order
from shop import celery_app


class OrdersTest(TestCase):
    def test_a_seat_is_sold_and_charged_once(self) -> None:
        order = {"seat": "A1", "card": "4242"}
        with Sandbox(celery_app) as sandbox:
            with self.captureOnCommitCallbacks(execute=True):  # a TestCase commits nothing
                answers = [self.client.post("/orders", order, content_type="application/json") for _ in range(2)]

            assert [answer.status_code for answer in answers] == [202, 409]
            [run] = sandbox.drain()
            assert run.result == "seat A1 is paid"
        assert Order.objects.get(seat="A1").paid
