"""The story of the ticket shops in `examples/`, whatever framework answers the requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.queue_depth import queue_depth
from celery_jobs.testing import Sandbox
from tests.apps import working

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Ask", "sells_a_seat", "sells_a_seat_in_a_sandbox"]

Ask = Callable[[str, str, Any], tuple[int, Any]]
"""Makes a request, by method, path and JSON; gives the answer's status and JSON."""


def sells_a_seat(ask: Ask, app: Celery) -> None:
    """An order in one transaction with its job; the job dies, is repaired by a request and replayed by another."""
    app.conf.jobs_queue_defaults = {"retry_delays": [0.1, 0.2]}
    jobs = Jobs(app)
    status, placed = ask("POST", "/orders", {"seat": "A1", "card": "declined"})
    assert (status, placed.keys()) == (202, {"order", "run"})
    assert ask("POST", "/orders", {"seat": "A1", "card": "4242"}) == (409, {"error": "the seat is taken"})
    assert [run.id for run in jobs.list().runs] == [placed["run"]]
    assert queue_depth(plugin_of(app), "celery") == 1

    order, run = f"/orders/{placed['order']}", f"/runs/{placed['run']}"
    assert ask("POST", f"{run}/replay", {"reason": "too soon"})[0] == 409
    with working(app):
        jobs.wait(placed["run"], 40)
        status, shown = ask("GET", run, None)
        assert (status, shown["final_status"], shown["attempt_number"]) == (200, "dead_lettered", 3)
        assert shown["error_message"] == "the card for seat A1 is declined"
        assert ask("GET", order, None) == (200, {"seat": "A1", "paid": False})

        assert ask("PUT", order, {"card": "4242"})[0] == 200
        status, replayed = ask("POST", f"{run}/replay", {"reason": "another card"})
        assert status == 202
        assert jobs.wait(replayed["run"], 40).result == "seat A1 is paid"
    assert ask("GET", order, None) == (200, {"seat": "A1", "paid": True})
    assert ask("GET", f"/runs/{replayed['run']}", None)[1]["replay_of"] == placed["run"]
    assert ask("POST", f"{run}/replay", {"reason": "once more"})[0] == 409
    assert ask("GET", "/runs/nobody", None)[0] == ask("GET", "/orders/nobody", None)[0] == 404
    assert jobs.check() == []


def sells_a_seat_in_a_sandbox(ask: Ask, app: Celery) -> None:
    """As the app's own tests would have it: the orders in their database, the jobs in the sandbox."""
    before = {run.id for run in Jobs(app).list().runs}
    with Sandbox(app) as sandbox:
        _, placed = ask("POST", "/orders", {"seat": "B1", "card": "declined"})
        assert ask("POST", "/orders", {"seat": "B1", "card": "4242"})[0] == 409
        [run] = sandbox.enqueued()
        assert (run.id, sandbox.run_to_end(run.id).final_status) == (placed["run"], "dead_lettered")
        ask("PUT", f"/orders/{placed['order']}", {"card": "4242"})
        _, replayed = ask("POST", f"/runs/{run.id}/replay", {"reason": "another card"})
        [again] = sandbox.drain()
        assert (again.id, again.result) == (replayed["run"], "seat B1 is paid")
    assert ask("GET", f"/orders/{placed['order']}", None) == (200, {"seat": "B1", "paid": True})
    assert {run.id for run in Jobs(app).list().runs} == before
