"""What delayed jobs add to the memory of a worker and of the promoter; bare Celery's worker holds them all itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
from celery import Celery
from redis import Redis

from benchmarks import history, own
from benchmarks.contenders import BARE, OURS
from benchmarks.entrant import Failed, await_until, entered
from benchmarks.measure import Figures, Measure
from benchmarks.stage import query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.entrant import Entrant
    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

MB = 1024**2
START_SECONDS, FETCH_SECONDS, PROMOTE_SECONDS = 60.0, 1800.0, 600.0
SETTLED = 5.0
"""Seconds in which the most counts, once all is where it belongs."""
PROMOTED = "SELECT count(*) > 0 FROM services WHERE name = 'promoter' AND handled IS NOT NULL"


def contenders(plan: Plan) -> Sequence[str]:
    """Ours and bare Celery."""
    return (OURS, BARE)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """The same processes without and with delayed jobs."""
    if contender == BARE:
        without, filled = _bare(stage, 0), _bare(stage, plan.etas)
        return _figures(plan.etas, filled - without)
    promoter, worker = _ours(stage, 0)
    its_peak, filled = _ours(stage, plan.delayed)
    return {**_figures(plan.delayed, filled - worker), "promoter_mb": (its_peak - promoter) / MB}


def _figures(jobs: int, added: float) -> Figures:
    return {"worker_mb": added / MB, "jobs": jobs, "bytes_each": added / jobs}


def _ours(stage: Stage, jobs: int) -> tuple[float, float]:
    """The most that a promoter of its own takes, then a worker, in which one runs too: bytes."""
    stage.postgres.drop_database("delayed")
    database = stage.new_database("delayed", jobs, history.DELAYED)
    with entered(stage, OURS, 0, database) as entrant:
        with entrant.process(*own.COMMAND, "jobs", "promote") as process:
            promoter = _peak(process.pid, lambda: process.poll() is not None)
        worker = _worker(entrant, lambda: bool(query(database, PROMOTED)[0][0]))
    stage.postgres.drop_database("delayed")
    return promoter, worker


def _bare(stage: Stage, jobs: int) -> float:
    with entered(stage, BARE, 0) as entrant:
        app = Celery("benchmark", broker=entrant.broker, set_as_current=False)
        with app.producer_or_acquire() as producer:
            for _ in range(jobs):
                app.send_task("noop", countdown=3600, producer=producer)
        app.close()

        def has_fetched_all() -> bool:
            with Redis.from_url(entrant.broker) as client:
                return client.zcard("unacked_index") == jobs and stage.messages("celery") == 0

        return _worker(entrant, has_fetched_all)


def _worker(entrant: Entrant, is_settled: Callable[[], bool]) -> float:
    """The most that a worker and its children take, each page shared by them counted once."""
    with entrant.working() as pids:
        # Its children have started by the time that its log would say so: there are two of them.
        if not await_until(lambda: len(psutil.Process(pids[0]).children(recursive=True)) >= 2, START_SECONDS):
            raise Failed("the worker has no children")
        if not await_until(is_settled, FETCH_SECONDS):
            raise Failed("the worker has not fetched all")
        until, most = time.monotonic() + SETTLED, 0.0
        while time.monotonic() < until:
            parent = psutil.Process(pids[0])
            most = max(most, sum(_bytes(process) for process in (parent, *parent.children(recursive=True))))
            time.sleep(0.2)
        return most


def _bytes(process: psutil.Process) -> float:
    taken = process.memory_full_info()
    return float(getattr(taken, "pss", taken.uss))


def _peak(pid: int, is_over: Callable[[], bool]) -> float:
    """The most that a process took, as often as it could be seen before its end."""
    most = 0.0

    def look() -> bool:
        nonlocal most
        try:
            most = max(most, float(psutil.Process(pid).memory_info().rss))
        except psutil.NoSuchProcess:
            return True
        return is_over()

    if not await_until(look, PROMOTE_SECONDS):
        raise Failed("the promoter has not come to an end")
    return most


MEASURE = Measure("memory", "memory that delayed jobs add to a worker", contenders, run, "worker_mb", "MB", long=True)
