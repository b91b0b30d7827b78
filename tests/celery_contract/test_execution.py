"""The worker's seams: the claim before anything happens, the finish after everything has."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Task, chain
from celery.signals import task_prerun

from celery_jobs import Jobs, JobTask, NoRetry
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.plugin import plugin_of
from celery_jobs.sending import sender_of
from celery_jobs.store import sends
from celery_jobs.store.tables import jobs
from tests.apps import working
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from tests.celery_contract.conftest import MakeApp


def ended(app: Celery, id: str) -> Any:
    return wait_until(lambda: (run := Jobs(app).get(id)).has_ended and run)


def test_a_message_doubled_ten_times_runs_once_and_prerun_fires_once(app: Celery) -> None:
    ran, seen = [], []

    @app.task(name="once")
    def once() -> None:
        ran.append(1)

    def prerun(task_id: str, **_: Any) -> None:
        seen.append(task_id)

    result = once.delay()
    plugin = plugin_of(app)
    for _ in range(9):
        sender_of(plugin).send(sends.fetch(plugin.db, [result.job_id]))
    task_prerun.connect(prerun)
    try:
        with working(app):
            ended(app, result.id)
            last = once.delay()
            ended(app, last.id)
    finally:
        task_prerun.disconnect(prerun)
    assert len(ran) == 2
    assert seen == [result.id, last.id]


def test_flasks_task_class_is_retried_by_policy(new_app: MakeApp) -> None:
    """Flask's documented class overrides __call__ and calls run: see its "Background Tasks with Celery"."""

    class FlaskTask(Task):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            entered.append(1)
            return self.run(*args, **kwargs)

    import celery_jobs

    entered: list[int] = []
    app = new_app(install=False)
    app.task_cls = FlaskTask
    celery_jobs.install(app)

    @app.task(name="flaky", bind=True)
    def flaky(self: Any) -> str:
        if self.request.retries == 0:
            raise ValueError("first")
        return "second"

    with working(app):
        result = flaky.delay()
        assert result.get(timeout=40) == "second"
        assert ended(app, result.id).attempt_number == 2
    assert len(entered) == 2


def test_class_based_tasks_are_retried_by_policy(app: Celery) -> None:
    class Flaky(JobTask):
        name = "flaky"

        def run(self) -> str:
            if self.request.retries == 0:
                raise ValueError("first")
            return "second"

    flaky = app.register_task(Flaky())
    with working(app):
        assert flaky.delay().get(timeout=40) == "second"


@pytest.mark.parametrize("shortcut", ["task_cls", "base"])
def test_task_cls_and_base_are_shortcuts_that_install_the_plugin(new_app: MakeApp, shortcut: str) -> None:
    app = new_app(install=False)
    if shortcut == "task_cls":
        app.task_cls = "celery_jobs:JobTask"

    @app.task(name="one", base=JobTask if shortcut == "base" else None)
    def one() -> int:
        return 1

    assert Jobs(app).get(one.delay().job_id).status == "pending"


def test_shared_tasks_are_jobs_of_an_app_with_the_plugin(app: Celery) -> None:
    from celery import shared_task

    @shared_task(name="tests.shared_add")
    def shared_add(x: int) -> int:
        return x

    assert app.tasks["tests.shared_add"].is_job
    assert app.tasks["tests.shared_add"].delay(1).job_id


def test_direct_and_nested_calls_are_plain_calls(app: Celery) -> None:
    @app.task(name="inner")
    def inner() -> None:
        raise KeyError("inner")

    @app.task(name="outer")
    def outer() -> str:
        try:
            inner()
        except KeyError:
            return "seen"
        return "not seen"

    with pytest.raises(KeyError):
        inner()
    with working(app):
        result = outer.delay()
        assert result.get(timeout=40) == "seen"
        assert ended(app, result.id).attempt_number == 1
    with plugin_of(app).db.reading() as connection:
        assert len(list(connection.execute(jobs.select()))) == 1


def test_users_hooks_are_not_ours(app: Celery) -> None:
    """Everything is recorded although the user's hooks call no super()."""

    class Hooked(JobTask):
        def before_start(self, *_: Any) -> None: ...
        def on_success(self, *_: Any) -> None:
            raise RuntimeError("broken hook")

        def on_failure(self, *_: Any) -> None: ...
        def on_retry(self, *_: Any) -> None: ...
        def after_return(self, *_: Any) -> None: ...

    @app.task(name="fine", base=Hooked)
    def fine() -> int:
        return 1

    @app.task(name="broken", base=Hooked, max_attempts=1)
    def broken() -> None:
        raise ValueError("x")

    with working(app):
        assert ended(app, fine.delay().id).final_status == "success"
        assert ended(app, broken.delay().id).final_status == "dead_lettered"


def test_a_producer_without_the_plugin_is_adopted(new_app: MakeApp) -> None:
    app, plain = new_app(), new_app(install=False)

    @app.task(name="flaky", bind=True)
    def flaky(self: Any, text: str) -> str:
        if self.request.retries == 0:
            raise ValueError("first")
        return text

    result = plain.send_task("flaky", ("hello",))
    with working(app):
        assert result.get(timeout=40) == "hello"
        run = ended(app, result.id)
    assert (run.final_status, run.attempt_number, run.task_id) == ("success", 2, result.id)


