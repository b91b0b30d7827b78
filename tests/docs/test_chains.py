"""The worked chains of the semantics page are what happens: each case of its table is run."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Ignore, Reject

from celery_jobs import Cancelled
from celery_jobs.testing import Sandbox
from tests.apps import make_app
from tests.docs.pages import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.runs import Run
    from celery_jobs.store.rows import Job

NOWHERE = "redis://127.0.0.1:1/0"

Row = tuple[str, str, str]
"""Attempt, status, final status, as the table has them."""

CASES: dict[str, Callable[[Sandbox], list[Row]]] = {}


def case(name: str) -> Callable[[Callable[[Sandbox], list[Row]]], Callable[[Sandbox], list[Row]]]:
    def register(run: Callable[[Sandbox], list[Row]]) -> Callable[[Sandbox], list[Row]]:
        CASES[name] = run
        return run

    return register


def documented() -> dict[str, list[Row]]:
    """The rows of the table by case."""
    found: dict[str, list[Row]] = {}
    name = ""
    for case, attempt, status, final_status, _ in cells("semantics.md", "Worked chains"):
        name = case or name
        found.setdefault(name, []).append((attempt, status, final_status))
    return found


@pytest.fixture
def app() -> Celery:
    return make_app(
        NOWHERE,
        "sqlite:////nowhere/jobs.sqlite3",
        jobs_queue_defaults={},
        jobs_queues={"once": {"retries_enabled": False}},
    )


@pytest.fixture
def sandbox(app: Celery) -> Iterator[Sandbox]:
    with Sandbox(app) as sandbox:
        yield sandbox


def test_every_case_of_the_table_is_run_here() -> None:
    assert documented().keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_chain_goes_as_the_table_says(name: str, sandbox: Sandbox) -> None:
    assert CASES[name](sandbox) == documented()[name]
    assert sandbox.jobs.check() == []


def enqueued(sandbox: Sandbox, *outcomes: Any, **options: Any) -> str:
    """The id of a job whose attempts return or raise what is given, the last one again and again."""
    left = list(outcomes)

    @sandbox.app.task(bind=True, name="work", shared=False)
    def work(self: Any) -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome(self) if callable(outcome) else outcome

    job_id: str = work.apply_async(**options).job_id
    return job_id


def rows(run: Run) -> list[Row]:
    return [(str(job.attempt_number), job.status, job.final_status or "") for job in run.attempts]


FAILURE = ValueError("no")


@case("it works at once")
def at_once(sandbox: Sandbox) -> list[Row]:
    return rows(sandbox.run_to_end(enqueued(sandbox, "done")))


@case("it works at attempt 3")
def at_attempt_3(sandbox: Sandbox) -> list[Row]:
    run = sandbox.run(enqueued(sandbox, FAILURE, FAILURE, "done"))
    assert run.has_pending_retry
    (_, status, final_status), _ = rows(run)
    done = sandbox.run_to_end(run.id)
    assert [_wait(*pair) for pair in pairwise(done.attempts)] == [60, 1800]
    assert done.resolved_by == done.attempts[2].id
    first, second, third = rows(done)
    return [("1, after its failure", status, final_status), second, third, ("1, at the end", *first[1:])]


def _wait(job: Job, following: Job) -> int:
    assert job.finished_at is not None
    return round((following.scheduled_at - job.finished_at).total_seconds())


@case("all four fail")
def all_four(sandbox: Sandbox) -> list[Row]:
    run = sandbox.run_to_end(enqueued(sandbox, ValueError("first"), FAILURE))
    original = run.attempts[0]
    assert (original.error_message, original.last_error_message) == ("first", "no")
    assert run.dead_lettered_at is not None
    first, second, *others = rows(run)
    assert len(others) == 2
    assert {other[1:] for other in others} == {second[1:]}
    return [("2, 3, 4", *second[1:]), ("1, at the end", *first[1:])]


@case("retries are disabled")
def disabled(sandbox: Sandbox) -> list[Row]:
    return rows(sandbox.run_to_end(enqueued(sandbox, FAILURE, queue="once")))


@case("`max_attempts=1`")
def one_attempt(sandbox: Sandbox) -> list[Row]:
    return rows(sandbox.run_to_end(enqueued(sandbox, FAILURE, max_attempts=1)))


@case("cancelled while a retry waits")
def cancelled(sandbox: Sandbox) -> list[Row]:
    run = sandbox.run(enqueued(sandbox, FAILURE))
    return rows(sandbox.jobs.cancel(run.id))


@case("cancelled while it runs, and it raises")
def cancelled_while_it_runs(sandbox: Sandbox) -> list[Row]:
    def fail(task: Any) -> None:
        sandbox.jobs.cancel(task.request.id)
        raise FAILURE

    return rows(sandbox.run_to_end(enqueued(sandbox, fail)))


@case("the task raises `Cancelled`")
def cancels_itself(sandbox: Sandbox) -> list[Row]:
    run = sandbox.run_to_end(enqueued(sandbox, Cancelled("pointless")))
    assert run.cancel_requested_at is None
    return rows(run)


@case("`expires` passed before the claim")
def expired(sandbox: Sandbox) -> list[Row]:
    job_id = enqueued(sandbox, "done", expires=10)
    sandbox.advance(11)
    sandbox.drain()
    run = sandbox.jobs.get(job_id)
    assert run.failure_reason == "expired"
    return rows(run)


@case("its worker is killed once")
def killed_once(sandbox: Sandbox) -> list[Row]:
    run = sandbox.run(enqueued(sandbox, SystemExit(), "done"))
    assert (run.losses, run.attempt_number) == (1, 1)
    [(attempt, status, final_status)] = rows(run)
    assert sandbox.run_to_end(run.id).final_status == "success"
    return [(attempt, f"{status}, then …", final_status)]


@case("it kills its worker each time")
def killed_always(sandbox: Sandbox) -> list[Row]:
    run = sandbox.run_to_end(enqueued(sandbox, SystemExit()))
    assert (run.losses, run.failure_reason) == (3, "worker_lost")
    return rows(run)


@case("the task raises `Ignore`")
def ignored(sandbox: Sandbox) -> list[Row]:
    run = sandbox.run_to_end(enqueued(sandbox, Ignore()))
    assert run.result is None
    return rows(run)


@case("it raises `Reject(requeue=False)`")
def rejected(sandbox: Sandbox) -> list[Row]:
    run = sandbox.run_to_end(enqueued(sandbox, Reject("no", requeue=False)))
    assert run.failure_reason == "no_retry"
    return rows(run)


@case("it raises `Reject(requeue=True)`")
def requeued(sandbox: Sandbox) -> list[Row]:
    [(attempt, status, final_status)] = rows(sandbox.run(enqueued(sandbox, Reject("no", requeue=True))))
    return [(attempt, f"{status} again", final_status)]


@case("`self.replace(…)`")
def replaced(sandbox: Sandbox) -> list[Row]:
    @sandbox.app.task(name="other", shared=False)
    def other() -> str:
        return "done"

    run = sandbox.run(enqueued(sandbox, lambda task: task.replace(other.s())))
    drained = sandbox.drain()
    assert [found.id for found in drained] == [run.replaced_by]
    assert drained[0].task_id == run.task_id
    return rows(run)


@case("a replay of the dead one")
def replayed(sandbox: Sandbox) -> list[Row]:
    dead = sandbox.run_to_end(enqueued(sandbox, FAILURE))
    again = sandbox.jobs.replay(dead.id)
    old = sandbox.jobs.get(dead.id)
    assert (again.replay_of, old.replayed_as, old.final_status) == (dead.id, again.id, "dead_lettered")
    assert old.replayed_at is not None
    [(attempt, status, final_status)] = rows(again)
    return [(f"{attempt}, of a new chain", status, final_status)]
