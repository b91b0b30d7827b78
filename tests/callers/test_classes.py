"""The classes that people give their tasks: each is retried by the policy, and keeps what it adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask
import pytest
from celery import Celery
from celery.app.task import Task
from celery.contrib.django.task import DjangoTask
from django.db import transaction
from pydantic import BaseModel

import celery_jobs
from celery_jobs import Jobs, JobTask
from tests.apps import make_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.testing import Sandbox

NOWHERE, NO_FILE = "redis://127.0.0.1:1/0", "sqlite:////nowhere/jobs.sqlite3"

pages = flask.Flask("pages")
pages.config["GREETING"] = "from the context"


class FlaskTask(Task):  # type: ignore[misc]
    """As Flask documents it, "Background Tasks with Celery"."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with pages.app_context():
            return self.run(*args, **kwargs)


class FlaskFirst(FlaskTask, JobTask):
    abstract = True


class JobFirst(JobTask, FlaskTask):
    abstract = True


def bare(**options: Any) -> Celery:
    return make_app(NOWHERE, NO_FILE, install=False, **options)


def installed(task_cls: Any) -> Celery:
    """An app with a class of its own, on which the plugin is installed."""
    app = bare()
    app.task_cls = task_cls
    celery_jobs.install(app)
    return app


def constructed(task_cls: Any) -> Celery:
    """The same, the class given where the app is made."""
    app = Celery("shop", broker=NOWHERE, backend=NOWHERE, task_cls=task_cls, set_as_current=False)
    app.conf.jobs_database_url = NO_FILE
    celery_jobs.install(app)
    return app


def shortcut(task_cls: Any) -> Celery:
    """The same, with a class of ours and no call of `install`."""
    app = bare()
    app.task_cls = task_cls
    return app


def greet(self: Any) -> str:
    """Fail at first; then greet from Flask's context, if there is one."""
    if self.request.retries == 0:
        raise ValueError("not yet")
    return str(flask.current_app.config["GREETING"]) if flask.has_app_context() else "done"


def decorated(app: Celery, **options: Any) -> Any:
    return app.task(name="greet", bind=True, shared=False, **options)(greet)


def of_a_class(app: Celery, *bases: type, **attributes: Any) -> Any:
    """A class-based task, registered as Celery documents it."""
    return app.register_task(type("Greet", bases or (app.Task,), {"name": "greet", **attributes})())


class Mixin:
    """Has the body of a task and is none."""

    def run(self) -> str:
        return greet(self)


class Base(JobTask):
    """A base with a body, which others call."""

    abstract = True

    def run(self) -> str:
        return greet(self)


def calls_its_base(self: Any) -> str:
    return Base.run(self)


FLASK: dict[str, Callable[[], Any]] = {
    "task_cls, then install": lambda: decorated(installed(FlaskTask)),
    "task_cls where the app is made": lambda: decorated(constructed(FlaskTask)),
    "task_cls by its name": lambda: decorated(constructed(f"{__name__}:FlaskTask")),
    "task_cls with ours behind": lambda: decorated(constructed(FlaskFirst)),
    "task_cls with ours before": lambda: decorated(constructed(JobFirst)),
    "task_cls without install": lambda: decorated(shortcut(FlaskFirst)),
    "base with ours": lambda: decorated(make_app(NOWHERE, NO_FILE), base=FlaskFirst),
    "app.Task of an older Flask": lambda: decorated(older(make_app(NOWHERE, NO_FILE))),
    "a class-based task": lambda: of_a_class(installed(FlaskTask), run=greet),
}


def older(app: Celery) -> Celery:
    """What Flask's documentation said before: a class made of the app's own."""

    class ContextTask(app.Task):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with pages.app_context():
                return self.run(*args, **kwargs)

    app.Task = ContextTask
    return app


OTHERS: dict[str, Callable[[], Any]] = {
    "a bound function": lambda: decorated(make_app(NOWHERE, NO_FILE)),
    "a class-based task": lambda: of_a_class(make_app(NOWHERE, NO_FILE), run=greet),
    "a class of ours": lambda: of_a_class(make_app(NOWHERE, NO_FILE), JobTask, run=greet),
    "a body in a mixin": lambda: of_a_class(make_app(NOWHERE, NO_FILE), Mixin, JobTask),
    "a body in a base": lambda: of_a_class(make_app(NOWHERE, NO_FILE), Base),
    "a body that calls its base": lambda: of_a_class(make_app(NOWHERE, NO_FILE), Base, run=calls_its_base),
    "a call that runs no body": lambda: of_a_class(make_app(NOWHERE, NO_FILE), __call__=greet),
    "a class with autoretry": lambda: of_a_class(
        make_app(NOWHERE, NO_FILE), run=greet, autoretry_for=(ValueError,), default_retry_delay=1
    ),
    "autoretry inside a context": lambda: of_a_class(
        installed(FlaskTask), run=lambda self: greet(self)[:4] + "!", autoretry_for=(ValueError,), default_retry_delay=1
    ),
}


def second_attempt(task: Any, jobs_sandbox: Callable[[Celery], Sandbox]) -> Any:
    """The value of a job that fails once."""
    sandbox = jobs_sandbox(task.app)
    task.delay()
    [run] = sandbox.drain()
    assert (run.final_status, run.attempt_number, run.attempts[0].error_message) == ("success", 2, "not yet")
    return run.result


