"""A worker runs a job, and who follows it is told all of it in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs import Jobs
from tests.apps import shared_worker
from tests.callbacks.receiver import HOSTS, Receiver
from tests.follow.conftest import Follower, kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery


def test_a_run_is_followed_while_a_worker_runs_it(new_app: Callable[..., Celery]) -> None:
    app = new_app(jobs_http_allowed_addresses=[HOSTS])

    @app.task(name="flaky", bind=True, shared=False)
    def flaky(self: Any) -> int:
        if self.request.retries < 2:
            raise ValueError(f"attempt {self.request.retries + 1}")
        return 42

    doors = Jobs(app)
    with Receiver() as receiver:
        of_all = Follower(doors, task="flaky", timeout=60)
        id = doors.enqueue("flaky", callback_url=receiver.url()).id
        follower = Follower(doors, id, timeout=60)
        assert kinds(follower.wait_for(1)) == ["enqueued"]
        with shared_worker(app):
            course = [kind for kind in kinds(follower.result()) if kind != "callback_sent"]
            assert kinds(follower.told).count("callback_sent") == 3
            of_all.wait_for(2)
            of_all.stop()
    assert course == ["enqueued", "started", "retried", "started", "retried", "started", "completed"]
    assert kinds(of_all.told) == ["enqueued", "completed"]
