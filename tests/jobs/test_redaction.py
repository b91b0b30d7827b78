"""`jobs_redact`: masked in every output, and neither in what runs nor in what is stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.runs import job_json
from celery_jobs.store import reads
from celery_jobs.store.rows import Failure
from tests.apps import working
from tests.jobs.conftest import ADD, bury, succeed

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.store.db import Database

SECRET = "s3cret"


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    app = new_app(jobs_redact=["Password", "token", "x"])

    @app.task(name="jobs.login", bind=True, shared=False)
    def login(self: Any, user: str, password: str, *more: Any, **options: Any) -> Any:
        assert password == SECRET
        assert options.get("token", SECRET) == SECRET
        return {"user": user, "nested": [{"PASSWORD": password}], "length": len(password)}

    return app


@pytest.fixture
def db(app: Celery) -> Database:
    return plugin_of(app).db


def outputs(doors: Jobs, id: str) -> str:
    """Everything that the verbs say of a run."""
    run = doors.get(id)
    rows = doors.get(id, attempts=True)
    arguments = doors.arguments(id)
    texts = [
        json.dumps(run.to_json()),
        repr(run),
        *(json.dumps(job_json(row)) + repr(row) + str(row.traceback) for row in rows),
        json.dumps(arguments.to_json()),
        str(arguments),
        repr(arguments),
        repr(doors.list()),
        repr(doors.error_groups()),
        repr(doors.wait(id, 0) if run.has_ended else None),
    ]
    return "\n".join(texts)


def stored(db: Database, id: str) -> str:
    message = reads.message_of(db, id)
    assert message is not None
    return message.body.decode() + repr(reads.attempts(db, id))


def test_arguments_are_masked_by_key_and_by_the_name_of_their_place(doors: Jobs, db: Database) -> None:
    run = doors.enqueue("jobs.login", ("bob", SECRET, {"deep": [{"Token": SECRET}]}), {"TOKEN": SECRET, "user2": "eve"})
    arguments = doors.arguments(run.id)
    assert arguments.args == ("bob", "***", {"deep": [{"Token": "***"}]})
    assert arguments.kwargs == {"TOKEN": "***", "user2": "eve"}
    assert SECRET not in outputs(doors, run.id)
    assert SECRET in stored(db, run.id)


def test_a_keyword_of_the_task_is_masked(doors: Jobs) -> None:
    run = doors.enqueue("jobs.login", ("bob",), {"password": SECRET})
    assert doors.arguments(run.id).kwargs == {"password": "***"}


def test_the_task_gets_the_real_value_and_its_result_is_masked(doors: Jobs, app: Celery) -> None:
    result = app.tasks["jobs.login"].delay("bob", SECRET, token=SECRET)
    with working(app):
        run = doors.wait(result.id, 40)
        assert result.get(timeout=40)["nested"] == [{"PASSWORD": SECRET}]
    assert run.final_status == "success", run.error_message
    assert run.result == {"user": "bob", "nested": [{"PASSWORD": "***"}], "length": 6}
    assert SECRET not in outputs(doors, run.id)


def test_a_replay_of_a_masked_run_gets_the_real_value(doors: Jobs, app: Celery, db: Database) -> None:
    original = bury(db, doors.enqueue("jobs.login", ("bob", SECRET)).id)
    with working(app):
        assert doors.wait(doors.replay(original).id, 40).final_status == "success"


def test_errors_and_tracebacks_are_masked_and_groups_of_them_too(doors: Jobs, db: Database) -> None:
    text = f"login failed: {{'password': '{SECRET}', 'user': 'bob'}}"
    failure = Failure("exception", "ValueError", text, f"Traceback ...\n  charge(token='{SECRET}')\nValueError: {text}")
    run = doors.get(bury(db, doors.enqueue(ADD, (1,)).id, failure))
    assert run.error_message == "login failed: {'password': ***, 'user': 'bob'}"
    assert "token=***" in str(run.traceback)
    assert SECRET not in outputs(doors, run.id)
    assert SECRET in stored(db, run.id)
    assert [run.id for run in doors.list(error=SECRET)] == [run.id]


def test_tags_callback_and_reason_are_masked(doors: Jobs, db: Database) -> None:
    run = doors.enqueue(
        ADD,
        (1,),
        tags={"Password": SECRET, "deep": {"token": [SECRET]}, "team": "a"},
        callback_url=f"https://example.com/?user=bob&token={SECRET}&n=1",
    )
    shown = doors.get(run.id)
    assert shown.tags == {"Password": "***", "deep": {"token": "***"}, "team": "a"}
    assert shown.callback_url == "https://example.com/?user=bob&token=***&n=1"
    succeed(db, run.id)
    replayed = doors.replay(run.id, reason=f"password={SECRET}")
    assert replayed.replay_reason == "password=***"
    assert SECRET not in outputs(doors, run.id) + outputs(doors, replayed.id) + repr(run)
    assert SECRET in stored(db, run.id)


def test_tags_of_a_list_are_masked(doors: Jobs) -> None:
    assert doors.enqueue(ADD, (1,), tags=[f"token:{SECRET}", "team"]).tags == ["token:***", "team"]


def test_every_verb_gives_masked_runs(doors: Jobs, db: Database) -> None:
    made = [doors.enqueue(ADD, (1,), tags=[f"token={SECRET}"]) for _ in range(2)]
    shown = [doors.fire(made[0].id), doors.cancel(made[0].id), doors.replay(made[0].id)]
    assert SECRET not in repr([made, shown])


def test_names_that_are_not_in_the_setting_stay(doors: Jobs) -> None:
    run = doors.enqueue("jobs.login", ("passwords", "q"), {"passwd": "kept", "tokens": "kept"}, tags=["kept"])
    arguments = doors.arguments(run.id)
    assert (arguments.args, arguments.kwargs) == (("passwords", "***"), {"passwd": "kept", "tokens": "kept"})


def test_the_arguments_of_a_task_that_is_unknown_here_are_masked_by_key(doors: Jobs, db: Database) -> None:
    run = doors.enqueue("elsewhere", ("kept",), {"password": SECRET})
    assert (doors.arguments(run.id).args, doors.arguments(run.id).kwargs) == (("kept",), {"password": "***"})


def test_without_the_setting_nothing_is_masked(new_app: Callable[..., Celery]) -> None:
    doors = Jobs(new_app())
    run = doors.enqueue(ADD, (1,), {"y": {"password": "shown"}}, tags={"password": "shown"})
    assert doors.arguments(run.id).kwargs == {"y": {"password": "shown"}}
    assert run.tags == {"password": "shown"}


def test_error_groups_without_a_message_have_none(doors: Jobs, db: Database) -> None:
    bury(db, doors.enqueue(ADD, (1,)).id, Failure("worker_lost", "WorkerLost", ""))
    (group,) = doors.error_groups()
    assert group.error_message in (None, "")
