"""A queue behind a named exchange: its own policy and lease hold, whichever way its messages come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Exchange, Queue

from celery_jobs import Jobs, settings
from celery_jobs.envelope import queue_of_delivery
from celery_jobs.plugin import plugin_of
from celery_jobs.store import reads
from celery_jobs.worker import limits
from tests.apps import working
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from tests.celery_contract.conftest import MakeApp

LEASE = 7777

NAMED: dict[str, Any] = {
    "task_queues": [Queue("orders", Exchange("shop"), routing_key="order.new")],
    "task_default_queue": "orders",
    "jobs_queues": {"orders": {"visibility_timeout": LEASE, "retry_delays": [0.1]}},
}


def leases(app: Celery) -> list[float]:
    """Adds a task that notes the length, in seconds, of the lease that it runs under."""
    found: list[float] = []

    @app.task(name="measure", bind=True, shared=False)
    def measure(self: Any) -> None:
        row = reads.attempts(plugin_of(app).db, Jobs(app).get(self.request.id).id)[-1]
        assert row.lease_expires_at is not None
        assert row.started_at is not None
        found.append((row.lease_expires_at - row.started_at).total_seconds())

    return found


@pytest.mark.parametrize("producer", ["with the plugin", "without"])
def test_the_lease_is_that_of_the_queue_not_of_the_routing_key(new_app: MakeApp, producer: str) -> None:
    app = new_app(**NAMED)
    found = leases(app)
    sender = app if producer == "with the plugin" else new_app(install=False, **NAMED)
    with working(app):
        result = sender.send_task("measure")
        result.get(timeout=40)
        run = wait_until(lambda: (run := Jobs(app).get(result.id)).has_ended and run)
    assert (run.queue, run.final_status) == ("orders", "success")
    assert found == [pytest.approx(LEASE, abs=1)]


@pytest.mark.parametrize(
    ("exchange", "routing_key", "queue"),
    [
        ("", "order.new", "order.new"),
        ("shop", "order.new", "orders"),
        ("shop", "order.old", "order.old"),
        ("celery_delayed_4", ".".join(["0"] * 28) + ".orders", "orders"),
        ("celery_delayed_4", ".".join(["0"] * 28) + ".order.new", "orders"),
    ],
)
def test_the_queue_is_read_from_exchange_and_routing_key(
    new_app: MakeApp, exchange: str, routing_key: str, queue: str
) -> None:
    queues = new_app(**NAMED).amqp.queues
    assert queue_of_delivery(queues, {"exchange": exchange, "routing_key": routing_key}) == queue


@pytest.mark.parametrize(
    ("conf", "walks"),
    [
        ({}, 0),
        ({"jobs_queues": {"orders": {"timeout": 5}}}, 1),
        ({"jobs_queues": {"others": {"timeout": 5}}}, 1),
        ({"jobs_queue_defaults": {"timeout": 5}}, 1),
    ],
    ids=str,
)
def test_the_queue_of_a_message_is_looked_for_only_where_one_has_a_timeout(
    new_app: MakeApp, monkeypatch: pytest.MonkeyPatch, conf: dict[str, Any], walks: int
) -> None:
    app = new_app(**{**NAMED, **conf})
    leases(app)
    walked: list[object] = []

    def look(queues: Any, delivery: Any) -> str:
        walked.append(delivery)
        return queue_of_delivery(queues, delivery)

    monkeypatch.setattr(limits, "queue_of_delivery", look)
    request: Any = SimpleNamespace(
        task=app.tasks["measure"],
        time_limits=(None, None),
        delivery_info={"exchange": "shop", "routing_key": "order.new"},
    )
    seconds = plugin_of(app).settings.queue("orders").timeout
    expected = (None, None) if seconds is None else (seconds + settings.TIMEOUT_GRACE, seconds)
    assert limits.limits_of(request) == expected
    assert len(walked) == walks
