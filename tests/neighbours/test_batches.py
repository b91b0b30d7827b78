"""celery-batches' tasks beside ours are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from tests.apps import working
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery


def test_a_batch_is_gathered_by_its_own_strategy_and_makes_no_rows(new_app: Callable[..., Celery]) -> None:
    batches = pytest.importorskip(
        "celery_batches", reason="celery-batches asks for celery<5.7, so no extra can name it: install it --no-deps"
    )
    app = new_app(worker_prefetch_multiplier=0)  # a batch must fit into what a worker takes ahead
    gathered: list[list[Any]] = []

    @app.task(base=batches.Batches, name="count", flush_every=3, flush_interval=60)
    def count(requests: list[Any]) -> None:
        gathered.append([request.args[0] for request in requests])
        for request in requests:
            app.backend.mark_as_done(request.id, request.args[0] * 10, request=request)

    @app.task(name="job")
    def job(x: int) -> int:
        return x

    results = [count.delay(number) for number in range(6)]
    ours = job.delay(1)
    with working(app):
        assert ours.get(timeout=40) == 1
        wait_until(lambda: len(gathered) == 2)
        assert [result.get(timeout=40) for result in results] == [0, 10, 20, 30, 40, 50]
    assert gathered == [[0, 1, 2], [3, 4, 5]]
    assert [run.task for run in Jobs(app).list().runs] == ["job"]