@pytest.mark.parametrize("made", FLASK)
def test_flasks_task_runs_in_its_context_and_is_retried(made: str, jobs_sandbox: Any) -> None:
    assert second_attempt(FLASK[made](), jobs_sandbox) == "from the context"


@pytest.mark.parametrize("made", OTHERS)
def test_a_task_of_any_class_is_retried(made: str, jobs_sandbox: Any) -> None:
    assert second_attempt(OTHERS[made](), jobs_sandbox) in ("done", "from!")


@pytest.mark.parametrize("autoretried", [False, True])
def test_what_fails_around_the_body_is_a_failure_like_any_other(autoretried: bool, jobs_sandbox: Any) -> None:
    """A context that cannot be entered, a session that cannot be committed; autoretry sees the body alone."""

    class Session(JobTask):
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            value = self.run(*args, **kwargs)
            if self.request.retries < 2:
                raise ValueError("the session cannot be committed")
            return value

    options = {"autoretry_for": (ValueError,), "max_retries": 0} if autoretried else {}
    app = make_app(NOWHERE, NO_FILE)
    task = app.task(name="save", base=Session, shared=False, **options)(save)
    sandbox = jobs_sandbox(app)
    task.delay()
    [run] = sandbox.drain()
    assert (run.final_status, run.attempt_number) == ("success", 3)
    assert {row.error_message for row in run.attempts[:2]} == {"the session cannot be committed"}


def save() -> str:
    return "saved"


def test_what_is_around_the_body_sees_its_real_error(jobs_sandbox: Any) -> None:
    """Not Celery's Retry: so it can roll back."""
    seen: list[str] = []

    class Session(JobTask):
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return self.run(*args, **kwargs)
            except Exception as error:
                seen.append(repr(error))
                raise

    task = decorated(make_app(NOWHERE, NO_FILE), base=Session)
    assert second_attempt(task, jobs_sandbox) == "done"
    assert seen == ["ValueError('not yet')"]


def test_a_task_that_calls_itself_or_another_calls_a_plain_function(jobs_sandbox: Any) -> None:
    """In the worker and outside of it."""
    app = installed(FlaskTask)

    @app.task(name="factorial", bind=True, shared=False)
    def factorial(self: Any, n: int) -> int:
        return 1 if n == 0 else n * self(n - 1)

    assert factorial(4) == 24
    sandbox = jobs_sandbox(app)
    factorial.delay(5)
    [run] = sandbox.drain()
    assert (run.result, run.attempt_number) == (120, 1)


class JobDjangoTask(JobTask, DjangoTask):  # type: ignore[misc]
    abstract = True


class DjangoJobTask(DjangoTask, JobTask):  # type: ignore[misc]
    abstract = True


DJANGO: dict[str, Callable[[], Any]] = {
    "task_cls, then install": lambda: decorated(installed(DjangoTask)),
    "task_cls by its name": lambda: decorated(constructed("celery.contrib.django.task:DjangoTask")),
    "both, ours before": lambda: decorated(constructed(JobDjangoTask)),
    "both, ours behind": lambda: decorated(constructed(DjangoJobTask)),
    "task_cls without install": lambda: decorated(shortcut(JobDjangoTask)),
    "base": lambda: decorated(make_app(NOWHERE, NO_FILE), base=JobDjangoTask),
}


@pytest.mark.parametrize("made", DJANGO)
def test_djangos_task_is_enqueued_on_commit_and_is_retried(
    made: str, jobs_sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the transaction is a list of what is to happen when it commits."""
    on_commit: list[Callable[[], Any]] = []
    monkeypatch.setattr(transaction, "on_commit", on_commit.append)
    task = DJANGO[made]()
    sandbox = jobs_sandbox(task.app)
    task.delay_on_commit()
    task.apply_async_on_commit(countdown=5)
    assert sandbox.enqueued() == []
    for act in on_commit:
        act()
    runs = sandbox.drain()
    assert [(run.final_status, run.attempt_number, run.result) for run in runs] == [("success", 2, "done")] * 2


class Order(BaseModel):
    """What a pydantic task takes."""

    number: int
    note: str = "none"


class Receipt(BaseModel):
    """What it gives."""

    total: int


def test_a_pydantic_task_takes_and_gives_models_in_each_attempt(jobs_sandbox: Any) -> None:
    app = make_app(NOWHERE, NO_FILE, jobs_queue_defaults={"retry_delays": [1]})

    def sell(self: Any, order: Order, price: int = 3) -> Receipt:
        if self.request.retries == 0:
            raise ValueError(f"{type(order).__name__} {order.number}")
        return Receipt(total=order.number * price)

    sell.__annotations__.update(order=Order, price=int, **{"return": Receipt})
    task = app.task(name="sell", bind=True, pydantic=True, shared=False)(sell)
    sandbox = jobs_sandbox(app)
    results = [task.delay(Order(number=2)), task.delay({"number": 3}, price=5), task.delay({"number": "many"})]
    first, second, wrong = sandbox.drain()
    assert [results[0].get(), results[1].get(), first.result] == [{"total": 6}, {"total": 15}, {"total": 6}]
    assert (first.attempts[0].error_message, second.attempt_number) == ("Order 2", 2)
    assert (wrong.final_status, wrong.error_type) == ("dead_lettered", "pydantic_core._pydantic_core.ValidationError")
    assert str(Jobs(app).arguments(first.id)) == "({'number': 2, 'note': 'none'})"
    assert Jobs(app).replay(first.id).status == "pending"
    assert [run.result for run in sandbox.drain()] == [{"total": 6}]