def test_a_message_whose_mark_is_no_id_is_one_without_a_mark(new_app: MakeApp) -> None:
    app, plain = new_app(), new_app(install=False)

    @app.task(name="echo")
    def echo(text: str) -> str:
        return text

    marks: list[Any] = ["nonsense", 7, {"id": 7}]
    for mark in marks:
        plain.send_task("nobodys", headers={JOB_HEADER: mark})
    results = [plain.send_task("echo", (str(mark),), headers={JOB_HEADER: mark}) for mark in marks]
    with working(app):
        assert [result.get(timeout=40) for result in results] == [str(mark) for mark in marks]
        assert [ended(app, result.id).final_status for result in results] == ["success"] * 3


@pytest.mark.parametrize("protocol", [1, 2])
def test_both_task_protocols_are_recorded_and_retried(new_app: MakeApp, protocol: int) -> None:
    app, plain = new_app(task_protocol=protocol), new_app(install=False, task_protocol=protocol)

    @app.task(name="flaky", bind=True)
    def flaky(self: Any, text: str) -> str:
        if Jobs(app).get(self.request.id).attempt_number == 1:
            raise ValueError("first")
        return text

    with working(app):
        for result in (flaky.delay("ours"), plain.send_task("flaky", ("theirs",))):
            assert result.get(timeout=40) in ("ours", "theirs")
            assert ended(app, result.id).attempt_number == 2


def test_a_message_whose_row_is_gone_is_dropped(app: Celery) -> None:
    ran = []

    @app.task(name="gone")
    def gone() -> None:
        ran.append(1)

    result = gone.delay()
    plugin_of(app).db.run(lambda connection: connection.execute(jobs.delete()))
    with working(app):
        last = gone.delay()
        ended(app, last.id)
    assert ran == [1]
    assert result.id != last.id


def test_a_chain_hands_results_on_and_each_step_is_a_job(app: Celery) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    with working(app):
        result = chain(add.s(1, 2), add.s(3), add.s(4)).apply_async()
        assert result.get(timeout=40) == 10
        wait_until(lambda: len(Jobs(app).list(status="success")) == 3)


def test_retries_of_the_policy_do_not_count_against_celerys_max_retries(app: Celery) -> None:
    @app.task(name="mixed", bind=True, max_retries=1, max_attempts=3)
    def mixed(self: Any) -> str:
        if self.request.retries < 2:
            raise ValueError("policy")
        if self.request.retries == 2:
            raise self.retry(countdown=0)
        return "done"

    with working(app):
        result = mixed.delay()
        assert result.get(timeout=40) == "done"
        assert ended(app, result.id).attempt_number == 4
    assert "override_max_retries" not in vars(mixed)


@pytest.mark.parametrize("error", ["NoRetry", "KeyError"])
def test_what_cannot_help_is_not_retried_by_autoretry_either(app: Celery, error: str) -> None:
    @app.task(name="hopeless", autoretry_for=(Exception,), no_retry_for=(KeyError,), default_retry_delay=0)
    def hopeless() -> None:
        raise {"NoRetry": NoRetry, "KeyError": KeyError}[error]("no use")

    with working(app):
        run = ended(app, hopeless.delay().id)
    assert (run.final_status, run.attempt_number, run.failure_reason) == ("dead_lettered", 1, "no_retry")


def test_an_end_that_cannot_be_written_as_it_should_still_ends_the_attempt(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="fails", max_attempts=1)
    def fails() -> None:
        raise ValueError("x")

    def broken(*_: Any) -> None:
        raise TypeError("a fault of ours")

    monkeypatch.setattr("celery_jobs.execution.failure_of", broken)
    with working(app):
        run = ended(app, fails.delay().id)
    assert (run.status, run.final_status) == ("failed", "dead_lettered")
    assert run.error_message == "a fault of ours"


def test_delays_taken_out_of_the_settings_lose_no_attempts(app: Celery) -> None:
    @app.task(name="fails")
    def fails() -> None:
        raise ValueError("x")

    result = fails.delay()
    app.conf.jobs_queue_defaults = {"retry_delays": []}
    plugin_of(app).__dict__.pop("settings")
    with working(app):
        run = wait_until(lambda: (run := Jobs(app).get(result.id)).attempt_number == 2 and run)
    assert (run.status, run.attempts[0].error_message) == ("pending", "x")
    finished_at = run.attempts[0].finished_at
    assert finished_at is not None
    assert run.scheduled_at - finished_at == timedelta(seconds=60)


def test_a_retry_that_gives_up_is_not_taken_up_by_autoretry(app: Celery) -> None:
    """The limit of the call goes before the task's, as in Celery."""

    @app.task(name="enough", bind=True, autoretry_for=(ValueError,), max_retries=5, default_retry_delay=0)
    def enough(self: Any) -> None:
        self.retry(exc=ValueError("enough"), max_retries=0)

    with working(app):
        result = enough.delay()
        run = ended(app, result.id)
    assert (run.attempt_number, run.final_status) == (1, "dead_lettered")


def test_when_celerys_retries_give_up_the_policy_does_not_begin_again(app: Celery) -> None:
    @app.task(name="stubborn", autoretry_for=(KeyError,), max_retries=1, retry_backoff=False, default_retry_delay=0)
    def stubborn() -> None:
        raise KeyError("x")

    with working(app):
        run = ended(app, stubborn.delay().id)
    assert (run.final_status, run.attempt_number) == ("dead_lettered", 2)
