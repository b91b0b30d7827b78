"""Attempts in a sandbox: the worked chains of semantics.md section 2, on a clock that the test moves."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Ignore, Reject

from celery_jobs import JobNotFound, NoRetry, RetryAfter
from celery_jobs.store.tables import queues
from celery_jobs.testing import JobsLeftWaiting, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs import Run
    from celery_jobs.testing import Sandbox

DELAYS = [60, 1800, 10800]


def verdicts(run: Run) -> list[tuple[str, str | None]]:
    return [(job.status, job.final_status) for job in run.attempts]


def gaps(run: Run) -> list[float]:
    """Seconds from the end of each attempt to the start of the next."""
    ends = [job.finished_at for job in run.attempts]
    starts = [job.started_at for job in run.attempts[1:]]
    return [(start - end).total_seconds() for end, start in zip(ends, starts, strict=False) if start and end]


def flaky_task(app: Celery, works_on: int, **options: Any) -> Any:
    @app.task(name="flaky", bind=True, **options)
    def flaky(self: Any) -> str:
        if self.request.retries + 1 < works_on:
            raise ValueError(f"attempt {self.request.retries + 1}")
        return "done"

    return flaky


def pause(sandbox: Sandbox, queue: str) -> None:
    insert = queues.insert().values(name=queue, paused_at=sandbox.now)
    sandbox._inside.db.run(lambda connection: connection.execute(insert))


def test_what_works_at_once_is_a_success(app: Celery, sandbox: Sandbox) -> None:
    result = flaky_task(app, 1).delay()
    [run] = sandbox.drain()
    assert verdicts(run) == [("completed", "success")]
    assert (run.result, result.get()) == ("done", "done")
    assert sandbox.jobs.check() == []


def test_what_works_on_attempt_three_is_resolved_by_it(app: Celery, sandbox: Sandbox) -> None:
    flaky_task(app, 3).delay()
    [run] = sandbox.drain()
    assert verdicts(run) == [("failed", "success"), ("failed", "failed_with_retries"), ("completed", "success")]
    assert run.resolved_by == run.attempts[2].id
    assert sandbox.jobs.check() == []


def test_four_failures_are_dead_lettered_after_exactly_the_documented_delays_in_no_time(
    app: Celery, sandbox: Sandbox
) -> None:
    result = flaky_task(app, 9).delay()
    began, first = time.monotonic(), sandbox.now
    [run] = sandbox.drain()
    assert time.monotonic() - began < 5
    assert verdicts(run) == [("failed", "dead_lettered")] + [("failed", "failed_with_retries")] * 3
    assert gaps(run) == DELAYS
    assert all(job.started_at == job.scheduled_at for job in run.attempts)
    assert sandbox.now - first == timedelta(seconds=sum(DELAYS))
    assert sandbox.dead_letters == [run]
    assert sandbox.jobs.check() == []
    with pytest.raises(ValueError, match="attempt 4"):
        result.get()


def test_with_retries_off_a_failure_ends_the_chain(app: Celery, sandbox: Sandbox) -> None:
    app.conf.jobs_queue_defaults = {"retries_enabled": False}
    vars(sandbox._inside.plugin).pop("settings", None)
    flaky_task(app, 2).delay()
    [run] = sandbox.drain()
    assert verdicts(run) == [("failed", "failed_no_retries")]
    assert sandbox.dead_letters == []


def test_one_attempt_that_fails_is_dead_lettered(app: Celery, sandbox: Sandbox) -> None:
    flaky_task(app, 2).apply_async(max_attempts=1)
    assert verdicts(sandbox.drain()[0]) == [("failed", "dead_lettered")]


def test_no_retry_ends_the_chain_and_retry_after_lengthens_the_wait(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="hopeless")
    def hopeless() -> None:
        raise NoRetry("gone for good")

    @app.task(name="busy", bind=True)
    def busy(self: Any) -> None:
        if self.request.retries == 0:
            raise RetryAfter(300)

    dead, later = (sandbox.run_to_end(task.delay().id) for task in (hopeless, busy))
    assert (dead.final_status, dead.failure_reason, dead.attempt_number) == ("dead_lettered", "no_retry", 1)
    assert (later.final_status, gaps(later)) == ("success", [300])


def test_celerys_own_retries_are_attempts_after_their_own_countdown(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="patient", bind=True)
    def patient(self: Any) -> str:
        if self.request.retries == 0:
            raise self.retry(countdown=7200)
        return "done"

    @app.task(name="auto", autoretry_for=(KeyError,), max_retries=1, default_retry_delay=90)
    def auto() -> None:
        raise KeyError("x")

    patient.delay()
    auto.delay()
    runs = {run.task: run for run in sandbox.drain()}
    assert (runs["patient"].final_status, gaps(runs["patient"])) == ("success", [7200])
    assert (runs["auto"].final_status, gaps(runs["auto"])) == ("dead_lettered", [90])


def test_ignore_and_reject_end_as_documented(app: Celery, sandbox: Sandbox) -> None:
    requeued: list[int] = []

    @app.task(name="raises")
    def raises(kind: str) -> None:
        if kind == "ignore":
            raise Ignore
        if kind == "reject":
            raise Reject("no")
        if not requeued:
            requeued.append(1)
            raise Reject("not now", requeue=True)

    for kind in ("ignore", "reject", "requeue"):
        raises.delay(kind)
    ignored, rejected, put_back = sandbox.drain()
    assert verdicts(ignored) == [("completed", "success")]
    assert (verdicts(rejected), rejected.failure_reason) == ([("failed", "dead_lettered")], "no_retry")
    assert (verdicts(put_back), put_back.attempt_number) == ([("completed", "success")], 1)


def test_a_replaced_task_is_a_success_and_its_replacement_a_run_of_its_own(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="after")
    def after() -> str:
        return "replaced"

    @app.task(name="before", bind=True)
    def before(self: Any) -> Any:
        return self.replace(after.si())

    result = before.delay()
    first, second = sandbox.drain()
    assert (first.task, first.replaced_by, second.task) == ("before", second.id, "after")
    assert result.get() == "replaced"


def test_what_expired_before_its_claim_is_cancelled(app: Celery, sandbox: Sandbox) -> None:
    task = flaky_task(app, 1)
    sandbox.advance(86_400)
    fresh, stale = task.apply_async(expires=60), task.apply_async(expires=60, countdown=120)
    drained = {run.task_id: run for run in sandbox.drain()}
    assert drained[fresh.id].final_status == "success"
    assert (drained[stale.id].final_status, drained[stale.id].failure_reason) == ("cancelled", "expired")
    assert stale.state == "REVOKED"


def test_a_job_that_kills_its_worker_each_time_is_buried_after_three_losses(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="deadly")
    def deadly() -> None:
        raise SystemExit(1)

    deadly.delay()
    [run] = sandbox.drain()
    assert (run.final_status, run.failure_reason, run.losses) == ("dead_lettered", "worker_lost", 3)
    assert run.attempt_number == 1


def test_what_would_end_the_test_is_raised_and_the_job_given_back(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="asserts")
    def asserts() -> None:
        pytest.fail("inside the task")

    result = asserts.delay()
    with pytest.raises(pytest.fail.Exception, match="inside the task"):
        sandbox.drain()
    run = sandbox.jobs.get(result.id)
    assert (run.status, run.losses, run.attempt_number) == ("pending", 0, 1)


def test_a_run_that_is_cancelled_while_it_waits_is_not_run(app: Celery, sandbox: Sandbox) -> None:
    result = flaky_task(app, 9).delay()
    sandbox.run(result.id)
    sandbox.jobs.cancel(result.id)
    assert sandbox.drain() == []
    assert verdicts(sandbox.jobs.get(result.id)) == [("failed", "cancelled"), ("cancelled", "cancelled")]


def test_a_dead_letter_is_replayed_and_drained(app: Celery, sandbox: Sandbox) -> None:
    flaky_task(app, 2).apply_async(max_attempts=1)
    sandbox.drain()
    new = sandbox.jobs.replay(sandbox.dead_letters[0].id, reason="it is back")
    [run] = sandbox.drain()
    assert (run.id, run.final_status) == (new.id, "dead_lettered")
    assert [dead.replayed_as for dead in sandbox.dead_letters] == [new.id, None]


def test_the_clock_begins_now_stands_still_and_never_goes_back(app: Celery, sandbox: Sandbox) -> None:
    began = sandbox.now
    assert abs(datetime.now(UTC) - began) < timedelta(seconds=60)
    assert began.tzinfo is UTC
    result = flaky_task(app, 1).apply_async(delay=30)
    assert sandbox.advance(60) == began + timedelta(seconds=60)
    assert sandbox.jobs.get(result.id).status == "pending"
    assert sandbox.advance(timedelta(hours=1)) == began + timedelta(seconds=3660)
    with pytest.raises(ValueError, match="time does not go back"):
        sandbox.advance(-1)
    sandbox.drain()
    assert sandbox.now == began + timedelta(seconds=3660)


def test_a_task_may_let_time_pass_and_its_retry_waits_from_its_end(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="long", bind=True)
    def long(self: Any) -> None:
        sandbox.advance(600)
        if self.request.retries == 0:
            raise ValueError("after ten minutes")

    long.delay()
    [run] = sandbox.drain()
    first = run.attempts[0]
    assert first.started_at is not None
    assert first.finished_at == first.started_at + timedelta(seconds=600)
    assert gaps(run) == [60]


def test_run_due_runs_nothing_that_is_due_later(app: Celery, sandbox: Sandbox) -> None:
    task, began = flaky_task(app, 1), sandbox.now
    now, later = task.delay(), task.apply_async(delay=1800)
    assert [run.task_id for run in sandbox.run_due()] == [now.id]
    assert sandbox.run_due() == []
    sandbox.advance(1799.999)
    assert sandbox.run_due() == []
    sandbox.advance(0.001)
    assert [run.task_id for run in sandbox.run_due()] == [later.id]
    assert sandbox.now == began + timedelta(seconds=1800)


def test_run_runs_one_attempt_of_one_job_and_moves_the_clock_on_to_it(app: Celery, sandbox: Sandbox) -> None:
    task, began = flaky_task(app, 9), sandbox.now
    result, other = task.apply_async(delay=500), task.delay()
    assert sandbox.run(result.id).attempt_number == 2
    assert sandbox.now == began + timedelta(seconds=500)
    assert verdicts(sandbox.run(result.job_id))[:2] == [("failed", "retrying"), ("failed", "failed_with_retries")]
    assert sandbox.run_to_end(result.id).final_status == "dead_lettered"
    assert sandbox.jobs.get(other.id).attempts[0].status == "pending"
    with pytest.raises(SandboxError, match="has ended as dead_lettered"):
        sandbox.run(result.id)
    with pytest.raises(JobNotFound):
        sandbox.run("nothing")


def test_drain_runs_by_due_time_then_priority_then_age(app: Celery, sandbox: Sandbox) -> None:
    ran: list[str] = []

    @app.task(name="note")
    def note(text: str) -> None:
        ran.append(text)

    at = sandbox.now + timedelta(hours=1)
    sandbox.jobs.enqueue("note", ("older",), scheduled_at=at)
    sandbox.jobs.enqueue("note", ("younger",), scheduled_at=at)
    sandbox.jobs.enqueue("note", ("urgent",), scheduled_at=at, priority=5)
    sandbox.jobs.enqueue("note", ("last",), delay=7200, priority=9)
    sandbox.jobs.enqueue("note", ("first",))
    sandbox.drain()
    assert ran == ["first", "urgent", "older", "younger", "last"]


def test_drain_of_a_queue_leaves_the_others(app: Celery, sandbox: Sandbox) -> None:
    task = flaky_task(app, 1)
    task.apply_async(queue="reports")
    left = task.delay()
    assert [run.queue for run in sandbox.drain(queue="reports")] == ["reports"]
    assert sandbox.jobs.get(left.id).status == "pending"


def test_what_a_task_enqueues_is_drained_and_an_endless_one_is_named(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="tick")
    def tick(left: int) -> None:
        if left:
            tick.apply_async((left - 1,), countdown=86_400)

    tick.delay(3)
    assert len(sandbox.drain(most=4)) == 4
    tick.delay(-1)
    with pytest.raises(SandboxError, match="5 attempts were run and jobs still wait, the next of tick"):
        sandbox.drain(most=5)


def test_run_to_end_names_a_task_that_retries_for_ever(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="again", bind=True, max_retries=None)
    def again(self: Any) -> None:
        raise self.retry(countdown=60)

    with pytest.raises(SandboxError, match="again has no verdict"):
        sandbox.run_to_end(again.delay().id, most=3)


def test_jobs_of_a_paused_queue_are_left_and_named(app: Celery, sandbox: Sandbox) -> None:
    pause(sandbox, "celery")
    result = flaky_task(app, 1).delay()
    with pytest.warns(JobsLeftWaiting, match=f"flaky, job {result.job_id}: its queue 'celery' is paused"):
        assert sandbox.drain() == []
    assert sandbox.run_due() == []
    with pytest.raises(SandboxError, match="is paused; resume it"):
        sandbox.run(result.id)


def test_jobs_of_a_task_that_the_app_lacks_are_left_and_named(app: Celery, sandbox: Sandbox) -> None:
    result = app.send_task("elsewhere", (1,))
    flaky_task(app, 1).delay()
    with pytest.warns(JobsLeftWaiting, match="does not know the task 'elsewhere'"):
        assert [run.task for run in sandbox.drain()] == ["flaky"]
    with pytest.raises(SandboxError, match="import the module that defines it"):
        sandbox.run(result.id)


def test_a_message_that_a_worker_could_not_read_is_named(app: Celery, sandbox: Sandbox) -> None:
    @app.task(name="pickled", serializer="pickle")
    def pickled() -> None: ...

    pickled.delay()
    with pytest.raises(SandboxError, match="does accept_content allow"):
        sandbox.drain()


def test_get_before_the_run_says_so_instead_of_waiting(app: Celery, sandbox: Sandbox) -> None:
    result = flaky_task(app, 1).delay()
    with pytest.raises(SandboxError, match=r"call sandbox\.drain"):
        result.get()


def test_a_task_that_waits_for_another_fails_as_in_a_worker(app: Celery, sandbox: Sandbox) -> None:
    inner = flaky_task(app, 1)

    @app.task(name="outer", max_attempts=1)
    def outer() -> None:
        inner.delay().get()

    run = sandbox.run_to_end(outer.delay().id)
    assert run.error_message is not None
    assert "Never call result.get() within a task" in run.error_message


@pytest.mark.parametrize("protocol", [1, 2])
def test_both_task_protocols_are_run(app: Celery, sandbox: Sandbox, protocol: int) -> None:
    app.conf.task_protocol = protocol
    vars(app.amqp).pop("create_task_message", None)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    result = add.apply_async((1,), {"y": 2}, link=add.s(10))
    assert [run.result for run in sandbox.drain()] == [3, 13]
    assert result.get() == 3


def test_what_outside_workers_do_is_left_to_their_verbs(app: Celery, jobs_sandbox: Callable[[Celery], Sandbox]) -> None:
    app.conf.jobs_queues = {"pull": {"mode": "pull"}}
    sandbox = jobs_sandbox(app)
    run = sandbox.jobs.enqueue_payload("pull", {"image": 7})
    assert sandbox.drain() == []
    with pytest.raises(SandboxError, match=r"it is an outside worker's; use sandbox\.jobs\.claim"):
        sandbox.run(run.id)
    (job,) = sandbox.jobs.claim("pull", "anne", lease_duration=30)
    sandbox.advance(31)
    (again,) = sandbox.jobs.claim("pull", "ben")
    assert (job.id, again.losses) == (again.id, 1)
    assert sandbox.jobs.complete(again.id, "ben").final_status == "success"
    assert [found.id for found in sandbox.enqueued(queue="pull")] == [run.id]


def test_a_task_does_not_retry_itself_into_a_queue_of_outside_workers(
    app: Celery, jobs_sandbox: Callable[[Celery], Sandbox]
) -> None:
    app.conf.jobs_queues = {"pull": {"mode": "pull"}}

    @app.task(bind=True, shared=False)
    def moving(self: Any) -> None:
        raise self.retry(queue="pull", countdown=1)

    run = jobs_sandbox(app).run(moving.delay().job_id)
    assert (run.final_status, run.failure_reason, run.queue) == ("dead_lettered", "no_retry", "celery")
    assert "outside workers claim its jobs" in str(run.error_message)
