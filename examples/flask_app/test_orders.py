"""The shop's tests: the orders in a database of the tests, the jobs in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_app.database import create_tables
from flask_app.make_celery import celery_app, flask_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.testing import Sandbox


def test_a_seat_is_sold_and_charged_once(jobs_sandbox: Callable[[Celery], Sandbox]) -> None:
    sandbox = jobs_sandbox(celery_app)
    create_tables()
    client = flask_app.test_client()

    placed = client.post("/orders", json={"seat": "A1", "card": "4242"})
    refused = client.post("/orders", json={"seat": "A1", "card": "4242"})

    assert (placed.status_code, refused.status_code) == (202, 409)
    [run] = sandbox.drain()
    assert run.result == "seat A1 is paid"
    assert client.get(f"/orders/{placed.get_json()['order']}").json == {"seat": "A1", "paid": True}
