"""The shop's tests: the orders in a database of the tests, the jobs in a sandbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from httpx import ASGITransport, AsyncClient

from fastapi_app.app import app, lifespan
from fastapi_app.celery_app import celery_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.testing import Sandbox


def test_a_seat_is_sold_and_charged_once(jobs_sandbox: Callable[[Celery], Sandbox]) -> None:
    sandbox = jobs_sandbox(celery_app)

    async def place() -> list[int]:
        order = {"seat": "A1", "card": "4242"}
        async with lifespan(app), AsyncClient(transport=ASGITransport(app), base_url="http://shop") as client:
            return [(await client.post("/orders", json=order)).status_code for _ in range(2)]

    assert asyncio.run(place()) == [202, 409]
    [run] = sandbox.drain()
    assert run.result == "seat A1 is paid"
